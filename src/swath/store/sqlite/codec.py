"""Bodies as zstd frames with a dictionary.

A dictionary never changes once it has packed a body, and every body names its own. One is built in; each
collection gets its own at 1,000 items or 1 MB, and a better one at each tenfold of that.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from functools import lru_cache
from importlib.resources import files

import zstandard

from swath.errors import CatalogDamaged

__all__ = ["BUILT_IN", "Codec", "built_in_dictionary", "digest_of", "step_due", "train"]

BUILT_IN = 1
DICTIONARY_BYTES = 32_768
SAMPLE_BYTES = 4_000_000
_LEVEL = 3
_FIRST_ITEMS, _FIRST_BYTES, _GROWTH = 1_000, 1_000_000, 10


@lru_cache(maxsize=1)
def built_in_dictionary() -> bytes:
    """The dictionary that a new catalogue starts with, trained on the demo scenes."""
    return (files("swath.store.sqlite") / "stac.dict").read_bytes()


def digest_of(body: bytes) -> bytes:
    """What tells a body from others: SHA-256, cut to 128 bits. Processors have instructions for it."""
    return hashlib.sha256(body).digest()[:16]


def step_due(items: int, size: int) -> int:
    """How many dictionaries a collection of so many items and bytes should have had."""
    step = 0
    items_due, bytes_due = _FIRST_ITEMS, _FIRST_BYTES
    while items >= items_due or size >= bytes_due:
        step += 1
        items_due *= _GROWTH
        bytes_due *= _GROWTH
    return step


def train(samples: Sequence[bytes]) -> bytes | None:
    """A dictionary for bodies like these; None when they are too few or too alike to train on."""
    if len(samples) < 8:
        return None
    try:
        return zstandard.train_dictionary(DICTIONARY_BYTES, list(samples), k=512, d=8).as_bytes()
    except zstandard.ZstdError:
        return None


class Codec:
    """Packs and unpacks bodies; `load` fetches the bytes of a dictionary by its number."""

    def __init__(self, load: Callable[[int], bytes]) -> None:
        self._load = load
        self._dictionaries: dict[int, zstandard.ZstdCompressionDict] = {}
        self._local = threading.local()  # zstd contexts are not for sharing between threads

    def _dictionary(self, number: int) -> zstandard.ZstdCompressionDict:
        found = self._dictionaries.get(number)
        if found is None:
            found = self._dictionaries[number] = zstandard.ZstdCompressionDict(self._load(number))
        return found

    def pack(self, number: int, body: bytes) -> bytes:
        contexts: dict[int, zstandard.ZstdCompressor] = self._local.__dict__.setdefault("pack", {})
        compressor = contexts.get(number)
        if compressor is None:
            compressor = contexts[number] = zstandard.ZstdCompressor(
                level=_LEVEL, dict_data=self._dictionary(number), write_checksum=True, write_content_size=True
            )
        return compressor.compress(body)

    def unpack(self, number: int, packed: bytes) -> bytes:
        contexts: dict[int, zstandard.ZstdDecompressor] = self._local.__dict__.setdefault("unpack", {})
        decompressor = contexts.get(number)
        if decompressor is None:
            decompressor = contexts[number] = zstandard.ZstdDecompressor(dict_data=self._dictionary(number))
        try:
            return decompressor.decompress(packed)
        except zstandard.ZstdError as error:
            raise CatalogDamaged(f"a stored document is damaged: {error}; run: swath check") from None

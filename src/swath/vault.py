"""Keeping bytes for as long as something refers to them.

Whoever wants to keep bytes pins their hash first, then looks whether they are there. The collector marks what nobody
pins or refers to as being deleted, in a transaction, and only then deletes it; who meets such a mark writes the bytes
again under a key of another generation.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from swath.blobs import Blobs, hash_file
from swath.errors import SwathError
from swath.store.base import Ledger
from swath.store.records import BlobRecord, FileChanges

__all__ = ["COLLECTED_AFTER", "Kept", "Vault"]

COLLECTED_AFTER = 86_400.0  # seconds that bytes lie about before they are collected
_ACTOR = "store"


@dataclass(frozen=True, slots=True)
class Kept:
    """Bytes that stay until their pin is taken away, in the commit that refers to them."""

    blob: BlobRecord
    pin: str


class Vault:
    """The blobs of one catalogue, and who refers to them."""

    def __init__(self, ledger: Ledger, blobs: Blobs) -> None:
        self.ledger, self.blobs = ledger, blobs

    def keep(self, source: Path, sha256: str | None = None) -> Kept:
        """Keep the bytes of a file that nobody else writes to; equal bytes are kept once."""
        sha256 = sha256 or hash_file(source)
        pin = secrets.token_hex(8)
        self.ledger.write([], "upsert", _ACTOR, files=FileChanges(pins=((pin, sha256),)))
        known = self.ledger.files.blobs_of(sha256)
        for blob in known:
            if not blob.deleting and self.blobs.size(blob.key) == blob.size:
                return Kept(blob, pin)
        key = sha256 if not known else f"{sha256}-{secrets.token_hex(4)}"
        blob = BlobRecord(key, sha256, source.stat().st_size, time.time_ns() // 1000)
        self.blobs.put(key, source)
        self.ledger.write([], "upsert", _ACTOR, files=FileChanges(blobs=(blob,)))
        return Kept(blob, pin)

    def collect(self, seconds: float = COLLECTED_AFTER) -> list[str]:
        """Delete bytes that nothing has referred to for so long, and what was left by uploads that died; their keys."""
        before = time.time_ns() // 1000 - round(seconds * 1_000_000)
        gone = []
        known = {blob.key for blob in self.ledger.files.blobs()}
        for found in self.blobs.all():
            if found.key in known or found.at >= before:
                continue
            if found.key.endswith("~"):  # a file that was never whole
                if not self.ledger.files.pinned(found.key[:64]):
                    self.blobs.delete(found.key)
            else:  # written, and never noted: noted now, it goes as all others do, or is kept by whoever pins it
                blob = BlobRecord(found.key, found.key[:64], found.size, found.at)
                self.ledger.write([], "upsert", _ACTOR, files=FileChanges(blobs=(blob,)))
        dead = time.time_ns() // 1000 - round(max(seconds, COLLECTED_AFTER) * 1_000_000)
        for blob in self.ledger.files.mark_unused(before, dead):
            self.blobs.delete(blob.key)
            self.ledger.files.forget_blob(blob.key)
            gone.append(blob.key)
        return gone

    def check(self) -> Iterator[tuple[BlobRecord, str | None]]:
        """Every blob, its bytes hashed anew, with what is wrong with it, in words."""
        for blob in self.ledger.files.blobs():
            if not blob.deleting:
                yield blob, self._fault(blob)

    def _fault(self, blob: BlobRecord) -> str | None:
        said, size = hashlib.sha256(), self.blobs.size(blob.key)
        if size is None:
            return f"the bytes {blob.key} are missing"
        if size != blob.size:
            return f"the bytes {blob.key} are {size:,}, not {blob.size:,}"
        try:
            for chunk in self.blobs.read(blob.key, 0, size):
                said.update(chunk)
        except SwathError as error:
            return str(error)
        return None if said.hexdigest() == blob.sha256 else f"the bytes {blob.key} are not those that were written"

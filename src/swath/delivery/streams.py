"""Packed bytes and what comes out of them: a little at a time, whatever their makers claim."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Iterator
from typing import Protocol

from swath.errors import DeliveryRefused
from swath.limits import LIMITS

__all__ = ["CHUNK", "MEMORY", "Budget", "Engine", "Forward", "Inflater", "Tell", "engine_of", "inflate", "inflate_all"]

Tell = Callable[[int, int], None]

CHUNK = 1_000_000  # bytes that are held unpacked at once
MEMORY = 200_000_000  # bytes that LZMA may ask for; its largest common preset needs 65 MB
_PACKED = 65_536
_FREE = 10_000_000  # unpacked bytes that are not held against the packed ones


class Budget:
    """What may come out of a delivery of so many bytes; without a `ratio`, as much as any delivery may have."""

    def __init__(self, packed: int, tell: Tell, *, ratio: bool = True) -> None:
        share = max(_FREE, packed * LIMITS.delivery_ratio)
        self.most = min(LIMITS.delivery_bytes, share) if ratio else LIMITS.delivery_bytes
        self.total, self.expected, self._tell = 0, 0, tell

    def expect(self, size: int) -> None:
        """So much more is claimed to come. DeliveryRefused where that is too much before it has begun."""
        self.expected += size
        self._check(self.total + size)

    def take(self, size: int) -> None:
        self.total += size
        self._check(self.total)
        self._tell(self.total, max(self.expected, self.total))

    def give_back(self, size: int) -> None:
        """Of a file that is there no more."""
        self.total, self.expected = self.total - size, self.expected - size

    def _check(self, size: int) -> None:
        if size > LIMITS.delivery_bytes:
            raise DeliveryRefused(f"it unpacks to more than {LIMITS.delivery_bytes:,} bytes")
        if size > self.most:
            raise DeliveryRefused(
                f"it unpacks to more than {self.most:,} bytes, {LIMITS.delivery_ratio} times what it is itself"
            )


class Engine(Protocol):
    """What unpacks one stream, as bz2 and lzma have it."""

    @property
    def eof(self) -> bool: ...
    @property
    def needs_input(self) -> bool: ...
    @property
    def unused_data(self) -> bytes: ...
    def decompress(self, data: bytes, max_length: int) -> bytes: ...


class Inflater:
    """zlib's in the shape of the others. `wbits` as zlib has them: 31 is gzip, -15 is what is in a ZIP."""

    def __init__(self, wbits: int) -> None:
        self._engine = zlib.decompressobj(wbits)

    @property
    def eof(self) -> bool:
        return self._engine.eof

    @property
    def needs_input(self) -> bool:
        return not self._engine.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._engine.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._engine.decompress(self._engine.unconsumed_tail + data, max_length)


def inflate(read: Callable[[int], bytes], engine: Engine) -> Iterator[bytes]:
    """What comes out of one stream, to its end, at most CHUNK at a time. DeliveryRefused where it is broken or cut."""
    while not engine.eof:
        wanting = engine.needs_input
        data = read(_PACKED) if wanting else b""
        try:
            out = engine.decompress(data, CHUNK)
        except (zlib.error, lzma.LZMAError, EOFError, OSError, ValueError) as error:
            words = "more memory than it may" if "emory" in str(error) else ""
            raise DeliveryRefused(f"unpacking it takes {words}" if words else "its packed bytes are damaged") from None
        if out:
            yield out
        elif wanting and not data and not engine.eof:
            raise DeliveryRefused("it is cut short")


def inflate_all(read: Callable[[int], bytes], make: Callable[[], Engine]) -> Iterator[bytes]:
    """The same for streams one after the other with zeros between them, which gzip, bzip2 and xz allow."""
    rest = read(_PACKED)
    while rest:
        engine, first = make(), [rest]
        yield from inflate(lambda size, first=first: first.pop() if first else read(size), engine)  # type: ignore[misc]
        rest = engine.unused_data.lstrip(b"\0")
        while not rest:
            more = read(_PACKED)
            if not more:
                return
            rest = more.lstrip(b"\0")


def engine_of(head: bytes) -> Callable[[], Engine] | None:
    """What unpacks a file that begins so; None where it is not packed."""
    if head.startswith(b"\x1f\x8b"):
        return lambda: Inflater(31)
    if head.startswith(b"BZh"):
        return bz2.BZ2Decompressor
    if head.startswith(b"\xfd7zXZ\0"):
        return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=MEMORY)
    return None


class Forward:
    """Chunks as a file that is read once, from its start to its end: all that tarfile needs.

    `read` is for headers, and gives at most CHUNK of them until `rest`, so that none costs more memory than that;
    `last` is what it gave last.
    """

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks, self._chunk, self._place, self._at = chunks, b"", 0, 0
        self._headers, self.last = 0, b""

    def tell(self) -> int:
        return self._at

    def seek(self, to: int) -> int:
        if to < self._at:
            raise DeliveryRefused("its entries lie on one another")
        while self._at < to and self.take(to - self._at):
            pass
        return self._at

    def read(self, size: int) -> bytes:
        """So many bytes of a header, fewer at the end."""
        self._headers += size
        if not 0 <= size <= self._headers <= CHUNK:
            raise DeliveryRefused(f"a header in it is of more than {CHUNK:,} bytes")
        parts = []
        while size and (part := self.take(size)):
            parts.append(part)
            size -= len(part)
        self.last = b"".join(parts)
        return self.last

    def rest(self) -> None:
        """The header is read."""
        self._headers = 0

    def take(self, most: int) -> bytes:
        """Some bytes; none at the end."""
        if self._place == len(self._chunk):
            self._chunk, self._place = next(self._chunks, b""), 0
        part = self._chunk[self._place : self._place + most]
        self._place += len(part)
        self._at += len(part)
        return part

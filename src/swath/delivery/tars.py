"""Tar archives, packed or not, read once from start to end (POSIX pax and ustar, GNU, V7)."""

from __future__ import annotations

import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

from swath.delivery.names import decoded
from swath.delivery.streams import CHUNK, Budget, Forward, engine_of, inflate_all
from swath.delivery.zips import Entry
from swath.errors import DeliveryRefused, shown
from swath.limits import LIMITS

__all__ = ["is_tar", "tar_entries"]

_BLOCK = 512
# What tarfile raises over headers that nobody would write.
_BROKEN = (tarfile.TarError, ValueError, OverflowError, RecursionError, LookupError, struct.error)


def is_tar(path: Path) -> bool:
    """Whether the first block of a file, unpacked where it is packed, is the header of a tar."""
    with path.open("rb") as stream:
        head = stream.read(_BLOCK)
        make = engine_of(head)
        if make is None:
            return _is_header(head)
        stream.seek(0)
        try:
            return _is_header(Forward(inflate_all(stream.read, make)).read(_BLOCK))
        except DeliveryRefused:
            return False


def _is_header(block: bytes) -> bool:
    """By its checksum, which counts its own eight bytes as spaces; zeros are no header."""
    told = block[148:156].strip(b" \0")
    if len(block) < _BLOCK or not told or any(digit not in b"01234567" for digit in told):
        return False
    return int(told, 8) == sum(block[:148]) + 8 * 32 + sum(block[156:])


def tar_entries(source: Path, budget: Budget) -> Iterator[Entry]:
    """The files and folders of a tar; the content of each must be read before the next is asked for."""
    with source.open("rb") as stream:
        reader = Forward(_bytes_of(stream, source, budget))
        try:
            yield from _entries(reader)
        except _BROKEN as error:
            words = "it is cut short" if "end of" in str(error) or "truncated" in str(error) else "it is damaged"
            raise DeliveryRefused(words) from None
        # A header that cannot be read looks to tarfile as the end does, which is blocks of zeros.
        if len(reader.last) < _BLOCK or any(reader.last):
            raise DeliveryRefused("it is cut short" if len(reader.last) < _BLOCK else "an entry in it is damaged")
        while reader.take(CHUNK):  # the checksum of what it is packed in stands at the end
            pass


def _bytes_of(stream: IO[bytes], source: Path, budget: Budget) -> Iterator[bytes]:
    make = engine_of(stream.read(_BLOCK))
    stream.seek(0)
    if make is None:
        budget.expect(source.stat().st_size)
    for chunk in inflate_all(stream.read, make) if make is not None else iter(lambda: stream.read(CHUNK), b""):
        budget.take(len(chunk))
        yield chunk


def _entries(reader: Forward) -> Iterator[Entry]:
    with tarfile.open(fileobj=cast("Any", reader), mode="r:", encoding="utf-8", errors="surrogateescape") as opened:
        archive, count = cast("Any", opened), 0
        while (member := archive.next()) is not None:
            count += 1
            if count > 2 * LIMITS.delivery_files:
                raise DeliveryRefused(f"it has more than {2 * LIMITS.delivery_files:,} entries")
            yield _entry(reader, member)
            reader.rest()
            for kept in (archive.members, archive.pax_headers):  # of every entry, otherwise
                kept.clear()


def _entry(reader: Forward, member: tarfile.TarInfo) -> Entry:
    name = decoded(member.name.encode("utf-8", "surrogateescape"), "cp1252")
    if not (member.isreg() or member.isdir()) or member.issparse():
        raise DeliveryRefused(f"the entry {shown(name)} is {_KINDS.get(member.type, 'no plain file')}")
    if member.size < 0:
        raise DeliveryRefused(f"the entry {shown(name)} lies about its size")
    content = _content(reader, member.offset_data, member.size, name)
    return Entry(name, member.isdir(), content)


_KINDS = {
    tarfile.SYMTYPE: "a symbolic link", tarfile.LNKTYPE: "a hard link", tarfile.FIFOTYPE: "a pipe",
    tarfile.CHRTYPE: "a device", tarfile.BLKTYPE: "a device",
}  # fmt: skip


def _content(reader: Forward, start: int, size: int, name: str) -> Iterator[bytes]:
    reader.seek(start)
    while size:
        chunk = reader.take(min(CHUNK, size))
        if not chunk:
            raise DeliveryRefused(f"{shown(name)} is cut short")
        size -= len(chunk)
        yield chunk

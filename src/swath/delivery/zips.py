"""ZIP archives (PKWARE's APPNOTE 6.3): the directory at their end, and each entry held against what that says of it.

A reader of our own: entries that share bytes, sizes that lie and names of old code pages must be seen as they stand
there, and no claim may cost memory.
"""

from __future__ import annotations

import bz2
import lzma
import stat
import struct
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import IO

from swath.delivery.names import decoded
from swath.delivery.streams import CHUNK, MEMORY, Budget, Engine, Inflater, inflate
from swath.errors import DeliveryRefused, shown
from swath.limits import LIMITS

__all__ = ["Entry", "is_zip", "zip_entries"]

_END, _END_64, _LOCATOR_64, _CENTRAL, _LOCAL = b"PK\5\6", b"PK\6\6", b"PK\6\7", b"PK\1\2", b"PK\3\4"
_LONGEST_END = 22 + 65_535 + 20  # with its comment, and the locator of its larger form before it
_FULL, _FULL_SHORT = 0xFFFFFFFF, 0xFFFF  # the number stands elsewhere
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_UTF8 = 0x800
_METHODS = {0: "", 8: "", 12: "", 14: "", 1: "Shrink", 6: "Implode", 9: "Deflate64", 93: "Zstandard", 95: "XZ",
            98: "PPMd", 99: "AES"}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Entry:
    """A file or folder of an archive, by the name that stands there."""

    name: str
    is_folder: bool
    content: Iterator[bytes]


@dataclass(frozen=True, slots=True)
class _Record:
    """What the directory says of an entry. `at` is where its local header begins."""

    name: str
    raw: bytes
    is_folder: bool
    flags: int
    method: int
    crc: int
    packed: int
    size: int
    at: int


@dataclass(frozen=True, slots=True)
class _Directory:
    """Where the entries are listed. `shift`: bytes before the archive, which its offsets do not count."""

    start: int
    end: int
    count: int
    shift: int


def is_zip(path: Path) -> bool:
    """Whether a file begins as a ZIP, or ends in the directory of one: that of a self-extracting archive."""
    with path.open("rb") as stream:
        if stream.read(4) in (_LOCAL, _END, b"PK\7\x08"):
            return True
        try:
            found = _directory(stream)
        except DeliveryRefused:
            return False
        return found.count > 0


def zip_entries(source: Path, budget: Budget) -> Iterator[Entry]:
    """The files and folders of a ZIP. DeliveryRefused for one that is broken, or not what it says."""
    with source.open("rb") as stream:
        directory = _directory(stream)
        records = list(_records(stream, directory))
        starts = _check_places(stream, records, directory)
        budget.expect(sum(record.size for record in records))
        for record, start in zip(records, starts, strict=True):
            content = _content(stream, record, start, budget)
            yield Entry(record.name, record.is_folder, content)


# -- the directory -------------------------------------------------------------------------------


def _directory(stream: IO[bytes]) -> _Directory:
    size = stream.seek(0, 2)
    begin = stream.seek(max(0, size - _LONGEST_END))
    tail = stream.read(_LONGEST_END)
    at = tail.rfind(_END)
    while at >= 0:
        found = _directory_at(stream, tail, at, begin)
        if found is not None:
            return found
        at = tail.rfind(_END, 0, at + 3)
    raise DeliveryRefused("it is cut short or damaged: the list of its files is not at its end")


def _directory_at(stream: IO[bytes], tail: bytes, at: int, begin: int) -> _Directory | None:
    """What an end record says; None where it cannot be one."""
    if len(tail) < at + 22:
        return None
    disk, first, _, count, length, offset, _ = struct.unpack_from("<4H2LH", tail, at + 4)
    end = begin + at
    if tail[max(0, at - 20) : max(0, at - 16)] == _LOCATOR_64 and _FULL in (length, offset, count | 0xFFFF0000):
        larger = _larger_end(stream, tail[at - 20 : at], end - 20)
        if larger is None:
            return None
        end, count, length, offset = larger
    elif disk not in (0, _FULL_SHORT) or first not in (0, _FULL_SHORT):
        raise DeliveryRefused("it is one part of an archive that was cut into several; put them together first")
    start = end - length
    if start < 0 or start < offset:
        return None
    stream.seek(start)
    if count and stream.read(4) != _CENTRAL:
        return None
    return _Directory(start, end, count, start - offset)


def _larger_end(stream: IO[bytes], locator: bytes, end: int) -> tuple[int, int, int, int] | None:
    """Where the record of an archive with many or large entries begins, and its count, length and offset."""
    (told,) = struct.unpack_from("<Q", locator, 8)
    for place in (end - 56, told):  # right before its locator; by its offset where it has more in it
        if 0 <= place <= end - 56:
            stream.seek(place)
            record = stream.read(56)
            if record[:4] == _END_64:
                count, length, offset = struct.unpack_from("<3Q", record, 32)
                return place, count, length, offset
    return None


def _records(stream: IO[bytes], directory: _Directory) -> Iterator[_Record]:
    most = 2 * LIMITS.delivery_files
    if directory.count > most:
        raise DeliveryRefused(f"it has {directory.count:,} entries; at most {most:,} are unpacked")
    stream.seek(directory.start)
    place, count = directory.start, 0
    while place < directory.end:
        head = stream.read(46)
        if len(head) < 46 or head[:4] != _CENTRAL:
            raise DeliveryRefused("the list of its files is damaged")
        count += 1
        if count > most:
            raise DeliveryRefused(f"it has more than {most:,} entries")
        sizes = struct.unpack_from("<3H", head, 28)
        more = stream.read(sum(sizes))
        place += 46 + sum(sizes)
        if len(more) < sum(sizes) or place > directory.end:
            raise DeliveryRefused("the list of its files is damaged")
        yield _record(head, more[: sizes[0]], more[sizes[0] : sizes[0] + sizes[1]], directory)
    if count & _FULL_SHORT != directory.count & _FULL_SHORT:
        raise DeliveryRefused(f"it says that it has {directory.count:,} entries, and has {count:,}")


def _record(head: bytes, raw: bytes, extra: bytes, directory: _Directory) -> _Record:
    flags, method = struct.unpack_from("<2H", head, 8)
    crc, packed, size = struct.unpack_from("<3L", head, 16)
    attributes, at = struct.unpack_from("<2L", head, 38)
    fields = dict(_extra(extra))
    name = _name(raw, flags, fields)
    if len(raw) > 4 * LIMITS.delivery_path_bytes:
        raise DeliveryRefused(f"the entry {shown(name)} has a longer name than is taken")
    large = [each[0] for each in struct.iter_unpack("<Q", fields.get(1, b"")[: len(fields.get(1, b"")) // 8 * 8])]
    numbers = []
    for number in (size, packed, at):  # each that is full stands in the extra field, in this order (4.5.3)
        if number == _FULL and not large:
            raise DeliveryRefused(f"the entry {shown(name)} does not say how large it is")
        numbers.append(large.pop(0) if number == _FULL else number)
    size, packed, at = numbers
    kind = stat.S_IFMT(attributes >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise DeliveryRefused(f"the entry {shown(name)} is a link or a device")
    is_folder = kind == stat.S_IFDIR or name.endswith(("/", "\\"))
    if size > LIMITS.delivery_bytes:
        raise DeliveryRefused(f"the entry {shown(name)} claims {size:,} bytes")
    if flags & _ENCRYPTED:
        raise DeliveryRefused(f"the entry {shown(name)} is encrypted")
    if _METHODS.get(method, "?"):
        told = _METHODS.get(method) or f"the method {method}"
        raise DeliveryRefused(f"the entry {shown(name)} is packed by {told}, which is not read; pack it by Deflate")
    return _Record(name, raw, is_folder, flags, method, crc, packed, size, at + directory.shift)


def _extra(extra: bytes) -> Iterator[tuple[int, bytes]]:
    while len(extra) >= 4:
        tag, size = struct.unpack_from("<2H", extra)
        yield tag, extra[4 : 4 + size]
        extra = extra[4 + size :]


def _name(raw: bytes, flags: int, fields: dict[int, bytes]) -> str:
    """UTF-8 where the flag, Info-ZIP's field (4.6.9) or the bytes say so; else code page 437 (appendix D)."""
    field = fields.get(0x7075, b"")
    if not flags & _UTF8 and len(field) > 5 and struct.unpack_from("<L", field, 1)[0] == zlib.crc32(raw):
        return decoded(field[5:], "cp437")
    return decoded(raw, "cp437")


# -- the entries ---------------------------------------------------------------------------------


def _check_places(stream: IO[bytes], records: list[_Record], directory: _Directory) -> list[int]:
    """Where the packed bytes of each begin. Each has bytes of its own: else a small archive unpacks to a large one."""
    seen: set[int] = set()
    for record in records:
        if record.at in seen:
            raise DeliveryRefused(f"the entry {shown(record.name)} shares its bytes with another")
        seen.add(record.at)
    starts = [_start(stream, record) for record in records]
    taken = sorted(
        (record.at, start + record.packed, record.name) for record, start in zip(records, starts, strict=True)
    )
    for (_, end, _), (begin, _, name) in pairwise(taken):
        if begin < end:
            raise DeliveryRefused(f"the entry {shown(name)} shares its bytes with another")
    if taken and taken[-1][1] > directory.start:
        raise DeliveryRefused(f"the entry {shown(taken[-1][2])} reaches beyond the end of all entries")
    return starts


def _start(stream: IO[bytes], record: _Record) -> int:
    stream.seek(record.at)
    head = stream.read(30)
    if len(head) < 30 or head[:4] != _LOCAL:
        raise DeliveryRefused(f"the entry {shown(record.name)} is not where the archive says")
    flags, method = struct.unpack_from("<2H", head, 6)
    name, extra = map(int, struct.unpack_from("<2H", head, 26))
    if flags & _ENCRYPTED:
        raise DeliveryRefused(f"the entry {shown(record.name)} is encrypted")
    if method != record.method or stream.read(name) != record.raw:
        raise DeliveryRefused(f"the entry {shown(record.name)} is another than the archive says")
    return record.at + 30 + name + extra


def _content(stream: IO[bytes], record: _Record, start: int, budget: Budget) -> Iterator[bytes]:
    size, crc = 0, 0
    for chunk in _unpacked(stream, record, start):
        size, crc = size + len(chunk), zlib.crc32(chunk, crc)
        if size > record.size:
            raise DeliveryRefused(f"{shown(record.name)} has more than the {record.size:,} bytes that the archive says")
        budget.take(len(chunk))
        yield chunk
    if size != record.size:
        raise DeliveryRefused(f"{shown(record.name)} has {size:,} bytes, not {record.size:,} as the archive says")
    if crc != record.crc:
        raise DeliveryRefused(f"{shown(record.name)} is damaged: its checksum is not that in the archive")


def _unpacked(stream: IO[bytes], record: _Record, start: int) -> Iterator[bytes]:
    read = _Part(stream, start, record.packed).read
    try:
        if record.method == 0:
            yield from iter(lambda: read(CHUNK), b"")
        else:
            yield from inflate(*_engine(record, read))
    except DeliveryRefused as error:
        raise DeliveryRefused(f"{shown(record.name)}: {error}") from None


class _Part:
    """Some bytes of a file, wherever others read meanwhile."""

    def __init__(self, stream: IO[bytes], start: int, size: int) -> None:
        self._stream, self._at, self._end = stream, start, start + size

    def read(self, size: int) -> bytes:
        self._stream.seek(self._at)
        data = self._stream.read(min(size, self._end - self._at))
        self._at += len(data)
        return data


def _engine(record: _Record, read: Callable[[int], bytes]) -> tuple[Callable[[int], bytes], Engine]:
    if record.method == 8:
        return read, Inflater(-15)
    if record.method == 12:
        return read, bz2.BZ2Decompressor()
    # LZMA (5.8.8): two bytes of version, two of length, the properties. As in an .lzma file, but for the size there.
    head = read(9)
    if head[2:4] != b"\5\0":
        raise DeliveryRefused("its packed bytes are damaged")
    first = [head[4:] + (b"\xff" * 8 if record.flags & 2 else struct.pack("<Q", record.size))]
    engine = lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=MEMORY)
    return (lambda size: first.pop() if first else read(size)), engine

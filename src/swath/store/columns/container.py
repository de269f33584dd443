"""One file of named arrays: written once, mapped for reading, every byte under a checksum.

    magic | arrays, each at a multiple of 64 bytes | directory (msgpack) | its length and CRC | magic

The directory names each array with its offset, length, type and CRC, and holds what else the writer wants to tell.
"""

from __future__ import annotations

import mmap
import os
import struct
import zlib
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from swath.errors import CatalogDamaged

__all__ = ["Container", "ContainerWriter", "sync_folder"]

_MAGIC = b"SWCOLS01"
_TAIL = struct.Struct("<QI8s")


class ContainerWriter:
    """Writes a file that appears under its name only when it is whole and on the disk. A context manager."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.about: dict[str, Any] = {}
        self._unfinished = path.with_name(f".{path.name}.part")
        self._directory: dict[str, tuple[int, int, str, int]] = {}
        self._out = self._unfinished.open("wb")
        self._out.write(_MAGIC)

    def add(self, name: str, *arrays: NDArray[Any]) -> None:
        """An array; several of one type are joined."""
        self._out.write(bytes(-self._out.tell() % 64))
        position, count, checksum = self._out.tell(), 0, 0
        for array in arrays:
            data = np.ascontiguousarray(array).view(np.uint8).reshape(-1).data if array.size else b""
            self._out.write(data)
            checksum = zlib.crc32(data, checksum)
            count += len(array)
        self._directory[name] = (position, count, arrays[0].dtype.str, checksum)

    def __enter__(self) -> ContainerWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._out as out:
            if kind is None:
                footer = msgspec.msgpack.encode({"arrays": self._directory, "about": self.about})
                out.write(footer)
                out.write(_TAIL.pack(len(footer), zlib.crc32(footer), _MAGIC))
                out.flush()
                os.fsync(out.fileno())
        if kind is not None:
            self._unfinished.unlink()
            return
        self._unfinished.rename(self.path)
        sync_folder(self.path.parent)


def sync_folder(folder: Path) -> None:
    """Make the names in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Container:
    """A mapped file. CatalogDamaged where it is not what was written; FileNotFoundError where it is gone."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            if size < len(_MAGIC) + _TAIL.size:  # mapping less than the directory names would end in SIGBUS
                raise self._damaged("it is cut short")
            self._map = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        length, checksum, magic = _TAIL.unpack_from(self._map, size - _TAIL.size)
        end = size - _TAIL.size
        if magic != _MAGIC or self._map[: len(_MAGIC)] != _MAGIC or length > end - len(_MAGIC):
            raise self._damaged("it is no file of columns, or one of another version")
        footer = self._map[end - length : end]
        if zlib.crc32(footer) != checksum:
            raise self._damaged("its directory does not match its checksum")
        read = msgspec.msgpack.decode(footer)
        self.about: dict[str, Any] = read["about"]
        self._directory: dict[str, tuple[int, int, str, int]] = {k: tuple(v) for k, v in read["arrays"].items()}
        self._arrays: dict[str, NDArray[Any]] = {}

    def _damaged(self, why: str) -> CatalogDamaged:
        return CatalogDamaged(f"{self.path}: {why}")

    def size(self, name: str) -> int:
        """How many elements an array has."""
        return self._directory[name][1]

    def __contains__(self, name: str) -> bool:
        return name in self._directory

    def array(self, name: str) -> NDArray[Any]:
        """An array as it lies in the file. It stays valid as long as anything refers to it."""
        found = self._arrays.get(name)
        if found is None:
            offset, count, dtype, _ = self._directory[name]
            found = self._arrays[name] = np.frombuffer(self._map, np.dtype(dtype), count, offset)
        return found

    def verify(self) -> None:
        """Read every byte. CatalogDamaged names the first array that is not what was written."""
        for name, (offset, count, dtype, checksum) in self._directory.items():
            data = memoryview(self._map)[offset : offset + count * np.dtype(dtype).itemsize]
            if zlib.crc32(data) != checksum:
                raise self._damaged(f"the array {name!r} does not match its checksum")

"""A disk with a write cache under a catalogue, and the cut of its power.

What SQLite writes goes to the real file system and is kept in mind as well. A sync makes a file's bytes durable; a
sync of its folder makes new and vanished names durable (SQLite's own file system does that with the first sync of a
new log, so this one does). Other files, such as those of the index, are durable as they were when `os.fsync` was
called on them. When the power is cut, what was not synced is there, or not, or in part, and no call goes through any
more. A write in part leaves the bytes beside it alone: SQLite counts on that ("powersafe overwrite").
"""

from __future__ import annotations

import errno
import os
import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias, get_args
from unittest.mock import patch

import apsw

from tests.shim import Call, Shim, ShimFile, kind_of

__all__ = ["Disk", "Keep"]

_SECTOR = 512

# What survives of the writes that were not synced: nothing, the first ones, some, or some sectors of some.
Keep: TypeAlias = Literal["nothing", "the first", "some", "some sectors"]
_KEEPS: tuple[Keep, ...] = get_args(Keep)


@dataclass(slots=True)
class _Write:
    """One that was not synced. Without data it is a truncation."""

    moment: int
    offset: int
    data: bytes | None


@dataclass(slots=True, eq=False)
class _Content:
    """The bytes of a file, whatever its names. `path`: where they can be read now, if never synced."""

    path: str
    durable: bytearray | None = None
    waiting: list[_Write] = field(default_factory=list)


def _put(image: bytearray, write: _Write) -> None:
    if write.data is None:
        del image[write.offset :]
    image.extend(bytes(max(0, write.offset - len(image))))
    if write.data is not None:
        image[write.offset : write.offset + len(write.data)] = write.data


_Names: TypeAlias = dict[str, _Content | str]  # of a folder; folders in it by their paths


class _DiskFile(ShimFile):
    """A file that remembers what was not synced."""

    def __init__(self, disk: Disk, path: str, name: Any, flags: list[int]) -> None:
        super().__init__(disk, path, name, flags)
        self.disk = disk
        self.new_log = kind_of(path) in ("log", "journal") and bool(flags[0] & apsw.SQLITE_OPEN_CREATE)
        self.content = disk.content_of(path)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802 - SQLite's names
        with self.disk.lock:
            if not offset and kind_of(self.path) == "log":
                self.disk.strike("log write, at its start")
            super().xWrite(data, offset)
            self.content.waiting.append(_Write(self.disk.moment, offset, bytes(data)))

    def xTruncate(self, size: int) -> None:  # noqa: N802
        with self.disk.lock:
            super().xTruncate(size)
            self.content.waiting.append(_Write(self.disk.moment, size, None))

    def xSync(self, flags: int) -> None:  # noqa: N802, ARG002 - without the real one: it takes its time, and adds nothing
        with self.disk.lock:
            self.disk.call("sync", self.path)
            assert self.content.durable is not None
            for write in self.content.waiting:
                _put(self.content.durable, write)
            self.content.waiting.clear()
            if self.new_log:
                self.disk.sync_folder(os.path.dirname(self.path))
                self.new_log = False
        self.disk.wait()


class Disk(Shim):
    """Holds one folder. At some write or sync the power goes, and `left` is what is left.

    That is number `cut_at` of those at places that begin with `aim`, or number `at_most` of all.
    """

    def __init__(self, root: Path, draw: random.Random, cut_at: int, aim: str = "", at_most: int = 10**9) -> None:
        super().__init__()
        self.root, self.draw, self.cut_at, self.aim, self.at_most = str(root), draw, cut_at, aim, at_most
        self.lock = threading.RLock()
        self.moment = 0
        self.off = False
        self.place = ""
        self.keep: Keep = "nothing"
        self.lost = 0  # writes that did not survive as a whole
        self.left: dict[str, bytes | None] = {}  # by path in the folder; None is a folder
        self._contents: dict[int, _Content] = {}  # by inode
        self._folders: dict[str, _Names] = {}  # names that are durable
        self._patch = patch.object(os, "fsync", self._fsync)
        for folder, _, files in os.walk(self.root):
            for name in files:
                path = Path(folder, name)
                self._contents[path.stat().st_ino] = _Content(str(path), bytearray(path.read_bytes()))
        for folder, _, _ in os.walk(self.root):
            self._folders[folder] = self._names(folder)

    def __enter__(self) -> Self:
        self._patch.start()
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._patch.stop()
        super().__exit__(kind, error, trace)

    # -- calls --------------------------------------------------------------------------------

    def call(self, call: Call, path: str) -> None:
        if call in ("open", "read") or not path:
            if self.off:
                raise apsw.exception_for(apsw.SQLITE_IOERR)
            return
        making = "making the catalogue: " if os.path.basename(path).startswith(".") else ""
        self.strike(f"{making}{kind_of(path)} {call}")

    def strike(self, place: str) -> None:
        """Cut the power here if it is time."""
        with self.lock:
            self.moment += not self.off
            self.cut_at -= place.startswith(self.aim)
            if not self.off and (self.cut_at <= 0 or self.moment >= self.at_most):
                self._cut(place)
            if self.off:
                raise apsw.exception_for(apsw.SQLITE_IOERR)

    def file(self, path: str, name: Any, flags: list[int]) -> ShimFile:
        if not path:  # temporary: nothing of it survives
            return super().file(path, name, flags)
        with self.lock:
            if not os.path.exists(path):
                made = _DiskFile(self, path, name, flags)
                made.content = self._contents[os.stat(path).st_ino] = _Content(path, bytearray())
                return made
            return _DiskFile(self, path, name, flags)

    def xDelete(self, path: str, sync_folder: bool) -> None:  # noqa: N802
        with self.lock:
            status = os.stat(path) if os.path.exists(path) else None
            super().xDelete(path, False)
            if status is not None and status.st_nlink == 1:
                del self._contents[status.st_ino]  # the number may be given to another file
            if sync_folder:
                self.sync_folder(os.path.dirname(path))

    def content_of(self, path: str) -> _Content:
        inode = os.stat(path).st_ino
        return self._contents.setdefault(inode, _Content(path))

    def sync_folder(self, path: str) -> None:
        self._folders[path] = self._names(path)

    def wait(self) -> None:
        """As long as a sync takes: meanwhile others come and wait for the next one."""
        time.sleep(self.draw.choice((0, 0, 0.0005, 0.001)))

    def _fsync(self, descriptor: int) -> None:
        path = os.readlink(f"/proc/self/fd/{descriptor}")
        if not path.startswith(self.root):
            return
        with self.lock:
            try:
                self.strike("folder sync" if os.path.isdir(path) else "index sync")
            except apsw.IOError:
                raise OSError(errno.EIO, "the power is off") from None
            if os.path.isdir(path):
                self.sync_folder(path)
            else:
                self.content_of(path).durable = bytearray(Path(path).read_bytes())

    def _names(self, folder: str) -> _Names:
        names: _Names = {}
        for entry in os.scandir(folder):
            if entry.is_dir(follow_symlinks=False):
                names[entry.name] = entry.path
            elif not entry.name.endswith("-shm"):
                names[entry.name] = self._contents.setdefault(entry.inode(), _Content(entry.path))
                self._contents[entry.inode()].path = entry.path
        return names

    # -- the cut ------------------------------------------------------------------------------

    def _cut(self, place: str) -> None:
        self.off, self.place = True, place
        self.keep = self.draw.choice(_KEEPS)
        for folder, _, _ in os.walk(self.root):
            self._names(folder)
        contents = {id(each): each for each in self._contents.values()}
        for names in self._folders.values():
            contents |= {id(each): each for each in names.values() if isinstance(each, _Content)}
        waiting = sorted(((each, write) for each in contents.values() for write in each.waiting),
                         key=lambda pair: pair[1].moment)  # fmt: skip
        images = {id(each): self._image(each) for each in contents.values()}
        first = self.draw.randrange(len(waiting) + 1)
        for place_in_time, (content, write) in enumerate(waiting):
            kept = list(self._kept(write, place_in_time < first))
            self.lost += not kept or sum(len(each.data or b"") for each in kept) < len(write.data or b"")
            for each in kept:
                _put(images[id(content)], each)
        self._leave(self.root, images)

    def _image(self, content: _Content) -> bytearray:
        if content.durable is not None:
            return bytearray(content.durable)
        if self.keep == "nothing" or not os.path.exists(content.path):
            return bytearray()
        now = Path(content.path).read_bytes()
        return bytearray(now[: self.draw.choice((0, self.draw.randrange(len(now) + 1), len(now)))])

    def _kept(self, write: _Write, among_the_first: bool) -> Iterator[_Write]:
        """What survives of one write."""
        if self.keep == "the first":
            yield from [write] * among_the_first
        elif self.keep == "some" or (self.keep == "some sectors" and write.data is None):
            yield from [write] * self.draw.randrange(2)
        elif self.keep == "some sectors":
            assert write.data is not None
            end = write.offset + len(write.data)
            begin = write.offset
            while begin < end:
                until = min(end, (begin // _SECTOR + 1) * _SECTOR)
                if self.draw.randrange(2):
                    yield _Write(write.moment, begin, write.data[begin - write.offset : until - write.offset])
                begin = until

    def _leave(self, folder: str, images: dict[int, bytearray]) -> None:
        durable, now = self._folders.get(folder, {}), self._names(folder)
        for name in sorted(durable.keys() | now.keys()):
            node = durable.get(name)
            if node != now.get(name) and self.keep != "nothing" and self.draw.randrange(2):
                node = now.get(name)
            if isinstance(node, str):
                self.left[os.path.relpath(node, self.root)] = None
                self._leave(node, images)
            elif node is not None:
                path = os.path.relpath(os.path.join(folder, name), self.root)
                self.left[path] = bytes(images.get(id(node), b""))

    def write_left(self, folder: Path) -> None:
        """The folder as it is found when the power is back."""
        folder.mkdir()
        for path, data in self.left.items():  # folders come before what is in them
            if data is None:
                (folder / path).mkdir()
            else:
                (folder / path).write_bytes(data)

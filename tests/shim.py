"""The real file system under SQLite, with a word to say before each of its calls.

While a shim is in force, every connection that this process opens goes through it. Memory-mapped reading is off of
itself, since a shim offers SQLite no mapping of the database: all that is read and written is seen here. The index of
the log, `-shm`, stays shared memory of the real file system: it is never on the disk, and made anew after a crash.
"""

from __future__ import annotations

import itertools
import os
import sys
from types import TracebackType
from typing import Any, Literal, Self, TypeAlias

import apsw

__all__ = ["Call", "Shim", "ShimFile", "kind_of"]

Call: TypeAlias = Literal["open", "read", "write", "sync", "truncate", "delete"]

_REAL = apsw.vfs_names()[0]
_numbers = itertools.count()


def kind_of(path: str) -> str:
    """What a file is to the database."""
    name = os.path.basename(path)
    if not name:
        return "temporary"
    if name.endswith("-wal"):
        return "log"
    return "journal" if name.endswith("-journal") else "database"


class ShimFile(apsw.VFSFile):
    """An open file."""

    def __init__(self, shim: Shim, path: str, name: str | apsw.URIFilename | None, flags: list[int]) -> None:
        self.shim, self.path = shim, path
        super().__init__(_REAL, name, flags)

    def xLock(self, level: int) -> None:  # noqa: N802 - SQLite's names
        try:
            super().xLock(level)
        except apsw.IOError:
            # SQLite goes on without this lock, of a file that it reads only, but apsw would raise it from whatever
            # called SQLite. Not so with another that has the lock, which is the same to SQLite.
            raise apsw.BusyError from None

    def xRead(self, amount: int, offset: int) -> Any:  # noqa: N802
        self.shim.call("read", self.path)
        return super().xRead(amount, offset)

    def xWrite(self, data: bytes, offset: int) -> None:  # noqa: N802
        self.shim.call("write", self.path)
        super().xWrite(data, offset)

    def xSync(self, flags: int) -> None:  # noqa: N802
        self.shim.call("sync", self.path)
        if self.shim.syncs:
            super().xSync(flags)

    def xTruncate(self, size: int) -> None:  # noqa: N802
        self.shim.call("truncate", self.path)
        super().xTruncate(size)


class Shim(apsw.VFS):
    """A context manager; connections that are opened within must be closed within."""

    syncs = True  # a test that does not need them is many times faster without

    def __init__(self) -> None:
        super().__init__(f"shim{next(_numbers)}", _REAL, makedefault=True)

    def __enter__(self) -> Self:
        self._before, sys.unraisablehook = sys.unraisablehook, self._unraisable
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        sys.unraisablehook = self._before
        self.unregister()

    def _unraisable(self, what: sys.UnraisableHookArgs) -> None:
        """Of several calls that failed in one statement apsw raises one, and tells of the others here."""
        if not issubclass(what.exc_type, apsw.Error):
            self._before(what)

    def call(self, call: Call, path: str) -> None:
        """What to do before a call: nothing, unless this is overridden. What it raises is the call's failure."""

    def file(self, path: str, name: str | apsw.URIFilename | None, flags: list[int]) -> ShimFile:
        return ShimFile(self, path, name, flags)

    def xOpen(self, name: str | apsw.URIFilename | None, flags: list[int]) -> ShimFile:  # noqa: N802
        path = name.filename() if isinstance(name, apsw.URIFilename) else name or ""
        self.call("open", path)
        return self.file(path, name, flags)

    def xDelete(self, path: str, sync_folder: bool) -> None:  # noqa: N802
        self.call("delete", path)
        super().xDelete(path, sync_folder)

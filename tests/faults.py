"""Calls to the operating system that fail: the n-th that SQLite makes, or that is made for files of the index.

Of the latter, in this process: opening, writing, syncing, linking, renaming and removing files, and making folders.
"""

from __future__ import annotations

import errno
import io
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Literal, Self, TypeAlias
from unittest.mock import patch

import apsw

from tests.shim import Call, Shim, kind_of

__all__ = ["FAULTS", "Fault", "Faults"]

# What happens: one call fails, or it and all that follow; for want of a disk that works, or of room on it.
Fault: TypeAlias = Literal["one fails", "all fail from there", "one finds no room", "all find no room from there"]
FAULTS: tuple[Fault, ...] = ("one fails", "all fail from there", "one finds no room", "all find no room from there")

_CODES: dict[Call, int] = {
    "open": apsw.SQLITE_CANTOPEN,
    "read": apsw.SQLITE_IOERR_READ,
    "write": apsw.SQLITE_IOERR_WRITE,
    "sync": apsw.SQLITE_IOERR_FSYNC,
    "truncate": apsw.SQLITE_IOERR_TRUNCATE,
    "delete": apsw.SQLITE_IOERR_DELETE,
}
_NEED_ROOM = ("write", "sync", "open for writing", "mkdir", "link", "rename")
_SYSTEM = ("fsync", "link", "rename", "unlink", "mkdir", "open")


class _Raw(io.FileIO):
    """A file of the index that is being written."""

    faults: Faults

    def write(self, data: Any) -> int:
        self.faults.strike("write", "index")
        return super().write(data)


class Faults(Shim):
    """Nothing fails but between `failing` and its end. Nothing is really synced."""

    syncs = False

    def __init__(self) -> None:
        super().__init__()
        self.fault: Fault = "one fails"
        self.count = self.number = 0
        self.armed = False
        self.where = ""  # the first call that failed
        self._patches = ExitStack()

    @contextmanager
    def failing(self, number: int, fault: Fault) -> Iterator[None]:
        """Let the call of this number fail."""
        self.number, self.fault, self.count, self.where = number, fault, 0, ""
        self.armed = True
        try:
            yield
        finally:
            self.armed = False

    def strike(self, call: str, on: str) -> None:
        """OSError if this call is to fail."""
        if not self.armed or ("room" in self.fault and call not in _NEED_ROOM):
            return
        self.count += 1
        if self.count == self.number or (self.count > self.number and self.fault.startswith("all")):
            self.where = self.where or f"{on} {call}"
            raise OSError(errno.ENOSPC if "room" in self.fault else errno.EIO, "made to fail")

    def call(self, call: Call, path: str) -> None:
        try:
            self.strike(call, kind_of(path))
        except OSError as error:
            full = error.errno == errno.ENOSPC and call == "write"  # SQLite hears of a full disk when it writes
            raise apsw.exception_for(apsw.SQLITE_FULL if full else _CODES[call]) from None

    def __enter__(self) -> Self:
        for name in _SYSTEM:
            self._patches.enter_context(patch.object(os, name, self._failing_call(name, getattr(os, name))))
        self._patches.enter_context(patch.object(Path, "open", self._failing_open(Path.open)))
        return super().__enter__()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._patches.close()
        super().__exit__(kind, error, trace)

    def _failing_call(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(*arguments: Any, **more: Any) -> Any:
            self.strike({"fsync": "sync"}.get(name, name), "index")
            return None if name == "fsync" else real(*arguments, **more)

        return call

    def _failing_open(self, real: Callable[..., Any]) -> Callable[..., Any]:
        def call(path: Path, mode: str = "r", *arguments: Any, **more: Any) -> IO[Any]:
            self.strike("open for writing" if "w" in mode else "open", "index")
            if not self.armed or mode != "wb":
                opened: IO[Any] = real(path, mode, *arguments, **more)
                return opened
            raw = _Raw(path, "wb")
            raw.faults = self
            return io.BufferedWriter(raw)

        return call

"""A file on its way: its bytes so far, what tells whether they still are those of its source, and their hashes.

`NAME.part~` holds the bytes and `NAME.resume~` what they are of. A later run goes on from there, also after SIGKILL.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import msgspec

from swath.blobs import CHUNK
from swath.download.checks import Checksum
from swath.download.names import PART, RESUME
from swath.errors import Locked

__all__ = ["Part", "Stamp", "sync_folder"]


class Stamp(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the bytes of a part are of: the validator that its source gave, and the size of the whole."""

    tag: str | None = None
    size: int | None = None


class Part:
    """The unfinished file of one target. A context manager; Locked where another process is at it."""

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(target.name + PART)
        self._resume = target.with_name(target.name + RESUME)
        self.size = 0
        self.stamp = Stamp()
        self.inherited = False  # whether some of it is of an earlier run
        self._hashes: dict[str, Any] = {}
        self._descriptor = -1

    def __enter__(self) -> Self:
        self.target.parent.mkdir(parents=True, exist_ok=True)
        self._descriptor = _locked(self.path)
        self.size = os.fstat(self._descriptor).st_size
        with suppress(OSError, msgspec.MsgspecError):
            self.stamp = msgspec.json.decode(self._resume.read_bytes(), type=Stamp)
        self.inherited = self.size > 0
        os.lseek(self._descriptor, 0, os.SEEK_END)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self.size:
            self.discard()
        os.close(self._descriptor)

    def trusted(self, checks: bool) -> bool:
        """Whether what an earlier run left may be gone on with. `checks`: its checksum will be compared.

        Without one, what a crash of the machine may have left is not believed: its size may be there before its bytes.
        """
        if not self.inherited or checks:
            return self.inherited
        clock = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)
        started = time.time() - time.clock_gettime(clock)
        return self.stamp.tag is not None and os.fstat(self._descriptor).st_mtime > started

    def clear(self, stamp: Stamp) -> None:
        """Begin anew, with bytes of another stamp. What was there goes first: it must never have the new stamp."""
        os.ftruncate(self._descriptor, 0)
        os.lseek(self._descriptor, 0, os.SEEK_SET)
        self.size, self.inherited, self.stamp = 0, False, stamp
        self._hashes = {}
        unfinished = self._resume.with_name(self._resume.name + "~")
        unfinished.write_bytes(msgspec.json.encode(stamp))
        os.replace(unfinished, self._resume)

    def shorten(self, size: int) -> None:
        """Forget what is behind so many bytes."""
        os.ftruncate(self._descriptor, size)
        os.lseek(self._descriptor, size, os.SEEK_SET)
        self.size = size
        self._hashes = {}

    def hash_for(self, checks: Iterable[Checksum | None]) -> None:
        """Hash from now on for these, and what is there already."""
        for check in checks:
            if check is None or check.algorithm in self._hashes:
                continue
            made = check.new()
            at = 0
            while at < self.size and (chunk := os.pread(self._descriptor, min(CHUNK, self.size - at), at)):
                made.update(chunk)
                at += len(chunk)
            self._hashes[check.algorithm] = made

    def write(self, chunk: bytes) -> None:
        view = memoryview(chunk)
        while view:
            view = view[os.write(self._descriptor, view) :]
        self.size += len(chunk)
        for made in self._hashes.values():
            made.update(chunk)

    def digest(self, check: Checksum) -> bytes:
        self.hash_for((check,))
        return bytes(self._hashes[check.algorithm].digest())

    def finish(self, modified: float | None) -> None:
        """Give it its name, once its bytes are safe on the disk."""
        if modified is not None:
            with suppress(OSError, OverflowError, ValueError):
                os.utime(self._descriptor, (time.time(), modified))
        os.fsync(self._descriptor)
        os.replace(self.path, self.target)
        sync_folder(self.target.parent)
        self._resume.unlink(missing_ok=True)

    def discard(self) -> None:
        self.path.unlink(missing_ok=True)
        self._resume.unlink(missing_ok=True)


def _locked(path: Path) -> int:
    """The file, open, and nobody else's while it is."""
    while True:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise Locked(f"another download is writing {path}") from None
        with suppress(FileNotFoundError):
            if os.path.samestat(os.stat(path, follow_symlinks=False), os.fstat(descriptor)):
                return descriptor
        os.close(descriptor)  # another finished it between our two calls


def sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

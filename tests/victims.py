"""Processes that edit a catalogue until they are killed, and tell of each edit through a pipe, before it and after it.

A line goes into the pipe at once, so lines of several threads and processes stand in the order in which they were
written: what stands as done before another edit is begun was acknowledged before that.
"""

from __future__ import annotations

import mmap
import os
import select
import signal
import time
from contextlib import ExitStack
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import cast

from swath.catalog import Catalog
from swath.catalog.bulk import Bulk, BulkOptions
from swath.store.sqlite import codec, writer
from tests.editing import Editors
from tests.edits import Diary, Edit, Word
from tests.shim import Call, Shim, kind_of

__all__ = ["Uploader", "Victims"]

_PATIENCE = 60.0  # seconds
_BOARD_BYTES = 64
_context = get_context("forkserver")  # what is imported once need not be for each of thousands of processes
_context.set_forkserver_preload(["tests.victims"])


class _Teller(Diary):
    """A diary whose lines go into a pipe."""

    def __init__(self, seed: str, pipe: Connection) -> None:
        super().__init__(seed)
        self.pipe = pipe

    def note(self, word: Word, edit: Edit) -> None:
        os.write(self.pipe.fileno(), f"{word} {edit.thread} {edit.number}\n".encode())


class _Watch(Shim):
    """Leaves word of SQLite's last call where it outlives the process."""

    def __init__(self, board: Path) -> None:
        super().__init__()
        with board.open("r+b") as file:
            self.board = mmap.mmap(file.fileno(), _BOARD_BYTES)

    def call(self, call: Call, path: str) -> None:
        if call != "read":
            self.board[:] = f"{kind_of(path)} {call}".encode().ljust(_BOARD_BYTES)


def _edit_until_killed(
    folder: Path, seed: str, numbers: range, first: bool, board: Path | None, pipe: Connection
) -> None:
    """Opens the catalogue, edits it and closes it, again and again; folds it meanwhile now and then.

    Logs are folded back, and dictionaries trained, after few writes already.
    """
    writer._CHECKPOINT_PAGES, codec._FIRST_ITEMS = 120, 30
    editors = Editors(_Teller(seed, pipe), numbers)
    with ExitStack() as stack:
        if board is not None:
            stack.enter_context(_Watch(board))
        while True:
            catalog = Catalog.open(folder, create=True)
            if first:
                editors.set_up(catalog)
            editors.run(catalog, 40, fold_every=0.02 if first else None)
            catalog.close()
            first = False


class Victims:
    """The processes that edit one catalogue at a time, and what they told."""

    def __init__(self, folder: Path, seed: str, board: Path | None = None) -> None:
        """With a board, the last call of SQLite is known: a file that has none of the catalogue's in its folder."""
        self.folder, self.board = folder, board
        self.diary = Diary(seed)
        self._heard, self._told = _context.Pipe(duplex=False)
        self._rest = b""
        if board is not None:
            board.write_bytes(b"start".ljust(_BOARD_BYTES))

    def begin(self, numbers: range, *, first: bool) -> BaseProcess:
        """A process with threads of these numbers. The first one makes what others need: begin them after an edit."""
        arguments = (self.folder, self.diary.seed, numbers, first, self.board, self._told)
        process = _context.Process(target=_edit_until_killed, args=arguments, daemon=True)
        process.start()
        return process

    def hear(self, seconds: float) -> None:
        """Listen for so long."""
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0:
            if select.select([self._heard], [], [], left)[0]:
                self._read()

    def hear_of(self, edits: int) -> None:
        """Listen until so many more edits are acknowledged."""
        wanted, until = self.diary.acknowledged + edits, time.monotonic() + _PATIENCE
        while self.diary.acknowledged < wanted:
            assert time.monotonic() < until, "no edit was acknowledged any more"
            if select.select([self._heard], [], [], 0.1)[0]:
                self._read()

    def kill(self, process: BaseProcess) -> bool:
        """False where it had ended of itself, which it should not."""
        assert process.pid is not None
        running = process.is_alive()
        if running:
            os.kill(process.pid, signal.SIGKILL)
        process.join()
        return running

    def close(self) -> None:
        """Hear the rest, when all are dead."""
        self._told.close()
        while self._read():
            pass
        self._heard.close()

    def last_call(self) -> str:
        return self.board.read_bytes().decode().strip() if self.board is not None else ""

    def _read(self) -> bool:
        data = os.read(self._heard.fileno(), 65536)
        *lines, self._rest = (self._rest + data).split(b"\n")
        for line in lines:
            word, thread, number = line.decode().split()
            self.diary.lines.append((cast("Word", word), int(thread), int(number)))
        return bool(data)


def _upload_until_killed(folder: Path, upload: Path, report: Path, pipe: Connection) -> None:
    """A bulk write that is a job. After each commit it names the line up to which everything is in."""
    writer._CHECKPOINT_PAGES, codec._FIRST_ITEMS = 500, 200
    catalog = Catalog.open(folder)
    bulk = Bulk(catalog, BulkOptions("c", mode="upsert", lines=True))
    bulk.run(upload, report, job="one", on_progress=lambda line, _: pipe.send(line))
    catalog.close()


class Uploader:
    """A process that writes the items of a file as a job, and names the last line of each commit."""

    def __init__(self, folder: Path, upload: Path, report: Path) -> None:
        self.named = 0
        self._heard, told = _context.Pipe(duplex=False)
        arguments = (folder, upload, report, told)
        self._process = _context.Process(target=_upload_until_killed, args=arguments, daemon=True)
        self._process.start()
        told.close()

    def kill(self, lines: int, seconds: float) -> bool:
        """Kill it so long after it has named so many lines; False where it was over before."""
        until = time.monotonic() + _PATIENCE
        while self.named < lines and self._hear(until - time.monotonic()):
            pass
        until = time.monotonic() + seconds
        while (left := until - time.monotonic()) > 0 and self._hear(left):
            pass
        running = self._process.is_alive()
        if running:
            self._process.kill()
        self._process.join()
        while self._hear(0):
            pass
        self._heard.close()
        return running

    def wait(self) -> None:
        """Until it is over."""
        self._process.join(_PATIENCE)
        assert self._process.exitcode == 0
        while self._hear(0):
            pass
        self._heard.close()

    def _hear(self, seconds: float) -> bool:
        """Listen for so long; False where nothing more comes."""
        try:
            if not self._heard.poll(max(0.0, seconds)):
                return False
            self.named = self._heard.recv()
        except (EOFError, OSError):
            return False
        return True

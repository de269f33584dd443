"""The process beside a server or a loader that folds what was written into segments.

It ends when its standard input does.
"""

from __future__ import annotations

import logging
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from swath.catalog import Catalog
from swath.store.columns.index import HISTORY
from swath.store.columns.manifest import FOLD_ROWS

__all__ = ["beside", "main"]

log = logging.getLogger("swath.store")

_EVERY_SECONDS = 1.0
_PATIENCE_SECONDS = 5.0
_PRUNE_SECONDS = 3_600.0
_NICE = 5  # searches come first, but folding must keep up with writes


class _Keeper:
    """Keeps the process running, from a while on until it is no longer wanted."""

    def __init__(self, folder: Path, after: float, least: int, days: float) -> None:
        self.folder, self.after, self.least, self.over = folder.absolute(), after, least, threading.Event()
        self.days = days
        self.process: subprocess.Popen[bytes] | None = None
        self.thread = threading.Thread(target=self._watch, daemon=True)
        self.thread.start()

    def _watch(self) -> None:
        wait = self.after
        while not self.over.wait(wait):
            wait = _EVERY_SECONDS
            if self.process is not None and (code := self.process.poll()) is not None:
                log.warning("the process that folds the index ended with %d; starting it again", code)
                self.process, wait = None, _PATIENCE_SECONDS
            elif self.process is None:
                command = [
                    sys.executable,
                    "-P",
                    "-m",
                    "swath.cli.folding",
                    str(self.folder.absolute()),
                    str(self.least),
                    str(self.days),
                ]
                self.process = subprocess.Popen(command, stdin=subprocess.PIPE, start_new_session=True)

    def close(self, patience: float | None) -> None:
        self.over.set()
        self.thread.join()
        if self.process is None:
            return
        assert self.process.stdin is not None
        with suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(patience)
        except subprocess.TimeoutExpired:  # killing it at any point is safe
            self.process.kill()
            self.process.wait()


@contextmanager
def beside(
    folder: Path, *, after: float = 0.0, least: int = FOLD_ROWS, finish: bool = False, days: float = 0.0
) -> Iterator[None]:
    """Run the process while something else runs. It dies with this one, since the pipe between them closes.

    It begins `after` so many seconds and folds when there are `least` versions; `finish` waits for the fold it is in.
    What ended more than so many `days` ago is taken away; 0 keeps all.
    """
    if not os.access(folder, os.W_OK):  # a catalogue on read-only media has no need of it
        yield
        return
    keeper = _Keeper(folder, after, least, days)
    try:
        yield
    finally:
        keeper.close(None if finish and sys.exc_info()[0] is None else _PATIENCE_SECONDS)


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # it goes when the process that began it goes
    with suppress(OSError):
        os.nice(_NICE)
    folder, least, days = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    catalog = Catalog.open(folder)
    prune_at = time.monotonic() + _PRUNE_SECONDS / 60
    while not select.select([sys.stdin], [], [], _EVERY_SECONDS)[0]:
        try:
            catalog.index.fold(least)
            if (folder / HISTORY).is_dir():  # somebody has looked further back than searches do
                catalog.fold_past()
            if days and time.monotonic() > prune_at:
                prune_at = time.monotonic() + _PRUNE_SECONDS
                catalog.ledger.prune(days * 86_400)
        except Exception:  # a full disk, say: the ledger holds everything, and the next time may go better
            log.warning("folding failed", exc_info=True)
    catalog.close()


if __name__ == "__main__":
    main()

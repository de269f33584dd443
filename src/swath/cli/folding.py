"""The process beside a server that folds what was written into segments. Ends when its standard input does."""

from __future__ import annotations

import logging
import os
import select
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from swath.catalog import Catalog

__all__ = ["beside", "main"]

log = logging.getLogger("swath.store")

_EVERY_SECONDS = 2.0


@contextmanager
def beside(folder: Path) -> Iterator[None]:
    """Run the process while something else runs. It dies with this one, since the pipe between them closes."""
    if not os.access(folder, os.W_OK):  # a catalogue on read-only media has no need of it
        yield
        return
    process = subprocess.Popen([sys.executable, "-m", "swath.cli.folding", str(folder)], stdin=subprocess.PIPE)
    try:
        yield
    finally:
        assert process.stdin is not None
        process.stdin.close()
        try:
            process.wait(5)
        except subprocess.TimeoutExpired:  # killing it at any point is safe
            process.kill()
            process.wait()


def main() -> None:
    with suppress(OSError):
        os.nice(10)
    catalog = Catalog.open(sys.argv[1])
    while not select.select([sys.stdin], [], [], _EVERY_SECONDS)[0]:
        try:
            catalog.index.fold()
        except Exception:  # a full disk, say: the ledger holds everything, and the next time may go better
            log.warning("folding failed", exc_info=True)
    catalog.close()


if __name__ == "__main__":
    main()

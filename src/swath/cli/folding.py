"""The process beside a server or a loader that folds what was written into segments."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path

from swath.catalog import Catalog
from swath.cli.companion import Companion, become_companion, wanted
from swath.store.base import Ledger
from swath.store.columns.index import HISTORY
from swath.store.columns.manifest import FOLD_ROWS

__all__ = ["beside", "main"]

log = logging.getLogger("swath.store")

_EVERY_SECONDS = 1.0
_PRUNE_SECONDS = 3_600.0
_NICE = 5  # searches come first, but folding must keep up with writes


@contextmanager
def beside(
    folder: Path, *, after: float = 0.0, least: int = FOLD_ROWS, finish: bool = False, days: float = 0.0
) -> Iterator[None]:
    """Run the process while something else runs. It dies with this one, since the pipe between them closes.

    It begins `after` so many seconds, where there is something to fold or to look after, and folds when there are
    `least` versions; `finish` waits for the fold it is in. What ended more than so many `days` ago is taken away; 0
    keeps all.
    """
    if not os.access(folder, os.W_OK):  # a catalogue on read-only media has no need of it
        yield
        return
    arguments = (str(folder.absolute()), str(least), str(days))
    with closing(Catalog.open(folder, builds=False)) as catalog:
        due = partial(_is_due, catalog.ledger, folder, least, days)
        with Companion("swath.cli.folding", arguments, "folds the index", after=after, finish=finish, due=due):
            yield


def _is_due(ledger: Ledger, folder: Path, least: int, days: float) -> bool:
    """Whether there is anything to do now or later; a small catalogue has neither segments nor a past to care for."""
    return bool(days) or bool(ledger.manifest()[1]) or ledger.head() >= least or (folder / HISTORY).is_dir()


def main() -> None:
    become_companion(_NICE)
    folder, least, days = Path(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
    catalog = Catalog.open(folder)
    prune_at = time.monotonic() + _PRUNE_SECONDS / 60
    while wanted(_EVERY_SECONDS):
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

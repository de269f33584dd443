"""`swath work`: deliveries become STAC collections; and the same as a process beside a server."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from pathlib import Path
from typing import Any

from swath.assets import AssetStore
from swath.assets.working import work_on_deliveries
from swath.blobs import open_blobs
from swath.catalog import Catalog
from swath.cli.companion import become_companion, wanted
from swath.config import Settings
from swath.delivery.converting import Converters, LocalConverters
from swath.errors import CatalogUnusable

__all__ = ["main", "open_store", "run_work", "working"]

_NICE = 10


def open_store(catalog: Catalog, settings: Settings) -> AssetStore:
    """The asset store of a catalogue that lies in a folder."""
    assert catalog.folder is not None
    return AssetStore(catalog, open_blobs(settings.blobs, catalog.folder))


def run_work(folder: Path, dask: str | None) -> int:
    """Work until Ctrl-C."""
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    over = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: over.set())
    where = f"on the Dask cluster {dask}" if dask else "here"
    print(f"Working on the deliveries of {folder} {where} (stop with Ctrl-C)", file=sys.stderr, flush=True)
    working(folder, Settings(), over, dask)
    return 0


def working(folder: Path, settings: Settings, over: threading.Event, dask: str | None = None) -> None:
    """Work on a catalogue's deliveries until it is over."""
    workers = settings.delivery_workers or os.cpu_count() or 1
    catalog = Catalog.open(folder, builds=False)
    converters = _converters(dask, workers)
    try:
        kept = settings.history_days * 86_400.0 if settings.history_days else None
        work_on_deliveries(open_store(catalog, settings), converters, over, workers, kept)
    finally:
        converters.close()
        catalog.close()


def _converters(dask: str | None, workers: int) -> Converters:
    if dask is None:
        return LocalConverters(workers)
    try:
        from swath.delivery.cluster import DaskConverters
    except ImportError:
        raise CatalogUnusable("working on a Dask cluster needs: pip install 'swath[dask]'") from None
    return DaskConverters(dask)


def main() -> None:
    """Beside a server."""
    become_companion(_NICE)
    over = threading.Event()

    def watch() -> None:
        while wanted(1.0):
            pass
        over.set()

    threading.Thread(target=watch, daemon=True).start()
    arguments: list[Any] = sys.argv[1:]
    working(Path(arguments[0]), Settings(), over)
    os._exit(0)  # a conversion that is under way would be waited for; the next worker goes on


if __name__ == "__main__":
    main()

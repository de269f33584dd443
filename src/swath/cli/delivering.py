"""`swath deliver`: a ZIP, a tar, a folder or a file as it came from the provider."""

from __future__ import annotations

import json
import sys
import threading
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from swath.assets import AssetStore
from swath.assets.folders import packed
from swath.assets.said import Said, clean_name, said_of
from swath.assets.staging import staged
from swath.catalog import Catalog
from swath.cli.working import open_store, working
from swath.config import Settings
from swath.errors import InvalidRequest, SwathError
from swath.http.files import metadata_of
from swath.store.records import DeliveryRecord

__all__ = ["run_deliver"]


def run_deliver(folder: Path, paths: tuple[Path, ...], words: dict[str, Any], *, wait: bool, as_json: bool) -> int:
    """Exit code 1 where all failed, 3 where some did."""
    said = said_of({name: value for name, value in words.items() if value})
    for path in paths:
        if not path.exists():
            raise InvalidRequest(f"there is no {path}")
    settings = Settings()
    catalog = Catalog.open(folder, create=True)
    try:
        store = open_store(catalog, settings)
        taken = [_take(store, path, said) for path in paths]
        if wait:
            taken = _wait(store, folder, settings, taken)
            while catalog.index.fold():
                pass
        for delivery in taken:
            _tell(store, delivery, as_json=as_json)
    finally:
        catalog.close()
    failed = sum(each.status == "FAILED" for each in taken)
    return 0 if not failed else 1 if failed == len(taken) else 3


def _take(store: AssetStore, path: Path, said: Said) -> DeliveryRecord:
    store.jobs.folder.mkdir(exist_ok=True)
    name = clean_name(path.resolve().name)
    if path.is_dir():
        file, sha256 = packed(path, store.jobs.folder)
        name += ".zip"
    else:
        file, sha256 = staged(path, store.jobs.folder)
    try:
        return store.receive(file, name, said, "command line", sha256)
    finally:
        file.unlink(missing_ok=True)


def _wait(store: AssetStore, folder: Path, settings: Settings, taken: list[DeliveryRecord]) -> list[DeliveryRecord]:
    """Work here until all have ended; a worker beside a server may do some of them."""
    over = threading.Event()
    worker = threading.Thread(target=working, args=(folder, settings, over), daemon=True)
    worker.start()
    console = Console(stderr=True)
    try:
        with Progress(console=console, disable=not console.is_terminal) as progress:
            bars = {each.id: progress.add_task(each.name, total=None) for each in taken}
            while True:
                now = [store.files.delivery(each.id) or each for each in taken]
                for each in now:
                    _show(store, progress, bars[each.id], each)
                if all(each.status != "IN_PROGRESS" for each in now):
                    return now
                if not worker.is_alive():
                    raise SwathError("the worker ended before the deliveries were done; see what it printed")
                time.sleep(0.1)
    finally:
        over.set()
        worker.join(5.0)


def _show(store: AssetStore, progress: Progress, bar: Any, delivery: DeliveryRecord) -> None:
    if delivery.status != "IN_PROGRESS":
        progress.update(bar, total=1, completed=1, description=f"{delivery.name}: {delivery.status.lower()}")
        return
    told = store.jobs.progress(store.jobs.get(delivery.id))
    if told:
        progress.update(bar, total=told.get("of") or None, completed=told.get("done") or 0,
                        description=f"{delivery.name}: {told.get('step', '')}")  # fmt: skip


def _tell(store: AssetStore, delivery: DeliveryRecord, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(metadata_of(store, delivery), ensure_ascii=False))
    elif delivery.status == "FAILED":
        print(f"failed    {delivery.name}: {delivery.reason}", file=sys.stderr)
    elif delivery.status == "IN_PROGRESS":
        print(f"{delivery.id}  {delivery.name}: taken in; `swath work` or a server makes STAC of it")
    else:
        print(f"{delivery.id}  {delivery.name}: collection {delivery.collection}")

"""`swath mirror`."""

from __future__ import annotations

import math
import sys
import time
from collections.abc import Callable
from pathlib import Path

from swath.catalog import Catalog
from swath.catalog.mirroring import ApiSource, CatalogSource, Mirror, Source
from swath.cli.folding import beside
from swath.cli.loading import run_load
from swath.cli.remote import Remote
from swath.errors import Gone, InvalidRequest
from swath.formats.web import Client, is_address, read_headers

__all__ = ["run_mirror"]


def run_mirror(
    folder: Path,
    source: str,
    collections: list[str] | None,
    header: list[str] | None,
    *,
    once: bool,
    restart: bool,
    interval: float,
) -> int:
    names = [name for part in collections or () for name in part.split(",") if name] or None
    if not 1 <= interval < math.inf:
        raise InvalidRequest(f"--interval {interval:g} is not 1 or more")
    if not is_address(source):
        if header:
            raise InvalidRequest("--header is for addresses")
        if Path(source).resolve() == folder.resolve():
            raise InvalidRequest(f"{source} cannot be a mirror of itself")
        other = Catalog.open(source, builds=False)
        try:
            local = CatalogSource(other, str(Path(source).resolve()), names)
            return _follow(folder, local, names, once=once, restart=restart)
        finally:
            other.close()
    with Client(source, read_headers(header or ()), told=lambda words: _say(f"waiting: {words}")) as client:
        api = ApiSource(client, source, names)
        if api.has_feed():
            return _follow(folder, api, names, once=once, restart=restart)
    _say(f"{source} has no feed of changes: what is updated there is asked for, and what is deleted cannot be seen")
    _begin(folder, api.name, names, restart=restart)
    remote = Remote(names, header, restart=restart)
    while True:
        code = run_load(folder, [source], "upsert", None, None, remote, as_json=False)
        if once:
            return code
        remote = Remote(names, header)
        time.sleep(interval)


def _begin(folder: Path, name: str, names: list[str] | None, *, restart: bool) -> None:
    catalog = Catalog.open(folder, create=True)
    try:
        Mirror(catalog, name, names).begin(restart=restart)
    finally:
        catalog.close()


def _follow(folder: Path, source: Source, names: list[str] | None, *, once: bool, restart: bool) -> int:
    catalog = Catalog.open(folder, create=True)
    shown = source.name
    try:
        mirror = Mirror(catalog, shown, names)
        mirror.begin(restart=restart)
        with beside(folder, after=1.0, finish=once):
            done = mirror.follow(source, once=once, on_progress=_printer(shown))
        while once and catalog.index.fold():
            pass
    except Gone:
        raise Gone(
            f"{shown} was restored from a backup since, or is another catalogue now; copy it again with: "
            f"swath mirror {folder} {shown} --restart"
        ) from None
    finally:
        catalog.close()
    _say(f"{folder}: {done:,} changes taken from {shown}")
    return 0


def _printer(shown: str) -> Callable[[int, bool], None]:
    """At most a line a second, and one when everything is there."""
    last, told = 0.0, -1

    def progress(done: int, complete: bool) -> None:
        nonlocal last, told
        now = time.monotonic()
        if done != told and (complete or now - last >= 1.0):
            last, told = now, done
            _say(f"{done:,} changes of {shown}{': up to date' if complete else ''}")

    return progress


def _say(words: str) -> None:
    print(words, file=sys.stderr, flush=True)

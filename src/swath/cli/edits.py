"""What the commands of `cli.editing` do."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import msgspec

from swath.access import EVERYTHING
from swath.catalog import Catalog
from swath.catalog.changes import Feed, event_json
from swath.catalog.history import History, Version
from swath.catalog.writing import Terms, Writing
from swath.errors import InvalidRequest
from swath.limits import LIMITS
from swath.stac.time import format_instant

__all__ = ["run_changes", "run_delete", "run_settings", "run_trash", "run_undelete", "run_versions"]

_LOOK_SECONDS = 0.5
_SETTINGS = {"validation": ("off", "warn", "enforce"), "cache_control": None}
_TERMS = Terms("cli")


@contextmanager
def _opened(folder: Path) -> Iterator[Catalog]:
    catalog = Catalog.open(folder)
    try:
        yield catalog
    finally:
        catalog.close()


def run_delete(folder: Path, collection: str, item: str | None, *, cascade: bool) -> int:
    with _opened(folder) as catalog:
        if item is None:
            Writing(catalog).delete_collection(collection, _TERMS, cascade=cascade)
        else:
            Writing(catalog).delete_item(collection, item, _TERMS)
    print(f"deleted; swath undelete {folder} {collection}{f' {item}' if item else ''} brings it back", file=sys.stderr)
    return 0


def run_undelete(folder: Path, collection: str, item: str | None, version: str | None) -> int:
    with _opened(folder) as catalog:
        if item is None:
            done = Writing(catalog).restore_collection(collection, version, _TERMS)
        else:
            done = Writing(catalog).restore_item(collection, item, version, _TERMS)
    print(done.outcome.value, file=sys.stderr)
    return 0


def run_versions(folder: Path, collection: str, item: str | None, *, as_json: bool) -> int:
    with _opened(folder) as catalog:
        _print(History(catalog).versions(collection, item, EVERYTHING), as_json=as_json)
    return 0


def run_trash(folder: Path, collection: str | None, *, as_json: bool) -> int:
    with _opened(folder) as catalog:
        history = History(catalog)
        if collection is None:
            _print(history.deleted_collections(EVERYTHING), as_json=as_json, ids=True, tags=True)
            return 0
        after = ""
        while found := history.deleted_items(collection, after, LIMITS.collections_default, EVERYTHING):
            _print(found, as_json=as_json, ids=True)
            after = found[-1].id
    return 0


def _print(found: Sequence[Version], *, as_json: bool, ids: bool = False, tags: bool = False) -> None:
    for each in found:
        told = {"id": each.id, "version": each.tag, "at": format_instant(each.at), "actor": each.actor,
                "deleted": each.deleted, "restorable": each.restorable}  # fmt: skip
        if as_json:
            print(msgspec.json.encode(told).decode())
        else:
            state = "deleted" if each.deleted else "" if each.restorable else "not kept any more"
            names = (each.id if ids else "", each.tag if tags or not ids else "")
            words = (*names, format_instant(each.at), each.actor, "" if ids else state)
            print("  ".join(filter(None, words)))


def run_changes(
    folder: Path, since: str | None, collections: list[str] | None, text: str | None, *, follow: bool
) -> int:
    with _opened(folder) as catalog:
        feed = Feed(
            catalog, collections=collections, filter=text, filter_lang="cql2-text" if text is not None else None
        )
        position = feed.place(since)
        while True:
            reading = feed.read(position, LIMITS.feed_page)
            position = reading.position
            for event in reading.events:
                sys.stdout.buffer.write(event_json(event, None, feed.token) + b"\n")
            sys.stdout.flush()
            if reading.complete:
                if not follow:
                    return 0
                time.sleep(_LOOK_SECONDS)


def run_settings(folder: Path, collection: str, values: Sequence[str], *, as_json: bool) -> int:
    with _opened(folder) as catalog:
        catalog.check_collection(collection, EVERYTHING)
        for each in values:
            name, equals, value = each.partition("=")
            if name not in _SETTINGS or not equals:
                raise InvalidRequest(f"{each[:80]!r} is not NAME=VALUE; the settings are {', '.join(_SETTINGS)}")
            allowed = _SETTINGS[name]
            if value and allowed is not None and value not in allowed:
                raise InvalidRequest(f"{name}: {value[:40]!r} is none of {', '.join(allowed)}")
            if not value.isprintable() or not value.isascii():
                raise InvalidRequest(f"{name}: a value is printable ASCII")
            catalog.ledger.set(collection, name, value or None)
        found = catalog.ledger.settings(collection)
    if as_json:
        print(msgspec.json.encode(found).decode())
    else:
        for name, value in sorted(found.items()):
            print(f"{name}={value}")
    return 0

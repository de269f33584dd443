"""Writing a catalogue out: NDJSON, GeoParquet, or a folder that is a static catalogue."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from swath.access import EVERYTHING, Rule
from swath.catalog.catalog import Catalog
from swath.cql2.ast import Predicate
from swath.errors import InvalidRequest
from swath.formats import parquet
from swath.limits import LIMITS

__all__ = ["export"]


def export(catalog: Catalog, target: Path, expression: Predicate, rule: Rule) -> int:
    """Write the selected items (and, for NDJSON, their collections) to a file; returns the number of items.

    The format is told by the ending: `.ndjson` or `.jsonl`, `.parquet`. The file appears when it is complete.
    """
    suffix = target.suffix.lower()
    if suffix not in (".ndjson", ".jsonl", ".parquet", ".geoparquet"):
        raise InvalidRequest(f"cannot tell a format from {target.name!r}; end the name in .ndjson or .parquet")
    unfinished = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        if suffix in (".ndjson", ".jsonl"):
            count = 0
            with unfinished.open("wb") as stream:
                for line, is_item in _documents(catalog, expression, rule):
                    stream.write(line + b"\n")
                    count += is_item
                stream.flush()
                os.fsync(stream.fileno())
        else:
            count = parquet.write_items(unfinished, (item.body for item in catalog.walk(expression, rule)))
        unfinished.replace(target)
    finally:
        unfinished.unlink(missing_ok=True)
    return count


def lines(catalog: Catalog, expression: Predicate, rule: Rule) -> Iterator[bytes]:
    """Collections, then items, as they are stored: one JSON text each."""
    return (line for line, _ in _documents(catalog, expression, rule))


def _documents(catalog: Catalog, expression: Predicate, rule: Rule) -> Iterator[tuple[bytes, bool]]:
    """Each document, and whether it is an item. Of collections, those of selected items; all if all are selected."""
    wanted = None if expression == EVERYTHING else catalog.collection_keys(expression, rule)
    token: str | None = None
    while True:
        page = catalog.collections(LIMITS.collections_default, token, rule)
        for view in page.collections:
            if wanted is None or view.key in wanted:
                yield view.body, False
        token = page.next
        if token is None:
            break
    for item in catalog.walk(expression, rule):
        yield item.body, True

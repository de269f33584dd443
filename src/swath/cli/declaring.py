"""`swath queryables`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from swath.access import EVERYTHING
from swath.catalog import Catalog
from swath.catalog.writing import Terms, Writing
from swath.errors import InvalidDocument, NotFound
from swath.store.records import Outcome

__all__ = ["run_queryables"]


def run_queryables(folder: Path, collection: str | None, file: str | None, *, remove: bool) -> int:
    catalog = Catalog.open(folder)
    try:
        if collection is None or (file is None and not remove):
            print(json.dumps(catalog.queryables(collection, EVERYTHING), indent=2, ensure_ascii=False))
            return 0
        schema = None
        if file is not None:
            schema = sys.stdin.buffer.read() if file == "-" else Path(file).read_bytes()
        try:
            outcome = Writing(catalog).declare(collection, schema, Terms("cli"))
        except InvalidDocument as error:
            raise InvalidDocument(f"{file}: {error}") from None
    finally:
        catalog.close()
    if outcome is Outcome.MISSING:
        raise NotFound(f"the collection {collection!r} declares no queryables")
    words = {Outcome.DELETED: "taken back", Outcome.UNCHANGED: "unchanged"}.get(outcome, "declared")
    print(f"queryables of {collection}: {words}", file=sys.stderr)
    return 0

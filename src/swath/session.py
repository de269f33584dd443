"""The catalogue in Python: the use cases in this process, with plain values.

catalog = swath.open("scenes")
for item in catalog.search(collections=["naip"], datetime="2022-01-01T00:00:00Z/..", limit=5):
    print(item["id"])
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import msgspec

from swath.access import EVERYTHING, Rule
from swath.catalog import Catalog, SearchRequest, build_search
from swath.catalog.exporting import export
from swath.catalog.loading import LoadReport, load
from swath.catalog.request import parse_sort_text
from swath.errors import InvalidRequest, NotFound
from swath.formats.reading import Document, Unreadable, read_source
from swath.limits import LIMITS
from swath.search import Search, StoredItem
from swath.store.base import Mode, Operation, Outcome, Removal

__all__ = ["Results", "Session"]

log = logging.getLogger("swath.store")


class Results:
    """The items of a search, read page by page as they are asked for. May be iterated again."""

    def __init__(self, catalog: Catalog, search: Search, limit: int | None, rule: Rule) -> None:
        self._catalog, self._search, self._limit, self._rule = catalog, search, limit, rule

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (msgspec.json.decode(item.body) for item in self.stored())

    def stored(self) -> Iterator[StoredItem]:
        """The items as they are stored."""
        left = self._limit
        search = replace(self._search, count="none")
        while True:
            size = LIMITS.page_max if left is None else min(left, LIMITS.page_max)
            page = self._catalog.search(replace(search, limit=min(size, 1_000)), self._rule)
            yield from page.items
            if left is not None:
                left -= len(page.items)
            if page.next is None or left == 0:
                return
            search = replace(search, token=page.next)

    @property
    def matched(self) -> int:
        """How many items there are in all, whatever the limit."""
        page = self._catalog.search(replace(self._search, limit=1, count="exact"), self._rule)
        assert page.matched is not None
        return page.matched


class Session:
    """An open catalogue. A context manager; safe to use from several threads."""

    def __init__(self, catalog: str | Path, *, create: bool = False, rule: Rule = EVERYTHING) -> None:
        """CatalogUnusable when there is none in that folder and `create` is false."""
        self._catalog = Catalog.open(catalog, create=create)
        self._rule = rule

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._catalog.close()

    def search(
        self,
        *,
        collections: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        bbox: Sequence[float] | None = None,
        intersects: dict[str, Any] | None = None,
        datetime: str | None = None,
        query: dict[str, Any] | None = None,
        filter: str | dict[str, Any] | None = None,  # noqa: A002 - the parameter's name in STAC
        sortby: str | None = None,
        limit: int | None = None,
    ) -> Results:
        """Items in order, newest first unless `sortby` (`-eo:cloud_cover,id`) says otherwise.

        `filter` is CQL2 text or, as a dict, CQL2 JSON. `limit` None: all. InvalidRequest names what is wrong.
        """
        if limit is not None and limit < 1:
            raise InvalidRequest(f"limit: {limit} is not 1 or more")
        request = SearchRequest(
            collections=collections,
            ids=ids,
            bbox=bbox,
            intersects=intersects,
            datetime=datetime,
            query=query,
            filter=filter,
            sortby=parse_sort_text(sortby) if sortby else None,
        )
        return Results(self._catalog, build_search(request), limit, self._rule)

    def count(self, **parameters: Any) -> int:
        """How many items a search would find; takes the parameters of `search`."""
        return self.search(**parameters).matched

    def get(self, collection: str, item: str) -> dict[str, Any]:
        """One item as it was written. NotFound when it is not there."""
        found: dict[str, Any] = msgspec.json.decode(self._catalog.item(collection, item, self._rule).body)
        return found

    def collections(self) -> Iterator[dict[str, Any]]:
        """Every collection, by id."""
        token = None
        while True:
            page = self._catalog.collections(LIMITS.collections_default, token, self._rule)
            for view in page.collections:
                derived = {name: msgspec.json.decode(value) for name, value in view.derived.items()}
                yield msgspec.json.decode(view.body) | derived
            token = page.next
            if token is None:
                return

    def queryables(self, collection: str | None = None) -> dict[str, Any]:
        """Name and JSON Schema of what can be filtered by."""
        properties: dict[str, Any] = self._catalog.queryables(collection, self._rule)["properties"]
        return properties

    def declare_queryables(self, collection: str, schema: dict[str, Any] | None) -> None:
        """Declare a collection's queryables with a JSON Schema; None takes the declaration back.

        Declared types win over what the data look like, and `additionalProperties: false` refuses other names.
        InvalidDocument says what is wrong with a schema.
        """
        raw = msgspec.json.encode(schema) if schema is not None else None
        self._catalog.declare(collection, raw, self._rule, "python")

    def write(
        self, documents: Iterable[dict[str, Any]], *, mode: Mode = "upsert", collection: str | None = None
    ) -> LoadReport:
        """Store items and collections. The report names each refused one and its reason."""

        def read() -> Iterator[Document | Unreadable]:
            for number, document in enumerate(documents, 1):
                try:
                    raw = json.dumps(document, allow_nan=False, ensure_ascii=False, separators=(",", ":")).encode()
                except (TypeError, ValueError, RecursionError) as error:
                    yield Unreadable("documents", number, f"cannot be written as JSON: {error}")
                else:
                    yield Document(raw, "documents", number)

        return self._folded(load(self._catalog.ledger, read(), mode=mode, collection=collection, actor="python"))

    def _folded(self, report: LoadReport) -> LoadReport:
        try:
            self._catalog.index.fold()
        except Exception:  # what was written is safe; the next time may go better
            log.warning("folding failed", exc_info=True)
        return report

    def remove(self, collection: str, item: str) -> None:
        """Delete an item; its versions stay in the history. NotFound when it is not there."""
        removal = Removal(Operation.DELETE_ITEM, item, collection)
        outcome = self._catalog.ledger.write([removal], "upsert", "python")[0]
        if outcome is Outcome.MISSING:
            raise NotFound(f"there is no item {item!r} in a collection {collection!r}")

    def load(self, *sources: str | Path, mode: Mode = "upsert", collection: str | None = None) -> LoadReport:
        """Store what files and folders hold; see `swath load`."""
        documents = (document for source in sources for document in read_source(str(source)))
        return self._folded(load(self._catalog.ledger, documents, mode=mode, collection=collection, actor="python"))

    def export(self, target: str | Path, **parameters: Any) -> int:
        """Write the items that a search finds to an `.ndjson` or `.parquet` file; returns how many."""
        expression = build_search(SearchRequest(**parameters)).expression
        return export(self._catalog, Path(target), expression, self._rule)

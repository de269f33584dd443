"""The catalogue in Python: the use cases in this process, with plain values.

catalog = swath.open("scenes")
for item in catalog.search(collections=["naip"], datetime="2022-01-01T00:00:00Z/..", limit=5):
    print(item["id"])
"""

from __future__ import annotations

import itertools
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
from swath.stac.time import parse_temporal
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

    def explained(self) -> dict[str, Any]:
        """How the first page is found: what was counted, which way was taken, rows and milliseconds of each step."""
        size = min(self._limit or LIMITS.page_default, LIMITS.page_max)
        return self._catalog.search(replace(self._search, limit=size, count="none"), self._rule).explained()

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
        self._folder = Path(catalog)
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
        request = _request(
            {"collections": collections, "ids": ids, "bbox": bbox, "intersects": intersects, "datetime": datetime,
             "query": query, "filter": filter, "sortby": sortby}
        )  # fmt: skip
        return Results(self._catalog, build_search(request), limit, self._rule)

    def count(self, **parameters: Any) -> int:
        """How many items a search would find; takes the parameters of `search`."""
        return self.search(**parameters).matched

    def histogram(self, name: str, edges: Sequence[float | str], **parameters: Any) -> list[int]:
        """How many of the items that a search would find have a value in each range [edge, next edge).

        The last range includes its end. `name` is that of a number, or `datetime` with instants as edges
        (`"2020-01-01T00:00:00Z"`). Other parameters are those of `search`.
        """
        found = [_edge(name, edge) for edge in edges]
        if len(found) < 2 or any(a >= b for a, b in itertools.pairwise(found)):
            raise InvalidRequest("edges: give two or more, ascending")
        return self._catalog.histogram(build_search(_request(parameters)).expression, name, found, self._rule)

    def grid(self, degrees: float, **parameters: Any) -> list[tuple[float, float, int]]:
        """West, south and count of each cell in which items that a search would find have the centre of their box."""
        if not 0.1 <= degrees <= 180:
            raise InvalidRequest(f"degrees: {degrees} is not between 0.1 and 180")
        found = self._catalog.grid(build_search(_request(parameters)).expression, degrees, self._rule)
        return [(column * degrees - 180, row * degrees - 90, count) for (column, row), count in sorted(found.items())]

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
            while self._catalog.index.fold():
                pass
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
        return self._folded(
            load(self._catalog.ledger, documents, mode=mode, collection=collection, actor="python", folder=self._folder)
        )

    def export(self, target: str | Path, **parameters: Any) -> int:
        """Write the items that a search finds to an `.ndjson` or `.parquet` file; returns how many."""
        expression = build_search(SearchRequest(**parameters)).expression
        return export(self._catalog, Path(target), expression, self._rule)


def _request(parameters: dict[str, Any]) -> SearchRequest:
    sortby = parameters.pop("sortby", None)
    return SearchRequest(**parameters, sortby=parse_sort_text(sortby) if sortby else None)


def _edge(name: str, edge: float | str) -> float:
    if name != "datetime":
        if isinstance(edge, str):
            raise InvalidRequest(f"edges: {edge[:40]!r} is no number")
        return edge
    span = parse_temporal(edge) if isinstance(edge, str) else None
    if span is None:
        raise InvalidRequest(f"edges: {str(edge)[:40]!r} is no instant, such as '2020-01-01T00:00:00Z'")
    return span[0]

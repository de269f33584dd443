"""The catalogue in Python: the use cases in this process, with plain values.

catalog = swath.open("scenes")
for item in catalog.search(collections=["naip"], datetime="2022-01-01T00:00:00Z/..", limit=5):
    print(item["id"])
"""

from __future__ import annotations

import itertools
import json
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import msgspec

from swath.access import EVERYTHING, Rule
from swath.catalog import Catalog, SearchRequest, build_search
from swath.catalog.changes import Event, Feed
from swath.catalog.exporting import export
from swath.catalog.history import History, Version
from swath.catalog.loading import LoadReport, load
from swath.catalog.preparing import Preparing
from swath.catalog.request import parse_sort_text
from swath.catalog.results import Results
from swath.catalog.writing import Terms, Writing
from swath.errors import InvalidRequest
from swath.formats.reading import Document, Unreadable, read_source
from swath.limits import LIMITS
from swath.stac.patching import merge_patch
from swath.stac.time import parse_temporal
from swath.store.records import Mode

if TYPE_CHECKING:
    from swath.download import File

__all__ = ["Results", "Session"]

log = logging.getLogger("swath.store")


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
        as_of: str | None = None,
    ) -> Results:
        """Items in order, newest first unless `sortby` (`-eo:cloud_cover,id`) says otherwise.

        `filter` is CQL2 text or, as a dict, CQL2 JSON. `limit` None: all. `as_of`: as they were at that instant.
        InvalidRequest names what is wrong.
        """
        if limit is not None and limit < 1:
            raise InvalidRequest(f"limit: {limit} is not 1 or more")
        request = _request(
            {"collections": collections, "ids": ids, "bbox": bbox, "intersects": intersects, "datetime": datetime,
             "query": query, "filter": filter, "sortby": sortby, "as_of": as_of}
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
        Writing(self._catalog).declare(collection, raw, self._terms())

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

        return self._folded(
            load(self._catalog.ledger, read(), mode=mode, preparing=Preparing(collection), actor="python")
        )

    def _folded(self, report: LoadReport) -> LoadReport:
        try:
            while self._catalog.index.fold():
                pass
        except Exception:  # what was written is safe; the next time may go better
            log.warning("folding failed", exc_info=True)
        return report

    def patch(self, collection: str, item: str, changes: dict[str, Any]) -> dict[str, Any]:
        """Change parts of an item: members of `changes` replace its own, None takes one away (RFC 7396).

        What others change at the same time stays. The item as it is then; NotFound, InvalidDocument.
        """
        writing = Writing(self._catalog)
        patch = msgspec.json.encode(changes)
        done = writing.patch_item(collection, item, lambda body: merge_patch(body, patch), self._terms())
        found: dict[str, Any] = msgspec.json.decode(writing.item(done).body)
        return found

    def remove(self, collection: str, item: str | None = None, *, cascade: bool = False) -> None:
        """Delete an item, or a collection; with `cascade`, also one that holds items. NotFound when it is not there.

        Both can be restored.
        """
        writing = Writing(self._catalog)
        if item is None:
            writing.delete_collection(collection, self._terms(), cascade=cascade)
        else:
            writing.delete_item(collection, item, self._terms())

    def versions(self, collection: str, item: str | None = None) -> list[Version]:
        """Every version of an item, or of a collection's document, newest first."""
        return History(self._catalog).versions(collection, item, self._rule)

    def restore(self, collection: str, item: str | None = None, version: str | None = None) -> None:
        """Bring back a deleted item or collection, or a `version` of an item by its tag.

        Of several deleted collections of one id it is the last, unless `version` is that of another in the trash.
        """
        writing = Writing(self._catalog)
        if item is None:
            writing.restore_collection(collection, version, self._terms())
        else:
            writing.restore_item(collection, item, version, self._terms())

    def changes(self, since: str | None = None, **parameters: Any) -> Iterator[tuple[Event, str]]:
        """What was changed behind a token (or instant), each with the token of its place, up to now.

        `parameters` are those of the feed: `collections`, and `filter` with its `filter_lang`.
        """
        feed = Feed(self._catalog, self._rule, **parameters)
        position, complete = feed.place(since), False
        while not complete:
            reading = feed.read(position, LIMITS.feed_page)
            position, complete = reading.position, reading.complete
            yield from ((event, feed.token(event.seq)) for event in reading.events)

    def _terms(self) -> Terms:
        return Terms("python", self._rule)

    def load(
        self,
        *sources: str | Path,
        mode: Mode = "upsert",
        collection: str | None = None,
        collections: Sequence[str] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> LoadReport:
        """Store what files, folders and STAC APIs hold; see `swath load`.

        `collections` restricts what comes from an API, `headers` are sent to it. A copy that was stopped goes on, and
        one that came to its end asks for what is newer. RemoteFailure, Unavailable where it cannot begin; what stops it
        later is in the report.
        """
        report = LoadReport()
        for copied, group in itertools.groupby(map(str, sources), _is_address):
            if copied:
                for url in group:
                    report.add(self._copy(url, mode, collection, collections, headers))
                continue
            documents = (document for source in group for document in read_source(source))
            report.add(
                load(
                    self._catalog.ledger,
                    documents,
                    mode=mode,
                    preparing=Preparing(collection),
                    actor="python",
                    folder=self._folder,
                )
            )
        return self._folded(report)

    def _copy(
        self,
        url: str,
        mode: Mode,
        collection: str | None,
        collections: Sequence[str] | None,
        headers: Mapping[str, str] | None,
    ) -> LoadReport:
        from swath.catalog.copying import Copy  # its client takes a while to come up
        from swath.formats.web import Client

        ledger = self._catalog.ledger
        with Client(url, (headers or {}).items()) as client:
            copy = Copy(url, client, collections)
            copy.begin(self._folder, ledger.epoch)
            return copy.run(ledger, self._folder, mode=mode, collection=collection, actor="python")

    def download(
        self,
        folder: str | Path,
        *,
        assets: Iterable[str] = (),
        roles: Iterable[str] = (),
        parallel: int = 4,
        limit: int | None = None,
        **parameters: Any,
    ) -> list[File]:
        """Put the files of the items that a search finds into a folder, those of some assets or roles; see `swath
        download`.

        What cannot be had is in the list, with its `reason`; its `state` is `failed`.
        """
        from swath.download import Download, Folder, Selection

        if limit is not None and limit < 1:
            raise InvalidRequest(f"limit: {limit} is not 1 or more")
        selection = Selection(frozenset(assets), frozenset(roles))
        with closing(Folder(self._catalog, self._rule)) as origin:
            download = Download(origin, Path(folder), selection, parallel=parallel)
            return list(download.run(download.plan(origin.items(parameters, limit or 0))))

    def export(self, target: str | Path, **parameters: Any) -> int:
        """Write the items that a search finds to an `.ndjson` or `.parquet` file; returns how many."""
        expression = build_search(SearchRequest(**parameters)).expression
        return export(self._catalog, Path(target), expression, self._rule)


def _is_address(source: str) -> bool:
    return source.lower().startswith(("http://", "https://"))


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

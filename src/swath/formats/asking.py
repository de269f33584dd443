"""How an API is asked for its items, oldest change first where it can be, and what is tried when it refuses."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal
from urllib.parse import quote

import msgspec

from swath.errors import RemoteFailure
from swath.formats.paging import Sheet, ask, with_limit
from swath.formats.web import Client, Request, is_address, joined
from swath.stac.time import format_instant

__all__ = ["PAGE", "Api", "Way", "begin"]

PAGE = 500
_FEW = 100  # the most that strict servers take
_SIZES = (_FEW, 10, 1)
_NOT_NOW = frozenset((401, 429, 503))  # whatever is asked
_NO_POST = frozenset((403, 404, 405, 415, 501))  # gateways have their own words for it
_NAMES = ("properties.updated", "updated")


@dataclass(frozen=True, slots=True)
class Api:
    """What an API offers. `search` has the address by method."""

    url: str
    search: dict[str, str]
    data: str | None
    sorts: bool
    filters: bool
    queries: bool
    reads_text: bool  # CQL2 text; all that filter read CQL2 JSON

    @staticmethod
    def of(landing: Sheet, conforms: Sequence[str]) -> Api:
        """Read off its landing page. Betas announce the same with other versions, and with a slash here and there."""
        classes = [re.sub(r"/(?=#)", "", each.lower()).rstrip("/") for each in conforms]
        searches = any("item-search" in each for each in classes)

        def has(name: str) -> bool:
            return any(re.search(rf"item-search#(?:[a-z]+:)?{name}(?![a-z])", each) for each in classes)

        search: dict[str, str] = {}
        for link in landing.links:
            if link["rel"] == "search":
                method = str(link.get("method") or "GET").upper()
                search.setdefault(method, joined(landing.url, link["href"]))
        text = any(each.endswith(("/cql2-text", "#filter:cql-text", "#filter:cql2-text")) for each in classes)
        return Api(
            url=landing.url,
            search={method: href for method, href in search.items() if method in ("GET", "POST") and is_address(href)},
            data=landing.linked("data"),
            sorts=has("sort"),
            filters=searches and has("filter"),
            queries=has("query"),
            reads_text=text,
        )


@dataclass(frozen=True, slots=True)
class Way:
    """One way of asking. `order` is that of `updated`, or the API's own; `since` tells what restricts `updated`."""

    method: Literal["GET", "POST"]
    limit: int | None
    order: Literal["oldest", "newest", "own"]
    since: Literal["filter", "query", "none"]
    name: int = 0  # which of the names that `updated` goes by

    def request(self, api: Api, collections: Sequence[str] | None, since: int | None) -> Request:
        body: dict[str, Any] = {}
        if collections is not None:
            body["collections"] = list(collections)
        if self.order != "own":
            direction = "asc" if self.order == "oldest" else "desc"
            # Many items may have one `updated`; not every server breaks ties by itself.
            body["sortby"] = [{"field": _NAMES[self.name], "direction": direction}, {"field": "id", "direction": "asc"}]
        if since is not None and self.since == "filter":
            body["filter-lang"] = "cql2-json"
            body["filter"] = {"op": ">=", "args": [{"property": "updated"}, {"timestamp": format_instant(since)}]}
        elif since is not None and self.since == "query":
            body["query"] = {"updated": {"gte": format_instant(since)}}
        if self.limit is not None:
            body["limit"] = self.limit
        href = api.search[self.method]
        if self.method == "POST":
            return Request(href, "POST", body=body)
        return Request(with_limit(_with_query(href, self._query(api, body, since)), self.limit))

    def _query(self, api: Api, body: dict[str, Any], since: int | None) -> dict[str, str]:
        query = {}
        if "collections" in body:
            query["collections"] = ",".join(body["collections"])
        if "sortby" in body:
            query["sortby"] = ",".join(("-" if k["direction"] == "desc" else "") + k["field"] for k in body["sortby"])
        if "filter" in body and since is not None:
            text = f"updated >= TIMESTAMP('{format_instant(since)}')"
            query["filter"] = text if api.reads_text else _json(body["filter"])
            query["filter-lang"] = "cql2-text" if api.reads_text else "cql2-json"
        if "query" in body:
            query["query"] = _json(body["query"])
        return query

    def smaller(self) -> Way:
        """The same for fewer items; itself where there are few already."""
        fewer = next((size for size in _SIZES if self.limit is None or size < self.limit), 1)
        return replace(self, limit=fewer)


def first_way(api: Api, since: int | None) -> Way:
    restricts: Literal["filter", "query", "none"] = "filter" if api.filters else "query" if api.queries else "none"
    # Where it cannot be asked for what is newer, walking from the newest finds out where that ends.
    newest = since is not None and restricts == "none" and api.sorts
    return Way(
        method="POST" if "POST" in api.search else "GET",
        limit=PAGE,
        order="newest" if newest else "oldest",
        since=restricts if since is not None else "none",
    )


def begin(client: Client, api: Api, collections: Sequence[str] | None, since: int | None) -> tuple[Way, Sheet]:
    """The first page of a search for the items, and how it was asked for. RemoteFailure when no way is taken."""

    def attempt(way: Way, hasty: bool) -> Sheet:
        return ask(client, way.request(api, collections, since), lists=True, hasty=hasty)

    way, sheet = _negotiated(first_way(api, since), api, attempt)
    if way.order == "oldest" and since is None and sheet.elements and all(at.updated is None for at in sheet.peeks):
        # Servers lose items most readily among those that have no value to be sorted by.
        way, sheet = _negotiated(replace(way, order="own"), api, attempt)
    return way, sheet


def _negotiated(base: Way, api: Api, attempt: Callable[[Way, bool], Sheet]) -> tuple[Way, Sheet]:
    """Ask, and ask for less where that is refused; what an API refuses it does not always say."""
    first: RemoteFailure | None = None
    simpler = _simpler(base, api)
    change: dict[str, Any] = {}
    tried: set[Way] = set()
    while True:
        way = replace(base, **change)
        if way not in tried:
            tried.add(way)
            try:
                return way, attempt(way, True)
            except RemoteFailure as error:
                gets = way.method == "GET" or "GET" not in api.search
                if error.status in _NOT_NOW or (error.status == 403 and gets):
                    raise
                first, last = first or error, error
        if last.status in _NO_POST and base.method == "POST" and "GET" in api.search:
            base = replace(base, method="GET")
        elif (last.status == 413 or "limit" in str(last).lower()) and base.smaller() != base:
            base = base.smaller()
        elif last.status >= 500 and base.order != "own":
            base = replace(base, order="own")
        elif last.status >= 500 and base.smaller() != base:
            base = base.smaller()
        elif last.status >= 500 or not simpler:
            break
        else:
            change = simpler.pop(0)
    assert first is not None
    if first.status < 500:
        raise first
    way = replace(base, limit=_FEW)  # it may only have been down, and gets its time
    return way, attempt(way, False)


def _simpler(base: Way, api: Api) -> list[dict[str, Any]]:
    """What to change of the first way, one after the other."""
    own: dict[str, Any] = {"order": "own"}
    steps = [{"name": 1}, own, {**own, "limit": _FEW}, {**own, "limit": None}]
    if base.since == "filter" and api.queries:
        steps.append({**own, "since": "query"})
    steps += [{**own, "since": "none"}, {**own, "since": "none", "limit": None}]
    if "GET" in api.search:
        steps.append({**own, "since": "none", "limit": None, "method": "GET"})
    return steps


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()


def _with_query(href: str, query: dict[str, str]) -> str:
    text = "&".join(f"{name}={quote(value, safe=',:')}" for name, value in query.items())
    if not text:
        return href
    return f"{href}{'&' if '?' in href else '?'}{text}"

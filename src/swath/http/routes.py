"""The table of routes: the router and the OpenAPI document are both made from it.

A handler takes a `Call` and returns a response.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import msgspec
from starlette.responses import Response

from swath.catalog import build_search
from swath.catalog.history import History
from swath.catalog.request import SearchRequest
from swath.catalog.writing import Terms, Writing
from swath.cql2.ast import walk
from swath.cql2.functions import FUNCTIONS
from swath.errors import DeadlineExceeded, InvalidRequest, NotFound
from swath.http import bulk, feed, hooks, past, writes
from swath.http.call import Call
from swath.http.conformance import classes
from swath.http.docs import docs_asset, docs_page
from swath.http.entities import as_of, collection_entity, item_entity, once_of
from swath.http.guard import check_explain
from swath.http.hrefs import rewriting
from swath.http.kept import Keepable
from swath.http.links import GEOJSON, JSON, SCHEMA, link, segment
from swath.http.params import (
    SEARCH_PARAMETERS,
    read_integer,
    search_from_body,
    search_from_query,
)
from swath.http.responses import (
    FUNCTIONS_REL,
    QUERYABLES_REL,
    SORTABLES_REL,
    collection_bytes,
    feature_page,
    item_bytes,
    json_answer,
)
from swath.http.route import Route
from swath.limits import LIMITS
from swath.search import Page, Search
from swath.store.records import Outcome

__all__ = ["OPENAPI", "ROUTES", "Call", "Route"]

_QUICK_LIMIT, _QUICK_NODES = 100, 100  # of searches that are answered in the event loop
OPENAPI = "application/vnd.oai.openapi+json;version=3.0"


# -- catalogue -----------------------------------------------------------------------------------


def landing(call: Call) -> Response:
    call.parameters(())
    at = call.address
    return json_answer(
        {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "id": call.settings.id,
            "title": call.settings.title,
            "description": call.settings.description,
            "conformsTo": classes(call.settings),
            "links": [
                link("self", at.href("/")),
                link("root", at.href("/")),
                link("conformance", at.href("/conformance")),
                link("data", at.href("/collections")),
                link("search", at.href("/search"), GEOJSON, method="GET", title="Search items"),
                link("search", at.href("/search"), GEOJSON, method="POST", title="Search items"),
                link(QUERYABLES_REL, at.href("/queryables"), SCHEMA, title="Queryables"),
                link(SORTABLES_REL, at.href("/sortables"), SCHEMA, title="Sortables"),
                link(FUNCTIONS_REL, at.href("/functions"), title="Functions of filters"),
                link("changes", at.href("/changes"), title="Changes, in the order of their commits"),
                link("service-desc", at.href("/api"), OPENAPI, title="OpenAPI document"),
                link("service-doc", at.href("/api.html"), "text/html", title="API documentation"),
            ],
        }
    )


def conformance(call: Call) -> Response:
    call.parameters(())
    return json_answer({"conformsTo": classes(call.settings)})


def limits(call: Call) -> Response:
    call.parameters(())
    return json_answer(LIMITS.published())


def openapi(call: Call) -> Response:
    call.parameters(())
    return Response(msgspec.json.encode(call.document(call.address)), headers={"content-type": OPENAPI})


def live(call: Call) -> Response:
    call.parameters(())
    return json_answer({"status": "live"})


def ready(call: Call) -> Response:
    call.parameters(())
    head, indexed = call.catalog.ledger.head(), call.catalog.index.refresh()
    return json_answer({"status": "ready", "revision": head, "indexed_revision": indexed})


# -- collections ---------------------------------------------------------------------------------


def collections(call: Call) -> Response:
    query = call.parameters(("limit", "token", "as-of"))
    limit = read_integer("limit", query.one("limit"))
    if limit is not None and limit < 1:
        raise InvalidRequest(f"limit: {limit} is not 1 or more")
    size, instant = min(limit or LIMITS.collections_default, LIMITS.page_max), as_of(call, query)
    page = call.catalog.collections(size, query.one("token") or None, call.rule, instant)
    links = [link("self", _here(call)), link("root", call.address.href("/")), link("parent", call.address.href("/"))]
    for rel, token in (("next", page.next), ("prev", page.previous)):
        if token is not None:
            links.append(link(rel, _with_token(call, token)))
    documents = [msgspec.Raw(collection_bytes(view, call.address)) for view in page.collections]
    return json_answer(
        {
            "collections": documents,
            "links": links,
            "numberMatched": page.matched,
            "numberReturned": len(documents),
        }
    )


def collection(call: Call) -> Response:
    instant = as_of(call, call.parameters(("as-of",)))
    if instant is not None:
        record = History(call.catalog).collection_as_of(call.path["collection"], instant, call.rule)
        return collection_entity(call, call.catalog.past_view(record))
    return collection_entity(call, call.catalog.collection(call.path["collection"], call.rule))


def functions(call: Call) -> Response:
    """OGC API - Features Part 3, 7.4: the functions that a filter may call."""
    call.parameters(())
    described = [
        {
            "name": definition.name,
            "description": definition.description,
            "arguments": [{"type": [kind]} for kind in definition.arguments],
            "returns": [definition.returns],
        }
        for definition in FUNCTIONS.values()
    ]
    return json_answer({"functions": described})


def queryables(call: Call) -> Response:
    found = call.catalog.queryables(call.path.get("collection"), call.rule)
    return names_answer(call, {"title": "Queryables", **found})


def declare(call: Call) -> Response:
    """The queryables of a collection as its publisher wants them: they win over what the data look like."""
    call.parameters(())
    outcome = Writing(call.catalog).declare(
        call.path["collection"], call.body, Terms(call.actor, call.rule, once=once_of(call))
    )
    try:
        found = call.catalog.queryables(call.path["collection"], call.rule)
    except NotFound:  # it was declared before, under the same key, and the collection is gone since
        found = msgspec.json.decode(call.body)
    return names_answer(call, {"title": "Queryables", **found}, 201 if outcome is Outcome.CREATED else 200)


def undeclare(call: Call) -> Response:
    call.parameters(())
    terms = Terms(call.actor, call.rule, once=once_of(call))
    if Writing(call.catalog).declare(call.path["collection"], None, terms) is Outcome.MISSING:
        raise NotFound(f"the collection {call.path['collection']!r} declares no queryables")
    return Response(status_code=204)


def sortables(call: Call) -> Response:
    properties = call.catalog.sortables(call.path.get("collection"), call.rule)
    return names_answer(call, {"title": "Sortables", "properties": properties, "additionalProperties": False})


def names_answer(call: Call, members: dict[str, Any], status: int = 200) -> Response:
    call.parameters(())
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "$id": _here(call), "type": "object"}
    return json_answer({**head, **members}, SCHEMA, status)


# -- items ---------------------------------------------------------------------------------------


def item(call: Call) -> Response:
    query = call.parameters(("as-of", "asset-href-mode"))
    instant, rewrite = as_of(call, query), rewriting(call, query.one("asset-href-mode"))
    name, item_id = call.path["collection"], call.path["item"]
    if instant is not None:
        found = History(call.catalog).item_as_of(name, item_id, instant, call.rule)
    else:
        found = call.catalog.item(name, item_id, call.rule)
    if rewrite is not None:  # links that hold for a while have no validator
        return Response(rewrite(item_bytes(found, call.address)), media_type=GEOJSON)
    return item_entity(call, found)


def items(call: Call) -> Response:
    query, name = call.parameters(ITEM_PARAMETERS), call.path["collection"]
    request, instant = search_from_query(query), as_of(call, query)
    if instant is None:
        call.catalog.check_collection(name, call.rule)
    else:
        History(call.catalog).collection_as_of(name, instant, call.rule)
    at = f"/collections/{segment(name)}"
    more = [link("collection", call.address.href(at)), link("parent", call.address.href(at))]
    return _search(call, _within(request, name), more)


def search(call: Call) -> Response:
    return _search(call, search_from_query(call.parameters(SEARCH_PARAMETERS)), [])


def search_posted(call: Call) -> Response:
    call.parameters(())
    request, body = search_from_body(call.body)
    check_explain(call.settings, request, call.address)
    page = _found(call, found := build_search(request))
    links = [link("root", call.address.href("/")), link("self", _here(call), GEOJSON)]
    for rel, token in (("next", page.next), ("prev", page.previous)):
        if token is not None:
            again = {**body, "token": token}
            links.append(link(rel, call.address.href("/search"), GEOJSON, method="POST", body=again))
    return _page(call, request, found, page, links)


def _within(request: SearchRequest, collection_id: str) -> SearchRequest:
    named = request.collections
    return replace(request, collections=[collection_id] if named is None or collection_id in named else [])


def _search(call: Call, request: SearchRequest, more: list[dict[str, Any]]) -> Response:
    check_explain(call.settings, request, call.address)
    found = build_search(request)
    page = _found(call, found)
    links = [link("root", call.address.href("/")), link("self", _here(call), GEOJSON), *more]
    for rel, token in (("next", page.next), ("prev", page.previous)):
        if token is not None:
            links.append(link(rel, _with_token(call, token), GEOJSON, method="GET"))
    return _page(call, request, found, page, links)


def _found(call: Call, search: Search) -> Page:
    if call.quick and (search.limit > _QUICK_LIMIT or sum(1 for _ in walk(search.expression)) > _QUICK_NODES):
        raise DeadlineExceeded("this is too much to be answered while others wait")
    return call.catalog.search(search, call.rule, seconds=call.seconds, abandoned=call.abandoned.is_set)


def _page(call: Call, request: SearchRequest, found: Search, page: Page, links: list[dict[str, Any]]) -> Response:
    rewrite = rewriting(call, request.asset_href_mode)
    content = feature_page(page, found.fields, links, call.address, explain=request.explain, rewrite=rewrite)
    whole = (page.matched is not None or found.count == "none") and not request.explain and rewrite is None
    return (Keepable if whole else Response)(content, media_type=GEOJSON)


def _here(call: Call) -> str:
    """The address that was asked, with its query as it came."""
    return _address(call, call.query)


def _with_token(call: Call, token: str) -> str:
    """The same request, at another place."""
    rest = [part for part in call.query.split(b"&") if part and not part.startswith(b"token=")]
    return _address(call, b"&".join([*rest, b"token=" + token.encode()]))


def _address(call: Call, query: bytes) -> str:
    text = query.decode("ascii", "replace").replace('"', "%22").replace("<", "%3C").replace(">", "%3E")
    return call.address.base + call.target + (f"?{text.replace(' ', '%20')}" if text else "")


# -- the table -----------------------------------------------------------------------------------

# `collections` is sent by pystac-client even here; it can only narrow to nothing.
ITEM_PARAMETERS = tuple(name for name in SEARCH_PARAMETERS if name not in ("ids", "intersects"))
_PAGE = {200: (GEOJSON, "itemCollection")}

ROUTES: tuple[Route, ...] = (
    Route("GET", "/", landing, "getLandingPage", "The root catalogue", answers={200: (JSON, "catalog")}, lane="loop"),
    Route("GET", "/conformance", conformance, "getConformance", "What this API conforms to",
          answers={200: (JSON, "conformance")}, lane="loop"),
    Route("GET", "/collections", collections, "getCollections", "All collections", ("limit", "token", "as-of"),
          answers={200: (JSON, "collections")}, faults=(400, 410, 503)),
    Route("GET", "/collections/{collection}", collection, "getCollection", "One collection",
          ("collection", "as-of"), answers={200: (JSON, "collection"), 304: ("", "")},
          faults=(400, 404, 410, 412, 503)),
    Route("GET", "/collections/{collection}/items", items, "getItems", "Items of a collection",
          ("collection", *ITEM_PARAMETERS), answers=_PAGE, faults=(400, 404, 410, 503), lane="quick"),
    Route("GET", "/collections/{collection}/items/{item}", item, "getItem", "One item",
          ("collection", "item", "as-of", "asset-href-mode"), answers={200: (GEOJSON, "item"), 304: ("", "")},
          faults=(400, 401, 403, 404, 410, 412, 503), lane="quick"),
    Route("GET", "/collections/{collection}/queryables", queryables, "getCollectionQueryables",
          "What the items of a collection can be filtered by", ("collection",),
          answers={200: (SCHEMA, "names")}, faults=(400, 404, 503)),
    Route("PUT", "/collections/{collection}/queryables", declare, "putCollectionQueryables",
          "Declare what the items of a collection can be filtered by", ("collection",), "schema",
          {200: (SCHEMA, "names"), 201: (SCHEMA, "names")}, (400, 403, 404, 413, 415, 422, 503), lane="write",
          writes=True),
    Route("DELETE", "/collections/{collection}/queryables", undeclare, "deleteCollectionQueryables",
          "Take that declaration back", ("collection",), answers={204: ("", "")}, faults=(400, 403, 404, 422, 503),
          lane="write", writes=True),
    Route("GET", "/collections/{collection}/sortables", sortables, "getCollectionSortables",
          "What the items of a collection can be sorted by", ("collection",),
          answers={200: (SCHEMA, "names")}, faults=(400, 404, 503)),
    Route("GET", "/search", search, "getSearch", "Search items", SEARCH_PARAMETERS, answers=_PAGE,
          faults=(400, 410, 503), lane="quick"),
    Route("POST", "/search", search_posted, "postSearch", "Search items", (), "search", _PAGE,
          (400, 410, 413, 415, 503), lane="quick"),
    Route("GET", "/queryables", queryables, "getQueryables", "What items can be filtered by",
          answers={200: (SCHEMA, "names")}),
    Route("GET", "/sortables", sortables, "getSortables", "What items can be sorted by",
          answers={200: (SCHEMA, "names")}),
    Route("GET", "/functions", functions, "getFunctions", "The functions that a filter may call",
          answers={200: (JSON, "functions")}),
    Route("GET", "/api", openapi, "getApi", "This API as an OpenAPI document", answers={200: (OPENAPI, "object")},
          tag="Service"),
    Route("GET", "/api.html", docs_page, "getDocumentation", "This API as a page",
          answers={200: ("text/html; charset=utf-8", "text")}, faults=(400,), tag="Service", lane="loop"),
    Route("GET", "/api.html/{asset}", docs_asset, "getDocumentationAsset", "A part of that page", ("asset",),
          answers={200: ("*/*", "text")}, faults=(400, 404), tag="Service", lane="loop"),
    Route("GET", "/health/live", live, "getLive", "Whether the process answers", answers={200: (JSON, "object")},
          faults=(400,), tag="Service", lane="loop"),
    Route("GET", "/health/ready", ready, "getReady", "Whether the catalogue can be read and searched",
          answers={200: (JSON, "object")}, faults=(400,), tag="Service", lane="side"),
    Route("GET", "/limits", limits, "getLimits", "Every cap of this server", answers={200: (JSON, "limits")},
          tag="Service", lane="loop"),
    *writes.ROUTES,
    *bulk.ROUTES,
    *past.ROUTES,
    *feed.ROUTES,
    *hooks.ROUTES,
)  # fmt: skip

"""UP42's STAC face: the same catalogue, of what was delivered only, with that API's paging, tokens and edits.

Its handlers are those of the STAC API at a face's address and under a rule: items of the store are those that name the
delivery they were made of.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import msgspec
from starlette.responses import Response

from swath.catalog import build_search
from swath.catalog.request import SearchRequest
from swath.catalog.rules import restricted
from swath.catalog.writing import Terms, Writing
from swath.cql2.ast import And, Equal, IsNull, Not, Predicate, Property, Text
from swath.cql2.bind import ALIASES, renamed
from swath.errors import InvalidDocument, InvalidRequest, NotFound
from swath.http import routes as stac
from swath.http.call import Call
from swath.http.entities import collection_entity, condition_of, item_entity
from swath.http.files import changed_by
from swath.http.hrefs import rewriting
from swath.http.links import GEOJSON, JSON, SCHEMA, link, segment
from swath.http.login import store_of
from swath.http.params import SEARCH_PARAMETERS, Query, parse_query, read_integer, search_from_body, search_from_query
from swath.http.responses import QUERYABLES_REL, SORTABLES_REL, collection_bytes, feature_page, json_answer
from swath.http.route import Route
from swath.limits import LIMITS
from swath.search import Page, Search
from swath.stac.patching import merge_patch
from swath.stac.text import decode

__all__ = ["CLASSES", "FACE", "OTHER_NAME", "ROUTES"]

FACE = "/v2/assets/stac"
OTHER_NAME = "/v2/sas"  # of the same in UP42's reference of its API
_DEFAULT = 10
# What UP42's documents list, beside the short names.
_ALWAYS: dict[str, dict[str, Any]] = {
    "constellation": {"type": "string"}, "gsd": {"type": "number"}, "eo:cloud_cover": {"type": "number"},
    "cloud_cover": {"type": "number", "description": "another name of eo:cloud_cover"},
}  # fmt: skip
_STORED: Predicate = Not(IsNull(Property("up42-system:asset_id")))
_STAC, _OGC = "https://api.stacspec.org", "http://www.opengis.net/spec"
_PARTS = ("core", "collections", "ogcapi-features", "item-search", "item-search#filter", "item-search#sort",
          "item-search#fields", "item-search#query")  # fmt: skip
_CQL2 = (
    "cql2-text", "cql2-json", "basic-cql2", "advanced-comparison-operators", "case-insensitive-comparison",
    "accent-insensitive-comparison", "basic-spatial-functions", "basic-spatial-functions-plus", "spatial-functions",
    "temporal-functions", "array-functions", "property-property", "functions", "arithmetic",
)  # fmt: skip

# In today's spelling, and in that which UP42's clients look for.
CLASSES: tuple[str, ...] = (
    *(f"{_STAC}/v1.0.0/{part}" for part in _PARTS),
    *(f"{_STAC}/v1.0.0-rc.1/{part}" for part in _PARTS),
    f"{_STAC}/v1.0.0-rc.1/item-search#context",
    f"{_STAC}/v1.0.0-rc.1/item-search#filter:basic-cql",
    f"{_STAC}/v1.0.0-rc.1/item-search#filter:cql-text",
    f"{_OGC}/ogcapi-features-1/1.0/conf/core",
    f"{_OGC}/ogcapi-features-1/1.0/conf/oas30",
    f"{_OGC}/ogcapi-features-1/1.0/conf/geojson",
    f"{_OGC}/ogcapi-features-3/1.0/conf/filter",
    f"{_OGC}/ogcapi-features-3/1.0/conf/features-filter",
    *(f"{_OGC}/cql2/1.0/conf/{part}" for part in _CQL2),
)


def _faced(call: Call, workspace: str | None = None) -> Call:
    """The call as the STAC API's handlers see it: at the face's address, and of what is in the store."""
    store_of(call)
    rule: Predicate = _STORED
    if workspace:
        rule = And((rule, Equal(Property("up42-system:workspace_id"), Text(workspace))))
    address = call.address.face(FACE)
    target = call.target.removeprefix(FACE) or "/"
    return replace(call, address=address, target=target, rule=restricted(call.rule, rule))


def _by(handler: Callable[[Call], Response]) -> Callable[[Call], Response]:
    """A handler of the STAC API on this face."""

    def faced(call: Call) -> Response:
        return handler(_faced(call))

    return faced


def queryables(call: Call) -> Response:
    """What filters of this face can name: here a short name is UP42's, and means its property even where no item has
    it yet, or has another of that very name."""
    faced = _faced(call)
    found = faced.catalog.queryables(faced.path.get("collection"), faced.rule)
    known: dict[str, Any] = {name: {"title": name, **kind} for name, kind in _ALWAYS.items()} | found["properties"]
    for alias, name in ALIASES.items():
        meant = known.get(name) or {"type": "array" if alias == "tags" else "string"}
        known[alias] = {**meant, "title": alias, "description": f"another name of {name}"}
    return stac.names_answer(faced, {"title": "Queryables", **found, "properties": known})


def catalog(call: Call) -> Response:
    call.parameters(())
    at = _faced(call).address
    links = [
        link("self", at.href("/")),
        link("root", at.href("/")),
        link("data", at.href("/collections")),
        link("conformance", at.href("/conformance")),
        link("search", at.href("/search"), GEOJSON, method="POST"),
        link("search", at.href("/search"), GEOJSON, method="GET"),
        link(QUERYABLES_REL, at.href("/queryables"), SCHEMA),
        link(SORTABLES_REL, at.href("/sortables"), SCHEMA),
        link("service-desc", f"{at.home}/api", stac.OPENAPI),
        link("service-doc", f"{at.home}/api.html", "text/html"),
    ]
    return json_answer(
        {
            "type": "Catalog",
            "stac_version": "1.0.0",
            "stac_extensions": [],
            "id": "up42-storage",
            "title": "UP42 Storage",
            "description": "UP42 Storage STAC API",
            "conformsTo": CLASSES,
            "links": links,
        }
    )


def conformance(call: Call) -> Response:
    call.parameters(())
    store_of(call)
    return json_answer({"conformsTo": CLASSES})


# -- collections ---------------------------------------------------------------------------------


def collections(call: Call) -> Response:
    """Those that were made last come first."""
    query = call.parameters(("workspace_id", "limit", "token"))
    faced = _faced(call, query.one("workspace_id"))
    limit = read_integer("limit", query.one("limit"))
    if limit is not None and limit < 1:
        raise InvalidRequest(f"limit: {limit} is not 1 or more")
    size = min(limit or _DEFAULT, LIMITS.page_max)
    page = call.catalog.collections(size, _bare(query.one("token")), faced.rule, newest=True)
    at = faced.address
    here = f"{at.base}{faced.target}"
    links = [link("root", at.href("/")), link("parent", at.href("/")), link("self", here)]
    for rel, token in (("next", page.next), ("prev", page.previous)):
        if token is not None:
            asked = [("limit", str(size)), ("token", f"{rel}:{token}")]
            asked += [("workspace_id", workspace)] if (workspace := query.one("workspace_id")) else []
            links.append(link(rel, at.href("/collections", asked), method="GET"))
    documents = [msgspec.Raw(collection_bytes(view, at)) for view in page.collections]
    return json_answer(
        {"collections": documents, "links": links, "numberMatched": page.matched, "numberReturned": len(documents)}
    )


def _bare(token: str | None) -> str | None:
    """A token as this face writes it (`next:…`, `prev:…`), without the word before it."""
    return (token.partition(":")[2] if token.startswith(("next:", "prev:")) else token) if token else None


def collection(call: Call) -> Response:
    call.parameters(())
    faced = _faced(call)
    return collection_entity(faced, call.catalog.collection(call.path["collection"], faced.rule))


def delete_collection(call: Call) -> Response:
    """The collection, its items, and the delivery that they were made of: to the trash together."""
    call.parameters(())
    store, faced, name = store_of(call), _faced(call), call.path["collection"]
    call.catalog.check_collection(name, faced.rule)
    delivery = store.files.delivery_of(name)
    if delivery is not None and delivery.deleted is None:
        store.delete(delivery.id, call.actor)
    else:  # items that came with UP42's fields from elsewhere
        Writing(call.catalog).delete_collection(name, Terms(call.actor, faced.rule), cascade=True)
    return Response(status_code=204)


# -- items ---------------------------------------------------------------------------------------

_SEARCHED = (*SEARCH_PARAMETERS, "workspace_id", "page")


def items(call: Call) -> Response:
    query = parse_query(call.query, _SEARCHED)
    faced, name = _faced(call, query.one("workspace_id")), call.path["collection"]
    call.catalog.check_collection(name, faced.rule)
    at = f"/collections/{segment(name)}"
    more = [link("collection", faced.address.href(at)), link("parent", faced.address.href(at))]
    return _search_by_get(faced, query, [name], more)


def search(call: Call) -> Response:
    query = parse_query(call.query, _SEARCHED)
    return _search_by_get(_faced(call, query.one("workspace_id")), query, None, [])


def _search_by_get(call: Call, query: Query, only: list[str] | None, more: list[dict[str, Any]]) -> Response:
    request = search_from_query(Query({**query.values, "token": [_bare(query.one("token")) or ""]}))
    if only is not None:
        request = replace(request, collections=only)
    found = _build(request)
    page = _page(call, found, read_integer("page", query.one("page")))
    links = [link("root", call.address.href("/")), link("self", _address(call, query, None), GEOJSON), *more]
    for rel, token in (("next", page.next), ("prev", page.previous)):
        if token is not None:
            links.append(link(rel, _address(call, query, f"{rel}:{token}"), GEOJSON, method="GET"))
    return _answer(call, found, page, links, request.asset_href_mode)


def _address(call: Call, query: Query, token: str | None) -> str:
    kept = [(name, value) for name, values in query.values.items() for value in values if name not in ("token", "page")]
    return call.address.href(call.target, [*kept, ("token", token)] if token else kept)


def search_posted(call: Call) -> Response:
    """A search, as UP42's clients have sent it over the years."""
    call.parameters(())
    body = _body_of(call)
    number, workspace = body.pop("page", None), body.pop("workspace_id", None)
    if number is not None and (type(number) is not int or number < 0):
        raise InvalidRequest("page: a whole number from 0")
    if workspace is not None and not isinstance(workspace, str):
        raise InvalidRequest("workspace_id: a string")
    faced = _faced(call, workspace)
    token = body.get("token")
    asked = {**body, "token": _bare(token)} if isinstance(token, str) else body
    request, _ = search_from_body(msgspec.json.encode(asked))
    found = _build(request)
    page = _page(faced, found, number)
    links = [link("root", faced.address.href("/")), link("self", faced.address.href("/search"), GEOJSON)]
    for rel, token in (("next", page.next), ("prev", page.previous)):
        if token is not None:
            again = {**body, "token": f"{rel}:{token}"} | ({"workspace_id": workspace} if workspace else {})
            links.append(link(rel, faced.address.href("/search"), GEOJSON, method="POST", body=again))
    return _answer(faced, found, page, links, request.asset_href_mode)


def _body_of(call: Call) -> dict[str, Any]:
    """The body; of a whole search within `filter`, as version 2.6 of UP42's client sends it, the filter in that."""
    try:
        body = decode(call.body, "body") if call.body.strip() else {}
    except InvalidDocument as error:
        raise InvalidRequest(str(error)) from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body is a JSON object")
    inner = body.get("filter")
    for _ in range(LIMITS.filter_depth):
        if not (isinstance(inner, dict) and "op" not in inner and isinstance(inner.get("filter"), dict)):
            break
        inner = inner["filter"]
    return {**body, "filter": inner} if inner is not None else {k: v for k, v in body.items() if k != "filter"}


def _build(request: SearchRequest) -> Search:
    """The search of a request. Short names are UP42's: `title` is the user's, `properties.title` the scene's."""
    search = build_search(request)
    sort = tuple(replace(key, name=ALIASES.get(key.name, key.name)) for key in search.sort)
    return replace(search, expression=renamed(search.expression, ALIASES), sort=sort)


def _page(call: Call, search: Search, number: int | None) -> Page:
    """A page of a search; `number` counts pages from 0, for clients that know no tokens."""
    page = call.catalog.search(search, call.rule, seconds=call.seconds, abandoned=call.abandoned.is_set)
    matched = page.matched
    for _ in range(number or 0):
        if page.next is None:
            return replace(page, items=(), next=None, previous=None)
        onward = replace(search, token=page.next)
        page = call.catalog.search(onward, call.rule, seconds=call.seconds, abandoned=call.abandoned.is_set)
    return replace(page, matched=page.matched if page.matched is not None else matched)


def _answer(call: Call, search: Search, page: Page, links: list[dict[str, Any]], mode: str | None) -> Response:
    content = feature_page(page, search.fields, links, call.address, explain=False, rewrite=rewriting(call, mode))
    context = {"returned": len(page.items), "limit": search.limit}
    if page.matched is not None:
        context["matched"] = page.matched
    return Response(content[:-1] + b',"context":' + msgspec.json.encode(context) + b"}", media_type=GEOJSON)


def patch_item(call: Call) -> Response:
    """Title and tags, of the delivery that the item was made of and so of all that was made of it."""
    call.parameters(())
    store, faced = store_of(call), _faced(call)
    name, item_id = call.path["collection"], call.path["item"]
    item = call.catalog.item(name, item_id, faced.rule)
    body = decode(call.body, "body")
    if isinstance(body, dict) and body.keys() == {"properties"}:
        body = body["properties"]
    if not isinstance(body, dict):
        raise InvalidRequest('the body is a JSON object: {"up42-user:title": …, "up42-user:tags": […]}')
    change = changed_by(body)
    delivery = store.files.delivery_of(name)
    if delivery is not None and delivery.deleted is None:
        store.describe(delivery.id, change, call.actor, condition_of(call), item.id)
    else:
        told = {f"up42-user:{given.removeprefix('up42-user:')}": value for given, value in body.items()}
        patch = msgspec.json.encode({"properties": told})
        terms = Terms(call.actor, faced.rule, condition_of(call))
        Writing(call.catalog).patch_item(name, item_id, lambda raw: merge_patch(raw, patch), terms)
    changed = call.catalog.ledger.item(name, item_id)
    if changed is None:
        raise NotFound(f"there is no item {item_id!r} in a collection {name!r} any more")
    return item_entity(faced, changed)


_PAGE, _ITEM = {200: (GEOJSON, "itemCollection")}, {200: (GEOJSON, "item"), 304: ("", "")}
_FAULTS = (400, 401, 403, 404, 410, 503)
_CHANGES = (400, 401, 403, 404, 412, 413, 415, 503)
_COLLECTION = f"{FACE}/collections/{{collection}}"

ROUTES: tuple[Route, ...] = (
    Route("GET", FACE, catalog, "getStorage", "The store's STAC catalogue", answers={200: (JSON, "catalog")},
          faults=(400, 401, 403, 404), tag="Storage", lane="loop"),
    Route("GET", f"{FACE}/conformance", conformance, "getStorageConformance", "What this face conforms to",
          answers={200: (JSON, "conformance")}, faults=(400, 401, 403, 404), tag="Storage", lane="loop"),
    Route("GET", f"{FACE}/collections", collections, "getStorageCollections", "Collections, the youngest first",
          ("workspace_id", "limit", "token"), None, {200: (JSON, "collections")}, _FAULTS, "Storage"),
    Route("GET", _COLLECTION, collection, "getStorageCollection", "One collection", ("collection",), None,
          {200: (JSON, "collection"), 304: ("", "")}, (*_FAULTS, 412), "Storage"),
    Route("DELETE", _COLLECTION, delete_collection, "deleteStorageCollection", "Delete a collection, its items and the "
          "delivery they were made of", ("collection",), None, {204: ("", "")}, _CHANGES, "Storage", "write", True),
    Route("GET", f"{_COLLECTION}/items", items, "getStorageItems", "Items of a collection",
          ("collection", *_SEARCHED), None, _PAGE, _FAULTS, "Storage"),
    Route("GET", f"{_COLLECTION}/items/{{item}}", _by(stac.item), "getStorageItem", "One item",
          ("collection", "item", "as-of", "asset-href-mode"), None, _ITEM, (*_FAULTS, 412), "Storage"),
    Route("PATCH", f"{_COLLECTION}/items/{{item}}", patch_item, "patchStorageItem", "Change title or tags",
          ("collection", "item"), "storagePatch", {200: (GEOJSON, "item")}, _CHANGES, "Storage", "write", True,
          ("application/json", "application/merge-patch+json", "application/geo+json")),
    Route("GET", f"{_COLLECTION}/queryables", queryables, "getStorageCollectionQueryables",
          "What the items of a collection can be filtered by", ("collection",), None, {200: (SCHEMA, "names")}, _FAULTS,
          "Storage"),
    Route("GET", f"{FACE}/queryables", queryables, "getStorageQueryables", "What items can be filtered by",
          (), None, {200: (SCHEMA, "names")}, _FAULTS, "Storage"),
    Route("GET", f"{FACE}/sortables", _by(stac.sortables), "getStorageSortables", "What items can be sorted by",
          (), None, {200: (SCHEMA, "names")}, _FAULTS, "Storage"),
    Route("GET", f"{FACE}/search", search, "getStorageSearch", "Search items", _SEARCHED, None, _PAGE, _FAULTS,
          "Storage"),
    Route("POST", f"{FACE}/search", search_posted, "postStorageSearch", "Search items", (), "storageSearch", _PAGE,
          (*_FAULTS, 413, 415), "Storage"),
)  # fmt: skip

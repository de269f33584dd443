"""The STAC API Transaction and Collection Transaction extensions: items and collections created, replaced, changed and
deleted, each under the conditions that its caller names."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import msgspec
from starlette.responses import Response

from swath.catalog.writing import Terms, Writing, Written
from swath.errors import UnsupportedMediaType
from swath.http.call import Call
from swath.http.entities import collection_entity, condition_of, item_entity, noted, once_of
from swath.http.links import GEOJSON, JSON, segment
from swath.http.params import read_flag
from swath.http.responses import collection_bytes, item_bytes
from swath.http.route import Route
from swath.stac.links import away_from_home
from swath.stac.patching import json_patch, merge_patch
from swath.store.records import Outcome

__all__ = ["PATCHES", "ROUTES", "collection_written", "item_written", "terms_of"]

MERGE_PATCH, JSON_PATCH = "application/merge-patch+json", "application/json-patch+json"
PATCHES = ("application/json", "application/geo+json", MERGE_PATCH, JSON_PATCH)
_MADE = (Outcome.CREATED, Outcome.RESTORED)


def terms_of(call: Call, fix: str | None = None) -> Terms:
    """On which terms the caller writes; `fix` is the parameter of that name."""
    return Terms(call.actor, call.rule, condition_of(call), once_of(call), read_flag("fix", fix))


def _fixing(call: Call) -> Terms:
    return terms_of(call, call.parameters(("fix",)).one("fix"))


def _sent(call: Call) -> bytes:
    """The body, with the addresses of this server's own files as they are stored."""
    return away_from_home(call.body, call.address.home)


# -- items ---------------------------------------------------------------------------------------


def create_items(call: Call) -> Response:
    terms = _fixing(call)
    writing, name = Writing(call.catalog), call.path["collection"]
    single, made = writing.create_items(name, _sent(call), terms)
    if single:
        return item_written(call, writing, made[0])
    bodies = [msgspec.Raw(item_bytes(writing.item(each), call.address)) for each in made]
    content = msgspec.json.encode({"type": "FeatureCollection", "features": bodies})
    notes = tuple(note for each in made for note in each.notes)
    return Response(content, 201, noted(notes), GEOJSON)


def put_item(call: Call) -> Response:
    terms = _fixing(call)
    writing = Writing(call.catalog)
    done = writing.put_item(call.path["collection"], call.path["item"], _sent(call), terms)
    return item_written(call, writing, done)


def patch_item(call: Call) -> Response:
    terms = _fixing(call)
    writing = Writing(call.catalog)
    done = writing.patch_item(call.path["collection"], call.path["item"], _patch(call), terms)
    return item_written(call, writing, done)


def delete_item(call: Call) -> Response:
    call.parameters(())
    Writing(call.catalog).delete_item(call.path["collection"], call.path["item"], terms_of(call))
    return Response(status_code=204)


def item_written(call: Call, writing: Writing, done: Written) -> Response:
    """The item as the write left it, with where it is if it was not there before."""
    item = writing.item(done)
    headers = noted(done.notes)
    if done.outcome in _MADE:
        place = f"/collections/{segment(item.collection)}/items/{segment(item.id)}"
        headers["location"] = call.address.href(place)
    return item_entity(call, item, 201 if done.outcome in _MADE else 200, headers)


# -- collections ---------------------------------------------------------------------------------


def create_collection(call: Call) -> Response:
    terms = _fixing(call)
    writing = Writing(call.catalog)
    single, made = writing.create_collections(_sent(call), terms)
    if single:
        name, done = made[0]
        return collection_written(call, writing, name, replace(done, outcome=Outcome.CREATED))
    views = [call.catalog.view_of(writing.collection(name, done), call.rule) for name, done in made]
    bodies = [msgspec.Raw(collection_bytes(view, call.address)) for view in views]
    notes = tuple(note for _, done in made for note in done.notes)
    return Response(msgspec.json.encode({"collections": bodies, "links": []}), 201, noted(notes), JSON)


def put_collection(call: Call) -> Response:
    terms = _fixing(call)
    writing, name = Writing(call.catalog), call.path["collection"]
    return collection_written(call, writing, name, writing.put_collection(name, _sent(call), terms))


def patch_collection(call: Call) -> Response:
    terms = _fixing(call)
    writing, name = Writing(call.catalog), call.path["collection"]
    return collection_written(call, writing, name, writing.patch_collection(name, _patch(call), terms))


def delete_collection(call: Call) -> Response:
    cascade = read_flag("cascade", call.parameters(("cascade",)).one("cascade"))
    Writing(call.catalog).delete_collection(call.path["collection"], terms_of(call), cascade=cascade)
    return Response(status_code=204)


def collection_written(call: Call, writing: Writing, name: str, done: Written) -> Response:
    """The collection as the write left it, with where it is if it was not there before."""
    record, headers = writing.collection(name, done), noted(done.notes)
    if done.outcome in _MADE:
        headers["location"] = call.address.href(f"/collections/{segment(name)}")
    view = call.catalog.view_of(record, call.rule)
    return collection_entity(call, view, 201 if done.outcome in _MADE else 200, headers)


def _patch(call: Call) -> Callable[[bytes], bytes]:
    """What the body does to a document. A merge patch, unless its media type says that it is a JSON Patch."""
    media_type = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == JSON_PATCH:
        return partial(json_patch, patch=_sent(call))
    if media_type not in PATCHES:
        raise UnsupportedMediaType(f"a patch is {MERGE_PATCH} or {JSON_PATCH}")
    return partial(merge_patch, patch=_sent(call))


_ITEM, _COLLECTION = (GEOJSON, "item"), (JSON, "collection")
_FAULTS = (400, 403, 404, 412, 413, 415, 422, 503)

ROUTES: tuple[Route, ...] = (
    Route("POST", "/collections", create_collection, "createCollection", "Create a collection, or several", ("fix",),
          "collectionsBody",
          {201: (JSON, "collectionsBody")}, (400, 403, 409, 412, 413, 415, 422, 503), "Transactions", "write", True),
    Route("PUT", "/collections/{collection}", put_collection, "putCollection", "Replace a collection's document",
          ("collection", "fix"), "collection", {200: _COLLECTION, 201: _COLLECTION}, _FAULTS, "Transactions", "write",
          True),
    Route("PATCH", "/collections/{collection}", patch_collection, "patchCollection",
          "Change a collection's document, by RFC 7396 or RFC 6902", ("collection", "fix"), "patch", {200: _COLLECTION},
          (*_FAULTS, 409), "Transactions", "write", True, PATCHES),
    Route("DELETE", "/collections/{collection}", delete_collection, "deleteCollection",
          "Delete a collection, with `cascade` also one that holds items", ("collection", "cascade"), None,
          {204: ("", "")}, (400, 403, 404, 409, 412, 422, 503), "Transactions", "write", True),
    Route("POST", "/collections/{collection}/items", create_items, "createItems",
          "Create an item, or all of an ItemCollection", ("collection", "fix"), "items", {201: _ITEM},
          (400, 403, 404, 409, 412, 413, 415, 422, 503), "Transactions", "write", True),
    Route("PUT", "/collections/{collection}/items/{item}", put_item, "putItem", "Replace an item",
          ("collection", "item", "fix"), "item", {200: _ITEM, 201: _ITEM}, _FAULTS, "Transactions", "write", True),
    Route("PATCH", "/collections/{collection}/items/{item}", patch_item, "patchItem",
          "Change an item, by RFC 7396 or RFC 6902", ("collection", "item", "fix"), "patch", {200: _ITEM},
          (*_FAULTS, 409), "Transactions", "write", True, PATCHES),
    Route("DELETE", "/collections/{collection}/items/{item}", delete_item, "deleteItem", "Delete an item",
          ("collection", "item"), None, {204: ("", "")}, (400, 403, 404, 412, 422, 503), "Transactions", "write", True),
)  # fmt: skip

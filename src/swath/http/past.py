"""What was: versions of items and collections, and what was deleted and can be restored.

What was deleted is shown to those only who may restore it.
"""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from swath.catalog.history import History, Version
from swath.catalog.writing import Writing
from swath.errors import InvalidRequest
from swath.http.call import Call
from swath.http.entities import collection_entity, item_entity
from swath.http.links import GEOJSON, JSON, link, segment
from swath.http.params import read_integer
from swath.http.responses import json_answer
from swath.http.route import Route
from swath.http.writes import collection_written, item_written, terms_of
from swath.limits import LIMITS
from swath.stac.time import format_instant

__all__ = ["ROUTES"]


def versions(call: Call) -> Response:
    call.parameters(())
    name, item_id = call.path["collection"], call.path.get("item")
    found = History(call.catalog).versions(name, item_id, call.rule)
    here = f"/collections/{segment(name)}" + (f"/items/{segment(item_id)}" if item_id is not None else "")
    at = call.address
    media_type = JSON if item_id is None else GEOJSON
    return json_answer(
        {
            "versions": [_told(call, f"{here}/versions", each, media_type) for each in found],
            "links": [
                link("self", at.href(f"{here}/versions")),
                link("root", at.href("/")),
                link("latest-version", at.href(here), media_type),
            ],
            "numberReturned": len(found),
        }
    )


def _told(call: Call, place: str, version: Version, media_type: str) -> dict[str, Any]:
    told: dict[str, Any] = {
        "version": version.tag,
        "at": format_instant(version.at),
        "actor": version.actor,
        "deleted": version.deleted,
        "restorable": version.restorable,
    }
    if version.restorable:
        told["links"] = [link("version", call.address.href(f"{place}/{version.tag}"), media_type)]
    return told


def version(call: Call) -> Response:
    call.parameters(())
    name, item_id, tag = call.path["collection"], call.path.get("item"), call.path["version"]
    history = History(call.catalog)
    if item_id is None:
        return collection_entity(call, call.catalog.past_view(history.collection_version(name, tag, call.rule)))
    return item_entity(call, history.version(name, item_id, tag, call.rule))


def restore_item(call: Call) -> Response:
    call.parameters(())
    writing = Writing(call.catalog)
    name, item_id = call.path["collection"], call.path["item"]
    return item_written(call, writing, writing.restore_item(name, item_id, call.path.get("version"), terms_of(call)))


def restore_collection(call: Call) -> Response:
    writing, name, tag = Writing(call.catalog), call.path["collection"], call.path.get("version")
    query, terms = call.parameters(() if tag is not None else ("deletion",)), terms_of(call)
    if tag is None:
        done = writing.restore_collection(name, query.one("deletion"), terms)
        return collection_written(call, writing, name, done)
    return collection_written(call, writing, name, writing.restore_collection_version(name, tag, terms))


def trash(call: Call) -> Response:
    call.parameters(())
    found = History(call.catalog).deleted_collections(call.rule)
    at = call.address
    return json_answer(
        {
            "collections": [
                {
                    "id": each.id,
                    "deletion": each.tag,
                    "deleted": format_instant(each.at),
                    "actor": each.actor,
                    "links": [link("restore", _restore_href(call, each), method="POST")],
                }
                for each in found
            ],
            "links": [link("self", at.href("/trash")), link("root", at.href("/"))],
            "numberReturned": len(found),
        }
    )


def _restore_href(call: Call, deleted: Version) -> str:
    return call.address.href(f"/collections/{segment(deleted.id)}/restore", [("deletion", deleted.tag)])


def collection_trash(call: Call) -> Response:
    query = call.parameters(("limit", "token"))
    name, limit = call.path["collection"], read_integer("limit", query.one("limit")) or LIMITS.collections_default
    if limit < 1:
        raise InvalidRequest(f"limit: {limit} is not 1 or more")
    limit = min(limit, LIMITS.page_max)
    found = History(call.catalog).deleted_items(name, query.one("token") or "", limit + 1, call.rule)
    more, found = len(found) > limit, found[:limit]
    here = f"/collections/{segment(name)}"
    at = call.address
    links = [link("self", at.href(f"{here}/trash")), link("root", at.href("/"))]
    if more:
        links.append(link("next", at.href(f"{here}/trash", [("limit", str(limit)), ("token", found[-1].id)])))
    return json_answer(
        {
            "items": [
                {
                    "id": each.id,
                    "deleted": format_instant(each.at),
                    "actor": each.actor,
                    "links": [link("restore", at.href(f"{here}/items/{segment(each.id)}/restore"), method="POST")],
                }
                for each in found
            ],
            "links": links,
            "numberReturned": len(found),
        }
    )


_ITEM, _COLLECTION, _VERSIONS, _TRASH = (GEOJSON, "item"), (JSON, "collection"), (JSON, "versions"), (JSON, "trash")
_RESTORE_FAULTS = (400, 403, 404, 412, 422, 503)

ROUTES: tuple[Route, ...] = (
    Route("GET", "/collections/{collection}/versions", versions, "getCollectionVersions",
          "Every version of a collection's document", ("collection",), None, {200: _VERSIONS}, (400, 404, 503),
          "History"),
    Route("GET", "/collections/{collection}/versions/{version}", version, "getCollectionVersion",
          "A collection as it was", ("collection", "version"), None, {200: _COLLECTION, 304: ("", "")},
          (400, 404, 412, 503), "History"),
    Route("POST", "/collections/{collection}/versions/{version}/restore", restore_collection,
          "restoreCollectionVersion", "Make an earlier version of a collection's document the live one",
          ("collection", "version"), None, {200: _COLLECTION}, _RESTORE_FAULTS, "History", "write", True),
    Route("GET", "/collections/{collection}/items/{item}/versions", versions, "getItemVersions",
          "Every version of an item", ("collection", "item"), None, {200: _VERSIONS}, (400, 404, 503), "History"),
    Route("GET", "/collections/{collection}/items/{item}/versions/{version}", version, "getItemVersion",
          "An item as it was", ("collection", "item", "version"), None, {200: _ITEM, 304: ("", "")},
          (400, 404, 412, 503), "History"),
    Route("POST", "/collections/{collection}/items/{item}/versions/{version}/restore", restore_item,
          "restoreItemVersion", "Make an earlier version of an item the live one", ("collection", "item", "version"),
          None, {200: _ITEM, 201: _ITEM}, _RESTORE_FAULTS, "History", "write", True),
    Route("POST", "/collections/{collection}/items/{item}/restore", restore_item, "restoreItem",
          "Restore a deleted item", ("collection", "item"), None, {200: _ITEM, 201: _ITEM}, _RESTORE_FAULTS, "History",
          "write", True),
    Route("POST", "/collections/{collection}/restore", restore_collection, "restoreCollection",
          "Restore a deleted collection with all its items", ("collection", "deletion"), None, {201: _COLLECTION},
          (*_RESTORE_FAULTS, 409), "History", "write", True),
    Route("GET", "/trash", trash, "getTrash", "Deleted collections that can be restored", (), None, {200: _TRASH},
          (400, 403, 503), "History", "side", True),
    Route("GET", "/collections/{collection}/trash", collection_trash, "getCollectionTrash",
          "Deleted items that can be restored", ("collection", "limit", "token"), None, {200: _TRASH},
          (400, 403, 404, 503), "History", "side", True),
)  # fmt: skip

"""The asset store's routes, in UP42's shapes: list, upload, metadata, and what becomes of a delivery."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import unquote

from starlette.responses import Response

from swath.assets import AssetStore
from swath.assets.said import NAMES, Said, check_tags, check_title, clean_name, said_of
from swath.catalog import build_search
from swath.errors import Conflict, InvalidRequest, UnsupportedMediaType
from swath.http.call import Call
from swath.http.downloads import PREFIX, download, download_url
from swath.http.links import JSON
from swath.http.login import store_of
from swath.http.params import Query, instant_text, parse_query, read_flag, read_integer, search_from_query
from swath.http.receiving import Received, check_digest, receive_form, receive_raw
from swath.http.responses import json_answer
from swath.http.route import Route
from swath.stac.text import decode
from swath.stac.time import format_instant, parse_temporal
from swath.store.records import DELIVERY_SORTS, AssetRecord, Choice, DeliveryRecord

__all__ = ["ROUTES", "changed_by", "metadata_of"]

_STATUSES = ("NOT_PROCESSED", "IN_PROGRESS", "SUCCESSFUL", "FAILED")
_SEARCHED = ("bbox", "datetime", "filter", "filter-lang", "intersects")
_LISTS = ("collectionNames", "producerNames", "tags", "sources", "sort", "geospatialMetadataExtractionStatus", "id")
_FILTERS = (
    "createdAfter", "createdBefore", "workspaceId", "collectionNames", "producerNames", "tags", "sources", "search",
    "geospatialMetadataExtractionStatus", "orderId", "id", "deleted",
)  # fmt: skip
_PARAMETERS = (*_FILTERS, *_SEARCHED, "page", "size", "sort")
_SIZE, _MOST = 20, 1_000
_EXTENDED = re.compile(r"filename\*\s*=\s*UTF-8'[^']*'([^;\s]+)", re.IGNORECASE)


# -- listing -------------------------------------------------------------------------------------


def assets(call: Call) -> Response:
    """A page of deliveries, in the shape of Spring's pages."""
    store = store_of(call)
    query = parse_query(call.query, _PARAMETERS, (*_LISTS,))
    page, size = _whole(query, "page", 0, 0), min(_whole(query, "size", _SIZE, 1), _MOST)
    choice = _choice(query)
    searched = Query({name: value for name, value in query.values.items() if name in _SEARCHED})
    expression = build_search(search_from_query(searched)).expression
    found, total = store.choose(choice, expression, call.rule, page, size)
    pages = -(-total // size)
    ordered = {"sorted": bool(choice.sort), "unsorted": not choice.sort, "empty": not choice.sort}
    return json_answer(
        {
            "content": [metadata_of(store, each) for each in found],
            "pageable": {"sort": ordered, "pageNumber": page, "pageSize": size, "offset": page * size, "paged": True,
                         "unpaged": False},
            "totalPages": pages,
            "totalElements": total,
            "last": page + 1 >= pages,
            "first": page == 0,
            "size": size,
            "number": page,
            "numberOfElements": len(found),
            "sort": ordered,
            "empty": not found,
        }
    )  # fmt: skip


def _whole(query: Query, name: str, default: int, least: int) -> int:
    number = read_integer(name, query.one(name))
    if number is None:
        return default
    if not least <= number < 10**12:
        raise InvalidRequest(f"{name}: {number} is not {least} or more")
    return number


def _choice(query: Query) -> Choice:
    def listed(name: str) -> tuple[str, ...]:
        return tuple(part for value in query.values.get(name, ()) for part in value.split(",") if part)

    statuses = listed("geospatialMetadataExtractionStatus")
    for status in statuses:
        if status not in _STATUSES:
            raise InvalidRequest(
                f"geospatialMetadataExtractionStatus: {status[:40]!r} is none of {', '.join(_STATUSES)}"
            )
    return Choice(
        after=_instant(query, "createdAfter", 0),
        before=_instant(query, "createdBefore", 1),
        workspace_id=query.one("workspaceId") or None,
        collection_names=listed("collectionNames"),
        producer_names=listed("producerNames"),
        tags=tuple(query.values.get("tags", ())) + tuple(part for part in listed("tags")),
        sources=listed("sources"),
        search=query.one("search") or None,
        statuses=statuses,
        ids=listed("id"),
        order_id=query.one("orderId") or None,
        deleted=read_flag("deleted", query.one("deleted")),
        sort=tuple(map(_sort, query.values.get("sort", ["createdAt,desc"]))),
    )


def _instant(query: Query, name: str, end: int) -> int | None:
    text = instant_text(query.one(name))
    if not text:
        return None
    span = parse_temporal(text)
    if span is None:
        raise InvalidRequest(f"{name}: {text[:40]!r} is neither a date nor an instant, such as 2024-05-01T00:00:00Z")
    return span[end]


def _sort(text: str) -> tuple[str, bool]:
    name, _, direction = text.partition(",")
    if name not in DELIVERY_SORTS:
        raise InvalidRequest(f"sort: {name[:40]!r} is none of {', '.join(DELIVERY_SORTS)}")
    if direction.lower() not in ("", "asc", "desc"):
        raise InvalidRequest(f"sort: {direction[:20]!r} is neither asc nor desc")
    return name, direction.lower() == "desc"


def metadata_of(store: AssetStore, delivery: DeliveryRecord, asset: AssetRecord | None = None) -> dict[str, Any]:
    """What UP42's API tells of an asset, and what it keeps silent about: why it failed, how long it took, its hash.

    `asset`: a file that was made of the delivery, instead of the delivery itself.
    """
    account = store.account
    told: dict[str, Any] = {
        "id": asset.id if asset else delivery.id,
        "accountId": account.id,
        "workspaceId": delivery.workspace_id,
        "createdAt": format_instant(delivery.at),
        "updatedAt": format_instant(delivery.updated),
        "name": asset.name if asset else delivery.name,
        "size": asset.size if asset else delivery.size,
        "contentType": asset.media_type if asset else delivery.media_type,
        "source": delivery.source,
        "orderId": delivery.order_id,
        "productId": delivery.product_id,
        "producerName": delivery.producer_name,
        "collectionName": delivery.collection_name,
        "geospatialMetadataExtractionStatus": delivery.status,
        "title": delivery.title,
        "tags": list(delivery.tags) if delivery.tags is not None else None,
        "stacCollectionId": delivery.collection if delivery.status == "SUCCESSFUL" else None,
        "statusReason": delivery.reason,
        "durationSeconds": delivery.seconds,
        "deliveryId": delivery.id if asset else None,
        "sha256": asset.sha256 if asset else _hash(store, delivery),
        "deletedAt": format_instant(delivery.deleted) if delivery.deleted is not None else None,
    }
    if delivery.status == "IN_PROGRESS" and asset is None:
        told["progress"] = _progress(store, delivery.id) or None
    return {name: value for name, value in told.items() if value is not None}


def _hash(store: AssetStore, delivery: DeliveryRecord) -> str | None:
    found = store.files.asset(delivery.id)
    return found.sha256 if found else None


def _progress(store: AssetStore, delivery_id: str) -> dict[str, Any]:
    record = store.ledger.job(delivery_id)
    return store.jobs.progress(store.jobs.get(delivery_id)) if record is not None else {}


# -- one asset -----------------------------------------------------------------------------------


def metadata(call: Call) -> Response:
    call.parameters(())
    return _told(call, store_of(call))


def _told(call: Call, store: AssetStore, status: int = 200) -> Response:
    asset = store.asset(call.path["file"])
    made = asset if asset.id != asset.delivery else None
    return json_answer(metadata_of(store, store.delivery(asset.delivery), made), status=status)


def replace_metadata(call: Call) -> Response:
    """Title and tags as the body has them: what it leaves out is cleared, as UP42's clients expect."""
    return _described(call, {"title": None, "tags": None} | _body(call))


def patch_metadata(call: Call) -> Response:
    """Title and tags that the body names (RFC 7396); what it leaves out stays."""
    return _described(call, _body(call))


def _body(call: Call) -> dict[str, Any]:
    call.parameters(())
    body = decode(call.body, "body")
    if not isinstance(body, dict):
        raise InvalidRequest('the body is a JSON object: {"title": …, "tags": […]}')
    return body


def _described(call: Call, body: Mapping[str, Any]) -> Response:
    store, change = store_of(call), changed_by(body)
    store.describe(store.asset(call.path["file"]).delivery, change, call.actor)
    return _told(call, store)


def changed_by(body: Mapping[str, Any]) -> Any:
    """What a body does to title and tags, under their names in either API. InvalidRequest for what it cannot do."""
    told: dict[str, Any] = {}
    for given, value in body.items():
        name = NAMES.get(given)
        if name not in ("title", "tags"):
            raise InvalidRequest(f"{given[:60]!r} cannot be changed; title and tags can")
        if value is None:
            told[name] = None
        elif name == "title":
            if not isinstance(value, str):
                raise InvalidRequest("title: a string, or null")
            told[name] = check_title(value)
        else:
            if not isinstance(value, list):
                raise InvalidRequest("tags: an array of strings, or null")
            told[name] = check_tags(value)
    return lambda delivery: replace(delivery, **told)


def delete(call: Call) -> Response:
    """To the trash, with the collection and items made of it."""
    call.parameters(())
    store = store_of(call)
    asset = store.asset(call.path["file"])
    if asset.id != asset.delivery:
        raise Conflict(f"the file {asset.id} was made of the delivery {asset.delivery} and goes with it: "
                       f"DELETE /v2/assets/{asset.delivery}")  # fmt: skip
    store.delete(asset.delivery, call.actor)
    return Response(status_code=204)


def restore(call: Call) -> Response:
    call.parameters(())
    store = store_of(call)
    return json_answer(metadata_of(store, store.restore(call.path["file"], call.actor)))


def retry(call: Call) -> Response:
    call.parameters(())
    store = store_of(call)
    return json_answer(metadata_of(store, store.retry(call.path["file"], call.actor)), status=202)


def cancel(call: Call) -> Response:
    call.parameters(())
    store = store_of(call)
    return json_answer(metadata_of(store, store.cancel(call.path["file"])), status=202)


def log(call: Call) -> Response:
    """What was noted while a delivery was worked on."""
    call.parameters(())
    store = store_of(call)
    delivery = store.delivery(call.path["file"])
    return json_answer({"id": delivery.id, "status": delivery.status, "log": store.log(delivery.id)})


# -- taking in -----------------------------------------------------------------------------------


async def upload(call: Call) -> Response:
    """A delivery, as a form with one file or as the body itself, of any length."""
    store = store_of(call)
    await asyncio.to_thread(store.jobs.folder.mkdir, exist_ok=True)
    assert call.stream is not None
    query = parse_query(call.query, (*NAMES, "name", "filename"), tuple(NAMES))
    media_type = call.headers.get("content-type", "")
    said_of(_told_by(query))  # what is wrong is told before gigabytes are sent
    if media_type.lower().startswith("multipart/form-data"):
        received = await receive_form(call.stream(), store.jobs.folder, media_type)
    elif media_type.lower().startswith("multipart/"):
        raise UnsupportedMediaType("a form is multipart/form-data")
    else:
        name = query.one("filename") or query.one("name") or _named(call) or "delivery"
        received = await receive_raw(call.stream(), store.jobs.folder, name)
    try:
        return await asyncio.to_thread(_received, call, store, query, received)
    finally:
        received.drop()


def _told_by(query: Query) -> dict[str, list[str]]:
    return {name: values for name, values in query.values.items() if name not in ("name", "filename")}


def _named(call: Call) -> str | None:
    """The name out of a Content-Disposition."""
    from python_multipart.multipart import parse_options_header

    given = call.headers.get("content-disposition")
    if not given:
        return None
    extended = _EXTENDED.search(given)  # which comes first (RFC 6266, 4.3)
    if extended is not None:
        return unquote(extended[1], "utf-8", "replace")
    found = parse_options_header(given.encode())[1].get(b"filename")
    return found.decode("utf-8", "replace") if found else None


def _received(call: Call, store: AssetStore, query: Query, received: Received) -> Response:
    check_digest(call.headers.get("repr-digest") or call.headers.get("content-digest"), received)
    said: Said = said_of(_told_by(query) | received.fields)
    delivery = store.receive(received.path, clean_name(received.name), said, call.actor, received.sha256)
    answer = json_answer(metadata_of(store, delivery), status=201)
    answer.headers["location"] = f"{call.address.home}{PREFIX}/{delivery.id}/metadata"
    return answer


_META = {200: (JSON, "asset")}
_FAULTS = (400, 401, 403, 404, 503)
_CHANGES = (400, 401, 403, 404, 409, 413, 415, 503)
_ONE = f"{PREFIX}/{{file}}"

ROUTES: tuple[Route, ...] = (
    Route("GET", PREFIX, assets, "getAssets", "Deliveries, a page at a time", _PARAMETERS, None,
          {200: (JSON, "assets")}, (400, 401, 403, 404, 503), "Store"),
    Route("POST", PREFIX, upload, "uploadAsset", "Upload a delivery, as a form or as it is, of any length",
          (), "file", {201: (JSON, "asset")}, (400, 401, 403, 404, 413, 415, 503), "Store", "stream", True,
          ("multipart/form-data", "application/octet-stream", "application/zip", "application/x-tar", "image/tiff")),
    Route("GET", _ONE, download, "getAsset", "The bytes of a file, or a range of them",
          ("file", "Expires", "Signature", "response-content-disposition"), None,
          {200: ("*/*", "text"), 206: ("*/*", "text"), 304: ("", ""), 307: ("", "")}, (*_FAULTS, 412, 416), "Store",
          "stream"),
    Route("DELETE", _ONE, delete, "deleteAsset", "Delete a delivery with all that was made of it", ("file",), None,
          {204: ("", "")}, (*_FAULTS, 409), "Store", "write", True),
    Route("GET", f"{_ONE}/metadata", metadata, "getAssetMetadata", "What is known of a file", ("file",), None, _META,
          _FAULTS, "Store", "side"),
    Route("POST", f"{_ONE}/metadata", replace_metadata, "setAssetMetadata", "Set title and tags; what is left out is "
          "cleared", ("file",), "assetMetadata", _META, _CHANGES, "Store", "write", True),
    Route("PATCH", f"{_ONE}/metadata", patch_metadata, "patchAssetMetadata", "Change title or tags; what is left out "
          "stays", ("file",), "assetMetadata", _META, _CHANGES, "Store", "write", True,
          ("application/json", "application/merge-patch+json")),
    Route("POST", f"{_ONE}/download-url", download_url, "getDownloadUrl", "A link that needs no token, for a while",
          ("file", "expires_in"), None, {200: (JSON, "object")}, _FAULTS, "Store", "side"),
    Route("POST", f"{_ONE}/restore", restore, "restoreAsset", "Bring a delivery back out of the trash", ("file",), None,
          _META, _FAULTS, "Store", "write", True),
    Route("POST", f"{_ONE}/retry", retry, "retryAsset", "Work on a delivery again", ("file",), None,
          {202: (JSON, "asset")}, (*_FAULTS, 409), "Store", "write", True),
    Route("POST", f"{_ONE}/cancel", cancel, "cancelAsset", "Stop working on a delivery", ("file",), None,
          {202: (JSON, "asset")}, (*_FAULTS, 409), "Store", "write", True),
    Route("GET", f"{_ONE}/log", log, "getAssetLog", "What was noted while a delivery was worked on", ("file",), None,
          {200: (JSON, "object")}, _FAULTS, "Store", "side"),
)  # fmt: skip

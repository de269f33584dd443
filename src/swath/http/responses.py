"""Stored bytes as answers: this server's links spliced in, pages joined, nothing parsed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from starlette.responses import Response

from swath.catalog import CollectionView
from swath.http.links import GEOJSON, JSON, SCHEMA, Address, json_links, link, segment
from swath.search import Fields, StoredItem
from swath.stac.document import LinkSpans, splice_links
from swath.stac.prune import prune

__all__ = [
    "FUNCTIONS_REL",
    "QUERYABLES_REL",
    "SORTABLES_REL",
    "collection_bytes",
    "entity",
    "feature_page",
    "item_bytes",
    "json_answer",
]

QUERYABLES_REL = "http://www.opengis.net/def/rel/ogc/1.0/queryables"
FUNCTIONS_REL = "http://www.opengis.net/def/rel/ogc/1.0/functions"
SORTABLES_REL = "http://www.opengis.net/def/rel/ogc/1.0/sortables"


def item_bytes(item: StoredItem, address: Address) -> bytes:
    """An item with its own links replaced by this server's."""
    root = address.base
    collection = f"{root}/collections/{segment(item.collection)}"
    own = (
        f'{{"rel":"self","href":"{collection}/items/{segment(item.id)}","type":"{GEOJSON}"}},'
        f'{{"rel":"parent","href":"{collection}","type":"{JSON}"}},'
        f'{{"rel":"collection","href":"{collection}","type":"{JSON}"}},'
        f'{{"rel":"root","href":"{root}/","type":"{JSON}"}}'
    )
    return splice_links(item.body, LinkSpans.unpack(item.links), own.encode())


def collection_bytes(view: CollectionView, address: Address) -> bytes:
    """A collection with its own links replaced, and with what its publisher left out."""
    here = f"/collections/{segment(view.id)}"
    own = json_links(
        (
            link("self", address.href(here)),
            link("root", address.href("/")),
            link("parent", address.href("/")),
            link("items", address.href(f"{here}/items"), GEOJSON),
            link(QUERYABLES_REL, address.href(f"{here}/queryables"), SCHEMA),
            link(SORTABLES_REL, address.href(f"{here}/sortables"), SCHEMA),
        )
    )
    body = splice_links(view.body, view.links, own)
    for name, value in view.derived.items():
        body = body[:-1] + b',"' + name.encode() + b'":' + value + b"}"
    return body


def feature_page(
    items: Sequence[StoredItem], fields: Fields, links: Iterable[dict[str, Any]], matched: int | None, address: Address
) -> bytes:
    """An ItemCollection. Items are joined as they are, and parsed only where `fields` asks for parts of them."""
    bodies: Iterable[bytes] = (item_bytes(item, address) for item in items)
    if fields.given:
        bodies = (prune(body, fields.include, fields.exclude) for body in bodies)
    counts = f'"numberReturned":{len(items)}'
    if matched is not None:
        counts = f'"numberMatched":{matched},{counts}'
    return b"".join(
        (
            b'{"type":"FeatureCollection","features":[',
            b",".join(bodies),
            b'],"links":[',
            json_links(links),
            b"],",
            counts.encode(),
            b"}",
        )
    )


def json_answer(value: Any, media_type: str = JSON, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type=media_type)


def entity(body: bytes, media_type: str, tag: bytes, if_none_match: str | None) -> Response:
    """A single document with its strong ETag, or 304 when the caller has it (RFC 9110, 13.1.2)."""
    etag = f'"{tag.hex()}-{hashlib.blake2b(body, digest_size=8).hexdigest()}"'
    headers = {"etag": etag, "cache-control": "no-cache"}
    if if_none_match is not None:
        # Which encoding the bytes travelled in stands behind a plus (see http.middleware).
        asked = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
        plain = {f'{part.split("+", 1)[0]}"' if "+" in part else part for part in asked}
        if "*" in asked or etag in plain:
            return Response(status_code=304, headers=headers)
    return Response(body, 200, headers, media_type)

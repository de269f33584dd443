"""Stored bytes as answers: this server's links spliced in, pages joined, nothing parsed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from starlette.responses import Response

from swath.catalog import CollectionView
from swath.http.kept import Keepable
from swath.http.links import GEOJSON, JSON, SCHEMA, Address, json_links, link, segment
from swath.search import Fields, Page, StoredItem
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
    made = item.served.get(address.base)
    if made is not None:
        return made
    root, here = f'"href":"{address.base}', f"/collections/{segment(item.collection)}"
    own = (
        f'{{"rel":"self",{root}{here}/items/{segment(item.id)}","type":"{GEOJSON}"}},'
        f'{{"rel":"parent",{root}{here}","type":"{JSON}"}},'
        f'{{"rel":"collection",{root}{here}","type":"{JSON}"}},'
        f'{{"rel":"root",{root}/","type":"{JSON}"}}'
    )
    made = splice_links(item.body, LinkSpans.unpack(item.links), own.encode())
    item.served.clear()  # one address at a time: callers may name as many as they like
    item.served[address.base] = made
    return made


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
    page: Page, fields: Fields, links: Iterable[dict[str, Any]], address: Address, *, explain: bool
) -> bytes:
    """An ItemCollection. Items are joined as they are, and parsed only where `fields` asks for parts of them."""
    items, matched = page.items, page.matched
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
            b',"explain":' + msgspec.json.encode(page.explained()) if explain else b"",
            b"}",
        )
    )


def json_answer(value: Any, media_type: str = JSON, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type=media_type)


def entity(body: Callable[[], bytes], media_type: str, tag: bytes, shown: bytes, if_none_match: str | None) -> Response:
    """A single document with its strong ETag, or 304 when the caller has it (RFC 9110, 13.1.2).

    `tag` tells versions apart, and `shown` what the body depends on beside the version.
    """
    etag = f'"{tag.hex()}-{shown.hex()}"'
    headers = {"etag": etag, "cache-control": "no-cache"}
    if if_none_match is not None:
        # Which encoding the bytes travelled in stands behind a plus (see http.middleware).
        asked = {part.strip().removeprefix("W/") for part in if_none_match.split(",")}
        plain = {f'{part.split("+", 1)[0]}"' if "+" in part else part for part in asked}
        if "*" in asked or etag in plain:
            return Response(status_code=304, headers=headers)
    return Keepable(body(), 200, headers, media_type)

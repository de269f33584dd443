"""Stored bytes as answers: this server's links spliced in, pages joined, nothing parsed."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
from starlette.responses import Response

from swath.catalog import CollectionView
from swath.http.links import GEOJSON, JSON, SCHEMA, Address, json_links, link, segment
from swath.search import Fields, Page, StoredItem
from swath.stac.links import LinkSpans, at_home, splice_links
from swath.stac.prune import prune
from swath.stac.time import format_instant

__all__ = [
    "FUNCTIONS_REL",
    "QUERYABLES_REL",
    "SORTABLES_REL",
    "collection_bytes",
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
    spans = LinkSpans.unpack(item.links)
    made = splice_links(item.body, spans, own.encode(), _times(item, spans.missing) if spans.missing else b"")
    made = at_home(made, address.home)
    item.served.clear()  # one address at a time: callers may name as many as they like
    item.served[address.base] = made
    return made


def _times(item: StoredItem, missing: int) -> bytes:
    """What the publisher left out of `created` and `updated`, as members."""
    told = []
    if missing & 1:
        told.append(f'"created":"{format_instant(item.created)}"')
    if missing & 2:
        told.append(f'"updated":"{format_instant(item.updated)}"')
    return ",".join(told).encode()


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
    body = at_home(splice_links(view.body, view.links, own), address.home)
    for name, value in view.derived.items():
        body = body[:-1] + b',"' + name.encode() + b'":' + value + b"}"
    return body


def feature_page(
    page: Page,
    fields: Fields,
    links: Iterable[dict[str, Any]],
    address: Address,
    *,
    explain: bool,
    rewrite: Callable[[bytes], bytes] | None = None,
) -> bytes:
    """An ItemCollection. Items are joined as they are, and parsed only where `fields` asks for parts of them, or where
    something is to be rewritten in them."""
    items, matched = page.items, page.matched
    bodies: Iterable[bytes] = (item_bytes(item, address) for item in items)
    if rewrite is not None:
        bodies = map(rewrite, bodies)
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

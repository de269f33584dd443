"""Reading STAC documents without losing a byte of them.

What is stored is what was sent, minus insignificant white space: member order, number spelling, escapes
and unknown members stay.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import msgspec
from shapely import to_wkb

from swath.errors import InvalidDocument
from swath.limits import LIMITS
from swath.stac.geometry import FootprintError, footprint
from swath.stac.links import OWN_COLLECTION_LINKS, OWN_LINKS, LinkSpans, end_of_properties, link_spans
from swath.stac.text import decode_compact, members
from swath.stac.time import parse_temporal

__all__ = [
    "CollectionDocument",
    "ItemDocument",
    "check_id",
    "leaves",
    "read_collection",
    "read_document",
    "read_item",
]

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_MAX_PATH_DEPTH = 8


@dataclass(frozen=True, slots=True)
class ItemDocument:
    """A STAC Item that may be stored."""

    id: str
    collection: str
    body: bytes
    links: LinkSpans
    shape: bytes | None  # WKB of the search shape where it is not the literal geometry
    content: dict[str, Any]
    warnings: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class CollectionDocument:
    """A STAC Collection that may be stored."""

    id: str
    body: bytes
    links: LinkSpans
    content: dict[str, Any]
    warnings: tuple[str, ...] = ()
    made: bool = False  # by Swath, since items came before any document of their collection


def check_id(value: object, pointer: str = "/id") -> str:
    """An id that can be kept, compared and put into a URL; InvalidDocument otherwise."""
    if not isinstance(value, str) or not value:
        raise InvalidDocument("an id is a string that is not empty", pointer)
    if value.isascii():
        if not value.isprintable():
            raise InvalidDocument(f"the id {value!r} holds a control character", pointer)
    elif _CONTROL.search(value):
        raise InvalidDocument(f"the id {value!r} holds a control character", pointer)
    elif not unicodedata.is_normalized("NFC", value):
        raise InvalidDocument(f"the id {value!r} is not in Unicode normal form C", pointer)
    if len(value) > LIMITS.id_characters:
        raise InvalidDocument(f"the id is longer than {LIMITS.id_characters} characters", pointer)
    if value in (".", ".."):
        raise InvalidDocument(f"the id {value!r} cannot stand in a URL", pointer)
    return value


def read_document(
    raw: bytes, collection: str | None = None, document_id: str | None = None
) -> ItemDocument | CollectionDocument:
    """A STAC Item or Collection out of JSON text. `collection` and `document_id` are taken for one that names none.

    InvalidDocument, with a JSON pointer, for what no search or client could use.
    """
    if len(raw) > LIMITS.item_bytes:
        raise InvalidDocument(f"the document is larger than {LIMITS.item_bytes:,} bytes")
    content, body = decode_compact(raw, "document")
    if not isinstance(content, dict):
        raise InvalidDocument("a STAC document is a JSON object")
    kind = content.get("type")
    if document_id is not None and content.get("id") is None:
        body = _with_member(body, content, "id", document_id)
    if kind == "Feature":
        return _item(body, content, collection)
    if kind == "Collection" or (kind is None and "extent" in content):
        return _collection(body, content)
    raise InvalidDocument(f"neither an Item nor a Collection: type is {kind!r}"[:200], "/type")


def read_item(raw: bytes, collection: str, item_id: str | None = None) -> ItemDocument:
    """An item of a collection, of an id where one is given: InvalidDocument where it says otherwise."""
    document = read_document(raw, collection, item_id)
    if isinstance(document, CollectionDocument):
        raise InvalidDocument('an item has "type": "Feature"', "/type")
    if document.collection != collection:
        raise InvalidDocument(f"the item says {document.collection!r}, the address {collection!r}", "/collection")
    if item_id is not None and document.id != item_id:
        raise InvalidDocument(f"the item says {document.id!r}, the address {item_id!r}", "/id")
    return document


def read_collection(raw: bytes, collection_id: str | None = None) -> CollectionDocument:
    """A STAC Collection, of an id where one is given; InvalidDocument for anything else."""
    document = read_document(raw, None, collection_id)
    if isinstance(document, ItemDocument):
        raise InvalidDocument('a collection has "type": "Collection"', "/type")
    if collection_id is not None and document.id != collection_id:
        raise InvalidDocument(f"the collection says {document.id!r}, the address {collection_id!r}", "/id")
    return document


def _item(body: bytes, content: dict[str, Any], collection: str | None) -> ItemDocument:
    item_id = check_id(content.get("id"))
    if content.get("collection") is None:
        if collection is None:
            raise InvalidDocument("the item names no collection; name one with --collection", "/collection")
        body = _with_member(body, content, "collection", collection)
    collection = check_id(content["collection"], "/collection")
    _check_members(content)
    links = _checked_links(content)
    _check_time(content["properties"])
    bbox = content.get("bbox")
    if bbox is not None and not (isinstance(bbox, list) and len(bbox) in (4, 6) and all(map(_is_number, bbox))):
        raise InvalidDocument("a bbox is an array of 4 or 6 numbers", "/bbox")
    try:
        shape, differs, warning = footprint(content.get("geometry"), bbox, LIMITS.stored_geometry_vertices)
    except FootprintError as error:
        raise InvalidDocument(str(error), "/geometry") from None
    spans = link_spans(body, content, links, OWN_LINKS)
    properties = content["properties"]
    missing = ("created" not in properties) + 2 * ("updated" not in properties)
    if missing:
        spans = replace(spans, properties=end_of_properties(body, content), missing=missing)
    return ItemDocument(
        id=item_id,
        collection=collection,
        body=body,
        links=spans,
        shape=to_wkb(shape) if differs else None,
        content=content,
        warnings=(warning,) if warning else (),
    )


def _with_member(body: bytes, content: dict[str, Any], name: str, value: str) -> bytes:
    """The document with a member behind its others, or in place of a null."""
    text = msgspec.json.encode(value)
    if name in content:
        start, end = members(body)[name]
        body = body[:start] + text + body[end:]
    else:
        comma = b"," if content else b""
        body = b"".join((body[:-1], comma, b'"', name.encode(), b'":', text, b"}"))
    content[name] = value
    return body


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _check_members(content: dict[str, Any]) -> None:
    if "geometry" not in content:
        raise InvalidDocument("an item has a geometry, which may be null", "/geometry")
    if not isinstance(content.get("properties"), dict):
        raise InvalidDocument("an item has an object `properties`", "/properties")
    if not isinstance(content.get("stac_version", "1.0.0"), str):
        raise InvalidDocument("stac_version is a string", "/stac_version")
    assets = content.get("assets", {})
    if not isinstance(assets, dict):
        raise InvalidDocument("assets is an object", "/assets")
    for key, asset in assets.items():
        if not isinstance(asset, dict):
            raise InvalidDocument("an asset is an object", f"/assets/{key}")


def _checked_links(content: dict[str, Any]) -> list[Any]:
    links = content.get("links", [])
    if not isinstance(links, list):
        raise InvalidDocument("links is an array", "/links")
    for number, link in enumerate(links):
        if not (isinstance(link, dict) and isinstance(link.get("rel"), str) and isinstance(link.get("href"), str)):
            raise InvalidDocument("a link is an object with strings `rel` and `href`", f"/links/{number}")
    return links


def _check_time(properties: dict[str, Any]) -> None:
    """STAC Item, "Properties Object": datetime, or null with both ends of a range."""
    for name in ("datetime", "start_datetime", "end_datetime"):
        value = properties.get(name)
        if value is not None and (not isinstance(value, str) or parse_temporal(value) is None):
            raise InvalidDocument(f"{value!r} is not an RFC 3339 date-time", f"/properties/{name}")
    start, end = properties.get("start_datetime"), properties.get("end_datetime")
    if properties.get("datetime") is None and (start is None or end is None):
        raise InvalidDocument(
            "an item has a `datetime`, or a null one with both `start_datetime` and `end_datetime`",
            "/properties/datetime",
        )
    if start is None or end is None:
        return
    first, last = parse_temporal(start), parse_temporal(end)
    if first and last and first[0] > last[1]:
        raise InvalidDocument("`start_datetime` is after `end_datetime`", "/properties/start_datetime")


def _collection(body: bytes, content: dict[str, Any]) -> CollectionDocument:
    collection_id = check_id(content.get("id"))
    for name, kind in (("extent", dict), ("summaries", dict), ("assets", dict), ("providers", list)):
        if not isinstance(content.get(name, kind()), kind):
            raise InvalidDocument(f"{name} is an {'object' if kind is dict else 'array'}", f"/{name}")
    links = _checked_links(content)
    return CollectionDocument(collection_id, body, link_spans(body, content, links, OWN_COLLECTION_LINKS), content)


def leaves(properties: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    """Name and value of every property; members of nested objects under dotted names.

    The exact key wins: where `properties` has both a key "a.b" and an object "a" with a member "b", the
    name a.b means the key. An object is yielded itself, before its members. Null is left out: to a filter
    it is the same as a missing property.
    """
    nested = False
    for name, value in properties.items():
        if value is None:
            continue
        if type(value) is dict:
            nested = True
        yield name, value
    if nested:
        stack = [(name, value, 1) for name, value in properties.items() if type(value) is dict]
        seen = set(properties)
        while stack:
            prefix, value, depth = stack.pop()
            for key, member in value.items():
                name = f"{prefix}.{key}"
                if member is None or name in seen:
                    continue
                seen.add(name)
                yield name, member
                if type(member) is dict and depth < _MAX_PATH_DEPTH:
                    stack.append((name, member, depth + 1))

"""Reading STAC documents without losing a byte of them.

What is stored is what was sent, minus insignificant white space: member order, number spelling, escapes
and unknown members stay. The place of `links` is noted, so that a server can put its own links there
without parsing the document again.
"""

from __future__ import annotations

import json
import posixpath
import re
import struct
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec
import numpy as np
from shapely import to_wkb

from swath.errors import InvalidDocument
from swath.limits import LIMITS
from swath.stac.geometry import FootprintError, footprint
from swath.stac.time import parse_temporal

__all__ = [
    "OWN_ASSET",
    "OWN_EXTENSION",
    "OWN_LINKS",
    "CollectionDocument",
    "ItemDocument",
    "LinkSpans",
    "absolute_hrefs",
    "at_home",
    "away_from_home",
    "check_id",
    "decode",
    "decode_compact",
    "leaves",
    "members",
    "read_collection",
    "read_document",
    "read_item",
    "splice_links",
]

# What a document says of the server that serves it, whose address it does not know: its own files and schemas.
_OWN = "swath:"
OWN_ASSET = f"{_OWN}/v2/assets/"
OWN_EXTENSION = f"{_OWN}/stac-extensions/"

# Links that a server writes itself; every other link of a document is kept.
OWN_LINKS = frozenset(("self", "root", "parent", "collection"))
# A collection's also lead to its items and to what they can be asked: elsewhere, that is another catalogue's.
OWN_COLLECTION_LINKS = OWN_LINKS | {
    "items",
    "item",
    "child",
    "http://www.opengis.net/def/rel/ogc/1.0/queryables",
    "http://www.opengis.net/def/rel/ogc/1.0/sortables",
}

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")
_HREF = re.compile(rb'"href":("(?:[^"\\]|\\.)*")')
_MAX_PATH_DEPTH = 8


@dataclass(frozen=True, slots=True)
class LinkSpans:
    """Where the `links` array of a document begins and ends, and where its foreign links do.

    Offsets in bytes. `start == end` when the document has no `links`: that is where they go, and the
    member name has to be written too. `properties` is where those of an item end, and `missing` which of `created` and
    `updated` (1 and 2, added up) they leave out; 0 and 0 where there is nothing to add.
    """

    start: int
    end: int
    foreign: tuple[tuple[int, int], ...] = ()
    properties: int = 0
    missing: int = 0

    def pack(self) -> bytes:
        numbers = [self.start, self.end, *(number for span in self.foreign for number in span)]
        if self.missing:  # an odd number of numbers
            numbers.append(self.properties << 2 | self.missing)
        return struct.pack(f"<{len(numbers)}I", *numbers)

    @staticmethod
    def unpack(packed: bytes) -> LinkSpans:
        start, end, *rest = struct.unpack(f"<{len(packed) // 4}I", packed)
        last = rest.pop() if len(rest) % 2 else 0
        return LinkSpans(start, end, tuple(zip(rest[::2], rest[1::2], strict=True)), last >> 2, last & 3)


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


def decode(raw: bytes, what: str) -> Any:
    """JSON bytes as Python values. InvalidDocument for malformed text, deep nesting, duplicate keys, bad strings."""
    return decode_compact(raw, what)[0]


def decode_compact(raw: bytes, what: str) -> tuple[Any, bytes]:
    """The values, and the text without its insignificant white space."""
    try:
        value = msgspec.json.decode(raw)
        compact = msgspec.json.format(raw, indent=-1)
    except RecursionError:
        raise InvalidDocument(f"the {what} is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidDocument(f"the {what} is not JSON: {error}") from None
    brackets = compact.count(b"{") + compact.count(b"[")
    if brackets > LIMITS.json_depth and _depth(compact) > LIMITS.json_depth:
        raise InvalidDocument(f"the {what} is nested deeper than {LIMITS.json_depth} levels")
    _refuse_duplicate_keys(compact, value)
    return value, compact


_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_NOT_BRACKETS_OR_QUOTES = bytes(set(range(256)) - set(b'[]{}"'))
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")], _STEP[list(b"]}")] = 1, -1


def _depth(compact: bytes) -> int:
    """How deeply a JSON text is nested. Brackets within strings do not count."""
    bare = compact.translate(None, _NOT_BRACKETS_OR_QUOTES).replace(b'""', b"")
    if b'"' in bare:  # some string holds a bracket or a quote
        bare = _STRING.sub(b"", compact).translate(None, _NOT_BRACKETS)
    if not bare:
        return 0
    return int(np.cumsum(_STEP[np.frombuffer(bare, np.uint8)], dtype=np.int32).max())


def _refuse_duplicate_keys(compact: bytes, value: Any) -> None:
    """JSON decoders keep the last of two equal keys; what the first said would be lost (RFC 8259, section 4).

    Printing the decoded value drops duplicates. Most documents are printed as they came; of the others the number
    of `":` in both texts tells, unless an escape hides one. Only then are the keys read one by one.
    """
    printed = msgspec.json.encode(value)
    if printed == compact or (b"\\u" not in compact and compact.count(b'":') == printed.count(b'":')):
        return
    for keys in _objects(compact):
        seen: set[str] = set()
        for key in keys:
            if key in seen:
                raise InvalidDocument(f"the member {key!r} stands twice in one object")
            seen.add(key)


def _objects(raw: bytes) -> list[list[str]]:
    """The keys of every object in the text, duplicates included."""
    found: list[list[str]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found.append([key for key, _ in pairs])
        return dict(pairs)

    json.loads(raw, object_pairs_hook=keep, parse_int=float)  # an integer of 5,000 digits is no fault here
    return found


def members(body: bytes) -> dict[str, tuple[int, int]]:
    """Where the value of each top-level member of a minimised object begins and ends, in bytes."""
    spans: dict[str, tuple[int, int]] = {}
    position = 1
    for name, raw in msgspec.json.decode(body, type=dict[str, msgspec.Raw]).items():
        position = _end_of_string(body, position) + 1
        end = position + len(bytes(raw))
        spans[name] = (position, end)
        position = end + 1
    return spans


def _end_of_string(text: bytes, position: int) -> int:
    """The offset behind the closing quote of the string that begins at `position`."""
    position += 1
    while True:
        quote = text.index(b'"', position)
        backslashes = 0
        while text[quote - 1 - backslashes] == 0x5C:
            backslashes += 1
        if backslashes % 2 == 0:
            return quote + 1
        position = quote + 1


_LINKS = b'"links":'


def _links_of(body: bytes, content: dict[str, Any]) -> tuple[int, int, list[msgspec.Raw]]:
    """Where the links of a minimised document begin and end, and each as it stands there."""
    # Where the name stands once, it is the document's own. They end before the next member, whose name may stand within
    # them too; but of an array no beginning is an array, so that what can be read is all of it.
    if body.count(_LINKS) == 1 and "links" in content:
        names = list(content)
        place = names.index("links") + 1
        start = body.index(_LINKS) + len(_LINKS)
        following = b',"' + names[place].encode() + b'":' if place < len(names) else b""
        end = body.find(following, start) if following else len(body) - 1
        try:
            return start, end, msgspec.json.decode(body[start:end], type=list[msgspec.Raw])
        except (msgspec.DecodeError, UnicodeDecodeError):
            pass
    spans = members(body)
    if "links" not in spans:
        return len(body) - 1, len(body) - 1, []
    start, end = spans["links"]
    return start, end, msgspec.json.decode(body[start:end], type=list[msgspec.Raw])


def _end_of_properties(body: bytes, content: dict[str, Any]) -> int:
    """The offset of the brace that closes the properties of a minimised item."""
    names = list(content)
    place = names.index("properties") + 1
    if place < len(names):
        # The name of the next member stands behind it: where that is found once, it is the place.
        following = b'},"' + names[place].encode() + b'":'
        if body.count(following) == 1:
            return body.index(following)
    return members(body)["properties"][1] - 1


def _link_spans(body: bytes, content: dict[str, Any], links: list[Any], own: frozenset[str]) -> LinkSpans:
    start, end, raws = _links_of(body, content)
    if start == end:
        return LinkSpans(end, end)
    foreign: list[tuple[int, int]] = []
    position = start + 1
    for link, raw in zip(links, raws, strict=True):
        stop = position + len(bytes(raw))
        if link["rel"] not in own:
            if foreign and foreign[-1][1] + 1 == position:
                foreign[-1] = (foreign[-1][0], stop)
            else:
                foreign.append((position, stop))
        position = stop + 1
    return LinkSpans(start, end, tuple(foreign))


def splice_links(body: bytes, spans: LinkSpans, own: bytes, properties: bytes = b"") -> bytes:
    """The document with `own` (links as JSON text, comma separated) before its foreign links.

    `properties` (members as JSON text, comma separated) go behind the item's own.
    """
    foreign = b",".join(body[start:end] for start, end in spans.foreign)
    inner = own + b"," + foreign if own and foreign else own or foreign
    if spans.start == spans.end:
        comma = b"" if body[spans.start - 1 : spans.start] == b"{" else b","
        links = b"".join((comma, b'"links":[', inner, b"]"))
    else:
        links = b"".join((b"[", inner, b"]"))
    place = spans.properties
    if not properties or not place:
        return b"".join((body[: spans.start], links, body[spans.end :]))
    if body[place - 1 : place] != b"{":
        properties = b"," + properties
    if place <= spans.start:
        return b"".join((body[:place], properties, body[place : spans.start], links, body[spans.end :]))
    return b"".join((body[: spans.start], links, body[spans.end : place], properties, body[place:]))


def at_home(body: bytes, base: str) -> bytes:
    """A document with the addresses of this server's own files and schemas, where `base` is the server's."""
    if b'"swath:/' not in body:  # no string holds a quote as it is, so this stands at the beginning of one
        return body
    home = base.encode()
    for before, own in ((b'"href":"', OWN_ASSET), (b'"', f"{OWN_EXTENSION}up42-")):
        body = body.replace(before + own.encode(), before + home + own.removeprefix(_OWN).encode())
    return body


def away_from_home(body: bytes, base: str) -> bytes:
    """A document as it was before `at_home`, for one who sends back what was served."""
    home = base.encode()
    for before, own in ((rb'"href"\s*:\s*"', OWN_ASSET), (b'"', f"{OWN_EXTENSION}up42-")):
        there = home + own.removeprefix(_OWN).encode()
        if there in body:
            body = re.sub(b"(" + before + b")" + re.escape(there), rb"\1" + own.encode(), body)
    return body


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


def absolute_hrefs(raw: bytes, base: str) -> bytes:
    """The document with relative hrefs of its links and assets resolved against a folder's address.

    InvalidDocument when it is not JSON. Everything else stays as it is spelled.
    """
    _, body = decode_compact(raw, "document")
    if not body.startswith(b"{"):
        return raw
    spans = members(body)
    for name in sorted(spans.keys() & {"links", "assets"}, key=spans.__getitem__, reverse=True):
        start, end = spans[name]
        body = body[:start] + _HREF.sub(lambda found: _resolved(found, base), body[start:end]) + body[end:]
    return body


def _resolved(found: re.Match[bytes], base: str) -> bytes:
    href = msgspec.json.decode(found[1])
    parts = urlsplit(href)
    if parts.scheme or href.startswith(("//", "#")) or not href:
        return found[0]
    origin = urlsplit(base)
    folder = "/" if parts.path.startswith("/") else origin.path.rstrip("/") + "/"
    path = posixpath.normpath(posixpath.join(folder, parts.path)) if parts.path else folder
    resolved = urlunsplit((origin.scheme, origin.netloc, path, parts.query, parts.fragment))
    return b'"href":' + msgspec.json.encode(resolved)


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
    spans = _link_spans(body, content, links, OWN_LINKS)
    properties = content["properties"]
    missing = ("created" not in properties) + 2 * ("updated" not in properties)
    if missing:
        spans = replace(spans, properties=_end_of_properties(body, content), missing=missing)
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
    return CollectionDocument(collection_id, body, _link_spans(body, content, links, OWN_COLLECTION_LINKS), content)


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

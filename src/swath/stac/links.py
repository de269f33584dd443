"""Links and addresses within the text of a document.

The place of `links` is noted when a document is stored, so that a server can put its own links there without parsing
the document again.
"""

from __future__ import annotations

import posixpath
import re
import struct
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import msgspec

from swath.stac.text import decode_compact, members

__all__ = [
    "OWN_ASSET",
    "OWN_COLLECTION_LINKS",
    "OWN_EXTENSION",
    "OWN_LINKS",
    "LinkSpans",
    "absolute_hrefs",
    "at_home",
    "away_from_home",
    "end_of_properties",
    "link_spans",
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

_HREF = re.compile(rb'"href":("(?:[^"\\]|\\.)*")')


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


def end_of_properties(body: bytes, content: dict[str, Any]) -> int:
    """The offset of the brace that closes the properties of a minimised item."""
    names = list(content)
    place = names.index("properties") + 1
    if place < len(names):
        # The name of the next member stands behind it: where that is found once, it is the place.
        following = b'},"' + names[place].encode() + b'":'
        if body.count(following) == 1:
            return body.index(following)
    return members(body)["properties"][1] - 1


def link_spans(body: bytes, content: dict[str, Any], links: list[Any], own: frozenset[str]) -> LinkSpans:
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

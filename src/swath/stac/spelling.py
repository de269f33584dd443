"""Changing a part of a document and no byte of the rest. Texts are minimised JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from swath.stac.coordinates import DEPTHS
from swath.stac.text import members

__all__ = ["replaced", "respelled", "spelled_positions"]

_SPELLED: dict[int, Any] = {
    0: msgspec.Raw, 1: list[msgspec.Raw], 2: list[list[msgspec.Raw]], 3: list[list[list[msgspec.Raw]]],
}  # fmt: skip


def replaced(body: bytes, values: Mapping[str, bytes | None]) -> bytes:
    """An object with other values for some members: None leaves a member out, a new one goes behind the others."""
    spans = members(body)
    ends = [0, *(end for _, end in spans.values())]  # where the member before each ends
    for name, before in reversed(list(zip(spans, ends, strict=False))):
        start, end = spans[name]
        value = values.get(name, b"")
        if value is None:
            # With the comma before it; of the first member the one behind it, if there is one.
            body = body[:before] + body[end:] if before else body[:1] + body[end:].removeprefix(b",")
        elif value:
            body = body[:start] + value + body[end:]
    for name, value in values.items():
        if name not in spans and value is not None:
            comma = b"," if len(body) > 2 else b""
            body = body[:-1] + comma + msgspec.json.encode(name) + b":" + value + b"}"
    return body


def spelled_positions(text: bytes) -> dict[str, Any]:
    """A geometry with the text of each position in its place; what cannot be read is left out."""
    try:
        parts = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
        kind = msgspec.json.decode(parts.get("type", b"null"))
        if kind == "GeometryCollection":
            geometries = msgspec.json.decode(parts["geometries"], type=list[msgspec.Raw])
            return {"geometries": [spelled_positions(bytes(member)) for member in geometries]}
        return {"coordinates": msgspec.json.decode(parts["coordinates"], type=_SPELLED[DEPTHS[kind]])}
    except (msgspec.ValidationError, KeyError, TypeError):
        return {}


def respelled(text: bytes, changed: Mapping[str, tuple[str, Any]], at: str) -> bytes:
    """A geometry with other coordinates for itself or what is in it, named by pointers."""
    if at in changed:
        kind, coordinates = changed[at]
        return replaced(text, {"type": msgspec.json.encode(kind), "coordinates": msgspec.json.encode(coordinates)})
    if not any(place.startswith(f"{at}/") for place in changed):
        return text
    start, end = members(text)["geometries"]
    geometries = msgspec.json.decode(text[start:end], type=list[msgspec.Raw])
    inner = b",".join(
        respelled(bytes(member), changed, f"{at}/geometries/{number}") for number, member in enumerate(geometries)
    )
    return text[:start] + b"[" + inner + b"]" + text[end:]

"""Parts of a document by dotted paths, with every kept value spelled as it was stored (Fields extension)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

__all__ = ["DEFAULT_PATHS", "prune"]

# What a valid item needs: returned when `fields` is given and empty (Fields extension, "Include/Exclude Semantics").
DEFAULT_PATHS = frozenset(
    (
        "type", "stac_version", "stac_extensions", "id", "collection", "geometry", "bbox", "links", "assets",
        "properties.datetime", "properties.start_datetime", "properties.end_datetime",
    )
)  # fmt: skip
_ALWAYS = frozenset(("id", "type", "collection"))
_TOP = frozenset(
    ("id", "type", "collection", "stac_version", "stac_extensions", "geometry", "bbox", "links", "assets", "properties")
)


def prune(body: bytes, include: Iterable[str], exclude: Iterable[str]) -> bytes:
    """The document with the included paths (all, if none are named) less the excluded ones.

    A path whose first part is no member of an item is one of `properties`. `id`, `type` and `collection`
    stay unless they are excluded. A path that leads nowhere is no fault.
    """
    wanted, unwanted = _full_paths(include), _full_paths(exclude)
    if wanted:
        wanted |= _ALWAYS
    return _object(body, wanted or None, unwanted)


def _full_paths(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(path if path.split(".", 1)[0] in _TOP else f"properties.{path}" for path in paths)


def _object(raw: bytes, include: frozenset[str] | None, exclude: frozenset[str]) -> bytes:
    parts = []
    for name, value in msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).items():
        if name in exclude:
            continue
        below = None if include is None or name in include else _below(include, name)
        if below is not None and not below:
            continue
        without = _below(exclude, name)
        text = bytes(value)
        if (below is not None or without) and text[:1] == b"{":
            text = _object(text, below, without)
            if text == b"{}" and below is not None:
                continue
        elif below is not None:
            continue
        parts.append(msgspec.json.encode(name) + b":" + text)
    return b"{" + b",".join(parts) + b"}"


def _below(paths: frozenset[str], name: str) -> frozenset[str]:
    prefix = name + "."
    return frozenset(path[len(prefix) :] for path in paths if path.startswith(prefix))

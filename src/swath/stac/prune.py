"""Parts of a document by dotted paths, with every kept value spelled as it was stored (Fields extension)."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

__all__ = ["DEFAULT_PATHS", "default_less", "prune"]

# What a valid item needs: returned when `fields` is given and empty (Fields extension, "Include/Exclude Semantics").
DEFAULT_PATHS = frozenset(
    (
        "type", "stac_version", "stac_extensions", "id", "collection", "geometry", "bbox", "links", "assets",
        "properties.datetime", "properties.start_datetime", "properties.end_datetime",
    )
)  # fmt: skip
_ALWAYS = frozenset(("id", "type", "collection", "stac_version"))
_TOP = frozenset(
    ("id", "type", "collection", "stac_version", "stac_extensions", "geometry", "bbox", "links", "assets", "properties")
)


def prune(body: bytes, include: Iterable[str], exclude: Iterable[str]) -> bytes:
    """The document with the included paths (all, if none are named) less the excluded ones.

    The longer path wins, and the included one of two equals: `-properties,properties.gsd` leaves one property.
    A path whose first part is no member of an item is one of `properties`. `id`, `type`, `collection` and
    `stac_version` stay unless they are excluded. A path that leads nowhere is no fault.
    """
    wanted, unwanted = _full_paths(include), _full_paths(exclude)
    if wanted:
        wanted |= _ALWAYS - unwanted
    return _object(body, not wanted, wanted, unwanted)


def default_less(exclude: Iterable[str]) -> frozenset[str]:
    """The default paths that no excluded path covers."""
    gone = _full_paths(exclude)
    return frozenset(path for path in DEFAULT_PATHS if not any(path == g or path.startswith(g + ".") for g in gone))


def _full_paths(paths: Iterable[str]) -> frozenset[str]:
    return frozenset(path if path.split(".", 1)[0] in _TOP else f"properties.{path}" for path in paths)


def _object(raw: bytes, keep: bool, include: frozenset[str], exclude: frozenset[str]) -> bytes:
    """`keep` tells what becomes of members that no path names."""
    parts = []
    for name, value in msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).items():
        inside, outside = _below(include, name), _below(exclude, name)
        kept = name in include or (keep and name not in exclude)
        if not kept and not inside:
            continue
        text = bytes(value)
        if (inside or outside) and text[:1] == b"{":
            text = _object(text, kept, inside, outside)
            if text == b"{}" and not kept:
                continue
        elif not kept:
            continue
        parts.append(msgspec.json.encode(name) + b":" + text)
    return b"{" + b",".join(parts) + b"}"


def _below(paths: frozenset[str], name: str) -> frozenset[str]:
    prefix = name + "."
    return frozenset(path[len(prefix) :] for path in paths if path.startswith(prefix))

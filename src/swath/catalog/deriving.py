"""Members of a collection that its publisher left out, told from the items that the caller may see."""

from __future__ import annotations

from collections.abc import Container, Sequence
from typing import Any

import msgspec

from swath.stac.time import format_instant
from swath.store.base import PropertyFacts, Summary
from swath.store.records import CollectionRecord

__all__ = ["ITEM_COUNT", "commit_times", "derived_members", "members"]

ITEM_COUNT = "swath:items"  # STAC has no name for it; one with a prefix is nobody else's

# `extent` tells of time, and when Swath took an item in says nothing about the scene.
_NOT_SUMMARISED = frozenset(("datetime", "created", "updated"))
_NUMBERS = frozenset(("integer", "number"))

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


def members(body: bytes) -> frozenset[str]:
    """The names of what a document has."""
    return frozenset(_decode(body))


def derived_members(given: Container[str], summary: Summary | None, facts: Sequence[PropertyFacts]) -> dict[str, bytes]:
    """Name and JSON text of what is not given. `summary` is None where there are no items."""
    made: dict[str, Any] = {
        "extent": _extent(summary),
        "summaries": _summaries(facts),
        ITEM_COUNT: summary.count if summary else 0,
    }
    return {name: msgspec.json.encode(value) for name, value in made.items() if name not in given and value != {}}


def commit_times(record: CollectionRecord, given: Container[str]) -> dict[str, bytes]:
    """`created` and `updated` of a collection, where its publisher left them out."""
    known = {"created": record.created, "updated": record.updated}
    return {name: msgspec.json.encode(format_instant(at)) for name, at in known.items() if name not in given and at}


def _extent(summary: Summary | None) -> dict[str, Any]:
    """A STAC extent object of what is there; the whole world and all time while nothing is."""
    box = list(summary.box) if summary and summary.box else [-180.0, -90.0, 180.0, 90.0]
    ends = [summary.start, summary.end] if summary else [None, None]
    interval = [format_instant(end) if end is not None else None for end in ends]
    return {"spatial": {"bbox": [box]}, "temporal": {"interval": [interval]}}


def _summaries(facts: Sequence[PropertyFacts]) -> dict[str, Any]:
    """STAC summaries: the values of properties with few distinct strings, and the range of numbers."""
    objects = {fact.name for fact in facts if "object" in fact.kinds}
    found: dict[str, Any] = {}
    for fact in facts:
        if fact.name in _NOT_SUMMARISED or _within(fact.name, objects):
            continue
        if fact.kinds == {"string"} and fact.values:
            found[fact.name] = fact.values
        elif fact.kinds and fact.kinds <= _NUMBERS:
            found[fact.name] = {"minimum": fact.low, "maximum": fact.high}
    return found


def _within(name: str, objects: Container[str]) -> bool:
    """Whether a name is that of a member of an object, which has no place in summaries."""
    place = name.find(".")
    while place >= 0:
        if name[:place] in objects:
            return True
        place = name.find(".", place + 1)
    return False

"""What is told of a set of STAC items, row by row: slow and obvious. Imports nothing of what it checks."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator, Mapping, Set
from typing import Any

from tests.cql2_oracle import Item, extent, instant, search_shape

__all__ = ["properties_of", "summary_of", "temporal_in"]


def summary_of(items: Iterable[Item]) -> tuple[int, tuple[float, ...] | None, float | None, float | None]:
    """How many, the box around all, the first and the last microsecond."""
    items = list(items)
    shapes = [shape for item in items if (shape := search_shape(item)) is not None and not shape.is_empty]
    box = None
    if shapes:
        west, south, east, north = zip(*(shape.bounds for shape in shapes), strict=True)
        box = (min(west), min(south), max(east), max(north))
    spans = [span for item in items if (span := extent(item)) is not None]
    first = min((span.first for span in spans), default=None)
    return len(items), box, first, max((span.last for span in spans), default=None)


def leaves(properties: Mapping[str, Any]) -> dict[str, Any]:
    """Values by name, members of objects by dotted names; a key that is written out wins, null is no value."""
    found = dict(properties)
    inner = [(name, value) for name, value in properties.items() if isinstance(value, dict)]
    while inner:
        name, value = inner.pop()
        for key, member in value.items():
            if f"{name}.{key}" not in found:
                found[f"{name}.{key}"] = member
                if isinstance(member, dict):
                    inner.append((f"{name}.{key}", member))
    return {name: value for name, value in found.items() if value is not None}


def temporal_in(items: Iterable[Item]) -> set[str]:
    """Names under which these items, all that a collection ever had, hold no other strings than instants."""
    good: dict[str, bool] = {}
    for item in items:
        for name, value in leaves(item["properties"]).items():
            if isinstance(value, str):
                good[name] = good.get(name, True) and instant(value) is not None
    return {name for name, all_good in good.items() if all_good}


def properties_of(
    items: Iterable[tuple[Item, Set[str]]], most: int
) -> dict[str, tuple[set[str], int, list[str] | None, Any, Any]]:
    """By name: kinds, how many values, the distinct strings if there are few, the least and the greatest number.

    Each item comes with the names that hold only instants in its collection.
    """
    values: dict[str, list[tuple[Any, bool]]] = {}
    for item, temporal in items:
        for name, value in leaves(item["properties"]).items():
            if name not in ("id", "collection", "geometry"):
                values.setdefault(name, []).append((value, name in temporal))
    found = {}
    for name, held in values.items():
        strings = {unicodedata.normalize("NFC", value) for value, _ in held if isinstance(value, str)}
        numbers = list(_numbers(value for value, _ in held))
        found[name] = (
            _kinds(held), len(held), sorted(strings) if 0 < len(strings) <= most else None,
            min(numbers, default=None), max(numbers, default=None),
        )  # fmt: skip
    return found


def _numbers(values: Iterable[Any]) -> Iterator[int | float]:
    for value in values:
        if isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 2**1023:
            yield value if isinstance(value, float) or -(2**63) <= value < 2**63 else float(value)


def _kinds(held: list[tuple[Any, bool]]) -> set[str]:
    kinds = set()
    for value, _ in held:
        if isinstance(value, bool):
            kinds.add("boolean")
        elif isinstance(value, int) and abs(value) < 2**1023:
            kinds.add("integer" if -(2**63) <= value < 2**63 else "number")
        elif isinstance(value, float):
            kinds.add("number")
        elif isinstance(value, list):
            kinds.add("array")
        elif not isinstance(value, str):
            kinds.add("object")
    strings = [(value, temporal) for value, temporal in held if isinstance(value, str)]
    if any(not temporal for _, temporal in strings):
        kinds.add("string")
    elif strings:
        spans = [instant(value) for value, _ in strings]
        kinds.add("date-time" if any(span is None or span.first == span.last for span in spans) else "date")
    return kinds

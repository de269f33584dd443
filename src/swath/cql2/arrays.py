"""Arrays as sets: elements are equal by kind and value, order and repeats do not count (OGC 21-065r2, 7.8)."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from swath.cql2 import ast
from swath.cql2.ast import ArrayLiteral, Boolean, DateLiteral, Number, Text, Timestamp, Value
from swath.cql2.folding import nfc
from swath.stac.time import DAY, parse_temporal

__all__ = ["RELATIONS", "has_instants", "literal_set", "value_set"]

Elements = frozenset[Any]

RELATIONS: dict[type[ast.ArrayPredicate], Callable[[Elements, Elements], bool]] = {
    ast.AContains: lambda x, y: x >= y,
    ast.AContainedBy: lambda x, y: x <= y,
    ast.AEquals: lambda x, y: x == y,
    ast.AOverlaps: lambda x, y: bool(x & y),
}


def has_instants(array: ArrayLiteral) -> bool:
    """Whether a literal holds dates or date-times: then strings of the data are read as such."""
    return any(
        has_instants(item) if isinstance(item, ArrayLiteral) else isinstance(item, DateLiteral | Timestamp)
        for item in array.items
    )


def literal_set(array: ArrayLiteral) -> Elements:
    return _literals(array, has_instants(array))


def _literals(array: ArrayLiteral, instants: bool) -> Elements:
    return frozenset(_of_literal(item, instants) for item in array.items)


def _of_literal(item: Value, instants: bool) -> Any:
    match item:
        case Boolean(value):
            return "boolean", value
        case Number(value):
            return "number", value
        case Text(value):
            span = parse_temporal(value) if instants else None
            return ("instant", *span) if span else ("string", nfc(value))
        case DateLiteral(start):
            return "instant", start, start + DAY - 1
        case Timestamp(instant):
            return "instant", instant, instant
        case ArrayLiteral(_):
            return "array", _literals(item, instants)
    raise AssertionError(item)


def value_set(values: Iterable[Any], *, instants: bool) -> Elements | None:
    """The elements of an array in the data; None where it holds objects, which have no equality here."""
    found = set()
    for value in values:
        element = _of_value(value, instants)
        if element is None:
            return None
        found.add(element)
    return frozenset(found)


def _of_value(value: Any, instants: bool) -> Any:
    if isinstance(value, bool):
        return "boolean", value
    if isinstance(value, int | float):
        return "number", value
    if isinstance(value, str):
        span = parse_temporal(value) if instants else None
        return ("instant", *span) if span else ("string", value)
    if isinstance(value, tuple):
        inner = value_set(value, instants=instants)
        return ("array", inner) if inner is not None else None
    return ("null",) if value is None else None

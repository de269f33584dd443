"""The tree of a filter: one frozen class per operation.

Predicates are TRUE, FALSE or NULL for an item; values are scalars, instants, geometries or lists.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields

__all__ = [
    "And",
    "BBoxLiteral",
    "Between",
    "Boolean",
    "Comparison",
    "DateLiteral",
    "Equal",
    "Geometry",
    "Greater",
    "GreaterEqual",
    "In",
    "IntervalLiteral",
    "IsNull",
    "Less",
    "LessEqual",
    "Like",
    "Member",
    "Node",
    "Not",
    "NotEqual",
    "Number",
    "Or",
    "Predicate",
    "Property",
    "SIntersects",
    "TIntersects",
    "Text",
    "Timestamp",
    "Value",
    "walk",
]


@dataclass(frozen=True, slots=True)
class Node:
    """Any part of a filter."""


class Value(Node):
    """Something that has a value for an item."""

    __slots__ = ()


class Predicate(Node):
    """Something that is TRUE, FALSE or NULL for an item."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Property(Value):
    """A property of the item, by its queryable name."""

    name: str


@dataclass(frozen=True, slots=True)
class Text(Value):
    value: str


@dataclass(frozen=True, slots=True)
class Number(Value):
    value: int | float


@dataclass(frozen=True, slots=True)
class Boolean(Value, Predicate):
    """TRUE or FALSE; both a value to compare with and a whole filter."""

    value: bool


@dataclass(frozen=True, slots=True)
class DateLiteral(Value):
    """A whole day; `start` is its first microsecond (see `stac.time`)."""

    start: int


@dataclass(frozen=True, slots=True)
class Timestamp(Value):
    instant: int


@dataclass(frozen=True, slots=True)
class IntervalLiteral(Value):
    """Closed at both ends, in microseconds. None is an open end."""

    start: int | None
    end: int | None


@dataclass(frozen=True, slots=True)
class Geometry(Value):
    """A planar CRS84 geometry as WKB (ISO, two dimensions), valid and within the world."""

    wkb: bytes


@dataclass(frozen=True, slots=True)
class BBoxLiteral(Value):
    """A box in degrees; west > east runs across the antimeridian."""

    west: float
    south: float
    east: float
    north: float


@dataclass(frozen=True, slots=True)
class And(Predicate):
    args: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Or(Predicate):
    args: tuple[Predicate, ...]


@dataclass(frozen=True, slots=True)
class Not(Predicate):
    arg: Predicate


@dataclass(frozen=True, slots=True)
class Comparison(Predicate):
    left: Value
    right: Value


class Equal(Comparison):
    __slots__ = ()


class NotEqual(Comparison):
    __slots__ = ()


class Less(Comparison):
    __slots__ = ()


class LessEqual(Comparison):
    __slots__ = ()


class Greater(Comparison):
    __slots__ = ()


class GreaterEqual(Comparison):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Like(Predicate):
    """Whole value against a pattern: `%` any run, `_` one code point, `\\` takes the next literally."""

    value: Value
    pattern: str


@dataclass(frozen=True, slots=True)
class Between(Predicate):
    """Both ends included."""

    value: Value
    low: Value
    high: Value


@dataclass(frozen=True, slots=True)
class In(Predicate):
    value: Value
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class IsNull(Predicate):
    value: Value


@dataclass(frozen=True, slots=True)
class SIntersects(Predicate):
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class TIntersects(Predicate):
    left: Value
    right: Value


@dataclass(frozen=True, slots=True)
class Member(Predicate):
    """The item's array holds this element: `contains` of the STAC Query extension on an array."""

    value: Value
    element: Value


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, parents first."""
    stack: list[Node] = [node]
    while stack:
        current = stack.pop()
        yield current
        for field in fields(current):
            value = getattr(current, field.name)
            if isinstance(value, Node):
                stack.append(value)
            elif isinstance(value, tuple):
                stack.extend(part for part in value if isinstance(part, Node))

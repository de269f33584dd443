"""The tree of a filter: one frozen class per operation.

Predicates are TRUE, FALSE or NULL for an item; values are scalars, instants, geometries or lists.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, fields

__all__ = [
    "AContainedBy",
    "AContains",
    "AEquals",
    "AOverlaps",
    "AccentI",
    "Add",
    "And",
    "Arithmetic",
    "ArrayLiteral",
    "ArrayPredicate",
    "BBoxLiteral",
    "Between",
    "Boolean",
    "CaseI",
    "Comparison",
    "DateLiteral",
    "Divide",
    "Equal",
    "Fold",
    "Function",
    "Geometry",
    "Greater",
    "GreaterEqual",
    "In",
    "IntegerDivide",
    "Interval",
    "IntervalLiteral",
    "IsNull",
    "Less",
    "LessEqual",
    "Like",
    "Member",
    "Modulo",
    "Multiply",
    "Node",
    "Not",
    "NotEqual",
    "Number",
    "NumericText",
    "Or",
    "Power",
    "Predicate",
    "Property",
    "SContains",
    "SCrosses",
    "SDisjoint",
    "SEquals",
    "SIntersects",
    "SOverlaps",
    "STouches",
    "SWithin",
    "Spatial",
    "Subtract",
    "TAfter",
    "TBefore",
    "TContains",
    "TDisjoint",
    "TDuring",
    "TEquals",
    "TFinishedBy",
    "TFinishes",
    "TIntersects",
    "TMeets",
    "TMetBy",
    "TOverlappedBy",
    "TOverlaps",
    "TStartedBy",
    "TStarts",
    "Temporal",
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
    """A property of the item, by its queryable name. `at` is where it was read: a text offset or a JSON pointer."""

    name: str
    at: int | str | None = field(default=None, compare=False, repr=False)


@dataclass(frozen=True, slots=True)
class Text(Value):
    value: str


@dataclass(frozen=True, slots=True)
class Number(Value):
    value: int | float


@dataclass(frozen=True, slots=True)
class NumericText(Value):
    """A string that reads as a number too, from the Query extension: a number beside numbers, else a string."""

    value: str
    number: float


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

    def __repr__(self) -> str:
        """Short, and different for different ones: searches are told apart by it."""
        return f"Geometry({hashlib.blake2b(self.wkb, digest_size=16).hexdigest()})"


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
class Spatial(Predicate):
    """A relation of two geometries (OGC 06-103r4, 6.1.15)."""

    left: Value
    right: Value


class SIntersects(Spatial):
    __slots__ = ()


class SDisjoint(Spatial):
    __slots__ = ()


class SEquals(Spatial):
    __slots__ = ()


class STouches(Spatial):
    __slots__ = ()


class SWithin(Spatial):
    __slots__ = ()


class SContains(Spatial):
    __slots__ = ()


class SCrosses(Spatial):
    __slots__ = ()


class SOverlaps(Spatial):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Temporal(Predicate):
    """A relation of two instants or intervals (OGC 21-065r2, 7.7)."""

    left: Value
    right: Value


class TAfter(Temporal):
    __slots__ = ()


class TBefore(Temporal):
    __slots__ = ()


class TContains(Temporal):
    __slots__ = ()


class TDisjoint(Temporal):
    __slots__ = ()


class TDuring(Temporal):
    __slots__ = ()


class TEquals(Temporal):
    __slots__ = ()


class TFinishedBy(Temporal):
    __slots__ = ()


class TFinishes(Temporal):
    __slots__ = ()


class TIntersects(Temporal):
    __slots__ = ()


class TMeets(Temporal):
    __slots__ = ()


class TMetBy(Temporal):
    __slots__ = ()


class TOverlappedBy(Temporal):
    __slots__ = ()


class TOverlaps(Temporal):
    __slots__ = ()


class TStartedBy(Temporal):
    __slots__ = ()


class TStarts(Temporal):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class ArrayPredicate(Predicate):
    """A relation of two arrays as sets: order and repeats do not count (OGC 21-065r2, 7.8)."""

    left: Value
    right: Value


class AContainedBy(ArrayPredicate):
    __slots__ = ()


class AContains(ArrayPredicate):
    __slots__ = ()


class AEquals(ArrayPredicate):
    __slots__ = ()


class AOverlaps(ArrayPredicate):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Arithmetic(Value):
    """A calculation; NULL where an operand is, and where the result is no number (OGC 21-065r2, 7.9)."""

    left: Value
    right: Value


class Add(Arithmetic):
    __slots__ = ()


class Subtract(Arithmetic):
    __slots__ = ()


class Multiply(Arithmetic):
    __slots__ = ()


class Divide(Arithmetic):
    __slots__ = ()


class IntegerDivide(Arithmetic):
    __slots__ = ()


class Modulo(Arithmetic):
    __slots__ = ()


class Power(Arithmetic):
    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Fold(Value):
    """A string with differences taken out of it."""

    value: Value


class CaseI(Fold):
    """Without case: full Unicode case folding."""

    __slots__ = ()


class AccentI(Fold):
    """Without accents: decomposed, less its combining marks."""

    __slots__ = ()


@dataclass(frozen=True, slots=True)
class Interval(Value):
    """An interval with a property for an end. None is an open end."""

    start: Value | None
    end: Value | None


@dataclass(frozen=True, slots=True)
class ArrayLiteral(Value):
    items: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Function(Value):
    """A call of one of the functions in `cql2.functions`."""

    name: str
    args: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Member(Predicate):
    """`contains` of the STAC Query extension: an element of an array, or a part of a string."""

    value: Value
    element: Value


def walk(node: Node) -> Iterator[Node]:
    """The node and everything below it, parents first."""
    stack: list[Node] = [node]
    while stack:
        current = stack.pop()
        yield current
        for part in fields(current):
            value = getattr(current, part.name)
            if isinstance(value, Node):
                stack.append(value)
            elif isinstance(value, tuple):
                stack.extend(each for each in value if isinstance(each, Node))

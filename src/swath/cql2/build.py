"""The checked constructors that both readers share: arity, kinds of operands, literals.

Each takes `at`, the position of the fault for the error: a text offset or a JSON pointer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

import shapely
from shapely.geometry.base import BaseGeometry

from swath.cql2.ast import (
    And,
    BBoxLiteral,
    Between,
    Boolean,
    Comparison,
    DateLiteral,
    Equal,
    Geometry,
    Greater,
    GreaterEqual,
    In,
    IntervalLiteral,
    IsNull,
    Less,
    LessEqual,
    Like,
    Node,
    Not,
    NotEqual,
    Number,
    Or,
    Predicate,
    Property,
    SIntersects,
    Text,
    Timestamp,
    TIntersects,
    Value,
)
from swath.errors import InvalidFilter
from swath.limits import LIMITS
from swath.stac.geometry import parse_bbox
from swath.stac.time import DAY, parse_date, parse_instant

__all__ = [
    "COMPARISONS",
    "NAMES",
    "UNSUPPORTED",
    "At",
    "bbox",
    "between",
    "comparison",
    "conjunction",
    "date",
    "disjunction",
    "geometry",
    "instant",
    "interval",
    "is_in",
    "is_null",
    "like",
    "negation",
    "number",
    "predicate",
    "spatial",
    "temporal",
    "timestamp",
]

At: TypeAlias = int | str
T = TypeVar("T")

COMPARISONS: dict[str, type[Comparison]] = {
    "=": Equal,
    "<>": NotEqual,
    "!=": NotEqual,
    "<": Less,
    "<=": LessEqual,
    ">": Greater,
    ">=": GreaterEqual,
}

SPATIAL: dict[str, type[SIntersects]] = {"s_intersects": SIntersects}
TEMPORAL: dict[str, type[TIntersects]] = {"t_intersects": TIntersects}

# Operators of CQL2 that this version does not take yet: a clear 400 beats "unknown function".
UNSUPPORTED = frozenset(
    (
        "s_contains", "s_crosses", "s_disjoint", "s_equals", "s_overlaps", "s_touches", "s_within",
        "t_after", "t_before", "t_contains", "t_disjoint", "t_during", "t_equals", "t_finishedby", "t_finishes",
        "t_meets", "t_metby", "t_overlappedby", "t_overlaps", "t_startedby", "t_starts",
        "a_containedby", "a_contains", "a_equals", "a_overlaps", "casei", "accenti",
    )
)  # fmt: skip

NAMES = ("and", "or", "not", *COMPARISONS, "like", "between", "in", "isNull", *SPATIAL, *TEMPORAL)

_ORDERED = (Property, Text, Number, Boolean, DateLiteral, Timestamp)
_FAMILIES = {Text: "string", Number: "number", Boolean: "boolean", DateLiteral: "instant", Timestamp: "instant"}


def describe(node: Node) -> str:
    """What a node is, in the words of an error message."""
    match node:
        case Property(name):
            return f"the property {name!r}"
        case Text(value):
            return f"the string {value!r}"[:80]
        case Number(value):
            return f"the number {value}"
        case Boolean(value):
            return "TRUE" if value else "FALSE"
        case DateLiteral() | Timestamp():
            return "an instant"
        case IntervalLiteral():
            return "an interval"
        case Geometry() | BBoxLiteral():
            return "a geometry"
        case _:
            return "a condition"


def _what(value: object) -> str:
    return describe(value) if isinstance(value, Node) else repr(value)[:40]


def predicate(node: Node, at: At) -> Predicate:
    """The node as a condition; a bare property is refused with the form that was meant."""
    if isinstance(node, Predicate):
        return node
    if isinstance(node, Property):
        raise InvalidFilter(f"{node.name!r} alone is not a condition; write {node.name} = true", at)
    raise InvalidFilter(f"expected a condition, found {describe(node)}", at)


def scalar(node: Node, at: At) -> Value:
    if isinstance(node, _ORDERED):
        return node
    raise InvalidFilter(f"expected a value to compare, found {describe(node)}", at)


def _flat(kind: type[And] | type[Or], args: Sequence[Node], at: At) -> Predicate:
    flat: list[Predicate] = []
    for arg in args:
        part = predicate(arg, at)
        flat.extend(part.args if isinstance(part, kind) else (part,))
    return kind(tuple(flat))


def conjunction(args: Sequence[Node], at: At) -> Predicate:
    return _flat(And, args, at)


def disjunction(args: Sequence[Node], at: At) -> Predicate:
    return _flat(Or, args, at)


def negation(arg: Node, at: At) -> Predicate:
    return Not(predicate(arg, at))


def comparison(kind: type[Comparison], left: Node, right: Node, at: At) -> Predicate:
    a, b = scalar(left, at), scalar(right, at)
    _same_family((a, b), at)
    return kind(a, b)


def _same_family(values: Sequence[Value], at: At) -> None:
    """Literals of two kinds never compare. A string beside an instant is read as one."""
    found = {_FAMILIES[type(value)] for value in values if type(value) in _FAMILIES}
    if len(found) > 1 and found != {"string", "instant"}:
        raise InvalidFilter(f"a {' and a '.join(sorted(found))} cannot be compared", at)


def between(value: Node, low: Node, high: Node, at: At) -> Predicate:
    parts = (scalar(value, at), scalar(low, at), scalar(high, at))
    if any(isinstance(part, Boolean) for part in parts):
        raise InvalidFilter("BETWEEN takes numbers, strings or instants, not booleans", at)
    _same_family(parts, at)
    return Between(*parts)


def is_in(value: Node, items: Sequence[Node], at: At) -> Predicate:
    if len(items) > LIMITS.list_members:
        raise InvalidFilter(f"the list has more than {LIMITS.list_members:,} members", at)
    tested = scalar(value, at)
    listed = tuple(scalar(item, at) for item in items)
    _same_family((tested, *listed), at)
    return In(tested, listed)


def like(value: Node, pattern: Node, at: At) -> Predicate:
    if not isinstance(pattern, Text):
        raise InvalidFilter(f"expected a pattern (a string) after LIKE, found {describe(pattern)}", at)
    if len(pattern.value.encode()) > LIMITS.like_pattern_bytes:
        raise InvalidFilter(f"the pattern is longer than {LIMITS.like_pattern_bytes:,} bytes", at)
    if not isinstance(value, Property | Text):
        raise InvalidFilter(f"expected a string before LIKE, found {describe(value)}", at)
    return Like(value, pattern.value)


def is_null(value: Node, at: At) -> Predicate:
    if isinstance(value, Value):
        return IsNull(value)
    raise InvalidFilter(f"expected a value before IS NULL, found {describe(value)}", at)


def spatial(kind: type[SIntersects], args: Sequence[Node], at: At) -> Predicate:
    if len(args) != 2:
        raise InvalidFilter(f"a spatial function takes two geometries, not {len(args)}", at)
    for arg in args:
        if not isinstance(arg, Property | Geometry | BBoxLiteral):
            raise InvalidFilter(f"expected a geometry, found {describe(arg)}", at)
    return kind(args[0], args[1])  # type: ignore[arg-type]


def temporal(kind: type[TIntersects], args: Sequence[Node], at: At) -> Predicate:
    if len(args) != 2:
        raise InvalidFilter(f"a temporal function takes two instants or intervals, not {len(args)}", at)
    operands: list[Value] = []
    for arg in args:
        operand = instant(arg.value, at) if isinstance(arg, Text) else arg
        if not isinstance(operand, Property | DateLiteral | Timestamp | IntervalLiteral):
            raise InvalidFilter(f"expected an instant or an interval, found {describe(operand)}", at)
        operands.append(operand)
    return kind(*operands)


def number(text: str, at: At) -> Number:
    """A numeric literal. Integers stay exact; what is not finite is refused."""
    value = float(text)
    if not math.isfinite(value):
        raise InvalidFilter(f"the number {text[:40]} is too large", at)
    return Number(int(text) if text.isdigit() else value)


def date(text: str, at: At) -> DateLiteral:
    return _read(lambda: DateLiteral(parse_date(text)), at)


def timestamp(text: str, at: At) -> Timestamp:
    return _read(lambda: Timestamp(parse_instant(text)), at)


def instant(text: str, at: At) -> DateLiteral | Timestamp:
    """A string as an instant: a date-time when it has a T, else a date."""
    return timestamp(text, at) if "T" in text or "t" in text else date(text, at)


def interval(ends: Sequence[object], at: At) -> IntervalLiteral:
    """Two ends, of which `..` is open. A date means its whole day (reference: CQL2 7.7, temporal literals)."""
    if len(ends) != 2:
        raise InvalidFilter(f"an interval has two ends, not {len(ends)}", at)
    bounds: list[tuple[int, int] | None] = []
    for end in ends:
        literal = (None if end == ".." else instant(end, at)) if isinstance(end, str) else end
        match literal:
            case None:
                bounds.append(None)
            case DateLiteral(start):
                bounds.append((start, start + DAY - 1))
            case Timestamp(micros):
                bounds.append((micros, micros))
            case _:
                raise InvalidFilter(f"the end of an interval is an instant or '..', not {_what(literal)}", at)
    first, last = bounds
    if first and last and first[0] > last[1]:
        raise InvalidFilter("the interval ends before it starts", at)
    return IntervalLiteral(first[0] if first else None, last[1] if last else None)


def bbox(numbers: Sequence[object], at: At) -> BBoxLiteral:
    box = _read(lambda: parse_bbox(numbers), at)
    return BBoxLiteral(box.west, box.south, box.east, box.north)


def geometry(shape: BaseGeometry) -> Geometry:
    return Geometry(shapely.to_wkb(shape, output_dimension=2, flavor="iso"))


def _read(read: Callable[[], T], at: At) -> T:
    try:
        return read()
    except ValueError as error:
        raise InvalidFilter(str(error), at) from None

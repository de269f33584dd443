"""The checked constructors that both readers share: arity, kinds of operands, literals.

Each takes `at`, the position of the fault for the error: a text offset or a JSON pointer.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TypeAlias, TypeVar

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from swath.cql2 import ast
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
    Text,
    Timestamp,
    Value,
)
from swath.cql2.folding import fold_accents, fold_case
from swath.cql2.functions import FUNCTIONS
from swath.errors import InvalidFilter, shown
from swath.limits import LIMITS
from swath.stac.geometry import parse_bbox
from swath.stac.time import DAY, parse_date, parse_instant

__all__ = [
    "ARITHMETIC",
    "ARRAY",
    "CALLS",
    "COMPARISONS",
    "FOLDS",
    "NAMES",
    "SPATIAL",
    "TAKES_INSTANTS",
    "TEMPORAL",
    "At",
    "arithmetic",
    "array",
    "array_predicate",
    "bbox",
    "between",
    "comparison",
    "conjunction",
    "date",
    "describe",
    "disjunction",
    "family",
    "fold",
    "function",
    "geometry",
    "instant",
    "interval",
    "is_in",
    "is_null",
    "json_number",
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

SPATIAL: dict[str, type[ast.Spatial]] = {
    "s_contains": ast.SContains,
    "s_crosses": ast.SCrosses,
    "s_disjoint": ast.SDisjoint,
    "s_equals": ast.SEquals,
    "s_intersects": ast.SIntersects,
    "s_overlaps": ast.SOverlaps,
    "s_touches": ast.STouches,
    "s_within": ast.SWithin,
}
TEMPORAL: dict[str, type[ast.Temporal]] = {
    "t_after": ast.TAfter,
    "t_before": ast.TBefore,
    "t_contains": ast.TContains,
    "t_disjoint": ast.TDisjoint,
    "t_during": ast.TDuring,
    "t_equals": ast.TEquals,
    "t_finishedBy": ast.TFinishedBy,
    "t_finishes": ast.TFinishes,
    "t_intersects": ast.TIntersects,
    "t_meets": ast.TMeets,
    "t_metBy": ast.TMetBy,
    "t_overlappedBy": ast.TOverlappedBy,
    "t_overlaps": ast.TOverlaps,
    "t_startedBy": ast.TStartedBy,
    "t_starts": ast.TStarts,
}
# These take instants; the others only intervals (OGC 21-065r2, 7.7, table of temporal functions).
TAKES_INSTANTS = (ast.TAfter, ast.TBefore, ast.TDisjoint, ast.TEquals, ast.TIntersects)
ARRAY: dict[str, type[ast.ArrayPredicate]] = {
    "a_containedBy": ast.AContainedBy,
    "a_contains": ast.AContains,
    "a_equals": ast.AEquals,
    "a_overlaps": ast.AOverlaps,
}
ARITHMETIC: dict[str, type[ast.Arithmetic]] = {
    "+": ast.Add,
    "-": ast.Subtract,
    "*": ast.Multiply,
    "/": ast.Divide,
    "div": ast.IntegerDivide,
    "%": ast.Modulo,
    "^": ast.Power,
}
FOLDS: dict[str, type[ast.Fold]] = {"accenti": ast.AccentI, "casei": ast.CaseI}

NAMES = (
    "and", "or", "not", *COMPARISONS, "like", "between", "in", "isNull", *SPATIAL, *TEMPORAL, *ARRAY, *ARITHMETIC,
    *FOLDS, *FUNCTIONS,
)  # fmt: skip

# Operations written as calls in text, by their names in lower case.
CALLS = {name.lower(): name for name in (*SPATIAL, *TEMPORAL, *ARRAY, *FOLDS, *FUNCTIONS)}

_ORDERED = (Property, Text, Number, Boolean, DateLiteral, Timestamp, ast.Arithmetic, ast.Fold, ast.Function)
_LARGEST_PAIR = 100_000  # vertices of one times those of the other

_FAMILIES = {
    Text: "string",
    ast.NumericText: "string",
    Number: "number",
    Boolean: "boolean",
    DateLiteral: "instant",
    Timestamp: "instant",
}


def family(value: Value) -> str | None:
    """The kind of a value, where it is known before any item is looked at."""
    if isinstance(value, ast.Arithmetic):
        return "number"
    if isinstance(value, ast.Fold):
        return "string"
    if isinstance(value, ast.Function):
        return FUNCTIONS[value.name].returns
    return _FAMILIES.get(type(value))


def describe(node: Node) -> str:
    """What a node is, in the words of an error message."""
    match node:
        case Property(name):
            return f"the property {shown(name)}"
        case Text(value) | ast.NumericText(value):
            return f"the string {shown(value)}"
        case Number(value):
            return f"the number {value}"
        case Boolean(value):
            return "TRUE" if value else "FALSE"
        case DateLiteral() | Timestamp():
            return "an instant"
        case IntervalLiteral() | ast.Interval():
            return "an interval"
        case ast.ArrayLiteral():
            return "an array"
        case ast.Arithmetic():
            return "a calculation"
        case ast.Fold():
            return "a folded string"
        case ast.Function(name):
            return f"the function {name}"
        case Geometry() | BBoxLiteral():
            return "a geometry"
        case _:
            return "a condition"


def _what(value: object) -> str:
    return describe(value) if isinstance(value, Node) else shown(value)


def predicate(node: Node, at: At) -> Predicate:
    """The node as a condition; a bare property is refused with the form that was meant."""
    if isinstance(node, Predicate):
        return node
    if isinstance(node, Property):
        name = shown(node.name)
        raise InvalidFilter(f"{name} alone is not a condition; write {name[1:-1]} = true", at)
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
    found = {kind for value in values if (kind := family(value)) is not None}
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
    if not isinstance(value, Property | Text | ast.Fold | ast.Function) or family(value) not in (None, "string"):
        raise InvalidFilter(f"expected a string before LIKE, found {describe(value)}", at)
    return Like(value, pattern.value)


def is_null(value: Node, at: At) -> Predicate:
    if isinstance(value, Value) and not isinstance(value, ast.ArrayLiteral):
        return IsNull(value)
    raise InvalidFilter(f"expected a value before IS NULL, found {describe(value)}", at)


def spatial(kind: type[ast.Spatial], args: Sequence[Node], at: At) -> Predicate:
    if len(args) != 2:
        raise InvalidFilter(f"a spatial function takes two geometries, not {len(args)}", at)
    for arg in args:
        if not isinstance(arg, Property | Geometry | BBoxLiteral):
            raise InvalidFilter(f"expected a geometry, found {describe(arg)}", at)
    if all(isinstance(arg, Geometry) for arg in args):
        # Two scribbles meet as often as the product of their sizes. The data are kept from that, not this.
        sizes = [len(arg.wkb) // 16 for arg in args if isinstance(arg, Geometry)]
        if sizes[0] * sizes[1] > _LARGEST_PAIR:
            raise InvalidFilter("two geometries of this size cannot be held against each other", at)
    return kind(args[0], args[1])  # type: ignore[arg-type]


def temporal(kind: type[ast.Temporal], args: Sequence[Node], at: At) -> Predicate:
    if len(args) != 2:
        raise InvalidFilter(f"a temporal function takes two instants or intervals, not {len(args)}", at)
    operands: list[Value] = []
    for arg in args:
        operand = instant(arg.value, at) if isinstance(arg, Text) else arg
        if not isinstance(operand, Property | DateLiteral | Timestamp | IntervalLiteral | ast.Interval):
            raise InvalidFilter(f"expected an instant or an interval, found {describe(operand)}", at)
        if isinstance(operand, DateLiteral | Timestamp) and kind not in TAKES_INSTANTS:
            raise InvalidFilter("this function takes intervals only; write INTERVAL(start, end)", at)
        operands.append(operand)
    return kind(*operands)


def array_predicate(kind: type[ast.ArrayPredicate], args: Sequence[Node], at: At) -> Predicate:
    if len(args) != 2:
        raise InvalidFilter(f"an array function takes two arrays, not {len(args)}", at)
    for arg in args:
        if not isinstance(arg, Property | ast.ArrayLiteral):
            raise InvalidFilter(f"expected an array, found {describe(arg)}", at)
    return kind(args[0], args[1])  # type: ignore[arg-type]


def array(items: Sequence[Node], at: At) -> ast.ArrayLiteral:
    if len(items) > LIMITS.list_members:
        raise InvalidFilter(f"the array has more than {LIMITS.list_members:,} members", at)
    allowed = (Text, Number, Boolean, DateLiteral, Timestamp, ast.ArrayLiteral)
    for item in items:
        if not isinstance(item, allowed):
            raise InvalidFilter(f"expected a literal in the array, found {describe(item)}", at)
    return ast.ArrayLiteral(tuple(items))  # type: ignore[arg-type]


def arithmetic(kind: type[ast.Arithmetic], left: Node, right: Node, at: At) -> Value:
    for side in (left, right):
        if not (isinstance(side, Property) or (isinstance(side, Value) and family(side) == "number")):
            raise InvalidFilter(f"expected a number, found {describe(side)}", at)
    return kind(left, right)  # type: ignore[arg-type]


def fold(kind: type[ast.Fold], args: Sequence[Node], at: At) -> Value:
    """A literal is folded at once; so is the pattern of a LIKE."""
    if len(args) != 1:
        raise InvalidFilter(f"CASEI and ACCENTI take one string, not {len(args)}", at)
    (value,) = args
    if isinstance(value, Text):
        return Text(fold_case(value.value) if kind is ast.CaseI else fold_accents(value.value))
    if isinstance(value, Property | ast.Fold) or (isinstance(value, ast.Function) and family(value) == "string"):
        return kind(value)
    raise InvalidFilter(f"expected a string, found {describe(value)}", at)


def function(name: str, args: Sequence[Node], at: At) -> Value:
    definition = FUNCTIONS[name]
    if len(args) != len(definition.arguments):
        raise InvalidFilter(f"{name} takes {len(definition.arguments)} argument, not {len(args)}", at)
    for arg, wanted in zip(args, definition.arguments, strict=True):
        if not isinstance(arg, Value) or isinstance(arg, ast.ArrayLiteral | Geometry | BBoxLiteral | IntervalLiteral):
            raise InvalidFilter(f"{name} takes a {wanted}, found {describe(arg)}", at)
        if family(arg) not in (None, wanted):
            raise InvalidFilter(f"{name} takes a {wanted}, found {describe(arg)}", at)
    return ast.Function(name, tuple(args))  # type: ignore[arg-type]


def number(text: str, at: At) -> Number:
    """A numeric literal. Integers stay exact; what is not finite is refused."""
    value = float(text)
    if not math.isfinite(value):
        raise InvalidFilter(f"the number {text[:40]} is too large", at)
    return Number(int(text.lstrip("0") or "0") if text.isdigit() else value)


def json_number(value: int | float, at: At) -> Number:
    """A number of a JSON filter, which may have digits without end."""
    try:
        float(value)
    except OverflowError:
        raise InvalidFilter("the number is too large", at) from None
    return Number(value)


def date(text: str, at: At) -> DateLiteral:
    return _read(lambda: DateLiteral(parse_date(text)), at)


def timestamp(text: str, at: At) -> Timestamp:
    return _read(lambda: Timestamp(parse_instant(text)), at)


def instant(text: str, at: At) -> DateLiteral | Timestamp:
    """A string as an instant: a date-time when it has a T, else a date."""
    return timestamp(text, at) if "T" in text or "t" in text else date(text, at)


def interval(ends: Sequence[object], at: At) -> IntervalLiteral | ast.Interval:
    """Two ends, of which `..` is open. A date means its whole day (OGC 21-065r2, 6.8, temporal literals)."""
    if len(ends) != 2:
        raise InvalidFilter(f"an interval has two ends, not {len(ends)}", at)
    bounds: list[Value | None] = []
    for end in ends:
        bound = (None if end == ".." else instant(end, at)) if isinstance(end, str) else end
        if bound is not None and not isinstance(bound, DateLiteral | Timestamp | Property):
            raise InvalidFilter(f"the end of an interval is an instant or '..', not {_what(bound)}", at)
        if bound is None and end != "..":
            raise InvalidFilter("the end of an interval is an instant or '..', not null", at)
        bounds.append(bound)
    start, end_ = bounds
    if isinstance(start, Property) or isinstance(end_, Property):
        return ast.Interval(start, end_)
    first = start.start if isinstance(start, DateLiteral) else start.instant if isinstance(start, Timestamp) else None
    last = (
        end_.start + DAY - 1 if isinstance(end_, DateLiteral) else end_.instant if isinstance(end_, Timestamp) else None
    )
    if first is not None and last is not None and first > last:
        raise InvalidFilter("the interval ends before it starts", at)
    return IntervalLiteral(first, last)


def bbox(numbers: Sequence[object], at: At) -> BBoxLiteral:
    box = _read(lambda: parse_bbox(numbers), at)
    return BBoxLiteral(box.west, box.south, box.east, box.north)


def geometry(shape: BaseGeometry) -> Geometry:
    coordinates = shapely.get_coordinates(shape)
    if (np.signbit(coordinates) & (coordinates == 0)).any():  # -0 and 0 are one place, and print alike
        shape = shapely.transform(shape, lambda xy: xy + 0.0)
    return Geometry(shapely.to_wkb(shape, output_dimension=2, flavor="iso"))


def _read(read: Callable[[], T], at: At) -> T:
    try:
        return read()
    except ValueError as error:
        raise InvalidFilter(str(error), at) from None

"""What a CQL2 filter means for one STAC item: slow, obvious, written from the reference, section 4 alone.

The other opinion in tests of the real evaluator, of which it imports nothing. A filter is decoded CQL2
JSON in its canonical form; the answer is True, False or None (NULL).
"""

from __future__ import annotations

import math
import operator
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Set
from dataclasses import dataclass
from datetime import date
from fractions import Fraction
from typing import Any, TypeAlias

import shapely
import shapely.affinity
import shapely.geometry
from shapely.geometry.base import BaseGeometry

__all__ = ["Item", "holds", "search_shape", "temporal_names"]

Item: TypeAlias = dict[str, Any]
Truth: TypeAlias = bool | None

DAY = 86_400_000_000
FIRST, LAST = -math.inf, math.inf


@dataclass(frozen=True)
class Span:
    """First and last microsecond of an instant (a date is its whole day) or of an interval."""

    first: float
    last: float


@dataclass(frozen=True)
class Words:
    """A string in NFC. `role`: "literal", "temporal" (a property that holds only instants), or "plain"."""

    text: str
    role: str


@dataclass(frozen=True)
class Here:
    """What a filter is asked about."""

    item: Item
    temporal: Set[str]


# -- time (4.4) --------------------------------------------------------------------------------------

_TIME = re.compile(
    r"([0-9]{4})-([0-9]{2})-([0-9]{2})"
    r"(?:[Tt]([0-9]{2}):([0-9]{2}):([0-9]{2})(?:\.([0-9]+))?(?:[Zz]|([+-][0-9]{2}):([0-9]{2})))?"
)


def instant(text: str) -> Span | None:
    """An RFC 3339 date or date-time; None when it is neither."""
    match = _TIME.fullmatch(text)
    if match is None:
        return None
    year, month, day, hour, minute, second, fraction, east, east_minutes = match.groups()
    try:  # the calendar repeats after 400 years; Python's begins with year 1
        days = date(int(year) + 400, int(month), int(day)).toordinal() - 146_097 if int(year) < 400 else date(
            int(year), int(month), int(day)).toordinal()  # fmt: skip
    except ValueError:
        return None
    start = (days - date(1970, 1, 1).toordinal()) * DAY
    if hour is None:
        return Span(start, start + DAY - 1)
    if int(hour) > 23 or int(minute) > 59 or int(second) > 59:
        return None
    offset = 0
    if east is not None:
        offset = (abs(int(east)) * 60 + int(east_minutes)) * (-1 if east[0] == "-" else 1)
    micros = int(((fraction or "") + "000000")[:6])
    moment = start + ((int(hour) * 60 + int(minute) - offset) * 60 + int(second)) * 1_000_000 + micros
    return Span(moment, moment)


def extent(item: Item) -> Span | None:
    """What `datetime` denotes in t_ functions."""
    held = item["properties"]
    start, end = held.get("start_datetime"), held.get("end_datetime")
    if start is not None and end is not None:
        first, last = instant(start), instant(end)
        assert first is not None
        assert last is not None
        return Span(first.first, last.last)
    return None if held.get("datetime") is None else instant(held["datetime"])


def temporal_names(items: Iterable[Item]) -> dict[str, frozenset[str]]:
    """For each collection, the properties of which every string is a date or a date-time."""
    seen: dict[str, dict[str, bool]] = {}
    for item in items:
        known = seen.setdefault(item["collection"], {})
        for name, value in item["properties"].items():
            for path, leaf in _leaves(name, value):
                if isinstance(leaf, str):
                    known[path] = known.get(path, True) and instant(leaf) is not None
    return {key: frozenset(name for name, good in names.items() if good) for key, names in seen.items()}


def _leaves(name: str, value: Any) -> Iterable[tuple[str, Any]]:
    yield name, value
    if isinstance(value, dict):
        for key, member in value.items():
            yield from _leaves(f"{name}.{key}", member)


def _time_operand(node: Any, here: Here) -> Span | None:
    if isinstance(node, dict) and "interval" in node:
        first, last = (
            _bound(end, here, open_end) for end, open_end in zip(node["interval"], (FIRST, LAST), strict=True)
        )
        if first is None or last is None or first.first > last.last:
            return None
        return Span(first.first, last.last)
    if node == {"property": "datetime"}:
        return extent(here.item)
    return _moment(_value(node, here))


def _bound(end: Any, here: Here, open_end: float) -> Span | None:
    return Span(open_end, open_end) if end == ".." else _moment(_value(end, here))


def _moment(value: Any) -> Span | None:
    return instant(value.text) if isinstance(value, Words) else value if isinstance(value, Span) else None


# ruff: noqa: ARG005
# The formulas of the table, with all four bounds.
_TEMPORAL: dict[str, Callable[[float, float, float, float], bool]] = {
    "t_before": lambda a, b, c, d: b < c,
    "t_after": lambda a, b, c, d: a > d,
    "t_disjoint": lambda a, b, c, d: b < c or a > d,
    "t_intersects": lambda a, b, c, d: not (b < c or a > d),
    "t_equals": lambda a, b, c, d: a == c and b == d,
    "t_meets": lambda a, b, c, d: b == c,
    "t_metBy": lambda a, b, c, d: a == d,
    "t_overlaps": lambda a, b, c, d: a < c < b < d,
    "t_overlappedBy": lambda a, b, c, d: c < a < d < b,
    "t_starts": lambda a, b, c, d: a == c and b < d,
    "t_startedBy": lambda a, b, c, d: a == c and d < b,
    "t_during": lambda a, b, c, d: c < a and b < d,
    "t_contains": lambda a, b, c, d: a < c and d < b,
    "t_finishes": lambda a, b, c, d: c < a and b == d,
    "t_finishedBy": lambda a, b, c, d: a < c and b == d,
}


def _temporal(op: str, args: list[Any], here: Here) -> Truth:
    x, y = (_time_operand(arg, here) for arg in args)
    if x is None or y is None:
        return None
    if op in ("t_overlaps", "t_overlappedBy"):  # an extent without length overlaps what it intersects
        spans = [span for arg, span in zip(args, (x, y), strict=True) if arg == {"property": "datetime"}]
        if any(span.first == span.last for span in spans):
            op = "t_intersects"
    return _TEMPORAL[op](x.first, x.last, y.first, y.last)


# -- values (4.2, 4.3, 4.7) --------------------------------------------------------------------------


def _value(node: Any, here: Here) -> Any:
    """None is NULL; numbers, booleans, lists and dicts are themselves; strings are Words, instants Spans."""
    if isinstance(node, str):
        return Words(_nfc(node), "literal")
    if not isinstance(node, dict):
        return node
    if "property" in node:
        return _property(node["property"], here)
    if "date" in node or "timestamp" in node:
        return instant(node.get("date") or node["timestamp"])
    if "op" in node:
        return _calculated(node["op"], node["args"], here)
    return node  # a geometry, a box or an interval: a value, whatever it is


def _property(name: str, here: Here) -> Any:
    held = here.item["properties"]
    if name not in held:
        name = name.removeprefix("properties.")
    if name in ("id", "collection"):
        return Words(here.item[name], "plain")
    if name == "geometry":
        return here.item["geometry"]
    value = held.get(name)
    if name not in held and "." in name:
        value = held
        for step in name.split("."):
            value = value.get(step) if isinstance(value, dict) else None
    if isinstance(value, str):
        return Words(_nfc(value), "temporal" if name in here.temporal else "plain")
    return value


def _nfc(text: str) -> str:
    return unicodedata.normalize("NFC", text)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _without_accents(text: str) -> str:
    return "".join(
        c for c in unicodedata.normalize("NFD", text) if c in "\u3099\u309a" or unicodedata.category(c) != "Mn"
    )


_OF_STRING: dict[str, Callable[[str], str]] = {
    "casei": str.casefold, "accenti": _without_accents, "lower": str.lower, "upper": str.upper,
}  # fmt: skip


def _half_away(x: float) -> int:
    whole = math.floor(abs(Fraction(x)) + Fraction(1, 2))
    return whole if x >= 0 else -whole


_OF_NUMBER: dict[str, Callable[[Any], Any]] = {"abs": abs, "ceil": math.ceil, "floor": math.floor, "round": _half_away}


def _calculated(op: str, args: list[Any], here: Here) -> Any:
    values = [_value(arg, here) for arg in args]
    if op in _OF_STRING or op == "length":
        (value,) = values
        if not isinstance(value, Words):
            return None
        return len(value.text) if op == "length" else Words(_nfc(_OF_STRING[op](value.text)), "plain")
    if not all(map(_is_number, values)):
        return None
    if op in _OF_NUMBER:
        return _OF_NUMBER[op](values[0])
    return _arithmetic(op, *values)


def _arithmetic(op: str, x: Any, y: Any) -> Any:
    """Integers exactly where the result is one of 64 bits; else doubles. What is not finite is NULL."""
    try:
        if op in ("div", "%"):
            quotient = math.trunc(Fraction(x) / Fraction(y))
            exact = Fraction(quotient) if op == "div" else Fraction(x) - Fraction(y) * quotient
        elif op in ("+", "-", "*"):
            exact = {"+": operator.add, "-": operator.sub, "*": operator.mul}[op](Fraction(x), Fraction(y))
        else:
            result = float(x) / float(y) if op == "/" else float(x) ** float(y)
            return result if not isinstance(result, complex) and math.isfinite(result) else None
        if isinstance(x, int) and isinstance(y, int) and -(2**63) <= exact < 2**63:
            return int(exact)
        return float(exact)  # correctly rounded, as the sum or product of two doubles is
    except (ZeroDivisionError, OverflowError):
        return None


# -- comparisons (4.3) -------------------------------------------------------------------------------


def _compare(op: str, x: Any, y: Any) -> Truth:
    if isinstance(x, Span) or isinstance(y, Span):
        a, b = _moment(x), _moment(y)
        return _compare_spans(op, a, b) if a and b else None
    if isinstance(x, Words) and isinstance(y, Words):
        if "temporal" in (x.role, y.role) and "plain" not in (x.role, y.role):
            a, b = instant(x.text), instant(y.text)
            if a and b:
                return _compare_spans(op, a, b)
        return _COMPARE[op](x.text, y.text)  # Python compares strings by code point
    if (_is_number(x) and _is_number(y)) or (isinstance(x, bool) and isinstance(y, bool)):
        return _COMPARE[op](x, y)  # Python compares int and float exactly
    return None


def _compare_spans(op: str, x: Span, y: Span) -> bool:
    """A date is its whole day: `<` is wholly before, `=` within, and the others follow."""
    before, after = x.last < y.first, x.first > y.last
    return {
        "<": before, "<=": not after, ">": after, ">=": not before, "=": not (before or after), "<>": before or after,
    }[op]  # fmt: skip


_COMPARE: dict[str, Callable[[Any, Any], bool]] = {
    "=": operator.eq,
    "<>": operator.ne,
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


def _like(value: str, pattern: str) -> bool:
    """Each `%` may take any run: all places that the pattern can have reached so far."""
    places = {0}
    position = 0
    while position < len(pattern):
        sign = pattern[position]
        if sign == "%":
            places = {end for start in places for end in range(start, len(value) + 1)}
        elif sign == "_":
            places = {start + 1 for start in places if start < len(value)}
        else:
            if sign == "\\" and position + 1 < len(pattern):
                position += 1
                sign = pattern[position]
            places = {start + 1 for start in places if value[start : start + 1] == sign}
        position += 1
    return len(value) in places


# -- space (4.5) -------------------------------------------------------------------------------------


def search_shape(item: Item) -> BaseGeometry | None:
    """The planar footprint; what lies across the antimeridian is cut there, its parts within ±180."""
    if item["geometry"] is None:
        return None
    shape = shapely.force_2d(shapely.geometry.shape(item["geometry"]))
    if shape.is_empty:
        return shape
    west, _, east, _ = shape.bounds
    box = item.get("bbox")
    if box and box[0] > box[len(box) // 2] and east - west > 180:
        shape = shapely.transform(shape, lambda xy: [(x + 360 if x < 0 else x, y) for x, y in xy])
    elif west >= -180 and east <= 180:
        return shape
    turns = ((turn, shapely.box(turn - 180, -90, turn + 180, 90)) for turn in (-360, 0, 360))
    parts = [shapely.affinity.translate(shape.intersection(window), -turn) for turn, window in turns]
    return shapely.union_all([part for part in parts if not part.is_empty])


_SHAPES: dict[int, tuple[Any, BaseGeometry | None]] = {}


def _shape(node: Any, here: Here) -> BaseGeometry | None:
    if isinstance(node, dict) and "property" in node:
        if node["property"] not in ("geometry", "properties.geometry"):
            return None
        source: Any = here.item
    else:
        source = node
    if id(source) not in _SHAPES or _SHAPES[id(source)][0] is not source:
        _SHAPES[id(source)] = (source, _made(source))  # the source is kept, so that its id stays its own
    return _SHAPES[id(source)][1]


def _made(source: Any) -> BaseGeometry | None:
    if "properties" in source:
        shape = search_shape(source)
        return None if shape is None else _united(shape)
    if "bbox" not in source:
        return _united(shapely.force_2d(shapely.geometry.shape(source)))
    box = source["bbox"]
    west, south, east, north = box if len(box) == 4 else (box[0], box[1], box[3], box[4])
    if west <= east:
        return _rectangle(west, south, east, north)
    return shapely.union(_rectangle(west, south, 180, north), _rectangle(-180, south, east, north))


def _united(shape: BaseGeometry) -> BaseGeometry:
    """A collection flattened, its areas made one: GEOS errs where two of them share an edge."""
    if shape.geom_type != "GeometryCollection" or shape.is_empty:
        return shape
    parts = [part for member in shapely.get_parts(shape) for part in shapely.get_parts(_united(member))]
    area = shapely.union_all([part for part in parts if shapely.get_dimensions(part) == 2])
    rest = [part for part in parts if shapely.get_dimensions(part) < 2]
    return shapely.GeometryCollection([area, *rest]) if rest else area


def _rectangle(west: float, south: float, east: float, north: float) -> BaseGeometry:
    if (west, south) == (east, north):
        return shapely.Point(west, south)
    if west == east or south == north:
        return shapely.LineString([(west, south), (east, north)])
    return shapely.Polygon([(west, south), (east, south), (east, north), (west, north)])


_PATTERNS = {
    "s_intersects": ("T********", "*T*******", "***T*****", "****T****"),
    "s_disjoint": ("FF*FF****",),
    "s_equals": ("T*F**FFF*",),
    "s_within": ("T*F**F***",),
    "s_contains": ("T*****FF*",),
    "s_touches": ("FT*******", "F**T*****", "F***T****"),
}


def _spatial(op: str, args: list[Any], here: Here) -> Truth:
    x, y = (_shape(arg, here) for arg in args)
    if x is None or y is None:
        return None
    a, b = (int(shapely.get_dimensions(part)) for part in (x, y))
    if op in _PATTERNS:
        patterns: tuple[str, ...] = _PATTERNS[op]
    elif op == "s_crosses":
        patterns = ("T*T******",) if a < b else ("T*****T**",) if a > b else ("0********",) if a == 1 else ()
    else:
        patterns = () if a != b else ("1*T***T**",) if a == 1 else ("T*T***T**",)
    matrix = shapely.relate(x, y)
    return any(all(_fits(c, p) for c, p in zip(matrix, pattern, strict=True)) for pattern in patterns)


def _fits(cell: str, wanted: str) -> bool:
    return wanted == "*" or (cell != "F" if wanted == "T" else cell == wanted)


# -- arrays (4.6) ------------------------------------------------------------------------------------

_ARRAY: dict[str, Callable[[Any, Any], bool]] = {
    "a_contains": operator.ge,
    "a_containedBy": operator.le,
    "a_equals": operator.eq,
    "a_overlaps": lambda x, y: bool(x & y),
}


def _array(op: str, args: list[Any], here: Here) -> Truth:
    x, y = (_value(arg, here) for arg in args)
    if not isinstance(x, list) or not isinstance(y, list):
        return None
    instants = _has_instants(x) or _has_instants(y)
    a, b = _set(x, instants), _set(y, instants)
    return None if a is None or b is None else _ARRAY[op](a, b)


def _has_instants(array: list[Any]) -> bool:
    return any(isinstance(e, dict) or (isinstance(e, list) and _has_instants(e)) for e in array)


def _set(array: list[Any], instants: bool) -> frozenset[Any] | None:
    """Beside dates and timestamps, strings that read as such are such. Objects have no equality: NULL."""
    found: set[Any] = set()
    for element in array:
        inner = _set(element, instants) if isinstance(element, list) else None
        span = instant(element) if instants and isinstance(element, str) else None
        if isinstance(element, dict) and len(element) == 1 and {"date", "timestamp"} & element.keys():
            span = instant(*element.values())
        elif isinstance(element, dict) or (isinstance(element, list) and inner is None):
            return None
        kind = "boolean" if isinstance(element, bool) else "number" if _is_number(element) else "other"
        text = _nfc(element) if isinstance(element, str) else None
        found.add(span or inner if span or inner is not None else (kind, element if text is None else text))
    return frozenset(found)


# -- logic (4.1) -------------------------------------------------------------------------------------


def holds(node: Any, item: Item, temporal: Mapping[str, Set[str]]) -> Truth:
    """Whether a filter is TRUE, FALSE or NULL for an item; `temporal` as of `temporal_names`."""
    return _holds(node, Here(item, temporal.get(item["collection"], frozenset())))


def _holds(node: Any, here: Here) -> Truth:
    if isinstance(node, bool):
        return node
    op, args = node["op"], node["args"]
    if op in ("and", "or"):
        found = [_holds(arg, here) for arg in args]
        decisive = op == "or"
        return decisive if decisive in found else None if None in found else not decisive
    if op == "not":
        found_one = _holds(args[0], here)
        return None if found_one is None else not found_one
    if op in _TEMPORAL:
        return _temporal(op, args, here)
    if op.startswith("s_"):
        return _spatial(op, args, here)
    if op in _ARRAY:
        return _array(op, args, here)
    if op == "between":
        return _holds({"op": "and", "args": [
            {"op": ">=", "args": [args[0], args[1]]}, {"op": "<=", "args": [args[0], args[2]]}]}, here)  # fmt: skip
    if op == "in":
        return _holds({"op": "or", "args": [{"op": "=", "args": [args[0], part]} for part in args[1]]}, here)
    if op == "isNull":
        return _is_null(args[0], here)
    x, y = (_value(arg, here) for arg in args)
    if op == "like":
        return _like(x.text, y.text) if isinstance(x, Words) and isinstance(y, Words) else None
    return _compare(op, x, y)


def _is_null(node: Any, here: Here) -> bool:
    if isinstance(node, dict) and "interval" in node:
        return _time_operand(node, here) is None
    return _value(node, here) is None

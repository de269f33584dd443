"""A tree as CQL2 text and as CQL2 JSON, both of which read back to the same tree.

Grouping comes from the one precedence table of `cql2.text`.
"""

from __future__ import annotations

import json
import re
from typing import Any

import shapely

from swath.cql2 import ast, build
from swath.cql2.ast import Node
from swath.cql2.text import ADD, AND, COMPARE, MULTIPLY, NOT, OR, POWER
from swath.stac.time import format_instant

__all__ = ["to_json", "to_text"]

_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.:]*")
_RESERVED = frozenset(
    (
        "and", "or", "not", "like", "between", "in", "is", "null", "true", "false", "div", "date", "timestamp",
        "interval", "bbox", "point", "linestring", "polygon", "multipoint", "multilinestring", "multipolygon",
        "geometrycollection", "casei", "accenti",
    )
)  # fmt: skip

_ESCAPED = str.maketrans({"\\": "\\\\", "'": "''"})

_COMPARISON = {kind: name for name, kind in reversed(build.COMPARISONS.items())}
_CALLS: dict[type[Node], str] = {
    kind: name for table in (build.SPATIAL, build.TEMPORAL, build.ARRAY, build.FOLDS) for name, kind in table.items()
}
_ARITHMETIC = {kind: name for name, kind in build.ARITHMETIC.items()}
_LEVEL = {"+": ADD, "-": ADD, "*": MULTIPLY, "/": MULTIPLY, "%": MULTIPLY, "div": MULTIPLY, "^": POWER}
_ATOM = 99


def to_text(node: Node) -> str:
    """The tree as CQL2 text. TypeError for what only JSON can say: IN with an empty list."""
    return _text(node, 0)


def _text(node: Node, around: int) -> str:
    """`around` is the precedence of what stands around the node: it is put in parentheses if it binds less."""
    level, text = _leveled(node)
    return f"({text})" if level <= around else text


def _leveled(node: Node) -> tuple[int, str]:  # noqa: C901 - one case a node
    match node:
        case ast.And(args):
            return AND, " AND ".join(_text(arg, AND) for arg in args)
        case ast.Or(args):
            return OR, " OR ".join(_text(arg, OR) for arg in args)
        case ast.Not(arg):
            return NOT, f"NOT {_text(arg, NOT)}"
        case ast.Comparison(left, right):
            return COMPARE, f"{_text(left, COMPARE)} {_COMPARISON[type(node)]} {_text(right, COMPARE)}"
        case ast.Like(value, pattern):
            return COMPARE, f"{_text(value, COMPARE)} LIKE {_string(pattern)}"
        case ast.Between(value, low, high):
            ends = f"{_text(low, COMPARE)} AND {_text(high, COMPARE)}"
            return COMPARE, f"{_text(value, COMPARE)} BETWEEN {ends}"
        case ast.In(_, ()):
            raise TypeError("a list without members has no text in CQL2")
        case ast.In(value, items):
            return COMPARE, f"{_text(value, COMPARE)} IN ({', '.join(_text(item, 0) for item in items)})"
        case ast.IsNull(value):
            return COMPARE, f"{_text(value, COMPARE)} IS NULL"
        case ast.Arithmetic(left, right):
            name = _ARITHMETIC[type(node)]
            level = _LEVEL[name]
            # The left operand may be of the same level: chains are read from the left; `^` has no chains.
            return level, f"{_text(left, level - (name != '^'))} {name} {_text(right, level)}"
        case ast.Spatial(left, right) | ast.Temporal(left, right) | ast.ArrayPredicate(left, right):
            return _ATOM, f"{_CALLS[type(node)].upper()}({_text(left, 0)}, {_text(right, 0)})"
        case ast.Fold(value):
            return _ATOM, f"{_CALLS[type(node)].upper()}({_text(value, 0)})"
        case ast.Function(name, args):
            return _ATOM, f"{name}({', '.join(_text(arg, 0) for arg in args)})"
    return _ATOM, _literal(node)


def _literal(node: Node) -> str:
    match node:
        case ast.Property(name):
            plain = _PLAIN_NAME.fullmatch(name) and name.lower() not in _RESERVED
            return name if plain and not name.endswith(".") else '"' + name.replace('"', '""') + '"'
        case ast.Text(value):
            return _string(value)
        case ast.Boolean(value):
            return "TRUE" if value else "FALSE"
        case ast.Number(value):
            return repr(value)
        case ast.DateLiteral(start):
            return f"DATE('{format_instant(start)[:10]}')"
        case ast.Timestamp(instant):
            return f"TIMESTAMP('{format_instant(instant)}')"
        case ast.IntervalLiteral(start, end):
            return f"INTERVAL({_end(start)}, {_end(end)})"
        case ast.Interval(start, end):
            return f"INTERVAL({', '.join(_text_end(bound) for bound in (start, end))})"
        case ast.BBoxLiteral(west, south, east, north):
            return f"BBOX({west!r}, {south!r}, {east!r}, {north!r})"
        case ast.Geometry(wkb):
            return _wkt(json.loads(shapely.to_geojson(shapely.from_wkb(wkb))))
        case ast.ArrayLiteral(items):
            return f"({', '.join(_literal(item) for item in items)})"
    raise TypeError(f"{type(node).__name__} has no text in CQL2")


def _wkt(geometry: dict[str, Any]) -> str:
    """Well-Known Text with every digit; that of GEOS rounds the last one."""
    name = geometry["type"].upper()
    if "geometries" in geometry:
        members = ", ".join(map(_wkt, geometry["geometries"]))
        return f"{name} ({members})" if members else f"{name} EMPTY"
    return f"{name} {_coordinates(geometry['coordinates'], outermost=True) or 'EMPTY'}"


def _coordinates(value: list[Any], *, outermost: bool = False) -> str:
    if value in ([], [[]]):
        return "" if outermost else "EMPTY"
    if not isinstance(value[0], list):
        position = " ".join(repr(int(n) if n == int(n) else n) for n in value)
        return f"({position})" if outermost else position
    return f"({', '.join(map(_coordinates, value))})"


def _string(value: str) -> str:
    return f"'{value.translate(_ESCAPED)}'"


def _end(instant: int | None) -> str:
    """An end of an interval: a bare string, as the grammar has it (OGC 21-065r2, Annex B, instantParameter)."""
    return "'..'" if instant is None else f"'{format_instant(instant)}'"


def _text_end(bound: Node | None) -> str:
    if bound is None or isinstance(bound, ast.Property):
        return "'..'" if bound is None else _literal(bound)
    return f"'{_json_end(bound)}'"


def to_json(node: Node) -> Any:  # noqa: C901 - one case a node
    """The tree as decoded CQL2 JSON, valid by the standard's schema."""
    match node:
        case ast.Boolean(value) | ast.Number(value) | ast.Text(value):
            return value
        case ast.Property(name):
            return {"property": name}
        case ast.DateLiteral(start):
            return {"date": format_instant(start)[:10]}
        case ast.Timestamp(instant):
            return {"timestamp": format_instant(instant)}
        case ast.IntervalLiteral(start, end):
            return {"interval": [".." if bound is None else format_instant(bound) for bound in (start, end)]}
        case ast.Interval(start, end):
            return {"interval": [_json_end(bound) for bound in (start, end)]}
        case ast.BBoxLiteral(west, south, east, north):
            return {"bbox": [west, south, east, north]}
        case ast.Geometry(wkb):
            return json.loads(shapely.to_geojson(shapely.from_wkb(wkb)))
        case ast.ArrayLiteral(items):
            return [to_json(item) for item in items]
        case ast.And(args) | ast.Or(args):
            return _operation("and" if isinstance(node, ast.And) else "or", *args)
        case ast.Not(arg):
            return _operation("not", arg)
        case ast.Comparison(left, right):
            return _operation(_COMPARISON[type(node)], left, right)
        case ast.Like(value, pattern):
            return {"op": "like", "args": [to_json(value), pattern]}
        case ast.Between(value, low, high):
            return _operation("between", value, low, high)
        case ast.In(value, items):
            return {"op": "in", "args": [to_json(value), [to_json(item) for item in items]]}
        case ast.IsNull(value):
            return _operation("isNull", value)
        case ast.Arithmetic(left, right):
            return _operation(_ARITHMETIC[type(node)], left, right)
        case ast.Spatial(left, right) | ast.Temporal(left, right) | ast.ArrayPredicate(left, right):
            return _operation(_CALLS[type(node)], left, right)
        case ast.Fold(value):
            return _operation(_CALLS[type(node)], value)
        case ast.Function(name, args):
            return _operation(name, *args)
    raise TypeError(f"{type(node).__name__} has no form in CQL2")


def _operation(name: str, *args: Node) -> dict[str, Any]:
    return {"op": name, "args": [to_json(arg) for arg in args]}


def _json_end(bound: Node | None) -> Any:
    """An end of an interval: bare strings for instants, as the standard writes them."""
    if bound is None:
        return ".."
    value = to_json(bound)
    return next(iter(value.values())) if "property" not in value else value

"""What a caller asks, in decoded values, made into one `Search`.

All restrictions end in one expression. There is no second path for a box, an id or a date.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from swath.cql2 import build
from swath.cql2.ast import (
    BBoxLiteral,
    Boolean,
    Equal,
    Greater,
    GreaterEqual,
    In,
    IntervalLiteral,
    IsNull,
    Less,
    LessEqual,
    Like,
    Member,
    Not,
    NotEqual,
    Number,
    NumericText,
    Predicate,
    Property,
    SIntersects,
    Text,
    TIntersects,
    Value,
)
from swath.cql2.bind import resolve
from swath.cql2.json import parse_json
from swath.cql2.text import parse_text
from swath.errors import InvalidFilter, InvalidRequest, shown
from swath.limits import LIMITS
from swath.search import NEWEST_FIRST, Fields, Search, SortKey
from swath.stac.geometry import parse_bbox, read_geometry
from swath.stac.time import parse_interval, parse_temporal

__all__ = ["CRS84", "SearchRequest", "build_search", "parse_sort_text", "read_instant"]

CRS84 = "http://www.opengis.net/def/crs/OGC/1.3/CRS84"
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class SearchRequest:
    """The parameters of a search. None: not given."""

    collections: Sequence[str] | None = None
    ids: Sequence[str] | None = None
    bbox: Sequence[Any] | None = None
    intersects: Any = None
    datetime: str | None = None
    query: dict[str, Any] | None = None
    filter: Any = None
    filter_lang: str | None = None
    filter_crs: str | None = None
    sortby: Sequence[SortKey] | None = None
    fields: Fields = field(default_factory=Fields)
    limit: int | None = None
    token: str | None = None
    count: Literal["budget", "exact", "none"] = "budget"
    explain: bool = False
    as_of: str | None = None
    asset_href_mode: str | None = None  # see http.hrefs


def build_search(request: SearchRequest) -> Search:
    """The search that the parameters describe. InvalidRequest names the parameter at fault."""
    parts: list[Predicate] = []
    if request.collections is not None:
        parts.append(_one_of("collection", request.collections, "collections"))
    if request.ids is not None:
        parts.append(_one_of("id", request.ids, "ids"))
    if request.bbox is not None and request.intersects is not None:
        raise InvalidRequest("give either bbox or intersects, not both")
    if request.bbox is not None:
        box = _named("bbox", lambda: parse_bbox(request.bbox or ()))
        parts.append(SIntersects(Property("geometry"), BBoxLiteral(box.west, box.south, box.east, box.north)))
    if request.intersects is not None:
        shape = _named("intersects", lambda: read_geometry(request.intersects, LIMITS.geometry_vertices))
        parts.append(SIntersects(Property("geometry"), build.geometry(shape)))
    if request.datetime is not None:
        span = _named("datetime", lambda: parse_interval(request.datetime or ""))
        parts.append(TIntersects(Property("datetime"), IntervalLiteral(span.start, span.end)))
    if request.query is not None:
        parts.extend(_query(request.query))
    if request.filter is not None:
        parts.append(_filter(request))
    elif request.filter_lang is not None or request.filter_crs is not None:
        _check_language(request)
    return Search(
        expression=_all(parts),
        sort=_sort(request.sortby),
        limit=_limit(request.limit),
        fields=request.fields,
        token=request.token,
        count=request.count,
        as_of=read_instant(request.as_of) if request.as_of is not None else None,
    )


def read_instant(text: str) -> int:
    """An instant of RFC 3339, as `as-of` names it, in microseconds since 1970."""
    span = parse_temporal(text)
    if span is None or span[0] != span[1]:
        raise InvalidRequest(f"as-of: {shown(text)} is no instant such as 2026-01-31T12:00:00Z")
    return span[0]


def _all(parts: Sequence[Predicate]) -> Predicate:
    if not parts:
        return Boolean(True)
    return parts[0] if len(parts) == 1 else build.conjunction(parts, "")


def _named(name: str, read: Callable[[], T]) -> T:
    """Run a reader; its ValueError becomes an error that names the parameter."""
    try:
        return read()
    except ValueError as error:
        raise InvalidRequest(f"{name}: {error}") from None


def _one_of(name: str, values: Sequence[str], parameter: str) -> Predicate:
    if len(values) > LIMITS.list_members:
        raise InvalidRequest(f"{parameter}: more than {LIMITS.list_members:,} values")
    return In(Property(name), tuple(Text(value) for value in values))


def _limit(limit: int | None) -> int:
    if limit is None:
        return LIMITS.page_default
    if limit < 1:
        raise InvalidRequest(f"limit: {limit} is not 1 or more")
    return min(limit, LIMITS.page_max)


def _sort(keys: Sequence[SortKey] | None) -> tuple[SortKey, ...]:
    if not keys:
        return NEWEST_FIRST
    if len(keys) > LIMITS.sort_fields:
        raise InvalidRequest(f"sortby: more than {LIMITS.sort_fields} fields")
    resolved: dict[str, SortKey] = {}
    for key in keys:
        name = resolve(key.name)
        resolved.setdefault(name, SortKey(name, key.descending))
    return tuple(resolved.values())


def parse_sort_text(text: str) -> list[SortKey]:
    """`-properties.eo:cloud_cover,+id`: `+` or nothing ascends, `-` descends."""
    keys = []
    for part in text.split(","):
        name = part.strip()
        # A raw + in a query string arrives as a space, which `strip` has taken away.
        descending = name.startswith("-")
        name = name.removeprefix("-") if descending else name.removeprefix("+")
        if not name:
            raise InvalidRequest(f"sortby: {text!r} has an empty field")
        keys.append(SortKey(name, descending))
    return keys


# -- filter --------------------------------------------------------------------------------------


def _check_language(request: SearchRequest) -> str:
    language = request.filter_lang or ("cql2-text" if isinstance(request.filter, str) else "cql2-json")
    if language not in ("cql2-text", "cql2-json"):
        raise InvalidRequest(f"filter-lang: {language!r} is neither cql2-text nor cql2-json")
    if request.filter_crs not in (None, CRS84):
        raise InvalidRequest(f"filter-crs: only {CRS84} is taken, not {request.filter_crs!r}")
    return language


def _filter(request: SearchRequest) -> Predicate:
    language = _check_language(request)
    value = request.filter
    if language == "cql2-text":
        if not isinstance(value, str):
            raise InvalidFilter("filter: a cql2-text filter is a string; set filter-lang to cql2-json for an object", 0)
        return _with_name(lambda: parse_text(value))
    if isinstance(value, str):
        raise InvalidFilter("filter: a cql2-json filter is an object; set filter-lang to cql2-text for a string", "")
    return _with_name(lambda: parse_json(value))


def _with_name(read: Callable[[], Predicate]) -> Predicate:
    try:
        return read()
    except InvalidFilter as error:
        raise InvalidFilter(f"filter: {error}", error.at) from None


# -- the Query extension -------------------------------------------------------------------------

_COMPARISONS = {
    "eq": Equal,
    "neq": NotEqual,
    "lt": Less,
    "lte": LessEqual,
    "gt": Greater,
    "gte": GreaterEqual,
}
_NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]{1,3})?")
_SUBSTRINGS = {"startsWith": "{}%", "endsWith": "%{}"}
_QUERY_OPERATORS = (*_COMPARISONS, *_SUBSTRINGS, "contains", "in")


def _query(query: Any) -> list[Predicate]:
    if not isinstance(query, dict):
        raise InvalidRequest('query: an object such as {"eo:cloud_cover": {"lt": 10}}')
    if len(query) > LIMITS.list_members:
        raise InvalidRequest(f"query: more than {LIMITS.list_members:,} properties")
    parts: list[Predicate] = []
    for name, tests in query.items():
        if not name:
            raise InvalidRequest("query: a property name is not empty")
        if not isinstance(tests, dict):
            tests = {"eq": tests}
        parts.extend(_query_test(name, operator, operand) for operator, operand in tests.items())
    return parts


def _query_test(name: str, operator: str, operand: Any) -> Predicate:
    value = Property(name)
    if operator in _COMPARISONS:
        if operand is None and operator in ("eq", "neq"):
            return IsNull(value) if operator == "eq" else Not(IsNull(value))
        literal = _query_literal(name, operator, operand)
        if isinstance(operand, str) and _NUMBER.fullmatch(operand) and abs(float(operand)) < float("inf"):
            # pystac-client's short form `cloud<10` sends the number as a string.
            literal = NumericText(operand, float(operand))
        return _COMPARISONS[operator](value, literal)
    if operator == "contains":
        return Member(value, _query_literal(name, operator, operand))
    if operator in _SUBSTRINGS:
        if not isinstance(operand, str):
            raise InvalidRequest(f"query: {operator} of {name!r} takes a string")
        escaped = operand.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
        if len(escaped.encode()) > LIMITS.like_pattern_bytes:
            raise InvalidRequest(f"query: {operator} of {name!r} is longer than {LIMITS.like_pattern_bytes:,} bytes")
        return Like(value, _SUBSTRINGS[operator].format(escaped))
    if operator == "in":
        if not isinstance(operand, list):
            raise InvalidRequest(f"query: in of {name!r} takes an array")
        if len(operand) > LIMITS.list_members:
            raise InvalidRequest(f"query: in of {name!r} has more than {LIMITS.list_members:,} members")
        return In(value, tuple(_query_literal(name, operator, entry) for entry in operand))
    known = ", ".join(_QUERY_OPERATORS)
    raise InvalidRequest(f"query: {operator!r} is not an operator; the operators are {known}")


def _query_literal(name: str, operator: str, operand: Any) -> Value:
    if isinstance(operand, bool):
        return Boolean(operand)
    if isinstance(operand, int | float):
        return Number(operand)
    if isinstance(operand, str):
        return Text(operand)
    raise InvalidRequest(f"query: {operator} of {name!r} takes a string, a number or a boolean")

"""Comparing values: exact for numbers of any kind, instants and whole days, strings by code point."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from swath.cql2 import ast
from swath.cql2.ast import Boolean, Comparison, DateLiteral, Number, Text, Timestamp, Value
from swath.cql2.folding import nfc
from swath.cql2.frame import Column, Lane, Strings
from swath.cql2.truth import Truth, decide, nothing
from swath.stac.time import DAY, parse_temporal

__all__ = [
    "INT64_MAX",
    "INT64_MIN",
    "MIRRORED",
    "OPERATORS",
    "common_rows",
    "compare_columns",
    "compare_floats",
    "compare_instants",
    "compare_integers",
    "compare_literals",
    "exact_float",
]

Operator: TypeAlias = Callable[[Any, Any], Any]
INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1

OPERATORS: dict[type[Comparison], Operator] = {
    ast.Equal: operator.eq,
    ast.NotEqual: operator.ne,
    ast.Less: operator.lt,
    ast.LessEqual: operator.le,
    ast.Greater: operator.gt,
    ast.GreaterEqual: operator.ge,
}
MIRRORED: dict[type[Comparison], type[Comparison]] = {
    ast.Equal: ast.Equal,
    ast.NotEqual: ast.NotEqual,
    ast.Less: ast.Greater,
    ast.LessEqual: ast.GreaterEqual,
    ast.Greater: ast.Less,
    ast.GreaterEqual: ast.LessEqual,
}


def exact_float(number: int | float) -> bool:
    return isinstance(number, float) or (abs(number) <= 2**1023 and int(float(number)) == number)


def compare_integers(compare: Operator, values: NDArray[np.int64], literal: int | float) -> Any:
    """Exact: int64 against any integer, and against a float without rounding either side."""
    if isinstance(literal, float) and not literal.is_integer():
        if compare in (operator.eq, operator.ne):
            return np.full(len(values), compare is operator.ne)
        # Between two integers there is only the gap: x < 2.5 is x <= 2, x > 2.5 is x >= 3.
        below = math.floor(literal)
        if below < INT64_MIN or below >= INT64_MAX:
            return np.full(len(values), compare(0.0, literal))
        return values <= below if compare in (operator.lt, operator.le) else values > below
    whole = int(literal)
    if not INT64_MIN <= whole <= INT64_MAX:
        return np.full(len(values), compare(0, whole))
    return compare(values, np.int64(whole))


def compare_floats(compare: Operator, values: NDArray[np.float64], literal: int | float) -> Any:
    """Exact: where an integer has no float of its own, its neighbours decide."""
    if exact_float(literal):
        return compare(values, float(literal))
    if compare in (operator.eq, operator.ne):
        return np.full(len(values), compare is operator.ne)
    if abs(literal) > 2**1023:
        return np.full(len(values), compare(0, literal))
    nearest = float(literal)
    if compare in (operator.lt, operator.le):
        return values <= nearest if int(nearest) < literal else values < nearest
    return values >= nearest if int(nearest) > literal else values > nearest


def compare_instants(
    compare: Operator, strings: Strings | None, span: tuple[int, int], truth: Truth, *, every: bool
) -> None:
    """Instants against an instant or a whole day. `every` takes any string that reads as one; otherwise
    only rows whose collection holds nothing else there."""
    if strings is None:
        return
    readable, first, last = strings.dictionary.spans()
    chosen = readable[strings.codes] if every else strings.temporal & readable[strings.codes]
    codes, rows = strings.codes[chosen], strings.rows[chosen]
    decide(truth, rows, _compare_spans(compare, first[codes], last[codes], *span))


def _compare_spans(compare: Operator, a: Any, b: Any, c: Any, d: Any) -> Any:
    """[a, b] against [c, d], of which a date is the day: `<=` is "not wholly after"."""
    if compare is operator.lt:
        return b < c
    if compare is operator.gt:
        return a > d
    if compare is operator.le:
        return a <= d
    if compare is operator.ge:
        return b >= c
    overlap = (a <= d) & (c <= b)
    return overlap if compare is operator.eq else ~overlap


def compare_literals(kind: type[Comparison], left: Value, right: Value) -> bool | None:
    compare = OPERATORS[kind]
    spans = [_literal_span(side) for side in (left, right)]
    temporal = any(isinstance(side, DateLiteral | Timestamp) for side in (left, right))
    if temporal:
        if spans[0] is None or spans[1] is None:
            return None
        (a, b), (c, d) = spans[0], spans[1]
        return bool(_compare_spans(compare, np.int64(a), np.int64(b), np.int64(c), np.int64(d)))
    if isinstance(left, Text) and isinstance(right, Text):
        pair = (nfc(left.value), nfc(right.value))
        return bool(compare(*pair))
    if isinstance(left, Number | Boolean) and type(left) is type(right):
        return bool(compare(left.value, right.value))
    return None


def _literal_span(value: Value) -> tuple[int, int] | None:
    match value:
        case DateLiteral(start):
            return start, start + DAY - 1
        case Timestamp(instant):
            return instant, instant
        case Text(text):
            return parse_temporal(text)
    return None


def compare_columns(compare: Operator, left: Column, right: Column, size: int) -> Truth:
    """Row by row, each kind with its own; rows whose kinds differ stay unknown."""
    truth = nothing(size)
    for a in (left.integers, left.floats):
        for b in (right.integers, right.floats):
            rows, i, j = _common(a, b)
            if len(rows):
                assert a is not None
                assert b is not None
                decide(truth, rows, _compare_numbers(compare, a.values[i], b.values[j]))
    rows, i, j = _common(left.booleans, right.booleans)
    if len(rows):
        assert left.booleans is not None
        assert right.booleans is not None
        decide(truth, rows, compare(left.booleans.values[i], right.booleans.values[j]))
    rows, i, j = _common(left.strings, right.strings)
    if len(rows):
        assert left.strings is not None
        assert right.strings is not None
        _compare_string_columns(compare, left.strings, right.strings, (rows, i, j), truth)
    return truth


def _common(a: Lane | Strings | None, b: Lane | Strings | None) -> tuple[Any, Any, Any]:
    if a is None or b is None:
        return (), (), ()
    return common_rows(a.rows, b.rows)


def common_rows(a: NDArray[np.int64], b: NDArray[np.int64]) -> tuple[Any, Any, Any]:
    """Rows that are in both of two ascending lists, and their places in each."""
    if a is b or np.array_equal(a, b):
        return a, slice(None), slice(None)
    if not len(a) or not len(b):
        return a[:0], slice(0, 0), slice(0, 0)
    mark = np.zeros(int(max(a[-1], b[-1])) + 1, np.bool_)
    mark[a] = True
    j = np.flatnonzero(mark[b])
    rows = b[j]
    mark[:] = False
    mark[rows] = True
    return rows, np.flatnonzero(mark[a]), j


def _compare_numbers(compare: Operator, a: NDArray[Any], b: NDArray[Any]) -> Any:
    """Exact for mixed kinds: a float, and what an integer exceeds its float by."""
    if a.dtype == b.dtype:
        return compare(a, b)
    (x, x_rest), (y, y_rest) = _split(a), _split(b)
    same = x == y
    return np.where(same, compare(x_rest, y_rest), compare(x, y))


def _split(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if values.dtype == np.float64:
        return values, np.zeros(len(values), np.int64)
    nearest = values.astype(np.float64)
    below = np.minimum(nearest, np.nextafter(2.0**63, 0))  # 2**63 itself is no int64
    return nearest, values - below.astype(np.int64) - (nearest - below).astype(np.int64)


def _compare_string_columns(
    compare: Operator, left: Strings, right: Strings, common: tuple[Any, Any, Any], truth: Truth
) -> None:
    rows, i, j = common
    a, b = left.codes[i], right.codes[j]
    instants = bool(left.temporal.all()) and bool(right.temporal.all())
    _, first, last = left.dictionary.spans()
    _, first2, last2 = right.dictionary.spans()
    if compare is operator.gt:  # the usual ones need half of it
        hits = first[a] > last2[b]
    elif compare is operator.lt:
        hits = last[a] < first2[b]
    else:
        hits = np.asarray(_compare_spans(compare, first[a], last[a], first2[b], last2[b]))
    if not instants:
        text = np.flatnonzero(~(left.temporal[i] & right.temporal[j]))
        x, y = left.dictionary.values, right.dictionary.values
        pairs = zip(a[text].tolist(), b[text].tolist(), strict=True)
        hits[text] = np.fromiter((compare(x[p], y[q]) for p, q in pairs), np.bool_, len(text))
    decide(truth, rows, hits)

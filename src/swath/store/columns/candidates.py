"""Which rows of a segment can be TRUE for a condition, told by counting instead of evaluating.

A condition gives a superset of its rows, as runs of rows that lie together in some order, or None where it gives
nothing better than all of them. The evaluator decides about what is left. Only supersets of TRUE are handed
up: a NOT is turned into the opposite comparison where there is one, and is worth nothing otherwise.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.cql2 import ast
from swath.cql2.ast import (
    And,
    ArrayLiteral,
    ArrayPredicate,
    Between,
    Boolean,
    Comparison,
    DateLiteral,
    In,
    Like,
    Not,
    Number,
    NumericText,
    Or,
    Predicate,
    Property,
    Spatial,
    Text,
    Timestamp,
    Value,
)
from swath.cql2.bind import resolve_alias
from swath.cql2.comparisons import MIRRORED
from swath.cql2.folding import nfc
from swath.cql2.like import plain_part
from swath.cql2.queryables import CORE
from swath.cql2.spatial import regions
from swath.stac.time import DAY
from swath.store.columns.cells import CellRanges, cells_of
from swath.store.columns.elements import element_key
from swath.store.columns.ranking import BOOLEAN, INSTANT, NUMBER, STRING, ColumnOrder
from swath.store.columns.segment import MappedColumn, Segment
from swath.store.columns.source import View

__all__ = ["Candidates", "Planner"]

_KEPT_ROWS = 2_048
_MOST_ITEMS = 250  # of a list; a longer one is as well evaluated
_OPPOSITE: dict[type[Comparison], type[Comparison]] = {
    ast.Less: ast.GreaterEqual, ast.LessEqual: ast.Greater, ast.Greater: ast.LessEqual, ast.GreaterEqual: ast.Less,
    ast.NotEqual: ast.Equal,
}  # fmt: skip
_MIRRORED_ARRAYS: dict[type[ArrayPredicate], type[ArrayPredicate]] = {
    ast.AContains: ast.AContainedBy, ast.AContainedBy: ast.AContains,
    ast.AEquals: ast.AEquals, ast.AOverlaps: ast.AOverlaps,
}  # fmt: skip


@dataclass(slots=True)
class Candidates:
    """How many rows there are at most, what they were told by, and the runs that hold them, read when needed."""

    told_by: str
    count: int = 0
    runs: Callable[[], Sequence[NDArray[Any]]] = tuple
    _rows: NDArray[np.int64] | None = None

    def rows(self) -> NDArray[np.int64]:
        """Their numbers, ascending; a few of them are kept."""
        if self._rows is not None:
            return self._rows
        runs = self.runs()
        if not runs:
            return np.empty(0, np.int64)
        rows = (runs[0] if len(runs) == 1 else np.concatenate(runs)).astype(np.int64)
        rows.sort()
        if len(rows) > 1 and len(runs) > 1:
            rows = rows[np.flatnonzero(np.diff(rows, prepend=-1))]
        if len(rows) <= _KEPT_ROWS:
            self._rows = rows
        return rows


def _given(told_by: str, runs: Sequence[NDArray[Any]]) -> Candidates:
    return Candidates(told_by, sum(map(len, runs)), lambda: runs)


def _spans(told_by: str, order: ColumnOrder, spans: Sequence[tuple[int, int]]) -> Candidates:
    """Ranges of places in the order of a column."""
    spans = [span for span in spans if span[0] < span[1]]
    count = sum(last - first for first, last in spans)
    return Candidates(told_by, count, lambda: [order.rows(*span) for span in spans])


class Planner:
    """Candidates of conditions, for one search."""

    def __init__(self, view: View) -> None:
        self._view = view
        self._cells: dict[tuple[Value, tuple[int, ...]], CellRanges | None] = {}

    def of(self, condition: Predicate, segment: Segment) -> Candidates | None:
        """A superset of the rows for which a condition is TRUE; None for all of them."""
        match condition:
            case Boolean(False):
                return Candidates("FALSE")
            case And(args):
                found = [each for arg in args if (each := self.of(arg, segment)) is not None]
                return min(found, key=lambda each: each.count, default=None)
            case Or(args):
                return self._any(args, segment)
            case Not(Comparison(left, right) as inner) if type(inner) in _OPPOSITE:
                return self.of(_OPPOSITE[type(inner)](left, right), segment)
            case Comparison(Property(name), literal):
                return self._comparison(type(condition), name, literal, segment)
            case Comparison(literal, Property(name)):
                return self._comparison(MIRRORED[type(condition)], name, literal, segment)
            case Between(value, low, high):
                return self.of(And((ast.GreaterEqual(value, low), ast.LessEqual(value, high))), segment)
        return self._of_one(condition, segment)

    def _of_one(self, condition: Predicate, segment: Segment) -> Candidates | None:
        match condition:
            case In(Property() as value, items) if len(items) <= _MOST_ITEMS:
                return self._any(tuple(ast.Equal(value, item) for item in items), segment)
            case Like(Property(name), pattern):
                return self._like(name, pattern, segment)
            case Spatial(left, right) if not isinstance(condition, ast.SDisjoint):
                return self._space(left, right, segment)
            case ArrayPredicate(Property(name), ArrayLiteral() as literal):
                return self._array(type(condition), name, literal, segment)
            case ArrayPredicate(ArrayLiteral() as literal, Property(name)):
                return self._array(_MIRRORED_ARRAYS[type(condition)], name, literal, segment)
        return None

    def _any(self, args: Sequence[Predicate], segment: Segment) -> Candidates | None:
        if len(args) > _MOST_ITEMS:
            return None
        every: list[Candidates] = []
        for arg in args:
            found = self.of(arg, segment)
            if found is None:
                return None
            every.append(found)
        told_by = ", ".join(list(dict.fromkeys(each.told_by for each in every))[:3])
        return Candidates(
            told_by, sum(each.count for each in every), lambda: [run for each in every for run in each.runs()]
        )

    def _comparison(self, kind: type[Comparison], name: str, literal: Value, segment: Segment) -> Candidates | None:
        if name == "collection":
            return self._collection(kind, literal, segment)
        if name in CORE and name != "id":
            return None
        name = "id" if name == "id" else resolve_alias(name, self._view.exists)
        column = segment.column(name)
        told_by = f"order of {name}"
        if column is None or column.order is None:
            return Candidates(told_by) if isinstance(literal, _SCALARS) else None
        order = ColumnOrder(segment, column)
        spans: list[tuple[int, int] | None]
        match literal:
            case Number(value):
                spans = [order.compared(kind, (NUMBER, value))]
            case Boolean(value):
                spans = [order.compared(kind, (BOOLEAN, int(value)))]
            case Text(value):
                spans = [self._text(kind, name, value, column, order, segment)]
            case NumericText(value, number):
                spans = [self._text(kind, name, value, column, order, segment), order.compared(kind, (NUMBER, number))]
            case DateLiteral(start):
                spans = [self._instants(kind, column, order, (start, start + DAY - 1))]
            case Timestamp(instant):
                spans = [self._instants(kind, column, order, (instant, instant))]
            case _:
                return None
        if None in spans:
            return None
        return _spans(told_by, order, [span for span in spans if span is not None])

    def _collection(self, kind: type[Comparison], literal: Value, segment: Segment) -> Candidates | None:
        if kind is not ast.Equal or not isinstance(literal, Text):
            return None
        wanted, names = nfc(literal.value), self._view.names.by_key
        runs = [segment.identity[first:last] for key, (first, last) in segment.collections.items()
                if names[key] == wanted]  # fmt: skip
        return _given("collection", runs)

    def _text(
        self, kind: type[Comparison], name: str, text: str, column: MappedColumn, order: ColumnOrder, segment: Segment
    ) -> tuple[int, int] | None:
        """A bare string is an instant beside instants, else a text; see the evaluator."""
        if "strings" not in column.lanes:
            return 0, 0
        if name != "id" and not set(self._view.temporal(name).tolist()).isdisjoint(segment.collections):
            return None
        if column.by_instant:
            return None
        if kind is not ast.Equal:
            return order.compared(kind, (STRING, nfc(text)))
        assert column.dictionary is not None
        code = column.dictionary.code(nfc(text))
        return (order.code_place(code), order.code_place(code + 1)) if code >= 0 else (0, 0)

    def _instants(
        self, kind: type[Comparison], column: MappedColumn, order: ColumnOrder, span: tuple[int, int]
    ) -> tuple[int, int] | None:
        if column.dictionary is None or not column.dictionary.spans()[0].any():
            return 0, 0
        if not column.by_instant or kind is ast.NotEqual:
            return None
        # Of a date in the data, the whole day counts, which begins up to a day before the instant that it meets.
        low = order.numbers_end if kind in (ast.Less, ast.LessEqual) else order.place((INSTANT, span[0] - DAY), False)
        high = order.size if kind in (ast.Greater, ast.GreaterEqual) else order.place((INSTANT, span[1]), True)
        return max(low, order.numbers_end), high

    def _like(self, name: str, pattern: str, segment: Segment) -> Candidates | None:
        if name in CORE and name != "id":
            return None
        name = "id" if name == "id" else resolve_alias(name, self._view.exists)
        column = segment.column(name)
        if column is None or column.dictionary is None:
            return Candidates(f"order of {name}")
        part = plain_part(nfc(pattern))
        if column.by_instant or part is None or not part.first:
            return None
        order = ColumnOrder(segment, column)
        first, last = column.dictionary.starting_with(part.text)
        return _spans(f"order of {name}", order, [(order.code_place(first), order.code_place(last))])

    def _space(self, left: Value, right: Value, segment: Segment) -> Candidates | None:
        literal = right if left == Property("geometry") else left if right == Property("geometry") else None
        if literal is None or isinstance(literal, Property):
            return None
        key = (literal, segment.levels)
        if key not in self._cells:
            self._cells[key] = cells_of(regions(literal), segment.levels)
        ranges = self._cells[key]
        if ranges is None:
            return None
        first, last = segment.in_cells(*ranges)
        return Candidates("cells", int((last - first).sum()), lambda: segment.cell_rows(first, last))

    def _array(
        self, kind: type[ArrayPredicate], name: str, literal: ArrayLiteral, segment: Segment
    ) -> Candidates | None:
        if name in CORE:
            return None
        column = segment.column(resolve_alias(name, self._view.exists))
        told_by = f"elements of {name}"
        if column is None or column.arrays is None:
            return Candidates(told_by)
        keys = [key for item in literal.items if isinstance(item, Text | Number | Boolean)
                and (key := element_key(item.value)) is not None]  # fmt: skip
        if column.elements is None or not keys or len(keys) < len(literal.items) or kind is ast.AContainedBy:
            return None  # an empty array is contained by all
        held, starts, rows = column.elements
        runs = []
        for key in keys:
            place = bisect_left(held, key)
            there = place < len(held) and held[place] == key
            runs.append(rows[starts[place] : starts[place + 1]] if there else rows[:0])
        if kind is ast.AOverlaps:
            return _given(told_by, runs)
        return _given(told_by, [min(runs, key=len)])


_SCALARS = (Text, Number, NumericText, Boolean, DateLiteral, Timestamp)

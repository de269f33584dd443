"""What a filter says about time, for sources that lie in its order: which rows need not be looked at.

A necessary condition only: every row that the filter selects lies within. The evaluator decides.
"""

from __future__ import annotations

from dataclasses import dataclass

from swath.cql2 import ast
from swath.cql2.ast import DateLiteral, IntervalLiteral, Predicate, Property, Text, Timestamp, Value
from swath.stac.time import DAY, parse_temporal

__all__ = ["TimeBounds", "conditions", "time_bounds"]

_DATETIME = Property("datetime")
# Every relation but these needs an instant in common.
_APART = (ast.TAfter, ast.TBefore, ast.TDisjoint)
_MIRRORED = {ast.Less: ast.Greater, ast.LessEqual: ast.GreaterEqual, ast.Greater: ast.Less,
             ast.GreaterEqual: ast.LessEqual, ast.Equal: ast.Equal}  # fmt: skip


@dataclass(frozen=True, slots=True)
class TimeBounds:
    """Microseconds; None is open. `instant` bounds the item's datetime, `extent` what its extent must meet."""

    instant: tuple[int | None, int | None] = (None, None)
    extent: tuple[int | None, int | None] = (None, None)

    @property
    def bounded(self) -> bool:
        return self != TimeBounds()


def conditions(expression: Predicate) -> tuple[Predicate, ...]:
    """What all must be TRUE."""
    return expression.args if isinstance(expression, ast.And) else (expression,)


def time_bounds(expression: Predicate) -> TimeBounds:
    """Of the conditions that all must hold; those joined otherwise bound nothing."""
    bounds = TimeBounds()
    for part in conditions(expression):
        found = _of(part)
        bounds = TimeBounds(_narrowed(bounds.instant, found.instant), _narrowed(bounds.extent, found.extent))
    return bounds


def _narrowed(
    one: tuple[int | None, int | None], other: tuple[int | None, int | None]
) -> tuple[int | None, int | None]:
    lows = [each for each in (one[0], other[0]) if each is not None]
    highs = [each for each in (one[1], other[1]) if each is not None]
    return max(lows, default=None), min(highs, default=None)


def _of(part: Predicate) -> TimeBounds:
    match part:
        case ast.Temporal(left, right) if not isinstance(part, _APART):
            other = right if left == _DATETIME else left if right == _DATETIME else None
            return TimeBounds(extent=_span(other))
        case ast.Between(value, low, high) if value == _DATETIME:
            return TimeBounds(instant=(_span(low)[0], _span(high)[1]))
        case ast.Comparison(left, right):
            kind = type(part)
            if right == _DATETIME and kind in _MIRRORED:
                left, right, kind = right, left, _MIRRORED[kind]
            if left != _DATETIME or kind not in _MIRRORED:
                return TimeBounds()
            first, last = _span(right)
            since = first if kind in (ast.Greater, ast.GreaterEqual, ast.Equal) else None
            until = last if kind in (ast.Less, ast.LessEqual, ast.Equal) else None
            return TimeBounds(instant=(since, until))
    return TimeBounds()


def _span(value: Value | None) -> tuple[int | None, int | None]:
    match value:
        case Timestamp(instant):
            return instant, instant
        case DateLiteral(start):
            return start, start + DAY - 1
        case IntervalLiteral(start, end):
            return start, end
        case Text(text):
            return parse_temporal(text) or (None, None)
    return None, None

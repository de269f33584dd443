"""The relations of intervals X = [a, b] and Y = [c, d], closed at both ends (OGC 21-065r2, 7.7; Allen 1983).

An instant has a = b. Open ends are the least and the greatest int64, so two open ends are equal bounds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from swath.cql2 import ast

__all__ = ["RELATIONS"]

# ruff: noqa: ARG005 - all four bounds, though some relations look at two
RELATIONS: dict[type[ast.Temporal], Callable[[Any, Any, Any, Any], Any]] = {
    ast.TAfter: lambda a, b, c, d: a > d,
    ast.TBefore: lambda a, b, c, d: b < c,
    ast.TContains: lambda a, b, c, d: (a < c) & (d < b),
    ast.TDisjoint: lambda a, b, c, d: (b < c) | (a > d),
    ast.TDuring: lambda a, b, c, d: (c < a) & (b < d),
    ast.TEquals: lambda a, b, c, d: (a == c) & (b == d),
    ast.TFinishedBy: lambda a, b, c, d: (a < c) & (b == d),
    ast.TFinishes: lambda a, b, c, d: (c < a) & (b == d),
    ast.TIntersects: lambda a, b, c, d: (a <= d) & (c <= b),
    ast.TMeets: lambda a, b, c, d: b == c,
    ast.TMetBy: lambda a, b, c, d: a == d,
    ast.TOverlappedBy: lambda a, b, c, d: (c < a) & (a < d) & (d < b),
    ast.TOverlaps: lambda a, b, c, d: (a < c) & (c < b) & (b < d),
    ast.TStartedBy: lambda a, b, c, d: (a == c) & (d < b),
    ast.TStarts: lambda a, b, c, d: (a == c) & (b < d),
}

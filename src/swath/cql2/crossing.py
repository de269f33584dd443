"""A line across polygons: which of them it crosses, told of many at once without asking GEOS.

A segment that enters the box of a polygon from without, and leaves it, runs along all of its own straight line that is
within the box. With corners of the polygon on both sides of it, it comes through the interior, which is connected
(OGC 06-103r4, 6.1.11.1), and its ends are outside: they cross. With all corners on one side, they are apart. Which side
a corner is on is told with a bound of the error (Shewchuk 1997, Adaptive Precision Floating-Point Arithmetic and Fast
Robust Geometric Predicates, orient2d); what is nearer than that is left to GEOS, and so is all that is not so plain.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from swath.cql2.frame import Footprints

__all__ = ["Crossing"]

_MOST_SEGMENTS = 64
_ERROR = 4 * 2.0**-53  # of a determinant, in units of the sum of its products' sizes: 3 and a bit


class Crossing:
    """The segments of a line."""

    def __init__(self, line: Any) -> None:
        points, owner = shapely.get_coordinates(shapely.get_parts(line), return_index=True)
        joined = (owner[1:] == owner[:-1]) & (points[1:] != points[:-1]).any(axis=1)
        self.begin, self.end = points[:-1][joined], points[1:][joined]

    @staticmethod
    def of(shape: Any) -> Crossing | None:
        """None for what is no line, or one of so many segments that GEOS is as fast."""
        if shape.geom_type not in ("LineString", "MultiLineString"):
            return None
        return Crossing(shape) if shapely.get_num_coordinates(shape) <= _MOST_SEGMENTS else None

    def decide(
        self, footprints: Footprints, rows: NDArray[np.int64], shapes: NDArray[np.object_]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Of some rows, whose shapes are given: which are crossed, and of which that is not told here."""
        segment, plain = self._only_segment(footprints, rows)
        told = np.flatnonzero((segment >= 0) & plain & (shapely.get_type_id(shapes) == shapely.GeometryType.POLYGON))
        points, owner = shapely.get_coordinates(shapes[told], return_index=True)
        left, right = self._sides(segment[told][owner], points[:, 0], points[:, 1])
        counts = [np.bincount(owner[side], minlength=len(told)) for side in (left, right)]
        corners = np.bincount(owner, minlength=len(told))
        crossed, undecided = np.zeros(len(rows), np.bool_), segment != -1
        both = (counts[0] > 0) & (counts[1] > 0)
        crossed[told[both]] = True
        undecided[told[both | (counts[0] == corners) | (counts[1] == corners)]] = False
        return crossed, undecided

    def _only_segment(
        self, footprints: Footprints, rows: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The one segment that may meet the box of a row (-1 for none, -2 for more than one), and whether both of its
        ends are outside the box."""
        west, south, east, north = (
            side[rows] for side in (footprints.west, footprints.south, footprints.east, footprints.north)
        )
        found, plain = np.full(len(rows), -1), np.zeros(len(rows), np.bool_)
        for number, (begin, end) in enumerate(zip(self.begin.tolist(), self.end.tolist(), strict=True)):
            near = (west <= max(begin[0], end[0])) & (east >= min(begin[0], end[0]))
            near &= (south <= max(begin[1], end[1])) & (north >= min(begin[1], end[1]))
            there = np.flatnonzero(near)
            box = west[there], south[there], east[there], north[there]
            sides = [self._sides(number, box[x], box[y]) for x, y in ((0, 1), (0, 3), (2, 1), (2, 3))]
            apart = [np.logical_and.reduce([side[which] for side in sides]) for which in (0, 1)]
            meets = ~(apart[0] | apart[1])
            there = there[meets]
            outside = np.ones(len(there), np.bool_)
            for x, y in (begin, end):
                outside &= (x < box[0][meets]) | (x > box[2][meets]) | (y < box[1][meets]) | (y > box[3][meets])
            found[there] = np.where(found[there] == -1, number, -2)
            plain[there] = outside
        return found, plain

    def _sides(
        self, segment: int | NDArray[np.int64], x: NDArray[np.float64], y: NDArray[np.float64]
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Which points are certainly to the left of a segment's straight line, and which to the right."""
        begin, end = self.begin[segment], self.end[segment]
        one = (begin[..., 0] - x) * (end[..., 1] - y)
        other = (begin[..., 1] - y) * (end[..., 0] - x)
        slack = _ERROR * (np.abs(one) + np.abs(other))
        return one - other > slack, other - one > slack

"""The eight relations of geometries: DE-9IM on planar shapes (OGC 06-103r4, 6.1.15), boxes before GEOS."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

from swath.cql2 import ast
from swath.cql2.ast import BBoxLiteral, Geometry, Property, Spatial, Value
from swath.cql2.frame import Footprints, Frame
from swath.cql2.truth import Mask, Truth, constant, nothing
from swath.stac.geometry import BBox, united

__all__ = ["RELATIONS", "Space"]

# GEOS works on arrays in one call that cannot be interrupted: so many vertices take about 20 ms.
_VERTICES_PER_CALL = 100_000
_ROWS_PER_READ = 16_384


@dataclass(frozen=True, slots=True)
class Relation:
    """A relation as a function of arrays of shapes, and the one that holds with the operands swapped."""

    of: Callable[..., Any]
    inverse: type[Spatial]


def _equals(left: Any, right: Any) -> Any:
    """T*F**FFF*: two empty geometries have no interior in common."""
    return shapely.equals(left, right) & ~shapely.is_empty(left)


RELATIONS: dict[type[Spatial], Relation] = {
    ast.SIntersects: Relation(shapely.intersects, ast.SIntersects),
    ast.SDisjoint: Relation(shapely.disjoint, ast.SDisjoint),
    ast.SEquals: Relation(_equals, ast.SEquals),
    ast.STouches: Relation(shapely.touches, ast.STouches),
    ast.SWithin: Relation(shapely.within, ast.SContains),
    ast.SContains: Relation(shapely.contains, ast.SWithin),
    ast.SCrosses: Relation(shapely.crosses, ast.SCrosses),
    ast.SOverlaps: Relation(shapely.overlaps, ast.SOverlaps),
}


class Space:
    """Spatial predicates for one thread. `checkpoint` is called between calls of GEOS; it may raise."""

    def __init__(self, checkpoint: Callable[[], None]) -> None:
        self.checkpoint = checkpoint
        self._shapes: dict[Value, Any] = {}

    def evaluate(self, node: Spatial, frame: Frame, where: Mask | None) -> Truth:
        left, right, relation = node.left, node.right, RELATIONS[type(node)]
        if isinstance(left, Geometry | BBoxLiteral):
            if isinstance(right, Geometry | BBoxLiteral):
                return constant(frame.size, bool(relation.of(_shape(left), _shape(right))))
            left, right, relation = right, left, RELATIONS[relation.inverse]
        if left != Property("geometry"):  # no other property holds a geometry
            return nothing(frame.size)
        footprints = frame.footprints()
        known = footprints.known
        if isinstance(right, Property):
            if right.name != "geometry":
                return nothing(frame.size)
            true = np.zeros(frame.size, np.bool_)
            shapes = footprints.shapes(np.flatnonzero(known))
            true[known] = relation.of(shapes, shapes)
            return Truth(true, ~known)
        if relation.of is shapely.disjoint:
            meets = self._meets(RELATIONS[ast.SIntersects], right, footprints, where)
            return Truth(known & ~meets, ~known)
        return Truth(self._meets(relation, right, footprints, where), ~known)

    def _meets(self, relation: Relation, literal: Value, footprints: Footprints, where: Mask | None) -> Mask:
        """Rows whose footprint has the relation to the literal. Boxes decide what they can."""
        true = np.zeros(len(footprints.known), np.bool_)
        shape = self._prepared(literal)
        if shape.is_empty:
            return true
        west, south, east, north = shape.bounds
        near = (footprints.west <= east) & (footprints.east >= west)
        if where is not None:
            near &= where
        rows = np.flatnonzero(near)
        rows = rows[(footprints.south[rows] <= north) & (footprints.north[rows] >= south)]
        box = (footprints.west[rows], footprints.south[rows], footprints.east[rows], footprints.north[rows])
        if relation.of is shapely.intersects and isinstance(literal, BBoxLiteral) and literal.west <= literal.east:
            inside = _inside(box, (west, south, east, north))
            true[rows[inside]] = True
            rows = rows[~inside]
        elif relation.of in (shapely.within, _equals):
            rows = rows[_inside(box, (west, south, east, north))]
        elif relation.of is shapely.contains:
            rows = rows[_inside((west, south, east, north), box)]
        self._exact(RELATIONS[relation.inverse].of, shape, footprints, rows, true)
        return true

    def _prepared(self, node: Value) -> Any:
        """A prepared copy of the literal, for this thread only: GEOS writes into it while it answers."""
        shape = self._shapes.get(node)
        if shape is None:
            shape = self._shapes[node] = _shape(node)
            shapely.prepare(shape)
        return shape

    def _exact(
        self, relation: Callable[..., Any], shape: Any, footprints: Footprints, rows: NDArray[np.int64], true: Mask
    ) -> None:
        """Ask GEOS, some vertices at a time. The prepared literal comes first, where preparing helps."""
        own = math.isqrt(shapely.get_num_coordinates(shape))
        for start in range(0, len(rows), _ROWS_PER_READ):
            part = rows[start : start + _ROWS_PER_READ]
            shapes = footprints.shapes(part)
            chunks = np.cumsum(shapely.get_num_coordinates(shapes) + own) // _VERTICES_PER_CALL
            cuts = np.flatnonzero(np.diff(chunks)) + 1
            for chosen, asked in zip(np.split(part, cuts), np.split(shapes, cuts), strict=True):
                self.checkpoint()
                true[chosen] = relation(shape, asked)


def _inside(inner: Any, outer: Any) -> Any:
    return (inner[0] >= outer[0]) & (inner[1] >= outer[1]) & (inner[2] <= outer[2]) & (inner[3] <= outer[3])


def _shape(node: Value) -> Any:
    if isinstance(node, BBoxLiteral):
        return BBox(node.west, node.south, node.east, node.north).shape()
    assert isinstance(node, Geometry)
    return united(shapely.from_wkb(node.wkb))

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
            true[known] = relation.of(footprints.shapes[known], footprints.shapes[known])
            return Truth(true, ~known)
        if relation.of is shapely.disjoint:
            meets = self._meets(RELATIONS[ast.SIntersects], right, footprints, where)
            return Truth(known & ~meets, ~known)
        return Truth(self._meets(relation, right, footprints, where), ~known)

    def _meets(self, relation: Relation, literal: Value, footprints: Footprints, where: Mask | None) -> Mask:
        """Rows whose footprint has the relation to the literal. Boxes decide what they can."""
        boxes = footprints.boxes
        true = np.zeros(len(boxes), np.bool_)
        shape = self._prepared(literal)
        if shape.is_empty:
            return true
        west, south, east, north = shape.bounds
        near = (boxes[:, 0] <= east) & (boxes[:, 2] >= west)
        if where is not None:
            near &= where
        rows = np.flatnonzero(near)
        b = boxes[rows]
        met = (b[:, 1] <= north) & (b[:, 3] >= south)
        rows, b = rows[met], b[met]
        inside = (b[:, 0] >= west) & (b[:, 2] <= east) & (b[:, 1] >= south) & (b[:, 3] <= north)
        around = (b[:, 0] <= west) & (b[:, 2] >= east) & (b[:, 1] <= south) & (b[:, 3] >= north)
        if relation.of is shapely.intersects and isinstance(literal, BBoxLiteral) and literal.west <= literal.east:
            true[rows[inside]] = True
            rows = rows[~inside]
        elif relation.of is shapely.within:
            rows = rows[inside]
        elif relation.of is shapely.contains:
            rows = rows[around]
        elif relation.of is _equals:
            rows = rows[inside & around]
        self._exact(RELATIONS[relation.inverse].of, shape, footprints.shapes, rows, true)
        return true

    def _prepared(self, node: Value) -> Any:
        """A prepared copy of the literal, for this thread only: GEOS writes into it while it answers."""
        shape = self._shapes.get(node)
        if shape is None:
            shape = self._shapes[node] = _shape(node)
            shapely.prepare(shape)
        return shape

    def _exact(
        self, relation: Callable[..., Any], shape: Any, shapes: NDArray[np.object_], rows: NDArray[np.int64], true: Mask
    ) -> None:
        """Ask GEOS, some vertices at a time. The prepared literal comes first, where preparing helps."""
        if not len(rows):
            return
        weights = shapely.get_num_coordinates(shapes[rows]) + math.isqrt(shapely.get_num_coordinates(shape))
        chunks = np.cumsum(weights) // _VERTICES_PER_CALL
        for chunk in np.split(rows, np.flatnonzero(np.diff(chunks)) + 1):
            self.checkpoint()
            true[chunk] = relation(shape, shapes[chunk])


def _shape(node: Value) -> Any:
    if isinstance(node, BBoxLiteral):
        return BBox(node.west, node.south, node.east, node.north).shape()
    assert isinstance(node, Geometry)
    return united(shapely.from_wkb(node.wkb))

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
from swath.cql2.crossing import Crossing
from swath.cql2.frame import Footprints, Frame
from swath.cql2.raster import Raster
from swath.cql2.truth import Mask, Truth, constant, nothing
from swath.stac.geometry import BBox, united

__all__ = ["RELATIONS", "Space", "regions"]

# GEOS works on arrays in one call that cannot be interrupted: so many vertices take about 20 ms.
_VERTICES_PER_CALL = 100_000
_ROWS_PER_READ = 16_384
# So many footprints beside a literal are worth a raster of so many cells a side. Of few corners, one of 64 cells takes
# as long to make as asking GEOS about 400 footprints, one of 256 four times as long; of many, all take the same.
_GRIDS = ((400, 64), (4_000, 128), (12_000, 256), (40_000, 512))
_SIMPLE, _MANY, _CELLS_OF_MANY = 256, 2_000, 256  # vertices; footprints beside more of them, and the coarsest grid then


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
        self._rasters: dict[tuple[Value, int], Raster] = {}
        self._asked: dict[Value, int] = {}

    def weight(self) -> int:
        """Bytes that are kept, about: a prepared geometry takes some hundred for each of its vertices."""
        vertices = sum(int(shapely.get_num_coordinates(shape)) for shape in self._shapes.values())
        return 300 * vertices + sum(raster.weight() for raster in self._rasters.values())

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
            rows = np.flatnonzero(known if where is None else known & where)
            for start in range(0, len(rows), _ROWS_PER_READ):
                self.checkpoint()
                part = rows[start : start + _ROWS_PER_READ]
                shapes = footprints.shapes(part)
                true[part] = relation.of(shapes, shapes)
            return Truth(true, ~known)
        if relation.of is shapely.disjoint:
            meets = self._meets(RELATIONS[ast.SIntersects], right, footprints, where)
            return Truth(known & ~meets, ~known)
        return Truth(self._meets(relation, right, footprints, where), ~known)

    def _meets(self, relation: Relation, literal: Value, footprints: Footprints, where: Mask | None) -> Mask:
        """Rows whose footprint has the relation to the literal. Boxes decide what they can."""
        true = np.zeros(len(footprints.known), np.bool_)
        plain = isinstance(literal, BBoxLiteral) and literal.west <= literal.east
        bounds = regions(literal) if plain else [self._prepared(literal).bounds]
        west, south, east, north = bounds[0]
        if math.isnan(west):  # an empty one
            return true
        near = (footprints.west <= east) & (footprints.east >= west)
        if where is not None:
            near &= where
        rows = np.flatnonzero(near)
        rows = rows[(footprints.south[rows] <= north) & (footprints.north[rows] >= south)]
        box = (footprints.west[rows], footprints.south[rows], footprints.east[rows], footprints.north[rows])
        if relation.of is shapely.intersects and plain:
            inside = _inside(box, (west, south, east, north))
            true[rows[inside]] = True
            rows = rows[~inside]
        elif relation.of in (shapely.within, _equals):
            rows = rows[_inside(box, (west, south, east, north))]
        elif relation.of is shapely.contains:
            rows = rows[_inside((west, south, east, north), box)]
        rows = self._off_the_boundary(relation, literal, footprints, rows, true)
        if len(rows):
            self._exact(RELATIONS[relation.inverse].of, self._prepared(literal), footprints, rows, true)
        return true

    def _off_the_boundary(
        self, relation: Relation, literal: Value, footprints: Footprints, rows: NDArray[np.int64], true: Mask
    ) -> NDArray[np.int64]:
        """Of many rows, those that a raster of the literal does not decide."""
        asked = self._asked[literal] = self._asked.get(literal, 0) + len(rows)
        shape = self._prepared(literal)
        cells = _cells(asked, int(shapely.get_num_coordinates(shape)))
        if not cells or not len(rows):
            return rows
        raster = self._rasters.get((literal, cells))
        if raster is None:
            raster = self._rasters[literal, cells] = Raster(shape, cells)
        box = (footprints.west[rows], footprints.south[rows], footprints.east[rows], footprints.north[rows])
        inside, undecided = raster.decide(box)
        if relation.of in (shapely.intersects, shapely.within):
            true[rows[inside]] = True
        return rows[undecided]

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
        line = Crossing.of(shape) if relation is shapely.crosses else None
        for start in range(0, len(rows), _ROWS_PER_READ):
            part = rows[start : start + _ROWS_PER_READ]
            shapes = footprints.shapes(part)
            if line is not None:
                crossed, undecided = line.decide(footprints, part, shapes)
                true[part[crossed]] = True
                part, shapes = part[undecided], shapes[undecided]
            chunks = np.cumsum(shapely.get_num_coordinates(shapes) + own) // _VERTICES_PER_CALL
            cuts = np.flatnonzero(np.diff(chunks)) + 1
            for chosen, asked in zip(np.split(part, cuts), np.split(shapes, cuts), strict=True):
                self.checkpoint()
                true[chosen] = relation(shape, asked)


def _cells(asked: int, vertices: int) -> int:
    """Of a raster for so many footprints; 0 where GEOS is asked about each."""
    cells = max((cells for least, cells in _GRIDS if asked >= least), default=0)
    if vertices <= _SIMPLE:
        return cells
    return max(cells, _CELLS_OF_MANY) if asked >= _MANY else 0


def _inside(inner: Any, outer: Any) -> Any:
    return (inner[0] >= outer[0]) & (inner[1] >= outer[1]) & (inner[2] <= outer[2]) & (inner[3] <= outer[3])


def _shape(node: Value) -> Any:
    if isinstance(node, BBoxLiteral):
        return BBox(node.west, node.south, node.east, node.north).shape()
    assert isinstance(node, Geometry)
    return united(shapely.from_wkb(node.wkb))


_MOST_REGIONS = 16


def regions(node: Value) -> list[tuple[float, ...]]:
    """Boxes (west, south, east, north) that together hold a literal; none for an empty one."""
    if isinstance(node, BBoxLiteral) and node.west <= node.east:
        return [(node.west, node.south, node.east, node.north)]
    shape = _shape(node)
    parts = shapely.get_parts(shape)
    if len(parts) > _MOST_REGIONS:
        parts = np.array([shape], np.object_)
    return [tuple(bounds) for bounds in shapely.bounds(parts).tolist() if not math.isnan(bounds[0])]

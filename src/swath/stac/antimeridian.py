"""Cutting rings and lines at the antimeridian, and closing rings over a pole (RFC 7946, 3.1.9).

Here an edge that is longer than half a turn goes the other way round. All is planar, as searches are, and heights come
along. Coordinates are arrays of two or three columns.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from swath.stac.geometry import edge_overlaps, is_tangled

__all__ = ["areas_of", "cut_line", "cut_polygon", "is_wide", "mended_area", "turns_of", "unrolled"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_DECIMALS = 12  # what adding and taking away 360 leaves of a longitude
_MOST_CROSSINGS = _MOST_PARTS = 1_000
_MOST_TO_MEND = 300_000  # overlaps of edges: repairing takes GEOS up to 2 µs for each


def is_wide(x: Floats) -> Flags:
    """Of each edge, whether it is longer than half a turn, so that the other way round may be meant.

    An edge from -180 to 180 is as wide as the world, and meant. But where a ring would go round a pole only because of
    it, it runs along the antimeridian and has the sign wrong on one end, as some software cuts.
    """
    steps = np.diff(x)
    wide: Flags = np.abs(steps) > 180
    if not wide.any():
        return wide
    literal = wide & ((np.abs(steps) != 360) | (np.abs(x[:-1]) != 180))
    turns = np.round(steps[literal] / 360).sum() if x[0] == x[-1] else 0
    return wide if turns else literal


def unrolled(x: Floats) -> Floats:
    """Longitudes that run on where an edge goes the other way round, the first between -180 and 180."""
    steps = np.diff(x)
    turns = np.where(is_wide(x), -np.round(steps / 360), 0.0)
    moved: Floats = x + 360 * (np.concatenate(([0.0], np.cumsum(turns))) - np.floor((x[0] + 180) / 360))
    return moved


def turns_of(x: Floats) -> int:
    """How often a closed ring goes round the earth, eastward: 0 unless it encloses a pole."""
    return round(float(x[-1] - x[0]) / 360)


def cut_polygon(rings: Sequence[Floats]) -> tuple[list[BaseGeometry] | None, bool]:
    """A polygon of closed rings, the shell first, as right-handed polygons within ±180; None where that is not clear.

    And whether a ring of it crosses itself.
    """
    outlines = [_outline(ring) for ring in rings]
    known = [outline for outline in outlines if outline is not None]
    if len(known) < len(outlines):
        return None, False
    crossed = not shapely.is_valid(known).all()
    areas = [outline if outline.is_valid else mended_area(outline) for outline in known]
    whole = [area for area in areas if area is not None]
    if len(whole) < len(areas):
        return None, crossed
    try:
        shell, *holes = map(_moved_round, whole)
        return areas_of(shapely.difference(shell, shapely.union_all(holes)) if holes else shell), crossed
    except shapely.errors.GEOSException:  # numbers that GEOS cannot tell apart
        return None, crossed


def areas_of(shape: BaseGeometry) -> list[BaseGeometry] | None:
    """The polygons of a shape, right-handed; None when there is none, or one that is not as it should be."""
    parts = [part for part in shapely.get_parts(shape) if part.geom_type == "Polygon" and part.area > 0]
    if not parts or not shapely.is_valid(parts).all() or not np.isfinite(_heights(parts)).all():
        return None
    if any(is_wide(shapely.get_coordinates(ring)[:, 0]).any() for ring in shapely.get_rings(parts)):
        return None
    return list(shapely.orient_polygons(parts))


def _heights(parts: list[BaseGeometry]) -> Floats:
    heights: Floats = shapely.get_coordinates(parts, include_z=bool(shapely.has_z(parts).all()))[:, -1]
    return heights


def mended_area(shape: BaseGeometry) -> BaseGeometry | None:
    """The area of an outline that crosses itself; None where it has none, or would take too long."""
    if is_tangled(shape) or edge_overlaps(shape, _MOST_TO_MEND) > _MOST_TO_MEND:
        return None
    try:  # the method "linework" takes 49 s where this takes 0.2 s
        area = shapely.make_valid(shape, method="structure", keep_collapsed=False)
    except shapely.errors.GEOSException:
        return None
    return None if area.is_empty or shapely.get_num_geometries(area) > _MOST_PARTS else area


def _outline(ring: Floats) -> BaseGeometry | None:
    """What a closed ring surrounds, its longitudes running on; None where it goes round too often, or is a scribble."""
    x = unrolled(ring[:, 0])
    turns = turns_of(x)
    moved = np.column_stack((x, ring[:, 1:]))
    if abs(turns) == 1:
        moved = _over_the_pole(moved if turns > 0 else moved[::-1])
    west, east = moved[:, 0].min(), moved[:, 0].max()
    if abs(turns) > 1 or west < -540 or east > 540 or (not turns and east - west > 360):
        return None
    if np.count_nonzero(np.diff(np.floor((moved[:, 0] + 180) / 360))) > _MOST_CROSSINGS:
        return None
    outline: BaseGeometry = shapely.Polygon(moved)
    return None if is_tangled(outline) else outline


def _moved_round(area: BaseGeometry) -> BaseGeometry:
    """The area with what lies beyond ±180 moved by whole turns."""
    west, _, east, _ = area.bounds
    parts = []
    for turn in (-360, 0, 360):
        if west < 180 - turn and east > -180 - turn:
            inside = shapely.intersection(area, shapely.box(-180 - turn, -90, 180 - turn, 90))
            parts.append(shapely.transform(inside, lambda xyz, turn=turn: _shifted(xyz, turn), include_z=area.has_z))
    if len(parts) == 1:
        return parts[0]
    if east - west >= 360:  # the last part begins where the first ends
        return shapely.union_all(parts)
    pieces = shapely.get_parts(parts)
    return shapely.multipolygons(pieces[shapely.get_type_id(pieces) == shapely.GeometryType.POLYGON])


def _shifted(coordinates: Floats, turn: float) -> Floats:
    coordinates = coordinates.copy()
    coordinates[:, 0] = np.round(coordinates[:, 0] + turn, _DECIMALS)
    return coordinates


def _over_the_pole(ring: Floats) -> Floats:
    """A ring that goes round the earth eastward, closed along the antimeridian and over the nearer pole.

    It is opened where it crosses the antimeridian nearest to the pole, so that no other crossing meets the way there.
    """
    side = 1 if ring[:-1, 1].mean() >= 0 else -1
    x = ring[:, 0]
    cells = np.floor((x + 180) / 360)
    places = np.flatnonzero(np.diff(cells))
    border = 360 * np.maximum(cells[places], cells[places + 1]) - 180
    share = (border - x[places]) / (x[places + 1] - x[places])
    crossings = ring[places] + share[:, None] * (ring[places + 1] - ring[places])
    crossings[:, 0] = border
    best = int(np.argmax(side * crossings[:, 1]))
    start, place = crossings[best], int(places[best])
    turn = np.zeros(ring.shape[1])
    turn[0] = 360
    corner = start.copy()
    corner[1] = 90 * side
    onward = (ring[place + 1 : -1], ring[: place + 1] + turn)
    around = np.vstack((start, *onward, start + turn, corner + turn, corner, start))
    around[:, 0] -= start[0] + 180
    return around


def cut_line(line: Floats) -> list[Floats] | None:
    """The parts of a line, each within ±180. None where it goes round the earth too often."""
    moved = np.column_stack((unrolled(line[:, 0]), line[:, 1:]))
    x = moved[:, 0]
    first = 360 * np.floor((np.minimum(x[:-1], x[1:]) + 180) / 360) + 180
    counts = np.ceil((np.maximum(x[:-1], x[1:]) - first) / 360).clip(0)  # of borders that each edge passes
    if counts.sum() > _MOST_CROSSINGS:
        return None
    places, borders = [], []
    for place in np.flatnonzero(counts):
        passed = first[place] + 360 * np.arange(counts[place])
        share = (passed - x[place]) / (x[place + 1] - x[place])
        points = moved[place] + share[:, None] * (moved[place + 1] - moved[place])
        points[:, 0] = passed
        places += [place + 1] * len(passed)
        borders.append(points if x[place] < x[place + 1] else points[::-1])
    if places:
        moved = np.insert(moved, places, np.vstack(borders), axis=0)
    cells = _cells_of_edges(moved[:, 0])
    ends = [0, *(np.flatnonzero(np.diff(cells)) + 1), len(cells)]
    return [_shifted(moved[a : b + 1], -360 * cells[a]) for a, b in itertools.pairwise(ends)]


def _cells_of_edges(x: Floats) -> Floats:
    """How many turns away from ±180 each edge lies. One along the antimeridian goes with the edge before it."""
    cells: Floats = np.floor(((x[:-1] + x[1:]) / 2 + 180) / 360)
    along = (x[:-1] == x[1:]) & ((x[:-1] + 180) % 360 == 0)
    for place in np.flatnonzero(along):
        if place:
            cells[place] = cells[place - 1]
    return cells

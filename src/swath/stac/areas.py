"""Polygons: rings that are closed, right-handed, cut at the antimeridian, and do not cross (RFC 7946, 3.1.6, 3.1.9)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import chain, groupby
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from shapely.geometry.base import BaseGeometry

from swath.stac.antimeridian import areas_of, cut_polygon, is_wide, mended_area, turns_of, unrolled
from swath.stac.boxes import Reach
from swath.stac.coordinates import Coordinates, Mended, Way, array_of
from swath.stac.findings import Findings
from swath.stac.geometry import is_tangled

__all__ = ["check_areas"]

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_MENDED = "made areas of the parts that the outline surrounds"


@dataclass(slots=True)
class _Ring:
    """One ring of a polygon. `numbers` and `spelled` are as they were sent until it is mended."""

    polygon: int
    shell: bool
    at: str
    numbers: list[Any]
    spelled: list[Any]


@dataclass(slots=True)
class _Areas:
    """The polygons of a geometry while they are looked at. `flat` has the positions of all rings."""

    read: Coordinates
    findings: Findings
    way: Way
    rings: list[_Ring]
    flat: Floats
    starts: NDArray[np.int64]
    shapes: NDArray[np.object_]  # the polygons as they are, in the plane
    changed: bool
    crowded: bool = False  # too many edges side by side to tell whether they cross
    uncut: bool = False  # an edge stays longer than half a turn
    lost: bool = False  # and it is not known what is meant
    literal: set[int] = field(default_factory=set)  # polygons that are boxes wider than half the earth
    new: dict[int, list[BaseGeometry]] = field(default_factory=dict)  # what polygons became

    def positions(self, ring: int) -> Floats:
        return self.flat[self.starts[ring] : self.starts[ring + 1]]

    def anywhere(self, flags: Flags) -> Flags:
        """Of each ring, whether a flag of one of its positions is set."""
        found: Flags = np.logical_or.reduceat(flags, self.starts[:-1])
        return found


def check_areas(read: Coordinates, findings: Findings, way: Way) -> Mended | None:
    """Check a Polygon or MultiPolygon that is not empty; None when its place cannot be told."""
    if _is_plain(read):
        (west, south), (east, north) = read.flat[:, :2].min(axis=0).tolist(), read.flat[:, :2].max(axis=0).tolist()
        reach = Reach([west], [east], south, north)
        return Mended(reach, reach)
    rings = _rings(read, findings)
    if rings is None:
        return None
    closed = _close(rings, findings)
    if closed is None:
        return None
    flat = array_of(list(chain.from_iterable(ring.numbers for ring in rings))) if closed else read.flat
    starts = np.cumsum([0, *(len(ring.numbers) for ring in rings)])
    areas = _Areas(read, findings, way, rings, flat, starts, _shapes(rings, flat, starts), changed=bool(closed))
    whole = areas.shapes[0] if len(areas.shapes) == 1 else shapely.multipolygons(areas.shapes)
    areas.crowded = is_tangled(whole)
    before = _bounds(areas.shapes)
    jumping = _cut_all(areas, before)
    _turn(areas, jumping)
    return _mended(areas, before, _check_crossings(areas, whole))


def _is_plain(read: Coordinates) -> bool:
    """Whether it is what most footprints are, one small ring with nothing to say of it: told at a tenth of the cost."""
    if read.kind != "Polygon" or len(read.numbers) != 1 or not 4 <= len(read.flat) <= 100:
        return False
    west, east = read.flat[:, 0].min(), read.flat[:, 0].max()
    if west < -180 or east > 180 or east - west > 180 or read.numbers[0][0] != read.numbers[0][-1]:
        return False
    shape = shapely.polygons(read.flat)
    return bool(shape.is_valid and shape.exterior.is_ccw)


def _rings(read: Coordinates, findings: Findings) -> list[_Ring] | None:
    """All rings, one polygon after the other; None with an error where a polygon has none."""
    if read.kind == "Polygon":
        polygons, texts, places = [read.numbers], [read.spelled], [f"{read.at}/coordinates"]
    else:
        polygons, texts = read.numbers, read.spelled
        places = [f"{read.at}/coordinates/{number}" for number in range(len(polygons))]
    rings = []
    for number, (polygon, text, at) in enumerate(zip(polygons, texts, places, strict=True)):
        if not polygon:
            findings.error(at, "a polygon has at least one ring")
            return None
        for place, (ring, piece) in enumerate(zip(polygon, text, strict=True)):
            rings.append(_Ring(number, place == 0, f"{at}/{place}", ring, piece))
    return rings


def _close(rings: list[_Ring], findings: Findings) -> int | None:
    """Close the rings that are open, and say how many; None with an error where a ring is too short for an area."""
    open_rings = [ring for ring in rings if not ring.numbers or ring.numbers[0] != ring.numbers[-1]]
    short = [ring for ring in rings if len(ring.numbers) < 4]
    short = [ring for ring in short if len(ring.numbers) < 3 or ring.numbers[0] == ring.numbers[-1]]
    for ring in short:
        findings.error(ring.at, "a ring has four positions or more, of which the last is the first")
    if short:
        return None
    for ring in open_rings:
        findings.error(ring.at, "the last position of a ring is the first again (RFC 7946, 3.1.6)", "closed the ring")
        ring.numbers, ring.spelled = [*ring.numbers, ring.numbers[0]], [*ring.spelled, ring.spelled[0]]
    return len(open_rings)


def _shapes(rings: list[_Ring], flat: Floats, starts: NDArray[np.int64]) -> NDArray[np.object_]:
    lengths = np.diff(starts)
    outlines = shapely.linearrings(flat, indices=np.repeat(np.arange(len(lengths)), lengths))
    shapes: NDArray[np.object_] = shapely.polygons(outlines, indices=[ring.polygon for ring in rings])
    return shapes


def _cut_all(areas: _Areas, before: Reach) -> Flags:
    """Cut the polygons that lie across the antimeridian, and tell of each ring whether it does, or may.

    `before` is told to reach the shorter way round where the bbox says so.
    """
    west, east = min(before.west), max(before.east)
    if west >= -180 and east <= 180 and east - west <= 180 and len(areas.rings) == len(areas.shapes):
        return np.zeros(len(areas.rings), np.bool_)
    wide, beyond = _wide(areas), areas.anywhere(np.abs(areas.flat[:, 0]) > 180)
    if areas.way.across:
        _run_on(before, areas, wide)
    jumping: Flags = wide | beyond
    for _, group in groupby(range(len(areas.rings)), key=lambda number: areas.rings[number].polygon):
        numbers = list(group)
        if jumping[numbers].any() and (areas.way.cuts or not areas.lost):  # of too many, the first stands for all
            _cut(areas, numbers, wide, beyond)
    return jumping


def _wide(areas: _Areas) -> Flags:
    """Of each ring, whether it has an edge longer than half a turn."""
    flags = np.append(np.abs(np.diff(areas.flat[:, 0])) > 180, False)
    flags[areas.starts[1:] - 1] = False  # from the end of a ring to the next is no edge
    wide = areas.anywhere(flags)
    for ring in np.flatnonzero(wide).tolist():
        wide[ring] = is_wide(areas.positions(ring)[:, 0]).any()
    return wide


def _run_on(reach: Reach, areas: _Areas, wide: Flags) -> None:
    """Let polygons reach the shorter way round, as the bbox that runs across the antimeridian says."""
    for number in np.flatnonzero(wide).tolist():
        if areas.rings[number].shell:
            onward = unrolled(areas.positions(number)[:, 0])
            polygon = areas.rings[number].polygon
            reach.west[polygon], reach.east[polygon] = float(onward.min()), float(onward.max())


def _cut(areas: _Areas, numbers: list[int], wide: Flags, beyond: Flags) -> None:
    """Cut the polygon of some rings at the antimeridian, where it is plain that it lies there."""
    rings = [areas.positions(number) for number in numbers]
    at = areas.rings[next(number for number in numbers if wide[number] or beyond[number])].at
    pole = turns_of(unrolled(rings[0][:, 0]))  # a circle of latitude has the corners of a box, if a flat one
    if wide[numbers[0]] and not pole and not beyond[numbers].any() and not areas.way.across and _is_box(rings[0]):
        areas.uncut = True
        areas.literal.add(areas.rings[numbers[0]].polygon)
        areas.findings.warning(
            at, "a box wider than half the earth is taken literally, unless the item's bbox runs from east to west"
        )
        return
    cut, crossed = cut_polygon(rings) if areas.way.cuts and not areas.crowded else (None, False)
    done = None if cut is None else "cut at the antimeridian" + (" and closed over the pole" if pole else "")
    if beyond[numbers].any():
        areas.findings.error(at, "a longitude is not between -180 and 180", done)
    elif pole:
        areas.findings.warning(at, "the ring goes round a pole; an edge along the antimeridian leads there", done)
    else:
        areas.findings.warning(
            at, "an edge is longer than half the earth; what lies across the antimeridian is cut there", done
        )
    if crossed:
        areas.findings.error(at, "the outline crosses itself", done and _MENDED)
    if cut is None:
        areas.uncut = areas.lost = True
    else:
        areas.new[areas.rings[numbers[0]].polygon], areas.changed = cut, True


def _is_box(ring: Floats) -> bool:
    """Four corners with edges along meridians and parallels: as wide as it is, it may well be meant."""
    steps = np.diff(ring[:, :2], axis=0)
    return len(ring) == 5 and bool(((steps == 0).sum(axis=1) == 1).all())


def _turn(areas: _Areas, jumping: Flags) -> None:
    """Turn round the rings whose area lies to the right. Those of polygons that are cut come out right-handed."""
    shells = np.array([ring.shell for ring in areas.rings])
    if (shapely.is_ccw(shapely.get_rings(areas.shapes)) == shells).all():
        return
    start = np.repeat(areas.starts[:-1], np.diff(areas.starts))
    x, y = (areas.flat[:, :2] - areas.flat[start, :2]).T
    cross = np.append(x[:-1] * y[1:] - x[1:] * y[:-1], 0.0)
    cross[areas.starts[1:] - 1] = 0.0
    twice = np.add.reduceat(cross, areas.starts[:-1])
    # Rounding gives a ring without an area either sign.
    sure = np.abs(twice) > 1e-12 * np.add.reduceat(np.abs(cross), areas.starts[:-1])
    for number in np.flatnonzero(sure & ((twice > 0) != shells)).tolist():
        ring = areas.rings[number]
        jumps = jumping[number] and ring.polygon not in areas.literal
        if jumps or ring.polygon in areas.new:
            continue
        word = "an outer ring is counterclockwise" if ring.shell else "a hole is clockwise"
        areas.findings.warning(ring.at, f"{word} (RFC 7946, 3.1.6)", "turned the ring round")
        ring.spelled, areas.changed = ring.spelled[::-1], True


def _check_crossings(areas: _Areas, whole: BaseGeometry) -> list[BaseGeometry] | None:
    """The polygons that the geometry is mended to, where that is all of it; None otherwise."""
    at = f"{areas.read.at}/coordinates"
    if areas.crowded:
        areas.findings.warning(
            at, "too many edges lie side by side: whether the outline crosses itself was not checked"
        )
        return None
    if areas.new:
        parts = _parts(areas)
        whole = parts[0] if len(parts) == 1 else shapely.multipolygons(parts)
    if whole.is_valid:
        return None
    area = None if areas.uncut else mended_area(whole)
    mended = None if area is None else areas_of(area)
    reason = shapely.is_valid_reason(whole)
    areas.findings.error(at, f"the geometry is not valid: {reason}", None if mended is None else _MENDED)
    return mended


def _mended(areas: _Areas, before: Reach, whole: list[BaseGeometry] | None) -> Mended:
    """The coordinates as they should be, and how far they reach."""
    if whole is None and not areas.changed:
        return Mended(before, None if areas.lost else before)
    written: list[Any] = []
    if whole is None:
        for polygon, rings in groupby(areas.rings, key=lambda ring: ring.polygon):
            new = areas.new.get(polygon)
            written += [[ring.spelled for ring in rings]] if new is None else map(_written, new)
    else:
        written += map(_written, whole)
    after = None if areas.lost else _bounds(_parts(areas) if whole is None else whole)
    if areas.read.kind == "Polygon" and len(written) == 1:
        return Mended(before, after, ("Polygon", written[0]))
    return Mended(before, after, ("MultiPolygon", written))


def _parts(areas: _Areas) -> list[BaseGeometry]:
    """The polygons, with what they were cut into in their places."""
    return list(chain.from_iterable(areas.new.get(number, [shape]) for number, shape in enumerate(areas.shapes)))


def _bounds(parts: Sequence[BaseGeometry] | NDArray[np.object_]) -> Reach:
    west, south, east, north = shapely.bounds(parts).T
    return Reach(west.tolist(), east.tolist(), float(south.min()), float(north.max()))


def _written(polygon: BaseGeometry) -> list[Any]:
    rings = (polygon.exterior, *polygon.interiors)
    return [shapely.get_coordinates(ring, include_z=polygon.has_z).tolist() for ring in rings]

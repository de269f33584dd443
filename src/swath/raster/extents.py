"""How far features reach, and geometries within ±180 (RFC 7946, 3.1.9 and 5.2)."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from shapely.geometry.base import BaseGeometry

from swath.raster.footprints import plain
from swath.stac.antimeridian import cut_line, cut_polygon, is_wide

__all__ = ["Extent", "cut"]

_MOST_AREAS, _MOST_CORNERS = 500, 20_000  # past which the hull says where features are
_MOST_PARTS = 50


def cut(shape: Any) -> Any:
    """A geometry in degrees, its longitudes within ±180 and areas right-handed. None stays None.

    Left as it is where it cannot be cut: an area that goes round the earth more than once.
    """
    if shape is None or shape.is_empty:
        return shape
    west, _, east, _ = shape.bounds
    if west >= -180 and east <= 180 and east - west <= 180:
        return shapely.orient_polygons(shape)
    if west >= -180 and east <= 180 and not _jumps(shape):
        return shapely.orient_polygons(shape)
    parts: list[BaseGeometry] = []
    for part in shapely.get_parts(shape) if shape.geom_type.startswith("Multi") else [shape]:
        moved = _cut(part)
        if moved is None:
            return shape
        parts += moved
    return _together(parts)


def _jumps(shape: BaseGeometry) -> bool:
    """Whether an edge is longer than half a turn, so that the other way round is meant."""
    kinds = {"Polygon", "LineString", "LinearRing"}
    for part in shapely.get_parts(shape):
        if part.geom_type in kinds:
            lines = shapely.get_rings(part) if part.geom_type == "Polygon" else [part]
            if any(is_wide(shapely.get_coordinates(line)[:, 0]).any() for line in lines):
                return True
    return False


def _cut(part: BaseGeometry) -> list[BaseGeometry] | None:
    if part.geom_type == "Polygon":
        return cut_polygon([_array(ring) for ring in shapely.get_rings(part)])[0]
    if part.geom_type == "LineString":
        lines = cut_line(_array(part))
        return None if lines is None else [shapely.LineString(line) for line in lines]
    if part.geom_type == "Point":
        return [shapely.transform(part, _turned, include_z=part.has_z)]
    return None


def _array(part: BaseGeometry) -> Any:
    return shapely.get_coordinates(part, include_z=part.has_z)


def _turned(points: Any) -> Any:
    points = points.copy()
    points[:, 0] = np.round((points[:, 0] + 180.0) % 360.0 - 180.0, 12)
    return points


def _together(parts: list[BaseGeometry]) -> BaseGeometry:
    if len(parts) == 1:
        return parts[0]
    kinds = {"Polygon": shapely.MultiPolygon, "LineString": shapely.MultiLineString, "Point": shapely.MultiPoint}
    return kinds[parts[0].geom_type](parts)


class Extent:
    """What the features that went by cover: their union where they are few areas, else their hull.

    Hulls are kept in two ways: with longitudes as they are, and with those of the western half one turn on. At the end
    the narrower one is right, which goes over the antimeridian where the features lie on both sides of it.
    """

    def __init__(self) -> None:
        self._areas: list[BaseGeometry] | None = []
        self._corners = 0
        self._hulls: list[list[BaseGeometry]] = [[], []]

    def add(self, shapes: Any) -> None:
        present = shapes[~(shapely.is_missing(shapes) | shapely.is_empty(shapes))]
        if not len(present):
            return
        flat = shapely.force_2d(present)
        self._keep(flat)
        parts = shapely.get_parts(flat)
        onward = shapely.transform(parts, lambda xy: np.add(xy, (360.0, 0.0)))
        western = shapely.bounds(parts)[:, 2] <= 0
        for hulls, each in zip(self._hulls, (parts, np.where(western, onward, parts)), strict=True):
            hulls.append(shapely.convex_hull(shapely.GeometryCollection(list(each))))

    def _keep(self, shapes: Any) -> None:
        if self._areas is None:
            return
        self._corners += int(shapely.get_num_coordinates(shapes).sum())
        areal = np.isin(shapely.get_type_id(shapes), (shapely.GeometryType.POLYGON, shapely.GeometryType.MULTIPOLYGON))
        if not areal.all() or self._corners > _MOST_CORNERS or len(self._areas) + len(shapes) > _MOST_AREAS:
            self._areas = None
        else:
            self._areas += list(shapes)

    def bbox(self) -> list[float] | None:
        """West, south, east, north; from east to west over the antimeridian."""
        hull = self._hull()
        if hull is None:
            return None
        west, south, east, north = hull.bounds
        return [round(float(each), 9) for each in (west, south, east - 360.0 if east > 180.0 else east, north)]

    def geometry(self) -> dict[str, Any] | None:
        hull = self._hull()
        if hull is None:
            return None
        if self._areas:
            try:
                united = shapely.union_all(shapely.make_valid(np.array(self._areas, dtype=object)))
            except shapely.errors.GEOSException:
                united = hull
            if united.geom_type in ("Polygon", "MultiPolygon") and shapely.get_num_geometries(united) <= _MOST_PARTS:
                return plain(shapely.orient_polygons(united))
        return plain(cut(hull))

    def _hull(self) -> BaseGeometry | None:
        if not self._hulls[0]:
            return None
        here, onward = (shapely.convex_hull(shapely.GeometryCollection(hulls)) for hulls in self._hulls)
        width = [each.bounds[2] - each.bounds[0] for each in (here, onward)]
        return here if width[0] <= width[1] else onward

"""Where the valid pixels of a raster are, on the globe."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray
from rasterio.enums import MaskFlags
from rasterio.features import shapes
from rasterio.transform import Affine
from rasterio.warp import transform
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

from swath.raster.opening import READING, colors_of
from swath.stac.antimeridian import cut_polygon

__all__ = ["footprint_of", "on_the_globe", "plain"]

_LOOK = 1_024  # pixels of the longer side that validity is looked at
_POINTS = 400  # on an outline: straight lines of a projection bend on the globe
_MOST_PARTS, _MOST_CORNERS = 20, 5_000  # past which the hull says where the pixels are
_STAIRS = 0.75  # pixels: the height of a stair, seen along the diagonal, is 0.71
_SIMPLE = 1e-5  # of the extent: corners that stand out less are left away


def footprint_of(dataset: Any) -> dict[str, Any] | None:
    """The area of the valid pixels as GeoJSON by RFC 7946: longitude first, cut at the antimeridian, over a pole where
    one is inside. None where the image is not located."""
    if dataset.crs is None or dataset.transform == Affine.identity():
        return None
    place = dataset.transform
    outline = shapely.transform(_valid(dataset), lambda points: _moved(points, place))
    located = on_the_globe(outline, dataset.crs)
    return None if located is None else plain(located)


def plain(geometry: BaseGeometry) -> dict[str, Any]:
    """GeoJSON of a geometry, seven decimals: a centimetre."""
    found = mapping(geometry)
    return {"type": found["type"], "coordinates": _rounded(found["coordinates"])}


def _rounded(values: Any) -> Any:
    return [_rounded(value) for value in values] if isinstance(values, tuple | list) else round(float(values), 7)


def _moved(points: Any, place: Affine) -> Any:
    x, y = points[:, 0], points[:, 1]
    return np.column_stack((place.a * x + place.b * y + place.c, place.d * x + place.e * y + place.f))


def _valid(dataset: Any) -> BaseGeometry:
    """Outline in columns and rows: the image's edge, or that of what is not nodata, transparent or masked."""
    edge = shapely.box(0, 0, dataset.width, dataset.height)
    if all(MaskFlags.all_valid in flags for flags in dataset.mask_flag_enums):
        return edge
    mask = _mask(dataset)
    if mask is None or mask.all() or not mask.any():
        return edge
    scale = Affine.scale(dataset.width / mask.shape[1], dataset.height / mask.shape[0])
    found = shapes(mask.astype("uint8"), mask=mask, connectivity=8, transform=scale)
    rings = [shapely.Polygon(shape(each).exterior) for each, _ in found]  # holes are clouds and lakes, no edges
    united = shapely.union_all(rings)
    if shapely.get_num_geometries(united) > _MOST_PARTS:
        united = united.convex_hull
    simple = united.simplify(_STAIRS * max(scale.a, scale.e))
    if shapely.get_num_coordinates(simple) > _MOST_CORNERS:
        simple = simple.convex_hull
    return simple if not simple.is_empty else edge


def _mask(dataset: Any) -> NDArray[np.bool_] | None:
    """Which pixels are valid in any band, at most so many a side."""
    shrink = max(1.0, max(dataset.width, dataset.height) / _LOOK)
    size = max(1, round(dataset.height / shrink)), max(1, round(dataset.width / shrink))
    mask = np.zeros(size, bool)
    try:
        for band, color in enumerate(colors_of(dataset), 1):
            if color != "alpha":
                mask |= dataset.read_masks(band, out_shape=size) > 0
            if mask.all():
                break
    except READING:
        return None
    return mask


def on_the_globe(outline: BaseGeometry, crs: Any) -> BaseGeometry | None:
    """An area of a reference system in longitude and latitude, its edges as they bend, within ±180.

    None where nothing of it is on the globe.
    """
    parts: list[BaseGeometry] = []
    for polygon in shapely.get_parts(outline):
        if polygon.geom_type == "Polygon" and not polygon.is_empty:
            parts += _located(polygon, crs) or []
    if not parts:
        return None
    united = parts[0] if len(parts) == 1 else shapely.union_all(parts)
    west, south, east, north = united.bounds
    simple = united.simplify(_SIMPLE * max(east - west, north - south))
    kept = [part for part in shapely.get_parts(simple) if part.geom_type == "Polygon" and not part.is_empty]
    oriented = [shapely.orient_polygons(part) for part in kept]
    return oriented[0] if len(oriented) == 1 else shapely.MultiPolygon(oriented)


def _located(polygon: BaseGeometry, crs: Any) -> list[BaseGeometry] | None:
    ring = shapely.segmentize(polygon.exterior, polygon.exterior.length / _POINTS)
    points = np.asarray(ring.coords)[:, :2]
    x, y = transform(crs, "OGC:CRS84", points[:, 0], points[:, 1])
    moved = np.column_stack((np.asarray(x, float), np.asarray(y, float)))
    moved = moved[np.isfinite(moved).all(axis=1)]  # a full disk's corners are beyond the earth
    if len(moved) < 4:
        return None
    moved[:, 1] = np.clip(moved[:, 1], -90.0, 90.0)
    if not np.array_equal(moved[0], moved[-1]):
        moved = np.vstack((moved, moved[:1]))
    whole = _all_round(polygon, crs)
    if whole is not None:
        return [whole]
    return cut_polygon([moved])[0]


def _all_round(polygon: BaseGeometry, crs: Any) -> BaseGeometry | None:
    """A raster over all longitudes is a box, which no ring on the globe would be."""
    if not crs.is_geographic or polygon.bounds[2] - polygon.bounds[0] < 359.999:
        return None
    return shapely.box(-180.0, max(-90.0, polygon.bounds[1]), 180.0, min(90.0, polygon.bounds[3]))

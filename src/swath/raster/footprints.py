"""Where the valid pixels of a raster are, on the globe."""

from __future__ import annotations

from typing import Any

import numpy as np
import shapely
from rasterio.enums import MaskFlags
from rasterio.features import shapes
from rasterio.transform import Affine
from rasterio.warp import transform
from shapely.geometry import mapping, shape
from shapely.geometry.base import BaseGeometry

__all__ = ["footprint_of", "on_the_globe"]

_LOOK = 1_024  # pixels of the longer side that validity is looked at
_POINTS = 32  # per edge, so that straight lines of a projection bend as they do on the globe
_MOST_POINTS = 400


def footprint_of(dataset: Any) -> dict[str, Any] | None:
    """The area of the valid pixels as GeoJSON, longitude first and continuous; None where the image is not located."""
    if dataset.crs is None or dataset.transform == Affine.identity():
        return None
    outline = _valid(dataset)
    located = on_the_globe(outline, dataset.crs)
    return None if located is None else dict(mapping(located))


def _valid(dataset: Any) -> BaseGeometry:
    """Outline in the raster's own coordinates: its edge, or that of what is not nodata, transparent or masked."""
    edge = shapely.box(0, 0, dataset.width, dataset.height)
    if all(MaskFlags.all_valid in flags for flags in dataset.mask_flag_enums):
        return _placed(edge, dataset.transform)
    shrink = max(1.0, max(dataset.width, dataset.height) / _LOOK)
    size = max(1, round(dataset.height / shrink)), max(1, round(dataset.width / shrink))
    mask = np.zeros(size, bool)
    for band in range(1, dataset.count + 1):
        if dataset.colorinterp[band - 1].name != "alpha":
            mask |= dataset.read_masks(band, out_shape=size) > 0
    if mask.all() or not mask.any():
        return _placed(edge, dataset.transform)
    scale = Affine.scale(dataset.width / size[1], dataset.height / size[0])
    parts = [shape(each) for each, value in shapes(mask.astype("uint8"), mask=mask, connectivity=8, transform=scale)
             if value == 1]  # fmt: skip
    united = shapely.union_all([shapely.Polygon(part.exterior) for part in parts])
    if shapely.get_num_geometries(united) > 20 or shapely.get_num_coordinates(united) > 20_000:
        united = united.convex_hull
    simple = united.simplify(1.5 * max(scale.a, scale.e)).buffer(0)
    return _placed(simple if not simple.is_empty else edge, dataset.transform)


def _placed(outline: BaseGeometry, place: Affine) -> BaseGeometry:
    def moved(points: Any) -> Any:
        x, y = points[:, 0], points[:, 1]
        return np.column_stack((place.a * x + place.b * y + place.c, place.d * x + place.e * y + place.f))

    return shapely.transform(outline, moved)


def on_the_globe(outline: BaseGeometry, crs: Any) -> BaseGeometry | None:
    """An area of a reference system in longitude and latitude, its edges as they bend, longitudes continuous.

    One that holds a pole reaches it over all longitudes.
    """
    parts = [_ring(polygon, crs) for polygon in shapely.get_parts(outline) if polygon.geom_type == "Polygon"]
    found = [part for part in parts if part is not None and not part.is_empty]
    if not found:
        return None
    return found[0] if len(found) == 1 else shapely.union_all(found)


def _ring(polygon: BaseGeometry, crs: Any) -> BaseGeometry | None:
    ring = polygon.exterior
    edges = max(1, len(ring.coords) - 1)
    per_edge = max(1, min(_POINTS, _MOST_POINTS // edges))
    if not (crs.is_geographic):
        ring = shapely.segmentize(ring, ring.length / (edges * per_edge))
    points = np.asarray(ring.coords)[:, :2]
    x, y = (np.asarray(each) for each in transform(crs, "OGC:CRS84", points[:, 0], points[:, 1]))
    if not (np.isfinite(x).all() and np.isfinite(y).all()):
        return None
    if crs.is_geographic:
        return shapely.Polygon(np.column_stack((x, y))) if False else shapely.Polygon(points)
    pole = _pole_within(polygon, crs)
    continuous = np.degrees(np.unwrap(np.radians(x)))
    turned = abs(continuous[-1] - continuous[0]) > 180
    if pole is not None and turned:
        order = np.argsort(np.mod(x[:-1] + 180.0, 360.0))
        around = np.mod(x[:-1] + 180.0, 360.0)[order] - 180.0
        heights = y[:-1][order]
        at = (heights[0] + heights[-1]) / 2
        path = [(-180.0, at), *zip(around, heights, strict=True), (180.0, at), (180.0, pole), (-180.0, pole), (-180.0, at)]
        return shapely.Polygon(path)
    made = shapely.Polygon(np.column_stack((continuous, y)))
    centre = (made.bounds[0] + made.bounds[2]) / 2
    return shapely.transform(made, lambda p: p - [360.0 * round(centre / 360.0), 0.0])


def _pole_within(polygon: BaseGeometry, crs: Any) -> float | None:
    for latitude in (90.0, -90.0):
        x, y = transform("OGC:CRS84", crs, [0.0], [latitude])
        if np.isfinite(x[0]) and np.isfinite(y[0]) and polygon.contains(shapely.Point(x[0], y[0])):
            return latitude
    return None

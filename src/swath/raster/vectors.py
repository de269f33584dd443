"""Vectors as GeoJSON by RFC 7946: WGS 84, longitude first."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from pyogrio.errors import DataLayerError, DataSourceError
from rasterio.crs import CRS
from rasterio.warp import transform
from shapely.geometry import mapping

from swath.raster.opening import MEDIA_TYPES, VECTORS, Refused, check_path
from swath.raster.rpc import ground_of
from swath.raster.tasks import MakeGeoJson

__all__ = ["layers_of", "make_geojson"]

_AT_ONCE = 10_000
_MOST_HULL = 100_000


def layers_of(path: str) -> tuple[str, list[dict[str, Any]]]:
    """Driver and layers of a file. Refused for what is no vector data."""
    found = check_path(path)
    try:
        names = [str(name) for name, _ in pyogrio.list_layers(found)]
    except (DataSourceError, IndexError, ValueError) as error:
        raise Refused(f"{found.name}: no vector data of a kind that is read: {_plain(error, found)}") from None
    layers, driver = [], ""
    for name in names:
        info = _info(found, name)
        driver = info["driver"]
        layers.append({"name": name, "features": max(0, info["features"]), "geometry_type": info["geometry_type"],
                       "crs": _code(info["crs"]), "fields": [str(field) for field in info["fields"]]})  # fmt: skip
    if names and driver not in VECTORS:
        raise Refused(f"{found.name}: {driver} is no kind of vector data that is read")
    return driver, layers


def _info(path: Path, layer: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = pyogrio.read_info(path, layer=layer, force_feature_count=True)
    except (DataSourceError, DataLayerError, ValueError) as error:
        raise Refused(f"{path.name}: the layer {layer!r} cannot be read: {_plain(error, path)}") from None
    return found


def make_geojson(task: MakeGeoJson) -> dict[str, Any]:
    """The GeoJSON of a task, and what is known of it."""
    path = check_path(task.source)
    driver, layers = layers_of(task.source)
    if not layers:  # a GML mask without members has no layer: nothing is masked
        _write(Path(task.target), iter(()))
        return {"features": 0, "fields": [], "bbox": None, "geometry": None, "crs": task.crs}
    layer = next((each for each in layers if task.layer in (None, each["name"])), None)
    if layer is None:
        raise Refused(f"{path.name}: there is no layer {task.layer!r}")
    source = layer["crs"] or task.crs
    if driver == "GeoJSON" and not layer["crs"]:
        source = "OGC:CRS84"
    if task.crs and driver == "GML":
        source = task.crs if layer["crs"] in (None, "EPSG:4326") or task.crs else layer["crs"]
    told = _Told()
    count = _write(Path(task.target), _features(path, layer["name"], source, task, told))
    return {"features": count, "fields": layer["fields"], "bbox": told.box(), "geometry": told.geometry(), "crs": source}


class _Told:
    """The extent of the features that went by."""

    def __init__(self) -> None:
        self.bounds: list[tuple[float, ...]] = []
        self.shapes: list[Any] = []
        self.points = 0

    def add(self, shapes: Any) -> None:
        present = shapes[~shapely.is_missing(shapes) & ~shapely.is_empty(shapes)]
        if not len(present):
            return
        self.bounds.append(tuple(shapely.total_bounds(present)))
        self.points += int(shapely.get_num_coordinates(present).sum())
        self.shapes.append(shapely.convex_hull(shapely.geometrycollections(present)))

    def box(self) -> list[float] | None:
        if not self.bounds:
            return None
        west, south, east, north = zip(*self.bounds, strict=True)
        return [min(west), min(south), max(east), max(north)]

    def geometry(self) -> dict[str, Any] | None:
        if not self.shapes:
            return None
        hull = shapely.convex_hull(shapely.geometrycollections(self.shapes))
        if hull.geom_type != "Polygon":
            hull = hull.envelope if not hull.envelope.is_empty else hull
        found: dict[str, Any] = json.loads(json.dumps(mapping(hull)))
        return found


def _features(path: Path, layer: str, source: str | None, task: MakeGeoJson, told: _Told) -> Iterator[dict[str, Any]]:
    start = 0
    while True:
        try:
            meta, _, wkb, columns = pyogrio.raw.read(
                path, layer=layer, skip_features=start, max_features=_AT_ONCE, datetime_as_string=True
            )
        except (DataSourceError, DataLayerError, ValueError) as error:
            raise Refused(f"{path.name}: it cannot be read to its end: {_plain(error, path)}") from None
        shapes = shapely.from_wkb(wkb) if wkb is not None else np.array([None] * (len(columns[0]) if columns else 0))
        shapes = _located(shapes, source, task)
        told.add(shapes)
        names = [str(name) for name in meta["fields"]]
        for number, shape in enumerate(shapes):
            properties = {name: _value(column[number]) for name, column in zip(names, columns, strict=True)}
            geometry = None if shape is None else json.loads(shapely.to_geojson(shape))
            yield {"type": "Feature", "properties": properties, "geometry": geometry}
        if len(shapes) < _AT_ONCE:
            return
        start += _AT_ONCE


def _located(shapes: Any, source: str | None, task: MakeGeoJson) -> Any:
    if task.sensor:
        if not task.rpc:
            return shapes
        rpc = task.rpc
        return shapely.transform(shapes, lambda points: np.column_stack(ground_of(rpc, points[:, 0], points[:, 1])))
    if source is None or source in ("OGC:CRS84",):
        return shapely.force_2d(shapes) if source is None else shapes
    system = CRS.from_user_input(source)

    def moved(points: Any) -> Any:
        x, y = transform(system, "OGC:CRS84", points[:, 0], points[:, 1])
        return np.column_stack((x, y))

    if system == CRS.from_epsg(4326):
        return shapes
    return shapely.transform(shapes, moved)


def _value(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, bytes):
        return None
    if isinstance(value, np.ndarray):
        return [_value(each) for each in value]
    return value if value is None or isinstance(value, str | int | float | bool) else str(value)


def _write(target: Path, features: Iterator[dict[str, Any]]) -> int:
    count = 0
    with target.open("w", encoding="utf-8") as out:
        out.write('{"type":"FeatureCollection","features":[')
        for feature in features:
            out.write(("," if count else "") + json.dumps(feature, ensure_ascii=False, separators=(",", ":")))
            count += 1
        out.write("]}")
    return count


def _code(crs: str | None) -> str | None:
    if not crs:
        return None
    try:
        system = CRS.from_user_input(crs)
    except ValueError:
        return None
    number = system.to_epsg()
    return f"EPSG:{number}" if number else str(system.to_wkt(version="WKT2_2019"))


def media_type(driver: str) -> str:
    return MEDIA_TYPES.get(driver, "application/octet-stream")


def _plain(error: Exception, path: Path) -> str:
    return " ".join(str(error).replace(str(path.parent), "").split())[:200]

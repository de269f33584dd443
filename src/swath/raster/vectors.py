"""Vectors as GeoJSON by RFC 7946: WGS 84, longitude first, cut at the antimeridian."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import shapely
from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.warp import transform

from swath.raster.extents import Extent, cut
from swath.raster.layers import Layer, layers_of, linked, reading
from swath.raster.opening import Refused, check_path
from swath.raster.rpc import ground_of
from swath.raster.tasks import MakeGeoJson

__all__ = ["make_geojson"]

_AT_ONCE = 1_000  # features, at first
_MOST_AT_ONCE = 50_000
_CHUNK = 16_000_000  # bytes of geometry that are in memory at once, about
_WGS84 = "OGC:CRS84"
_DECIMALS = 9  # of a degree: a tenth of a millimetre
_INTEGERS = {"OFTInteger", "OFTInteger64"}


def make_geojson(task: MakeGeoJson) -> dict[str, Any]:
    """The GeoJSON of a task, and what is known of it. Refused for what cannot be read, or has no place."""
    name = check_path(task.source).name
    if task.sensor and not task.rpc:
        raise Refused(f"{name}: its coordinates are pixels, and there are no RPC to place them by")
    extent = Extent()
    with linked(task.source) as path:
        _, layers = layers_of(path, name)
        layer = _chosen(layers, task, name)
        source = None if task.sensor else (layer.crs if layer else None) or task.crs
        features = _features(path, name, layer, source, task, extent) if layer else iter(())
        target = Path(task.target)
        try:
            count = _write(target, features)
        except BaseException:
            target.unlink(missing_ok=True)
            raise
    return {
        "features": count, "fields": list(layer.fields) if layer else [], "bbox": extent.bbox(),
        "geometry": extent.geometry(), "crs": source,
    }  # fmt: skip


def _chosen(layers: list[Layer], task: MakeGeoJson, name: str) -> Layer | None:
    """The layer that is asked for, or the first. None of a GML without members, which has none: nothing is masked."""
    if not layers and task.layer is None:
        return None
    for layer in layers:
        if task.layer in (None, layer.name):
            return layer
    raise Refused(f"{name}: there is no layer {task.layer!r} in it")


def _features(
    path: Path, name: str, layer: Layer, source: str | None, task: MakeGeoJson, extent: Extent
) -> Iterator[dict[str, Any]]:
    place = _Placing(name, source, task)
    start, at_once = 0, _AT_ONCE
    while True:
        with reading(name):
            meta, _, wkb, columns = pyogrio.raw.read(
                path,
                layer=layer.name,
                skip_features=start,
                max_features=at_once,
                datetime_as_string=True,
                **layer.options,
            )
        count = len(wkb) if wkb is not None else len(columns[0]) if columns else 0
        shapes = _shapes(wkb, name) if wkb is not None else np.full(count, None)
        shapes = place(shapes)
        extent.add(shapes)
        names, kinds = [str(each) for each in meta["fields"]], list(meta.get("ogr_types", ()))
        whole = [number < len(kinds) and kinds[number] in _INTEGERS for number in range(len(names))]
        for number, shape in enumerate(shapes):
            properties = {field: _value(column[number], integer)
                          for field, column, integer in zip(names, columns, whole, strict=True)}  # fmt: skip
            geometry = None if shape is None else _geojson(shape)
            yield {"type": "Feature", "properties": properties, "geometry": geometry}
        if count < at_once:
            return
        start += count
        each = sum(map(len, filter(None, wkb))) / count if wkb is not None else 0
        at_once = int(min(_MOST_AT_ONCE, max(100, _CHUNK / (each + 1))))


def _shapes(wkb: Any, name: str) -> Any:
    try:
        return shapely.from_wkb(wkb)
    except shapely.errors.GEOSException as error:
        raise Refused(f"{name}: a geometry that cannot be read", error) from None


class _Placing:
    """From the coordinates of a file to longitude and latitude."""

    def __init__(self, name: str, source: str | None, task: MakeGeoJson) -> None:
        self.name, self.rpc = name, task.rpc if task.sensor else None
        try:
            self.system = CRS.from_user_input(source) if source else None
        except CRSError:
            raise Refused(f"{name}: {source!r} is no reference system that is known") from None
        self.same = self.system is None or self.system in (CRS.from_epsg(4326), CRS.from_user_input(_WGS84))

    def __call__(self, shapes: Any) -> Any:
        missing = shapely.is_missing(shapes)
        has_m = ~missing & shapely.has_m(shapes)
        shapes = np.where(has_m, shapely.force_2d(shapes), shapes) if has_m.any() else shapes
        if self.rpc is not None:
            shapes = shapely.transform(shapely.force_2d(shapes), self._by_rpc)
        elif not self.same:
            shapes = shapely.transform(shapes, self._by_system, include_z=bool(shapely.has_z(shapes[~missing]).all()))
        if not np.isfinite(shapely.get_coordinates(shapes)).all():
            raise Refused(f"{self.name}: coordinates that are nowhere on the globe")
        if self.same and self.rpc is None and self.system is None:
            self._check_degrees(shapes)
        return np.array([cut(shape) for shape in shapes], dtype=object)

    def _by_rpc(self, points: Any) -> Any:
        try:
            return np.column_stack(ground_of(self.rpc or {}, points[:, 0], points[:, 1]))
        except ValueError as error:
            raise Refused(f"{self.name}: it cannot be placed by the RPC: {error}") from None

    def _by_system(self, points: Any) -> Any:
        x, y = transform(self.system, _WGS84, points[:, 0], points[:, 1])
        return np.column_stack((x, y, points[:, 2])) if points.shape[1] > 2 else np.column_stack((x, y))

    def _check_degrees(self, shapes: Any) -> None:
        """What says no reference system may be in degrees already; metres are not written as degrees."""
        points = np.abs(shapely.get_coordinates(shapes))
        if len(points) and (points[:, 0].max() > 540 or points[:, 1].max() > 90.001):
            raise Refused(f"{self.name}: it does not say its reference system, and its coordinates are no degrees")


def _geojson(shape: Any) -> Any:
    found = json.loads(shapely.to_geojson(shape))
    return _rounded(found)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, _DECIMALS)
    if isinstance(value, list):
        return [_rounded(each) for each in value]
    if isinstance(value, dict):
        return {name: _rounded(each) for name, each in value.items()}
    return value


def _value(value: Any, integer: bool = False) -> Any:
    """A field's value as JSON has it. Bytes are left away."""
    if isinstance(value, np.ndarray | list | tuple):
        return [_value(each) for each in value]
    if isinstance(value, np.generic):
        if np.issubdtype(value.dtype, np.datetime64):
            return None if np.isnat(value) else str(value)
        value = value.item()
    if isinstance(value, float):
        if not math.isfinite(value):
            return None
        return int(value) if integer else value
    if isinstance(value, bytes):
        return None
    return value if value is None or isinstance(value, str | int) else str(value)


def _write(target: Path, features: Iterator[dict[str, Any]]) -> int:
    count = 0
    with target.open("w", encoding="utf-8", errors="replace") as out:
        out.write('{"type":"FeatureCollection","features":[')
        for feature in features:
            out.write((",\n" if count else "\n") + json.dumps(feature, ensure_ascii=False, separators=(",", ":")))
            count += 1
        out.write("\n]}\n")
    return count

"""Cloud-optimized GeoTIFFs: the same pixels in another layout. Nothing is warped, resampled or reprojected."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import rasterio
from rasterio.enums import ColorInterp
from rasterio.shutil import copy
from rasterio.transform import Affine

from swath.raster.footprints import footprint_of
from swath.raster.mosaics import assemble
from swath.raster.opening import READING, Refused, colors_of, opened, whole_number
from swath.raster.tasks import MakeCog

__all__ = ["facts_of", "make_cog"]

_BLOCK = 512
_MOST_THREADS = 8
# What is decoded fast enough to be decoded twice: once for the overviews, once for the image.
_FAST = ("GTiff", "ENVI")
# An overview pixel that is an average is no class, no set of bits and no complex signal.
_DISCRETE = {"complex_int16", "complex64", "complex128"}
_BITS = {"uint8": "8", "uint16": "16", "uint32": "32"}


def make_cog(task: MakeCog) -> dict[str, Any]:
    """The COG of a task, and what is known of it. Refused names the source at fault."""
    if not task.sources:
        raise Refused("no file: an image is made of at least one")
    if task.tiles and len(task.tiles) != len(task.sources):
        raise Refused(f"{Path(task.sources[0]).name}: {len(task.sources)} tiles with {len(task.tiles)} places")
    target = Path(task.target)
    between = target.with_name(f"{target.stem}.between.tif")
    try:
        if not _copied_as_it_is(task, target):
            assemble(task, between)
            with rasterio.open(between, driver="GTiff") as source:
                _copy(source, task, target)
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        for made in (between, *(Path(f"{path}.aux.xml") for path in (between, target))):
            with suppress(FileNotFoundError):
                made.unlink()
    return facts_of(str(target))


def _copied_as_it_is(task: MakeCog, target: Path) -> bool:
    """Done, where the image needs nothing but another layout."""
    if len(task.sources) > 1 or task.tiles or task.sensor or task.rpc:
        return False
    with opened(task.sources[0]) as source:
        if not source.count or source.driver not in _FAST or source.rpcs is not None:
            return False
        if (task.nodata is not None and source.nodata is None) or (task.crs is not None and source.crs is None):
            return False
        if len(set(source.dtypes)) > 1:
            return False
        _copy(source, task, target)
    return True


def _copy(source: Any, task: MakeCog, target: Path) -> None:
    kind = str(source.dtypes[0])
    classes = task.categorical or ColorInterp.palette in source.colorinterp
    options = {
        "COMPRESS": "DEFLATE", "LEVEL": "6", "BLOCKSIZE": str(_BLOCK), "BIGTIFF": "IF_SAFER",
        "PREDICTOR": "NO" if classes or kind in _DISCRETE else "YES",
        "OVERVIEWS": "IGNORE_EXISTING",
        "OVERVIEW_RESAMPLING": "NEAREST" if classes or kind in _DISCRETE else "AVERAGE",
        "NUM_THREADS": str(min(_MOST_THREADS, os.cpu_count() or 1)),
    }  # fmt: skip
    if kind in _BITS and len(set(source.dtypes)) == 1:  # fewer bits, as in JPEG 2000, would rule out a predictor
        options["NBITS"] = _BITS[kind]
    try:
        copy(source, str(target), driver="COG", **options)
    except READING as error:
        raise Refused(
            f"{Path(task.sources[0]).name}: it is cut off or damaged, not all of it can be read", error
        ) from None


def facts_of(path: str) -> dict[str, Any]:
    """What a COG of ours is: shape, place, bands, and where its valid pixels are."""
    with rasterio.open(path, driver="GTiff") as cog:
        crs = cog.crs
        placed = cog.transform != Affine.identity()
        epsg = crs.to_epsg() if crs is not None else None
        colors = colors_of(cog)
        return {
            "shape": [cog.height, cog.width],
            "transform": [float(each) for each in tuple(cog.transform)[:6]] if placed else None,
            "code": f"EPSG:{epsg}" if epsg is not None else None,
            "wkt2": crs.to_wkt(version="WKT2_2019") if crs is not None and epsg is None else None,
            "bbox": list(_bounds(cog)) if placed and crs is not None else None,
            "geometry": footprint_of(cog),
            "bands": [
                {
                    "data_type": _data_type(str(cog.dtypes[number])),
                    "nodata": whole_number(cog.nodatavals[number]),
                    "color": colors[number],
                    "description": cog.descriptions[number],
                    "scale": cog.scales[number],
                    "offset": cog.offsets[number],
                    "unit": cog.units[number] or None,
                }
                for number in range(cog.count)
            ],
        }


def _data_type(kind: str) -> str:
    """The name that STAC 1.1 has for a type of pixels."""
    return {"complex_int16": "cint16", "complex64": "cfloat32", "complex128": "cfloat64"}.get(kind, kind)


def _bounds(cog: Any) -> tuple[float, float, float, float]:
    a, b, c, d, e, f = tuple(cog.transform)[:6]
    corners = [(0, 0), (cog.width, 0), (0, cog.height), (cog.width, cog.height)]
    x = [a * column + b * row + c for column, row in corners]
    y = [d * column + e * row + f for column, row in corners]
    return min(x), min(y), max(x), max(y)

"""Cloud-optimized GeoTIFFs: the same pixels in another layout. Nothing is warped, resampled or reprojected."""

from __future__ import annotations

import math
from contextlib import suppress
from pathlib import Path
from typing import Any

import rasterio
from rasterio._err import CPLE_BaseError
from rasterio.crs import CRS
from rasterio.enums import ColorInterp, MaskFlags
from rasterio.errors import RasterioError
from rasterio.rpc import RPC
from rasterio.shutil import copy
from rasterio.transform import Affine
from rasterio.windows import Window

from swath.raster.footprints import footprint_of
from swath.raster.opening import Refused, opened
from swath.raster.tasks import MakeCog

__all__ = ["facts_of", "make_cog"]

_BLOCK = 512
_STRIP = 64_000_000  # bytes that are copied at once


def make_cog(task: MakeCog) -> dict[str, Any]:
    """The COG of a task, and what is known of it. Refused names the source at fault."""
    target = Path(task.target)
    between = target.with_name(f"{target.stem}.between.tif")
    try:
        if len(task.sources) == 1:
            with opened(task.sources[0]) as source:
                if _as_it_is(source, task):
                    _copy(source, task, source, target)
                else:
                    _assemble(task, between)
        else:
            _assemble(task, between)
        if between.exists():
            with rasterio.open(between, driver="GTiff") as source:
                _copy(source, task, source, target)
    finally:
        with suppress(FileNotFoundError):
            between.unlink()
        target.with_name(f"{target.name}.aux.xml").unlink(missing_ok=True)
    return facts_of(str(target))


def _as_it_is(source: Any, task: MakeCog) -> bool:
    """Whether the image needs nothing but another layout."""
    if task.sensor or task.rpc or source.rpcs is not None or task.tiles or task.stack:
        return False
    if task.nodata is not None and source.nodata is None:
        return False
    return not (task.crs is not None and source.crs is None)


def _copy(source: Any, task: MakeCog, looked_at: Any, target: Path) -> None:
    discrete = task.categorical or ColorInterp.palette in looked_at.colorinterp
    kinds = {str(kind) for kind in source.dtypes}
    options = {
        "COMPRESS": "DEFLATE", "LEVEL": "6", "PREDICTOR": "YES", "BLOCKSIZE": str(_BLOCK), "BIGTIFF": "IF_SAFER",
        "OVERVIEWS": "IGNORE_EXISTING", "OVERVIEW_RESAMPLING": "NEAREST" if discrete else "AVERAGE", "NUM_THREADS": "2",
    }  # fmt: skip
    bits = {"uint8": "8", "uint16": "16", "uint32": "32"}.get(source.dtypes[0])
    if bits and len(kinds) == 1:  # a source of fewer bits, as JPEG 2000 may be, would have no predictor
        options["NBITS"] = bits
    if any("complex" in kind for kind in kinds):
        options |= {"PREDICTOR": "NO", "OVERVIEW_RESAMPLING": "NEAREST"}
    try:
        copy(source, str(target), driver="COG", **options)
    except (RasterioError, CPLE_BaseError, MemoryError) as error:
        name = Path(task.sources[0]).name
        raise Refused(f"{name}: it cannot be read to its end: {' '.join(str(error).split())[:200]}") from None


def _assemble(task: MakeCog, between: Path) -> None:
    """An uncompressed GeoTIFF of all sources, with what the task says of nodata, system and coefficients."""
    with opened(task.sources[0]) as first:
        profile = _profile(first, task)
        rpc = _rpc_of(first, task)
        with rasterio.open(between, "w", **profile) as out:
            _describe(first, task, out, profile)
            if rpc is not None:
                out.rpcs = rpc
    with rasterio.open(between, "r+", driver="GTiff") as out:
        for number, name in enumerate(task.sources):
            _place(task, number, name, out)


def _profile(first: Any, task: MakeCog) -> dict[str, Any]:
    bands = first.count
    if task.stack:
        bands = sum(_count(name) for number, name in enumerate(task.sources) if _tile(task, number) == _tile(task, 0))
    rows, columns = task.size or (first.height, first.width)
    if task.tiles and not task.size:
        rows, columns = _extent(task)
    crs = None if task.sensor else first.crs or (CRS.from_user_input(task.crs) if task.crs else None)
    profile = {
        "driver": "GTiff", "height": rows, "width": columns, "count": bands, "dtype": first.dtypes[0], "tiled": True,
        "blockxsize": _BLOCK, "blockysize": _BLOCK, "bigtiff": "IF_SAFER", "interleave": "band", "sparse_ok": True,
        "nodata": first.nodata if first.nodata is not None else task.nodata,
    }  # fmt: skip
    if crs is not None:
        profile["crs"] = crs
    if not task.sensor and first.transform != Affine.identity():
        profile["transform"] = first.transform
    return profile


def _tile(task: MakeCog, number: int) -> tuple[int, int]:
    return task.tiles[number] if task.tiles else (0, 0)


def _count(name: str) -> int:
    with opened(name) as source:
        count: int = source.count
        return count


def _extent(task: MakeCog) -> tuple[int, int]:
    ends = []
    for number, name in enumerate(task.sources):
        with opened(name) as source:
            row, column = _tile(task, number)
            ends.append((row + source.height, column + source.width))
    return max(row for row, _ in ends), max(column for _, column in ends)


def _describe(first: Any, task: MakeCog, out: Any, profile: dict[str, Any]) -> None:
    out.update_tags(AREA_OR_POINT=first.tags().get("AREA_OR_POINT", "Area"))
    if profile["count"] == first.count:
        if profile["count"] in (1, 3, 4) and not task.tiles:
            out.colorinterp = first.colorinterp
        out.scales, out.offsets, out.descriptions, out.units = first.scales, first.offsets, first.descriptions, first.units
        if ColorInterp.palette in first.colorinterp:
            out.write_colormap(1, first.colormap(1))


def _rpc_of(first: Any, task: MakeCog) -> RPC | None:
    if task.rpc:
        return RPC.from_gdal(task.rpc)
    return first.rpcs if task.sensor else None


def _place(task: MakeCog, number: int, name: str, out: Any) -> None:
    """The pixels of a source at their place, some rows at a time."""
    row, column = _tile(task, number)
    before = [n for n in range(number) if _tile(task, n) == (row, column)] if task.stack else []
    first_band = 1 + sum(_count(task.sources[n]) for n in before)
    with opened(name) as source:
        bands = list(range(first_band, first_band + source.count))
        if source.dtypes[0] != out.dtypes[0] or bands[-1] > out.count:
            raise Refused(f"{Path(name).name}: a tile of other bands or another type than the first")
        if row + source.height > out.height or column + source.width > out.width:
            raise Refused(f"{Path(name).name}: the tile reaches beyond the image that it is a part of")
        masked = MaskFlags.per_dataset in source.mask_flag_enums[0] and MaskFlags.alpha not in source.mask_flag_enums[0]
        row_bytes = source.width * source.count * max(1, _item(source.dtypes[0]))
        step = max(_BLOCK, math.floor(_STRIP / row_bytes) // _BLOCK * _BLOCK)
        for top in range(0, source.height, step):
            window = Window(0, top, source.width, min(step, source.height - top))
            there = Window(column, row + top, window.width, window.height)
            try:
                out.write(source.read(window=window), bands, window=there)
                if masked:
                    out.write_mask(source.dataset_mask(window=window), window=there)
            except (RasterioError, CPLE_BaseError) as error:
                raise Refused(f"{Path(name).name}: it cannot be read to its end: {' '.join(str(error).split())[:200]}") from None


def _item(kind: str) -> int:
    return {"uint8": 1, "int8": 1, "uint16": 2, "int16": 2, "complex_int16": 4, "float32": 4, "uint32": 4, "int32": 4}.get(
        kind, 16
    )


def facts_of(path: str) -> dict[str, Any]:
    """What a COG of ours is: shape, place, bands, and where its valid pixels are."""
    with rasterio.open(path, driver="GTiff") as cog:
        crs = cog.crs
        placed = cog.transform != Affine.identity()
        epsg = crs.to_epsg() if crs is not None else None
        return {
            "shape": [cog.height, cog.width],
            "transform": [float(each) for each in tuple(cog.transform)[:6]] if placed else None,
            "code": f"EPSG:{epsg}" if epsg is not None else None,
            "wkt2": crs.to_wkt(version="WKT2_2019") if crs is not None and epsg is None else None,
            "bbox": list(_bounds(cog)) if placed and crs is not None else None,
            "geometry": footprint_of(cog),
            "bands": [
                {
                    "data_type": str(cog.dtypes[number]),
                    "nodata": _number(cog.nodatavals[number]),
                    "color": cog.colorinterp[number].name,
                    "description": cog.descriptions[number],
                    "scale": cog.scales[number],
                    "offset": cog.offsets[number],
                    "unit": cog.units[number],
                }
                for number in range(cog.count)
            ],
        }


def _bounds(cog: Any) -> tuple[float, float, float, float]:
    corners = [cog.transform * corner for corner in ((0, 0), (cog.width, 0), (0, cog.height), (cog.width, cog.height))]
    x, y = [corner[0] for corner in corners], [corner[1] for corner in corners]
    return min(x), min(y), max(x), max(y)


def _number(value: float | None) -> float | int | str | None:
    """As STAC writes it: JSON has no NaN and no infinity."""
    if value is None:
        return None
    if math.isnan(value):
        return "nan"
    if math.isinf(value):
        return "inf" if value > 0 else "-inf"
    return int(value) if float(value).is_integer() else float(value)

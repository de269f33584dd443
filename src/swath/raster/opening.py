"""Opening files of a delivery: by named drivers alone, after a look at what the header claims.

GDAL goes by content: a VRT under the name of a TIFF would read whatever it names. So every open names the drivers that
may, and VRT and all that reads other files or addresses is not among them.
"""

from __future__ import annotations

import math
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import rasterio
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from swath.limits import LIMITS

__all__ = ["MEDIA_TYPES", "RASTERS", "Refused", "VECTORS", "check_path", "environment", "opened"]

RASTERS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG", "NITF", "ENVI", "netCDF")
VECTORS = ("GeoJSON", "ESRI Shapefile", "GPKG", "GML", "KML", "LIBKML", "FlatGeobuf")
MEDIA_TYPES = {
    "GTiff": "image/tiff; application=geotiff", "JP2OpenJPEG": "image/jp2", "PNG": "image/png", "JPEG": "image/jpeg",
    "NITF": "application/vnd.nitf", "ENVI": "application/octet-stream", "netCDF": "application/x-netcdf",
    "GeoJSON": "application/geo+json", "ESRI Shapefile": "application/vnd.shp", "GPKG": "application/geopackage+sqlite3",
    "GML": "application/gml+xml", "KML": "application/vnd.google-earth.kml+xml",
    "LIBKML": "application/vnd.google-earth.kml+xml", "FlatGeobuf": "application/vnd.flatgeobuf",
}  # fmt: skip
_FREE = 64_000_000  # decoded bytes that any file may have
_BLOCK = 512_000_000  # decoded bytes of one block


class Refused(Exception):
    """A file that is not read, and why, in words that name it."""


def environment() -> dict[str, Any]:
    """GDAL's settings in a sandbox: bounded memory, no network, no files beside those that are asked for."""
    return {
        "GDAL_CACHEMAX": 128,
        "GDAL_NUM_THREADS": "1",
        "GDAL_SKIP": "VRT GTI WMS WMTS WCS HTTP STACTA STACIT DIMAP SENTINEL2 SAFE Rasterlite MBTiles Zarr OGCAPI PLMOSAIC "
        "DAAS EEDA EEDAI PostGISRaster PDS4",
        "OGR_SKIP": "OGR_VRT VRT CSW WFS OAPIF CARTO Elastic AmigoCloud PLSCENES NGW HTTP",
        "GDAL_HTTP_MAX_RETRY": "0",
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
        "GDAL_VRT_ENABLE_PYTHON": "NO",
        "GDAL_PAM_ENABLED": "YES",
        "GML_SKIP_CORRUPTED_FEATURES": "NO",
        "OGR_GEOJSON_MAX_OBJ_SIZE": "200",
        "CPL_DEBUG": "OFF",
    }


def check_path(path: str) -> Path:
    """A regular file under a plain path. Refused otherwise: no link, no /vsi…, no connection string."""
    found = Path(path)
    try:
        kind = os.lstat(found)
    except (OSError, ValueError):
        raise Refused(f"{found.name}: there is no such file") from None
    if not found.is_absolute() or not stat.S_ISREG(kind.st_mode) or path.startswith("/vsi"):
        raise Refused(f"{found.name}: not a regular file")
    return found


@contextmanager
def opened(path: str) -> Iterator[Any]:
    """A raster, by one of the drivers that may. Refused for what is none, and for what claims more than it can hold."""
    found = check_path(path)
    try:
        dataset = DatasetReader(str(found), driver=list(RASTERS))
    except RasterioError as error:
        raise Refused(f"{found.name}: no image of a kind that is read: {_plain(error, found)}") from None
    with dataset:
        _check_claims(dataset, found)
        yield dataset


def _check_claims(dataset: Any, path: Path) -> None:
    """Before a pixel is decoded."""
    if dataset.count == 0:
        raise Refused(f"{path.name}: it has no bands, only subdatasets")
    sizes = [_bytes(kind) for kind in dataset.dtypes]
    pixels, decoded = dataset.width * dataset.height, dataset.width * dataset.height * sum(sizes)
    if pixels * dataset.count > LIMITS.raster_pixels:
        raise Refused(f"{path.name}: it claims {dataset.width:,} x {dataset.height:,} pixels of {dataset.count} bands")
    stored = path.stat().st_size
    if decoded > max(_FREE, stored * LIMITS.raster_ratio):
        raise Refused(f"{path.name}: {stored:,} bytes claim to be {decoded:,} bytes of pixels")
    rows, columns = dataset.block_shapes[0]
    if dataset.driver in ("GTiff", "NITF") and rows * columns * max(sizes) > max(_BLOCK, 1):
        raise Refused(f"{path.name}: its blocks claim {rows:,} x {columns:,} pixels each")


def _bytes(kind: str) -> int:
    return {"complex_int16": 4, "complex64": 8, "complex128": 16}.get(kind) or math.ceil(
        rasterio.dtypes._getnpdtype(kind).itemsize
    )


def _plain(error: Exception, path: Path) -> str:
    """GDAL's words, without the path of the job and in one line."""
    return " ".join(str(error).replace(str(path.parent), "").split())[:200]

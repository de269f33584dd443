"""Opening files of a delivery: by named drivers alone, after a look at what the header claims.

GDAL goes by content: a VRT under the name of a TIFF would read whatever it names. So every open names the drivers that
may, and VRT and all that reads other files or addresses is not among them.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import numpy as np
from rasterio._err import CPLE_BaseError
from rasterio._path import _UnparsedPath
from rasterio.errors import RasterioError
from rasterio.io import DatasetReader

from swath.limits import LIMITS
from swath.raster.drivers import RASTERS

__all__ = [
    "MEDIA_TYPES",
    "READING",
    "Refused",
    "check_path",
    "colors_of",
    "environment",
    "members_of",
    "opened",
    "whole_number",
]

MEDIA_TYPES = {
    "GTiff": "image/tiff; application=geotiff", "JP2OpenJPEG": "image/jp2", "PNG": "image/png", "JPEG": "image/jpeg",
    "NITF": "application/vnd.nitf", "ENVI": "application/octet-stream", "netCDF": "application/x-netcdf",
    "GeoJSON": "application/geo+json", "ESRI Shapefile": "application/vnd.shp",
    "GPKG": "application/geopackage+sqlite3", "GML": "application/gml+xml", "FlatGeobuf": "application/vnd.flatgeobuf",
    "KML": "application/vnd.google-earth.kml+xml", "LIBKML": "application/vnd.google-earth.kml+xml",
}  # fmt: skip
READING = (RasterioError, CPLE_BaseError, OSError)  # what is raised where a file cannot be read to its end
_ALPHA = frozenset(("alpha", "mask", "transparency", "opacity", "validity"))
_NUMBERED = re.compile(r"(?:band|layer|channel|b)?[ _-]*\d*")  # such a description says nothing
_FREE = 64_000_000  # decoded bytes that any file may have
_BLOCK = 256_000_000  # decoded bytes of one block, over the bands that are in it


class Refused(Exception):
    """A file that is not read, and why, in words that name it. `detail` is for the log. `no_image`: no driver for
    rasters knows it."""

    def __init__(self, words: str, detail: object = "", *, no_image: bool = False) -> None:
        super().__init__(words)
        self.detail, self.no_image = str(detail), no_image


def environment() -> dict[str, Any]:
    """GDAL's settings in a sandbox: bounded memory, no network, an error where a file is cut off."""
    return {
        "GDAL_CACHEMAX": 128_000_000,  # bytes, as rasterio passes it on
        "GDAL_NUM_THREADS": "1",
        "GDAL_SKIP": "VRT,GTI,WMS,WMTS,WCS,HTTP,STACTA,STACIT,DIMAP,SENTINEL2,SAFE,Rasterlite,MBTiles,Zarr,OGCAPI,"
        "PLMOSAIC,DAAS,EEDA,EEDAI,PostGISRaster,PDS4,DERIVED,GDALG",
        "OGR_SKIP": "OGR_VRT,CSW,WFS,OAPIF,Carto,Elasticsearch,AmigoCloud,PLSCENES,NGW,HTTP,ADBC",
        "GDAL_VRT_ENABLE_PYTHON": "NO",
        "GDAL_HTTP_MAX_RETRY": "0",
        "CPL_VSIL_CURL_ALLOWED_EXTENSIONS": ".none",
        "CPL_VSIL_CURL_USE_HEAD": "NO",
        "GDAL_TIFF_INTERNAL_MASK": "YES",
        "GDAL_ERROR_ON_LIBJPEG_WARNING": "YES",  # a JPEG that ends too early is otherwise grey, and no error
        "RAW_CHECK_FILE_SIZE": "YES",  # likewise raw formats, and zeros
        "GML_DOWNLOAD_SCHEMA": "NO",
        "GML_SKIP_CORRUPTED_FEATURES": "NO",
        "OGR_GEOJSON_MAX_OBJ_SIZE": "100",  # megabytes of one feature
        "OGR_SQLITE_LOAD_EXTENSIONS": "NO",
        "CPL_DEBUG": "OFF",
    }


def check_path(path: str) -> Path:
    """A regular file under a plain path. Refused otherwise: no link, no /vsi…, no connection string."""
    found = Path(path)
    try:
        kind = os.lstat(found)
    except (OSError, ValueError):
        raise Refused(f"{found.name}: there is no such file") from None
    if not found.is_absolute() or path.startswith("/vsi") or not stat.S_ISREG(kind.st_mode):
        raise Refused(f"{found.name}: it is not a regular file")
    if kind.st_size == 0:
        raise Refused(f"{found.name}: it is empty")
    return found


@contextmanager
def opened(path: str, member: str | None = None) -> Iterator[Any]:
    """A raster, by one of the drivers that may. Refused for what is none, and for what claims more than it can hold.

    `member` is one of `members_of`, of a file that holds several images.
    """
    found = check_path(path)
    try:
        dataset = DatasetReader(_UnparsedPath(member or str(found)), driver=list(RASTERS))
    except READING as error:
        raise Refused(
            f"{found.name}: it is no image of a kind that is read, or a broken one", error, no_image=True
        ) from None
    with dataset:
        if dataset.driver == "PNG":
            _check_chunks(found)
        _check_siblings(dataset, found)
        _check_claims(dataset, found)
        yield dataset


def members_of(dataset: Any, path: str) -> tuple[str, ...]:
    """How GDAL names the images of a netCDF file that holds several variables; none for other files.

    The names come out of the file, so only those that name the file itself are taken.
    """
    if dataset.count or dataset.driver != "netCDF" or '"' in path:
        return ()
    named = [name if name.startswith("NETCDF:") else f"NETCDF:{name.partition(':')[2]}" for name in dataset.subdatasets]
    plain = [name.removeprefix("NETCDF:").replace('"', "") for name in named]
    return tuple(f'NETCDF:"{path}":{name.removeprefix(path + ":")}' for name in plain if name.startswith(path + ":"))


def colors_of(dataset: Any) -> list[str]:
    """What each band is shown as, in GDAL's words.

    A fourth band of bytes is taken for alpha unless somebody says otherwise: of one that is described as another
    thing, it is not believed, nor are the colours of the others.
    """
    found = [color.name for color in dataset.colorinterp]
    described = [(text or "").strip().lower() for text in dataset.descriptions]
    if any(
        color == "alpha" and text not in _ALPHA and not _NUMBERED.fullmatch(text)
        for color, text in zip(found, described, strict=True)
    ):
        return ["undefined"] * len(found)
    return found


def _check_siblings(dataset: Any, path: Path) -> None:
    """World files, overviews and the like are read as well: they must be ordinary files beside the image."""
    for name in dataset.files:
        sibling = Path(name)
        if sibling.name == path.name:
            continue
        try:
            ordinary = stat.S_ISREG(os.lstat(sibling).st_mode) and sibling.parent == path.parent
        except OSError:
            ordinary = False
        if not ordinary:
            raise Refused(f"{path.name}: it reads {sibling.name}, which is no regular file beside it")


def _check_chunks(path: Path) -> None:
    """All of a PNG is there, its checksums are right (PNG, third edition, 5.3): GDAL reads what is cut off as zeros."""
    with path.open("rb") as stream:
        stream.seek(8)
        kind = b""
        while kind != b"IEND":
            head = stream.read(8)
            length, kind = int.from_bytes(head[:4]), head[4:]
            checksum, left = crc32(kind), length
            while left and (body := stream.read(min(left, 1_000_000))):
                checksum, left = crc32(body, checksum), left - len(body)
            if len(head) < 8 or left or stream.read(4) != checksum.to_bytes(4):
                raise Refused(f"{path.name}: it is cut off or damaged, not all of it can be read")


def _check_claims(dataset: Any, path: Path) -> None:
    """Before a pixel is decoded."""
    if dataset.count == 0:
        if not dataset.subdatasets:
            raise Refused(f"{path.name}: it has no bands")
        return
    sizes = [_bytes(kind) for kind in dataset.dtypes]
    pixels, decoded = dataset.width * dataset.height, dataset.width * dataset.height * sum(sizes)
    if pixels * dataset.count > LIMITS.raster_pixels:
        raise Refused(
            f"{path.name}: it claims {dataset.width:,} x {dataset.height:,} pixels of {dataset.count:,} bands; "
            f"at most {LIMITS.raster_pixels:,} are read"
        )
    stored = path.stat().st_size
    if decoded > max(_FREE, stored * LIMITS.raster_ratio):
        raise Refused(f"{path.name}: {stored:,} bytes claim to be {decoded:,} bytes of pixels")
    if dataset.driver == "ENVI" and stored < decoded:  # GDAL reads zeros where there is nothing
        raise Refused(f"{path.name}: it is cut off: {stored:,} of {decoded:,} bytes")
    rows, columns = dataset.block_shapes[0]
    together = sum(sizes) if dataset.tags(ns="IMAGE_STRUCTURE").get("INTERLEAVE") == "PIXEL" else max(sizes)
    if rows * columns * together > _BLOCK and rows > 1:
        raise Refused(f"{path.name}: its blocks are of {rows:,} x {columns:,} pixels, too large to be read one by one")


def _bytes(kind: str) -> int:
    return 4 if kind == "complex_int16" else np.dtype(kind).itemsize


def whole_number(value: float | None) -> float | int | str | None:
    """A number as STAC writes it: JSON has no NaN and no infinity."""
    if value is None:
        return None
    if value != value:
        return "nan"
    if value in (float("inf"), float("-inf")):
        return "inf" if value > 0 else "-inf"
    return int(value) if float(value).is_integer() else float(value)

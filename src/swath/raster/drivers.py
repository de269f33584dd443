"""Which drivers GDAL has at all: those that read what deliveries are made of, and those that write what is made of it.

Naming the drivers at each open is not enough: overviews and masks that a file names are opened by whatever is there,
and pyogrio takes no list. So every other driver is taken out of each GDAL that the process has loaded: rasterio and
pyogrio bring one each.
"""

from __future__ import annotations

import ctypes
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

__all__ = ["RASTERS", "VECTORS", "WRITERS", "leave_only"]

# VRT, GTI, DIMAP and their like read files that others name, WMS and its like addresses: they are never here.
RASTERS = ("GTiff", "JP2OpenJPEG", "PNG", "JPEG", "NITF", "ENVI", "netCDF")
VECTORS = ("GeoJSON", "ESRI Shapefile", "GPKG", "GML", "KML", "LIBKML", "FlatGeobuf")
WRITERS = ("COG", "MEM", "Memory")


def leave_only(names: Iterable[str]) -> set[str]:
    """Take out all drivers but these; those that are left."""
    kept, left = set(names), set()
    for library in _libraries():
        gdal = ctypes.CDLL(library)
        gdal.GDALGetDriver.restype = ctypes.c_void_p
        gdal.GDALGetDescription.restype = ctypes.c_char_p
        gdal.GDALGetDescription.argtypes = gdal.GDALDeregisterDriver.argtypes = (ctypes.c_void_p,)
        for number in reversed(range(gdal.GDALGetDriverCount())):
            driver = gdal.GDALGetDriver(number)
            name = gdal.GDALGetDescription(driver).decode()
            if name in kept:
                left.add(name)
            else:
                gdal.GDALDeregisterDriver(driver)
    return left


def _libraries() -> Iterator[str]:
    """Where the GDALs of this process are. None where the system does not say (it has no /proc)."""
    try:
        mapped = Path("/proc/self/maps").read_text(encoding="utf-8")
    except OSError:
        return
    yield from sorted(set(re.findall(r"(/\S*/libgdal[^/\s]*\.so[^/\s]*)$", mapped, re.MULTILINE)))

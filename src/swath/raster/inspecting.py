"""What a file holds, without reading its pixels."""

from __future__ import annotations

import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from rasterio.crs import CRS
from rasterio.errors import CRSError
from rasterio.transform import Affine

from swath.raster.layers import layers_of, linked, siblings_of
from swath.raster.opening import MEDIA_TYPES, Refused, check_path, colors_of, members_of, opened, whole_number

__all__ = ["inspect"]

_EXIF = re.compile(r"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)")
_NITF = re.compile(r"(\d{4})(\d\d)(\d\d)(\d\d)(\d\d)(\d\d)")
_OFFSET = re.compile(r"[+-]\d\d:\d\d")
_SINCE = re.compile(
    r"(second|minute|hour|day)s? since (\S+)(?:[ T](\S+?))?(?:\.0+)?(?: ?(?:UTC|Z|\+00:?00))?", re.IGNORECASE
)
_LONGEST_PRJ = 100_000
_UNITS = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
_CALENDARS = ("standard", "gregorian", "proleptic_gregorian", "")


def inspect(source: str) -> dict[str, Any]:
    """Raster or vector, and what is in it. Refused for what is neither."""
    try:
        with opened(source) as dataset:
            return _raster(dataset, Path(source))
    except Refused as refusal:
        if not refusal.no_image:
            raise
    with linked(source) as path:
        driver, layers = layers_of(path, Path(source).name)
    if not driver:
        raise Refused(f"{Path(source).name}: it is no image and no vectors of a kind that is read")
    return {
        "kind": "vector", "driver": driver, "media_type": MEDIA_TYPES[driver],
        "layers": [
            {"name": layer.name, "features": layer.features, "geometry_type": layer.geometry_type, "crs": layer.crs,
             "fields": list(layer.fields)} for layer in layers
        ],
        "siblings": [each.name for each in siblings_of(Path(source))],
    }  # fmt: skip


def _raster(dataset: Any, path: Path) -> dict[str, Any]:
    crs = dataset.crs
    return {
        "kind": "raster", "driver": dataset.driver, "media_type": MEDIA_TYPES[dataset.driver], "rows": dataset.height,
        "columns": dataset.width, "count": dataset.count,
        "data_type": str(dataset.dtypes[0]) if dataset.count else None,
        "crs": _code(crs) if crs is not None else None,
        "crs_beside": _crs_beside(dataset, path) if crs is None else None,
        "located": dataset.transform != Affine.identity(), "rpc": dataset.rpcs is not None,
        "nodata": whole_number(dataset.nodata) if dataset.count else None,
        "colors": colors_of(dataset) if dataset.count else [],
        "descriptions": list(dataset.descriptions), "datetime": _when_all(dataset, path),
        "wavelengths": _wavelengths(dataset),
        "subdatasets": [name.rpartition(":")[2] for name in members_of(dataset, str(path))],
        "siblings": [Path(name).name for name in dataset.files if Path(name).name != path.name],
    }  # fmt: skip


def _code(crs: CRS) -> str:
    epsg = crs.to_epsg()
    return f"EPSG:{epsg}" if epsg else str(crs.to_wkt(version="WKT2_2019"))


def _crs_beside(dataset: Any, path: Path) -> str | None:
    """The reference system of an image that GDAL has none for: out of the .prj beside a world file, or told by axes in
    degrees of longitude and latitude (CF 1.11, 4.1 and 4.2: without a grid mapping, the figure of the earth is not
    said). An image that lies nowhere has none: the .prj beside it may be that of a shapefile."""
    members = members_of(dataset, str(path))
    if members:
        with opened(str(path), members[0]) as first:
            return "EPSG:4326" if first.crs is None and _on_degrees(first) else None
    if dataset.transform == Affine.identity():
        return None
    if dataset.driver == "netCDF":
        return "EPSG:4326" if _on_degrees(dataset) else None
    for beside in path.parent.iterdir():
        if beside.name.lower() == f"{path.stem}.prj".lower():
            with suppress(Refused, OSError, CRSError, UnicodeDecodeError), check_path(str(beside)).open("rb") as text:
                return _code(CRS.from_wkt(text.read(_LONGEST_PRJ).decode()))
    return None


def _on_degrees(dataset: Any) -> bool:
    units = {str(value).strip().lower() for name, value in dataset.tags().items() if name.endswith("#units")}
    east = {f"degree{s}{joined}" for s in ("", "s") for joined in ("_east", "_e", "e")}
    north = {f"degree{s}{joined}" for s in ("", "s") for joined in ("_north", "_n", "n")}
    west, south, right, top = dataset.bounds
    placed = dataset.transform != Affine.identity() and -360 <= west < right <= 540 and max(abs(south), abs(top)) < 91
    return bool(units & east and units & north and placed)


def _wavelengths(dataset: Any) -> list[tuple[float | None, float | None]]:
    """Of each band, in micrometres: the middle of what it sees, and how wide that is (GDAL's domain IMAGERY)."""
    found = []
    for number in dataset.indexes:
        tags = dataset.tags(number, ns="IMAGERY")
        found.append((_positive(tags.get("CENTRAL_WAVELENGTH_UM")), _positive(tags.get("FWHM_UM"))))
    return found


def _positive(text: str | None) -> float | None:
    with suppress(ValueError):
        number = float(text or "")
        return number if 0 < number < 1e6 else None
    return None


def _when_all(dataset: Any, path: Path) -> str | None:
    """When it was taken; of a file of several images, where all say the same."""
    members = members_of(dataset, str(path))
    if not members:
        return _when(dataset)
    found = set()
    for member in members:
        with opened(str(path), member) as image:
            found.add(_when(image))
    return found.pop() if len(found) == 1 else None


def _when(dataset: Any) -> str | None:
    """When it was taken, where that is said for certain, and in which time zone.

    TIFFTAG_DATETIME is when the file was written (TIFF 6.0, section 8), and so not used.
    """
    tags = {name: str(value).strip() for name, value in dataset.tags().items()}
    try:
        found = _by_exif(tags) or _by_nitf(tags) or _by_envi(dataset) or _by_netcdf(dataset, tags)
    except (ValueError, OverflowError):
        return None
    return found.astimezone(UTC).isoformat().replace("+00:00", "Z") if found is not None else None


def _by_exif(tags: dict[str, str]) -> datetime | None:
    """EXIF's time is the camera's own, unless its offset is there (EXIF 2.31, OffsetTimeOriginal)."""
    time, offset = _EXIF.fullmatch(tags.get("EXIF_DateTimeOriginal", "")), tags.get("EXIF_OffsetTimeOriginal", "")
    if time is None or not _OFFSET.fullmatch(offset):
        return None
    year, month, day, hour, minute, second = time.groups()
    return datetime.fromisoformat(f"{year}-{month}-{day}T{hour}:{minute}:{second}{offset}")


def _by_nitf(tags: dict[str, str]) -> datetime | None:
    """IDATIM is in UTC (MIL-STD-2500C, table A-3)."""
    time = _NITF.fullmatch(tags.get("NITF_IDATIM", ""))
    return datetime(*(int(each) for each in time.groups()), tzinfo=UTC) if time else None  # type: ignore[misc, arg-type]


def _by_envi(dataset: Any) -> datetime | None:
    """The header's acquisition time, which is in UTC (ENVI Header Files)."""
    text = dataset.tags(ns="ENVI").get("acquisition_time") if dataset.driver == "ENVI" else None
    if not text or "T" not in text:
        return None
    found = datetime.fromisoformat(text.strip())
    return found if found.tzinfo is not None else found.replace(tzinfo=UTC)


def _by_netcdf(dataset: Any, tags: dict[str, str]) -> datetime | None:
    """The one value of the time axis (CF 1.11, 4.4: without a zone it is UTC)."""
    if dataset.driver != "netCDF" or not dataset.count:
        return None
    unit = _SINCE.fullmatch(tags.get("time#units", ""))
    values = {dataset.tags(band).get("NETCDF_DIM_time") for band in dataset.indexes}
    if unit is None or len(values) != 1 or None in values or tags.get("time#calendar", "").lower() not in _CALENDARS:
        return None
    start = datetime.fromisoformat(f"{unit[2]}T{unit[3]}" if unit[3] else unit[2]).replace(tzinfo=UTC)
    return start + timedelta(seconds=float(values.pop()) * _UNITS[unit[1].lower()])

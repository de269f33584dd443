"""What each file of a Landsat Collection 2 scene becomes, told by the end of its name and by the scene's sensor.

Names: Landsat Collection 2 Data Format Control Books (LSDS-1822, LSDS-1619, LSDS-1336, LSDS-1328). Scales of the
intermediate bands of surface temperature, which the metadata do not say: Collection 2 Level 2 Science Product Guide.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from swath.delivery.landsat_mtl import Mtl
from swath.delivery.model import Band, Part, asset_key, distinct

__all__ = ["parts_of"]


@dataclass(frozen=True, slots=True)
class _Spectral:
    """A band: its common name by the eo extension, its limits in micrometres, and metres on the ground if they are the
    sensor's own and not those of the reflective bands."""

    common_name: str
    shortest: float
    longest: float
    gsd: float | None = None


_OLI_TIRS = {
    "1": _Spectral("coastal", 0.43, 0.45), "2": _Spectral("blue", 0.45, 0.51), "3": _Spectral("green", 0.53, 0.59),
    "4": _Spectral("red", 0.64, 0.67), "5": _Spectral("nir08", 0.85, 0.88), "6": _Spectral("swir16", 1.57, 1.65),
    "7": _Spectral("swir22", 2.11, 2.29), "8": _Spectral("pan", 0.50, 0.68, 15.0),
    "9": _Spectral("cirrus", 1.36, 1.38), "10": _Spectral("lwir11", 10.60, 11.19, 100.0),
    "11": _Spectral("lwir12", 11.50, 12.51, 100.0),
}  # fmt: skip
_ETM = {
    "1": _Spectral("blue", 0.45, 0.52), "2": _Spectral("green", 0.52, 0.60), "3": _Spectral("red", 0.63, 0.69),
    "4": _Spectral("nir08", 0.77, 0.90), "5": _Spectral("swir16", 1.55, 1.75),
    "6": _Spectral("lwir", 10.40, 12.50, 60.0), "7": _Spectral("swir22", 2.09, 2.35),
    "8": _Spectral("pan", 0.52, 0.90, 15.0),
}  # fmt: skip
_TM = {
    "1": _Spectral("blue", 0.45, 0.52), "2": _Spectral("green", 0.52, 0.60), "3": _Spectral("red", 0.63, 0.69),
    "4": _Spectral("nir08", 0.76, 0.90), "5": _Spectral("swir16", 1.55, 1.75),
    "6": _Spectral("lwir", 10.40, 12.50, 120.0), "7": _Spectral("swir22", 2.08, 2.35),
}  # fmt: skip
_MSS = (
    _Spectral("green", 0.5, 0.6), _Spectral("red", 0.6, 0.7), _Spectral("nir08", 0.7, 0.8), _Spectral("nir09", 0.8, 1.1)
)  # fmt: skip
_THERMAL = ("lwir", "lwir11", "lwir12")


@dataclass(frozen=True, slots=True)
class _Raster:
    title: str
    roles: tuple[str, ...]
    categorical: bool = False
    scale: float | None = None
    unit: str | None = None


_FLAGS = ("data-mask", "cloud", "cloud-shadow", "snow-ice", "water-mask")
_DATA = ("data",)
_ANGLE = ("data", "angle")
_RADIANCE = "W/(m2.sr.um)"
_RASTERS: Mapping[str, _Raster] = {
    "QA_PIXEL": _Raster("Pixel quality", _FLAGS, True),
    "QA_RADSAT": _Raster("Radiometric saturation", ("data-mask", "saturation"), True),
    "SR_QA_AEROSOL": _Raster("Aerosol quality", ("data-mask", "water-mask"), True),
    "SR_CLOUD_QA": _Raster("Cloud quality of surface reflectance", _FLAGS, True),
    "SR_ATMOS_OPACITY": _Raster("Atmospheric opacity", _DATA, scale=0.001),
    "ST_ATRAN": _Raster("Atmospheric transmittance", _DATA, scale=0.0001),
    "ST_CDIST": _Raster("Distance to cloud", _DATA, scale=0.01, unit="km"),
    "ST_DRAD": _Raster("Downwelled radiance", _DATA, scale=0.001, unit=_RADIANCE),
    "ST_EMIS": _Raster("Emissivity", ("data", "emissivity"), scale=0.0001),
    "ST_EMSD": _Raster("Standard deviation of emissivity", ("data", "emissivity"), scale=0.0001),
    "ST_QA": _Raster("Uncertainty of surface temperature", _DATA, scale=0.01, unit="K"),
    "ST_TRAD": _Raster("Thermal radiance", _DATA, scale=0.001, unit=_RADIANCE),
    "ST_URAD": _Raster("Upwelled radiance", _DATA, scale=0.001, unit=_RADIANCE),
    "SAA": _Raster("Solar azimuth", _ANGLE, scale=0.01, unit="deg"),
    "SZA": _Raster("Solar zenith", _ANGLE, scale=0.01, unit="deg"),
    "VAA": _Raster("Sensor azimuth", _ANGLE, scale=0.01, unit="deg"),
    "VZA": _Raster("Sensor zenith", _ANGLE, scale=0.01, unit="deg"),
}
_BAND = re.compile(r"(SR_|ST_)?B([0-9]{1,2})(?:_VCID_[12])?")
_TOKEN = re.compile(
    rf"(?:^|_)({'|'.join(sorted(_RASTERS, key=len, reverse=True))}|(?:SR_|ST_)?B[0-9]{{1,2}}(?:_VCID_[12])?"
    r"|(?:SR_|ST_)?STAC|MTL|ANG|GCP|VER|THUMB_LARGE|THUMB_SMALL)$"
)
_TYPES = {
    ".json": "application/json", ".xml": "application/xml", ".txt": "text/plain", ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg", ".png": "image/png", ".html": "text/html", ".pdf": "application/pdf",
}  # fmt: skip


def parts_of(files: Iterable[str], product_id: str, mtl: Mtl) -> tuple[Part, ...]:
    """A part of each file of a scene."""
    return distinct(_part_of(name, _token(name, product_id), mtl) for name in files)


def _token(name: str, product_id: str) -> str:
    """`SR_B4` of `LC08_…_T1_SR_B4.TIF`."""
    stem = PurePosixPath(name).stem.upper()
    if stem.startswith(product_id.upper()):
        return stem[len(product_id) :].strip("_") or stem
    found = _TOKEN.search(stem)
    return found[1] if found else stem


def _part_of(name: str, token: str, mtl: Mtl) -> Part:
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in (".tif", ".tiff"):
        return _document(name, token, suffix)
    if (found := _BAND.fullmatch(token)) is not None:
        return _band(name, token, found[1] or "", found[2], mtl)
    known = _RASTERS.get(token, _Raster(token, ("data-mask",) if "MASK" in token or "GM_" in token else _DATA))
    roles = known.roles
    if token == "QA_PIXEL" and _sensor(mtl) == "MSS":
        roles = ("data-mask", "cloud")  # the other flags need bands that the MSS does not have
    return Part(
        asset_key(token), (name,), roles, known.title, action="raster", gsd=_grid(mtl), categorical=known.categorical,
        bands=(Band(token, description=known.title),), properties=_scaling(known.scale, 0.0, known.unit),
    )  # fmt: skip


def _document(name: str, token: str, suffix: str) -> Part:
    media_type = _TYPES.get(suffix, "application/octet-stream")
    key = asset_key(token)
    if token == "MTL":
        return Part(f"mtl_{suffix[1:]}", (name,), ("metadata",), f"Metadata of the scene ({suffix[1:]})", media_type)
    if token.endswith("STAC"):
        return Part(key, (name,), ("metadata", "stac"), "STAC item of the USGS", media_type)
    roles, title = {
        "ANG": (("metadata", "angle"), "Angle coefficients"),
        "THUMB_LARGE": (("overview",), "Browse image"),
        "THUMB_SMALL": (("thumbnail",), "Thumbnail"),
        "GCP": (("metadata",), "Ground control points"),
        "VER": (("metadata", "auxiliary"), "Verification of the geometry"),
    }.get(token, (("metadata", "auxiliary"), f"Auxiliary file {PurePosixPath(name).name}"))
    if media_type.startswith("image/") and roles[0] == "metadata" and token != "VER":
        roles, title = ("overview",), f"Browse image {PurePosixPath(name).name}"
    return Part(key, (name,), roles, title, media_type)


# -- bands ---------------------------------------------------------------------------------------


def _band(name: str, token: str, product: str, number: str, mtl: Mtl) -> Part:
    """A band of reflectance, radiance, or surface temperature (`product` ST_)."""
    spectral = _spectral(mtl, number)
    common = spectral.common_name if spectral is not None else None
    gsd = (spectral.gsd if spectral is not None else None) or _grid(mtl)
    thermal = product == "ST_" or common in _THERMAL
    role = "temperature" if thermal else "panchromatic" if common == "pan" else "multispectral"
    quantity, properties = _quantity(token, product, number, mtl)
    band = Band(
        token, common,
        None if spectral is None else round((spectral.shortest + spectral.longest) / 2, 4),
        None if spectral is None else round(spectral.longest - spectral.shortest, 4),
        gsd=gsd,
    )  # fmt: skip
    title = f"{quantity}, band {number}{f' ({common})' if common else ''}"
    return Part(
        asset_key(token), (name,), ("data", role), title, action="raster", bands=(band,), gsd=gsd,
        properties=properties,
    )  # fmt: skip


def _quantity(token: str, product: str, number: str, mtl: Mtl) -> tuple[str, dict[str, Any]]:
    """What the pixels are of, and how they scale to it, by the metadata."""
    if product == "ST_":
        group = "LEVEL2_SURFACE_TEMPERATURE_PARAMETERS"
        scale = mtl.number(f"TEMPERATURE_MULT_BAND_{token}", group)
        return "Surface temperature", _scaling(scale, mtl.number(f"TEMPERATURE_ADD_BAND_{token}", group), "K")
    level2 = product == "SR_"
    group = "LEVEL2_SURFACE_REFLECTANCE_PARAMETERS" if level2 else "LEVEL1_RADIOMETRIC_RESCALING"
    key = number if level2 else token.removeprefix("B")
    scale = mtl.number(f"REFLECTANCE_MULT_BAND_{key}", group)
    if level2 or scale is not None:
        name = "Surface reflectance" if level2 else "Reflectance above the atmosphere, not corrected for the sun"
        return name, _scaling(scale, mtl.number(f"REFLECTANCE_ADD_BAND_{key}", group), None)
    scale = mtl.number(f"RADIANCE_MULT_BAND_{key}", group)
    return "Radiance", _scaling(scale, mtl.number(f"RADIANCE_ADD_BAND_{key}", group), _RADIANCE)


def _scaling(scale: float | None, offset: float | None, unit: str | None) -> dict[str, Any]:
    """The raster extension's fields. Nothing where the scale is not known: then the unit is not that of the pixels."""
    if scale is None:
        return {}
    told = {"raster:scale": scale, "raster:offset": offset or 0.0}
    return told | ({"unit": unit} if unit else {})


def _sensor(mtl: Mtl) -> str:
    return (mtl.text("SENSOR_ID", "IMAGE_ATTRIBUTES") or "").upper()


def _spectral(mtl: Mtl, number: str) -> _Spectral | None:
    sensor = _sensor(mtl)
    if sensor == "MSS":
        # Landsat 1 to 3 count the bands of the MSS from 4, as bands 1 to 3 were the RBV's.
        early = (mtl.text("SPACECRAFT_ID", "IMAGE_ATTRIBUTES") or "")[-1:] in ("1", "2", "3")
        index = int(number) - (4 if early else 1)
        return _MSS[index] if 0 <= index < len(_MSS) else None
    tables = {"OLI_TIRS": _OLI_TIRS, "OLI": _OLI_TIRS, "TIRS": _OLI_TIRS, "ETM": _ETM, "TM": _TM}
    return tables.get(sensor, {}).get(number)


def _grid(mtl: Mtl) -> float | None:
    groups = ("PROJECTION_ATTRIBUTES", "LEVEL1_PROJECTION_PARAMETERS")
    return mtl.number("GRID_CELL_SIZE_REFLECTIVE", *groups) or mtl.number("GRID_CELL_SIZE_THERMAL", *groups)

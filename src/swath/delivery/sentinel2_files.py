"""What each file of a Sentinel-2 SAFE folder becomes, told by where it lies and what it is called in the PSD.

Names and meanings: Sentinel-2 Products Specification Document, S2-PDGS-TAS-DI-PSD, 14 and 15; masks are GML up to
processing baseline 03.01 and JPEG 2000 from 04.00 on.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

from swath.delivery.model import Band, Part, asset_key, distinct
from swath.delivery.sentinel2_bands import BANDS, Radiometry, native_gsd, spectral_band

__all__ = ["Setting", "parts_of"]

_IMAGE = re.compile(r"(?:^|_)(B0[1-9]|B1[0-2]|B8A|TCI|AOT|WVP|SCL|DEM)(?:_([126]0)m)?$", re.IGNORECASE)
_MASK = re.compile(r"MSK_([A-Z]{6})(?=_|$)", re.IGNORECASE)
_PROBABILITY = re.compile(r"_(CLD|SNW)_([26]0)m$", re.IGNORECASE)  # of level 2A before 02.09
_PREVIEW = re.compile(r"(?:^|_)PVI(?:_|$)", re.IGNORECASE)
_BAND = re.compile(r"_(B0[0-9]|B1[0-2]|B8A)(?=_|$)", re.IGNORECASE)
_METRES = re.compile(r"_([126]0)m$", re.IGNORECASE)
_RASTER = (".jp2", ".tif", ".tiff")
_TYPES = {
    ".xml": "application/xml", ".safe": "application/xml", ".xsl": "application/xml", ".xsd": "application/xml",
    ".html": "text/html", ".htm": "text/html", ".css": "text/css", ".txt": "text/plain", ".json": "application/json",
    ".jpg": "image/jpeg", ".jpeg": "image/jpeg", ".png": "image/png", ".pdf": "application/pdf",
    ".kml": "application/vnd.google-earth.kml+xml",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class _Mask:
    title: str
    roles: tuple[str, ...]
    categorical: bool = True
    bands: tuple[str, ...] = ()


_QUALITY = (
    "ancillary packets lost", "ancillary packets degraded", "MSI packets lost", "MSI packets degraded",
    "defective pixels", "no data", "cross-talk partly corrected", "saturated",
)  # fmt: skip
_MASKS: Mapping[str, _Mask] = {
    "CLASSI": _Mask("Cloud and snow classes", ("data-mask", "cloud"), bands=("opaque cloud", "cirrus", "snow or ice")),
    "CLDPRB": _Mask("Cloud probability", ("data-mask", "cloud"), categorical=False),
    "CLOUDS": _Mask("Clouds", ("data-mask", "cloud")),
    "DEFECT": _Mask("Defective pixels", ("data-mask", "detector-quality")),
    "DETFOO": _Mask("Detector footprints", ("data-mask", "detector-quality")),
    "NODATA": _Mask("Pixels without data", ("data-mask",)),
    "QUALIT": _Mask("Radiometric quality", ("data-mask", "detector-quality"), bands=_QUALITY),
    "SATURA": _Mask("Saturated pixels", ("data-mask", "saturation")),
    "SNWPRB": _Mask("Snow probability", ("data-mask", "snow-ice"), categorical=False),
    "TECQUA": _Mask("Technical quality", ("data-mask", "technical-index")),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What a file's product and tile say of it. `root` is the SAFE folder, with a slash or empty; `metadata` the
    product's own metadata file; `crs` that of the tile, which the masks in GML lack."""

    root: str
    metadata: str
    radiometry: Radiometry
    crs: str | None


def parts_of(files: Iterable[str], setting: Setting) -> tuple[Part, ...]:
    """A part of each file. An image has its plain name where its pixels are the finest of that kind."""
    parts = [_part_of(name, setting) for name in files]
    finest: dict[str, float] = {}
    for part in parts:
        if part.action == "raster" and part.gsd is not None:
            finest[part.key] = min(part.gsd, finest.get(part.key, part.gsd))
    named = [
        replace(part, key=f"{part.key}_{part.gsd:.0f}m")
        if part.key in finest and part.gsd is not None and part.gsd > finest[part.key]
        else part
        for part in parts
    ]
    return distinct(named)


def _part_of(name: str, setting: Setting) -> Part:
    inner = PurePosixPath(name.removeprefix(setting.root))
    raster = inner.suffix.lower() in _RASTER
    if raster and _PREVIEW.search(inner.stem):
        bands = _true_colour(setting.radiometry, None)
        return Part("pvi", (name,), ("overview",), "Preview image", action="raster", bands=bands)
    if (found := _MASK.search(inner.stem)) and (raster or inner.suffix.lower() == ".gml"):
        return _mask(name, inner, found[1].upper(), raster, setting)
    if raster and (found := _PROBABILITY.search(inner.stem)):
        return _mask(name, inner, {"CLD": "CLDPRB", "SNW": "SNWPRB"}[found[1].upper()], True, setting)
    if raster and "IMG_DATA" in inner.parts:
        return _image(name, inner, setting)
    return _document(name, inner, setting)


# -- images --------------------------------------------------------------------------------------


def _image(name: str, inner: PurePosixPath, setting: Setting) -> Part:
    found = _IMAGE.search(inner.stem)
    metres = _metres(inner)
    if found is None:
        return Part(asset_key(inner.stem), (name,), ("data",), inner.stem, action="raster", gsd=metres)
    kind = found[1].upper()
    if kind in BANDS:
        return _band_image(name, kind, metres or native_gsd(kind), setting.radiometry)
    if kind == "TCI":
        gsd = metres or 10.0
        bands = _true_colour(setting.radiometry, gsd)
        return Part("tci", (name,), ("visual",), f"True colour, {gsd:.0f} m", action="raster", bands=bands, gsd=gsd)
    return _layer(name, kind, metres, setting.radiometry)


def _band_image(name: str, band: str, gsd: float, radiometry: Radiometry) -> Part:
    described = spectral_band(band, radiometry, gsd)
    properties: dict[str, Any] = {}
    if radiometry.scale is not None:
        offset = radiometry.offsets.get(band, 0.0) * radiometry.scale
        properties = {"raster:scale": radiometry.scale, "raster:offset": round(offset, 10)}
    return Part(
        band.lower(), (name,), ("data", "multispectral"), f"{band} ({described.common_name}), {gsd:.0f} m",
        action="raster", bands=(described,), gsd=gsd, nodata=radiometry.nodata, properties=properties,
    )  # fmt: skip


def _layer(name: str, kind: str, gsd: float | None, radiometry: Radiometry) -> Part:
    """What level 2A derives: aerosol, water vapour, scene classes, and the elevation that it used."""
    metres = f", {gsd:.0f} m" if gsd else ""
    if kind == "SCL":
        title = "Scene classification"
        return Part(
            "scl", (name,), ("data", "data-mask"), title + metres, action="raster", gsd=gsd, categorical=True,
            bands=(Band("SCL", description=title),),
        )  # fmt: skip
    title, scale, unit = {
        "AOT": ("Aerosol optical thickness at 550 nm", radiometry.aot_scale, None),
        "WVP": ("Water vapour column", radiometry.wvp_scale, radiometry.wvp_unit),
        "DEM": ("Elevation", None, "m"),
    }[kind]
    told = {"raster:scale": scale, "raster:offset": 0.0 if scale is not None else None, "unit": unit}
    properties = {key: value for key, value in told.items() if value is not None}
    return Part(
        kind.lower(), (name,), ("data",), title + metres, action="raster", gsd=gsd,
        bands=(Band(kind, description=title),), properties=properties,
    )  # fmt: skip


def _true_colour(radiometry: Radiometry, gsd: float | None) -> tuple[Band, ...]:
    return tuple(replace(spectral_band(band, radiometry, gsd), gsd=gsd) for band in ("B04", "B03", "B02"))


def _metres(inner: PurePosixPath) -> float | None:
    """Metres of a pixel as a file's name or its folder (`R20m`) says them."""
    if found := _METRES.search(inner.stem):
        return float(found[1])
    folder = re.fullmatch(r"R([126]0)m", inner.parent.name, re.IGNORECASE)
    return float(folder[1]) if folder else None


# -- masks ---------------------------------------------------------------------------------------


def _mask(name: str, inner: PurePosixPath, kind: str, raster: bool, setting: Setting) -> Part:
    known = _MASKS.get(kind, _Mask(f"Mask {kind}", ("data-mask",)))
    found = _BAND.search(inner.stem)
    band = found[1].upper() if found else None
    metres = _metres(inner)
    whole = band is None or band == "B00"  # B00 stands for all bands
    of = f" of {band}" if not whole else f", {metres:.0f} m" if metres else ""
    detail = band or (f"{metres:.0f}m" if metres else None)
    key = "_".join(filter(None, ("msk", kind.lower(), detail.lower() if detail else None)))
    title = f"{known.title}{of}"
    if not raster:
        return Part(key, (name,), known.roles, title, action="vector", crs=setting.crs, optional=True)
    gsd = metres or (native_gsd(band) if band in BANDS else 60.0 if kind == "CLASSI" else None)
    bands = tuple(Band(each) for each in known.bands) or (Band(kind, description=title),)
    return Part(
        key, (name,), known.roles, title, action="raster", gsd=gsd, bands=bands, categorical=known.categorical
    )  # fmt: skip


# -- the rest ------------------------------------------------------------------------------------


def _document(name: str, inner: PurePosixPath, setting: Setting) -> Part:
    suffix = inner.suffix.lower()
    key, roles, title = _told_of(name, inner, setting)
    # What lies in AUX_DATA are GRIB files and folders of them; names with dots in them are no suffixes.
    media_type = _TYPES.get(suffix, "image/jp2" if suffix == ".jp2" else "application/octet-stream")
    return Part(key, (name,), roles, title, media_type)


def _told_of(name: str, inner: PurePosixPath, setting: Setting) -> tuple[str, tuple[str, ...], str]:
    folders = [each.upper() for each in inner.parts[:-1]]
    stem = asset_key(inner.stem)
    if name == setting.metadata:
        return "product_metadata", ("metadata",), "Product metadata"
    if inner.name.lower() == "manifest.safe":
        return "safe_manifest", ("metadata",), "SAFE manifest"
    if inner.name.lower() == "inspire.xml":
        return "inspire_metadata", ("metadata", "iso-19115"), "INSPIRE metadata"
    if len(folders) == 2 and folders[0] in ("GRANULE", "DATASTRIP") and inner.suffix.lower() == ".xml":
        kind = folders[0].lower()
        return f"{kind}_metadata", ("metadata",), f"{kind.capitalize()} metadata"
    if folders and folders[-1] == "QI_DATA" and inner.suffix.lower() == ".xml":
        datastrip = folders[0] == "DATASTRIP"
        key = f"datastrip_{stem}" if datastrip else stem
        of = " of the datastrip" if datastrip else ""
        return key, ("metadata",), f"Quality report {inner.stem}{of}"
    if folders and folders[0] == "HTML":
        return stem, ("metadata",), f"Presentation {inner.name}"
    if inner.suffix.lower() in (".jpg", ".jpeg", ".png"):
        # The quick look beside the product (`…-ql.jpg`) has 343 pixels a side.
        small = inner.stem.lower().endswith("-ql")
        return stem, ("thumbnail",) if small else ("overview",), "Quick look" if small else f"Preview {inner.name}"
    return stem, ("metadata", "auxiliary"), f"Auxiliary file {inner.name}"

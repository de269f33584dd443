"""What each file of a Planet item becomes, told by its asset type in the manifest and by its name.

Band order, and the wavelengths in micrometres: Planet's product specifications of PlanetScope and SkySat.
"""

from __future__ import annotations

import posixpath
import re

from swath.delivery.model import Band, Inspect, Part, asset_key
from swath.delivery.planet_metadata import Facts, number_of

__all__ = ["part_of"]


def _bands(*bands: tuple[str, str, float, float]) -> tuple[Band, ...]:
    """Of name, common name, and the limits in micrometres."""
    return tuple(
        Band(name, common, round((low + high) / 2, 4), round(high - low, 4)) for name, common, low, high in bands
    )


# The four bands of each instrument of PlanetScope, in the order of the files. Colour tags of TIFFs say otherwise.
_FOUR = {
    "ps2": _bands(
        ("blue", "blue", 0.455, 0.515), ("green", "green", 0.5, 0.59), ("red", "red", 0.59, 0.67),
        ("nir", "nir", 0.78, 0.86),
    ),
    "ps2.sd": _bands(
        ("blue", "blue", 0.464, 0.517), ("green", "green", 0.547, 0.585), ("red", "red", 0.65, 0.682),
        ("nir", "nir", 0.846, 0.888),
    ),
    "psb.sd": _bands(
        ("blue", "blue", 0.465, 0.515), ("green", "green", 0.547, 0.583), ("red", "red", 0.65, 0.68),
        ("nir", "nir", 0.845, 0.885),
    ),
}  # fmt: skip
_EIGHT = _bands(
    ("coastal_blue", "coastal", 0.431, 0.452), ("blue", "blue", 0.465, 0.515), ("green_i", "green05", 0.513, 0.549),
    ("green", "green", 0.547, 0.583), ("yellow", "yellow", 0.6, 0.62), ("red", "red", 0.65, 0.68),
    ("rededge", "rededge", 0.697, 0.713), ("nir", "nir", 0.845, 0.885),
)  # fmt: skip
_FIVE = _bands(
    ("blue", "blue", 0.44, 0.51), ("green", "green", 0.52, 0.59), ("red", "red", 0.63, 0.685),
    ("rededge", "rededge", 0.69, 0.73), ("nir", "nir", 0.76, 0.85),
)  # fmt: skip
_SKYSAT = _bands(
    ("blue", "blue", 0.45, 0.515), ("green", "green", 0.515, 0.595), ("red", "red", 0.605, 0.695),
    ("nir", "nir", 0.74, 0.9),
)  # fmt: skip
_PAN = _bands(("pan", "pan", 0.45, 0.9))
_RGB = (Band("red", "red"), Band("green", "green"), Band("blue", "blue"))
_UDM2 = tuple(map(Band, ("clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud", "confidence", "udm1")))
_UDM = (Band("udm", description="bits: 1 blank, 2 cloud, 4 to 128 a band that is missing or suspect"),)
_THUMBNAIL = 600  # pixels a side, at most
_IMAGES, _PICTURES = ("tif", "tiff", "ntf", "nitf"), ("png", "jpg", "jpeg")
_TYPES = {
    "xml": "application/xml", "json": "application/json", "txt": "text/plain", "png": "image/png",
    "jpg": "image/jpeg", "jpeg": "image/jpeg", "geojson": "application/geo+json", "pdf": "application/pdf",
}  # fmt: skip


def part_of(inspect: Inspect, name: str, kind: str, item_id: str, facts: Facts, *, skysat: bool) -> Part:
    """The part of a file. `kind` is its type of asset by the manifest (`ortho_analytic_4b_sr`), or empty."""
    base = posixpath.basename(name)
    stem, _, ending = base.rpartition(".")
    ending = ending.lower()
    words = frozenset(re.split(r"[^a-z0-9]+", f"{kind} {stem.removeprefix(item_id)}".lower()))
    key = asset_key(stem if ending in (*_IMAGES, *_PICTURES) else f"{stem}_{ending}")
    if ending in _IMAGES:
        return _image(inspect, name, key, words, facts, skysat=skysat)
    media_type = _TYPES.get(ending, "application/octet-stream")
    if ending in _PICTURES:
        held = inspect(name)
        small = max(int(held.get("rows", 1)), int(held.get("columns", 1))) <= _THUMBNAIL
        roles: tuple[str, ...] = ("thumbnail",) if small else ("overview",)
        return Part(key, (name,), roles, "Thumbnail" if small else "Preview", media_type)
    if words & {"rpc", "rpcs"}:
        return Part(key, (name,), ("metadata", "rpc"), "Rational polynomial coefficients", media_type)
    is_license = bool(words & {"license", "licence", "eula"})
    roles = ("metadata", "license") if is_license else ("metadata",)
    return Part(key, (name,), roles, "Licence" if is_license else f"Metadata ({ending or 'file'})", media_type)


def _image(inspect: Inspect, name: str, key: str, words: frozenset[str], facts: Facts, *, skysat: bool) -> Part:
    held = inspect(name)
    count = int(held.get("count", 0))
    # Basic products are in sensor geometry: only their coefficients say where they lie.
    sensor = not held.get("located") and not held.get("crs")
    gsd = number_of(facts.get("gsd")) if sensor else number_of(facts.get("pixel_resolution"))
    gsd = gsd or number_of(facts.get("gsd")) or number_of(facts.get("pixel_resolution"))

    def part(roles: tuple[str, ...], title: str, bands: tuple[Band, ...], *, mask: bool = False, fill: bool) -> Part:
        return Part(
            key, (name,), roles, title, action="raster", bands=bands, gsd=gsd, categorical=mask,
            nodata=0.0 if fill and held.get("nodata") is None else None, sensor=sensor,
        )  # fmt: skip

    if any(word.startswith("udm") for word in words):
        if count == len(_UDM2):
            return part(
                ("data-mask", "cloud", "cloud-shadow", "snow-ice"), "Usable data mask (UDM2)", _UDM2, mask=True,
                fill=False,
            )  # fmt: skip
        return part(("data-mask",), "Unusable data mask (UDM)", _UDM if count == 1 else (), mask=True, fill=False)
    if "visual" in words:
        return part(("visual",), "Visual image", _RGB if count in (3, 4) else (), fill=False)
    if words & {"bandmath"}:
        return part(("data",), "Image calculated from the bands", (), fill=False)
    if words & {"panchromatic", "pan"}:
        return part(("data", "panchromatic"), _titled("Panchromatic", words), _PAN if count == 1 else (), fill=True)
    bands = _spectral(count, facts, skysat=skysat)
    return part(("data", "multispectral"), _titled("Multispectral", words), bands, fill=True)


def _titled(kind: str, words: frozenset[str]) -> str:
    what = "pansharpened image" if "pansharpened" in words else "image"
    if "sr" in words:
        return f"{kind} {what}, surface reflectance"
    return f"{kind} {what}, digital numbers" if "dn" in words else f"{kind} {what}"


def _spectral(count: int, facts: Facts, *, skysat: bool) -> tuple[Band, ...]:
    """The bands of an analytic image, by their number and the instrument."""
    if skysat:
        return _SKYSAT if count == len(_SKYSAT) else ()
    if count == len(_FOUR["ps2"]):
        return _FOUR.get(str(facts.get("instrument", "")).lower(), _FOUR["ps2"])
    return {3: _RGB, 5: _FIVE, 8: _EIGHT}.get(count, ())

"""The bands of Sentinel-2's MSI: what each product says of them, and what holds where it says nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from xml.etree.ElementTree import Element

from swath.delivery.model import Band
from swath.delivery.xml import number, text

__all__ = ["BANDS", "Radiometry", "native_gsd", "radiometry_of", "spectral_band"]


@dataclass(frozen=True, slots=True)
class _Known:
    common_name: str
    center: float
    width: float
    gsd: float


# Common names by the eo extension 1.1. Central wavelength and width at half maximum in nm, of Sentinel-2A (Sentinel-2
# Spectral Response Functions, COPE-GSEG-EOPG-TN-15-0007), for products whose metadata do not say them.
_KNOWN: Mapping[str, _Known] = {
    "B01": _Known("coastal", 442.7, 20.0, 60.0),
    "B02": _Known("blue", 492.7, 65.0, 10.0),
    "B03": _Known("green", 559.8, 35.0, 10.0),
    "B04": _Known("red", 664.6, 30.0, 10.0),
    "B05": _Known("rededge071", 704.1, 14.0, 20.0),
    "B06": _Known("rededge075", 740.5, 14.0, 20.0),
    "B07": _Known("rededge078", 782.8, 19.0, 20.0),
    "B08": _Known("nir", 832.8, 105.0, 10.0),
    "B8A": _Known("nir08", 864.7, 21.0, 20.0),
    "B09": _Known("nir09", 945.1, 19.0, 60.0),
    "B10": _Known("cirrus", 1373.5, 29.0, 60.0),
    "B11": _Known("swir16", 1613.7, 90.0, 20.0),
    "B12": _Known("swir22", 2202.4, 174.0, 20.0),
}
BANDS = tuple(_KNOWN)  # in the order of `bandId`, 0 to 12


@dataclass(frozen=True, slots=True)
class Radiometry:
    """What a product's metadata say of its pixels: `offsets` in digital numbers and `bands`, by band name; `scale` of
    reflectance, `aot_scale`, `wvp_scale` per digital number; `nodata`."""

    nodata: float | None
    scale: float | None
    offsets: Mapping[str, float]
    aot_scale: float | None
    wvp_scale: float | None
    wvp_unit: str | None
    spectra: Mapping[str, Element]


def radiometry_of(root: Element) -> Radiometry:
    """Out of MTD_MSIL1C.xml or MTD_MSIL2A.xml. The older names of elements begin with `L2A_` or `L1C_`."""
    quantities: dict[str, Element] = {}
    offsets: dict[str, float] = {}
    spectra: dict[str, Element] = {}
    nodata = None
    for element in root.iter():
        name = element.tag.removeprefix("L2A_").removeprefix("L1C_")
        if name.endswith("QUANTIFICATION_VALUE"):
            quantities[name.removesuffix("QUANTIFICATION_VALUE").strip("_")] = element
        elif name in ("BOA_ADD_OFFSET", "RADIO_ADD_OFFSET"):
            band, value = _band_name(element.get("band_id")), number(element)
            if band is not None and value is not None:
                offsets[band] = value
        elif name == "Spectral_Information":
            band = _band_name(element.get("bandId")) or _physical(element.get("physicalBand"))
            if band is not None:
                spectra[band] = element
        elif name == "Special_Values" and text(element, "SPECIAL_VALUE_TEXT") == "NODATA":
            nodata = number(element, "SPECIAL_VALUE_INDEX")
    reflectance = quantities.get("BOA", quantities.get(""))
    water = quantities.get("WVP")
    unit = water.get("unit") if water is not None else None
    return Radiometry(
        nodata, _per(reflectance), offsets, _per(quantities.get("AOT")), _per(water), unit, spectra
    )  # fmt: skip


def spectral_band(name: str, radiometry: Radiometry, gsd: float | None) -> Band:
    """A band by its name in files (`B01`, `B8A`). Wavelengths as the product says them."""
    known = _KNOWN[name]
    spectrum = radiometry.spectra.get(name)
    center = number(spectrum, "Wavelength/CENTRAL") or known.center
    width = _half_width(spectrum) or known.width
    return Band(name, known.common_name, round(center / 1000, 5), round(width / 1000, 5), None, gsd or known.gsd)


def native_gsd(name: str) -> float:
    return _KNOWN[name].gsd


def _per(element: Element | None) -> float | None:
    value = number(element)
    return 1.0 / value if value else None


def _band_name(number_text: str | None) -> str | None:
    return BANDS[int(number_text)] if number_text and number_text.isdecimal() and int(number_text) < 13 else None


def _physical(name: str | None) -> str | None:
    padded = f"B{(name or '').removeprefix('B').rjust(2, '0')}"
    return padded if padded in _KNOWN else None


def _half_width(spectrum: Element | None) -> float | None:
    """Nanometres between the first and the last crossing of half of the response's maximum."""
    step, values = number(spectrum, "Spectral_Response/STEP"), text(spectrum, "Spectral_Response/VALUES")
    try:
        response = [float(value) for value in (values or "").split()]
    except ValueError:
        return None
    if not step or len(response) < 3 or not max(response) > 0.0:
        return None
    half = max(response) / 2
    above = [index for index, value in enumerate(response) if value >= half]
    first, last = above[0], above[-1]
    left = first - (response[first] - half) / (response[first] - response[first - 1]) if first else 0.0
    right = float(last)
    if last + 1 < len(response):
        right += (response[last] - half) / (response[last] - response[last + 1])
    return step * (right - left)

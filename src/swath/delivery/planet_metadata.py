"""Facts of a Planet item: out of its own metadata and, for what those do not say, the XML beside an image."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any
from xml.etree.ElementTree import Element

from swath.delivery.footprint import footprint_of
from swath.delivery.model import Tree
from swath.delivery.planet_order import Item
from swath.delivery.xml import read_xml
from swath.stac.time import format_instant, parse_instant

__all__ = ["Facts", "facts_of", "instant_of", "is_skysat", "number_of", "properties_of"]

Facts = Mapping[str, Any]

# Elements of the XML by what the item's own metadata call them.
_TEXTS = {
    "acquisitionDateTime": "acquired",
    "serialIdentifier": "satellite_id",
}
_NUMBERS = {
    "cloudCoverPercentage": "cloud_cover", "illuminationAzimuthAngle": "sun_azimuth",
    "illuminationElevationAngle": "sun_elevation", "spaceCraftViewAngle": "view_angle",
    "azimuthAngle": "satellite_azimuth", "epsgCode": "epsg_code", "rowGsd": "gsd",
}  # fmt: skip


def facts_of(tree: Tree, item: Item) -> Facts:
    """What is told of an item, under the names of its own metadata; `geometry` is that of the XML."""
    found: dict[str, Any] = {}
    for name in item.files:
        if name.lower().endswith("_metadata.xml"):
            found = {**_of_xml(read_xml(tree.path(name), name)), **found}
    return {**found, **{name: value for name, value in item.properties.items() if value is not None}}


def _of_xml(root: Element) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for element in root.iter():
        tag, value = str(element.tag), (element.text or "").strip()
        if value and tag in _TEXTS:
            found.setdefault(_TEXTS[tag], value)
        elif tag in _NUMBERS and (number := number_of(value)) is not None:
            found.setdefault(_NUMBERS[tag], number)
    instrument = root.find(".//Instrument/shortName")
    if instrument is not None and instrument.text:
        found["instrument"] = instrument.text.strip()
    rings = [_ring(each.text or "") for each in root.iterfind(".//Footprint//LinearRing/coordinates")]
    if (geometry := footprint_of(ring for ring in rings if ring)) is not None:
        found["geometry"] = geometry
    return found


def _ring(text: str) -> list[tuple[float, float]]:
    """GML 2 coordinates, longitude first. Empty where they are not numbers."""
    pairs = [pair.split(",") for pair in text.split()]
    numbers = [(number_of(pair[0]), number_of(pair[1])) for pair in pairs if len(pair) > 1]
    return [(x, y) for x, y in numbers if x is not None and y is not None]


def number_of(value: Any) -> float | None:
    """A finite number, be it written as text; None for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if abs(number) < 1e300 else None


def instant_of(value: Any) -> str | None:
    """RFC 3339 in UTC, which is meant where no zone is said; cut to microseconds."""
    text = str(value or "")
    if re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?", text):
        text += "Z"
    try:
        return format_instant(parse_instant(text))
    except ValueError:
        return None


def is_skysat(item: Item, facts: Facts) -> bool:
    told = f"{item.type} {facts.get('item_type', '')} {facts.get('provider', '')}".lower()
    return "skysat" in told


def properties_of(item: Item, facts: Facts) -> dict[str, Any]:
    """The item's properties, without None."""
    gsd = number_of(facts.get("gsd")) or number_of(facts.get("pixel_resolution"))
    told: dict[str, Any] = {
        "platform": str(facts.get("satellite_id") or "") or None,
        "constellation": _constellation(item, facts),
        "instruments": [str(facts["instrument"]).lower()] if facts.get("instrument") else None,
        "gsd": gsd if gsd and gsd > 0 else None,
        "eo:cloud_cover": _cloud(facts),
        "view:off_nadir": _angle(facts, "view_angle", 90.0, absolute=True),
        "view:azimuth": _angle(facts, "satellite_azimuth", 360.0),
        "view:sun_azimuth": _angle(facts, "sun_azimuth", 360.0),
        "view:sun_elevation": _angle(facts, "sun_elevation", 90.0),
        "proj:code": _code(facts),
        "planet:item_type": item.type or None,
        "planet:quality_category": _text(facts.get("quality_category")),
        "planet:strip_id": _text(facts.get("strip_id")),
    }
    return {name: value for name, value in told.items() if value is not None}


def _constellation(item: Item, facts: Facts) -> str:
    if is_skysat(item, facts):
        return "skysat"
    return "rapideye" if item.type.startswith("RE") or facts.get("provider") == "rapideye" else "planetscope"


def _cloud(facts: Facts) -> float | None:
    """Per cent. `cloud_percent` is that already; `cloud_cover` is a fraction, whatever its unit says in the XML."""
    percent, fraction = number_of(facts.get("cloud_percent")), number_of(facts.get("cloud_cover"))
    if fraction is not None and 0.0 <= fraction <= 1.0:
        return round(fraction * 100.0, 6)
    return percent if percent is not None and 0.0 <= percent <= 100.0 else None


def _angle(facts: Facts, name: str, most: float, *, absolute: bool = False) -> float | None:
    value = number_of(facts.get(name))
    if value is None:
        return None
    if most == 360.0:
        return value % 360.0
    value = abs(value) if absolute else value
    return value if -most <= value <= most else None


def _code(facts: Facts) -> str | None:
    code = number_of(facts.get("epsg_code"))
    return f"EPSG:{int(code)}" if code is not None and 1024 <= code <= 998_999 else None


def _text(value: Any) -> str | None:
    return str(value) if isinstance(value, str | int) and not isinstance(value, bool) else None

"""What the metadata of a Sentinel-2 product and of its tile say of a scene, as fields of STAC.

Elements: Sentinel-2 Products Specification Document (PSD) 14 and 15. Fields: the extensions sentinel-2 1.0, grid, mgrs,
sat, view, and Earth Search's own.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any
from xml.etree.ElementTree import Element

from swath.delivery.xml import number, text
from swath.stac.time import format_instant, parse_instant

__all__ = ["first", "instant_text", "properties_of", "rings_of", "time_of"]

# What the product says of its pixels in percent, as fields of STAC's sentinel-2 extension are called.
_SHARES = (
    "degraded_msi_data", "nodata_pixel", "saturated_defective_pixel", "dark_features", "cloud_shadow", "vegetation",
    "not_vegetated", "water", "unclassified", "medium_proba_clouds", "high_proba_clouds", "thin_cirrus", "snow_ice",
)  # fmt: skip


def first(root: Element | None, *tags: str) -> str | None:
    """The text of the first element of a document that is called so; the tags are tried in turn."""
    for tag in tags:
        for element in root.iter(tag) if root is not None else ():
            if found := text(element):
                return found
    return None


def _number(root: Element | None, *tags: str) -> float | None:
    for tag in tags:
        for element in root.iter(tag) if root is not None else ():
            if (found := number(element)) is not None:
                return found
    return None


def time_of(root: Element | None, tag: str) -> int | None:
    try:
        return parse_instant(first(root, tag) or "")
    except ValueError:
        return None


def instant_text(micros: int | None) -> str | None:
    return None if micros is None else format_instant(micros)


def properties_of(
    product: Element, level: str, code: str | None, crs: str | None, tile: Element | None
) -> dict[str, Any]:
    told: dict[str, Any] = {
        "constellation": "sentinel-2",
        "instruments": ["msi"],
        "gsd": 10,
        "platform": (first(product, "SPACECRAFT_NAME") or "").lower() or None,
        "proj:code": crs,
        "processing:level": f"L{level}",
        "eo:cloud_cover": _percent(_number(product, "Cloud_Coverage_Assessment"), tile, "CLOUDY_PIXEL_PERCENTAGE"),
        "earthsearch:boa_offset_applied": False,  # pixels are as delivered; the offset is each asset's raster:offset
        **_angles(tile),
        **_orbit(product),
        **_sentinel2(product, level, tile),
    }
    if code is not None:
        told |= {
            "grid:code": f"MGRS-{code}", "mgrs:utm_zone": int(code[:2]), "mgrs:latitude_band": code[2],
            "mgrs:grid_square": code[3:],
        }  # fmt: skip
    return {key: value for key, value in told.items() if value is not None}


def _percent(value: float | None, tile: Element | None, tag: str) -> float | None:
    found = value if value is not None else _number(tile, tag)
    return found if found is not None and 0.0 <= found <= 100.0 else None


def _angles(tile: Element | None) -> dict[str, Any]:
    """Sun and view in degrees, the view averaged over the bands."""
    sun = tile.find(".//Mean_Sun_Angle") if tile is not None else None
    zenith, azimuth = number(sun, "ZENITH_ANGLE"), number(sun, "AZIMUTH_ANGLE")
    views = list(tile.iter("Mean_Viewing_Incidence_Angle")) if tile is not None else []
    zeniths = [found for view in views if (found := number(view, "ZENITH_ANGLE")) is not None]
    azimuths = [math.radians(found) for view in views if (found := number(view, "AZIMUTH_ANGLE")) is not None]
    told: dict[str, Any] = {
        "view:sun_elevation": None if zenith is None else round(90.0 - zenith, 6),
        "view:sun_azimuth": None if azimuth is None else round(azimuth % 360.0, 6),
    }
    if zeniths:
        told["view:incidence_angle"] = round(math.fsum(zeniths) / len(zeniths), 6)
    if azimuths:
        east, north = math.fsum(map(math.sin, azimuths)), math.fsum(map(math.cos, azimuths))
        told["view:azimuth"] = round(math.degrees(math.atan2(east, north)) % 360.0, 6)
    return told


def _orbit(product: Element) -> dict[str, Any]:
    state = (first(product, "SENSING_ORBIT_DIRECTION") or "").lower()
    relative = _number(product, "SENSING_ORBIT_NUMBER")
    return {
        "sat:orbit_state": state if state in ("ascending", "descending") else None,
        "sat:relative_orbit": int(relative) if relative is not None and relative >= 1 else None,
    }


def _sentinel2(product: Element, level: str, tile: Element | None) -> dict[str, Any]:
    datatake = product.find(".//Datatake")
    told: dict[str, Any] = {
        "s2:sequence": "0",  # of several takes of a tile on a day; a product by itself is the first
        "s2:processing_baseline": first(product, "PROCESSING_BASELINE"),
        "s2:product_type": first(product, "PRODUCT_TYPE"),
        "s2:product_uri": first(product, f"PRODUCT_URI_{level}", "PRODUCT_URI"),
        "s2:generation_time": instant_text(time_of(product, "GENERATION_TIME")),
        "s2:datatake_id": datatake.get("datatakeIdentifier") if datatake is not None else None,
        "s2:datatake_type": first(product, "DATATAKE_TYPE"),
        "s2:tile_id": first(tile, "TILE_ID_2A", "TILE_ID"),
        "s2:datastrip_id": first(tile, "DATASTRIP_ID_2A", "DATASTRIP_ID"),
        "s2:reflectance_conversion_factor": number(product, ".//Reflectance_Conversion/U"),
    }
    for share in _SHARES:
        tag = f"{share.upper()}_PERCENTAGE"
        told[f"s2:{share}_percentage"] = _percent(_number(tile, tag), product, tag)
    return told


def rings_of(product: Element) -> Iterator[list[tuple[float, float]]]:
    """Rings of EXT_POS_LIST, which gives latitude first, and a height as well in some old products."""
    for element in product.iter("EXT_POS_LIST"):
        try:
            values = [float(value) for value in (text(element) or "").split()]
        except ValueError:
            continue
        flat = len(values) % 2 == 0 and values[:2] == values[-2:]
        step = 3 if not flat and len(values) % 3 == 0 and values[:3] == values[-3:] else 2
        yield [(values[at + 1], values[at]) for at in range(0, len(values) - step + 1, step)]

"""Rational polynomial coefficients of DIMAP V2 in the names of GDAL's RPC domain."""

from __future__ import annotations

from xml.etree.ElementTree import Element

from swath.delivery.model import Tree
from swath.delivery.xml import number, read_xml
from swath.errors import DeliveryRefused

__all__ = ["read_rpc"]

_POLYNOMIALS = ("LINE_NUM", "LINE_DEN", "SAMP_NUM", "SAMP_DEN")
_AXES = ("LINE", "SAMP", "LAT", "LONG", "HEIGHT")
# From ground to image. Pléiades and SPOT call it the inverse model, Pléiades Neo says what it is.
_MODELS = ("Inverse_Model", "GroundtoImage_Values")


def read_rpc(tree: Tree, name: str, mission: str) -> dict[str, str]:
    """The coefficients from ground to image, pixels counted from 0 as GDAL does.

    DeliveryRefused where one is missing.
    """
    root = read_xml(tree.path(name), name)
    model = next((each for tag in _MODELS if (each := root.find(f".//{tag}")) is not None), None)
    validity = root.find(".//RFM_Validity")
    found: dict[str, str] = {}
    for part in _POLYNOMIALS:
        values = [number(model, f"{part}_COEFF_{each}") for each in range(1, 21)]
        if any(value is None for value in values):
            raise DeliveryRefused(f"{name}: the coefficients {part} are not all there")
        found[f"{part}_COEFF"] = " ".join(f"{value:.15e}" for value in values)
    first = {"LINE": _first(root, "FIRST_ROW", mission), "SAMP": _first(root, "FIRST_COL", mission)}
    for part in _AXES:
        offset, scale = number(validity, f"{part}_OFF"), number(validity, f"{part}_SCALE")
        if offset is None or not scale:
            raise DeliveryRefused(f"{name}: the offset or the scale of {part} is missing")
        found[f"{part}_OFF"], found[f"{part}_SCALE"] = repr(offset - first.get(part, 0.0)), repr(scale)
    return found


def _first(root: Element, tag: str, mission: str) -> float:
    """The number of the first row or column: 1 in files of Pléiades and SPOT.

    Pléiades Neo counts from 0, unless the domain of its other model says otherwise.
    """
    told = number(root.find(".//ImagetoGround_Validity_Domain"), tag)
    if told in (0.0, 1.0):
        return told or 0.0
    return 0.0 if mission == "PNEO" else 1.0

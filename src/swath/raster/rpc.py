"""Rational polynomial coefficients: from ground to image as they are given, from image to ground by iteration.

The model is RPC00B (STDI-0002, volume 1, appendix E): line and sample are quotients of cubic polynomials of normalised
longitude, latitude and height, whose twenty terms are in the order below.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["ground_of"]

Floats = NDArray[np.float64]
_STEPS = 50


def ground_of(rpc: Mapping[str, str], column: Floats, row: Floats) -> tuple[Floats, Floats]:
    """Longitude and latitude, in degrees, of places in the image (counted from the upper left corner of the first
    pixel, as GDAL does) at the height offset."""
    value = {name: float(rpc[name]) for name in (
        "LINE_OFF", "SAMP_OFF", "LAT_OFF", "LONG_OFF", "LINE_SCALE", "SAMP_SCALE", "LAT_SCALE", "LONG_SCALE")}  # fmt: skip
    terms = {name: np.array(rpc[name].split(), float) for name in (
        "LINE_NUM_COEFF", "LINE_DEN_COEFF", "SAMP_NUM_COEFF", "SAMP_DEN_COEFF")}  # fmt: skip
    # GDAL's offsets count from the centre of the first pixel.
    line = (row - 0.5 - value["LINE_OFF"]) / value["LINE_SCALE"]
    sample = (column - 0.5 - value["SAMP_OFF"]) / value["SAMP_SCALE"]
    x, y = np.zeros_like(line), np.zeros_like(line)

    def image(x: Floats, y: Floats) -> tuple[Floats, Floats]:
        p = _terms(x, y)
        return (terms["SAMP_NUM_COEFF"] @ p / (terms["SAMP_DEN_COEFF"] @ p),
                terms["LINE_NUM_COEFF"] @ p / (terms["LINE_DEN_COEFF"] @ p))  # fmt: skip

    step = 1e-6
    for _ in range(_STEPS):  # Newton's method on both at once
        s, r = image(x, y)
        ds, dr = sample - s, line - r
        if np.max(np.abs(ds), initial=0) < 1e-12 and np.max(np.abs(dr), initial=0) < 1e-12:
            break
        sx, rx = (b - a for a, b in zip((s, r), image(x + step, y), strict=True))
        sy, ry = (b - a for a, b in zip((s, r), image(x, y + step), strict=True))
        determinant = sx * ry - sy * rx
        x = x + step * (ds * ry - dr * sy) / determinant
        y = y + step * (dr * sx - ds * rx) / determinant
    return x * value["LONG_SCALE"] + value["LONG_OFF"], y * value["LAT_SCALE"] + value["LAT_OFF"]


def _terms(x: Floats, y: Floats) -> Floats:
    """The twenty terms at the height offset, where the normalised height is 0."""
    z = np.zeros_like(x)
    one = np.ones_like(x)
    return np.stack(
        (one, x, y, z, x * y, x * z, y * z, x * x, y * y, z * z, x * y * z, x * x * x, x * y * y, x * z * z, x * x * y,
         y * y * y, y * z * z, x * x * z, y * y * z, z * z * z)
    )  # fmt: skip

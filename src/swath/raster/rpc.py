"""Rational polynomial coefficients: from ground to image as they are given, from image to ground by iteration.

The model is RPC00B (STDI-0002, volume 1, appendix E, "RPC00B"): line and sample are each a quotient of two cubic
polynomials of normalised longitude, latitude and height, whose twenty terms are in the order below.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

__all__ = ["ground_of", "image_of"]

Floats = NDArray[np.float64]
_STEPS = 50
_STEP = 1e-6  # of the normalised range, to tell how image coordinates change
_EXACT = 1e-11  # of the normalised range
_ENOUGH = 0.1  # pixels that the place found may be off


def ground_of(rpc: Mapping[str, str], column: Floats, row: Floats) -> tuple[Floats, Floats]:
    """Longitude and latitude, in degrees, of places in the image at the height offset.

    Columns and rows count from the upper left corner of the first pixel, offsets (as GDAL has them) from its centre.
    ValueError where the coefficients are incomplete, or have no place for them.
    """
    model = _Model(rpc)
    line, sample = model.normalised(column, row)
    x, y = np.zeros_like(line), np.zeros_like(line)
    with np.errstate(all="ignore"):
        for _ in range(_STEPS):  # Newton's method on both at once
            s, r = model.image(x, y)
            ds, dr = sample - s, line - r
            if max(np.max(np.abs(ds), initial=0), np.max(np.abs(dr), initial=0)) < _EXACT:
                break
            sx, rx = (after - before for before, after in zip((s, r), model.image(x + _STEP, y), strict=True))
            sy, ry = (after - before for before, after in zip((s, r), model.image(x, y + _STEP), strict=True))
            determinant = sx * ry - sy * rx
            x = x + _STEP * (ds * ry - dr * sy) / determinant
            y = y + _STEP * (dr * sx - ds * rx) / determinant
        longitude, latitude = x * model.long_scale + model.long_off, y * model.lat_scale + model.lat_off
        back = image_of(rpc, longitude, latitude)
        off = max(np.max(np.abs(back[0] - column), initial=0), np.max(np.abs(back[1] - row), initial=0))
    if not off < _ENOUGH:
        raise ValueError("the coefficients have no place on the ground for some pixels")
    return longitude, latitude


def image_of(rpc: Mapping[str, str], longitude: Floats, latitude: Floats) -> tuple[Floats, Floats]:
    """Column and row of places on the ground at the height offset, counted as in `ground_of`."""
    model = _Model(rpc)
    sample, line = model.image(
        (longitude - model.long_off) / model.long_scale, (latitude - model.lat_off) / model.lat_scale
    )
    return sample * model.samp_scale + model.samp_off + 0.5, line * model.line_scale + model.line_off + 0.5


class _Model:
    """The coefficients as numbers."""

    def __init__(self, rpc: Mapping[str, str]) -> None:
        try:
            self.line_off, self.samp_off, self.lat_off, self.long_off = (
                float(rpc[name]) for name in ("LINE_OFF", "SAMP_OFF", "LAT_OFF", "LONG_OFF")
            )
            self.line_scale, self.samp_scale, self.lat_scale, self.long_scale = (
                float(rpc[name]) for name in ("LINE_SCALE", "SAMP_SCALE", "LAT_SCALE", "LONG_SCALE")
            )
            self.quotients = [
                np.array(rpc[name].split(), float)
                for name in ("SAMP_NUM_COEFF", "SAMP_DEN_COEFF", "LINE_NUM_COEFF", "LINE_DEN_COEFF")
            ]
        except KeyError as error:
            raise ValueError(f"the coefficients lack {error}") from None
        if any(len(each) != 20 for each in self.quotients):
            raise ValueError("a polynomial has other than twenty coefficients")

    def normalised(self, column: Floats, row: Floats) -> tuple[Floats, Floats]:
        """Line and sample."""
        return (row - 0.5 - self.line_off) / self.line_scale, (column - 0.5 - self.samp_off) / self.samp_scale

    def image(self, x: Floats, y: Floats) -> tuple[Floats, Floats]:
        """Sample and line, both normalised."""
        terms = _terms(x, y)
        above_s, below_s, above_l, below_l = (each @ terms for each in self.quotients)
        return above_s / below_s, above_l / below_l


def _terms(x: Floats, y: Floats) -> Floats:
    """The twenty terms at the height offset, where the normalised height is 0."""
    z = np.zeros_like(x)
    return np.stack(
        (np.ones_like(x), x, y, z, x * y, x * z, y * z, x * x, y * y, z * z, x * y * z, x * x * x, x * y * y,
         x * z * z, x * x * y, y * y * y, y * z * z, x * x * z, y * y * z, z * z * z)
    )  # fmt: skip

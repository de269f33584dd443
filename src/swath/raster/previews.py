"""Pictures of images, for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from rasterio.enums import ColorInterp, Resampling

from swath.raster.opening import opened
from swath.raster.tasks import MakePreview

__all__ = ["make_preview"]


def make_preview(task: MakePreview) -> dict[str, Any]:
    """A PNG: colours of a palette as they are, others stretched between their 2nd and 98th percentile."""
    with opened(task.source) as source:
        shrink = max(1.0, max(source.width, source.height) / task.pixels)
        size = max(1, round(source.height / shrink)), max(1, round(source.width / shrink))
        palette = ColorInterp.palette in source.colorinterp
        if palette:
            picture, seen = _painted(source, size)
        else:
            picture, seen = _stretched(source, size, task.bands)
    bands = np.concatenate((picture, seen[None].astype("uint8") * 255)) if not seen.all() else picture
    colours = [ColorInterp.red, ColorInterp.green, ColorInterp.blue] if len(picture) == 3 else [ColorInterp.gray]
    profile = {"driver": "PNG", "height": size[0], "width": size[1], "count": len(bands), "dtype": "uint8"}
    with rasterio.open(task.target, "w", **profile) as out:
        out.write(bands)
        out.colorinterp = colours + ([ColorInterp.alpha] if len(bands) > len(picture) else [])
    Path(f"{task.target}.aux.xml").unlink(missing_ok=True)
    return {"shape": list(size)}


def _painted(source: Any, size: tuple[int, int]) -> tuple[Any, Any]:
    table = np.zeros((65_536, 3), "uint8")
    for index, colour in source.colormap(1).items():
        table[index] = colour[:3]
    values = source.read(1, out_shape=size, resampling=Resampling.nearest)
    return np.moveaxis(table[values], -1, 0), source.read_masks(1, out_shape=size) > 0


def _stretched(source: Any, size: tuple[int, int], wanted: tuple[int, ...] | None) -> tuple[Any, Any]:
    bands = list(wanted) if wanted else _bands(source)
    values = source.read(bands, out_shape=(len(bands), *size), resampling=Resampling.average)
    if np.iscomplexobj(values):
        values = np.abs(values)
    values = values.astype("float64")
    seen = np.all([source.read_masks(band, out_shape=size) > 0 for band in bands], axis=0)
    seen &= np.isfinite(values).all(axis=0)
    picture = np.zeros((len(bands), *size), "uint8")
    for number, band in enumerate(values):
        if source.dtypes[bands[number] - 1] == "uint8":
            picture[number] = np.where(seen, band, 0).round()
            continue
        known = band[seen]
        low, high = np.percentile(known, (2, 98)) if known.size else (0.0, 1.0)
        spread = (band - low) / (high - low if high > low else 1.0)
        picture[number] = (np.clip(np.where(seen, spread, 0.0), 0.0, 1.0) * 255).round()
    return picture, seen


def _bands(source: Any) -> list[int]:
    colours = list(source.colorinterp)
    wanted = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
    if all(colour in colours for colour in wanted):
        return [colours.index(colour) + 1 for colour in wanted]
    return [1]

"""Pictures of images, for people."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import rasterio
from numpy.typing import NDArray
from rasterio.enums import ColorInterp, Resampling

from swath.raster.opening import READING, Refused, colors_of, opened
from swath.raster.tasks import MakePreview

__all__ = ["make_preview"]

_LOW, _HIGH = 2, 98  # percentiles
_COLOURS = (ColorInterp.red, ColorInterp.green, ColorInterp.blue)
_NAMES = ("red", "green", "blue")
Pixels = NDArray[np.uint8]
Seen = NDArray[np.bool_]


def make_preview(task: MakePreview) -> dict[str, Any]:
    """A picture with north (or the first row) up: the colours of a palette, or red, green and blue, or grey."""
    name = Path(task.source).name
    with opened(task.source) as source:
        if not source.count:
            raise Refused(f"{name}: there is no one image in it to show")
        shrink = max(1.0, max(source.width, source.height) / task.pixels)
        size = max(1, round(source.height / shrink)), max(1, round(source.width / shrink))
        try:
            if ColorInterp.palette in source.colorinterp and not task.bands:
                picture, seen = _painted(source, size)
            else:
                picture, seen = _spread(source, size, _bands(source, task), task.stretch)
        except READING as error:
            raise Refused(f"{name}: it is cut off or damaged, not all of it can be read", error) from None
        if source.crs is not None and source.transform.e > 0:  # its rows go north
            picture, seen = picture[:, ::-1], seen[::-1]
    _write(Path(task.target), picture, seen)
    return {"shape": list(size)}


def _write(target: Path, picture: Pixels, seen: Seen) -> None:
    """PNG with what is not seen transparent; a JPEG has it white."""
    colours = list(_COLOURS) if len(picture) == 3 else [ColorInterp.gray]
    jpeg = target.suffix.lower() in (".jpg", ".jpeg")
    if jpeg:
        picture = np.where(seen, picture, 255).astype("uint8")
    elif not seen.all():
        picture, colours = np.concatenate((picture, seen[None].astype("uint8") * 255)), [*colours, ColorInterp.alpha]
    options = {"driver": "JPEG", "quality": 85} if jpeg else {"driver": "PNG"}
    count, height, width = picture.shape
    with rasterio.open(target, "w", height=height, width=width, count=count, dtype="uint8", **options) as out:
        out.colorinterp = colours
        out.write(np.ascontiguousarray(picture))
    Path(f"{target}.aux.xml").unlink(missing_ok=True)


def _painted(source: Any, size: tuple[int, int]) -> tuple[Pixels, Seen]:
    table, opaque = np.zeros((65_536, 3), "uint8"), np.zeros(65_536, bool)
    for index, colour in source.colormap(1).items():
        table[index], opaque[index] = colour[:3], colour[3] > 0
    values = source.read(1, out_shape=size, resampling=Resampling.nearest)
    return np.moveaxis(table[values], -1, 0), (source.read_masks(1, out_shape=size) > 0) & opaque[values]


def _spread(source: Any, size: tuple[int, int], bands: list[int], stretch: bool) -> tuple[Pixels, Seen]:
    seen = np.ones(size, bool)
    picture = np.zeros((len(bands), *size), "uint8")
    values = []
    for band in bands:
        read = source.read(band, out_shape=size, resampling=Resampling.average)
        value = (np.abs(read) if np.iscomplexobj(read) else read).astype("float32")
        seen &= (source.read_masks(band, out_shape=size) > 0) & np.isfinite(value)
        values.append(value)
    for number, (band, value) in enumerate(zip(bands, values, strict=True)):
        low, high = _range(source.dtypes[band - 1], value[seen], stretch)
        spread = (np.where(seen, value, low) - low) / (high - low if high > low else 1.0)
        picture[number] = (np.clip(spread, 0.0, 1.0) * 255).round()
    return picture, seen


def _range(kind: str, known: NDArray[np.float32], stretch: bool) -> tuple[float, float]:
    if kind == "uint8":
        return 0.0, 255.0
    if not stretch and kind.startswith(("int", "uint")):
        limits = np.iinfo(kind)
        return float(limits.min), float(limits.max)
    if not known.size:
        return 0.0, 1.0
    low, high = np.percentile(known, (_LOW, _HIGH)) if stretch else (known.min(), known.max())
    return float(low), float(high)


def _bands(source: Any, task: MakePreview) -> list[int]:
    """The bands to show: those asked for, else red, green and blue by name or by colour, else the first."""
    if task.bands:
        if not all(1 <= band <= source.count for band in task.bands) or len(task.bands) not in (1, 3):
            raise Refused(f"{Path(task.source).name}: there are no bands {', '.join(map(str, task.bands))} to show")
        return list(task.bands)
    for called in ([(description or "").lower() for description in source.descriptions], colors_of(source)):
        if all(name in called for name in _NAMES):
            return [called.index(name) + 1 for name in _NAMES]
    return [1]

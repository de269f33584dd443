"""What a file holds, without reading its pixels."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from swath.raster.opening import MEDIA_TYPES, Refused, opened
from swath.raster.vectors import layers_of, media_type

__all__ = ["inspect"]

_WHEN = re.compile(r"(\d{4})[:-](\d{2})[:-](\d{2})[ T](\d{2}):(\d{2}):(\d{2})(\.\d+)?Z?")


def inspect(source: str) -> dict[str, Any]:
    """Raster or vector, and what is in it. Refused for what is neither."""
    try:
        with opened(source) as dataset:
            return _raster(dataset, Path(source))
    except Refused as refusal:
        try:
            driver, layers = layers_of(source)
        except Refused:
            raise refusal from None
        return {"kind": "vector", "driver": driver, "media_type": media_type(driver), "layers": layers, "siblings": []}


def _raster(dataset: Any, path: Path) -> dict[str, Any]:
    crs = dataset.crs
    epsg = crs.to_epsg() if crs is not None else None
    return {
        "kind": "raster", "driver": dataset.driver, "media_type": MEDIA_TYPES[dataset.driver], "rows": dataset.height,
        "columns": dataset.width, "count": dataset.count, "data_type": str(dataset.dtypes[0]),
        "crs": f"EPSG:{epsg}" if epsg else crs.to_wkt() if crs is not None else None,
        "located": crs is not None and not dataset.transform.is_identity, "rpc": dataset.rpcs is not None,
        "nodata": dataset.nodata if dataset.nodata is None or dataset.nodata == dataset.nodata else "nan",
        "colors": [color.name for color in dataset.colorinterp], "descriptions": list(dataset.descriptions),
        "datetime": _when(dataset), "subdatasets": [],
        "siblings": [Path(name).name for name in dataset.files if Path(name).name != path.name],
    }  # fmt: skip


def _when(dataset: Any) -> str | None:
    tags = dataset.tags()
    for name in ("TIFFTAG_DATETIME", "EXIF_DateTimeOriginal"):
        found = _WHEN.fullmatch(str(tags.get(name, "")).strip())
        if found and found[1] != "0000":
            y, mo, d, h, mi, s, fraction = found.groups()
            return f"{y}-{mo}-{d}T{h}:{mi}:{s}{fraction or ''}Z"
    return None

"""What a delivery is made of, between its steps: plain values.

A recogniser looks at the unpacked files (a `Tree`) and says which scenes they are (a `Product`). Every path is relative
to the unpacked folder, with slashes.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

__all__ = [
    "ROLES",
    "Action",
    "Band",
    "Inspect",
    "Part",
    "Product",
    "Recogniser",
    "Scene",
    "Tree",
    "asset_key",
    "distinct",
]

Action: TypeAlias = Literal["keep", "raster", "vector"]

# The 36 roles of UP42's cloud-native asset model by their parent, and `original`, which the delivery itself has.
ROLES: Mapping[str, tuple[str, ...]] = {
    "data": ("data", "multispectral", "panchromatic"),
    "metadata": (
        "metadata", "bundle", "extended", "iso-19115", "license", "lineage", "lut", "quality-elevation", "stac",
        "stereo", "tile-info", "toa-factors", "angle", "digest", "auxiliary",
    ),
    "preview": ("overview", "thumbnail", "visual"),
    "mask": (
        "data-mask", "cloud", "detector-quality", "footprint", "roi", "saturation", "technical-index", "visibility",
        "water-mask", "cloud-shadow", "snow-ice",
    ),
    "other": ("index", "rpc", "temperature", "emissivity"),
    "collection": ("original",),
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Band:
    """One band of an asset, in the order of the file. Wavelengths in micrometres; `gsd` in metres."""

    name: str
    common_name: str | None = None
    center_wavelength: float | None = None
    full_width_half_max: float | None = None
    description: str | None = None
    gsd: float | None = None


@dataclass(frozen=True, slots=True)
class Part:
    """One asset of an item: the files it is made of, and what becomes of them.

    `action`: `keep` takes the one source as it is (`media_type` says what that is), `raster` makes one COG of all of
    them, `vector` one GeoJSON in WGS 84. `tiles` places sources in a mosaic: row and column, in pixels, of each one's
    upper left corner; empty where the sources are one image already. Sources of one place are further bands.
    `nodata` is a value that the COG must declare
    though the file does not say so. `categorical`: classes or bit fields, whose overviews are never averages. `sensor`:
    the pixels are in sensor geometry, so there is no CRS and no transform, and a mask's coordinates are column and row.
    `crs` is that of a source that lacks one. `rpc` is GDAL's RPC domain (`LINE_OFF` and so on, pixel centres counted
    as GDAL does). `layer` names one of several in a file. `optional`: left out where nothing is in it (an empty mask).
    `properties` are further members of the STAC asset.
    """

    key: str
    sources: tuple[str, ...]
    roles: tuple[str, ...]
    title: str
    media_type: str = "application/octet-stream"
    action: Action = "keep"
    bands: tuple[Band, ...] = ()
    gsd: float | None = None
    nodata: float | None = None
    categorical: bool = False
    tiles: tuple[tuple[int, int], ...] = ()
    size: tuple[int, int] | None = None  # rows and columns of the mosaic
    sensor: bool = False
    crs: str | None = None
    rpc: Mapping[str, str] | None = None
    layer: str | None = None
    optional: bool = False
    properties: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Scene:
    """What becomes one item: one area at one time.

    `datetime`, `start_datetime`, `end_datetime` are RFC 3339 with Z, in UTC; None where nothing says. `properties` are
    those of the item (`platform`, `gsd`, `eo:cloud_cover`, `view:…`, `s2:…`, `proj:code` of the scene as its metadata
    say), without `None`. `footprint` is a GeoJSON geometry, longitude first, as the metadata say it (it may pass 180°);
    None: it is told from the valid pixels or the features.
    """

    name: str
    datetime: str | None
    parts: tuple[Part, ...]
    properties: Mapping[str, Any] = field(default_factory=dict)
    footprint: Mapping[str, Any] | None = None
    start_datetime: str | None = None
    end_datetime: str | None = None


@dataclass(frozen=True, slots=True)
class Product:
    """Scenes of one kind. `collection_name` (`sentinel-2`, `phr`), `producer` (`ESA`), `modality` (`multispectral`) and
    `data_type` (`raster`, `vector`) are what the up42-product fields say. `claimed` are all files that it accounts for,
    those that become no asset included."""

    kind: str
    title: str
    collection_name: str | None
    producer: str | None
    data_type: Literal["raster", "vector"]
    modality: str | None
    scenes: tuple[Scene, ...]
    claimed: frozenset[str]
    license: str = "other"
    notes: tuple[str, ...] = ()  # for the log: what was passed over, and why


@dataclass(frozen=True, slots=True)
class Tree:
    """The regular files below a folder, in code point order."""

    root: Path
    files: tuple[str, ...]

    def path(self, name: str) -> Path:
        return self.root / name

    def named(self, pattern: str) -> list[str]:
        """Files whose path matches a regular expression from its start to its end, whatever the case."""
        wanted = re.compile(pattern, re.IGNORECASE)
        return [name for name in self.files if wanted.fullmatch(name)]

    def less(self, claimed: Iterable[str]) -> Tree:
        gone = set(claimed)
        return Tree(self.root, tuple(name for name in self.files if name not in gone))


# What a file of imagery or vectors holds, found out in a sandbox; see `raster.child`, operation `inspect`.
Inspect: TypeAlias = Callable[[str], Mapping[str, Any]]
# None: no such product. Raises `errors.DeliveryRefused` for one that is broken.
Recogniser: TypeAlias = Callable[[Tree, Inspect], "Product | None"]


def asset_key(name: str) -> str:
    """A key out of a file's name: lower case, without dots, letters of any script kept."""
    text = unicodedata.normalize("NFC", name).lower()
    return re.sub(r"[^\w-]+", "_", text).strip("_") or "file"


def distinct(parts: Iterable[Part]) -> tuple[Part, ...]:
    """The parts under keys that differ: a number is added to one that is taken."""
    taken: set[str] = set()
    made = []
    for part in parts:
        key, number = part.key, 1
        while key in taken:
            number += 1
            key = f"{part.key}_{number}"
        taken.add(key)
        made.append(part if key == part.key else replace(part, key=key))
    return tuple(made)

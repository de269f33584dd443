"""What a sandbox can be asked to do: plain values, which go to the child as JSON. Paths are absolute."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, ClassVar, TypeAlias

__all__ = ["InspectFile", "MakeCog", "MakeGeoJson", "MakePreview", "Task", "packed", "source_of"]


@dataclass(frozen=True, slots=True)
class InspectFile:
    """What a file holds: its kind, size, bands or layers, and what is said of where and when. No pixel is read."""

    operation: ClassVar[str] = "inspect"
    source: str


@dataclass(frozen=True, slots=True)
class MakeCog:
    """One cloud-optimized GeoTIFF of one image, or of tiles; pixels stay as they are. See `delivery.model.Part`.

    Sources that have the same place in `tiles` are further bands of one tile; so are all where there are no `tiles`.
    """

    operation: ClassVar[str] = "cog"
    sources: tuple[str, ...]
    target: str
    tiles: tuple[tuple[int, int], ...] = ()
    size: tuple[int, int] | None = None
    nodata: float | None = None
    categorical: bool = False
    sensor: bool = False
    crs: str | None = None
    rpc: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class MakeGeoJson:
    """One layer of vectors as GeoJSON in WGS 84. With `sensor`, coordinates are column and row, placed by `rpc`."""

    operation: ClassVar[str] = "geojson"
    source: str
    target: str
    layer: str | None = None
    crs: str | None = None
    sensor: bool = False
    rpc: dict[str, str] | None = None


@dataclass(frozen=True, slots=True)
class MakePreview:
    """A picture of an image, at most so many pixels on its longer side: JPEG or PNG, by the ending of `target`.

    `stretch`: what is not of 8 bits is spread between its 2nd and 98th percentile; otherwise over all that its type
    holds.
    """

    operation: ClassVar[str] = "preview"
    source: str
    target: str
    pixels: int = 600
    bands: tuple[int, ...] | None = None
    stretch: bool = True


Task: TypeAlias = InspectFile | MakeCog | MakeGeoJson | MakePreview


def packed(task: Task) -> dict[str, Any]:
    """A task as the child reads it."""
    return {"operation": task.operation, **asdict(task)}


def source_of(task: Task) -> str:
    """The path of the file that a refusal names; the first of several."""
    if isinstance(task, MakeCog):
        return task.sources[0] if task.sources else "no file"
    return task.source

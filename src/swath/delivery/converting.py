"""Each part of a scene becomes a file: as it is, a COG, or GeoJSON. Rasters and vectors are read in a sandbox alone."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from threading import local
from typing import Any, Protocol

from swath.delivery.describing import COG
from swath.delivery.media import media_type_of
from swath.delivery.model import Part
from swath.raster.sandbox import Sandbox
from swath.raster.tasks import InspectFile, MakeCog, MakeGeoJson, MakePreview, Task

__all__ = ["Conversion", "Converters", "LocalConverters", "convert", "inspect_in", "preview"]

GEOJSON = "application/geo+json"
_SECONDS = 6 * 3600.0  # a whole Landsat scene takes minutes; a hostile file is killed by its memory or by the ratio
_UNSAFE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class Conversion:
    """A file that came of a part, in the folder of the job, and what is known of it."""

    path: str
    name: str
    media_type: str
    facts: Mapping[str, Any]
    kept: bool = False  # it is the source itself


class Converters(Protocol):
    """Where conversions are done: in this machine's sandboxes, or on a cluster that sees the same folder."""

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]: ...

    def close(self) -> None: ...


class LocalConverters:
    """A pool of threads, each with a sandbox of its own that lives as long as it."""

    def __init__(self, workers: int) -> None:
        self._pool: Executor = ThreadPoolExecutor(workers, "convert")

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        return self._pool.submit(work, *arguments)

    def close(self) -> None:
        self._pool.shutdown(cancel_futures=True)


_mine = local()


def _sandbox(folder: Path) -> Sandbox:
    """The sandbox of this thread for a job's folder; that of another job is ended.

    A job that is tried again has a new folder of the same name, which a sandbox of the old one cannot see. While the
    old one is held open, its number is not given to another.
    """
    found: Sandbox | None = getattr(_mine, "sandbox", None)
    if found is not None and os.path.samestat(os.fstat(_mine.place), os.stat(folder)):
        return found
    end_sandbox()
    _mine.place = os.open(folder, os.O_RDONLY)
    made = _mine.sandbox = Sandbox(folder)
    return made


def _run(folder: Path, task: Task) -> dict[str, Any]:
    return _sandbox(folder).run(task, _SECONDS)


def end_sandbox() -> None:
    """End this thread's sandbox."""
    found: Sandbox | None = getattr(_mine, "sandbox", None)
    if found is not None:
        found.close()
        os.close(_mine.place)
        _mine.sandbox = None


def inspect_in(folder: Path, root: Path) -> Callable[[str], Mapping[str, Any]]:
    """What tells of a file below `root` what it holds."""
    return lambda name: _run(folder, InspectFile(str(root / name)))


def convert(folder: Path, root: Path, part: Part, number: int, crs: str | None) -> Conversion | None:
    """The file of a part; None for an optional one in which nothing is. DeliveryRefused names what is wrong.

    `crs` is what the sender said of files that do not say it themselves. `number` tells the parts of a job apart.
    """
    sources = tuple(str(root / name) for name in part.sources)
    stem = _UNSAFE.sub("_", Path(part.sources[0]).stem)[:100] or "file"
    if part.action == "keep":
        path = root / part.sources[0]
        media_type = part.media_type
        if media_type == "application/octet-stream":
            media_type = media_type_of(path, path.name)
        return Conversion(str(path), path.name, media_type, {}, kept=True)
    made = folder / "made"
    made.mkdir(exist_ok=True)
    if part.action == "raster":
        target = made / f"{number}.tif"
        facts = _run(
            folder,
            MakeCog(sources, str(target), tiles=part.tiles, size=part.size, nodata=part.nodata,
                    categorical=part.categorical, sensor=part.sensor, crs=part.crs or crs,
                    rpc=_plain(part.rpc)),
        )  # fmt: skip
        name = f"{stem}_{part.key}"[:120] if len(part.sources) > 1 else stem
        return Conversion(str(target), f"{name}.tif", COG, facts)
    target = made / f"{number}.geojson"
    facts = _run(
        folder,
        MakeGeoJson(sources[0], str(target), layer=part.layer, crs=part.crs or crs, sensor=part.sensor,
                    rpc=_plain(part.rpc)),
    )  # fmt: skip
    if part.optional and facts["features"] == 0:
        target.unlink()
        return None
    return Conversion(str(target), f"{stem}{'_' + part.layer if part.layer else ''}.geojson", GEOJSON, facts)


def preview(folder: Path, source: str, number: int, name: str, pixels: int, bands: tuple[int, ...]) -> Conversion:
    """A picture of a COG, no longer than so many pixels on its longer side."""
    target = folder / "made" / f"{number}.png"
    facts = _run(folder, MakePreview(source, str(target), pixels=pixels, bands=bands or None))
    return Conversion(str(target), name, "image/png", facts)


def _plain(rpc: Mapping[str, str] | None) -> dict[str, str] | None:
    return dict(rpc) if rpc is not None else None

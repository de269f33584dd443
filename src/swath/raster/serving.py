"""Confined to a folder, tasks are read from standard input, a line of JSON each, and each is answered with a line."""

from __future__ import annotations

import json
import logging
import os
import queue
import sys
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pyogrio
import rasterio
import rasterio.features
import rasterio.warp
import shapely

from swath.raster import cog, inspecting, previews, vectors
from swath.raster.drivers import RASTERS, VECTORS, WRITERS, leave_only
from swath.raster.guards import allow_seconds, guard, limit
from swath.raster.opening import Refused, environment
from swath.raster.tasks import InspectFile, MakeCog, MakeGeoJson, MakePreview

__all__ = ["confine", "serve"]

_THREADS = 8
# What the C library, PROJ and GDAL look at; nothing else of the system's settings.
_FILES = (
    "/etc/ld.so.cache", "/etc/localtime", "/dev/urandom", "/dev/zero", "/proc/self", "/proc/cpuinfo", "/proc/meminfo",
    "/sys/devices/system/cpu",
)  # fmt: skip


def serve(folder: Path, megabytes: int, file_megabytes: int) -> None:
    """Answer tasks until nobody is there any more to ask."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    with rasterio.Env(**environment()):
        inforce = confine(folder, megabytes, file_megabytes)
        print(json.dumps({"guards": inforce}), file=answers, flush=True)
        for line in _lines():
            print(json.dumps(_answer(line), allow_nan=False), file=answers, flush=True)


def confine(folder: Path, megabytes: int, file_megabytes: int) -> tuple[str, ...]:
    """Give up all but reading and writing in a folder, within limits; what the kernel enforces of that.

    To be called within rasterio's environment, whose beginning brings all drivers back.
    """
    os.nice(10)
    if hasattr(os, "SCHED_IDLE"):  # Linux: whoever answers requests takes the processor from it at once
        with suppress(OSError):
            os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    pyogrio.set_gdal_config_options({name: str(value) for name, value in environment().items()})
    leave_only((*RASTERS, *VECTORS, *WRITERS))
    _warm()
    limit(megabytes, file_megabytes)
    return guard(folder, _readable())


def _lines() -> Any:
    """Tasks as they come. At their end the process goes, whatever it does: nobody waits for it any more."""
    waiting: queue.SimpleQueue[str] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin:
            waiting.put(line)
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    while True:
        yield waiting.get()


def _readable() -> list[Path]:
    """Where the interpreter, its packages and their data are."""
    modules = [Path(module.__file__ or "").resolve().parents[1] for module in (np, pyogrio, rasterio, shapely)]
    places = {Path(sys.prefix), Path(sys.base_prefix), Path(__file__).resolve().parents[2], *modules,
              Path("/usr"), Path("/lib"), Path("/lib64")}  # fmt: skip
    return sorted(places | set(map(Path, _FILES)))


def _warm() -> None:
    """Load what is loaded on first use, while that is allowed."""
    shapely.box(0, 0, 1, 1).buffer(1)
    np.percentile(np.arange(3), 50)
    rasterio.warp.transform("EPSG:32632", "OGC:CRS84", [500_000.0], [5_000_000.0])
    rasterio.crs.CRS.from_epsg(3031).to_epsg()
    list(rasterio.features.shapes(np.ones((2, 2), "uint8")))


def _answer(line: str) -> dict[str, Any]:
    name = "the file"
    try:
        task: dict[str, Any] = json.loads(line)
        name = Path(task["sources"][0] if task.get("sources") else task.get("source", name)).name
        allow_seconds(float(task.pop("seconds")), min(_THREADS, os.cpu_count() or 1))
        return {"done": _DO[task.pop("operation")](task)}
    except Refused as refusal:
        return {"error": str(refusal), "detail": refusal.detail}
    except MemoryError:
        return {"error": f"{name}: it takes more memory to read than it may"}
    except Exception:  # a fault of the file or of a library: the file is named, the library's words are for the log
        return {"error": f"{name}: it cannot be read", "detail": traceback.format_exc()}


def _tupled(task: dict[str, Any]) -> dict[str, Any]:
    """Lists as the tuples that they were."""
    return {name: _tuple(value) if isinstance(value, list) else value for name, value in task.items()}


def _tuple(values: list[Any]) -> tuple[Any, ...]:
    return tuple(_tuple(value) if isinstance(value, list) else value for value in values)


_DO: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    InspectFile.operation: lambda task: inspecting.inspect(InspectFile(**task).source),
    MakeCog.operation: lambda task: cog.make_cog(MakeCog(**_tupled(task))),
    MakeGeoJson.operation: lambda task: vectors.make_geojson(MakeGeoJson(**task)),
    MakePreview.operation: lambda task: previews.make_preview(MakePreview(**_tupled(task))),
}

"""The process in which files of strangers are read: `python -m swath.raster.child FOLDER MEGABYTES FILE_MEGABYTES SECONDS`.

Reads tasks from standard input, a line of JSON each, and answers each with a line. It can see nothing but its folder.
"""

from __future__ import annotations

import json
import logging
import os
import sys
import traceback
import warnings
from pathlib import Path
from typing import Any

import numpy
import pyogrio
import rasterio
import rasterio.warp
import shapely

from swath.raster import cog, inspecting, previews, vectors
from swath.raster.guards import guard, limit
from swath.raster.opening import VECTORS, Refused, environment
from swath.raster.tasks import InspectFile, MakeCog, MakeGeoJson, MakePreview

__all__ = ["main"]


def main() -> None:
    folder, megabytes, file_megabytes, seconds = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # what a library prints is no answer
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    settings = environment()
    pyogrio.set_gdal_config_options({name: str(value) for name, value in settings.items()})
    _warm()
    limit(megabytes, file_megabytes, seconds)
    inforce = guard(folder, _readable())
    print(json.dumps({"guards": inforce}), file=answers, flush=True)
    with rasterio.Env(**settings):
        for line in sys.stdin:
            print(json.dumps(_answer(line), allow_nan=False), file=answers, flush=True)


def _readable() -> list[Path]:
    """Where the interpreter, its packages and their data are."""
    package = Path(__file__).resolve().parents[2]
    places = {Path(sys.prefix), Path(sys.base_prefix), package, Path("/usr"), Path("/lib"), Path("/lib64")}
    places |= {Path(each).resolve() for each in sys.path if each and Path(each).exists()}
    files = {Path("/etc/ld.so.cache"), Path("/etc/localtime"), Path("/dev/null"), Path("/dev/urandom"), Path("/dev/zero"),
             Path("/proc/self"), Path("/proc/cpuinfo"), Path("/proc/meminfo"), Path("/sys/devices/system/cpu")}  # fmt: skip
    return sorted(places | files)


def _warm() -> None:
    """Load what is loaded on first use, while that is allowed."""
    shapely.box(0, 0, 1, 1).buffer(1)
    numpy.percentile(numpy.arange(3), 50)
    rasterio.warp.transform("EPSG:32632", "OGC:CRS84", [500_000.0], [5_000_000.0])
    rasterio.crs.CRS.from_epsg(3031).to_epsg()
    with rasterio.Env():
        pyogrio.list_drivers()
    assert VECTORS


def _answer(line: str) -> dict[str, Any]:
    try:
        task: dict[str, Any] = json.loads(line)
        return {"done": _DO[task.pop("operation")](task)}
    except Refused as refusal:
        return {"refused": str(refusal)}
    except MemoryError:
        return {"refused": f"{_named(line)}: it takes more memory than it may"}
    except Exception as error:  # a fault of the file or of a library: the file is named, the library's words are logged
        return {"refused": f"{_named(line)}: it cannot be read ({type(error).__name__})", "trace": traceback.format_exc()}


def _named(line: str) -> str:
    try:
        task = json.loads(line)
        return Path(task["sources"][0] if "sources" in task else task["source"]).name
    except (ValueError, LookupError, TypeError):
        return "the file"


def _tuples(task: dict[str, Any], *names: str) -> dict[str, Any]:
    return {name: tuple(tuple(each) if isinstance(each, list) else each for each in value)
            if name in names and value is not None else value for name, value in task.items()}  # fmt: skip


_DO = {
    "inspect": lambda task: inspecting.inspect(InspectFile(**task).source),
    "cog": lambda task: cog.make_cog(MakeCog(**_tuples(task, "sources", "tiles", "size"))),
    "geojson": lambda task: vectors.make_geojson(MakeGeoJson(**task)),
    "preview": lambda task: previews.make_preview(MakePreview(**_tuples(task, "bands"))),
}

if __name__ == "__main__":
    main()

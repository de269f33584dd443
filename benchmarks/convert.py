"""How fast an image becomes a COG: our sandbox against `rio cogeo create`, on the same file and the same cores.

    python -m benchmarks.convert [--size 8000] [--rounds 3] [FOLDER]

The image is made here: a landscape of smooth noise, uint16, four bands, nodata 0 in a corner, as a tiled and deflated
GeoTIFF in FOLDER (a new temporary one unless given). Both write deflated COGs with overviews by average; ours has a
predictor besides, so it is smaller. Both give way to all other work (SCHED_IDLE), as a sandbox does of itself. They
take turns, and what is told is the median of wall-clock time, the start of either process included.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import rasterio
from rasterio.transform import Affine
from rasterio.windows import Window

from benchmarks.machine import describe
from swath.raster.sandbox import Sandbox
from swath.raster.tasks import MakeCog

_BANDS, _STEP = 4, 1_024


def make(path: Path, size: int, seed: int = 6) -> None:
    """Waves and grain: about as compressible as a scene."""
    draw = np.random.default_rng(seed)
    place = Affine(10, 0, 600_000, 0, -10, 5_400_000)
    with rasterio.open(
        path, "w", driver="GTiff", count=_BANDS, height=size, width=size, dtype="uint16", crs="EPSG:32633",
        transform=place, nodata=0, tiled=True, blockxsize=512, blockysize=512, compress="deflate", interleave="pixel",
    ) as out:  # fmt: skip
        for top in range(0, size, _STEP):
            rows, columns = np.mgrid[top : min(top + _STEP, size), 0:size]
            waves = 3_000 + 1_500 * np.sin(rows / 311) * np.cos(columns / 173) + 400 * np.sin(columns / 23 + rows / 41)
            for band in range(_BANDS):
                pixels = (waves * (1 + band / 5) + draw.normal(0, 30, rows.shape)).astype("uint16")
                pixels[(rows + columns) < size // 8] = 0
                out.write(pixels, band + 1, window=Window(0, top, size, len(rows)))


def ours(source: Path, target: Path) -> float:
    started = time.perf_counter()
    with Sandbox(source.parent) as sandbox:
        sandbox.run(MakeCog((str(source),), str(target)), 3_600)
    return time.perf_counter() - started


def theirs(source: Path, target: Path) -> float:
    command = [
        "chrt", "--idle", "0", "nice", "-n", "10", str(Path(sys.executable).with_name("rio")),
        "cogeo", "create", "--cog-profile", "deflate",
        "--overview-resampling", "average", "--quiet", str(source), str(target),
    ]  # fmt: skip
    started = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True)
    return time.perf_counter() - started


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path)
    parser.add_argument("--size", type=int, default=8_000)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    print(describe())
    with tempfile.TemporaryDirectory(dir=asked.folder) as folder:
        source = Path(folder).resolve() / "image.tif"
        make(source, asked.size)
        megabytes = asked.size**2 * _BANDS * 2 / 1e6
        print(f"input: {asked.size} x {asked.size} pixels, {_BANDS} bands, uint16: {megabytes:,.0f} MB, "
              f"{source.stat().st_size / 1e6:,.0f} MB on disk")  # fmt: skip
        took: dict[str, list[float]] = {"swath": [], "rio cogeo create": []}
        sizes = {}
        for _ in range(asked.rounds):
            for name, convert in (("swath", ours), ("rio cogeo create", theirs)):
                target = source.with_name("out.tif")
                took[name].append(convert(source, target))
                sizes[name] = target.stat().st_size
                target.unlink()
    middle = {name: statistics.median(times) for name, times in took.items()}
    for name, seconds in middle.items():
        print(f"{name:20}{seconds:8.1f} s{megabytes / seconds:8.1f} MB/s{sizes[name] / 1e6:10,.0f} MB written")
    print(f"swath's throughput is {middle['rio cogeo create'] / middle['swath']:.0%} of rio cogeo's")


if __name__ == "__main__":
    main()

"""The process in which files of strangers are read: `python -m swath.raster.child FOLDER MEGABYTES FILE_MEGABYTES`.

It can see nothing but its folder, and ends when whoever began it does. See `serving`.
"""

from __future__ import annotations

import sys
from pathlib import Path

__all__ = ["lean", "main"]


def lean() -> None:
    """Leave out what pyogrio loads where it is there: slow to load, not needed, and with threads that would run before
    the guards hold."""
    for name in ("geopandas", "pandas", "pyarrow"):
        sys.modules[name] = None  # type: ignore[assignment]  # as if it were not there


def main() -> None:
    lean()
    from swath.raster.serving import serve

    serve(Path(sys.argv[1]), *map(int, sys.argv[2:4]))


if __name__ == "__main__":
    main()

"""What every benchmark prints first: the machine, the versions, the command."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import sys
from pathlib import Path

__all__ = ["describe"]


def _memory_gb() -> float:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def describe() -> str:
    """Two lines: the machine with its versions, and the command that runs."""
    versions = ", ".join(
        f"{name} {importlib.metadata.version(name)}" for name in ("swath", "apsw", "numpy", "shapely", "msgspec")
    )
    model = next(
        (line.partition(":")[2].strip() for line in Path("/proc/cpuinfo").read_text().splitlines()
         if line.startswith("model name")), platform.processor()
    ) if Path("/proc/cpuinfo").exists() else platform.processor()  # fmt: skip
    return (
        f"machine: {os.cpu_count()} cores ({model}), {_memory_gb():.0f} GB, {platform.system()} {platform.release()}, "
        f"Python {platform.python_version()}, {versions}\ncommand: {' '.join(sys.argv)}"
    )

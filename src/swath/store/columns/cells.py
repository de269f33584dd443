"""Cells of space: each box stands in one cell of a grid whose cells are no smaller than the box.

Grids halve from level to level: one cell of 360 degrees, then 180, and so on. A box is found by its centre, so
that whatever meets a region has its centre within half a cell of it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["CellRanges", "cell_numbers", "cell_ranges", "cells_of", "level_of"]

_LEVELS = 13  # the finest cells are 0.09 degrees wide
_SHIFT_LEVEL, _SHIFT_ROW = 48, 24
_MOST_RANGES = 4_096  # of a region so wide that reading it all is better
_SLACK = 1e-9


def cell_numbers(
    west: NDArray[np.float64], south: NDArray[np.float64], east: NDArray[np.float64], north: NDArray[np.float64]
) -> NDArray[np.int64]:
    """The cell of each box (degrees; none of them NaN)."""
    extent = np.maximum(np.maximum(east - west, north - south), 360.0 / 2 ** (_LEVELS - 1))
    level = np.clip(np.floor(np.log2(360.0 / extent)), 0, _LEVELS - 1).astype(np.int64)
    level -= (360.0 / 2.0**level) < extent  # where the logarithm was rounded
    level = np.maximum(level, 0)
    size = 360.0 / 2.0**level
    column = _clipped((west + (east - west) / 2 + 180) / size, level)
    row = _clipped((south + (north - south) / 2 + 90) / size, level)
    found: NDArray[np.int64] = (level << _SHIFT_LEVEL) | (row << _SHIFT_ROW) | column
    return found


def _clipped(place: NDArray[np.float64], level: NDArray[np.int64]) -> NDArray[np.int64]:
    whole: NDArray[np.int64] = np.clip(np.floor(place), 0, 2.0**level - 1).astype(np.int64)
    return whole


def cell_ranges(bounds: Sequence[float], levels: Sequence[int]) -> tuple[NDArray[np.int64], NDArray[np.int64]] | None:
    """First and last cell number of each run of cells that boxes meeting a region may stand in.

    `bounds` is west, south, east, north; `levels` are those in use. None where there are too many runs.
    """
    west, south, east, north = bounds
    total = 0
    firsts: list[NDArray[np.int64]] = []
    lasts: list[NDArray[np.int64]] = []
    for level in levels:
        size, most = 360.0 / 2**level, 2**level - 1
        half = size / 2 + _SLACK
        low_x, high_x = int((west - half + 180) // size), int((east + half + 180) // size)
        low_y, high_y = int((south - half + 90) // size), int((north + half + 90) // size)
        low_x, high_x, low_y, high_y = (min(max(each, 0), most) for each in (low_x, high_x, low_y, high_y))
        total += high_y - low_y + 1
        if total > _MOST_RANGES:
            return None
        start = level << _SHIFT_LEVEL
        rows = np.arange(start | (low_y << _SHIFT_ROW), (start | (high_y << _SHIFT_ROW)) + 1, 1 << _SHIFT_ROW)
        firsts.append(rows + low_x)
        lasts.append(rows + high_x)
    if not firsts:
        return np.empty(0, np.int64), np.empty(0, np.int64)
    return np.concatenate(firsts), np.concatenate(lasts)


CellRanges: TypeAlias = tuple[NDArray[np.int64], NDArray[np.int64]]


def cells_of(regions: Sequence[Sequence[float]], levels: Sequence[int]) -> CellRanges | None:
    """The same for several regions."""
    found = [cell_ranges(region, levels) for region in regions]
    ranges = [each for each in found if each is not None]
    if len(ranges) < len(found):
        return None
    none = (np.empty(0, np.int64), np.empty(0, np.int64))
    lows, highs = zip(*(ranges or [none]), strict=True)
    return np.concatenate(lows), np.concatenate(highs)


def level_of(cells: NDArray[np.int64]) -> NDArray[np.int64]:
    """The level that each cell number belongs to."""
    return cells >> _SHIFT_LEVEL

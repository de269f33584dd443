"""How selected items are spread: over ranges of a number or of time, and over a grid of the world."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from swath.store.columns.searching import StateSearch

__all__ = ["counted_between", "counted_on_grid"]


def counted_between(search: StateSearch, name: str, edges: Sequence[float]) -> NDArray[np.int64]:
    """How many selected items have a value in each range [edge, next edge); the last range includes its end.

    `datetime` is the item's datetime, else its start_datetime, in microseconds; any other name a number.
    """
    bounds = np.array(edges)
    found = np.zeros(len(bounds) - 1, np.int64)
    for source in search.sources:
        known, when = source.source.when_known(), source.source.when()
        for block in source.blocks():
            if name == "datetime":
                found += _between(when[block.rows[known[block.rows]]], bounds)
                continue
            chosen = np.zeros(block.frame.size, np.bool_)
            chosen[block.places] = True
            column = block.frame.column(name)
            for lane in (column.integers, column.floats):
                if lane is not None:
                    found += _between(lane.values[chosen[lane.rows]], bounds)
    return found


def _between(values: NDArray[np.generic], bounds: NDArray[np.generic]) -> NDArray[np.int64]:
    place = np.searchsorted(bounds, values, side="right") - 1
    place[values == bounds[-1]] = len(bounds) - 2
    inside = place[(place >= 0) & (place < len(bounds) - 1)]
    return np.bincount(inside, minlength=len(bounds) - 1)


def counted_on_grid(search: StateSearch, degrees: float) -> dict[tuple[int, int], int]:
    """How many selected items have the centre of their box in each cell: column from -180, row from -90."""
    columns, rows = int(np.ceil(360 / degrees)), int(np.ceil(180 / degrees))
    found = np.zeros(columns * rows, np.int64)
    for source in search.sources:
        for block in source.blocks():
            sides = block.frame.footprints()
            west, south, east, north = (
                side[block.places] for side in (sides.west, sides.south, sides.east, sides.north)
            )
            there = ~np.isnan(west)
            column = np.clip(((west + east)[there] / 2 + 180) // degrees, 0, columns - 1).astype(np.int64)
            row = np.clip(((south + north)[there] / 2 + 90) // degrees, 0, rows - 1).astype(np.int64)
            found += np.bincount(row * columns + column, minlength=len(found))
    return {(int(at % columns), int(at // columns)): int(found[at]) for at in np.flatnonzero(found)}

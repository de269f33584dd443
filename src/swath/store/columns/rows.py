"""Sets of rows: a range, or a list of their numbers, ascending."""

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["RowSet", "among", "count_of", "held_by"]

RowSet: TypeAlias = slice | NDArray[np.int64]


def count_of(rows: RowSet) -> int:
    return int(rows.stop - rows.start) if isinstance(rows, slice) else len(rows)


def among(held: NDArray[Any], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Of `rows`, in any order, those that are held: their places in `rows`, and in `held`, which ascends."""
    place = np.searchsorted(held, rows.astype(held.dtype, copy=False))
    place[place == len(held)] = 0
    at = np.flatnonzero(held[place] == rows) if len(held) else np.empty(0, np.int64)
    return at, place[at]


def held_by(held: NDArray[Any], rows: RowSet) -> tuple[NDArray[np.int64], Any]:
    """Which of some rows are among the ascending `held`: their places in `rows`, and where they lie in `held`."""
    if not isinstance(rows, slice):
        return among(held, rows)
    # Of the same type: else all that are held would be copied into the other one first.
    first, last = np.searchsorted(held, np.array((rows.start, rows.stop), held.dtype)).tolist()
    return held[first:last].astype(np.int64) - rows.start, slice(first, last)

"""A geometry on a grid: which boxes lie apart from it or inside it, without asking GEOS.

Cells that its boundary (or a line, or a point of it) runs through are marked generously; every other cell lies wholly
inside or wholly outside. A box over no marked cell is decided by its cells, in constant time by summed-area tables
(Crow 1984); the others are undecided.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import shapely
from numpy.typing import NDArray

__all__ = ["Raster"]

_MOST_PIECES = 400_000


class Raster:
    """The grid over one valid geometry that is not empty. It has so many cells a side; for lines, which are thin, twice
    as many."""

    def __init__(self, shape: Any, cells: int) -> None:
        self.west, self.south, self.east, self.north = shape.bounds
        parts = shapely.get_parts(shape)
        rings = shapely.get_rings(parts[shapely.get_type_id(parts) == shapely.GeometryType.POLYGON])
        others = parts[shapely.get_type_id(parts) != shapely.GeometryType.POLYGON]
        begin, end = _edges(rings)
        every = [np.concatenate(each) for each in zip((begin, end), _edges(others), strict=True)]
        extent = np.maximum([self.east - self.west, self.north - self.south], 1e-9)
        self.slack = 1e-9 * max(1.0, float(extent.max()))
        lengths = np.abs(every[1] - every[0]).sum(axis=0) / extent
        cells *= 1 if len(begin) else 2
        while cells > 8 and cells * lengths.sum() > _MOST_PIECES:
            cells //= 2
        self.cells, self.size = cells, extent / cells
        self.origin = np.array([self.west, self.south])
        marked = self._marked(*every)
        for point in shapely.get_coordinates(others[shapely.get_type_id(others) == shapely.GeometryType.POINT]):
            column, row = self._cell(point[None, :])[0]
            marked[row, column] = True
        self._marked_sums = _sums(marked)
        # GEOS itself errs about what is within a collection of areas and lines: the answer must not depend on the way.
        self.mixed = bool(len(begin) and len(others))
        told = len(begin) and not len(others)
        self._inside_sums = _sums(self._inside(begin, end) & ~marked) if told else None

    def weight(self) -> int:
        """Bytes of the tables."""
        return self._marked_sums.nbytes + (0 if self._inside_sums is None else self._inside_sums.nbytes)

    def _cell(self, points: NDArray[np.float64]) -> NDArray[np.int64]:
        whole: NDArray[np.int64] = np.floor((points - self.origin) / self.size).astype(np.int64)
        return np.clip(whole, 0, self.cells - 1)

    def _marked(self, begin: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Edges are cut into pieces no longer than a cell, of which each lies in two by two cells at most."""
        marked = np.zeros((self.cells, self.cells), np.bool_)
        pieces = np.ceil(np.abs((end - begin) / self.size).max(axis=1, initial=0)).astype(np.int64) + 1
        which = np.repeat(np.arange(len(pieces)), pieces)
        number = np.arange(len(which)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
        step = (end - begin)[which] / pieces[which, None]
        first = begin[which] + step * number[:, None]
        low = self._cell(np.minimum(first, first + step) - self.slack)
        high = self._cell(np.maximum(first, first + step) + self.slack)
        for column in (low[:, 0], high[:, 0]):
            for row in (low[:, 1], high[:, 1]):
                marked[row, column] = True
        middle = (low + high) // 2  # slack may add a cell
        marked[middle[:, 1], middle[:, 0]] = True
        marked[middle[:, 1], low[:, 0]] = marked[middle[:, 1], high[:, 0]] = True
        marked[low[:, 1], middle[:, 0]] = marked[high[:, 1], middle[:, 0]] = True
        return marked

    def _inside(self, begin: NDArray[np.float64], end: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Whether the centre of a cell is inside: an odd number of edges to the left of it, in its row."""
        cells = self.cells
        scaled = [(each - self.origin) / self.size for each in (begin, end)]
        low, high = (pick(scaled[0][:, 1], scaled[1][:, 1]) for pick in (np.minimum, np.maximum))
        first = np.clip(np.ceil(low - 0.5), 0, cells).astype(np.int64)
        count = np.maximum(np.clip(np.ceil(high - 0.5), 0, cells).astype(np.int64) - first, 0)
        which = np.repeat(np.arange(len(count)), count)
        row = first[which] + np.arange(len(which)) - np.repeat(np.cumsum(count) - count, count)
        rise = (scaled[1] - scaled[0])[which]
        with np.errstate(all="ignore"):
            across = scaled[0][which, 0] + rise[:, 0] * ((row + 0.5 - scaled[0][which, 1]) / rise[:, 1])
        column = np.clip(np.floor(across + 0.5), 0, cells).astype(np.int64)
        crossed = np.zeros((cells, cells + 1), np.int64)
        np.add.at(crossed, (row, column), 1)
        inside: NDArray[np.bool_] = np.cumsum(crossed, axis=1)[:, :cells] % 2 == 1
        return inside

    def decide(self, box: Sequence[NDArray[np.float64]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
        """Of boxes (west, south, east, north) that meet the geometry's own: which lie in its interior, which may meet
        its boundary."""
        west, south, east, north = box
        cells = [
            self._along(side + slack, axis)
            for side, slack, axis in (
                (west, -self.slack, 0), (south, -self.slack, 1), (east, self.slack, 0), (north, self.slack, 1),
            )
        ]  # fmt: skip
        undecided = _over(self._marked_sums, cells) > 0
        if self._inside_sums is None:
            return np.zeros(len(west), np.bool_), undecided | self.mixed
        whole = (cells[2] - cells[0] + 1) * (cells[3] - cells[1] + 1)
        within = (west > self.west) & (south > self.south) & (east < self.east) & (north < self.north)
        covered = _over(self._inside_sums, cells)
        inside = ~undecided & within & (covered == whole)
        # Over cells of both kinds and no boundary: only what reaches beyond the grid.
        return inside, undecided | (~inside & (covered > 0))

    def _along(self, values: NDArray[np.float64], axis: int) -> NDArray[np.int32]:
        """Column or row of the cell; what lies outside is in the outermost."""
        places = (values - self.origin[axis]) / self.size[axis]
        found: NDArray[np.int32] = np.clip(places, 0, self.cells - 1).astype(np.int32)
        return found


def _edges(lines: NDArray[np.object_]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Where the edges of rings and lines begin and end."""
    points, owner = shapely.get_coordinates(lines, return_index=True)
    joined = owner[1:] == owner[:-1]
    return points[:-1][joined], points[1:][joined]


def _sums(cells: NDArray[np.bool_]) -> NDArray[np.int32]:
    """How many cells are set in all rows and columns before a place.

    Row by row: `cumsum` down the columns of a table whose side is a power of two misses the cache at every step, and
    takes several times as long.
    """
    sums = np.zeros((cells.shape[0] + 1, cells.shape[1] + 1), np.int32)
    np.cumsum(cells, axis=1, dtype=np.int32, out=sums[1:, 1:])
    for row in range(1, len(sums)):
        sums[row] += sums[row - 1]
    return sums


def _over(sums: NDArray[np.int32], cells: Sequence[NDArray[np.int32]]) -> NDArray[np.int32]:
    """How many cells of a range (first column and row, last column and row) are set."""
    left, bottom, right, top = cells
    width = sums.shape[1]
    flat, low, high = sums.reshape(-1), bottom * width, (top + 1) * width
    found: NDArray[np.int32] = (
        flat.take(high + right + 1) - flat.take(low + right + 1) - flat.take(high + left) + flat.take(low + left)
    )
    return found

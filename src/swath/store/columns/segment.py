"""Segments: immutable columns in a mapped file, for a range of the ledger's versions. `build` tells what lies in it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import msgspec
import numpy as np
import shapely
from numpy.typing import NDArray

from swath.cql2.bind import resolve_alias
from swath.cql2.frame import NO_ROWS, Arrays, Column, Extents, Footprints, Frame, Lane, Strings
from swath.errors import CatalogDamaged
from swath.stac.time import DAY
from swath.store.columns.container import Container
from swath.store.columns.dictionary import SortedStrings, cut
from swath.store.columns.elements import elements
from swath.store.columns.frame import own_columns, temporal_rows
from swath.store.columns.plan import TimeBounds
from swath.store.columns.rows import RowSet, count_of, held_by
from swath.store.columns.source import ALIVE, View

__all__ = ["FORMAT", "SIDES", "MappedColumn", "Segment"]

FORMAT = 3
SIDES = ("west", "south", "east", "north")
_LANES = ("booleans", "integers", "floats", "strings", "arrays")


class _Listed(Sequence[tuple[Any, ...]]):
    """Distinct arrays, decoded when they are asked for."""

    def __init__(self, offsets: NDArray[np.int64], blob: NDArray[np.uint8]) -> None:
        self._offsets, self._blob = offsets, blob
        self._bytes = memoryview(blob)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self._offsets) - 1

    @overload
    def __getitem__(self, index: int) -> tuple[Any, ...]: ...
    @overload
    def __getitem__(self, index: slice) -> list[tuple[Any, ...]]: ...
    def __getitem__(self, index: int | slice) -> tuple[Any, ...] | list[tuple[Any, ...]]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(len(self)))]
        return elements(msgspec.json.decode(self._bytes[self._offsets[index] : self._offsets[index + 1]]))

    def encoded(self) -> list[bytes]:
        return cut(self._offsets, self._blob)


class MappedColumn:
    """A column of a segment: lanes as (rows, values), where rows is None if every row has a value."""

    def __init__(self, file: Container, prefix: str, mode: str, rows: int) -> None:
        self.file, self.prefix, self.rows = file, prefix, rows
        self.by_instant = mode == "instant"  # how its strings are ordered
        self.lanes: dict[str, tuple[NDArray[np.int32] | None, NDArray[Any]]] = {}
        for lane in _LANES:
            if f"{prefix}.{lane}" in file:
                self.lanes[lane] = (self._array(f"{lane}.rows"), file.array(f"{prefix}.{lane}"))
        self.dictionary = open_dictionary(file, prefix) if "strings" in self.lanes else None
        found = self._array("objects")
        self.objects: NDArray[np.int32] = found if found is not None else np.empty(0, np.int32)
        self.order = self._array("order")
        self.probed: dict[int, Any] = {}  # what bisections of the order have met, see `ranking.ColumnOrder`
        self.arrays: _Listed | None = None
        if "arrays" in self.lanes:
            self.arrays = _Listed(file.array(f"{prefix}.arrays.offsets"), file.array(f"{prefix}.arrays.blob"))

    def _array(self, name: str) -> NDArray[Any] | None:
        whole = f"{self.prefix}.{name}"
        return self.file.array(whole) if whole in self.file else None

    def slice(self, lane: str, rows: RowSet) -> tuple[NDArray[np.int64], NDArray[Any]] | None:
        """Places among the rows, and values, of those that have one; None when there are none."""
        if lane not in self.lanes:
            return None
        held, values = self.lanes[lane]
        if held is None:
            return np.arange(count_of(rows), dtype=np.int64), values[rows]
        at, found = held_by(held, rows)
        return (at, values[found]) if len(at) else None

    def lacking(self) -> NDArray[np.bool_]:
        """Which rows have no value that has an order."""
        lacks = np.ones(self.rows, np.bool_)
        for lane in _LANES[:-1]:
            if lane in self.lanes:
                rows = self.lanes[lane][0]
                lacks[slice(None) if rows is None else rows] = False
        return lacks

    @cached_property
    def elements(self) -> tuple[Sequence[bytes], NDArray[np.int64], NDArray[np.int32]] | None:
        """Keys of the elements of arrays, in order, and the rows that hold each; None where they are not kept."""
        offsets = self._array("elements.offsets")
        if offsets is None:
            return None
        keys = cut(offsets, self.file.array(f"{self.prefix}.elements.blob"))
        return keys, self.file.array(f"{self.prefix}.elements.starts"), self.file.array(f"{self.prefix}.elements.rows")


def _clipped(instant: int) -> int:
    return max(-(2**63), min(2**63 - 1, instant))


def open_dictionary(file: Container, prefix: str) -> SortedStrings:
    instants = folded = None
    if f"{prefix}.instant" in file:
        instants = (file.array(f"{prefix}.instant"), file.array(f"{prefix}.first"), file.array(f"{prefix}.last"))
    if f"{prefix}.folded" in file:
        folded = (file.array(f"{prefix}.folded"), open_dictionary(file, f"{prefix}.folded"))
    beyond = file.array(f"{prefix}.beyond_ascii") if f"{prefix}.beyond_ascii" in file else np.empty(0, np.int32)
    return SortedStrings(file.array(f"{prefix}.offsets"), file.array(f"{prefix}.blob"), instants, folded, beyond)


class Segment:
    """A mapped segment. CatalogDamaged where the file is not one; FileNotFoundError where it is gone."""

    ordered = True

    def __init__(self, path: Path) -> None:
        self.file = Container(path)
        about = self.file.about
        if about.get("format") != FORMAT:
            raise CatalogDamaged(f"{path}: it is of another version of Swath")
        self.low, self.high = int(about["low"]), int(about["high"])
        self._rows, self.placed = int(about["rows"]), int(about["placed"])
        self.reach: tuple[int, int] = tuple(about["reach"])  # how far extents go before and behind their instant
        self.names: dict[str, tuple[str, str]] = {name: tuple(each) for name, each in about["columns"].items()}
        self.seq, self.key_of_row = self.file.array("seq"), self.file.array("keys")
        self.moment, self.known = self.file.array("when"), self.file.array("known")
        self.identity = self.file.array("identity")
        # The range of each collection, by its key, in the order of identities; levels of cells that are in use.
        self.collections = {int(key): (int(first), int(last)) for key, first, last in about["collections"]}
        self.levels: tuple[int, ...] = tuple(about["levels"])
        self.died: NDArray[np.int64] | None = None
        self._columns: dict[str, MappedColumn] = {}
        self.sides = tuple(self.file.array(side) for side in SIDES)

    @property
    def name(self) -> str:
        return self.file.path.name

    def column(self, name: str) -> MappedColumn | None:
        known = self.names.get(name)
        if known is None:
            return None
        found = self._columns.get(name)
        if found is None:
            # Two threads may both make it; all that ask must get the same, which others know by its identity.
            found = self._columns.setdefault(name, MappedColumn(self.file, *known, self._rows))
        return found

    @cached_property
    def ids(self) -> MappedColumn:
        found = self.column("id")
        assert found is not None
        return found

    @cached_property
    def sortable(self) -> frozenset[str]:
        """Names of columns that have an order."""
        return frozenset(name for name, (prefix, _) in self.names.items() if f"{prefix}.order" in self.file)

    def rows_within(self, bounds: TimeBounds) -> tuple[int, int]:
        """The range of rows that a filter with these bounds can select."""
        if not bounds.bounded:
            return 0, self._rows
        # A date as `datetime` is its whole day, of which `when` is the beginning.
        lows = [bounds.instant[0] - DAY + 1 if bounds.instant[0] is not None else None]
        highs = [bounds.instant[1]]
        before, behind = self.reach
        lows.append(bounds.extent[0] - behind if bounds.extent[0] is not None else None)
        highs.append(bounds.extent[1] + before if bounds.extent[1] is not None else None)
        low = max((each for each in lows if each is not None), default=None)
        high = min((each for each in highs if each is not None), default=None)
        oldest_first = self.moment[: self.placed][::-1]
        first, last = 0, self.placed  # rows without a time meet no bound
        if high is not None:
            first = self.placed - int(np.searchsorted(oldest_first, _clipped(high), "right"))
        if low is not None:
            last = self.placed - int(np.searchsorted(oldest_first, _clipped(low), "left"))
        return first, max(first, last)

    def in_cells(
        self, lows: NDArray[np.int64], highs: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Where the rows begin and end whose boxes stand in ranges of cells; see `cell_rows`."""
        cells, starts = self.file.array("cells"), self.file.array("cells.starts")
        first, last = starts[np.searchsorted(cells, lows, "left")], starts[np.searchsorted(cells, highs, "right")]
        there = first < last
        return first[there], last[there]

    def cell_rows(self, first: NDArray[np.int64], last: NDArray[np.int64]) -> list[NDArray[np.int32]]:
        rows = self.file.array("cells.rows")
        return [rows[a:b] for a, b in zip(first.tolist(), last.tolist(), strict=True)]

    def end(self, seq: int, by: int) -> bool:
        """Note that a version ended. False where it is not in this segment."""
        by_seq = self.file.array("by_seq")
        place = int(np.searchsorted(self.seq, seq, sorter=by_seq))
        if place >= len(by_seq) or self.seq[by_seq[place]] != seq:
            return False
        if self.died is None:
            self.died = np.full(self._rows, ALIVE, np.int64)
        self.died[by_seq[place]] = by
        return True

    def end_many(self, seqs: NDArray[np.int64], by: NDArray[np.int64]) -> None:
        """The same for many versions, most of which may lie elsewhere."""
        within = (seqs > self.low) & (seqs <= self.high)
        if not within.any() or not self._rows:
            return
        seqs, by = seqs[within], by[within]
        by_seq = self.file.array("by_seq")
        place = np.minimum(np.searchsorted(self.seq, seqs, sorter=by_seq), len(by_seq) - 1)
        rows = by_seq[place]
        found = self.seq[rows] == seqs
        if found.any():
            if self.died is None:
                self.died = np.full(self._rows, ALIVE, np.int64)
            self.died[rows[found]] = by[found]

    def adopt(self, other: Segment) -> None:
        """Take over what another object of the same file has decoded."""
        self._columns = other._columns

    def packed_shapes(self, rows: NDArray[np.int64]) -> list[bytes]:
        """Shapes as WKB; empty for a null geometry."""
        offsets, blob = self.file.array("shape_offsets"), memoryview(self.file.array("shapes"))  # type: ignore[arg-type]
        ends = zip(offsets[rows].tolist(), offsets[rows + 1].tolist(), strict=True)
        return [bytes(blob[first:last]) for first, last in ends]

    def shapes(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        packed = np.empty(len(rows), np.object_)
        packed[:] = [each or None for each in self.packed_shapes(rows)]
        found: NDArray[np.object_] = shapely.from_wkb(packed)
        return found

    # -- as a source --------------------------------------------------------------------------

    @property
    def rows(self) -> int:
        return self._rows

    def frame(self, rows: RowSet, view: View) -> Frame:
        return _SegmentFrame(self, rows, view)

    def visible(self, rows: RowSet, revision: int) -> NDArray[np.bool_] | None:
        alive: NDArray[np.bool_] | None = None
        if self.high > revision:
            alive = self.seq[rows] <= revision
        died = self.died
        if died is not None:
            living = died[rows] > revision
            alive = living if alive is None else alive & living
        return alive

    def seqs(self) -> NDArray[np.int64]:
        return self.seq

    def keys(self) -> NDArray[Any]:
        return self.key_of_row

    def when(self) -> NDArray[np.int64]:
        return self.moment

    def when_known(self) -> NDArray[np.bool_]:
        return self.known

    def item_id(self, row: int) -> str:
        codes, dictionary = self.ids.lanes["strings"][1], self.ids.dictionary
        assert dictionary is not None
        return str(dictionary.values[int(codes[row])])


class _SegmentFrame:
    """Some rows of a segment, as the evaluator sees them."""

    def __init__(self, segment: Segment, rows: RowSet, view: View) -> None:
        self._segment, self._rows, self._view = segment, rows, view
        self.size = count_of(rows)

    def column(self, name: str) -> Column:
        segment, rows = self._segment, self._rows
        if name in ("id", "collection", "geometry"):
            every, plain = np.arange(self.size, dtype=np.int64), np.zeros(self.size, np.bool_)
            dictionary = segment.ids.dictionary
            assert dictionary is not None
            ids = Strings(every, segment.ids.lanes["strings"][1][rows], dictionary, plain)
            return own_columns(name, segment.key_of_row[rows], ids, self._view) or Column()
        name = resolve_alias(name, self._view.exists)
        data = segment.column(name)
        if data is None:
            return Column()
        lanes = {kind: data.slice(kind, rows) for kind in data.lanes}
        made: dict[str, Any] = {
            kind: Lane(*found) for kind in ("booleans", "integers", "floats") if (found := lanes.get(kind))
        }
        if (strings := lanes.get("strings")) is not None:
            assert data.dictionary is not None
            keys = segment.key_of_row[rows]
            keys = keys if len(strings[0]) == self.size else keys[strings[0]]
            made["strings"] = Strings(*strings, data.dictionary, temporal_rows(name, keys, self._view))
        if (arrays := lanes.get("arrays")) is not None:
            assert data.arrays is not None
            made["arrays"] = Arrays(*arrays, data.arrays)
        return Column(**made, objects=self._objects(data))

    def _objects(self, data: MappedColumn) -> NDArray[np.int64]:
        return held_by(data.objects, self._rows)[0] if len(data.objects) else NO_ROWS

    def extents(self) -> Extents:
        segment, rows = self._segment, self._rows
        return Extents(segment.file.array("start")[rows], segment.file.array("end")[rows], segment.known[rows])

    def footprints(self) -> Footprints:
        segment, rows = self._segment, self._rows
        west, south, east, north = (side[rows] for side in segment.sides)
        placed = segment.file.array("placed")[rows]

        def shapes(places: NDArray[np.int64]) -> NDArray[np.object_]:
            return segment.shapes(places + rows.start if isinstance(rows, slice) else rows[places])

        return Footprints(west, south, east, north, placed, shapes)

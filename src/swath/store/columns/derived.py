"""Facts that are derived from rows, collection by collection, and stay right when rows die.

A record tells of the values of one kind under one name in one collection: how many there are; of numbers the least
and the greatest, and how many rows hold these; of strings how many are distinct, and up to a thousand which. Four more
kinds of records tell of a collection's rows as such: how many, how far they reach, and when. Counts are there so that
dead rows can be taken off again: only where the last row with an extreme has died, values have to be read.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from swath.cql2.queryables import CORE
from swath.store.columns.container import ContainerWriter
from swath.store.columns.rows import RowSet, held_by
from swath.store.columns.segment import SIDES, MappedColumn, Segment
from swath.store.columns.tail import ColumnData, Tail

__all__ = ["KINDS", "LISTED", "FactTable", "Lane", "Measuring", "doubles", "measure", "read_facts", "without"]

LISTED = 1_000  # distinct strings that are listed
KINDS = ("booleans", "integers", "floats", "strings", "arrays", "objects", "rows", "x", "y", "time")  # on disk: numbers
_OF_VALUES, _OF_ROWS = KINDS[:6], KINDS[6:]
_STRINGS = KINDS.index("strings")
_RANGED = np.array([kind in ("integers", "floats", "x", "y", "time") for kind in KINDS])
_NO_NAME = -1  # of records about rows
Living: TypeAlias = Callable[[NDArray[np.int64]], NDArray[np.bool_]]
Spans: TypeAlias = tuple[NDArray[Any], ...]

_RECORD = np.dtype([
    # Least and greatest as integers that compare as the values do; see `_comparable`.
    ("low", "<i8"), ("high", "<i8"), ("at_low", "<i4"), ("at_high", "<i4"), ("count", "<i4"),
    # Distinct strings (once rows have died, at least so many where they are not listed); how many stand in the list,
    # those of dead rows too; how many strings are no whole day.
    ("distinct", "<i4"), ("listed", "<i4"), ("times", "<i4"),
    ("name", "<i4"), ("key", "<i4"), ("kind", "<i4"), ("unused", "<i4"),
])  # fmt: skip


@dataclass(frozen=True, slots=True)
class Lane:
    """Rows that have a value of one kind, and what tells of the values: least and greatest that each may stand for, or
    codes of strings with the spans of all strings (see `Dictionary.spans`)."""

    rows: NDArray[Any]
    lows: NDArray[np.int64] | None = None
    highs: NDArray[np.int64] | None = None
    codes: NDArray[np.int32] | None = None
    spans: Spans | None = None

    def where(self, chosen: NDArray[np.bool_]) -> Lane:
        kept = chosen[self.rows]
        lows, highs, codes = (each if each is None else each[kept] for each in (self.lows, self.highs, self.codes))
        return Lane(self.rows[kept], lows, highs, codes, self.spans)


@dataclass(frozen=True, slots=True)
class FactTable:
    """Records of one source, by name, kind and collection key; codes and counts of the strings that are listed."""

    names: Sequence[str]
    records: NDArray[np.void]
    codes: NDArray[np.int32]
    counts: NDArray[np.int32]

    def told_by(self, place: int) -> tuple[str | None, str]:
        """Name and kind of a record; no name where it tells of rows as such."""
        name, kind = self.records["name"][place], self.records["kind"][place]
        return self.names[name] if name != _NO_NAME else None, KINDS[kind]

    def starts(self) -> NDArray[np.int64]:
        """Where the list of each record begins, and where the last one ends."""
        return np.concatenate([[0], np.cumsum(self.records["listed"], dtype=np.int64)])


def read_facts(segment: Segment) -> FactTable:
    """As they were when the segment was written."""
    file = segment.file
    records = file.array("facts").view(_RECORD)
    return FactTable(file.about["facts"], records, file.array("facts.codes"), file.array("facts.counts"))


# -- measuring -----------------------------------------------------------------------------------------


def _comparable(values: NDArray[Any]) -> NDArray[np.int64]:
    """Integers that compare as the values do: those of doubles have the bits of negative ones turned round."""
    if values.dtype != np.float64:
        return values.astype(np.int64, copy=False)
    bits = (values + 0.0).view(np.int64)  # -0.0 becomes 0.0, its equal
    return np.where(bits < 0, bits ^ np.iinfo(np.int64).max, bits)


def doubles(comparable: Any) -> NDArray[np.float64]:
    """The doubles again."""
    bits: NDArray[np.int64] = np.where(comparable < 0, comparable ^ np.iinfo(np.int64).max, comparable)
    return bits.view(np.float64)


def _lane_of(kind: str, rows: NDArray[Any], values: NDArray[Any], spans: Spans | None) -> Lane:
    """A lane of a column, as segments and the tail hold it."""
    if kind == "strings":
        return Lane(rows, codes=values, spans=spans)
    if kind in ("integers", "floats"):
        comparable = _comparable(values)
        return Lane(rows, comparable, comparable)
    return Lane(rows)


def _row_lane(kind: str, fixed: Callable[[str], NDArray[Any]]) -> Lane:
    """What tells of rows as such, which have the arrays `fixed`: how many, their boxes or their times."""
    if kind == "rows":
        return Lane(np.arange(len(fixed("known"))))
    if kind == "time":
        rows = np.flatnonzero(fixed("known"))
        return Lane(rows, fixed("start")[rows], fixed("end")[rows])
    low, high = (fixed(side) for side in (("west", "east") if kind == "x" else ("south", "north")))
    rows = np.flatnonzero(~np.isnan(low))  # those of all sides are
    return Lane(rows, _comparable(low[rows]), _comparable(high[rows]))


def _times(spans: Spans, codes: NDArray[Any]) -> NDArray[np.bool_]:
    """Which strings are no whole day."""
    found: NDArray[np.bool_] = spans[1][codes] == spans[2][codes]
    return found


class Measuring:
    """Takes in lanes, name by name, and makes a table of them."""

    def __init__(self, key_of_row: NDArray[Any]) -> None:
        present = np.bincount(key_of_row) if len(key_of_row) else np.zeros(0, np.int64)
        self.keys = np.flatnonzero(present)
        number_of = np.zeros(len(present), np.int32)
        number_of[self.keys] = np.arange(len(self.keys))
        self.groups: NDArray[np.int32] = number_of[key_of_row]
        self.names: list[str] = []
        self._records: list[NDArray[np.void]] = []
        self._codes: list[NDArray[np.int32]] = []
        self._counts: list[NDArray[np.int32]] = []

    def add_rows(self, fixed: Callable[[str], NDArray[Any]]) -> None:
        """What tells of the rows as such, by their arrays. It comes first."""
        for kind in _OF_ROWS:
            self.add_lane(_NO_NAME, kind, _row_lane(kind, fixed))

    def add(self, name: str, lanes: dict[str, Lane]) -> None:
        """Values under a name. The item's own members, whose names mean nothing else, are left out."""
        if name in CORE and name != "datetime":
            return
        self.names.append(name)
        for kind in _OF_VALUES:
            if kind in lanes:
                self.add_lane(len(self.names) - 1, kind, lanes[kind])

    def add_column(
        self, name: str, lanes: Mapping[str, tuple[NDArray[Any] | None, NDArray[Any]] | None], spans: Spans | None
    ) -> None:
        """The same of lanes as they are written: no rows where every row has a value."""
        every = np.arange(len(self.groups))
        self.add(name, {kind: _lane_of(kind, every if lane[0] is None else lane[0], lane[1], spans)
                        for kind, lane in lanes.items() if lane is not None})  # fmt: skip

    def add_lane(self, name: int, kind: str, lane: Lane) -> None:
        groups, size = self.groups[lane.rows], len(self.keys)
        counts = np.bincount(groups, minlength=size)
        there = np.flatnonzero(counts)
        made = np.zeros(len(there), _RECORD)
        made["name"], made["kind"], made["key"], made["count"] = (
            name,
            KINDS.index(kind),
            self.keys[there],
            counts[there],
        )
        if lane.lows is not None and lane.highs is not None:
            for field, values, ufunc, worst in (
                ("low", lane.lows, np.minimum, np.iinfo(np.int64).max),
                ("high", lane.highs, np.maximum, np.iinfo(np.int64).min),
            ):
                best = np.full(size, worst, np.int64)
                ufunc.at(best, groups, values)
                held = np.bincount(groups[values == best[groups]], minlength=size)
                made[field], made[f"at_{field}"] = best[there], held[there]
        if lane.codes is not None:
            self._add_strings(made, groups, lane, there)
        self._records.append(made)

    def _add_strings(
        self, made: NDArray[np.void], groups: NDArray[np.int32], lane: Lane, there: NDArray[np.int64]
    ) -> None:
        assert lane.codes is not None
        assert lane.spans is not None
        wide = max(len(lane.spans[0]), 1)
        pairs = groups.astype(np.int64) * wide + lane.codes
        if len(self.keys) * wide <= 4 * len(pairs) + 65_536:
            tally = np.bincount(pairs)
            found = np.flatnonzero(tally)
            held = tally[found]
        else:
            found, held = np.unique(pairs, return_counts=True)
        owner, codes = found // wide, found % wide
        times = np.bincount(owner, held * _times(lane.spans, codes), minlength=len(self.keys))
        distinct = np.bincount(owner, minlength=len(self.keys))
        made["times"], made["distinct"] = times[there], distinct[there]
        made["listed"] = np.where(made["distinct"] <= LISTED, made["distinct"], 0)
        kept = distinct[owner] <= LISTED
        self._codes.append(codes[kept].astype(np.int32))
        self._counts.append(held[kept].astype(np.int32))

    def table(self) -> FactTable:
        def joined(parts: list[NDArray[Any]], dtype: Any) -> NDArray[Any]:
            return np.concatenate(parts) if parts else np.empty(0, dtype)

        return FactTable(
            tuple(self.names),
            joined(self._records, _RECORD),
            joined(self._codes, np.int32),
            joined(self._counts, np.int32),
        )

    def write(self, out: ContainerWriter) -> None:
        table = self.table()
        out.about["facts"] = table.names
        out.add("facts", table.records)
        out.add("facts.codes", table.codes)
        out.add("facts.counts", table.counts)


def measure(
    source: Segment | Tail, rows: RowSet, chosen: NDArray[np.bool_] | None = None, *, values: bool = True
) -> FactTable:
    """Read some rows, or those that are chosen among them; without `values` the rows as such only."""
    measuring = Measuring(source.keys()[rows])

    def lanes(name: str | None, kinds: Sequence[str]) -> dict[str, Lane]:
        found = {kind: lane for kind in kinds if (lane := _lane(source, name, kind, rows)) is not None}
        return found if chosen is None else {kind: lane.where(chosen) for kind, lane in found.items()}

    for kind, lane in lanes(None, _OF_ROWS).items():
        measuring.add_lane(_NO_NAME, kind, lane)
    for name in sorted(source.names if isinstance(source, Segment) else source.columns) if values else ():
        measuring.add(name, lanes(name, _OF_VALUES))
    return measuring.table()


def _lane(source: Segment | Tail, name: str | None, kind: str, rows: RowSet) -> Lane | None:
    """What some rows have of a kind under a name; without a name, what tells of the rows as such."""
    if name is None:
        return _row_lane(kind, lambda each: _fixed(source, each)[rows])
    column = source.column(name) if isinstance(source, Segment) else source.columns[name]
    assert column is not None
    if kind == "objects":
        objects = column.objects if isinstance(column, MappedColumn) else column.objects.view()
        return Lane(held_by(objects, rows)[0]) if len(objects) else None
    pair = column.slice(kind, rows)
    if pair is None or not len(pair[0]):
        return None
    return _lane_of(kind, *pair, _spans(column) if kind == "strings" else None)


def _fixed(source: Segment | Tail, name: str) -> NDArray[Any]:
    if isinstance(source, Segment):
        return source.file.array(name)
    if name in SIDES:
        return source.boxes[SIDES.index(name)].view()
    return {"start": source.start, "end": source.end, "known": source.placed_in_time}[name].view()


def _spans(column: MappedColumn | ColumnData) -> Spans:
    if isinstance(column, ColumnData):
        return column.strings.spans()
    assert column.dictionary is not None
    return column.dictionary.spans()


# -- taking off ----------------------------------------------------------------------------------------


def without(table: FactTable, segment: Segment, dead: NDArray[np.int64], living: Living) -> FactTable:
    """The table without some of the rows that it counts, ascending. `living` tells which of some rows are left."""
    table = replace(table, records=table.records.copy(), counts=table.counts.copy())
    records, starts = table.records, table.starts()
    for first, last in _runs(records):
        lane = _lane(segment, *table.told_by(first), dead)
        if lane is None or not len(lane.rows):
            continue
        at = first + np.searchsorted(records["key"][first:last], segment.key_of_row[dead[lane.rows]])
        np.subtract.at(records["count"], at, 1)
        if lane.lows is not None and lane.highs is not None:
            for field, values in (("low", lane.lows), ("high", lane.highs)):
                np.subtract.at(records[f"at_{field}"], at[values == records[field][at]], 1)
        if lane.codes is not None:
            _take_strings(table, starts, (first, last), at, lane)
    return _read_again(table, starts, segment, living)


def _runs(records: NDArray[np.void]) -> Iterator[tuple[int, int]]:
    """Records that differ in nothing but the collection."""
    what = records["name"].astype(np.int64) * len(KINDS) + records["kind"]
    edges = np.flatnonzero(what[1:] != what[:-1]) + 1
    return itertools.pairwise([0, *edges.tolist(), len(records)] if len(records) else [])


def _take_strings(
    table: FactTable, starts: NDArray[np.int64], run: tuple[int, int], at: NDArray[np.int64], lane: Lane
) -> None:
    """`at` is the record of each string that is taken off; all of them are in one run."""
    assert lane.codes is not None
    assert lane.spans is not None
    records, codes, (first, last) = table.records, lane.codes.astype(np.int64), run
    np.subtract.at(records["times"], at[_times(lane.spans, codes)], 1)
    listed = records["listed"][at] > 0
    np.subtract.at(records["distinct"], at[~listed], 1)
    if listed.any():
        wide, begin = len(lane.spans[0]), starts[first]
        owners = np.repeat(np.arange(first, last), records["listed"][first:last])
        held = owners * wide + table.codes[begin : starts[last]]
        place = begin + np.searchsorted(held, at[listed] * wide + codes[listed])
        np.subtract.at(table.counts, place, 1)
        over = np.unique(place[table.counts[place] == 0])
        np.subtract.at(records["distinct"], owners[over - begin], 1)


def _read_again(table: FactTable, starts: NDArray[np.int64], segment: Segment, living: Living) -> FactTable:
    """Read what the rows that are left hold, where the last one with an extreme has died, or where so many strings
    have that the others may be listed."""
    records = table.records
    ends = _RANGED[records["kind"]] & ((records["at_low"] <= 0) | (records["at_high"] <= 0))
    few = (records["kind"] == _STRINGS) & (records["listed"] == 0) & (records["distinct"] <= LISTED)
    lost = np.flatnonzero((ends | few) & (records["count"] > 0))
    if not len(lost):
        return table
    rows_of: dict[int, NDArray[np.int64]] = {}
    places, codes, counts = [], [], []
    for place in lost.tolist():
        key = int(records["key"][place])
        if key not in rows_of:
            rows = np.flatnonzero(segment.key_of_row == key)
            rows_of[key] = rows[living(rows)]
        fresh = _one(segment, *table.told_by(place), rows_of[key])
        fresh.records["name"] = records["name"][place]
        records[place] = fresh.records[0]
        places.append(np.full(len(fresh.codes), starts[place]))
        codes.append(fresh.codes)
        counts.append(fresh.counts)
    at = np.concatenate(places)
    return replace(
        table,
        codes=np.insert(table.codes, at, np.concatenate(codes)),
        counts=np.insert(table.counts, at, np.concatenate(counts)),
    )


def _one(segment: Segment, name: str | None, kind: str, rows: NDArray[np.int64]) -> FactTable:
    """A single record, of rows of one collection."""
    lane = _lane(segment, name, kind, rows)
    assert lane is not None
    measuring = Measuring(segment.key_of_row[rows])
    measuring.add_lane(_NO_NAME, kind, lane)
    return measuring.table()

"""Facts about selected items, added up from what segments and the tail tell of theirs (see `derived`).

A selection by collection alone needs no rows of segments, only what has died in them since they were written. For
any other one the selected rows are read.
"""

from __future__ import annotations

import itertools
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swath.cql2.ast import Predicate, Property, walk
from swath.cql2.evaluate import Evaluator
from swath.cql2.frame import Column, Extents, Footprints, Strings
from swath.store.base import PropertyFacts, Summary
from swath.store.columns.derived import KINDS, LISTED, FactTable, doubles, measure, read_facts, without
from swath.store.columns.searching import StateSearch
from swath.store.columns.segment import Segment
from swath.store.columns.source import View
from swath.store.columns.state import State
from swath.store.columns.tail import Tail

__all__ = ["Facts"]

_KEPT_SCANS = 16
_MOST, _LEAST = np.iinfo(np.int64).max, np.iinfo(np.int64).min
_VALUE_KINDS = ("boolean", "integer", "number", "string", "array", "object")  # as `derived` numbers them
_NUMBERS, _STRINGS = slice(1, 3), 3


class _Part(NamedTuple):
    source: Segment | Tail
    table: FactTable


class _Selected(NamedTuple):
    """What is told of a selection: parts, and which collections of theirs belong to it, by key."""

    parts: list[_Part]
    keys: NDArray[np.bool_]
    view: View


class Facts:
    """Facts of a state. Keeps what it has found out about segments. Any thread may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._segments: dict[str, tuple[int, FactTable]] = {}
        self._tail: tuple[Tail, int, int, FactTable] | None = None
        self._scans: OrderedDict[Any, FactTable] = OrderedDict()

    def summaries(self, state: State, expression: Predicate, revision: int) -> dict[int, Summary]:
        """How many items, where and when, by collection key."""
        return _summed(self._selected(state, expression, revision, values=False))

    def properties(
        self, state: State, expression: Predicate, revision: int, most_values: int
    ) -> tuple[PropertyFacts, ...]:
        selected = self._selected(state, expression, revision)
        groups = np.where(selected.keys, 0, -1)
        return _Joined(selected, groups, most_values).results().get(0, ())

    def apart(
        self, state: State, expression: Predicate, revision: int, most_values: int, keys: Iterable[int]
    ) -> dict[int, tuple[PropertyFacts, ...]]:
        """The same for each of some collections."""
        selected = self._selected(state, expression, revision)
        groups = np.full(len(selected.keys), -1)
        for key in keys:
            if key < len(groups) and selected.keys[key]:
                groups[key] = key
        return _Joined(selected, groups, most_values).results()

    # -- tables -------------------------------------------------------------------------------

    def _selected(self, state: State, expression: Predicate, revision: int, *, values: bool = True) -> _Selected:
        tail_rows = state.tail.rows  # before the names, which then cover the collections of all these rows
        view = state.view(revision)
        keys = _collections(expression, view)
        if keys is None:
            return self._scanned(state, expression, revision, values)
        keys[state.gone_at(revision)] = False
        parts = [_Part(segment, self._of_segment(segment, revision)) for segment in state.segments if segment.rows]
        with self._lock:  # what is gone from the state
            for name in self._segments.keys() - {segment.name for segment in state.segments}:
                del self._segments[name]
        if tail_rows:
            parts.append(_Part(state.tail, self._of_tail(state.tail, tail_rows, revision)))
        return _Selected(parts, keys, view)

    def _of_segment(self, segment: Segment, revision: int) -> FactTable:
        """What a segment was written with, without the rows that have died by a revision."""
        with self._lock:
            since, table = self._segments.get(segment.name, (0, None))
        if table is None or since > revision:
            since, table = 0, read_facts(segment)
        every = slice(0, segment.rows)
        visible = segment.visible(every, revision)
        if visible is None:
            dead = np.empty(0, np.int64)
        elif segment.died is not None and since:
            dead = np.flatnonzero((segment.died > since) & (segment.died <= revision))
        else:
            dead = np.flatnonzero(~visible)
        if len(dead) * 2 > segment.rows:
            assert visible is not None
            table = measure(segment, every, visible)
        elif len(dead):
            assert visible is not None
            table = without(table, segment, dead, visible.__getitem__)
        if segment.high <= revision:
            with self._lock:
                if self._segments.get(segment.name, (0, None))[0] <= revision:
                    self._segments[segment.name] = (revision, table)
        return table

    def _of_tail(self, tail: Tail, rows: int, revision: int) -> FactTable:
        kept = self._tail
        if kept is not None and kept[0] is tail and kept[1:3] == (rows, revision):
            return kept[3]
        every = slice(0, rows)
        table = measure(tail, every, tail.visible(every, revision))
        self._tail = (tail, rows, revision, table)
        return table

    def _scanned(self, state: State, expression: Predicate, revision: int, values: bool) -> _Selected:
        """Read the rows that are selected."""
        search = StateSearch(state, expression, revision)
        parts = []
        for each in search.sources:
            source, key = each.source, None
            assert isinstance(source, Segment | Tail)
            if isinstance(source, Segment) and source.high <= revision:
                ended = 0 if source.died is None else int(np.count_nonzero(source.died <= revision))
                key = (source.name, ended, expression, tuple(search.gone), state.told(revision), values)
            with self._lock:
                table = self._scans.get(key)
            if table is None:
                rows = each.every()
                if len(rows) * 4 < each.size:
                    table = measure(source, rows, values=values)
                else:
                    chosen = np.zeros(each.size, np.bool_)
                    chosen[rows] = True
                    table = measure(source, slice(0, each.size), chosen, values=values)
            if key is not None:
                with self._lock:
                    self._scans[key] = table
                    while len(self._scans) > _KEPT_SCANS:
                        self._scans.popitem(last=False)
            parts.append(_Part(source, table))
        return _Selected(parts, np.ones(len(search.view.names.codes), np.bool_), search.view)


def _collections(expression: Predicate, view: View) -> NDArray[np.bool_] | None:
    """Which collections an expression selects, by key; None where it asks about more than their ids."""
    if {node.name for node in walk(expression) if isinstance(node, Property)} - {"collection"}:
        return None
    found = np.zeros(len(view.names.codes), np.bool_)
    keys = np.array(list(view.names.by_key), np.int64)
    if len(keys):
        found[keys] = Evaluator(expression)(_CollectionIds(view, keys)).true
    return found


class _CollectionIds:
    """Collections as a block of items that have nothing but an id of their collection."""

    def __init__(self, view: View, keys: NDArray[np.int64]) -> None:
        self._names, self._keys, self.size = view.names, keys, len(keys)

    def column(self, name: str) -> Column:
        if name != "collection":
            return Column()
        rows, plain = np.arange(self.size, dtype=np.int64), np.zeros(self.size, np.bool_)
        return Column(strings=Strings(rows, self._names.codes[self._keys], self._names.table, plain))

    def extents(self) -> Extents:
        nothing = np.zeros(self.size, np.int64)
        return Extents(nothing, nothing, np.zeros(self.size, np.bool_))

    def footprints(self) -> Footprints:
        nowhere = np.full(self.size, np.nan)
        none = np.full(self.size, None, np.object_)
        return Footprints(*(nowhere,) * 4, np.zeros(self.size, np.bool_), none.__getitem__)


# -- adding up -----------------------------------------------------------------------------------------


def _summed(selected: _Selected) -> dict[int, Summary]:
    """One pass over the records of rows, which come first."""
    shape = (len(KINDS), len(selected.keys))
    counts, lows, highs = np.zeros(shape, np.int64), np.full(shape, _MOST), np.full(shape, _LEAST)
    for part in selected.parts:
        records = part.table.records[: np.searchsorted(part.table.records["name"], 0)]
        records = records[selected.keys[records["key"]] & (records["count"] > 0)]
        at = (records["kind"], records["key"])
        np.add.at(counts, at, records["count"])
        np.minimum.at(lows, at, records["low"])
        np.maximum.at(highs, at, records["high"])
    rows, x, y, time = (KINDS.index(kind) for kind in ("rows", "x", "y", "time"))
    boxes = np.stack([doubles(lows[x]), doubles(lows[y]), doubles(highs[x]), doubles(highs[y])], axis=1)
    keys = np.flatnonzero(counts[rows])
    told = (each[keys].tolist() for each in (counts[rows], counts[x], boxes, counts[time], lows[time], highs[time]))
    return {
        key: Summary(count, tuple(box) if placed else None, start if timed else None, end if timed else None)
        for key, count, placed, box, timed, start, end in zip(keys.tolist(), *told, strict=True)
    }


class _Joined:
    """Facts of values, added up over collections that form a group, name by name."""

    def __init__(self, selected: _Selected, group_of_key: NDArray[np.int64], most_values: int) -> None:
        """`group_of_key` is -1 for collections that are left out."""
        if most_values > LISTED:
            raise ValueError(f"more than {LISTED} values are not kept")
        self.most = most_values
        numbers: dict[str, int] = {}
        places, found = [], []
        for part in selected.parts:
            names = np.array([numbers.setdefault(name, len(numbers)) for name in part.table.names], np.int64)
            records = part.table.records
            kept = (records["name"] >= 0) & (records["count"] > 0) & (group_of_key[records["key"]] >= 0)
            places.append(np.flatnonzero(kept))
            found.append((records[kept], names))
        self.names = list(numbers)
        wide = max(len(self.names), 1)
        labels = [group_of_key[records["key"]] * wide + names[records["name"]] for records, names in found]
        # Each label, a name in a group, gets a row in the arrays below.
        every, at = np.unique(np.concatenate([np.empty(0, np.int64), *labels]), return_inverse=True)
        self.labels = every
        shape = (len(every), len(_VALUE_KINDS))
        self.counts = np.zeros(shape, np.int64)
        self.lows, self.highs = np.full(shape, _MOST), np.full(shape, _LEAST)
        self.times, self.plain = np.zeros(len(every), np.int64), np.zeros(len(every), np.bool_)
        self.many = np.zeros(len(every), np.bool_)
        self.values: list[set[str]] = [set() for _ in range(len(every))]
        first = 0
        for part, place, (records, _) in zip(selected.parts, places, found, strict=True):
            rows = at[first : first + len(records)]
            first += len(records)
            self._add(records, rows)
            self._add_strings(part, place, records, rows, selected.view)

    def _add(self, records: NDArray[np.void], rows: NDArray[np.int64]) -> None:
        at = (rows, records["kind"])
        np.add.at(self.counts, at, records["count"])
        np.minimum.at(self.lows, at, records["low"])
        np.maximum.at(self.highs, at, records["high"])

    def _add_strings(
        self, part: _Part, place: NDArray[np.int64], records: NDArray[np.void], rows: NDArray[np.int64], view: View
    ) -> None:
        picked = np.flatnonzero(records["kind"] == _STRINGS)
        place, records, rows = place[picked], records[picked], rows[picked]
        np.add.at(self.times, rows, records["times"])
        self.plain[rows[_plain(part.table.names, records, view)]] = True
        self.many[rows[(records["listed"] == 0) | (records["distinct"] > self.most)]] = True
        few = ~self.many[rows]
        place, records, rows, table = place[few], records[few], rows[few], part.table
        # The lists of these records, one behind the other; strings that no living row has are in them too.
        lengths, starts = records["listed"].astype(np.int64), table.starts()[place]
        owner = np.repeat(np.arange(len(records)), lengths)
        entries = np.arange(len(owner)) + np.repeat(starts - (np.cumsum(lengths) - lengths), lengths)
        entries, owner = (each[table.counts[entries] > 0] for each in (entries, owner))
        labels = records["name"][owner].astype(np.int64) << 32 | table.codes[entries]
        for label, at in _by_label(labels, rows[owner]):
            value = _string(part.source, table.names[label >> 32], label & 0xFFFFFFFF)
            for row in at.tolist():
                self.values[row].add(value)

    def results(self) -> dict[int, tuple[PropertyFacts, ...]]:
        """By group, by name."""
        found: dict[int, list[PropertyFacts]] = {}
        wide = max(len(self.names), 1)
        kinds: dict[tuple[Any, ...], frozenset[str]] = {}  # few are different
        plain, times, (lows, highs) = self.plain.tolist(), self.times.tolist(), map(_numbers, (self.lows, self.highs))
        for row, (label, counts) in enumerate(zip(self.labels.tolist(), self.counts.tolist(), strict=True)):
            what = (plain[row], times[row] > 0, *(count > 0 for count in counts))
            if what not in kinds:
                kinds[what] = _kinds(*what)
            held = [lane for lane in (0, 1) if counts[_NUMBERS][lane]]
            low = min([lows[lane][row] for lane in held]) if held else None
            high = max([highs[lane][row] for lane in held]) if held else None
            name, values = self.names[label % wide], self._strings(row) if counts[_STRINGS] else None
            facts = found.setdefault(label // wide, [])
            facts.append(PropertyFacts(name, kinds[what], sum(counts), values, low, high))
        return {group: tuple(sorted(each, key=lambda fact: fact.name)) for group, each in found.items()}

    def _strings(self, row: int) -> tuple[str, ...] | None:
        if self.many[row] or len(self.values[row]) > self.most:
            return None
        return tuple(sorted(self.values[row]))


def _numbers(ends: NDArray[np.int64]) -> tuple[list[int], list[float]]:
    integers, floats = ends[:, _NUMBERS].T
    return integers.tolist(), doubles(floats).tolist()


def _kinds(plain: bool, times: bool, *there: bool) -> frozenset[str]:
    """Kinds of JSON values, with strings by what they are: not all instants, or some of them more than a day."""
    strings = "string" if plain else "date-time" if times else "date"
    named = zip(_VALUE_KINDS, there, strict=True)
    return frozenset(strings if kind == "string" else kind for kind, one in named if one)


def _plain(names: Sequence[str], records: NDArray[np.void], view: View) -> NDArray[np.bool_]:
    """Of strings, which records are of a collection where the name does not hold instants only."""
    found = np.ones(len(records), np.bool_)
    for first, last in itertools.pairwise(
        [0, *(np.flatnonzero(np.diff(records["name"])) + 1).tolist(), len(records)] if len(records) else []
    ):
        temporal = view.temporal(names[records["name"][first]])
        found[first:last] = ~np.isin(records["key"][first:last], temporal)
    return found


def _by_label(labels: NDArray[np.int64], rows: NDArray[np.int64]) -> Iterator[tuple[int, NDArray[np.int64]]]:
    """Each label once, with the rows that have it."""
    order = np.lexsort((rows, labels))
    labels, rows = labels[order], rows[order]
    fresh = np.ones(len(labels), np.bool_)
    fresh[1:] = (labels[1:] != labels[:-1]) | (rows[1:] != rows[:-1])
    labels, rows = labels[fresh], rows[fresh]
    edges = np.flatnonzero(np.diff(labels)) + 1
    for first, last in itertools.pairwise([0, *edges.tolist(), len(labels)] if len(labels) else []):
        yield int(labels[first]), rows[first:last]


def _string(source: Segment | Tail, name: str, code: int) -> str:
    if isinstance(source, Tail):
        return source.columns[name].strings.values[code]
    column = source.column(name)
    assert column is not None
    assert column.dictionary is not None
    return column.dictionary.values[code]

"""Segments: immutable columns in a mapped file, for a range of the ledger's versions.

Rows lie in the default order: newest first, then by collection and id; those without a time come last.
A lane that every row has is dense; the others list their rows. Strings lie in code point order, so that
codes compare as they do.
"""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import shapely
from numpy.typing import NDArray

from swath.cql2.ast import (
    Comparison,
    Equal,
    Greater,
    GreaterEqual,
    In,
    Less,
    LessEqual,
    NotEqual,
    Number,
    Predicate,
    Property,
    Text,
)
from swath.cql2.bind import resolve_alias
from swath.cql2.folding import nfc
from swath.cql2.frame import NO_ROWS, Arrays, Column, Extents, Footprints, Frame, Lane, Strings
from swath.cql2.queryables import CORE
from swath.stac.time import DAY
from swath.store.columns.container import Container, write_container
from swath.store.columns.dictionary import SortedStrings, pack_strings
from swath.store.columns.frame import own_columns, temporal_rows
from swath.store.columns.plan import TimeBounds
from swath.store.columns.source import ALIVE, View
from swath.store.columns.strings import StringTable
from swath.store.columns.tail import ColumnData, Tail, elements

__all__ = ["FORMAT", "Segment", "write_segment"]

FORMAT = 1
_SIDES = ("west", "south", "east", "north")


def write_segment(path: Path, tail: Tail, names: dict[int, str], span: tuple[int, int], epoch: bytes) -> int:
    """Write the rows of a tail, which holds the versions `span[0]` < seq <= `span[1]`. Returns how many there are."""
    order, arrays = _rows(tail, names)
    place = np.empty(len(order), np.int64)
    place[order] = np.arange(len(order))
    columns: dict[str, list[str]] = {}
    for number, (name, data) in enumerate(sorted(tail.columns.items())):
        found = _lanes(f"c{number}", data, place)
        if found:
            columns[name] = [f"c{number}"]
            arrays |= found
    known, when = arrays["known"], arrays["when"]
    reach = [np.where(known, when - arrays["start"], 0), np.where(known, arrays["end"] - when, 0)]
    about = {
        "format": FORMAT,
        "epoch": epoch,
        "low": span[0],
        "high": span[1],
        "rows": len(order),
        "placed": int(known.sum()),
        "reach": [int(each.max(initial=0)) for each in reach],
        "columns": {name: prefix[0] for name, prefix in columns.items()},
    }
    write_container(path, arrays, about)
    return len(order)


def _rows(tail: Tail, names: dict[int, str]) -> tuple[NDArray[np.int64], dict[str, NDArray[Any]]]:
    """The order of the rows, and what each has beside its properties."""
    keys, moment, known = tail.keys(), tail.when(), tail.when_known()
    rank_of = {name: rank for rank, name in enumerate(sorted(set(names.values())))}  # one that came back ranks alike
    ranked = {key: rank_of[name] for key, name in names.items()}
    collections = np.array([ranked[int(key)] for key in keys], np.int64) if len(keys) else np.empty(0, np.int64)
    ids = tail.ids.ranks(tail.id_codes.view())
    order = np.lexsort((ids, collections, np.where(known, -moment, 0), ~known))
    seq = tail.seqs()[order]
    shapes = tail.shapes.view()[order]
    packed = [each if each is not None else b"" for each in shapely.to_wkb(shapes, flavor="iso")]
    offsets = np.zeros(len(packed) + 1, np.int64)
    np.cumsum([len(each) for each in packed], out=offsets[1:])
    arrays: dict[str, NDArray[Any]] = {
        "seq": seq,
        "by_seq": np.argsort(seq).astype(np.int32),
        "keys": keys[order].astype(np.int32),
        "when": moment[order],
        "known": known[order],
        "start": tail.start.view()[order],
        "end": tail.end.view()[order],
        "placed": tail.placed.view()[order],
        "shapes": np.frombuffer(b"".join(packed), np.uint8),
        "shape_offsets": offsets,
    }
    arrays |= {side: tail.boxes[number].view()[order] for number, side in enumerate(_SIDES)}
    arrays |= _dictionary("id", tail.ids, tail.id_codes.view()[order])
    return order, arrays


def _dictionary(prefix: str, table: StringTable, codes: NDArray[np.int32]) -> dict[str, NDArray[Any]]:
    """The strings that are used, in order, with the codes of the rows; and which of them are instants."""
    used = np.unique(codes)
    values = [table.values[code] for code in used]
    by_value = sorted(range(len(values)), key=values.__getitem__)
    rank = np.empty(len(values), np.int32)
    rank[by_value] = np.arange(len(values), dtype=np.int32)
    offsets, blob = pack_strings([values[i] for i in by_value])
    arrays: dict[str, NDArray[Any]] = {
        f"{prefix}.codes": rank[np.searchsorted(used, codes)],
        f"{prefix}.offsets": offsets,
        f"{prefix}.blob": blob,
    }
    instant, first, last = (each[used][by_value] for each in table.spans())
    if instant.any():
        arrays |= {f"{prefix}.instant": instant, f"{prefix}.first": first, f"{prefix}.last": last}
    return arrays


def _lanes(prefix: str, data: ColumnData, place: NDArray[np.int64]) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for lane, (rows, values) in data.lanes.items():
        where = place[rows.view()]
        order = np.argsort(where)
        if len(where) < len(place):
            arrays[f"{prefix}.{lane}.rows"] = where[order].astype(np.int32)
        ordered = values.view()[order]
        if lane == "strings":
            arrays |= _dictionary(f"{prefix}.strings", data.strings, ordered)
        elif lane == "arrays":
            used, codes = np.unique(ordered, return_inverse=True)
            listed = msgspec.json.encode([data.array_values[code] for code in used])
            arrays[f"{prefix}.arrays.codes"] = codes.astype(np.int32)
            arrays[f"{prefix}.arrays.values"] = np.frombuffer(listed, np.uint8)
        else:
            arrays[f"{prefix}.{lane}"] = ordered
    if data.objects.size:
        arrays[f"{prefix}.objects"] = np.sort(place[data.objects.view()]).astype(np.int32)
    return arrays


class _MappedColumn:
    """A column of a segment; what has to be decoded is decoded once."""

    def __init__(self, file: Container, prefix: str, rows: int) -> None:
        self.rows = rows
        self.lanes: dict[str, tuple[NDArray[np.int32] | None, NDArray[Any]]] = {}
        for lane, values in (
            ("booleans", f"{prefix}.booleans"), ("integers", f"{prefix}.integers"), ("floats", f"{prefix}.floats"),
            ("strings", f"{prefix}.strings.codes"), ("arrays", f"{prefix}.arrays.codes"),
        ):  # fmt: skip
            if values in file:
                listed = f"{prefix}.{lane}.rows"
                self.lanes[lane] = (file.array(listed) if listed in file else None, file.array(values))
        self.objects = file.array(f"{prefix}.objects") if f"{prefix}.objects" in file else None
        self.dictionary = open_dictionary(file, f"{prefix}.strings") if "strings" in self.lanes else None
        self._packed = file.array(f"{prefix}.arrays.values") if "arrays" in self.lanes else None

    @cached_property
    def arrays(self) -> list[tuple[Any, ...]]:
        assert self._packed is not None
        return [elements(each) for each in msgspec.json.decode(self._packed.tobytes())]

    def slice(self, lane: str, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[Any]] | None:
        """Rows (relative to `start`) and values within a range of rows; None when there are none."""
        if lane not in self.lanes:
            return None
        rows, values = self.lanes[lane]
        if rows is None:
            return np.arange(stop - start, dtype=np.int64), values[start:stop]
        first, last = _places(rows, start, stop)
        if first == last:
            return None
        return rows[first:last].astype(np.int64) - start, values[first:last]

    @cached_property
    def numbers(self) -> tuple[float, float] | None:
        """The least and the greatest number, None where there is none."""
        lanes = [self.lanes[lane][1] for lane in ("integers", "floats") if lane in self.lanes]
        if not lanes:
            return None
        return min(each.min().item() for each in lanes), max(each.max().item() for each in lanes)


def _places(rows: NDArray[np.int32], start: int, stop: int) -> tuple[int, int]:
    # Of the same type: else all rows would be copied into the other one first.
    first, last = np.searchsorted(rows, np.array((start, stop), np.int32))
    return int(first), int(last)


def _clipped(instant: int) -> int:
    return max(-(2**63), min(2**63 - 1, instant))


def open_dictionary(file: Container, prefix: str) -> SortedStrings:
    instants = None
    if f"{prefix}.instant" in file:
        instants = (file.array(f"{prefix}.instant"), file.array(f"{prefix}.first"), file.array(f"{prefix}.last"))
    return SortedStrings(file.array(f"{prefix}.offsets"), file.array(f"{prefix}.blob"), instants)


class Segment:
    """A mapped segment. CatalogDamaged where the file is not one; FileNotFoundError where it is gone."""

    ordered = True

    def __init__(self, path: Path) -> None:
        self.file = Container(path)
        about = self.file.about
        self.low, self.high = int(about["low"]), int(about["high"])
        self._rows, self.placed = int(about["rows"]), int(about["placed"])
        self.reach: tuple[int, int] = tuple(about["reach"])  # how far extents go before and behind their instant
        self.names: dict[str, str] = about["columns"]
        self.seq, self.key_of_row = self.file.array("seq"), self.file.array("keys")
        self.moment, self.known = self.file.array("when"), self.file.array("known")
        self.ids = open_dictionary(self.file, "id")
        self.id_codes = self.file.array("id.codes")
        self.died: NDArray[np.int64] | None = None
        self._columns: dict[str, _MappedColumn] = {}
        self.ranked: dict[Any, NDArray[np.int32]] = {}  # see `Order.first_of_many`
        self.sides = tuple(self.file.array(side) for side in _SIDES)

    @property
    def name(self) -> str:
        return self.file.path.name

    def column(self, name: str) -> _MappedColumn | None:
        prefix = self.names.get(name)
        if prefix is None:
            return None
        found = self._columns.get(name)
        if found is None:
            # Two threads may both make it; all that ask must get the same, which others know by its identity.
            found = self._columns.setdefault(name, _MappedColumn(self.file, prefix, self._rows))
        return found

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

    @cached_property
    def collections(self) -> frozenset[int]:
        """Keys of the collections that it holds items of."""
        return frozenset(np.unique(self.key_of_row).tolist())

    def may_hold(self, condition: Predicate, view: View) -> bool:
        """False where no row can be TRUE for a condition: so plainly that nothing needs to be evaluated."""
        match condition:
            case In(Property("collection"), items):
                wanted = {nfc(item.value) for item in items if isinstance(item, Text)}
                return any(view.names.by_key[key] in wanted for key in self.collections)
            case Equal(Property("collection"), Text(name)):
                return any(view.names.by_key[key] == nfc(name) for key in self.collections)
            case Comparison(Property(name), Number(number)) if name not in CORE:
                column = self.column(resolve_alias(name, view.exists))
                if column is None or column.numbers is None:
                    return False
                low, high = column.numbers
                kind = type(condition)
                if kind in (Less, LessEqual):
                    return low <= number
                if kind in (Greater, GreaterEqual):
                    return high >= number
                return kind is NotEqual or low <= number <= high
            case Equal(Property(name), Text(text)) if name not in CORE:
                name = resolve_alias(name, view.exists)
                column = self.column(name)
                if column is None or column.dictionary is None:
                    return False
                return bool(len(view.temporal(name))) or column.dictionary.code(nfc(text)) >= 0
        return True

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
        if not within.any():
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
        self._columns, self.ranked = other._columns, other.ranked

    def shapes(self, rows: NDArray[np.int64]) -> NDArray[np.object_]:
        offsets, blob = self.file.array("shape_offsets"), memoryview(self.file.array("shapes"))  # type: ignore[arg-type]
        packed = np.empty(len(rows), np.object_)
        for number, (first, last) in enumerate(zip(offsets[rows].tolist(), offsets[rows + 1].tolist(), strict=True)):
            packed[number] = bytes(blob[first:last]) or None
        found: NDArray[np.object_] = shapely.from_wkb(packed)
        return found

    # -- as a source --------------------------------------------------------------------------

    @property
    def rows(self) -> int:
        return self._rows

    def frame(self, start: int, stop: int, view: View) -> Frame:
        return _SegmentFrame(self, start, stop, view)

    def visible(self, start: int, stop: int, revision: int) -> NDArray[np.bool_] | None:
        alive: NDArray[np.bool_] | None = None
        if self.high > revision:
            alive = self.seq[start:stop] <= revision
        died = self.died
        if died is not None:
            living = died[start:stop] > revision
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
        return str(self.ids.values[int(self.id_codes[row])])


class _SegmentFrame:
    """Rows `start` to `stop` of a segment, as the evaluator sees them."""

    def __init__(self, segment: Segment, start: int, stop: int, view: View) -> None:
        self._segment, self._start, self._stop, self._view = segment, start, stop, view
        self._part = slice(start, stop)
        self.size = stop - start

    def column(self, name: str) -> Column:
        segment, start, stop = self._segment, self._start, self._stop
        if name in ("id", "collection", "geometry"):
            rows, plain = np.arange(self.size, dtype=np.int64), np.zeros(self.size, np.bool_)
            ids = Strings(rows, segment.id_codes[self._part], segment.ids, plain)
            return own_columns(name, segment.key_of_row[self._part], ids, self._view) or Column()
        name = resolve_alias(name, self._view.exists)
        data = segment.column(name)
        if data is None:
            return Column()
        lanes = {kind: data.slice(kind, start, stop) for kind in data.lanes}
        made: dict[str, Any] = {
            kind: Lane(*found) for kind in ("booleans", "integers", "floats") if (found := lanes.get(kind))
        }
        if (strings := lanes.get("strings")) is not None:
            assert data.dictionary is not None
            keys = segment.key_of_row[self._part]
            keys = keys if len(strings[0]) == self.size else keys[strings[0]]
            made["strings"] = Strings(*strings, data.dictionary, temporal_rows(name, keys, self._view))
        if (arrays := lanes.get("arrays")) is not None:
            made["arrays"] = Arrays(*arrays, data.arrays)
        objects = NO_ROWS
        if data.objects is not None:
            first, last = _places(data.objects, start, stop)
            objects = data.objects[first:last].astype(np.int64) - start
        return Column(**made, objects=objects)

    def extents(self) -> Extents:
        file = self._segment.file
        return Extents(file.array("start")[self._part], file.array("end")[self._part], self._segment.known[self._part])

    def footprints(self) -> Footprints:
        segment, start = self._segment, self._start
        west, south, east, north = (side[self._part] for side in segment.sides)
        placed = segment.file.array("placed")[self._part]
        return Footprints(west, south, east, north, placed, lambda rows: segment.shapes(rows + start))

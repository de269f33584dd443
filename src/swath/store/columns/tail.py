"""Columns that grow: the versions of items in the order of the ledger, held in memory.

Appending happens under the index's lock; readers take the number of rows first and never look behind it,
so that they need no lock: arrays are replaced when they grow, never moved.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
import numpy as np
import shapely
from numpy.typing import NDArray

from swath.cql2.folding import nfc
from swath.cql2.frame import Dictionary
from swath.stac.document import leaves
from swath.stac.time import parse_temporal
from swath.store.base import Change

__all__ = ["ALIVE", "ColumnData", "Growing", "StringTable", "Tail"]

ALIVE = np.iinfo(np.int64).max


class Growing:
    """A one- or two-dimensional array that doubles its room."""

    def __init__(self, dtype: Any, width: int | None = None) -> None:
        self._data: NDArray[Any] = np.empty((16,) if width is None else (16, width), dtype)
        self.size = 0

    def extend(self, values: Any) -> None:
        count = len(values)
        needed = self.size + count
        if needed > len(self._data):
            grown = np.empty((max(needed, 2 * len(self._data)), *self._data.shape[1:]), self._data.dtype)
            grown[: self.size] = self._data[: self.size]
            self._data = grown
        self._data[self.size : needed] = values
        self.size = needed

    def view(self) -> NDArray[Any]:
        return self._data[: self.size]


class StringTable(Dictionary):
    """Distinct strings in the order in which they came."""

    def __init__(self) -> None:
        self._values: list[str] = []
        self._codes: dict[str, int] = {}
        self._lock = threading.Lock()
        self._spans = (np.empty(0, np.bool_), np.empty(0, np.int64), np.empty(0, np.int64))
        self._ranks: NDArray[np.float64] = np.empty(0, np.float64)
        self._sorted: list[str] = []

    @property
    def values(self) -> Sequence[str]:
        return self._values

    def code(self, value: str) -> int:
        return self._codes.get(value, -1)

    def add(self, value: str) -> int:
        if not value.isascii():
            value = nfc(value)
        found = self._codes.get(value)
        if found is None:
            found = len(self._values)
            self._values.append(value)
            self._codes[value] = found
        return found

    def spans(self) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
        with self._lock:
            done = len(self._spans[0])
            if done < len(self._values):
                found = [parse_temporal(value) for value in self._values[done:]]
                fresh = (
                    np.array([span is not None for span in found], np.bool_),
                    np.array([span[0] if span else 0 for span in found], np.int64),
                    np.array([span[1] if span else 0 for span in found], np.int64),
                )
                known, first, last = self._spans
                self._spans = (
                    np.concatenate([known, fresh[0]]),
                    np.concatenate([first, fresh[1]]),
                    np.concatenate([last, fresh[2]]),
                )
            return self._spans

    def ranks(self) -> tuple[NDArray[np.float64], list[str]]:
        """The place of each string in code point order, by its code; and the strings in that order."""
        with self._lock:
            if len(self._ranks) < len(self._values):
                values = list(self._values)
                order = sorted(range(len(values)), key=values.__getitem__)
                ranks = np.empty(len(values), np.float64)
                ranks[order] = np.arange(len(values))
                self._ranks, self._sorted = ranks, [values[code] for code in order]
            return self._ranks, self._sorted


class ColumnData:
    """All values under one name, a lane per kind. Lanes list their rows, ascending."""

    __slots__ = ("array_codes", "array_index", "array_values", "lanes", "objects", "staged", "strings")

    def __init__(self) -> None:
        self.lanes: dict[str, tuple[Growing, Growing]] = {}
        self.objects = Growing(np.int64)
        self.strings = StringTable()
        self.array_values: list[tuple[Any, ...]] = []
        self.array_index: dict[bytes, int] = {}
        self.staged: dict[str, tuple[list[int], list[Any]]] = {}

    def stage(self, row: int, value: Any) -> None:
        kind = type(value)
        entry: Any
        if kind is str:
            lane, entry = "strings", self.strings.add(value)
        elif kind is float:
            lane, entry = "floats", value
        elif kind is int:
            if -(2**63) <= value < 2**63:
                lane, entry = "integers", value
            else:  # beyond int64 a number is the nearest double (docs/design/ledger.md)
                lane, entry = "floats", float(value)
        elif kind is bool:
            lane, entry = "booleans", value
        elif kind is list:
            lane, entry = "arrays", self._array(value)
        else:
            lane, entry = "objects", 0
        rows, values = self.staged.setdefault(lane, ([], []))
        rows.append(row)
        values.append(entry)

    def _array(self, value: list[Any]) -> int:
        """The number of an array."""
        key = msgspec.json.encode(value)
        found = self.array_index.get(key)
        if found is None:
            found = self.array_index[key] = len(self.array_values)
            self.array_values.append(_elements(value))
        return found

    def publish(self) -> None:
        """Move what was staged into the arrays."""
        for lane, (rows, values) in self.staged.items():
            if lane == "objects":
                self.objects.extend(rows)
                continue
            if lane not in self.lanes:
                dtype = {"floats": np.float64, "integers": np.int64, "booleans": np.bool_}.get(lane, np.int32)
                self.lanes = {**self.lanes, lane: (Growing(np.int64), Growing(dtype))}
            at, held = self.lanes[lane]
            held.extend(values)
            at.extend(rows)
        self.staged.clear()

    def slice(self, lane: str, start: int, stop: int) -> tuple[NDArray[np.int64], NDArray[Any]] | None:
        """Rows (relative to `start`) and values of a lane within a range of rows; None when there are none."""
        pair = self.lanes.get(lane)
        if pair is None:
            return None
        rows = pair[0].view()
        first, last = np.searchsorted(rows, (start, stop))
        if first == last:
            return None
        return rows[first:last] - start, pair[1].view()[first:last]


def _elements(array: list[Any]) -> tuple[Any, ...]:
    """An array as the evaluator compares it: nested arrays as tuples, objects as they are."""
    return tuple(nfc(e) if isinstance(e, str) else _elements(e) if isinstance(e, list) else e for e in array)


class _Body(msgspec.Struct):
    """What an index reads of an item; the rest is skipped without being decoded."""

    properties: dict[str, Any]
    geometry: msgspec.Raw = msgspec.Raw(b"null")


class Tail:
    """Every item version that a search may still see, newest last."""

    def __init__(self) -> None:
        self.rows = 0
        self.seq = Growing(np.int64)
        self.died = Growing(np.int64)
        self.collection = Growing(np.int64)
        self.when = Growing(np.int64)
        self.when_known = Growing(np.bool_)
        self.start = Growing(np.int64)
        self.end = Growing(np.int64)
        self.shapes = Growing(np.object_)
        self.boxes = Growing(np.float64, 4)
        self.placed = Growing(np.bool_)  # not so where the geometry is null
        self.ids = StringTable()
        self.id_codes = Growing(np.int32)
        self.columns: dict[str, ColumnData] = {}
        self._decode = msgspec.json.Decoder(_Body).decode

    def append(self, changes: Sequence[Change]) -> None:
        """Add the documents of item versions, in order; and end what they replace."""
        kept = [change for change in changes if change.body is not None]
        bodies = [self._decode(change.body) for change in kept]  # type: ignore[arg-type]
        touched: dict[str, ColumnData] = {}
        columns = self.columns
        for row, body in enumerate(bodies, self.rows):
            for name, value in leaves(body.properties):
                data = touched.get(name)
                if data is None:
                    data = touched[name] = columns.get(name) or ColumnData()
                data.stage(row, value)
        self._append_time([body.properties for body in bodies])
        self._append_shapes(kept, bodies)
        self.id_codes.extend([self.ids.add(change.version.id) for change in kept])
        self.collection.extend([change.version.collection for change in kept])
        self.died.extend(np.full(len(kept), ALIVE, np.int64))
        self.seq.extend([change.version.seq for change in kept])
        for data in touched.values():
            data.publish()
        fresh = {name: data for name, data in touched.items() if name not in columns}
        if fresh:
            self.columns = {**columns, **fresh}
        for change in changes:
            if change.version.replaces is not None:
                self._end(change.version.replaces, change.version.seq)
        self.rows = self.seq.size

    def _append_time(self, many: list[dict[str, Any]]) -> None:
        when, when_known, starts, ends = [], [], [], []
        for properties in many:
            moment = _span(properties.get("datetime"))
            start, end = _span(properties.get("start_datetime")), _span(properties.get("end_datetime"))
            place = moment or start
            when.append(place[0] if place else 0)
            when_known.append(place is not None)
            if start and end:
                starts.append(start[0])
                ends.append(end[1])
            else:
                starts.append(moment[0] if moment else 0)
                ends.append(moment[1] if moment else 0)
        self.when.extend(when)
        self.when_known.extend(when_known)
        self.start.extend(starts)
        self.end.extend(ends)

    def _append_shapes(self, changes: list[Change], bodies: list[_Body]) -> None:
        shapes = np.full(len(bodies), None, np.object_)
        texts_of = [bytes(body.geometry) for body in bodies]
        literal = [i for i, c in enumerate(changes) if c.shape is None and texts_of[i] != b"null"]
        if literal:
            texts = np.array([texts_of[i].decode() for i in literal], np.object_)
            shapes[literal] = shapely.force_2d(shapely.from_geojson(texts))
        stored = [i for i, change in enumerate(changes) if change.shape is not None]
        if stored:
            shapes[stored] = shapely.from_wkb(np.array([changes[i].shape for i in stored], np.object_))
        self.shapes.extend(shapes)
        self.boxes.extend(shapely.bounds(shapes).reshape(-1, 4))
        self.placed.extend(shapes != None)  # noqa: E711 - elementwise

    def _end(self, seq: int, by: int) -> None:
        seqs = self.seq.view()
        row = int(np.searchsorted(seqs, seq))
        if row < len(seqs) and seqs[row] == seq:
            self.died.view()[row] = by

    def blocks(self, size: int = 65_536) -> Iterator[tuple[int, int]]:
        """Ranges of rows, newest first."""
        stop = self.rows
        while stop > 0:
            yield max(0, stop - size), stop
            stop -= size


def _span(value: Any) -> tuple[int, int] | None:
    return parse_temporal(value) if isinstance(value, str) else None

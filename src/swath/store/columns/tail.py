"""Columns that grow: the versions of items in the order of the ledger, held in memory.

Appending happens under the index's lock; readers take the number of rows first and never look behind it,
so that they need no lock: arrays are replaced when they grow, never moved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
import shapely
from numpy.typing import NDArray

from swath.cql2.bind import resolve_alias
from swath.cql2.frame import NO_ROWS, Arrays, Column, Extents, Footprints, Frame, Lane, Strings
from swath.stac.document import leaves
from swath.stac.time import format_instant, parse_temporal
from swath.store.columns.elements import elements
from swath.store.columns.frame import own_columns, temporal_rows
from swath.store.columns.rows import RowSet, count_of, held_by
from swath.store.columns.source import ALIVE, View
from swath.store.columns.strings import Growing, StringTable
from swath.store.records import Change

__all__ = ["ColumnData", "Tail"]


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
            elif abs(value) < 2**1023:  # beyond int64 a number is the nearest double (docs/design/ledger.md)
                lane, entry = "floats", float(value)
            else:  # beyond doubles it is only there
                lane, entry = "objects", 0
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
            self.array_values.append(elements(value))
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

    def slice(self, lane: str, rows: RowSet) -> tuple[NDArray[np.int64], NDArray[Any]] | None:
        """Places among the rows, and values, of those that have one; None when there are none."""
        pair = self.lanes.get(lane)
        if pair is None:
            return None
        at, found = held_by(pair[0].view(), rows)
        return (at, pair[1].view()[found]) if len(at) else None


class _Body(msgspec.Struct):
    """What an index reads of an item; the rest is skipped without being decoded."""

    properties: dict[str, Any]
    geometry: msgspec.Raw = msgspec.Raw(b"null")


class Tail:
    """Every item version that a search may still see and no segment holds, newest last."""

    ordered = False
    name = "tail"

    def __init__(self) -> None:
        self.rows = 0
        self.seq = Growing(np.int64)
        self.died = Growing(np.int64)
        self.collection = Growing(np.int64)
        self.moment = Growing(np.int64)
        self.placed_in_time = Growing(np.bool_)
        self.start = Growing(np.int64)
        self.end = Growing(np.int64)
        self.shapes = Growing(np.object_)
        self.boxes = tuple(Growing(np.float64) for _ in range(4))
        self.placed = Growing(np.bool_)  # not so where the geometry is null
        self.ids = StringTable()
        self.id_codes = Growing(np.int32)
        self.columns: dict[str, ColumnData] = {}
        self._decode = msgspec.json.Decoder(_Body).decode

    def append(self, changes: Sequence[Change]) -> None:
        """Add the documents of item versions, in order; and end what they replace."""
        kept = [change for change in changes if change.body is not None]
        bodies = [self._decode(change.body) for change in kept]  # type: ignore[arg-type]
        for change, body in zip(kept, bodies, strict=True):
            if change.updated is not None and change.created is not None:  # where the publisher left them out
                body.properties.setdefault("created", format_instant(change.created))
                body.properties.setdefault("updated", format_instant(change.updated))
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
        self.moment.extend(when)
        self.placed_in_time.extend(when_known)
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
        for side, values in zip(self.boxes, shapely.bounds(shapes).reshape(-1, 4).T, strict=True):
            side.extend(values)
        self.placed.extend(shapes != None)  # noqa: E711 - elementwise

    def _end(self, seq: int, by: int) -> None:
        seqs = self.seq.view()
        row = int(np.searchsorted(seqs, seq))
        if row < len(seqs) and seqs[row] == seq:
            self.died.view()[row] = by

    # -- as a source --------------------------------------------------------------------------

    def frame(self, rows: RowSet, view: View) -> Frame:
        return TailFrame(self, rows, view)

    def visible(self, rows: RowSet, revision: int) -> NDArray[np.bool_] | None:
        seq, died = self.seq.view()[rows], self.died.view()[rows]
        alive: NDArray[np.bool_] = (seq <= revision) & (died > revision)
        return alive

    def seqs(self) -> NDArray[np.int64]:
        return self.seq.view()

    def keys(self) -> NDArray[Any]:
        return self.collection.view()

    def when(self) -> NDArray[np.int64]:
        return self.moment.view()

    def when_known(self) -> NDArray[np.bool_]:
        return self.placed_in_time.view()

    def item_id(self, row: int) -> str:
        return str(self.ids.values[self.id_codes.view()[row]])


class TailFrame:
    """Some rows of a tail."""

    def __init__(self, tail: Tail, rows: RowSet, view: View) -> None:
        self._tail, self._rows, self._view = tail, rows, view
        self.size = count_of(rows)

    def column(self, name: str) -> Column:
        tail, every = self._tail, np.arange(self.size, dtype=np.int64)
        plain = np.zeros(self.size, np.bool_)
        ids = Strings(every, tail.id_codes.view()[self._rows], tail.ids, plain)
        own = own_columns(name, tail.collection.view()[self._rows], ids, self._view)
        if own is not None:
            return own
        name = resolve_alias(name, self._view.exists)
        data = tail.columns.get(name)
        if data is None:
            return Column()
        return Column(
            booleans=self._lane(data, "booleans"),
            integers=self._lane(data, "integers"),
            floats=self._lane(data, "floats"),
            strings=self._strings(name, data),
            arrays=self._arrays(data),
            objects=held_by(data.objects.view(), self._rows)[0] if data.objects.size else NO_ROWS,
        )

    def _lane(self, data: ColumnData, kind: str) -> Lane | None:
        found = data.slice(kind, self._rows)
        return Lane(*found) if found else None

    def _strings(self, name: str, data: ColumnData) -> Strings | None:
        found = data.slice("strings", self._rows)
        if found is None:
            return None
        places, codes = found
        keys = self._tail.collection.view()[self._rows][places]
        return Strings(places, codes, data.strings, temporal_rows(name, keys, self._view))

    def _arrays(self, data: ColumnData) -> Arrays | None:
        found = data.slice("arrays", self._rows)
        return Arrays(*found, data.array_values) if found else None

    def extents(self) -> Extents:
        tail, rows = self._tail, self._rows
        return Extents(tail.start.view()[rows], tail.end.view()[rows], tail.placed_in_time.view()[rows])

    def footprints(self) -> Footprints:
        tail, rows = self._tail, self._rows
        west, south, east, north = (side.view()[rows] for side in tail.boxes)
        return Footprints(west, south, east, north, tail.placed.view()[rows], tail.shapes.view()[rows].__getitem__)


def _span(value: Any) -> tuple[int, int] | None:
    return parse_temporal(value) if isinstance(value, str) else None

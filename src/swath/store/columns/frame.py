"""A range of rows of the tail, as the evaluator wants to see it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from swath.cql2.bind import resolve_alias
from swath.cql2.frame import NO_ROWS, Arrays, Column, Extents, Footprints, Lane, Strings
from swath.store.columns.tail import ColumnData, StringTable, Tail

__all__ = ["CollectionNames", "TailFrame"]


class CollectionNames:
    """Ids of collections by key, as a dictionary column."""

    def __init__(self, names: dict[int, str]) -> None:
        self.table = StringTable()
        self.codes = np.zeros(max(names, default=0) + 1, np.int32)
        for key, name in names.items():
            self.codes[key] = self.table.add(name)


class TailFrame:
    """Rows `start` to `stop` of a tail. `temporal` tells in which collections a name holds instants only."""

    def __init__(
        self,
        tail: Tail,
        start: int,
        stop: int,
        names: CollectionNames,
        temporal: Callable[[str], NDArray[np.int64]],
    ) -> None:
        self._tail, self._start, self._stop = tail, start, stop
        self._names, self._temporal = names, temporal
        self.size = stop - start

    def _all(self) -> NDArray[np.int64]:
        return np.arange(self.size, dtype=np.int64)

    def column(self, name: str) -> Column:
        plain = np.zeros(self.size, np.bool_)
        if name == "id":
            codes = self._tail.id_codes.view()[self._start : self._stop]
            return Column(strings=Strings(self._all(), codes, self._tail.ids, plain))
        if name == "collection":
            keys = self._tail.collection.view()[self._start : self._stop]
            return Column(strings=Strings(self._all(), self._names.codes[keys], self._names.table, plain))
        if name == "geometry":  # the item's own: see `footprints`
            return Column()
        name = resolve_alias(name, self._tail.columns.__contains__)
        data = self._tail.columns.get(name)
        if data is None:
            return Column()
        return Column(
            booleans=self._lane(data, "booleans"),
            integers=self._lane(data, "integers"),
            floats=self._lane(data, "floats"),
            strings=self._strings(name, data),
            arrays=self._arrays(data),
            objects=self._objects(data),
        )

    def _lane(self, data: ColumnData, kind: str) -> Lane | None:
        found = data.slice(kind, self._start, self._stop)
        return Lane(*found) if found else None

    def _strings(self, name: str, data: ColumnData) -> Strings | None:
        found = data.slice("strings", self._start, self._stop)
        if found is None:
            return None
        rows, codes = found
        keys = self._tail.collection.view()[self._start : self._stop][rows]
        return Strings(rows, codes, data.strings, np.isin(keys, self._temporal(name)))

    def _arrays(self, data: ColumnData) -> Arrays | None:
        found = data.slice("arrays", self._start, self._stop)
        return Arrays(*found, data.array_values) if found else None

    def _objects(self, data: ColumnData) -> NDArray[np.int64]:
        rows = data.objects.view()
        if not len(rows):
            return NO_ROWS
        first, last = np.searchsorted(rows, (self._start, self._stop))
        return rows[first:last] - self._start

    def extents(self) -> Extents:
        part = slice(self._start, self._stop)
        return Extents(self._tail.start.view()[part], self._tail.end.view()[part], self._tail.when_known.view()[part])

    def footprints(self) -> Footprints:
        part = slice(self._start, self._stop)
        tail = self._tail
        return Footprints(tail.shapes.view()[part], tail.boxes.view()[part], tail.placed.view()[part])

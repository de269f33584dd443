"""Facts about the properties of selected rows: kinds, few distinct strings, least and greatest numbers."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from swath.cql2.frame import Column
from swath.store.base import PropertyFacts

__all__ = ["Gathered"]


class Gathered:
    """Facts of one property, gathered block by block."""

    def __init__(self, most_values: int) -> None:
        self.most, self.kinds, self.count = most_values, set[str](), 0
        self.values: set[str] | None = set()
        self.low: int | float | None = None
        self.high: int | float | None = None

    def add(self, column: Column, chosen: NDArray[np.bool_]) -> None:
        for kind, lane in (("boolean", column.booleans), ("integer", column.integers), ("number", column.floats)):
            if lane is not None:
                picked = lane.values[chosen[lane.rows]]
                if len(picked):
                    self.kinds.add(kind)
                    self.count += len(picked)
                    if kind != "boolean":
                        low, high = picked.min().item(), picked.max().item()
                        self.low = low if self.low is None else min(self.low, low)
                        self.high = high if self.high is None else max(self.high, high)
        if column.strings is not None:
            self._add_strings(column, chosen)
        if column.arrays is not None and chosen[column.arrays.rows].any():
            self.kinds.add("array")
            self.count += int(chosen[column.arrays.rows].sum())
        if chosen[column.objects].any():
            self.kinds.add("object")
            self.count += int(chosen[column.objects].sum())

    def _add_strings(self, column: Column, chosen: NDArray[np.bool_]) -> None:
        strings = column.strings
        assert strings is not None
        picked = chosen[strings.rows]
        codes = np.unique(strings.codes[picked])
        if not len(codes):
            return
        self.count += int(picked.sum())
        _, first, last = strings.dictionary.spans()
        if strings.temporal[picked].all():
            self.kinds.add("date" if (first[codes] != last[codes]).all() else "date-time")
        else:
            self.kinds.add("string")
        if self.values is not None:
            self.values.update(strings.dictionary.values[code] for code in codes[: self.most + 1])
            if len(self.values) > self.most:
                self.values = None

    def merge(self, other: Gathered) -> None:
        self.kinds |= other.kinds
        self.count += other.count
        if self.values is not None:
            self.values = None if other.values is None else self.values | other.values
            if self.values is not None and len(self.values) > self.most:
                self.values = None
        lows = [each for each in (self.low, other.low) if each is not None]
        highs = [each for each in (self.high, other.high) if each is not None]
        self.low, self.high = min(lows, default=None), max(highs, default=None)

    def result(self, name: str) -> PropertyFacts:
        values = tuple(sorted(self.values)) if self.values else None
        kinds = self.kinds
        if "string" in kinds:  # not all of them are instants
            kinds = kinds - {"date", "date-time"}
        elif "date-time" in kinds:
            kinds = kinds - {"date"}
        return PropertyFacts(name, frozenset(kinds), self.count, values, self.low, self.high)

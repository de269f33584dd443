"""Arrays and string tables that grow in memory. Readers hold on to what they began with: nothing is moved."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.cql2.folding import nfc
from swath.cql2.frame import Dictionary
from swath.stac.time import parse_temporal

__all__ = ["Growing", "StringTable"]


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

    def ranked(self, codes: NDArray[np.int32]) -> tuple[NDArray[np.float64], Sequence[str]]:
        ranks, values = self._ranked()
        return ranks[codes], values

    def _ranked(self) -> tuple[NDArray[np.float64], list[str]]:
        with self._lock:
            if len(self._ranks) < len(self._values):
                values = list(self._values)
                order = sorted(range(len(values)), key=values.__getitem__)
                ranks = np.empty(len(values), np.float64)
                ranks[order] = np.arange(len(values))
                self._ranks, self._sorted = ranks, [values[code] for code in order]
            return self._ranks, self._sorted

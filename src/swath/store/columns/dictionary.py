"""Distinct strings in a mapped file, in code point order: the number of a string is its rank."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from swath.cql2.frame import Dictionary

__all__ = ["SortedStrings", "pack_strings"]


def pack_strings(values: Sequence[str]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets (one more than strings) and UTF-8 bytes."""
    encoded = [value.encode() for value in values]
    offsets = np.zeros(len(encoded) + 1, np.int64)
    np.cumsum([len(each) for each in encoded], out=offsets[1:])
    return offsets, np.frombuffer(b"".join(encoded), np.uint8)


class _Lazy(Sequence[str]):
    """Strings that are decoded when they are asked for."""

    def __init__(self, offsets: NDArray[np.int64], blob: NDArray[np.uint8]) -> None:
        self.offsets, self.blob = offsets, memoryview(blob)  # type: ignore[arg-type]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[i] for i in range(*index.indices(len(self)))]
        return str(self.blob[self.offsets[index] : self.offsets[index + 1]], "utf-8")


class SortedStrings(Dictionary):
    """UTF-8 byte order is code point order, so codes compare as their strings do."""

    def __init__(
        self, offsets: NDArray[np.int64], blob: NDArray[np.uint8], instants: tuple[Any, Any, Any] | None
    ) -> None:
        self._values = _Lazy(offsets, blob)
        self._blob = blob
        size = len(self._values)
        self._instants = instants or (np.zeros(size, np.bool_), np.zeros(size, np.int64), np.zeros(size, np.int64))

    @property
    def values(self) -> Sequence[str]:
        return self._values

    def code(self, value: str) -> int:
        place = bisect_left(self._values, value)
        return place if place < len(self._values) and self._values[place] == value else -1

    def spans(self) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
        return self._instants

    def ranks(self, codes: NDArray[np.int32]) -> NDArray[np.float64]:
        return codes.astype(np.float64)

    def in_order(self) -> Sequence[str]:
        return self._values

    def bounds(self, value: str) -> tuple[int, int] | None:
        low = bisect_left(self._values, value)
        return low, low + (low < len(self._values) and self._values[low] == value)

    def holding(self, part: str, *, start: bool) -> NDArray[np.bool_] | None:
        """By one search through the bytes of all strings; those that begin alike lie side by side."""
        hits = np.zeros(len(self._values), np.bool_)
        wanted = part.encode()
        if not wanted:
            return ~hits
        if len(wanted) > len(self._blob):
            return hits
        if start:
            first = bisect_left(self._values, part)
            beyond = bisect_left(self._values, True, first, key=lambda value: not value.startswith(part))
            hits[first:beyond] = True
            return hits
        blob, offsets = self._blob, self._values.offsets
        places = np.flatnonzero(blob[: len(blob) - len(wanted) + 1] == wanted[0])
        for number in range(1, len(wanted)):
            places = places[blob[places + number] == wanted[number]]
        owners = np.searchsorted(offsets, places, side="right") - 1
        hits[owners[places + len(wanted) <= offsets[owners + 1]]] = True  # not across two strings
        return hits

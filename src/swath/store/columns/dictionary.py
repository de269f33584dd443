"""Distinct strings in a mapped file, in code point order: the number of a string is its rank."""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections.abc import Sequence
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from swath.cql2.frame import Dictionary

__all__ = ["SortedStrings", "cut", "pack_strings"]


_NONE = np.empty(0, np.int32)
_SEARCHED = 4_000_000  # bytes that are searched at once
_MOST_PROBED = 2_048
_RARE = 4_000  # what stands once in so many bytes is found one by one, what is more frequent byte by byte


def pack_strings(values: Sequence[bytes]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    """Offsets (one more than strings) and the bytes of all."""
    offsets = np.zeros(len(values) + 1, np.int64)
    np.cumsum([len(each) for each in values], out=offsets[1:])
    return offsets, np.frombuffer(b"".join(values), np.uint8)


def cut(offsets: NDArray[np.int64], blob: NDArray[np.uint8]) -> list[bytes]:
    """The strings again."""
    whole, ends = blob.tobytes(), offsets.tolist()
    return [whole[first:last] for first, last in itertools.pairwise(ends)]


def _places(part: NDArray[np.uint8], wanted: bytes) -> NDArray[np.int64]:
    """Where some bytes begin in others; it does not matter where two of these places overlap."""
    text, most = part.tobytes(), len(part) // _RARE
    found: list[int] = []
    place = text.find(wanted)
    while place >= 0 and len(found) <= most:
        found.append(place)
        place = text.find(wanted, place + 1)
    if place < 0:
        return np.array(found, np.int64)
    places: NDArray[np.int64] = np.flatnonzero(part[: len(part) - len(wanted) + 1] == wanted[0])
    for number in range(1, len(wanted)):
        places = places[part[places + number] == wanted[number]]
    return places


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


class _Probed(Sequence[str]):
    """The same for bisections: all begin at the same places, whose strings are kept."""

    def __init__(self, values: _Lazy) -> None:
        self._values, self._known = values, dict[int, str]()

    def __len__(self) -> int:
        return len(self._values)

    def __getitem__(self, index: Any) -> Any:
        found = self._known.get(index)
        if found is None:
            found = self._values[index]
            if len(self._known) < _MOST_PROBED:
                self._known[index] = found
        return found


class SortedStrings(Dictionary):
    """UTF-8 byte order is code point order, so codes compare as their strings do."""

    def __init__(
        self,
        offsets: NDArray[np.int64],
        blob: NDArray[np.uint8],
        instants: tuple[Any, Any, Any] | None = None,
        folded: tuple[NDArray[np.int32], Dictionary] | None = None,
        beyond_ascii: NDArray[np.int32] = _NONE,
    ) -> None:
        """`beyond_ascii` lists strings in which a character may be several bytes."""
        self._values = _Lazy(offsets, blob)
        self._probed = _Probed(self._values)
        self._blob, self._folded, self._beyond_ascii = blob, folded, beyond_ascii
        size = len(self._values)
        self._instants = instants or (np.zeros(size, np.bool_), np.zeros(size, np.int64), np.zeros(size, np.int64))

    @property
    def values(self) -> Sequence[str]:
        return self._values

    def encoded(self) -> list[bytes]:
        """All of them, as UTF-8."""
        return cut(self._values.offsets, self._blob)

    def starting_with(self, part: str) -> tuple[int, int]:
        """The range of the strings that begin with a part."""
        first = bisect_left(self._probed, part)
        return first, bisect_left(self._probed, True, first, key=lambda value: not value.startswith(part))

    def code(self, value: str) -> int:
        place = bisect_left(self._probed, value)
        return place if place < len(self._values) and self._values[place] == value else -1

    def spans(self) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
        return self._instants

    def ranked(self, codes: NDArray[np.int32]) -> tuple[NDArray[np.float64], Sequence[str]]:
        return codes.astype(np.float64), self._values

    def bounds(self, value: str) -> tuple[int, int] | None:
        low = bisect_left(self._probed, value)
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
            first, beyond = self.starting_with(part)
            hits[first:beyond] = True
            return hits
        hits[self._owners(wanted)] = True
        return hits

    def _owners(self, wanted: bytes) -> NDArray[np.int64]:
        """The strings that hold some bytes, found in the bytes of all of them, a part at a time."""
        blob, offsets = self._blob, self._values.offsets
        found: list[NDArray[np.int64]] = []
        for start in range(0, len(blob), _SEARCHED):
            part = blob[start : start + _SEARCHED + len(wanted) - 1]
            found.append(_places(part, wanted) + start)
        places = np.concatenate(found) if found else np.empty(0, np.int64)
        owners = np.searchsorted(offsets, places, side="right") - 1
        whole: NDArray[np.int64] = owners[places + len(wanted) <= offsets[owners + 1]]  # not across two strings
        return whole

    @property
    def ascii(self) -> bool:
        return not len(self._beyond_ascii)

    def lengths(self) -> NDArray[np.int64]:
        if self.ascii:
            return np.diff(self._values.offsets)
        return np.fromiter(map(len, self._values), np.int64)

    def folded(self) -> tuple[NDArray[np.int32], Dictionary] | None:
        return self._folded

    def matching(self, parts: Sequence[Sequence[str | None]]) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
        """Patterns with a beginning and an end alone, over strings in which a character is a byte."""
        if len(parts) > 2:
            return None
        begin, end = parts[0], parts[1] if len(parts) == 2 else []
        prefix = "".join(itertools.takewhile(lambda c: c is not None, begin))  # type: ignore[arg-type]
        first, last = self.starting_with(prefix)
        hits, left = np.zeros(len(self._values), np.bool_), np.zeros(len(self._values), np.bool_)
        if len(prefix) == len(begin) and len(parts) == 2 and not end:  # nothing else is asked
            hits[first:last] = True
            return hits, left
        offsets, blob = self._values.offsets, self._blob
        starts, ends = offsets[first:last], offsets[first + 1 : last + 1]
        needed = len(prefix.encode()) + len(begin) - len(prefix) + len(end)
        sizes = ends - starts
        fits = np.flatnonzero(sizes >= needed if len(parts) == 2 else sizes == needed)
        shift = len(prefix.encode()) - len(prefix)
        places = [(starts, place + shift, c) for place, c in enumerate(begin) if place >= len(prefix) and c is not None]
        places += [(ends, place - len(end), c) for place, c in enumerate(end) if c is not None]
        for base, place, character in places:
            if not character.isascii():
                fits = fits[:0]
                break
            fits = fits[blob[base[fits] + place] == ord(character)]
        hits[first + fits] = True
        beyond = self._beyond_ascii
        beyond = beyond[(beyond >= first) & (beyond < last)]
        hits[beyond], left[beyond] = False, True
        return hits, left

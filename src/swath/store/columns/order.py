"""The order of a result, and the first items behind a place in it.

One total order for every engine: the sort keys, then collection, then id. Within a key: booleans,
numbers, instants, strings; items without a value come last in both directions; -0 equals 0.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.cql2.bind import resolve_alias
from swath.cql2.frame import Column
from swath.search import SortKey
from swath.store.columns.source import Source, View

__all__ = ["Order", "comes_before"]

_MOST_KEPT = 16
_IDENTITY = "identity"  # of the orders that are kept, the one that breaks ties
_BOOLEAN, _NUMBER, _INSTANT, _STRING, _NULL = 1, 2, 3, 4, 9


@dataclass(slots=True)
class _Key:
    """A sort key over some rows: kind, value as a float, and what an integer exceeds its float by."""

    kind: NDArray[np.int8]
    value: NDArray[np.float64]
    rest: NDArray[np.int64]
    sorted_strings: Sequence[str] = ()

    def signed(self, descending: bool, backward: bool) -> tuple[NDArray[Any], ...]:
        """Arrays whose ascending order is the wanted one. Nulls are last, whatever the direction of the key."""
        sign = -1 if descending else 1
        kind = np.where(self.kind == _NULL, _NULL, sign * self.kind)
        arrays = (kind, sign * self.value, sign * self.rest)
        return tuple(-array for array in arrays) if backward else arrays

    def place(self, element: Any, descending: bool, backward: bool) -> tuple[float, ...]:
        """Where an element of a cursor's key stands among the same arrays."""
        if element is None:
            kind, value, rest = _NULL, 0.0, 0
        else:
            kind, raw = element
            if kind == _STRING:
                value, rest = float(bisect_left(self.sorted_strings, raw)), 0
                if value >= len(self.sorted_strings) or self.sorted_strings[int(value)] != raw:
                    value -= 0.5
            else:
                value, rest = _split(raw)
        sign = -1 if descending else 1
        numbers = (kind if kind == _NULL else sign * kind, sign * value, sign * rest)
        return tuple(-number for number in numbers) if backward else numbers


def _split(number: float) -> tuple[float, int]:
    nearest = float(number)
    return (nearest, int(number) - int(nearest)) if isinstance(number, int) else (nearest, 0)


class Order:
    """The order of one search over one source."""

    def __init__(self, source: Source, view: View, sort: Sequence[SortKey], *, backward: bool, rows: int) -> None:
        """`rows`: how many of the source's rows the view knows the collections of."""
        self._source, self._view, self._sort, self._backward = source, view, tuple(sort), backward
        self._whole = source.frame(0, rows, view)
        self._columns: dict[str, Column] = {}

    def first(
        self, rows: NDArray[np.int64], limit: int, after: tuple[Any, ...] | None
    ) -> tuple[NDArray[np.int64], bool]:
        """The first `limit` of the rows behind `after`, in order, and whether there are more."""
        keys = [self._key(sort, rows) for sort in self._sort]
        arrays = [
            array
            for key, sort in zip(keys, self._sort, strict=True)
            for array in key.signed(sort.descending, self._backward)
        ]
        if after is not None:
            kept = self._behind(rows, arrays, keys, after)
            rows, arrays = rows[kept], [array[kept] for array in arrays]
        if len(rows) > 4 * limit + 64:
            rows, arrays = _shrink(rows, arrays, limit + 1)
        order = np.lexsort(arrays[::-1])
        chosen = self._break_ties(rows[order], [array[order] for array in arrays], limit + 1)
        return chosen[:limit], len(chosen) > limit

    def key_of(self, row: int) -> tuple[Any, ...]:
        """The cursor key of a row: (kind, value) or None per sort key, then collection and id."""
        one = np.array([row], np.int64)
        parts: list[Any] = []
        for sort in self._sort:
            key = self._key(sort, one)
            kind = int(key.kind[0])
            if kind == _NULL:
                parts.append(None)
            elif kind == _STRING:
                parts.append((kind, key.sorted_strings[int(key.value[0])]))
            elif kind == _NUMBER and not (float(key.value[0]).is_integer() and abs(key.value[0]) < 2.0**63):
                # Of integers, only those at the very top of int64 round up to 2**63.
                whole = int(key.value[0]) + int(key.rest[0])
                parts.append((kind, whole if key.rest[0] else float(key.value[0])))
            else:
                parts.append((kind, int(key.value[0]) + int(key.rest[0])))
        return (*parts, *self.identity(row))

    def first_of_many(
        self, rows: NDArray[np.int64], limit: int, after: tuple[Any, ...] | None, kept: dict[Any, NDArray[np.int32]]
    ) -> tuple[NDArray[np.int64], bool]:
        """The same as `first` for one sort key, by walking all rows in its order until enough of them are chosen.

        `kept` holds the orders that were made before: making one takes a sort of the whole source.
        """
        (sort,) = self._sort
        name = resolve_alias(sort.name, self._view.exists)
        known = (name, sort.descending, self._view.temporal(name).tobytes())
        if known not in kept and len(kept) > _MOST_KEPT:
            kept.clear()
        ranked = kept.get(known)
        if ranked is None:
            if _IDENTITY not in kept:
                kept[_IDENTITY] = self._identities()
            ranked = kept[known] = self._ranked(sort, kept[_IDENTITY])
        chosen = np.zeros(self._source.rows, np.bool_)
        chosen[rows] = True
        first, last = 0, len(ranked)
        if after is not None:
            place = self._place(ranked, after)
            first, last = (0, place) if self._backward else (place, last)
        parts: list[NDArray[np.int64]] = []
        total, size = 0, 4 * limit + 64
        while total <= limit and first < last:
            part = ranked[max(first, last - size) : last][::-1] if self._backward else ranked[first : first + size]
            first, last = (first, last - len(part)) if self._backward else (first + len(part), last)
            found = part[chosen[part]].astype(np.int64)
            parts.append(found)
            total += len(found)
            size *= 4
        behind = np.concatenate(parts) if parts else np.empty(0, np.int64)
        return behind[:limit], len(behind) > limit

    def _identities(self) -> NDArray[np.int32]:
        """The place of each row by collection and id."""
        names, ids = self._whole.column("collection").strings, self._whole.column("id").strings
        assert names is not None
        assert ids is not None
        order = np.lexsort((ids.dictionary.ranks(ids.codes), names.dictionary.ranks(names.codes)))
        places = np.empty(len(order), np.int32)
        places[order] = np.arange(len(order), dtype=np.int32)
        return places

    def _ranked(self, sort: SortKey, identities: NDArray[np.int32]) -> NDArray[np.int32]:
        """All rows in the order of a key, forward."""
        every = np.arange(self._source.rows, dtype=np.int64)
        arrays = self._key(sort, every).signed(sort.descending, False)
        telling = [array for array in arrays if (array != array[0]).any()]
        return np.lexsort((identities, *telling[::-1])).astype(np.int32)

    def _place(self, ranked: NDArray[np.int32], after: tuple[Any, ...]) -> int:
        """Of the rows in order, the first that does not come before a place, nor at it; backward, one more than the
        last before it."""
        low, high = 0, len(ranked)
        while low < high:
            middle = (low + high) // 2
            before = comes_before(self.key_of(int(ranked[middle])), after, self._sort, backward=False)
            if before < 0 or (before == 0 and not self._backward):
                low = middle + 1
            else:
                high = middle
        return low

    def seqs(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        return self._source.seqs()[rows]

    def start_of(self, after: tuple[Any, ...]) -> int:
        """Of a source in the default order: the first row that does not come before a place, nor at it.

        Backward, one more than the last row before it.
        """
        (element, *identity), source = after, self._source
        placed = int(np.count_nonzero(source.when_known()))
        low, high = placed, source.rows
        if element is not None:
            newest_first = -source.when()[:placed]
            low, high = (int(np.searchsorted(newest_first, -element[1], side)) for side in ("left", "right"))
        place, behind = tuple(identity), not self._backward
        while low < high:  # among rows of the same time
            middle = (low + high) // 2
            found = self.identity(middle)
            if found < place or (behind and found == place):
                low = middle + 1
            else:
                high = middle
        return low

    def identity(self, row: int) -> tuple[str, str]:
        """Collection and id: what breaks every tie, in code point order."""
        return self._view.names.by_key[int(self._source.keys()[row])], self._source.item_id(row)

    def _key(self, sort: SortKey, rows: NDArray[np.int64]) -> _Key:
        size = len(rows)
        if sort.name == "datetime":
            known = self._source.when_known()[rows]
            when = np.where(known, self._source.when()[rows], 0)
            value = when.astype(np.float64)
            kind = np.where(known, _INSTANT, _NULL).astype(np.int8)
            return _Key(kind, value, when - value.astype(np.int64))
        key = _Key(np.full(size, _NULL, np.int8), np.zeros(size), np.zeros(size, np.int64))
        if sort.name not in self._columns:
            self._columns[sort.name] = self._whole.column(sort.name)
        column = self._columns[sort.name]
        if column.booleans is not None:
            at, found = _pick(column.booleans.rows, rows)
            key.kind[at], key.value[at] = _BOOLEAN, column.booleans.values[found]
        if column.floats is not None:
            at, found = _pick(column.floats.rows, rows)
            key.kind[at], key.value[at] = _NUMBER, column.floats.values[found] + 0.0  # -0 becomes 0
        if column.integers is not None:
            at, found = _pick(column.integers.rows, rows)
            _exact(key, at, column.integers.values[found], _NUMBER)
        if column.strings is not None:
            strings = column.strings
            at, found = _pick(strings.rows, rows)
            codes, temporal = strings.codes[found], strings.temporal[found]
            key.sorted_strings = strings.dictionary.in_order()
            key.kind[at], key.value[at] = _STRING, strings.dictionary.ranks(codes)
            _, first, _ = strings.dictionary.spans()
            _exact(key, at[temporal], first[codes[temporal]], _INSTANT)
        return key

    def _behind(
        self, rows: NDArray[np.int64], arrays: list[NDArray[Any]], keys: list[_Key], after: tuple[Any, ...]
    ) -> NDArray[np.bool_]:
        """Which rows come after the place `after`."""
        *elements, collection, item_id = after
        place: list[float] = []
        for key, element, sort in zip(keys, elements, self._sort, strict=True):
            place.extend(key.place(tuple(element) if element else None, sort.descending, self._backward))
        behind = np.zeros(len(rows), np.bool_)
        tied = np.ones(len(rows), np.bool_)
        for array, number in zip(arrays, place, strict=True):
            behind |= tied & (array > number)
            tied &= array == number
        limit = (collection, item_id)
        for position in np.flatnonzero(tied):
            identity = self.identity(int(rows[position]))
            behind[position] = identity < limit if self._backward else identity > limit
        return behind

    def _break_ties(self, rows: NDArray[np.int64], arrays: list[NDArray[Any]], limit: int) -> NDArray[np.int64]:
        """Rows that are equal in every key, by collection and id; only as far as `limit` reaches."""
        if not len(rows):
            return rows
        changes = np.zeros(len(rows), np.bool_)
        changes[0] = True
        for array in arrays:
            changes[1:] |= array[1:] != array[:-1]
        starts = np.flatnonzero(changes)
        chosen: list[int] = []
        for group, start in enumerate(starts):
            if len(chosen) >= limit:
                break
            stop = starts[group + 1] if group + 1 < len(starts) else len(rows)
            tied = [int(row) for row in rows[start:stop]]
            if len(tied) > 1:
                tied.sort(key=self.identity, reverse=self._backward)
            chosen.extend(tied)
        return np.array(chosen[:limit], np.int64)


def _shrink(
    rows: NDArray[np.int64], arrays: list[NDArray[Any]], keep: int
) -> tuple[NDArray[np.int64], list[NDArray[Any]]]:
    """Drop rows that cannot be among the first `keep`: one pass a key instead of sorting all."""
    for number in range(len(arrays)):
        if len(rows) <= 4 * keep:
            break
        array = arrays[number]
        edge = np.partition(array, keep - 1)[keep - 1]
        kept = array <= edge
        mixed = bool((array < edge).any())
        rows, arrays = rows[kept], [other[kept] for other in arrays]
        if mixed:
            break  # what is left differs in this key; the next ones order only within equals
    return rows, arrays


def _pick(held: NDArray[np.int64], rows: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Which of `rows` a lane holds, and where in the lane."""
    place = np.searchsorted(held, rows)
    place[place == len(held)] = 0
    at = np.flatnonzero(held[place] == rows) if len(held) else np.empty(0, np.int64)
    return at, place[at]


def _exact(key: _Key, at: NDArray[np.int64], values: NDArray[np.int64], kind: int) -> None:
    nearest = values.astype(np.float64)
    key.kind[at], key.value[at] = kind, nearest
    below = np.minimum(nearest, np.nextafter(2.0**63, 0))  # 2**63 itself is no int64
    key.rest[at] = values - below.astype(np.int64) - (nearest - below).astype(np.int64)


def comes_before(left: tuple[Any, ...], right: tuple[Any, ...], sort: Sequence[SortKey], *, backward: bool) -> int:
    """-1 or 1, as the item of one cursor key comes before or after that of another. For `functools.cmp_to_key`."""
    turn = -1 if backward else 1
    for a, b, key in zip(left, right, sort, strict=False):
        if a == b or (a is not None and b is not None and tuple(a) == tuple(b)):
            continue
        if a is None or b is None:
            return turn if a is None else -turn
        # A cursor's elements come back as lists.
        return turn * (1 if tuple(a) > tuple(b) else -1) * (-1 if key.descending else 1)
    a, b = left[len(sort) :], right[len(sort) :]
    return 0 if a == b else turn * (1 if a > b else -1)

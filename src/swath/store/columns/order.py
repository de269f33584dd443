"""The order of a result, and the first items behind a place in it.

One total order for every engine: the sort keys, then collection, then id. Within a key: booleans,
numbers, instants, strings; items without a value come last in both directions; -0 equals 0.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.search import NEWEST_FIRST, SortKey
from swath.store.columns.ranking import BOOLEAN, INSTANT, NULL, NUMBER, STRING, Ranking
from swath.store.columns.source import Source, View

__all__ = ["NEVER", "Key", "Order"]


@dataclass(slots=True)
class Key:
    """A sort key over some rows: kind, value as a float, and what an integer exceeds its float by."""

    kind: NDArray[np.int8]
    value: NDArray[np.float64]
    rest: NDArray[np.int64]
    sorted_strings: Sequence[str] = ()

    def signed(self, descending: bool, backward: bool) -> tuple[NDArray[Any], ...]:
        """Arrays whose ascending order is the wanted one. Nulls are last, whatever the direction of the key."""
        sign = -1 if descending else 1
        kind = np.where(self.kind == NULL, NULL, sign * self.kind)
        arrays = (kind, sign * self.value, sign * self.rest)
        return tuple(-array for array in arrays) if backward else arrays

    def place(self, element: Any, descending: bool, backward: bool) -> tuple[float, ...]:
        """Where an element of a cursor's key stands among the same arrays."""
        if element is None:
            kind, value, rest = NULL, 0.0, 0
        else:
            kind, raw = element
            if kind == STRING:
                value, rest = _rank_of(self.sorted_strings, raw), 0
            else:
                value, rest = _split(raw)
        sign = -1 if descending else 1
        numbers = (kind if kind == NULL else sign * kind, sign * value, sign * rest)
        return tuple(-number for number in numbers) if backward else numbers


def _split(number: float) -> tuple[float, int]:
    nearest = float(number)
    return (nearest, int(number) - int(nearest)) if isinstance(number, int) else (nearest, 0)


class Order:
    """The order of one search over one source."""

    def __init__(self, source: Source, view: View, sort: Sequence[SortKey], *, backward: bool) -> None:
        self._source, self._view, self._sort, self._backward = source, view, tuple(sort), backward

    def first(
        self, rows: NDArray[np.int64], limit: int, after: tuple[Any, ...] | None
    ) -> tuple[NDArray[np.int64], bool]:
        """The first `limit` of the (ascending) rows behind `after`, in order, and whether there are more."""
        keys = [self.key(sort, rows) for sort in self._sort]
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
        ties = [-each if self._backward else each for each, _ in self._identities(rows)]
        chosen = rows[np.lexsort((*ties[::-1], *arrays[::-1]))]
        return chosen[:limit], len(chosen) > limit

    def walked(
        self,
        ranking: Ranking,
        after: tuple[Any, ...] | None,
        limit: int,
        kept: Callable[[NDArray[np.int64]], NDArray[np.int64]],
    ) -> tuple[NDArray[np.int64], bool]:
        """The same by walking a ranking of the first key; `kept` tells which of some rows are selected."""
        sort = self._sort[0]
        single = len(self._sort) == 1
        place = None
        if after is not None:
            element = None if after[0] is None else tuple(after[0])
            place = (element, (after[1], after[2]) if single else None)
        parts: list[NDArray[np.int64]] = []
        total = 0
        edge: Any = ()
        for chunk in ranking.walk(
            descending=sort.descending, backward=self._backward, after=place, identity=self.identity,
            chunk=4 * limit + 64,
        ):  # fmt: skip
            found = kept(chunk)
            parts.append(found)
            total += len(found)
            if total <= limit:
                continue
            if single:
                break
            # The other keys decide among all that are equal in this one, and the place lies somewhere in them.
            if edge == ():
                behind = self.first(np.sort(np.concatenate(parts)), limit, after)
                if not behind[1]:
                    continue
                edge = self.keys_of(behind[0][-1:])[0][0]
            if self.keys_of(chunk[-1:])[0][0] != edge:
                break
        rows = np.concatenate(parts) if parts else np.empty(0, np.int64)
        if single:
            return rows[:limit], len(rows) > limit
        return self.first(np.sort(rows), limit, after)

    def keys_of(self, rows: NDArray[np.int64]) -> list[tuple[Any, ...]]:
        """The cursor key of each row: (kind, value) or None per sort key, then collection and id."""
        if self._sort == NEWEST_FIRST:
            known, when = self._source.when_known(), self._source.when()
            return [((INSTANT, int(when[row])) if known[row] else None, *self.identity(row)) for row in rows.tolist()]
        columns: list[list[Any]] = []
        for sort in self._sort:
            key = self.key(sort, rows)
            parts: list[Any] = []
            for kind, value, rest in zip(key.kind.tolist(), key.value.tolist(), key.rest.tolist(), strict=True):
                if kind == NULL:
                    parts.append(None)
                elif kind == STRING:
                    parts.append((kind, key.sorted_strings[int(value)]))
                elif kind == NUMBER and not (value.is_integer() and abs(value) < 2.0**63):
                    # Of integers, only those at the very top of int64 round up to 2**63.
                    parts.append((kind, int(value) + rest if rest else value))
                else:
                    parts.append((kind, int(value) + rest))
            columns.append(parts)
        return [(*parts, *self.identity(row)) for row, *parts in zip(rows.tolist(), *columns, strict=True)]

    def instants(self, rows: NDArray[np.int64]) -> NDArray[np.int64]:
        """When rows are; those without a time are last in the default order."""
        known, when = self._source.when_known()[rows], self._source.when()[rows]
        return when if known.all() else np.where(known, when, NEVER)

    def seq(self, row: int) -> int:
        return int(self._source.seqs()[row])

    def start_of(self, after: tuple[Any, ...]) -> int:
        """Of a source in the default order: the first row that does not come before a place, nor at it.

        Backward, one more than the last row before it.
        """
        (element, *identity), source = after, self._source
        placed = int(np.count_nonzero(source.when_known()))
        low, high = placed, source.rows
        if element is not None:
            newest_first = _Newest(source.when(), placed)
            low, high = (search(newest_first, -element[1]) for search in (bisect_left, bisect_right))
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

    def _identities(self, rows: NDArray[np.int64]) -> list[tuple[NDArray[np.float64], Sequence[str]]]:
        """The same for many rows: ranks of collections and ids, with the strings that they are the ranks of."""
        frame = self._source.frame(rows, self._view)
        found = []
        for name in ("collection", "id"):
            strings = frame.column(name).strings
            assert strings is not None
            found.append(strings.dictionary.ranked(strings.codes))
        return found

    def key(self, sort: SortKey, rows: NDArray[np.int64]) -> Key:
        """Of rows in any order."""
        size = len(rows)
        if sort.name == "datetime":
            known = self._source.when_known()[rows]
            when = np.where(known, self._source.when()[rows], 0)
            value = when.astype(np.float64)
            kind = np.where(known, INSTANT, NULL).astype(np.int8)
            return Key(kind, value, when - value.astype(np.int64))
        key = Key(np.full(size, NULL, np.int8), np.zeros(size), np.zeros(size, np.int64))
        column = self._source.frame(rows, self._view).column(sort.name)
        if column.booleans is not None:
            at = column.booleans.rows
            key.kind[at], key.value[at] = BOOLEAN, column.booleans.values
        if column.floats is not None:
            at = column.floats.rows
            key.kind[at], key.value[at] = NUMBER, column.floats.values + 0.0  # -0 becomes 0
        if column.integers is not None:
            _exact(key, column.integers.rows, column.integers.values, NUMBER)
        if column.strings is not None:
            strings = column.strings
            at, temporal = strings.rows, strings.temporal
            key.value[at], key.sorted_strings = strings.dictionary.ranked(strings.codes)
            key.kind[at] = STRING
            if temporal.any():
                _, first, _ = strings.dictionary.spans()
                _exact(key, at[temporal], first[strings.codes[temporal]], INSTANT)
        return key

    def _behind(
        self, rows: NDArray[np.int64], arrays: list[NDArray[Any]], keys: list[Key], after: tuple[Any, ...]
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
        places = np.flatnonzero(tied)
        (names, known), (ids, held) = self._identities(rows[places])
        sign = -1 if self._backward else 1
        collections, items = sign * (names - _rank_of(known, collection)), sign * (ids - _rank_of(held, item_id))
        behind[places] = (collections > 0) | ((collections == 0) & (items > 0))
        return behind


NEVER = -(2**63) + 1  # an instant before all others, which can be negated


class _Newest(Sequence[int]):
    """Instants in the default order, negated: ascending."""

    def __init__(self, when: NDArray[np.int64], placed: int) -> None:
        self._when, self._placed = when, placed

    def __len__(self) -> int:
        return self._placed

    def __getitem__(self, index: Any) -> Any:
        return -int(self._when[index])


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


def _rank_of(values: Sequence[str], wanted: str) -> float:
    """The rank of a string; between two ranks where it is not among them."""
    place = bisect_left(values, wanted)
    return place if place < len(values) and values[place] == wanted else place - 0.5


def _exact(key: Key, at: NDArray[np.int64], values: NDArray[np.int64], kind: int) -> None:
    nearest = values.astype(np.float64)
    key.kind[at], key.value[at] = kind, nearest
    below = np.minimum(nearest, np.nextafter(2.0**63, 0))  # 2**63 itself is no int64
    key.rest[at] = values - below.astype(np.int64) - (nearest - below).astype(np.int64)

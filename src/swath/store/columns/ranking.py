"""Orders that lie in a segment: its rows by the values under one name, read from any place in either direction.

Within equal values rows lie by collection and id, whichever way the values run, so that walking against the order
goes from group to group of equal values, forward within each.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.cql2.ast import Comparison, Greater, GreaterEqual, Less, LessEqual, NotEqual
from swath.cql2.bind import resolve_alias
from swath.store.columns.segment import MappedColumn, Segment
from swath.store.columns.source import View

__all__ = ["BOOLEAN", "INSTANT", "NULL", "NUMBER", "STRING", "ColumnOrder", "Element", "Ranking", "ranking_of"]

# Kinds of values in their order. A cursor's key holds (kind, value) pairs.
BOOLEAN, NUMBER, INSTANT, STRING, NULL = 1, 2, 3, 4, 9
Element = tuple[int, Any]

_LARGEST_CHUNK = 65_536
_MOST_PROBED = 2_048


class Ranking:
    """Rows with a value, in order; `descending` where the greatest comes first. Places count from 0."""

    def __init__(
        self,
        size: int,
        rows: Callable[[int, int], NDArray[Any]],
        element: Callable[[int], Element],
        groups: Callable[[int, int], NDArray[np.bool_]],
        others: Callable[[], NDArray[Any]],
        *,
        descending: bool = False,
    ) -> None:
        """`rows` and `groups` take a range of places: the rows there, and where a value differs from the one before.
        `others` are the rows without a value, by collection and id."""
        self.size, self.rows, self.element, self._groups, self.others = size, rows, element, groups, others
        self.descending = descending

    def span(self, element: Element) -> tuple[int, int]:
        """The places of an element; an empty range where it would stand if nothing has it."""
        if not self.descending:
            first = bisect_left(range(self.size), element, key=self.element)
            return first, bisect_right(range(self.size), element, lo=first, key=self.element)

        def mirrored(place: int) -> Element:
            return self.element(self.size - 1 - place)

        first = bisect_left(range(self.size), element, key=mirrored)
        last = bisect_right(range(self.size), element, lo=first, key=mirrored)
        return self.size - last, self.size - first

    def begin(self, place: int) -> int:
        """Where the values that are equal to the one at a place begin."""
        element = self.element(place)
        if place == 0 or self.element(place - 1) != element:
            return place
        low, high = 0, place - 1
        while low < high:
            middle = (low + high) // 2
            if self.element(middle) == element:
                high = middle
            else:
                low = middle + 1
        return low

    def end(self, place: int) -> int:
        """Where they end."""
        element = self.element(place)
        if place + 1 == self.size or self.element(place + 1) != element:
            return place + 1
        low, high = place + 2, self.size
        while low < high:
            middle = (low + high) // 2
            if self.element(middle) == element:
                low = middle + 1
            else:
                high = middle
        return low

    def walk(
        self,
        *,
        descending: bool,
        backward: bool,
        after: tuple[Element | None, tuple[str, str] | None] | None,
        identity: Callable[[int], tuple[str, str]],
        chunk: int,
    ) -> Iterator[NDArray[np.int64]]:
        """Rows in order, in chunks that grow, from behind a place on: an element and the identity within it.

        Without an identity the walk begins with all that have the element.
        """
        others = self._others(after, backward, identity, chunk)
        ranked = self._ranked(after, descending != self.descending, backward, identity, chunk)
        for part in (others, ranked) if backward else (ranked, others):
            yield from part

    def _others(
        self, after: Any, backward: bool, identity: Callable[[int], tuple[str, str]], chunk: int
    ) -> Iterator[NDArray[np.int64]]:
        if backward and after is not None and after[0] is not None:
            return  # they are behind the place
        rows = self.others()
        first, last = 0, len(rows)
        if after is not None and after[0] is None and after[1] is not None:
            place = _identity_place(rows, after[1], identity, behind=not backward)
            first, last = (0, place) if backward else (place, last)
        yield from _straight(lambda a, b: rows[a:b], first, last, backward, chunk)

    def _ranked(
        self,
        after: Any,
        against: bool,
        backward: bool,
        identity: Callable[[int], tuple[str, str]],
        chunk: int,
    ) -> Iterator[NDArray[np.int64]]:
        if after is not None and after[0] is None and not backward:
            return  # they lie before the place
        if after is None or after[0] is None:
            if against:
                yield from self._grouped(0, self.size, backward, chunk)
            else:
                yield from _straight(self.rows, 0, self.size, backward, chunk)
            return
        low, high = self.span(after[0])
        if after[1] is None:
            place = high if backward else low
        else:
            place = low + _identity_place(self.rows(low, high), after[1], identity, behind=not backward)
        if not against:
            first, last = (0, place) if backward else (place, self.size)
            yield from _straight(self.rows, first, last, backward, chunk)
            return
        first, last = (low, place) if backward else (place, high)
        yield from _straight(self.rows, first, last, backward, chunk)
        first, last = (high, self.size) if backward else (0, low)
        yield from self._grouped(first, last, backward, chunk)

    def _grouped(self, first: int, last: int, backward: bool, chunk: int) -> Iterator[NDArray[np.int64]]:
        """Against the order: from the last group to the first, forward in each; backward, the reverse of that."""
        while first < last:
            if backward:
                low, high = first, min(first + chunk, last)
                low_end = self.end(low)
                if high < last:
                    high = max(low_end, self.begin(high))
                high = min(high, last)
                if low_end >= high and high - low > chunk:  # one group that is larger than a chunk
                    yield from _straight(self.rows, low, high, True, chunk)
                else:
                    yield self._turned(low, high)[::-1]
                first = high
            else:
                low, high = max(first, last - chunk), last
                high_start = max(first, self.begin(high - 1))
                if low > first:
                    low = min(high_start, self.end(low - 1))
                if high_start <= low and high - low > chunk:
                    yield from _straight(self.rows, low, high, False, chunk)
                else:
                    yield self._turned(low, high)
                last = low
            chunk = min(chunk * 4, _LARGEST_CHUNK)

    def _turned(self, first: int, last: int) -> NDArray[np.int64]:
        """Whole groups, the last one first, each forward."""
        rows = self.rows(first, last)
        changes = self._groups(first, last)
        changes[:1] = False
        group = np.cumsum(changes, dtype=np.int64)
        turned: NDArray[np.int64] = rows[np.argsort(-group, kind="stable")].astype(np.int64)
        return turned


def _straight(
    rows: Callable[[int, int], NDArray[Any]], first: int, last: int, backward: bool, chunk: int
) -> Iterator[NDArray[np.int64]]:
    while first < last:
        if backward:
            low = max(first, last - chunk)
            yield rows(low, last)[::-1].astype(np.int64)
            last = low
        else:
            high = min(last, first + chunk)
            yield rows(first, high).astype(np.int64)
            first = high
        chunk = min(chunk * 4, _LARGEST_CHUNK)


def _identity_place(
    rows: NDArray[Any], wanted: tuple[str, str], identity: Callable[[int], tuple[str, str]], *, behind: bool
) -> int:
    search = bisect_right if behind else bisect_left
    return search(range(len(rows)), wanted, key=lambda place: identity(int(rows[place])))


def ranking_of(segment: Segment, name: str, view: View) -> Ranking | None:
    """The order of a segment by a name; None where it holds none, as its strings are read otherwise at this time."""
    if name == "datetime":
        return _by_time(segment)
    if name == "collection":
        return _by_collection(segment, view)
    # A property of the name `geometry` is not what that name means.
    column = None if name == "geometry" else segment.column(resolve_alias(name, view.exists))
    name = resolve_alias(name, view.exists)
    if column is None:
        return Ranking(0, _no_rows, _no_element, _no_groups, lambda: segment.identity)
    if "strings" in column.lanes:
        temporal = set(view.temporal(name).tolist())
        mine = set(segment.collections)
        if column.by_instant and not mine <= temporal:
            return None
        if not column.by_instant and mine & temporal:
            return None
    if column.order is None:
        return Ranking(0, _no_rows, _no_element, _no_groups, lambda: segment.identity)
    return ColumnOrder(segment, column).ranking()


def _no_rows(first: int, last: int) -> NDArray[np.int64]:  # noqa: ARG001
    return np.empty(0, np.int64)


def _no_groups(first: int, last: int) -> NDArray[np.bool_]:  # noqa: ARG001
    return np.empty(0, np.bool_)


def _no_element(place: int) -> Element:
    raise IndexError(place)


def _by_time(segment: Segment) -> Ranking:
    moment = segment.moment

    def groups(first: int, last: int) -> NDArray[np.bool_]:
        return np.append(True, moment[first + 1 : last] != moment[first : last - 1])

    def others() -> NDArray[Any]:
        return np.arange(segment.placed, segment.rows)

    return Ranking(
        segment.placed, lambda first, last: np.arange(first, last), lambda place: (INSTANT, int(moment[place])),
        groups, others, descending=True,
    )  # fmt: skip


def _by_collection(segment: Segment, view: View) -> Ranking:
    identity, keys, names = segment.identity, segment.key_of_row, view.names

    def groups(first: int, last: int) -> NDArray[np.bool_]:
        codes = names.codes[keys[identity[first:last]]]
        return np.append(True, codes[1:] != codes[:-1])

    def element(place: int) -> Element:
        return STRING, names.by_key[int(keys[identity[place]])]

    return Ranking(segment.rows, lambda first, last: identity[first:last], element, groups, lambda: identity[:0])


class ColumnOrder:
    """The order of a column's values: booleans, numbers, strings (or instants)."""

    def __init__(self, segment: Segment, column: MappedColumn) -> None:
        self.segment, self.column = segment, column
        assert column.order is not None
        self.order = column.order
        self.lanes: list[tuple[int, str, NDArray[Any] | None, NDArray[Any]]] = []
        base = 0
        for kind in ("booleans", "integers", "floats", "strings"):
            if kind in column.lanes:
                rows, values = column.lanes[kind]
                self.lanes.append((base, kind, rows, values))
                base += len(values)
        self.size = base
        counts = {kind: len(values) for _, kind, _, values in self.lanes}
        self.booleans_end = counts.get("booleans", 0)
        self.numbers_end = base - counts.get("strings", 0)

    def place(self, element: Element, behind: bool, first: int = 0, last: int | None = None) -> int:
        """Where an element stands: before those that are equal to it, or behind them."""
        search = bisect_right if behind else bisect_left
        return search(range(self.size), element, first, self.size if last is None else last, key=self._probed)

    def _probed(self, place: int) -> Element:
        """The element at a place that a bisection comes by: all begin at the same places, so these are kept."""
        probed = self.column.probed
        found = probed.get(place)
        if found is None:
            found = self.element(place)
            if len(probed) < _MOST_PROBED:
                probed[place] = found
        return found

    def compared(self, kind: type[Comparison], element: Element) -> tuple[int, int]:
        """The places of values of its kind that compare so with an element; of all of them for `<>`."""
        first = {BOOLEAN: 0, NUMBER: self.booleans_end}.get(element[0], self.numbers_end)
        last = {BOOLEAN: self.booleans_end, NUMBER: self.numbers_end}.get(element[0], self.size)
        if kind is NotEqual:
            return first, last
        low = first if kind in (Less, LessEqual) else self.place(element, kind is Greater, first, last)
        high = last if kind in (Greater, GreaterEqual) else self.place(element, kind is not Less, first, last)
        return low, high

    def code_place(self, code: int) -> int:
        """Where the strings with this number and greater ones begin."""
        base, _, _, codes = self.lanes[-1]
        return bisect_left(
            range(self.size), code, self.numbers_end, self.size, key=lambda place: int(codes[self.order[place] - base])
        )

    def ranking(self) -> Ranking:
        return Ranking(self.size, self.rows, self.element, self.groups, self.others)

    def rows(self, first: int, last: int) -> NDArray[Any]:
        places = self.order[first:last]
        if len(self.lanes) == 1:
            _, _, rows, _ = self.lanes[0]
            return places if rows is None else rows[places]
        found = np.empty(len(places), np.int64)
        for base, _, rows, values in self.lanes:
            mine = np.flatnonzero((places >= base) & (places < base + len(values)))
            found[mine] = places[mine] - base if rows is None else rows[places[mine] - base]
        return found

    def element(self, place: int) -> Element:
        at = int(self.order[place])
        for base, kind, _, values in self.lanes:
            if at < base + len(values):
                value = values[at - base]
                if kind == "strings":
                    return self._string(int(value))
                return (BOOLEAN, int(value)) if kind == "booleans" else (NUMBER, value.item())
        raise IndexError(place)

    def _string(self, code: int) -> Element:
        dictionary = self.column.dictionary
        assert dictionary is not None
        if self.column.by_instant:
            return INSTANT, int(dictionary.spans()[1][code])
        return STRING, dictionary.values[code]

    def groups(self, first: int, last: int) -> NDArray[np.bool_]:
        places = self.order[first:last]
        near, rest = np.empty(len(places)), np.zeros(len(places), np.int64)
        lane_of = np.zeros(len(places), np.int8)
        for number, (base, kind, _, values) in enumerate(self.lanes):
            mine = np.flatnonzero((places >= base) & (places < base + len(values)))
            found = values[places[mine] - base]
            if kind == "strings" and self.column.by_instant:
                assert self.column.dictionary is not None
                found = self.column.dictionary.spans()[1][found]
            near[mine] = found
            if found.dtype == np.int64:
                rest[mine] = found - np.minimum(near[mine], np.nextafter(2.0**63, 0)).astype(np.int64)
            lane_of[mine] = 2 if kind in ("integers", "floats") else number * 4
        same = (near[1:] == near[:-1]) & (rest[1:] == rest[:-1]) & (lane_of[1:] == lane_of[:-1])
        return np.append(True, ~same)

    def others(self) -> NDArray[Any]:
        lacks = self.column.lacking()
        identity = self.segment.identity
        return identity[lacks[identity]] if lacks.any() else identity[:0]

"""One page out of what several sources have found, each in order."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from swath.search import NEWEST_FIRST, SortKey
from swath.store.base import Hit
from swath.store.columns.order import Key, Order
from swath.store.columns.ranking import STRING

__all__ = ["Found", "merged"]


class Found(NamedTuple):
    """What one source has for a page: rows in order, whether there are more, how many in all (None: not counted)."""

    order: Order
    rows: NDArray[np.int64]
    more: bool
    matched: int | None


class _Tie:
    """A row by its identity, which is read only where the keys of two rows are equal."""

    __slots__ = ("identity", "order", "row")

    def __init__(self, order: Order, row: int) -> None:
        self.order, self.row = order, row
        self.identity: tuple[str, str] | None = None

    def told(self) -> tuple[str, str]:
        if self.identity is None:
            self.identity = self.order.identity(self.row)
        return self.identity

    def __lt__(self, other: _Tie) -> bool:
        return self.told() < other.told()


def merged(
    found: Sequence[Found], sort: tuple[SortKey, ...], limit: int, backward: bool, within: bool
) -> tuple[list[Hit], bool]:
    """The first hits of all sources, and whether there are more; `within` where others lie before them.

    Only the ends become cursors: only they have keys.
    """
    having = [each for each in found if len(each.rows)]
    more = any(each.more for each in found)
    if len(having) > 1:
        places = list(itertools.islice(_in_order(having, sort, backward), limit + 1))
        more = more or len(places) > limit
        chosen = [(tie.order, tie.row) for _, tie in places[:limit]]
    else:
        chosen = [(each.order, row) for each in having for row in each.rows[:limit].tolist()]
    hits = [Hit(order.seq(row), ()) for order, row in chosen]
    ends = ({0} if within else set()) | ({len(hits) - 1} if more or within else set())
    for end in ends if hits else ():
        order, row = chosen[end]
        hits[end] = Hit(hits[end].seq, order.keys_of(np.array([row]))[0])
    return hits, more


def _in_order(having: Sequence[Found], sort: tuple[SortKey, ...], backward: bool) -> Iterator[tuple[Any, _Tie]]:
    if sort == NEWEST_FIRST:
        return heapq.merge(*(_places(each, [(-each.order.instants(each.rows)).tolist()]) for each in having),
                           reverse=backward)  # fmt: skip
    every: list[list[Any]] = [[] for _ in having]
    for each in sort:
        keys = [found.order.key(each, found.rows) for found in having]
        _rank_together(keys)
        for arrays, key in zip(every, keys, strict=True):
            arrays += [array.tolist() for array in key.signed(each.descending, backward=False)]
    return heapq.merge(*map(_places, having, every), reverse=backward)


def _places(found: Found, arrays: list[Any]) -> Iterator[tuple[Any, _Tie]]:
    for row, *numbers in zip(found.rows.tolist(), *arrays, strict=True):
        yield numbers, _Tie(found.order, row)


def _rank_together(keys: Sequence[Key]) -> None:
    """Of strings, ranks among those of all sources take the place of those in each."""
    told: list[tuple[Key, NDArray[np.bool_], list[int], dict[int, str]]] = []
    for key in keys:
        places = key.kind == STRING
        codes = [int(code) for code in key.value[places].tolist()]
        if codes:
            told.append((key, places, codes, {code: key.sorted_strings[code] for code in set(codes)}))
    ranks = {text: rank for rank, text in enumerate(sorted({text for *_, texts in told for text in texts.values()}))}
    for key, places, codes, texts in told:
        key.value[places] = [ranks[texts[code]] for code in codes]

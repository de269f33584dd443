"""Which distinct strings and arrays pass a test: each is tested once at most, and only if a row has it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.cql2.ast import Node
from swath.cql2.frame import Arrays, Dictionary
from swath.cql2.like import Part
from swath.cql2.truth import Mask

__all__ = ["Chosen"]

_NONE = np.empty(0, np.bool_)
_LARGE = 4_096  # distinct strings that are not all tested for the sake of a few rows


class Chosen:
    """What an evaluation has found out about dictionaries, kept between blocks. For one thread."""

    def __init__(self, checkpoint: Callable[[], None]) -> None:
        self.checkpoint = checkpoint
        self._selections: dict[tuple[int, Node], tuple[Mask, Mask, int]] = {}  # those that pass, those not yet tested
        self._tables: dict[tuple[int, Node], tuple[Mask, Mask, Mask]] = {}
        self._kept: list[object] = []  # what the keys above name by identity must not be freed and its place reused

    def weight(self) -> int:
        """Bytes that are kept, about."""
        masks = [mask for passing, left, _ in self._selections.values() for mask in (passing, left)]
        return sum(mask.nbytes for mask in masks) + sum(m.nbytes for masks in self._tables.values() for m in masks)

    def strings(
        self,
        dictionary: Dictionary,
        node: Node,
        test: Callable[[str], bool],
        codes: NDArray[np.int32],
        *,
        part: Part | None = None,
        parts: Sequence[Sequence[str | None]] = (),
    ) -> Mask:
        """Which strings of the dictionary pass: right for `codes`, kept between blocks, each tested once at most.

        A LIKE pattern (`parts`) may be decided at once by the dictionary; it may also tell which strings hold a plain
        part of it, and only those are tested.
        """
        key = (id(dictionary), node)
        passing, left, undecided = self._selections.get(key, (_NONE, _NONE, 0))
        values = dictionary.values
        size = len(values)
        if not len(passing) and size:
            self._kept.append(dictionary)
            self.checkpoint()
            decided = dictionary.matching(parts) if parts else None
            if decided is not None:
                passing, left = decided
            else:
                held = dictionary.holding(part.text, start=part.first) if part is not None else None
                if held is not None and part is not None and part.whole:
                    passing, left = held, np.zeros(size, np.bool_)
                else:
                    passing, left = np.zeros(size, np.bool_), np.ones(size, np.bool_) if held is None else held
            undecided = int(np.count_nonzero(left))
        if len(passing) < size:  # the dictionary has grown
            more = size - len(passing)
            passing = np.concatenate([passing, np.zeros(more, np.bool_)])
            left = np.concatenate([left, np.ones(more, np.bool_)])
            undecided += more
        if not undecided:
            self._selections[key] = passing, left, 0
            return passing
        if size > _LARGE and len(codes) < size // 2:
            here = np.unique(codes)
            asked = here[left[here]].astype(np.int64)
        else:
            asked = np.flatnonzero(left)
        for start in range(0, len(asked), 65_536):
            self.checkpoint()
            some = asked[start : start + 65_536]
            passing[some] = np.fromiter((test(values[code]) for code in some.tolist()), np.bool_, len(some))
        left[asked] = False
        self._selections[key] = passing, left, undecided - len(asked)
        return passing

    def arrays(
        self, node: Node, column: Arrays, test: Callable[[tuple[Any, ...]], tuple[bool, bool]]
    ) -> tuple[Mask, Mask]:
        """For each distinct array, whether it passes and whether it can be told: right for the codes of the column."""
        key = (id(column.values), node)
        hits, comparable, done = self._tables.get(key, (_NONE, _NONE, _NONE))
        size = len(column.values)
        if not len(done):
            self._kept.append(column.values)
        if len(done) < size:
            more = np.zeros(size - len(done), np.bool_)
            hits, comparable, done = (np.concatenate([each, more]) for each in (hits, comparable, done))
        asked = np.unique(column.codes)
        asked = asked[~done[asked]]
        for start in range(0, len(asked), 16_384):
            self.checkpoint()
            for code in asked[start : start + 16_384].tolist():
                hits[code], comparable[code] = test(column.values[code])
        done[asked] = True
        self._tables[key] = hits, comparable, done
        return hits, comparable

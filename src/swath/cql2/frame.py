"""Columns as the evaluator sees them: a block of items, kinds of JSON values kept apart.

An engine may keep values wherever it likes; it hands them out in these shapes. A lane lists the rows of
the block (ascending) that hold a value of its kind. A row in no lane has no value: NULL.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["NO_ROWS", "Arrays", "Column", "Dictionary", "Extents", "Footprints", "Frame", "Lane", "Strings"]

Rows: TypeAlias = NDArray[np.int64]
NO_ROWS: Rows = np.empty(0, np.int64)


class Dictionary(Protocol):
    """Distinct strings, in Unicode normal form C, numbered from 0."""

    @property
    def values(self) -> Sequence[str]: ...

    def code(self, value: str) -> int:
        """The number of a string, -1 when it is not there."""

    def spans(self) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
        """Which strings are dates or date-times, and their first and last microsecond."""

    def ranked(self, codes: NDArray[np.int32]) -> tuple[NDArray[np.float64], Sequence[str]]:
        """The places of strings among all in code point order, and these: of two, the greater has the greater place."""

    # What an ordered dictionary of many strings does better than by asking each:

    def bounds(self, value: str) -> tuple[int, int] | None:  # noqa: ARG002
        """Where strings are numbered in code point order: how many are less than a value, and how many not greater.
        None where they are not."""
        return None

    def matching(
        self,
        parts: Sequence[Sequence[str | None]],  # noqa: ARG002
    ) -> tuple[NDArray[np.bool_], NDArray[np.bool_]] | None:
        """Which strings match a LIKE pattern, cut at each `%` (None stands for `_`), and which must still be asked.
        None where it is as good to ask each."""
        return None

    def holding(self, part: str, *, start: bool) -> NDArray[np.bool_] | None:  # noqa: ARG002
        """Which strings begin with a part, or hold it anywhere; None where it is as good to ask each."""
        return None

    def lengths(self) -> NDArray[np.int64]:
        """Code points of each string."""
        return np.fromiter(map(len, self.values), np.int64)

    def folded(self) -> tuple[NDArray[np.int32], Dictionary] | None:
        """The strings without case: the number of each in a dictionary of them; None where none is kept."""
        return None

    @property
    def ascii(self) -> bool:
        """Whether it is known that no string has other characters."""
        return False


@dataclass(frozen=True, slots=True)
class Lane:
    """Values of one kind: bool, int64 or float64."""

    rows: Rows
    values: NDArray[Any]


@dataclass(frozen=True, slots=True)
class Strings:
    """Strings by their number in a dictionary. `temporal` marks rows whose collection holds only instants there."""

    rows: Rows
    codes: NDArray[np.int32]
    dictionary: Dictionary
    temporal: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Arrays:
    """Arrays by their number in a list of distinct arrays."""

    rows: Rows
    codes: NDArray[np.int32]
    values: Sequence[tuple[Any, ...]]


@dataclass(frozen=True, slots=True)
class Column:
    """All values that a block has under one name. None is an empty lane."""

    booleans: Lane | None = None
    integers: Lane | None = None
    floats: Lane | None = None
    strings: Strings | None = None
    arrays: Arrays | None = None
    objects: Rows = field(default_factory=lambda: NO_ROWS)

    def present(self, size: int) -> NDArray[np.bool_]:
        """Which of `size` rows have a value of any kind."""
        mask = np.zeros(size, np.bool_)
        for lane in (self.booleans, self.integers, self.floats, self.strings, self.arrays):
            if lane is not None:
                mask[lane.rows] = True
        mask[self.objects] = True
        return mask


@dataclass(frozen=True, slots=True)
class Extents:
    """The time that each row covers, in microseconds, both ends included; `known` is False where it has none."""

    start: NDArray[np.int64]
    end: NDArray[np.int64]
    known: NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Footprints:
    """Bounding box of each row, and the shapes of those that are asked for.

    `known` is False for a null geometry. The box of a null or an empty one is NaN.
    """

    west: NDArray[np.float64]
    south: NDArray[np.float64]
    east: NDArray[np.float64]
    north: NDArray[np.float64]
    known: NDArray[np.bool_]
    shapes: Callable[[Rows], NDArray[np.object_]]


class Frame(Protocol):
    """A block of items. Any name may be asked for; one that no item has gives an empty column."""

    @property
    def size(self) -> int: ...

    def column(self, name: str) -> Column: ...

    def extents(self) -> Extents: ...

    def footprints(self) -> Footprints: ...

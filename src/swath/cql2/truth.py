"""What a predicate is over a block: TRUE, FALSE or NULL for each row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

__all__ = ["Mask", "Truth", "constant", "decide", "nothing"]

Mask: TypeAlias = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Truth:
    """TRUE and unknown, a bool per row; never both. What is neither is FALSE."""

    true: Mask
    unknown: Mask

    @property
    def possible(self) -> Mask:
        """Rows that are not FALSE."""
        return self.true | self.unknown


def nothing(size: int) -> Truth:
    """NULL for every row."""
    return Truth(np.zeros(size, np.bool_), np.ones(size, np.bool_))


def constant(size: int, value: bool | None) -> Truth:
    return Truth(np.full(size, value is True), np.full(size, value is None))


def decide(truth: Truth, rows: NDArray[np.int64], hits: Any) -> None:
    """Set rows to TRUE or FALSE, as `hits` says."""
    if len(rows) == len(truth.true):  # all of them: no need to pick
        truth.true[:] = hits
        truth.unknown[:] = False
    else:
        truth.true[rows] = hits
        truth.unknown[rows] = False

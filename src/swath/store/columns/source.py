"""Rows that can be searched: a segment of mapped files, or the tail in memory. A search asks both alike."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from swath.cql2.frame import Frame
from swath.store.columns.names import CollectionNames
from swath.store.columns.rows import RowSet

__all__ = ["ALIVE", "NO_COLLECTIONS", "Source", "View"]

ALIVE = np.iinfo(np.int64).max
NO_COLLECTIONS = np.empty(0, np.int64)


@dataclass(frozen=True, slots=True)
class View:
    """What one search knows beside the rows: ids of collections, and where names hold instants only."""

    names: CollectionNames
    temporal: Callable[[str], NDArray[np.int64]]  # keys of collections
    exists: Callable[[str], bool]  # whether any row has a property of that name


class Source(Protocol):
    """Rows with their place in time. `ordered`: they lie in the default order, newest first."""

    ordered: bool

    @property
    def name(self) -> str: ...

    @property
    def rows(self) -> int: ...

    def frame(self, rows: RowSet, view: View) -> Frame:
        """Some rows, as the evaluator sees them."""

    def visible(self, rows: RowSet, revision: int) -> NDArray[np.bool_] | None:
        """Which of some rows live at a revision; None for all of them."""

    def seqs(self) -> NDArray[np.int64]: ...

    def keys(self) -> NDArray[Any]:
        """The collection of each row."""

    def when(self) -> NDArray[np.int64]:
        """The instant that places each row in time; see `when_known`."""

    def when_known(self) -> NDArray[np.bool_]: ...

    def item_id(self, row: int) -> str: ...

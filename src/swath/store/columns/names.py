"""Ids of collections by their keys."""

from __future__ import annotations

import numpy as np

from swath.store.columns.strings import StringTable

__all__ = ["CollectionNames"]


class CollectionNames:
    """Ids of collections by key, as a dictionary column."""

    def __init__(self, names: dict[int, str]) -> None:
        self.by_key = names
        self.table = StringTable()
        self.codes = np.zeros(max(names, default=0) + 1, np.int32)
        for key, name in names.items():
            self.codes[key] = self.table.add(name)

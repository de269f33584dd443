"""What the frames of the tail and of segments have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.cql2.frame import Column, Strings
from swath.store.columns.source import View

__all__ = ["own_columns", "temporal_rows"]


def own_columns(name: str, keys: NDArray[Any], ids: Strings, view: View) -> Column | None:
    """The members of an item that are not properties, whatever those hold; None for any other name."""
    if name == "id":
        return Column(strings=ids)
    if name == "collection":
        plain = np.zeros(len(keys), np.bool_)
        return Column(strings=Strings(ids.rows, view.names.codes[keys], view.names.table, plain))
    return Column() if name == "geometry" else None  # the item's own: see `footprints`


def temporal_rows(name: str, keys: NDArray[Any], view: View) -> NDArray[np.bool_]:
    """Rows of collections in which a name holds nothing but instants."""
    where = view.temporal(name)
    if not len(where) or not len(keys):
        return np.zeros(len(keys), np.bool_)
    marked = np.zeros(len(view.names.codes), np.bool_)
    marked[where[where < len(marked)]] = True
    if marked[1:].all():  # keys begin with 1
        return np.ones(len(keys), np.bool_)
    found: NDArray[np.bool_] = marked[keys]
    return found

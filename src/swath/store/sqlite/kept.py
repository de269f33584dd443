"""Items that were unpacked lately."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence

from swath.search import StoredItem

__all__ = ["KeptItems"]

_KEPT_BYTES = 64_000_000


class KeptItems:
    """Unpacked items by version, those that were asked for last. A version never changes. Any thread may ask."""

    def __init__(self) -> None:
        self._items: OrderedDict[int, StoredItem] = OrderedDict()
        self._bytes = 0
        self._lock = threading.Lock()

    def get(self, seqs: Sequence[int]) -> dict[int, StoredItem]:
        with self._lock:
            found = {seq: item for seq in seqs if (item := self._items.get(seq)) is not None}
            for seq in found:
                self._items.move_to_end(seq)
        return found

    def put(self, items: Iterable[StoredItem]) -> None:
        with self._lock:
            for item in items:
                if item.seq not in self._items and len(item.body) < _KEPT_BYTES // 16:
                    self._items[item.seq] = item
                    self._bytes += 2 * len(item.body)  # it may be kept as it is served too
            while self._bytes > _KEPT_BYTES:
                self._bytes -= 2 * len(self._items.popitem(last=False)[1].body)

"""What a search finds, as plain values in this process."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import msgspec

from swath.access import Rule
from swath.catalog.catalog import Catalog
from swath.limits import LIMITS
from swath.search import Search, StoredItem

__all__ = ["Results"]


class Results:
    """The items of a search, read page by page as they are asked for. May be iterated again."""

    def __init__(self, catalog: Catalog, search: Search, limit: int | None, rule: Rule) -> None:
        self._catalog, self._search, self._limit, self._rule = catalog, search, limit, rule

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return (msgspec.json.decode(item.body) for item in self.stored())

    def stored(self) -> Iterator[StoredItem]:
        """The items as they are stored."""
        left = self._limit
        search = replace(self._search, count="none")
        while True:
            size = LIMITS.page_max if left is None else min(left, LIMITS.page_max)
            page = self._catalog.search(replace(search, limit=min(size, 1_000)), self._rule)
            yield from page.items
            if left is not None:
                left -= len(page.items)
            if page.next is None or left == 0:
                return
            search = replace(search, token=page.next)

    def explained(self) -> dict[str, Any]:
        """How the first page is found: what was counted, which way was taken, rows and milliseconds of each step."""
        size = min(self._limit or LIMITS.page_default, LIMITS.page_max)
        return self._catalog.search(replace(self._search, limit=size, count="none"), self._rule).explained()

    @property
    def matched(self) -> int:
        """How many items there are in all, whatever the limit."""
        page = self._catalog.search(replace(self._search, limit=1, count="exact"), self._rule)
        assert page.matched is not None
        return page.matched

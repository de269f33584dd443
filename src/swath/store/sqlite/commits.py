"""When versions were committed, and by whom."""

from __future__ import annotations

from bisect import bisect_left

import apsw

from swath.store.sqlite.schema import one, rows

__all__ = ["Commits"]


class Commits:
    """The commits of a range of versions, read at once; those of versions before it, one by one."""

    def __init__(self, connection: apsw.Connection, low: int, high: int) -> None:
        self._connection = connection
        last = one(connection, 'SELECT rev FROM "commit" WHERE rev >= ? ORDER BY rev LIMIT 1', (high,))
        sql = 'SELECT rev, at, actor FROM "commit" WHERE rev >= ? AND rev <= ? ORDER BY rev'
        found = rows(connection, sql, (low, last or high))
        self._low = low
        self._revisions = [row[0] for row in found]
        self._told = [(row[1], row[2]) for row in found]
        self._others: dict[int, tuple[int, str]] = {}

    def of(self, seq: int) -> tuple[int, str]:
        """Microseconds since 1970, and the actor."""
        if seq >= self._low:
            return self._told[bisect_left(self._revisions, seq)]
        found = self._others.get(seq)
        if found is None:
            sql = 'SELECT at, actor FROM "commit" WHERE rev >= ? ORDER BY rev LIMIT 1'
            found = self._others[seq] = one(self._connection, sql, (seq,))
        return found

"""What was: versions of a thing, what was deleted, the catalogue at a revision, and what is too old to be kept.

Every version that ends another lies in the index `version_again`, by what it is a version of. A first version is led to
by the one that ended it, or by the live key: so that loading pays for no index of its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import apsw

from swath.store.records import Entry, Operation
from swath.store.sqlite.schema import one, rows

__all__ = [
    "collection_at",
    "collection_ends",
    "deleted_collections",
    "deleted_items",
    "entries",
    "item_at",
    "prune_bodies",
    "pruned",
]

_ITEM_OPERATIONS = (Operation.PUT_ITEM, Operation.DELETE_ITEM)
_COLLECTION_OPERATIONS = (Operation.PUT_COLLECTION, Operation.DELETE_COLLECTION, Operation.RESTORE_COLLECTION)
_ENTRY = """v.seq, v.op, v.collection_key, v.id, v.replaces,
    (SELECT at FROM "commit" WHERE rev >= v.seq ORDER BY rev LIMIT 1),
    (SELECT actor FROM "commit" WHERE rev >= v.seq ORDER BY rev LIMIT 1),
    EXISTS (SELECT 1 FROM body b WHERE b.seq = v.seq) FROM version v"""

# A collection that was brought back past another's end: followers count the ends, and need the other's document too.
_PASSED = """SELECT 1 FROM incarnation i CROSS JOIN version r ON r.collection_key = i.key
    WHERE i.id = ?1 AND r.id = ?1 AND r.replaces IS NOT NULL AND r.op = 7 AND r.replaces < ?2 AND r.seq > ?2"""


def _entry(row: tuple[Any, ...]) -> Entry:
    return Entry._make((*row[:7], bool(row[7])))


def pruned(connection: apsw.Connection) -> int:
    """What ended by this revision may be gone."""
    return int(one(connection, "SELECT value FROM meta WHERE name = 'pruned'") or 0)


def entries(connection: apsw.Connection, key: int, thing: str, *, item: bool) -> list[Entry]:
    """Every version of an item, or of the collection itself, newest first."""
    operations = _ITEM_OPERATIONS if item else _COLLECTION_OPERATIONS
    sql = f"SELECT {_ENTRY} WHERE v.collection_key = ? AND v.id = ? AND v.replaces IS NOT NULL"
    found = {row[0]: _entry(row) for row in rows(connection, sql, (key, thing)) if row[1] in operations}
    live = "SELECT seq FROM live WHERE collection_key = ? AND id = ?"
    if not item:
        live = "SELECT seq FROM live_collection WHERE key = ? AND id = ?"
    firsts = {entry.replaces for entry in found.values()} | {one(connection, live, (key, thing))}
    for seq in firsts - found.keys() - {None}:
        found[seq] = _entry(one(connection, f"SELECT {_ENTRY} WHERE v.seq = ?", (seq,)))
    return [found[seq] for seq in sorted(found, reverse=True)]


def item_at(connection: apsw.Connection, key: int, item_id: str, revision: int) -> int | None:
    """The version of an item that was live at a revision."""
    return _live_at(entries(connection, key, item_id, item=True), revision, Operation.DELETE_ITEM)


def collection_at(connection: apsw.Connection, collection_id: str, revision: int) -> tuple[int, int] | None:
    """Key and version of the collection that had this id at a revision."""
    for (key,) in rows(connection, "SELECT key FROM incarnation WHERE id = ? ORDER BY key DESC", (collection_id,)):
        seq = _live_at(entries(connection, key, collection_id, item=False), revision, Operation.DELETE_COLLECTION)
        if seq is not None:
            return key, seq
    return None


def _live_at(versions: Iterable[Entry], revision: int, end: Operation) -> int | None:
    for entry in versions:
        if entry.seq <= revision:
            return None if entry.operation == end else entry.seq
    return None


def deleted_collections(connection: apsw.Connection) -> list[Entry]:
    """Deleted collections that can be restored, by id; of those of one id, that which was deleted last comes first."""
    sql = """SELECT i.key, i.id FROM incarnation i
             WHERE NOT EXISTS (SELECT 1 FROM live_collection c WHERE c.id = i.id AND c.key = i.key)"""
    floor = pruned(connection)
    found = []
    for key, collection_id in rows(connection, sql):
        last = next(iter(entries(connection, key, collection_id, item=False)), None)
        if last is not None and last.operation == Operation.DELETE_COLLECTION and last.seq > floor:
            found.append(last)
    return sorted(found, key=lambda entry: (entry.id, -entry.seq))


def collection_ends(connection: apsw.Connection, collection_id: str) -> list[int]:
    """The versions that ended collections of an id, the last first."""
    sql = """SELECT v.seq FROM incarnation i CROSS JOIN version v ON v.collection_key = i.key
             WHERE i.id = ?1 AND v.id = ?1 AND v.replaces IS NOT NULL AND v.op = 4 ORDER BY v.seq DESC"""
    return [seq for (seq,) in rows(connection, sql, (collection_id,))]


def deleted_items(connection: apsw.Connection, key: int, after: str, limit: int) -> Sequence[Entry]:
    """Deleted items of a collection that can be restored, by id."""
    sql = f"""SELECT {_ENTRY} WHERE v.collection_key = ?1 AND v.id > ?2 AND v.replaces IS NOT NULL AND v.op = 2
              AND v.seq > ?3 AND NOT EXISTS (SELECT 1 FROM live l WHERE l.collection_key = ?1 AND l.id = v.id)
              AND NOT EXISTS (SELECT 1 FROM version w WHERE w.collection_key = ?1 AND w.id = v.id
                              AND w.replaces IS NOT NULL AND w.op = 2 AND w.seq > v.seq)
              ORDER BY v.id LIMIT ?4"""
    return [_entry(row) for row in rows(connection, sql, (key, after, pruned(connection), limit))]


def prune_bodies(connection: apsw.Connection, floor: int, position: int, count: int) -> int:
    """Take away documents that ended by `floor`, of the next `count` versions behind `position`; the next position.

    Within a transaction. The versions themselves stay, so that the feed tells of every end, however old.
    """
    sql = "SELECT seq, op, collection_key, replaces, id FROM version WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
    found = rows(connection, sql, (position, floor, count))
    # Documents of collections are few, and whoever follows the feed from its beginning needs them.
    ended = [
        (replaces,) for _, op, _, replaces, _ in found if replaces is not None and op not in _COLLECTION_OPERATIONS
    ]
    connection.executemany("DELETE FROM body WHERE seq = ?", ended)
    for seq, op, key, _, collection_id in found:
        if op != Operation.DELETE_COLLECTION:
            continue
        back = "SELECT 1 FROM version WHERE collection_key = ? AND replaces = ? AND op = 7"
        if one(connection, back, (key, seq)) is not None:
            continue
        items = rows(connection, "SELECT seq, id FROM live WHERE collection_key = ? LIMIT ?", (key, count))
        connection.executemany("DELETE FROM body WHERE seq = ?", [(item,) for item, _ in items])
        connection.executemany(
            "DELETE FROM live WHERE collection_key = ? AND id = ?", [(key, thing) for _, thing in items]
        )
        if len(items) == count:  # there are more: come back to this version
            return int(seq) - 1
        if one(connection, _PASSED, (collection_id, seq)) is None:
            own = [(entry.seq,) for entry in entries(connection, key, collection_id, item=False)]
            connection.executemany("DELETE FROM body WHERE seq = ?", own)
    return int(found[-1][0]) if len(found) == count else floor

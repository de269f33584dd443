"""The rows of the asset store: deliveries, their files, and the blobs that hold the bytes.

A blob is collected in three steps, so that an upload of the same bytes at any moment keeps them: whoever wants to use
bytes pins their hash first and looks for them then; the collector marks what nobody pins or uses as being deleted,
deletes it, and takes its row away.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import apsw

from swath.errors import PreconditionFailed
from swath.store.records import AssetRecord, BlobRecord, Choice, DeliveryRecord, DeliveryState, FileChanges
from swath.store.sqlite.schema import one, rows

__all__ = ["SqliteFiles", "apply"]

_ASSET = "id, delivery, blob, size, sha256, name, media_type, at"
_DELIVERY = """id, at, updated, status, name, size, media_type, title, tags, workspace_id, source, order_id, product_id,
    collection_name, producer_name, collection, reason, seconds, facts, deleted"""
_NAMES = tuple(_DELIVERY.replace("\n", "").replace(" ", "").split(","))
_BLOB = "key, sha256, size, at, deleting"

_COLUMNS = {  # of DELIVERY_SORTS
    "name": "name", "title": "title", "size": "size", "createdAt": "at", "updatedAt": "updated", "source": "source",
    "collectionName": "collection_name", "producerName": "producer_name", "id": "id", "workspaceId": "workspace_id",
    "contentType": "media_type", "productId": "product_id", "orderId": "order_id",
    "geospatialMetadataExtractionStatus": "status",
}  # fmt: skip


def apply(connection: apsw.Connection, changes: FileChanges) -> None:
    """Make the changes, within a transaction. PreconditionFailed where somebody was there before."""
    now = time.time_ns() // 1000
    for delivery_id, updated in changes.unchanged:
        if one(connection, "SELECT updated FROM delivery WHERE id = ?", (delivery_id,)) != updated:
            raise PreconditionFailed(f"the delivery {delivery_id} was changed meanwhile; read it again")
    for job in changes.jobs:
        connection.execute("INSERT OR REPLACE INTO job VALUES (?, ?, ?, ?, ?, ?)",
                           (job.id, job.kind, job.at, job.state, job.request, job.result))  # fmt: skip
    for name, sha256 in changes.pins:
        connection.execute("INSERT OR REPLACE INTO pin VALUES (?, ?, ?)", (name, sha256, now))
    for blob in changes.blobs:
        connection.execute(
            "INSERT OR IGNORE INTO blob VALUES (?, ?, ?, ?, ?)",
            (blob.key, blob.sha256, blob.size, blob.at, int(blob.deleting)),
        )
    for each in changes.assets:
        connection.execute(
            "INSERT OR REPLACE INTO asset VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
            (each.id, each.delivery, each.blob, each.size, each.sha256, each.name, each.media_type, each.at),
        )
    for record in changes.deliveries:
        _note_state(connection, record)
        connection.execute(f"INSERT OR REPLACE INTO delivery VALUES ({', '.join('?' * 20)})", _row_of(record))
    for name in changes.unpin:
        connection.execute("DELETE FROM pin WHERE name = ?", (name,))
    for delivery_id in changes.forget:
        connection.execute("DELETE FROM asset WHERE delivery = ?", (delivery_id,))
        connection.execute("DELETE FROM delivery_state WHERE delivery = ?", (delivery_id,))
        connection.execute("DELETE FROM delivery WHERE id = ?", (delivery_id,))


def _note_state(connection: apsw.Connection, record: DeliveryRecord) -> None:
    """For those who are told of it, where a delivery comes into another state."""
    if one(connection, "SELECT status FROM delivery WHERE id = ?", (record.id,)) != record.status:
        connection.execute(
            "INSERT INTO delivery_state VALUES (NULL, ?, ?, ?, ?, ?, ?, ?)",
            (record.updated, record.id, record.workspace_id, record.order_id, record.collection, record.status,
             record.reason),
        )  # fmt: skip


def _row_of(record: DeliveryRecord) -> tuple[Any, ...]:
    tags = None if record.tags is None else json.dumps(record.tags, ensure_ascii=False)
    return (
        record.id, record.at, record.updated, record.status, record.name, record.size, record.media_type, record.title,
        tags, record.workspace_id, record.source, record.order_id, record.product_id, record.collection_name,
        record.producer_name, record.collection, record.reason, record.seconds, record.facts, record.deleted,
    )  # fmt: skip


def _delivery(row: tuple[Any, ...]) -> DeliveryRecord:
    values = dict(zip(_NAMES, row, strict=True))
    tags = values["tags"]
    return DeliveryRecord(**values | {"tags": None if tags is None else tuple(json.loads(tags))})


class SqliteFiles:
    """The asset store's rows in a ledger's database; see `store.base.Files`."""

    def __init__(
        self, reader: Callable[[], apsw.Connection], within: Callable[[Callable[[apsw.Connection], Any]], Any]
    ) -> None:
        """`reader` gives a connection, `within` does something in a transaction."""
        self._reader, self._within = reader, within

    def asset(self, asset_id: str) -> AssetRecord | None:
        sql = f"""SELECT {", ".join("a." + name for name in _ASSET.split(", "))} FROM asset a
            JOIN delivery d ON d.id = a.delivery WHERE a.id = ? AND d.deleted IS NULL"""
        row = one(self._reader(), sql, (asset_id,))
        return AssetRecord(*row) if row is not None else None

    def assets_of(self, delivery_id: str) -> list[AssetRecord]:
        sql = f"SELECT {_ASSET} FROM asset WHERE delivery = ? ORDER BY id"
        return [AssetRecord(*row) for row in rows(self._reader(), sql, (delivery_id,))]

    def delivery(self, delivery_id: str) -> DeliveryRecord | None:
        row = one(self._reader(), f"SELECT {_DELIVERY} FROM delivery WHERE id = ?", (delivery_id,))
        return _delivery(row) if row is not None else None

    def delivery_of(self, collection_id: str) -> DeliveryRecord | None:
        sql = f"SELECT {_DELIVERY} FROM delivery WHERE collection = ? ORDER BY deleted IS NOT NULL, at DESC LIMIT 1"
        row = one(self._reader(), sql, (collection_id,))
        return _delivery(row) if row is not None else None

    def deliveries(self, choice: Choice, limit: int, offset: int = 0) -> tuple[list[DeliveryRecord], int]:
        where, values = _conditions(choice)
        order = [
            f"{_COLUMNS[name]} IS NULL, {_COLUMNS[name]} {'DESC' if down else 'ASC'}" for name, down in choice.sort
        ]
        total = one(self._reader(), f"SELECT count(*) FROM delivery WHERE {where}", tuple(values))
        ordered = ", ".join((*order, "id"))
        sql = f"SELECT {_DELIVERY} FROM delivery WHERE {where} ORDER BY {ordered} LIMIT ? OFFSET ?"
        return [_delivery(row) for row in rows(self._reader(), sql, (*values, limit, offset))], int(total)

    def last_state(self) -> int:
        # That of the sequence, not of the table: of what is forgotten nobody is told, but its places were there.
        return int(one(self._reader(), "SELECT seq FROM sqlite_sequence WHERE name = 'delivery_state'") or 0)

    def states(self, after: int, until: int, limit: int) -> list[DeliveryState]:
        sql = """SELECT seq, at, delivery, workspace_id, order_id, collection, status, reason FROM delivery_state
            WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"""
        return [DeliveryState(*row) for row in rows(self._reader(), sql, (after, until, limit))]

    def blobs_of(self, sha256: str) -> list[BlobRecord]:
        sql = f"SELECT {_BLOB} FROM blob WHERE sha256 = ? ORDER BY key"
        return [_blob(row) for row in rows(self._reader(), sql, (sha256,))]

    def blobs(self) -> Iterator[BlobRecord]:
        after, sql = "", f"SELECT {_BLOB} FROM blob WHERE key > ? ORDER BY key LIMIT 1000"
        while page := rows(self._reader(), sql, (after,)):
            yield from map(_blob, page)
            after = page[-1][0]

    def pinned(self, sha256: str) -> bool:
        return one(self._reader(), "SELECT 1 FROM pin WHERE sha256 = ? LIMIT 1", (sha256,)) is not None

    def mark_unused(self, before: int, dead: int) -> list[BlobRecord]:
        marked: list[BlobRecord] = self._within(lambda connection: _mark_unused(connection, before, dead))
        return marked

    def forget_blob(self, key: str) -> None:
        sql = "DELETE FROM blob WHERE key = ? AND deleting = 1"
        self._within(lambda connection: connection.execute(sql, (key,)))


def _conditions(choice: Choice) -> tuple[str, list[Any]]:
    """The condition in SQL, whose text no value has a part in, and its values."""
    parts = ["deleted IS NOT NULL" if choice.deleted else "deleted IS NULL"]
    values: list[Any] = []
    single: tuple[tuple[str, Any], ...] = (
        ("at >= ?", choice.after), ("at <= ?", choice.before), ("workspace_id = ?", choice.workspace_id),
        ("order_id = ?", choice.order_id),
    )  # fmt: skip
    for condition, value in single:
        if value is not None:
            parts.append(condition)
            values.append(value)
    many: tuple[tuple[str, Sequence[str]], ...] = (
        ("collection_name", choice.collection_names), ("producer_name", choice.producer_names),
        ("source", choice.sources), ("status", choice.statuses), ("id", choice.ids),
    )  # fmt: skip
    for column, wanted in many:
        if wanted:
            parts.append(f"{column} IN (SELECT value FROM json_each(?))")
            values.append(json.dumps(wanted))
    if choice.collections is not None:
        parts.append("collection IN (SELECT value FROM json_each(?))")
        values.append(json.dumps(sorted(choice.collections)))
    if choice.tags:
        parts.append("EXISTS (SELECT 1 FROM json_each(tags) t JOIN json_each(?) w ON w.value = t.value)")
        values.append(json.dumps(choice.tags))
    if choice.search is not None:
        sought = ("instr(lower(name), lower(?))", "instr(lower(title), lower(?))", "instr(lower(order_id), lower(?))")
        parts.append(f"({' OR '.join(f'coalesce({each}, 0)' for each in sought)})")
        values.extend([choice.search] * len(sought))
    return " AND ".join(parts), values


def _blob(row: tuple[Any, ...]) -> BlobRecord:
    key, sha256, size, at, deleting = row
    return BlobRecord(key, sha256, size, at, bool(deleting))


def _mark_unused(connection: apsw.Connection, before: int, dead: int) -> list[BlobRecord]:
    connection.execute("DELETE FROM pin WHERE at < ?", (dead,))
    connection.execute(
        """UPDATE blob SET deleting = 1 WHERE at < ? AND NOT EXISTS (SELECT 1 FROM asset a WHERE a.blob = blob.key)
           AND NOT EXISTS (SELECT 1 FROM pin p WHERE p.sha256 = blob.sha256)""",
        (before,),
    )
    return [_blob(row) for row in rows(connection, f"SELECT {_BLOB} FROM blob WHERE deleting = 1")]

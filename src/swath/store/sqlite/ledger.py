"""The ledger: reading versions, collections and items; preparing writes outside the lock."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import apsw

from swath.errors import CatalogDamaged
from swath.search import StoredItem
from swath.stac.document import CollectionDocument, ItemDocument, LinkSpans, leaves
from swath.stac.time import parse_temporal
from swath.store.base import (
    Change,
    CollectionRecord,
    Declaration,
    Fact,
    Mode,
    Operation,
    Outcome,
    PreparedWrite,
    Removal,
    Version,
)
from swath.store.sqlite import schema
from swath.store.sqlite.codec import BUILT_IN, Codec, built_in_dictionary, digest_of
from swath.store.sqlite.schema import one, rows
from swath.store.sqlite.writer import Writer, dictionaries

__all__ = ["SqliteLedger", "kind_of"]

_ROWS_PER_READ = 2_000
_KEPT_BYTES = 64_000_000
_KEPT_PAGE = 100  # items of larger pages are not kept


def kind_of(value: Any) -> str:
    """The kind of a JSON value, as facts and queryables name it."""
    kind = type(value)
    if kind is float:
        return "number"
    if kind is bool:
        return "boolean"
    if kind is int:
        return "integer" if -(2**63) <= value < 2**63 else "number"
    if kind is str:
        if len(value) >= 10 and value[4] == "-" and value[7] == "-" and parse_temporal(value) is not None:
            return "date" if len(value) == 10 else "date-time"
        return "string"
    return "array" if kind is list else "object"


class _Kept:
    """Unpacked items by version, those that were asked for last. A version never changes."""

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


class SqliteLedger:
    """A catalogue's truth in `FOLDER/catalog.db`. Safe to use from any thread."""

    def __init__(self, folder: Path) -> None:
        """CatalogUnusable when there is none, or one of another format."""
        self.folder = folder
        self._local = threading.local()
        self._readers: list[apsw.Connection] = []
        self._lock = threading.Lock()
        values = dict(rows(self._reader(), "SELECT name, value FROM meta"))
        self._epoch: bytes = values["epoch"]
        self._secret: bytes = values["secret"]
        self._codec = Codec(self._load_dictionary)
        # By collection id, the dictionary to pack with.
        self.packing = {name: number for _, name, number, _ in dictionaries(self._reader())}
        self._kept = _Kept()
        self._writer: Writer | None = None

    @staticmethod
    def create(folder: Path) -> SqliteLedger:
        """A new, empty catalogue."""
        schema.create(folder, built_in_dictionary())
        return SqliteLedger(folder)

    @staticmethod
    def exists(folder: Path) -> bool:
        return (folder / schema.FILE_NAME).is_file()

    @property
    def epoch(self) -> bytes:
        return self._epoch

    @property
    def secret(self) -> bytes:
        return self._secret

    def _reader(self) -> apsw.Connection:
        """This thread's own read-only connection."""
        connection: apsw.Connection | None = getattr(self._local, "reader", None)
        if connection is None:
            connection = schema.open_readonly(self.folder)
            self._local.reader = connection
            with self._lock:
                self._readers.append(connection)
        return connection

    def close(self) -> None:
        with self._lock:
            for connection in self._readers:
                connection.close()
            self._readers.clear()
            if self._writer is not None:
                self._writer.close()
                self._writer = None
        self._local = threading.local()

    # -- reading ------------------------------------------------------------------------------

    def head(self) -> int:
        return int(one(self._reader(), "SELECT rev FROM head"))

    def position(self) -> tuple[int, int]:
        rev, generation = one(self._reader(), "SELECT h.rev, m.generation FROM head h, manifest m")
        return int(rev), int(generation)

    def manifest(self) -> tuple[int, bytes]:
        generation, data, kept = one(self._reader(), "SELECT generation, data, sum FROM manifest")
        if schema.manifest_sum(generation, data) != kept:
            return int(generation), b""  # as good as none: the index is made anew from what is whole
        return int(generation), bytes(data)

    def publish(self, manifest: bytes, generation: int) -> bool:
        return self._open_writer().publish(manifest, generation)

    def horizon(self, seconds: float) -> int:
        before = time.time_ns() // 1000 - int(seconds * 1e6)
        sql = 'SELECT rev FROM "commit" WHERE at <= ? ORDER BY at DESC LIMIT 1'
        found = one(self._reader(), sql, (before,))
        return int(found) if found is not None else 0

    def changes(self, after: int, until: int, ended_by: int = 0) -> Iterator[Change]:
        ended = self._ended(after, ended_by)
        position = after
        sql = """
            SELECT v.seq, v.op, v.collection_key, v.id, v.replaces, b.dictionary, b.data, b.shape
            FROM version v LEFT JOIN body b ON b.seq = v.seq
            WHERE v.seq > ? AND v.seq <= ? ORDER BY v.seq LIMIT ?"""
        while position < until:
            # One short transaction a chunk: a long one would keep the log from being folded back.
            found = rows(self._reader(), sql, (position, until, _ROWS_PER_READ))
            if not found:
                return
            for seq, op, key, item_id, replaces, dictionary, data, shape in found:
                body = None
                if data is not None and seq not in ended:
                    body = self._codec.unpack(dictionary, data)
                yield Change(Version(seq, op, key, item_id, replaces), body, shape)
            position = found[-1][0]

    def versions(self, after: int, until: int) -> Iterator[tuple[Version, bytes | None]]:
        sql = (
            "SELECT seq, op, collection_key, id, replaces FROM version WHERE seq > ? AND seq <= ? ORDER BY seq LIMIT ?"
        )
        position = after
        while position < until:
            found = rows(self._reader(), sql, (position, until, 20_000))
            if not found:
                return
            for row in found:
                body = None
                if row[1] == Operation.PUT_QUERYABLES:
                    packed = one(self._reader(), "SELECT dictionary, data FROM body WHERE seq = ?", (row[0],))
                    body = self._codec.unpack(*packed)
                yield Version(*row), body
            position = found[-1][0]

    def _ended(self, after: int, by: int) -> frozenset[int]:
        """Versions behind `after` that ended at or before the revision `by`."""
        if by <= after:
            return frozenset()
        sql = "SELECT replaces FROM version WHERE seq > ? AND seq <= ? AND replaces > ?"
        return frozenset(row[0] for row in rows(self._reader(), sql, (after, by, after)))

    def facts(self, until: int) -> Sequence[Fact]:
        sql = "SELECT collection_key, name, kind, rev FROM fact WHERE rev <= ?"
        return [Fact(*row) for row in rows(self._reader(), sql, (until,))]

    def collections(self) -> Sequence[CollectionRecord]:
        sql = """
            SELECT c.key, c.id, c.seq, b.dictionary, b.data, b.links
            FROM live_collection c JOIN body b ON b.seq = c.seq ORDER BY c.id"""
        return [self._collection(row) for row in rows(self._reader(), sql)]

    def collection(self, collection_id: str) -> CollectionRecord | None:
        sql = """
            SELECT c.key, c.id, c.seq, b.dictionary, b.data, b.links
            FROM live_collection c JOIN body b ON b.seq = c.seq WHERE c.id = ?"""
        row = one(self._reader(), sql, (collection_id,))
        return self._collection(row) if row is not None else None

    def has_collection(self, collection_id: str) -> bool:
        return one(self._reader(), "SELECT 1 FROM live_collection WHERE id = ?", (collection_id,)) is not None

    def declaration(self, collection_id: str) -> bytes | None:
        sql = """
            SELECT b.dictionary, b.data FROM live_collection c JOIN declared d ON d.collection_key = c.key
            JOIN body b ON b.seq = d.seq WHERE c.id = ?"""
        row = one(self._reader(), sql, (collection_id,))
        return self._codec.unpack(*row) if row is not None else None

    def _collection(self, row: tuple[Any, ...]) -> CollectionRecord:
        key, collection_id, seq, dictionary, data, links = row
        return CollectionRecord(key, collection_id, seq, self._codec.unpack(dictionary, data), links)

    def item(self, collection_id: str, item_id: str) -> StoredItem | None:
        sql = """SELECT l.seq FROM live_collection c JOIN live l ON l.collection_key = c.key
                 WHERE c.id = ? AND l.id = ?"""
        seq = one(self._reader(), sql, (collection_id, item_id))
        return self.items((seq,))[0] if seq is not None else None

    def items(self, seqs: Sequence[int]) -> list[StoredItem]:
        known = self._kept.get(seqs)
        missing = [seq for seq in seqs if seq not in known]
        if missing:
            reader = self._reader()
            sql = """
                SELECT b.seq, i.id, v.id, b.dictionary, b.data, b.links
                FROM version v JOIN body b ON b.seq = v.seq JOIN incarnation i ON i.key = v.collection_key
                WHERE v.seq = ?"""
            with reader:
                for seq in missing:
                    row = one(reader, sql, (seq,))
                    if row is None:
                        raise CatalogDamaged(f"version {seq} has lost its document; run: swath check")
                    known[seq] = self._item(row)
            if len(seqs) <= _KEPT_PAGE:
                self._kept.put(known[seq] for seq in missing)
        return [known[seq] for seq in seqs]

    def _item(self, row: tuple[Any, ...]) -> StoredItem:
        seq, collection_id, item_id, dictionary, data, links = row
        return StoredItem(seq, collection_id, item_id, self._codec.unpack(dictionary, data), links)

    def _load_dictionary(self, number: int) -> bytes:
        data = one(self._reader(), "SELECT data FROM dictionary WHERE id = ?", (number,))
        if data is None:
            raise CatalogDamaged(f"dictionary {number} is missing; run: swath check")
        return bytes(data)

    # -- writing ------------------------------------------------------------------------------

    def prepare(self, document: ItemDocument | CollectionDocument | Declaration) -> PreparedWrite:
        body = document.body
        digest = digest_of(body)
        if not isinstance(document, ItemDocument):
            packed = self._codec.pack(BUILT_IN, body)
            if isinstance(document, Declaration):
                name, links = document.collection, LinkSpans(0, 0).pack()
                operation, made = Operation.PUT_QUERYABLES, False
            else:
                name, links = document.id, document.links.pack()
                operation, made = Operation.PUT_COLLECTION, document.made
            return PreparedWrite(operation, name, name, len(body), BUILT_IN, packed, digest, links, made=made)
        dictionary = self.packing.get(document.collection, BUILT_IN)
        facts = tuple({(name, kind_of(value)) for name, value in leaves(document.content["properties"])})
        packed = self._codec.pack(dictionary, body)
        return PreparedWrite(
            Operation.PUT_ITEM,
            document.id,
            document.collection,
            len(body),
            dictionary,
            packed,
            digest,
            document.links.pack(),
            document.shape,
            facts,
        )

    def write(self, writes: Sequence[PreparedWrite | Removal], mode: Mode, actor: str) -> list[Outcome]:
        writer = self._open_writer()
        outcomes = writer.write(writes, mode, actor)
        self.packing = writer.packing
        return outcomes

    def _open_writer(self) -> Writer:
        with self._lock:
            if self._writer is None:
                self._writer = Writer(self.folder, self._codec)
            return self._writer

    def busy(self) -> bool:
        """Whether another process wrote in the last second: then transactions should be short."""
        return self._writer is not None and self._writer.others_write()

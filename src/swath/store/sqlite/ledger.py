"""The ledger: reading versions, collections and items; preparing writes outside the lock."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, TypeVar

import apsw

from swath.errors import CatalogDamaged
from swath.search import StoredItem
from swath.stac.document import CollectionDocument, ItemDocument, leaves
from swath.stac.links import LinkSpans
from swath.stac.time import parse_temporal
from swath.store.records import (
    Change,
    CollectionRecord,
    DeadLetter,
    Declaration,
    Entry,
    Fact,
    FileChanges,
    JobRecord,
    Mode,
    Once,
    Operation,
    PreparedWrite,
    Receipt,
    Subscription,
    Version,
    Write,
)
from swath.store.sqlite import history, schema
from swath.store.sqlite import once as once_only
from swath.store.sqlite.codec import BUILT_IN, Codec, built_in_dictionary, digest_of
from swath.store.sqlite.commits import Commits
from swath.store.sqlite.files import SqliteFiles
from swath.store.sqlite.kept import KeptItems
from swath.store.sqlite.schema import one, rows
from swath.store.sqlite.writer import Terms, Writer, dictionaries

__all__ = ["HistoryLedger", "SqliteLedger", "kind_of"]

T = TypeVar("T")

_ROWS_PER_READ = 2_000
# When a version was committed, and when the first one of its life was.
_UPDATED = '(SELECT at FROM "commit" WHERE rev >= v.seq ORDER BY rev LIMIT 1)'
_CREATED = '(SELECT at FROM "commit" WHERE rev >= coalesce(v.first, v.seq) ORDER BY rev LIMIT 1)'
_COLLECTION = f"""c.key, v.id, v.seq, b.dictionary, b.data, b.links, {_UPDATED}, {_CREATED}
    FROM live_collection c JOIN version v ON v.seq = c.seq JOIN body b ON b.seq = c.seq"""
_COLLECTION_VERSION = f"""v.collection_key, v.id, v.seq, b.dictionary, b.data, b.links, {_UPDATED}, {_CREATED}
    FROM version v JOIN body b ON b.seq = v.seq"""
_ITEM = f"""v.seq, i.id, v.id, b.dictionary, b.data, b.links, {_UPDATED}, {_CREATED}
    FROM version v JOIN body b ON b.seq = v.seq JOIN incarnation i ON i.key = v.collection_key"""
_SMALL = 65_536  # bytes of a document that others may wait for
_KEPT_PAGE = 100  # items of larger pages are not kept


_KINDS = {float: "number", bool: "boolean", list: "array", dict: "object"}


def kind_of(value: Any) -> str:
    """The kind of a JSON value, as facts and queryables name it."""
    kind = type(value)
    if kind is str:
        if len(value) >= 10 and value[4] == "-" and value[7] == "-" and parse_temporal(value) is not None:
            return "date" if len(value) == 10 else "date-time"
        return "string"
    if kind is int:
        return "integer" if -(2**63) <= value < 2**63 else "number"
    return _KINDS[kind]


class SqliteLedger:
    """A catalogue's truth in `FOLDER/catalog.db`. Safe to use from any thread."""

    _manifest = "manifest"

    def __init__(self, folder: Path) -> None:
        """CatalogUnusable when there is none, or one of another format."""
        self.folder = folder
        schema.upgrade(folder)
        self._local = threading.local()
        self._first_at: int | None = None  # commits are never taken away
        self._readers: list[apsw.Connection] = []
        self._lock = threading.Lock()
        values = dict(rows(self._reader(), "SELECT name, value FROM meta"))
        self._epoch: bytes = values["epoch"]
        self._secret: bytes = values["secret"]
        self._codec = Codec(self._load_dictionary)
        # By collection id, the dictionary to pack with.
        self.packing = {name: number for _, name, number, _ in dictionaries(self._reader())}
        self._kept = KeptItems()
        self._names: dict[int, str] = {}
        self._turn = threading.Lock()
        self._writer: Writer | None = None
        self.files = SqliteFiles(self._reader, lambda work: self._open_writer().within(work))

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
        rev, generation = one(self._reader(), f"SELECT h.rev, m.generation FROM head h, {self._manifest} m")
        return int(rev), int(generation)

    def manifest(self) -> tuple[int, bytes]:
        generation, data, kept = one(self._reader(), f"SELECT generation, data, sum FROM {self._manifest}")
        if schema.manifest_sum(generation, data) != kept:
            return int(generation), b""  # as good as none: the index is made anew from what is whole
        return int(generation), bytes(data)

    def publish(self, manifest: bytes, generation: int) -> bool:
        return self._open_writer().publish(manifest, generation, self._manifest)

    def head_at(self) -> int:
        return int(one(self._reader(), "SELECT at FROM head"))

    def horizon(self, seconds: float) -> int:
        return self.revision_at(time.time_ns() // 1000 - int(seconds * 1e6))

    def committed(self, instant: int) -> bool:
        if self._first_at is None:
            self._first_at = one(self._reader(), 'SELECT min(at) FROM "commit"')
        if self._first_at is None or instant < self._first_at:  # as nearly all that publishers say
            return False
        return one(self._reader(), 'SELECT 1 FROM "commit" WHERE at = ?', (instant,)) is not None

    def revision_at(self, instant: int) -> int:
        sql = 'SELECT rev FROM "commit" WHERE at <= ? ORDER BY at DESC LIMIT 1'
        found = one(self._reader(), sql, (instant,))
        return int(found) if found is not None else 0

    def changes(self, after: int, until: int, ended_by: int = 0) -> Iterator[Change]:
        ended = self._ended(after, ended_by)
        position = after
        sql = """
            SELECT v.seq, v.op, v.collection_key, v.id, v.replaces, v.first, b.dictionary, b.data, b.shape
            FROM version v LEFT JOIN body b ON b.seq = v.seq
            WHERE v.seq > ? AND v.seq <= ? ORDER BY v.seq LIMIT ?"""
        while position < until:
            # One short transaction a chunk: a long one would keep the log from being folded back.
            found = rows(self._reader(), sql, (position, until, _ROWS_PER_READ))
            if not found:
                return
            commits = Commits(self._reader(), position + 1, found[-1][0])
            for seq, op, key, item_id, replaces, first, dictionary, data, shape in found:
                body = None
                if data is not None and seq not in ended:
                    body = self._codec.unpack(dictionary, data)
                updated, actor = commits.of(seq)
                created = commits.of(first)[0] if first is not None else updated
                yield Change(Version(seq, op, key, item_id, replaces), body, shape, updated, created, actor)
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
        return [self._collection(row) for row in rows(self._reader(), f"SELECT {_COLLECTION} ORDER BY c.id")]

    def collection(self, collection_id: str) -> CollectionRecord | None:
        row = one(self._reader(), f"SELECT {_COLLECTION} WHERE c.id = ?", (collection_id,))
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
        key, collection_id, seq, dictionary, data, links, *times = row
        return CollectionRecord(key, collection_id, seq, self._codec.unpack(dictionary, data), links, *times)

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
            sql = f"SELECT {_ITEM} WHERE v.seq = ?"
            with reader:
                for seq in missing:
                    row = one(reader, sql, (seq,))
                    if row is None:
                        raise CatalogDamaged(f"version {seq} has lost its document; run: swath check")
                    known[seq] = self._item(row)
            if len(seqs) <= _KEPT_PAGE:
                self._kept.put(known[seq] for seq in missing)
        return [known[seq] for seq in seqs]

    def kept(self, seqs: Sequence[int]) -> list[StoredItem]:
        sql = "SELECT 1 FROM body WHERE seq = ?"
        return self.items([seq for seq in seqs if one(self._reader(), sql, (seq,)) is not None])

    def _item(self, row: tuple[Any, ...]) -> StoredItem:
        seq, collection_id, item_id, dictionary, data, links, *times = row
        return StoredItem(seq, collection_id, item_id, self._codec.unpack(dictionary, data), links, *times)

    # -- history ------------------------------------------------------------------------------

    def _at_once(self, read: Callable[[apsw.Connection], T]) -> T:
        """What several statements tell of one moment."""
        reader = self._reader()
        with reader:
            found = read(reader)
        return found  # noqa: RET504 - within the block, a checker takes it for never reached

    def pruned(self) -> int:
        return history.pruned(self._reader())

    def prune(self, seconds: float) -> int:
        floor = self.revision_at(time.time_ns() // 1000 - int(seconds * 1e6))
        if floor > self.pruned():
            self._open_writer().prune(floor)
        return self.pruned()

    def history(self, collection_id: str, item_id: str | None) -> list[Entry]:
        key = one(self._reader(), "SELECT key FROM live_collection WHERE id = ?", (collection_id,))
        if key is None:
            return []
        thing = collection_id if item_id is None else item_id
        return self._at_once(lambda reader: history.entries(reader, key, thing, item=item_id is not None))

    def deleted_collections(self) -> list[Entry]:
        return self._at_once(history.deleted_collections)

    def collection_ends(self, collection_id: str) -> list[int]:
        return history.collection_ends(self._reader(), collection_id)

    def deleted_items(self, collection_id: str, after: str, limit: int) -> Sequence[Entry]:
        key = one(self._reader(), "SELECT key FROM live_collection WHERE id = ?", (collection_id,))
        if key is None:
            return ()
        return self._at_once(lambda reader: history.deleted_items(reader, key, after, limit))

    def collection_at(self, collection_id: str, revision: int) -> CollectionRecord | None:
        with self._reader() as reader:
            found = history.collection_at(reader, collection_id, revision)
            row = one(reader, f"SELECT {_COLLECTION_VERSION} WHERE v.seq = ?", (found[1],)) if found else None
        return self._collection(row) if row is not None else None

    def collections_at(self, revision: int) -> Sequence[CollectionRecord]:
        names = rows(self._reader(), "SELECT DISTINCT id FROM incarnation ORDER BY id")
        found = (self.collection_at(name, revision) for (name,) in names)
        return [record for record in found if record is not None]

    def item_at(self, collection_id: str, item_id: str, revision: int) -> StoredItem | None:
        with self._reader() as reader:
            found = history.collection_at(reader, collection_id, revision)
            seq = history.item_at(reader, found[0], item_id, revision) if found else None
            kept = seq is not None and one(reader, "SELECT 1 FROM body WHERE seq = ?", (seq,)) is not None
        return self.items((seq,))[0] if kept and seq is not None else None

    def _load_dictionary(self, number: int) -> bytes:
        data = one(self._reader(), "SELECT data FROM dictionary WHERE id = ?", (number,))
        if data is None:
            raise CatalogDamaged(f"dictionary {number} is missing; run: swath check")
        return bytes(data)

    # -- writing ------------------------------------------------------------------------------

    def turn(self, size: int) -> AbstractContextManager[object]:
        return self._turn if size <= _SMALL else nullcontext()

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
        facts = {(name, kind_of(value)) for name, value in leaves(document.content["properties"])}
        # What it leaves out is told by its commits.
        facts |= {(name, "date-time") for name in ("created", "updated") if name not in document.content["properties"]}
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
            tuple(facts),
        )

    def write(
        self,
        writes: Sequence[Write],
        mode: Mode,
        actor: str,
        *,
        atomic: bool = False,
        once: Once | None = None,
        marks: Callable[[Receipt], Mapping[str, bytes | None]] | None = None,
        files: FileChanges | None = None,
        dry_run: bool = False,
    ) -> Receipt:
        writer = self._open_writer()
        receipt = writer.write(writes, mode, actor, Terms(atomic, once, marks, files, dry_run))
        self.packing = writer.packing
        return receipt

    def done_once(self, once: Once) -> Receipt | None:
        return once_only.recall(self._reader(), once)

    def setting(self, collection_id: str, name: str) -> str | None:
        sql = "SELECT value FROM setting WHERE collection = ? AND name = ?"
        found: str | None = one(self._reader(), sql, (collection_id, name))
        return found

    def settings(self, collection_id: str) -> dict[str, str]:
        return dict(rows(self._reader(), "SELECT name, value FROM setting WHERE collection = ?", (collection_id,)))

    def set(self, collection_id: str, name: str, value: str | None) -> None:
        if value is None:
            self._open_writer().run("DELETE FROM setting WHERE collection = ? AND name = ?", (collection_id, name))
        else:
            sql = "INSERT OR REPLACE INTO setting VALUES (?, ?, ?)"
            self._open_writer().run(sql, (collection_id, name, value))

    def keep_job(self, job: JobRecord, *, new: bool = False) -> bool:
        verb = "INSERT OR IGNORE" if new else "INSERT OR REPLACE"
        values = (job.id, job.kind, job.at, job.state, job.request, job.result)
        return bool(self._open_writer().run(f"{verb} INTO job VALUES (?, ?, ?, ?, ?, ?)", values))

    def job(self, job_id: str) -> JobRecord | None:
        row = one(self._reader(), "SELECT id, kind, at, state, request, result FROM job WHERE id = ?", (job_id,))
        return JobRecord(*row) if row is not None else None

    def jobs(self) -> list[JobRecord]:
        sql = "SELECT id, kind, at, state, request, result FROM job ORDER BY at DESC, id"
        return [JobRecord(*row) for row in rows(self._reader(), sql)]

    def forget_job(self, job_id: str) -> None:
        self._open_writer().run("DELETE FROM job WHERE id = ?", (job_id,))

    def subscribe(self, subscription: Subscription) -> bool:
        s = subscription
        values = (s.id, s.at, s.request, s.secret, s.position, s.kind)
        return bool(self._open_writer().run("INSERT OR IGNORE INTO subscription VALUES (?, ?, ?, ?, ?, ?)", values))

    def resubscribe(self, subscription: Subscription) -> bool:
        s = subscription
        sql = "UPDATE subscription SET request = ?, secret = ?, position = max(position, ?) WHERE id = ? AND kind = ?"
        return bool(self._open_writer().run(sql, (s.request, s.secret, s.position, s.id, s.kind)))

    def subscriptions(self, kind: str) -> list[Subscription]:
        sql = """SELECT id, at, request, secret, position, kind FROM subscription WHERE kind = ?
            ORDER BY at DESC, id"""
        return [Subscription(*row) for row in rows(self._reader(), sql, (kind,))]

    def unsubscribe(self, subscription_id: str) -> bool:
        writer = self._open_writer()
        writer.run("DELETE FROM dead_letter WHERE subscription = ?", (subscription_id,))
        return bool(writer.run("DELETE FROM subscription WHERE id = ?", (subscription_id,)))

    def delivered(self, subscription_id: str, until: int, lost: DeadLetter | None = None) -> None:
        writer = self._open_writer()
        if lost is not None:  # told first: what is between the two is told again rather than lost
            sql = """INSERT INTO dead_letter(subscription, at, after, until, reason) SELECT ?1, ?2, ?3, ?4, ?5
                WHERE EXISTS (SELECT 1 FROM subscription WHERE id = ?1)"""
            writer.run(sql, lost[1:])
        writer.run("UPDATE subscription SET position = max(position, ?) WHERE id = ?", (until, subscription_id))

    def dead_letters(self, subscription_id: str) -> list[DeadLetter]:
        sql = (
            "SELECT id, subscription, at, after, until, reason FROM dead_letter WHERE subscription = ? ORDER BY id DESC"
        )
        return [DeadLetter(*row) for row in rows(self._reader(), sql, (subscription_id,))]

    def forget_dead_letter(self, number: int) -> None:
        self._open_writer().run("DELETE FROM dead_letter WHERE id = ?", (number,))

    def collection_name(self, key: int) -> str:
        name = self._names.get(key)
        if name is None:
            name = self._names[key] = str(one(self._reader(), "SELECT id FROM incarnation WHERE key = ?", (key,)))
        return name

    def refuse_once(self, once: Once, refusal: bytes) -> None:
        self._open_writer().run(*once_only.refusal_row(once, refusal))

    def refused_once(self, once: Once) -> bytes | None:
        return once_only.refusal(self._reader(), once)

    def marks(self, prefix: str) -> list[str]:
        sql = "SELECT name FROM mark WHERE substr(name, 1, length(?1)) = ?1"
        return [name for (name,) in rows(self._reader(), sql, (prefix,))]

    def mark(self, name: str) -> bytes | None:
        found: bytes | None = one(self._reader(), "SELECT value FROM mark WHERE name = ?", (name,))
        return found

    def _open_writer(self) -> Writer:
        with self._lock:
            if self._writer is None:
                self._writer = Writer(self.folder, self._codec)
            return self._writer

    def busy(self) -> bool:
        """Whether another process wrote in the last second: then transactions should be short."""
        return self._writer is not None and self._writer.others_write()


class HistoryLedger(SqliteLedger):
    """The same truth for an index of its own, which keeps everything that is not pruned."""

    _manifest = "history_manifest"

    def horizon(self, seconds: float) -> int:  # noqa: ARG002 - however long ago
        return self.pruned()

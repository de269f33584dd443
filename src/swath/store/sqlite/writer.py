"""The one place that writes: group commit, the gate between processes, checkpoints, dictionaries."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import apsw

from swath.errors import CatalogUnusable
from swath.store.base import Mode, Operation, Outcome, PreparedWrite, Removal
from swath.store.sqlite import schema
from swath.store.sqlite.codec import SAMPLE_BYTES, Codec, step_due, train
from swath.store.sqlite.schema import one, rows

__all__ = ["Writer", "dictionaries"]

log = logging.getLogger("swath.store")

_CHECKPOINT_PAGES = 32_000_000 // 8192
_CHECKPOINT_PATIENCE = 50  # ms
_GROUP_SECONDS = 0.25


@dataclass(slots=True)
class _Request:
    writes: Sequence[PreparedWrite | Removal]
    mode: Mode
    actor: str
    outcomes: list[Outcome] = field(default_factory=list)
    error: BaseException | None = None
    done: bool = False


@dataclass(slots=True)
class _Batch:
    """What one transaction has done so far. Rows are inserted together, keys sorted at the end."""

    seq: int
    sum: int = 0
    versions: list[tuple[object, ...]] = field(default_factory=list)
    bodies: list[tuple[object, ...]] = field(default_factory=list)
    live: dict[tuple[int, str], tuple[int, bytes] | None] = field(default_factory=dict)
    keys: dict[str, int | None] = field(default_factory=dict)
    facts: dict[tuple[int, str, str], int] = field(default_factory=dict)
    grown: dict[int, list[int]] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)  # collections that have grown, for training

    def forget(self, seq: int, total: int, touched: set[int]) -> None:
        """Back to where a request began."""
        self.seq, self.sum, self.touched = seq, total, touched
        for kept in (self.versions, self.bodies, self.live, self.keys, self.facts, self.grown):
            kept.clear()


def dictionaries(connection: apsw.Connection) -> list[tuple[int, str, int, int]]:
    """Collection key, collection id, number and step of each trained dictionary, the best of a collection last."""
    sql = """SELECT i.key, i.id, d.id, d.step FROM dictionary d JOIN incarnation i ON i.key = d.collection_key
             ORDER BY d.step, d.id"""
    return [(key, name, number, step) for key, name, number, step in rows(connection, sql)]


class Writer:
    """Commits writes in groups. One per process; callable from any thread."""

    def __init__(self, folder: Path, codec: Codec) -> None:
        self._connection = schema.open_writer(folder)
        self._connection.set_busy_timeout(60_000)
        self._connection.set_wal_hook(self._count_pages)
        self._gate = os.open(folder / "gate.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._codec = codec
        self._identity = secrets.token_bytes(8)
        self._queue: list[_Request] = []
        self._queue_lock = threading.Lock()
        self._leader = threading.Lock()
        self._facts: dict[int, set[tuple[str, str]]] = {}
        self._revision = -1
        self._wal_pages = 0
        self._others_at = 0.0
        self._steps: dict[int, int] = {}
        self.packing: dict[str, int] = {}
        for key, collection_id, number, step in dictionaries(self._connection):
            self._steps[key] = step
            self.packing[collection_id] = number

    def close(self) -> None:
        self._connection.close()
        os.close(self._gate)

    def others_write(self) -> bool:
        return time.monotonic() - self._others_at < 1.0

    def write(self, writes: Sequence[PreparedWrite | Removal], mode: Mode, actor: str) -> list[Outcome]:
        """Queue a request; whoever gets the lead commits all that wait, in one transaction."""
        request = _Request(writes, mode, actor)
        with self._queue_lock:
            self._queue.append(request)
        with self._leader:
            while not request.done:
                self._lead()
        if request.error is not None:
            raise request.error
        return request.outcomes

    def _lead(self) -> None:
        with self._queue_lock:
            waiting, self._queue = self._queue, []
        # One commit has one actor: take those of the first, in order.
        group = [request for request in waiting if request.actor == waiting[0].actor]
        done: list[_Request] = []
        try:
            self._begin()
            try:
                started = time.monotonic()
                batch = _Batch(self._revision)
                for request in group:
                    if done and time.monotonic() - started > _GROUP_SECONDS:
                        break
                    self._attempt(request, batch)
                    done.append(request)
                self._finish(batch, waiting[0].actor)
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                self._revision = -1  # caches may hold what was rolled back
                raise
        except BaseException as error:
            for request in waiting:
                request.error, request.done = error, True
            if not isinstance(error, Exception):
                raise
            return
        for request in done:
            request.done = True
        with self._queue_lock:
            self._queue = [request for request in waiting if not request.done] + self._queue
        self._revision = batch.seq
        if self._wal_pages > _CHECKPOINT_PAGES:
            self._checkpoint()
        try:
            self._train_due(batch)
        except Exception:  # the writes are safe; the next ones try to train again
            log.warning("training a dictionary failed", exc_info=True)
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")

    # -- one transaction ----------------------------------------------------------------------

    def _begin(self) -> None:
        """Through the gate, then the lock: whoever waits at the gate is next, loaders included."""
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        if self._connection.pragma("user_version") != schema.FORMAT:
            self._connection.execute("ROLLBACK")
            raise CatalogUnusable("the catalogue was changed by another version of Swath; restart this process")
        revision, writer = one(self._connection, "SELECT rev, writer FROM head")
        if writer not in (self._identity, b"") and revision != self._revision:
            self._others_at = time.monotonic()
        if revision != self._revision:
            self._facts.clear()
            self._revision = revision

    def _attempt(self, request: _Request, batch: _Batch) -> None:
        """One request's writes in a savepoint: if it fails, it alone is undone, and told so."""
        seq, total, grown = batch.seq, batch.sum, set(batch.touched)
        self._connection.execute("SAVEPOINT request")
        try:
            self._apply(request, batch)
            self._flush(batch)
        except Exception as error:
            self._connection.execute("ROLLBACK TO request")
            batch.forget(seq, total, grown)
            self._facts.clear()
            request.outcomes.clear()
            request.error = error
        self._connection.execute("RELEASE request")

    def _apply(self, request: _Request, batch: _Batch) -> None:
        for write in request.writes:
            match write:
                case PreparedWrite(operation=Operation.PUT_ITEM):
                    outcome = self._put_item(write, request.mode, batch)
                case PreparedWrite(operation=Operation.PUT_COLLECTION):
                    outcome = self._put_collection(write, request.mode, batch)
                case PreparedWrite():
                    outcome = self._declare(write, batch)
                case Removal():
                    outcome = self._remove(write, batch)
            request.outcomes.append(outcome)

    def _collection_key(self, collection_id: str, batch: _Batch) -> int | None:
        if collection_id not in batch.keys:
            found = one(self._connection, "SELECT key FROM live_collection WHERE id = ?", (collection_id,))
            batch.keys[collection_id] = found
        return batch.keys[collection_id]

    def _current(self, key: int, item_id: str, batch: _Batch) -> tuple[int, bytes] | None:
        """Sequence number and digest of the live version of an item."""
        if (key, item_id) in batch.live:
            return batch.live[key, item_id]
        sql = """SELECT l.seq, v.digest FROM live l JOIN version v ON v.seq = l.seq
                 WHERE l.collection_key = ? AND l.id = ?"""
        found: tuple[int, bytes] | None = one(self._connection, sql, (key, item_id))
        return found

    def _append(
        self, batch: _Batch, op: Operation, key: int, thing: str, replaces: int | None, write: PreparedWrite | None
    ) -> int:
        batch.seq += 1
        row = (batch.seq, int(op), key, thing, replaces, write.digest if write else None)
        batch.versions.append(row)
        batch.sum = schema.version_sum(row, batch.sum)
        if write is not None:
            kept = (write.dictionary, write.packed, write.links, write.shape)
            batch.bodies.append((batch.seq, *kept, schema.body_sum(*kept)))
        return batch.seq

    def _put_item(self, write: PreparedWrite, mode: Mode, batch: _Batch) -> Outcome:
        key = self._collection_key(write.collection, batch)
        if key is None:
            return Outcome.NO_COLLECTION
        current = self._current(key, write.id, batch)
        if current is not None:
            if mode == "insert":
                return Outcome.CONFLICT
            if mode == "ignore":
                return Outcome.IGNORED
            if current[1] == write.digest:
                return Outcome.UNCHANGED
        seq = self._append(batch, Operation.PUT_ITEM, key, write.id, current[0] if current else None, write)
        batch.live[key, write.id] = (seq, write.digest)
        known = self._known_facts(key)
        for fact in write.facts:
            if fact not in known:
                known.add(fact)
                batch.facts[(key, *fact)] = seq
        grown = batch.grown.setdefault(key, [0, 0])
        grown[0] += 1
        grown[1] += write.size
        return Outcome.UPDATED if current else Outcome.CREATED

    def _known_facts(self, key: int) -> set[tuple[str, str]]:
        if key not in self._facts:
            found = rows(self._connection, "SELECT name, kind FROM fact WHERE collection_key = ?", (key,))
            self._facts[key] = {(name, kind) for name, kind in found}
        return self._facts[key]

    def _put_collection(self, write: PreparedWrite, mode: Mode, batch: _Batch) -> Outcome:
        sql = """SELECT c.key, c.seq, c.made, v.digest FROM live_collection c JOIN version v ON v.seq = c.seq
                 WHERE c.id = ?"""
        self._flush(batch)  # an earlier write of this batch may have put the same collection
        row = one(self._connection, sql, (write.id,))
        if row is None:
            self._connection.execute("INSERT INTO incarnation(id) VALUES (?)", (write.id,))
            key, replaces = self._connection.last_insert_rowid(), None
        else:
            key, replaces, made, digest = row
            if digest == write.digest:
                return Outcome.UNCHANGED
            # One that was made from its items gives way to the first real document, in every mode.
            if write.made or not made:
                if mode == "insert":
                    return Outcome.CONFLICT
                if mode == "ignore" or write.made:
                    return Outcome.IGNORED
        seq = self._append(batch, Operation.PUT_COLLECTION, key, write.id, replaces, write)
        self._connection.execute(
            "INSERT OR REPLACE INTO live_collection VALUES (?, ?, ?, ?)", (write.id, key, seq, int(write.made))
        )
        batch.keys[write.id] = key
        return Outcome.CREATED if row is None else Outcome.UPDATED

    def _declare(self, write: PreparedWrite, batch: _Batch) -> Outcome:
        key = self._collection_key(write.collection, batch)
        if key is None:
            return Outcome.NO_COLLECTION
        self._flush(batch)
        sql = "SELECT d.seq, v.digest FROM declared d JOIN version v ON v.seq = d.seq WHERE d.collection_key = ?"
        row = one(self._connection, sql, (key,))
        if row is not None and row[1] == write.digest:
            return Outcome.UNCHANGED
        seq = self._append(batch, Operation.PUT_QUERYABLES, key, write.id, row[0] if row else None, write)
        self._connection.execute("INSERT OR REPLACE INTO declared VALUES (?, ?)", (key, seq))
        return Outcome.UPDATED if row else Outcome.CREATED

    def _remove(self, removal: Removal, batch: _Batch) -> Outcome:
        key = self._collection_key(removal.collection, batch)
        if key is None:
            return Outcome.MISSING
        if removal.operation is Operation.DELETE_ITEM:
            current = self._current(key, removal.id, batch)
            if current is None:
                return Outcome.MISSING
            self._append(batch, Operation.DELETE_ITEM, key, removal.id, current[0], None)
            batch.live[key, removal.id] = None
            return Outcome.DELETED
        self._flush(batch)
        if removal.operation is Operation.DELETE_QUERYABLES:
            declared = one(self._connection, "SELECT seq FROM declared WHERE collection_key = ?", (key,))
            if declared is None:
                return Outcome.MISSING
            self._append(batch, Operation.DELETE_QUERYABLES, key, removal.id, declared, None)
            self._connection.execute("DELETE FROM declared WHERE collection_key = ?", (key,))
            return Outcome.DELETED
        seq = one(self._connection, "SELECT seq FROM live_collection WHERE id = ?", (removal.collection,))
        self._append(batch, Operation.DELETE_COLLECTION, key, removal.collection, seq, None)
        self._connection.execute("DELETE FROM live_collection WHERE id = ?", (removal.collection,))
        batch.keys[removal.collection] = None
        return Outcome.DELETED

    def _flush(self, batch: _Batch) -> None:
        """Write the batch's rows. Keys in their own order: neighbours share pages."""
        run = self._connection.executemany
        run("INSERT INTO version VALUES (?, ?, ?, ?, ?, ?)", batch.versions)
        run("INSERT INTO body VALUES (?, ?, ?, ?, ?, ?)", batch.bodies)
        put = sorted((key, thing, now[0]) for (key, thing), now in batch.live.items() if now is not None)
        run("INSERT OR REPLACE INTO live VALUES (?, ?, ?)", put)
        gone = sorted(place for place, now in batch.live.items() if now is None)
        run("DELETE FROM live WHERE collection_key = ? AND id = ?", gone)
        run(
            "INSERT OR IGNORE INTO fact VALUES (?, ?, ?, ?)",
            [(*fact, seq) for fact, seq in batch.facts.items()],
        )
        run(
            "UPDATE incarnation SET items = items + ?, bytes = bytes + ? WHERE key = ?",
            [(items, size, key) for key, (items, size) in batch.grown.items()],
        )
        batch.touched |= batch.grown.keys()
        batch.versions.clear()
        batch.bodies.clear()
        batch.live.clear()
        batch.facts.clear()
        batch.grown.clear()

    def _finish(self, batch: _Batch, actor: str) -> None:
        if batch.seq == self._revision:
            return
        last = one(self._connection, "SELECT at FROM head")
        at = max(time.time_ns() // 1000, last + 1)
        row = (batch.seq, at, actor, schema.commit_sum(at, actor, batch.sum))
        self._connection.execute('INSERT INTO "commit" VALUES (?, ?, ?, ?)', row)
        self._connection.execute("UPDATE head SET rev = ?, at = ?, writer = ?", (batch.seq, at, self._identity))

    def publish(self, manifest: bytes, generation: int) -> bool:
        """The next manifest, by compare and set. Of no effect on revisions."""
        with self._leader:
            self._begin()
            try:
                sql = "UPDATE manifest SET generation = ?, data = ?, sum = ? WHERE generation = ?"
                kept = schema.manifest_sum(generation + 1, manifest)
                self._connection.execute(sql, (generation + 1, manifest, kept, generation))
                changed = self._connection.changes() == 1
                self._connection.execute("COMMIT")
            except BaseException:
                if self._connection.in_transaction:
                    self._connection.execute("ROLLBACK")
                raise
            return changed

    # -- the log ------------------------------------------------------------------------------

    def _count_pages(self, _connection: apsw.Connection, _name: str, pages: int) -> int:
        self._wal_pages = pages
        return apsw.SQLITE_OK

    def _checkpoint(self) -> None:
        """Fold the log back and start it anew. A reader may keep us from it; the next commit tries again."""
        self._connection.set_busy_timeout(_CHECKPOINT_PATIENCE)
        try:
            self._connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_RESTART)
            self._wal_pages = 0
        except apsw.BusyError:
            pass
        finally:
            self._connection.set_busy_timeout(60_000)

    # -- dictionaries -------------------------------------------------------------------------

    def _train_due(self, batch: _Batch) -> None:
        """Train a dictionary for each collection that has grown past its next step."""
        for key in batch.touched:
            sql = "SELECT id, items, bytes FROM incarnation WHERE key = ?"
            collection_id, items, size = one(self._connection, sql, (key,))
            due = step_due(items, size)
            if due <= self._steps.get(key, 0):
                continue
            self._steps[key] = due
            data = train(self._samples(key))
            if data is None:
                continue
            self._begin()
            self._connection.execute(
                "INSERT INTO dictionary(collection_key, step, data) VALUES (?, ?, ?)", (key, due, data)
            )
            number = self._connection.last_insert_rowid()
            self._connection.execute("COMMIT")
            self.packing = {**self.packing, collection_id: number}

    def _samples(self, key: int) -> list[bytes]:
        """Bodies spread over all versions of a collection, about `SAMPLE_BYTES` of them."""
        sql = "SELECT seq FROM live WHERE collection_key = ? ORDER BY seq LIMIT 200000"
        seqs = [row[0] for row in rows(self._connection, sql, (key,))]
        samples: list[bytes] = []
        total = 0
        step = max(1, len(seqs) // 1000)
        for seq in seqs[::step]:
            row = one(self._connection, "SELECT dictionary, data FROM body WHERE seq = ?", (seq,))
            if row is None:
                continue
            samples.append(self._codec.unpack(*row))
            total += len(samples[-1])
            if total > SAMPLE_BYTES:
                break
        return samples

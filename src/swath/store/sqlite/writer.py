"""The one place that writes: group commit, the gate between processes, checkpoints, dictionaries."""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from queue import SimpleQueue
from typing import TypeVar

import apsw

from swath.errors import CatalogUnusable
from swath.store.records import (
    FileChanges,
    Mode,
    Once,
    Operation,
    Outcome,
    PreparedWrite,
    Receipt,
    Removal,
    Write,
    version_tag,
)
from swath.store.sqlite import files, history, schema
from swath.store.sqlite import once as once_only
from swath.store.sqlite.batch import Batch
from swath.store.sqlite.codec import SAMPLE_BYTES, Codec, step_due, train
from swath.store.sqlite.schema import one, rows

__all__ = ["Terms", "Writer", "dictionaries"]

log = logging.getLogger("swath.store")

T = TypeVar("T")

_CHECKPOINT_PAGES = 32_000_000 // 8192
_CHECKPOINT_PATIENCE = 50  # ms
_GROUP_SECONDS = 0.25
_PRUNED_AT_ONCE = 2_000  # versions, in one transaction


@dataclass(frozen=True, slots=True)
class Terms:
    """On which terms a request is done; see `Ledger.write`."""

    atomic: bool = False
    once: Once | None = None
    marks: Callable[[Receipt], Mapping[str, bytes | None]] | None = None
    files: FileChanges | None = None
    dry_run: bool = False


_OF_ITEMS = (Operation.PUT_ITEM, Operation.DELETE_ITEM)


@dataclass(slots=True)
class _Request:
    writes: Sequence[Write]
    mode: Mode
    actor: str
    terms: Terms
    receipt: Receipt | None = None
    error: BaseException | None = None
    done: bool = False
    leads: bool = False  # its thread is the one that commits, for itself and for others
    durable: bool = False
    left: bool = False  # its thread was interrupted, and waits no more
    plain: bool = False  # whether nothing but the rows of one item comes of it
    calls: SimpleQueue[None] = field(default_factory=SimpleQueue)  # that wake its thread, in C: Events take longer

    def __post_init__(self) -> None:
        terms = self.terms
        alone = terms.once is None and terms.marks is None and terms.files is None and not terms.dry_run
        if alone and len(self.writes) == 1:  # which is done or not, so that `atomic` says nothing
            write = self.writes[0]
            self.plain = isinstance(write, PreparedWrite | Removal) and write.operation in _OF_ITEMS

    def end(self, error: BaseException | None = None) -> None:
        self.error, self.done = error or self.error, True
        self.calls.put(None)


class _Apart(Exception):
    """Requests that shared their statements are to be tried again, each for itself."""


class _Undone(Exception):
    """A request that is not to be done after all: in part, where it is all or nothing, or only for show."""


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
        self._epoch: bytes = one(self._connection, "SELECT value FROM meta WHERE name = 'epoch'")
        self._queue: list[_Request] = []
        self._queue_lock = threading.Lock()
        self._led = False  # whether one of those in the queue leads, or a thread that was there before them
        self._leader = threading.Lock()
        self._facts: dict[int, set[tuple[str, str]]] = {}
        self._revision = -1
        self._wal_pages = 0
        self._others_at = 0.0
        self._steps: dict[int, int] = {}
        self._trainings: list[threading.Thread] = []
        self._durable: list[_Request] = []  # of which their threads have not been told yet
        self.packing: dict[str, int] = {}
        for key, collection_id, number, step in dictionaries(self._connection):
            self._steps[key] = step
            self.packing[collection_id] = number

    def close(self) -> None:
        for training in self._trainings:
            training.join()
        self._connection.close()
        os.close(self._gate)

    def others_write(self) -> bool:
        return time.monotonic() - self._others_at < 1.0

    def write(self, writes: Sequence[Write], mode: Mode, actor: str, terms: Terms) -> Receipt:
        """Queue a request. One thread commits all that wait, in one transaction, and hands the lead on to one that has
        come meanwhile. All whose writes are durable, its own too, go when that one has done all but to wait for the
        disk: so they make ready what they write next while it waits, instead of taking the interpreter from it
        before."""
        request = _Request(writes, mode, actor, terms)
        with self._queue_lock:
            self._queue.append(request)
            request.leads, self._led = not self._led, True
        try:
            if not request.leads:
                request.calls.get()  # it is durable, or this thread leads now, and is called once more
            while request.leads and not (request.durable or request.done):
                with self._leader:
                    self._lead()
        finally:
            self._leave(request)
        if request.leads:
            request.calls.get()
        if request.error is not None:
            raise request.error
        assert request.receipt is not None
        return request.receipt

    def _leave(self, request: _Request) -> None:
        with self._queue_lock:
            request.left = True
            if not request.leads:
                return
            heir = next((each for each in self._queue if not each.left), None)
            self._led = heir is not None
            if heir is not None:
                heir.leads = True
                heir.calls.put(None)
            else:
                self._tell()

    def _tell(self) -> None:
        """Let those go whose writes are durable. Only for the thread that leads."""
        durable, self._durable = self._durable, []
        for request in durable:
            request.end()

    def _lead(self) -> None:
        with self._queue_lock:
            waiting, self._queue = self._queue, []
        done: list[_Request] = []
        if self.others_write() or not all(request.plain for request in waiting):  # the lock, or the work, may take long
            self._tell()
        try:
            batch, due = self._commit(waiting, done)
        except BaseException as error:
            for request in waiting:
                request.end(error)
            if not isinstance(error, Exception):
                raise
            return
        for request in done:
            request.durable = True
        self._durable += done
        ended = set(map(id, done))
        with self._queue_lock:
            self._queue = [request for request in waiting if id(request) not in ended] + self._queue
        self._revision = batch.seq
        checkpoint = self._wal_pages > _CHECKPOINT_PAGES
        if checkpoint or due:  # which takes longer than the next one's statements
            self._tell()
        if checkpoint:
            self._checkpoint()
        try:
            for each in due:
                self._train(*each, beside=all(request.plain for request in done))
        except Exception:  # the writes are safe; the next ones try to train again
            log.warning("training a dictionary failed", exc_info=True)

    # -- one transaction ----------------------------------------------------------------------

    def _commit(self, waiting: Sequence[_Request], done: list[_Request]) -> tuple[Batch, list[tuple[int, str, int]]]:
        """Do some of those that wait, `done`, and commit. What was done, and which dictionaries are due."""
        # One commit has one actor: take those of the first, in order.
        group = [request for request in waiting if request.actor == waiting[0].actor]
        with self._committed():
            try:
                batch = self._do_all(group, done, together=True)
            except _Apart:  # so that what is wrong with one is told to that one alone
                self._undo()
                done.clear()
                self._begin()
                batch = self._do_all(group, done, together=False)
            self._finish(batch, waiting[0].actor)
            due = self._due(batch)
            self._tell()
        return batch, due

    @contextmanager
    def _committed(self) -> Iterator[None]:
        """One transaction, for the thread that leads."""
        self._begin()
        try:
            yield
            self._connection.execute("COMMIT")
        except BaseException:
            self._undo()
            raise

    def _begin(self) -> None:
        """Through the gate, then the lock: whoever waits at the gate is next, loaders included."""
        if self._connection.in_transaction:  # one that could not be undone when it failed, for want of memory
            self._undo()
        fcntl.flock(self._gate, fcntl.LOCK_EX)
        try:
            self._connection.execute("BEGIN IMMEDIATE")
        finally:
            fcntl.flock(self._gate, fcntl.LOCK_UN)
        try:
            if self._connection.pragma("user_version") != schema.FORMAT:
                raise CatalogUnusable("the catalogue was changed by another version of Swath; restart this process")
            revision, writer = one(self._connection, "SELECT rev, writer FROM head")
        except BaseException:
            self._undo()
            raise
        if writer not in (self._identity, b"") and revision != self._revision:
            self._others_at = time.monotonic()
        if revision != self._revision:
            self._facts.clear()
            self._revision = revision

    def _undo(self) -> None:
        """Out of the transaction, if there is one still: after some errors SQLite has undone it of itself."""
        self._revision = -1  # caches may hold what is undone
        if self._connection.in_transaction:
            self._connection.execute("ROLLBACK")

    def _do_all(self, group: Sequence[_Request], done: list[_Request], *, together: bool) -> Batch:
        """Requests of one transaction, so many as there is time for. `together`: those of one item, of which nothing
        but its rows comes, share their statements; _Apart where that fails."""
        started = time.monotonic()
        batch = Batch(self._connection, self._tag, self._facts, self._revision)
        shared = False
        try:
            for request in group:
                if done and time.monotonic() - started > _GROUP_SECONDS:
                    break
                done.append(request)
                request.receipt = request.error = None
                if together and request.plain:
                    shared = True
                    outcome, live = batch.apply(request.writes[0], request.mode)
                    request.receipt = Receipt([outcome], [live])
                else:
                    batch.flush()
                    self._attempt(request, batch)
            batch.flush()
        except Exception as error:
            if not shared:
                raise
            raise _Apart from error
        return batch

    def _attempt(self, request: _Request, batch: Batch) -> None:
        """One request's writes in a savepoint: if it fails, it alone is undone, and told so."""
        seq, total, grown = batch.seq, batch.sum, set(batch.touched)
        terms = request.terms
        self._connection.execute("SAVEPOINT request")
        outcomes: list[Outcome] = []
        seqs: list[int] = []
        try:
            request.receipt = once_only.recall(self._connection, terms.once)
            if request.receipt is None:
                self._do(request, batch, outcomes, seqs)
        except Exception as error:
            if not self._connection.in_transaction:  # SQLite has undone all of it: the others fail of the same
                raise
            self._connection.execute("ROLLBACK TO request")
            batch.forget(seq, total, grown)
            if not isinstance(error, _Undone):
                request.error = error
            seqs = [0] * len(seqs)
        if request.receipt is None and request.error is None:
            request.receipt = Receipt(outcomes, seqs)
            if not terms.dry_run:
                once_only.keep(self._connection, terms.once, request.receipt)
        self._connection.execute("RELEASE request")

    def _do(self, request: _Request, batch: Batch, outcomes: list[Outcome], seqs: list[int]) -> None:
        for write in request.writes:
            outcome, live = batch.apply(write, request.mode)
            outcomes.append(outcome)
            seqs.append(live)
            if request.terms.atomic and outcome.refused:
                raise _Undone
        batch.flush()
        if request.terms.dry_run:
            raise _Undone
        if request.terms.marks is not None:
            self._keep_marks(request.terms.marks(Receipt(outcomes, seqs)))
        if request.terms.files is not None:
            files.apply(self._connection, request.terms.files)

    def _tag(self, seq: int) -> bytes:
        return version_tag(self._epoch, seq)

    def _keep_marks(self, marks: Mapping[str, bytes | None]) -> None:
        for name, value in marks.items():
            if value is None:
                self._connection.execute("DELETE FROM mark WHERE name = ?", (name,))
            else:
                self._connection.execute("INSERT OR REPLACE INTO mark VALUES (?, ?)", (name, value))

    def _finish(self, batch: Batch, actor: str) -> None:
        if batch.seq == self._revision:
            return
        last = one(self._connection, "SELECT at FROM head")
        at = max(time.time_ns() // 1000, last + 1)
        row = (batch.seq, at, actor, schema.commit_sum(at, actor, batch.sum))
        self._connection.execute('INSERT INTO "commit" VALUES (?, ?, ?, ?)', row)
        self._connection.execute("UPDATE head SET rev = ?, at = ?, writer = ?", (batch.seq, at, self._identity))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One that is of no version."""
        with self._leader:
            with self._committed():
                yield
            if self._wal_pages > _CHECKPOINT_PAGES:
                self._checkpoint()

    def publish(self, manifest: bytes, generation: int, table: str) -> bool:
        """The next manifest, by compare and set. Of no effect on revisions."""
        sql = f"UPDATE {table} SET generation = ?, data = ?, sum = ? WHERE generation = ?"
        kept = schema.manifest_sum(generation + 1, manifest)
        return self.run(sql, (generation + 1, manifest, kept, generation)) == 1

    def run(self, sql: str, values: tuple[object, ...] = ()) -> int:
        """One statement in a transaction of its own; how many rows it changed."""
        with self._transaction():
            self._connection.execute(sql, values)
            changed: int = self._connection.changes()
        return changed

    def within(self, work: Callable[[apsw.Connection], T]) -> T:
        """Some statements in one transaction, and what comes of them."""
        with self._transaction():
            return work(self._connection)

    def prune(self, floor: int) -> None:
        """Take away documents that ended by a revision, which is noted first: nothing is restored half."""
        with self._transaction():
            self._connection.execute("INSERT OR REPLACE INTO meta VALUES ('pruned', ?)", (floor,))
            self._connection.execute("INSERT OR IGNORE INTO meta VALUES ('pruning', 0)")
        position = 0
        while position < floor:
            with self._transaction():
                position = int(one(self._connection, "SELECT value FROM meta WHERE name = 'pruning'"))
                position = history.prune_bodies(self._connection, floor, position, _PRUNED_AT_ONCE)
                self._connection.execute("UPDATE meta SET value = ? WHERE name = 'pruning'", (position,))

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
        except apsw.Error:  # what was committed is safe; the next commit tries again
            log.warning("folding the log back failed", exc_info=True)
        finally:
            self._connection.set_busy_timeout(60_000)

    # -- dictionaries -------------------------------------------------------------------------

    def _due(self, batch: Batch) -> list[tuple[int, str, int]]:
        """Collections that have grown past the next step of their dictionary: key, id and step."""
        found = []
        for key in batch.touched:
            sql = "SELECT id, items, bytes FROM incarnation WHERE key = ?"
            collection_id, items, size = one(self._connection, sql, (key,))
            due = step_due(items, size)
            if due > self._steps.get(key, 0):
                found.append((key, collection_id, due))
        return found

    def _train(self, key: int, collection_id: str, due: int, *, beside: bool) -> None:
        """Train a dictionary. A load waits for it, since it makes all that follows smaller. Single writes would wait
        for up to a second: `beside` them it is a thread's."""
        before, samples = self._steps.get(key, 0), self._samples(key)
        if beside:
            self._steps[key] = due
            work = threading.Thread(target=self._train_beside, args=(key, collection_id, before, due, samples))
            self._trainings = [each for each in self._trainings if each.is_alive()] + [work]
            work.start()
            return
        self._keep(key, collection_id, due, train(samples))
        self._steps[key] = due

    def _train_beside(self, key: int, collection_id: str, before: int, due: int, samples: list[bytes]) -> None:
        try:
            data = train(samples)
            with self._leader:
                self._keep(key, collection_id, due, data)
        except Exception:
            self._steps[key] = before
            log.warning("training a dictionary failed", exc_info=True)

    def _keep(self, key: int, collection_id: str, step: int, data: bytes | None) -> None:
        """Commit a dictionary, if there is one, and name it then: others pack with it at once."""
        if data is None:
            return
        with self._committed():
            sql = "INSERT INTO dictionary(collection_key, step, data) VALUES (?, ?, ?)"
            self._connection.execute(sql, (key, step, data))
            number = self._connection.last_insert_rowid()
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

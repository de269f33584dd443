"""One transaction of the ledger: what each write comes to, and the rows that say so."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import apsw

from swath.store.records import (
    Condition,
    Mode,
    Operation,
    Outcome,
    PreparedWrite,
    Removal,
    Restoration,
    Write,
)
from swath.store.sqlite import history, schema
from swath.store.sqlite.schema import one, rows

__all__ = ["Batch"]

# Versions that end others are in the index `version_again`: with them, all of a thing's history can be found.
# One that was brought back since is deleted no more.
_DELETED_COLLECTION = """
    SELECT v.seq, v.collection_key, v.replaces, EXISTS (SELECT 1 FROM version r WHERE r.collection_key = i.key
        AND r.id = ?1 AND r.replaces IS NOT NULL AND r.op = 7 AND r.replaces = v.seq)
    FROM incarnation i CROSS JOIN version v ON v.collection_key = i.key
    WHERE i.id = ?1 AND v.id = ?1 AND v.replaces IS NOT NULL AND v.op = 4 AND (?2 IS NULL OR v.seq = ?2)
    ORDER BY v.seq DESC LIMIT 1 OFFSET ?3"""
_LAST_OF_ITEM = """
    SELECT replaces FROM version WHERE collection_key = ? AND id = ? AND replaces IS NOT NULL AND op = 2
    ORDER BY seq DESC LIMIT 1"""


@dataclass(slots=True)
class _Live:
    """The live version of an item: its number, what tells its bytes, and the first version of its life."""

    seq: int
    digest: bytes
    first: int


@dataclass(slots=True)
class Batch:
    """What one transaction has done so far. Rows are inserted together, keys sorted at the end.

    `known` are kinds of values by collection, kept by the writer from one transaction to the next.
    """

    connection: apsw.Connection
    tag: Callable[[int], bytes]
    known: dict[int, set[tuple[str, str]]]
    seq: int
    sum: int = 0
    versions: list[tuple[object, ...]] = field(default_factory=list)
    bodies: list[tuple[object, ...]] = field(default_factory=list)
    live: dict[tuple[int, str], _Live | None] = field(default_factory=dict)
    keys: dict[str, int | None] = field(default_factory=dict)
    facts: dict[tuple[int, str, str], int] = field(default_factory=dict)
    grown: dict[int, list[int]] = field(default_factory=dict)
    touched: set[int] = field(default_factory=set)  # collections that have grown, for training

    def forget(self, seq: int, total: int, touched: set[int]) -> None:
        """Back to where a request began."""
        self.seq, self.sum, self.touched = seq, total, touched
        for kept in (self.versions, self.bodies, self.live, self.keys, self.facts, self.grown, self.known):
            kept.clear()

    def apply(self, write: Write, mode: Mode) -> tuple[Outcome, int]:
        """Do one write, unless it is refused; what came of it, and the version that is live then, 0 for none."""
        match write:
            case PreparedWrite(operation=Operation.PUT_ITEM):
                return self._put_item(write, mode)
            case PreparedWrite(operation=Operation.PUT_COLLECTION):
                return self._put_collection(write, mode)
            case PreparedWrite():
                return self._declare(write)
            case Restoration(operation=Operation.PUT_ITEM):
                return self._restore_item(write)
            case Restoration():
                return self._restore_collection(write)
            case Removal():
                return self._remove(write)

    # -- what is there ------------------------------------------------------------------------

    def _collection_key(self, collection_id: str) -> int | None:
        if collection_id not in self.keys:
            found = one(self.connection, "SELECT key FROM live_collection WHERE id = ?", (collection_id,))
            self.keys[collection_id] = found
        return self.keys[collection_id]

    def _current(self, key: int, item_id: str) -> _Live | None:
        if (key, item_id) in self.live:
            return self.live[key, item_id]
        sql = """SELECT l.seq, v.digest, coalesce(v.first, l.seq) FROM live l JOIN version v ON v.seq = l.seq
                 WHERE l.collection_key = ? AND l.id = ?"""
        found = one(self.connection, sql, (key, item_id))
        return _Live(*found) if found else None

    def _fault(self, condition: Condition | None, seq: int) -> Outcome | None:
        return condition.fault(seq, self.tag, self._committed_at) if condition else None

    def _committed_at(self, seq: int) -> int:
        """When a version was committed, in microseconds since 1970; one of this transaction is of now."""
        sql = 'SELECT at FROM "commit" WHERE rev >= ? ORDER BY rev LIMIT 1'
        return int(one(self.connection, sql, (seq,)) or time.time_ns() // 1000)

    # -- items --------------------------------------------------------------------------------

    def _put_item(self, write: PreparedWrite, mode: Mode) -> tuple[Outcome, int]:
        key = self._collection_key(write.collection)
        if key is None:
            return Outcome.NO_COLLECTION, 0
        current = self._current(key, write.id)
        seq = current.seq if current else 0
        # What would be refused without a condition is refused for that (RFC 9110, 13.2.1).
        fault = Outcome.MISSING if mode == "update" and current is None else None
        if fault is None and current is not None:
            fault = {"insert": Outcome.CONFLICT, "ignore": Outcome.IGNORED}.get(mode)
        fault = fault or self._fault(write.condition, seq)
        if fault is None and current is not None and current.digest == write.digest:
            fault = Outcome.UNCHANGED
        if fault is not None:
            return fault, seq
        made = self._append(Operation.PUT_ITEM, key, write.id, seq or None, write, current.first if current else None)
        self.live[key, write.id] = _Live(made, write.digest, current.first if current else made)
        self._learn(key, write.facts, made)
        grown = self.grown.setdefault(key, [0, 0])
        grown[0] += 1
        grown[1] += write.size
        return Outcome.UPDATED if current else Outcome.CREATED, made

    def _learn(self, key: int, facts: tuple[tuple[str, str], ...], seq: int) -> None:
        if key not in self.known:
            found = rows(self.connection, "SELECT name, kind FROM fact WHERE collection_key = ?", (key,))
            self.known[key] = {(name, kind) for name, kind in found}
        known = self.known[key]
        if known.issuperset(facts):  # as nearly always
            return
        for fact in facts:
            if fact not in known:
                known.add(fact)
                self.facts[(key, *fact)] = seq

    def _restore_item(self, write: Restoration) -> tuple[Outcome, int]:
        key = self._collection_key(write.collection)
        if key is None:
            return Outcome.NO_COLLECTION, 0
        self.flush()
        current = self._current(key, write.id)
        fault = self._fault(write.condition, current.seq if current else 0)
        if fault is not None:
            return fault, current.seq if current else 0
        seq = write.seq
        if seq is None:
            seq = current.seq if current else one(self.connection, _LAST_OF_ITEM, (key, write.id))
        sql = """SELECT v.digest, coalesce(v.first, v.seq), b.dictionary, b.data, b.links, b.shape FROM version v
                 JOIN body b ON b.seq = v.seq WHERE v.seq = ? AND v.collection_key = ? AND v.id = ? AND v.op = 1"""
        found = one(self.connection, sql, (seq, key, write.id)) if seq is not None else None
        if found is None:
            return Outcome.MISSING, current.seq if current else 0
        digest, first, *body = found
        if current is not None and current.digest == digest:
            return Outcome.UNCHANGED, current.seq
        copy = PreparedWrite(Operation.PUT_ITEM, write.id, write.collection, 0, body[0], body[1], digest, *body[2:])
        first = current.first if current else first  # a life that goes on began when it did
        made = self._append(Operation.PUT_ITEM, key, write.id, current.seq if current else None, copy, first)
        self.live[key, write.id] = _Live(made, digest, first)
        return Outcome.UPDATED if current else Outcome.RESTORED, made

    # -- collections --------------------------------------------------------------------------

    def _put_collection(self, write: PreparedWrite, mode: Mode) -> tuple[Outcome, int]:
        sql = """SELECT c.key, c.seq, c.made, v.digest, coalesce(v.first, v.seq) FROM live_collection c
                 JOIN version v ON v.seq = c.seq WHERE c.id = ?"""
        self.flush()  # an earlier write of this batch may have put the same collection
        row = one(self.connection, sql, (write.id,))
        refusal = self._collection_refused(write, mode, row)
        fault = refusal or self._fault(write.condition, row[1] if row else 0)
        if fault is not None:
            return fault, row[1] if row else 0
        if row is None:
            self.connection.execute("INSERT INTO incarnation(id) VALUES (?)", (write.id,))
            key, replaces, first = self.connection.last_insert_rowid(), None, None
        else:
            key, replaces, _, digest, first = row
            if digest == write.digest:
                return Outcome.UNCHANGED, replaces
        seq = self._append(Operation.PUT_COLLECTION, key, write.id, replaces, write, first)
        self._collection_lives(write.id, key, seq, made=write.made)
        return Outcome.CREATED if row is None else Outcome.UPDATED, seq

    @staticmethod
    def _collection_refused(write: PreparedWrite, mode: Mode, row: tuple[Any, ...] | None) -> Outcome | None:
        if row is None:
            return Outcome.MISSING if mode == "update" else None
        if row[2] and not write.made:  # one that was made from its items gives way to the first real document
            return None
        if mode == "insert":
            return Outcome.CONFLICT
        return Outcome.IGNORED if mode == "ignore" or write.made else None

    def _collection_lives(self, collection_id: str, key: int, seq: int, *, made: bool) -> None:
        sql = "INSERT OR REPLACE INTO live_collection VALUES (?, ?, ?, ?)"
        self.connection.execute(sql, (collection_id, key, seq, int(made)))
        self.keys[collection_id] = key

    def _restore_collection(self, write: Restoration) -> tuple[Outcome, int]:
        self.flush()
        live = one(self.connection, "SELECT seq FROM live_collection WHERE id = ?", (write.collection,))
        fault = self._fault(write.condition, live or 0)
        if fault is not None or live is not None:
            return fault or Outcome.CONFLICT, live or 0
        found = one(self.connection, _DELETED_COLLECTION, (write.collection, write.seq, write.passed))
        body = None
        if found is not None and not found[3] and found[0] > history.pruned(self.connection):
            sql = """SELECT v.digest, coalesce(v.first, v.seq), b.dictionary, b.data, b.links FROM version v
                     JOIN body b ON b.seq = v.seq WHERE v.seq = ?"""
            body = one(self.connection, sql, (found[2],))
        if body is None:
            return Outcome.MISSING, 0
        ended, key, *_ = found
        digest, first, dictionary, data, links = body
        name = write.collection
        copy = PreparedWrite(Operation.RESTORE_COLLECTION, name, name, 0, dictionary, data, digest, links)
        seq = self._append(Operation.RESTORE_COLLECTION, key, name, ended, copy, first)
        self._collection_lives(name, key, seq, made=False)
        return Outcome.RESTORED, seq

    def _declare(self, write: PreparedWrite) -> tuple[Outcome, int]:
        key = self._collection_key(write.collection)
        if key is None:
            return Outcome.NO_COLLECTION, 0
        self.flush()
        sql = "SELECT d.seq, v.digest FROM declared d JOIN version v ON v.seq = d.seq WHERE d.collection_key = ?"
        row = one(self.connection, sql, (key,))
        fault = self._fault(write.condition, row[0] if row else 0)
        if fault is None and row is not None and row[1] == write.digest:
            fault = Outcome.UNCHANGED
        if fault is not None:
            return fault, row[0] if row else 0
        seq = self._append(Operation.PUT_QUERYABLES, key, write.id, row[0] if row else None, write)
        self.connection.execute("INSERT OR REPLACE INTO declared VALUES (?, ?)", (key, seq))
        return Outcome.UPDATED if row else Outcome.CREATED, seq

    # -- ends ---------------------------------------------------------------------------------

    def _remove(self, removal: Removal) -> tuple[Outcome, int]:
        outcome, seq = self._removed(removal)
        lenient = removal.lenient and outcome is Outcome.MISSING
        return Outcome.UNCHANGED if lenient else outcome, seq

    def _removed(self, removal: Removal) -> tuple[Outcome, int]:
        key = self._collection_key(removal.collection)
        if key is None:
            return Outcome.MISSING, 0
        if removal.operation is not Operation.DELETE_ITEM:
            self.flush()
        seq = self._ended_by(removal, key)
        fault = self._fault(removal.condition, seq) if seq else Outcome.MISSING
        if fault is None and removal.operation is Operation.DELETE_COLLECTION and not removal.cascade:
            sql = "SELECT 1 FROM live WHERE collection_key = ? LIMIT 1"
            fault = Outcome.NOT_EMPTY if one(self.connection, sql, (key,)) else None
        if fault is not None:
            return fault, seq
        self._append(removal.operation, key, removal.id, seq, None)
        if removal.operation is Operation.DELETE_ITEM:
            self.live[key, removal.id] = None
        elif removal.operation is Operation.DELETE_QUERYABLES:
            self.connection.execute("DELETE FROM declared WHERE collection_key = ?", (key,))
        else:
            self.connection.execute("DELETE FROM live_collection WHERE id = ?", (removal.collection,))
            self.keys[removal.collection] = None
        return Outcome.DELETED, 0

    def _ended_by(self, removal: Removal, key: int) -> int:
        """The version that a removal ends; 0 for none."""
        if removal.operation is Operation.DELETE_ITEM:
            current = self._current(key, removal.id)
            return current.seq if current else 0
        sql = "SELECT seq FROM live_collection WHERE key = ?"
        if removal.operation is Operation.DELETE_QUERYABLES:
            sql = "SELECT seq FROM declared WHERE collection_key = ?"
        return one(self.connection, sql, (key,)) or 0

    # -- rows ---------------------------------------------------------------------------------

    def _append(
        self,
        op: Operation,
        key: int,
        thing: str,
        replaces: int | None,
        write: PreparedWrite | None,
        first: int | None = None,
    ) -> int:
        self.seq += 1
        row = (self.seq, int(op), key, thing, replaces, write.digest if write else None, first)
        self.versions.append(row)
        self.sum = schema.version_sum(row, self.sum)
        if write is not None:
            kept = (write.dictionary, write.packed, write.links, write.shape)
            self.bodies.append((self.seq, *kept, schema.body_sum(*kept)))
        return self.seq

    def flush(self) -> None:
        """Write the batch's rows. Keys in their own order: neighbours share pages."""
        run = self.connection.executemany
        run("INSERT INTO version VALUES (?, ?, ?, ?, ?, ?, ?)", self.versions)
        run("INSERT INTO body VALUES (?, ?, ?, ?, ?, ?)", self.bodies)
        put = sorted((key, thing, now.seq) for (key, thing), now in self.live.items() if now is not None)
        run("INSERT OR REPLACE INTO live VALUES (?, ?, ?)", put)
        gone = sorted(place for place, now in self.live.items() if now is None)
        run("DELETE FROM live WHERE collection_key = ? AND id = ?", gone)
        run(
            "INSERT OR IGNORE INTO fact VALUES (?, ?, ?, ?)",
            [(*fact, seq) for fact, seq in self.facts.items()],
        )
        run(
            "UPDATE incarnation SET items = items + ?, bytes = bytes + ? WHERE key = ?",
            [(items, size, key) for key, (items, size) in self.grown.items()],
        )
        self.touched |= self.grown.keys()
        kept: tuple[Any, ...] = (self.versions, self.bodies, self.live, self.facts, self.grown)
        for each in kept:
            each.clear()

"""Requests that are done once, however often they come (the Idempotency-Key header).

What is kept is a hash of the request and which versions came of it, in the transaction that made them: not the answer,
which is made of them again.
"""

from __future__ import annotations

import time

import apsw
import msgspec

from swath.errors import KeyReused
from swath.limits import LIMITS
from swath.store.records import Once, Outcome, Receipt
from swath.store.sqlite.schema import one

__all__ = ["keep", "recall", "refusal", "refusal_row"]

_REFUSED = b"\xc1"  # which begins no MessagePack


def recall(connection: apsw.Connection, once: Once | None) -> Receipt | None:
    """What came of a request with this key. KeyReused where that was another request."""
    packed = _kept(connection, once)
    if packed is None or packed.startswith(_REFUSED):
        return None
    outcomes, seqs = msgspec.msgpack.decode(packed)
    return Receipt([Outcome(outcome) for outcome in outcomes], seqs, replayed=True)


def refusal(connection: apsw.Connection, once: Once) -> bytes | None:
    """Why a request with this key was refused before anything was written. KeyReused where that was another request."""
    packed = _kept(connection, once)
    return packed[len(_REFUSED) :] if packed is not None and packed.startswith(_REFUSED) else None


def refusal_row(once: Once, refusal: bytes) -> tuple[str, tuple[object, ...]]:
    """The statement that keeps a refusal, unless something else is kept under its key."""
    old = _now() - int(LIMITS.idempotency_seconds * 1e6)
    sql = """INSERT INTO once VALUES (?1, ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE
             SET request = ?2, at = ?3, receipt = ?4 WHERE at <= ?5"""
    return sql, (once.key, once.request, _now(), _REFUSED + refusal, old)


def _kept(connection: apsw.Connection, once: Once | None) -> bytes | None:
    if once is None:
        return None
    sql = "SELECT request, receipt FROM once WHERE key = ? AND at > ?"
    found = one(connection, sql, (once.key, _now() - int(LIMITS.idempotency_seconds * 1e6)))
    if found is None:
        return None
    if found[0] != once.request:
        raise KeyReused("this Idempotency-Key came with another request before; choose a new one for each request")
    packed: bytes = found[1]
    return packed


def keep(connection: apsw.Connection, once: Once | None, receipt: Receipt) -> None:
    """Note what came of it; what is too old is forgotten. A race is nothing to be told: it is tried again."""
    if once is None or Outcome.RACED in receipt.outcomes:
        return
    now = _now()
    packed = msgspec.msgpack.encode(([outcome.value for outcome in receipt.outcomes], receipt.seqs))
    connection.execute("DELETE FROM once WHERE at <= ?", (now - int(LIMITS.idempotency_seconds * 1e6),))
    connection.execute("INSERT OR REPLACE INTO once VALUES (?, ?, ?, ?)", (once.key, once.request, now, packed))


def _now() -> int:
    return time.time_ns() // 1000

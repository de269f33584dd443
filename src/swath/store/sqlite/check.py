"""Reading every byte of a ledger back and holding it against what was written."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import apsw
import msgspec
import shapely

from swath.errors import CatalogDamaged, SwathError
from swath.stac.links import LinkSpans
from swath.store.records import Operation
from swath.store.sqlite import schema
from swath.store.sqlite.codec import Codec, digest_of
from swath.store.sqlite.schema import one

__all__ = ["MANIFEST_DAMAGED", "CheckReport", "check"]

MANIFEST_DAMAGED = "the manifest of the segments does not match its checksum"

_PRUNED = "(SELECT coalesce(max(value), 0) FROM meta WHERE name = 'pruned')"
# Collections that are gone for good: the last that was said of them is their end, and it is old enough.
_PURGED = f"""SELECT d.collection_key FROM version d WHERE d.op = 4 AND d.seq <= {_PRUNED} AND NOT EXISTS
    (SELECT 1 FROM version r WHERE r.op = 7 AND r.replaces = d.seq AND r.collection_key = d.collection_key)"""

# Each statement lists what must not be: a version, and what is wrong with it.
_RULES = (
    (
        f"""SELECT seq FROM version v WHERE op IN (1, 3, 5, 7) AND NOT EXISTS (SELECT 1 FROM body b WHERE b.seq = v.seq)
            AND seq NOT IN (SELECT replaces FROM version WHERE replaces IS NOT NULL AND seq <= {_PRUNED})
            AND collection_key NOT IN ({_PURGED})""",
        "version {} has lost its document",
    ),
    (
        """SELECT seq FROM body b
           WHERE NOT EXISTS (SELECT 1 FROM version v WHERE v.seq = b.seq AND v.op IN (1, 3, 5, 7))""",
        "document {} belongs to no version",
    ),
    (
        """SELECT v.seq FROM version v LEFT JOIN version p ON p.seq = v.replaces WHERE v.replaces IS NOT NULL AND
           (p.seq IS NULL OR p.seq >= v.seq OR p.collection_key <> v.collection_key OR p.id <> v.id)""",
        "version {} replaces one that is not its own",
    ),
    (
        """SELECT v.seq FROM version v WHERE v.replaces IS NOT NULL
           GROUP BY v.replaces HAVING count(*) > 1""",
        "version {} replaces one that another replaces too",
    ),
    (
        """SELECT l.seq FROM live l LEFT JOIN version v ON v.seq = l.seq WHERE v.seq IS NULL OR v.op <> 1
           OR v.collection_key <> l.collection_key OR v.id <> l.id""",
        "the live key of version {} names another item",
    ),
    (
        f"""SELECT v.seq FROM version v LEFT JOIN live l ON l.collection_key = v.collection_key AND l.id = v.id
           WHERE v.op = 1 AND v.seq NOT IN (SELECT replaces FROM version WHERE replaces IS NOT NULL)
           AND (l.seq IS NULL OR l.seq <> v.seq) AND v.collection_key NOT IN ({_PURGED})""",
        "version {} is the last of its item and has no live key",
    ),
    (
        """SELECT c.seq FROM live_collection c LEFT JOIN version v ON v.seq = c.seq
           WHERE v.seq IS NULL OR v.op NOT IN (3, 7) OR v.collection_key <> c.key OR v.id <> c.id""",
        "the live collection of version {} is another",
    ),
    (
        """SELECT d.seq FROM declared d LEFT JOIN version v ON v.seq = d.seq WHERE v.seq IS NULL OR v.op <> 5
           OR v.collection_key <> d.collection_key""",
        "the declared queryables of version {} are another's",
    ),
    (
        """SELECT v.seq FROM version v WHERE NOT EXISTS (SELECT 1 FROM incarnation i WHERE i.key = v.collection_key)""",
        "version {} belongs to no collection",
    ),
    (
        """SELECT a.id FROM asset a LEFT JOIN blob b ON b.key = a.blob WHERE b.key IS NULL OR b.deleting = 1""",
        "the file {} has lost its bytes",
    ),
    (
        "SELECT a.id FROM asset a JOIN blob b ON b.key = a.blob WHERE b.size <> a.size OR b.sha256 <> a.sha256",
        "the file {} is not what its bytes are",
    ),
    (
        """SELECT d.id FROM delivery d WHERE NOT EXISTS (SELECT 1 FROM asset a WHERE a.id = d.id)""",
        "the delivery {} has lost its original",
    ),
    (
        """SELECT rev FROM (SELECT rev, at, lag(at) OVER (ORDER BY rev) AS before FROM "commit") WHERE at <= before""",
        "commit {} is not later than the one before it",
    ),
    (
        """SELECT rev FROM head WHERE rev <> (SELECT coalesce(max(seq), 0) FROM version)
           OR rev <> (SELECT coalesce(max(rev), 0) FROM "commit")""",
        "the head {} is not the last version",
    ),
)


@dataclass(slots=True)
class CheckReport:
    """What was read, and what is wrong with it."""

    items: int = 0
    collections: int = 0
    versions: int = 0
    bytes: int = 0
    files: int = 0
    file_bytes: int = 0
    problems: list[str] = field(default_factory=list)


class _Named(msgspec.Struct):
    id: str
    collection: str | None = None


def check(folder: Path, on_progress: Callable[[int, int], None] = lambda _done, _all: None) -> CheckReport:
    """Read the whole ledger, brought to the present format before. CatalogUnusable when there is none to read."""
    report = CheckReport()
    try:
        schema.upgrade(folder)
    except apsw.Error as error:
        report.problems.append(f"the database cannot be read: {error}")
        return report
    connection = schema.open_readonly(folder)
    try:
        with connection:
            _check_pages(connection, report)
            if not report.problems:
                _check_rules(connection, report)
                _check_commits(connection, report)
                _check_bodies(connection, report, on_progress)
                _check_manifest(connection, report)
                _count(connection, report)
    except apsw.Error as error:
        report.problems.append(f"the database cannot be read: {error}")
    finally:
        connection.close()
    return report


def _check_pages(connection: apsw.Connection, report: CheckReport) -> None:
    for (line,) in connection.execute("PRAGMA integrity_check(20)"):
        if line != "ok":
            report.problems.append(f"the database is damaged: {line}")


def _check_rules(connection: apsw.Connection, report: CheckReport) -> None:
    for sql, words in _RULES:
        for (seq,) in connection.execute(f"{sql} LIMIT 20"):
            report.problems.append(words.format(seq))


def _rows(connection: apsw.Connection) -> Iterator[tuple[Any, ...]]:
    return connection.execute(
        """SELECT v.seq, v.op, v.id, v.digest, i.id, b.dictionary, b.data, b.links, b.shape, b.sum FROM version v
           JOIN body b ON b.seq = v.seq JOIN incarnation i ON i.key = v.collection_key ORDER BY v.seq"""
    )


def _check_bodies(connection: apsw.Connection, report: CheckReport, on_progress: Callable[[int, int], None]) -> None:
    def load(number: int) -> bytes:
        data = one(connection, "SELECT data FROM dictionary WHERE id = ?", (number,))
        if data is None:
            raise CatalogDamaged(f"dictionary {number} is missing")
        return bytes(data)

    codec = Codec(load)
    total = one(connection, "SELECT count(*) FROM body")
    for done, (seq, op, thing, digest, collection, *kept, kept_sum) in enumerate(_rows(connection), 1):
        dictionary, data, links, shape = kept
        fault = None if schema.body_sum(*kept) == kept_sum else "its checksum does not match"
        try:
            body = codec.unpack(dictionary, data)
            report.bytes += len(body)
            fault = fault or _fault(body, digest, links, shape)
            if op != Operation.PUT_QUERYABLES:
                named = msgspec.json.decode(body, type=_Named)
                if named.id != thing or (op == Operation.PUT_ITEM and named.collection != collection):
                    fault = fault or "its id is not the one in its document"
        except (SwathError, msgspec.MsgspecError, UnicodeDecodeError) as error:
            fault = str(error)
        if fault:
            report.problems.append(f"version {seq} ({thing!r}): {fault}")
        if done % 1000 == 0:
            on_progress(done, total)


def _fault(body: bytes, digest: bytes, links: bytes, shape: bytes | None) -> str | None:
    if digest_of(body) != digest:
        return "its bytes are not those that were written"
    spans = LinkSpans.unpack(links)
    if spans.end > len(body) or (spans.start != spans.end and body[spans.start : spans.start + 1] != b"["):
        return "the place of its links is wrong"
    if shape is not None:
        try:
            shapely.from_wkb(shape)
        except shapely.errors.GEOSException:
            return "its search shape is damaged"
    return None


def _check_commits(connection: apsw.Connection, report: CheckReport) -> None:
    """Every commit's checksum covers its version rows, in order."""
    versions = iter(connection.execute("SELECT * FROM version ORDER BY seq"))
    row = next(versions, None)
    for rev, at, actor, kept in connection.execute('SELECT rev, at, actor, sum FROM "commit" ORDER BY rev'):
        total = 0
        while row is not None and row[0] <= rev:
            total = schema.version_sum(row, total)
            row = next(versions, None)
        if schema.commit_sum(at, actor, total) != kept:
            report.problems.append(f"commit {rev}: its checksum does not match its versions")


def _check_manifest(connection: apsw.Connection, report: CheckReport) -> None:
    for table in ("manifest", "history_manifest"):
        generation, data, kept = one(connection, f"SELECT generation, data, sum FROM {table}")
        if schema.manifest_sum(generation, data) != kept and MANIFEST_DAMAGED not in report.problems:
            report.problems.append(MANIFEST_DAMAGED)


def _count(connection: apsw.Connection, report: CheckReport) -> None:
    sql = "SELECT count(*) FROM live l JOIN live_collection c ON c.key = l.collection_key"
    report.items = one(connection, sql)
    report.collections = one(connection, "SELECT count(*) FROM live_collection")
    report.versions = one(connection, "SELECT count(*) FROM version")

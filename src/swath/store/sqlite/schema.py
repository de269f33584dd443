"""The database file: its tables, how it is created and opened, and which files are refused.

Shapes that cannot be changed later without rewriting every catalogue; docs/design/ledger.md says why.
"""

from __future__ import annotations

import os
import secrets
import time
import zlib
from pathlib import Path
from typing import Any

import apsw

from swath.errors import CatalogUnusable

__all__ = [
    "APPLICATION_ID", "FILE_NAME", "FORMAT", "body_sum", "commit_sum", "create", "manifest_sum", "one",
    "open_readonly", "open_writer", "rows", "upgrade", "version_sum",
]  # fmt: skip

FILE_NAME = "catalog.db"
APPLICATION_ID = 0x53776174  # "Swat"
FORMAT = 4
_NETWORK = ("nfs", "nfs4", "cifs", "smb", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "fuse.sshfs")

# Tables of format 1. What later formats changed is in _MIGRATIONS, so that there is one way to the present shape.
_TABLES = """
CREATE TABLE meta(name TEXT PRIMARY KEY, value ANY) STRICT, WITHOUT ROWID;
CREATE TABLE head(one INTEGER PRIMARY KEY CHECK (one = 1), rev INTEGER NOT NULL, at INTEGER NOT NULL,
                  writer BLOB NOT NULL) STRICT;
CREATE TABLE "commit"(rev INTEGER PRIMARY KEY, at INTEGER NOT NULL, actor TEXT NOT NULL, sum INTEGER NOT NULL) STRICT;
CREATE INDEX commit_at ON "commit"(at);
CREATE TABLE incarnation(key INTEGER PRIMARY KEY AUTOINCREMENT, id TEXT NOT NULL,
                         items INTEGER NOT NULL DEFAULT 0, bytes INTEGER NOT NULL DEFAULT 0) STRICT;
CREATE TABLE live_collection(id TEXT PRIMARY KEY, key INTEGER NOT NULL, seq INTEGER NOT NULL,
                             made INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE version(seq INTEGER PRIMARY KEY AUTOINCREMENT, op INTEGER NOT NULL, collection_key INTEGER NOT NULL,
                     id TEXT NOT NULL, replaces INTEGER, digest BLOB) STRICT;
CREATE TABLE body(seq INTEGER PRIMARY KEY, dictionary INTEGER NOT NULL, data BLOB NOT NULL, links BLOB NOT NULL,
                  shape BLOB, sum INTEGER NOT NULL) STRICT;
CREATE TABLE live(collection_key INTEGER NOT NULL, id TEXT NOT NULL, seq INTEGER NOT NULL,
                  PRIMARY KEY (collection_key, id)) STRICT, WITHOUT ROWID;
CREATE TABLE manifest(one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL, data BLOB NOT NULL,
                      sum INTEGER NOT NULL) STRICT;
CREATE TABLE declared(collection_key INTEGER PRIMARY KEY, seq INTEGER NOT NULL) STRICT;
CREATE TABLE dictionary(id INTEGER PRIMARY KEY, collection_key INTEGER, step INTEGER NOT NULL,
                        data BLOB NOT NULL) STRICT;
CREATE TABLE fact(collection_key INTEGER NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL, rev INTEGER NOT NULL,
                  PRIMARY KEY (collection_key, name, kind)) STRICT, WITHOUT ROWID;
"""

# Number of a format, what it brought, and the statements that lead to it from the one before. Each is done in one
# transaction, while others read: the statements add, and take nothing away that a reader of the format before needs.
_MIGRATIONS: tuple[tuple[int, str, str], ...] = (
    (2, "history, requests that are done once, marks, settings of collections, jobs, webhooks", """
CREATE TABLE migration(number INTEGER PRIMARY KEY, name TEXT NOT NULL, at INTEGER NOT NULL) STRICT;
ALTER TABLE version ADD COLUMN first INTEGER;
CREATE INDEX version_again ON version(collection_key, id) WHERE replaces IS NOT NULL;
CREATE INDEX incarnation_id ON incarnation(id);
CREATE TABLE history_manifest(one INTEGER PRIMARY KEY CHECK (one = 1), generation INTEGER NOT NULL,
                              data BLOB NOT NULL, sum INTEGER NOT NULL) STRICT;
INSERT INTO history_manifest VALUES (1, 0, x'', 0);
INSERT INTO fact SELECT i.key, n.name, 'date-time', h.rev FROM incarnation i, head h,
    (SELECT 'created' AS name UNION ALL SELECT 'updated') n WHERE i.items > 0 ON CONFLICT DO NOTHING;
CREATE TABLE once(key TEXT PRIMARY KEY, request BLOB NOT NULL, at INTEGER NOT NULL, receipt BLOB NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE INDEX once_at ON once(at);
CREATE TABLE mark(name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE setting(collection TEXT NOT NULL, name TEXT NOT NULL, value TEXT NOT NULL,
                     PRIMARY KEY (collection, name)) STRICT, WITHOUT ROWID;
CREATE TABLE job(id TEXT PRIMARY KEY, kind TEXT NOT NULL, at INTEGER NOT NULL, state TEXT NOT NULL,
                 request BLOB NOT NULL, result BLOB) STRICT, WITHOUT ROWID;
CREATE TABLE subscription(id TEXT PRIMARY KEY, at INTEGER NOT NULL, request BLOB NOT NULL, secret TEXT NOT NULL,
                          position INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE TABLE dead_letter(id INTEGER PRIMARY KEY AUTOINCREMENT, subscription TEXT NOT NULL, at INTEGER NOT NULL,
                         after INTEGER NOT NULL, until INTEGER NOT NULL, reason TEXT NOT NULL) STRICT;
"""),
    (3, "the asset store: deliveries, files, blobs", """
CREATE TABLE blob(key TEXT PRIMARY KEY, sha256 TEXT NOT NULL, size INTEGER NOT NULL, at INTEGER NOT NULL,
                  deleting INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX blob_sha256 ON blob(sha256);
CREATE TABLE pin(name TEXT PRIMARY KEY, sha256 TEXT NOT NULL, at INTEGER NOT NULL) STRICT, WITHOUT ROWID;
CREATE INDEX pin_sha256 ON pin(sha256);
CREATE TABLE asset(id TEXT PRIMARY KEY, delivery TEXT NOT NULL, blob TEXT NOT NULL, size INTEGER NOT NULL,
                   sha256 TEXT NOT NULL, name TEXT NOT NULL, media_type TEXT NOT NULL, at INTEGER NOT NULL)
    STRICT, WITHOUT ROWID;
CREATE INDEX asset_delivery ON asset(delivery);
CREATE INDEX asset_blob ON asset(blob);
CREATE TABLE delivery(id TEXT PRIMARY KEY, at INTEGER NOT NULL, updated INTEGER NOT NULL, status TEXT NOT NULL,
                      name TEXT NOT NULL, size INTEGER NOT NULL, media_type TEXT NOT NULL, title TEXT, tags TEXT,
                      workspace_id TEXT NOT NULL, source TEXT, order_id TEXT, product_id TEXT, collection_name TEXT,
                      producer_name TEXT, collection TEXT, reason TEXT, seconds REAL, facts BLOB NOT NULL,
                      deleted INTEGER) STRICT, WITHOUT ROWID;
CREATE INDEX delivery_at ON delivery(at DESC, id) WHERE deleted IS NULL;
CREATE INDEX delivery_collection ON delivery(collection);
"""),
    (4, "states of deliveries in their order, and subscribers of a workspace, who are told of them", """
CREATE TABLE delivery_state(seq INTEGER PRIMARY KEY AUTOINCREMENT, at INTEGER NOT NULL, delivery TEXT NOT NULL,
                            workspace_id TEXT NOT NULL, order_id TEXT, collection TEXT, status TEXT NOT NULL,
                            reason TEXT) STRICT;
CREATE INDEX delivery_state_delivery ON delivery_state(delivery);
ALTER TABLE subscription ADD COLUMN kind TEXT NOT NULL DEFAULT 'changes';
"""),
)  # fmt: skip


def body_sum(dictionary: int, data: bytes, links: bytes, shape: bytes | None) -> int:
    """The checksum of a body row: any byte of it that changes is found by `swath check`."""
    return zlib.crc32(shape or b"", zlib.crc32(links, zlib.crc32(data, dictionary)))


def manifest_sum(generation: int, data: bytes) -> int:
    """The checksum of the manifest."""
    return zlib.crc32(data, generation & 0xFFFFFFFF)


def version_sum(row: tuple[Any, ...], before: int) -> int:
    """The running checksum of a commit's version rows, in order. A row without its last value is one of format 1."""
    return zlib.crc32(repr(row if row[-1] is not None else row[:-1]).encode(), before)


def commit_sum(at: int, actor: str, versions: int) -> int:
    """The checksum of a commit row, which covers its versions."""
    return zlib.crc32(f"{at} {actor}".encode(), versions)


def create(folder: Path, first_dictionary: bytes) -> None:
    """Make an empty catalogue. The file appears under its name only when it is complete."""
    made = [each for each in (folder, *folder.parents) if not each.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    _refuse_network(folder)
    target = folder / FILE_NAME
    if target.exists():
        raise CatalogUnusable(f"{folder} already holds a catalogue")
    unfinished = folder / f".{FILE_NAME}.{secrets.token_hex(6)}"
    connection = apsw.Connection(str(unfinished))
    try:
        connection.execute("PRAGMA page_size = 8192")
        connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        connection.execute("PRAGMA user_version = 1")
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = FULL")
        with connection:
            connection.execute(_TABLES)
            now = time.time_ns() // 1000
            connection.execute("INSERT INTO head VALUES (1, 0, ?, x'')", (now,))
            connection.execute("INSERT INTO manifest VALUES (1, 0, x'', ?)", (manifest_sum(0, b""),))
            connection.execute("INSERT INTO meta VALUES ('epoch', ?)", (secrets.token_bytes(16),))
            connection.execute("INSERT INTO meta VALUES ('secret', ?)", (secrets.token_bytes(32),))
            connection.execute("INSERT INTO dictionary VALUES (1, NULL, 0, ?)", (first_dictionary,))
        _migrate(connection)
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    finally:
        connection.close()
    try:
        os.link(unfinished, target)  # unlike a rename, fails if another process was first
    except FileExistsError:
        pass
    finally:
        unfinished.unlink()
    _sync_folder(folder)
    for each in made:  # else the folder may be gone after a power cut, with all that was written to it since
        _sync_folder(each.parent)


def _migrate(connection: apsw.Connection) -> None:
    """Bring a database to the present format, a step at a time: killed at any point, it is of one or the next."""
    for number, name, statements in _MIGRATIONS:
        connection.execute("BEGIN IMMEDIATE")
        try:
            if connection.pragma("user_version") == number - 1:
                connection.execute(statements)
                connection.execute("INSERT INTO migration VALUES (?, ?, ?)", (number, name, time.time_ns() // 1000))
                connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise


def upgrade(folder: Path) -> None:
    """Bring a catalogue of an older format to the present one, while others may read it.

    CatalogUnusable for one of a later format, and where it cannot be written to.
    """
    connection = _open(folder, apsw.SQLITE_OPEN_READONLY, any_format=True)
    found = connection.pragma("user_version")
    connection.close()
    if found == FORMAT:
        return
    if not os.access(folder, os.W_OK):
        raise CatalogUnusable(f"{folder} has format {found} and cannot be written to, to bring it to format {FORMAT}")
    connection = _open(folder, apsw.SQLITE_OPEN_READWRITE, any_format=True)
    try:
        connection.execute("PRAGMA synchronous = FULL")
        connection.set_busy_timeout(60_000)
        _migrate(connection)
    finally:
        connection.close()


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _refuse_network(folder: Path) -> None:
    """SQLite's write-ahead log needs shared memory between processes of one machine."""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(errors="replace").splitlines()
    except OSError:
        return
    path, best, kind = str(folder.resolve()), "", ""
    for line in mounts:
        left, _, right = line.partition(" - ")
        point = left.split()[4].replace("\\040", " ")
        inside = path == point or path.startswith(point.rstrip("/") + "/")
        if inside and len(point) >= len(best):
            best, kind = point, right.split()[0]
    if kind in _NETWORK:
        raise CatalogUnusable(f"{folder} is on a network file system ({kind}); keep the catalogue on a local disk")


def rows(connection: apsw.Connection, sql: str, values: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """All rows of a query. The types of columns are the schema's (STRICT), which a checker cannot know."""
    return connection.execute(sql, values).fetchall()


def one(connection: apsw.Connection, sql: str, values: tuple[Any, ...] = ()) -> Any:
    """The first row of a query, or its only column; None when there is none."""
    return connection.execute(sql, values).get


def _checked(connection: apsw.Connection, folder: Path, *, any_format: bool) -> apsw.Connection:
    try:
        application = connection.pragma("application_id")
        found = connection.pragma("user_version")
    except apsw.NotADBError:
        connection.close()
        raise CatalogUnusable(f"{folder / FILE_NAME} is not a Swath catalogue") from None
    if application != APPLICATION_ID:
        connection.close()
        raise CatalogUnusable(f"{folder / FILE_NAME} is not a Swath catalogue")
    if not 0 < found <= FORMAT or (found < FORMAT and not any_format):
        connection.close()
        raise CatalogUnusable(f"{folder} has format {found}; this version of Swath reads format {FORMAT}")
    return connection


def _open(folder: Path, flags: int, *, any_format: bool = False) -> apsw.Connection:
    file = folder / FILE_NAME
    if not file.is_file():
        raise CatalogUnusable(f"there is no catalogue in {folder}; make one with: swath load {folder} SOURCE")
    _refuse_network(folder)
    name = str(file)
    if flags & apsw.SQLITE_OPEN_READONLY and not os.access(folder, os.W_OK) and not _is_open(file):
        # Nobody writes: without the right to make the files of the log, read the database as it lies.
        name, flags = f"{file.resolve().as_uri()}?immutable=1", flags | apsw.SQLITE_OPEN_URI
    try:
        connection = apsw.Connection(name, flags=flags)
        connection.set_busy_timeout(10_000)
        # Else SQLite plans a statement anew for every value that is bound to it, which takes longer than running it.
        connection.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)
        return _checked(connection, folder, any_format=any_format)
    except (apsw.CantOpenError, apsw.ReadOnlyError, apsw.IOError) as error:
        raise CatalogUnusable(f"cannot open {file}: {error}; you need the right to write to {folder}") from None


def _is_open(file: Path) -> bool:
    """Whether the log's files are there: some process has the database open, or died with it open."""
    return file.with_name(f"{file.name}-wal").exists()


def open_readonly(folder: Path, *, any_format: bool = False) -> apsw.Connection:
    """A connection that cannot write; one per thread. `any_format`: of an older format too."""
    connection = _open(folder, apsw.SQLITE_OPEN_READONLY, any_format=any_format)
    connection.execute("PRAGMA cache_size = -16384")
    connection.execute("PRAGMA mmap_size = 1073741824")
    return connection


def open_writer(folder: Path) -> apsw.Connection:
    """The connection that writes. Its transactions are durable when COMMIT returns."""
    connection = _open(folder, apsw.SQLITE_OPEN_READWRITE)
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA wal_autocheckpoint = 0")
    connection.execute("PRAGMA cache_size = -40960")
    return connection

"""A copy of the ledger at one point in time, made while others write; and a catalogue out of such a copy."""

from __future__ import annotations

import os
import secrets
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

import apsw

from swath.errors import CatalogUnusable, InvalidRequest
from swath.store.sqlite import schema
from swath.store.sqlite.schema import one

__all__ = ["backup", "restore"]

_BESIDE = "beside"  # a table that backups alone have


def backup(folder: Path, target: Path, beside: Sequence[str] = ()) -> int:
    """Write the catalogue as it is at this moment to a file; the revision that it holds.

    `beside` names folders in the catalogue's whose files come with it.

    The file appears when it is complete and durable. CatalogUnusable where there is no catalogue, InvalidRequest where
    the file is there already. VACUUM INTO reads in one transaction: it neither waits for writers nor starts over.
    """
    if target.exists():
        raise InvalidRequest(f"{target} is there already; name a new file")
    connection = schema.open_readonly(folder, any_format=True)
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        connection.execute("VACUUM INTO ?", (str(unfinished),))
        copy = apsw.Connection(str(unfinished))
        try:
            revision = int(one(copy, "SELECT rev FROM head"))
            _take_in(copy, folder, beside)
        finally:
            copy.close()
        _sync(unfinished)
        os.link(unfinished, target)  # unlike a rename, fails if another was first
        _sync(target.parent)
    except FileExistsError:
        raise InvalidRequest(f"{target} is there already; name a new file") from None
    finally:
        connection.close()
        unfinished.unlink(missing_ok=True)
    return revision


def _take_in(copy: apsw.Connection, folder: Path, beside: Sequence[str]) -> None:
    """Keep the files of some folders in a table of the copy, by their paths below the catalogue's folder."""
    every = (path for name in beside for path in sorted((folder / name).rglob("*")))
    files = [path for path in every if path.is_file() and not path.is_symlink()]
    if not files:
        return
    with copy:
        copy.execute(f"CREATE TABLE {_BESIDE}(name TEXT PRIMARY KEY, data BLOB NOT NULL)")
        for path in files:
            row = (path.relative_to(folder).as_posix(), path.read_bytes())
            copy.execute(f"INSERT INTO {_BESIDE} VALUES (?, ?)", row)


def _give_out(copy: apsw.Connection, folder: Path) -> None:
    """Write those files below a folder, and take the table away."""
    if one(copy, "SELECT 1 FROM sqlite_schema WHERE name = ?", (_BESIDE,)) is None:
        return
    for name, data in list(copy.execute(f"SELECT name, data FROM {_BESIDE}")):
        parts = PurePosixPath(str(name)).parts
        if not isinstance(data, bytes) or not parts or ".." in parts or parts[0] == "/":
            raise CatalogUnusable(f"the backup holds {str(name)[:80]!r}, which is no path below a folder")
        path = folder.joinpath(*parts)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        _sync(path)
        _sync(path.parent)
    copy.execute(f"DROP TABLE {_BESIDE}")


def restore(source: Path, folder: Path) -> int:
    """Make a catalogue of a backup; the revision that it holds.

    It begins a new life: cursors, ETags and feed tokens of the one that was backed up do not count for it, and its
    index is built anew. CatalogUnusable for what is no backup, and for a folder that is not empty.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise CatalogUnusable(f"{folder} is not empty; name a new folder")
    if not source.is_file():
        raise CatalogUnusable(f"there is no file {source}")
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / schema.FILE_NAME
    unfinished = folder / f".{schema.FILE_NAME}.{secrets.token_hex(6)}"
    try:
        revision = _copy(source, unfinished, folder)
        os.replace(unfinished, target)
        _sync(folder)
        _sync(folder.parent)
    finally:
        for ending in ("", "-wal", "-shm", "-journal"):
            unfinished.with_name(unfinished.name + ending).unlink(missing_ok=True)
    schema.upgrade(folder)
    return revision


def _copy(source: Path, unfinished: Path, folder: Path) -> int:
    """The file with a new epoch, checked page by page; what was beside it goes to the folder."""
    try:
        original = apsw.Connection(f"{source.resolve().as_uri()}?immutable=1",
                                   flags=apsw.SQLITE_OPEN_READONLY | apsw.SQLITE_OPEN_URI)  # fmt: skip
    except apsw.Error as error:
        raise CatalogUnusable(f"{source} cannot be read: {error}") from None
    try:
        if original.pragma("application_id") != schema.APPLICATION_ID:
            raise CatalogUnusable(f"{source} is no backup of a Swath catalogue")
        found = original.pragma("user_version")
        if not 0 < found <= schema.FORMAT:
            raise CatalogUnusable(f"{source} has format {found}; this version of Swath reads format {schema.FORMAT}")
        faults = [line for (line,) in original.execute("PRAGMA integrity_check(3)") if line != "ok"]
        if faults:
            raise CatalogUnusable(f"{source} is damaged: {faults[0]}")
        original.execute("VACUUM INTO ?", (str(unfinished),))
    except apsw.Error as error:
        raise CatalogUnusable(f"{source} cannot be read: {error}") from None
    finally:
        original.close()
    copy = apsw.Connection(str(unfinished))
    try:
        copy.execute("PRAGMA synchronous = FULL")
        with copy:
            copy.execute("UPDATE meta SET value = ? WHERE name = 'epoch'", (secrets.token_bytes(16),))
            for table in ("manifest", "history_manifest"):
                if one(copy, "SELECT 1 FROM sqlite_schema WHERE name = ?", (table,)) is not None:
                    copy.execute(f"UPDATE {table} SET generation = 0, data = x'', sum = ?",
                                 (schema.manifest_sum(0, b""),))  # fmt: skip
        _give_out(copy, folder)
        copy.execute("PRAGMA journal_mode = WAL")
        revision = int(one(copy, "SELECT rev FROM head"))
    finally:
        copy.close()
    _sync(unfinished)
    return revision


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)

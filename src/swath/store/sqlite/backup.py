"""A copy of the ledger at one point in time, made while others write; and a catalogue out of such a copy."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import apsw

from swath.errors import CatalogUnusable, InvalidRequest
from swath.store.sqlite import schema
from swath.store.sqlite.schema import one

__all__ = ["backup", "restore"]


def backup(folder: Path, target: Path) -> int:
    """Write the catalogue as it is at this moment to a file; the revision that it holds.

    The file appears when it is complete and durable. CatalogUnusable where there is no catalogue, InvalidRequest where
    the file is there already. VACUUM INTO reads in one transaction: it neither waits for writers nor starts over.
    """
    if target.exists():
        raise InvalidRequest(f"{target} is there already; name a new file")
    connection = schema.open_readonly(folder)
    unfinished = target.with_name(f".{target.name}.{secrets.token_hex(6)}")
    try:
        connection.execute("VACUUM INTO ?", (str(unfinished),))
        copy = apsw.Connection(str(unfinished), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            revision = int(one(copy, "SELECT rev FROM head"))
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
        revision = _copy(source, unfinished)
        os.replace(unfinished, target)
        _sync(folder)
        _sync(folder.parent)
    finally:
        for ending in ("", "-wal", "-shm", "-journal"):
            unfinished.with_name(unfinished.name + ending).unlink(missing_ok=True)
    schema.upgrade(folder)
    return revision


def _copy(source: Path, unfinished: Path) -> int:
    """The file with a new epoch, checked page by page."""
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

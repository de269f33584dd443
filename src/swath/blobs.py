"""The bytes of the asset store, under keys that are made of their SHA-256: a folder, or an object store.

Nothing is ever overwritten: equal bytes have one key, and a key is written once. In a folder a file is written, synced
and linked under its name, and the folder is synced; in an object store it is put on
the condition that nothing is there.
"""

from __future__ import annotations

import hashlib
import os
import secrets
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, Protocol

import obstore
from obstore.exceptions import AlreadyExistsError, BaseError, NotFoundError
from obstore.store import from_url

from swath.errors import CatalogDamaged, CatalogUnusable, Unavailable

__all__ = ["CHUNK", "FOLDER", "Blob", "Blobs", "FolderBlobs", "ObjectBlobs", "hash_file", "open_blobs"]

FOLDER = "blobs"
CHUNK = 4_000_000
_PART = 16 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Blob:
    """A key that is there, its size in bytes, and when it was written, in microseconds since 1970."""

    key: str
    size: int
    at: int


class Blobs(Protocol):
    """Bytes by key. Keys are of letters, digits and `-`, and never come from a caller."""

    def put(self, key: str, source: Path) -> None:
        """Keep the bytes of a file, which nobody writes to any more; durable when this returns.

        Of no effect where there are some.
        """

    def size(self, key: str) -> int | None:
        """How many bytes there are; None for none."""

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        """The bytes from `start` up to `end`, in chunks. CatalogDamaged where they are not there."""

    def delete(self, key: str) -> None:
        """Take the bytes away; of no effect where there are none."""

    def all(self) -> Iterator[Blob]:
        """Everything that is there."""

    def sign(self, key: str, method: Literal["GET", "HEAD"], seconds: int) -> str | None:
        """The object store's own address where anybody can do this one thing for so long; None where it has none."""

    def path(self, key: str) -> Path | None:
        """Where the bytes are as a file; None where they are none."""

    def url(self, key: str) -> str:
        """Where the bytes are, for one who has access to the store: `file://…`, `s3://…`."""

    def fetch(self, key: str, target: Path) -> None:
        """The bytes as a file of one's own. CatalogDamaged where they are not there."""


def hash_file(path: Path) -> str:
    """The SHA-256 of a file, in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


class FolderBlobs:
    """Blobs as files, two letters of the key a folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _place(self, key: str) -> Path:
        return self.folder / key[:2] / key

    def put(self, key: str, source: Path) -> None:
        place = self._place(key)
        if place.exists():
            return
        made = [each for each in (place.parent, self.folder) if not each.exists()]
        place.parent.mkdir(parents=True, exist_ok=True)
        unfinished = place.with_name(f"{key}.{secrets.token_hex(4)}~")
        try:
            _move(source, unfinished)
            _sync(unfinished)
            unfinished.chmod(0o444)
            os.link(unfinished, place)  # unlike a rename, fails where another was first
        except FileExistsError:
            pass
        finally:
            unfinished.unlink(missing_ok=True)
        _sync(place.parent)
        for each in made:
            _sync(each.parent)

    def size(self, key: str) -> int | None:
        try:
            return self._place(key).stat().st_size
        except FileNotFoundError:
            return None

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        try:
            stream = self._place(key).open("rb", buffering=0)
        except FileNotFoundError:
            raise CatalogDamaged(f"the bytes {key} are missing; `swath check` lists what is") from None
        with stream:
            stream.seek(start)
            left = end - start
            while left > 0:
                chunk = stream.read(min(CHUNK, left))
                if not chunk:
                    raise CatalogDamaged(f"the bytes {key} are cut short")
                left -= len(chunk)
                yield chunk

    def delete(self, key: str) -> None:
        self._place(key).unlink(missing_ok=True)

    def all(self) -> Iterator[Blob]:
        for place in sorted(self.folder.glob("??/*")):
            try:
                found = place.stat()
            except FileNotFoundError:
                continue
            yield Blob(place.name, found.st_size, found.st_mtime_ns // 1000)

    def sign(self, key: str, method: Literal["GET", "HEAD"], seconds: int) -> str | None:  # noqa: ARG002
        return None  # the server signs links to itself

    def path(self, key: str) -> Path | None:
        return self._place(key)

    def url(self, key: str) -> str:
        return self._place(key).absolute().as_uri()

    def fetch(self, key: str, target: Path) -> None:
        place = self._place(key)
        if not place.exists():
            raise CatalogDamaged(f"the bytes {key} are missing; `swath check` lists what is")
        shutil.copyfile(place, target)  # not a second name for the bytes, which whoever asks for them may change


class ObjectBlobs:
    """Blobs in S3, Google Cloud Storage, Azure or memory. What they answer in error is told, and means: try again."""

    def __init__(self, url: str) -> None:
        """CatalogUnusable for an address that is none of an object store."""
        self.address = url.rstrip("/")
        try:
            self.store: Any = from_url(url)
        except (BaseError, ValueError, TypeError) as error:
            raise CatalogUnusable(
                f"SWATH_BLOBS: {url!r} cannot be opened: {_first(error)}; "
                "give a folder, or s3://bucket/prefix, gs://bucket/prefix or az://container/prefix"
            ) from None

    def put(self, key: str, source: Path) -> None:
        try:
            if source.stat().st_size > _PART:
                self._put_large(key, source)
            else:
                obstore.put(self.store, key, source, mode="create", use_multipart=False)
        except AlreadyExistsError:
            pass
        except BaseError as error:
            raise Unavailable(f"the object store does not take {key}: {_first(error)}", 5) from None

    def _put_large(self, key: str, source: Path) -> None:
        """In parts. A multipart upload knows no condition; equal keys hold equal bytes, so that does no harm."""
        if self.size(key) is None:
            obstore.put(self.store, key, source, use_multipart=True, chunk_size=_PART, max_concurrency=4)

    def size(self, key: str) -> int | None:
        try:
            return int(obstore.head(self.store, key)["size"])
        except (NotFoundError, FileNotFoundError):
            return None
        except BaseError as error:
            raise Unavailable(f"the object store does not answer: {_first(error)}", 5) from None

    def read(self, key: str, start: int, end: int) -> Iterator[bytes]:
        try:
            while start < end:
                stop = min(start + _PART, end)
                chunk = bytes(obstore.get_range(self.store, key, start=start, end=stop))
                if len(chunk) != stop - start:
                    raise CatalogDamaged(f"the bytes {key} are cut short")
                yield chunk
                start = stop
        except (NotFoundError, FileNotFoundError):
            raise CatalogDamaged(f"the bytes {key} are missing; `swath check` lists what is") from None
        except BaseError as error:
            raise Unavailable(f"the object store does not answer: {_first(error)}", 5) from None

    def delete(self, key: str) -> None:
        try:
            obstore.delete(self.store, key)
        except (NotFoundError, FileNotFoundError):
            pass
        except BaseError as error:
            raise Unavailable(f"the object store does not delete {key}: {_first(error)}", 5) from None

    def all(self) -> Iterator[Blob]:
        for page in obstore.list(self.store):
            for each in page:
                yield Blob(each["path"], each["size"], int(each["last_modified"].timestamp() * 1_000_000))

    def sign(self, key: str, method: Literal["GET", "HEAD"], seconds: int) -> str | None:
        try:
            return str(obstore.sign(self.store, method, key, timedelta(seconds=seconds)))
        except (BaseError, TypeError, ValueError, AttributeError):
            return None

    def path(self, key: str) -> Path | None:  # noqa: ARG002
        return None

    def url(self, key: str) -> str:
        return f"{self.address}/{key}"

    def fetch(self, key: str, target: Path) -> None:
        size = self.size(key)
        if size is None:
            raise CatalogDamaged(f"the bytes {key} are missing; `swath check` lists what is")
        with target.open("wb") as out:
            for chunk in self.read(key, 0, size):
                out.write(chunk)


def open_blobs(url: str | None, folder: Path) -> FolderBlobs | ObjectBlobs:
    """The blobs of a catalogue: where the setting says, else in its own folder."""
    if url is None:
        return FolderBlobs(folder / FOLDER)
    if url.startswith("file://"):
        return FolderBlobs(Path(url.removeprefix("file://")))
    return ObjectBlobs(url) if "://" in url else FolderBlobs(Path(url))


def _move(source: Path, target: Path) -> None:
    """A second name for a file, or a copy of it where it is on another disk."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _first(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__

"""Where a file comes from: the web, a file of this machine, the catalogue's own store, an object store.

Each can say what the file is like before it is read, and read it from any place on.
"""

from __future__ import annotations

import email.utils
import os
import re
import stat
from collections.abc import Generator, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from swath.blobs import CHUNK, Blobs
from swath.config import has_keys
from swath.download.checks import Checksum, read_digest
from swath.download.names import disposition_name
from swath.errors import InvalidRequest, NotFound, RemoteFailure, SwathError
from swath.formats.web import Client, Passing
from swath.store.records import AssetRecord

__all__ = [
    "OBJECT_STORES",
    "BlobSource",
    "FileSource",
    "NoSource",
    "ObjectSource",
    "Reading",
    "Seen",
    "Source",
    "WebSource",
]

OBJECT_STORES = ("s3", "s3a", "gs", "az", "abfs", "abfss", "adl", "azure")
_NO_HEAD = frozenset((400, 401, 403, 404, 405, 406, 500, 501))  # as links that are signed for GET answer
_SPAN = re.compile(r"bytes\s+(\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")
_STEADY = 60  # seconds after which a date is a validator (RFC 9110, 8.8.2.2)


@dataclass(frozen=True, slots=True)
class Seen:
    """What a source says of a file. `tag` stands for these very bytes; `modified` is in seconds since 1970."""

    size: int | None = None
    tag: str | None = None
    modified: float | None = None
    name: str | None = None
    media_type: str | None = None
    digest: Checksum | None = None


@dataclass(frozen=True, slots=True)
class Reading:
    """The bytes of a file from `start` on."""

    seen: Seen
    start: int
    chunks: Iterator[bytes]


class Source(Protocol):
    def look(self) -> Seen:
        """What it is like. Passing, SwathError, OSError where it cannot be had."""

    def read(self, start: int, tag: str | None) -> AbstractContextManager[Reading]:
        """From `start` on, if the bytes still are those of the tag and it can; else from the beginning."""


class WebSource:
    """A file at an http or https address."""

    def __init__(self, client: Client, url: str) -> None:
        self.client, self.url = client, url

    def look(self) -> Seen:
        try:
            with self.client.stream(self.url, self._headers({}), "HEAD") as answer:
                return _seen(answer.status_code, answer.headers)
        except RemoteFailure as error:
            if error.status not in _NO_HEAD:
                raise
        except Passing:
            pass
        try:
            with self.client.stream(self.url, self._headers({"range": "bytes=0-0"})) as answer:
                return _seen(answer.status_code, answer.headers)
        except RemoteFailure as error:
            if error.status == 416:  # it is empty
                return Seen()
            raise

    @contextmanager
    def read(self, start: int, tag: str | None) -> Iterator[Reading]:
        asked = {"range": f"bytes={start}-"} if start else {}
        if start and tag:
            asked["if-range"] = tag
        with self.client.stream(self.url, self._headers(asked)) as answer:
            seen = _seen(answer.status_code, answer.headers)
            coded = _coded(answer.headers)
            begin = 0
            if answer.status_code == 206:
                span = _SPAN.fullmatch(answer.headers.get("content-range", "").strip())
                if span is None or coded or not start:
                    raise RemoteFailure(f"{self.url} gave a part of the file, and does not say which", 502)
                begin = int(span[1])
            yield Reading(seen, begin, answer.iter_bytes() if coded else answer.iter_raw())

    def _headers(self, more: Mapping[str, str]) -> dict[str, str]:
        return {"accept": "*/*", "accept-encoding": "identity", **more}


def _coded(headers: Mapping[str, str]) -> bool:
    """Whether it comes compressed, though that was not asked for: then its length is not that of the file."""
    return headers.get("content-encoding", "identity").strip().lower() not in ("", "identity")


def _seen(status: int, headers: Mapping[str, str]) -> Seen:
    coded, length = _coded(headers), headers.get("content-length", "")
    size = int(length) if length.isascii() and length.isdigit() and len(length) < 19 and not coded else None
    if status == 206:
        span = _SPAN.fullmatch(headers.get("content-range", "").strip())
        size = int(span[3]) if span is not None and span[3] != "*" else None
    modified = _date(headers.get("last-modified", ""))
    tag: str | None = headers.get("etag", "").strip()
    if not tag or tag.startswith("W/"):
        sent = _date(headers.get("date", ""))
        steady = modified is not None and sent is not None and sent - modified >= _STEADY
        tag = headers.get("last-modified", "").strip() if steady else None
    if coded:  # parts of it could not be put together
        tag = None
    media_type = headers.get("content-type", "").partition(";")[0].strip().lower()
    return Seen(
        size,
        tag,
        modified,
        disposition_name(headers.get("content-disposition", "")),
        None if media_type in ("application/octet-stream", "binary/octet-stream", "") else media_type,
        None if coded else read_digest(headers.get("repr-digest", "")),
    )


def _date(text: str) -> float | None:
    try:
        return email.utils.parsedate_to_datetime(text).timestamp()
    except (TypeError, ValueError, OverflowError):
        return None


class FileSource:
    """A file of this machine."""

    def __init__(self, href: str) -> None:
        """InvalidRequest for a `file:` address of another machine."""
        parts = urlsplit(href)
        if parts.netloc not in ("", "localhost"):
            raise InvalidRequest(f"{href} is on another machine")
        self.path = Path(unquote(parts.path) if parts.scheme == "file" else href)

    def look(self) -> Seen:
        return self._seen(self.path.stat())

    @contextmanager
    def read(self, start: int, tag: str | None) -> Iterator[Reading]:
        descriptor = os.open(self.path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)  # a pipe does not keep one waiting
        with open(descriptor, "rb", buffering=0) as stream:
            seen = self._seen(os.fstat(descriptor))
            begin = start if tag == seen.tag else 0
            stream.seek(begin)
            yield Reading(seen, begin, iter(lambda: stream.read(CHUNK), b""))

    def _seen(self, found: os.stat_result) -> Seen:
        if not stat.S_ISREG(found.st_mode):
            raise NotFound(f"{self.path} is no file")
        tag = f"{found.st_size}-{found.st_mtime_ns}-{found.st_ino}"
        return Seen(found.st_size, tag, found.st_mtime, self.path.name)


class BlobSource:
    """A file of the catalogue's own store."""

    def __init__(self, blobs: Blobs, asset: AssetRecord) -> None:
        self.blobs, self.asset = blobs, asset

    def look(self) -> Seen:
        digest = Checksum("sha256", bytes.fromhex(self.asset.sha256), "the store")
        asset = self.asset
        return Seen(asset.size, asset.sha256, asset.at / 1e6, asset.name, asset.media_type, digest)

    @contextmanager
    def read(self, start: int, tag: str | None) -> Iterator[Reading]:
        begin = start if tag == self.asset.sha256 and start <= self.asset.size else 0
        yield Reading(self.look(), begin, self.blobs.read(self.asset.blob, begin, self.asset.size))


class ObjectSource:
    """A file in S3, Google Cloud Storage or Azure, with the environment's keys, or none."""

    def __init__(self, href: str) -> None:
        """InvalidRequest where the address is none."""
        import obstore  # takes a while to come up
        from obstore.exceptions import BaseError
        from obstore.store import from_url

        parts = urlsplit(href)
        kind = {"s3a": "s3", "s3": "s3", "gs": "gs"}.get(parts.scheme, "az")
        bare = not has_keys(kind)
        options: dict[str, Any] = {"skip_signature": True} if bare else {}
        self.href, self.key = href, unquote(parts.path.lstrip("/"))
        self._obstore, self._error = obstore, BaseError
        try:
            if not self.key or not parts.netloc:
                raise ValueError("it names no file")
            tries: Any = {"max_retries": 2, "retry_timeout": timedelta(seconds=30)}
            self.store: Any = from_url(f"{parts.scheme}://{parts.netloc}", retry_config=tries, **options)
        except (BaseError, ValueError, TypeError) as error:
            raise InvalidRequest(f"{href} cannot be asked: {_first(error)}") from None

    def look(self) -> Seen:
        return self._seen(self._tried(lambda: self._obstore.head(self.store, self.key)))

    @contextmanager
    def read(self, start: int, tag: str | None) -> Iterator[Reading]:
        seen = self.look()
        begin = start if tag is not None and tag == seen.tag and start < (seen.size or 0) else 0
        options: dict[str, Any] = {"range": {"offset": begin}} if begin else {}
        if seen.tag is not None:
            options["if_match"] = seen.tag
        answer = self._tried(lambda: self._obstore.get(self.store, self.key, options=options))
        with closing(self._chunks(answer)) as chunks:
            yield Reading(seen, begin, chunks)

    def _chunks(self, answer: Any) -> Generator[bytes]:
        stream = iter(answer.stream(min_chunk_size=CHUNK))
        while (chunk := self._tried(lambda: next(stream, None))) is not None:
            yield bytes(chunk)

    def _tried(self, ask: Any) -> Any:
        from obstore.exceptions import NotFoundError, PermissionDeniedError, UnauthenticatedError

        try:
            return ask()
        except (NotFoundError, FileNotFoundError):
            raise NotFound(f"{self.href} is not there") from None
        except (PermissionDeniedError, UnauthenticatedError) as error:
            raise RemoteFailure(f"{self.href} is not open: {_first(error)}", 403) from None
        except self._error as error:
            raise Passing(RemoteFailure(f"{self.href} cannot be read: {_first(error)}", 502)) from None

    def _seen(self, meta: Any) -> Seen:
        return Seen(int(meta["size"]), meta.get("e_tag"), meta["last_modified"].timestamp())


def _first(error: Exception) -> str:
    return str(error).splitlines()[0][:300] if str(error) else type(error).__name__


class NoSource:
    """One that cannot be, with the reason."""

    def __init__(self, error: SwathError) -> None:
        self.error = error

    def look(self) -> Seen:
        raise self.error

    @contextmanager
    def read(self, start: int, tag: str | None) -> Iterator[Reading]:  # noqa: ARG002
        raise self.error
        yield

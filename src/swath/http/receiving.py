"""Files as they come in: written and hashed as they arrive, of any length, in constant memory."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
import re
import secrets
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from swath.errors import InvalidRequest, TooLarge, UnsupportedMediaType
from swath.limits import LIMITS

__all__ = ["Received", "check_digest", "receive_form", "receive_raw"]

_AT_ONCE = 4_000_000
_MOST_FIELDS = 200
_DIGEST = re.compile(r"\s*([a-z0-9-]+)\s*=\s*:([A-Za-z0-9+/=]*):\s*")


@dataclass(slots=True)
class Received:
    """A file that has arrived and is durable, under a name of ours; `name` is what its sender calls it."""

    path: Path
    name: str
    sha256: str
    size: int
    fields: dict[str, list[str]] = field(default_factory=dict)

    def drop(self) -> None:
        self.path.unlink(missing_ok=True)


class _Writer:
    """Writes and hashes in a thread, a few megabytes at a time, while more arrives."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / f"{secrets.token_hex(8)}.upload~"
        self.out = self.path.open("wb", buffering=0)
        self.said, self.size = hashlib.sha256(), 0
        self.waiting = bytearray()
        self.running: asyncio.Future[None] | None = None

    async def add(self, chunk: bytes) -> None:
        self.waiting += chunk
        if len(self.waiting) >= _AT_ONCE:
            await self._flush()

    async def _flush(self) -> None:
        if self.running is not None:
            await self.running
        block, self.waiting = self.waiting, bytearray()
        self.running = asyncio.get_running_loop().run_in_executor(None, self._write, block)

    def _write(self, block: bytearray) -> None:
        self.said.update(block)
        self.size += len(block)
        view = memoryview(block)
        while view:
            view = view[self.out.write(view) :]

    async def end(self) -> None:
        await self._flush()
        assert self.running is not None
        await self.running
        await asyncio.to_thread(os.fsync, self.out.fileno())
        self.out.close()

    async def fail(self) -> None:
        if self.running is not None:
            await asyncio.wait((self.running,))
        self.out.close()
        self.path.unlink(missing_ok=True)


async def receive_raw(stream: AsyncIterator[bytes], folder: Path, name: str) -> Received:
    """A body that is the file itself."""
    writer = _Writer(folder)
    try:
        async for chunk in stream:
            await writer.add(chunk)
        await writer.end()
    except BaseException:
        await writer.fail()
        raise
    return Received(writer.path, name, writer.said.hexdigest(), writer.size)


@dataclass(slots=True)
class _Part:
    """A part of a form while it arrives."""

    headers: dict[str, str] = field(default_factory=dict)
    name: str = ""
    file: str | None = None
    text: bytearray = field(default_factory=bytearray)


async def receive_form(stream: AsyncIterator[bytes], folder: Path, content_type: str) -> Received:
    """A form (RFC 7578) with one file, whatever its field is called, and fields of text around it."""
    form = _Form(content_type)
    writer = _Writer(folder)
    try:
        async for chunk in stream:
            for kind, data in form.fed(chunk):
                if kind == "file":
                    await writer.add(data)
        form.end()
        await writer.end()
        if form.file is None:
            raise InvalidRequest("the form has no file; send one field with a filename")
    except BaseException:
        await writer.fail()
        raise
    return Received(writer.path, form.file, writer.said.hexdigest(), writer.size, form.fields)


class _Form:
    """Reads a form as it comes: the file's bytes are passed on, the fields kept."""

    def __init__(self, content_type: str) -> None:
        _, options = parse_options_header(content_type)
        boundary = options.get(b"boundary")
        if not boundary:
            raise UnsupportedMediaType("multipart/form-data: the boundary is missing from Content-Type")
        self.file: str | None = None
        self.fields: dict[str, list[str]] = {}
        self._part, self._header, self._value = _Part(), bytearray(), bytearray()
        self._passed: list[tuple[str, bytes]] = []
        self._kept = 0
        self._over = False
        self._parser = MultipartParser(
            boundary,
            {
                "on_part_begin": self._begin, "on_part_data": self._data, "on_part_end": self._end,
                "on_header_field": self._header_field, "on_header_value": self._header_value,
                "on_header_end": self._header_end, "on_headers_finished": self._headers, "on_end": self._all,
            },
        )  # fmt: skip

    def fed(self, chunk: bytes) -> list[tuple[str, bytes]]:
        """What a piece of the body brings of the file."""
        self._passed = []
        try:
            self._parser.write(chunk)
        except FormParserError as error:
            raise InvalidRequest(f"the body is no multipart form: {error}") from None
        return self._passed

    def end(self) -> None:
        """InvalidRequest where the body ended before the form did."""
        if not self._over:
            raise InvalidRequest("the form is cut short: its last boundary is missing")

    def _begin(self) -> None:
        self._part = _Part()

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]
        self._weigh(end - start)

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]
        self._weigh(end - start)

    def _header_end(self) -> None:
        self._part.headers[self._header.decode("latin-1").lower()] = self._value.decode("utf-8", "replace")
        self._header.clear()
        self._value.clear()

    def _headers(self) -> None:
        disposition = self._part.headers.get("content-disposition", "")
        _, options = parse_options_header(disposition.encode())
        self._part.name = options.get(b"name", b"").decode("utf-8", "replace")
        if b"filename" in options:
            if self.file is not None:
                raise InvalidRequest("the form has two files; send one at a time, or an archive of both")
            self.file = self._part.file = options[b"filename"].decode("utf-8", "replace") or "delivery"

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self._part.file is not None:
            self._passed.append(("file", data[start:end]))
            return
        self._weigh(end - start)
        self._part.text += data[start:end]

    def _weigh(self, size: int) -> None:
        self._kept += size
        if self._kept > LIMITS.body_bytes or len(self.fields) > _MOST_FIELDS:
            raise TooLarge(f"the fields of the form are more than {LIMITS.body_bytes:,} bytes, or {_MOST_FIELDS}")

    def _end(self) -> None:
        if self._part.file is None:
            try:
                self.fields.setdefault(self._part.name, []).append(self._part.text.decode())
            except UnicodeDecodeError:
                raise InvalidRequest(f"{self._part.name[:60]}: the field is not UTF-8") from None

    def _all(self) -> None:
        self._over = True


def check_digest(header: str | None, received: Received) -> None:
    """Repr-Digest, or Content-Digest (RFC 9530): InvalidRequest where a SHA-256 or SHA-512 is named, and is another.

    So is what cannot be read: who sends a digest believes that it is compared. Other algorithms are passed over.
    """
    for part in header.split(",") if header else ():
        found = _DIGEST.fullmatch(part)
        if found is None:
            raise InvalidRequest(f"Repr-Digest: {part.strip()[:60]!r} is no digest, such as sha-256=:BASE64:")
        if found[1] == "sha-256":
            told = base64.b64encode(bytes.fromhex(received.sha256)).decode()
        elif found[1] == "sha-512":
            with received.path.open("rb") as stream:
                told = base64.b64encode(hashlib.file_digest(stream, "sha512").digest()).decode()
        else:
            continue
        if found[2] != told:
            raise InvalidRequest(
                f"the {found[1]} of what arrived is :{told}:, not :{found[2][:90]}: as Repr-Digest says"
            )

"""Resumable uploads: the tus protocol 1.0.0 (https://tus.io/protocols/resumable-upload) at `/uploads`.

The extensions creation, creation-with-upload, creation-defer-length, checksum, termination and expiration. When the
last byte has come, the upload becomes a delivery; `Swath-Asset` and `Swath-Asset-Location` tell which.

A HEAD says that its sender wants to go on: it, or a DELETE, ends the PATCH that another connection, which may have
been dead for minutes, still has open. A PATCH beside another is refused.
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import re
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from email.utils import formatdate
from functools import wraps
from typing import Any, TypeVar

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from swath.assets.said import Said, clean_name, said_of
from swath.assets.uploads import ALGORITHMS, Held, Upload, Uploads
from swath.errors import (
    Conflict,
    InvalidRequest,
    Locked,
    PreconditionFailed,
    SwathError,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from swath.http.call import Call
from swath.http.downloads import PREFIX as ASSETS
from swath.http.errors import problem
from swath.http.login import store_of
from swath.http.route import Route

__all__ = ["PREFIX", "ROUTES"]

PREFIX = "/uploads"
_VERSION = "1.0.0"
_EXTENSIONS = ("creation", "creation-with-upload", "creation-defer-length", "checksum", "termination", "expiration")
_BYTES = "application/offset+octet-stream"
_AT_ONCE = 4_000_000
_LOOK_SECONDS = 0.25  # until somebody who asks for an upload is noticed
_PATIENT_SECONDS, _TAKING_SECONDS = 1.0, 10.0
_NUMBER = re.compile(r"[0-9]{1,18}")
_KEY = re.compile(r"[!-+\--~]+")  # ASCII without blanks and commas
_NAMES = ("filename", "name")
_PASSED_OVER = ("filetype", "type", "relativePath")  # what clients add; what a file is, its bytes tell

Handler = Callable[[Call], Awaitable[Response]]
T = TypeVar("T")


def _tus(handler: Handler) -> Handler:
    """A handler for requests of a version that is spoken here."""

    @wraps(handler)
    async def checked(call: Call) -> Response:
        call.parameters(())
        store_of(call)
        if call.headers.get("tus-resumable") != _VERSION:
            error = PreconditionFailed(f"Tus-Resumable: the protocol that is spoken here is {_VERSION}")
            answer = problem(error, call.target)
            answer.headers["tus-version"] = _VERSION
            return answer
        return await handler(call)

    return checked


# -- the methods -----------------------------------------------------------------------------------


@_tus
async def create(call: Call) -> Response:
    """A new upload; with its first bytes, where the body has them."""
    length, checksum, with_bytes = _length(call), _checksum(call), _has_bytes(call)
    if length is None and call.headers.get("upload-defer-length") != "1":
        raise InvalidRequest("Upload-Length: how many bytes it will have; Upload-Defer-Length: 1 where that is unknown")
    if length is not None and "upload-defer-length" in call.headers:
        raise InvalidRequest("Upload-Length and Upload-Defer-Length: either of them")
    if "upload-concat" in call.headers:
        raise InvalidRequest("Upload-Concat: uploads are not joined here; send one in pieces")
    written = call.headers.get("upload-metadata", "")
    name, said = _said(written)
    uploads = Uploads(store_of(call))
    upload = await asyncio.to_thread(uploads.create, call.actor, name, said, length, written)
    answer = Response(status_code=201)
    held = await _held(uploads, upload.id)
    taken = False
    try:
        taken = not with_bytes or (await _taken(call, held, checksum)).status_code == 204
        _tell(call, answer, held)
    finally:
        if not taken:  # nobody knows of it
            await _done(uploads.remove, held)
        held.close()
    answer.headers["location"] = f"{call.address.home}{PREFIX}/{upload.id}"
    return answer


@_tus
async def state(call: Call) -> Response:
    """How far an upload is. Whoever else sends to it is stopped."""
    uploads, upload_id = Uploads(store_of(call)), call.path["upload"]
    held = await _held_or_whole(uploads, upload_id)
    answer = Response(status_code=200, headers={"cache-control": "no-store"})
    if isinstance(held, Upload):
        _tell_length(answer, held)
        answer.headers["upload-offset"] = str(held.length)
        return answer
    try:
        await _done(uploads.finish, held)
        _tell(call, answer, held)
        _tell_length(answer, held.upload)
    finally:
        held.close()
    return answer


@_tus
async def append(call: Call) -> Response:
    """Go on with an upload at its offset."""
    if not _has_bytes(call):
        raise UnsupportedMediaType(f"{PREFIX}/… reads {_BYTES}")
    offset, length, checksum = _number(call, "upload-offset"), _length(call), _checksum(call)
    if offset is None:
        raise InvalidRequest("Upload-Offset: where the bytes belong")
    uploads = Uploads(store_of(call))
    held = await _held(uploads, call.path["upload"])
    try:
        if offset != held.offset:
            raise Conflict(f"Upload-Offset: the upload goes on at {held.offset}, not at {offset}")
        if length is not None:
            await _done(held.limit, length)
        answer = await _taken(call, held, checksum)
        _tell(call, answer, held)
        return answer
    finally:
        held.close()


@_tus
async def end(call: Call) -> Response:
    """Give an upload up. A delivery that was made of it stays."""
    uploads = Uploads(store_of(call))
    held = await _held(uploads, call.path["upload"], takes_over=True)
    try:
        await _done(uploads.remove, held)
    finally:
        held.close()
    return Response(status_code=204)


def _tell(call: Call, answer: Response, held: Held) -> None:
    answer.headers["upload-offset"] = str(held.offset)
    if held.upload.asset is not None:
        answer.headers["swath-asset"] = held.upload.asset
        answer.headers["swath-asset-location"] = f"{call.address.home}{ASSETS}/{held.upload.asset}/metadata"
    else:
        answer.headers["upload-expires"] = formatdate(held.expires, usegmt=True)


def _tell_length(answer: Response, upload: Upload) -> None:
    if upload.length is None:
        answer.headers["upload-defer-length"] = "1"
    else:
        answer.headers["upload-length"] = str(upload.length)
    if upload.metadata:
        answer.headers["upload-metadata"] = upload.metadata


# -- what headers say ------------------------------------------------------------------------------


def _number(call: Call, name: str) -> int | None:
    text = call.headers.get(name)
    if text is None:
        return None
    if not _NUMBER.fullmatch(text):
        raise InvalidRequest(f"{name.title()}: {text[:40]!r} is no number of bytes")
    return int(text)


def _length(call: Call) -> int | None:
    return _number(call, "upload-length")


def _has_bytes(call: Call) -> bool:
    """Whether the body is a piece of the upload. UnsupportedMediaType for a body that is something else."""
    media_type = call.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type == _BYTES:
        return True
    if call.headers.get("content-length", "0") != "0" or "transfer-encoding" in call.headers:
        raise UnsupportedMediaType(f"{PREFIX} reads {_BYTES}, not {media_type[:80] or 'a body without Content-Type'!r}")
    return False


@dataclass(frozen=True, slots=True)
class _Checksum:
    algorithm: str
    value: bytes


def _checksum(call: Call) -> _Checksum | None:
    text = call.headers.get("upload-checksum")
    if text is None:
        return None
    algorithm, _, value = text.strip().partition(" ")
    if algorithm.lower() not in ALGORITHMS:
        raise InvalidRequest(f"Upload-Checksum: {algorithm[:40]!r} is none of {', '.join(ALGORITHMS)}")
    try:
        return _Checksum(algorithm.lower(), base64.b64decode(value.strip(), validate=True))
    except (binascii.Error, ValueError):
        raise InvalidRequest("Upload-Checksum: an algorithm and the checksum in Base64, with a blank between") from None


def _said(written: str) -> tuple[str, Said]:
    """The file's name, and what its sender says of it. InvalidRequest names what is wrong."""
    told = _metadata(written)
    name = next((told[key] for key in _NAMES if told.get(key)), "delivery")
    return clean_name(name), said_of({key: told[key] for key in told if key not in (*_NAMES, *_PASSED_OVER)})


def _metadata(written: str) -> dict[str, str]:
    told: dict[str, str] = {}
    for pair in written.split(",") if written.strip() else ():
        key, _, value = pair.strip().partition(" ")
        if not _KEY.fullmatch(key) or key in told:
            raise InvalidRequest("Upload-Metadata: keys, each once, with a value in Base64; commas between them")
        try:
            told[key] = base64.b64decode(value.strip(), validate=True).decode()
        except (binascii.Error, ValueError):
            raise InvalidRequest(f"Upload-Metadata: {key[:60]}: the value is no UTF-8 in Base64") from None
    return told


# -- one at a time ---------------------------------------------------------------------------------


async def _held(uploads: Uploads, upload_id: str, *, takes_over: bool = False) -> Held:
    """An upload for this request. Locked where another has it, and goes on having it."""
    until = time.monotonic() + (_TAKING_SECONDS if takes_over else _PATIENT_SECONDS)
    while True:
        held = await _done(uploads.hold, upload_id)
        if held is not None:
            return held
        if takes_over:
            await _done(uploads.ask, upload_id)
        if time.monotonic() > until:
            raise Locked(f"the upload {upload_id} is being sent to by another request; ask with HEAD how far it is")
        await asyncio.sleep(0.05)


async def _held_or_whole(uploads: Uploads, upload_id: str) -> Held | Upload:
    """An upload for this request; as it is, where all has come, while another is making a delivery of it."""
    held = await _done(uploads.hold, upload_id)
    if held is not None:
        return held
    return await _done(uploads.whole, upload_id) or await _held(uploads, upload_id, takes_over=True)


async def _done(function: Callable[..., T], *arguments: Any) -> T:
    """What a function gives in a thread, which is awaited to its end: what it works on is not taken from under it."""
    running = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        return await asyncio.shield(running)
    except asyncio.CancelledError:
        await asyncio.wait((running,))
        raise


# -- taking in -------------------------------------------------------------------------------------


class _Pump:
    """Writes in a thread what arrives, a few megabytes at a time, while more arrives."""

    def __init__(self, held: Held) -> None:
        self.held, self.room = held, held.room
        self.waiting, self.arrived = bytearray(), 0
        self.running: asyncio.Future[None] | None = None

    async def read(self, stream: AsyncIterator[bytes]) -> None:
        """TooLarge for more than the upload is long; that much is written with the end of the body only."""
        async for chunk in stream:
            self.arrived += len(chunk)
            if self.room is not None and self.arrived > self.room:
                self.waiting.clear()
                raise TooLarge(f"the upload has {self.held.upload.length:,} bytes, and this is more")
            self.waiting += chunk
            if len(self.waiting) >= _AT_ONCE and self.arrived != self.room:
                await self._flush()

    async def _flush(self) -> None:
        await self._written()
        block, self.waiting = self.waiting, bytearray()
        self.running = asyncio.ensure_future(asyncio.to_thread(self.held.append, block))

    async def _written(self) -> None:
        if self.running is not None:
            await asyncio.wait((self.running,))  # which, unlike an await, cannot cancel it
            running, self.running = self.running, None
            running.result()

    async def end(self) -> None:
        """Write what is waiting."""
        await self._flush()
        await self._written()


async def _taken(call: Call, held: Held, checksum: _Checksum | None) -> Response:
    """The body behind what has come. What arrived stays when the connection breaks, unless it was to be compared."""
    if held.room is not None and int(call.headers.get("content-length", "0")) > held.room:
        raise TooLarge(f"the upload has {held.upload.length:,} bytes, and this is more")
    await _done(held.begin, checksum.algorithm if checksum else None)
    fault = await _read(call, held)
    if isinstance(fault, TooLarge) or (fault is not None and checksum is not None):
        await _done(held.drop)
    else:
        await _done(held.keep, checksum.value if checksum else None)
    if isinstance(fault, ClientDisconnect):
        return Response(status_code=499)  # nobody reads it
    if fault is not None:
        raise fault
    await _done(held.uploads.finish, held)
    return Response(status_code=204)


async def _read(call: Call, held: Held) -> BaseException | None:
    """Write the body until it ends, breaks off, or this upload or server is wanted for something else: then, why."""
    assert call.stream is not None
    pump = _Pump(held)
    reading = asyncio.ensure_future(pump.read(call.stream()))
    fault: BaseException | None = None
    try:
        while not reading.done() and fault is None:
            await asyncio.wait((reading,), timeout=_LOOK_SECONDS)
            if not reading.done():
                fault = _reason(call, held)
    except asyncio.CancelledError as error:
        fault = error
    reading.cancel()
    await asyncio.wait((reading,))
    if not reading.cancelled():
        fault = reading.exception()
    try:
        await pump.end()
    except (SwathError, OSError) as error:
        fault = error if fault is None else fault
    return fault


def _reason(call: Call, held: Held) -> SwathError | None:
    """Why to stop reading."""
    if held.wanted():
        return Locked("another request goes on with this upload")
    if call.stopping():
        return Unavailable("the server is ending; go on with the upload in a moment", 5)
    return None


_ALWAYS = {"tus-resumable": _VERSION}
_OFFERED = {
    "tus-version": _VERSION,
    "tus-extension": ",".join(_EXTENSIONS),
    "tus-checksum-algorithm": ",".join(ALGORITHMS),
}
_FAULTS = (400, 401, 403, 404, 412, 503)
_ONE = f"{PREFIX}/{{upload}}"

ROUTES: tuple[Route, ...] = (
    Route("POST", PREFIX, create, "createUpload", "Begin a resumable upload (tus 1.0.0)", (), "file", {201: ("", "")},
          (*_FAULTS, 413, 415, 460), "Store", "stream", True, (_BYTES,), always=_ALWAYS, offered=_OFFERED),
    Route("HEAD", _ONE, state, "getUpload", "How far a resumable upload is", ("upload",), None, {200: ("", "")},
          (*_FAULTS, 410, 423), "Store", "stream", True, always=_ALWAYS, offered=_OFFERED),
    Route("PATCH", _ONE, append, "appendUpload", "Go on with a resumable upload", ("upload",), "file",
          {204: ("", "")}, (*_FAULTS, 409, 410, 413, 415, 423, 460), "Store", "stream", True, (_BYTES,),
          always=_ALWAYS, offered=_OFFERED),
    Route("DELETE", _ONE, end, "endUpload", "Give a resumable upload up", ("upload",), None, {204: ("", "")},
          (*_FAULTS, 410, 423), "Store", "stream", True, always=_ALWAYS, offered=_OFFERED),
)  # fmt: skip

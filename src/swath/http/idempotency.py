"""Requests with an Idempotency-Key that are refused before anything is written, or that change no document: they are
answered so again, in the same words.

What a write came to is kept by the writer, in its transaction (see store.sqlite.once).
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec
from starlette.responses import Response

from swath import errors
from swath.errors import InvalidDocument, KeyReused, SwathError, Unavailable
from swath.http.call import Call
from swath.http.entities import once_of

__all__ = ["done_once"]

# Of these, the next attempt may go better, or they say nothing of the request.
_NOT_KEPT = (KeyReused, Unavailable)


class _Said(msgspec.Struct):
    """A refusal of some kind; without a kind, an answer."""

    kind: str
    words: str
    pointer: str = ""
    status: int = 0
    media_type: str = ""
    location: str = ""


def done_once(handler: Callable[[Call], Response], call: Call) -> Response:
    """What the handler answers; for a request that came before, what it was answered then."""
    once = once_of(call)
    if once is None:
        return handler(call)
    ledger = call.catalog.ledger
    before = ledger.refused_once(once)
    if before is not None:
        said = msgspec.msgpack.decode(before, type=_Said)
        if said.kind:
            raise _error(said)
        headers = {"location": said.location} if said.location else None
        return Response(said.words, said.status, headers, said.media_type or None)
    try:
        answer = handler(call)
    except SwathError as error:
        if not isinstance(error, _NOT_KEPT):
            pointer = error.pointer if isinstance(error, InvalidDocument) else ""
            words = error.words if isinstance(error, InvalidDocument) else str(error)
            ledger.refuse_once(once, msgspec.msgpack.encode(_Said(type(error).__name__, words, pointer)))
        raise
    if ledger.done_once(once) is None:  # it changed no document: a job or a webhook
        words, location = bytes(answer.body).decode(), answer.headers.get("location", "")
        said = _Said("", words, "", answer.status_code, answer.media_type or "", location)
        ledger.refuse_once(once, msgspec.msgpack.encode(said))
    return answer


def _error(refusal: _Said) -> SwathError:
    if refusal.pointer:
        return InvalidDocument(refusal.words, refusal.pointer)
    kind = getattr(errors, refusal.kind, None)
    if isinstance(kind, type) and issubclass(kind, SwathError):
        return kind(refusal.words)
    return errors.InvalidRequest(refusal.words)

"""Requests with an Idempotency-Key that are refused before anything is written: they are so again, in the same words.

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


class _Refusal(msgspec.Struct):
    kind: str
    words: str
    pointer: str = ""


def done_once(handler: Callable[[Call], Response], call: Call) -> Response:
    """What the handler answers; for a request that was refused before, that refusal."""
    once = once_of(call)
    if once is None:
        return handler(call)
    ledger = call.catalog.ledger
    before = ledger.refused_once(once)
    if before is not None:
        raise _error(msgspec.msgpack.decode(before, type=_Refusal))
    try:
        return handler(call)
    except SwathError as error:
        if not isinstance(error, _NOT_KEPT):
            pointer = error.pointer if isinstance(error, InvalidDocument) else ""
            words = error.words if isinstance(error, InvalidDocument) else str(error)
            ledger.refuse_once(once, msgspec.msgpack.encode(_Refusal(type(error).__name__, words, pointer)))
        raise


def _error(refusal: _Refusal) -> SwathError:
    if refusal.pointer:
        return InvalidDocument(refusal.words, refusal.pointer)
    kind = getattr(errors, refusal.kind, None)
    if isinstance(kind, type) and issubclass(kind, SwathError):
        return kind(refusal.words)
    return errors.InvalidRequest(refusal.words)

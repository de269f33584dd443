"""Errors as answers: one table from class to status and code, one body (RFC 9457)."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import msgspec
from starlette.responses import Response

from swath import errors

__all__ = ["ERRORS", "PROBLEM_JSON", "problem"]

PROBLEM_JSON = "application/problem+json"

_PHRASES = {460: "Checksum Mismatch"}  # of tus, unknown to HTTP itself

# The first class that an error is an instance of decides.
ERRORS: tuple[tuple[type[Exception], int, str], ...] = (
    (errors.InvalidFilter, 400, "InvalidFilter"),
    (errors.InvalidCursor, 400, "InvalidToken"),
    (errors.InvalidDocument, 400, "InvalidDocument"),
    (errors.InvalidRequest, 400, "InvalidParameter"),
    (errors.NotAuthenticated, 401, "NotAuthenticated"),
    (errors.NotAllowed, 403, "NotAllowed"),
    (errors.NotFound, 404, "NotFound"),
    (errors.MethodNotAllowed, 405, "MethodNotAllowed"),
    (errors.NotAcceptable, 406, "NotAcceptable"),
    (errors.Conflict, 409, "Conflict"),
    (errors.Gone, 410, "Gone"),
    (errors.PreconditionFailed, 412, "PreconditionFailed"),
    (errors.TooLarge, 413, "TooLarge"),
    (errors.UnsupportedMediaType, 415, "UnsupportedMediaType"),
    (errors.RangeNotSatisfiable, 416, "RangeNotSatisfiable"),
    (errors.DeliveryRefused, 422, "DeliveryRefused"),
    (errors.KeyReused, 422, "IdempotencyKeyReused"),
    (errors.Locked, 423, "Locked"),
    (errors.ChecksumMismatch, 460, "ChecksumMismatch"),
    (errors.Unavailable, 503, "Unavailable"),
)


def problem(error: Exception, instance: str, *, enveloped: bool = False) -> Response:
    """The answer for an error. What is not in the table is a fault of ours: 500, without details.

    `enveloped`: with UP42's older way to say it beside.
    """
    known = ((status, code, str(error)) for kind, status, code in ERRORS if isinstance(error, kind))
    status, code, said = next(known, (500, "InternalError", "something went wrong here; the server's log tells more"))
    words = _sendable(said)
    body: dict[str, Any] = {
        "type": f"urn:swath:error:{code}",
        "title": _PHRASES.get(status) or HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "description": words,
        "detail": words,
        "message": words,
        "details": words,
        "instance": _sendable(instance),
    }
    if isinstance(error, errors.InvalidFilter) and error.at is not None:
        body["at"] = _sendable(error.at) if isinstance(error.at, str) else error.at
    elif isinstance(error, errors.InvalidDocument) and error.pointer:
        body["at"] = _sendable(error.pointer)
    if enveloped:
        body |= {"data": None, "error": {"code": status, "message": words, "details": None}}
    headers = {"cache-control": "no-store"}
    if isinstance(error, errors.Unavailable):
        headers["retry-after"] = str(error.retry_after)
    if isinstance(error, errors.NotAuthenticated):
        headers["www-authenticate"] = "Bearer"
    if isinstance(error, errors.RangeNotSatisfiable):
        headers["content-range"] = f"bytes */{error.size}"
    if isinstance(error, errors.MethodNotAllowed) and error.allowed:
        headers["allow"] = ", ".join(error.allowed)
    return Response(msgspec.json.encode(body), status, headers, PROBLEM_JSON)


def _sendable(text: str) -> str:
    """Lone surrogates can come in with a parameter and cannot go out as UTF-8."""
    return text.encode("utf-8", "replace").decode()

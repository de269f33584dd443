"""Everything that Swath raises on purpose.

    SwathError
    ├── InvalidRequest            the caller's words are wrong
    │   ├── InvalidFilter         a filter, with the position of the fault
    │   ├── InvalidCursor         a paging token that was changed, or belongs to another search
    │   └── InvalidDocument       an item or collection, with a JSON pointer
    ├── NotAuthenticated          no token, or one that is not good any more
    ├── NotAllowed                the caller may not do this
    ├── NotFound
    ├── MethodNotAllowed          the thing exists and does not take this method
    ├── Gone                      it was here, and cannot come back under this token
    ├── Conflict                  an id that is taken
    ├── PreconditionFailed        the thing is not as the caller's condition says
    ├── Locked                    another request is at it
    ├── ChecksumMismatch          bytes that are not those of the checksum that came with them
    ├── KeyReused                 an Idempotency-Key that came with another request before
    ├── TooLarge
    ├── RangeNotSatisfiable       a part of a file that it does not have
    ├── UnsupportedMediaType
    ├── NotAcceptable
    ├── Unavailable               overload or a deadline: try again
    ├── RemoteFailure             another server's answer, with its status
    ├── DeliveryRefused           a delivery that cannot be taken in, with the file and the reason
    ├── Interrupted               work that somebody ended from outside: it can be done again
    ├── CatalogUnusable           no catalogue there, or one this version must not touch
    └── CatalogDamaged            bytes that are not what was written

Domain code raises these; `http.errors` gives each a status and a code, and the command line an exit code.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable

__all__ = [
    "CatalogDamaged",
    "CatalogUnusable",
    "ChecksumMismatch",
    "Conflict",
    "DeadlineExceeded",
    "DeliveryRefused",
    "Gone",
    "Interrupted",
    "InvalidCursor",
    "InvalidDocument",
    "InvalidFilter",
    "InvalidRequest",
    "KeyReused",
    "Locked",
    "MethodNotAllowed",
    "NotAcceptable",
    "NotAllowed",
    "NotAuthenticated",
    "NotFound",
    "PreconditionFailed",
    "RangeNotSatisfiable",
    "RemoteFailure",
    "SwathError",
    "TooLarge",
    "Unavailable",
    "UnsupportedMediaType",
    "nearest",
    "shown",
]


_LONGEST_MESSAGE = 2_000
_LONGEST_NAME = 100


class SwathError(Exception):
    """Base of all. `str(error)` names the thing and the fix, in words for a user."""

    def __init__(self, message: str) -> None:
        super().__init__(message if len(message) <= _LONGEST_MESSAGE else f"{message[:_LONGEST_MESSAGE]}…")


def shown(text: object) -> str:
    """What a caller sent, as an error quotes it: not all of it when it is long."""
    if isinstance(text, str):
        return repr(text) if len(text) <= _LONGEST_NAME else f"{text[:_LONGEST_NAME]!r}…"
    return f"{text!r}"[:_LONGEST_NAME]


def nearest(name: str, known: Iterable[str]) -> str | None:
    """The known name that looks most like a mistyped one. None for what is too long to be a mistake."""
    if len(name) > _LONGEST_NAME:
        return None
    return next(iter(difflib.get_close_matches(name, list(known), 1)), None)


class InvalidRequest(SwathError):
    """A parameter or body that cannot be understood."""


class InvalidFilter(InvalidRequest):
    """A filter that cannot be read. `at` is a text offset (int) or a JSON pointer (str)."""

    def __init__(self, message: str, at: int | str | None = None) -> None:
        super().__init__(message)
        self.at = at


class InvalidCursor(InvalidRequest):
    """A paging token that this search did not hand out."""


class InvalidDocument(InvalidRequest):
    """An item or collection that cannot be stored. `pointer` is a JSON pointer (RFC 6901) into it."""

    def __init__(self, message: str, pointer: str = "") -> None:
        super().__init__(f"{message} (at {pointer})" if pointer else message)
        self.words, self.pointer = message, pointer

    def within(self, prefix: str) -> InvalidDocument:
        """The same fault, in a document that is a part of another."""
        return InvalidDocument(self.words, prefix + self.pointer)


class NotAuthenticated(SwathError):
    """Who the caller is must be known for this, and is not."""


class NotAllowed(SwathError):
    """Something that this caller may not do, or nobody here; the words say what would allow it."""


class NotFound(SwathError):
    """No such thing, or none that the caller may see."""


class MethodNotAllowed(SwathError):
    """The route exists but not for this method; `allowed` are those it takes."""

    def __init__(self, message: str, allowed: tuple[str, ...] = ()) -> None:
        super().__init__(message)
        self.allowed = allowed


class Gone(SwathError):
    """A token of an earlier life of the catalogue."""


class Conflict(SwathError):
    """The id is taken."""


class PreconditionFailed(SwathError):
    """If-Match or If-None-Match does not hold (RFC 9110, section 13.1)."""


class Locked(SwathError):
    """Another request is at the thing, which only one can be."""


class ChecksumMismatch(SwathError):
    """Bytes that are not those of the checksum that came with them (tus 1.0.0, checksum)."""


class KeyReused(SwathError):
    """One Idempotency-Key for two different requests."""


class TooLarge(SwathError):
    """More bytes, vertices or members than `/limits` allows."""


class RangeNotSatisfiable(SwathError):
    """The range begins behind the end of the file; `size` is how long that is."""

    def __init__(self, message: str, size: int) -> None:
        super().__init__(message)
        self.size = size


class UnsupportedMediaType(SwathError):
    """A body of a media type that the route does not read."""


class NotAcceptable(SwathError):
    """No representation that the caller accepts."""


class Unavailable(SwathError):
    """Not now: over the deadline or too many at once. `retry_after` is in seconds."""

    def __init__(self, message: str, retry_after: int = 1) -> None:
        super().__init__(message)
        self.retry_after = retry_after


class DeadlineExceeded(Unavailable):
    """A search took longer than it may."""


class RemoteFailure(SwathError):
    """Another server answered with an error. `status` is HTTP's; also 413 for an answer of too many bytes, 502 for one
    that cannot be read, 504 for none in time."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


class DeliveryRefused(SwathError):
    """An archive, raster or metadata file that is broken, hostile, or of no kind that is known. The words name the file
    and what is wrong with it; the delivery itself stays as it came."""


class Interrupted(SwathError):
    """Work that somebody ended from outside, the system for want of memory perhaps; it is not the delivery's fault."""


class CatalogUnusable(SwathError):
    """The folder holds no catalogue, or one that this version of Swath must not open."""


class CatalogDamaged(SwathError):
    """Stored bytes do not match what was written; `swath check` lists them."""

"""One search as one frozen value, and what comes back.

GET and POST, the Python interface and the command line all make a `Search`; nothing below them knows
where it came from.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from dataclasses import dataclass, field
from typing import Any, Literal

import msgspec

from swath.cql2.ast import Predicate
from swath.errors import Gone, InvalidCursor, InvalidRequest
from swath.limits import LIMITS

__all__ = [
    "NEWEST_FIRST",
    "Cursor",
    "Fields",
    "Page",
    "Search",
    "SortKey",
    "Step",
    "StoredItem",
    "open_cursor",
    "seal_cursor",
]


@dataclass(frozen=True, slots=True)
class SortKey:
    """One key of the order. Items without the value come last in both directions."""

    name: str
    descending: bool = False


# `datetime` as a sort key is the item's datetime, else its start_datetime.
NEWEST_FIRST = (SortKey("datetime", descending=True),)


@dataclass(frozen=True, slots=True)
class Fields:
    """Which members of an item to return, by dotted paths. An empty `include` means all but the excluded."""

    include: frozenset[str] = frozenset()
    exclude: frozenset[str] = frozenset()
    given: bool = False


@dataclass(frozen=True, slots=True)
class Search:
    """What the caller asks for. `expression` holds everything that restricts the result."""

    expression: Predicate
    sort: tuple[SortKey, ...] = NEWEST_FIRST
    limit: int = LIMITS.page_default
    fields: Fields = field(default_factory=Fields)
    token: str | None = None
    count: Literal["budget", "exact", "none"] = "budget"
    as_of: int | None = None  # microseconds since 1970

    def fingerprint(self) -> bytes:
        """Equal for searches that select and order alike: what a cursor is bound to."""
        return hashlib.blake2b(repr((self.expression, self.sort, *self._moment())).encode(), digest_size=12).digest()

    def _moment(self) -> tuple[int, ...]:
        return () if self.as_of is None else (self.as_of,)


@dataclass(frozen=True, slots=True)
class Cursor:
    """A place in the order of one search at one revision. Holds nothing that its holder has not seen.

    `key` is the sort key of the item beside the place: a (kind, value) pair or None per sort field, then
    collection and id. `backward` reads towards the beginning.
    """

    revision: int
    fingerprint: bytes
    key: tuple[Any, ...]
    backward: bool = False
    matched: int | None = None


@dataclass(frozen=True, slots=True)
class StoredItem:
    """An item as the ledger holds it. `links` is packed (see `stac.document.LinkSpans`).

    `updated` is when this version was committed, `created` when the first one was, in microseconds since 1970. `served`
    keeps its bytes with the links of one address, for as long as the ledger keeps the item.
    """

    seq: int
    collection: str
    id: str
    body: bytes
    links: bytes
    updated: int = 0
    created: int = 0
    served: dict[str, bytes] = field(default_factory=dict, compare=False, repr=False)


@dataclass(slots=True)
class Step:
    """What a search did in one place where rows lie. Times are in seconds.

    `counted` are conditions whose rows were told by counting, `way` is how rows were come by.
    """

    where: str
    rows: int
    in_time: int = 0
    counted: list[tuple[str, int]] = field(default_factory=list)
    way: str = "nothing to look at"
    examined: int = 0
    selected: int = 0
    planning: float = 0.0
    evaluating: float = 0.0
    ordering: float = 0.0

    def described(self) -> dict[str, Any]:
        """As JSON, times in milliseconds."""
        return {
            "where": self.where,
            "rows": self.rows,
            "rows in the time asked for": self.in_time,
            "counted": [{"by": told_by, "rows": rows} for told_by, rows in self.counted],
            "way": self.way,
            "rows examined": self.examined,
            "rows selected": self.selected,
            "ms": {
                name: round(seconds * 1e3, 3)
                for name, seconds in (
                    ("planning", self.planning), ("evaluating", self.evaluating), ("ordering", self.ordering),
                )
            },
        }  # fmt: skip


@dataclass(frozen=True, slots=True)
class Page:
    """Items in order. Tokens are None where there is nothing on that side.

    `steps` tell how they were found, `seconds` how long the index and reading the documents took.
    """

    items: tuple[StoredItem, ...]
    next: str | None
    previous: str | None
    matched: int | None
    steps: tuple[Step, ...] = ()
    seconds: tuple[float, float] = (0.0, 0.0)

    def explained(self) -> dict[str, Any]:
        """How the items were found, as JSON."""
        index, documents = self.seconds
        return {
            "ms": {"index": round(index * 1e3, 3), "documents": round(documents * 1e3, 3)},
            "steps": [step.described() for step in self.steps],
        }


_LONGEST_TOKEN = 16_384


def _cover(body: bytes, secret: bytes, signature: bytes) -> bytes:
    """Hide or show a cursor's content: its revision counts writes, of which its holder may see only some.

    The signature of the content is the nonce, so equal streams cover equal contents only (RFC 5297, the idea).
    """
    stream = hashlib.shake_256(b"cursor" + secret + signature).digest(len(body))
    return (int.from_bytes(body) ^ int.from_bytes(stream)).to_bytes(len(body))


def seal_cursor(cursor: Cursor, epoch: bytes, secret: bytes) -> str:
    """The cursor as an opaque token: signed, covered, and bound to this life of the catalogue.

    InvalidRequest where the key holds strings that no URL would carry.
    """
    body = epoch[:6] + msgspec.msgpack.encode(
        (cursor.revision, cursor.fingerprint, cursor.key, cursor.backward, cursor.matched)
    )
    signature = hmac.digest(secret, body, "sha256")[:16]
    body = _cover(body, secret, signature)
    if len(body) > _LONGEST_TOKEN * 3 // 4:
        raise InvalidRequest("sortby: the values to sort by are too long to page through; sort by something shorter")
    return base64.urlsafe_b64encode(signature + body).rstrip(b"=").decode()


def open_cursor(token: str, fingerprint: bytes, epoch: bytes, secret: bytes) -> Cursor:
    """The cursor in a token of the search with this fingerprint.

    InvalidCursor when it was changed or belongs to another search, Gone when the catalogue was restored since.
    """
    if len(token) > _LONGEST_TOKEN:
        raise InvalidCursor("the token is longer than any that was handed out")
    try:
        raw = base64.b64decode(token.encode("ascii") + b"=" * (-len(token) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError):
        raise InvalidCursor("the token is not one that was handed out; start again without it") from None
    signature, body = raw[:16], _cover(raw[16:], secret, raw[:16])
    if not hmac.compare_digest(signature, hmac.digest(secret, body, "sha256")[:16]):
        raise InvalidCursor("the token was changed or comes from another catalogue; start again without it")
    if base64.urlsafe_b64encode(raw).rstrip(b"=").decode() != token:
        raise InvalidCursor("the token was changed; start again without it")
    if body[:6] != epoch[:6]:
        raise Gone("the catalogue was restored since this token was handed out; start again without it")
    revision, bound_to, key, backward, matched = msgspec.msgpack.decode(body[6:])
    if bound_to != fingerprint:
        raise InvalidCursor("the token belongs to another search; send the same parameters as for the first page")
    return Cursor(revision, bound_to, tuple(key), backward, matched)

"""Single items and collections as answers: with validators (RFC 9110, 8.8), 304 where the caller has them already, and
the headers of requests that change them."""

from __future__ import annotations

import hashlib
import json
import re
import time
from collections.abc import Mapping
from email.utils import formatdate, parsedate_to_datetime

from starlette.responses import Response

from swath.catalog import CollectionView
from swath.catalog.request import read_instant
from swath.errors import InvalidRequest, PreconditionFailed
from swath.http.call import Call
from swath.http.kept import Keepable
from swath.http.links import GEOJSON, JSON
from swath.http.params import Query, instant_text
from swath.http.responses import collection_bytes, item_bytes
from swath.limits import LIMITS
from swath.search import StoredItem
from swath.stac.time import SECOND
from swath.store.records import Condition, Once, version_tag

__all__ = ["as_of", "collection_entity", "condition_of", "item_entity", "noted", "once_of", "validated"]

_READS = ("GET", "HEAD")
# Headers that make a request another one.
_SAID = ("content-type", "if-match", "if-none-match", "if-unmodified-since", "prefer")
_MOST_NOTES, _LONGEST_NOTE = 20, 200
_OWN = re.compile(r'"([0-9a-f]{16})-[0-9a-f]{16}(?:\+[a-z]+)?"')
_TAG = re.compile(r'(W/)?("[\x21\x23-\x7e\x80-\xff]*")')
_TAGS = re.compile(rf"[\s,]*{_TAG.pattern}(?:\s*,[\s,]*{_TAG.pattern})*[\s,]*")  # empty members are passed over


def as_of(_call: Call, query: Query) -> int | None:
    """The instant that the caller wants to see the catalogue at; None for now."""
    text = instant_text(query.one("as-of"))
    return read_instant(text) if text is not None else None


def item_entity(call: Call, item: StoredItem, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """An item. Its bytes follow from its version and from where the caller sees the API."""
    shown = hashlib.blake2b(call.address.base.encode(), digest_size=8).digest()
    made = _headers(call, item.collection, item.seq, shown, item.updated) | dict(headers or {})
    _check_wanted(call, made["etag"], item.updated)
    if status == 200 and _has(call, made["etag"], item.updated):
        return Response(status_code=304, headers=made)
    return Keepable(item_bytes(item, call.address), status, made, GEOJSON)


def collection_entity(
    call: Call, view: CollectionView, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """A collection. What is derived of its items changes its bytes, but not its version."""
    body = collection_bytes(view, call.address)
    shown = hashlib.blake2b(body, digest_size=8).digest()
    changed = call.catalog.changed_at(view)
    made = _headers(call, view.id, view.seq, shown, changed) | dict(headers or {})
    _check_wanted(call, made["etag"], changed)
    if status == 200 and _has(call, made["etag"], changed):
        return Response(status_code=304, headers=made)
    return Keepable(body, status, made, JSON)


def validated(call: Call, answer: Response) -> Response:
    """Any other whole answer to a reader: its bytes are their own validator."""
    if call.method not in _READS or answer.status_code != 200 or not getattr(answer, "body", b""):
        return answer
    if "etag" in answer.headers or answer.headers.get("cache-control") == "no-store":
        return answer
    etag = f'"{hashlib.sha256(answer.body).hexdigest()[:32]}"'
    answer.headers["etag"] = etag
    answer.headers.setdefault("cache-control", "no-cache")
    _check_wanted(call, etag, None)
    if _has(call, etag, None):
        kept = {name: value for name, value in answer.headers.items() if name not in ("content-length", "content-type")}
        return Response(status_code=304, headers=kept)
    return answer


def _headers(call: Call, collection_id: str, seq: int, shown: bytes, changed: int) -> dict[str, str]:
    tag = version_tag(call.catalog.ledger.epoch, seq)
    return {
        "etag": f'"{tag.hex()}-{shown.hex()}"',
        "last-modified": formatdate(changed // SECOND, usegmt=True),
        "cache-control": call.catalog.cache_control(collection_id),
    }


def _check_wanted(call: Call, etag: str, changed: int | None) -> None:
    """PreconditionFailed where a reader wants other bytes than there are (RFC 9110, 13.1.1 and 13.1.4).

    `changed` is None where nobody knows: dates are passed over then.
    """
    if call.method not in _READS:
        return
    wanted = _header(call, "if-match")
    if wanted is not None:
        strong = {_plain(tag) for weak, tag in _etags("If-Match", wanted) if not weak}
        fits = wanted.strip() == "*" or etag in strong
    else:
        since = _instant(call.headers.get("if-unmodified-since"))
        fits = since is None or changed is None or changed // SECOND <= since
    if not fits:
        raise PreconditionFailed("what is here is not what the condition of the request names; read it without one")


def _has(call: Call, etag: str, changed: int | None) -> bool:
    """Whether the caller has these bytes already (RFC 9110, 13.2.2)."""
    if call.method not in _READS:
        return False
    asked = _header(call, "if-none-match")
    if asked is not None:
        # Which encoding the bytes travelled in stands behind a plus (see http.middleware).
        tags = {_plain(tag) for _, tag in _etags("If-None-Match", asked)}
        return asked.strip() == "*" or etag in tags
    since = _instant(call.headers.get("if-modified-since"))
    # In the second of a change there may be another, which its date does not tell from the first.
    return since is not None and changed is not None and changed // SECOND <= since < time.time() - 1


def _plain(tag: str) -> str:
    return f'{tag.split("+", 1)[0]}"' if "+" in tag else tag


# -- of requests that change something -----------------------------------------------------------


def condition_of(call: Call) -> Condition | None:
    """What If-Match, If-Unmodified-Since and If-None-Match ask for; None where none is sent (RFC 9110, 13.2.2)."""
    match, none_match = _header(call, "if-match"), _header(call, "if-none-match")
    since = _instant(call.headers.get("if-unmodified-since")) if match is None else None
    if match is None and none_match is None and since is None:
        return None
    return Condition(
        _versions("If-Match", match, weak=False),
        _versions("If-None-Match", none_match, weak=True),
        unmodified_since=since * SECOND + SECOND - 1 if since is not None else None,
    )


def _header(call: Call, name: str) -> str | None:
    """A header of several lines is one list (RFC 9110, 5.3)."""
    lines = call.headers.getlist(name)
    return ", ".join(lines) if lines else None


def _instant(text: str | None) -> int | None:
    """Seconds since 1970 of a date; one that is none is passed over (RFC 9110, 13.1.3)."""
    try:
        return int(parsedate_to_datetime(text).timestamp()) if text is not None else None
    except (TypeError, ValueError, OverflowError):
        return None


def _etags(name: str, text: str) -> list[tuple[bool, str]]:
    """The ETags of a list, and whether each is weak. InvalidRequest where it is none."""
    if text.strip() == "*":
        return []
    if not _TAGS.fullmatch(text):
        raise InvalidRequest(f"{name}: {text[:60]!r} is neither * nor a list of ETags, which stand in double quotes")
    return [(bool(weak), tag) for weak, tag in _TAG.findall(text)]


def _versions(name: str, text: str | None, *, weak: bool) -> frozenset[bytes] | None:
    """The version parts of a list of ETags; empty for `*`. One that this server never gave is the tag of nothing."""
    if text is None:
        return None
    if text.strip() == "*":
        return frozenset()
    found = {b""}
    for is_weak, tag in _etags(name, text):
        known = _OWN.fullmatch(tag)
        if known and (weak or not is_weak):  # If-Match compares strongly: a weak ETag never matches
            found.add(bytes.fromhex(known[1]))
    return frozenset(found)


def once_of(call: Call) -> Once | None:
    """The request as one that is done once, where it has an Idempotency-Key."""
    key = call.headers.get("idempotency-key")
    if key is None:
        return None
    key = key.strip().removeprefix('"').removesuffix('"')
    if not key or len(key) > LIMITS.idempotency_key_characters or not key.isascii() or not key.isprintable():
        raise InvalidRequest(
            f"Idempotency-Key: 1 to {LIMITS.idempotency_key_characters} printable ASCII characters, such as a UUID"
        )
    headers = [_header(call, name) for name in _SAID]
    said = hashlib.blake2b(repr((call.method, call.target, call.query, headers)).encode(), digest_size=16)
    said.update(call.digest())
    return Once(f"{call.actor} {key}", said.digest())


def noted(notes: tuple[str, ...]) -> dict[str, str]:
    """What is to be said of a write beside its answer: a header with a JSON array."""
    if not notes:
        return {}
    return {"swath-notes": json.dumps([note[:_LONGEST_NOTE] for note in notes[:_MOST_NOTES]])}

"""`/changes`: the feed as JSON pages, as NDJSON that streams, and as Server-Sent Events."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from functools import partial

import msgspec
from starlette.responses import Response, StreamingResponse

from swath.catalog.changes import Event, Feed, Reading, event_json
from swath.errors import InvalidRequest
from swath.http.call import Call
from swath.http.links import JSON, Address, link, segment
from swath.http.params import instant_text, read_integer
from swath.http.route import Route
from swath.limits import LIMITS

__all__ = ["EVENT_STREAM", "NDJSON", "ROUTES"]

NDJSON, EVENT_STREAM = "application/x-ndjson", "text/event-stream"
_LOOK_SECONDS = 0.1  # between looks at whether something was committed
_HEARTBEAT_SECONDS = 15.0
_PARAMETERS = ("since", "collections", "filter", "filter-lang", "limit", "wait")


async def changes(call: Call) -> Response:
    """Which form, the caller says with Accept; without a preference it is a page of JSON."""
    query = call.parameters(_PARAMETERS)
    feed = await asyncio.to_thread(
        lambda: Feed(
            call.catalog,
            call.rule,
            collections=query.listed("collections"),
            filter=_filter(query.one("filter"), query.one("filter-lang")),
            filter_lang=query.one("filter-lang"),
        )
    )
    limit = read_integer("limit", query.one("limit"))
    if limit is not None and limit < 1:
        raise InvalidRequest(f"limit: {limit} is not 1 or more")
    wait = _wait(query.one("wait"))
    accept = call.headers.get("accept", "")
    if call.method == "HEAD":  # of a stream there would be no end
        accept = ""
    since = instant_text(query.one("since"))
    if EVENT_STREAM in accept:
        position = await asyncio.to_thread(feed.place, call.headers.get("last-event-id") or since)
        return StreamingResponse(_stream(call, feed, position), media_type=EVENT_STREAM, headers=_UNCACHED)
    position = await asyncio.to_thread(feed.place, since)
    if NDJSON in accept:
        return StreamingResponse(_lines(call, feed, position, limit, wait), media_type=NDJSON, headers=_UNCACHED)
    reading = await _some(call, feed, position, min(limit or LIMITS.feed_page, LIMITS.page_max), wait)
    return _page(call, reading)


_UNCACHED = {"cache-control": "no-store", "x-accel-buffering": "no"}


def _filter(text: str | None, language: str | None) -> object:
    if text is None or language != "cql2-json":
        return text
    try:
        return msgspec.json.decode(text)
    except (msgspec.DecodeError, RecursionError):
        raise InvalidRequest("filter: it is not JSON") from None


def _wait(text: str | None) -> float:
    seconds = read_integer("wait", text) or 0
    if seconds < 0:
        raise InvalidRequest(f"wait: {seconds} is less than 0")
    return min(float(seconds), LIMITS.feed_wait_seconds)


async def _some(call: Call, feed: Feed, position: int, limit: int, wait: float) -> Reading:
    """The next events; where there are none, those of the first commit that comes within so many seconds."""
    until = time.monotonic() + wait
    while True:
        reading = await asyncio.to_thread(feed.read, position, limit)
        over = time.monotonic() >= until or call.stopping()
        if reading.events or (reading.complete and over):
            return reading
        position = reading.position
        if reading.complete:
            await _moved(call, position, until)


async def _moved(call: Call, position: int, until: float) -> None:
    """Returns when something was committed behind a place, or the time is over."""
    while call.catalog.ledger.head() <= position and time.monotonic() < until and not call.stopping():
        await asyncio.sleep(_LOOK_SECONDS)


def _page(call: Call, reading: Reading) -> Response:
    here = call.address.base + call.target
    asked = call.query.decode("ascii", "replace")
    rest = [part for part in call.query.split(b"&") if part and not part.startswith(b"since=")]
    following = b"&".join([*rest, b"since=" + reading.token.encode()]).decode("ascii", "replace")
    content = msgspec.json.encode(
        {
            "changes": [msgspec.Raw(event_json(event, partial(_place, call.address))) for event in reading.events],
            "token": reading.token,
            "complete": reading.complete,
            "links": [
                link("self", here + (f"?{asked}" if asked else "")),
                link("next", f"{here}?{following}"),
            ],
            "numberReturned": len(reading.events),
        }
    )
    return Response(content, 200, _UNCACHED, JSON)


async def _lines(call: Call, feed: Feed, position: int, limit: int | None, wait: float) -> AsyncIterator[bytes]:
    """An event a line, each with the token of its place, up to the head, and for so many seconds beyond it."""
    until, left = time.monotonic() + wait, limit
    while (left is None or left > 0) and not call.stopping():
        reading = await asyncio.to_thread(feed.read, position, min(left or LIMITS.feed_page, LIMITS.feed_page))
        position = reading.position
        if reading.events:
            left = left - len(reading.events) if left is not None else None
            yield await asyncio.to_thread(_joined, reading.events, call.address, feed.token)
        if reading.complete:
            if time.monotonic() >= until:
                break
            await _moved(call, position, until)
    yield msgspec.json.encode({"type": "end", "token": feed.token(position)}) + b"\n"


def _place(address: Address, event: Event) -> str:
    """Where what was changed is served."""
    place = f"/collections/{segment(event.collection)}"
    return address.href(f"{place}/items/{segment(event.id)}" if event.id is not None else place)


def _joined(events: tuple[Event, ...], address: Address, token: Callable[[int], str]) -> bytes:
    return b"".join(event_json(event, partial(_place, address), token) + b"\n" for event in events)


async def _stream(call: Call, feed: Feed, position: int) -> AsyncIterator[bytes]:
    """Server-Sent Events, for as long as the caller listens (HTML, section 9.2)."""
    yield b": changes of this catalogue\nretry: 2000\n\n"
    while not call.stopping():
        reading = await asyncio.to_thread(feed.read, position, LIMITS.feed_page)
        position = reading.position
        for event in reading.events:
            data = event_json(event, partial(_place, call.address))
            yield b"id: %s\nevent: %s\ndata: %s\n\n" % (feed.token(event.seq).encode(), event.type.encode(), data)
        if reading.complete:
            await _moved(call, position, time.monotonic() + _HEARTBEAT_SECONDS)
            if call.catalog.ledger.head() <= position:
                yield b": nothing new\n\n"


ROUTES: tuple[Route, ...] = (
    Route("GET", "/changes", changes, "getChanges", "What was changed, in the order of the commits", _PARAMETERS,
          None, {200: (JSON, "changes")}, (400, 410, 503), "History", "stream"),
)  # fmt: skip

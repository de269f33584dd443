"""Telling subscribers of changes: HTTP requests that are signed, repeated with longer and longer waits, and, where a
subscriber cannot be reached at all, kept as dead letters.

Signatures and headers are those of Standard Webhooks 1.0.0. A subscription is a place in the feed of changes: nothing
is lost when a process dies, and a change may be told twice, with the same `webhook-id`.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import hmac
import json
import logging
import os
import secrets
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import msgspec

from swath.catalog.catalog import Catalog
from swath.catalog.changes import Feed, Reading, event_json
from swath.errors import InvalidRequest, NotFound, SwathError
from swath.formats.sending import Reply, check_address, post
from swath.store.records import DeadLetter, Subscription

__all__ = ["ATTEMPTS", "Delivery", "Webhook", "Webhooks", "read_webhook", "signature"]

log = logging.getLogger("swath.webhooks")

# Seconds between attempts: a day and a bit in all.
WAITS = (1, 5, 30, 120, 600, 1_800, 7_200, 21_600, 43_200)
ATTEMPTS = len(WAITS) + 1
_EVENTS = 100
_LOOK_SECONDS = 0.5
_LOGGED = 200  # deliveries of a subscription
_AT_ONCE = 4
_BEHIND = 1_000  # versions that are nothing to a subscriber, before it is noted that they were passed


class Webhook(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody wants to be told, and where. `filter` is CQL2, text or JSON."""

    url: str
    collections: tuple[str, ...] | None = None
    filter: object = None
    filter_lang: str | None = msgspec.field(default=None, name="filter-lang")
    description: str = ""


class Delivery(msgspec.Struct, frozen=True):
    """One attempt. `status` is the HTTP status, 0 where there was no answer; times are microseconds since 1970."""

    id: str
    at: int
    attempt: int
    changes: int
    status: int
    error: str
    milliseconds: int


@dataclass(slots=True)
class _State:
    """What a subscriber is at, in this process."""

    attempts: int = 0
    next_at: float = 0.0
    position: int = -1
    until: int | None = None  # of the message that is being told: it stays the same, however often it is tried
    under_way: bool = False
    log: deque[Delivery] = field(default_factory=lambda: deque(maxlen=_LOGGED))


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The signature of a message, as `webhook-signature` holds it. `secret` begins with `whsec_`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    said = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return "v1," + base64.b64encode(said).decode()


class Webhooks:
    """The subscriptions of one catalogue."""

    def __init__(self, catalog: Catalog, *, private: bool, waits: Sequence[float] = WAITS) -> None:
        """`private`: whether addresses of private networks may be told of changes."""
        assert catalog.folder is not None
        self.catalog, self.ledger, self.private, self.waits = catalog, catalog.ledger, private, waits
        self._folder = catalog.folder / "work"
        self._states: dict[tuple[str, int], _State] = {}

    # -- subscriptions ------------------------------------------------------------------------

    def add(self, webhook: Webhook, key: str | None = None) -> Subscription:
        """Subscribe from now on. With a `key`, twice is once. InvalidRequest names what is wrong."""
        check_address(webhook.url, private=self.private)
        self._feed(webhook)
        name = hashlib.blake2b(key.encode(), digest_size=8).hexdigest() if key else secrets.token_hex(8)
        made = Subscription(
            name,
            time.time_ns() // 1000,
            msgspec.json.encode(webhook),
            "whsec_" + base64.b64encode(secrets.token_bytes(32)).decode(),
            self.ledger.head(),
        )
        self.ledger.subscribe(made)
        return self.get(name)

    def all(self) -> list[Subscription]:
        return self.ledger.subscriptions()

    def get(self, name: str) -> Subscription:
        """NotFound where there is none."""
        found = next((each for each in self.ledger.subscriptions() if each.id == name), None)
        if found is None:
            raise NotFound(f"there is no webhook {name[:80]!r}")
        return found

    def remove(self, name: str) -> None:
        if not self.ledger.unsubscribe(name):
            raise NotFound(f"there is no webhook {name[:80]!r}")
        self._log_of(name).unlink(missing_ok=True)

    def deliveries(self, name: str) -> list[Delivery]:
        """The latest attempts, the last first."""
        self.get(name)
        try:
            lines = self._log_of(name).read_bytes().splitlines()[-_LOGGED:]
        except OSError:
            return []
        return [each for line in reversed(lines) if (each := _read_delivery(line)) is not None]

    def redeliver(self, name: str, number: int) -> Delivery:
        """Try a dead letter again, now; it is one no more if that goes well."""
        subscription = self.get(name)
        letter = next((each for each in self.ledger.dead_letters(name) if each.id == number), None)
        if letter is None:
            raise NotFound(f"the webhook {name!r} has no dead letter {number}")
        feed, position = self._feed(_webhook(subscription)), letter.after
        while position < letter.until:
            reading = feed.read(position, _EVENTS, letter.until)
            delivery = self._tell(subscription, feed, reading, 1)
            if delivery.error:
                return delivery
            position = reading.position
        self.ledger.forget_dead_letter(number)
        return delivery

    # -- telling ------------------------------------------------------------------------------

    def work(self, over: threading.Event) -> None:
        """Tell all subscribers until it is over: for a thread of its own. One process of a catalogue does it."""
        self._folder.mkdir(exist_ok=True)
        lock = os.open(self._folder / "webhooks.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        leads = False
        with ThreadPoolExecutor(_AT_ONCE, "webhook") as pool:
            while not over.wait(_LOOK_SECONDS):
                try:
                    if not leads:
                        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                        leads = True
                    self._look(pool.submit)
                except BlockingIOError:
                    continue
                except Exception:  # a full disk, say: the next look may go better
                    log.warning("looking for changes to tell failed", exc_info=True)
        os.close(lock)

    def _look(self, submit: Callable[..., object]) -> None:
        head = self.ledger.head()
        for subscription in self.ledger.subscriptions():
            state = self._states.setdefault((subscription.id, subscription.at), _State(position=subscription.position))
            if not state.under_way and state.position < head and time.time() >= state.next_at:
                state.under_way = True
                submit(self._next, subscription, state)

    def _next(self, subscription: Subscription, state: _State) -> None:
        """Tell one subscriber the next changes, if any are for it."""
        try:
            feed = self._feed(_webhook(subscription))
            reading = feed.read(state.position, _EVENTS, state.until)
            if not reading.events:
                self._passed(subscription, state, reading)
                return
            state.attempts, state.until = state.attempts + 1, reading.position
            delivery = self._tell(subscription, feed, reading, state.attempts)
            if not delivery.error:
                self._done(subscription, state, reading.position)
            elif state.attempts > len(self.waits):
                reason = f"{delivery.error} (attempt {delivery.attempt})"
                at = time.time_ns() // 1000
                lost = DeadLetter(0, subscription.id, at, state.position, reading.position, reason)
                self._done(subscription, state, reading.position, lost)
            else:
                state.next_at = time.time() + self.waits[state.attempts - 1]
        except SwathError as error:
            log.warning("webhook %s: %s", subscription.id, error)
            state.next_at = time.time() + self.waits[-1]
        finally:
            state.under_way = False

    def _passed(self, subscription: Subscription, state: _State, reading: Reading) -> None:
        if reading.position - subscription.position > _BEHIND:
            self.ledger.delivered(subscription.id, reading.position)
        state.position = reading.position

    def _done(self, subscription: Subscription, state: _State, position: int, lost: DeadLetter | None = None) -> None:
        self.ledger.delivered(subscription.id, position, lost)
        state.position, state.until, state.attempts, state.next_at = position, None, 0, 0.0

    def _tell(self, subscription: Subscription, feed: Feed, reading: Reading, attempt: int) -> Delivery:
        webhook = _webhook(subscription)
        # The same changes are the same message, however often they are told.
        name = hashlib.blake2b(f"{subscription.id} {reading.position}".encode(), digest_size=12).hexdigest()
        message_id = f"msg_{name}"
        body = msgspec.json.encode(
            {
                "type": "changes",
                "webhook": subscription.id,
                "token": reading.token,
                "changes": [msgspec.Raw(event_json(event, None, feed.token)) for event in reading.events],
            }
        )
        now = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            "webhook-signature": signature(subscription.secret, message_id, now, body),
        }
        started = time.monotonic()
        reply = post(webhook.url, body, headers, private=self.private)
        told = _delivery(message_id, attempt, len(reading.events), reply, time.monotonic() - started)
        self._note(subscription.id, told)
        return told

    def _note(self, name: str, delivery: Delivery) -> None:
        path = self._log_of(name)
        path.parent.mkdir(exist_ok=True)
        if path.exists() and path.stat().st_size > 1_000_000:
            kept = path.read_bytes().splitlines(keepends=True)[-_LOGGED:]
            path.write_bytes(b"".join(kept))
        with path.open("ab") as out:
            out.write(msgspec.json.encode(delivery) + b"\n")

    def _log_of(self, name: str) -> Path:
        return self._folder / f"webhook-{name}.log"

    def _feed(self, webhook: Webhook) -> Feed:
        language = webhook.filter_lang or ("cql2-text" if isinstance(webhook.filter, str) else "cql2-json")
        return Feed(
            self.catalog,
            collections=webhook.collections,
            filter=webhook.filter,
            filter_lang=language if webhook.filter is not None else None,
        )


def _read_delivery(line: bytes) -> Delivery | None:
    """A line of the log; None for one that a crash has torn."""
    try:
        return msgspec.json.decode(line, type=Delivery)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _webhook(subscription: Subscription) -> Webhook:
    return msgspec.json.decode(subscription.request, type=Webhook)


def _delivery(name: str, attempt: int, changes: int, reply: Reply, seconds: float) -> Delivery:
    return Delivery(name, time.time_ns() // 1000, attempt, changes, reply.status, reply.error, round(seconds * 1000))


def read_webhook(raw: bytes) -> Webhook:
    """A subscription out of JSON. InvalidRequest names what is wrong with it."""
    try:
        found = msgspec.json.decode(raw, type=Webhook)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f'expected {{"url": ADDRESS, "collections": […], "filter": CQL2}}: {error}') from None
    unknown = json.loads(raw).keys() - {"url", "collections", "filter", "filter-lang", "description"}
    if unknown:
        raise InvalidRequest(f"unknown member {min(unknown)[:40]!r}")
    return found

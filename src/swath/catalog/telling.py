"""Telling subscribers: HTTP requests that are signed, repeated with longer and longer waits, and, where a subscriber
cannot be reached at all, kept as dead letters.

A subscription is a place in a durable log: nothing is lost when a process dies, and a message may be sent twice, with
the same `webhook-id`. What there is to tell, and how it is signed, is its audience's business.
"""

from __future__ import annotations

import fcntl
import hashlib
import logging
import os
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import msgspec

from swath.errors import NotFound, SwathError
from swath.formats.sending import Reply, post
from swath.jobs import WORK
from swath.store.base import Ledger
from swath.store.records import DeadLetter, Subscription

__all__ = ["ATTEMPTS", "Attempt", "Audience", "Message", "Teller", "subscription_of"]

log = logging.getLogger("swath.webhooks")

# Seconds between attempts: a day and a bit in all.
WAITS = (1, 5, 30, 120, 600, 1_800, 7_200, 21_600, 43_200)
ATTEMPTS = len(WAITS) + 1
_LOOK_SECONDS = 0.5
_LOGGED = 200  # attempts of a subscription
_AT_ONCE = 4
_FAULT_SECONDS = 60.0
_BEHIND = 1_000  # places that are nothing to a subscriber, before it is noted that they were passed


@dataclass(frozen=True, slots=True)
class Message:
    """What a subscriber is told next in its body, of what lies behind the place `after`, up to `until`; nothing where
    there are no `changes`."""

    url: str
    after: int
    until: int
    changes: int
    body: bytes


class Audience(Protocol):
    """Subscribers of one kind."""

    def head(self) -> int:
        """The last place of what they are told of."""

    def next(self, subscription: Subscription, after: int, until: int | None) -> Message:
        """What follows a place; a message that was tried before ends where it did then, at `until`."""

    def signed(self, subscription: Subscription, message_id: str, now: int, body: bytes) -> Mapping[str, str]:
        """Headers that show who it comes from; `now` is in seconds since 1970."""


class Attempt(msgspec.Struct, frozen=True):
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


def subscription_of(ledger: Ledger, kind: str, name: str) -> Subscription:
    """NotFound where there is none of that kind and id."""
    found = next((each for each in ledger.subscriptions(kind) if each.id == name), None)
    if found is None:
        raise NotFound(f"there is no webhook {name[:80]!r}")
    return found


class Teller:
    """Tells the subscribers of one catalogue, each kind as its audience has it."""

    def __init__(
        self,
        ledger: Ledger,
        folder: Path,
        audiences: Mapping[str, Audience],
        *,
        private: bool,
        waits: Sequence[float] = WAITS,
    ) -> None:
        """`folder` is the catalogue's. `private`: whether addresses of private networks may be told."""
        self.ledger, self.audiences, self.private, self.waits = ledger, audiences, private, waits
        self._folder = folder / WORK
        self._states: dict[tuple[str, int, bytes], _State] = {}

    # -- asking -------------------------------------------------------------------------------

    def attempts(self, subscription: Subscription) -> list[Attempt]:
        """The latest attempts, the last first."""
        try:
            lines = self._log_of(subscription.id).read_bytes().splitlines()[-_LOGGED:]
        except OSError:
            return []
        return [each for line in reversed(lines) if (each := _read_attempt(line)) is not None]

    def redeliver(self, subscription: Subscription, number: int) -> Attempt:
        """Try a dead letter again, now; it is one no more if that goes well. NotFound where there is none."""
        letter = next((each for each in self.ledger.dead_letters(subscription.id) if each.id == number), None)
        if letter is None:
            raise NotFound(f"the webhook {subscription.id!r} has no dead letter {number}")
        position, told = letter.after, None
        while position < letter.until:
            message = self.audiences[subscription.kind].next(subscription, position, letter.until)
            position = message.until
            if message.changes:
                told = self._tell(subscription, message, 1)
                if told.error:
                    return told
        self.ledger.forget_dead_letter(number)
        return told or Attempt("", time.time_ns() // 1000, 1, 0, 0, "", 0)  # nothing of it is for them any more

    def forget(self, subscription: Subscription) -> None:
        """Take away what is kept of one that is no more."""
        self._log_of(subscription.id).unlink(missing_ok=True)

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
        seen = set()
        for kind, audience in self.audiences.items():
            subscriptions = self.ledger.subscriptions(kind)
            head = audience.head() if subscriptions else 0
            for each in subscriptions:
                # One that was changed begins anew: it may be there that it can be reached now.
                key = (each.id, each.at, each.request)
                state = self._states.setdefault(key, _State(position=each.position))
                seen.add(key)
                if not state.under_way and state.position < head and time.time() >= state.next_at:
                    state.under_way = True
                    submit(self._next, each, state, audience)
        self._states = {key: self._states[key] for key in seen}

    def _next(self, subscription: Subscription, state: _State, audience: Audience) -> None:
        """Tell one subscriber the next changes, if any are for it."""
        try:
            message = audience.next(subscription, state.position, state.until)
            if not message.changes:
                self._passed(subscription, state, message.until)
                return
            state.attempts, state.until = state.attempts + 1, message.until
            told = self._tell(subscription, message, state.attempts)
            if not told.error:
                self._done(subscription, state, message.until)
            elif state.attempts > len(self.waits):
                reason = f"{told.error} (attempt {told.attempt})"
                at = time.time_ns() // 1000
                lost = DeadLetter(0, subscription.id, at, message.after, message.until, reason)
                self._done(subscription, state, message.until, lost)
            else:
                state.next_at = time.time() + self.waits[state.attempts - 1]
        except Exception as error:  # of ours: a full disk, say; the next try may go better
            log.warning("webhook %s: %s", subscription.id, error, exc_info=not isinstance(error, SwathError))
            state.next_at = time.time() + _FAULT_SECONDS
        finally:
            state.under_way = False

    def _passed(self, subscription: Subscription, state: _State, until: int) -> None:
        if until - subscription.position > _BEHIND:
            self.ledger.delivered(subscription.id, until)
        # What was being told may be gone: what comes next is another message.
        state.position, state.until, state.attempts, state.next_at = until, None, 0, 0.0

    def _done(self, subscription: Subscription, state: _State, position: int, lost: DeadLetter | None = None) -> None:
        self.ledger.delivered(subscription.id, position, lost)
        state.position, state.until, state.attempts, state.next_at = position, None, 0, 0.0

    def _tell(self, subscription: Subscription, message: Message, attempt: int) -> Attempt:
        # The same changes are the same message, however often they are told; a restored catalogue counts places anew.
        place = f"{subscription.id} {message.until}".encode()
        name = hashlib.blake2b(place, digest_size=12, key=self.ledger.epoch).hexdigest()
        told = self.send(subscription, message, f"msg_{name}", attempt)
        try:
            self._note(subscription.id, told)
        except OSError:  # it is only to be looked at
            log.warning("an attempt of webhook %s was not noted", subscription.id, exc_info=True)
        return told

    def send(self, subscription: Subscription, message: Message, message_id: str, attempt: int = 1) -> Attempt:
        """Send a message, whatever becomes of it."""
        now = int(time.time())
        headers = {
            "content-type": "application/json",
            "webhook-id": message_id,
            "webhook-timestamp": str(now),
            **self.audiences[subscription.kind].signed(subscription, message_id, now, message.body),
        }
        started = time.monotonic()
        reply = post(message.url, message.body, headers, private=self.private)
        return _attempt(message_id, attempt, message.changes, reply, time.monotonic() - started)

    def _note(self, name: str, attempt: Attempt) -> None:
        path = self._log_of(name)
        path.parent.mkdir(exist_ok=True)
        if path.exists() and path.stat().st_size > 1_000_000:
            kept = path.read_bytes().splitlines(keepends=True)[-_LOGGED:]
            path.write_bytes(b"".join(kept))
        with path.open("ab") as out:
            out.write(msgspec.json.encode(attempt) + b"\n")

    def _log_of(self, name: str) -> Path:
        return self._folder / f"webhook-{name}.log"


def _read_attempt(line: bytes) -> Attempt | None:
    """A line of the log; None for one that a crash has torn."""
    try:
        return msgspec.json.decode(line, type=Attempt)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _attempt(name: str, attempt: int, changes: int, reply: Reply, seconds: float) -> Attempt:
    return Attempt(name, time.time_ns() // 1000, attempt, changes, reply.status, reply.error, round(seconds * 1000))

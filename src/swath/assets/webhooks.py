"""Who of a workspace is told what becomes of its deliveries: UP42's webhooks, which clients of its API make.

A notification is signed as UP42 signs: `signature-input` lists headers, `signature` is an HMAC-SHA256 of their values,
one behind the other. The digest of the body (RFC 9530) is one of them, so that the signature holds the body too.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
import uuid
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import msgspec

from swath.assets.store import AssetStore
from swath.catalog.telling import Message, Teller, subscription_of
from swath.errors import InvalidRequest, NotFound
from swath.formats.sending import check_address
from swath.stac.time import format_instant
from swath.store.records import DeliveryState, Subscription

__all__ = ["EVENTS", "STATES", "WorkspaceWebhook", "WorkspaceWebhooks", "read_workspace_webhook"]

STATES = "states"
# Name, title, category and description, as UP42 lists them.
EVENTS: tuple[tuple[str, str, str, str], ...] = (
    ("job.status", "Job Status Updates", "job", "Sent when the work on a delivery begins, and when it ends"),
    ("order.status", "Order Status Updates", "order", "Sent when a delivery of an order has been worked on, "
     "successfully or not"),
)  # fmt: skip
_JOB_STATES = {"NOT_PROCESSED": "accepted", "IN_PROGRESS": "running", "SUCCESSFUL": "successful", "FAILED": "failed"}
_ORDER_STATES = {"SUCCESSFUL": "FULFILLED", "FAILED": "FAILED"}
_PLACES = 16  # of a state: each of its events has one, in the order of EVENTS, which may only grow
_CHUNK = 500
_LONGEST, _MOST_EVENTS = 256, 20
_TEST_ID = "00000000-0000-0000-0000-000000000000"


class WorkspaceWebhook(msgspec.Struct, frozen=True, rename="camel"):
    """What somebody of a workspace wants to be told, and where. `updated_at`: microseconds since 1970."""

    workspace_id: str
    name: str
    url: str
    events: tuple[str, ...]
    active: bool
    updated_at: int


class _Wanted(msgspec.Struct, frozen=True):
    """What a request says. Members that only answers have are taken and left."""

    name: str
    url: str
    events: tuple[str, ...]
    secret: str | None = None
    active: bool | None = False


def read_workspace_webhook(raw: bytes, workspace_id: str, now: int) -> tuple[WorkspaceWebhook, str]:
    """A webhook out of JSON, and its secret, empty for none. InvalidRequest names what is wrong with it."""
    try:
        wanted = msgspec.json.decode(raw, type=_Wanted)
        names = msgspec.json.decode(raw, type=dict[str, msgspec.Raw]).keys()
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise InvalidRequest(f'expected {{"name": …, "url": ADDRESS, "events": […]}}: {error}') from None
    unknown = names - {*_Wanted.__struct_fields__, "id", "createdAt", "updatedAt"}
    if unknown:
        raise InvalidRequest(f"unknown member {min(unknown)[:40]!r}")
    if not wanted.name.strip() or len(wanted.name) > _LONGEST:
        raise InvalidRequest(f"name: a text of 1 to {_LONGEST} characters")
    if len(wanted.secret or "") > _LONGEST:
        raise InvalidRequest(f"secret: longer than {_LONGEST} characters")
    if len(wanted.events) > _MOST_EVENTS or any(len(text) > _LONGEST for text in wanted.events):
        raise InvalidRequest(f"events: at most {_MOST_EVENTS} texts of {_LONGEST} characters")
    known = [name for name, *_ in EVENTS]
    strange = next((each for each in _each(wanted.events) if each not in known), None)
    if strange is not None or not _each(wanted.events):
        raise InvalidRequest(f"events: {(strange or '')[:40]!r} is none of {', '.join(known)}")
    made = WorkspaceWebhook(workspace_id, wanted.name, wanted.url, wanted.events, bool(wanted.active), now)
    return made, wanted.secret or ""


def _each(events: Sequence[str]) -> list[str]:
    """The names of events: UP42's own example has two of them in one string."""
    return list(dict.fromkeys(name.strip() for text in events for name in text.split(",") if name.strip()))


class WorkspaceWebhooks:
    """The webhooks of a catalogue's workspaces."""

    def __init__(self, store: AssetStore, *, private: bool) -> None:
        """`private`: whether addresses of private networks may be told."""
        self.ledger, self.files, self.private = store.ledger, store.files, private

    # -- subscriptions ------------------------------------------------------------------------

    def add(self, workspace_id: str, raw: bytes, key: str | None = None) -> Subscription:
        """Subscribe from now on. With a `key`, twice is once. InvalidRequest names what is wrong."""
        now = time.time_ns() // 1000
        wanted, secret = read_workspace_webhook(raw, workspace_id, now)
        check_address(wanted.url, private=self.private)
        said = hashlib.sha256(key.encode()).digest()[:16] if key else None
        name = str(uuid.UUID(bytes=said, version=4) if said else uuid.uuid4())
        self.ledger.subscribe(Subscription(name, now, msgspec.json.encode(wanted), secret, self.head(), STATES))
        return self.get(workspace_id, name)

    def all(self, workspace_id: str) -> list[Subscription]:
        found = self.ledger.subscriptions(STATES)
        return [each for each in found if self.wanted(each).workspace_id == workspace_id]

    def get(self, workspace_id: str, name: str) -> Subscription:
        """NotFound where the workspace has none of that id."""
        found = subscription_of(self.ledger, STATES, name)
        if self.wanted(found).workspace_id != workspace_id:
            raise NotFound(f"there is no webhook {name[:80]!r}")
        return found

    def put(self, workspace_id: str, name: str, raw: bytes) -> Subscription:
        """Change what a webhook wants. What its subscriber waits for is told as it says now. NotFound."""
        before = self.get(workspace_id, name)
        now = max(time.time_ns() // 1000, self.wanted(before).updated_at + 1)
        wanted, secret = read_workspace_webhook(raw, workspace_id, now)
        check_address(wanted.url, private=self.private)
        place, head = before.position, self.head()
        while place < head and not (passed := self.next(before, place, head)).changes:
            place = passed.until
        after = replace(before, request=msgspec.json.encode(wanted), secret=secret, position=place)
        if not self.ledger.resubscribe(after):
            raise NotFound(f"there is no webhook {name[:80]!r}")
        return after

    def remove(self, workspace_id: str, name: str) -> None:
        """NotFound where the workspace has none of that id."""
        self.get(workspace_id, name)
        if not self.ledger.unsubscribe(name):
            raise NotFound(f"there is no webhook {name[:80]!r}")

    def wanted(self, subscription: Subscription) -> WorkspaceWebhook:
        """What a subscriber wants."""
        return msgspec.json.decode(subscription.request, type=WorkspaceWebhook)

    def awake(self, subscription: Subscription) -> Subscription:
        """The same, active and of every event: what somebody asks to have told again is told."""
        every = tuple(name for name, *_ in EVENTS)
        wanted = msgspec.structs.replace(self.wanted(subscription), active=True, events=every)
        return replace(subscription, request=msgspec.json.encode(wanted))

    def test(self, subscription: Subscription, teller: Teller) -> tuple[int, int]:
        """Send a notification of each of its events, now, active or not: how many were sent, and how many taken."""
        wanted = self.wanted(subscription)
        now = time.time_ns() // 1000
        state = DeliveryState(0, now, _TEST_ID, wanted.workspace_id, _TEST_ID, None, "SUCCESSFUL", None)
        sent = [
            teller.send(subscription, _message(wanted.url, 0, event, state, test=True), f"msg_test_{uuid.uuid4()}")
            for event in _each(wanted.events)
        ]
        return len(sent), sum(not each.error for each in sent)

    # -- as an audience -----------------------------------------------------------------------

    def head(self) -> int:
        return self.files.last_state() * _PLACES + _PLACES - 1

    def next(self, subscription: Subscription, after: int, until: int | None) -> Message:
        """The next event that is for a subscriber: a message tells one."""
        wanted = self.wanted(subscription)
        events = _each(wanted.events) if wanted.active else []
        last = self.head() if until is None else until
        states = self.files.states(after // _PLACES - 1, last // _PLACES, _CHUNK)
        for state in states:
            for number, (event, *_) in enumerate(EVENTS):
                place = state.seq * _PLACES + number
                if after < place <= last and event in events and _concerns(event, state, wanted):
                    return _message(wanted.url, place, event, state)
        passed = states[-1].seq * _PLACES + _PLACES - 1 if len(states) == _CHUNK else last
        return Message(wanted.url, after, passed, 0, b"")

    def signed(self, subscription: Subscription, message_id: str, now: int, body: bytes) -> dict[str, str]:
        digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
        headers = {"content-digest": f"sha-256=:{digest}:"}
        if not subscription.secret:
            return headers
        covered = {"webhook-id": message_id, "webhook-timestamp": str(now), "content-type": "application/json"}
        covered |= headers
        names = " ".join(f'"{name}"' for name in covered)
        said = hmac.digest(subscription.secret.encode(), "".join(covered.values()).encode(), "sha256")
        return headers | {
            "signature-input": f"up42-sig=({names});created={now}",
            "signature": f"up42-sig={base64.b64encode(said).decode()}",
        }


def _concerns(event: str, state: DeliveryState, wanted: WorkspaceWebhook) -> bool:
    if state.workspace_id.lower() != wanted.workspace_id:  # UUIDs are written in either case (RFC 9562, 4)
        return False
    return event != "order.status" or (state.order_id is not None and state.status in _ORDER_STATES)


def _message(url: str, place: int, event: str, state: DeliveryState, *, test: bool = False) -> Message:
    """The notification of an event. A job is the work on one delivery, which has its id."""
    order = event == "order.status"
    told: dict[str, Any] = {
        ("orderId" if order else "jobId"): state.order_id if order else state.delivery,
        "status": (_ORDER_STATES if order else _JOB_STATES)[state.status],
        "workspaceId": state.workspace_id,
        "assetId": state.delivery,
        "stacCollectionId": state.collection,
        "reason": state.reason,
        "updatedAt": format_instant(state.at),
    }
    if state.order_id is not None:
        told["orderId"] = state.order_id
    if test:
        told["test"] = True
    return Message(url, place - 1, place, 1, msgspec.json.encode({"event": event, "body": told}))

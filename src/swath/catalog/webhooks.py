"""Who is told of changes to the catalogue: subscriptions are places in the feed, so that nothing is lost.

Signatures and headers are those of Standard Webhooks 1.0.0.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time

import msgspec

from swath.catalog.catalog import Catalog
from swath.catalog.changes import Feed, event_json
from swath.catalog.telling import Message, subscription_of
from swath.errors import InvalidRequest, NotFound
from swath.formats.sending import check_address
from swath.store.records import Subscription

__all__ = ["CHANGES", "Webhook", "Webhooks", "read_webhook", "signature"]

CHANGES = "changes"
_EVENTS = 100


class Webhook(msgspec.Struct, frozen=True, omit_defaults=True):
    """What somebody wants to be told, and where. `filter` is CQL2, text or JSON."""

    url: str
    collections: tuple[str, ...] | None = None
    filter: object = None
    filter_lang: str | None = msgspec.field(default=None, name="filter-lang")
    description: str = ""


def signature(secret: str, message_id: str, timestamp: int, body: bytes) -> str:
    """The signature of a message, as `webhook-signature` holds it. `secret` begins with `whsec_`."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    said = hmac.digest(key, f"{message_id}.{timestamp}.".encode() + body, "sha256")
    return "v1," + base64.b64encode(said).decode()


class Webhooks:
    """The subscribers of one catalogue's feed."""

    def __init__(self, catalog: Catalog, *, private: bool) -> None:
        """`private`: whether addresses of private networks may be told of changes."""
        self.catalog, self.ledger, self.private = catalog, catalog.ledger, private

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
            CHANGES,
        )
        self.ledger.subscribe(made)
        return self.get(name)

    def all(self) -> list[Subscription]:
        return self.ledger.subscriptions(CHANGES)

    def get(self, name: str) -> Subscription:
        """NotFound where there is none."""
        return subscription_of(self.ledger, CHANGES, name)

    def remove(self, name: str) -> None:
        """NotFound where there is none."""
        self.get(name)
        if not self.ledger.unsubscribe(name):
            raise NotFound(f"there is no webhook {name[:80]!r}")

    # -- as an audience -----------------------------------------------------------------------

    def head(self) -> int:
        return self.ledger.head()

    def next(self, subscription: Subscription, after: int, until: int | None) -> Message:
        """The next changes that are for a subscriber."""
        webhook = _webhook(subscription)
        feed = self._feed(webhook)
        reading = feed.read(after, _EVENTS, until)
        body = b""
        if reading.events:
            body = msgspec.json.encode(
                {
                    "type": "changes",
                    "webhook": subscription.id,
                    "token": reading.token,
                    "changes": [msgspec.Raw(event_json(event, None, feed.token)) for event in reading.events],
                }
            )
        return Message(webhook.url, after, reading.position, len(reading.events), body)

    def signed(self, subscription: Subscription, message_id: str, now: int, body: bytes) -> dict[str, str]:
        return {"webhook-signature": signature(subscription.secret, message_id, now, body)}

    def _feed(self, webhook: Webhook) -> Feed:
        language = webhook.filter_lang or ("cql2-text" if isinstance(webhook.filter, str) else "cql2-json")
        return Feed(
            self.catalog,
            collections=webhook.collections,
            filter=webhook.filter,
            filter_lang=language if webhook.filter is not None else None,
        )


def _webhook(subscription: Subscription) -> Webhook:
    return msgspec.json.decode(subscription.request, type=Webhook)


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

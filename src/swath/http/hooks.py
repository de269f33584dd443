"""Webhooks: who is told of changes."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from swath.assets import AssetStore
from swath.assets.webhooks import STATES, WorkspaceWebhooks
from swath.catalog import Catalog
from swath.catalog.telling import Attempt, Audience, Teller
from swath.catalog.webhooks import CHANGES, Webhooks, read_webhook
from swath.config import Settings
from swath.errors import InvalidRequest, Unavailable
from swath.http.call import Call
from swath.http.entities import once_of
from swath.http.guard import private_webhooks
from swath.http.links import JSON, link, segment
from swath.http.responses import json_answer
from swath.http.route import Route
from swath.stac.time import format_instant
from swath.store.records import DeadLetter, Subscription

__all__ = ["ROUTES", "attempt_json", "attempts_of", "teller_of", "tried_again"]


def _webhooks(call: Call) -> Webhooks:
    if call.catalog.folder is None:
        raise Unavailable("this catalogue lies in no folder; it has no webhooks")
    return Webhooks(call.catalog, private=private_webhooks(call.settings))


def teller_of(catalog: Catalog, store: AssetStore | None, settings: Settings) -> Teller:
    """What tells all subscribers of a catalogue that lies in a folder."""
    assert catalog.folder is not None
    private = private_webhooks(settings)
    audiences: dict[str, Audience] = {CHANGES: Webhooks(catalog, private=private)}
    if store is not None:
        audiences[STATES] = WorkspaceWebhooks(store, private=private)
    return Teller(catalog.ledger, catalog.folder, audiences, private=private)


def create(call: Call) -> Response:
    """The secret is told once: here."""
    call.parameters(())
    once = once_of(call)
    made = _webhooks(call).add(read_webhook(call.body), once.key if once else None)
    answer = json_answer(_told(call, made) | {"secret": made.secret}, status=201)
    answer.headers["location"] = call.address.href(f"/webhooks/{segment(made.id)}")
    return answer


def list_all(call: Call) -> Response:
    call.parameters(())
    links = [link("self", call.address.href("/webhooks")), link("root", call.address.href("/"))]
    return json_answer({"webhooks": [_told(call, each) for each in _webhooks(call).all()], "links": links})


def one(call: Call) -> Response:
    call.parameters(())
    return json_answer(_told(call, _webhooks(call).get(call.path["webhook"])))


def remove(call: Call) -> Response:
    call.parameters(())
    webhooks = _webhooks(call)
    gone = webhooks.get(call.path["webhook"])
    webhooks.remove(gone.id)
    teller_of(call.catalog, call.files, call.settings).forget(gone)
    return Response(status_code=204)


def deliveries(call: Call) -> Response:
    call.parameters(())
    found = _webhooks(call).get(call.path["webhook"])
    return json_answer(attempts_of(call, found, f"/webhooks/{segment(found.id)}/deliveries"))


def attempts_of(call: Call, subscription: Subscription, here: str) -> dict[str, Any]:
    """The latest attempts to tell a subscriber, and what it could not be told, at an address."""
    teller = teller_of(call.catalog, call.files, call.settings)
    return {
        "deliveries": [attempt_json(each) for each in teller.attempts(subscription)],
        "dead_letters": [_letter(call, here, each) for each in call.catalog.ledger.dead_letters(subscription.id)],
        "links": [link("self", call.address.href(here))],
    }


def redeliver(call: Call) -> Response:
    call.parameters(())
    return json_answer(attempt_json(tried_again(call, _webhooks(call).get(call.path["webhook"]))))


def tried_again(call: Call, subscription: Subscription) -> Attempt:
    """The dead letter that a call names, told once more."""
    number = call.path["delivery"]
    if not (number.isascii() and number.isdigit() and len(number) < 18):
        raise InvalidRequest(f"{number[:40]!r} is no number of a dead letter")
    return teller_of(call.catalog, call.files, call.settings).redeliver(subscription, int(number))


def _told(call: Call, subscription: Subscription) -> dict[str, Any]:
    here = f"/webhooks/{segment(subscription.id)}"
    return {
        "id": subscription.id,
        **msgspec.json.decode(subscription.request),
        "created": format_instant(subscription.at),
        "links": [
            link("self", call.address.href(here)),
            link("deliveries", call.address.href(f"{here}/deliveries")),
        ],
    }


def attempt_json(attempt: Attempt) -> dict[str, Any]:
    """An attempt as it is answered."""
    told: dict[str, Any] = msgspec.to_builtins(attempt)
    return told | {"at": format_instant(attempt.at)}


def _letter(call: Call, here: str, letter: DeadLetter) -> dict[str, Any]:
    place = call.address.href(f"{here}/{letter.id}/redeliver")
    told = {"id": letter.id, "at": format_instant(letter.at), "reason": letter.reason}
    return {**told, "links": [link("redeliver", place, method="POST")]}


_HOOK = {200: (JSON, "webhook")}

ROUTES: tuple[Route, ...] = (
    Route("GET", "/webhooks", list_all, "getWebhooks", "Who is told of changes", (), None, {200: (JSON, "object")},
          (400, 403, 503), "Webhooks", "side", True),
    Route("POST", "/webhooks", create, "createWebhook", "Be told of changes", (), "webhookRequest",
          {201: (JSON, "webhook")}, (400, 403, 413, 415, 422, 503), "Webhooks", "write", True),
    Route("GET", "/webhooks/{webhook}", one, "getWebhook", "One webhook", ("webhook",), None, _HOOK,
          (400, 403, 404, 503), "Webhooks", "side", True),
    Route("DELETE", "/webhooks/{webhook}", remove, "deleteWebhook", "Be told no more", ("webhook",), None,
          {204: ("", "")}, (400, 403, 404, 503), "Webhooks", "write", True),
    Route("GET", "/webhooks/{webhook}/deliveries", deliveries, "getDeliveries",
          "The latest attempts, and what could not be told", ("webhook",), None, {200: (JSON, "object")},
          (400, 403, 404, 503), "Webhooks", "side", True),
    Route("POST", "/webhooks/{webhook}/deliveries/{delivery}/redeliver", redeliver, "redeliver",
          "Try a dead letter again", ("webhook", "delivery"), None, {200: (JSON, "object")},
          (400, 403, 404, 503), "Webhooks", "write", True),
)  # fmt: skip

"""Webhooks: who is told of changes."""

from __future__ import annotations

from typing import Any

import msgspec
from starlette.responses import Response

from swath.catalog.webhooks import Delivery, Webhooks, read_webhook
from swath.errors import InvalidRequest, Unavailable
from swath.http.call import Call
from swath.http.entities import once_of
from swath.http.guard import private_webhooks
from swath.http.links import JSON, link, segment
from swath.http.responses import json_answer
from swath.http.route import Route
from swath.stac.time import format_instant
from swath.store.records import DeadLetter, Subscription

__all__ = ["ROUTES"]


def _webhooks(call: Call) -> Webhooks:
    if call.catalog.folder is None:
        raise Unavailable("this catalogue lies in no folder; it has no webhooks")
    return Webhooks(call.catalog, private=private_webhooks(call.settings))


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
    _webhooks(call).remove(call.path["webhook"])
    return Response(status_code=204)


def deliveries(call: Call) -> Response:
    call.parameters(())
    webhooks, name = _webhooks(call), call.path["webhook"]
    here = f"/webhooks/{segment(name)}/deliveries"
    return json_answer(
        {
            "deliveries": [_delivery(each) for each in webhooks.deliveries(name)],
            "dead_letters": [_letter(call, here, each) for each in webhooks.ledger.dead_letters(name)],
            "links": [link("self", call.address.href(here))],
        }
    )


def redeliver(call: Call) -> Response:
    call.parameters(())
    number = call.path["delivery"]
    if not (number.isascii() and number.isdigit() and len(number) < 18):
        raise InvalidRequest(f"{number[:40]!r} is no number of a dead letter")
    return json_answer(_delivery(_webhooks(call).redeliver(call.path["webhook"], int(number))))


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


def _delivery(delivery: Delivery) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.to_builtins(delivery)
    return told | {"at": format_instant(delivery.at)}


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

"""UP42's webhooks of a workspace: who is told what becomes of its deliveries, in that API's shapes."""

from __future__ import annotations

import threading
import time
from typing import Any

from starlette.responses import Response

from swath.assets.webhooks import EVENTS, WorkspaceWebhooks
from swath.errors import NotFound, Unavailable
from swath.http.call import Call
from swath.http.entities import once_of
from swath.http.guard import private_webhooks
from swath.http.hooks import attempt_json, attempts_of, teller_of, tried_again
from swath.http.links import JSON, segment
from swath.http.login import store_of
from swath.http.responses import json_answer
from swath.http.route import Route
from swath.stac.time import format_instant
from swath.store.records import Subscription

__all__ = ["ROUTES"]

_TESTS_AT_ONCE = 2  # who is tested may take its time, and others need the threads
_TESTING = threading.BoundedSemaphore(_TESTS_AT_ONCE)


def events(call: Call) -> Response:
    call.parameters(())
    store_of(call)
    page = call.address.href("/api.html")
    return _data(
        [
            {"name": name, "title": title, "category": category, "description": words, "documentation": page}
            for name, title, category, words in EVENTS
        ]
    )


def list_all(call: Call) -> Response:
    webhooks, workspace = _webhooks(call)
    return _data([_told(webhooks, each) for each in webhooks.all(workspace)])


def create(call: Call) -> Response:
    webhooks, workspace = _webhooks(call)
    once = once_of(call)
    made = webhooks.add(workspace, call.body, once.key if once else None)
    answer = _data(_told(webhooks, made), 201)
    answer.headers["location"] = call.address.href(_here(workspace, made))
    return answer


def one(call: Call) -> Response:
    webhooks, workspace = _webhooks(call)
    return _data(_told(webhooks, webhooks.get(workspace, call.path["webhook"])))


def put(call: Call) -> Response:
    webhooks, workspace = _webhooks(call)
    return _data(_told(webhooks, webhooks.put(workspace, call.path["webhook"], call.body)))


def remove(call: Call) -> Response:
    webhooks, workspace = _webhooks(call)
    gone = webhooks.get(workspace, call.path["webhook"])
    webhooks.remove(workspace, gone.id)
    teller_of(call.catalog, call.files, call.settings).forget(gone)
    return Response(status_code=204)


def test(call: Call) -> Response:
    """A notification of each event is sent before this answers."""
    webhooks, workspace = _webhooks(call)
    found = webhooks.get(workspace, call.path["webhook"])
    if not _TESTING.acquire(blocking=False):
        raise Unavailable(f"{_TESTS_AT_ONCE} webhooks are being tested; try again in a moment", 5)
    started = time.time_ns() // 1000
    try:
        run, succeeded = webhooks.test(found, teller_of(call.catalog, call.files, call.settings))
    finally:
        _TESTING.release()
    return _data({"startedAt": format_instant(started), "testsRun": run, "testsSucceeded": succeeded})


def deliveries(call: Call) -> Response:
    webhooks, workspace = _webhooks(call)
    found = webhooks.get(workspace, call.path["webhook"])
    return _data(attempts_of(call, found, f"{_here(workspace, found)}/deliveries"))


def redeliver(call: Call) -> Response:
    webhooks, workspace = _webhooks(call)
    found = webhooks.awake(webhooks.get(workspace, call.path["webhook"]))
    return _data(attempt_json(tried_again(call, found)))


def _webhooks(call: Call) -> tuple[WorkspaceWebhooks, str]:
    """The webhooks, and the workspace that is named. NotFound where it is not the caller's."""
    call.parameters(())
    store, workspace = store_of(call), call.path["workspace"]
    if workspace != store.account.workspace_id:
        raise NotFound(f"there is no workspace {workspace[:80]!r}")
    return WorkspaceWebhooks(store, private=private_webhooks(call.settings)), workspace


def _here(workspace: str, subscription: Subscription) -> str:
    return f"/workspaces/{segment(workspace)}/webhooks/{segment(subscription.id)}"


def _told(webhooks: WorkspaceWebhooks, subscription: Subscription) -> dict[str, Any]:
    wanted = webhooks.wanted(subscription)
    return {
        "id": subscription.id,
        "url": wanted.url,
        "name": wanted.name,
        "active": wanted.active,
        "events": wanted.events,
        "createdAt": format_instant(subscription.at),
        "updatedAt": format_instant(wanted.updated_at),
        "secret": subscription.secret,
    }


def _data(told: object, status: int = 200) -> Response:
    answer = json_answer({"data": told, "error": None}, status=status)
    answer.headers["cache-control"] = "no-store"  # it may hold a secret
    return answer


_ALL = "/workspaces/{workspace}/webhooks"
_ONE = f"{_ALL}/{{webhook}}"
_AT_ONE, _OBJECT = ("workspace", "webhook"), {200: (JSON, "object")}
_FAULTS = (400, 401, 403, 404, 503)
_TAKEN = (400, 401, 403, 404, 413, 415, 422, 503)
_TAG = "Workspace webhooks"

ROUTES: tuple[Route, ...] = (
    Route("GET", "/webhooks/events", events, "getWebhookEvents", "What a workspace can be told of", (), None, _OBJECT,
          _FAULTS, _TAG, "side", enveloped=True),
    Route("GET", _ALL, list_all, "getWorkspaceWebhooks", "Who of a workspace is told of its deliveries",
          ("workspace",), None, _OBJECT, _FAULTS, _TAG, "side", True, enveloped=True),
    Route("POST", _ALL, create, "createWorkspaceWebhook", "Be told of a workspace's deliveries", ("workspace",),
          "workspaceWebhook", {201: (JSON, "object")}, _TAKEN, _TAG, "write", True, enveloped=True),
    Route("GET", _ONE, one, "getWorkspaceWebhook", "One webhook of a workspace", _AT_ONE, None, _OBJECT, _FAULTS,
          _TAG, "side", True, enveloped=True),
    Route("PUT", _ONE, put, "putWorkspaceWebhook", "Change a webhook of a workspace", _AT_ONE, "workspaceWebhook",
          _OBJECT, _TAKEN, _TAG, "write", True, enveloped=True),
    Route("DELETE", _ONE, remove, "deleteWorkspaceWebhook", "Be told no more", _AT_ONE, None, {204: ("", "")},
          _FAULTS, _TAG, "write", True, enveloped=True),
    Route("POST", f"{_ONE}/tests", test, "testWorkspaceWebhook", "Send a notification of each event, for a test",
          _AT_ONE, None, _OBJECT, _FAULTS, _TAG, "side", True, enveloped=True),
    Route("GET", f"{_ONE}/deliveries", deliveries, "getWorkspaceWebhookDeliveries",
          "The latest attempts, and what could not be told", _AT_ONE, None, _OBJECT, _FAULTS, _TAG, "side", True,
          enveloped=True),
    Route("POST", f"{_ONE}/deliveries/{{delivery}}/redeliver", redeliver, "redeliverToWorkspaceWebhook",
          "Try a dead letter again", (*_AT_ONE, "delivery"), None, _OBJECT, _FAULTS, _TAG, "write", True,
          enveloped=True),
)  # fmt: skip

"""UP42's webhooks of a workspace: each request and response shape; and whoever subscribes hears of every delivery."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import signal
import textwrap
import time
import urllib.parse
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest

from swath.assets import AssetStore
from swath.blobs import open_blobs
from swath.catalog import Catalog
from tests.conftest import ROOT, SHARED, Answer, Server, patched, run_swath, serving, start_server
from tests.subscriber import Message, Subscriber, subscriber

TIFF = SHARED / "deliveries" / "generic" / "orthophoto_rgb.tif"
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
ORDER = "ea36dee9-fed6-457e-8400-2c20ebd30f44"
BOTH = ["job.status", "order.status"]
SOON = (
    "from swath.catalog.telling import Teller; Teller.__init__.__kwdefaults__['waits'] = (0.2, 0.4)",
    "import swath.catalog.telling; swath.catalog.telling._LOOK_SECONDS = 0.05",
)


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    return patched(tmp_path_factory.mktemp("hasty"), *SOON)


def new_catalog(folder: Path) -> Path:
    Catalog.open(folder, create=True).close()
    return folder


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory, hasty: dict[str, str]) -> Iterator[Server]:
    with serving(new_catalog(tmp_path_factory.mktemp("hooks") / "catalog"), hasty) as server:
        yield server


@pytest.fixture
def listener() -> Iterator[Subscriber]:
    with subscriber() as made:
        yield made


@pytest.fixture
def home(store: Server) -> Iterator[str]:
    """The address of the workspace's webhooks, of which none is left behind."""
    made = home_of(store)
    yield made
    for each in store.get(made).json()["data"]:
        assert store.request("DELETE", f"{made}/{each['id']}").status == 204


def home_of(store: Server) -> str:
    workspace = store.get("/realms/public/protocol/openid-connect/userinfo").json()["sub"]
    return f"/workspaces/{workspace}/webhooks"


def send(server: Server, method: str, path: str, body: Any) -> Answer:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return server.request(method, path, raw, {"Content-Type": "application/json"})


def subscribe(server: Server, home: str, url: str, **more: Any) -> dict[str, Any]:
    said = {"name": "mine", "url": url, "events": BOTH, "active": True} | more
    answer = send(server, "POST", home, said)
    assert answer.status == 201, answer.body
    made: dict[str, Any] = answer.json()["data"]
    return made


def deliver(server: Server, body: bytes | None = None, **said: str) -> str:
    query = urllib.parse.urlencode({"filename": "orthophoto_rgb.tif", "datetime": "2023-06-14T10:52:17Z"} | said)
    answer = server.request(
        "POST", f"/v2/assets?{query}", TIFF.read_bytes() if body is None else body, {"Content-Type": "image/tiff"}
    )
    assert answer.status == 201, answer.body
    name: str = answer.json()["id"]
    return name


def wait_for(done: Callable[[], Any]) -> None:
    deadline = time.monotonic() + 60
    while not done():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


def heard(listener: Subscriber) -> list[tuple[str, str, str]]:
    """Event, asset and status of what was taken, of messages that came again only once."""
    once = {message.id: json.loads(message.body) for message in listener.taken()}
    return [(told["event"], told["body"]["assetId"], told["body"]["status"]) for told in once.values()]


def genuine(secret: str, message: Message) -> bool:
    """As a receiver of UP42's notifications checks one: an HMAC-SHA256 of the values of the headers that are listed,
    one behind the other, not older than five minutes."""
    listed, created = re.fullmatch(r"up42-sig=\((.*)\);created=(\d+)", message.headers["signature-input"]).groups()  # type: ignore[union-attr]
    names = [name.strip('"') for name in listed.split()]
    joined = "".join(message.headers[name] for name in names)
    expected = base64.b64encode(hmac.new(secret.encode(), joined.encode(), hashlib.sha256).digest()).decode()
    digest = base64.b64encode(hashlib.sha256(message.body).digest()).decode()
    assert {"content-digest", "webhook-id", "webhook-timestamp"} <= set(names)
    assert message.headers["content-digest"] == f"sha-256=:{digest}:"
    assert message.headers["webhook-timestamp"] == created
    return message.headers["signature"] == f"up42-sig={expected}" and abs(time.time() - int(created)) < 300


def checked_as_documented(secret: str, message: Message) -> bool:
    """What the lines of docs/how-to/deliver.md say of a message."""
    text = (ROOT / "docs" / "how-to" / "deliver.md").read_text()
    lines = text[text.index("    listed, created =") : text.index("## Where the files are")]
    known: dict[str, Any] = {"secret": secret, "headers": message.headers, "body": message.body}
    known |= {"re": re, "base64": base64, "hmac": hmac, "hashlib": hashlib, "time": time}
    exec(textwrap.dedent(lines), known)
    return bool(known["genuine"])


# -- shapes --------------------------------------------------------------------------------------


def test_the_events_are_listed_as_up42_lists_them(store: Server) -> None:
    found = store.get("/webhooks/events").json()
    assert found["error"] is None
    assert [(each["name"], each["title"], each["category"]) for each in found["data"]] == [
        ("job.status", "Job Status Updates", "job"), ("order.status", "Order Status Updates", "order"),
    ]  # fmt: skip
    for each in found["data"]:
        assert set(each) == {"name", "title", "category", "description", "documentation"}
        assert each["documentation"].startswith(store.url)


def test_a_webhook_is_made_shown_changed_and_taken_away(store: Server, home: str) -> None:
    # The request of UP42's documents, whose events are two names in one string.
    said = {"events": ["job.status, order.status"], "name": "My alert for job and order statuses",
            "url": "http://127.0.0.1:9/", "secret": "QWZTFnMEXhqZKNmu", "active": True}  # fmt: skip
    answer = send(store, "POST", home, said)
    assert answer.status == 201
    assert set(answer.json()) == {"data", "error"}
    made = answer.json()["data"]
    assert set(made) == {"id", "url", "name", "active", "events", "createdAt", "updatedAt", "secret"}
    assert {name: made[name] for name in said} == said
    assert UUID4.fullmatch(made["id"])
    assert made["createdAt"] == made["updatedAt"]
    assert answer.headers["location"] == f"{store.url}{home}/{made['id']}"
    assert store.get(f"{home}/{made['id']}").json() == {"data": made, "error": None}

    old = send(store, "POST", home, {"name": "old", "url": "http://127.0.0.1:9/", "events": ["job.status"]}).json()
    assert (old["data"]["active"], old["data"]["secret"]) == (False, "")
    assert store.get(home).json() == {"data": [old["data"], made], "error": None}

    # A client sends what it was shown, with something changed.
    changed = send(store, "PUT", f"{home}/{made['id']}", made | {"name": "new", "events": ["order.status"]})
    assert changed.status == 200
    after = changed.json()["data"]
    assert after == made | {"name": "new", "events": ["order.status"], "updatedAt": after["updatedAt"]}
    assert after["updatedAt"] > made["updatedAt"]
    bare = send(store, "PUT", f"{home}/{made['id']}", {"name": "x", "url": made["url"], "events": ["job.status"]})
    assert (bare.json()["data"]["secret"], bare.json()["data"]["active"]) == ("", False), "PUT replaces"

    gone = store.request("DELETE", f"{home}/{made['id']}")
    assert (gone.status, gone.body) == (204, b"")
    assert [each["id"] for each in store.get(home).json()["data"]] == [old["data"]["id"]]
    for method, body in (("GET", None), ("PUT", json.dumps(said).encode()), ("DELETE", None)):
        answer = store.request(method, f"{home}/{made['id']}", body, {"Content-Type": "application/json"})
        told = answer.json()
        assert (answer.status, told["data"], told["error"]["code"]) == (404, None, 404)
        assert made["id"] in told["error"]["message"]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"{", "name"), (b"[]", "name"), ({}, "name"), ({"name": ""}, "name"), ({"name": "x" * 257}, "name"),
        ({"url": 7}, "url"), ({"url": "nowhere"}, "url"), ({"url": "file:///etc/passwd"}, "url"),
        ({"url": "http://user:word@127.0.0.1/"}, "url"), ({"events": []}, "events"),
        ({"events": "job.status"}, "events"), ({"events": [" , "]}, "events"),
        ({"events": ["job.status", "asset.gone"]}, "asset.gone"), ({"events": ["job.status"] * 21}, "at most"),
        ({"events": ["job.status," * 30]}, "at most"),
        ({"secret": 5}, "secret"), ({"secret": "x" * 257}, "secret"), ({"active": "yes"}, "active"),
        ({"colour": "red"}, "colour"), ({"events": ["\ud800"]}, "expected"),
    ],
)  # fmt: skip
def test_what_is_no_webhook_is_refused_in_up42s_words(store: Server, home: str, body: Any, words: str) -> None:
    right = {"name": "mine", "url": "http://127.0.0.1:9/", "events": ["job.status"]}
    if isinstance(body, dict):
        body = right | body if body else {"url": right["url"], "events": right["events"]}
    answer = send(store, "POST", home, body)
    assert answer.status == 400, answer.body
    told = answer.json()
    assert told["data"] is None
    assert words in told["error"]["message"]
    assert told["detail"] == told["error"]["message"]
    assert store.get(home).json()["data"] == []


def test_another_workspace_has_no_webhooks_here(store: Server) -> None:
    place = "/workspaces/00000000-0000-4000-8000-000000000000/webhooks"
    for method, path in (
        ("GET", ""),
        ("POST", ""),
        ("GET", "/x"),
        ("PUT", "/x"),
        ("DELETE", "/x"),
        ("POST", "/x/tests"),
    ):
        body = b'{"name": "a", "url": "http://127.0.0.1:9/", "events": ["job.status"]}'
        answer = store.request(method, place + path, body if method in ("POST", "PUT") else None,
                               {"Content-Type": "application/json"})  # fmt: skip
        assert (answer.status, answer.json()["data"]) == (404, None), (method, path)
        assert "00000000-0000-4000-8000-000000000000" in answer.json()["error"]["message"]


def test_these_webhooks_and_those_of_the_feed_are_apart(store: Server, home: str) -> None:
    made = subscribe(store, home, "http://127.0.0.1:9/")
    assert store.get("/webhooks").json()["webhooks"] == []
    for method in ("GET", "DELETE"):
        assert store.request(method, f"/webhooks/{made['id']}").status == 404
    other = send(store, "POST", "/webhooks", {"url": "http://127.0.0.1:9/"}).json()
    assert [each["id"] for each in store.get(home).json()["data"]] == [made["id"]]
    assert store.get(f"{home}/{other['id']}").status == 404
    assert store.request("DELETE", f"/webhooks/{other['id']}").status == 204


def test_the_same_request_twice_is_one_webhook(store: Server, home: str) -> None:
    said = json.dumps({"name": "a", "url": "http://127.0.0.1:9/", "events": BOTH}).encode()
    headers = {"Content-Type": "application/json", "Idempotency-Key": "once"}
    first, again = (store.request("POST", home, said, headers) for _ in range(2))
    assert first.status == again.status == 201
    assert first.json() == again.json()
    assert len(store.get(home).json()["data"]) == 1


def test_a_password_guards_them(tmp_path: Path) -> None:
    with serving(new_catalog(tmp_path / "c"), {"SWATH_STORE_PASSWORD": "open sesame"}) as server:
        for path in ("/webhooks/events", "/workspaces/x/webhooks"):
            answer = server.get(path)
            assert (answer.status, answer.json()["error"]["code"]) == (401, 401)
            assert answer.headers["www-authenticate"] == "Bearer"


# -- being told ----------------------------------------------------------------------------------


def test_every_delivery_is_told_in_order_and_signed(store: Server, home: str, listener: Subscriber) -> None:
    hook = subscribe(store, home, listener.url, secret="QWZTFnMEXhqZKNmu")
    asset = deliver(store, orderId=ORDER)
    wait_for(lambda: len(heard(listener)) == 3)
    assert heard(listener) == [
        ("job.status", asset, "running"), ("job.status", asset, "successful"), ("order.status", asset, "FULFILLED"),
    ]  # fmt: skip
    metadata = store.get(f"/v2/assets/{asset}/metadata").json()
    told = [json.loads(message.body) for message in listener.taken()]
    assert all(set(each) == {"event", "body"} for each in told)
    job, order = told[1]["body"], told[2]["body"]
    assert job["jobId"] == asset
    assert job["orderId"] == order["orderId"] == ORDER
    for body in (job, order):
        assert body["stacCollectionId"] == metadata["stacCollectionId"]
        assert body["workspaceId"] == metadata["workspaceId"]
        assert body["updatedAt"] == metadata["updatedAt"]
        assert body["reason"] is None
    for message in listener.taken():
        assert genuine("QWZTFnMEXhqZKNmu", message)
        assert not genuine("another", message)
        assert checked_as_documented("QWZTFnMEXhqZKNmu", message)
        assert not checked_as_documented("another", message)
        forged = replace(message, body=message.body.replace(b"successful", b"failed").replace(b"running", b"failed"))
        assert checked_as_documented("QWZTFnMEXhqZKNmu", forged) is (forged.body == message.body)
        assert message.headers["content-type"] == "application/json"
    noted = store.get(f"{home}/{hook['id']}/deliveries").json()["data"]
    assert [(each["status"], each["error"], each["attempt"]) for each in noted["deliveries"]] == [(204, "", 1)] * 3
    assert noted["dead_letters"] == []


def test_who_asks_for_orders_hears_of_their_end_alone(store: Server, home: str, listener: Subscriber) -> None:
    subscribe(store, home, listener.url, events=["order.status"])
    deliver(store)  # of no order
    failed = deliver(store, b"II*\0 this is no image", orderId=ORDER)
    wait_for(listener.taken)
    assert heard(listener) == [("order.status", failed, "FAILED")]
    reason = store.get(f"/v2/assets/{failed}/metadata").json()["statusReason"]
    message = listener.taken()[0]
    assert json.loads(message.body)["body"]["reason"] == reason != ""
    assert "signature" not in message.headers, "there is no secret to sign with"
    assert "content-digest" in message.headers

    retried = store.request("POST", f"/v2/assets/{failed}/retry")
    assert retried.status in (200, 202), retried.body
    wait_for(lambda: len(heard(listener)) == 2)
    assert heard(listener)[1] == ("order.status", failed, "FAILED")


def test_one_that_is_not_active_hears_nothing_until_it_is(store: Server, home: str, listener: Subscriber) -> None:
    hook = subscribe(store, home, listener.url, active=False)
    before = deliver(store)
    wait_for(
        lambda: store.get(f"/v2/assets/{before}/metadata").json()["geospatialMetadataExtractionStatus"] != "IN_PROGRESS"
    )
    assert send(store, "PUT", f"{home}/{hook['id']}", hook | {"active": True}).status == 200
    after = deliver(store)
    wait_for(lambda: len(heard(listener)) == 2)
    assert heard(listener) == [("job.status", after, "running"), ("job.status", after, "successful")]


def test_a_test_sends_each_event_at_once(store: Server, home: str, listener: Subscriber) -> None:
    hook = subscribe(store, home, listener.url, active=False, secret="word")
    answer = store.request("POST", f"{home}/{hook['id']}/tests")
    assert answer.status == 200
    told = answer.json()["data"]
    assert set(told) == {"startedAt", "testsRun", "testsSucceeded"}
    assert (told["testsRun"], told["testsSucceeded"]) == (2, 2)
    assert told["startedAt"].endswith("Z")
    messages = [json.loads(message.body) for message in listener.taken()]
    assert [each["event"] for each in messages] == BOTH
    assert all(each["body"]["test"] is True for each in messages)
    assert all(genuine("word", message) for message in listener.taken())

    def refuse(_message: Message, _handler: BaseHTTPRequestHandler) -> int:
        return 500

    listener.answers = refuse
    told = store.request("POST", f"{home}/{hook['id']}/tests").json()["data"]
    assert (told["testsRun"], told["testsSucceeded"]) == (2, 0)


def test_tests_of_those_who_take_their_time_keep_no_threads_from_others(
    store: Server, home: str, listener: Subscriber
) -> None:
    def hang(_message: Message, _handler: BaseHTTPRequestHandler) -> int:
        listener.over.wait(3)
        return 204

    listener.answers = hang
    hook = subscribe(store, home, listener.url, active=False, events=["job.status"])
    with ThreadPoolExecutor(5) as pool:
        asked = [pool.submit(store.request, "POST", f"{home}/{hook['id']}/tests") for _ in range(5)]
        statuses = sorted(each.result().status for each in asked)
    assert statuses == [200, 200, 503, 503, 503]


def test_what_nobody_takes_is_kept_and_told_again_on_demand(store: Server, home: str, listener: Subscriber) -> None:
    def refuse(_message: Message, _handler: BaseHTTPRequestHandler) -> int:
        return 503

    listener.answers = refuse
    hook = subscribe(store, home, listener.url, events=["job.status"])
    asset = deliver(store)
    place = f"{home}/{hook['id']}/deliveries"
    wait_for(lambda: len(store.get(place).json()["data"]["dead_letters"]) == 2)
    assert len(listener.messages) == 6, "each of two is tried three times"
    assert len({message.id for message in listener.messages}) == 2
    letters = store.get(place).json()["data"]["dead_letters"]
    assert "503" in letters[0]["reason"]
    listener.answers = lambda _message, _handler: 204
    assert send(store, "PUT", f"{home}/{hook['id']}", hook | {"active": False}).status == 200
    for letter in reversed(letters):
        again = store.request("POST", f"{place}/{letter['id']}/redeliver")
        assert (again.status, again.json()["data"]["status"]) == (200, 204)
    assert heard(listener) == [("job.status", asset, "running"), ("job.status", asset, "successful")]
    assert store.get(place).json()["data"]["dead_letters"] == []


def test_what_is_told_again_is_what_was_not_taken_alone(store: Server, home: str, listener: Subscriber) -> None:
    """Whatever the webhook wants by then."""
    listener.answers = lambda _message, _handler: 503
    hook = subscribe(store, home, listener.url, events=["order.status"])
    asset = deliver(store, orderId=ORDER)
    place = f"{home}/{hook['id']}/deliveries"
    wait_for(lambda: store.get(place).json()["data"]["dead_letters"])
    changed = hook | {"events": ["job.status"], "active": False}
    assert send(store, "PUT", f"{home}/{hook['id']}", changed).status == 200
    listener.answers = lambda _message, _handler: 204
    letter = store.get(place).json()["data"]["dead_letters"][0]["id"]
    again = store.request("POST", f"{place}/{letter}/redeliver")
    assert (again.status, again.json()["data"]["status"]) == (200, 204)
    assert heard(listener) == [("order.status", asset, "FULFILLED")]


def test_who_mends_the_address_is_told_what_it_missed_at_once(store: Server, home: str, listener: Subscriber) -> None:
    with subscriber() as nobody:
        closed = nobody.url
    hook = subscribe(store, home, closed, events=["job.status"])
    asset = deliver(store)
    place = f"{home}/{hook['id']}"
    wait_for(lambda: store.get(f"{place}/deliveries").json()["data"]["deliveries"])
    assert send(store, "PUT", place, hook | {"url": listener.url}).status == 200
    wait_for(lambda: ("job.status", asset, "successful") in heard(listener))


def test_a_delivery_that_is_forgotten_holds_nobody_up(tmp_path: Path, listener: Subscriber) -> None:
    """While it was being told."""
    told: list[str] = []
    listener.answers = lambda _message, _handler: 204 if told else 503
    folder = new_catalog(tmp_path / "c")
    slow = patched(tmp_path / "slow", SOON[0].replace("(0.2, 0.4)", "(0.2,) * 500"), SOON[1])
    with serving(folder, slow) as server:
        subscribe(server, home_of(server), listener.url, events=["job.status"])
        first = deliver(server)
        wait_for(lambda: listener.messages)
        assert server.request("DELETE", f"/v2/assets/{first}").status == 204
        catalog = Catalog.open(folder)
        AssetStore(catalog, open_blobs(None, folder)).forget(0, "test")
        catalog.close()
        told.append("from now on")
        second = deliver(server)
        wait_for(lambda: ("job.status", second, "successful") in heard(listener))
    assert ("job.status", second, "running") in heard(listener)


def test_a_restored_catalogue_repeats_no_ids_of_messages(
    tmp_path: Path, hasty: dict[str, str], listener: Subscriber
) -> None:
    folder = new_catalog(tmp_path / "c")
    with serving(folder, hasty) as server:
        subscribe(server, home_of(server), listener.url, events=["job.status"])
        assert run_swath("backup", folder, tmp_path / "b").returncode == 0
        deliver(server)
        wait_for(lambda: len(heard(listener)) == 2)
    assert run_swath("restore", tmp_path / "b", tmp_path / "r").returncode == 0
    with serving(tmp_path / "r", hasty) as server:
        other = deliver(server)
        wait_for(lambda: len(heard(listener)) == 4)
    assert [asset for _, asset, _ in heard(listener)][2:] == [other, other]


def test_a_killed_server_tells_it_later(tmp_path: Path, hasty: dict[str, str], listener: Subscriber) -> None:
    folder = new_catalog(tmp_path / "c")
    server = start_server(["serve", str(folder), "--port", "0"], hasty)
    released: list[bool] = []
    listener.answers = lambda _message, _handler: 204 if released else 503
    subscribe(server, home_of(server), listener.url)
    asset = deliver(server, orderId=ORDER)
    wait_for(lambda: listener.messages)
    server.process.send_signal(signal.SIGKILL)
    server.stop()
    released.append(True)
    with serving(folder, hasty):
        wait_for(lambda: ("order.status", asset, "FULFILLED") in heard(listener))
    assert ("job.status", asset, "successful") in heard(listener)

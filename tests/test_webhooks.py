"""Webhooks: every change is told, in order, signed, again and again until it is taken; and nobody waits for anybody."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import partial
from http.server import BaseHTTPRequestHandler
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Server, command, long, make_item, patched, start_server
from tests.feed_readers import add, delete, page, put, told
from tests.subscriber import Message, Subscriber, genuine, subscriber
from tests.traffic import Caller, Traffic, make_collection, ndjson, read_feed

PATIENCE = 40.0  # seconds that anything may take
WAITS = (0.2, 0.4, 0.8)
SOON = (
    f"from swath.catalog.telling import Teller; Teller.__init__.__kwdefaults__['waits'] = {WAITS}",
    "import swath.catalog.telling; swath.catalog.telling._LOOK_SECONDS = 0.05",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("webhooks")
    (made / "one.ndjson").write_bytes(ndjson(*(make_collection(each) for each in "abc")))
    done = command("load", made / "c", made / "one.ndjson")
    assert done.returncode == 0, done.stderr
    return made / "c"


@pytest.fixture(scope="module")
def hasty(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What makes a server try again after parts of a second."""
    return patched(tmp_path_factory.mktemp("hasty"), *SOON)


@pytest.fixture(scope="module")
def server(folder: Path, hasty: dict[str, str]) -> Iterator[Server]:
    started = start_server(["serve", str(folder), "--port", "0"], hasty)
    yield started
    started.stop()


@pytest.fixture
def call(server: Server) -> Iterator[Caller]:
    made = Caller(server.url)
    yield made
    for each in json.loads(made("GET", "/webhooks").body)["webhooks"]:
        made("DELETE", f"/webhooks/{each['id']}")
    made.close()


@pytest.fixture
def listener() -> Iterator[Subscriber]:
    with subscriber() as made:
        yield made


def subscribe(call: Caller, to: Subscriber | str, **more: Any) -> dict[str, Any]:
    url = to if isinstance(to, str) else to.url
    answer = call("POST", "/webhooks", {"url": url, **more})
    assert answer.status == 201, answer.body
    made: dict[str, Any] = json.loads(answer.body)
    return made


def wait_for(done: Callable[[], Any]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline, "it takes too long"
        time.sleep(0.02)


def deliveries(call: Caller, hook: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(call("GET", f"/webhooks/{hook['id']}/deliveries").body)
    return found


# -- subscriptions -------------------------------------------------------------------------------


def test_a_subscription_is_made_listed_and_taken_away(call: Caller, server: Server, listener: Subscriber) -> None:
    answer = call("POST", "/webhooks", {"url": listener.url, "description": "mine", "filter": "v > 1"})
    made = json.loads(answer.body)
    assert answer.headers["location"] == f"{server.url}/webhooks/{made['id']}"
    secret = made.pop("secret")
    shown = [call("GET", "/webhooks"), call("GET", f"/webhooks/{made['id']}"),
             call("GET", f"/webhooks/{made['id']}/deliveries")]  # fmt: skip
    assert json.loads(shown[0].body)["webhooks"] == [made]
    assert json.loads(shown[1].body) == made
    assert (made["description"], made["filter"], made["url"]) == ("mine", "v > 1", listener.url)
    assert not any(secret.removeprefix("whsec_").encode() in each.body for each in shown), "a secret is told once"
    assert call("DELETE", f"/webhooks/{made['id']}").status == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("GET", "/deliveries"), ("POST", "/deliveries/1/redeliver")):
        assert call(method, f"/webhooks/{made['id']}{path}").status == 404
    add(call, "a", "after")
    time.sleep(0.5)
    assert listener.messages == []


@pytest.mark.parametrize(
    "body",
    [{}, {"url": 1}, {"url": ""}, {"url": "nowhere"}, {"url": "ftp://example.org/"}, {"url": "http://"},
     {"url": "http:///path"}, {"url": "http://127.0.0.1:0/"}, {"url": "http://127.0.0.1:99999/"},
     {"url": "http://127.0.0.1:x/"}, {"url": "http://user:word@127.0.0.1/"}, {"url": "http://127.0.0.1/a b"},
     {"url": "http://127.0.0.1/\r\nX-Y: z"}, {"url": "http://127.0.0.1/\u00e9"}, {"url": "javascript:alert(1)"},
     {"url": "file:///etc/passwd"}, {"url": "http://[::1"}, {"url": "http://127.0.0.1/#" + "x" * 70_000},
     {"url": "http://127.0.0.1/", "filter": "v >"}, {"url": "http://127.0.0.1/", "filter": {"op": "none"}},
     {"url": "http://127.0.0.1/", "filter": 1}, {"url": "http://127.0.0.1/", "filter": "v = 1", "filter-lang": "sql"},
     {"url": "http://127.0.0.1/", "collections": "a"}, {"url": "http://127.0.0.1/", "collections": [1]},
     {"url": "http://127.0.0.1/", "secret": "mine"}, {"url": "http://127.0.0.1/", "description": 1}, [], "x", None],
)  # fmt: skip
def test_what_is_no_subscription_is_refused(call: Caller, body: Any) -> None:
    answer = call("POST", "/webhooks", body if body is not None else b"{")
    assert answer.status == 400, answer.body
    assert answer.headers["content-type"] == "application/problem+json"
    assert json.loads(call("GET", "/webhooks").body)["webhooks"] == []


def test_the_same_request_twice_is_one_subscription(call: Caller, listener: Subscriber) -> None:
    body = {"url": listener.url}
    first, again = (call("POST", "/webhooks", body, Idempotency_Key="one") for _ in range(2))
    assert first.status == again.status == 201
    assert json.loads(first.body) == json.loads(again.body)
    assert len(json.loads(call("GET", "/webhooks").body)["webhooks"]) == 1
    other = call("POST", "/webhooks", {"url": listener.url + "/other"}, Idempotency_Key="one")
    assert (other.status, json.loads(other.body)["code"]) == (422, "IdempotencyKeyReused")


def test_who_subscribes_again_is_not_told_of_what_came_between(call: Caller, listener: Subscriber) -> None:
    hook = json.loads(call("POST", "/webhooks", {"url": listener.url}, Idempotency_Key="again").body)
    add(call, "a", "told")
    wait_for(listener.taken)
    assert call("DELETE", f"/webhooks/{hook['id']}").status == 204
    add(call, "a", "between")
    time.sleep(0.3)
    repeated = call("POST", "/webhooks", {"url": listener.url}, Idempotency_Key="again")
    assert json.loads(repeated.body) == hook, "the answer of then"
    assert json.loads(call("GET", "/webhooks").body)["webhooks"] == [], "and nothing is done again"
    subscribe(call, listener)
    add(call, "a", "told-again")
    wait_for(lambda: listener.events()[-1]["id"] == "told-again")
    assert [event["id"] for event in listener.events()] == ["told", "told-again"]


# -- what is told --------------------------------------------------------------------------------


def test_a_change_is_told_signed_and_with_its_place(call: Caller, listener: Subscriber) -> None:
    hook = subscribe(call, listener)
    add(call, "a", "signed", v=1.5)
    wait_for(listener.taken)
    message = listener.messages[0]
    assert genuine(hook["secret"], message)
    forged = Message(message.at, message.path, message.headers, message.body.replace(b"1.5", b"1.6"))
    assert not genuine(hook["secret"], forged)
    assert message.headers["content-type"] == "application/json"
    content = json.loads(message.body)
    assert (content["type"], content["webhook"]) == ("changes", hook["id"])
    event = content["changes"][0]
    assert told(event) == ("put", "item", "signed")
    assert event["document"]["properties"]["v"] == 1.5
    # Each change, and the message, has a token: a place from which the feed goes on.
    add(call, "a", "behind")
    for token in (content["token"], event["token"]):
        assert page(call, f"since={token}")["changes"][0]["id"] == "behind"


@pytest.mark.parametrize("language", ["text", "json"])
def test_a_subscription_with_a_filter_is_told_of_what_is_in_it(
    call: Caller, listener: Subscriber, language: str
) -> None:
    chosen = "v > 1" if language == "text" else {"op": ">", "args": [{"property": "v"}, 1]}
    subscribe(call, listener, filter=chosen, collections=["b"])
    name = f"f-{language}"
    add(call, "b", f"{name}-in", f"{name}-leaves", v=2)
    add(call, "b", f"{name}-out", v=0)
    add(call, "c", f"{name}-elsewhere", v=9)
    put(call, "b", f"{name}-leaves", v=0)
    delete(call, "b", f"{name}-out")
    delete(call, "b", f"{name}-in")
    wait_for(lambda: len(listener.events()) >= 4)
    assert [told(event) for event in listener.events()] == [
        ("put", "item", f"{name}-in"), ("put", "item", f"{name}-leaves"), ("left", "item", f"{name}-leaves"),
        ("delete", "item", f"{name}-in"),
    ]  # fmt: skip


def test_what_many_write_is_told_once_and_in_order(call: Caller, server: Server) -> None:
    since = page(call, "since=now")["token"]
    with ExitStack() as stack:
        listeners = [stack.enter_context(subscriber()) for _ in range(3)]
        for each in listeners:
            subscribe(call, each)
        writers = [threading.Thread(target=write, args=(server.url, number, long(20, 400))) for number in range(6)]
        for writer in writers:
            writer.start()
        for writer in writers:
            writer.join()
        expected = [event["version"] for event in read_feed(call, f"&since={since}")]
        for each in listeners:
            wait_for(partial(has_events, each, len(expected)))
            assert [event["version"] for event in each.events()] == expected
            assert len({message.id for message in each.messages}) == len(each.messages), "told twice"
    print(f"{len(expected)} changes in {len(listeners[0].messages)} messages to each of 3")


def has_events(listener: Subscriber, count: int) -> bool:
    return len(listener.events()) >= count


def write(url: str, number: int, steps: int) -> None:
    traffic = Traffic(Caller(url), seed=number, collections=("x", "y"), bulk=5)
    for _ in range(steps):
        traffic.step()


# -- again ---------------------------------------------------------------------------------------


def in_turn(*statuses: int) -> Callable[[Message, BaseHTTPRequestHandler], int]:
    """Answer with one status after the other, and go on with the last."""
    left = list(statuses)
    return lambda _message, _handler: left.pop(0) if len(left) > 1 else left[0]


@pytest.mark.parametrize("status", [500, 503, 429, 404, 410, 401, 304])
def test_a_message_is_told_again_until_it_is_taken(call: Caller, listener: Subscriber, status: int) -> None:
    listener.answers = in_turn(status, status, 200)
    hook = subscribe(call, listener)
    add(call, "a", f"again-{status}")
    wait_for(listener.taken)
    first, second, third = listener.messages
    assert first.id == second.id == third.id
    assert first.body == second.body == third.body
    assert all(genuine(hook["secret"], message) for message in listener.messages)
    waits = [after.at - before.at for before, after in pairwise(listener.messages)]
    assert all(waited >= wanted * 0.9 for waited, wanted in zip(waits, WAITS, strict=False)), waits
    wait_for(lambda: len(deliveries(call, hook)["deliveries"]) == 3)
    log = deliveries(call, hook)["deliveries"]  # the latest first
    assert [(each["attempt"], each["status"], bool(each["error"])) for each in log] == [
        (3, 200, False), (2, status, True), (1, status, True),
    ]  # fmt: skip
    assert {each["id"] for each in log} == {first.id}
    assert [each["changes"] for each in log] == [1, 1, 1]


def test_a_message_stays_the_same_when_more_is_written_before_it_is_taken(call: Caller, listener: Subscriber) -> None:
    """Its receiver tells by `webhook-id` that it had it already: perhaps only the answer was lost on its way."""
    listener.answers = in_turn(500, 500, 200)
    subscribe(call, listener)
    add(call, "a", "more-1")
    wait_for(lambda: listener.messages)
    add(call, "a", "more-2")
    wait_for(lambda: len(listener.events()) >= 2)
    tried = [message for message in listener.messages if message.id == listener.messages[0].id]
    assert [message.status for message in tried] == [500, 500, 200]
    assert len({message.body for message in tried}) == 1
    assert [event["id"] for event in listener.events()] == ["more-1", "more-2"]


def test_what_cannot_be_told_is_kept_and_can_be_told_later(call: Caller, listener: Subscriber) -> None:
    listener.answers = in_turn(500)
    hook = subscribe(call, listener)
    add(call, "a", "dead-1")
    wait_for(lambda: deliveries(call, hook)["dead_letters"])
    assert [message.status for message in listener.messages] == [500] * (len(WAITS) + 1)
    # What comes behind it is told nevertheless.
    listener.answers = in_turn(200)
    add(call, "a", "dead-2")
    wait_for(listener.taken)
    assert [event["id"] for event in listener.events()] == ["dead-2"]
    found = deliveries(call, hook)
    (letter,) = found["dead_letters"]
    assert "500" in letter["reason"]
    link = next(each["href"] for each in letter["links"] if each["rel"] == "redeliver")
    listener.answers = in_turn(503, 200)
    answer = json.loads(call("POST", link).body)
    assert (answer["status"], bool(answer["error"])) == (503, True)
    assert deliveries(call, hook)["dead_letters"] == [letter], "it failed again: it stays"
    answer = json.loads(call("POST", link).body)
    assert (answer["status"], answer["error"]) == (200, "")
    assert deliveries(call, hook)["dead_letters"] == []
    assert call("POST", link).status == 404
    assert listener.messages[-1].id == listener.messages[0].id
    assert listener.messages[-1].changes[0]["id"] == "dead-1"
    assert call("POST", f"/webhooks/{hook['id']}/deliveries/x/redeliver").status == 400


def test_the_log_of_deliveries_does_not_grow_for_ever(call: Caller, listener: Subscriber) -> None:
    hook = subscribe(call, listener, collections=["c"])
    for number in range(long(15, 260)):
        add(call, "c", f"logged-{number}")
        wait_for(partial(has_events, listener, number + 1))
    wait_for(lambda: len(deliveries(call, hook)["deliveries"]) >= long(15, 200))
    log = deliveries(call, hook)["deliveries"]
    assert len(log) == long(15, 200)
    assert [each["at"] for each in log] == sorted((each["at"] for each in log), key=len_and_text, reverse=True)


def len_and_text(instant: str) -> str:
    """Instants with and without parts of a second, so that they compare."""
    return instant.rstrip("Z").ljust(26, "0") if "." in instant else f"{instant.rstrip('Z')}.".ljust(26, "0")


# -- a server that dies --------------------------------------------------------------------------


def test_a_server_that_is_killed_tells_every_change(tmp_path: Path, hasty: dict[str, str]) -> None:
    (tmp_path / "one.ndjson").write_bytes(ndjson(*(make_collection(each) for each in "abc")))
    assert command("load", tmp_path / "c", tmp_path / "one.ndjson").returncode == 0
    draw, kills = random.Random(2), long(4, 60)
    with subscriber() as listener:
        listener.answers = lambda _message, _handler: draw.choice((200, 200, 500))
        server = start_server(["serve", str(tmp_path / "c"), "--port", "0"], hasty)
        since = page(Caller(server.url), "since=now")["token"]
        hook = subscribe(Caller(server.url), listener)
        for number in range(kills):
            writing = threading.Thread(target=write_for, args=(server.url, number, 0.8))
            writing.start()
            time.sleep(draw.uniform(0.1, 0.7))
            server.process.send_signal(signal.SIGKILL)
            server.process.wait()
            server.stop()
            writing.join()
            server = start_server(["serve", str(tmp_path / "c"), "--port", "0"], hasty)
        expected = [event["version"] for event in read_feed(Caller(server.url), f"&since={since}")]
        # Once in order, beside what is told again.
        wait_for(lambda: set(expected) <= {event["version"] for event in all_events(listener)})
        server.stop()
    first: dict[str, None] = {}
    for event in all_events(listener):
        first.setdefault(event["version"])
    assert list(first) == expected
    assert all(genuine(hook["secret"], message) for message in listener.messages)
    again = len(all_events(listener)) - len(expected)
    print(f"{kills} kills, {len(expected)} changes in {len(listener.taken())} messages, {again} changes told again")


def all_events(listener: Subscriber) -> list[dict[str, Any]]:
    return [event for message in listener.taken() for event in message.changes]


def write_for(url: str, seed: int, seconds: float) -> None:
    traffic, until = Traffic(Caller(url), seed=seed, bulk=5), time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            traffic.step()
        except (OSError, http.client.HTTPException):  # the server was killed
            return


def test_one_of_several_workers_tells_and_another_takes_over(tmp_path: Path, hasty: dict[str, str]) -> None:
    (tmp_path / "one.ndjson").write_bytes(ndjson(make_collection("a")))
    assert command("load", tmp_path / "c", tmp_path / "one.ndjson").returncode == 0
    server = start_server(["serve", str(tmp_path / "c"), "--port", "0", "--workers", "3"], hasty)
    with subscriber() as listener:
        try:
            subscribe(Caller(server.url), listener)
            for number in range(8):
                tell(server, listener, f"i{number}")
            assert len({message.id for message in listener.messages}) == len(listener.messages)
            dead = set()
            for number in range(3):
                leader = holder(tmp_path / "c" / "work" / "webhooks.lock")
                dead.add(leader)
                os.kill(leader, signal.SIGKILL)
                tell(server, listener, f"j{number}")
            assert len(dead) == 3, "others took over"
        finally:
            server.stop()
    # Who dies between telling and noting it leaves the message to be told again, as the documents say.
    told = list(dict.fromkeys(event["id"] for event in listener.events()))
    assert told == [*(f"i{n}" for n in range(8)), "j0", "j1", "j2"]


def tell(server: Server, listener: Subscriber, item_id: str) -> None:
    wait_for(lambda: posted(server, item_id))
    wait_for(lambda: [event for event in listener.events() if event.get("id") == item_id])


def posted(server: Server, item_id: str) -> bool:
    """Whether an item is there now: a worker that dies takes the connections that it has just accepted with it."""
    try:
        return Caller(server.url)("POST", "/collections/a/items", make_item(item_id, "a")).status in (201, 409)
    except OSError:
        return False


def holder(lock: Path) -> int:
    """The process that holds a lock (proc(5), /proc/locks)."""
    inode = lock.stat().st_ino
    found: list[int] = []

    def held() -> bool:
        rows = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        found[:] = [int(row[4]) for row in rows if row[1] == "FLOCK" and row[5].endswith(f":{inode}")]
        return bool(found)

    wait_for(held)
    return found[0]

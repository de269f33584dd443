"""What `/changes` tells: every change once, in the order of the commits, to whom it concerns."""

from __future__ import annotations

import itertools
import json
import random
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.conftest import SWATH, Server, long, make_item, run_swath
from tests.feed_readers import EVENTS, PATIENCE, Listener, add, delete, now, page, put, told
from tests.traffic import NDJSON, Caller, Replay, Traffic, export_parts, make_collection, ndjson, read_feed

# -- what is told --------------------------------------------------------------------------------


def test_ends_and_restores_are_told(call: Caller, name: str) -> None:
    since = now(call)
    add(call, name, "a", "b")
    put(call, name, "a", v=2)
    delete(call, name, "a")
    assert call("POST", f"/collections/{name}/items/a/restore").status == 201
    schema = {"type": "object", "properties": {"v": {"type": "integer"}}}
    assert call("PUT", f"/collections/{name}/queryables", schema).status == 201
    assert call("DELETE", f"/collections/{name}/queryables").status == 204
    assert call("DELETE", f"/collections/{name}?cascade=true").status == 204
    assert call("POST", f"/collections/{name}/restore").status == 201
    assert call("DELETE", f"/collections/{name}?cascade=true").status == 204
    events = page(call, f"since={since}&collections={name}")["changes"]
    assert [told(event) for event in events] == [
        ("put", "item", "a"), ("put", "item", "b"), ("put", "item", "a"), ("delete", "item", "a"),
        ("put", "item", "a"), ("put", "queryables", None), ("delete", "queryables", None),
        ("delete", "collection", None), ("restore", "collection", None), ("delete", "collection", None),
    ]  # fmt: skip
    for event in events:
        assert ("document" in event) == (event["type"] in ("put", "restore"))
    assert events[4]["document"] == events[2]["document"]
    assert json.dumps(events[5]["document"]) == json.dumps(schema)


def test_only_some_collections(call: Caller, name: str) -> None:
    other = f"{name}-other"
    assert call("POST", "/collections", make_collection(other)).status == 201
    add(call, name, "a")
    add(call, other, "b")
    both = page(call, f"collections={name},{other}")["changes"]
    assert [(event["collection"], event.get("id")) for event in both] == [
        (name, None), (other, None), (name, "a"), (other, "b"),
    ]  # fmt: skip
    assert [event["collection"] for event in page(call, f"collections={other}")["changes"]] == [other, other]
    assert page(call, "collections=there-is-none")["changes"] == []


FILTERS = {
    "text": "filter=v%20%3E%201",
    "json": "filter-lang=cql2-json&filter=" + quote('{"op": ">", "args": [{"property": "v"}, 1]}'),
}


@pytest.mark.parametrize("language", FILTERS)
def test_what_leaves_a_filter_is_told_and_what_was_never_in_it_is_not(call: Caller, name: str, language: str) -> None:
    since = now(call)
    add(call, name, "in", "leaves", "deleted", v=2)
    add(call, name, "out", "comes", "nothing", v=0)
    put(call, name, "leaves", v=1)
    put(call, name, "leaves", v=0)  # is out already
    put(call, name, "comes", v=5)
    put(call, name, "out", v=1)
    delete(call, name, "deleted")
    delete(call, name, "nothing")
    events = page(call, f"since={since}&collections={name}&{FILTERS[language]}")["changes"]
    assert [told(event) for event in events] == [
        ("put", "item", "in"), ("put", "item", "leaves"), ("put", "item", "deleted"), ("left", "item", "leaves"),
        ("put", "item", "comes"), ("delete", "item", "deleted"),
    ]  # fmt: skip
    assert "document" not in events[3]


def test_a_filter_knows_declared_instants_as_a_search_does(call: Caller, name: str) -> None:
    schema = {"type": "object", "properties": {"taken": {"type": "string", "format": "date-time"}}}
    assert call("PUT", f"/collections/{name}/queryables", schema).status == 201
    add(call, name, "old", taken="2019-06-01T00:00:00Z")
    add(call, name, "new", taken="2021-06-01T02:00:00+02:00")
    # Of this collection alone: others have declared nothing.
    query = f"collections={name}&filter=" + quote("taken > '2021-05-31T23:59:59Z'")
    found = json.loads(call("GET", f"/search?{query}").body)["features"]
    assert [item["id"] for item in found] == ["new"]
    assert [e["id"] for e in page(call, query)["changes"] if e["kind"] == "item"] == ["new"]


def test_a_filter_knows_short_names_as_a_search_does(call: Caller, name: str) -> None:
    add(call, name, "a", **{"up42-user:tags": ["x", "y"]})
    add(call, name, "b", **{"up42-user:tags": ["z"]})
    query = f"collections={name}&filter=" + quote("A_CONTAINS(tags, ('x'))")
    found = json.loads(call("GET", f"/search?{query}").body)["features"]
    assert [item["id"] for item in found] == ["a"]
    assert [e["id"] for e in page(call, query)["changes"] if e["kind"] == "item"] == ["a"]


# -- many at once --------------------------------------------------------------------------------


def test_what_eight_writers_do_is_told_once_in_the_order_of_the_commits(
    tmp_path: Path, serve: Callable[..., Server]
) -> None:
    (tmp_path / "one.ndjson").write_bytes(ndjson(*(make_collection(each) for each in "abc")))
    folder = tmp_path / "c"
    assert run_swath("load", folder, tmp_path / "one.ndjson").returncode == 0
    server = serve("serve", folder, "--port", "0", "--workers", "2")
    since = now(Caller(server.url))
    steps, over = long(60, 3_000), threading.Event()
    streamed: list[dict[str, Any]] = []
    polled: list[dict[str, Any]] = []
    listening = threading.Thread(target=listen_until, args=(server.url, since, over, streamed))
    polling = threading.Thread(target=poll_until, args=(server.url, since, over, polled))
    listening.start()
    polling.start()
    writers = [Writer(server.url, number, steps) for number in range(8)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    call = Caller(server.url)
    events = list(read_feed(call, f"&since={since}"))
    deadline = time.monotonic() + PATIENCE
    while (len(streamed) < len(events) or len(polled) < len(events)) and time.monotonic() < deadline:
        time.sleep(0.1)
    over.set()
    call("POST", "/collections", make_collection("the-last"))  # the listener waits for something
    listening.join(PATIENCE)
    polling.join(PATIENCE)
    assert streamed[: len(events)] == events
    assert polled[: len(events)] == events
    check_order(events, [each for writer in writers for each in writer.log])
    replay = Replay()
    for event in read_feed(call):
        replay.apply(event)
    done = run_swath("export", folder, "-o", "-")
    assert export_parts(done.stdout) == (replay.collections, replay.live)
    print(f"{len(events):,} changes by 8 writers:", dict(sum((w.traffic.done for w in writers), Counter[str]())))


class Writer(threading.Thread):
    """One of several, that notes what was committed, and between which two moments."""

    def __init__(self, url: str, number: int, steps: int) -> None:
        super().__init__()
        self.log: list[tuple[str, float, float]] = []  # version, and when it was asked for and acknowledged
        self.steps, self._call = steps, Caller(url)
        self.traffic = Traffic(self._timed, seed=number, bulk=5)

    def _timed(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        started = time.monotonic()
        answer = self._call(method, path, body, **headers)
        # These say something new each time: no answer names a version that another write made.
        if method in ("POST", "PUT") and "stamp" in str(body) and answer.status in (200, 201) and "/items" in path:
            version = answer.headers["etag"].strip('"').partition("-")[0]
            self.log.append((version, started, time.monotonic()))
        return answer

    def run(self) -> None:
        for _ in range(self.steps):
            self.traffic.step()


def check_order(events: list[dict[str, Any]], log: list[tuple[str, float, float]]) -> None:
    versions = [event["version"] for event in events]
    assert len(set(versions)) == len(versions), "something was told twice"
    times = [datetime.fromisoformat(event["at"]) for event in events]
    assert times == sorted(times)
    place = {version: number for number, version in enumerate(versions)}
    assert {version for version, _, _ in log} <= place.keys(), "something that was acknowledged was not told"
    latest = 0.0  # begin of those told so far
    for _, started, ended in sorted(log, key=lambda each: place[each[0]]):
        assert ended >= latest, "a write that was over before another began is told behind it"
        latest = max(latest, started)


def listen_until(url: str, since: str, over: threading.Event, found: list[dict[str, Any]]) -> None:
    with Listener(url, f"since={since}") as listener:
        while not over.is_set():
            found.append(json.loads(listener.event()["data"]))


def poll_until(url: str, since: str, over: threading.Event, found: list[dict[str, Any]]) -> None:
    call = Caller(url)
    while not over.is_set():
        got = page(call, f"since={since}&wait=1&limit=7")
        found.extend(got["changes"])
        since = got["token"]


def test_callers_that_hang_up_do_no_harm(call: Caller, name: str, writable: Server) -> None:
    def held() -> tuple[int, int]:
        process = Path(f"/proc/{writable.process.pid}")
        return len(list((process / "fd").iterdir())), len(list((process / "task").iterdir()))

    draw = random.Random(1)
    host, port = urlsplit(writable.url).netloc.split(":")
    with ThreadPoolExecutor(20) as pool:  # what is opened once and kept: readers of the database, a thread each
        list(pool.map(lambda _: page(Caller(writable.url), "limit=100"), range(60)))
    files, threads = held()
    rounds, at_once = long(5, 60), long(40, 100)
    for _ in range(rounds):
        sockets = []
        for number in range(at_once):
            accept = (EVENTS, NDJSON, "application/json")[number % 3]
            asked = f"GET /changes?wait=40 HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: {accept}\r\n\r\n"
            raw = socket.create_connection((host, int(port)))
            raw.sendall(asked.encode()[: draw.choice((20, 10_000, 10_000))])
            sockets.append(raw)
        add(call, name, f"i{draw.random()}")
        draw.shuffle(sockets)
        for raw in sockets:
            if draw.random() < 0.5:
                raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")  # a reset
            raw.close()
    deadline = time.monotonic() + 2 * PATIENCE
    while held()[0] > files + 5 and time.monotonic() < deadline:
        time.sleep(0.2)
    assert held()[0] <= files + 5
    assert held()[1] <= threads + 5
    assert page(call, "limit=1")["changes"]
    assert writable.process.poll() is None
    assert "Traceback" not in "".join(writable.lines)


# -- a replay gives what a search gives ------------------------------------------------------------

NUMBERS = itertools.count()
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("put"), st.integers(0, 5), st.integers(0, 3)),
        st.tuples(st.just("delete"), st.integers(0, 5), st.just(0)),
        st.tuples(st.just("restore"), st.integers(0, 5), st.just(0)),
        st.tuples(st.sampled_from(("collection deleted", "collection restored", "collection")), st.just(0), st.just(0)),
    ),
    max_size=25,
)


@given(STEPS, st.sampled_from((None, "v >= 2", "v IS NULL OR v = 1", "NOT (v = 3)")), st.integers(1, 9))
@settings(
    max_examples=long(40, 2_000), deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)  # fmt: skip
def test_a_replay_gives_what_a_search_gives(
    writable: Server, steps: list[tuple[str, int, int]], text: str | None, limit: int
) -> None:
    call, name = Caller(writable.url), f"replayed-{next(NUMBERS)}"  # the library seeds `random`: names must differ
    since = now(call)
    call("POST", "/collections", make_collection(name))
    at = f"/collections/{name}"
    for what, number, value in steps:
        item_id = f"i{number}"
        if what == "put":
            more = {"v": value} if value else {}
            item = make_item(item_id, name, **more)
            if call("PUT", f"{at}/items/{item_id}", item).status == 404:
                call("POST", f"{at}/items", item)
        elif what == "delete":
            call("DELETE", f"{at}/items/{item_id}")
        elif what == "restore":
            call("POST", f"{at}/items/{item_id}/restore")
        elif what == "collection deleted":
            call("DELETE", f"{at}?cascade=true")
        elif what == "collection restored":
            call("POST", f"{at}/restore")
        else:
            call("POST", "/collections", make_collection(name))
    query = f"&filter={quote(text)}" if text else ""
    replay = Replay()
    for event in read_feed(call, f"&since={since}&collections={name}{query}", limit):
        replay.apply(event)
    found = json.loads(call("GET", f"/search?collections={name}&limit=100{query}").body)["features"]
    assert {key for _, key in replay.live} == {item["id"] for item in found}
    stored = {item["id"]: {k: v for k, v in item["properties"].items() if k in ("v", "datetime")} for item in found}
    assert {key: json.loads(body)["properties"] for (_, key), body in replay.live.items()} == stored
    call.close()


def test_the_command_tells_the_same_and_follows(call: Caller, name: str, writable_folder: Path) -> None:
    add(call, name, "a", "b", v=1)
    put(call, name, "b", v=2)
    done = run_swath("changes", writable_folder, "--collections", name)
    found = [json.loads(line) for line in done.stdout.splitlines()]
    expected = page(call, f"collections={name}")["changes"]
    bare = [{k: v for k, v in event.items() if k != "token"} for event in found]
    assert bare == [{k: v for k, v in event.items() if k != "href"} for event in expected]
    # Tokens of one face are good for the other.
    assert page(call, f"since={found[1]['token']}&collections={name}")["changes"] == expected[2:]
    done = run_swath(
        "changes", writable_folder, "--collections", name, "--filter", "v = 1", "--since", found[0]["token"]
    )
    assert [told(json.loads(line)) for line in done.stdout.splitlines()] == [
        ("put", "item", "a"), ("put", "item", "b"), ("left", "item", "b"),
    ]  # fmt: skip
    command = [SWATH, "changes", str(writable_folder), "--collections", name, "--since", found[0]["token"], "--follow"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert [json.loads(process.stdout.readline())["id"] for _ in range(3)] == ["a", "b", "b"]
        add(call, name, "c")
        assert json.loads(process.stdout.readline())["id"] == "c"
        process.kill()
    assert run_swath("changes", writable_folder, "--since", "rubbish").returncode == 1

"""`/changes` in every form: pages of JSON, lines, Server-Sent Events; and the places from which it is read."""

from __future__ import annotations

import json
import random
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import Server, run_swath
from tests.feed_readers import EVENTS, PATIENCE, Listener, add, asking, lines, now, page, told
from tests.traffic import NDJSON, Caller, make_collection, ndjson, read_feed

# -- pages of JSON -------------------------------------------------------------------------------


def test_pages_of_any_size_tell_the_same(call: Caller, name: str) -> None:
    add(call, name, *(f"i{number}" for number in range(25)))
    whole = page(call, "limit=10000")
    assert whole["complete"] is True
    assert whole["numberReturned"] == len(whole["changes"])
    at = f"collections={name}"
    expected = page(call, at)["changes"]
    assert [told(event) for event in expected] == [("put", "collection", None)] + [
        ("put", "item", f"i{number}") for number in range(25)
    ]
    for size in (1, 3, 26, 27, 100_000):
        found: list[dict[str, Any]] = []
        link = f"{at}&limit={size}"
        for _ in range(100):
            got = page(call, link)
            assert got["numberReturned"] == len(got["changes"]) <= size
            found += got["changes"]
            if got["complete"]:
                break
            following = next(each for each in got["links"] if each["rel"] == "next")
            link = urlsplit(following["href"]).query
        assert found == expected, size


def test_every_event_says_what_happened_when_and_by_whom(call: Caller, name: str, writable: Server) -> None:
    add(call, name, "a")
    events = page(call, f"collections={name}")["changes"]
    answer = call("GET", f"/collections/{name}/items/a")
    assert answer.headers["etag"].startswith(f'"{events[1]["version"]}-')
    assert events[1]["actor"] == "http"
    assert events[1]["collection"] == name
    assert events[1]["href"] == f"{writable.url}/collections/{name}/items/a"
    assert events[0]["at"] < events[1]["at"]
    assert events[1]["at"] == json.loads(answer.body)["properties"]["updated"]


def test_documents_come_byte_for_byte_as_they_were_stored(call: Caller, name: str) -> None:
    odd = (
        b'{"id":"odd","type":"Feature","stac_version":"1.0.0","geometry":null,"links":[],"assets":{},'
        b'"properties":{"z":1.50e0,"a":100000000000000000001,"datetime":"2020-01-01T00:00:00Z","u":"\\u00e9/\\/"}}'
    )
    assert call("POST", f"/collections/{name}/items", odd).status == 201
    for accept in ("application/json", NDJSON):
        assert odd[:-1] in call("GET", f"/changes?collections={name}", Accept=accept).body


def test_the_link_to_the_next_page_goes_on_when_more_is_written(call: Caller, name: str) -> None:
    first = page(call, f"collections={name}")
    following = next(each for each in first["links"] if each["rel"] == "next")["href"]
    empty = json.loads(call("GET", following).body)
    assert (empty["changes"], empty["complete"], empty["numberReturned"]) == ([], True, 0)
    add(call, name, "a")
    assert [told(event) for event in json.loads(call("GET", following).body)["changes"]] == [("put", "item", "a")]


def test_the_link_to_itself_leads_to_the_same_page(call: Caller, name: str) -> None:
    add(call, name, "a", "b")
    first = page(call, f"collections={name}&limit=1")
    itself = next(each for each in first["links"] if each["rel"] == "self")["href"]
    assert json.loads(call("GET", itself).body)["changes"] == first["changes"]


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=-1", "limit=x", "wait=-1", "wait=x", "bogus=1", "filter=v%20%3D", "filter-lang=sql",
     "filter=%7B&filter-lang=cql2-json", "since=yesterday", "since=a&since=b", "collections=a,,b"],
)  # fmt: skip
def test_what_cannot_be_understood_is_refused_in_every_form(call: Caller, query: str) -> None:
    for accept in ("application/json", NDJSON, EVENTS):
        answer = call("GET", f"/changes?{query}", Accept=accept)
        assert answer.status == 400, (accept, answer.body)
        assert answer.headers["content-type"] == "application/problem+json"


def test_a_page_keeps_to_the_budget_of_bytes(tmp_path: Path, serve: Callable[..., Server]) -> None:
    """Of a search, no page is larger than 64 MB: a page of changes is to be no larger either (rule C31)."""
    call = Caller(serving_one(tmp_path, serve).url)
    most, filler = json.loads(call("GET", "/limits").body)["page_bytes"], "x" * 4_000_000
    for number in range(most // len(filler) + 4):
        add(call, "one", f"large{number}", filler=filler)
    answer = call("GET", "/changes")
    assert len(answer.body) < most * 1.1
    assert json.loads(answer.body)["complete"] is False


def serving_one(folder: Path, serve: Callable[..., Server]) -> Server:
    """A server of its own, with the collection `one`."""
    (folder / "one.ndjson").write_bytes(ndjson(make_collection("one")))
    assert run_swath("load", folder / "own", folder / "one.ndjson").returncode == 0
    return serve("serve", folder / "own", "--port", "0")


# -- lines ---------------------------------------------------------------------------------------


def test_lines_tell_the_same_as_pages_and_each_is_a_place(call: Caller, name: str) -> None:
    add(call, name, "a", "b", "c")
    at = f"collections={name}"
    *events, end = lines(call, at)
    assert end["type"] == "end"
    assert [{k: v for k, v in event.items() if k != "token"} for event in events] == page(call, at)["changes"]
    for number, event in enumerate(events, 1):
        assert lines(call, f"{at}&since={event['token']}")[:-1] == events[number:]
    assert lines(call, f"{at}&since={end['token']}")[:-1] == []


def test_lines_stop_at_a_limit_and_their_end_is_a_place(call: Caller, name: str) -> None:
    add(call, name, "a", "b", "c")
    at = f"collections={name}"
    *events, end = lines(call, f"{at}&limit=2")
    assert len(events) == 2
    assert [told(event) for event in lines(call, f"{at}&since={end['token']}")[:-1]] == [
        ("put", "item", "b"), ("put", "item", "c"),
    ]  # fmt: skip


def test_lines_go_on_for_as_long_as_they_are_waited_for(call: Caller, name: str, writable: Server) -> None:
    found: list[str] = []

    def listen() -> None:
        found.extend(e["id"] for e in lines(Caller(writable.url), f"collections={name}&since=now&wait=3")[:-1])

    listener = threading.Thread(target=listen)
    listener.start()
    time.sleep(0.7)
    add(call, name, "a")
    time.sleep(0.5)
    add(call, name, "b")
    listener.join(PATIENCE)
    assert found == ["a", "b"]


# -- waiting -------------------------------------------------------------------------------------


def test_a_long_poll_ends_with_the_next_commit(call: Caller, name: str, writable: Server) -> None:
    since, found = now(call), []

    def listen() -> None:
        started = time.monotonic()
        got = page(Caller(writable.url), f"since={since}&wait=50&collections={name}")
        found.append((got, time.monotonic() - started))

    listener = threading.Thread(target=listen)
    listener.start()
    time.sleep(0.5)
    add(call, "first", f"another-{name}")  # is of another collection: it goes on waiting
    time.sleep(0.5)
    add(call, name, "a")
    listener.join(PATIENCE)
    ((got, seconds),) = found
    assert [told(event) for event in got["changes"]] == [("put", "item", "a")]
    print(f"told {seconds - 1.0:.2f} s after the write at most")


def test_a_long_poll_ends_without_anything_when_the_time_is_over(call: Caller, name: str) -> None:
    got = page(call, f"since={now(call)}&wait=1&collections={name}")
    assert (got["changes"], got["complete"]) == ([], True)


# -- Server-Sent Events --------------------------------------------------------------------------


def test_events_are_sent_as_they_are_committed(call: Caller, name: str, writable: Server) -> None:
    with Listener(writable.url, f"collections={name}&since=now") as listener:
        assert listener.answer.status == 200
        assert listener.answer.headers["content-type"].startswith(EVENTS)
        assert listener.answer.headers["cache-control"] == "no-store"
        waits = []
        for number in range(5):
            started = time.monotonic()
            add(call, name, f"i{number}")
            event = listener.event()
            waits.append(time.monotonic() - started)
            data = json.loads(event["data"])
            assert (event["event"], data["type"], data["id"]) == ("put", "put", f"i{number}")
    print(f"an event came {max(waits):.2f} s after its write was begun, at most")
    whole = page(call, f"collections={name}")["changes"]
    assert data == whole[-1]


def test_a_listener_goes_on_behind_the_last_event_that_it_had(call: Caller, name: str, writable: Server) -> None:
    add(call, name, "a", "b", "c")
    with Listener(writable.url, f"collections={name}") as listener:
        ids = [listener.event()["id"] for _ in range(2)]
    # The header of a reconnect wins over the address that the listener began with.
    with Listener(writable.url, f"collections={name}&since=now", Last_Event_ID=ids[1]) as listener:
        assert json.loads(listener.event()["data"])["id"] == "b"
        assert json.loads(listener.event()["data"])["id"] == "c"
    with Listener(writable.url, "", Last_Event_ID="forged") as listener:
        assert listener.answer.status == 400


def test_a_silent_feed_has_a_heartbeat(writable: Server) -> None:
    with Listener(writable.url, "since=now") as listener:
        for _ in range(4):
            listener.comment()


def test_a_browser_that_takes_gzip_gets_its_events_at_once(call: Caller, name: str, writable: Server) -> None:
    with Listener(writable.url, f"collections={name}&since=now", Accept_Encoding="gzip, deflate, br, zstd") as listener:
        assert "content-encoding" not in listener.answer.headers
        add(call, name, "a", filler="x" * 5_000)
        assert json.loads(listener.event()["data"])["id"] == "a"


def test_a_server_stops_though_somebody_listens(writable_folder: Path, serve: Callable[..., Server]) -> None:
    # It is to end its streams: uvicorn waits 10 s for them, and nobody is served meanwhile.
    server = serve("serve", writable_folder, "--port", "0")
    with Listener(server.url, "since=now"), asking(server.url, "since=now&wait=50", NDJSON):
        time.sleep(0.5)
        started = time.monotonic()
        server.process.terminate()
        assert server.process.wait(8) in (0, -15)
    print(f"stopped within {time.monotonic() - started:.1f} s")


def test_a_stream_of_lines_begins_before_its_first_line(writable: Server) -> None:
    """Who waits for headers must learn that the request was understood, though nothing is committed for a while."""
    with asking(writable.url, "since=now&wait=8", NDJSON) as raw:
        raw.settimeout(5)
        assert raw.recv(100).startswith(b"HTTP/1.1 200 ")


# -- places --------------------------------------------------------------------------------------


def test_an_instant_is_a_place(call: Caller, name: str) -> None:
    add(call, name, "a", "b", "c")
    at = f"collections={name}"
    events = page(call, at)["changes"]
    for number, event in enumerate(events):
        # From an instant on: what was committed in that very microsecond belongs to it.
        assert page(call, f"{at}&since={event['at']}")["changes"] == events[number:]
    assert page(call, f"{at}&since=2020-01-01T00:00:00Z")["changes"] == events
    assert page(call, f"{at}&since=2020-01-01T00:00:00%2B02:00")["changes"] == events
    assert page(call, f"{at}&since=2999-01-01T00:00:00Z")["changes"] == []
    assert page(call, f"{at}&since=now")["changes"] == []
    assert page(call, f"{at}&since=")["changes"] == events


def test_an_instant_with_a_bare_plus_is_taken_as_elsewhere(call: Caller, name: str) -> None:
    # A raw + in a query string is a space; `datetime` and `as-of` take it for what it must have been.
    assert page(call, f"collections={name}&since=2020-01-01T00:00:00+02:00")["changes"] != []


def test_tokens_that_were_not_handed_out_are_refused(call: Caller, name: str) -> None:
    token = now(call)
    draw = random.Random(5)
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    for place in range(len(token)):
        other = draw.choice(letters.replace(token[place], ""))
        assert call("GET", f"/changes?since={token[:place]}{other}{token[place + 1 :]}").status == 400
    for bad in (token[:-1], token + "A", token * 2, "A" * 30_000, "=", "%00", "%F0%9F%98%80", "nowhere"):
        assert call("GET", f"/changes?since={bad}").status == 400, bad
    # A paging token of a search is none of the feed.
    add(call, name, "a", "b")
    search = json.loads(call("GET", f"/search?collections={name}&limit=1").body)
    paging = next(each["href"] for each in search["links"] if each["rel"] == "next").partition("token=")[2]
    assert call("GET", f"/changes?since={paging}").status == 400
    assert call("GET", f"/search?collections={name}&limit=1&token={token}").status == 400


def test_a_token_of_another_catalogue_is_refused_and_one_from_before_a_restore_is_gone(
    call: Caller, name: str, writable_folder: Path, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    token = now(call)
    answer = serving_one(tmp_path, serve).get(f"/changes?since={token}")
    assert (answer.status, answer.json()["code"]) == (400, "InvalidToken")
    assert run_swath("backup", writable_folder, tmp_path / "backup.db").returncode == 0
    assert run_swath("restore", tmp_path / "backup.db", tmp_path / "restored").returncode == 0
    restored = serve("serve", tmp_path / "restored", "--port", "0")
    for accept in ("application/json", NDJSON, EVENTS):
        answer = restored.get(f"/changes?since={token}", Accept=accept)
        assert answer.status == 410
        assert "without since" in answer.json()["description"]
    # And that does mend it: from the beginning, the whole history is there.
    again = Caller(restored.url)
    events = list(read_feed(again, f"&collections={name}"))
    assert [told(event) for event in events] == [("put", "collection", None)]
    assert json.loads(again("GET", f"/changes?since={now(again)}").body)["changes"] == []

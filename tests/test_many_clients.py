"""Eight clients at once, against a model: every answer is right in some order of what they asked beside each other."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from swath.catalog import Catalog
from tests.conftest import Answer, Server, long, make_item, run_swath, serving, start_server
from tests.model import Ask, Held, Thing, Told, Verb, orders, tag_of, text_of
from tests.traffic import Caller, make_collection, ndjson

CLIENTS = 8
COLLECTIONS = ("a", "b")
ITEMS = tuple(f"i{number}" for number in range(6))
STEPS = long(4_000, 100_000)
_LOOKS = long(50, 250)  # rounds from one look at everything to the next
_LIVES = long(100, 250)  # rounds from one kill of the server to the next

VERBS: dict[Verb, int] = {
    "post": 12, "put": 18, "create": 4, "patch": 14, "delete": 10, "restore": 5, "restore version": 6, "get": 12,
    "bulk": 4, "post collection": 3, "put collection": 3, "delete collection": 1, "drop collection": 1,
    "restore collection": 3, "get collection": 2,
}  # fmt: skip
METHODS = {
    "post": "POST", "put": "PUT", "create": "PUT", "patch": "PATCH", "delete": "DELETE", "restore": "POST",
    "get": "GET", "bulk": "POST", "drop": "DELETE",
}  # fmt: skip
# What each verb must have been answered in a run: one that never was would be a blind spot.
SEEN = {
    ("post", 201), ("post", 409), ("post", 404), ("put", 200), ("put", 404), ("put", 412), ("create", 201),
    ("create", 412), ("patch", 200), ("patch", 404), ("patch", 412), ("delete", 204), ("delete", 404),
    ("delete", 412), ("restore", 200), ("restore", 201), ("restore version", 200), ("restore version", 201),
    ("get", 200), ("get", 304), ("get", 404), ("bulk", 200), ("post collection", 201), ("post collection", 409),
    ("put collection", 200), ("put collection", 412), ("delete collection", 204), ("drop collection", 409),
    ("restore collection", 201), ("restore collection", 409), ("get collection", 200),
}  # fmt: skip


# -- a client ------------------------------------------------------------------------------------


@dataclass
class Client:
    """Who asks, remembers the ETags that it was told, and repeats what was not answered."""

    number: int
    url: str
    seed: int
    etags: dict[tuple[str, str], list[str]] = field(default_factory=dict)
    repeated: int = 0
    keys: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(f"{self.seed}.{self.number}")
        self.call = Caller(self.url, timeout=30)
        self.stamp = 0

    def next(self) -> Ask:
        """Anything, with what it remembers: right, or out of date."""
        draw = self.draw
        verb = draw.choices(list(VERBS), list(VERBS.values()))[0]
        name, item = draw.choice(COLLECTIONS), "" if verb.endswith("collection") else draw.choice(ITEMS)
        ask = Ask(verb, name, item, self.document(verb, name, item))
        known = self.etags.get((name, item), [])
        if verb == "restore version":
            return replace(ask, version=tag_of(draw.choice(known[-6:])) if known and draw.random() < 0.9 else "0" * 16)
        if verb in ("put", "patch", "delete", "put collection", "delete collection", "get") and draw.random() < 0.5:
            return replace(ask, match=draw.choice([*known[-1:] * 3, *known[-4:], *(["*"] * (verb != "get"))] or [""]))
        return ask

    def document(self, verb: Verb, name: str, item: str) -> Any:
        draw = self.draw
        self.stamp += 1
        if verb.endswith("collection"):
            return make_collection(name, title=f"title {draw.randrange(3)}")
        if verb == "patch":
            more = draw.choice(({"w": None}, {"w": draw.randrange(3)}, {}))
            return {"properties": {"v": draw.choice((1, f"{self.number}.{self.stamp}")), **more}}
        if verb == "bulk":
            return {each: self.document("put", name, each) for each in draw.sample(ITEMS, draw.randrange(1, 5))}
        # Few different ones, so that what is put is there already now and then, or was before.
        stamp = draw.choice((1, 2, f"{self.number}.{self.stamp}"))
        return make_item(item, name, v=stamp, filler=f"{stamp} " * draw.choice((1, 1, 60)))

    def do(self, ask: Ask, patiently: bool) -> Told:
        """Ask; `patiently`: again and again, under one key, until there is an answer."""
        method, path, body, headers = request_of(ask)
        if method != "GET" and (patiently or self.draw.random() < 0.2):
            self.keys += 1
            headers["Idempotency-Key"] = f"{self.seed}-{self.number}-{self.keys}"
        answer = self.answer(method, path, body, headers, patiently)
        if "Idempotency-Key" in headers and not patiently:
            self.repeat(method, path, body, headers, answer)
        told = Told(answer.status, answer.headers.get("etag", ""), shown(answer))
        if told.etag and answer.status < 300:
            self.etags.setdefault((ask.collection, ask.item), []).append(told.etag)
        return told

    def answer(self, method: str, path: str, body: Any, headers: dict[str, str], patiently: bool) -> Answer:
        until, tried = time.monotonic() + 60, 0
        while True:
            try:
                answer = self.call(method, path, body, **headers)
            except (OSError, http.client.HTTPException):
                if not patiently or time.monotonic() > until:
                    raise
                tried += 1
                time.sleep(0.02)
            else:
                self.repeated += tried > 0
                return answer

    def repeat(self, method: str, path: str, body: Any, headers: dict[str, str], first: Answer) -> None:
        """The same request gets the first answer, whatever others did since; another one under its key gets none.

        What is told of a collection beside its document is that of now.
        """
        again = self.call(method, path, body, **headers)
        tags = [tag_of(answer.headers.get("etag", "")) for answer in (first, again)]
        assert (again.status, shown(again), tags[1]) == (first.status, shown(first), tags[0])
        if first.status >= 400 or first.headers.get("content-type") == "application/geo+json":
            assert again.body == first.body
        headers["Content-Type"] = "application/json"
        other = self.call("POST", "/collections/a/items", {"another": "request"}, **headers)
        assert other.status == 422, (method, path, other.body)


def request_of(ask: Ask) -> tuple[str, str, Any, dict[str, str]]:
    path = f"/collections/{ask.collection}"
    headers: dict[str, str] = {}
    method = METHODS[ask.verb.partition(" ")[0]]
    body: Any = ask.document if method in ("POST", "PUT", "PATCH") and not ask.verb.startswith("restore") else None
    if ask.match:
        headers["If-None-Match" if ask.verb == "get" else "If-Match"] = ask.match
    if ask.verb == "create":
        headers["If-None-Match"] = "*"
    if ask.verb == "bulk":
        headers["Content-Type"] = "application/x-ndjson"
        return method, f"{path}/bulk?mode=upsert&atomic=true", ndjson(*body.values()), headers
    if ask.verb == "patch":
        headers["Content-Type"] = "application/merge-patch+json"
    if ask.item:
        path += "/items" if ask.verb == "post" else f"/items/{ask.item}"
    path += f"/versions/{ask.version}" if ask.verb == "restore version" else ""
    path += "/restore" if ask.verb.startswith("restore") else ""
    if ask.verb == "post collection":
        path = "/collections"
    return method, path + ("?cascade=true" if ask.verb == "delete collection" else ""), body, headers


def shown(answer: Answer) -> str:
    """The document of an answer, less what the server adds: links, times, the number of items."""
    if answer.status not in (200, 201) or not answer.body:
        return ""
    return sent(json.loads(answer.body))


def sent(document: dict[str, Any]) -> str:
    if document.get("type") == "Collection":
        for name in ("created", "updated", "summaries", "swath:items"):
            document.pop(name, None)
    if "links" in document:
        document["links"] = []
    if "properties" in document:
        document["properties"] = {
            name: value for name, value in document["properties"].items() if name not in ("created", "updated")
        }
    return text_of(document)


# -- the run -------------------------------------------------------------------------------------


@dataclass
class Run:
    """Rounds of a request of each client at once, on a server that is killed now and then."""

    folder: Path
    seed: int
    held: dict[str, list[Held]] = field(default_factory=lambda: {name: [Held()] for name in COLLECTIONS})
    seen: Counter[tuple[str, int]] = field(default_factory=Counter)
    then: list[tuple[str, dict[str, dict[str, str]]]] = field(default_factory=list)
    looks: int = 0
    kills: int = 0

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.server = start_server(["serve", str(self.folder), "--port", "0"])
        self.url = self.server.url
        self.clients = [Client(number, self.url, self.seed) for number in range(CLIENTS)]
        self.call = Caller(self.url)

    def restart(self) -> None:
        self.kills += 1
        os.kill(self.server.process.pid, signal.SIGKILL)
        self.server.process.wait()
        self.server.stop()
        self.server = start_server(["serve", str(self.folder), "--port", self.url.rpartition(":")[2]])
        self.call = Caller(self.url)

    def go(self, rounds: int) -> None:
        with ThreadPoolExecutor(CLIENTS) as pool:
            for number in range(1, rounds + 1):
                killed = number % _LIVES == 0
                asks = [client.next() for client in self.clients]
                running = [pool.submit(client.do, ask, killed)
                           for client, ask in zip(self.clients, asks, strict=True)]  # fmt: skip
                if killed:
                    time.sleep(self.draw.uniform(0, 0.015))
                    self.restart()
                told = [each.result() for each in running]
                for client in self.clients if killed else ():
                    client.call.close()  # who was answered before the kill has a dead connection
                self.judge(number, list(zip(asks, told, strict=True)))
                if number % _LOOKS == 0 or killed or number == rounds:
                    self.look()

    def judge(self, number: int, asked: list[tuple[Ask, Told]]) -> None:
        """Every answer fits, in some order; a look at what was touched says in which."""
        for ask, told in asked:
            self.seen[ask.verb, told.status] += 1
        for name in {ask.collection for ask, _ in asked}:
            here = [(ask, told) for ask, told in asked if ask.collection == name]
            after = orders(self.held[name], here)
            said = "\n".join(f"  {ask}\n    {told}" for ask, told in here)
            assert after, f"seed {self.seed}, round {number}: no order explains\n{said}\n  of {self.held[name]}"
            found = self.read_back(name, {item for ask, _ in here for item in touched(ask)})
            after = [settled for held in after if (settled := settle(held, found)) is not None]
            assert after, f"seed {self.seed}, round {number}: after\n{said}\n  there is {found}"
            self.held[name] = after

    def read_back(self, name: str, items: set[str]) -> dict[str, Told]:
        """Of each item; of the collection itself under no name."""
        asks = [Ask("get", name, item) if item else Ask("get collection", name) for item in sorted(items)]
        answers = [self.call(*request_of(ask)[:2]) for ask in asks]
        return {ask.item: Told(answer.status, answer.headers.get("etag", ""), shown(answer))
                for ask, answer in zip(asks, answers, strict=True)}  # fmt: skip

    # -- a look at everything -------------------------------------------------------------------

    def look(self) -> None:
        """Pages, counts, versions and what was, against the model."""
        self.looks += 1
        contents = {}
        for name in COLLECTIONS:
            page = self.call("GET", f"/collections/{name}/items?limit=100")
            if page.status == 404:
                assert all(held.live is None for held in self.held[name])
                continue
            there = contents[name] = features(page)
            # Of what came to an end in one round, it may not be known yet in which order it was there.
            self.held[name] = [held for held in self.held[name] if held.live and held.contents == there]
            assert self.held[name], f"seed {self.seed}: {name} holds {there}"
            assert json.loads(page.body)["numberMatched"] == len(there)
            assert json.loads(self.call("GET", f"/collections/{name}").body)["swath:items"] == len(there)
            self.look_back(name)
        for instant, was in self.draw.sample(self.then, min(2, len(self.then))):
            for name, items in was.items():
                page = self.call("GET", f"/collections/{name}/items?limit=100&as-of={quote(instant)}")
                assert features(page) == items, f"seed {self.seed}: {name} as of {instant}"
        self.then = [*self.then[-20:], (datetime.now(UTC).isoformat(), contents)]
        time.sleep(0.001)  # so that no commit is of this instant

    def look_back(self, name: str) -> None:
        """Versions of items: of all of them where it is not known in which order they were there."""
        items = sorted({item for held in self.held[name] for item in held.items})
        for item in items if len(self.held[name]) > 1 else self.draw.sample(items, min(2, len(items))):
            at = f"/collections/{name}/items/{item}/versions"
            answer = self.call("GET", at)
            listed = json.loads(answer.body)["versions"] if answer.status == 200 else []
            tags = [each["version"] for each in reversed(listed) if each["restorable"]]
            self.held[name] = [held for held in self.held[name] if goes_through(tags, held.thing(item))]
            assert self.held[name], f"seed {self.seed}: {name}/{item} had the versions {tags}"
            past = {each.tag: each.text for each in self.held[name][0].thing(item).past if each.tag}
            for tag in self.draw.sample(sorted(past), min(2, len(past))):
                assert shown(self.call("GET", f"{at}/{tag}")) == past[tag]


def goes_through(tags: list[str], thing: Thing) -> bool:
    """Whether these are all the versions of an item, oldest first, and maybe those of an earlier collection."""
    past = [each.tag for each in thing.past]
    latest = tags[len(tags) - len(past) :] if past else []
    return len(latest) == len(past) and all(was in ("", tag) for was, tag in zip(past, latest, strict=True))


def touched(ask: Ask) -> list[str]:
    return list(ask.document) if ask.verb == "bulk" else [ask.item]


def features(page: Answer) -> dict[str, str]:
    assert page.status == 200, page.body
    return {item["id"]: sent(item) for item in json.loads(page.body)["features"]}


def settle(held: Held, found: dict[str, Told]) -> Held | None:
    """With the tags that nobody was told yet; None where something else is there."""
    for item, told in found.items():
        thing = held.thing(item)
        live = (thing.live if item else held.live) if held.live is not None else None
        if live is None or told.status != 200:
            if live is not None or told.status != 404:
                return None
            continue
        if live.text != told.text or (live.tag and live.tag != tag_of(told.etag)):
            return None
        if not live.tag:
            known = replace(live, tag=tag_of(told.etag))
            held = held.put(item, replace(thing, live=known, past=(*thing.past[:-1], known)))
    return held


def test_what_eight_clients_are_told_is_what_a_model_says(tmp_path: Path) -> None:
    Catalog.open(tmp_path / "c", create=True).close()
    run = Run(tmp_path / "c", seed=random.randrange(10**9))
    try:
        run.go(STEPS // CLIENTS)
    finally:
        run.server.stop()
    repeated = sum(client.repeated for client in run.clients)
    print(f"\n{sum(run.seen.values()):,} steps of {CLIENTS} clients (seed {run.seed}), {run.kills} kills of the server,"
          f" {repeated} requests repeated by then, {run.looks} looks at everything")  # fmt: skip
    for (verb, status), count in sorted(run.seen.items()):
        print(f"  {count:7,} {verb}: {status}")
    assert SEEN - run.seen.keys() == set()
    assert run_swath("check", tmp_path / "c").returncode == 0


# -- conflicts -----------------------------------------------------------------------------------


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    Catalog.open(tmp_path / "c", create=True).close()
    with serving(tmp_path / "c") as made:
        yield made


def at_once(work: Callable[[int], None]) -> None:
    """Do it in a thread of each client; what fails in one fails here."""
    with ThreadPoolExecutor(CLIENTS) as pool:
        for each in [pool.submit(work, number) for number in range(CLIENTS)]:
            each.result()


def test_of_writes_under_one_etag_one_is_done(server: Server) -> None:
    """All clients change the same version: one of them does, the others are told so; no update is lost."""
    rounds = long(1_600, 100_000) // CLIENTS
    gate = threading.Barrier(CLIENTS, timeout=60)
    callers = [Caller(server.url) for _ in range(CLIENTS)]
    assert callers[0]("POST", "/collections", make_collection("c")).status == 201
    made = callers[0]("POST", "/collections/c/items", make_item("i", "c", counter=0, writer=-1))
    answers: list[Answer] = [made] * CLIENTS
    etag, winners = made.headers["etag"], Counter[int]()

    def write(number: int) -> None:
        nonlocal etag
        for turn in range(1, rounds + 1):
            gate.wait()
            answers[number] = change(callers[number], number, turn, etag)
            if gate.wait() == 0:  # one of them looks at what all were told
                done = [each for each, answer in enumerate(answers) if answer.status == 200]
                statuses = Counter(answer.status for answer in answers)
                assert statuses == {200: 1, 412: CLIENTS - 1}, f"turn {turn}: {statuses}"
                found = callers[number]("GET", "/collections/c/items/i")
                properties = json.loads(found.body)["properties"]
                assert (properties["counter"], properties["writer"]) == (turn, done[0])
                assert found.headers["etag"] == answers[done[0]].headers["etag"] != etag
                etag = found.headers["etag"]
                winners[done[0]] += 1

    at_once(lambda number: _or_break(gate, write, number))
    won = sum(winners.values())
    print(f"\n{rounds * CLIENTS:,} conflicting writes, {won:,} done; by client: {sorted(winners.items())}")
    assert won == rounds
    assert json.loads(callers[0]("GET", "/collections/c").body)["swath:items"] == 1


def change(call: Caller, number: int, turn: int, etag: str) -> Answer:
    """As PUT, as JSON Merge Patch or as JSON Patch."""
    at, properties = "/collections/c/items/i", {"counter": turn, "writer": number}
    if (number + turn) % 3 == 0:
        return call("PUT", at, make_item("i", "c", **properties), If_Match=etag)
    if (number + turn) % 3 == 1:
        return call("PATCH", at, {"properties": properties}, If_Match=etag, Content_Type="application/merge-patch+json")
    steps = [{"op": "replace", "path": f"/properties/{name}", "value": value} for name, value in properties.items()]
    return call("PATCH", at, steps, If_Match=etag, Content_Type="application/json-patch+json")


def _or_break(gate: threading.Barrier, work: Callable[[int], None], number: int) -> None:
    try:
        work(number)
    except threading.BrokenBarrierError:
        return  # another has failed, and says why
    except BaseException:
        gate.abort()
        raise


def test_patches_without_a_condition_are_all_done(server: Server) -> None:
    """Each client patches a member of its own, all at once: none takes another's away."""
    turns = long(100, 2_000)
    call = Caller(server.url)
    assert call("POST", "/collections", make_collection("c")).status == 201
    assert call("POST", "/collections/c/items", make_item("i", "c")).status == 201

    def write(number: int) -> None:
        mine = Caller(server.url)
        for turn in range(1, turns + 1):
            patch = {"properties": {f"of{number}": turn}}
            assert mine("PATCH", "/collections/c/items/i", patch).status == 200

    at_once(write)
    found = json.loads(call("GET", "/collections/c/items/i").body)["properties"]
    assert {found[f"of{number}"] for number in range(CLIENTS)} == {turns}

"""Conditional requests (RFC 9110, section 13) on items and collections, and requests that are done once."""

from __future__ import annotations

import gzip
import itertools
import json
import re
import time
from collections.abc import Callable
from email.utils import formatdate
from pathlib import Path
from typing import Any

import pytest

from swath.http.routes import ROUTES
from tests.conftest import Answer, Editor, Server, command, make_collection, make_item, run_swath, serving

KINDS = ("item", "collection")
_KEYS = itertools.count()


@pytest.fixture(params=KINDS)
def path(request: pytest.FixtureRequest, editor: Editor) -> str:
    """An item with a collection around it, or a collection."""
    name = editor.collection(make_item("a"))
    return f"/collections/{name}" + ("/items/a" if request.param == "item" else "")


def document(path: str, title: str) -> dict[str, Any]:
    name = path.split("/")[2]
    return make_item("a", name, title=title) if "/items/" in path else make_collection(name, title=title)


def key() -> str:
    return f"key-{next(_KEYS)}"


# -- reading -------------------------------------------------------------------------------------


def test_who_has_an_answer_already_gets_304(editor: Editor, path: str) -> None:
    """RFC 9110, 15.4.5: without a body, and with the headers that the answer would have had."""
    found = editor.ask("GET", path)
    etag = found.headers["etag"]
    assert re.fullmatch(r'"[0-9a-f]{16}-[0-9a-f]{16}"', etag), "strong, and opaque"
    for asked in (etag, "*", f'"other", {etag}', f"W/{etag}", f' ,{etag} , "x"'):
        again = editor.ask("GET", path, None, ("If-None-Match", asked))
        assert (again.status, again.body) == (304, b""), asked
        for name in ("etag", "last-modified", "cache-control"):
            assert again.headers[name] == found.headers[name]
    for asked in ('"other"', f'"{etag[1:17]}"', f'"{etag[1:17]}-"'):
        assert editor.ask("GET", path, None, ("If-None-Match", asked)).status == 200
    assert editor.ask("PUT", path, document(path, "changed")).status == 200
    assert editor.ask("GET", path, None, ("If-None-Match", etag)).status == 200


LISTS = (
    "", "/conformance", "/collections", "/search?collections={}", "/collections/{}/items", "/queryables", "/sortables",
    "/collections/{}/queryables", "/collections/{}/sortables", "/collections/{}/versions", "/trash", "/functions",
    "/collections/{}/items/a/versions", "/limits", "/api", "/webhooks", "/jobs",
)  # fmt: skip


@pytest.mark.parametrize("asked", LISTS)
def test_every_list_has_a_validator_of_its_bytes(editor: Editor, asked: str) -> None:
    """RFC 9110, 8.8.3 and 13.1.2: a strong one, by which the same bytes need not be sent again."""
    name = editor.collection(make_item("a"))
    path = asked.format(name)
    found = editor.ask("GET", path)
    etag = found.headers["etag"]
    assert (found.status, found.headers["cache-control"]) == (200, "no-cache")
    assert re.fullmatch(r'"[0-9a-f]{32}"', etag)
    again = editor.ask("GET", path)
    assert (again.body, again.headers["etag"]) == (found.body, etag)
    same = editor.ask("GET", path, None, ("If-None-Match", f'"other", {etag}'))
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", etag)
    assert same.headers["cache-control"] == "no-cache"
    packed = editor.ask("GET", path, None, ("If-None-Match", etag[:-1] + '+gzip"'), ("Accept-Encoding", "gzip"))
    assert packed.status == 304
    for condition, status in (
        (("If-None-Match", '"other"'), 200), (("If-Match", etag), 200), (("If-Match", "*"), 200),
        (("If-Match", '"other"'), 412), (("If-Unmodified-Since", formatdate(0, usegmt=True)), 200),
        (("If-Modified-Since", formatdate(time.time() + 9, usegmt=True)), 200),
    ):  # fmt: skip
        assert editor.ask("GET", path, None, condition).status == status, condition


def test_the_validator_of_a_list_changes_with_it(editor: Editor) -> None:
    name = editor.collection(make_item("a"))
    paths = [
        f"/search?collections={name}",
        f"/collections/{name}/items",
        "/collections",
        f"/collections/{name}/sortables",
    ]
    before = [editor.ask("GET", path).headers["etag"] for path in paths]
    assert editor.ask("POST", f"/collections/{name}/items", make_item("b", name, another=1)).status == 201
    for path, etag in zip(paths, before, strict=True):
        after = editor.ask("GET", path, None, ("If-None-Match", etag))
        assert (after.status, after.headers["etag"] != etag) == (200, True), path


def test_who_wants_other_bytes_than_there_are_gets_412(editor: Editor, path: str) -> None:
    """RFC 9110, 13.1.1 and 13.1.4, of a GET."""
    etag = editor.ask("GET", path).headers["etag"]
    for header, status in (
        (("If-Match", etag), 200), (("If-Match", "*"), 200), (("If-Match", f'"other", {etag}'), 200),
        (("If-Match", '"other"'), 412), (("If-Match", f"W/{etag}"), 412),
        (("If-Unmodified-Since", formatdate(time.time() + 60, usegmt=True)), 200),
        (("If-Unmodified-Since", "Sat, 01 Jan 2000 00:00:00 GMT"), 412),
    ):  # fmt: skip
        for _ in range(2):  # an answer that is kept knows of no condition
            assert editor.ask("GET", path, None, header).status == status, header


def test_a_body_in_an_encoding_is_415(editor: Editor, path: str) -> None:
    packed = gzip.compress(json.dumps(document(path, "packed")).encode())
    assert editor.ask("PUT", path, packed, ("Content-Encoding", "gzip")).status == 415
    name = path.split("/")[2]
    bulk = editor.ask("POST", f"/collections/{name}/bulk", packed, ("Content-Encoding", "gzip"),
                      media_type="application/x-ndjson")  # fmt: skip
    assert bulk.status == 415


def test_an_etag_without_quotes_is_refused(editor: Editor, path: str) -> None:
    """RFC 9110, 8.8.3: it stands in double quotes. A condition that is not understood is not passed over."""
    etag = editor.ask("GET", path).headers["etag"]
    for header, method in (("If-None-Match", "GET"), ("If-Match", "DELETE")):
        assert editor.ask(method, path, None, (header, etag.strip('"'))).status == 400
    assert editor.ask("GET", path).status == 200


def test_a_date_saves_the_second_answer_too(editor: Editor, path: str) -> None:
    """RFC 9110, 13.1.3. A date is exact to a second, in which there may be another change: not until it is over."""
    found = editor.ask("GET", path)
    for _ in range(100):
        again = editor.ask("GET", path, None, ("If-Modified-Since", found.headers["last-modified"]))
        if again.status == 304:
            break
        time.sleep(0.1)
    assert (again.status, again.body, again.headers["etag"]) == (304, b"", found.headers["etag"])
    before = ("If-Modified-Since", formatdate(time.time() - 3600, usegmt=True))
    assert editor.ask("GET", path, None, before).status == 200
    # If-None-Match wins (RFC 9110, 13.2.2).
    both = ("If-Modified-Since", found.headers["last-modified"]), ("If-None-Match", '"other"')
    assert editor.ask("GET", path, None, *both).status == 200
    assert editor.ask("GET", path, None, ("If-Modified-Since", "yesterday")).status == 200


def test_how_long_answers_are_fresh_is_a_setting_of_each_collection(tmp_path: Path) -> None:
    lines = [make_collection("a"), make_collection("b"), make_item("i", "a"), make_item("i", "b")]
    (tmp_path / "in.ndjson").write_text("".join(json.dumps(each) + "\n" for each in lines))
    assert run_swath("load", tmp_path / "c", tmp_path / "in.ndjson").returncode == 0
    done = command("settings", tmp_path / "c", "a", "cache_control=public, max-age=60")
    assert done.returncode == 0, done.stderr
    with serving(tmp_path / "c") as server:
        for at in ("/collections/a", "/collections/a/items/i"):
            assert server.get(at).headers["cache-control"] == "public, max-age=60"
            other = server.get(at.replace("/a", "/b")).headers["cache-control"]
            assert other != "public, max-age=60"


# -- writing -------------------------------------------------------------------------------------


WRITES: list[tuple[str, Callable[[str], Any]]] = [
    ("PUT", lambda path: document(path, "mine")),
    ("PATCH", lambda path: {"properties": {"v": 1}} if "/items/" in path else {"title": "mine"}),
    ("DELETE", lambda _: None),
]


def cascading(path: str, method: str) -> str:
    return path if method != "DELETE" or "/items/" in path else f"{path}?cascade=true"


@pytest.mark.parametrize(("method", "body"), WRITES, ids=[method for method, _ in WRITES])
def test_what_does_not_hold_is_412_and_nothing_is_done(
    editor: Editor, path: str, method: str, body: Callable[[str], Any]
) -> None:
    """RFC 9110, 13.1.1, 13.1.2 and 13.1.4."""
    etag = editor.ask("GET", path).headers["etag"]
    weak, long_ago = ("If-Match", f"W/{etag}"), ("If-Unmodified-Since", formatdate(0, usegmt=True))
    for header in (("If-Match", '"other"'), weak, ("If-None-Match", "*"), ("If-None-Match", etag), long_ago):
        refused = editor.ask(method, cascading(path, method), body(path), header)
        assert (refused.status, refused.json()["code"]) == (412, "PreconditionFailed"), header
        assert editor.ask("GET", path).headers["etag"] == etag


@pytest.mark.parametrize("header", ["If-Match", "If-None-Match", "If-Unmodified-Since"])
@pytest.mark.parametrize(("method", "body"), WRITES, ids=[method for method, _ in WRITES])
def test_what_holds_is_done(editor: Editor, path: str, method: str, body: Callable[[str], Any], header: str) -> None:
    found = editor.ask("GET", path).headers
    values = {
        "If-Match": (f'"other", {found["etag"]}', "*"),
        "If-None-Match": ('"other"',),
        "If-Unmodified-Since": (found["last-modified"],),
    }[header]
    for value in values[:1] if method == "DELETE" else values:
        done = editor.ask(method, cascading(path, method), body(path), (header, value))
        assert done.status == (204 if method == "DELETE" else 200), (value, done.body)


def test_put_creates_where_nothing_must_be(editor: Editor) -> None:
    """`If-None-Match: *`: 201 and a Location where there is nothing, 412 where there is something."""
    name = editor.collection()
    at, only_new = f"/collections/{name}/items/a", ("If-None-Match", "*")
    made = editor.ask("PUT", at, make_item("a", name), only_new)
    assert (made.status, made.headers["location"]) == (201, editor.url + at)
    assert editor.ask("PUT", at, make_item("a", name, v=2), only_new).status == 412
    other = f"new-{next(editor.numbers)}"
    made = editor.ask("PUT", f"/collections/{other}", make_collection(other), only_new)
    assert (made.status, made.headers["location"]) == (201, f"{editor.url}/collections/{other}")


def test_a_condition_that_does_not_hold_comes_before_a_patch_that_cannot_be_made(editor: Editor, path: str) -> None:
    """RFC 9110, 13.2.1."""
    steps = [{"op": "test", "path": "/id", "value": "another"}]
    refused = editor.ask("PATCH", path, steps, ("If-Match", '"other"'), media_type="application/json-patch+json")
    assert refused.status == 412
    assert editor.ask("PATCH", path, steps, media_type="application/json-patch+json").status in (400, 409)


# -- done once -----------------------------------------------------------------------------------


MERGE = "application/merge-patch+json"
LINES = "application/x-ndjson"
SCHEMA = {"$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
          "properties": {"v": {"type": "integer"}}}  # fmt: skip
# What is asked one after the other: operation, method, path, body, media type. The paths may hold what was told before.
STORY: list[tuple[str, str, str, Any, str]] = [
    ("createCollection", "POST", "/collections", make_collection("c"), "application/json"),
    ("createCollection", "POST", "/collections", {"collections": [make_collection("d"), make_collection("e")]},
     "application/json"),
    ("createItems", "POST", "/collections/c/items", make_item("a"), "application/json"),
    ("createItems", "POST", "/collections/c/items", make_item("a"), "application/json"),  # which is refused
    ("createItems", "POST", "/collections/c/items",
     {"type": "FeatureCollection", "features": [make_item("b"), make_item("d")]}, "application/json"),
    ("putItem", "PUT", "/collections/c/items/a", make_item("a", v=2), "application/json"),
    ("putItem", "PUT", "/collections/c/items/a", make_item("x"), "application/json"),
    ("patchItem", "PATCH", "/collections/c/items/a", {"properties": {"v": 3}}, MERGE),
    ("deleteItem", "DELETE", "/collections/c/items/a", None, ""),
    ("restoreItem", "POST", "/collections/c/items/a/restore", None, ""),
    ("restoreItemVersion", "POST", "/collections/c/items/a/versions/{item}/restore", None, ""),
    ("putCollectionQueryables", "PUT", "/collections/c/queryables", SCHEMA, "application/schema+json"),
    ("deleteCollectionQueryables", "DELETE", "/collections/c/queryables", None, ""),
    ("bulk", "POST", "/collections/c/bulk?mode=upsert", make_item("f"), LINES),
    ("bulk", "POST", "/collections/c/bulk?mode=upsert&atomic=true", make_item("g"), LINES),
    ("bulkItems", "POST", "/collections/c/bulk_items", {"items": {"h": make_item("h")}}, "application/json"),
    ("putCollection", "PUT", "/collections/c", make_collection("c", title="second"), "application/json"),
    ("patchCollection", "PATCH", "/collections/c", {"title": "third"}, MERGE),
    ("restoreCollectionVersion", "POST", "/collections/c/versions/{collection}/restore", None, ""),
    ("deleteCollection", "DELETE", "/collections/c?cascade=true", None, ""),
    ("restoreCollection", "POST", "/collections/c/restore", None, ""),
    ("createWebhook", "POST", "/webhooks", {"url": "http://127.0.0.1:9/", "collections": ["none"]}, "application/json"),
    ("deleteWebhook", "DELETE", "/webhooks/{webhook}", None, ""),
    ("redeliver", "POST", "/webhooks/{webhook}/deliveries/1/redeliver", None, ""),
    ("dismissJob", "DELETE", "/jobs/{job}", None, ""),
    ("deleteCollection", "DELETE", "/collections/c?cascade=true", None, ""),
]  # fmt: skip


def sent(server: Server, story: tuple[str, str, str, Any, str], used: str, known: dict[str, str]) -> Answer:
    _, method, path, body, media_type = story
    content = json.dumps(body).encode() if body is not None else None
    headers = {"Idempotency-Key": used} | ({"Content-Type": media_type} if body is not None else {})
    return server.request(method, path.format(**known), content, headers)


def told_by(answer: Answer) -> tuple[Any, ...]:
    """Status, place, and what is said: less what is told of the items that a collection has now."""
    body: Any = answer.body
    if answer.headers.get("content-type") == "application/schema+json":
        body = answer.json()["properties"].get("v", {}).get("type")
    if answer.headers.get("content-type") == "application/json":
        body = answer.json()
        for each in [body, *body.get("collections", [])]:
            for name in ("swath:items", "summaries", "extent") if isinstance(each, dict) else ():
                each.pop(name, None)
    return answer.status, answer.headers.get("location"), answer.headers.get("etag", "")[:17], body


def elsewhere(told: tuple[Any, ...]) -> str:
    """It, less the port of the server."""
    return re.sub(r"127\.0\.0\.1:\d+", "HERE", json.dumps(told, default=str))


def test_every_unsafe_request_is_done_once(tmp_path: Path) -> None:
    """The same key and request get the first answer, right behind it, at the end of all, and after a restart."""
    (tmp_path / "e.ndjson").write_text(json.dumps(make_collection("first")))
    assert run_swath("load", tmp_path / "catalog", tmp_path / "e.ndjson").returncode == 0
    unsafe = {route.operation for route in ROUTES if route.writes and route.method != "GET"}
    assert {each[0] for each in STORY} == unsafe, "each operation that changes something is in the story"
    known: dict[str, str] = {}
    done: list[tuple[Any, str, tuple[Any, ...]]] = []
    with serving(tmp_path / "catalog") as server:
        known["job"] = a_job(server)
        for each in STORY:
            used = key()
            first = sent(server, each, used, known)
            assert first.status < 500, (each[0], first.body)
            again = sent(server, each, used, known)
            assert told_by(again) == told_by(first), each[0]
            done.append((each, used, told_by(first)))
            remember(each[0], first, known)
        changes = server.get("/changes?limit=1000").body
        for each, used, told in done:
            assert told_by(sent(server, each, used, known)) == told, each[0]
    with serving(tmp_path / "catalog") as server:
        for each, used, told in done:
            found = told_by(sent(server, each, used, known))
            assert elsewhere(found) == elsewhere(told), each[0]
            other = server.request("PATCH", "/collections/first", b'{"title":"x"}',
                                   {"Idempotency-Key": used, "Content-Type": MERGE})  # fmt: skip
            assert other.status == 422, each[0]
        assert len(server.get("/changes?limit=1000").json()["changes"]) == len(json.loads(changes)["changes"])


def a_job(server: Server, **headers: str) -> str:
    """One that has ended."""
    named = {"Content-Type": LINES, "Prefer": "respond-async"} | {k.replace("_", "-"): v for k, v in headers.items()}
    lines = json.dumps(make_item("x", "first")).encode()
    made: str = server.request("POST", "/collections/first/bulk?mode=upsert", lines, named).json()["jobID"]
    while server.get(f"/jobs/{made}").json()["status"] in ("accepted", "running"):
        time.sleep(0.05)
    return made


def test_a_bulk_write_of_which_the_job_was_dismissed_is_not_done_again(tmp_path: Path) -> None:
    """What became of it cannot be told any more: then that is said."""
    (tmp_path / "e.ndjson").write_text(json.dumps(make_collection("first")))
    assert run_swath("load", tmp_path / "catalog", tmp_path / "e.ndjson").returncode == 0
    with serving(tmp_path / "catalog") as server:
        job = a_job(server, Idempotency_Key="k")
        assert server.request("DELETE", f"/jobs/{job}").status == 200
        assert server.request("DELETE", "/collections/first/items/x").status == 204
        lines = json.dumps(make_item("x", "first")).encode()
        named = {"Content-Type": LINES, "Prefer": "respond-async", "Idempotency-Key": "k"}
        again = server.request("POST", "/collections/first/bulk?mode=upsert", lines, named)
        assert (again.status, "dismissed" in again.json()["detail"]) == (404, True)
        assert server.get("/jobs").json()["jobs"] == []
        assert server.get("/collections/first/items/x").status == 404


def remember(operation: str, answer: Answer, known: dict[str, str]) -> None:
    """What later paths are made of."""
    if operation == "createItems" and "etag" in answer.headers and "item" not in known:
        known["item"] = answer.headers["etag"][1:17]
    if operation == "createCollection" and "etag" in answer.headers and "collection" not in known:
        known["collection"] = answer.headers["etag"][1:17]
    if operation == "createWebhook":
        known["webhook"] = answer.json()["id"]


@pytest.mark.parametrize("given", ["", " ", "x" * 300, "é", '""'])
def test_a_key_that_is_none_is_refused(editor: Editor, given: str) -> None:
    name = editor.collection()
    done = editor.ask("POST", f"/collections/{name}/items", make_item("a", name), ("Idempotency-Key", given))
    assert done.status == 400
    assert editor.ask("GET", f"/collections/{name}/items/a").status == 404


def test_a_refusal_is_told_again_though_the_request_would_be_done_now(editor: Editor) -> None:
    """The first answer is the answer; who wants another sends another key."""
    name, used = editor.collection(), key()
    at, asked = f"/collections/{name}/items/a", make_item("a", name)
    assert editor.ask("PUT", at, asked, ("Idempotency-Key", used)).status == 404
    assert editor.ask("POST", f"/collections/{name}/items", asked).status == 201
    assert editor.ask("PUT", at, asked, ("Idempotency-Key", used)).status == 404
    assert editor.ask("PUT", at, asked, ("Idempotency-Key", key())).status == 200

"""Many items in one request: what became of each is told, by its line."""

from __future__ import annotations

import http.client
import json
import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Answer, Server, long, make_collection, make_item, run_swath, serving

LINES = {"Content-Type": "application/x-ndjson"}


def upload(server: Server, body: bytes, query: str = "", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return server.request("POST", f"/collections/c/bulk{query}", body, {**LINES, **named})


def streamed(server: Server, file: Path, query: str) -> Answer:
    """A file as it stands there, for as long as it takes."""
    connection = http.client.HTTPConnection(server.url.removeprefix("http://"), timeout=7_200)
    with file.open("rb") as body:
        headers = {**LINES, "Content-Length": str(file.stat().st_size)}
        connection.request("POST", f"/collections/c/bulk{query}", body, headers)
        answer = connection.getresponse()
        found = Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
    connection.close()
    return found


def left_over(folder: Path) -> list[str]:
    return [file.name for file in (folder / "work").iterdir() if "upload" in file.name]


def lines(*items: dict[str, Any] | str) -> bytes:
    return "\n".join(each if isinstance(each, str) else json.dumps(each) for each in items).encode()


@pytest.fixture
def server(tmp_path: Path) -> Any:
    (tmp_path / "c.json").write_text(json.dumps(make_collection("c")))
    assert run_swath("load", tmp_path / "catalog", tmp_path / "c.json").returncode == 0
    with serving(tmp_path / "catalog") as made:
        yield made
    assert left_over(tmp_path / "catalog") == []
    assert run_swath("check", tmp_path / "catalog").returncode == 0


def sums(answer: Answer) -> dict[str, int]:
    told = answer.json()
    return {name: told[name] for name in ("created", "updated", "unchanged", "ignored", "refused") if told[name]}


MIXED = lines(make_item("a"), '{"bad', make_item("b"), make_item("x", "other"), {"type": "Feature"}, make_item("a"))


def test_good_lines_are_kept_and_bad_ones_are_told_by_line_reason_and_pointer(server: Server) -> None:
    answer = upload(server, MIXED)
    assert answer.status == 207
    assert sums(answer) == {"created": 2, "refused": 4}
    told = [(each["line"], each["id"], each["outcome"], each.get("pointer")) for each in answer.json()["items"]]
    assert told == [
        (1, "a", "created", None),
        (2, None, "refused", None),
        (3, "b", "created", None),
        (4, "x", "refused", "/collection"),
        (5, None, "refused", "/id"),
        (6, "a", "refused", "/id"),
    ]
    assert server.get("/collections/c/items").json()["numberMatched"] == 2
    refused = upload(server, MIXED, "?mode=upsert&report=refused").json()
    assert [each["line"] for each in refused["items"]] == [2, 4, 5]


def test_broken_lines_at_the_beginning_are_lines_too(server: Server) -> None:
    answer = upload(server, lines('{"bad', "{also bad", make_item("a")))
    assert [(each["line"], each["outcome"]) for each in answer.json()["items"]] == [
        (1, "refused"), (2, "refused"), (3, "created"),
    ]  # fmt: skip


def test_modes(server: Server) -> None:
    assert sums(upload(server, lines(make_item("a", v=1)))) == {"created": 1}
    assert sums(upload(server, lines(make_item("a", v=1)), "?mode=upsert")) == {"unchanged": 1}
    assert sums(upload(server, lines(make_item("a", v=2)), "?mode=ignore")) == {"ignored": 1}
    assert sums(upload(server, lines(make_item("a", v=2)), "?mode=upsert")) == {"updated": 1}
    assert upload(server, b"", "?mode=merge").status == 400
    assert upload(server, lines(make_item("z")), "?mood=upsert").status == 400
    assert server.request("POST", "/collections/nope/bulk", b"", LINES).status == 404


def test_all_or_nothing_and_a_dry_run_write_nothing(server: Server) -> None:
    dry = upload(server, MIXED, "?dry_run=true")
    assert (dry.status, sums(dry)) == (207, {"created": 2, "refused": 4})
    whole = upload(server, MIXED, "?atomic=true")
    assert (whole.status, sums(whole)) == (409, {"refused": 3})
    assert {each["outcome"] for each in whole.json()["items"]} == {"refused", "not done"}
    assert server.get("/collections/c/items").json()["numberMatched"] == 0
    assert sums(upload(server, lines(make_item("a"), make_item("b")), "?atomic=true")) == {"created": 2}


def test_an_item_collection_and_the_body_of_stac_fastapi(server: Server) -> None:
    features = json.dumps(
        {"type": "FeatureCollection", "features": [make_item("a"), make_item("b")]}, indent=1
    ).encode()
    assert sums(server.request("POST", "/collections/c/bulk", features, {"Content-Type": "application/json"})) == {
        "created": 2
    }
    body = {"items": {"a": make_item("a", v=2), "z": make_item("z")}, "method": "upsert"}
    assert sums(server.post("/collections/c/bulk_items", body)) == {"created": 1, "updated": 1}
    assert server.post("/collections/c/bulk_items", {"items": {"q": make_item("z")}}).status == 400


def test_what_one_item_is_refused_for_many_are_refused_for(server: Server) -> None:
    """The structural rules hold at every door; a collection that does not want them says so."""
    good = make_item("good")
    apart = make_item("apart") | {"bbox": [50, 50, 51, 51]}
    dated = make_item("dated", datetime="2020-01-31")
    single = [server.post("/collections/c/items", each) for each in (apart, dated)]
    assert [answer.status for answer in single] == [400, 400]
    report = upload(server, lines(good, apart, dated))
    assert (report.status, sums(report)) == (207, {"created": 1, "refused": 2})
    told = report.json()["items"]
    assert [(each["id"], each.get("pointer")) for each in told] == [
        ("good", None), ("apart", "/bbox"), ("dated", "/properties/datetime"),
    ]  # fmt: skip
    for answer, each in zip(single, told[1:], strict=True):
        assert answer.json()["detail"] == f"{each['reason']} (at {each['pointer']})"
    mended = upload(server, lines(apart), query="?fix=true")
    assert (mended.status, sums(mended)) == (200, {"created": 1})


def test_the_same_key_is_done_once(server: Server) -> None:
    first = upload(server, lines(make_item("a")), Idempotency_Key="k")
    assert upload(server, lines(make_item("a")), Idempotency_Key="k").body == first.body
    assert upload(server, lines(make_item("b")), Idempotency_Key="k").status == 422
    assert server.get("/collections/c/items").json()["numberMatched"] == 1


def test_a_condition_is_not_passed_over(server: Server) -> None:
    for name, value in (("If_Match", '"x"'), ("If_None_Match", "*")):
        assert upload(server, lines(make_item("a")), **{name: value}).status == 400
    assert server.get("/collections/c/items").json()["numberMatched"] == 0


def ended(server: Server, place: str) -> dict[str, Any]:
    until = time.monotonic() + 120
    while time.monotonic() < until:
        told: dict[str, Any] = server.get(place).json()
        if told["status"] in ("successful", "failed", "dismissed"):
            return told
        time.sleep(0.1)
    raise AssertionError(told)


def test_a_job_that_is_stopped_tells_what_was_done_by_then(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(make_collection("c")))
    assert run_swath("load", tmp_path / "catalog", tmp_path / "c.json").returncode == 0
    body = lines(*(make_item(f"{number:06d}") for number in range(60_000)))
    with serving(tmp_path / "catalog") as server:
        place = upload(server, body, Prefer="respond-async").headers["location"].removeprefix(server.url)
        while not server.get(place).json()["counts"].get("line"):
            time.sleep(0.02)
        assert server.request("DELETE", place).status == 200
        assert ended(server, place)["status"] == "dismissed"
        told = server.get(f"{place}/results").json()
        there = server.get("/search?limit=1").json()["numberMatched"]
        assert 0 < there < 60_000
        assert told["created"] == there
        assert [each["outcome"] for each in told["items"]].count("created") == there


def test_a_job_goes_on_after_a_kill_behind_what_was_committed(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(make_collection("c")))
    assert run_swath("load", tmp_path / "catalog", tmp_path / "c.json").returncode == 0
    count = long(12_000, 300_000)
    body = lines(*(make_item(f"{n:06d}", v=n) for n in range(count)))
    with serving(tmp_path / "catalog") as server:
        accepted = upload(server, body, Prefer="respond-async")
        assert accepted.status == 202
        place = accepted.headers["location"].removeprefix(server.url)
        while not server.get(place).json()["counts"].get("line"):
            time.sleep(0.02)
        os.kill(server.process.pid, signal.SIGKILL)
        server.process.wait()
    with serving(tmp_path / "catalog") as server:
        told = ended(server, place)
        assert (told["status"], told["counts"]["created"]) == ("successful", count)
        items = server.get(f"{place}/results").json()["items"]
        assert [each["line"] for each in items] == list(range(1, count + 1)), "one line for each, none twice"
        assert {each["outcome"] for each in items} == {"created"}
        versions = server.get("/collections/c/items/000000/versions").json()["versions"]
        assert len(versions) == 1
        assert server.request("DELETE", place).status == 200
        assert server.get(place).status == 404
    assert run_swath("check", tmp_path / "catalog").returncode == 0


def peak(pid: int) -> int:
    """The most memory that a process has had, in bytes."""
    words = Path(f"/proc/{pid}/status").read_text()
    return int(words.split("VmHWM:")[1].split()[0]) * 1024


def test_a_large_upload_keeps_memory_flat_and_one_bad_line_is_told(tmp_path: Path) -> None:
    (tmp_path / "c.json").write_text(json.dumps(make_collection("c")))
    assert run_swath("load", tmp_path / "catalog", tmp_path / "c.json").returncode == 0
    count = long(20_000, 1_000_000)  # items of about 1 KB
    bad = count * 2 // 3
    file = tmp_path / "items.ndjson"
    with file.open("w") as out:
        for number in range(count):
            whole = json.dumps(make_item(f"{number:07d}", v=number, filler=f"{number:x}" * (700 // len(f"{number:x}"))))
            out.write(("{" if number + 1 == bad else whole) + "\n")
    with serving(tmp_path / "catalog") as server:
        upload(server, lines(*(make_item(f"first-{n}") for n in range(3_000))))
        before = peak(server.process.pid)
        answer = streamed(server, file, "?report=refused")
        assert answer.status == 207
        assert sums(answer) == {"created": count - 1, "refused": 1}
        assert [each["line"] for each in answer.json()["items"]] == [bad]
        grown = peak(server.process.pid) - before
        print(f"{file.stat().st_size / 1e6:,.0f} MB uploaded: memory grew by {grown / 1e6:.0f} MB")
        assert grown < 50_000_000 + long(40_000_000, 0), "beside it, the tail of the index grows until it is folded"

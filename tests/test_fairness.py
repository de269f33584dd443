"""One heavy caller waits for itself, not the others for it."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

import swath
from swath.errors import Unavailable
from swath.http.fairness import FairPool
from swath.http.kept import Keepable, KeptAnswers
from tests.conftest import SWATH, make_item, serving


def test_a_single_search_overtakes_the_queue_of_another_caller() -> None:
    async def run() -> list[str]:
        pool, order = FairPool(2, 100), []

        def work(name: str) -> None:
            time.sleep(0.02)
            order.append(name)

        heavy = [asyncio.ensure_future(pool.run("heavy", lambda: work("heavy"))) for _ in range(30)]
        await asyncio.sleep(0.05)
        light = [asyncio.ensure_future(pool.run(f"light {n}", lambda: work("light"))) for n in range(3)]
        await asyncio.gather(*heavy, *light)
        pool.close()
        return order

    order = asyncio.run(run())
    assert len(order) == 33
    assert max(place for place, name in enumerate(order) if name == "light") < 15


def test_too_many_waiting_searches_are_told_so() -> None:
    async def run() -> None:
        pool = FairPool(2, 6)
        first = [asyncio.ensure_future(pool.run("a", lambda: time.sleep(0.2))) for _ in range(4)]
        await asyncio.sleep(0)  # one of them runs, three wait
        with pytest.raises(Unavailable, match="you have too many"):
            await pool.run("a", lambda: None)
        others = [asyncio.ensure_future(pool.run(f"b{n}", lambda: time.sleep(0.2))) for n in range(4)]
        await asyncio.sleep(0)
        with pytest.raises(Unavailable, match="busy"):
            await pool.run("c", lambda: None)
        await asyncio.gather(*first, *others)
        with pytest.raises(ZeroDivisionError):  # what goes wrong in a thread comes out
            await pool.run("c", lambda: 1 / 0)
        pool.close()

    asyncio.run(run())


def test_a_search_too_long_for_the_event_loop_is_answered_all_the_same(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item(f"{n:05d}", text=f"{n}é" * 20) for n in range(6_000)])
    slow = "/search?count=exact&limit=1&filter=" + "+OR+".join(f"upper(text)+LIKE+'%25{n}X%25'" for n in range(40))
    with serving(tmp_path / "c") as server:
        for _ in range(3):  # the first one learns that it is slow
            answer = server.get(slow)
            assert (answer.status, answer.json()["numberMatched"]) == (200, 0)
            assert server.get("/search?limit=1").json()["numberMatched"] == 6_000


# -- what a review found ---------------------------------------------------------------------------------


def test_no_answer_is_older_than_what_was_committed(tmp_path: Path) -> None:
    """Item and search are right after every write of another process, however often they were asked before."""
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item(f"{n:03d}", v=n) for n in range(50)])
        with serving(tmp_path / "c") as server:
            for number in range(40):
                session.write([make_item("007", v=1_000 + number)])
                if number % 3:
                    assert server.get("/collections/c/items/007").json()["properties"]["v"] == 1_000 + number
                found = server.get("/search?ids=007&count=none").json()["features"]
                assert [item["properties"]["v"] for item in found] == [1_000 + number]
                assert server.get("/search?ids=007&count=none").json()["features"] == found
            session.remove("c", "007")
            assert server.get("/collections/c/items/007").status == 404
            assert server.get("/search?ids=007&count=none").json()["features"] == []


def test_an_answer_made_before_a_write_is_not_given_after_it() -> None:
    kept, answer = KeptAnswers(1_000_000), Keepable(b"old")
    assert kept.get("question", (1, 0)) is None
    assert kept.get("another", (2, 0)) is None  # somebody wrote, and somebody else asked
    kept.put("question", (1, 0), answer)
    assert kept.get("question", (2, 0)) is None
    kept.put("question", (2, 0), answer)
    again = kept.get("question", (2, 0))
    assert again is not None
    assert again.body == b"old"
    for number in range(2_000):
        kept.put(number, (2, 0), Keepable(b"x" * 100))
    assert kept.get(0, (2, 0)) is None  # the room is bounded
    assert kept.get(1_999, (2, 0)) is not None


def test_searches_that_nobody_waits_for_stop(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item(f"{n:05d}", text=f"{n}é" * 30) for n in range(20_000)])
    slow = "+OR+".join(f"upper(text)+LIKE+'%25{n}X_X%25'" for n in range(400))
    with serving(tmp_path / "c") as server:
        host, port = urlsplit(server.url).netloc.split(":")
        for number in range(8):
            with socket.create_connection((host, int(port))) as connection:
                target = f"/search?count=exact&limit={number + 1}&filter={slow}"
                connection.sendall(f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
                time.sleep(0.1)
        began = time.monotonic()
        answer = server.get(
            "/search?count=exact&filter=" + "+OR+".join(f"upper(text)+LIKE+'%25{n}Y%25'" for n in range(2))
        )
        assert answer.status == 200
        assert time.monotonic() - began < 15


def test_code_in_the_current_folder_is_not_run(tmp_path: Path) -> None:
    (tmp_path / "queue.py").write_text("raise SystemExit('hijacked')\n")
    (tmp_path / "signal.py").write_text("raise SystemExit('hijacked')\n")
    with (tmp_path / "items.ndjson").open("w") as out:
        for number in range(2_000):
            out.write(json.dumps(make_item(f"{number:05d}", filler="x" * 3_000)) + "\n")
    (tmp_path / "\udcff.ndjson").symlink_to(tmp_path / "items.ndjson")  # a name that is not UTF-8
    command = [SWATH, "load", "c", "\udcff.ndjson"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, errors="replace", timeout=120)
    assert done.returncode == 0, done.stderr
    assert "hijacked" not in done.stderr

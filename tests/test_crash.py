"""A loader that is killed at any moment leaves a whole catalogue: all that it named as committed is there."""

from __future__ import annotations

import json
import os
import random
import re
import signal
import subprocess
import time
from collections import Counter
from pathlib import Path

import apsw

from tests.conftest import SWATH, long, make_item, run_swath

ITEMS = 6_000


def write_source(path: Path) -> None:
    """Items of 1 to 8 KB, so that transactions differ in size."""
    draw = random.Random(7)
    with path.open("w") as out:
        for number in range(ITEMS):
            out.write(
                json.dumps(make_item(f"{number:05d}", filler=draw.randbytes(draw.randrange(400, 4_000)).hex())) + "\n"
            )


def kill_a_load(source: Path, folder: Path, after: float) -> tuple[int, bool]:
    """Load, kill after so many seconds; the last line that was named as committed, and whether it was still running."""
    process = subprocess.Popen([SWATH, "load", str(folder), str(source)], stderr=subprocess.PIPE, text=True,
                               start_new_session=True)  # fmt: skip
    time.sleep(after)
    running = process.poll() is None
    if running:
        os.kill(process.pid, signal.SIGKILL)
    _, words = process.communicate()
    named = [int(line) for line in re.findall(r"committed .*?:(\d+) \(", words)]
    return (named[-1] if named else 0), running


def test_a_killed_load_keeps_every_line_that_it_named(tmp_path: Path) -> None:
    source = tmp_path / "items.ndjson"
    write_source(source)
    started = time.monotonic()
    assert run_swath("load", tmp_path / "whole", source).returncode == 0
    whole = time.monotonic() - started
    draw = random.Random(20)
    runs, killed, where = long(6, 200), 0, Counter[str]()
    number = 0
    while killed < runs:  # one that was over before its time is tried again, with less of it
        assert number < 5 * runs
        number += 1
        folder = tmp_path / f"c{number}"
        last, running = kill_a_load(source, folder, draw.uniform(0.1, 1.0) * whole)
        killed += running
        whole *= 1.0 if running else 0.8
        if not (folder / "catalog.db").exists():
            assert last == 0
            where["before the database"] += 1
            continue
        done = run_swath("check", folder, "--json")
        assert done.returncode == 0, done.stdout
        ids = ids_in(folder)
        assert {f"{n:05d}" for n in range(last)} <= ids
        where[f"{10 * len(ids) // ITEMS}0 %"] += 1
        # In input order: what is there is a beginning of the input.
        assert ids == {f"{n:05d}" for n in range(len(ids))}
        # And the load can simply be run again.
        if number == 1:
            assert run_swath("load", folder, source).returncode == 0
            assert len(ids_in(folder)) == ITEMS
    print(f"{number} loads, {killed} killed while running; what was committed, in tenths of the input: {dict(where)}")


def ids_in(folder: Path) -> set[str]:
    lines = run_swath("export", folder, "-o", "-").stdout.splitlines()
    return {json.loads(line)["id"] for line in lines if '"Feature"' in line}


def test_check_finds_a_changed_byte_in_a_document(tmp_path: Path) -> None:
    source = tmp_path / "items.ndjson"
    with source.open("w") as out:
        for number in range(200):
            out.write(json.dumps(make_item(f"{number:05d}", filler=f"filler {number}")) + "\n")
    assert run_swath("load", tmp_path / "c", source).returncode == 0
    assert run_swath("check", tmp_path / "c").returncode == 0
    database = tmp_path / "c" / "catalog.db"
    sound = database.read_bytes()
    draw, found, tried = random.Random(3), 0, long(25, 2_000)
    with apsw.Connection(str(database), flags=apsw.SQLITE_OPEN_READONLY) as connection:
        documents = [bytes(row[0]) for row in connection.execute("SELECT data FROM body")]
    # A document that stands twice has left a stale copy in the free part of a page: nothing reads that one.
    places = [(sound.index(document), len(document)) for document in documents if sound.count(document) == 1]
    assert len(places) > 100
    for _ in range(tried):
        start, size = draw.choice(places)
        place = start + draw.randrange(size)
        damaged = bytearray(sound)
        damaged[place] ^= 1 << draw.randrange(8)
        database.write_bytes(bytes(damaged))
        done = run_swath("check", tmp_path / "c")
        found += done.returncode == 1
        assert done.returncode in (0, 1), done.stderr
        assert "Traceback" not in done.stderr
    database.write_bytes(sound)
    print(f"{found} of {tried} flipped bits found")
    assert found == tried

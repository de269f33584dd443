"""A byte that changes on the disk is found by `swath check`, whichever it is."""

from __future__ import annotations

import json
import random
from pathlib import Path

import apsw

from tests.conftest import long, make_item, run_swath


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

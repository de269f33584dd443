"""Many documents are made ready by several processes: in the same order, with the same words, as by one."""

from __future__ import annotations

import json
import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import swath
from swath.catalog import preparing
from swath.catalog.loading import LoadReport
from swath.errors import SwathError
from tests.conftest import make_item


def write_source(path: Path, count: int) -> None:
    """Items, some of them changed by a later line, and lines that are refused or warned about."""
    draw = random.Random(3)
    bow_tie = {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}
    with path.open("w") as out:
        for number in range(count):
            match draw.randrange(12):
                case 0:
                    out.write('{"type": "Feature", "id": \n')
                case 1:
                    out.write(json.dumps(make_item(f"{number:05d}", f"c{number % 3}", datetime="yesterday")) + "\n")
                case 2:
                    out.write(json.dumps(make_item(f"{number:05d}", "c1", geometry=bow_tie)) + "\n")
                case _:
                    item = make_item(
                        f"{draw.randrange(count):05d}", f"c{draw.randrange(3)}", v=number, filler="x" * 900
                    )
                    out.write(json.dumps(item) + "\n")


def loaded(source: Path, folder: Path) -> tuple[LoadReport, list[Any], bytes]:
    with swath.open(folder, create=True) as session:
        report = session.load(source)
        found = [(item["id"], item["collection"], item["properties"]) for item in session.search()]
        session.export(folder / "out.ndjson")
    return report, found, (folder / "out.ndjson").read_bytes()


def test_several_processes_do_what_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "items.ndjson"
    write_source(source, 4_000)
    monkeypatch.setattr(preparing, "_ALONE_BYTES", 10**12)
    one = loaded(source, tmp_path / "one")
    monkeypatch.setattr(preparing, "_ALONE_BYTES", 50_000)
    monkeypatch.setattr(preparing, "_CHUNK_DOCUMENTS", 37)
    monkeypatch.setattr(preparing, "_helpers", lambda: 3)
    several = loaded(source, tmp_path / "several")
    assert len(one[0].refused) > 400
    assert len(one[0].warnings) > 200
    assert one == several


def test_a_loader_says_so_when_a_helper_dies(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "items.ndjson"
    write_source(source, 20_000)
    monkeypatch.setattr(preparing, "_ALONE_BYTES", 50_000)
    monkeypatch.setattr(preparing, "_helpers", lambda: 2)
    started = preparing._Helper.__init__

    def doomed(self: preparing._Helper, *arguments: object) -> None:
        started(self, *arguments)  # type: ignore[arg-type]
        threading.Timer(0.8, self.process.kill).start()

    monkeypatch.setattr(preparing._Helper, "__init__", doomed)
    with swath.open(tmp_path / "c", create=True) as session:
        began = time.monotonic()
        with pytest.raises(SwathError, match="load again to go on"):
            session.load(source)
        assert time.monotonic() - began < 60
    monkeypatch.undo()
    with swath.open(tmp_path / "c") as session:  # what was committed is there, and loading again does the rest
        before = session.count()
        report = session.load(source)
        assert report.created + before == session.count()

"""Every hostile archive and raster of the shared generator, through the whole of the store: each ends as its index
says, with a reason, and nothing is read, written or reached that it should not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from swath.catalog import Catalog
from tests.conftest import SHARED, Server, run_swath, serving

MAKE = SHARED / "deliveries" / "hostile" / "make_hostile.py"
SECONDS, MEMORY, DISK = 10, 512_000_000, 600_000_000


def cases() -> list[dict[str, str]]:
    """What the generator makes, without making it: names are told by a run into a throw-away folder."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run([sys.executable, MAKE, f"{folder}/out"], check=True, capture_output=True)
        found: list[dict[str, str]] = json.loads(Path(f"{folder}/out/index.json").read_text())["cases"]
    return found


CASES = cases()


class Watched:
    """A served store beside a folder of hostile files, whose processes are looked at while they work."""

    def __init__(self, server: Server, root: Path) -> None:
        self.server, self.root = server, root
        self.canary = root / "outside" / "canary.txt"

    def memory(self) -> int:
        """The most that any process of the store has used since it began, in bytes."""
        return max((_peak(pid) for pid in _family(self.server.process.pid)), default=0)

    def used(self) -> int:
        work = self.root / "catalog" / "work"
        total = 0
        for place, _, names in os.walk(work):
            for name in names:
                with suppress(OSError):
                    total += (Path(place) / name).lstat().st_size
        return total


def _family(pid: int) -> set[int]:
    found = {pid}
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            with suppress(OSError, ValueError):
                if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == pid:
                    found |= _family(int(folder.name))
    return found


def _peak(pid: int) -> int:
    with suppress(OSError, ValueError, StopIteration):
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
        return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) * 1024
    return 0


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    root = tmp_path_factory.mktemp("hostile") / "made"
    subprocess.run([sys.executable, MAKE, root], check=True, capture_output=True)
    Catalog.open(root / "catalog", create=True).close()
    with serving(root / "catalog", {"SWATH_DELIVERY_WORKERS": "1"}) as server:
        yield Watched(server, root)


def _ended(watched: Watched, asset_id: str) -> tuple[dict[str, Any], float]:
    started = None
    for _ in range(1_200):
        found: dict[str, Any] = watched.server.get(f"/v2/assets/{asset_id}/metadata").json()
        assert watched.server.get("/health/live").status == 200
        assert watched.used() < DISK
        if found["geospatialMetadataExtractionStatus"] != "IN_PROGRESS":
            return found, found.get("durationSeconds", 0.0)
        started = started or time.monotonic()
        time.sleep(0.05)
    raise AssertionError(f"it never ended: {found}")


@pytest.mark.parametrize("case", [case for case in CASES if not case["file"].endswith("folder_with_symlink")],
                         ids=lambda case: case["file"].partition("/")[2])  # fmt: skip
def test_a_hostile_delivery_ends_as_it_should(watched: Watched, case: dict[str, str]) -> None:
    path = watched.root / case["file"]
    before, listing = watched.canary.read_bytes(), sorted(os.listdir(watched.root))
    answer = watched.server.request(
        "POST", f"/v2/assets?filename={path.name}&datetime=2020-01-01T00:00:00Z", path.read_bytes(),
        {"Content-Type": "application/octet-stream"},
    )  # fmt: skip
    if answer.status == 400:  # an empty file is refused at the door
        assert case["outcome"] == "refuse"
        assert "empty" in answer.json()["detail"]
        return
    assert answer.status == 201
    told, seconds = _ended(watched, answer.json()["id"])
    status, reason = told["geospatialMetadataExtractionStatus"], told.get("statusReason", "")
    expected = {"refuse": ("FAILED",), "accept": ("SUCCESSFUL",)}.get(case["outcome"], ("FAILED", "SUCCESSFUL"))
    assert status in expected, reason
    if status == "FAILED":
        assert reason
        assert "fault of Swath" not in reason
        assert "Traceback" not in reason
        assert str(watched.root / "catalog") not in reason, "a path of the machine is told"
    assert seconds <= SECONDS
    assert watched.memory() <= MEMORY
    assert watched.canary.read_bytes() == before
    assert sorted(os.listdir(watched.root)) == listing
    text = json.dumps(told) + json.dumps(watched.server.get(f"/v2/assets/{told['id']}/log").json())
    assert "CANARY" not in text
    assert watched.server.get(f"/v2/assets/{told['id']}").body == path.read_bytes()


def test_nothing_of_the_canary_came_in_by_any_file(watched: Watched) -> None:
    """Looked for in every byte that was made, packed or not."""
    originals = {
        (watched.root / case["file"]).read_bytes() for case in CASES if (watched.root / case["file"]).is_file()
    }
    for blob in (watched.root / "catalog" / "blobs").rglob("*"):
        if blob.is_file() and blob.read_bytes() not in originals:
            assert b"CANARY" not in blob.read_bytes(), blob.name
    for item in watched.server.get("/search?limit=100").json()["features"]:
        assert "CANARY" not in json.dumps(item)


def test_markup_in_a_title_stays_text(watched: Watched) -> None:
    for asset in watched.server.get("/v2/assets?search=dimap_script_title").json()["content"]:
        if asset["geospatialMetadataExtractionStatus"] == "SUCCESSFUL":
            answer = watched.server.get(f"/v2/assets/stac/collections/{asset['stacCollectionId']}")
            assert answer.headers["content-type"] == "application/json"


def test_a_folder_with_a_link_out_of_it_is_refused(tmp_path: Path) -> None:
    subprocess.run([sys.executable, MAKE, tmp_path / "made"], check=True, capture_output=True)
    done = run_swath("deliver", tmp_path / "catalog", tmp_path / "made" / "files" / "folder_with_symlink")
    assert done.returncode == 1
    assert "link" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_cases_are_those_of_the_generator() -> None:
    assert len(CASES) >= 59

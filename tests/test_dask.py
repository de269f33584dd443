"""Conversion on a Dask cluster that runs elsewhere: `swath work --dask`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import swath
from tests.conftest import SHARED, SWATH, run_swath

GENERIC = SHARED / "deliveries" / "generic"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[str]:
    """A scheduler and a worker, each a process of its own, as a user would have them on other machines."""
    told = tmp_path / "scheduler.json"
    env = {**os.environ, "DASK_DISTRIBUTED__DIAGNOSTICS__NVML": "False"}
    scheduler = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard",
         "--scheduler-file", told],
        stderr=subprocess.DEVNULL, env=env,
    )  # fmt: skip
    for _ in range(300):
        if told.exists() and told.read_text():
            break
        time.sleep(0.1)
    worker = subprocess.Popen(
        [sys.executable, "-m", "distributed.cli.dask_worker", "--scheduler-file", told, "--nthreads", "1",
         "--no-dashboard", "--local-directory", tmp_path / "dask", "--no-nanny"],
        stderr=subprocess.DEVNULL, env=env,
    )  # fmt: skip
    yield json.loads(told.read_text())["address"]
    for process in (worker, scheduler):
        process.terminate()
        process.wait(20)


def test_deliveries_are_converted_by_a_cluster(tmp_path: Path, cluster: str) -> None:
    folder = tmp_path / "catalog"
    taken = run_swath(
        "deliver", folder, GENERIC / "orthophoto_rgb.tif", GENERIC / "shapefiles.zip", "--no-wait", "--json"
    )
    assert taken.returncode == 0, taken.stderr
    told = [json.loads(line) for line in taken.stdout.splitlines()]
    assert {each["geospatialMetadataExtractionStatus"] for each in told} == {"IN_PROGRESS"}
    working = subprocess.Popen([SWATH, "work", folder, "--dask", cluster], stderr=subprocess.PIPE, text=True)
    try:
        with swath.open(folder) as session:
            files = session._catalog.ledger.files
            for _ in range(900):
                found = [files.delivery(each["id"]) for each in told]
                if all(each is not None and each.status != "IN_PROGRESS" for each in found):
                    break
                time.sleep(0.1)
            assert [(each.status, each.reason) for each in found if each is not None] == [("SUCCESSFUL", None)] * 2
            assert session.count() == 2
    finally:
        working.terminate()
        words = working.communicate(timeout=30)[1]
    assert cluster in words


def test_a_cluster_that_is_not_there_is_told_in_words(tmp_path: Path) -> None:
    swath.open(tmp_path / "catalog", create=True).close()
    done = run_swath("work", tmp_path / "catalog", "--dask", "tcp://127.0.0.1:9")
    assert done.returncode == 1
    assert "127.0.0.1:9" in done.stderr
    assert "Traceback" not in done.stderr

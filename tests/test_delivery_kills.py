"""Servers, workers and sandboxes are killed at random points of upload, conversion and publication: every delivery that
was acknowledged ends, with all that it promises or with a reason."""

from __future__ import annotations

import hashlib
import json
import os
import random
import signal
import threading
import time
from collections import Counter
from contextlib import suppress
from http.client import HTTPException
from pathlib import Path

from swath.access import EVERYTHING
from swath.assets import AssetStore
from swath.blobs import FolderBlobs
from swath.catalog import Catalog
from swath.cql2.ast import Equal, Property, Text
from swath.store.records import Choice
from tests.conftest import SHARED, Server, counted, long, run_swath, start_server

GENERIC = SHARED / "deliveries" / "generic"
SENT = ("orthophoto_rgb.tif", "shapefiles.zip", "rgba_alpha.tif", "survey.gpkg", "landcover_palette.tif")
BROKEN = b"no image"
BACKLOG = 12
_BROKEN_OFF = (OSError, HTTPException)  # by a kill, before the answer or within it


def descendants(pid: int) -> dict[int, str]:
    """Processes below one, with what tells them apart: found in /proc, since each is the head of its own session."""
    found: dict[int, str] = {}
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        with suppress(OSError, ValueError):
            parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            words = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode()
            if parent == pid:
                found[int(folder.name)] = words
    for child in list(found):
        found |= descendants(child)
    return found


def kind_of(words: str) -> str:
    return next((kind for kind in ("raster.child", "cli.working", "cli.folding") if kind in words), "server")


def step_of(work: Path) -> str:
    """What the worker says that it does, of a delivery that it is at."""
    for folder in sorted(work.glob("*.delivery")):
        with suppress(OSError, ValueError):
            return str(json.loads(folder.with_suffix(".progress").read_text()).get("step", ""))
    return ""


def waiting(server: Server) -> int:
    """How many deliveries are not done with."""
    found: int = server.get("/v2/assets?geospatialMetadataExtractionStatus=IN_PROGRESS").json()["totalElements"]
    return found


class Sender:
    """Uploads until it is told to end, and remembers what was acknowledged, with the hash of what it sent."""

    def __init__(self, chance: random.Random) -> None:
        self.chance, self.acknowledged, self.over = chance, dict[str, str](), threading.Event()
        self.lock = threading.Lock()

    def send(self, server: Server) -> None:
        while not self.over.is_set():
            try:
                busy = waiting(server) >= BACKLOG
            except (*_BROKEN_OFF, ValueError, KeyError):
                return
            if busy:  # or the last ones would be done hours after the last kill
                self.over.wait(0.2)
                continue
            name = self.chance.choice((*SENT, "broken.tif"))
            body = BROKEN if name == "broken.tif" else (GENERIC / name).read_bytes()
            try:
                answer = server.request("POST", f"/v2/assets?filename={name}&datetime=2020-01-01T00:00:00Z", body,
                                        {"Content-Type": "application/octet-stream"})  # fmt: skip
            except (*_BROKEN_OFF, ValueError):
                return
            if answer.status == 201:
                with self.lock:
                    self.acknowledged[answer.json()["id"]] = hashlib.sha256(body).hexdigest()
            time.sleep(self.chance.random() * 0.5)


def test_every_acknowledged_delivery_ends_whatever_is_killed(tmp_path: Path) -> None:
    kills, chance, places = long(6, 1_000), random.Random(6), Counter[str]()
    folder = tmp_path / "catalog"
    Catalog.open(folder, create=True).close()
    sender = Sender(chance)
    server, after_first = start_server(["serve", str(folder), "--port", "0"]), 0
    for _ in counted(kills, "kills"):
        sender.over.clear()
        thread = threading.Thread(target=sender.send, args=(server,), daemon=True)
        thread.start()
        time.sleep(0.1 + chance.random() * 3)
        targets = descendants(server.process.pid) | {server.process.pid: "server"}
        by_kind: dict[str, list[int]] = {}
        for pid, words in targets.items():
            # One that is not itself yet has its parent's words still: it is passed over.
            if (kind := kind_of(words)) != "server" or pid == server.process.pid:
                by_kind.setdefault(kind, []).append(pid)
        kind = chance.choice(sorted(by_kind))
        step = step_of(folder / "work")
        with suppress(ProcessLookupError):
            os.kill(chance.choice(by_kind[kind]), signal.SIGKILL)
        places[f"{kind} {step}".strip()] += 1
        after_first += bool(sender.acknowledged)
        if kind == "server":
            server.process.wait()
            sender.over.set()
            thread.join(30)
            server.stop()
            server = start_server(["serve", str(folder), "--port", "0"])
        else:
            sender.over.set()
            thread.join(30)
    deadline = time.monotonic() + long(300, 3_000)
    while time.monotonic() < deadline:
        if not waiting(server):
            break
        time.sleep(0.5)
    server.stop()
    print(f"\n{kills} kills, {after_first} after the first acknowledgement; {len(sender.acknowledged)} deliveries "
          f"acknowledged; where they fell: {dict(places.most_common())}")  # fmt: skip
    given_up = check_all(folder, sender.acknowledged)
    print(f"{given_up} deliveries were given up, since each of three tries to work on them was killed")
    assert given_up * 3 <= kills


def check_all(folder: Path, acknowledged: dict[str, str]) -> int:
    """How many deliveries were given up after as many tries as they have."""
    assert run_swath("check", folder).returncode == 0
    given_up = 0
    catalog = Catalog.open(folder)
    store = AssetStore(catalog, FolderBlobs(folder / "blobs"))
    try:
        for delivery_id, sha256 in acknowledged.items():
            delivery = store.delivery(delivery_id)
            original = store.asset(delivery_id)
            assert (
                hashlib.sha256(b"".join(store.vault.blobs.read(original.blob, 0, original.size))).hexdigest() == sha256
            )
            if sha256 == hashlib.sha256(BROKEN).hexdigest():
                assert delivery.status == "FAILED"
                assert delivery.reason
                continue
            if delivery.status == "FAILED" and (delivery.reason or "").startswith("given up after 3 tries: "):
                given_up += 1
                continue
            assert delivery.status == "SUCCESSFUL", (delivery.name, delivery.status, delivery.reason)
        every, _ = store.files.deliveries(Choice(), 10_000)
        for delivery in every:
            if delivery.status != "SUCCESSFUL":
                continue
            assert delivery.collection is not None
            record = catalog.ledger.collection(delivery.collection)
            assert record is not None, "a half collection"
            files = {asset.id for asset in store.files.assets_of(delivery.id)}
            held: set[str] = set()
            for item in catalog.walk(Equal(Property("collection"), Text(record.id)), EVERYTHING):
                for asset in json.loads(item.body)["assets"].values():
                    held.add(asset["href"].rpartition("/")[2])
            assert held
            assert held | {delivery.id} == files
        in_use = {asset.blob for delivery in every for asset in store.files.assets_of(delivery.id)}
        store.vault.ledger.files.mark_unused(0, 2**62)  # pins of those that died
        store.vault.collect(0)
        assert {blob.key for blob in store.vault.blobs.all()} == in_use
    finally:
        catalog.close()
    assert not list((folder / "work").glob("*.delivery")), "a worker left its folder behind"
    return given_up

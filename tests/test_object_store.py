"""The asset store on a real S3 server: moto's, a process on loopback, in an environment of its own."""

from __future__ import annotations

import hashlib
import random
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from obstore.store import S3Store

from swath.blobs import ObjectBlobs
from swath.catalog import Catalog
from tests.conftest import ROOT, SHARED, Server, run_swath, serving

MOTO = ("moto[s3]==5.2.5", "flask", "flask-cors")
TIFF = SHARED / "deliveries" / "generic" / "orthophoto_rgb.tif"


def moto_server() -> Path:
    """The program; its environment is made once."""
    folder = ROOT / ".venv" / "moto"
    done = folder / "done"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([folder / "bin" / "python", "-m", "pip", "install", "-q", "--disable-pip-version-check", *MOTO],
                       check=True)  # fmt: skip
        done.touch()
    return folder / "bin" / "moto_server"


@dataclass
class Bucket:
    """An S3 server with one bucket."""

    port: int
    process: subprocess.Popen[bytes]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def env(self) -> dict[str, str]:
        return {
            "SWATH_BLOBS": "s3://imagery/swath", "AWS_ENDPOINT_URL": self.url, "AWS_ALLOW_HTTP": "true",
            "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-central-1",
        }  # fmt: skip

    def objects(self) -> dict[str, int]:
        """What lies in the bucket, as S3 lists it: sizes by key."""
        with urllib.request.urlopen(f"{self.url}/imagery?list-type=2") as answer:
            root = ET.fromstring(answer.read())
        name = "{http://s3.amazonaws.com/doc/2006-03-01/}"
        return {
            str(each.findtext(f"{name}Key")): int(each.findtext(f"{name}Size") or -1)
            for each in root.iter(f"{name}Contents")
        }

    def delete(self, key: str) -> None:
        S3Store("imagery", endpoint=self.url, client_options={"allow_http": True}, access_key_id="key",
                secret_access_key="secret", region="eu-central-1").delete(key)  # fmt: skip


def started(port: int) -> subprocess.Popen[bytes]:
    process = subprocess.Popen([moto_server(), "-H", "127.0.0.1", "-p", str(port)], stdout=subprocess.DEVNULL,
                               stderr=subprocess.DEVNULL)  # fmt: skip
    for _ in range(300):
        with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/"):
            return process
        time.sleep(0.1)
    process.kill()
    raise AssertionError("the S3 server did not start")


@pytest.fixture
def bucket() -> Iterator[Bucket]:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    bucket = Bucket(port, started(port))
    urllib.request.urlopen(urllib.request.Request(f"{bucket.url}/imagery", method="PUT")).close()
    yield bucket
    bucket.process.kill()
    bucket.process.wait()


@pytest.fixture
def catalog(tmp_path: Path) -> Path:
    Catalog.open(tmp_path / "catalog", create=True).close()
    return tmp_path / "catalog"


def deliver(server: Server, body: bytes) -> dict[str, Any]:
    answer = server.request("POST", "/v2/assets?filename=port.tif&datetime=2020-01-01T00:00:00Z", body,
                            {"Content-Type": "image/tiff"})  # fmt: skip
    assert answer.status == 201, answer.body
    for _ in range(600):
        found: dict[str, Any] = server.get(f"/v2/assets/{answer.json()['id']}/metadata").json()
        if found["geospatialMetadataExtractionStatus"] not in ("NOT_PROCESSED", "IN_PROGRESS"):
            return found
        time.sleep(0.1)
    raise AssertionError(found)


class _Stay(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any) -> None:
        return None


def redirected(url: str, method: str = "GET") -> str:
    """Where an answer of 307 leads."""
    with pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.build_opener(_Stay).open(urllib.request.Request(url, method=method))
    caught.value.close()
    assert caught.value.code == 307
    assert caught.value.headers["Cache-Control"] == "no-store"
    return str(caught.value.headers["Location"])


def fetched(url: str, headers: dict[str, str] | None = None) -> tuple[int, bytes]:
    with urllib.request.urlopen(urllib.request.Request(url, headers=headers or {})) as answer:
        return answer.status, answer.read()


def test_a_delivery_lies_in_the_bucket_and_is_fetched_from_there(catalog: Path, bucket: Bucket) -> None:
    body = TIFF.read_bytes()
    with serving(catalog, bucket.env) as server:
        found = deliver(server, body)
        assert found["geospatialMetadataExtractionStatus"] == "SUCCESSFUL"
        # Content-addressed, under the prefix of the setting; and nothing in the folder.
        key = f"swath/{hashlib.sha256(body).hexdigest()}"
        assert bucket.objects()[key] == len(body)
        assert all(name.startswith("swath/") for name in bucket.objects())
        assert not (catalog / "blobs").exists()
        # The store's own signed link, which needs nothing of Swath, and takes ranges.
        place = redirected(f"{server.url}/v2/assets/{found['id']}")
        assert place.startswith(f"{bucket.url}/imagery/{key}?")
        assert "X-Amz-Signature=" in place
        assert fetched(place) == (200, body)
        assert fetched(place, {"Range": "bytes=4-7"}) == (206, body[4:8])
        # A link that Swath signed leads there, too.
        answer = server.request("POST", f"/v2/assets/{found['id']}/download-url")
        assert fetched(answer.json()["url"]) == (200, body)
        # Each file of the item, at either address.
        search = server.post("/v2/assets/stac/search", {"asset-href-mode": "store"}).json()
        asked = server.post("/v2/assets/stac/search", {}).json()
        (item,), (here,) = search["features"], asked["features"]
        for name, asset in item["assets"].items():
            prefix, _, inner = asset["href"].partition("s3://imagery/")
            assert prefix == ""
            status, content = fetched(here["assets"][name]["href"])
            assert (status, len(content)) == (200, bucket.objects()[inner])
            assert inner == f"swath/{hashlib.sha256(content).hexdigest()}"
        # The same bytes again: one object.
        before = bucket.objects()
        assert deliver(server, body)["geospatialMetadataExtractionStatus"] == "SUCCESSFUL"
        assert {name for name in bucket.objects() if name not in before} == set()
    whole = run_swath("check", catalog, env=bucket.env)
    assert whole.returncode == 0, whole.stderr
    assert f"{len(before)} files" in whole.stdout
    bucket.delete(key)
    lost = run_swath("check", catalog, env=bucket.env)
    assert lost.returncode == 1
    assert key.removeprefix("swath/") in lost.stderr


def test_while_the_object_store_is_away_uploads_are_told_to_wait_and_nothing_is_lost(
    catalog: Path, bucket: Bucket
) -> None:
    body = TIFF.read_bytes()
    with serving(catalog, bucket.env) as server:
        bucket.process.kill()
        bucket.process.wait()
        answer = server.request("POST", "/v2/assets?filename=port.tif&datetime=2020-01-01T00:00:00Z", body,
                                {"Content-Type": "image/tiff"})  # fmt: skip
        assert answer.status == 503, answer.body
        assert answer.headers["retry-after"]
        assert "object store" in answer.json()["description"]
        assert server.get("/v2/assets").json()["totalElements"] == 0
        assert server.get("/collections").status == 200
        bucket.process = started(bucket.port)
        urllib.request.urlopen(urllib.request.Request(f"{bucket.url}/imagery", method="PUT")).close()
        assert deliver(server, body)["geospatialMetadataExtractionStatus"] == "SUCCESSFUL"


def test_large_files_go_in_parts_and_equal_ones_are_put_once(
    tmp_path: Path, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in bucket.env.items():
        monkeypatch.setenv(name, value)
    blobs, content = ObjectBlobs("s3://imagery/large"), random.Random(6).randbytes(40_000_000)
    (tmp_path / "source").write_bytes(content)
    for _ in range(2):
        blobs.put("k", tmp_path / "source")
    assert bucket.objects() == {"large/k": 40_000_000}
    assert b"".join(blobs.read("k", 0, 40_000_000)) == content
    blobs.fetch("k", tmp_path / "target")
    assert (tmp_path / "target").read_bytes() == content
    # Nobody's bytes are ever replaced: who comes second has put the same.
    (tmp_path / "other").write_bytes(b"other")
    S3Store.from_url("s3://imagery/large").put("small", b"first")
    blobs.put("small", tmp_path / "other")
    assert b"".join(blobs.read("small", 0, 5)) == b"first"
    assert [(blob.key, blob.size) for blob in sorted(blobs.all(), key=lambda blob: blob.key)] == [
        ("k", 40_000_000), ("small", 5),
    ]  # fmt: skip
    blobs.delete("small")
    blobs.delete("small")
    assert blobs.size("small") is None


def test_a_wrong_address_is_told_before_anything_is_served(catalog: Path) -> None:
    done = run_swath("serve", catalog, "--port", "0", env={"SWATH_BLOBS": "s4://imagery"})
    assert done.returncode != 0
    (line,) = done.stderr.splitlines()
    assert "SWATH_BLOBS: 's4://imagery'" in line
    assert "give a folder, or s3://bucket/prefix" in line

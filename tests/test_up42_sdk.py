"""The unmodified UP42 SDK, with only its hosts' names changed, over TLS: a release with the storage module, and the
present one, each in an environment of its own."""

from __future__ import annotations

import hashlib
import json
import os
import ssl
import subprocess
import sys
import time
import urllib.parse
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import trustme

from swath.catalog import Catalog
from tests.conftest import ROOT, SHARED, SWATH
from tests.subscriber import subscriber

TIFF = SHARED / "deliveries" / "generic" / "orthophoto_rgb.tif"
WITH_STORAGE, PRESENT = "2.6.0", "4.3.0"


def environment(version: str) -> Path:
    """The interpreter of an environment that has a release of the SDK; made once."""
    folder = ROOT / ".venv" / f"up42-py-{version}"
    python, done = folder / "bin" / "python", folder / "done"
    if not done.exists():
        subprocess.run([sys.executable, "-m", "venv", folder], check=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "--disable-pip-version-check", f"up42-py=={version}"],
                       check=True)  # fmt: skip
        done.touch()
    return python


@dataclass
class Secure:
    """A server that speaks HTTPS with a certificate of its own authority."""

    url: str
    client: httpx2.Client
    authority: Path


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    authority.cert_pem.write_to_path(str(folder / "ca.pem"))
    authority.issue_cert("localhost").private_key_and_cert_chain_pem.write_to_path(str(folder / "server.pem"))
    Catalog.open(folder / "catalog", create=True).close()
    env = {**os.environ, "SWATH_TLS_CERTIFICATE": str(folder / "server.pem")}
    command = [SWATH, "serve", str(folder / "catalog"), "--host", "localhost", "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=env)
    assert process.stderr is not None
    port = process.stderr.readline().split("https://")[1].split("/")[0].rpartition(":")[2]
    trusted = ssl.create_default_context(cafile=folder / "ca.pem")
    with httpx2.Client(base_url=f"https://localhost:{port}", verify=trusted,
                       timeout=60) as client:  # fmt: skip
        for _ in range(100):
            try:
                if client.get("/health/ready").status_code == 200:
                    break
            except httpx2.TransportError:
                time.sleep(0.1)
        yield Secure(f"https://localhost:{port}", client, folder / "ca.pem")
    process.terminate()
    process.communicate(timeout=20)


def deliver(secure: Secure) -> dict[str, Any]:
    query = urllib.parse.urlencode(
        {"filename": "orthophoto_rgb.tif", "title": "Hafen", "tags": "aerial", "source": "ARCHIVE",
         "datetime": "2023-06-14T10:52:17Z"}
    )  # fmt: skip
    answer = secure.client.post(
        f"/v2/assets?{query}", content=TIFF.read_bytes(), headers={"Content-Type": "image/tiff"}
    )
    assert answer.status_code == 201, answer.text
    for _ in range(600):
        found: dict[str, Any] = secure.client.get(f"/v2/assets/{answer.json()['id']}/metadata").json()
        if found["geospatialMetadataExtractionStatus"] != "IN_PROGRESS":
            return found
        time.sleep(0.1)
    raise AssertionError(found)


def session(secure: Secure, version: str, asset: str, folder: Path, listener: str = "") -> dict[str, Any]:
    env = {**os.environ, "REQUESTS_CA_BUNDLE": str(secure.authority), "SSL_CERT_FILE": str(secure.authority)}
    script = ROOT / "tests" / "sdk_session.py"
    command: list[str | Path] = [environment(version), script, secure.url, asset, folder, listener]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=env)
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def check_stac(secure: Secure, told: dict[str, Any], delivered: dict[str, Any]) -> None:
    assert told["client"] == "up42-storage"
    assert delivered["stacCollectionId"] in told["collections"]
    assert told["asset_id"] == delivered["id"]
    assert told["updated"] == ["From pystac", ["one", "two"]]
    assert told["found"] == told["one"]
    assert told["found"][0] in told["intersects"]
    image = Path(told["image"])
    assert image.suffix == ".tif"
    assert image.read_bytes()[:4] in (b"II*\0", b"II+\0")
    assert told["after deletion"] == []
    assert secure.client.get(f"/v2/assets/{delivered['id']}/metadata").status_code == 404


def test_the_release_with_the_storage_module_lists_searches_tags_and_downloads(secure: Secure, tmp_path: Path) -> None:
    delivered = deliver(secure)
    with subscriber() as listener:
        told = session(secure, WITH_STORAGE, delivered["id"], tmp_path, listener.url)
    assert told["events"] == ["job.status", "order.status"]
    assert (told["tested"]["testsRun"], told["tested"]["testsSucceeded"], len(listener.taken())) == (2, 2, 2)
    assert (told["webhooks"], told["webhook"], told["webhooks left"]) == ([[True, "renamed", "word"]], True, 0)
    assert delivered["id"] in told["listed"]
    assert told["searched"] == [delivered["id"]]
    assert (told["name"], told["size"], told["status"]) == ("orthophoto_rgb.tif", TIFF.stat().st_size, "SUCCESSFUL")
    assert told["collection"] == delivered["stacCollectionId"]
    assert told["items"] == told["found"]
    assert (told["title"], told["tags"], told["kept"]) == ("From the SDK", ["sdk", "aerial"], "From the SDK")
    expected = hashlib.sha256(TIFF.read_bytes()).hexdigest()
    for path in (*told["files"], told["saved"]):
        assert hashlib.sha256(Path(path).read_bytes()).hexdigest() == expected
    assert Path(told["saved"]).name == "orthophoto_rgb.tif"
    check_stac(secure, told, delivered)


def test_the_present_release_finds_edits_downloads_and_deletes(secure: Secure, tmp_path: Path) -> None:
    delivered = deliver(secure)
    check_stac(secure, session(secure, PRESENT, delivered["id"], tmp_path), delivered)

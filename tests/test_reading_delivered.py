"""What was delivered, read by the field's own tools from a served store: pystac-client, odc-stac, GDAL."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy
import pytest
import rasterio
from pystac_client import Client

from tests.conftest import SHARED, Server, run_swath, serving

DELIVERIES = SHARED / "deliveries"
LANDSAT = "landsat-c2-l2/LC08_L2SP_008059_20191201_20200825_02_T1.tar"
SENTINEL = "sentinel2-safe/S2B_MSIL2A_20210122T133229_N0214_R081_T22HBD_20210122T155500.zip"


@dataclass
class Delivered:
    server: Server
    told: dict[str, dict[str, Any]]

    def collection(self, path: str) -> str:
        found: str = self.told[path]["stacCollectionId"]
        return found


@pytest.fixture(scope="module")
def delivered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Delivered]:
    folder = tmp_path_factory.mktemp("reading") / "catalog"
    done = run_swath("deliver", folder, DELIVERIES / LANDSAT, DELIVERIES / SENTINEL, "--tag", "test", "--json")
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    with serving(folder) as server:
        yield Delivered(server, dict(zip((LANDSAT, SENTINEL), lines, strict=True)))


@pytest.mark.parametrize("face", ["", "/v2/assets/stac"])
def test_pystac_client_finds_what_was_delivered_on_both_faces(delivered: Delivered, face: str) -> None:
    client = Client.open(delivered.server.url + face)
    assert {each.id for each in client.get_collections()} == {
        delivered.collection(LANDSAT), delivered.collection(SENTINEL),
    }  # fmt: skip
    found = list(client.search(collections=[delivered.collection(LANDSAT)], datetime="2019-12-01").items())
    assert [item.properties["platform"] for item in found] == ["landsat-8"]
    red = next(asset for key, asset in found[0].assets.items() if key.endswith("sr_b4"))
    assert red.extra_fields["eo:bands"][0]["common_name"] == "red"
    searched = client.search(filter={"op": "a_contains", "args": [{"property": "tags"}, ["test"]]}, limit=1)
    assert len(list(searched.items())) == 2
    assert searched.matched() == 2
    collection = client.get_collection(delivered.collection(SENTINEL))
    assert collection is not None
    assert [len(list(collection.get_items()))] == [1]


def _loaded(delivered: Delivered, path: str, common: str) -> tuple[Any, Any]:
    """The band of a common name by odc-stac, in its own grid, and the item."""
    import odc.stac

    client = Client.open(delivered.server.url)
    (item,) = client.search(collections=[delivered.collection(path)]).items()
    key = next(key for key, asset in item.assets.items()
               if "data" in (asset.roles or []) and any(band.get("common_name") == common
               for band in asset.extra_fields.get("eo:bands", [])))  # fmt: skip
    data = odc.stac.load([item], bands=[key], groupby="id", crs=item.properties["proj:code"],
                         resolution=abs(item.assets[key].extra_fields["proj:transform"][0]))  # fmt: skip
    return data[key], item.assets[key]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("path", "code"), [(LANDSAT, 32618), (SENTINEL, 32722)])
def test_odc_stac_loads_a_delivered_scene_where_it_lies(delivered: Delivered, path: str, code: int) -> None:
    array, asset = _loaded(delivered, path, "red")
    assert array.odc.crs.epsg == code
    with rasterio.open(asset.href) as source:
        expected, place, bounds = source.read(1), source.transform, source.bounds
    box = array.odc.geobox.boundingbox
    step = max(abs(place.a), abs(place.e))
    assert abs(box.left - bounds.left) <= step
    assert abs(box.top - bounds.top) <= step
    values = numpy.asarray(array.squeeze())
    assert (values != 0).any()
    known = expected[expected != 0]
    assert float(values[values != 0].mean()) == pytest.approx(float(known.mean()), rel=0.02)


# -- GDAL ----------------------------------------------------------------------------------------


class _Counting(BaseHTTPRequestHandler):
    """Passes requests on to the server, and notes each."""

    target = ""
    seen: list[tuple[str, str | None]] = []  # noqa: RUF012 - one list for all requests

    def do_GET(self) -> None:
        self._pass("GET")

    def do_HEAD(self) -> None:
        self._pass("HEAD")

    def _pass(self, method: str) -> None:
        asked = self.headers.get("Range")
        self.seen.append((method, asked))
        headers = {"Range": asked} if asked else {}
        request = urllib.request.Request(self.target + self.path, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                status, told, body = answer.status, answer.headers, answer.read()
        except urllib.error.HTTPError as error:
            status, told, body = error.code, error.headers, error.read()
        self.send_response(status)
        for name, value in told.items():
            if name.lower() not in ("connection", "transfer-encoding", "date", "server"):
                self.send_header(name, value)
        self.end_headers()
        if method == "GET":
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def counting(delivered: Delivered) -> Iterator[tuple[str, list[tuple[str, str | None]]]]:
    _Counting.target, _Counting.seen = delivered.server.url, []
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Counting)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", _Counting.seen
    server.shutdown()
    server.server_close()


def test_gdal_reads_a_window_by_a_signed_link_with_a_handful_of_ranges(
    delivered: Delivered, counting: tuple[str, list[tuple[str, str | None]]], tmp_path: Path
) -> None:
    client = Client.open(delivered.server.url)
    (item,) = client.search(collections=[delivered.collection(LANDSAT)]).items()
    asset = next(asset for key, asset in item.assets.items() if key.endswith("sr_b4"))
    signed = delivered.server.request("POST", asset.href.removeprefix(delivered.server.url) + "/download-url", b"")
    through, seen = counting
    url = signed.json()["url"].replace(delivered.server.url, through)
    script = tmp_path / "read.py"
    script.write_text(
        "import sys, rasterio\n"
        "from rasterio.windows import Window\n"
        "with rasterio.Env(GDAL_DISABLE_READDIR_ON_OPEN='EMPTY_DIR'):\n"
        "    with rasterio.open('/vsicurl/' + sys.argv[1]) as image:\n"
        "        print(image.crs.to_epsg(), image.read(1, window=Window(100, 100, 50, 50)).sum())\n"
    )
    done = subprocess.run([sys.executable, script, url], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    code, total = done.stdout.split()
    with rasterio.open(f"/vsitar/{DELIVERIES / LANDSAT}/LC08_L2SP_008059_20191201_20200825_02_T1_SR_B4.TIF") as source:
        expected = source.read(1)[100:150, 100:150].sum()
    assert (int(code), int(total)) == (32618, int(expected))
    assert 1 <= len(seen) <= 5, seen
    assert all(asked and re.fullmatch(r"bytes=\d+-\d+", asked) for method, asked in seen if method == "GET")

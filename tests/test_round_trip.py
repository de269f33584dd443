"""What goes in comes out: every member, its order, every number as it was spelled."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import httpx2 as httpx
import msgspec
import pytest
from starlette.testclient import TestClient

from swath.config import Settings
from swath.http.app import create_app
from tests.conftest import DATA, Server, run_swath, sample_items

OGC = "http://www.opengis.net/def/rel/ogc/1.0/"
OWN = {"self", "root", "parent", "collection"}
OWN_OF_COLLECTIONS = OWN | {"items", "item", "child", f"{OGC}queryables", f"{OGC}sortables"}


class Spelled(str):
    """A number by its text."""

    __slots__ = ()


def exact(raw: bytes) -> Any:
    """A document with objects as lists of pairs and numbers as they are written: nothing is lost in comparing."""
    return json.loads(raw, object_pairs_hook=list, parse_float=Spelled, parse_int=Spelled)


def without_links(pairs: Any) -> list[Any]:
    return [pair for pair in pairs if pair[0] != "links"]


def without_times(pairs: Any, given: Any) -> list[Any]:
    """An item without the times that its publisher left out and Swath tells."""
    names = {name for name, _ in dict(given)["properties"]}
    mine = [pair for pair in dict(pairs)["properties"] if pair[0] in names or pair[0] not in ("created", "updated")]
    return [("properties", mine) if name == "properties" else (name, value) for name, value in pairs]


def links(pairs: Any) -> list[Any]:
    found: list[Any] = next((value for name, value in pairs if name == "links"), [])
    return found


def rel(link: Any) -> str:
    return str(dict(link)["rel"])


def test_every_sample_item_comes_back_as_it_was_sent(samples: Server) -> None:
    compared = 0
    for collection in sorted({name for name, _ in sample_items()}):
        sent = {json.loads(line)["id"]: exact(line) for name, line in sample_items() if name == collection}
        page = exact(samples.get(f"/collections/{collection}/items?limit=1000").body)
        features = dict(page)["features"]
        assert len(features) == len(sent)
        for feature in features:
            mine = sent[dict(feature)["id"]]
            assert without_links(without_times(feature, mine)) == without_links(mine)
            assert {"created", "updated"} <= {name for name, _ in dict(feature)["properties"]}
            assert [link for link in links(feature) if rel(link) not in OWN] == [
                link for link in links(mine) if rel(link) not in OWN
            ]
            assert sorted(rel(link) for link in links(feature) if rel(link) in OWN) == sorted(OWN)
            compared += 1
    assert compared == 2282


def test_an_item_by_id_is_the_same_as_in_a_page(samples: Server) -> None:
    page = samples.get("/collections/io-lulc/items").json()
    for feature in page["features"]:
        assert samples.get(f"/collections/io-lulc/items/{feature['id']}").json() == feature


def test_every_sample_collection_comes_back_as_it_was_sent(samples: Server) -> None:
    collections = dict(exact(samples.get("/collections").body))["collections"]
    served = {dict(pairs)["id"]: pairs for pairs in collections}
    lines = (DATA / "collections.ndjson").read_bytes().splitlines()
    assert len(lines) == 59
    for line in lines:
        mine = exact(line)
        theirs = served.pop(dict(mine)["id"])
        assert without_links(theirs)[: len(without_links(mine))] == without_links(mine)
        foreign = [link for link in links(mine) if rel(link) not in OWN_OF_COLLECTIONS]
        assert [link for link in links(theirs) if link in foreign] == foreign
    assert served == {}


def test_odd_spellings_survive(tmp_path: Path) -> None:
    body = (
        '{"type":"Feature","id":"a","collection":"c","geometry":null,"properties":{"datetime":"2020-01-01T00:00:00Z",'
        '"x":1.0,"y":1E5,"z":-0,"big":9007199254740993,"huge":123456789012345678901234567890,"s":"\\u00e9\\/",'
        '"n":null,"deep":{"b":[1,{"c":0.10}]}},"unknown member":[],"assets":{},"links":[]}'
    )
    (tmp_path / "odd.ndjson").write_text(body + "\n", encoding="utf-8")
    run_swath("load", tmp_path / "catalog", tmp_path / "odd.ndjson")
    done = run_swath("export", tmp_path / "catalog", "-o", "-")
    assert done.stdout.splitlines()[1] == body


def test_export_load_export_is_byte_identical(sample_catalog: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first.ndjson", tmp_path / "second.ndjson"
    assert run_swath("export", sample_catalog, "-o", first).returncode == 0
    assert run_swath("load", tmp_path / "again", first).returncode == 0
    assert run_swath("export", tmp_path / "again", "-o", second).returncode == 0
    assert first.read_bytes() == second.read_bytes()
    assert len(first.read_bytes().splitlines()) == 59 + 2282


def test_a_page_is_served_without_decoding_json(sample_catalog: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with TestClient(create_app(Settings(), sample_catalog)) as client:
        assert client.get("/search").status_code == 200  # the index is built

        def refuse(*_: Any, **__: Any) -> Any:
            raise AssertionError("a stored document was decoded")

        monkeypatch.setattr(msgspec.json, "decode", refuse)
        monkeypatch.setattr(json, "loads", refuse)
        target = "/search?limit=500&bbox=-180,-90,180,90&datetime=2000-01-01T00:00:00Z/..&sortby=-eo:cloud_cover"
        answer: httpx.Response = client.get(target)
        assert answer.status_code == 200
        assert answer.content.count(b'"type":"Feature"') == 500
        with pytest.raises(AssertionError, match="was decoded"):
            client.get("/search?fields=id")

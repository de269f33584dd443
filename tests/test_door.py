"""What is looked at before a document is stored over HTTP: what is refused, mended or noted, at each level."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import Answer, Server, command, make_collection, make_item, run_swath, serving

EO = "https://stac-extensions.github.io/eo/v1.1.0/schema.json"
SCHEMA = {
    "$schema": "http://json-schema.org/draft-07/schema#", "$id": EO,
    "properties": {"properties": {"properties": {"eo:cloud_cover": {"type": "number"}}}},
}  # fmt: skip
# Across the antimeridian in one piece, its ring wound the wrong way and not closed.
RING = [[170, 0], [170, 10], [190, 10], [190, 0]]
LEVELS = ("off", "warn", "enforce")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A collection of each level, and one without; a schema in the catalogue's folder."""
    folder = tmp_path_factory.mktemp("door")
    names = [*LEVELS, "none"]
    (folder / "c.ndjson").write_text("".join(json.dumps(make_collection(name)) + "\n" for name in names))
    (folder / "eo.json").write_text(json.dumps(SCHEMA))
    assert run_swath("load", folder / "c", folder / "c.ndjson").returncode == 0
    assert run_swath("schemas", "add", folder / "c", folder / "eo.json").returncode == 0
    for level in LEVELS:
        assert command("settings", folder / "c", level, f"validation={level}").returncode == 0
    with serving(folder / "c") as made:
        yield made


def put(server: Server, collection: str, item: dict[str, Any], query: str = "") -> Answer:
    """Create the item, or replace it."""
    made = server.post(f"/collections/{collection}/items{query}", item)
    if made.status != 409:
        return made
    body = json.dumps(item).encode()
    at = f"/collections/{collection}/items/{item['id']}{query}"
    return server.request("PUT", at, body, {"Content-Type": "application/json"})


def notes(answer: Answer) -> list[str]:
    found: list[str] = json.loads(answer.headers.get("swath-notes", "[]"))
    return found


def polygon(item_id: str, collection: str) -> dict[str, Any]:
    return make_item(item_id, collection, geometry={"type": "Polygon", "coordinates": [RING]})


@pytest.mark.parametrize("collection", ["none", "enforce"])
def test_what_breaks_rfc_7946_is_refused_with_a_pointer(server: Server, collection: str) -> None:
    refused = put(server, collection, polygon("refused", collection))
    assert (refused.status, refused.json()["at"].startswith("/geometry")) == (400, True)
    assert server.get(f"/collections/{collection}/items/refused").status == 404


@pytest.mark.parametrize("collection", ["none", *LEVELS])
def test_with_fix_it_is_mended_and_told_what_was_changed(server: Server, collection: str) -> None:
    made = put(server, collection, polygon("mended", collection), "?fix=true")
    assert made.status == 201, made.body
    geometry = made.json()["geometry"]
    assert geometry["type"] == "MultiPolygon", "cut at the antimeridian (RFC 7946, 3.1.9)"
    for ring in (part[0] for part in geometry["coordinates"]):
        assert ring[0] == ring[-1]
        assert all(-180 <= x <= 180 for x, _ in ring)
        area = sum(a[0] * b[1] - b[0] * a[1] for a, b in itertools.pairwise(ring))
        assert area > 0, "counter-clockwise (RFC 7946, 3.1.6)"
    assert any("at /geometry" in note for note in notes(made))
    assert server.get(f"/collections/{collection}/items/mended").json()["geometry"] == geometry
    fine = put(server, collection, make_item("fine", collection, bbox=[0, 0, 0, 0]), "?fix=true")
    assert not [note for note in notes(fine) if "(at /geometry" in note or "(at /bbox" in note]


@pytest.mark.parametrize("fix", ["", "&fix=true"])
def test_bulk_mends_too(server: Server, fix: str) -> None:
    lines = json.dumps(polygon(f"bulk{len(fix)}", "none")).encode()
    told = server.request(
        "POST", f"/collections/none/bulk?mode=upsert{fix}", lines, {"Content-Type": "application/x-ndjson"}
    )
    (line,) = told.json()["items"]
    if fix:
        assert line["outcome"] in ("created", "unchanged")
    else:
        assert (line["outcome"], line["pointer"].startswith("/geometry")) == ("refused", True)


@pytest.mark.parametrize(("level", "status"), [("none", 201), ("off", 201), ("warn", 201), ("enforce", 400)])
def test_each_collection_has_its_level_for_schemas(server: Server, level: str, status: int) -> None:
    item = make_item("cloudy", level, **{"eo:cloud_cover": "low"}) | {"stac_extensions": [EO]}
    done = put(server, level, item)
    assert done.status == status, done.body
    if level == "enforce":
        assert done.json()["at"] == "/properties/eo:cloud_cover"
    assert any("/properties/eo:cloud_cover" in note for note in notes(done)) == (level == "warn")
    item["properties"]["eo:cloud_cover"] = 5
    assert put(server, level, item).status in (200, 201)


def test_a_schema_that_is_not_in_the_folder_is_noted_and_not_fetched(server: Server) -> None:
    item = make_item("unknown", "enforce") | {"stac_extensions": ["http://127.0.0.1:9/schema.json"]}
    done = put(server, "enforce", item)
    assert done.status == 201
    assert any("http://127.0.0.1:9/schema.json" in note for note in notes(done))


def test_a_level_is_changed_while_serving(tmp_path: Path) -> None:
    (tmp_path / "c.ndjson").write_text(json.dumps(make_collection("c")))
    assert run_swath("load", tmp_path / "c", tmp_path / "c.ndjson").returncode == 0
    odd = make_item("a") | {"assets": {"data": {"href": "a.tif", "roles": "data"}}}
    with serving(tmp_path / "c") as server:
        statuses: list[int] = []
        for level in ("enforce", "warn", "off", "enforce"):
            assert command("settings", tmp_path / "c", "c", f"validation={level}").returncode == 0
            statuses.append(put(server, "c", odd | {"id": f"{level}{len(statuses)}"}).status)
        assert statuses == [400, 201, 201, 400]


def test_a_collection_that_enforces_takes_no_ring_that_is_wound_the_wrong_way(server: Server) -> None:
    clockwise = {"type": "Polygon", "coordinates": [[[0, 0], [0, 1], [1, 1], [1, 0], [0, 0]]]}
    for collection, status in (("enforce", 400), ("warn", 201), ("none", 201)):
        item = make_item("clockwise", collection, geometry=clockwise, bbox=[0, 0, 1, 1])
        done = put(server, collection, item)
        assert done.status in (status, 200 if status == 201 else status)
        if status == 400:
            assert done.json()["at"] == "/geometry/coordinates/0"
            assert put(server, collection, item, "?fix=true").status == 201


def test_a_bulk_write_tells_what_it_mended(server: Server) -> None:
    body = json.dumps(polygon("bulk", "none")).encode() + b"\n"
    done = server.request("POST", "/collections/none/bulk?fix=true", body, {"Content-Type": "application/x-ndjson"})
    (told,) = done.json()["items"]
    assert (told["outcome"], any("cut at the antimeridian" in note for note in told["notes"])) == ("created", True)

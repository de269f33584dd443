"""The OGC acceptance suite (21-065r2, Annex A) over HTTP, for every CQL2 class that is announced.

The three layers of the standard's test data are loaded as STAC items; their `geom` is the item's geometry.
Once as the data show them, where filters name `geometry`; once with the standard's own queryables declared,
where the filters go in word for word.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import SHARED, Server, make_item, run_swath, start_server

CQL2 = SHARED / "cql2"
LAYERS = ("ne_110m_admin_0_countries", "ne_110m_populated_places_simple", "ne_110m_rivers_lake_centerlines")
CASES: list[dict[str, Any]] = json.loads((CQL2 / "ats.json").read_text(encoding="utf-8"))
BY_ID = {case["id"]: case for case in CASES}
ESCAPES = [case for case in CASES if case["kind"] == "decode"]
PREFIX = "http://www.opengis.net/spec/cql2/1.0/conf/"


def layer_as_items(name: str) -> Iterator[dict[str, Any]]:
    layer = json.loads((CQL2 / f"{name}.geojson").read_text(encoding="utf-8"))
    for number, feature in enumerate(layer["features"]):
        yield {
            "type": "Feature",
            "stac_version": "1.0.0",
            "id": f"{number:04d}",
            "collection": name,
            "geometry": feature["geometry"],
            "properties": {"datetime": "2020-01-01T00:00:00Z", **feature["properties"]},
            "links": [],
            "assets": {},
        }


@dataclass(frozen=True)
class Suite:
    """The served layers, and whether their queryables are declared."""

    server: Server
    declared: bool


@pytest.fixture(scope="module", params=["inferred", "declared"])
def layers(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Suite]:
    folder = tmp_path_factory.mktemp("ats")
    source = folder / "layers.ndjson"
    with source.open("w", encoding="utf-8") as out:
        for name in LAYERS:
            for item in layer_as_items(name):
                out.write(json.dumps(item) + "\n")
        for number, case in enumerate(ESCAPES):
            out.write(json.dumps(make_item(str(number), "escapes", escaped=case["filter_json"])) + "\n")
    done = run_swath("load", folder / "catalog", source)
    assert done.returncode == 0, done.stderr
    if request.param == "declared":
        for name in LAYERS:
            done = run_swath("queryables", folder / "catalog", name, CQL2 / f"{name}.queryables.json")
            assert done.returncode == 0, done.stderr
    server = start_server(["serve", str(folder / "catalog"), "--port", "0"])
    yield Suite(server, request.param == "declared")
    server.stop()


@pytest.fixture(scope="module")
def announced(layers: Suite) -> frozenset[str]:
    return frozenset(uri for uri in layers.server.get("/conformance").json()["conformsTo"] if uri.startswith(PREFIX))


def ask_text(suite: Suite, case: dict[str, Any]) -> tuple[int, frozenset[str]]:
    text = case["filter_text"] if suite.declared else re.sub(r"\bgeom\b", "geometry", case["filter_text"])
    return answer(suite.server, {"filter": text, "filter-lang": "cql2-text"}, case)


def ask_json(suite: Suite, case: dict[str, Any]) -> tuple[int, frozenset[str]]:
    value = case["filter_json"]
    if not suite.declared:
        value = json.loads(json.dumps(value).replace('{"property": "geom"}', '{"property": "geometry"}'))
    return answer(suite.server, {"filter": value, "filter-lang": "cql2-json"}, case)


def answer(server: Server, body: dict[str, Any], case: dict[str, Any]) -> tuple[int, frozenset[str]]:
    """Status, and the ids found."""
    if case["collection"] is not None:
        body = {**body, "collections": [case["collection"]]}
    body = {**body, "limit": 1000, "fields": {"include": ["id"]}}
    got = server.post("/search", body)
    if got.status != 200:
        return got.status, frozenset()
    page = got.json()
    ids = frozenset(feature["id"] for feature in page["features"])
    assert page["numberMatched"] == len(ids)
    return 200, ids


def cases(kind: str, announced: frozenset[str]) -> list[dict[str, Any]]:
    return [
        case
        for case in CASES
        if case["kind"] == kind
        and case["conformance_class"] in announced
        and {*case.get("also_requires", ())} <= announced
    ]


@pytest.mark.parametrize("ask", [ask_text, ask_json])
def test_every_counted_filter_selects_the_number_in_the_standard(
    ask: Any, layers: Suite, announced: frozenset[str]
) -> None:
    wrong, ran = [], Counter[str]()
    for case in cases("count", announced):
        status, ids = ask(layers, case)
        ran[case["conformance_class"].removeprefix(PREFIX)] += 1
        if (status, len(ids)) != (200, case["expected"]):
            wrong.append((case["id"], case["filter_text"], status, len(ids), case["expected"]))
    print(f"{sum(ran.values())} counted filters: {dict(ran)}")
    assert wrong == []
    assert ran["basic-cql2"] == 125


@pytest.mark.parametrize("ask", [ask_text, ask_json])
def test_every_derived_filter_obeys_its_rule(ask: Any, layers: Suite, announced: frozenset[str]) -> None:
    wrong, ran = [], 0
    for case in cases("template", announced):
        status, ids = ask(layers, case)
        ran += 1
        broken = [rule for rule in case["expected"].split(" and ") if not obeys(rule, status, ids, ask, layers)]
        if broken:
            wrong.append((case["id"], case["filter_text"], broken, status, len(ids)))
    print(f"{ran} derived filters")
    assert wrong == []
    assert ran >= 600


def obeys(rule: str, status: int, ids: frozenset[str], ask: Any, suite: Suite) -> bool:
    if rule == "error":
        return status == 400
    if rule == "success":
        return status == 200
    if rule == "empty":
        return not ids
    name, _, other = rule.rstrip(")").partition("(")
    _, theirs = ask(suite, BY_ID[other])
    return ids == theirs if name == "identical" else not ids & theirs


def test_escapes_in_text_stand_for_the_characters_of_the_standard(layers: Suite) -> None:
    wrong = []
    for number, case in enumerate(ESCAPES):
        got = layers.server.post("/search", {"filter": f"escaped = {case['filter_text']}", "filter-lang": "cql2-text"})
        found = {feature["id"] for feature in got.json()["features"]}
        same = {str(n) for n, other in enumerate(ESCAPES) if other["filter_json"] == case["filter_json"]}
        if found != same or str(number) not in found:
            wrong.append((case["id"], case["filter_text"], found))
    assert wrong == []
    assert len(ESCAPES) == 11


def test_queryables_name_every_property_of_the_layers(layers: Suite) -> None:
    checked = 0
    for case in CASES:
        if case["kind"] == "queryables":
            checked += 1
            found = layers.server.get(f"/collections/{case['collection']}/queryables").json()["properties"]
            for name, kind in case["expected"].items():
                schema = found["geometry" if name == "geom" and not layers.declared else name]
                if name == "geom":
                    wanted = f"geometry-{kind.lower()}" if layers.declared else "geometry-any"
                    assert schema["format"] == wanted
                    assert not {"type", "$ref"} & schema.keys()
                elif kind in ("date", "timestamp"):
                    assert schema["format"] == {"date": "date", "timestamp": "date-time"}[kind]
                else:
                    assert schema["type"] in (kind, "integer" if kind == "number" else kind), (name, schema)
    assert checked == 3


def test_only_classes_that_are_tested_here_are_announced(announced: frozenset[str]) -> None:
    # For functions the standard has no data at all; tests/test_cql2_operators.py has.
    tested = {case["conformance_class"] for case in CASES} | {f"{PREFIX}cql2-json", f"{PREFIX}functions"}
    assert announced <= tested


def test_the_layers_are_whole(layers: Suite) -> None:
    counts = [layers.server.post("/search", {"collections": [name]}).json()["numberMatched"] for name in LAYERS]
    assert counts == [177, 243, 13]

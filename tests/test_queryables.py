"""Declared queryables: what a publisher says wins over what the data look like."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import swath
from swath.config import Settings
from swath.http.guard import takes_writes
from tests.conftest import Answer, Server, make_item, run_swath, start_server

SCHEMA: dict[str, Any] = {
    "$schema": "https://json-schema.org/draft/2020-12/schema",
    "type": "object",
    "title": "What to ask of scenes",
    "properties": {
        "cloud": {"title": "Cloud", "type": "number", "minimum": 0},
        "mission": {"type": "string"},
        "label": {"type": "string"},
        "taken": {"type": "string", "format": "date-time"},
        "day": {"type": "string", "format": "date"},
        "good": {"type": "boolean"},
        "words": {"type": "array"},
        "any": {},
        "either": {"type": ["integer", "string", "null"]},
        "outline": {"$ref": "https://geojson.org/schema/Polygon.json"},
        "up42-user:tags": {"type": "array"},
    },
    "additionalProperties": False,
}

SCENES = [
    make_item("a", "scenes", cloud=5, mission="one", label="2020-01-01", taken="2020-01-01T00:00:00Z", words=["x"]),
    make_item("b", "scenes", cloud=50, mission="two", label="2021-01-01", taken="2021-01-01T12:00:00Z",
              day="2021-01-01", extra=1),
    make_item("c", "scenes", cloud="many", mission="two", either="7", label="2022-01-01", **{"up42-user:tags": ["t"]}),
    make_item("d", "free", cloud="many", other=1),
]  # fmt: skip


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with swath.open(tmp_path / "c", create=True) as catalog:
        assert catalog.write(SCENES).refused == []
    served = start_server(["serve", str(tmp_path / "c"), "--port", "0"])
    yield served
    served.stop()


def put(server: Server, schema: Any = SCHEMA, collection: str = "scenes", **headers: str) -> Answer:
    body = schema if isinstance(schema, bytes) else json.dumps(schema).encode()
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    path = f"/collections/{collection}/queryables"
    return server.request("PUT", path, body, {"Content-Type": "application/schema+json", **names})


def ids(server: Server, text: str, *collections: str) -> set[str]:
    body: dict[str, Any] = {"filter": text, "filter-lang": "cql2-text"}
    if collections:
        body["collections"] = list(collections)
    got = server.post("/search", body)
    assert got.status == 200, got.body
    return {feature["id"] for feature in got.json()["features"]}


def refusal(server: Server, text: str, *collections: str) -> dict[str, Any]:
    body = {"filter": text, "filter-lang": "cql2-text", "collections": list(collections) or ["scenes"]}
    got = server.post("/search", body)
    assert got.status == 400, (text, got.body)
    problem: dict[str, Any] = got.json()
    assert problem["code"] == "InvalidFilter"
    return problem


def test_a_declaration_is_shown_and_can_be_taken_back(server: Server) -> None:
    path = "/collections/scenes/queryables"
    before = server.get(path).json()
    assert before["properties"]["label"]["format"] == "date"  # as the data look
    assert before["additionalProperties"] is True
    assert put(server).status == 201
    assert put(server).status == 200
    shown = server.get(path).json()
    assert shown["title"] == "What to ask of scenes"
    assert shown["additionalProperties"] is False
    assert shown["properties"]["cloud"] == SCHEMA["properties"]["cloud"]
    assert shown["properties"]["label"] == {"type": "string"}
    assert shown["properties"]["outline"] == {"format": "geometry-polygon"}
    assert {"id", "collection", "geometry", "datetime", "tags"} <= shown["properties"].keys()
    assert "extra" not in shown["properties"]
    root = server.get("/queryables").json()
    assert root["additionalProperties"] is True
    assert {"cloud", "mission", "other"} <= root["properties"].keys()
    assert "extra" not in root["properties"]
    assert (
        put(server, {"properties": {"other": {"type": "integer"}}, "additionalProperties": False}, "free").status == 201
    )
    assert server.get("/queryables").json()["additionalProperties"] is False
    assert server.request("DELETE", path).status == 204
    assert server.request("DELETE", path).status == 404
    assert server.get(path).json() == before


def test_other_names_are_refused_where_the_schema_is_closed(server: Server) -> None:
    put(server)
    for text in ("missoin = 'one'", "missoin IS NULL", "casei(missoin) = 'one'", "id = 'a' AND NOT (missoin > 3)"):
        problem = refusal(server, text)
        assert "did you mean 'mission'?" in problem["description"]
        assert problem["at"] == text.index("missoin")
    assert "there is no queryable 'extra'" in refusal(server, "extra = 1")["description"]
    got = server.post("/search", {"collections": ["scenes"], "filter": {"op": "=", "args": [1, {"property": "zzz"}]}})
    assert (got.status, got.json()["at"]) == (400, "/args/1")
    got = server.post("/search", {"collections": ["scenes"], "query": {"missoin": {"eq": 1}}})
    assert got.status == 400
    assert "'mission'" in got.json()["description"]
    # Names that STAC fixes, other spellings, and aliases are known.
    assert ids(server, "id = 'a' AND collection = 'scenes' AND geometry IS NOT NULL", "scenes") == {"a"}
    assert ids(server, "properties.mission = 'two'", "scenes") == {"b", "c"}
    assert ids(server, "A_CONTAINS(tags, ('t'))", "scenes") == {"c"}
    # Over several collections the union of their queryables counts.
    assert ids(server, "extra = 1") == {"b"}
    assert ids(server, "missoin IS NULL AND id = 'd'", "scenes", "free") == {"d"}
    assert ids(server, "missoin = 1", "nowhere") == set()
    put(server, {"properties": {"other": {}}, "additionalProperties": False}, "free")
    assert ids(server, "other = 1 OR mission = 'one'") == {"a", "d"}
    assert "'mission'" in refusal(server, "missoin = 1", "scenes", "free")["description"]


@pytest.mark.parametrize(
    ("text", "word"),
    [
        ("cloud = 'many'", "a number"),
        ("'many' <> cloud", "a number"),
        ("mission > 5", "a string"),
        ("mission = TRUE", "a string"),
        ("label > TIMESTAMP('2020-01-01T00:00:00Z')", "a string"),
        ("good = 'yes'", "a boolean"),
        ("cloud IN (1, 2, 3) AND mission IN ('one') AND good IN (1)", "a boolean"),
        ("cloud BETWEEN 'a' AND 'b'", "a number"),
        ("taken > 'yesterday'", "date"),
        ("taken IN ('2020-01-01', 'soon')", "date"),
        ("taken > 5", "an instant"),
        ("words = 'x'", "an array"),
        ("outline = 'x'", "a geometry"),
        ("cloud LIKE 'm%'", "a number"),
        ("CASEI(cloud) = 'x'", "a number"),
        ("mission * 2 > 5", "a string"),
        ("abs(mission) > 5", "a string"),
        ("length(cloud) > 5", "a number"),
        ("S_INTERSECTS(mission, POINT(0 0))", "a string"),
        ("T_AFTER(mission, TIMESTAMP('2020-01-01T00:00:00Z'))", "a string"),
        ("T_DURING(taken, INTERVAL('2020-01-01', '..'))", "intervals only"),
        ("T_MEETS(INTERVAL('2020-01-01', '..'), day)", "intervals only"),
        ("T_AFTER(datetime, INTERVAL(mission, '..'))", "a string"),
        ("A_CONTAINS(mission, ('x'))", "a string"),
        ("either = TRUE", "a number or a string"),
    ],
)
def test_a_literal_of_another_type_is_refused(server: Server, text: str, word: str) -> None:
    put(server)
    assert word in refusal(server, text)["description"]
    server.request("DELETE", "/collections/scenes/queryables")
    # An inferred type never turns an answer into an error, and names that nobody declared may hold anything.
    assert server.post("/search", {"filter": text, "filter-lang": "cql2-text"}).status == 200


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("cloud > 4", {"a", "b"}),
        ("taken > '2020-06-01'", {"b"}),
        ("taken = '2021-01-01'", {"b"}),  # a whole day
        ("taken BETWEEN '2020-01-01' AND '2020-12-31'", {"a"}),
        ("taken IN ('2021-01-01', '2020-01-01T00:00:00Z')", {"a", "b"}),
        ("T_AFTER(taken, '2020-06-01T00:00:00Z')", {"b"}),
        ("T_DURING(INTERVAL(taken, taken), INTERVAL('2019-01-01', '..'))", {"a", "b"}),
        ("T_DURING(datetime, INTERVAL('2019-01-01', '..'))", {"a", "b", "c"}),
        ("day = DATE('2021-01-01')", {"b"}),
        ("label >= '2020-01-01Z'", {"b", "c"}),  # declared a string: text, not time
        ("label = '2021-01-01T00:00:00Z'", set()),
        ("either = '7' OR either = 7", {"c"}),
        ("any = 5 OR any = 'x' OR mission = 'one'", {"a"}),
        ("cloud = mission", set()),
        ("S_INTERSECTS(outline, BBOX(-180,-90,180,90))", {"a", "b", "c"}),
        ("taken LIKE '2021%'", {"b"}),
    ],
)
def test_a_declared_type_decides_the_meaning(server: Server, text: str, expected: set[str]) -> None:
    put(server)
    assert ids(server, text, "scenes") == expected


def test_a_walk_keeps_the_meaning_that_it_began_with(server: Server) -> None:
    body = {"filter": "label >= '2020-01-01'", "filter-lang": "cql2-text", "collections": ["scenes"], "limit": 1}
    first = server.post("/search", body).json()
    put(server, {"properties": {"label": {"type": "number"}}})
    again = next(link["body"] for link in first["links"] if link["rel"] == "next")
    assert server.post("/search", again).status == 200
    assert server.post("/search", body).status == 400


def test_short_forms_of_clients_stay_possible(server: Server) -> None:
    put(server)
    for query, expected in (
        ({"cloud": {"lt": "10"}}, {"a"}),
        ({"either": {"eq": "7"}}, {"c"}),
        ({"mission": {"contains": "w"}}, {"b", "c"}),
        ({"words": {"contains": "x"}}, {"a"}),
        ({"taken": {"gt": "2020-06-01T00:00:00Z"}}, {"b"}),
    ):
        got = server.post("/search", {"collections": ["scenes"], "query": query})
        assert (got.status, {feature["id"] for feature in got.json()["features"]}) == (200, expected), query
    assert server.post("/search", {"collections": ["scenes"], "query": {"cloud": {"lt": "x"}}}).status == 400


@pytest.mark.parametrize(
    ("schema", "at"),
    [
        (b"{", None),
        (b'{"properties": {}, "properties": {}}', None),
        ([], None),
        ({}, "/properties"),
        ({"type": "array", "properties": {}}, "/type"),
        ({"properties": []}, "/properties"),
        ({"properties": {"a": 5}}, "/properties/a"),
        ({"properties": {"a/b": {"type": "strnig"}}}, "/properties/a~1b/type"),
        ({"properties": {"": {}}}, "/properties/"),
        ({"properties": {"id": {"type": "number"}}}, "/properties/id"),
        ({"properties": {}, "additionalProperties": {"type": "string"}}, "/additionalProperties"),
    ],
)
def test_a_bad_schema_is_refused(server: Server, schema: Any, at: str | None) -> None:
    got = put(server, schema)
    assert (got.status, got.json()["code"], got.json().get("at")) == (400, "InvalidDocument", at)
    assert server.get("/collections/scenes/queryables").json()["additionalProperties"] is True


def test_unsafe_methods_are_for_this_machine_only(server: Server) -> None:
    assert put(server, collection="nowhere").status == 404
    port = server.url.rsplit(":", 1)[1]
    for headers in (
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Host": f"evil.example:{port}"},  # a name that was rebound to this address
    ):
        got = put(server, **headers)
        assert (got.status, got.json()["code"]) == (403, "NotAllowed"), headers
    for headers in ({"Origin": server.url}, {"Sec_Fetch_Site": "none"}, {"Host": f"localhost:{port}"}):
        assert put(server, **headers).status in (200, 201), headers
    preflight = server.request("OPTIONS", "/collections/scenes/queryables", headers={"Origin": "https://evil.example"})
    assert "PUT" not in preflight.headers["access-control-allow-methods"]
    assert put(server, b"{}", Content_Type="text/plain").status == 415


@pytest.mark.parametrize(
    ("host", "setting", "allowed"),
    [
        ("127.0.0.1", "loopback", True),
        ("::1", "loopback", True),
        ("localhost", "loopback", True),
        ("0.0.0.0", "loopback", False),
        ("stac.example.org", "loopback", False),
        ("0.0.0.0", "on", True),
        ("127.0.0.1", "off", False),
    ],
)
def test_what_others_can_reach_is_read_only_unless_a_setting_says_otherwise(
    host: str, setting: Any, allowed: bool
) -> None:
    # Tests listen on loopback only, so the rule itself is asked.
    assert takes_writes(Settings(host=host, writes=setting)) is allowed


def test_a_setting_makes_a_server_read_only(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as catalog:
        catalog.write(SCENES)
    served = start_server(["serve", str(tmp_path / "c"), "--port", "0"], {"SWATH_WRITES": "off"})
    try:
        assert put(served).status == 403
        assert served.get("/search").status == 200
    finally:
        served.stop()


def test_the_command_declares_and_the_check_finds_nothing_wrong(tmp_path: Path) -> None:
    folder, file = tmp_path / "c", tmp_path / "schema.json"
    with swath.open(folder, create=True) as catalog:
        catalog.write(SCENES)
    file.write_text(json.dumps(SCHEMA))
    done = run_swath("queryables", folder, "scenes", file)
    assert (done.returncode, done.stdout) == (0, "")
    assert "declared" in done.stderr
    assert "unchanged" in run_swath("queryables", folder, "scenes", file).stderr
    shown = json.loads(run_swath("queryables", folder, "scenes").stdout)
    assert shown["properties"]["cloud"]["minimum"] == 0
    assert json.loads(run_swath("queryables", folder).stdout)["additionalProperties"] is True
    done = run_swath("search", folder, "--collections", "scenes", "--filter", "missoin = 'one'")
    assert (done.returncode, "did you mean 'mission'" in done.stderr) == (1, True)
    assert run_swath("check", folder).returncode == 0
    assert run_swath("queryables", folder, "scenes", "--remove").returncode == 0
    assert run_swath("queryables", folder, "scenes", "--remove").returncode == 1
    assert run_swath("check", folder).returncode == 0
    file.write_text('{"properties": {"a": {"type": "strnig"}}}')
    done = run_swath("queryables", folder, "scenes", file)
    assert done.returncode == 1
    assert "did you mean 'string'" in done.stderr
    assert str(file) in done.stderr
    assert run_swath("queryables", folder, "nowhere", file).returncode == 1
    assert run_swath("queryables", folder, "scenes", file, "--remove").returncode == 2


def test_python_declares_too(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as catalog:
        catalog.write(SCENES)
        catalog.declare_queryables("scenes", SCHEMA)
        assert catalog.queryables("scenes")["cloud"]["title"] == "Cloud"
        with pytest.raises(swath.errors.InvalidFilter, match="mission"):
            list(catalog.search(collections=["scenes"], filter="missoin = 1"))
        catalog.declare_queryables("scenes", None)
        assert list(catalog.search(collections=["scenes"], filter="missoin = 1")) == []

"""What other servers get wrong about writes, and what their fine print says: `reference/peers.md`, section 1.1 and the
pains 37 to 44, a test each."""

from __future__ import annotations

import json
import subprocess
import threading
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import pytest

from tests.conftest import SWATH, Editor, make_collection, make_item, run_swath, serving

LINES = "application/x-ndjson"


def lines(*documents: Any) -> bytes:
    return b"".join((each if isinstance(each, bytes) else json.dumps(each).encode()) + b"\n" for each in documents)


def links(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {link["rel"]: link for link in document["links"]}


# -- section 1.1, fine print ---------------------------------------------------------------------


def test_a_limit_above_the_maximum_is_clamped(editor: Editor) -> None:
    """`limit` above maximum is clamped, not an error."""
    found = editor.ask("GET", "/search?limit=1000000000")
    assert (found.status, found.json()["numberReturned"] >= 0) == (200, True)


def test_a_search_has_a_root_link_and_an_item_one_to_its_collection(editor: Editor) -> None:
    """Search response carries a `root` link; item carries a `collection` link."""
    name = editor.collection(make_item("a"))
    found = editor.ask("GET", f"/search?collections={name}").json()
    assert links(found)["root"]["href"] == f"{editor.url}/"
    for item in (found["features"][0], editor.ask("GET", f"/collections/{name}/items/a").json()):
        assert links(item)["collection"]["href"] == f"{editor.url}/collections/{name}"


def test_an_unknown_sort_key_is_400(editor: Editor) -> None:
    """Unknown `sortby` field: 400."""
    assert editor.ask("GET", "/search?sortby=nothing:like_it").status == 400


def test_the_outcomes_of_a_write(editor: Editor) -> None:
    """Single create: 201 and `Location`; existing id: 409; id mismatch on PUT: 400; async accepted: 202."""
    name = editor.collection()
    at = f"/collections/{name}/items"
    made = editor.ask("POST", at, make_item("a", name))
    assert (made.status, made.headers["location"]) == (201, f"{editor.url}{at}/a")
    assert editor.ask("POST", at, make_item("a", name)).status == 409
    assert editor.ask("PUT", f"{at}/a", make_item("b", name)).status == 400
    queued = editor.ask("POST", f"/collections/{name}/bulk", lines(make_item("c", name)),
                        ("Prefer", "respond-async"), media_type=LINES)  # fmt: skip
    assert queued.status == 202


def test_conformance_uris_are_those_of_classes(editor: Editor) -> None:
    """URIs use `conf/`, not `req/`, and not the superseded `basic-spatial-operators`."""
    told = editor.ask("GET", "/conformance").json()["conformsTo"]
    assert not [uri for uri in told if "/req/" in uri or uri.endswith("basic-spatial-operators")]
    assert all("/conf/" in uri for uri in told if uri.startswith("http://www.opengis.net/"))


def test_the_service_desc_has_its_media_type(editor: Editor) -> None:
    """`service-desc` is `application/vnd.oai.openapi+json;version=3.0`."""
    link = links(editor.ask("GET", "/").json())["service-desc"]
    assert link["type"] == "application/vnd.oai.openapi+json;version=3.0"
    assert editor.ask("GET", link["href"].removeprefix(editor.url)).headers["content-type"] == link["type"]


# -- section 2.F, pains 37 to 44 -----------------------------------------------------------------


def test_pain_37_a_partial_load_is_not_silent(editor: Editor, tmp_path: Path) -> None:
    """Silent partial load; no report of what failed. By the command and over HTTP: which line, why, and where in it."""
    name = editor.collection()
    many = lines(
        make_item("a", name), b'{"broken', make_item("b", name, geometry={"type": "Point"}), make_item("d", name)
    )
    told = editor.ask("POST", f"/collections/{name}/bulk", many, media_type=LINES)
    assert told.status == 207
    refused = [each for each in told.json()["items"] if each["outcome"] == "refused"]
    assert [(each["line"], each.get("pointer", "")) for each in refused] == [(2, ""), (3, "/geometry")]
    assert all(each["reason"] for each in refused)
    (tmp_path / "in.ndjson").write_bytes(lines(make_collection(name)) + many)
    done = run_swath("load", tmp_path / "c", tmp_path / "in.ndjson")
    assert done.returncode != 0
    assert all(f"in.ndjson:{number}" in done.stderr for number in (3, 4))


def test_pain_38_loaders_writers_and_searches_do_not_lock_each_other_out(tmp_path: Path) -> None:
    """Deadlocks between loaders, or between search and ingest: all end, none with an error, and everything is in."""
    (tmp_path / "0.ndjson").write_bytes(lines(make_collection("c")))
    assert run_swath("load", tmp_path / "c", tmp_path / "0.ndjson").returncode == 0
    for number in (1, 2):
        many = (make_item(f"{number}-{n}", v=n) for n in range(1_500))
        (tmp_path / f"{number}.ndjson").write_bytes(
            lines(*many, *(make_item(f"both-{n}", v=number) for n in range(300)))
        )
    statuses: list[int] = []
    with serving(tmp_path / "c") as server:
        loaders = [subprocess.Popen([SWATH, "load", str(tmp_path / "c"), str(tmp_path / f"{number}.ndjson")],
                                    stderr=subprocess.DEVNULL) for number in (1, 2)]  # fmt: skip

        def edit(name: str) -> None:
            for number in range(40):
                statuses.append(server.post("/collections/c/items", make_item(f"{name}-{number}")).status)
                statuses.append(server.get("/search?limit=5&filter=v%20%3E%2010").status)

        editors = [threading.Thread(target=edit, args=(f"editor{number}",)) for number in range(4)]
        for thread in editors:
            thread.start()
        for thread in editors:
            thread.join(120)
        assert [loader.wait(120) for loader in loaders] == [0, 0]
        assert set(statuses) == {201, 200}
        assert len(statuses) == 4 * 40 * 2
        assert server.get("/collections/c/items?limit=1").json()["numberMatched"] == 2 * 1_500 + 300 + 4 * 40
    assert run_swath("check", tmp_path / "c").returncode == 0


def test_pain_39_what_is_created_is_kept_and_nothing_else_is_touched(editor: Editor) -> None:
    """PUT of a collection deleted its items or renamed it; PATCH bypassed validation; no `Location`; 201 while content
    was discarded. The collection's own tests are in test_collection_transactions.py."""
    name = editor.collection(make_item("kept"))
    strange = make_item("a", name, **{"vendor:thing": {"deep": [1, {"x": None}]}}) | {"unknown_member": [1, 2]}
    made = editor.ask("POST", f"/collections/{name}/items", strange)
    assert (made.status, made.headers["location"]) == (201, f"{editor.url}/collections/{name}/items/a")
    found = editor.ask("GET", f"/collections/{name}/items/a").json()
    assert found["unknown_member"] == [1, 2]
    assert found["properties"]["vendor:thing"] == {"deep": [1, {"x": None}]}
    bad = {"geometry": {"type": "Point", "coordinates": [0, 91]}}
    assert editor.ask("PATCH", f"/collections/{name}/items/a", bad).status == 400
    assert editor.ask("PUT", f"/collections/{name}", make_collection(name, title="new")).status == 200
    assert editor.ask("GET", f"/collections/{name}/items").json()["numberMatched"] == 2


def test_pain_40_a_property_may_be_of_any_kind_in_each_item(editor: Editor) -> None:
    """Mapping conflicts (array of objects, int then float) reject valid items. Here each is taken, and found."""
    values = [1, 2.5, "three", True, None, [1, 2], [{"a": 1}, {"a": "x"}], {"a": {"b": 1}}, {"a": 7}]
    name = editor.collection()
    for number, value in enumerate(values):
        assert editor.ask("POST", f"/collections/{name}/items", make_item(f"{number}", name, thing=value)).status == 201
    found = editor.ask("GET", f"/collections/{name}/items?limit=100&sortby=id").json()["features"]
    assert [item["properties"]["thing"] for item in found] == values
    at = f"/collections/{name}/items?filter={quote('thing > 1')}"
    assert [item["id"] for item in editor.ask("GET", at).json()["features"]] == ["1"]


def test_pain_41_items_are_checked_at_the_door_and_duplicates_are_told(editor: Editor) -> None:
    """Validation at ingest, requested for years; duplicate detection."""
    name = editor.collection()
    faults: list[tuple[dict[str, Any], str]] = [
        ({"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [0, 0]]]}}, "/geometry"),
        ({"bbox": [10, 10, 0, 0]}, "/bbox"),
        ({"datetime": "2020-02-30T00:00:00Z"}, "/properties/datetime"),
        ({"datetime": None}, "/properties/datetime"),
    ]
    for more, at in faults:
        done = editor.ask("POST", f"/collections/{name}/items", make_item("a", name, **more))
        assert (done.status, done.json()["at"].startswith(at)) == (400, True), done.body
    twice = lines(make_item("a", name, v=1), make_item("a", name, v=2))
    told = editor.ask("POST", f"/collections/{name}/bulk", twice, media_type=LINES).json()["items"]
    assert [(each["outcome"], each.get("pointer")) for each in told] == [("created", None), ("refused", "/id")]


def test_pain_42_a_collection_of_many_items_is_deleted_at_once(editor: Editor) -> None:
    """Delete collection: 500. One version, however many items it holds; others are searched meanwhile."""
    name, other = editor.collection(), editor.collection(make_item("o"))
    many = lines(*(make_item(f"{number}", name) for number in range(3_000)))
    assert editor.ask("POST", f"/collections/{name}/bulk", many, media_type=LINES).status == 200
    assert editor.ask("DELETE", f"/collections/{name}?cascade=true").status == 204
    assert editor.ask("GET", f"/search?collections={name}").json()["features"] == []
    assert editor.ask("GET", f"/collections/{other}/items").json()["numberMatched"] == 1
    assert editor.ask("POST", f"/collections/{name}/restore").status == 201
    assert editor.ask("GET", f"/collections/{name}/items").json()["numberMatched"] == 3_000


def test_pain_43_bulk_can_be_asynchronous_and_patch_takes_both_kinds(editor: Editor) -> None:
    """Async bulk; PATCH."""
    name = editor.collection(make_item("a", v=1))
    queued = editor.ask("POST", f"/collections/{name}/bulk", lines(make_item("b", name)),
                        ("Prefer", "respond-async"), media_type=LINES)  # fmt: skip
    job = queued.headers["location"].removeprefix(editor.url)
    while (told := editor.ask("GET", job).json())["status"] in ("accepted", "running"):
        pass
    assert (told["status"], told["counts"]["created"]) == ("successful", 1)
    report = editor.ask("GET", f"{job}/results").json()["items"]
    assert [(each["line"], each["id"], each["outcome"]) for each in report] == [(1, "b", "created")]
    at = f"/collections/{name}/items/a"
    steps = [{"op": "test", "path": "/properties/v", "value": 1}, {"op": "add", "path": "/properties/w", "value": 2}]
    done = editor.ask("PATCH", at, steps, media_type="application/json-patch+json")
    assert (done.json()["properties"]["v"], done.json()["properties"]["w"]) == (1, 2)
    merged = editor.ask("PATCH", at, {"properties": {"w": None}}, media_type="application/merge-patch+json")
    assert "w" not in merged.json()["properties"]


@pytest.mark.parametrize("odd", ["a/b", "a b", "ü/%2F", "?x=1&y", "#", "Ab", "aB", "a\\b", "''; --", "🛰"])
def test_pain_44_ids_of_any_characters_are_written_found_and_deleted(editor: Editor, odd: str) -> None:
    """Ids with `/` or other reserved characters; case-folded names."""
    name = f"{odd}-{next(editor.numbers)}"
    collection = f"/collections/{quote(name, safe='')}"
    made = editor.ask("POST", "/collections", make_collection(name))
    assert (made.status, unquote(made.headers["location"])) == (201, editor.url + unquote(collection))
    item = f"{collection}/items/{quote(odd, safe='')}"
    made = editor.ask("POST", f"{collection}/items", make_item(odd, name))
    assert made.status == 201
    assert editor.ask("GET", made.headers["location"].removeprefix(editor.url)).json()["id"] == odd
    assert editor.ask("GET", item.replace(quote(odd, safe=""), quote(odd.swapcase(), safe=""))).status == (
        200 if odd.swapcase() == odd else 404
    )
    assert editor.ask("PUT", item, make_item(odd, name, v=2)).status == 200
    assert editor.ask("PATCH", item, {"properties": {"v": 3}}).json()["properties"]["v"] == 3
    found = editor.ask("POST", "/search", {"collections": [name], "ids": [odd]}).json()["features"]
    assert [(each["id"], each["collection"]) for each in found] == [(odd, name)]
    assert editor.ask("DELETE", item).status == 204
    assert editor.ask("POST", f"{item}/restore").status == 201
    assert editor.ask("DELETE", f"{collection}?cascade=true").status == 204

"""What is read, changed and sent back: what Swath told in it is not kept as if its sender had said so."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.conftest import Editor, make_collection, make_item


def square(west: float, south: float) -> dict[str, Any]:
    east, north = west + 1, south + 1
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def read(editor: Editor, path: str) -> dict[str, Any]:
    found: dict[str, Any] = editor.ask("GET", path).json()
    return found


def times(editor: Editor, path: str) -> tuple[str, str]:
    properties = read(editor, path)["properties"]
    return properties["created"], properties["updated"]


@pytest.mark.parametrize("way", ["PUT", "bulk", "bulk_items"])
def test_the_times_of_an_item_that_is_sent_back_are_not_its_own(editor: Editor, way: str) -> None:
    name = editor.collection(make_item("a"))
    place = f"/collections/{name}/items/a"
    served = read(editor, place)
    created, first = times(editor, place)
    # Another has changed it since.
    assert editor.ask("PATCH", place, {"properties": {"n": 1}}, media_type="application/merge-patch+json").status == 200
    second = times(editor, place)[1]
    served["properties"]["title"] = "changed"
    match way:
        case "PUT":
            done = editor.ask("PUT", place, served)
        case "bulk":
            lines = json.dumps(served) + "\n"
            done = editor.ask("POST", f"/collections/{name}/bulk?mode=upsert", lines, media_type="application/x-ndjson")
        case _:
            body = {"items": {"a": served}, "method": "upsert"}
            done = editor.ask("POST", f"/collections/{name}/bulk_items", body)
    assert done.status == 200, done.body
    third = times(editor, place)
    assert third[0] == created
    assert first < second < third[1]
    # And once more: it is true of later versions too.
    assert editor.ask("PATCH", place, {"properties": {"n": 2}}, media_type="application/merge-patch+json").status == 200
    assert third[1] < times(editor, place)[1]


def test_times_that_are_the_publishers_own_stay(editor: Editor) -> None:
    name = editor.collection(make_item("a"))
    own = {"created": "2020-01-01T00:00:00.123456Z", "updated": "2021-01-01T00:00:00.5Z"}
    item = make_item("b", name, **own)
    for method, path in (("POST", f"/collections/{name}/items"), ("PUT", f"/collections/{name}/items/b")):
        assert editor.ask(method, path, item).status in (200, 201)
        assert times(editor, f"/collections/{name}/items/b") == (own["created"], own["updated"])
        item["properties"]["n"] = 1


def test_a_collection_that_is_sent_back_still_tells_of_its_items(editor: Editor) -> None:
    name = editor.collection()
    bare = make_collection(name)
    bare.pop("extent", None)
    place = f"/collections/{name}"
    assert editor.ask("PUT", place, bare).status == 200
    items = f"{place}/items"
    assert editor.ask("POST", items, make_item("a", name, geometry=square(1, 1))).status == 201
    found = editor.ask("GET", place)
    served, tag = found.json(), found.headers["etag"]
    assert (served["extent"]["spatial"]["bbox"], served["swath:items"]) == ([[1, 1, 2, 2]], 1)
    assert editor.ask("POST", items, make_item("b", name, geometry=square(50, 50))).status == 201
    changed = {**served, "title": "changed"}
    assert editor.ask("PUT", place, changed, ("If-Match", tag)).status == 200
    assert editor.ask("POST", items, make_item("c", name, geometry=square(60, 60))).status == 201
    last = read(editor, place)
    assert (last["title"], last["swath:items"]) == ("changed", 3)
    assert last["extent"]["spatial"]["bbox"] == [[1, 1, 61, 61]]
    # An extent of the publisher's own is kept, beside a number of items that is as it was served.
    own = {**last, "extent": {**last["extent"], "spatial": {"bbox": [[0, 0, 90, 90]]}}}
    assert editor.ask("PUT", place, own).status == 200
    assert read(editor, place)["extent"]["spatial"]["bbox"] == [[0, 0, 90, 90]]
    assert read(editor, place)["swath:items"] == 3

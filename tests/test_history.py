"""Looking back: versions, trash, and the catalogue as it was."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from swath.session import Session
from tests.conftest import Server, make_collection, make_item, run_swath, serving

PLACE = "/collections/c/items/a"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with serving_new(tmp_path) as made:
        yield made
    assert run_swath("check", tmp_path / "catalog").returncode == 0


def serving_new(tmp_path: Path) -> Any:
    (tmp_path / "c.json").write_text(json.dumps(make_collection("c")))
    assert run_swath("load", tmp_path / "catalog", tmp_path / "c.json").returncode == 0
    return serving(tmp_path / "catalog")


def put(server: Server, **properties: Any) -> None:
    body = json.dumps(make_item("a", **properties)).encode()
    assert server.request("PUT", PLACE, body, {"Content-Type": "application/json"}).status == 200


def test_every_version_is_listed_and_comes_back_as_it_was(server: Server) -> None:
    assert server.post("/collections/c/items", make_item("a", v=1)).status == 201
    put(server, v=2)
    assert server.request("DELETE", PLACE).status == 204
    told = server.get(f"{PLACE}/versions").json()["versions"]
    assert [(each["deleted"], each["restorable"], each["actor"]) for each in told] == [
        (True, False, "http"), (False, True, "http"), (False, True, "http"),
    ]  # fmt: skip
    assert sorted((each["at"] for each in told), reverse=True) == [each["at"] for each in told]
    values = [server.get(f"{PLACE}/versions/{each['version']}").json()["properties"]["v"] for each in told[1:]]
    assert values == [2, 1]
    assert server.get(f"{PLACE}/versions/{told[0]['version']}").status == 404
    assert [each["id"] for each in server.get("/collections/c/trash").json()["items"]] == ["a"]
    back = server.request("POST", f"{PLACE}/restore")
    assert (back.status, back.json()["properties"]["v"]) == (201, 2)
    assert back.json()["properties"]["created"] == told[2]["at"]
    older = server.request("POST", f"{PLACE}/versions/{told[2]['version']}/restore")
    assert (older.status, older.json()["properties"]["v"]) == (200, 1)
    assert server.get("/collections/c/trash").json()["items"] == []


def test_a_collection_comes_back_with_its_items(server: Server) -> None:
    for name in ("a", "b"):
        server.post("/collections/c/items", make_item(name))
    assert server.request("DELETE", "/collections/c").status == 409
    assert server.request("DELETE", "/collections/c?cascade=true").status == 204
    assert server.get(PLACE).status == 404
    assert server.get("/search?collections=c").json()["features"] == []
    assert [each["id"] for each in server.get("/trash").json()["collections"]] == ["c"]
    assert server.request("POST", "/collections/c/restore").status == 201
    assert server.get("/search?collections=c").json()["numberMatched"] == 2
    assert server.request("POST", "/collections/c/restore").status == 409


def test_each_deleted_collection_of_an_id_comes_back_by_its_deletion(server: Server) -> None:
    """Three collections, one after the other, have the id c; none of them is lost to those that came later."""
    deletions = []
    for number in (1, 2, 3):
        if number > 1:
            assert server.post("/collections", make_collection("c", title=f"number {number}")).status == 201
        server.post("/collections/c/items", make_item(f"item-{number}"))
        assert server.request("DELETE", "/collections/c?cascade=true").status == 204
        deletions.append(server.get("/trash").json()["collections"][0]["deletion"])
    told = server.get("/trash").json()["collections"]
    assert [(each["id"], each["deletion"]) for each in told] == [("c", tag) for tag in reversed(deletions)]

    def held() -> list[str]:
        return [each["id"] for each in server.get("/search?collections=c").json()["features"]]

    first = told[-1]["links"][0]
    assert first == {
        "rel": "restore", "href": f"{server.url}/collections/c/restore?deletion={deletions[0]}", "method": "POST",
        "type": "application/json",
    }  # fmt: skip
    back = server.request("POST", first["href"].removeprefix(server.url))
    assert (back.status, held()) == (201, ["item-1"])
    # That one is undone; the others wait until the id is free.
    assert [each["deletion"] for each in server.get("/trash").json()["collections"]] == [deletions[2], deletions[1]]
    assert server.request("POST", f"/collections/c/restore?deletion={deletions[1]}").status == 409
    assert server.request("DELETE", "/collections/c?cascade=true").status == 204
    again = server.request("POST", f"/collections/c/restore?deletion={deletions[0]}")
    assert (again.status, deletions[0] in again.json()["detail"]) == (404, True), "it was undone before"
    assert server.request("POST", f"/collections/c/restore?deletion={deletions[1]}").status == 201
    assert (held(), server.get("/collections/c").json()["title"]) == (["item-2"], "number 2")
    assert server.request("DELETE", "/collections/c?cascade=true").status == 204
    assert server.request("POST", "/collections/c/restore").status == 201
    assert held() == ["item-2"], "without a deletion, the last is undone"
    events = server.get("/changes").json()["changes"]
    restores = [each for each in events if each["type"] == "restore"]
    assert [each.get("passed", 0) for each in restores] == [2, 2, 0]
    assert server.request("POST", "/collections/c/restore?deletion=none").status == 404


def test_as_of_shows_what_was(server: Server) -> None:
    server.post("/collections/c/items", make_item("a", v=1))
    first = server.get(PLACE).json()["properties"]["updated"]
    put(server, v=2)
    second = server.get(PLACE).json()["properties"]["updated"]
    server.request("DELETE", "/collections/c?cascade=true")
    for at, value in ((first, 1), (second, 2)):
        assert server.get(f"{PLACE}?as-of={at}").json()["properties"]["v"] == value
        found = server.get(f"/search?collections=c&as-of={at}").json()["features"]
        assert [feature["properties"]["v"] for feature in found] == [value]
        here = server.get(f"/collections/c/items?as-of={at}")  # of a collection that is gone now
        assert [feature["properties"]["v"] for feature in here.json()["features"]] == [value]
        assert server.post("/search", {"collections": ["c"], "filter": {"op": "=", "args": [{"property": "v"}, value]},
                                       "as-of": at}).json()["numberMatched"] == 1  # fmt: skip
        assert server.get(f"/collections/c?as-of={at}").json()["id"] == "c"
        assert [each["id"] for each in server.get(f"/collections?as-of={at}").json()["collections"]] == ["c"]
    assert server.get(f"{PLACE}?as-of=2001-01-01T00:00:00Z").status == 404
    assert server.get("/collections/c/items?as-of=2001-01-01T00:00:00Z").status == 404
    assert server.get("/search?as-of=2001-01-01T00:00:00Z").json()["features"] == []


def test_older_than_searches_reach_back_is_told_by_an_index_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("swath.limits.Limits.cursor_lifetime_seconds", 0.0, raising=False)
    with Session(tmp_path / "c", create=True) as session:
        session.write([make_item(f"{n:03d}", v=n) for n in range(50)])
        at = session.get("c", "000").get("updated") or next(iter(session.changes()))[0].at
        instant = "9999-01-01T00:00:00Z" if at is None else None
        assert instant is None
        [last] = [event.at for event, _ in session.changes() if event.id == "049"]
        session.write([make_item(f"{n:03d}", v=n + 1_000) for n in range(50)])
        session.remove("c", "007")
        from swath.stac.time import format_instant

        then = format_instant(last)
        assert sorted(item["properties"]["v"] for item in session.search(as_of=then)) == list(range(50))
        assert session.search(as_of=then, filter="v >= 1000").matched == 0
        assert session.count(filter="v >= 1000") == 49


def test_what_is_too_old_is_pruned_and_the_rest_stays(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with Session(folder, create=True) as session:
        session.write([make_item("a", v=1), make_item("b")])
        session.write([make_item("a", v=2)])
        session.remove("c", "b")
        session._catalog.ledger.prune(0)
        told = session.versions("c", "a")
        assert [version.restorable for version in told] == [True, False]
        assert session.get("c", "a")["properties"]["v"] == 2
        kinds = [(event.type, event.id, event.document is not None) for event, _ in session.changes()]
        assert kinds == [("put", None, True), ("put", "a", False), ("put", "b", False), ("put", "a", True),
                         ("delete", "b", False)]  # fmt: skip
    assert run_swath("trash", folder, "c").stdout == ""
    assert run_swath("undelete", folder, "c", "b").returncode == 1
    assert run_swath("check", folder).returncode == 0


def test_times_that_a_publisher_left_out_can_be_filtered_and_sorted_by(tmp_path: Path) -> None:
    with Session(tmp_path / "c", create=True) as session:
        session.write([make_item("old", updated="2001-01-01T00:00:00Z"), make_item("a")])
        session.write([make_item("b")])
        assert [item["id"] for item in session.search(sortby="-updated")] == ["b", "a", "old"]
        assert session.count(filter="updated > TIMESTAMP('2020-01-01T00:00:00Z')") == 2
        assert session.count(filter="created < TIMESTAMP('2020-01-01T00:00:00Z')") == 0

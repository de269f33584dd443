"""Faults that were found by trying: each stays found."""

from __future__ import annotations

import json
import math
import threading
import time
from pathlib import Path
from typing import Any

import pytest

import swath
from swath.access import EVERYTHING
from swath.catalog import SearchRequest, build_search
from swath.catalog.request import parse_sort_text
from swath.cql2.ast import IsNull, Property
from swath.cql2.text import parse_text
from swath.errors import InvalidDocument, InvalidFilter, InvalidRequest, Unavailable
from swath.search import NEWEST_FIRST
from swath.session import Session
from swath.stac.document import read_document
from swath.store.columns.index import ColumnIndex
from swath.store.records import Outcome
from swath.store.sqlite.batch import Batch
from swath.store.sqlite.ledger import SqliteLedger
from tests.conftest import Server, make_item


def item_text(**more: Any) -> bytes:
    return json.dumps(make_item("a", **more)).encode()


@pytest.mark.parametrize("body", [
    item_text()[:-1] + b',"id"\n:"b"}',
    item_text()[:-1] + b',"x"  :1,"x" \t:2}',
    item_text()[:-1] + b',"x":1,"\\u0078":2}',
    item_text()[:-1] + b',"\\u0022:":0,"x":1,"x":2}',
])  # fmt: skip
def test_duplicate_keys_are_found_however_they_are_spaced_or_spelled(body: bytes) -> None:
    with pytest.raises(InvalidDocument, match="stands twice"):
        read_document(body)


@pytest.mark.parametrize("deep", [b"[" * 300 + b"]" * 300, b'{"\\u0061":' * 300 + b"1" + b"}" * 300])
def test_deep_nesting_is_refused_and_brackets_in_strings_are_not(deep: bytes) -> None:
    with pytest.raises(InvalidDocument, match="nested deeper than 200 levels"):
        read_document(item_text()[:-1] + b',"x":' + deep + b"}")
    assert read_document(item_text()[:-1] + b',"x":"' + b"[" * 300 + b'"}').id == "a"


def test_a_range_that_ends_before_it_starts_is_refused_beside_a_datetime_too() -> None:
    with pytest.raises(InvalidDocument, match="is after"):
        read_document(item_text(start_datetime="2020-01-02T00:00:00Z", end_datetime="2020-01-01T00:00:00Z"))


def test_a_scribble_is_refused_before_it_is_repaired() -> None:
    star = [[50 * math.cos(i * 2.4), 50 * math.sin(i * 2.4)] for i in range(20_000)]
    geometry = {"type": "Polygon", "coordinates": [[*star, star[0]]]}
    with pytest.raises(InvalidDocument, match="crosses itself, or nests, so often"):
        read_document(item_text(geometry=geometry))
    circle = [[50 * math.cos(i / 1e4 * math.tau), 50 * math.sin(i / 1e4 * math.tau)] for i in range(10_000)]
    read_document(item_text(geometry={"type": "Polygon", "coordinates": [[*circle, circle[0]]]}))


def test_rings_within_each_other_are_refused_before_they_are_compared() -> None:
    rings = [[[-r, -r], [r, -r], [r, r], [-r, r], [-r, -r]] for r in (n / 300 for n in range(1, 18_000))]
    nested = {"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}
    with pytest.raises(InvalidDocument, match="nests, so often"):
        read_document(item_text(geometry=nested))
    side_by_side = [[[x + n % 100, y + n // 100] for x, y in rings[30]] for n in range(-5_000, 5_000)]
    apart = {"type": "MultiPolygon", "coordinates": [[], *([ring] for ring in side_by_side)]}
    read_document(item_text(geometry=apart))


def test_lines_and_collections_cross_the_antimeridian_where_their_bbox_says_so(tmp_path: Path) -> None:
    line = {"type": "LineString", "coordinates": [[170.0, 5.0], [-170.0, 5.0]]}
    ring = [[170.0, 20.0], [-170.0, 20.0], [-170.0, 25.0], [170.0, 25.0], [170.0, 20.0]]
    collection = {"type": "GeometryCollection", "geometries": [{"type": "Polygon", "coordinates": [ring]}]}
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item("line", geometry=line, bbox=[170, 5, -170, 5]),
                       make_item("area", geometry=collection, bbox=[170, 20, -170, 25])])  # fmt: skip
        assert {i["id"] for i in session.search(bbox=[175, 4, -175, 6])} == {"line"}
        assert {i["id"] for i in session.search(bbox=[-179, 21, -178, 22])} == {"area"}
        assert {i["id"] for i in session.search(bbox=[-1, 0, 1, 30])} == set()


def test_empty_parts_across_the_antimeridian_are_no_fault() -> None:
    empty, point = {"type": "Polygon", "coordinates": [[]]}, {"type": "Point", "coordinates": [181.0, 5.0]}
    read_document(item_text(geometry={"type": "GeometryCollection", "geometries": [empty, point]}))
    wide = [[179.0, 1.0], [-179.0, 1.0]]
    read_document(
        item_text(geometry={"type": "MultiLineString", "coordinates": [[], wide, wide]}, bbox=[179, 1, -179, 1])
    )


def test_large_numbers_page(tmp_path: Path) -> None:
    values = [1e20, 1e21, 2**70, 2.0**63, 2**63 - 1, -(2**63), 1e300, 0.5]
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item(str(n), x=value) for n, value in enumerate(values)])
        request = SearchRequest(sortby=parse_sort_text("x"), limit=1)
        found, token = [], None
        while True:
            again = SearchRequest(sortby=request.sortby, limit=1, token=token)
            page = session._catalog.search(build_search(again), EVERYTHING)
            found += [item.id for item in page.items]
            token = page.next
            if token is None:
                break
    assert found == [str(n) for n in sorted(range(len(values)), key=values.__getitem__)]


def test_a_cursor_goes_on_after_the_last_item_with_its_field_is_gone(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item(str(n), x=n) for n in range(6)])
        request = SearchRequest(sortby=parse_sort_text("x"), limit=3)
        first = session._catalog.search(build_search(request), EVERYTHING)
        for number in range(6):
            session.remove("c", str(number))
        rest = SearchRequest(sortby=request.sortby, limit=3, token=first.next)
        assert [i.id for i in session._catalog.search(build_search(rest), EVERYTHING).items] == ["3", "4", "5"]


def test_sort_values_that_no_token_could_carry_are_refused_on_the_first_page(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item(str(n), t="x" * 13_000 + str(n)) for n in range(4)])
        with pytest.raises(InvalidRequest, match="too long to page through"):
            session._catalog.search(build_search(SearchRequest(sortby=parse_sort_text("t"), limit=2)), EVERYTHING)


def test_a_token_shows_nothing_of_what_it_holds(samples: Server) -> None:
    import base64

    page = samples.get("/search?limit=1&sortby=platform").json()
    href = next(link["href"] for link in page["links"] if link["rel"] == "next")
    token = href.rpartition("token=")[2]
    assert page["features"][0]["collection"].encode() not in base64.urlsafe_b64decode(token + "==")


def test_a_collection_of_hidden_items_stays_hidden_when_the_rule_asks_for_a_missing_property(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item("a", "open"), make_item("b", "secret", restricted=True)])
    with Session(tmp_path / "c", rule=IsNull(Property("restricted"))) as session:
        assert [c["id"] for c in session.collections()] == ["open"]
        assert session.queryables()["collection"]["enum"] == ["open"]


def test_the_deadline_holds_within_a_block(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item(f"{n:05d}") for n in range(2_000)])
        index = session._catalog.index
        revision = index.refresh()
        expression = parse_text(" AND ".join(["id >= id"] * 3_000))
        started = time.monotonic()
        with pytest.raises(Unavailable):
            index.select(expression, NEWEST_FIRST, 10, revision=revision, deadline=time.monotonic() + 0.2)
        assert time.monotonic() - started < 5, "the deadline was not looked at between conditions"


def test_the_lists_of_a_filter_share_one_cap() -> None:
    members = ",".join(["1"] * 6_000)
    with pytest.raises(InvalidFilter, match="lists have more than 10,000 members"):
        parse_text(f"a IN ({members}) OR b IN ({members})")


def test_a_long_forwarding_header_is_refused(samples: Server) -> None:
    answer = samples.get("/", Forwarded="a" * 30_000)
    assert (answer.status, answer.json()["code"]) == (400, "InvalidParameter")


def test_properties_named_like_members_of_an_item_stay_out_of_the_way(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item("a", id="other", collection="other"), make_item("b")])
        item = make_item("x")
        item["properties"]["geometry"] = "foo"
        session.write([item])
        queryables = session.queryables()
        assert queryables["geometry"] == {"title": "Footprint", "format": "geometry-any"}
        assert "enum" not in queryables["id"]
        with pytest.raises(InvalidFilter, match="geometry"):
            session.count(filter="geometry = 'foo'")
        assert session.count(filter="id = 'other'") == 0
        with pytest.raises(InvalidRequest, match="unknown field 'geometry'"):
            list(session.search(sortby="geometry"))


def test_a_request_that_fails_in_a_group_fails_alone_and_commits_keep_their_actor(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = SqliteLedger.create(tmp_path / "c")
    collection = {"type": "Collection", "id": "c", "description": "c", "license": "other", "links": []}
    ledger.write([ledger.prepare(read_document(json.dumps(collection).encode()))], "upsert", "setup")
    real, gate = Batch._put_item, threading.Event()

    def put(self: Batch, write: Any, *rest: Any) -> tuple[Outcome, int]:
        gate.wait(5)
        if write.id == "bad":
            raise RuntimeError("broken")
        return real(self, write, *rest)

    monkeypatch.setattr(Batch, "_put_item", put)
    results: dict[str, Any] = {}

    def work(name: str, actor: str) -> None:
        try:
            write = ledger.prepare(read_document(json.dumps(make_item(name)).encode()))
            results[name] = ledger.write([write], "upsert", actor).outcomes
        except RuntimeError as error:
            results[name] = str(error)

    names = [("first", "alice"), ("bad", "alice"), ("good", "alice"), ("other", "bob")]
    threads = [threading.Thread(target=work, args=pair) for pair in names]
    for thread in threads:
        thread.start()
        time.sleep(0.05)
    gate.set()
    for thread in threads:
        thread.join()
    assert results["bad"] == "broken"
    assert all(results[name] == [Outcome.CREATED] for name in ("first", "good", "other"))
    import apsw

    connection = apsw.Connection(str(tmp_path / "c" / "catalog.db"), flags=apsw.SQLITE_OPEN_READONLY)
    actors = {
        name: next(iter(connection.execute('SELECT actor FROM "commit" WHERE rev >= ? ORDER BY rev', (seq,))))[0]
        for name, seq in connection.execute("SELECT id, seq FROM version WHERE op = 1")
    }
    connection.close()
    assert actors == {"first": "alice", "good": "alice", "other": "bob"}
    ledger.close()


def test_searches_go_on_while_the_index_starts_over(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item(str(n)) for n in range(300)])
        index = session._catalog.index
        assert isinstance(index, ColumnIndex)
        revision = index.refresh()
        monkeypatch.setattr(ColumnIndex, "_mostly_dead", lambda _: True)
        seen: set[int | None] = set()
        stop = threading.Event()

        def search() -> None:
            while not stop.is_set():
                found = index.select(parse_text("true"), NEWEST_FIRST, 1, revision=revision, count=True)
                seen.add(found.matched)

        thread = threading.Thread(target=search)
        thread.start()
        for number in range(20):
            session.write([make_item(f"more-{number}")])
            index.refresh()
        stop.set()
        thread.join()
        assert seen == {300}


def test_documents_that_are_no_json_are_reported_by_the_python_interface(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        report = session.write([make_item("a"), make_item("b", x=math.nan), make_item("d", x={1, 2}), make_item("e")])
        assert (report.created, len(report.refused)) == (2, 2)
        assert "cannot be written as JSON" in report.refused[0].reason

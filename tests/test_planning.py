"""How rows are come by: counting, orders, cells and rasters give the answers that evaluating every row gives."""

from __future__ import annotations

import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import shapely

import swath
from swath.cql2 import spatial
from swath.cql2.raster import Raster
from swath.errors import CatalogDamaged
from swath.session import Session
from swath.store.columns.cells import cell_numbers, cell_ranges, level_of
from swath.store.columns.index import SEGMENTS
from swath.store.columns.manifest import fold, read_manifest
from swath.store.columns.segment import Segment
from tests.conftest import long, make_item, run_swath, serving


def folded(session: Session, folder: Path, **options: Any) -> None:
    assert fold(session._catalog.ledger, folder / SEGMENTS, least=1, **options)


def a_shape(draw: random.Random) -> Any:
    """Blobs with and without holes, pairs of them, lines, points, slivers; some along the lines of a grid."""
    x, y, size = draw.uniform(-150, 150), draw.uniform(-60, 60), draw.choice([0.5, 5, 25])
    kind = draw.randrange(7)
    if kind == 0:
        return shapely.box(round(x), round(y), round(x) + round(size) + 1, round(y) + 2)
    if kind == 1:
        return shapely.LineString([(x + draw.uniform(-size, size), y + draw.uniform(-size, size)) for _ in range(9)])
    if kind == 2:
        return shapely.Point(x, y)
    corners = [(draw.uniform(0.4, 1) * size, angle) for angle in np.linspace(0, 2 * np.pi, draw.choice([5, 40, 900]))]
    outline = [(x + r * np.cos(angle), y + r * np.sin(angle) / 2) for r, angle in corners[:-1]]
    blob = shapely.Polygon(outline)
    if kind == 3:
        return shapely.difference(blob, shapely.Point(x, y).buffer(size / 5))
    if kind == 4:
        return shapely.union_all([blob, shapely.affinity.translate(blob, xoff=3 * size)])
    return blob


def test_a_raster_decides_only_what_is_so() -> None:
    draw = random.Random(6)
    asked = decided = 0
    for _ in range(long(60, 3_000)):
        shape = a_shape(draw)
        west, south, east, north = shape.bounds
        reach = max(east - west, north - south, 1)
        corners = np.array([(draw.uniform(west - reach / 4, east), draw.uniform(south - reach / 4, north),
                             draw.choice([0, 0.01, 0.1, 0.5]) * reach, draw.choice([0, 0.02, 0.2]) * reach)
                            for _ in range(300)])  # fmt: skip
        boxes = shapely.box(corners[:, 0], corners[:, 1], corners[:, 0] + corners[:, 2], corners[:, 1] + corners[:, 3])
        sides = shapely.bounds(boxes).T
        near = (sides[0] <= east) & (sides[2] >= west) & (sides[1] <= north) & (sides[3] >= south)
        boxes, sides = boxes[near], sides[:, near]
        inside, undecided = Raster(shape, draw.choice([64, 128, 256, 512])).decide(tuple(sides))
        assert shapely.contains_properly(shape, boxes[inside]).all(), shape.wkt[:200]
        assert not shapely.intersects(shape, boxes[~inside & ~undecided]).any(), shape.wkt[:200]
        asked, decided = asked + len(boxes), decided + int((~undecided).sum())
    print(f"{decided} of {asked} boxes decided")
    assert decided > asked // 4


def test_a_box_that_meets_a_region_is_in_one_of_its_cells() -> None:
    draw = random.Random(8)
    for _ in range(long(300, 20_000)):
        width = draw.choice([0.0, 0.001, 0.09, 1, 44, 180, 359])
        west = draw.uniform(-180, 180 - width)
        south, height = draw.uniform(-90, 89), draw.choice([0.0, 0.5, 1.0])
        box = [np.array([side]) for side in (west, south, west + width, south + height)]
        number = int(cell_numbers(*box)[0])
        x, y = draw.uniform(west, west + width), draw.uniform(south, south + height)  # a region that meets it there
        region = (
            x - draw.choice([0, 2, 30]),
            y - draw.choice([0, 2]),
            x + draw.choice([0, 1]),
            y + draw.choice([0, 7]),
        )
        ranges = cell_ranges(region, [int(level_of(np.array([number]))[0])])
        assert ranges is None or ((ranges[0] <= number) & (number <= ranges[1])).any(), (box, region)


def test_many_footprints_and_few_meet_alike(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The raster's way and that of GEOS alone, for every relation."""
    draw = random.Random(9)
    relations = ["INTERSECTS", "DISJOINT", "WITHIN", "CONTAINS", "OVERLAPS", "CROSSES", "TOUCHES", "EQUALS"]
    with swath.open(tmp_path / "c", create=True) as session:
        items = []
        for number in range(400):
            shape = a_shape(draw)
            items.append(make_item(f"{number:04d}") | {"geometry": shapely.geometry.mapping(shape)})
        assert session.write(items).refused == []
        folded(session, tmp_path / "c")
        for _ in range(long(12, 300)):
            shape = json.loads(shapely.to_geojson(a_shape(draw)))
            text = {"op": f"s_{draw.choice(relations).lower()}", "args": [{"property": "geometry"}, shape]}
            monkeypatch.setattr(spatial, "_MANY", 1)
            monkeypatch.setattr(spatial, "_GRIDS", ((1, draw.choice([64, 128, 256, 512])),))
            mine = [item["id"] for item in session.search(filter=text)]
            monkeypatch.setattr(spatial, "_MANY", 10**9)
            monkeypatch.setattr(spatial, "_GRIDS", ())
            assert mine == [item["id"] for item in session.search(filter=text)], text


ASKED_AGAIN = [
    "w LIKE '%3%'",
    "CASEI(w) = 'W3'",
    "length(w) > 2",
    "A_CONTAINS(tags, ('t1'))",
    "w IN ('w3', 'w4', 'new')",
    "v < 30 AND tag = 't1'",  # `tags` of UP42's documents, as long as nothing is called so
    "S_INTERSECTS(geometry, POLYGON((0 0, 40 0, 40 40, 0 40, 0 0)))",
    "when > TIMESTAMP('2024-01-02T00:00:00Z')",
    "when > '2024-01-02'",
]


def test_a_question_that_is_asked_again_sees_what_was_written_since(tmp_path: Path) -> None:
    """What is kept of a question must not outlive what it was told by: each is asked of an index of its own too."""
    draw = random.Random(12)
    with swath.open(tmp_path / "c", create=True) as session:
        for turn in range(8):
            items = []
            for _ in range(60):
                more: dict[str, Any] = {
                    "v": draw.randrange(60), "w": draw.choice(["w3", "W3", "w40", f"new{turn}"]),
                    "tags": [f"t{draw.randrange(3)}"], "when": f"2024-01-{draw.randrange(1, 9):02d}T00:00:00Z",
                }  # fmt: skip
                if turn > 4:
                    more |= {"tag": "t1"}
                if turn > 5:
                    more["when"] = "soon"  # from now on, strings under this name are texts
                item = make_item(f"{draw.randrange(90)}", **more)
                item["geometry"] = {"type": "Point", "coordinates": [draw.uniform(-60, 60), draw.uniform(-60, 60)]}
                items.append(item)
            assert session.write(items).refused == []
            if turn in (1, 2, 5):
                folded(session, tmp_path / "c")
            for text in ASKED_AGAIN:
                mine = [[item["id"] for item in session.search(filter=text, limit=7)] for _ in range(3)]
                with swath.open(tmp_path / "c") as fresh:
                    theirs = [item["id"] for item in fresh.search(filter=text, limit=7)]
                assert mine == [theirs] * 3, (turn, text)


# -- explain ---------------------------------------------------------------------------------------------


def test_explain_tells_what_was_counted(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item(f"{n:04d}", v=n, w=f"w{n % 50}") for n in range(2_000)])
        folded(session, tmp_path / "c")
        told = session.search(filter="v < 20 AND w = 'w3'", limit=5).explained()
    (step,) = told["steps"]
    assert step["counted"] == [{"by": "order of v", "rows": 20}, {"by": "order of w", "rows": 40}]
    assert step["way"] == "candidates by order of v"
    assert (step["rows"], step["rows examined"], step["rows selected"]) == (2_000, 20, 1)
    done = run_swath("search", tmp_path / "c", "--filter", "v < 20", "--explain")
    assert "20 by order of v" in done.stdout
    assert "20 examined" in done.stdout
    both = run_swath("search", tmp_path / "c", "--explain", "--count")
    assert both.returncode != 0
    assert "either --explain" in both.stderr


def test_explain_over_http_is_for_those_who_may(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item(f"{n:04d}", v=n) for n in range(30)])
    with serving(tmp_path / "c") as server:
        answer = server.get("/search?filter=v%3C3&explain=true").json()
        assert answer["explain"]["steps"][0]["rows selected"] == 3
        assert "explain" not in server.get("/search?filter=v%3C3").json()
        posted = server.post("/search", {"limit": 2, "explain": True}).json()
        assert posted["explain"]["steps"][0]["rows"] == 30
        assert server.get("/search?explain=maybe").status == 400
        done = run_swath("search", server.url, "--explain", "--json")
        assert '"steps"' in done.stdout
    with serving(tmp_path / "c", env={"SWATH_EXPLAIN": "off"}) as server:
        answer = server.get("/search?explain=true")
        assert (answer.status, answer.json()["code"]) == (403, "NotAllowed")


# -- damage and versions ---------------------------------------------------------------------------------


def test_damage_is_not_copied_into_a_merged_segment(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with swath.open(folder, create=True) as session:
        for part in range(3):
            session.write([make_item(f"{part}-{n:03d}", v=n) for n in range(100)])
            folded(session, folder)
        first = folder / SEGMENTS / read_manifest(session._catalog.ledger).segments[0][0]
        column = Segment(first).file.about["columns"]["v"][0]
        place = Segment(first).file._directory[f"{column}.integers"][0]
        data = bytearray(first.read_bytes())
        data[place + 8] ^= 255
        first.write_bytes(bytes(data))
        session.write([make_item(f"3-{n:03d}", v=n) for n in range(100)])
        folded(session, folder)
    with swath.open(folder) as session:
        assert len(read_manifest(session._catalog.ledger).segments) == 1
        assert session.count(filter="v < 100") == 400
    assert run_swath("check", folder).returncode == 0


def test_a_segment_of_another_version_is_built_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "c"
    with swath.open(folder, create=True) as session:
        session.write([make_item(f"{n:03d}", v=n) for n in range(50)])
        with monkeypatch.context() as patch:
            patch.setattr("swath.store.columns.build.FORMAT", 1)
            folded(session, folder)
        name = read_manifest(session._catalog.ledger).segments[0][0]
    with pytest.raises(CatalogDamaged, match="another version"):
        Segment(folder / SEGMENTS / name)
    with swath.open(folder) as session:
        assert session.count(filter="v < 10") == 10
    assert run_swath("check", folder, "--repair").returncode == 0
    with swath.open(folder) as session:
        assert session.count(filter="v < 10") == 10
        Segment(folder / SEGMENTS / read_manifest(session._catalog.ledger).segments[0][0])


def test_what_has_been_dead_for_long_is_dropped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "c"
    monkeypatch.setattr("swath.store.columns.manifest.FOLD_ROWS", 10)
    with swath.open(folder, create=True) as session:
        session.write([make_item(f"{n:03d}", v=n) for n in range(200)])
        folded(session, folder, largest=250)
        for number in range(100):
            session.remove("c", f"{number:03d}")
        ledger = session._catalog.ledger
        monkeypatch.setattr(ledger, "horizon", lambda _: ledger.head())
        folded(session, folder, largest=250)
        rows = [Segment(folder / SEGMENTS / name).rows for name, _, _ in read_manifest(ledger).segments]
        assert sum(rows) == 100
        assert [item["id"] for item in session.search(sortby="v", limit=2)] == ["100", "101"]


# -- spread ----------------------------------------------------------------------------------------------


def test_histograms_and_grids_count_what_is_there(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with swath.open(folder, create=True) as session:
        items = [make_item(f"{n:03d}", v=n, datetime=f"20{n % 20:02d}-01-01T00:00:00Z") for n in range(100)]
        session.write(items)
        folded(session, folder)
        session.write([make_item("late", v=2.5, datetime="2030-01-01T00:00:00Z")])  # in the tail
        assert session.histogram("v", [0, 10, 20, 99]) == [11, 10, 80]
        assert session.histogram("v", [0, 10], filter="v > 2 AND v < 3") == [1]
        years = ["2000-01-01T00:00:00Z", "2010-01-01T00:00:00Z", "2025-01-01T00:00:00Z"]
        assert session.histogram("datetime", years) == [50, 50]
        assert sum(count for _, _, count in session.grid(10)) == 101
        with pytest.raises(swath.errors.SwathError, match="ascending"):
            session.histogram("v", [3, 2])

"""Segments answer as the tail does, and as a plain oracle does, whatever was written, ended and folded in between."""

from __future__ import annotations

import itertools
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest
import shapely

import swath
from swath.access import EVERYTHING
from swath.catalog import Catalog, SearchRequest, build_search
from swath.catalog.request import parse_sort_text
from swath.cql2.bind import bind
from swath.search import NEWEST_FIRST
from swath.session import Session
from swath.store.base import Ledger
from swath.store.columns import manifest, searching
from swath.store.columns.index import SEGMENTS, ColumnIndex
from swath.store.columns.manifest import fold, read_manifest
from swath.store.records import Operation, Removal
from tests.conftest import long, make_item, run_swath
from tests.cql2_oracle import holds, search_shape, temporal_names
from tests.test_cql2_laws import make_random_item, tree

COLLECTIONS = ("typed", "mixed", "times")
SORTS = ["", "-eo:cloud_cover,id", "s", "-t", "big,-id", "-flag", "start_datetime", "collection,-n"]


def newest_first(item: dict[str, Any]) -> tuple[Any, ...]:
    """The default order, by the instants of the oracle's own reading."""
    from tests.cql2_oracle import instant

    properties = item["properties"]
    when = properties.get("datetime") or properties.get("start_datetime")
    known = instant(when) if isinstance(when, str) else None
    return (known is None, -known.first if known else 0, item["collection"], item["id"])


class World:
    """A catalogue that is written and folded at random, and what should be in it."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.draw = random.Random(seed)
        self.folder = folder / SEGMENTS
        self.session = swath.open(folder, create=True)
        self.catalog: Catalog = self.session._catalog
        self.ledger: Ledger = self.catalog.ledger
        self.model: dict[tuple[str, str], dict[str, Any]] = {}
        self.ever: list[dict[str, Any]] = []
        self.did = Counter[str]()

    def close(self) -> None:
        self.session.close()

    def write(self) -> None:
        items = {}
        for _ in range(self.draw.randrange(1, 40)):
            item = make_random_item(self.draw, self.draw.randrange(60), self.draw.choice(COLLECTIONS))
            if usable(item):
                items[item["id"]] = item
        assert self.session.write(items.values()).refused == []
        for item in items.values():
            self.model[item["collection"], item["id"]] = item
            self.ever.append(item)
        self.did["writes"] += 1

    def remove(self) -> None:
        for place in self.draw.sample(sorted(self.model), min(len(self.model), self.draw.randrange(1, 8))):
            self.session.remove(*place)
            del self.model[place]
        self.did["removals"] += 1

    def fold(self) -> None:
        self.did["folds"] += fold(self.ledger, self.folder, least=1, largest=self.draw.choice([30, 100, 100_000]))

    def step(self) -> None:
        self.draw.choices([self.write, self.remove, self.fold], [5, 2, 3])[0]()

    def compare(self, memory: ColumnIndex) -> None:
        """One search, answered by segments with a tail, by a tail alone, and by the oracle."""
        condition = tree(self.draw, self.draw.randrange(3))
        expression = bind(build_search(SearchRequest(filter=condition)).expression)
        text = self.draw.choice(SORTS)
        sort = build_search(SearchRequest(sortby=parse_sort_text(text) if text else None)).sort
        revision, limit = self.catalog.index.refresh(), self.draw.choice([1, 7, 10_000])
        assert memory.refresh() == revision
        options: dict[str, Any] = {"revision": revision, "count": True, "backward": False}
        mine = self.catalog.index.select(expression, sort, limit, **options)
        plain = memory.select(expression, sort, limit, **options)
        assert [hit.seq for hit in mine.hits] == [hit.seq for hit in plain.hits], (condition, text)
        assert (mine.more, mine.matched) == (plain.more, plain.matched), condition
        temporal = temporal_names(self.ever)
        wanted = [item for item in self.model.values() if holds(condition, item, temporal)]
        assert mine.matched == len(wanted), condition
        if sort == NEWEST_FIRST:
            ids = [(item.collection, item.id) for item in self.ledger.items([hit.seq for hit in mine.hits])]
            wanted.sort(key=newest_first)
            assert ids == [(item["collection"], item["id"]) for item in wanted[:limit]], condition
        # Asked again without a count, which may stop early, and from the end of the page on, both ways.
        places = [None, *([mine.hits[-1].key] if mine.more and mine.hits else [])]
        for after, backward in itertools.product(places, (False, True)):
            options = {"revision": revision, "after": after, "backward": backward}
            found = [each.select(expression, sort, limit, **options) for each in (self.catalog.index, memory)]
            pages = [([hit.seq for hit in each.hits], each.more) for each in found]
            assert pages[0] == pages[1], (condition, text, limit, after, backward)
        self.did["some" if 0 < len(wanted) < len(self.model) else "none or all"] += 1


def usable(item: dict[str, Any]) -> bool:
    """Not a collection whose lines run into its areas: cutting them rounds, and the oracle does not cut."""
    shape = search_shape(item)
    if shape is None or shape.geom_type != "GeometryCollection":
        return True
    areas, lines = ([part for part in shapely.get_parts(shape) if part.geom_type.endswith(kind)]
                    for kind in ("Polygon", "LineString"))  # fmt: skip
    return not shapely.intersects(shapely.union_all(areas), shapely.union_all(lines))


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that small catalogues take the ways of large ones too."""
    smaller = {"_FEW": 2, "_FIRST_BLOCK": 4, "_SCANNED": 4, "_TRIED": 8, "_BLOCK": 16, "_WALKED_PART": 3}
    for name, small in smaller.items():
        monkeypatch.setattr(searching, name, small)
    monkeypatch.setattr(manifest, "_PIECE", 40)


@pytest.mark.parametrize("seed", range(long(4, 40)))
def test_segments_a_tail_and_an_oracle_agree(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path / "c", seed)
    memory = ColumnIndex(world.ledger)
    try:
        world.write()
        for _ in range(25):
            world.step()
            for _ in range(long(5, 20)):
                world.compare(memory)
        print(f"seed {seed}: {dict(world.did)}, {len(read_manifest(world.ledger).segments)} segments in the end")
        assert world.did["folds"] >= 2
        whole = bind(build_search(SearchRequest()).expression)
        revision = world.catalog.index.refresh()
        assert world.catalog.index.summaries(whole, revision=revision) == memory.summaries(whole, revision=revision)
        told = [
            {fact.name: fact for fact in each.properties(whole, revision=revision, most_values=5)}
            for each in (world.catalog.index, memory)
        ]
        assert told[0] == told[1]
    finally:
        world.close()


def walk(catalog: Catalog, text: str, limit: int) -> Iterator[list[tuple[str, str]]]:
    """Pages of a search, one at a time."""
    request = SearchRequest(sortby=parse_sort_text(text) if text else None, limit=limit)
    page = catalog.search(build_search(request), EVERYTHING)
    while True:
        yield [(item.collection, item.id) for item in page.items]
        if page.next is None:
            return
        again = SearchRequest(sortby=request.sortby, limit=limit, token=page.next)
        page = catalog.search(build_search(again), EVERYTHING)


@pytest.mark.parametrize("seed", range(long(6, 100)))
def test_a_walk_sees_its_revision_while_segments_come_and_go(tmp_path: Path, seed: int) -> None:
    world = World(tmp_path / "c", 1_000 + seed)
    try:
        for do in (world.write, world.step, world.fold, world.step, world.write):
            do()
        text = world.draw.choice(SORTS)
        at_once = [each for page in walk(world.catalog, text, 10_000) for each in page]
        seen: list[tuple[str, str]] = []
        for page in walk(world.catalog, text, world.draw.choice([3, 10])):
            seen += page
            if world.draw.random() < 0.5:
                world.step()
        assert seen == at_once, text
    finally:
        world.close()


# -- what a review found ---------------------------------------------------------------------------------


def pages(session: Session, text: str, limit: int) -> list[str]:
    return [item for page in itertools.islice(walk(session._catalog, text, limit), 200) for _, item in page]


def test_pages_of_every_order_over_one_segment(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item(f"{n:03d}", v=n % 7, w=f"w{n % 5}", x=n if n % 2 else None) for n in range(150)])
        assert fold(session._catalog.ledger, tmp_path / "c" / SEGMENTS, least=1)
        for text in ("v", "-v", "w", "-w", "x", "-x", "datetime", "-datetime", "id", "-id"):
            assert pages(session, text, 4) == pages(session, text, 10_000), text
            assert len(pages(session, text, 4)) == 150


def test_a_collection_that_came_back_is_walked_once(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        ledger = session._catalog.ledger
        session.write([make_item(f"{n:02d}", "c") for n in range(40)])
        ledger.write([Removal(Operation.DELETE_COLLECTION, "c", "c")], "upsert", "test")
        session.write([make_item(f"{n:02d}", "c") for n in range(20)])
        assert fold(ledger, tmp_path / "c" / SEGMENTS, least=1)
        assert pages(session, "", 6) == [f"{n:02d}" for n in range(20)]


def test_a_date_is_found_at_its_noon(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item("a", datetime="2020-01-05")])
        noon = "TIMESTAMP('2020-01-05T12:00:00Z')"
        texts = [f"datetime >= {noon}", f"datetime = {noon}", f"datetime BETWEEN {noon} AND DATE('2020-02-01')"]
        before = [session.count(filter=text) for text in texts]
        assert fold(session._catalog.ledger, tmp_path / "c" / SEGMENTS, least=1)
        assert [session.count(filter=text) for text in texts] == before == [1, 1, 1]


def test_odd_strings_and_numbers_do_no_harm(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item("a", platform="landsat-8", huge=10**400), make_item("b", huge=10**20)])
        assert fold(session._catalog.ledger, tmp_path / "c" / SEGMENTS, least=1)
        assert session.count(filter="platform LIKE '%landsat-8_l2%'") == 0
        assert session.count(filter="platform LIKE '%landsat-8 and much more than there is%'") == 0
        assert session.count(filter="huge IS NOT NULL") == 2
        assert session.count(filter="huge > 5") == 1


def test_an_order_by_an_alias_follows_what_it_means(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item(f"{n:03d}", **{"up42-user:title": f"t{n % 9}"}) for n in range(60)])
        assert fold(session._catalog.ledger, tmp_path / "c" / SEGMENTS, least=1)
        assert len(pages(session, "title", 5)) == 60
        session.write([make_item("new", title="plain")])
        assert sorted(pages(session, "title", 5)) == sorted([*(f"{n:03d}" for n in range(60)), "new"])


def test_a_damaged_manifest_is_as_good_as_none(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    load_many(folder, 6_000)
    connection = apsw.Connection(str(folder / "catalog.db"))
    connection.execute("UPDATE manifest SET sum = sum + 1")
    connection.close()
    assert answers(folder)[:3] == [100, 600, 6_000]
    assert run_swath("check", folder).returncode == 1
    assert run_swath("check", folder, "--repair").returncode == 0
    assert answers(folder)[:3] == [100, 600, 6_000]


# -- damage and death ------------------------------------------------------------------------------------


def load_many(folder: Path, count: int) -> None:
    with swath.open(folder, create=True) as session:
        items = [make_item(f"{n:05d}", f"c{n % 3}", v=n, w=f"w{n % 10}") for n in range(count)]
        assert session.write(items).refused == []


def answers(folder: Path) -> list[Any]:
    with swath.open(folder) as session:
        return [session.count(filter="v < 100"), session.count(filter="w = 'w3'"), session.count(),
                [item["id"] for item in session.search(sortby="-v", limit=5)]]  # fmt: skip


def test_damaged_files_are_found_and_built_anew(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    load_many(folder, 6_000)
    right = answers(folder)
    assert right == [100, 600, 6_000, ["05999", "05998", "05997", "05996", "05995"]]
    segment = next((folder / SEGMENTS).glob("*.seg"))
    whole = segment.read_bytes()
    for damaged in (whole[:-100], whole[:200], b"", whole[:-3] + b"xxx", b"SQLite" + whole[6:]):
        segment.write_bytes(damaged)
        assert answers(folder) == right  # searched without it
        done = run_swath("check", folder)
        assert (done.returncode, segment.name in done.stderr) == (1, True)
    segment.write_bytes(whole[:5_000] + bytes([whole[5_000] ^ 1]) + whole[5_001:])  # a byte of an array
    assert run_swath("check", folder).returncode == 1
    segment.unlink()
    assert answers(folder) == right
    assert run_swath("check", folder).returncode == 1
    assert run_swath("check", folder, "--repair").returncode == 0
    assert run_swath("check", folder).returncode == 0
    assert answers(folder) == right
    assert len(read_manifest_of(folder).segments) == 1


def read_manifest_of(folder: Path) -> Any:
    with swath.open(folder) as session:
        return read_manifest(session._catalog.ledger)


def test_a_killed_fold_leaves_right_answers(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    load_many(folder, 3_000)
    script = (
        "import sys; from pathlib import Path; from swath.catalog import Catalog\n"
        "from swath.store.columns.manifest import fold\n"
        "catalog = Catalog.open(sys.argv[1]); print('ready', flush=True)\n"
        "while True:\n"
        "    fold(catalog.ledger, Path(sys.argv[1]) / 'segments', least=1, largest=700, verify=True)\n"
    )
    draw, where, runs = random.Random(5), Counter[str](), long(8, 200)
    for number in range(runs):
        process = subprocess.Popen([sys.executable, "-c", script, str(folder)], stdout=subprocess.PIPE)
        assert process.stdout is not None
        process.stdout.readline()
        with swath.open(folder) as session:
            session.write([make_item(f"{number:05d}", "c0", v=-1, w="again")])  # something to fold
        time.sleep(draw.uniform(0, 0.05))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        left = [file.name for file in (folder / SEGMENTS).iterdir() if file.name.startswith(".")]
        where["within a file" if left else "between files"] += 1
        for file in left:
            (folder / SEGMENTS / file).unlink()
        with swath.open(folder) as session:
            assert session.count() == 3_000 + sum(1 for n in range(number + 1) if n % 3)
            assert session.count(filter="w = 'again'") == number + 1
    print(f"{runs} folds killed: {dict(where)}")
    assert run_swath("check", folder).returncode == 0


def test_a_reader_follows_the_folds_of_another_process(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    load_many(folder, 100)
    with swath.open(folder) as reader, Session(folder) as writer:
        assert reader.count() == 100
        for number in range(5):
            writer.write([make_item(f"new{number}", "c0")])
            assert fold(writer._catalog.ledger, folder / SEGMENTS, least=1)
            assert reader.count() == 101 + number
            writer.remove("c0", f"new{number}")
            assert reader.count() == 100 + number
            writer.write([make_item(f"new{number}", "c0")])
        assert len(reader._catalog.index._state.segments) >= 1  # type: ignore[attr-defined]

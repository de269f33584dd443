"""What is told of collections and properties is right at every revision, whatever was written, ended and folded."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import swath
from swath.access import EVERYTHING
from swath.cql2.ast import Predicate
from swath.cql2.text import parse_text
from swath.store.base import PropertyFacts, Summary
from swath.store.columns import derived, facts, manifest
from swath.store.columns.index import SEGMENTS, ColumnIndex
from swath.store.columns.manifest import fold
from swath.store.columns.rows import count_of
from swath.store.columns.segment import MappedColumn, Segment
from swath.store.records import Operation, Removal
from tests.conftest import Server, long, make_item, serving
from tests.cql2_oracle import Item, holds
from tests.facts_oracle import properties_of, summary_of, temporal_in
from tests.test_segments import World

Incarnation = tuple[str, int]  # the id of a collection, and how many of that name there were before


@dataclass(frozen=True)
class Moment:
    """What lived at a revision, and which names held nothing but instants until then."""

    revision: int
    living: dict[Incarnation, list[Item]]
    temporal: dict[Incarnation, set[str]]


class History(World):
    """A world that remembers what was true at each revision, and whose collections end and come back."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self.lives = Counter[str]()
        self.told: dict[Incarnation, list[Item]] = {}
        self.moments: list[Moment] = []

    def now(self, collection: str) -> Incarnation:
        return collection, self.lives[collection]

    def write(self) -> None:
        before = len(self.ever)
        super().write()
        for item in self.ever[before:]:
            self.told.setdefault(self.now(item["collection"]), []).append(item)

    def end_collection(self) -> None:
        collection = self.draw.choice(sorted({name for name, _ in self.model} or {""}))
        if collection:
            self.ledger.write([Removal(Operation.DELETE_COLLECTION, collection, collection)], "upsert", "test")
            self.model = {place: item for place, item in self.model.items() if place[0] != collection}
            self.lives[collection] += 1
            self.did["collections ended"] += 1

    def step(self) -> None:
        self.draw.choices([self.write, self.remove, self.fold, self.end_collection], [6, 5, 4, 1])[0]()
        self.remember()

    def remember(self) -> None:
        living: dict[Incarnation, list[Item]] = {}
        for (collection, _), item in self.model.items():
            living.setdefault(self.now(collection), []).append(item)
        temporal = {name: temporal_in(items) for name, items in self.told.items()}
        self.moments.append(Moment(self.ledger.head(), living, temporal))


def incarnations(index: ColumnIndex) -> dict[int, Incarnation]:
    """By key: the greater the key, the later the life."""
    found, seen = {}, Counter[str]()
    for key, name in sorted(index._state.names.by_key.items()):
        found[key] = (name, seen[name])
        seen[name] += 1
    return found


# These items leave them out, so that Swath tells them of its commits.
OF_COMMITS = ("created", "updated")


def plain(told: Sequence[PropertyFacts]) -> dict[str, Any]:
    return {fact.name: (set(fact.kinds), fact.count, list(fact.values) if fact.values else None, fact.low, fact.high)
            for fact in told if fact.name not in OF_COMMITS}  # fmt: skip


def near(summary: Summary) -> Any:
    box = pytest.approx(summary.box, abs=1e-9) if summary.box else None
    return summary.count, box, summary.start, summary.end


def by_name(*names: str) -> Callable[[Item, set[str]], bool]:
    return lambda item, _: item["collection"] in names


GREATER = {"op": ">", "args": [{"property": "n"}, 1]}
# Told without reading rows, but for the last ones.
SELECTIONS: dict[str, Callable[[Item, set[str]], bool]] = {
    "TRUE": lambda *_: True,
    "collection = 'mixed'": by_name("mixed"),
    "collection IN ('typed', 'nowhere', 'times')": by_name("typed", "times"),
    "NOT collection = 'times'": by_name("typed", "mixed"),
    "collection LIKE 'nothing%'": by_name(),
    "n > 1": lambda item, temporal: bool(holds(GREATER, item, {item["collection"]: frozenset(temporal)})),
    "collection = 'mixed' AND n > 1": lambda item, temporal: (
        item["collection"] == "mixed" and bool(holds(GREATER, item, {"mixed": frozenset(temporal)}))
    ),
}


def compare(index: ColumnIndex, moment: Moment, text: str, most: int) -> None:
    expression: Predicate = parse_text(text)
    names, revision = incarnations(index), moment.revision
    keys = {name: key for key, name in names.items()}
    chosen = {
        name: [item for item in items if SELECTIONS[text](item, moment.temporal[name])]
        for name, items in moment.living.items()
    }
    chosen = {name: items for name, items in chosen.items() if items}
    summaries = index.summaries(expression, revision=revision)
    wanted = {keys[name]: summary_of(items) for name, items in chosen.items()}
    assert wanted == {key: near(summary) for key, summary in summaries.items()}, text
    rows = {name: [(item, moment.temporal[name]) for item in items] for name, items in chosen.items()}
    every = [row for each in rows.values() for row in each]
    told = index.properties(expression, revision=revision, most_values=most)
    assert [fact.name for fact in told] == sorted(fact.name for fact in told)
    assert plain(told) == properties_of(every, most), text
    apart = index.properties_apart(expression, [*names, 999], revision=revision, most_values=most)
    assert {key: plain(each) for key, each in apart.items()} == {
        keys[name]: properties_of(each, most) for name, each in rows.items()
    }, text


@pytest.fixture(params=["thousand", "three"])
def listed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> int:
    """How many strings can be asked for: few, so that lists are given up and made again, or as many as ever."""
    if request.param == "three":
        for module in (derived, facts):
            monkeypatch.setattr(module, "LISTED", 3)
        return 3
    return 20


@pytest.mark.parametrize("seed", range(long(3, 60)))
@pytest.mark.parametrize("forgets", [False, True])
def test_facts_are_those_of_an_oracle(
    tmp_path: Path, seed: int, listed: int, forgets: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(manifest, "_PIECE", 40)
    world = History(tmp_path / "c", 7_000 + seed)
    index, memory = world.catalog.index, ColumnIndex(world.ledger)
    assert isinstance(index, ColumnIndex)
    if forgets:  # what has died is left out of segments, and only the latest revision is asked about
        monkeypatch.setattr(type(world.ledger), "horizon", lambda self, _: self.head())
    try:
        world.write()
        world.remember()
        for _ in range(long(30, 60)):
            world.step()
            assert index.refresh() == memory.refresh() == world.moments[-1].revision
            compare(index, world.moments[-1], world.draw.choice(sorted(SELECTIONS)), listed)
            if not forgets:
                compare(index, world.draw.choice(world.moments), world.draw.choice(sorted(SELECTIONS)), listed)
        for text in SELECTIONS:
            compare(index, world.moments[-1], text, listed)
            compare(memory, world.moments[-1], text, listed)
        assert world.did["folds"] >= 2
    finally:
        world.close()


# -- by hand -------------------------------------------------------------------------------------------


SCENES = [
    make_item("a", "scenes", datetime="2020-01-01T00:00:00Z", geometry={"type": "Point", "coordinates": [-10, 5]},
              cloud=10, mode="wide", word="w0", taken="2020-01-01", zero=-0.0, view={"angle": 3}, **{"x.y": 1.5}),
    make_item("b", "scenes", datetime="2021-01-01T00:00:00Z", geometry={"type": "Point", "coordinates": [20, 30]},
              cloud=20.5, mode="narrow", word="w1", taken="2021-01-01", created="2021-01-02T00:00:00Z", mixed=1),
    make_item("c", "scenes", datetime=None, start_datetime="2019-01-01T00:00:00Z", end_datetime="2022-01-01T00:00:00Z",
              geometry=None, cloud=2**53 + 1, mode="narrow", word="w2", taken="2021-01-01T10:00:00Z", mixed="one"),
    make_item("d", "told", cloud=5, mode="other"),
]  # fmt: skip
TOLD = {
    "type": "Collection", "stac_version": "1.0.0", "id": "told", "description": "told", "license": "other", "links": [],
    "extent": {"spatial": {"bbox": [[0, 0, 1, 1]]}, "temporal": {"interval": [[None, None]]}},
    "summaries": {"mode": ["what the publisher says"]}, "swath:items": 77,
}  # fmt: skip


def told_of(server: Server, name: str) -> list[Any]:
    """Box, interval, summaries and number of items, which the list of collections tells alike."""
    collection = server.get(f"/collections/{name}").json()
    listed = {each["id"]: each for each in server.get("/collections").json()["collections"]}
    assert listed[name] == collection
    extent = collection["extent"]
    return [extent["spatial"]["bbox"][0], extent["temporal"]["interval"][0], collection.get("summaries"),
            collection["swath:items"]]  # fmt: skip


def queryable(server: Server, name: str, path: str = "") -> Any:
    return server.get(f"{path}/queryables").json()["properties"].get(name)


@pytest.mark.parametrize("folds", [False, True])
def test_what_is_told_of_a_collection_follows_its_items(tmp_path: Path, folds: bool) -> None:
    with swath.open(tmp_path / "c", create=True) as session, serving(tmp_path / "c") as server:

        def folded() -> None:
            assert not folds or fold(session._catalog.ledger, tmp_path / "c" / SEGMENTS, least=1)

        assert session.write([TOLD, *SCENES]).refused == []
        folded()
        wide = {"cloud": {"minimum": 10, "maximum": 2**53 + 1}, "mode": ["narrow", "wide"], "word": ["w0", "w1", "w2"],
                "zero": {"minimum": 0.0, "maximum": 0.0}, "x.y": {"minimum": 1.5, "maximum": 1.5}}  # fmt: skip
        told = told_of(server, "scenes")
        assert told == [[-10, 5, 20, 30], ["2019-01-01T00:00:00Z", "2022-01-01T00:00:00Z"], wide, 3]
        assert str(told[2]["zero"]["minimum"]) == "0.0"
        assert queryable(server, "taken", "/collections/scenes")["format"] == "date-time"
        # What the publisher said stands.
        assert told_of(server, "told") == [[0, 0, 1, 1], [None, None], {"mode": ["what the publisher says"]}, 77]
        assert queryable(server, "mode")["enum"] == ["narrow", "other", "wide"]
        assert queryable(server, "mode", "/collections/told")["enum"] == ["other"]

        session.remove("scenes", "c")
        told = told_of(server, "scenes")
        assert told[:2] == [[-10, 5, 20, 30], ["2020-01-01T00:00:00Z", "2021-01-01T00:00:00Z"]]
        assert told[2]["cloud"] == {"minimum": 10, "maximum": 20.5}
        assert told[2]["mixed"] == {"minimum": 1, "maximum": 1}
        assert told[2:] == [wide | {"cloud": told[2]["cloud"], "word": ["w0", "w1"], "mixed": told[2]["mixed"]}, 2]
        assert queryable(server, "cloud") == {"title": "cloud", "type": "number", "minimum": 5, "maximum": 20.5}
        assert queryable(server, "taken", "/collections/scenes")["format"] == "date"

        session.write([make_item("b", "scenes", cloud=11, mode="wide")])  # another one in its place
        folded()
        told = told_of(server, "scenes")
        assert told[0] == [-10, 0, 0, 5]
        assert told[1] == ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"]
        assert (told[2]["cloud"], told[2]["mode"], told[2]["word"]) == (
            {"minimum": 10, "maximum": 11},
            ["wide"],
            ["w0"],
        )
        assert "mixed" not in told[2]
        assert queryable(server, "mode")["enum"] == ["other", "wide"]

        session.remove("scenes", "a")
        session.remove("scenes", "b")
        assert told_of(server, "scenes") == [[-180, -90, 180, 90], [None, None], None, 0]
        assert queryable(server, "word") is None
        assert queryable(server, "mode")["enum"] == ["other"]

        session._catalog.ledger.write([Removal(Operation.DELETE_COLLECTION, "told", "told")], "upsert", "test")
        assert [each["id"] for each in server.get("/collections").json()["collections"]] == ["scenes"]
        assert queryable(server, "mode") is None
        session.write([make_item("e", "told", cloud=1)])  # a new one of the old name, without a word of its own
        assert told_of(server, "told") == [
            [0, 0, 0, 0], ["2020-01-01T00:00:00Z", "2020-01-01T00:00:00Z"], {"cloud": {"minimum": 1, "maximum": 1}}, 1
        ]  # fmt: skip


def test_values_are_listed_again_when_few_are_left(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        catalog = session._catalog
        session.write([make_item(f"{n:04d}", word=f"w{n:04d}", pair=f"p{n // 2:04d}") for n in range(1_100)])
        assert fold(catalog.ledger, tmp_path / "c" / SEGMENTS, least=1)
        for left in (1_100, 1_000, 999, 51, 50, 2, 1):
            for number in range(left, session.count()):
                session.remove("c", f"{number:04d}")
            told = session.queryables()
            assert told["word"].get("enum") == ([f"w{n:04d}" for n in range(left)] if left <= 50 else None), left
            pairs = sorted({f"p{n // 2:04d}" for n in range(left)})
            assert told["pair"].get("enum") == (pairs if len(pairs) <= 50 else None)
            assert next(session.collections())["swath:items"] == left


def test_rows_of_segments_are_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        catalog = session._catalog
        session.write([make_item(f"{n}", f"c{n % 100}", v=n, w=f"w{n % 3}") for n in range(1_000)])
        assert fold(catalog.ledger, tmp_path / "c" / SEGMENTS, least=1)
        read: list[int] = []
        slices = MappedColumn.slice

        def noted(self: MappedColumn, kind: str, rows: Any) -> Any:
            read.append(count_of(rows))
            return slices(self, kind, rows)

        monkeypatch.setattr(MappedColumn, "slice", noted)
        monkeypatch.setattr(Segment, "frame", None)
        for rule in (EVERYTHING, parse_text("collection IN ('c1', 'c2')")):
            assert catalog.collections(100, None, rule).matched in (100, 2)
            assert catalog.queryables("c1", rule)["properties"]["v"]["maximum"] == 901
            assert catalog.queryables(None, rule)["properties"]["w"]["enum"] == ["w0", "w1", "w2"]
        assert read == []
        session.write([make_item("1", "c1", v=500)])
        assert catalog.queryables(None, EVERYTHING)["properties"]["v"]["maximum"] == 999
        assert catalog.queryables("c1", EVERYTHING)["properties"]["v"]["minimum"] == 101
        assert max(read) <= 9  # of the collection whose least number is gone, those that are left


def test_an_empty_catalogue_tells_nothing(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        for rule in (EVERYTHING, parse_text("collection = 'c'")):
            assert session._catalog.collections(10, None, rule).collections == ()
            assert set(session._catalog.queryables(None, rule)["properties"]) == {
                "id",
                "collection",
                "geometry",
                "datetime",
            }


def test_a_rule_counts_what_it_shows(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([*SCENES, make_item("f", "more", cloud=1)])
        for text, count, summarised in (
            ("TRUE", 3, True),
            ("collection = 'scenes'", 3, True),
            ("cloud > 15", 2, False),
            ("collection = 'scenes' AND id = 'a'", 1, False),
        ):
            view = session._catalog.collection("scenes", parse_text(text))
            assert view.derived["swath:items"] == str(count).encode()
            assert ("summaries" in view.derived) is summarised

"""Walking pages: every item that was there throughout comes exactly once, in order, whoever writes meanwhile."""

from __future__ import annotations

import itertools
import json
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import swath
from swath.access import EVERYTHING
from swath.catalog import Catalog, SearchRequest, build_search
from swath.catalog.request import parse_sort_text
from swath.search import Page
from tests.conftest import Server, long, make_item

VALUES: dict[str, list[Any]] = {
    "n": [None, 0, -0.0, 1, 1.5, -3, 2**53 + 1, float(2**53), 10**19],
    "s": [None, "", "a", "ä", "Z", "𝔸", "10", "9"],
    "mixed": [None, True, False, 3, 3.5, "3", "2020-01-01T00:00:00Z", [1], {"a": 1}],
    "when": [None, "2020-01-01T00:00:00Z", "1969-12-31T23:59:59.5Z", "2020-01-01T00:00:00.0000019+00:00"],
}
SORTS = ["", "n", "-n", "s", "-s", "mixed", "-mixed", "when", "-when", "id", "-id", "collection,-id", "-n,s,-mixed",
         "datetime", "-datetime", "s,n"]  # fmt: skip


def properties(draw: random.Random) -> dict[str, Any]:
    chosen: dict[str, Any] = {name: draw.choice(values) for name, values in VALUES.items() if draw.random() < 0.8}
    if draw.random() < 0.3:
        chosen |= {"datetime": None, "start_datetime": "2019-05-05T00:00:00Z", "end_datetime": "2021-05-05T00:00:00Z"}
    else:
        chosen["datetime"] = draw.choice(["2020-01-01T00:00:00Z", "2020-06-01T00:00:00Z", "1950-01-01T00:00:00Z"])
    return chosen


def documents(draw: random.Random, count: int, prefix: str = "") -> list[dict[str, Any]]:
    """Items with ties, nulls and mixed kinds; ids repeat in both collections."""
    return [
        make_item(f"{prefix}{number}", collection, **properties(draw))
        for number, collection in itertools.islice(itertools.product(range(count), ("c", "d")), count)
    ]


# The oracle of the order: nothing of swath in it.
def kind_rank(value: Any, temporal: bool) -> tuple[int, Any] | None:
    if value is None or isinstance(value, list | dict):
        return None
    if isinstance(value, bool):
        return 1, value
    if isinstance(value, int | float):
        return 2, value if abs(value) < 2**63 else float(value)
    return (3, instant(value)) if temporal else (4, value)


def instant(text: str) -> int:
    """Microseconds of the few instants above."""
    return {
        "2020-01-01T00:00:00Z": 1_577_836_800_000_000,
        "2020-06-01T00:00:00Z": 1_590_969_600_000_000,
        "1950-01-01T00:00:00Z": -631_152_000_000_000,
        "2019-05-05T00:00:00Z": 1_557_014_400_000_000,
        "1969-12-31T23:59:59.5Z": -500_000,
        "2020-01-01T00:00:00.0000019+00:00": 1_577_836_800_000_001,
    }[text]


def expected_order(items: list[dict[str, Any]], sort: str) -> list[tuple[str, str]]:
    rows = sorted(items, key=lambda item: (item["collection"], item["id"]))
    for part in reversed((sort or "-datetime").split(",")):
        name, descending = part.lstrip("-"), part.startswith("-")

        def value(item: dict[str, Any], name: str = name) -> tuple[int, Any] | None:
            if name in ("id", "collection"):
                return 4, item[name]
            if name == "datetime":
                text = item["properties"]["datetime"] or item["properties"].get("start_datetime")
                return 3, instant(text)
            return kind_rank(item["properties"].get(name), temporal=name == "when")

        having = [item for item in rows if value(item) is not None]
        lacking = [item for item in rows if value(item) is None]
        # Stable, and equal values keep their order in both directions.
        groups = itertools.groupby(sorted(having, key=value), key=value)  # type: ignore[arg-type]
        parts = [list(group) for _, group in groups]
        rows = [item for part_ in (reversed(parts) if descending else parts) for item in part_] + lacking
    return [(item["collection"], item["id"]) for item in rows]


def walk(catalog: Catalog, sort: str, limit: int) -> list[list[tuple[str, str]]]:
    """All pages; the walk back over `prev` must give the same."""
    request = SearchRequest(sortby=parse_sort_text(sort) if sort else None, limit=limit)
    pages: list[Page] = []
    token = None
    while True:
        page = catalog.search(build_search(SearchRequest(sortby=request.sortby, limit=limit, token=token)), EVERYTHING)
        pages.append(page)
        token = page.next
        if token is None:
            break
    named = [[(item.collection, item.id) for item in page.items] for page in pages]
    back = []
    token = pages[-1].previous
    while token is not None:
        page = catalog.search(build_search(SearchRequest(sortby=request.sortby, limit=limit, token=token)), EVERYTHING)
        back.append([(item.collection, item.id) for item in page.items])
        token = page.previous
    assert list(itertools.chain.from_iterable(reversed(back))) == list(itertools.chain.from_iterable(named[:-1]))
    assert len({page.matched for page in pages}) == 1
    return named


RAN = itertools.count(1)


@settings(max_examples=long(25, 600), deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(
    seed=st.integers(0, 10**9),
    count=st.one_of(st.integers(1, 60), st.integers(300, 500)),
    limit=st.sampled_from([1, 2, 3, 7, 12, 60]),
    sort=st.sampled_from(SORTS),
)
def test_a_walk_gives_every_item_once_in_the_order_of_the_oracle(
    tmp_path_factory: pytest.TempPathFactory, seed: int, count: int, limit: int, sort: str
) -> None:
    draw = random.Random(seed)
    limit = max(limit, count // 25)  # of many items, walk few pages
    items = documents(draw, count)
    # Two fixed items make every field known, so that every sort is allowed
    # (and that "mixed" holds a plain string in both collections, so that its dates are read as text).
    every = {name: values[1] for name, values in VALUES.items()} | {"mixed": "3"}
    items += [make_item("known", "c", **every), make_item("known", "d", **every)]
    with swath.open(tmp_path_factory.mktemp("walk") / "c", create=True) as session:
        report = session.write(items)
        assert report.refused == []
        named = walk(session._catalog, sort, limit)
    found = list(itertools.chain.from_iterable(named))
    assert found == expected_order(items, sort), f"seed={seed} count={count} limit={limit} sort={sort!r}"
    assert all(len(page) == limit for page in named[:-1])
    print(f"walks so far: {next(RAN)}")


WRITER = """
import contextlib, random, sys
import swath
from tests.test_paging import documents
seed, folder, rounds = int(sys.argv[1]), sys.argv[2], int(sys.argv[3])
draw = random.Random(seed)
with swath.open(folder) as session:
    print("ready", flush=True)
    for number in range(rounds):
        session.write(documents(draw, 12, prefix=draw.choice(["w", "x"])))
        with contextlib.suppress(swath.errors.NotFound):
            session.remove("c", f"w{draw.randrange(12)}")
"""


def test_pages_hold_still_while_another_process_writes(tmp_path: Path) -> None:
    rounds = long(4, 60)
    for seed, sort in itertools.product(range(rounds), SORTS[:: 3 if rounds < 10 else 1]):
        draw = random.Random(seed)
        folder = tmp_path / f"{seed}-{SORTS.index(sort)}"
        every = {name: values[1] for name, values in VALUES.items()} | {"mixed": "3"}
        items = [*documents(draw, 80), make_item("known", "c", **every), make_item("known", "d", **every)]
        with swath.open(folder, create=True) as session:
            session.write(items)
            before = expected_order(items, sort)
            writer = subprocess.Popen(
                [sys.executable, "-c", WRITER, str(seed), str(folder), "40"], stdout=subprocess.PIPE, text=True
            )
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            found: list[tuple[str, str]] = []
            request = SearchRequest(sortby=parse_sort_text(sort) if sort else None, limit=7)
            token = None
            while True:
                again = SearchRequest(sortby=request.sortby, limit=7, token=token)
                page = session._catalog.search(build_search(again), EVERYTHING)
                found += [(item.collection, item.id) for item in page.items]
                token = page.next
                if token is None:
                    break
            assert writer.wait() == 0
            writer.stdout.close()
        assert len(found) == len(set(found)), "an item came twice"
        kept = [name for name in found if name in set(before)]
        assert kept == before


def test_a_cursor_reads_on_at_its_revision(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item(f"{n:02d}", when="2020-01-01T00:00:00Z", v=n) for n in range(10)])
        catalog = session._catalog
        first = catalog.search(build_search(SearchRequest(sortby=parse_sort_text("v"), limit=4)), EVERYTHING)
        session.write([make_item("05", v=-1), make_item("99", v=4.5)])
        session.remove("c", "07")
        rest = catalog.search(
            build_search(SearchRequest(sortby=parse_sort_text("v"), limit=100, token=first.next)), EVERYTHING
        )
        assert [item.id for item in rest.items] == ["04", "05", "06", "07", "08", "09"]
        assert json.loads(rest.items[1].body)["properties"]["v"] == 5
        assert (first.matched, rest.matched) == (10, 10)


def test_the_default_page_has_ten_items_and_too_large_a_limit_is_clamped(samples: Server) -> None:
    assert samples.get("/search").json()["numberReturned"] == 10
    page = samples.get("/search?limit=20000").json()
    assert page["numberReturned"] == 2282
    assert samples.get("/collections").json()["numberReturned"] == 59


def test_more_than_ten_thousand_items_are_reached_through_next(tmp_path: Path, serve: Any) -> None:
    source = tmp_path / "many.ndjson"
    with source.open("w") as out:
        for number in range(10_500):
            out.write(json.dumps(make_item(f"{number:05d}")) + "\n")
    import tests.conftest as shared

    assert shared.run_swath("load", tmp_path / "c", source).returncode == 0
    server = serve("serve", tmp_path / "c", "--port", "0")
    page = server.get("/search?limit=20000&fields=id").json()
    assert page["numberReturned"] == 10_000
    following = next(link["href"] for link in page["links"] if link["rel"] == "next")
    rest = server.get(following.removeprefix(server.url)).json()
    assert rest["numberReturned"] == 500
    assert {f["id"] for f in page["features"]} | {f["id"] for f in rest["features"]} == {
        f"{n:05d}" for n in range(10_500)
    }


def test_prev_links_lead_back_to_the_first_page(samples: Server) -> None:
    first = samples.get("/search?limit=3&sortby=id").json()
    assert "prev" not in {link["rel"] for link in first["links"]}
    second = follow(samples, first, "next")
    assert follow(samples, second, "prev")["features"] == first["features"]
    assert "prev" not in {link["rel"] for link in follow(samples, second, "prev")["links"]}


def test_posted_pages_link_on_by_post(samples: Server) -> None:
    first = samples.post("/search", {"limit": 3, "collections": "naip"}).json()
    link = next(link for link in first["links"] if link["rel"] == "next")
    assert link["method"] == "POST"
    second = samples.post("/search", link["body"]).json()
    assert not {f["id"] for f in first["features"]} & {f["id"] for f in second["features"]}
    assert second["numberMatched"] == 803


def follow(server: Server, page: Any, rel: str) -> Any:
    href = next(link["href"] for link in page["links"] if link["rel"] == rel)
    return server.get(href.removeprefix(server.url)).json()

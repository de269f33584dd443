"""A rule that hides half of the items: no use case may show a trace of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from swath.access import EVERYTHING, Rule
from swath.catalog import Catalog, SearchRequest, build_search
from swath.catalog.exporting import lines
from swath.catalog.loading import load
from swath.catalog.request import parse_sort_text
from swath.cql2.text import parse_text
from swath.errors import InvalidRequest, NotFound
from swath.formats.reading import Document
from swath.session import Session
from tests.conftest import make_item

# Shown items carry "shown" in every value that could leak, hidden ones "hidden".
RULES = {
    "by collection": "collection IN ('shown-only', 'empty')",
    "by property": "visible = true",
    "by id": "id LIKE 'shown%'",
    "by place": "S_INTERSECTS(geometry, BBOX(0, 0, 10, 10))",
    "by its opposite": "NOT (visible = false) AND visible IS NOT NULL",
}


def documents() -> Iterator[dict[str, Any]]:
    yield collection("shown-only")
    yield collection("hidden-only")
    yield collection("both")
    yield collection("empty")
    for number in range(6):
        yield from pair(number, "both" if number < 3 else None)


def collection(name: str) -> dict[str, Any]:
    return {"type": "Collection", "stac_version": "1.0.0", "id": name, "description": name, "license": "other",
            "links": []}  # fmt: skip


def pair(number: int, name: str | None) -> Iterator[dict[str, Any]]:
    yield make_item(
        f"shown-{number}", name or "shown-only", visible=True, shown_name=f"shown {number}", shared="shown",
        size=number, geometry={"type": "Point", "coordinates": [5.0, 5.0]}, datetime="2020-01-01T00:00:00Z",
    )  # fmt: skip
    yield make_item(
        f"hidden-{number}", name or "hidden-only", visible=False, hidden_name=f"hidden {number}", shared="hidden",
        size=1000 + number, geometry={"type": "Point", "coordinates": [50.0, 50.0]}, datetime="1999-01-01T00:00:00Z",
    )  # fmt: skip


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Catalog]:
    made = Catalog.open(tmp_path_factory.mktemp("access") / "c", create=True)
    report = load(made.ledger, (Document(json.dumps(d).encode(), "t", 1) for d in documents()))
    assert report.refused == []
    yield made
    made.close()


def rule_named(name: str) -> Rule:
    return parse_text(RULES[name])


def sees(catalog: Catalog, rule: Rule) -> frozenset[str]:
    """Which of the shown items a rule lets through: `by collection` has those of one collection only."""
    page = catalog.search(build_search(SearchRequest(limit=100)), rule)
    return frozenset(item.id for item in page.items)


def everything_said(catalog: Catalog, rule: Rule) -> str:
    """All that the use cases answer under a rule, as one text."""
    said: list[Any] = []
    for request in (
        SearchRequest(limit=100),
        SearchRequest(limit=1),
        SearchRequest(ids=["hidden-0", "shown-0"]),
        SearchRequest(filter="shared = 'hidden' OR shared = 'shown'"),
        SearchRequest(filter="NOT (shared = 'shown')"),
        SearchRequest(sortby=parse_sort_text("-size"), limit=3),
        SearchRequest(datetime="1998-01-01T00:00:00Z/2000-01-01T00:00:00Z"),
        SearchRequest(bbox=[40, 40, 60, 60]),
    ):
        page = catalog.search(build_search(request), rule)
        said += [(item.id, item.body.decode()) for item in page.items] + [page.matched]
        while page.next:
            again = SearchRequest(limit=request.limit, sortby=request.sortby, token=page.next, ids=request.ids,
                                  filter=request.filter, datetime=request.datetime, bbox=request.bbox)  # fmt: skip
            page = catalog.search(build_search(again), rule)
            said += [(item.id, item.body.decode()) for item in page.items] + [page.matched]
    for view in catalog.collections(100, None, rule).collections:
        said += [view.id, view.derived, catalog.queryables(view.id, rule), catalog.sortables(view.id, rule)]
    said += [catalog.queryables(None, rule), catalog.sortables(None, rule)]
    said += [line.decode() for line in lines(catalog, parse_text("true"), rule)]
    return repr(said)


@pytest.mark.parametrize("name", RULES)
def test_nothing_of_a_hidden_item_is_said(catalog: Catalog, name: str) -> None:
    said = everything_said(catalog, rule_named(name)).replace("'shared = ", "")
    for trace in ("hidden-", "hidden_name", "hidden 0", "'hidden'", '"hidden"', "hidden-only", "1000", "1005", "1999"):
        assert trace not in said
    assert "shown-3" in said


def test_the_traces_are_there_without_a_rule(catalog: Catalog) -> None:
    said = everything_said(catalog, EVERYTHING)
    for trace in ("hidden-", "hidden_name", "'hidden'", "hidden-only", "1005", "1999"):
        assert trace in said


@pytest.mark.parametrize(
    ("name", "count"), [("by collection", 3), ("by property", 6), ("by id", 6), ("by place", 6), ("by its opposite", 6)]
)
def test_counts_are_of_visible_items(catalog: Catalog, name: str, count: int) -> None:
    page = catalog.search(build_search(SearchRequest(limit=1)), rule_named(name))
    assert page.matched == count


@pytest.mark.parametrize("name", RULES)
def test_a_hidden_item_is_not_found_in_the_words_for_an_absent_one(catalog: Catalog, name: str) -> None:
    rule = rule_named(name)
    assert catalog.item("shown-only", "shown-3", rule).id == "shown-3"
    with pytest.raises(NotFound) as hidden:
        catalog.item("hidden-only", "hidden-3", rule)
    with pytest.raises(NotFound) as absent:
        catalog.item("hidden-only", "absent-3", rule)
    assert str(hidden.value) == str(absent.value).replace("absent-3", "hidden-3")


@pytest.mark.parametrize("name", RULES)
def test_a_collection_of_hidden_items_is_not_there(catalog: Catalog, name: str) -> None:
    rule = rule_named(name)
    page = catalog.collections(100, None, rule)
    visible = {view.id for view in page.collections}
    assert "hidden-only" not in visible
    assert "shown-only" in visible
    assert page.matched == len(visible)
    for use in (
        lambda: catalog.collection("hidden-only", rule),
        lambda: catalog.queryables("hidden-only", rule),
        lambda: catalog.sortables("hidden-only", rule),
    ):
        with pytest.raises(NotFound, match="there is no collection 'hidden-only'"):
            use()


def test_an_empty_collection_is_visible_where_the_rule_names_it(catalog: Catalog) -> None:
    def names(rule: str) -> set[str]:
        return {view.id for view in catalog.collections(100, None, rule_named(rule)).collections}

    assert "empty" in names("by collection")
    assert "empty" not in names("by property")


@pytest.mark.parametrize("name", RULES)
def test_a_field_that_only_hidden_items_have_is_unknown_to_sort_by(catalog: Catalog, name: str) -> None:
    def sort(field: str) -> None:
        catalog.search(build_search(SearchRequest(sortby=parse_sort_text(field))), rule_named(name))

    sort("shown_name")
    with pytest.raises(InvalidRequest, match="unknown field 'hidden_name'"):
        sort("hidden_name")


def test_a_cursor_does_not_carry_the_rule_it_was_made_under(catalog: Catalog) -> None:
    request = SearchRequest(limit=2, sortby=parse_sort_text("id"))
    first = catalog.search(build_search(request), EVERYTHING)
    again = SearchRequest(limit=100, sortby=request.sortby, token=first.next)
    rest = catalog.search(build_search(again), rule_named("by id"))
    assert [item.id for item in rest.items] == [f"shown-{number}" for number in range(6)]


def test_the_python_interface_takes_a_rule_too(catalog: Catalog, tmp_path: Path) -> None:
    folder: Callable[[], Path] = lambda: catalog.ledger.folder  # type: ignore[attr-defined]  # noqa: E731
    with Session(folder(), rule=rule_named("by property")) as session:
        assert session.search().matched == 6
        assert {item["id"] for item in session.search()} == sees(catalog, rule_named("by property"))
        assert session.export(tmp_path / "out.ndjson") == 6
    assert "hidden-" not in (tmp_path / "out.ndjson").read_text()

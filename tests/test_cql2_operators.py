"""What the operators select on STAC items; expected ids worked out by hand.

The standard has no data for array functions and functions: these tables name its clauses.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import swath
from swath.errors import InvalidFilter
from swath.session import Session
from tests.conftest import SHARED, Server, make_item


def square(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


ITEMS: dict[str, dict[str, Any]] = {
    "ab": {"arr": ["a", "b"], "n": 7, "s": "Straße", "t": "2020-01-01"},
    "aab": {"arr": ["a", "a", "b"], "n": 7.5, "s": "STRASSE", "t": "2020-01-01T00:00:00Z"},
    "abc": {"arr": ["a", "b", "c"], "n": -7, "s": "strasse", "t": "2020-06-01"},
    "empty": {"arr": [], "n": 0, "s": "", "t": "2021-01-01"},
    "numbers": {"arr": [1, 2.0, 3], "n": 2**53 + 1, "s": "Café", "t": "2019-01-01T00:00:00Z"},
    "nested": {"arr": [["x"], ["y", "z"]], "n": -0.5, "s": "cafe\u0301", "t": "2019-06-01"},
    "dates": {"arr": ["2020-01-01", "2020-02-01T00:00:00Z"], "n": 1e300, "s": "ガ", "t": "2022-01-01"},
    "objects": {"arr": [{"a": 1}], "n": "7", "s": 7, "t": "2023-01-01"},
    "scalar": {"arr": "a", "n": True, "s": None, "t": "2024-01-01"},
    "missing": {},
}


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with swath.open(tmp_path_factory.mktemp("operators") / "c", create=True) as made:
        assert made.write([make_item(name, **more) for name, more in ITEMS.items()]).refused == []
        yield made


def found(session: Session, text: Any) -> set[str]:
    return {item["id"] for item in session.search(filter=text)}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # 7.8, Requirement 21: sets; order and repeats do not count.
        ("A_EQUALS(arr, ('b', 'a'))", {"ab", "aab"}),
        ("A_CONTAINS(arr, ('b', 'a', 'a'))", {"ab", "aab", "abc"}),
        ("A_CONTAINEDBY(arr, ('a', 'b', 'z'))", {"ab", "aab", "empty"}),
        ("A_OVERLAPS(arr, ('c', 'z'))", {"abc"}),
        ("A_OVERLAPS(('c', 'z'), arr)", {"abc"}),
        ("A_CONTAINS(('a', 'b', 'z'), arr)", {"ab", "aab", "empty"}),
        ("A_CONTAINS(arr, ())", {"ab", "aab", "abc", "empty", "numbers", "nested", "dates"}),
        ("A_EQUALS(arr, ())", {"empty"}),
        ("A_CONTAINEDBY(arr, ())", {"empty"}),
        ("A_OVERLAPS(arr, ())", set()),
        ("NOT A_CONTAINS(arr, ('a'))", {"empty", "numbers", "nested", "dates"}),
        # Elements are equal by kind and value.
        ("A_CONTAINS(arr, (1.0, 2))", {"numbers"}),
        ("A_CONTAINS(arr, ('1'))", set()),
        ("A_CONTAINS(arr, (('z', 'y')))", {"nested"}),
        ("A_CONTAINS(arr, (DATE('2020-01-01')))", {"dates"}),
        ("A_CONTAINS(arr, (TIMESTAMP('2020-02-01T01:00:00+01:00')))", {"dates"}),
        ("A_EQUALS(arr, arr)", {"ab", "aab", "abc", "empty", "numbers", "nested", "dates"}),
        ("A_EQUALS(('a'), ('a', 'a'))", set(ITEMS)),
        ("arr IS NULL", {"missing"}),
    ],
)
def test_array_functions(session: Session, text: str, expected: set[str]) -> None:
    assert found(session, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        # 7.1, Requirement 24, "functions": typed, NULL in gives NULL out.
        ("abs(n) = 7", {"ab", "abc"}),
        ("floor(n) = 7", {"ab", "aab"}),
        ("ceil(n) = 8", {"aab"}),
        ("round(n) = 8", {"aab"}),
        ("round(n) = -1", {"nested"}),
        ("length(s) = 6", {"ab"}),
        ("length(s) = 0", {"empty"}),
        ("lower(s) = 'strasse'", {"aab", "abc"}),
        ("upper(s) LIKE 'STRAS%'", {"ab", "aab", "abc"}),
        ("length(lower(s)) > 6 AND n < 0", {"abc"}),
        ("length(s) IS NULL", {"objects", "scalar", "missing"}),
        ("NOT (length(s) = 0)", {"ab", "aab", "abc", "numbers", "nested", "dates"}),
        ("abs(-3) = 3 AND id = 'ab'", {"ab"}),
    ],
)
def test_functions(session: Session, text: str, expected: set[str]) -> None:
    assert found(session, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("CASEI(s) = CASEI('STRASSE')", {"ab", "aab", "abc"}),
        ("CASEI(s) LIKE CASEI('STRAß%')", {"ab", "aab", "abc"}),
        ("CASEI(s) IN (CASEI('Strasse'), CASEI('CAFÉ'))", {"ab", "aab", "abc", "numbers", "nested"}),
        ("s = 'Café'", {"numbers"}),
        ("s = 'café'", {"nested"}),  # the same in normal form C
        ("ACCENTI(s) = ACCENTI('Cafe')", {"numbers"}),
        ("ACCENTI(CASEI(s)) = 'cafe'", {"numbers", "nested"}),
        ("ACCENTI(s) = 'カ'", set()),  # a voicing mark makes another letter
        ("ACCENTI(s) = ACCENTI('ガ')", {"dates"}),
    ],
)
def test_folding(session: Session, text: str, expected: set[str]) -> None:
    assert found(session, text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("n + 1 = 8", {"ab"}),
        ("n * 2 = 15", {"aab"}),
        ("n = 9007199254740993", {"numbers"}),
        ("n = 9007199254740992", set()),
        ("n - 9007199254740992 = 1", {"numbers"}),
        ("n / 2 = 3.5", {"ab"}),
        ("n div 2 = 3", {"ab", "aab"}),
        ("n div 2 = -3", {"abc"}),  # towards zero
        ("n % 2 = -1", {"abc"}),  # the dividend's sign
        ("1 / n IS NULL", {"empty", "objects", "scalar", "missing"}),
        ("n % 0 IS NULL AND id = 'ab'", {"ab"}),
        ("n * n * 1e300 > 0", {"ab", "aab", "abc", "nested"}),  # what is not finite is NULL
        ("-n = -7", {"ab"}),
        ("-2 ^ 2 = 4 AND id = 'ab'", {"ab"}),
        ("2 + 3 * 2 ^ 2 = 14 AND id = 'ab'", {"ab"}),
        ("n BETWEEN 3 + 4 AND 2 ^ 3", {"ab", "aab"}),
        ("n IN (6 + 1, 8 - 0.5)", {"ab", "aab"}),
        ("9223372036854775807 + n > 0 AND id = 'ab'", {"ab"}),
        ("n > t", {"objects"}),  # a string beside a string; a number beside one is NULL
    ],
)
def test_arithmetic(session: Session, text: str, expected: set[str]) -> None:
    assert found(session, text) == expected


@pytest.mark.parametrize(
    "text",
    ["shout(s) = 'x'", "lower(n, s) = 'x'", "lower(1) = 'x'", "length('a') = 'x'", "abs(casei(s)) = 1", "n + 'x' = 1",
     "A_CONTAINS(arr, 'a')", "T_DURING(t, DATE('2020-01-01'))", "2 ^ 3 ^ 2 = 1", "CASEI(1) = 'x'"],
)  # fmt: skip
def test_what_has_no_meaning_is_refused(session: Session, text: str) -> None:
    with pytest.raises(InvalidFilter):
        found(session, text)


def test_functions_are_published(samples: Server) -> None:
    listed = samples.get("/functions").json()["functions"]
    assert {entry["name"] for entry in listed} == {"abs", "ceil", "floor", "length", "lower", "round", "upper"}
    for entry in listed:
        argument = "'x'" if entry["arguments"] == [{"type": ["string"]}] else "1"
        assert samples.get(f"/search?limit=1&filter={entry['name']}({argument})%20IS%20NULL").status == 200


# -- the 25 example filters of UP42's document -----------------------------------------------------

BERLIN = square(13.313668486610595, 52.45865541990574, 13.480777670201348, 52.55356060142003)
PARCEL = {"type": "Polygon", "coordinates": [[
    [13.370867464340053, 52.48392869357015], [13.356655389450955, 52.49894514421745],
    [13.356759290471304, 52.49912191483249], [13.363463410709915, 52.505445701439136],
    [13.40398287087849, 52.505257472987886], [13.370867464340053, 52.48392869357015]]]}  # fmt: skip
FAR = square(0.0, 0.0, 1.0, 1.0)
AROUND_BERLIN = square(13.3, 52.4, 13.5, 52.6)
SHIFTED = square(13.38, 52.49, 13.42, 52.52)
ASSET, PRODUCT = "b9fc2b75-f9de-46dd-a21b-320381bbb62d", "b0e4a80e-6a54-486c-ac0c-44497b602545"

UP42_ITEMS: dict[str, dict[str, Any]] = {
    "parcel": {
        "geometry": PARCEL, "datetime": "2021-03-21T00:00:00Z", "eo:cloud_cover": 10, "gsd": 0.5,
        "up42-user:tags": ["optical", "aerial", "x"], "up42-system:asset_id": ASSET, "constellation": "PNEO",
        "up42-product:product_id": PRODUCT, "created": "2023-01-01T00:00:00Z",
    },
    "around": {
        "geometry": AROUND_BERLIN, "datetime": "2023-04-01T00:00:00Z", "eo:cloud_cover": 20.0, "gsd": 0.57,
        "up42-user:tags": ["optical"], "up42-product:product_id": "other", "created": "2023-06-27T00:00:00Z",
        "constellation": "PHR", "up42-product:collection_name": "pneo-tasking",
    },
    "shifted": {
        "geometry": SHIFTED, "datetime": None, "start_datetime": "2023-03-01T00:00:00Z",
        "end_datetime": "2023-04-01T00:00:00Z", "eo:cloud_cover": 30, "gsd": 0.7, "constellation": "PHR",
        "created": "2024-01-01T00:00:00Z", "up42-user:tags": [],
    },
    "far": {"geometry": FAR, "datetime": "2023-03-21T00:00:00Z"},
    "nowhere": {"geometry": None, "datetime": "2021-03-20T23:59:59Z"},
}  # fmt: skip
ALL = set(UP42_ITEMS)

# In the order of the document. Where it prints an instant of another year than its words say, the value counts.
EXPECTED: list[set[str]] = [
    {"parcel"},  # cloud < 20
    {"parcel"},  # both tags
    {"parcel", "around"},  # either tag
    {"parcel"},  # asset_id
    {"around"},  # another product; NULL is not another
    {"parcel"},  # created < 2023-06-27
    {"shifted"},  # cloud > 20
    {"parcel", "nowhere"},  # datetime <= 2022-06-27; a range has no scalar datetime
    {"around", "shifted"},  # gsd >= 0.57
    {"far", "nowhere"},  # no tags; an empty array is a value
    {"parcel", "around"},  # gsd <= 0.7 and cloud <= 20
    {"parcel", "around"},  # PNEO, or tasking
    {"around", "shifted"},  # not PNEO
    {"around"},  # s_contains: the square lies in it
    {"parcel"},  # s_crosses: the line ends inside it; it lies wholly within the square around
    {"far"},  # s_disjoint; a null geometry is neither
    {"parcel"},  # s_equals
    set(),  # s_within a polygon of the Arctic
    {"parcel", "around", "shifted"},  # s_intersects
    {"shifted"},  # s_overlaps
    set(),  # s_touches a point elsewhere
    {"around"},  # t_after 2023-03-21; the same instant is not after, and a range has to begin after
    {"parcel", "nowhere"},  # t_before
    {"parcel"},  # t_equals
    {"around", "shifted", "far"},  # t_overlaps; an instant overlaps what it lies in, ends included
]


def up42_filters() -> list[Any]:
    """The filters of the document, verbatim: the JSON behind each line that says so."""
    text = (SHARED / "seeds" / "003_5911d91563b953b9.txt").read_text(encoding="utf-8")
    filters = []
    for part in text.split("JSON\n")[1:]:
        try:
            value, _ = json.JSONDecoder().raw_decode(part)
        except ValueError:
            continue
        if "filter" in value:
            filters.append(value["filter"])
    return filters


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with swath.open(tmp_path_factory.mktemp("up42") / "c", create=True) as made:
        assert made.write([make_item(name, **dict(more)) for name, more in UP42_ITEMS.items()]).refused == []
        yield made


def test_the_document_has_25_filters() -> None:
    assert len(up42_filters()) == 25


@pytest.mark.parametrize("number", range(25))
def test_every_example_filter_of_up42_selects_what_it_says(storage: Session, number: int) -> None:
    example = up42_filters()[number]
    assert found(storage, example) == EXPECTED[number], json.dumps(example)


def test_a_filter_within_a_filter_is_the_inner_one(storage: Session) -> None:
    example = up42_filters()[0]
    assert found(storage, {"filter": example}) == found(storage, example) == {"parcel"}
    with pytest.raises(InvalidFilter) as fault:
        found(storage, {"filter": {"op": "<", "args": [1]}})
    assert fault.value.at == "/filter/args"


def test_aliases_are_shown_beside_what_they_stand_for(storage: Session) -> None:
    queryables = storage.queryables()
    for alias, name in (("tags", "up42-user:tags"), ("asset_id", "up42-system:asset_id")):
        assert queryables[alias]["type"] == queryables[name]["type"]
        assert queryables[alias]["description"] == f"another name of {name}"


@pytest.mark.parametrize(
    "call",
    [
        {"function": "casei", "args": [{"property": "s"}]},
        {"function": {"name": "casei", "arguments": [{"property": "s"}]}},
        {"function": {"name": "CaseI", "args": [{"property": "s"}]}},
    ],
)
def test_calls_as_drafts_wrote_them(session: Session, call: dict[str, Any]) -> None:
    # The README of the STAC filter extension, examples 13 and 14.
    assert found(session, {"op": "=", "args": [call, "strasse"]}) == {"ab", "aab", "abc"}
    with pytest.raises(InvalidFilter, match="casei"):
        found(session, {"op": "=", "args": [{"function": "casey", "args": []}, "x"]})

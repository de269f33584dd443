"""pystac-client against a served process, as its users drive it.

What a search has to find is told twice, both times without Swath: as ids written down in `CASES`, and by the oracle at
the end of this file, plain Python over the sample files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from typing import Any

import pytest
from pystac_client import Client
from pystac_client.exceptions import APIError

from tests.conftest import DATA, Server

Item = dict[str, Any]
Point = tuple[float, float]

METHODS = ("GET", "POST")
FOOTPRINT_LIMIT = 180  # degrees; a longer edge of a footprint may mean the way around the back


@pytest.fixture(scope="module")
def client(samples: Server) -> Client:
    return Client.open(f"{samples.url}/")


# -- the catalogue and its collections -----------------------------------------------------------


def test_the_client_finds_every_class_that_it_asks_for(client: Client) -> None:
    for name in ("CORE", "COLLECTIONS", "FEATURES", "ITEM_SEARCH", "FILTER", "QUERY", "SORT", "FIELDS"):
        assert client.conforms_to(name), name


def test_all_collections_are_listed_once(client: Client) -> None:
    found = [collection.id for collection in client.get_collections()]
    assert len(found) == 59
    assert sorted(found) == sorted(collection["id"] for collection in sample_collections())


def test_a_collection_is_read_by_its_id(client: Client) -> None:
    collection = client.get_collection("sentinel-2-l2a")
    sent = next(one for one in sample_collections() if one["id"] == "sentinel-2-l2a")
    assert collection is not None
    assert collection.description == sent["description"]
    assert collection.extent.to_dict() == sent["extent"]


def test_the_items_of_a_collection_are_walked_from_its_items_link(client: Client) -> None:
    collection = client.get_collection("landsat-c2-l2")
    assert collection is not None
    # The client asks for /collections/landsat-c2-l2/items?collections=landsat-c2-l2.
    found = [item.id for item in collection.get_items()]
    assert len(found) == 87
    assert sorted(found) == sorted(item["id"] for item in sample_items() if item["collection"] == "landsat-c2-l2")


def test_an_item_is_read_by_its_id(client: Client) -> None:
    collection = client.get_collection("us-census")
    assert collection is not None
    item = collection.get_item(CENSUS[2])
    assert item is not None
    assert (item.id, item.collection_id) == (CENSUS[2], "us-census")
    assert sorted(found.id for found in collection.get_items(*CENSUS[:2])) == list(CENSUS[:2])


def test_an_unknown_collection_is_a_404_and_none_to_the_client(client: Client, samples: Server) -> None:
    assert client.get_collection("no-such-collection") is None
    with pytest.raises(APIError) as caught:
        Client.open(f"{samples.url}/collections/no-such-collection")
    assert caught.value.status_code == 404


def test_an_unknown_item_is_none_to_the_client(client: Client) -> None:
    collection = client.get_collection("us-census")
    assert collection is not None
    assert collection.get_item("no-such-item") is None


# -- searches ------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Case:
    """A search in the words of pystac-client, the ids that it finds, and the same question put to the oracle."""

    arguments: dict[str, Any]
    ids: tuple[str, ...]
    selects: Callable[[Item], bool]
    by: Callable[[Item], Any] | None = None  # the ids are in this order; None: in any
    descending: bool = False


CENSUS = ("2020-cb_2020_us_unsd_500k", "2020-cb_2020_us_vtd_500k", "2020-census-blocks-geo")
HIGH_ARCTIC = (90.0, 80.5, 100.0, 83.0)
SOUTH_SEAS = {"type": "Polygon", "coordinates": [[[-150, -40], [-130, -40], [-140, -20], [-150, -40]]]}
AUSTRALIA = {"type": "Polygon", "coordinates": [[[110, -45], [155, -45], [155, -28], [110, -28], [110, -45]]]}

CASES: dict[str, Case] = {
    "bbox": Case(
        {"bbox": HIGH_ARCTIC},
        (
            "S1A_EW_GRDM_1SDH_20221130T014342_20221130T014446_046117_058549",
            "S2B_MSIL2A_20240419T095549_R122_T46XER_20240419T124342",
            "S2B_MSIL2A_20240419T095549_R122_T46XES_20240419T123824",
        ),
        lambda item: meets(item, [(90, 80.5), (100, 80.5), (100, 83), (90, 83)]),
    ),
    "intersects a triangle, the same id in two collections": Case(
        {"intersects": SOUTH_SEAS},
        ("S2A_T07HFE_20190212T192646_L2A", "S2A_T07HFE_20190212T192646_L2A"),
        lambda item: meets(item, [(-150, -40), (-130, -40), (-140, -20)]),
    ),
    "intersects a box": Case(
        {"intersects": AUSTRALIA},
        ("LC09_L2SP_089087_20240417_02_T2", "LC09_L2SP_089088_20240417_02_T2", "LC09_L2SP_089089_20240417_02_T1"),
        lambda item: meets(item, [(110, -45), (155, -45), (155, -28), (110, -28)]),
    ),
    "datetime, an interval": Case(
        {"datetime": "1980-01-01T00:00:00Z/1990-01-01T00:00:00Z"},
        (
            "LM05_L1GS_001001_19850524_02_T2",
            "LM05_L1GS_001001_19850524_20210918_02_T2",
            "LT04_L2SP_002026_19830110_02_T1",
            "LT04_L2SP_002026_19830110_20200918_02_T1_SR",
            "LT04_L2SP_002026_19830110_20200918_02_T1_ST",
            "LT05_L2SP_010067_19860424_02_T2",
            "LT05_L2SP_010067_19860424_20200918_02_T2_SR",
        ),
        lambda item: within(item, "1980-01-01T00:00:00Z", "1990-01-01T00:00:00Z"),
    ),
    "datetime, an open interval, with collections": Case(
        {"datetime": "../1975-04-11", "collections": ["landsat-c2-l1", "landsat-c2l1", "modis"]},
        (
            "LM01_L1GS_001010_19720908_02_T2",
            "LM01_L1GS_005037_19720823_20200909_02_T2",
            "LM02_L1GS_001004_19750411_02_T2",
            "LM02_L1GS_001004_19750411_20200908_02_T2",
        ),
        lambda item: (
            item["collection"] in ("landsat-c2-l1", "landsat-c2l1", "modis")
            and within(item, None, "1975-04-11T23:59:59Z")
        ),
    ),
    "datetime, an instant, some of the items span it": Case(
        {"datetime": "2021-08-01T00:00:00Z"},
        (
            *CENSUS,
            "6106b1b1343da30006976dfd",
            "MOD16A3GF.A2021001.h11v02.061",
            "MOD17A3HGF.A2021001.h14v02.061",
            "MYD16A3GF.A2021001.h11v02.061",
        ),
        lambda item: within(item, "2021-08-01T00:00:00Z", "2021-08-01T00:00:00Z"),
    ),
    "query": Case(
        {"query": {"eo:cloud_cover": {"gt": 99.9, "lt": 100}}},
        (
            "LC09_L2SP_033032_20240308_02_T2",
            "LC09_L2SP_034032_20231210_02_T1",
            "S2A_MSIL2A_20240813T174911_R141_T13TBF_20240814T012945",
            "S2B_1CCV_20190112_0_L2A",
            "S2B_1CCV_20190122_0_L2A",
            "S2B_1CCV_20210918_0_L2A",
            "S2B_1CCV_20211018_0_L2A",
            "S2B_1CDH_20191031_0_L2A",
        ),
        lambda item: 99.9 < number(item, "eo:cloud_cover") < 100,
    ),
    "query in the client's short form": Case(
        {"query": ["eo:cloud_cover>=99.99", "platform=landsat-9"]},
        ("LC09_L2SP_033032_20240308_02_T2",),
        lambda item: number(item, "eo:cloud_cover") >= 99.99 and item["properties"].get("platform") == "landsat-9",
    ),
    "collections": Case(
        {"collections": ["us-census", "no-such-collection"]}, CENSUS, lambda item: item["collection"] == "us-census"
    ),
    "ids": Case({"ids": [*CENSUS[:2], "no-such-item"]}, CENSUS[:2], lambda item: item["id"] in CENSUS[:2]),
    "ids with collections": Case(
        {"ids": ["S2A_T07HFE_20190212T192646_L2A", CENSUS[0]], "collections": "sentinel2-l2a"},
        ("S2A_T07HFE_20190212T192646_L2A",),
        lambda item: (
            item["id"] in ("S2A_T07HFE_20190212T192646_L2A", CENSUS[0]) and item["collection"] == "sentinel2-l2a"
        ),
    ),
    "sortby, up": Case(
        {"sortby": "+properties.datetime", "collections": ["landsat-c2-l1"]},
        (
            "LM01_L1GS_001010_19720908_02_T2",
            "LM02_L1GS_001004_19750411_02_T2",
            "LM03_L1GS_001001_19780510_02_T2",
            "LM05_L1GS_001001_19850524_02_T2",
            "LM05_L1TP_039036_20130107_02_T2",
            "LM05_L1TP_039037_20130107_02_T2",
            "LM05_L1GS_039039_20130107_02_T2",
        ),
        lambda item: item["collection"] == "landsat-c2-l1",
        by=lambda item: instant(item["properties"]["datetime"]),
    ),
    "sortby, down, the first five": Case(
        {"sortby": "-properties.eo:cloud_cover", "collections": ["landsat-c2-l2"], "max_items": 5, "limit": 2},
        (
            "LC09_L2SP_033032_20240308_02_T2",
            "LC09_L2SP_034032_20231210_02_T1",
            "LC09_L2SP_033032_20240104_02_T1",
            "LC09_L2SP_034032_20241126_02_T1",
            "LC09_L2SP_034032_20231124_02_T1",
        ),
        lambda item: item["collection"] == "landsat-c2-l2",
        by=lambda item: number(item, "eo:cloud_cover"),
        descending=True,
    ),
    "everything at once": Case(
        {
            "collections": ["landsat-c2-l2"],
            "bbox": (-106, 39, -102, 42),
            "datetime": "2024-01-01T00:00:00Z/2024-12-31T23:59:59Z",
            "query": {"eo:cloud_cover": {"gte": 97}, "platform": {"startsWith": "landsat-"}},
            "sortby": [{"field": "properties.eo:cloud_cover", "direction": "asc"}],
        },
        ("LC09_L2SP_034032_20241126_02_T1", "LC09_L2SP_033032_20240104_02_T1", "LC09_L2SP_033032_20240308_02_T2"),
        lambda item: (
            item["collection"] == "landsat-c2-l2"
            and within(item, "2024-01-01T00:00:00Z", "2024-12-31T23:59:59Z")
            and number(item, "eo:cloud_cover") >= 97
            and meets(item, [(-106, 39), (-102, 39), (-102, 42), (-106, 42)])
        ),
        by=lambda item: number(item, "eo:cloud_cover"),
    ),
}


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("name", CASES)
def test_a_search_finds_what_it_should(client: Client, name: str, method: str) -> None:
    case = CASES[name]
    search = client.search(method=method, **case.arguments)
    found = [item.id for item in search.items()]
    assert (found if case.by else sorted(found)) == list(case.ids)
    if "max_items" not in case.arguments:
        assert search.matched() == len(case.ids)


@pytest.mark.parametrize("name", CASES)
def test_the_oracle_selects_the_ids_that_are_written_down(name: str) -> None:
    case = CASES[name]
    found = [item for item in sample_items() if case.selects(item)]
    if case.by:
        found.sort(key=case.by, reverse=case.descending)
        ids = [item["id"] for item in found][: case.arguments.get("max_items")]
    else:
        ids = sorted(item["id"] for item in found)
    assert ids == list(case.ids)


# -- the two languages of filter -----------------------------------------------------------------

CLOUDY_TEXT = (
    "collection = 'landsat-c2-l2' AND eo:cloud_cover BETWEEN 97 AND 99.98 AND platform LIKE 'landsat-%' "
    "AND S_INTERSECTS(geometry, POLYGON((-106 39, -102 39, -102 42, -106 42, -106 39)))"
)
CLOUDY_JSON: dict[str, Any] = {
    "op": "and",
    "args": [
        {"op": "=", "args": [{"property": "collection"}, "landsat-c2-l2"]},
        {"op": "between", "args": [{"property": "eo:cloud_cover"}, 97, 99.98]},
        {"op": "like", "args": [{"property": "platform"}, "landsat-%"]},
        {
            "op": "s_intersects",
            "args": [
                {"property": "geometry"},
                {"type": "Polygon", "coordinates": [[[-106, 39], [-102, 39], [-102, 42], [-106, 42], [-106, 39]]]},
            ],
        },
    ],
}
CLOUDY = ("LC09_L2SP_033032_20240104_02_T1", "LC09_L2SP_034032_20231210_02_T1", "LC09_L2SP_034032_20241126_02_T1")


def test_the_oracle_agrees_on_the_filter() -> None:
    found = (
        item["id"]
        for item in sample_items()
        if item["collection"] == "landsat-c2-l2"
        and 97 <= number(item, "eo:cloud_cover") <= 99.98
        and item["properties"]["platform"].startswith("landsat-")
        and meets(item, [(-106, 39), (-102, 39), (-102, 42), (-106, 42)])
    )
    assert sorted(found) == list(CLOUDY)


@pytest.mark.parametrize(
    ("method", "language", "filtered"),
    [
        ("GET", None, CLOUDY_TEXT),
        ("POST", None, CLOUDY_JSON),
        ("GET", "cql2-json", CLOUDY_JSON),
        ("POST", "cql2-text", CLOUDY_TEXT),
    ],
)
def test_a_filter_selects_the_same_in_both_languages(
    client: Client, method: str, language: Any, filtered: dict[str, Any] | str
) -> None:
    search = client.search(method=method, filter=filtered, filter_lang=language)
    assert sorted(item.id for item in search.items()) == list(CLOUDY)
    assert search.matched() == len(CLOUDY)


# -- fields --------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_only_the_included_fields_come(client: Client, method: str) -> None:
    search = client.search(
        method=method, collections=["landsat-c2-l2"], fields=["id", "properties.eo:cloud_cover"], limit=100
    )
    found = list(search.items_as_dicts())
    sent = {item["id"]: item for item in sample_items() if item["collection"] == "landsat-c2-l2"}
    assert len(found) == 87
    for item in found:
        # `type` and `collection` come too: "Implementations may return fields not specified, e.g., id" (Fields).
        assert {"id", "properties"} <= item.keys() <= {"id", "type", "collection", "stac_version", "properties"}
        assert item["properties"] == {"eo:cloud_cover": sent[item["id"]]["properties"]["eo:cloud_cover"]}


@pytest.mark.parametrize("method", METHODS)
def test_excluded_fields_do_not_come(client: Client, method: str) -> None:
    # The client sends "include": [] with this (POST), so what is left is the default set (Fields extension, rule 4).
    search = client.search(method=method, collections=["us-census"], fields="-geometry,-assets")
    found = list(search.items_as_dicts())
    assert sorted(item["id"] for item in found) == list(CENSUS)
    for item in found:
        assert not item.keys() & {"geometry", "assets"}
        assert {"type", "stac_version", "id", "bbox", "links", "properties"} <= item.keys()
        default = {"datetime", "start_datetime", "end_datetime"}
        assert (item["properties"].keys() <= default) == (method == "POST")


@pytest.mark.parametrize("method", METHODS)
def test_an_excluded_part_leaves_the_rest_of_what_is_included(client: Client, method: str) -> None:
    search = client.search(
        method=method, collections=["us-census"], fields="properties,-properties.datetime", sortby="id"
    )
    sent = {item["id"]: item["properties"] for item in sample_items() if item["collection"] == "us-census"}
    for item in search.items_as_dicts():
        mine = {name: value for name, value in sent[item["id"]].items() if name != "datetime"}
        assert item["properties"] == {**mine, **{name: item["properties"][name] for name in ("created", "updated")}}


@pytest.mark.parametrize("method", METHODS)
def test_an_included_part_survives_the_exclusion_of_the_rest(client: Client, method: str) -> None:
    search = client.search(method=method, collections=["us-census"], fields="properties.datetime,-properties")
    assert [item["properties"] for item in search.items_as_dicts()] == [{"datetime": "2021-08-01T00:00:00Z"}] * 3


# -- pages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
def test_pages_over_everything_hold_each_item_once(client: Client, method: str) -> None:
    search = client.search(method=method, limit=500)
    pages = [[(item.collection_id, item.id) for item in page] for page in search.pages()]
    assert [len(page) for page in pages] == [500, 500, 500, 500, 282]
    found = [pair for page in pages for pair in page]
    assert len(found) == len(set(found)) == 2282
    assert set(found) == {(item["collection"], item["id"]) for item in sample_items()}


@pytest.mark.parametrize("method", METHODS)
def test_everything_is_counted(client: Client, method: str) -> None:
    assert client.search(method=method).matched() == 2282


@pytest.mark.parametrize("method", METHODS)
def test_pages_keep_the_search_that_they_began_with(client: Client, method: str) -> None:
    search = client.search(
        method=method,
        collections=["landsat-c2-l2", "naip"],
        query={"platform": {"eq": "landsat-9"}},
        sortby="-properties.eo:cloud_cover",
        fields=["id", "collection", "properties.eo:cloud_cover"],
        limit=7,
    )
    found = [item for page in search.pages_as_dicts() for item in page["features"]]
    sent = [item for item in sample_items() if item["properties"].get("platform") == "landsat-9"]
    assert len(found) == len(sent) == 45
    clouds = [item["properties"]["eo:cloud_cover"] for item in found]
    assert clouds == sorted((number(item, "eo:cloud_cover") for item in sent), reverse=True)
    assert {item["id"] for item in found} == {item["id"] for item in sent}


# -- the oracle ----------------------------------------------------------------------------------


@cache
def sample_items() -> list[Item]:
    files = sorted((DATA / "items").glob("*.ndjson"))
    return [json.loads(line) for file in files for line in file.read_bytes().splitlines()]


@cache
def sample_collections() -> list[dict[str, Any]]:
    return [json.loads(line) for line in (DATA / "collections.ndjson").read_bytes().splitlines()]


def number(item: Item, name: str) -> float:
    """A property that is a number; where it is unset, one that no comparison selects."""
    value = item["properties"].get(name)
    return float("nan") if value is None else float(value)


def instant(text: str) -> datetime:
    """A time without an offset (some Landsat samples have a date alone) is UTC."""
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)


def within(item: Item, start: str | None, end: str | None) -> bool:
    """Whether the item's time meets the interval, closed at both ends. None is an open end."""
    properties = item["properties"]
    spans = []
    if properties.get("datetime"):
        spans.append((properties["datetime"], properties["datetime"]))
    if properties.get("start_datetime") and properties.get("end_datetime"):
        spans.append((properties["start_datetime"], properties["end_datetime"]))
    answers = {
        (end is None or instant(first) <= instant(end)) and (start is None or instant(last) >= instant(start))
        for first, last in spans
    }
    assert len(answers) == 1, f"{item['id']} has two times, and they disagree: ask about another interval"
    return answers.pop()


def meets(item: Item, area: list[Point]) -> bool:
    """Whether the footprint meets the area, whose corners run around it. On the plane, borders count."""
    footprint = item["geometry"]
    if footprint is None:
        return False
    rings = list(rings_of(footprint))
    low, high = min(y for _, y in area), max(y for _, y in area)
    for ring in rings:
        if any(abs(a[0] - b[0]) > FOOTPRINT_LIMIT for a, b in edges(ring)):
            beyond = max(y for _, y in ring) < low or min(y for _, y in ring) > high
            assert beyond, f"{item['id']} may cross the antimeridian: ask about another area"
    return any(
        any(cross(a, b, c, d) for a, b in edges(ring) for c, d in edges(area))
        or holds(ring, area[0])
        or holds(area, ring[0])
        for ring in rings
    )


def rings_of(geometry: dict[str, Any]) -> Iterator[list[Point]]:
    """The outlines of polygons; the samples have no other geometry with an area, and holes are passed over."""
    if geometry["type"] == "MultiPolygon":
        for polygon in geometry["coordinates"]:
            yield [(x, y) for x, y, *_ in polygon[0]]
    elif geometry["type"] == "Polygon":
        yield [(x, y) for x, y, *_ in geometry["coordinates"][0]]
    else:
        raise AssertionError(geometry["type"])


def edges(ring: list[Point]) -> Iterator[tuple[Point, Point]]:
    yield from zip(ring, [*ring[1:], ring[0]], strict=True)


def side(a: Point, b: Point, p: Point) -> float:
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


def cross(a: Point, b: Point, c: Point, d: Point) -> bool:
    return side(a, b, c) * side(a, b, d) < 0 and side(c, d, a) * side(c, d, b) < 0


def holds(ring: list[Point], p: Point) -> bool:
    """Whether a ray from the point to the east leaves the ring an odd number of times."""
    return bool(
        sum((a[1] > p[1]) != (b[1] > p[1]) and (side(a, b, p) > 0) == (b[1] > a[1]) for a, b in edges(ring)) % 2
    )

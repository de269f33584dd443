"""Boxes, footprints and instants: expected ids worked out by hand."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

import swath
from swath.errors import InvalidRequest
from swath.session import Session
from tests.conftest import make_item


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


PLACES: dict[str, dict[str, Any]] = {
    "point": {"geometry": {"type": "Point", "coordinates": [10.0, 10.0]}},
    "point-3d": {"geometry": {"type": "Point", "coordinates": [10.0, 10.0, 500.0]}},
    "line": {"geometry": {"type": "LineString", "coordinates": [[20.0, 0.0], [20.0, 10.0]]}},
    "square": {"geometry": box(30, 30, 40, 40)},
    "hole": {"geometry": {"type": "Polygon", "coordinates": [
        box(30, -40, 40, -30)["coordinates"][0], box(33, -37, 37, -33)["coordinates"][0][::-1]]}},
    "collection": {"geometry": {"type": "GeometryCollection", "geometries": [
        {"type": "Point", "coordinates": [-50.0, 5.0]}, {"type": "LineString", "coordinates": [[-60, 0], [-60, 5]]}]}},
    "nowhere": {"geometry": None},
    # Across the antimeridian, in three spellings: bbox from east to west, longitudes beyond 180, already cut.
    "cross-bbox": {"geometry": box(-179, 50, 179, 52), "bbox": [179, 50, -179, 52]},
    "cross-beyond": {"geometry": box(179, 60, 181, 62)},
    "cross-cut": {"geometry": {"type": "MultiPolygon", "coordinates": [
        box(179, 70, 180, 72)["coordinates"], box(-180, 70, -179, 72)["coordinates"]]}},
    # Wide and literal: no bbox says that it crosses.
    "wide": {"geometry": box(-170, -70, 170, -65)},
    "south-pole": {"geometry": box(-180, -90, 180, -85)},
    "north-pole-point": {"geometry": {"type": "Point", "coordinates": [123.0, 90.0]}},
}  # fmt: skip

TIMES: dict[str, dict[str, Any]] = {
    "instant": {"datetime": "2020-06-01T12:00:00Z"},
    "offset": {"datetime": "2020-06-01T14:00:00+02:00"},
    "fine": {"datetime": "2020-06-01T12:00:00.0000015Z"},
    "range": {"datetime": None, "start_datetime": "2020-01-01T00:00:00Z", "end_datetime": "2020-12-31T23:59:59Z"},
    "both": {"datetime": "2019-06-01T00:00:00Z", "start_datetime": "2019-01-01T00:00:00Z",
             "end_datetime": "2019-12-31T00:00:00Z"},
    "old": {"datetime": "1938-07-05T00:00:00Z"},
    "very-old": {"datetime": "0001-01-01T00:00:00Z"},
    "far": {"datetime": "9999-12-31T23:59:59Z"},
    "day": {"datetime": "2021-03-04"},
    "space": {"datetime": "2022-04-28 03:44:17.707575+00:00"},
}  # fmt: skip


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with swath.open(tmp_path_factory.mktemp("space") / "c", create=True) as made:
        report = made.write([make_item(name, "places", **more) for name, more in PLACES.items()])
        report2 = made.write([make_item(name, "times", geometry=None, **more) for name, more in TIMES.items()])
        assert report.refused + report2.refused == []
        yield made


def found(session: Session, **parameters: Any) -> set[str]:
    return {item["id"] for item in session.search(**parameters)}


@pytest.mark.parametrize(
    ("bbox", "expected"),
    [
        ([0, 0, 15, 15], {"point", "point-3d"}),
        ([10, 10, 10, 10], {"point", "point-3d"}),
        ([0, 0, -400, 15, 15, 400], {"point", "point-3d"}),
        ([15, 5, 25, 6], {"line"}),
        ([20, 2, 20, 3], {"line"}),
        ([40, 40, 50, 50], {"square"}),  # touching is intersecting
        ([34, -36, 36, -34], set()),  # within the hole
        ([34, -36, 38, -34], {"hole"}),
        ([-65, 1, -55, 2], {"collection"}),
        ([-51, 4, -49, 6], {"collection"}),
        ([-58, 1, -52, 2], set()),  # between its parts
        ([179.5, 51, 180, 51.5], {"cross-bbox"}),
        ([-180, 51, -179.5, 51.5], {"cross-bbox"}),
        ([-10, 51, 10, 51.5], set()),  # the long way round is not it
        ([175, 45, -175, 75], {"cross-bbox", "cross-beyond", "cross-cut"}),
        ([-179.9, 61, -179.5, 61.5], {"cross-beyond"}),
        ([0, 61, 10, 62], set()),
        ([179.2, 71, -179.2, 71.1], {"cross-cut"}),
        ([-1, -68, 1, -67], {"wide"}),
        ([175, -68, -175, -67], set()),
        ([100, -88, 101, -87], {"south-pole"}),
        ([0, -90, 0, -90], {"south-pole"}),
        ([-180, 89, 180, 90], {"north-pole-point"}),
        ([-180, -90, 180, 90], set(PLACES) - {"nowhere"}),
    ],
)
def test_boxes(session: Session, bbox: list[float], expected: set[str]) -> None:
    assert found(session, bbox=bbox) == expected
    text = f"S_INTERSECTS(geometry, BBOX({', '.join(map(str, bbox))}))"
    assert found(session, filter=text) == expected


@pytest.mark.parametrize(
    ("geometry", "expected"),
    [
        ({"type": "Point", "coordinates": [10, 10]}, {"point", "point-3d"}),
        ({"type": "LineString", "coordinates": [[0, 5], [45, 5]]}, {"line"}),
        (box(25, 25, 35, 35), {"square"}),
        ({"type": "MultiPoint", "coordinates": [[35, 35], [10, 10]]}, {"square", "point", "point-3d"}),
        ({"type": "GeometryCollection", "geometries": [{"type": "Point", "coordinates": [35, 35]}]}, {"square"}),
        ({"type": "Polygon", "coordinates": []}, set()),
    ],
)
def test_geometries(session: Session, geometry: dict[str, Any], expected: set[str]) -> None:
    assert found(session, intersects=geometry) == expected
    assert found(session, filter={"op": "s_intersects", "args": [{"property": "geometry"}, geometry]}) == expected


def test_a_null_geometry_is_neither_inside_nor_outside(session: Session) -> None:
    assert "nowhere" not in found(session, filter="NOT S_INTERSECTS(geometry, POINT(0 0))", collections=["places"])
    assert found(session, filter="geometry IS NULL", collections=["places"]) == {"nowhere"}


NOON = {"instant", "offset"}  # the same instant


@pytest.mark.parametrize(
    ("datetime", "expected"),
    [
        ("2020-06-01T12:00:00Z", {*NOON, "range"}),
        ("2020-06-01T14:00:00+02:00", {*NOON, "range"}),
        ("2020-06-01T12:00:00.000001Z", {"fine", "range"}),  # finer than a microsecond is cut off
        ("2020-06-01T12:00:00.0000011Z", {"fine", "range"}),
        ("2020-01-01T00:00:00Z/2020-01-01T00:00:00Z", {"range"}),
        ("2020-12-31T23:59:59Z/..", {"range", "far", "day", "space"}),
        ("2020-12-31T23:59:59.000001Z/", {"far", "day", "space"}),
        ("../1969-12-31T23:59:59Z", {"old", "very-old"}),
        ("/0001-01-01T00:00:00Z", {"very-old"}),
        ("1900-01-01T00:00:00Z/1950-01-01T00:00:00Z", {"old"}),
        ("2019-12-01T00:00:00Z/2019-12-31T00:00:00Z", {"both"}),  # the extent counts, not only the instant in it
        ("9999-12-31T23:59:59Z", {"far"}),
        ("2021-03-04T15:00:00z/2021-03-04t15:00:00Z", {"day"}),  # a date is its whole day
        ("2022-04-28T03:44:17.707575Z", {"space"}),
    ],
)
def test_instants_and_intervals(session: Session, datetime: str, expected: set[str]) -> None:
    assert found(session, datetime=datetime, collections=["times"]) == expected


def test_the_order_is_by_datetime_else_start_and_goes_back_before_1970(session: Session) -> None:
    order = [item["id"] for item in session.search(collections=["times"])]
    assert order == [
        "far", "space", "day", "fine", "instant", "offset", "range", "both", "old", "very-old",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("parameters", "fault"),
    [
        ({"bbox": [0, 10, 5, 5]}, "south 10.0 of the bbox is north of north 5.0"),
        ({"bbox": [0, 0, 9, 5, 5, 1]}, "bottom 9.0 is above top 1.0"),
        ({"bbox": [-181, 0, 0, 5]}, "longitude -181.0"),
        ({"bbox": [0, 0, 0, 91]}, "latitude 91.0"),
        ({"bbox": [0, 0, 0]}, "4 or 6 numbers"),
        ({"bbox": [0, 0, 5, 5], "intersects": box(0, 0, 1, 1)}, "not both"),
        ({"intersects": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}}, "not a GeoJSON Polygon"),
        ({"intersects": {"type": "Polygon", "coordinates": [[[0, 0], [1, 1], [1, 0], [0, 1], [0, 0]]]}}, "not valid"),
        ({"intersects": {"type": "Point", "coordinates": [0, 95]}}, "latitude of -90 to 90"),
        ({"datetime": "2020-01-02T00:00:00Z/2020-01-01T00:00:00Z"}, "ends before it starts"),
        ({"datetime": "2020-02-30T00:00:00Z"}, "day 30 is not 01 to 29"),
        ({"datetime": "2016-12-31T23:59:60Z"}, "not 00:00:00 to 23:59:59"),
        ({"datetime": "../.."}, "open at both ends"),
        ({"datetime": "2020-01-01"}, "not an RFC 3339 date-time"),
    ],
)
def test_faults_are_named(session: Session, parameters: dict[str, Any], fault: str) -> None:
    with pytest.raises(InvalidRequest, match=fault):
        list(session.search(**parameters))


@pytest.mark.parametrize(
    ("change", "pointer"),
    [
        ({"geometry": {"type": "Point", "coordinates": [0, 95]}}, "/geometry"),
        ({"geometry": {"type": "Polygon", "coordinates": [[[0, 0], [1, 0], [1, 1]]]}}, "/geometry"),
        ({"geometry": {"type": "Circle", "coordinates": [0, 0]}}, "/geometry"),
        ({"datetime": None}, "/properties/datetime"),
        ({"datetime": "yesterday"}, "/properties/datetime"),
        ({"datetime": None, "start_datetime": "2020-01-02T00:00:00Z", "end_datetime": "2020-01-01T00:00:00Z"},
         "/properties/start_datetime"),
        ({"bbox": [1, 2, 3]}, "/bbox"),
    ],
)  # fmt: skip
def test_items_that_no_search_could_find_are_refused(session: Session, change: dict[str, Any], pointer: str) -> None:
    report = session.write([make_item("refused", "places", **change)])
    assert len(report.refused) == 1
    assert report.refused[0].pointer == pointer


def test_a_footprint_that_crosses_itself_loads_with_a_warning_and_is_found(tmp_path: Any) -> None:
    bow_tie = {"type": "Polygon", "coordinates": [[[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]]]}
    with swath.open(tmp_path / "c", create=True) as session:
        report = session.write([make_item("bow", geometry=bow_tie)])
        assert (report.created, len(report.refused)) == (1, 0)
        assert "not valid (Self-intersection" in report.warnings[0].reason
        assert found(session, bbox=[1.8, 0.9, 1.9, 1.1]) == {"bow"}
        assert found(session, bbox=[0.9, 1.8, 1.1, 1.9]) == set()
        assert session.get("c", "bow")["geometry"] == json.loads(json.dumps(bow_tie))

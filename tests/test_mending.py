"""Items mended by RFC 7946: by hand, against the package antimeridian, by laws, and for documents that mean harm."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import antimeridian
import msgspec
import numpy as np
import pytest
import shapely
from hypothesis import given, settings
from hypothesis import strategies as st
from shapely.geometry.base import BaseGeometry

from swath.stac.document import ItemDocument, read_document
from swath.stac.geometry import edge_overlaps, is_tangled
from swath.stac.text import decode_compact, members
from swath.stac.validation import Fix, fixed, problems
from tests.conftest import long, make_item, sample_items

CUT, CLOSED, TURNED = "cut at the antimeridian", "closed the ring", "turned the ring round"
AREAS, BOXED = "made areas of the parts that the outline surrounds", "took it from the geometry"


def mend(content: dict[str, Any]) -> tuple[dict[str, Any], list[tuple[str, str]]]:
    raw = json.dumps(content).encode()
    decoded, body = decode_compact(raw, "document")
    new, fixes = fixed(decoded, body)
    return json.loads(new), [(fix.pointer, fix.message) for fix in fixes]


def item(geometry: dict[str, Any], bbox: list[float] | None = None) -> dict[str, Any]:
    made = make_item("a", geometry=geometry, bbox=bbox)
    return {name: value for name, value in made.items() if name != "bbox" or value is not None}


def polygon(*rings: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def polygons(parts: Iterable[Any]) -> dict[str, Any]:
    return {"type": "MultiPolygon", "coordinates": list(parts)}


def lines(*parts: Any) -> dict[str, Any]:
    return {"type": "MultiLineString", "coordinates": list(parts)}


def box(west: float, south: float, east: float, north: float) -> list[list[float]]:
    return [[west, south], [east, south], [east, north], [west, north], [west, south]]


def positions(*points: Any) -> list[list[float]]:
    return [list(point) for point in points]


def same_shape(one: dict[str, Any], other: dict[str, Any]) -> bool:
    """The same polygons, whatever the order of their parts and where their rings begin."""
    left, right = (shapely.normalize(shapely.from_geojson(json.dumps(each))) for each in (one, other))
    return one["type"] == other["type"] and bool(left.equals_exact(right, 1e-9))


PART = "/geometry/coordinates/0"
CASES: list[tuple[dict[str, Any], list[float] | None, dict[str, Any], list[float], list[tuple[str, str]]]] = [
    # An open ring, and one wound the wrong way. Three positions are enough for a triangle.
    (polygon(positions((0, 0), (2, 0), (1, 2))), None,
     polygon(positions((0, 0), (2, 0), (1, 2), (0, 0))), [0, 0, 2, 2], [(PART, CLOSED), ("/bbox", BOXED)]),
    (polygon(box(0, 0, 3, 3)[::-1], box(1, 1, 2, 2)), [0, 0, 3, 3],
     polygon(box(0, 0, 3, 3), box(1, 1, 2, 2)[::-1]), [0, 0, 3, 3],
     [(PART, TURNED), ("/geometry/coordinates/1", TURNED)]),
    # RFC 7946, 3.1.9: a line from 170 to -170 at 45 north, and a box.
    ({"type": "LineString", "coordinates": positions((170, 45), (-170, 45))}, None,
     lines(positions((170, 45), (180, 45)), positions((-180, 45), (-170, 45))), [170, 45, -170, 45],
     [("/geometry/coordinates", CUT), ("/bbox", BOXED)]),
    (polygon(box(170, 40, -170, 50)), [170, 40, -170, 50],
     {"type": "MultiPolygon", "coordinates": [[box(170, 40, 180, 50)], [box(-180, 40, -170, 50)]]}, [170, 40, -170, 50],
     [(PART, CUT)]),
    (polygon(box(170, 40, 190, 50)), [170, 40, 190, 50],
     {"type": "MultiPolygon", "coordinates": [[box(170, 40, 180, 50)], [box(-180, 40, -170, 50)]]}, [170, 40, -170, 50],
     [(PART, CUT), ("/bbox", BOXED)]),
    # The bbox that is drawn around the numbers goes, since this triangle is no box.
    (polygon(positions((179, 0), (-179, 0), (-179, 2), (179, 0))), [-179, 0, 179, 2],
     {"type": "MultiPolygon", "coordinates": [
         [positions((179, 0), (180, 0), (180, 1), (179, 0))],
         [positions((-180, 0), (-179, 0), (-179, 2), (-180, 1), (-180, 0))]]}, [179, 0, -179, 2],
     [(PART, CUT), ("/bbox", BOXED)]),
    # All of it beyond, and points.
    (polygon(box(190, 0, 200, 5)), None, polygon(box(-170, 0, -160, 5)), [-170, 0, -160, 5],
     [(PART, CUT), ("/bbox", BOXED)]),
    ({"type": "MultiPoint", "coordinates": positions((181.5, 1), (-190.25, 2, 7), (3, 3))}, None,
     {"type": "MultiPoint", "coordinates": positions((-178.5, 1), (169.75, 2, 7), (3, 3))}, [-178.5, 1, 169.75, 3],
     [("/geometry/coordinates/0", "moved the point round the earth"),
      ("/geometry/coordinates/1", "moved the point round the earth"), ("/bbox", BOXED)]),
    # Round a pole, eastward and westward; the cut runs up the antimeridian at the height where it is crossed.
    (polygon(positions((0, 80), (90, 70), (180, 60), (-90, 70), (0, 80))), None,
     polygon(positions((-180, 60), (-90, 70), (0, 80), (90, 70), (180, 60), (180, 90), (-180, 90), (-180, 60))),
     [-180, 60, 180, 90], [(PART, f"{CUT} and closed over the pole"), ("/bbox", BOXED)]),
    (polygon(positions((135, -70), (45, -60), (-45, -60), (-135, -80), (135, -70))), None,
     polygon(positions((-180, -75), (-180, -90), (180, -90), (180, -75), (135, -70), (45, -60), (-45, -60), (-135, -80),
                       (-180, -75))),
     [-180, -90, 180, -60], [(PART, f"{CUT} and closed over the pole"), ("/bbox", BOXED)]),
    # A hole across the antimeridian, of a ring across it, wound as the ring is.
    (polygon(box(170, 0, -170, 20), box(175, 5, -175, 15)), [170, 0, -170, 20],
     {"type": "MultiPolygon", "coordinates": [
         [positions((170, 0), (180, 0), (180, 5), (175, 5), (175, 15), (180, 15), (180, 20), (170, 20), (170, 0))],
         [positions((-180, 0), (-170, 0), (-170, 20), (-180, 20), (-180, 15), (-175, 15), (-175, 5), (-180, 5),
                    (-180, 0))]]},
     [170, 0, -170, 20], [(PART, CUT)]),
    # Heights come along, halfway between those at both ends.
    ({"type": "LineString", "coordinates": positions((179, 0, 100), (-179, 2, 200))}, None,
     lines(positions((179, 0, 100), (180, 1, 150)), positions((-180, 1, 150), (-179, 2, 200))), [179, 0, -179, 2],
     [("/geometry/coordinates", CUT), ("/bbox", BOXED)]),
    # A bow tie is two triangles; the sixth number of the bbox stays.
    (polygon(positions((0, 0), (2, 2), (2, 0), (0, 2), (0, 0))), [0, 0, -5, 2, 3, 9.5],
     {"type": "MultiPolygon", "coordinates": [
         [positions((0, 0), (1, 1), (0, 2), (0, 0))], [positions((1, 1), (2, 0), (2, 2), (1, 1))]]},
     [0, 0, -5, 2, 2, 9.5], [("/geometry/coordinates", AREAS), ("/bbox", BOXED)]),
    # A part of a collection.
    ({"type": "GeometryCollection", "geometries": [
        {"type": "Point", "coordinates": [1, 1]}, polygon(positions((0, 0), (0, 2), (2, 2), (0, 0)))]}, [0, 0, 2, 2],
     {"type": "GeometryCollection", "geometries": [
        {"type": "Point", "coordinates": [1, 1]}, polygon(positions((0, 0), (2, 2), (0, 2), (0, 0)))]}, [0, 0, 2, 2],
     [("/geometry/geometries/1/coordinates/0", TURNED)]),
    # A cut that ends on the wrong side of the antimeridian, as a real item has it: the edge runs along it.
    (polygon(positions((-179, 0), (-179, 4), (180, 4), (-180, 1), (-179, 0))), None,
     polygon(positions((-179, 0), (-179, 4), (-180, 4), (-180, 1), (-179, 0))), [-180, 0, -179, 4],
     [(PART, CUT), ("/bbox", BOXED)]),
    # Circles of latitude, whose corners are those of a box without height.
    (polygon(positions((45, 80), (135, 80), (-135, 80), (-45, 80), (45, 80))), [-180, 80, 180, 90],
     polygon(positions((135, 80), (180, 80), (180, 90), (-180, 90), (-180, 80), (-135, 80), (-45, 80), (45, 80),
                       (135, 80))), [-180, 80, 180, 90], [(PART, f"{CUT} and closed over the pole")]),
    (polygon(positions((0, -80), (90, -80), (180, -80), (-90, -80), (0, -80))), None,
     polygon(positions((-90, -80), (-180, -80), (-180, -90), (180, -90), (180, -80), (90, -80), (0, -80), (-90, -80))),
     [-180, -90, 180, -80], [(PART, f"{CUT} and closed over the pole"), ("/bbox", BOXED)]),
]  # fmt: skip


@pytest.mark.parametrize(("geometry", "bbox", "wanted", "wanted_bbox", "told"), CASES)
def test_what_is_mended_and_what_is_told(
    geometry: dict[str, Any], bbox: list[float] | None, wanted: dict[str, Any], wanted_bbox: list[float], told: Any
) -> None:
    content, fixes = mend(item(geometry, bbox))
    assert same_shape(content["geometry"], wanted), content["geometry"]
    assert content["bbox"] == wanted_bbox
    assert fixes == told
    assert [problem for problem in problems(content) if problem.fixable] == []


@pytest.mark.parametrize(("geometry", "bbox"), [
    (polygon(box(-179.1, -14.5, 179.8, 71.4)), [-179.1, -14.5, 179.8, 71.4]),  # drawn around the United States
    (polygon(box(-180, -90, 180, 90)), [-180, -90, 180, 90]),
    (polygon(positions((-180, 0), (180, 0), (180, 10), (0, 10), (-180, 10), (-180, 0))), [-180, 0, 180, 10]),
    (polygon(box(0, 0, 1, 91)), [0, 0, 1, 1]),  # what cannot be told is left alone, with all there is about it
    (polygon(positions((0, 0), (0, 1), (0, 0))), None),
])  # fmt: skip
def test_what_is_not_guessed(geometry: dict[str, Any], bbox: list[float] | None) -> None:
    content = item(geometry, bbox)
    assert mend(content) == (content, [])


@pytest.mark.parametrize("before", [b"", b'"a":1,'])
@pytest.mark.parametrize("after", [b"", b',"z":[]'])
def test_a_bbox_beside_a_null_geometry_goes_wherever_it_stands(before: bytes, after: bytes) -> None:
    left = (Fix("/bbox", "left the bbox out, since the geometry is null"),)
    body = b"{" + before + b'"geometry":null,"b\\u0062ox":[0,0,1,1]' + after + b"}"
    assert fixed(msgspec.json.decode(body), body) == (b"{" + before + b'"geometry":null' + after + b"}", left)
    first = b'{"bbox":[0,0,1,1]' + (b"," + before.rstrip(b",") if before else b"") + b',"geometry":null' + after + b"}"
    assert fixed(msgspec.json.decode(first), first)[0] == b"{" + before + b'"geometry":null' + after + b"}"


def test_every_byte_that_no_rule_concerns_stays() -> None:
    body = (
        b'{"id":"\\u00e4\\/","x":1.50,"geometry":{"crs":{"n":1e2},"co\\u006frdinates":[[[0.0,0],[0,2.00],[2e0,2.0],[0.0,0]]]'
        b',"type":"Polygon"},"big":123456789012345678901234567890.0,"bbox":[0.0,0,2,2e0],"type":"Feature"}'
    )
    turned = body.replace(b"[0.0,0],[0,2.00],[2e0,2.0],[0.0,0]", b"[0.0,0],[2e0,2.0],[0,2.00],[0.0,0]")
    assert fixed(msgspec.json.decode(body), body) == (turned, (Fix("/geometry/coordinates/0", TURNED),))
    opened = body.replace(b",[0.0,0]]]", b"]]")
    assert fixed(msgspec.json.decode(opened), opened)[0] == turned
    unboxed = body.replace(b',"bbox":[0.0,0,2,2e0]', b"")
    assert fixed(msgspec.json.decode(unboxed), unboxed)[0] == turned.replace(b',"bbox":[0.0,0,2,2e0]', b"")[:-1] + (
        b',"bbox":[0.0,0.0,2.0,2.0]}'
    )


def test_mended_real_items_hold_the_laws() -> None:
    changed = 0
    for _, line in sample_items():
        content, body = decode_compact(line, "item")
        changed += hold_the_laws(content, body)
    assert changed == 677


def hold_the_laws(content: dict[str, Any], body: bytes) -> bool:
    """Check one document; whether it was changed."""
    new, fixes = fixed(content, body)
    again = msgspec.json.decode(new)
    assert [problem for problem in problems(again) if problem.fixable] == []
    assert fixed(again, new) == (new, ())
    assert bool(fixes) == (new != body)
    assert fixes or not any(problem.fixable for problem in problems(content))
    before, after = members(body), members(new)
    assert [name for name in before if name != "bbox"] == [name for name in after if name != "bbox"]
    for name, (start, end) in before.items():
        if name not in ("geometry", "bbox"):
            assert new[slice(*after[name])] == body[start:end]
    hold_the_rings(again.get("geometry"))
    if not any(problem.level == "error" for problem in problems(again)):
        read_document(new, "c")
    return bool(fixes)


def hold_the_rings(geometry: Any) -> None:
    """Rings that can be read are closed, and right-handed where their area is not lost in rounding."""
    if not isinstance(geometry, dict):
        return
    for member in geometry.get("geometries", ()):
        hold_the_rings(member)
    if "Polygon" not in geometry["type"]:
        return
    if any(problem.level == "error" for problem in problems(item(geometry)) if problem.pointer != "/bbox"):
        return
    for shells in [geometry["coordinates"]] if geometry["type"] == "Polygon" else geometry["coordinates"]:
        for number, ring in enumerate(ring for ring in shells if ring):
            assert ring[0] == ring[-1]
            area = math.fsum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring))
            assert abs(area) < 1e-7 or (area > 0) == (number == 0)


LONGITUDES = st.one_of(
    st.sampled_from([-180, 180, -179.5, 179.5, 0, -90, 90.0, 185, -200.25, 360, 541]),
    st.floats(-180, 180).map(lambda x: round(x, 3)), st.floats(-10, 10).map(lambda x: round((x + 360) % 360 - 180, 2)),
)  # fmt: skip
LATITUDES = st.one_of(st.sampled_from([-90, 90, 0, 80.5, -91]), st.floats(-90, 90).map(lambda y: round(y, 3)))
POSITION = st.one_of(st.tuples(LONGITUDES, LATITUDES), st.tuples(LONGITUDES, LATITUDES, st.just(7.5))).map(list)


@st.composite
def rings(draw: st.DrawFn) -> list[list[float]]:
    """A ring of any positions, or one around a place that may lie on the antimeridian, or around a pole."""
    kind = draw(st.integers(0, 3))
    ring: list[list[float]] = []
    if kind == 0:
        ring += draw(st.lists(POSITION, max_size=7))
    elif kind == 1:
        west, south, east, north = (draw(strategy) for strategy in (LONGITUDES, LATITUDES, LONGITUDES, LATITUDES))
        ring = box(west, south, east, north)[:-1]
    else:
        sides = draw(st.integers(3, 9))
        middle, side = draw(st.sampled_from([0, 175, 180, -179.5])), draw(st.sampled_from([1, -1]))
        radii = draw(st.lists(st.floats(1, 30), min_size=sides, max_size=sides))
        corners = [(math.tau * n / sides, radius) for n, radius in enumerate(radii)]
        if kind == 2:
            ring = [[middle + radius * math.cos(turn), 40 * math.sin(turn)] for turn, radius in corners]
        else:
            ring = [[middle + math.degrees(turn), side * (88 - radius)] for turn, radius in corners]
        around = draw(st.booleans())
        ring = [[round((x + 180) % 360 - 180 if around else x, 3), round(y, 3)] for x, y in ring]
    if draw(st.booleans()):
        ring.reverse()
    closed = draw(st.integers(0, 9)) > 0
    return [*ring, list(ring[0])] if ring and closed else ring


GEOMETRIES = st.recursive(
    st.one_of(
        st.lists(rings(), min_size=1, max_size=3).map(lambda value: polygon(*value)),
        st.lists(st.lists(rings(), max_size=2), max_size=3).map(lambda v: {"type": "MultiPolygon", "coordinates": v}),
        st.lists(POSITION, max_size=5).map(lambda value: {"type": "LineString", "coordinates": value}),
        st.lists(POSITION, max_size=5).map(lambda value: {"type": "MultiPoint", "coordinates": value}),
        st.lists(st.lists(POSITION, min_size=2, max_size=3), max_size=3).map(lambda value: lines(*value)),
    ),
    lambda inner: st.lists(inner, max_size=3).map(lambda value: {"type": "GeometryCollection", "geometries": value}),
    max_leaves=3,
)
BOXES = st.one_of(
    st.none(), st.just([170, -90, -170, 90]), st.just([-180, -90, 0, 180, 90, 9.25]),
    st.tuples(LONGITUDES, LATITUDES, LONGITUDES, LATITUDES).map(list),
)  # fmt: skip


@settings(max_examples=long(400, 20_000), deadline=None)
@given(GEOMETRIES, BOXES)
def test_the_laws_of_mending(geometry: dict[str, Any], bbox: list[float] | None) -> None:
    hold_the_laws(*decode_compact(json.dumps(item(geometry, bbox)).encode(), "item"))


@st.composite
def footprints(draw: st.DrawFn) -> list[list[float]]:
    """A right-handed ring around a place on the antimeridian, that never lies on it: longitudes of 160 to 200."""
    radii = draw(st.lists(st.floats(1, 18), min_size=4, max_size=12))
    sides, middle = len(radii), draw(st.floats(-40, 40))
    turns = [(math.tau * (n + 0.137) / sides, radius) for n, radius in enumerate(radii)]
    ring = [[180 + radius * math.cos(turn), middle + radius * math.sin(turn)] for turn, radius in turns]
    return [*ring, list(ring[0])]


@settings(max_examples=long(200, 5_000), deadline=None)
@given(footprints())
def test_the_package_antimeridian_cuts_alike(ring: list[list[float]]) -> None:
    jumping = [[(x + 180) % 360 - 180, y] for x, y in ring]
    content, _ = mend(item(polygon(jumping)))
    ours: BaseGeometry = shapely.from_geojson(json.dumps(content["geometry"]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = antimeridian.fix_polygon(shapely.Polygon(jumping), great_circle=False, fix_winding=True)
    assert ours.is_valid
    assert math.isclose(ours.area, shapely.Polygon(ring).area, rel_tol=1e-9)
    if theirs.is_valid:  # it rounds where it cuts to seven decimals
        assert ours.symmetric_difference(theirs).area < 1e-4


@settings(max_examples=long(100, 5_000), deadline=None)
@given(footprints(), st.booleans())
def test_mending_does_not_change_what_is_found(ring: list[list[float]], beyond: bool) -> None:
    """Where the bbox says that a footprint lies across the antimeridian, searches see it so, mended or not."""
    around = [[x if beyond else (x + 180) % 360 - 180, y] for x, y in ring]
    west, east = min(x for x, _ in ring), max(x for x, _ in ring)
    raw = json.dumps(
        item(polygon(around), [west, min(y for _, y in ring), east - 360, max(y for _, y in ring)])
    ).encode()
    content, body = decode_compact(raw, "item")
    assert searched(body).symmetric_difference(searched(fixed(content, body)[0])).area < 1e-9


def searched(body: bytes) -> BaseGeometry:
    """The shape of an item that searches see."""
    read = read_document(body, "c")
    assert isinstance(read, ItemDocument)
    return shapely.from_wkb(read.shape) if read.shape else shapely.from_geojson(json.dumps(read.content["geometry"]))


# -- documents that mean harm ---------------------------------------------------------------------

MANY = long(15_000, 95_000)  # positions
TURNS = np.linspace(0, math.tau, MANY)[:-1]


def circle(radii: Any, middle: float = 0.0) -> list[list[float]]:
    ring = np.column_stack((middle + radii * np.cos(TURNS), radii * np.sin(TURNS)))
    ring[:, 0] = (ring[:, 0] + 180) % 360 - 180
    return [*ring.tolist(), ring[0].tolist()]


def scattered(count: int, width: float = 360, height: float = 180) -> list[list[float]]:
    points = (np.random.default_rng(1).random((count, 2)) - 0.5) * (width, height)
    return [*points.tolist(), points[0].tolist()]


HOSTILE: dict[str, Any] = {
    "a spiky star": lambda: polygon(circle(np.where(np.arange(len(TURNS)) % 2, 1.0, 60.0))),
    "a spiky star across": lambda: polygon(circle(np.where(np.arange(len(TURNS)) % 2, 1.0, 60.0), 180)),
    "a scribble": lambda: polygon(scattered(MANY)),
    "many small scribbles": lambda: polygons([scattered(95)] for _ in range(MANY // 100)),
    "a rough circle": lambda: polygon(circle(50 + np.random.default_rng(2).normal(0, 0.05, len(TURNS)))),
    "a rough circle across": lambda: polygon(circle(50 + np.random.default_rng(2).normal(0, 0.05, len(TURNS)), 180)),
    "up and down": lambda: polygon([*([179 - n % 2 * 358, 160 * n / MANY - 80] for n in range(MANY)), [179, -80]]),
    "boxes across": lambda: polygons([box(179, n / 300 - 80, -179, n / 300 - 79.9)] for n in range(MANY // 5)),
    "boxes beyond": lambda: {
        "type": "GeometryCollection", "geometries": [polygon(box(179, n % 9, 181, n % 9 + 1)) for n in range(MANY // 5)]
    },
    "shells in shells": lambda: polygons([box(-n / 300, -n / 300, n / 300, n / 300)] for n in range(1, MANY // 5)),
    "lines": lambda: lines(*([[179, 1], [-179, 1]] for _ in range(MANY // 2))),
    "a line round and round": lambda: lines([[n * 170 % 360 - 180, 0] for n in range(MANY)]),
    "too much": lambda: {"type": "MultiPoint", "coordinates": [[1, 1]] * 200_000},
    "nothing": lambda: {"type": "MultiPolygon", "coordinates": [[]] * 200_000},
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_geometries_get_no_more_work_than_they_may(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes GEOS long is only asked where it cannot: counted, since times are the machine's."""
    cuts, vertices = [], []
    overlay, repair, valid = shapely.intersection, shapely.make_valid, BaseGeometry.is_valid.fget

    def intersection(one: BaseGeometry, other: BaseGeometry) -> BaseGeometry:
        cuts.append(one)
        return overlay(one, other)

    def make_valid(shape: BaseGeometry, **how: Any) -> BaseGeometry:
        assert how["method"] == "structure"
        assert edge_overlaps(shape, 10**9) <= 300_000
        vertices.append(shapely.get_num_coordinates(shape))
        return repair(shape, **how)

    def is_valid(shape: BaseGeometry) -> bool:
        assert not is_tangled(shape)
        return bool(valid(shape))

    monkeypatch.setattr(shapely, "intersection", intersection)
    monkeypatch.setattr(shapely, "make_valid", make_valid)
    monkeypatch.setattr(BaseGeometry, "is_valid", property(is_valid))
    content = item(HOSTILE[name]())
    found = problems(content)
    assert found
    assert len(found) <= 200
    assert len(cuts) <= 3 * 500
    assert sum(vertices) <= 100_000
    cuts.clear()
    raw = json.dumps(content).encode()
    again = msgspec.json.decode(fixed(*decode_compact(raw, "item"))[0])
    assert len(cuts) <= 3 * 500
    monkeypatch.undo()
    assert [problem for problem in problems(again) if problem.fixable] == []

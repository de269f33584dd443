"""The structural rules at the door, one by one; what real documents break, each by name."""

from __future__ import annotations

import json
import random
import re
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest

from swath.errors import InvalidDocument
from swath.stac.document import ItemDocument, read_document
from swath.stac.validation import Problem, fixed, is_sound, problems
from tests.conftest import DATA, ROOT, long, make_item, sample_items

RULES = (ROOT / "docs/reference/validation.md").read_text(encoding="utf-8")
SQUARE = [[0.0, 0.0], [2.0, 0.0], [2.0, 2.0], [0.0, 2.0], [0.0, 0.0]]


def item(**changes: Any) -> dict[str, Any]:
    """An item that breaks no rule, with other members; None takes a member out."""
    whole = make_item("a", geometry={"type": "Polygon", "coordinates": [SQUARE]}, bbox=[0.0, 0.0, 2.0, 2.0])
    return changed(whole, changes)


def collection(**changes: Any) -> dict[str, Any]:
    whole = {
        "type": "Collection", "stac_version": "1.0.0", "id": "c", "description": "d", "license": "other", "links": [],
        "extent": {"spatial": {"bbox": [[-9, -9, 9, 9]]}, "temporal": {"interval": [["2020-01-01T00:00:00Z", None]]}},
    }  # fmt: skip
    return changed(whole, changes)


def changed(whole: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    whole.update(changes)
    return {name: value for name, value in whole.items() if value is not ...}


def polygon(*rings: Any) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": list(rings)}


def properties(**values: Any) -> dict[str, Any]:
    return {"properties": {"datetime": "2020-01-01T00:00:00Z", **values}}


def spatial(*boxes: Any) -> dict[str, Any]:
    return {"extent": {**collection()["extent"], "spatial": {"bbox": list(boxes)}}}


def temporal(*intervals: Any) -> dict[str, Any]:
    return {"extent": {**collection()["extent"], "temporal": {"interval": list(intervals)}}}


def test_documents_that_break_no_rule() -> None:
    assert problems(item()) == ()
    assert problems(collection()) == ()


# The level of a rule, and whether what breaks it can be mended.
WRONG, MENDED, ODD, TURNED = ("error", False), ("error", True), ("warning", False), ("warning", True)
Rule = tuple[dict[str, Any], str, tuple[str, bool], str]

ITEMS: list[Rule] = [
    # What is changed; where, what comes of it, and words of the message.
    ({"id": ...}, "/id", WRONG, "an id is a string that is not empty"),
    ({"id": "a\n"}, "/id", WRONG, "holds a control character"),
    ({"collection": ".."}, "/collection", WRONG, "cannot stand in a URL"),
    ({"type": "feature"}, "/type", WRONG, '"type": "Feature"'),
    ({"stac_version": ...}, "/stac_version", ODD, "stac_version is missing"),
    ({"stac_version": 1}, "/stac_version", WRONG, "stac_version is a string"),
    ({"stac_extensions": "eo"}, "/stac_extensions", WRONG, "an array of the addresses of JSON Schemas"),
    ({"stac_extensions": [""]}, "/stac_extensions/0", WRONG, "is a string that is not empty"),
    ({"links": ...}, "/links", ODD, "links is missing"),
    ({"links": {}}, "/links", WRONG, "links is an array"),
    ({"links": ["x"]}, "/links/0", WRONG, "a link is an object"),
    ({"links": [{"rel": "self"}]}, "/links/0/href", WRONG, "the href of a link is a string that is not empty"),
    ({"links": [{"rel": " ", "href": "x"}]}, "/links/0/rel", WRONG, "the rel of a link"),
    ({"links": [{"rel": "x", "href": "x", "type": 1}]}, "/links/0/type", WRONG, "the type of a link is a string"),
    ({"assets": ...}, "/assets", ODD, "assets is missing"),
    ({"assets": []}, "/assets", WRONG, "assets is an object"),
    ({"assets": {"a/b~": 1}}, "/assets/a~1b~0", WRONG, "an asset is an object"),
    ({"assets": {"a": {"href": ""}}}, "/assets/a/href", WRONG, "the href of an asset"),
    ({"assets": {"a": {"href": "x", "roles": "data"}}}, "/assets/a/roles", WRONG, "roles is an array of strings"),
    ({"properties": None}, "/properties", WRONG, "an item has an object `properties`"),
    ({"properties": {}}, "/properties/datetime", WRONG, "datetime is missing"),
    (properties(datetime=None), "/properties/datetime", WRONG, "needs both start_datetime and end_datetime"),
    (properties(datetime=None, start_datetime="2020-01-01T00:00:00Z"), "/properties/datetime", WRONG, "needs both"),
    (properties(end_datetime="2020-01-01T00:00:00Z"), "/properties/start_datetime", WRONG, "come together"),
    (properties(start_datetime="2020-01-02T00:00:00Z", end_datetime="2020-01-01T00:00:00Z"),
     "/properties/start_datetime", WRONG, "start_datetime is after end_datetime"),
    (properties(start_datetime="2019-01-02T00:00:00Z", end_datetime="2019-01-03T00:00:00Z"),
     "/properties/datetime", ODD, "lies outside of start_datetime and end_datetime"),
    (properties(datetime="yesterday"), "/properties/datetime", WRONG, "is not an RFC 3339 date-time"),
    (properties(datetime=20200101), "/properties/datetime", WRONG, "is not an RFC 3339 date-time"),
    (properties(datetime="2020-02-30T00:00:00Z"), "/properties/datetime", WRONG, "is not an RFC 3339"),
    (properties(datetime="2020-01-01"), "/properties/datetime", WRONG, "a date-time such as 2020-01-01T00:00:00Z"),
    (properties(datetime="2020-01-01T02:00:00+02:00"), "/properties/datetime", WRONG, "is not in UTC"),
    (properties(datetime="2020-01-01 00:00:00Z"), "/properties/datetime", ODD, "has a space where"),
    (properties(created="2020"), "/properties/created", WRONG, "is not an RFC 3339 date-time"),
    ({"geometry": ...}, "/geometry", WRONG, "an item has a geometry, which may be null"),
    ({"geometry": None}, "/bbox", MENDED, "an item with a null geometry has no bbox"),
    ({"geometry": []}, "/geometry", WRONG, "an object with the `type` of a GeoJSON geometry"),
    ({"geometry": {"type": "Circle"}}, "/geometry", WRONG, "with the `type` of a GeoJSON geometry"),
    ({"geometry": {"type": "GeometryCollection"}}, "/geometry", WRONG, "has an array `geometries`"),
    ({"geometry": {"type": "GeometryCollection", "geometries": [polygon(SQUARE), {"type": "Point", "coordinates": 5}]}},
     "/geometry/geometries/1/coordinates", WRONG, "a position is an array of two or three numbers"),
    ({"geometry": polygon([[0, 0], ["x", 0], [1, 1], [0, 0]])},
     "/geometry/coordinates/0/1", WRONG, "a position is an array of two or three numbers"),
    ({"geometry": polygon([0, 0])}, "/geometry/coordinates/0/0", WRONG, "a position is an array"),
    ({"geometry": polygon(SQUARE, 5)}, "/geometry/coordinates/1", WRONG, "an array of positions"),
    ({"geometry": polygon([[0, 0], [2, 2], [0, 0]])}, "/geometry/coordinates/0", WRONG, "four positions or more"),
    ({"geometry": {"type": "LineString", "coordinates": [[0, 0]]}},
     "/geometry/coordinates", WRONG, "a line has two positions or more"),
    ({"geometry": {"type": "MultiPolygon", "coordinates": [[SQUARE], []]}},
     "/geometry/coordinates/1", WRONG, "a polygon has at least one ring"),
    ({"geometry": polygon(SQUARE[:-1])}, "/geometry/coordinates/0", MENDED, "is the first again (RFC 7946, 3.1.6)"),
    ({"geometry": polygon(SQUARE[::-1])}, "/geometry/coordinates/0", TURNED, "an outer ring is counterclockwise"),
    ({"geometry": polygon(SQUARE, [[0.5, 0.5], [1, 0.5], [1, 1], [0.5, 0.5]])},
     "/geometry/coordinates/1", TURNED, "a hole is clockwise"),
    ({"geometry": polygon([[0, 0], [2, 2], [2, 0], [0, 2], [0, 0]])},
     "/geometry/coordinates", MENDED, "the geometry is not valid: Self-intersection[1 1]"),
    ({"geometry": polygon([[0, 0], [2, 2], [2, 2], [0, 0]])}, "/geometry/coordinates", WRONG, "is not valid"),
    ({"geometry": polygon([[0, 0], [2, 0], [2, 91], [0, 0]])},
     "/geometry/coordinates/0/2", WRONG, "a latitude is not between -90 and 90"),
    ({"geometry": {"type": "Point", "coordinates": [541, 0]}},
     "/geometry/coordinates", WRONG, "nor one turn beyond"),
    ({"geometry": {"type": "MultiPoint", "coordinates": [[0, 0], [2, 2], [182, 2]]}, "bbox": [0, 0, -178, 2]},
     "/geometry/coordinates/2", MENDED, "a longitude is not between -180 and 180"),
    ({"geometry": {"type": "MultiPoint", "coordinates": [[0, 0, 1, 1], [2, 2]]}},
     "/geometry/coordinates", ODD, "more than three numbers"),
    ({"geometry": {"type": "MultiPoint", "coordinates": []}}, "/geometry", ODD, "is empty"),
    ({"bbox": ...}, "/bbox", TURNED, "an item with a geometry has a bbox"),
    ({"bbox": None}, "/bbox", MENDED, "a bbox is an array of 4 or 6 numbers"),
    ({"bbox": [0, 0, 2]}, "/bbox", MENDED, "a bbox has 4 or 6 numbers"),
    ({"bbox": [0, 0, 2, "2"]}, "/bbox", MENDED, "finite numbers only"),
    ({"bbox": [0, 2, 2, 0]}, "/bbox", MENDED, "is north of north"),
    ({"bbox": [0, 0, 5, 2, 2, 1]}, "/bbox", MENDED, "upside down"),
    ({"bbox": [0, 0, 182, 2]}, "/bbox", MENDED, "is not between -180 and 180"),
    ({"bbox": [0, 0, 1.5, 2]}, "/bbox", MENDED, "lies partly outside of the bbox"),
    ({"bbox": [0, 0, 2.5, 2]}, "/bbox", TURNED, "is larger than the geometry"),
    ({"bbox": [2, 0, 0, 2]}, "/bbox", MENDED, "lies partly outside of the bbox"),
]  # fmt: skip

COLLECTIONS: list[Rule] = [
    ({"id": 5}, "/id", WRONG, "an id is a string"),
    ({"type": ...}, "/type", WRONG, '"type": "Collection"'),
    ({"description": ""}, "/description", WRONG, "the description of a collection is a string"),
    ({"license": ...}, "/license", WRONG, "the license of a collection is a string"),
    ({"title": 5}, "/title", WRONG, "a title is a string"),
    ({"keywords": [5]}, "/keywords", WRONG, "keywords is an array of strings"),
    ({"summaries": []}, "/summaries", WRONG, "summaries is an object"),
    ({"providers": {}}, "/providers", WRONG, "providers is an array"),
    ({"providers": [{}]}, "/providers/0/name", WRONG, "the name of a provider"),
    ({"assets": {"a": {}}}, "/assets/a/href", WRONG, "the href of an asset"),
    ({"links": [{"rel": "license", "href": ""}]}, "/links/0/href", WRONG, "the href of a link"),
    ({"extent": []}, "/extent", WRONG, "a collection has an object `extent`"),
    (spatial(), "/extent/spatial/bbox", WRONG, "an array `bbox` of one bbox or more"),
    (spatial([0, 5, 1, 4]), "/extent/spatial/bbox/0", WRONG, "is north of north"),
    (spatial([-180, 180, -90, 90]), "/extent/spatial/bbox/0", WRONG, "latitude 180.0"),
    (spatial([0, 0, 5, 5], [1, 1, 2, 2], [4, 4, 6, 6]),
     "/extent/spatial/bbox/2", ODD, "outside of the first bbox"),
    (temporal(), "/extent/temporal/interval", WRONG, "an array `interval` of one interval or more"),
    (temporal(["2020-01-01T00:00:00Z"]), "/extent/temporal/interval/0", WRONG, "two date-times or nulls"),
    (temporal(["2020-01-01T00:00:00Z", "x"]), "/extent/temporal/interval/0/1", WRONG, "is not an RFC 3339"),
    (temporal([None, None], ["2020-01-02T00:00:00Z", "2020-01-01T00:00:00Z"]),
     "/extent/temporal/interval/1", WRONG, "ends before it starts"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("make", "rule"), [*((item, rule) for rule in ITEMS), *((collection, rule) for rule in COLLECTIONS)],
    ids=lambda value: value[3][:40] if isinstance(value, tuple) else None,
)  # fmt: skip
def test_each_rule(make: Callable[..., dict[str, Any]], rule: Rule) -> None:
    changes, pointer, (level, fixable), words = rule
    found = problems(make(**changes))
    broken = [(problem.pointer, problem.level, problem.fixable) for problem in found if words in problem.message]
    assert broken == [(pointer, level, fixable)], found


def is_known_to_be_sound(content: dict[str, Any]) -> bool:
    """Whether the short way says that no rule is broken; False where the item cannot be read at all."""
    try:
        document = read_document(json.dumps(content).encode(), "c")
    except InvalidDocument:
        return False
    return isinstance(document, ItemDocument) and is_sound(document)


@pytest.mark.parametrize("rule", ITEMS, ids=lambda rule: rule[3][:40])
def test_the_short_way_passes_over_no_error(rule: Rule) -> None:
    changes, _, (level, _), _ = rule
    if level == "error":
        assert not is_known_to_be_sound(item(**changes))


def test_the_short_way_agrees_with_the_long_one() -> None:
    """Real items, most of them changed at random in what rules are about."""
    assert is_known_to_be_sound(item())
    draw, real = random.Random(9), [json.loads(line) for _, line in sample_items()]
    count, sound = long(3_000, 100_000), 0
    for _ in range(count):
        content = json.loads(json.dumps(draw.choice(real)))
        for _ in range(draw.randrange(3)):
            draw.choice(CHANGES)(content, draw)
        if is_known_to_be_sound(content):
            sound += 1
            assert [each for each in problems(content) if each.level == "error"] == [], content
    print(f"{count:,} items, {sound:,} of them sound")
    assert sound > count / 4


def shift_box(content: dict[str, Any], draw: random.Random) -> None:
    if isinstance(content.get("bbox"), list):
        content["bbox"] = [number + draw.choice((0, 0.001, -3, 90)) for number in content["bbox"]]


def shift_corner(content: dict[str, Any], draw: random.Random) -> None:
    part = content["geometry"]["coordinates"] if content.get("geometry") else None
    while isinstance(part, list) and part and isinstance(part[0], list):
        part = draw.choice(part)
    if part:
        part[draw.randrange(2)] += draw.choice((0.001, -2, 60, 200))


def turn_rings(content: dict[str, Any], draw: random.Random) -> None:
    part = content["geometry"]["coordinates"] if content.get("geometry") else []
    while part and isinstance(part[0], list) and isinstance(part[0][0], list):
        part = draw.choice(part)
    part.reverse()
    if draw.random() < 0.3:
        del part[0]


def lose(content: dict[str, Any], draw: random.Random) -> None:
    content.pop(draw.choice(("bbox", "links", "assets", "stac_version", "collection")), None)
    content["properties"].pop(draw.choice(("datetime", "created", "x")), None)


def spoil(content: dict[str, Any], draw: random.Random) -> None:
    value: Any = draw.choice((None, "", 5, [], {}, "2020-01-01", "2020-01-01T00:00:00+02:00", ["a", 5]))
    where = draw.choice((content, content["properties"], *content.get("assets", {"a": {}}).values(),
                         *content.get("links", [{}])))  # fmt: skip
    names = (
        "href",
        "rel",
        "roles",
        "datetime",
        "start_datetime",
        "end_datetime",
        "updated",
        "stac_extensions",
        "title",
    )
    where[draw.choice(names)] = value


CHANGES = (shift_box, shift_corner, turn_rings, lose, spoil)


def test_the_reference_names_every_rule() -> None:
    rows = re.findall(r"^\| (.*) \| (error|warning) \|( yes)? \|$", RULES, re.MULTILINE)
    for _, _, (level, fixable), words in ITEMS + COLLECTIONS:
        plain = re.sub(r": .*|latitude 180.0", "", words)
        named = [mended for rule, at, mended in rows if plain in rule and at == level]
        assert named, words
        assert not fixable or " yes" in named, words


def test_errors_come_first_and_a_hundred_of_each_are_kept() -> None:
    rings = [[[x, 0], [x, 1], [x + 0.5, 1], [x, 0]] for x in range(-150, 150)]
    links: list[Any] = [{}] * 300
    content = item(geometry={"type": "MultiPolygon", "coordinates": [[ring] for ring in rings]}, links=links)
    assert [problem.level for problem in problems(content)] == ["error"] * 100 + ["warning"] * 100


@pytest.mark.parametrize(("geometry", "bbox"), [
    # RFC 7946, appendix A
    ({"type": "Point", "coordinates": [100.0, 0.0]}, [100.0, 0.0, 100.0, 0.0]),
    ({"type": "LineString", "coordinates": [[100.0, 0.0], [101.0, 1.0]]}, [100.0, 0.0, 101.0, 1.0]),
    (polygon([[100.0, 0.0], [101.0, 0.0], [101.0, 1.0], [100.0, 1.0], [100.0, 0.0]]), [100.0, 0.0, 101.0, 1.0]),
    (polygon([[100.0, 0.0], [101.0, 0.0], [101.0, 1.0], [100.0, 1.0], [100.0, 0.0]],
             [[100.8, 0.8], [100.8, 0.2], [100.2, 0.2], [100.2, 0.8], [100.8, 0.8]]), [100.0, 0.0, 101.0, 1.0]),
    ({"type": "MultiPoint", "coordinates": [[100.0, 0.0], [101.0, 1.0]]}, [100.0, 0.0, 101.0, 1.0]),
    ({"type": "MultiLineString", "coordinates": [[[100.0, 0.0], [101.0, 1.0]], [[102.0, 2.0], [103.0, 3.0]]]},
     [100.0, 0.0, 103.0, 3.0]),
    ({"type": "MultiPolygon", "coordinates": [
        [[[102.0, 2.0], [103.0, 2.0], [103.0, 3.0], [102.0, 3.0], [102.0, 2.0]]],
        [[[100.0, 0.0], [101.0, 0.0], [101.0, 1.0], [100.0, 1.0], [100.0, 0.0]],
         [[100.2, 0.2], [100.2, 0.8], [100.8, 0.8], [100.8, 0.2], [100.2, 0.2]]]]}, [100.0, 0.0, 103.0, 3.0]),
    ({"type": "GeometryCollection", "geometries": [
        {"type": "Point", "coordinates": [100.0, 0.0]},
        {"type": "LineString", "coordinates": [[101.0, 0.0], [102.0, 1.0]]}]}, [100.0, 0.0, 102.0, 1.0]),
    # 3.1.9, as it is cut there; 5.2, the islands of Fiji
    ({"type": "MultiLineString", "coordinates": [[[170.0, 45.0], [180.0, 45.0]], [[-180.0, 45.0], [-170.0, 45.0]]]},
     [170.0, 45.0, -170.0, 45.0]),
    ({"type": "MultiPolygon", "coordinates": [
        [[[180.0, 40.0], [180.0, 50.0], [170.0, 50.0], [170.0, 40.0], [180.0, 40.0]]],
        [[[-170.0, 40.0], [-170.0, 50.0], [-180.0, 50.0], [-180.0, 40.0], [-170.0, 40.0]]]]},
     [170.0, 40.0, -170.0, 50.0]),
    ({"type": "MultiPoint", "coordinates": [[177.0, -20.0], [-178.0, -16.0]]}, [177.0, -20.0, -178.0, -16.0]),
    # 5.3, the poles: a box runs round the earth, and so does a polygon with an edge over the pole
    (polygon([[-180, 60], [0, 60], [180, 60], [180, 90], [-180, 90], [-180, 60]]), [-180, 60, 180, 90]),
    # a bbox of six, rounded to its decimals, or wide where the parts lie around the earth
    ({"type": "Point", "coordinates": [1.0, 2.0, 300.0]}, [1.0, 2.0, 300.0, 1.0, 2.0, 300.0]),
    ({"type": "LineString", "coordinates": [[1.23456789, 2.0], [3.87654321, 4.0]]}, [1.235, 2, 3.877, 4]),
    ({"type": "MultiPoint", "coordinates": [[-180, 0], [-20, 0], [100, 0], [180, 0]]}, [-180, 0, 180, 0]),
    ({"type": "MultiPoint", "coordinates": [[145, 13], [-66, 18]]}, [145, 13, -66, 18]),
])  # fmt: skip
def test_what_rfc_7946_shows_breaks_no_rule(geometry: dict[str, Any], bbox: list[float]) -> None:
    content = item(geometry=geometry, bbox=bbox)
    bounding = [problem for problem in problems(content) if problem.pointer == "/bbox"]
    winding = [
        problem for problem in problems(content) if "clockwise" in problem.message
    ]  # one of 3.1.9 is the wrong way
    assert bounding == []
    assert [problem for problem in problems(content) if problem not in winding] == []


def test_a_bbox_may_be_off_by_its_last_decimal() -> None:
    line = {"type": "LineString", "coordinates": [[1.23456789, 2.0], [3.0, 4.0]]}
    written = {1.234568: [], 1.2345: [], 1.2346: [], 1.2347: ["error"], 1.24: [], 1.2: ["warning"], 1: ["warning"]}
    for west, found in written.items():
        assert [problem.level for problem in problems(item(geometry=line, bbox=[west, 2.0, 3.0, 4.0]))] == found, west


# What the shared real documents break, by collection: (pointer, words, how many). Warnings are counted below.
BROKEN = {
    ("3dep-lidar-copc", "/bbox", "lies partly outside of the bbox"): 3,  # the bbox of the points, a coarser geometry
    ("io-lulc-annual-v02", "/geometry/coordinates/0", "the outline crosses itself"): 1,
    (
        "landsat-c2-l1",
        "/bbox",
        "lies partly outside of the bbox",
    ): 3,  # corner coordinates of the product, not of the data
    ("landsat-c2l2-sr", "/bbox", "lies partly outside of the bbox"): 1,  # west and east of one part only
    ("landsat-c2l2-sr", "/properties/datetime", "is a date; a date-time such as"): 4,
    ("landsat-c2l2-st", "/properties/datetime", "is a date; a date-time such as"): 3,
    ("sentinel1-rtc-aws", "/bbox", "lies partly outside of the bbox"): 1,
}


def words_of(problem: Problem) -> str:
    """A message without its values."""
    return re.sub(
        r"^'.*?' |such as .*|; its own is .*|\[.*",
        lambda found: "such as" if "such" in found[0] else "",
        problem.message,
    )


def test_real_items_break_these_rules_and_no_others() -> None:
    errors: Counter[tuple[str, str, str]] = Counter()
    warnings: Counter[str] = Counter()
    for name, line in sample_items():
        for problem in problems(json.loads(line)):
            if problem.level == "error":
                key = next(key for key in BROKEN if key[:2] == (name, problem.pointer) and key[2] in problem.message)
                errors[key] += 1
            else:
                warnings[words_of(problem)] += 1
    assert errors == BROKEN
    assert warnings == {
        "an outer ring is counterclockwise (RFC 7946, 3.1.6)": 588,
        "a hole is clockwise (RFC 7946, 3.1.6)": 2,
        "the bbox is larger than the geometry": 102,
        "an edge is longer than half the earth; what lies across the antimeridian is cut there": 2,
        "a box wider than half the earth is taken literally, unless the item's bbox runs from east to west": 2,
        "has a space where most readers want a T": 8,
    }


def test_real_collections_break_these_rules_and_no_others() -> None:
    errors: set[tuple[str, str, str]] = set()
    warnings: set[tuple[str, str, str]] = set()
    for line in (DATA / "collections.ndjson").read_bytes().splitlines():
        content = json.loads(line)
        for problem in problems(content):
            found = errors if problem.level == "error" else warnings
            found.add((re.sub("modis-.*-006", "modis", content["id"]), problem.pointer, words_of(problem)))
    # Twelve have west and east where south belongs: [-180, 180, -90, 90].
    assert errors == {("modis", "/extent/spatial/bbox/0", "latitude 180.0 of the bbox is not between -90 and 90")}
    assert warnings == {
        ("3dep-lidar-copc", "/extent/spatial/bbox/1", "it lies outside of the first bbox, which is the overall one"),
        ("naip", "/extent/spatial/bbox/1", "it lies outside of the first bbox, which is the overall one"),
        ("sentinel-1-rtc", "/extent/temporal/interval/0/0", "has a space where most readers want a T"),
    }


def test_the_examples_of_the_specification_break_two() -> None:
    found = set()
    for path in (DATA / "stac-spec-examples").rglob("*.json"):
        content = json.loads(path.read_bytes())
        if content["type"] != "Catalog":
            found |= {(path.name, problem.level, words_of(problem)) for problem in problems(content)}
    assert found == {
        ("collectionless-item.json", "warning", "an outer ring is counterclockwise (RFC 7946, 3.1.6)"),
        ("proj-example.json", "error", "the geometry lies partly outside of the bbox"),  # it has two of four corners
    }


def test_problems_look_and_do_not_touch() -> None:
    for _, line in sample_items():
        content = json.loads(line)
        problems(content)
        fixed(content, line)
        assert content == json.loads(line)

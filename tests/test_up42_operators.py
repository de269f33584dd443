"""All 37 operators of the UP42 document, each with items that must and items that must not match.

Expected ids are worked out by hand from docs/reference and the standard (OGC 21-065r2): closed intervals, sets,
DE-9IM, three-valued logic. Asked over HTTP, as UP42's users do. The document's own 25 examples are in
test_cql2_operators.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.conftest import SHARED, Server, make_item, run_swath, start_server

DOCUMENT = SHARED / "seeds" / "003_5911d91563b953b9.txt"
Case = tuple[Any, set[str]]  # a filter, and the ids that it must select


def op(name: str, *args: Any) -> dict[str, Any]:
    return {"op": name, "args": list(args)}


def prop(name: str) -> dict[str, str]:
    return {"property": name}


# -- values: what is not written is missing, and so NULL -----------------------------------------------------

VALUES: dict[str, dict[str, Any]] = {
    "clear": {"eo:cloud_cover": 0, "gsd": 0.51, "created": "2023-06-26T23:59:59.999Z",
              "up42-user:tags": ["optical", "aerial"], "up42-system:asset_id": "a-1"},
    "under": {"eo:cloud_cover": 19.75, "gsd": 0.5, "created": "2023-06-27T00:00:00Z",
              "up42-user:tags": ["aerial", "x", "optical", "aerial"], "up42-system:asset_id": "A-1"},
    "twenty": {"eo:cloud_cover": 20, "gsd": 0.5, "created": "2023-06-27T02:00:00+02:00", "up42-user:tags": ["optical"],
               "up42-system:asset_id": "a-1 "},
    "twenty-float": {"eo:cloud_cover": 20.0, "gsd": 0.7, "created": "2023-06-27T00:00:00.001Z", "up42-user:tags": []},
    "over": {"eo:cloud_cover": 20.25, "up42-user:tags": ["Optical", "aerial"]},
    "full": {"eo:cloud_cover": 100, "gsd": 0.5, "up42-user:tags": ["sar"], "up42-system:asset_id": None},
    "null": {"eo:cloud_cover": None, "gsd": 0.7, "up42-user:tags": None},
    "wrong-kind": {"eo:cloud_cover": "20", "up42-user:tags": "optical", "created": "2024-01-01T00:00:00Z"},
    "fine": {"gsd": 0.5},
    "missing": {},
}  # fmt: skip
# Where `created` is left out, Swath tells it: these say that there is none.
VALUES = {name: {"created": None, **more} for name, more in VALUES.items()}
CLOUD, GSD, CREATED, TAGS = prop("eo:cloud_cover"), prop("gsd"), prop("created"), prop("tags")
MIDNIGHT = "2023-06-27T00:00:00.000Z"
CLOUDY, SHARP = op(">=", CLOUD, 20), op("<=", GSD, 0.5)

BY_VALUE: dict[str, list[Case]] = {
    "+": [
        (op("=", op("+", CLOUD, 0.25), 20.25), {"twenty", "twenty-float"}),
        (op("<", op("+", CLOUD, GSD), 20.5), {"clear", "under"}),  # 20 + 0.5 is not below; a NULL term gives NULL
    ],
    "-": [
        (op("<", op("-", 100, CLOUD), 80), {"over", "full"}),
        (op("=", op("-", prop("properties.eo:cloud_cover"), 20), -0.25), {"under"}),
    ],
    "*": [
        (op(">=", op("*", CLOUD, 2), 40), {"twenty", "twenty-float", "over", "full"}),
        (op("!=", op("*", CLOUD, GSD), 10), {"clear", "under", "twenty-float", "full"}),  # 20 * 0.5 = 10
    ],
    "/": [
        (op("<=", op("/", 1, CLOUD), 0.05), {"twenty", "twenty-float", "over", "full"}),
        (op(">", op("/", 1, CLOUD), 0.05), {"under"}),  # 1 / 0 is NULL, not infinity
    ],
    "a_contains": [
        (op("a_contains", TAGS, ["aerial", "optical"]), {"clear", "under"}),  # a set; its letters' case counts
        (op("a_contains", prop("up42-user:tags"), ["optical", "optical"]), {"clear", "under", "twenty"}),
        (op("a_contains", ["optical", "aerial"], TAGS), {"clear", "twenty", "twenty-float"}),  # what they hold
        (op("a_contains", TAGS, []), {"clear", "under", "twenty", "twenty-float", "over", "full"}),
        (op("A_Contains", TAGS, ["sar"]), {"full"}),
    ],
    "a_overlaps": [
        (op("a_overlaps", TAGS, ["x", "sar"]), {"under", "full"}),
        (op("a_overlaps", ["aerial", "nothing"], TAGS), {"clear", "under", "over"}),
        (op("a_overlaps", TAGS, []), set()),
        (op("not", op("a_overlaps", TAGS, ["optical"])), {"twenty-float", "over", "full"}),  # the string is no array
    ],
    "=": [
        (op("=", CLOUD, 20.0), {"twenty", "twenty-float"}),  # 20 is 20.0; "20" is neither
        (op("=", 20, CLOUD), {"twenty", "twenty-float"}),
        (op("=", prop("asset_id"), "a-1"), {"clear"}),  # neither the other case nor the space at the end
        (op("=", CREATED, MIDNIGHT), {"under", "twenty"}),  # an offset is converted
        (op("=", CREATED, {"timestamp": MIDNIGHT}), {"under", "twenty"}),
        (op("=", CREATED, {"date": "2023-06-27"}), {"under", "twenty", "twenty-float"}),  # the whole day
    ],
    "!=": [
        (op("!=", CLOUD, 20), {"clear", "under", "over", "full"}),  # what is NULL is not "another"
        (op("<>", CLOUD, 20), {"clear", "under", "over", "full"}),
        (op("!=", prop("up42-system:asset_id"), "a-1"), {"under", "twenty"}),
        (op("!=", CREATED, MIDNIGHT), {"clear", "twenty-float", "wrong-kind"}),
    ],
    "<": [
        (op("<", CLOUD, 20), {"clear", "under"}),
        (op("<", 20, CLOUD), {"over", "full"}),
        (op("<", CREATED, {"timestamp": MIDNIGHT}), {"clear"}),  # "on or before" in the document; < is not <=
        (op("<", prop("asset_id"), "a-1"), {"under"}),  # by code point: A before a
    ],
    ">": [
        (op(">", CLOUD, 20.25), {"full"}),
        (op(">", CREATED, MIDNIGHT), {"twenty-float", "wrong-kind"}),
        (op(">", CREATED, {"date": "2023-06-27"}), {"wrong-kind"}),  # after the day
    ],
    "<=": [
        (op("<=", CLOUD, 20), {"clear", "under", "twenty", "twenty-float"}),
        (op("<=", CREATED, MIDNIGHT), {"clear", "under", "twenty"}),
        (op("<=", CREATED, {"date": "2023-06-27"}), {"clear", "under", "twenty", "twenty-float"}),
    ],
    ">=": [
        (op(">=", CLOUD, 20.25), {"over", "full"}),
        (op(">=", CREATED, MIDNIGHT), {"under", "twenty", "twenty-float", "wrong-kind"}),
    ],
    "isNull": [
        ({"op": "isNull", "args": TAGS}, {"null", "fine", "missing"}),  # an object, as printed; [] is a value
        (op("isNull", prop("up42-user:tags")), {"null", "fine", "missing"}),
        ({"op": "isnull", "args": CLOUD}, {"null", "fine", "missing"}),  # a value of the wrong kind is a value
        (op("not", {"op": "isNull", "args": prop("asset_id")}), {"clear", "under", "twenty"}),
    ],
    # CLOUDY is TRUE for the two of twenty, over, full; FALSE for clear, under; else NULL.
    # SHARP is TRUE for under, twenty, full, fine; FALSE for clear, twenty-float, null; else NULL.
    "and": [
        (op("and", CLOUDY, SHARP), {"twenty", "full"}),
        (op("and", CLOUDY, SHARP, op("<", CLOUD, 100)), {"twenty"}),
        (op("AND", CLOUDY, {"op": "isNull", "args": GSD}), {"over"}),
    ],
    "or": [
        (op("or", CLOUDY, SHARP), {"under", "twenty", "twenty-float", "over", "full", "fine"}),
        (op("or", op("=", CLOUD, 0), op("=", GSD, 0.7), op("=", CLOUD, 100)), {
            "clear", "twenty-float", "null", "full"}),
    ],
    "not": [
        (op("not", CLOUDY), {"clear", "under"}),
        ({"op": "not", "args": CLOUDY}, {"clear", "under"}),
        (op("not", op("not", CLOUDY)), {"twenty", "twenty-float", "over", "full"}),
        # FALSE and NULL is FALSE, so "null" is among them; TRUE and NULL is NULL, so "over" is not.
        (op("not", op("and", CLOUDY, SHARP)), {"clear", "under", "twenty-float", "null"}),
        (op("not", op("or", CLOUDY, SHARP)), {"clear"}),
    ],
}  # fmt: skip

# -- space: around one square, from 0 to 10 -----------------------------------------------------------------


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


def line(*points: tuple[float, float]) -> dict[str, Any]:
    return {"type": "LineString", "coordinates": [list(point) for point in points]}


def point(x: float, y: float) -> dict[str, Any]:
    return {"type": "Point", "coordinates": [x, y]}


SHAPES: dict[str, Any] = {
    "same": {"type": "Polygon", "coordinates": [[[10, 10], [10, 0], [5, 0], [0, 0], [0, 10], [10, 10]]]},  # clockwise
    "middle": box(2, 2, 8, 8),
    "corner": box(0, 0, 5, 5),  # two of its edges lie on the square's
    "around": box(-5, -5, 15, 15),
    "half": box(5, 5, 15, 15),
    "beside": box(10, 0, 20, 10),  # one edge in common
    "apart": box(10.000001, 0, 20, 10),
    "edge": line((0, 0), (10, 0)),
    "diagonal": line((2, 2), (8, 8)),
    "into": line((-5, 5), (5, 5)),
    "center": point(5, 5),
    "vertex": point(10, 10),
    "near": point(5, 10.000001),
    "two": {"type": "MultiPoint", "coordinates": [[5, 5], [20, 20]]},
    "nowhere": None,
}
FOOTPRINT, SQUARE, SQUARE_BOX = prop("geometry"), box(0, 0, 10, 10), {"bbox": [0, 0, 10, 10]}
LINE = line((-5, 7), (12, 7))
APART = {"apart", "near"}
WITHIN = {"same", "middle", "corner", "diagonal", "center"}  # the edge and the vertex have nothing in its inside

BY_SPACE: dict[str, list[Case]] = {
    "s_contains": [
        (op("s_contains", FOOTPRINT, SQUARE), {"same", "around"}),
        (op("s_contains", SQUARE, FOOTPRINT), WITHIN),
        # Not "into", "corner", "half": for them the point is on the boundary.
        (op("s_contains", FOOTPRINT, point(5, 5)), {"same", "middle", "around", "diagonal", "center", "two"}),
        (op("not", op("s_contains", FOOTPRINT, SQUARE)), set(SHAPES) - {"same", "around", "nowhere"}),
    ],
    "s_crosses": [
        (op("s_crosses", FOOTPRINT, SQUARE), {"into", "two"}),  # areas never cross areas
        # The line leaves each of them; within "around" it stays; it cuts the diagonal at 7, 7.
        (op("s_crosses", FOOTPRINT, LINE), {"same", "middle", "half", "beside", "apart", "diagonal"}),
    ],
    "s_disjoint": [
        (op("s_disjoint", FOOTPRINT, SQUARE), APART),
        (op("s_disjoint", FOOTPRINT, SQUARE_BOX), APART),
        (op("not", op("s_disjoint", FOOTPRINT, SQUARE)), set(SHAPES) - APART - {"nowhere"}),
    ],
    "s_equals": [
        (op("s_equals", FOOTPRINT, SQUARE), {"same"}),  # another first vertex, one more, the other way round
        (op("s_equals", point(5, 5), FOOTPRINT), {"center"}),
        (op("s_equals", FOOTPRINT, line((8, 8), (5, 5), (2, 2))), {"diagonal"}),
    ],
    "s_intersects": [
        (op("s_intersects", FOOTPRINT, SQUARE), set(SHAPES) - APART - {"nowhere"}),
        (op("s_intersects", FOOTPRINT, SQUARE_BOX), set(SHAPES) - APART - {"nowhere"}),
        (op("s_intersects", FOOTPRINT, point(10, 10)), {"same", "around", "half", "beside", "vertex"}),
        (op("not", op("s_intersects", FOOTPRINT, SQUARE)), APART),
    ],
    "s_overlaps": [
        (op("s_overlaps", FOOTPRINT, SQUARE), {"half"}),  # what lies within does not overlap
        (op("s_overlaps", FOOTPRINT, line((0, 5), (10, 5))), {"into"}),  # a stretch of it, not a point
        (op("s_overlaps", FOOTPRINT, {"type": "MultiPoint", "coordinates": [[5, 5], [6, 6]]}), {"two"}),
    ],
    "s_touches": [
        (op("s_touches", FOOTPRINT, SQUARE), {"beside", "edge", "vertex"}),
        (op("s_touches", FOOTPRINT, point(10, 10)), {"same", "beside"}),  # a point has no boundary: not "vertex"
        (op("s_touches", point(5, 5), FOOTPRINT), {"corner", "half", "into"}),
    ],
    "s_within": [
        (op("s_within", FOOTPRINT, SQUARE), WITHIN),
        (op("s_within", FOOTPRINT, SQUARE_BOX), WITHIN),
        (op("s_within", SQUARE, FOOTPRINT), {"same", "around"}),
    ],
}  # fmt: skip

# -- time: around one interval, March 21 to April 18 --------------------------------------------------------

C, D = "2023-03-21T00:00:00.000Z", "2023-04-18T00:00:00.000Z"
EARLY, MARCH, APRIL, MAY, LATE = (f"2023-{day}T00:00:00Z" for day in ("02-01", "03-01", "04-01", "05-01", "06-01"))


def instant(text: str) -> dict[str, Any]:
    return {"datetime": text}


def extent(start: str, end: str, datetime: str | None = None) -> dict[str, Any]:
    return {"datetime": datetime, "start_datetime": start, "end_datetime": end}


# One for each way in which two intervals can lie; five instants; an extent of no length; an extent and an instant.
EXTENTS: dict[str, dict[str, Any]] = {
    "before": extent(EARLY, MARCH),
    "meets": extent(MARCH, C),
    "overlaps": extent(MARCH, APRIL),
    "finished-by": extent(MARCH, D),
    "contains": extent(MARCH, MAY),
    "starts": extent(C, APRIL),
    "equals": extent(C, D),
    "started-by": extent(C, MAY),
    "during": extent("2023-03-22T00:00:00Z", APRIL),
    "finishes": extent(APRIL, D),
    "overlapped-by": extent(APRIL, MAY),
    "met-by": extent(D, MAY),
    "after": extent(MAY, LATE),
    "no-length": extent(APRIL, APRIL),
    "both": extent("2023-03-22T00:00:00Z", APRIL, datetime=EARLY),  # the extent counts
}
INSTANTS: dict[str, dict[str, Any]] = {
    "just-before": instant("2023-03-20T23:59:59.999999Z"),
    "at-start": instant("2023-03-21T00:00:00Z"),
    "inside": instant(APRIL),
    "at-end": instant("2023-04-18T02:00:00+02:00"),
    "just-after": instant("2023-04-18T00:00:00.000001Z"),
}
TIMES = EXTENTS | INSTANTS
ACQUIRED, SPAN = prop("datetime"), {"interval": [C, D]}
RANGE = {"interval": [prop("start_datetime"), prop("end_datetime")]}  # NULL for the five instants
LYING_IN = {"at-start", "inside", "at-end", "no-length"}  # of no length, so they overlap what they lie in


def temporal(name: str, by_datetime: set[str], by_range: set[str], *more: Case) -> list[Case]:
    """The forms that all 13 have: the item's extent, an interval of two properties, and NOT of that."""
    return [
        (op(name, ACQUIRED, SPAN), by_datetime),
        (op(name, RANGE, SPAN), by_range),
        (op("not", op(name, RANGE, SPAN)), set(EXTENTS) - by_range),
        *more,
    ]


BY_TIME: dict[str, list[Case]] = {
    "t_after": temporal(
        "t_after", {"after", "just-after"}, {"after"},  # "met-by" begins at the end: not after
        (op("t_after", ACQUIRED, D), {"after", "just-after"}),
        (op("t_after", ACQUIRED, {"date": "2023-04-18"}), {"after"}),  # after the whole day
        (op("t_after", SPAN, ACQUIRED), {"before", "just-before"}),
    ),
    "t_before": temporal(
        "t_before", {"before", "just-before"}, {"before"},
        (op("t_before", ACQUIRED, C), {"before", "just-before"}),
        (op("t_before", ACQUIRED, {"timestamp": "2023-03-21T01:00:00+01:00"}), {"before", "just-before"}),
        (op("t_before", C, ACQUIRED), {
            "during", "finishes", "overlapped-by", "met-by", "after", "no-length", "both", "inside", "at-end",
            "just-after"}),
    ),
    "t_contains": temporal(
        "t_contains", {"contains"}, {"contains"},  # a common end is not contained
        (op("t_contains", SPAN, ACQUIRED), {"during", "both", "no-length", "inside"}),
    ),
    "t_during": temporal(
        "t_during", {"during", "both", "no-length", "inside"}, {"during", "both", "no-length"},
        (op("t_during", ACQUIRED, {"interval": [C, ".."]}), {
            "during", "both", "no-length", "inside", "finishes", "overlapped-by", "met-by", "after", "at-end",
            "just-after"}),
    ),
    "t_equals": temporal(
        "t_equals", {"equals"}, {"equals"},
        (op("t_equals", ACQUIRED, C), {"at-start"}),
        (op("t_equals", ACQUIRED, {"timestamp": D}), {"at-end"}),
        (op("t_equals", ACQUIRED, APRIL), {"inside", "no-length"}),
    ),
    "t_finishes": temporal(
        "t_finishes", {"finishes", "at-end"}, {"finishes"},
        (op("t_finishes", ACQUIRED, {"interval": ["..", D]}), {"finishes", "equals", "finished-by", "at-end"}),
    ),
    "t_finishedby": temporal(
        "t_finishedby", {"finished-by"}, {"finished-by"},
        (op("t_finishedBy", ACQUIRED, SPAN), {"finished-by"}),
        (op("t_finishedby", SPAN, ACQUIRED), {"finishes", "at-end"}),
    ),
    "t_meets": temporal(
        "t_meets", {"meets", "at-start"}, {"meets"},
        (op("t_meets", SPAN, ACQUIRED), {"met-by", "at-end"}),
    ),
    "t_metby": temporal(
        "t_metby", {"met-by", "at-end"}, {"met-by"},
        (op("t_metBy", ACQUIRED, SPAN), {"met-by", "at-end"}),
    ),
    "t_overlaps": temporal(
        "t_overlaps", {"overlaps"} | LYING_IN, {"overlaps"},  # two properties of no length: by the formula, never
        (op("t_overlaps", SPAN, ACQUIRED), {"overlapped-by"} | LYING_IN),
        (op("not", op("t_overlaps", ACQUIRED, SPAN)), set(TIMES) - {"overlaps"} - LYING_IN),
    ),
    "t_overlappedby": temporal(
        "t_overlappedby", {"overlapped-by"} | LYING_IN, {"overlapped-by"},
        (op("t_overlappedBy", ACQUIRED, SPAN), {"overlapped-by"} | LYING_IN),
    ),
    "t_starts": temporal(
        "t_starts", {"starts", "at-start"}, {"starts"},
        (op("t_starts", ACQUIRED, {"interval": [C, ".."]}), {"starts", "equals", "started-by", "at-start"}),
    ),
    "t_startedby": temporal(
        "t_startedby", {"started-by"}, {"started-by"},
        (op("t_startedBy", ACQUIRED, SPAN), {"started-by"}),
        (op("t_startedby", SPAN, ACQUIRED), {"starts", "at-start"}),
    ),
}  # fmt: skip
# A plain timestamp, missing from six items: NULL for them, also under NOT.
CREATED_CASES: dict[str, list[Case]] = {
    "t_after": [(op("t_after", CREATED, MIDNIGHT), {"twenty-float", "wrong-kind"}),
                (op("not", op("t_after", CREATED, MIDNIGHT)), {"clear", "under", "twenty"})],
    "t_before": [(op("t_before", CREATED, MIDNIGHT), {"clear"}),
                 (op("not", op("t_before", CREATED, MIDNIGHT)), {"under", "twenty", "twenty-float", "wrong-kind"})],
    "t_equals": [(op("t_equals", CREATED, MIDNIGHT), {"under", "twenty"}),
                 (op("not", op("t_equals", CREATED, MIDNIGHT)), {"clear", "twenty-float", "wrong-kind"})],
}  # fmt: skip

TABLE = [
    (collection, name, *case)
    for collection, cases in (
        ("values", BY_VALUE), ("shapes", BY_SPACE), ("times", BY_TIME), ("values", CREATED_CASES))
    for name, forms in cases.items()
    for case in forms
]  # fmt: skip


@pytest.fixture(scope="module")
def storage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The three sets of items, served."""
    folder = tmp_path_factory.mktemp("up42-operators")
    items = [
        *(make_item(name, "values", **more) for name, more in VALUES.items()),
        *(make_item(name, "shapes", geometry=shape) for name, shape in SHAPES.items()),
        *(make_item(name, "times", **more) for name, more in TIMES.items()),
    ]
    (folder / "items.ndjson").write_text("".join(json.dumps(item) + "\n" for item in items), encoding="utf-8")
    done = run_swath("load", folder / "catalog", folder / "items.ndjson")
    assert done.returncode == 0, done.stderr
    server = start_server(["serve", str(folder / "catalog"), "--port", "0"])
    yield server
    server.stop()


@pytest.mark.parametrize(("collection", "name", "asked", "expected"), TABLE)
def test_each_operator_selects_the_items_that_were_worked_out_by_hand(
    storage: Server, collection: str, name: str, asked: Any, expected: set[str]
) -> None:
    answer = storage.post("/search", {"collections": [collection], "filter": asked, "limit": 100})
    assert answer.status == 200, answer.body
    page = answer.json()
    assert {feature["id"] for feature in page["features"]} == expected, (name, asked)
    assert page["numberMatched"] == len(expected)


def test_all_37_operators_of_the_document_are_in_the_table() -> None:
    names = {name for _, name, _, _ in TABLE}
    assert len(names) == 37
    printed = DOCUMENT.read_text(encoding="utf-8")
    assert {name for name in names if "_" in name} == set(re.findall(r"\b[ast]_[a-z]+\b", printed))
    assert all(re.search(f"^: .*{word}", printed, re.MULTILINE) for word in ("addition", "subtraction", "division"))


def test_each_operator_has_items_that_match_and_items_that_do_not() -> None:
    everything = {"values": VALUES, "shapes": SHAPES, "times": TIMES}
    plain = [(name, asked["op"], everything[where].keys(), ids) for where, name, asked, ids in TABLE]
    assert all(ids < set(keys) for _, _, keys, ids in plain)
    assert {name for name, _, _, ids in plain if ids} == {name for name, _, _, _ in plain}

"""What filters mean: random filters over random items select what a slow oracle says, and obey laws.

The meaning is that of the reference on CQL2, section 4; the laws are those of its section 5.
"""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Callable, Iterator
from random import Random
from typing import Any, TypeAlias

import pytest
import shapely
import shapely.affinity
import shapely.geometry

import swath
from swath.cql2.emit import to_json, to_text
from swath.cql2.json import parse_json
from swath.session import Session
from tests.conftest import long, make_item
from tests.cql2_oracle import holds, instant, search_shape, temporal_names

Json: TypeAlias = Any

# -- random items ------------------------------------------------------------------------------------

TIMES = [
    "0000-02-29T00:00:00Z", "0001-01-01T00:00:00Z", "1938-07-05T06:00:00Z", "1969-12-31T23:59:59.999999Z",
    "1970-01-01T00:00:00Z", "2020-01-01", "2020-01-01T00:00:00Z", "2020-01-01T14:00:00.5+14:00",
    "2020-01-01T23:59:59.9999999Z", "2020-01-02", "2020-01-02t12:00:00z", "2020-06-01T00:00:00Z",
    "2020-06-01T02:00:00+02:00", "2020-06-01T00:00:00.000001Z", "2021-03-04", "9999-12-31T23:59:59Z",
]  # fmt: skip
TIMES.sort(key=lambda text: (instant(text).first, instant(text).last))  # type: ignore[union-attr]
USUAL = [text for text in TIMES if text.startswith("202")]
STRINGS = [
    "", "a", "A", "b", "ab", "aB", "a%b", "a_b", "a\\b", "100%", "a\nb", "it's", "Straße", "STRASSE", "strasse",
    "Stra\u1e9ee", "Café", "Cafe\u0301", "CAFÉ", "cafe", "İstanbul", "i\u0307stanbul", "istanbul", "ıstanbul", "ガ",
    "カ\u3099", "カ", "ﬁn", "fin", "Å", "\u212b", "A\u030a", "🛰", "🛰️x", "\u1fb3", "ΌΔΟΣ", "όδος", "7", "true",
    "2020-01-01", "z\u0301\u0323", "z\u0323\u0301", "日本", "\ud7a3", "\uffff", "\U00010000",
]  # fmt: skip
# Smaller dyadic numbers calculate without rounding, whoever does it.
SMALL: list[Json] = [0, 1, -1, 2, 3, -3, 7, -7, 10, 0.0, -0.0, 0.5, 1.5, -2.5, 2.5, 7.5, -7.25, 1.0, 2.0, 100]
LARGE: list[Json] = [
    2**53, 2**53 + 1, float(2**53), 2**63 - 1, -(2**63), 1 - 2**63, float(2**63), -float(2**63), 2**62, 1e300, -1e300,
    5e-324, 0.1, 0.3, 1e15 + 0.5, 2**53 - 1, 9007199254740994.0,
]  # fmt: skip
BEYOND: list[Json] = [*LARGE, 2**63, 2**64 + 1, -(2**70), 1e19, 2.5, 2**53 + 3]
ELEMENTS: list[Json] = ["a", "b", "c", 1, 1.0, 2, 2**53 + 1, float(2**53), True, "1", "é", "e\u0301", ["x"],
                        ["x", "y"], ["y", "x", "x"], [], [["x"]], "2020-01-01", "2020-01-01T00:00:00Z"]  # fmt: skip
WRONG: list[Json] = [None, True, "x", 5, [], ["a"], {"k": 1}, "2020-01-01"]


def box(west: float, south: float, east: float, north: float) -> dict[str, Json]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


EDGES: list[tuple[Json, Json]] = [  # geometry, bbox
    (box(170, -5, 190, 5), None), (box(-170, 0, 170, 10), [170, 0, -170, 10]), (box(150, 75, 210, 80), None),
    ({"type": "Polygon", "coordinates": [box(170, 0, 190, 10)["coordinates"][0],
                                         box(175, 2, 185, 8)["coordinates"][0]]}, None),
    (box(170, -5, 180, 5), None), (box(-175, 10, 175, 15), [-175, 10, 175, 15]),
    ({"type": "MultiPolygon", "coordinates": [box(170, 0, 180, 5)["coordinates"],
                                              box(-180, 0, -170, 5)["coordinates"]]}, None),
    ({"type": "LineString", "coordinates": [[175, 0], [185, 10]]}, None),
    ({"type": "LineString", "coordinates": [[180, -5], [180, 5]]}, None),
    ({"type": "Point", "coordinates": [0, 90]}, None),
    ({"type": "MultiPoint", "coordinates": [[180, 0], [-180, 5], [182.5, 2.5]]}, None),
    (box(-180, 85, 180, 90), None), (box(-180, -90, 180, -85), None), (box(-180, -90, 180, 90), None),
    ({"type": "Polygon", "coordinates": []}, None), ({"type": "GeometryCollection", "geometries": []}, None),
]  # fmt: skip


def corner(random: Random) -> list[float]:
    return [random.randrange(-8, 9) * 2.5, random.randrange(-6, 7) * 2.5]


def area(random: Random) -> Json:
    x, y = corner(random)
    wide, high = random.choice([2.5, 5, 10]), random.choice([2.5, 5, 10])
    ring = box(x, y, x + wide, y + high)["coordinates"][0]
    hole = box(x + wide / 4, y + high / 4, x + wide / 2, y + high / 2)["coordinates"][0][::-1]
    return random.choice([[ring], [ring, hole], [ring[:3] + ring[:1]]])


SHAPES: dict[str, Callable[[Random], Json]] = {
    "Point": lambda r: corner(r) + [100.0] * (r.random() < 0.2),
    "MultiPoint": lambda r: [corner(r) for _ in range(r.randrange(1, 4))],
    "LineString": lambda r: [corner(r) for _ in range(r.randrange(2, 4))],
    "MultiLineString": lambda r: [[corner(r), corner(r)] for _ in range(2)],
    "Polygon": area,
    "MultiPolygon": lambda r: [area(r) for _ in range(2)],
}


def geometry(random: Random, depth: int = 0) -> dict[str, Json]:
    """A valid geometry on a coarse grid, so that two of them often touch, cross or are equal."""
    while True:
        if depth < 2 and random.random() < 0.12:
            members = [geometry(random, depth + 1) for _ in range(random.randrange(1, 3))]
            return {"type": "GeometryCollection", "geometries": members}
        kind = random.choice([*SHAPES, "Polygon", "Polygon"])
        made = {"type": kind, "coordinates": SHAPES[kind](random)}
        if shapely.geometry.shape(made).is_valid:
            return made


def make_random_item(random: Random, number: int, collection: str) -> dict[str, Json]:
    """`typed` holds values of one kind a name; in `mixed` any value may be of any kind; `times` is in between."""

    def one(values: list[Json], strange: float = 0.2) -> Json:
        if collection == "mixed" and random.random() < strange:
            return random.choice(WRONG)
        return random.choice(values) if random.random() < 0.9 else None

    start, end = sorted(random.choices(USUAL if random.random() < 0.8 else TIMES, k=2), key=TIMES.index)
    ranged = random.random() < 0.6
    if instant(start).first > instant(end).last:  # type: ignore[union-attr]
        end = start
    more: dict[str, Json] = {
        "datetime": random.choice(TIMES) if not ranged or random.random() < 0.3 else None,
        "start_datetime": start if ranged or random.random() < 0.1 else None,
        "end_datetime": end if ranged else None,
        "n": one(SMALL), "m": one(SMALL), "big": one(LARGE), "big2": one(LARGE), "eo:cloud_cover": one(SMALL),
        "s": one(STRINGS), "größe": one(STRINGS), "flag": one([True, False]),
        "t": one(TIMES), "t2": one(USUAL, 0.1), "since": one(USUAL, 0), "until": one(USUAL[3:], 0),
        "arr": one([random.choices(ELEMENTS, k=random.randrange(4))]),
        "arr2": one([random.choices(ELEMENTS[:6], k=random.randrange(3))]),
        "o": random.choice([None, {}, {"p": random.choice(SMALL)}, {"p": {"q": "a"}}, {"p": None}, 5]),
        "x.y": one(SMALL), "x": random.choice([None, {"y": random.choice(SMALL)}]),
    }  # fmt: skip
    if collection == "times" and number == 0:
        more["t2"] = "none"  # one string that is no instant, and in this collection it holds strings
    for name in random.sample(sorted(more.keys() - {"datetime", "start_datetime", "end_datetime"}), 5):
        del more[name]
    shape, bounds = random.choice(EDGES) if random.random() < 0.15 else (geometry(random), None)
    item = make_item(f"{collection}-{number}", collection, **more)
    item["geometry"] = None if random.random() < 0.1 else shape
    return item | ({"bbox": bounds} if bounds else {})


RANDOM = Random(21_065)
ITEMS = [make_random_item(RANDOM, n, collection) for collection in ("typed", "mixed", "times") for n in range(100)]
TEMPORAL = temporal_names(ITEMS)
FOOTPRINTS = [shape for item in ITEMS if (shape := search_shape(item)) is not None and not shape.is_empty]
COMPARISONS = ("=", "<>", "<", "<=", ">", ">=")

# -- random filters ----------------------------------------------------------------------------------


def call(op: str, *args: Json) -> Json:
    return {"op": op, "args": list(args)}


def prop(*names: str) -> Callable[[Random], Json]:
    return lambda random: {"property": random.choice(names)}


number = prop("n", "m", "eo:cloud_cover", "o.p", "x.y", "properties.n", "nowhere")
string = prop("s", "größe", "s", "größe", "properties.s", "collection", "n")
moment = prop("t", "t2", "since", "until", "published")


def time_literal(random: Random) -> Json:
    text = random.choice(TIMES if random.random() < 0.3 else USUAL)
    return random.choice([text, {"timestamp" if "T" in text.upper() else "date": text}])


def calculation(random: Random, op: str = "") -> Json:
    op = op or random.choice(["+", "-", "*", "/", "%", "div", "^"])
    left = number(random) if random.random() < 0.9 else random.choice(SMALL)
    right = random.choice([0, 1, 2, 3] if op == "^" else [*SMALL, *(number(random) for _ in range(12))])
    if op in ("+", "-") and random.random() < 0.15:
        right = call("*", right, number(random))
    if op != "^" and random.random() < 0.2 and left.__class__ is dict:
        left, right = right, left
    return call(op, left, right)


def folded_literal(random: Random, op: str) -> Json:
    text = random.choice(STRINGS)
    return call(op, text)


def operands(random: Random) -> tuple[Json, Json]:
    """Two values that may be compared."""
    kind = random.randrange(1, 8)
    if kind == 1:
        return prop("big", "big2", "n")(random), random.choice([*BEYOND, *SMALL])
    if kind == 2:
        return string(random), random.choice(STRINGS)
    if kind == 3:
        return prop("t", "t2", "datetime", "start_datetime")(random), time_literal(random)
    if kind == 4:
        return prop("flag")(random), random.random() < 0.5
    if kind == 5:
        return prop("n", "big", "s", "t", "flag")(random), prop("m", "big2", "größe", "t2", "since")(random)
    if kind == 6:
        pairs = [("big", "big2"), ("s", "größe"), ("t", "since"), ("since", "until"), ("n", "m"), ("t", "datetime")]
        left, right = random.choice(pairs)
        return {"property": left}, {"property": right}
    return calculation(random), calculation(random) if random.random() < 0.3 else random.choice(SMALL)


def compared(op: str, left: Json, right: Json, random: Random) -> Json:
    return call(op, left, right) if random.random() < 0.7 else call(op, right, left)


def calculated(random: Random, op: str) -> Json:
    """Of a calculation or of a function of numbers."""
    value = call(op, random.choice([number, calculation])(random)) if op.isalpha() and op != "div" else None
    literal = random.choice([*SMALL, number(random)])
    return compared(random.choice(COMPARISONS), value or calculation(random, op), literal, random)


def string_function(random: Random, op: str) -> Json:
    value: Json = string(random)
    if op == "length":
        return compared(random.choice(COMPARISONS), call(op, value), random.choice([0, 1, 2, 4, 6, 7]), random)
    if random.random() < 0.2:
        value = call("accenti" if op == "casei" else "casei", value)
    if random.random() < 0.25:
        pattern = make_pattern(random)
        return call("like", call(op, value), call(op, pattern) if op in ("casei", "accenti") else pattern)
    if random.random() < 0.25:
        return call("in", call(op, value), [folded_literal(random, op) for _ in range(3)])
    return compared(random.choice(COMPARISONS), call(op, value), folded_literal(random, op), random)


def make_pattern(random: Random) -> str:
    text = random.choice(STRINGS)
    cut = random.randrange(len(text) + 1)
    return random.choice(
        ["%", "_%", "__", text, "%" + text, text[:cut] + "%", "%" + text[cut:], text[:cut] + "_" + text[cut + 1 :],
         "%" + text[:1] + "%" + text[-1:] + "%", "%\\%%", "%\\_%", "%\\", "_%_%_", "%a%b", "%%", text[:1] + "%_"]
    )  # fmt: skip


def between(random: Random, op: str) -> Json:
    kind = random.randrange(4)
    if kind == 0:
        return call(op, string(random), *sorted(random.choices(STRINGS, k=2), reverse=random.random() < 0.1))
    if kind == 1:
        low, high = sorted(random.choices(range(len(TIMES)), k=2))
        return call(op, prop("t", "t2", "datetime", "since")(random), TIMES[low], TIMES[high])
    if kind == 2:
        return call(op, prop("big", "big2")(random), *sorted((random.choice(BEYOND), random.choice(BEYOND))))
    return call(op, number(random), random.choice(SMALL), random.choice([number(random), calculation(random), 7, 100]))


def contained(random: Random, op: str) -> Json:
    kind = random.randrange(5)
    if kind == 0:
        return call(op, number(random), [*random.choices(SMALL, k=2), number(random)])
    place = random.randrange(4)
    names = [number, string, prop("big"), prop("t", "t2", "datetime", "end_datetime")]
    listed = random.choices(
        [SMALL, STRINGS, BEYOND, [time_literal(random) for _ in range(4)]][place], k=random.randrange(1, 5)
    )
    return call(op, names[place](random), listed)


def is_null(random: Random, op: str) -> Json:
    names = prop("arr", "o", "geometry", "datetime", "flag", "x", "t", "s", "n", "o.p")
    values = [names(random), calculation(random), call("floor", number(random))]
    values += [call(of, string(random)) for of in ("casei", "length")]
    values += [{"bbox": [0, 0, 1, 1]}, {"interval": ["2020-01-01", ".."]}, {"interval": [{"property": "t"}, ".."]}]
    return call(op, random.choice(values))


def array(random: Random, op: str) -> Json:
    held = [item["properties"].get("arr") for item in ITEMS]
    known = random.choice([value for value in held if isinstance(value, list)])
    few = random.choices(ELEMENTS, k=random.randrange(3))
    equal, others = [known, [*known[::-1], *known]], [known[:1], few, [*known, *few], ELEMENTS, ELEMENTS[:6]]
    literal = random.choice(equal if op == "a_equals" and random.random() < 0.7 else equal + others)
    if random.random() < 0.15:
        literal = list(literal)
        literal += [random.choice([{"date": "2020-01-01"}, {"timestamp": "2020-01-01T01:00:00+01:00"}])]
    left: Json = prop("arr", "arr", "arr2", "s")(random)
    right = literal if random.random() < 0.85 else prop("arr2", "arr")(random)
    return compared(op, left, right, random)


TAKES_INSTANTS = ("t_after", "t_before", "t_disjoint", "t_equals", "t_intersects")


def interval(random: Random) -> Json:
    times = USUAL if random.random() < 0.8 else TIMES
    low, high = sorted(random.choices(range(len(times)), k=2))
    ends: list[Json] = [times[low], times[high]]
    if instant(times[low]).first > instant(times[high]).last:  # type: ignore[union-attr]
        ends[1] = ".."
    roll = random.random()
    if roll < 0.2:
        ends[random.randrange(2)] = ".."
    elif roll < 0.3:
        ends = [{"property": "since"}, random.choice(["..", {"property": "until"}, {"date": "2020-06-01"}])]
    elif roll < 0.33:
        ends = ["..", ".."]
    return {"interval": ends}


def temporal(random: Random, op: str) -> Json:
    left: Json = prop("datetime", "datetime", "datetime")(random)
    if random.random() < 0.25:
        left = {"interval": [{"property": "start_datetime"}, {"property": "end_datetime"}]}
    right = interval(random)
    if random.random() < 0.4:  # the extent of an item, so that ends often are the same
        held = random.choice([item["properties"] for item in ITEMS if item["properties"].get("end_datetime")])
        right = {"interval": [held["start_datetime"], held["end_datetime"]]}
        if op in ("t_startedBy", "t_starts"):
            later = [text for text in USUAL if TIMES.index(text) > TIMES.index(held["start_datetime"])]
            right["interval"][1] = random.choice([*later, ".."])
    if op in TAKES_INSTANTS and random.random() < 0.5:
        left, right = random.choice([left, moment(random)]), time_literal(random)
    return compared(op, left, right, random)


INVERSE = {
    "s_contains": "s_within", "t_after": "t_before", "t_contains": "t_during", "t_finishedBy": "t_finishes",
    "t_meets": "t_metBy", "t_overlappedBy": "t_overlaps", "t_startedBy": "t_starts", "a_contains": "a_containedBy",
    "<": ">", "<=": ">=",
}  # fmt: skip
INVERSE |= {other: op for op, other in INVERSE.items()}


def near(random: Random, op: str) -> Json:
    """A geometry that some item is likely to have the relation to."""
    shape = random.choice(FOOTPRINTS)
    west, south, east, north = shape.bounds
    if op == "s_within":
        west, south, east, north = max(west - 2.5, -180), max(south - 2.5, -90), min(east + 5, 180), min(north + 5, 90)
        return random.choice([{"bbox": [west, south, 0, east, north, 9]}, box(west, south, east, north)])
    if op == "s_contains":
        shape = random.choice([shapely.get_point(shapely.boundary(shape), 0), shape.representative_point(), shape])
        return geometry(random) if shape is None else json.loads(shapely.to_geojson(shape))
    if op == "s_crosses":
        x, y = random.randrange(-8, 9) * 2.5 + 1.25, random.randrange(-6, 7) * 2.5 + 1.25
        ends = random.choice([[[x, -30], [x, 30]], [[-30, y], [30, y]]])
        return {"type": "LineString", "coordinates": ends}
    if op == "s_touches" and east + 2.5 <= 180 and south < north:
        return random.choice([box(east, south, east + 2.5, north), {"type": "Point", "coordinates": [west, south]}])
    if op == "s_overlaps" and east + 1.25 <= 180:
        shape = shapely.affinity.translate(shape, 1.25, 0)
    return json.loads(shapely.to_geojson(shapely.reverse(shape)))


def spatial(random: Random, op: str) -> Json:
    swapped, roll = random.random() < 0.3, random.random()
    west, south = corner(random)
    beyond = [170, -5, -170, 5], [180, -90, -180, 90], [-180, -90, 180, 90], [175, 0, -175, 0]
    literal: Json = {"bbox": random.choice([[west, south, west + random.choice([0, 10, 20]), south + 5], *beyond])}
    if roll < 0.85:
        literal = near(random, INVERSE.get(op, op) if swapped else op) if roll < 0.6 else geometry(random)
    here = {"property": "geometry"}
    return call(op, literal, here) if swapped else call(op, here, literal)


MAKERS: dict[str, Callable[[Random, str], Json]] = {
    **dict.fromkeys(COMPARISONS, lambda random, op: compared(op, *operands(random), random)),
    "like": lambda random, op: call(op, prop("s", "größe", "t", "id")(random), make_pattern(random)),
    "between": between, "in": contained, "isNull": is_null,
    **dict.fromkeys(("casei", "accenti", "lower", "upper", "length"), string_function),
    **dict.fromkeys(("abs", "ceil", "floor", "round", "+", "-", "*", "/", "%", "div", "^"), calculated),
    **dict.fromkeys(("a_contains", "a_containedBy", "a_equals", "a_overlaps"), array),
    **dict.fromkeys((*TAKES_INSTANTS, "t_contains", "t_during", "t_finishedBy", "t_finishes", "t_meets", "t_metBy",
                     "t_overlappedBy", "t_overlaps", "t_startedBy", "t_starts"), temporal),
    **dict.fromkeys(("s_contains", "s_crosses", "s_disjoint", "s_equals", "s_intersects", "s_overlaps", "s_touches",
                     "s_within"), spatial),
}  # fmt: skip


def tree(random: Random, depth: int) -> Json:
    roll = random.random()
    if depth == 0 or roll < 0.15:
        op = random.choice(list(MAKERS))
        return MAKERS[op](random, op) if roll > 0.01 else random.random() < 0.5
    if roll < 0.35:
        return call("not", tree(random, depth - 1))
    return call(random.choice(["and", "or"]), *(tree(random, depth - 1) for _ in range(random.randrange(2, 4))))


# -- the laws ----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Session]:
    with swath.open(tmp_path_factory.mktemp("laws") / "c", create=True) as made:
        report = made.write(ITEMS)
        assert (report.refused, report.warnings) == ([], [])
        yield made


def found(session: Session, condition: Json) -> set[str]:
    return {item.id for item in session.search(filter=condition).stored()}


def check(session: Session, condition: Json) -> str:
    """Swath and the oracle agree on each item: TRUE, FALSE and NULL. How many it selects: none, some or all."""
    true, false = found(session, condition), found(session, call("not", condition))
    for item in ITEMS:
        wanted = holds(condition, item, TEMPORAL)
        got = True if item["id"] in true else False if item["id"] in false else None
        assert got is wanted, (json.dumps(condition), got, wanted, item)
    return share(true)


def share(selected: set[str]) -> str:
    return "all" if len(selected) == len(ITEMS) else "some" if selected else "none"


def told(what: str, counts: Counter[str]) -> None:
    print(f"\n{what}: {counts.total()} filters over {len(ITEMS)} items, of which they selected {dict(counts)}")


def test_every_operator_selects_what_the_oracle_says(session: Session) -> None:
    random, total = Random(1), Counter[str]()
    for op, make in MAKERS.items():
        counts = Counter(check(session, make(random, op)) for _ in range(long(12, 250)))
        total += counts
        told(op, counts)
        assert counts["some"] >= long(2, 75), op  # what never matches, or always does, proves nothing
    told("each operator alone", total)


def test_joined_conditions_select_what_the_oracle_says(session: Session) -> None:
    random = Random(2)
    counts = Counter(check(session, tree(random, 4)) for _ in range(long(80, 5_000)))
    told("joined by and, or, not", counts)
    assert counts["some"] >= 0.5 * counts.total()


def test_logic_keeps_its_laws_and_text_means_what_json_means(session: Session) -> None:
    """NOT NOT p is p; p and NOT p have nothing in common; p, NOT p and "p is NULL" are everything."""
    random = Random(3)
    counts: Counter[str] = Counter()
    for _ in range(long(40, 2_000)):
        condition = tree(random, 3)
        true, false = found(session, condition), found(session, call("not", condition))
        assert not true & false, condition
        assert found(session, call("not", call("not", condition))) == true, condition
        assert found(session, call("and", condition, call("not", condition))) == set(), condition
        assert found(session, call("or", condition, call("not", condition))) == true | false, condition
        for item in ITEMS:
            known = item["id"] in true | false
            assert known is (holds(condition, item, TEMPORAL) is not None), condition
        tree_of = parse_json(condition)
        assert found(session, to_text(tree_of)) == true, to_text(tree_of)
        assert found(session, to_json(tree_of)) == true, condition
        counts[share(true)] += 1
    told("logic and text", counts)
    assert counts["some"] >= 0.5 * counts.total()


SYMMETRIC = ("=", "<>", "s_crosses", "s_disjoint", "s_equals", "s_intersects", "s_overlaps", "s_touches", "t_disjoint",
             "t_equals", "t_intersects", "a_equals", "a_overlaps")  # fmt: skip
COMPLEMENT = {"s_disjoint": "s_intersects", "t_disjoint": "t_intersects", "=": "<>"}


def test_operands_may_be_swapped(session: Session) -> None:
    random = Random(4)
    counts: Counter[str] = Counter()
    for op in itertools.chain.from_iterable([*SYMMETRIC, *INVERSE] for _ in range(long(3, 60))):
        condition = MAKERS[op](random, op)
        other = call(INVERSE.get(op, op), *condition["args"][::-1])
        true, false = found(session, condition), found(session, call("not", condition))
        assert (found(session, other), found(session, call("not", other))) == (true, false), condition
        if op in COMPLEMENT:
            complement = call(COMPLEMENT[op], *condition["args"])
            assert (found(session, complement), found(session, call("not", complement))) == (false, true), condition
        counts[share(true)] += 1
    told("operands swapped", counts)
    assert counts["some"] >= 0.5 * counts.total()


def test_t_intersects_selects_what_the_datetime_parameter_does(session: Session) -> None:
    counts: Counter[str] = Counter()
    times = [text for text in TIMES if "T" in text.upper()]
    for start, end in [*itertools.combinations(times, 2), *((t, "..") for t in times), *(("..", t) for t in times)]:
        wanted = {item.id for item in session.search(datetime=f"{start}/{end}").stored()}
        assert found(session, call("t_intersects", {"property": "datetime"}, {"interval": [start, end]})) == wanted
        counts[share(wanted)] += 1
    told("the datetime parameter", counts)
    assert counts["some"] >= 0.5 * counts.total()

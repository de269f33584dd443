"""Text to tree to text, JSON to tree to JSON, and across: random trees come back as they were."""

from __future__ import annotations

import itertools
import json
from typing import Any

import jsonschema
import shapely
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swath.cql2 import ast, build
from swath.cql2.emit import to_json, to_text
from swath.cql2.json import parse_json
from swath.cql2.text import parse_text
from tests.conftest import SHARED, long

names = st.one_of(
    st.sampled_from(
        ["a", "eo:cloud_cover", "view:off-nadir", "and", "date", "größe", "日本", "a b", 'q"q', "x.y", "_z"]
    ),
    st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1, max_size=6),
)
properties = st.builds(ast.Property, names)
strings = st.builds(ast.Text, st.text(st.characters(exclude_categories=["Cs"]), max_size=8))
numbers = st.builds(
    ast.Number,
    st.one_of(st.integers(-(10**20), 10**20), st.floats(allow_nan=False, allow_infinity=False).map(lambda x: x + 0.0)),
)
# Microseconds of the years 0000 to 9999.
instants = st.integers(-62_167_219_200_000_000, 253_402_300_799_999_999)
timestamps = st.builds(ast.Timestamp, instants)
dates = st.builds(lambda day: ast.DateLiteral(day * 86_400_000_000), st.integers(-719_528, 2_932_896))
booleans = st.builds(ast.Boolean, st.booleans())
intervals = st.one_of(
    st.tuples(instants, instants).map(lambda pair: ast.IntervalLiteral(min(pair), max(pair))),
    instants.map(lambda instant: ast.IntervalLiteral(None, instant)),
    instants.map(lambda instant: ast.IntervalLiteral(instant, None)),
    st.builds(ast.Interval, properties, st.one_of(properties, timestamps, dates, st.none())),
)
degrees = st.floats(-90, 90, allow_nan=False).map(lambda x: round(x, 6) + 0.0)
boxes = st.tuples(degrees, degrees, degrees, degrees).map(
    lambda n: ast.BBoxLiteral(n[0], min(n[1], n[3]), n[2], max(n[1], n[3]))
)
shapes = st.one_of(
    st.builds(lambda x, y: build.geometry(shapely.Point(x, y)), degrees, degrees),
    st.builds(lambda x, y: build.geometry(shapely.LineString([(x, y), (x / 2 + 1, y / 2)])), degrees, degrees),
    st.builds(lambda x, y: build.geometry(shapely.box(x / 2, y / 2, x / 2 + 0.5, y / 2 + 0.25)), degrees, degrees),
    st.builds(lambda x, y: build.geometry(shapely.MultiPoint([(x, y), (0, 0.5)])), degrees, degrees),
)  # fmt: skip
arrays = st.recursive(
    st.builds(
        lambda items: ast.ArrayLiteral(tuple(items)), st.lists(st.one_of(strings, numbers, booleans), max_size=3)
    ),
    lambda inner: st.builds(lambda items: ast.ArrayLiteral(tuple(items)), st.lists(inner, max_size=2)),
    max_leaves=3,
)


def calculations(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(
        *(
            st.builds(kind, inner, inner).filter(lambda node: not isinstance(node.left, ast.Power))
            for kind in build.ARITHMETIC.values()
        )
    )


calculated = st.recursive(st.one_of(properties, numbers), calculations, max_leaves=5)
folded = st.one_of(
    st.builds(ast.CaseI, properties),
    st.builds(ast.AccentI, st.builds(ast.CaseI, properties)),
    st.builds(lambda p: ast.Function("lower", (p,)), properties),
)
lengths = st.builds(lambda p: ast.Function("length", (p,)), properties)
texts = st.one_of(properties, strings, folded)
quantities = st.one_of(calculated, lengths)
moments = st.one_of(properties, timestamps, dates)
pairs = st.one_of(st.tuples(quantities, quantities), st.tuples(texts, texts), st.tuples(moments, moments),
                  st.tuples(properties, booleans))  # fmt: skip
TAKES_INSTANTS = (ast.TAfter, ast.TBefore, ast.TDisjoint, ast.TEquals, ast.TIntersects)


def relations(kinds: Any, left: st.SearchStrategy[Any], right: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.builds(lambda kind, a, b: kind(a, b), st.sampled_from(list(kinds)), left, right)


leaves = st.one_of(
    booleans,
    st.builds(lambda kind, pair: kind(*pair), st.sampled_from(sorted(set(build.COMPARISONS.values()), key=str)), pairs),
    st.builds(lambda value, pattern: ast.Like(value, pattern.value), st.one_of(properties, folded), strings),
    st.builds(ast.Between, quantities, quantities, quantities),
    st.builds(lambda value, items: ast.In(value, tuple(items)), texts, st.lists(strings, min_size=1, max_size=3)),
    st.builds(ast.IsNull, st.one_of(properties, calculated, folded)),
    relations(build.SPATIAL.values(), properties, st.one_of(shapes, boxes)),
    relations(build.TEMPORAL.values(), properties, intervals),
    relations(TAKES_INSTANTS, st.one_of(timestamps, dates), properties),
    relations(build.ARRAY.values(), properties, arrays),
)  # fmt: skip


def joined(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    def chain(kind: Any) -> st.SearchStrategy[Any]:
        many = st.lists(inner, min_size=2, max_size=4)
        return many.map(lambda args: build._flat(kind, args, ""))

    return st.one_of(chain(ast.And), chain(ast.Or), st.builds(ast.Not, inner))


trees = st.recursive(leaves, joined, max_leaves=12)
RAN = itertools.count(1)


@settings(max_examples=long(600, 100_000), deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(trees)
def test_print_and_parse_give_the_same_tree(tree: Any) -> None:
    text, value = to_text(tree), to_json(tree)
    assert parse_text(text) == tree, text
    assert parse_json(json.loads(json.dumps(value))) == tree, value
    assert to_text(parse_json(value)) == text
    assert to_json(parse_text(text)) == value
    number = next(RAN)
    if number % 100 == 0:
        print(f"{number} trees so far")


SCHEMA = json.loads((SHARED / "cql2" / "cql2.schema.json").read_text())
shallow = leaves.filter(lambda tree: not isinstance(tree, ast.Boolean))


@settings(max_examples=long(60, 1_000), deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
@given(shallow)
def test_printed_json_is_valid_by_the_schema_of_the_standard(tree: Any) -> None:
    errors = list(jsonschema.Draft202012Validator(SCHEMA).iter_errors(to_json(tree)))
    assert not errors, (to_json(tree), [error.message[:200] for error in errors])

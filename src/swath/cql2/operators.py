"""Every operation of a filter in words: what docs/reference/filters.md is made from (`python docs/generate.py`)."""

# ruff: noqa: E501 - sentences of a page
from __future__ import annotations

from dataclasses import dataclass

from swath.cql2 import ast
from swath.cql2.ast import Node

__all__ = ["GROUPS", "Group", "Operator"]


@dataclass(frozen=True, slots=True)
class Operator:
    """A node, what it means, and an example in text; the example in JSON is printed from its tree."""

    node: type[Node]
    meaning: str
    example: str


@dataclass(frozen=True, slots=True)
class Group:
    """Operators of one conformance class. `on_null` tells when they are NULL."""

    title: str
    classes: tuple[str, ...]
    clause: str
    on_null: str
    note: str
    operators: tuple[Operator, ...]


_POLYGON = "POLYGON((4 50, 6 50, 6 52, 4 52, 4 50))"
_YEAR = "INTERVAL('2024-01-01', '2024-12-31')"

GROUPS = (
    Group(
        "Logic", ("basic-cql2",), "7.1 and 6.4",
        "NULL AND FALSE is FALSE, NULL OR TRUE is TRUE, NOT NULL is NULL; else an operand that is NULL decides.",
        "An item is found where the whole filter is TRUE. NOT does not find items that lack the property.",
        (
            Operator(ast.And, "all are TRUE", "eo:cloud_cover < 20 AND platform = 'sentinel-2a'"),
            Operator(ast.Or, "one is TRUE", "platform = 'sentinel-2a' OR platform = 'sentinel-2b'"),
            Operator(ast.Not, "the opposite", "NOT platform = 'sentinel-2a'"),
            Operator(ast.Boolean, "everything, or nothing", "TRUE"),
        ),
    ),
    Group(
        "Comparison", ("basic-cql2", "property-property"), "7.2",
        "NULL where an operand is missing, or where a property holds a value of another kind than the literal.",
        "Integers are compared exactly up to 64 bits, strings by code point in normal form C. A date beside an instant "
        "means its whole day; a string beside dates or date-times is read as one. Either side may be a property, a literal "
        "or a calculation. `!=` is taken for `<>`.",
        (
            Operator(ast.Equal, "equal", "platform = 'sentinel-2a'"),
            Operator(ast.NotEqual, "there, and not equal", "platform <> 'sentinel-2a'"),
            Operator(ast.Less, "less", "eo:cloud_cover < 20"),
            Operator(ast.LessEqual, "less or equal", "datetime <= TIMESTAMP('2024-06-30T12:00:00Z')"),
            Operator(ast.Greater, "greater", "datetime > DATE('2024-06-30')"),
            Operator(ast.GreaterEqual, "greater or equal", "eo:cloud_cover >= view:off_nadir"),
            Operator(ast.IsNull, "missing or JSON null: TRUE or FALSE, never NULL", "eo:cloud_cover IS NULL"),
        ),
    ),
    Group(
        "More comparison", ("advanced-comparison-operators",), "7.3",
        "NULL where an operand is missing or of another kind; `x IN (…)` is NULL where nothing equals and a member is NULL.",
        "Each has a form with NOT.",
        (
            Operator(ast.Like, "the whole value matches: `%` is any run, `_` one character, `\\` takes the next as it is; "
                     "case counts", "s2:product_uri LIKE 'S2A%'"),
            Operator(ast.Between, "from the one to the other, both included", "eo:cloud_cover BETWEEN 10 AND 20"),
            Operator(ast.In, "equal to one of the list", "platform IN ('sentinel-2a', 'sentinel-2b')"),
        ),
    ),
    Group(
        "Case and accents", ("case-insensitive-comparison", "accent-insensitive-comparison"), "7.4 and 7.5",
        "NULL where the value is missing or no string.",
        "CASEI is full Unicode case folding (`ß` is `ss`), ACCENTI takes combining marks away, all but the voicing marks of "
        "Japanese. They may be nested, and stand on both sides.",
        (
            Operator(ast.CaseI, "without case", "CASEI(platform) = CASEI('Sentinel-2A')"),
            Operator(ast.AccentI, "without accents", "ACCENTI(title) LIKE ACCENTI('%Orléans%')"),
        ),
    ),
    Group(
        "Space", ("basic-spatial-functions", "basic-spatial-functions-plus", "spatial-functions"), "7.6",
        "NULL where the item's geometry is null.",
        "`geometry` is the item's footprint; planar, in longitude and latitude (CRS84), heights ignored. A box with west > east runs "
        "across the antimeridian. Literals are WKT in text and GeoJSON in JSON, valid and within the world.",
        (
            Operator(ast.SIntersects, "have a point in common", f"S_INTERSECTS(geometry, {_POLYGON})"),
            Operator(ast.SDisjoint, "have no point in common", f"S_DISJOINT(geometry, {_POLYGON})"),
            Operator(ast.SEquals, "are the same set of points", f"S_EQUALS(geometry, {_POLYGON})"),
            Operator(ast.STouches, "have only borders in common", f"S_TOUCHES(geometry, {_POLYGON})"),
            Operator(ast.SWithin, "the first lies within the second", "S_WITHIN(geometry, BBOX(4, 50, 6, 52))"),
            Operator(ast.SContains, "the second lies within the first", "S_CONTAINS(geometry, POINT(5 51))"),
            Operator(ast.SCrosses, "run through each other", "S_CROSSES(geometry, LINESTRING(4 51, 8 51))"),
            Operator(ast.SOverlaps, "of the same dimension, in part the same", f"S_OVERLAPS(geometry, {_POLYGON})"),
        ),
    ),
    Group(
        "Time", ("temporal-functions",), "7.7",
        "NULL where a property is missing or no instant, and where an interval of properties ends before it starts.",
        "`datetime` is here the item's extent: from `start_datetime` to `end_datetime` where both are set, else the instant. "
        "Intervals are closed, `'..'` is an open end, a date means its whole day. Functions marked * take intervals and `datetime` "
        "only. Where an item's extent is an instant, T_OVERLAPS and T_OVERLAPPEDBY mean T_INTERSECTS.",
        (
            Operator(ast.TAfter, "begins when the other is over", "T_AFTER(datetime, DATE('2024-06-30'))"),
            Operator(ast.TBefore, "is over when the other begins", "T_BEFORE(datetime, DATE('2024-06-30'))"),
            Operator(ast.TIntersects, "have an instant in common", f"T_INTERSECTS(datetime, {_YEAR})"),
            Operator(ast.TDisjoint, "have no instant in common", f"T_DISJOINT(datetime, {_YEAR})"),
            Operator(ast.TEquals, "begin and end together", "T_EQUALS(datetime, TIMESTAMP('2024-06-30T12:00:00Z'))"),
            Operator(ast.TDuring, "* lies within the other, and at neither end", f"T_DURING(datetime, {_YEAR})"),
            Operator(ast.TContains, "* the other lies within it, and at neither end", f"T_CONTAINS(datetime, {_YEAR})"),
            Operator(ast.TMeets, "* ends when the other begins", f"T_MEETS(datetime, {_YEAR})"),
            Operator(ast.TMetBy, "* begins when the other ends", f"T_METBY(datetime, {_YEAR})"),
            Operator(ast.TOverlaps, "* begins first and ends within the other", f"T_OVERLAPS(datetime, {_YEAR})"),
            Operator(ast.TOverlappedBy, "* begins within the other and ends last", f"T_OVERLAPPEDBY(datetime, {_YEAR})"),
            Operator(ast.TStarts, "* begin together, ends first", f"T_STARTS(datetime, {_YEAR})"),
            Operator(ast.TStartedBy, "* begin together, ends last", f"T_STARTEDBY(datetime, {_YEAR})"),
            Operator(ast.TFinishes, "* end together, begins last", f"T_FINISHES(datetime, {_YEAR})"),
            Operator(ast.TFinishedBy, "* end together, begins first", f"T_FINISHEDBY(datetime, {_YEAR})"),
            Operator(ast.Interval, "an interval with properties for ends",
                     "T_CONTAINS(INTERVAL(start_datetime, end_datetime), INTERVAL('2024-06-01', '2024-06-30'))"),
        ),
    ),
    Group(
        "Arrays", ("array-functions",), "7.8",
        "NULL where the property is missing, no array, or an array of objects.",
        "Arrays are sets: order and repeats do not count. Elements are equal by kind and value; nested arrays are sets too.",
        (
            Operator(ast.AContains, "holds all of the other", "A_CONTAINS(tags, ('optical', 'aerial'))"),
            Operator(ast.AContainedBy, "all of it is in the other", "A_CONTAINEDBY(tags, ('optical', 'aerial'))"),
            Operator(ast.AEquals, "the same elements", "A_EQUALS(tags, ('optical', 'aerial'))"),
            Operator(ast.AOverlaps, "an element in common", "A_OVERLAPS(tags, ('optical', 'aerial'))"),
        ),
    ),
    Group(
        "Arithmetic", ("arithmetic",), "7.9",
        "NULL where an operand is missing or no number, and where the result is none: division by zero, overflow.",
        "Integers stay exact within 64 bits. Write parentheses in a chain of `^`.",
        (
            Operator(ast.Add, "sum", "view:off_nadir + 5 > 10"),
            Operator(ast.Subtract, "difference", "view:off_nadir - 5 > 10"),
            Operator(ast.Multiply, "product", "gsd * 100 = 50"),
            Operator(ast.Divide, "quotient, of integers too", "s2:nodata_pixel_percentage / 100 < 0.5"),
            Operator(ast.IntegerDivide, "quotient towards zero", "gsd DIV 10 = 1"),
            Operator(ast.Modulo, "rest, with the sign of the dividend", "sat:relative_orbit % 2 = 0"),
            Operator(ast.Power, "power", "gsd ^ 2 <= 100"),
        ),
    ),
    Group(
        "Functions", ("functions",), "7.10",
        "NULL where the argument is missing or of another kind.",
        "The functions are fixed: `/functions` lists them.",
        (Operator(ast.Function, "a value made of another", "length(id) > 20 AND lower(platform) = 'sentinel-2a'"),),
    ),
)  # fmt: skip

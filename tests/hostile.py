"""Hostile filters of any size: each kind makes about so many bytes of itself."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable
from typing import Any

__all__ = ["JSON", "TEXT", "scribble"]

GEOMETRY = '{"property":"geometry"}'
POINT = '{"type":"Point","coordinates":[1,1]}'
COLLECTION = '"type":"GeometryCollection","geometries":['


def filled(head: str, unit: str, tail: str = "", unwind: str = "") -> Callable[[int], str]:
    """`unit` again and again between a head and a tail; `unwind` once more for each of them at the end."""

    def make(size: int) -> str:
        count = max(1, (size - len(head) - len(tail)) // (len(unit) + len(unwind)))
        return head + unit * count + tail + unwind * count

    return make


def numbered(head: str, unit: Callable[[int], str], joint: str, tail: str) -> Callable[[int], str]:
    """Units that differ, joined."""

    def make(size: int) -> str:
        width = len(unit(1_000)) + len(joint)
        return head + joint.join(unit(n) for n in range(max(2, (size - len(head) - len(tail)) // width))) + tail

    return make


def ring(count: int) -> list[tuple[float, float]]:
    """A round, valid outline."""
    angles = (2 * math.pi * n / count for n in range(count))
    points = [(round(50 * math.cos(a), 5), round(50 * math.sin(a), 5)) for a in angles]
    return [*points, points[0]]


def bow_ties(count: int) -> list[tuple[float, float]]:
    """An outline of zigzags to the right and back that cross each other at every step."""
    there = [(round(n * 100 / count, 4), (n % 2) * 10.0) for n in range(count // 2)]
    back = [(x, 10.0 - y) for x, y in reversed(there)]
    return [*there, *back, there[0]]


def scribble(count: int, seed: int = 1) -> list[tuple[float, float]]:
    """A line to and fro, whose pieces nearly all cross each other."""
    draw = random.Random(seed)
    return [(draw.randint(-170, 170), draw.randint(-80, 80)) for _ in range(count)]


Points = Callable[[int], list[tuple[float, float]]]


def wkt(kind: str, points: Points, bytes_each: int, head: str = "S_INTERSECTS(geometry,", tail: str = ")") -> Any:
    opened, closed = ("((", "))") if kind == "POLYGON" else ("(", ")")

    def make(size: int) -> str:
        listed = ",".join(f"{x} {y}" for x, y in points(max(4, size // bytes_each)))
        return f"{head}{kind}{opened}{listed}{closed}{tail}"

    return make


def geojson(kind: str, points: Points, bytes_each: int) -> Callable[[int], str]:
    def make(size: int) -> str:
        listed: Any = points(max(4, size // bytes_each))
        coordinates = [listed] if kind == "Polygon" else listed
        return spatial(json.dumps({"type": kind, "coordinates": coordinates}, separators=(",", ":")))

    return make


def spatial(geometry: str) -> str:
    return f'{{"op":"s_intersects","args":[{GEOMETRY},{geometry}]}}'


def shaped(make: Callable[[int], str]) -> Callable[[int], str]:
    """JSON of a geometry as the operand of a filter."""
    return lambda size: spatial(make(size))


def compared(make: Callable[[int], str], op: str = "=", name: str = "a") -> Callable[[int], str]:
    """JSON of a value as the operand of a comparison."""
    return lambda size: f'{{"op":"{op}","args":[{{"property":"{name}"}},{make(size)}]}}'


def total(depth: int) -> str:
    """A balanced tree of sums."""
    if depth == 0:
        return "1"
    half = total(depth - 1)
    return f'{{"op":"+","args":[{half},{half}]}}'


def large_sums(size: int) -> str:
    """A list whose members are large themselves."""
    one = total(min(11, (size // 50).bit_length()))
    return "[" + ",".join(["1", *[one] * (size // len(one))]) + "]"


def like_on_a_long_string(size: int) -> str:
    """A pattern that begins to match everywhere in the string before it."""
    part = min(7_000, size // 4)
    return json.dumps({"op": "like", "args": ["a" * (size - part), f"%_{'a' * part}b%"]})


def crossing_lines(size: int) -> str:
    """Two scribbles. Of 400 points each: the time grows with the square."""
    lines = (",".join(f"{x} {y}" for x, y in scribble(max(4, min(size // 16, 400)), seed)) for seed in (1, 2))
    return "S_CROSSES({})".format(",".join(f"LINESTRING({line})" for line in lines))


def garbage(size: int) -> str:
    draw = random.Random(1)
    return "".join(chr(draw.choice((draw.randrange(32, 127), draw.randrange(128, 0xD800)))) for _ in range(size // 2))


TEXT: dict[str, Callable[[int], str]] = {
    "garbage": garbage,
    "garbage of words": filled("", "a 1 'x' "),
    "NUL": filled("a = 1 ", "\0"),
    "spaces": filled("a = 1", " "),
    "nested parentheses": filled("", "(", "TRUE", ")"),
    "parentheses side by side": filled("TRUE", " AND (TRUE)"),
    "nested parentheses, unclosed": filled("", "("),
    "empty parentheses": filled("", "()"),
    "NOTs": filled("", "NOT ", "TRUE"),
    "NOTs and parentheses": filled("", "NOT (", "TRUE", ")"),
    "minus signs": filled("a = ", "-", "1"),
    "minus signs with spaces": filled("a = ", "- ", "1"),
    "minus signs and parentheses": filled("a = ", "-(", "1", ")"),
    "plus signs": filled("a = ", "+", "1"),
    "NOTs and minus signs": filled("", "NOT -", "1"),
    "nested arrays": filled("A_CONTAINS(l,", "(", "1", ")") ,
    "array of arrays": filled("A_CONTAINS(l,(", "(1),", "(1)))"),
    "long array": filled("A_CONTAINS(l,(", "1,", "1))"),
    "nested CASEI": filled("", "CASEI(", "s", ")"),
    "unclosed calls": filled("", "S_INTERSECTS("),
    "nested unknown calls": filled("", "f(", "a", ")"),
    "unknown call of a long name": filled("", "f", "(a)"),
    "call of many arguments": filled("S_INTERSECTS(geometry", ",geometry", ")"),
    "chain of CASEI": filled("CASEI(s)='x'", " AND CASEI(s)='x'"),
    "ANDs": filled("TRUE", " AND TRUE"),
    "ANDs of comparisons": filled("a=1", " AND a=1"),
    "ANDs and nothing else": filled("", "AND "),
    "ORs": filled("TRUE", " OR TRUE"),
    "AND and OR in turn": filled("TRUE", " AND a=1 OR b=2"),
    "sums": filled("a=1", "+1"),
    "differences": filled("a=1", "-1"),
    "products": filled("a=b", "*b"),
    "quotients with DIV": filled("a=b", " DIV b"),
    "powers": filled("a=b", "^b"),
    "sums and products in turn": filled("a=b", "+b*b"),
    "sums of groups": filled("a=b", "+(b)"),
    "comparisons of comparisons": filled("a", "=a"),
    "long IN list": filled("a IN (1", ",1", ")"),
    "many IN lists": filled("a IN (1)", " OR a IN (1,2,3,4)"),
    "IN list of strings": numbered("s IN (", lambda n: f"'{n}'", ",", ")"),
    "IN list of sums": filled("a IN (1", ",1+1", ")"),
    "IN list of IN lists": filled("a", " IN (a", "", ")"),
    "BETWEEN chain": filled("a BETWEEN 1 AND 2", " AND a BETWEEN 1 AND 2"),
    "BETWEEN without an end": filled("a", " BETWEEN 1"),
    "IS NULL chain": filled("a IS NULL", " AND a IS NULL"),
    "IS NULL of IS NULL": filled("a", " IS NULL"),
    "LIKE of percent signs": filled("s LIKE '", "%", "'"),
    "LIKE of many parts": numbered("s LIKE '", lambda n: f"%{n}", "", "'"),
    "LIKE of underscores": filled("s LIKE '", "_", "%'"),
    "LIKE of backslashes": filled("s LIKE '", "\\\\", "'"),
    "LIKE on a long string": lambda size: f"'{'a' * (size * 7 // 8)}' LIKE '%_{'a' * (size // 8 - 20)}b%'",
    "many LIKEs": filled("s LIKE '%a%b_'", " OR s LIKE '%a%b_'"),
    "long string": filled("s='", "x", "'"),
    "string of quotes": filled("s='", "''", "'"),
    "string of escapes": filled("s='", "\\n", "'"),
    "quotes": filled("", "'"),
    "double quotes": filled("", '"'),
    "string unclosed": filled("s='", "x"),
    "string unclosed, of quotes": filled("s='x", "''x"),
    "string unclosed, of escapes": filled("s='", "\\'"),
    "name unclosed": filled('"', "x"),
    "name unclosed, of quotes": filled('"x', '""x'),
    "long name": filled("", "x", "=1"),
    "long name alone": filled("", "x"),
    "long quoted name": filled('"', "x", '"=1'),
    "many names": numbered("", lambda n: f"p{n}=1", " OR ", ""),
    "name of hyphens": filled("a", "-", "=1"),
    "name of dots": filled("a", ".", "=1"),
    "hyphens between names": filled("a", " -a"),
    "number of many digits": filled("a=", "9"),
    "number of many zeros": filled("a=", "0", "1"),
    "number of many zeros behind": filled("a=1.", "0"),
    "number of a long exponent": filled("a=1e", "9"),
    "number of a long exponent of zeros": filled("a=1e", "0", "1"),
    "number of dots": filled("a=", "1."),
    "numbers": filled("", "1 "),
    "symbols": filled("", "<>"),
    "commas": filled("A_CONTAINS(l,(1", ",", "))"),
    "letters beyond ASCII": filled("s='", "é", "'"),
    "names beyond ASCII": filled("", "日", "=1"),
    "astral characters": filled("s='", "🛰", "'"),
    "combining characters": filled("CASEI(ACCENTI('a", "\u0301\u0316", "'))=s"),
    "combining characters compared": filled("s='a", "\u0316\u0301", "'"),
    "letters that fold to more": filled("CASEI('", "ß", "')=s"),
    "letters that decompose": filled("ACCENTI('", "ﷺ", "')=s"),
    "byte order marks": filled("a=1", "\ufeff"),
    "WKT line": wkt("LINESTRING", scribble, 8),
    "WKT lines that cross": crossing_lines,
    "WKT polygon": wkt("POLYGON", ring, 19),
    "WKT polygon of bow ties": wkt("POLYGON", bow_ties, 13),
    "WKT polygon scribbled": wkt("POLYGON", lambda n: [*scribble(n), scribble(1)[0]], 8),
    "WKT of many points": filled("S_INTERSECTS(geometry,MULTIPOINT(1 1", ",1 1", "))"),
    "WKT of many polygons": filled(
        "S_INTERSECTS(geometry,MULTIPOLYGON(((0 0,9 0,9 9,0 0))", ",((0 0,9 0,9 9,0 0))", "))"
    ),
    "WKT of many holes": filled("S_INTERSECTS(geometry,POLYGON((0 0,9 0,9 9,0 0)", ",(1 1,2 1,2 2,1 1)", "))"),
    "WKT of overlapping members": filled(
        "S_INTERSECTS(geometry,GEOMETRYCOLLECTION(POINT(0 0)", ",POLYGON((0 0,9 0,9 9,0 0))", "))"
    ),
    "WKT nested collections": filled("S_INTERSECTS(geometry,", "GEOMETRYCOLLECTION(", "POINT(0 0))", ")"),
    "WKT unclosed": filled("S_INTERSECTS(geometry,POLYGON((0 0", ",1 1"),
    "WKT of words": filled("S_INTERSECTS(geometry,POINT(", "nan ", "))"),
    "WKT of minus signs": filled("S_INTERSECTS(geometry,POINT(", "- ", "1 1))"),
    "WKT of long numbers": filled("S_INTERSECTS(geometry,POINT(0.", "1", " 1))"),
    "many geometries": filled("TRUE", " AND S_INTERSECTS(geometry,POINT(1 1))"),
    "BBOX of many numbers": filled("S_INTERSECTS(geometry,BBOX(1", ",1", "))"),
    "BBOX of minus signs": filled("S_INTERSECTS(geometry,BBOX(", "-", "1,1,2,2))"),
    "many BBOXes": filled("TRUE", " AND S_INTERSECTS(geometry,BBOX(0,0,1,1))"),
    "INTERVAL of a long end": filled("T_DURING(datetime,INTERVAL('", "2", "','..'))"),
    "INTERVAL of long fractions": filled("T_DURING(datetime,INTERVAL('2020-01-01T00:00:00.", "2", "Z','..'))"),
    "INTERVAL of many ends": filled("T_DURING(datetime,INTERVAL('..'", ",'..'", "))"),
    "many INTERVALs": filled("TRUE", " AND T_DURING(datetime,INTERVAL('..','..'))"),
    "DATE of a long string": filled("datetime=DATE('", "2020-01-01", "')"),
}  # fmt: skip

JSON: dict[str, Callable[[int], str]] = {
    "garbage": lambda size: json.dumps(garbage(size // 3)),
    "nested nots": filled("", '{"op":"not","args":[', "true", "]}"),
    "nested nots without brackets": filled("", '{"op":"not","args":', "true", "}"),
    "nested ands": filled("", '{"op":"and","args":[true,', "true", "]}"),
    "nested sums": compared(filled("", '{"op":"+","args":[1,', "1", "]}")),
    "nested casei": compared(filled("", '{"op":"casei","args":[', '"x"', "]}")),
    "nested arrays": filled('{"op":"a_contains","args":[{"property":"l"},', "[", "1", "]"),
    "nested arrays unclosed": filled("", "["),
    "nested arrays behind brackets in strings": filled("", '["]",', "1", "]"),
    "nested objects": filled("", '{"a":', "1", "}"),
    "nested args": filled('{"op":"=","args":', "[", "1", "]"),
    "nested filters": filled("", '{"filter":', "true", "}"),
    "nested properties": filled("", '{"property":', '"a"', "}"),
    "nested intervals": compared(filled("", '{"interval":[', '".."', "]}")),
    "nested lists": filled("", '{"op":"in","args":[1,[', "1", "]]}"),
    "ands": filled('{"op":"and","args":[true', ",true", "]}"),
    "ors of comparisons": filled('{"op":"or","args":[true', ',{"op":"=","args":[{"property":"a"},1]}', "]}"),
    "long list": filled('{"op":"in","args":[{"property":"a"},[1', ",1", "]]}"),
    "long list of sums": filled('{"op":"in","args":[{"property":"a"},[1', ',{"op":"+","args":[1,1]}', "]]}"),
    "list of large sums": lambda size: compared(large_sums, "in")(size),
    "long array": filled('{"op":"a_contains","args":[{"property":"l"},[1', ",1", "]]}"),
    "array of empty arrays": filled('{"op":"a_contains","args":[{"property":"l"},[[]', ",[]", "]]}"),
    "array of empty objects": filled('{"op":"and","args":[{}', ",{}", "]}"),
    "args of strings": filled('{"op":"=","args":["x"', ',"x"', "]}"),
    "long operator": filled('{"op":"', "x", '","args":[]}'),
    "operator of spaces": filled('{"op":"=', " ", '","args":[]}'),
    "long property name": filled('{"op":"=","args":[{"property":"', "x", '"},1]}'),
    "long property alone": filled('{"property":"', "x", '"}'),
    "long member name": filled('{"', "x", '":1}'),
    "member names": numbered("{", lambda n: f'"k{n}":1', ",", "}"),
    "long string": compared(filled('"', "x", '"'), name="s"),
    "string of escapes": compared(filled('"', "\\u0041", '"'), name="s"),
    "string of combining characters": compared(filled('"a', "\\u0316\\u0301", '"'), name="s"),
    "folded string": compared(filled('{"op":"casei","args":["', "ß", '"]}'), name="s"),
    "names with NUL": compared(filled('{"property":"', "\\u0000", '"}')),
    "lone surrogates": compared(filled('"', "\\ud800", '"')),
    "long date": compared(filled('{"date":"', "2", '"}')),
    "long timestamp": compared(filled('{"timestamp":"', "2", '"}')),
    "LIKE of percent signs": filled('{"op":"like","args":[{"property":"s"},"', "%", '"]}'),
    "LIKE on a long string": like_on_a_long_string,
    "number of many digits": compared(filled("", "9")),
    "number of many digits behind": compared(filled("0.", "9")),
    "numbers of 300 digits": filled('{"op":"in","args":[{"property":"a"},[1', "," + "9" * 300, "]]}"),
    "minus zero": filled('{"op":"in","args":[{"property":"a"},[-0', ",-0", "]]}"),
    "1e999": filled('{"op":"in","args":[{"property":"a"},[1', ",1e999", "]]}"),
    "NaN": filled('{"op":"in","args":[{"property":"a"},[1', ",NaN", "]]}"),
    "Infinity": filled('{"op":"in","args":[{"property":"a"},[1', ",-Infinity", "]]}"),
    "nulls": filled('{"op":"in","args":[{"property":"a"},[1', ",null", "]]}"),
    "duplicate keys": filled('{"op":"not"', ',"args":[true]', "}"),
    "duplicate keys with escapes": filled('{"op":"not"', ',"\\u0061rgs":[true]', "}"),
    "duplicate keys in many objects": filled('{"op":"and","args":[true', ',{"op":"not","op":"not"}', "]}"),
    "polygon": geojson("Polygon", ring, 21),
    "polygon of bow ties": geojson("Polygon", bow_ties, 13),
    "polygon scribbled": geojson("Polygon", lambda n: [*scribble(n), scribble(1)[0]], 9),
    "line scribbled": geojson("LineString", scribble, 9),
    "points": geojson("MultiPoint", scribble, 9),
    "coordinates nested deep": shaped(filled('{"type":"Polygon","coordinates":', "[", "1", "]")),
    "coordinates of strings": shaped(filled('{"type":"Polygon","coordinates":[[["1","1"]', ',["1","1"]', "]]}")),
    "coordinates of empty arrays": shaped(filled('{"type":"MultiPoint","coordinates":[[1,1]', ",[]", "]}")),
    "coordinates of long positions": shaped(filled('{"type":"Point","coordinates":[1,1', ",1", "]}")),
    "coordinates of numbers of 300 digits": shaped(
        filled('{"type":"MultiPoint","coordinates":[[1,1]', f",[1,{'9' * 300}]", "]}")
    ),
    "nested collections": shaped(filled("", "{" + COLLECTION, POINT, "]}")),
    "nested collections behind brackets in strings": shaped(
        filled("", '{"x":"]]}}",' + COLLECTION, POINT, "]}")),
    "collection of points": shaped(filled("{" + COLLECTION + POINT, "," + POINT, "]}")),
    "collection of nothing": shaped(filled('{"type":"GeometryCollection","geometries":[{}', ",{}", "]}")),
    "geometry with other members": shaped(filled('{"type":"Point","coordinates":[1,1],"x":[1', ",1", "]}")),
    "long bbox": shaped(filled('{"bbox":[1', ",1", "]}")),
    "bbox of long numbers": shaped(filled('{"bbox":[0.', "1", ",1,2,2]}")),
}  # fmt: skip

"""Wrong requests over a real socket: each gets the problem body that names its fault, and none a 5xx.

The rows are sent byte by byte, since client libraries would tidy them up.
"""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Mapping
from contextlib import closing
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, quote, urlsplit

import pytest

from swath.limits import LIMITS
from tests.conftest import Answer, Server

MEMBERS = {"type", "title", "status", "code", "description", "detail", "message", "details", "instance"}
JSON = "application/json"
READ = frozenset(("GET", "HEAD", "OPTIONS"))
POINT: dict[str, Any] = {"type": "Point", "coordinates": [0, 0]}
GEOMETRY = {"property": "geometry"}
CLOUDS = {"property": "eo:cloud_cover"}
HUGE = "1" + "0" * 400  # an integer that no float holds
LONG = "1" * 5000  # an integer with more digits than Python reads at once
PARENTHESES = "(" * 10_000
INTERVALS = '{"interval":[' * 80 + "null" + ",null]}" * 80


@dataclass(frozen=True, slots=True)
class Wrong:
    """A request, and what its answer has to say. `at` is checked where it is given."""

    name: str
    target: str
    says: str
    status: int = 400
    code: str = "InvalidParameter"
    method: str = "GET"
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    hosts: tuple[str, ...] = ("127.0.0.1",)
    at: int | str | None = None
    allow: frozenset[str] = frozenset()

    def raw(self) -> bytes:
        lines = [f"{self.method} {self.target} HTTP/1.1", *(f"Host: {host}" for host in self.hosts)]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        if self.body and "Transfer-Encoding" not in self.headers:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


def get(name: str, target: str, says: str, **more: Any) -> Wrong:
    return Wrong(name, target, says, **more)


def asked(name: str, parameter: str, value: str, says: str = "", **more: Any) -> Wrong:
    """GET /search with one parameter, encoded as it should be. The description begins with its name."""
    return Wrong(name, f"/search?{parameter}={quote(value, safe='')}", f"{parameter}: {says}", **more)


def text(name: str, value: str, at: int, says: str = "", **more: Any) -> Wrong:
    """A filter in CQL2 text."""
    return asked(name, "filter", value, says, code="InvalidFilter", at=at, **more)


def post(name: str, body: Any, says: str, **more: Any) -> Wrong:
    """POST /search: bytes and text as they are, anything else as JSON."""
    raw = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    usual: dict[str, Any] = {"target": "/search", "method": "POST", "headers": {"Content-Type": JSON}}
    return Wrong(name, says=says, body=raw, **{**usual, **more})


def tree(name: str, value: Any, at: str, says: str = "", **more: Any) -> Wrong:
    """A filter in CQL2 JSON."""
    body = f'{{"filter":{value}}}' if isinstance(value, str) else {"filter": value}
    return post(name, body, f"filter: {says}", code="InvalidFilter", at=at, **more)


def shape(name: str, geometry: Any, says: str, **more: Any) -> Wrong:
    return post(name, {"intersects": geometry}, f"intersects: {says}", **more)


def ring(*positions: list[float]) -> dict[str, Any]:
    return {"type": "Polygon", "coordinates": [list(positions)]}


def op(name: Any, *args: Any) -> dict[str, Any]:
    return {"op": name, "args": list(args)}


def during(interval: Any) -> dict[str, Any]:
    return op("t_intersects", {"property": "datetime"}, {"interval": interval})


QUERY_STRING = (
    get("unknown parameter", "/search?cloud=5", "unknown parameter 'cloud'"),
    get("misspelt parameter", "/search?colections=naip", "did you mean 'collections'?"),
    get("parameter in capitals", "/search?Limit=5", "did you mean 'limit'?"),
    get("parameter without a name", "/search?=5", "unknown parameter ''"),
    get("semicolons between parameters", "/search?limit=5;ids=x", "limit: '5;ids=x'"),
    get("parameter of another route on items", "/collections/naip/items?ids=x", "unknown parameter 'ids'"),
    get("intersects on items", "/collections/naip/items?intersects={}", "unknown parameter 'intersects'"),
    get("parameter on the landing page", "/?f=json", "unknown parameter 'f'; this route takes none"),
    get("parameter on conformance", "/conformance?f=json", "unknown parameter 'f'"),
    get("parameter on a collection", "/collections/naip?limit=1", "unknown parameter 'limit'"),
    get("parameter on queryables", "/queryables?limit=1", "unknown parameter 'limit'"),
    get("parameter on the OpenAPI document", "/api?x", "unknown parameter 'x'"),
    get("parameter on limits", "/limits?x=1", "unknown parameter 'x'"),
    post("query string on POST", {}, "unknown parameter 'limit'", target="/search?limit=5"),
    get("parameter given twice", "/search?limit=5&limit=6", "limit: given twice"),
    get("300 parameters", "/search?" + "&".join(["ids=a"] * 300), "more than 200 parameters"),
    get("percent-encoding that is not UTF-8", "/search?ids=%FF", "the query string is not UTF-8"),
    get("percent-encoded surrogate", "/search?ids=%ED%A0%80", "the query string is not UTF-8"),
    get("overlong UTF-8", "/search?ids=%C0%80", "the query string is not UTF-8"),
    get("name that is not UTF-8", "/search?%FF=1", "the query string is not UTF-8"),
    get("percent sign without digits", "/search?limit=%zz", "limit: '%zz'"),
    get("percent sign at the end", "/search?datetime=2020-01-01T00:00:00Z%", "datetime: "),
    get("query string over its cap", "/search?ids=" + "a" * LIMITS.query_text_bytes, "the query string is longer than"),
)  # fmt: skip

LIMIT = (
    asked("limit zero", "limit", "0", "0 is not 1 or more"),
    asked("limit below zero", "limit", "-1", "-1 is not 1 or more"),
    asked("limit in words", "limit", "abc", "'abc' is not a whole number"),
    asked("limit empty", "limit", "", "'' is not a whole number"),
    asked("limit with a fraction", "limit", "5.0", "'5.0' is not a whole number"),
    asked("limit in hexadecimal", "limit", "0x5"),
    asked("limit with an underscore", "limit", "1_0"),
    asked("limit in other digits", "limit", "٣"),
    asked("limit of 19 digits", "limit", "9" * 19),
    get("limit zero on collections", "/collections?limit=0", "limit: 0 is not 1 or more"),
    get("limit in words on collections", "/collections?limit=ten", "limit: 'ten' is not a whole number"),
    get("limit zero on items", "/collections/naip/items?limit=0", "limit: 0 is not 1 or more"),
    post("limit zero in a body", {"limit": 0}, "limit: 0 is not 1 or more"),
    post("limit far below zero in a body", f'{{"limit":-{HUGE}}}', "limit: "),
    post("limit as a string in a body", {"limit": "5"}, "limit: expected a whole number"),
    post("limit as a boolean in a body", {"limit": True}, "limit: expected a whole number"),
    post("limit with a fraction in a body", {"limit": 1.5}, "limit: expected a whole number"),
    post("limit as an array in a body", {"limit": [5]}, "limit: expected a whole number"),
)

IDS = (
    asked("collections with an empty entry", "collections", "a,,b", "an entry is empty"),
    asked("ids ending with a comma", "ids", "a,", "an entry is empty"),
    asked("ids of 10,001 entries", "ids", ",".join(["a"] * 10_001), "more than 10,000 values"),
    post("collections as a number", {"collections": 5}, "collections: expected an array of strings"),
    post("collections of numbers", {"collections": [5]}, "collections: expected an array of strings"),
    post("collections as an object", {"collections": {"a": 1}}, "collections: expected an array of strings"),
    post("ids with a null", {"ids": ["a", None]}, "ids: expected an array of strings"),
    post("ids of arrays", {"ids": [["a"]]}, "ids: expected an array of strings"),
    post("10,001 ids in a body", {"ids": ["a"] * 10_001}, "ids: more than 10,000 values"),
)

BBOX = (
    asked("bbox of 3 numbers", "bbox", "1,2,3", "a bbox has 4 or 6 numbers, not 3"),
    asked("bbox of 5 numbers", "bbox", "1,2,3,4,5", "a bbox has 4 or 6 numbers, not 5"),
    asked("bbox of 7 numbers", "bbox", "1,2,3,4,5,6,7", "a bbox has 4 or 6 numbers, not 7"),
    asked("bbox of letters", "bbox", "a,b,c,d", "'a' is not a number"),
    asked("bbox in brackets", "bbox", "[0,0,1,1]", "'[0' is not a number"),
    asked("bbox with a gap", "bbox", "1,,2,3", "'' is not a number"),
    asked("bbox with spaces for commas", "bbox", "1 2 3 4"),
    asked("bbox with NaN", "bbox", "nan,0,1,1", "'nan' is not a number"),
    asked("bbox with 1e999", "bbox", "1e999,0,1,1", "a bbox holds finite numbers only"),
    asked("bbox with a longitude out of range", "bbox", "-181,0,1,1", "longitude -181.0"),
    asked("bbox with a latitude out of range", "bbox", "0,80,1,91", "latitude 91.0"),
    asked("bbox with south above north", "bbox", "0,5,1,4", "south 5.0 of the bbox is north of north 4.0"),
    asked("bbox with bottom above top", "bbox", "0,0,5,1,1,4", "the bbox is upside down"),
    get("bbox out of range on items", "/collections/naip/items?bbox=0,0,0,95", "bbox: latitude 95.0"),
    post("bbox as a string in a body", {"bbox": "0,0,1,1"}, "bbox: expected an array"),
    post("bbox empty in a body", {"bbox": []}, "bbox: a bbox has 4 or 6 numbers, not 0"),
    post("bbox of strings in a body", {"bbox": ["0", "0", "1", "1"]}, "bbox: "),
    post("bbox with a boolean in a body", {"bbox": [True, 0, 1, 1]}, "bbox: "),
    post("bbox with a null in a body", {"bbox": [None, 0, 1, 1]}, "bbox: "),
    post("bbox with a number that no float holds", f'{{"bbox":[{HUGE},0,1,1]}}', "bbox: "),
    get("bbox and intersects", f"/search?bbox=0,0,1,1&intersects={quote(json.dumps(POINT))}",
        "give either bbox or intersects, not both"),
    post("bbox and intersects in a body", {"bbox": [0, 0, 1, 1], "intersects": POINT},
         "give either bbox or intersects, not both"),
)  # fmt: skip

INTERSECTS = (
    asked("intersects that is not JSON", "intersects", "POINT(0 0)", "the intersects is not JSON"),
    asked("intersects cut off", "intersects", '{"type":"Point"', "the intersects is not JSON"),
    asked("intersects as a number", "intersects", "5", "a geometry is a GeoJSON object"),
    asked("intersects with a key twice", "intersects", '{"type":"Point","type":"Point","coordinates":[0,0]}', "the"),
    asked("intersects with NaN", "intersects", '{"type":"Point","coordinates":[NaN,0]}'),
    shape("geometry as a string", "POINT(0 0)", "expected an object"),
    shape("geometry without a type", {}, "None is not the type of a GeoJSON geometry"),
    shape("geometry of an unknown type", {**POINT, "type": "Circle"}, "'Circle' is not the type"),
    shape("geometry of types", {**POINT, "type": ["Point"]}, "['Point'] is not the type"),
    shape("feature for a geometry", {"type": "Feature", "geometry": POINT, "properties": {}}, "'Feature' is not"),
    shape("geometry without coordinates", {"type": "Point"}, "a geometry has an array `coordinates`"),
    shape("coordinates as an object", {"type": "Point", "coordinates": {}}, "a geometry has an array"),
    shape("point of one number", {"type": "Point", "coordinates": [1]}, "a position is an array of two or three"),
    shape("point of strings", {"type": "Point", "coordinates": ["0", "0"]}, "a position is an array of two or three"),
    shape("point with a boolean", {"type": "Point", "coordinates": [True, 0]}, "a position is an array"),
    shape("point nested too deeply", {"type": "Point", "coordinates": [[0, 0]]}, "not a GeoJSON Point"),
    shape("line of one position", {"type": "LineString", "coordinates": [[0, 0]]}, "not a GeoJSON LineString"),
    shape("polygon as flat as a line", {"type": "Polygon", "coordinates": [[0, 0], [1, 1]]}, "not a GeoJSON Polygon"),
    shape("unclosed ring", ring([0, 0], [1, 0], [1, 1], [0, 1]), "not a GeoJSON Polygon"),
    shape("ring of three positions", ring([0, 0], [1, 0], [0, 0]), "the geometry is not valid: Too few points"),
    shape("self-crossing ring", ring([0, 0], [1, 1], [1, 0], [0, 1], [0, 0]), "the geometry is not valid: Self-inter"),
    shape("longitude out of range", ring([0, 0], [200, 0], [200, 1], [0, 0]), "a coordinate is not a longitude"),
    shape("latitude out of range", {"type": "Point", "coordinates": [0, 90.5]}, "a coordinate is not a longitude"),
    shape(
        "10,001 vertices",
        {"type": "MultiPoint", "coordinates": [[0, 0]] * 10_001},
        "the geometry has more than 10,000 vertices",
    ),
    shape("collection without geometries", {"type": "GeometryCollection"}, "a GeometryCollection has an array"),
    shape("collection of numbers", {"type": "GeometryCollection", "geometries": [5]}, ""),
    shape("wrong geometry in a collection", {"type": "GeometryCollection", "geometries": [{"type": "X"}]}, ""),
)

DATETIME = (
    asked("datetime in words", "datetime", "yesterday", "'yesterday' is not an RFC 3339 date-time"),
    asked("datetime without a time", "datetime", "2020-01-01", "'2020-01-01' is not an RFC 3339 date-time"),
    asked("datetime without an offset", "datetime", "2020-01-01T00:00:00"),
    asked("datetime in month 13", "datetime", "2020-13-01T00:00:00Z", "month 13"),
    asked("datetime on 30 February", "datetime", "2020-02-30T00:00:00Z", "day 30 is not 01 to 29"),
    asked("datetime at 25 o'clock", "datetime", "2020-01-01T25:00:00Z"),
    asked("datetime on a leap second", "datetime", "2020-12-31T23:59:60Z"),
    asked("datetime with an offset of 99 hours", "datetime", "2020-01-01T00:00:00+99:00"),
    asked("datetime in other digits", "datetime", "٢٠٢٠-01-01T00:00:00Z"),
    asked("interval that ends before it starts", "datetime", "2021-01-01T00:00:00Z/2020-01-01T00:00:00Z", "'2021"),
    asked("interval open at both ends", "datetime", "../..", "'../..' is open at both ends"),
    asked("interval of three ends", "datetime", "2020-01-01T00:00:00Z/../..", "'2020-01-01T00:00:00Z/../..' has more"),
    asked("interval with a wrong end", "datetime", "2020-01-01T00:00:00Z/x", "'x' is not"),
    post("datetime as a number in a body", {"datetime": 2020}, "datetime: expected a string"),
    post("datetime as an array in a body", {"datetime": ["2020-01-01T00:00:00Z"]}, "datetime: expected a string"),
    post("datetime empty in a body", {"datetime": ""}, "datetime: "),
)

QUERY = (
    asked("query that is not JSON", "query", "eo:cloud_cover<10", "the query is not JSON"),
    asked("query as a number", "query", "5", "an object such as"),
    asked("query as an array", "query", "[]", "an object such as"),
    post("query as an array in a body", {"query": []}, "query: expected an object"),
    post("query with an empty name", {"query": {"": {"eq": 1}}}, "query: a property name is not empty"),
    post("query for an array", {"query": {"eo:cloud_cover": [5]}}, "query: eq of 'eo:cloud_cover' takes"),
    post("query with an unknown operator", {"query": {"a": {"near": 5}}}, "query: 'near' is not an operator"),
    post("query for less than null", {"query": {"a": {"lt": None}}}, "query: lt of 'a' takes"),
    post("query in something else than an array", {"query": {"a": {"in": 5}}}, "query: in of 'a' takes an array"),
    post("query in 10,001 values", {"query": {"a": {"in": [1] * 10_001}}}, "query: in of 'a' has more than 10,000"),
    post("query that starts with a number", {"query": {"a": {"startsWith": 5}}}, "query: startsWith of 'a' takes"),
    post("query that contains an object", {"query": {"a": {"contains": {}}}}, "query: contains of 'a' takes"),
    post("query of 10,001 properties", {"query": {f"p{n}": {} for n in range(10_001)}}, "query: more than 10,000"),
    post("query with a pattern over its cap", {"query": {"a": {"endsWith": "%" * 8000}}}, "query: endsWith of 'a'"),
)

FILTER_TEXT = (
    text("filter empty", "", 0, "the filter is empty"),
    text("filter blank", "   ", 0, "the filter is empty"),
    text("filter of 10,000 parentheses", PARENTHESES, 64, "the filter is nested deeper than 64 levels"),
    text("filter of 10,000 closing parentheses", ")" * 10_000, 0, "expected a property"),
    text("filter of 10,000 NOTs", "NOT " * 10_000 + "TRUE", 256, "the filter is nested deeper than 64 levels"),
    text("filter that is a bare property", "eo:cloud_cover", 0, "'eo:cloud_cover' alone is not a condition"),
    text("filter that is a number", "5", 0, "expected a condition"),
    text("filter without a right side", "eo:cloud_cover <", 16, "expected a property"),
    text("filter without a left side", "< 10", 0, "expected a property"),
    text("filter with two equals signs", "eo:cloud_cover == 1", 16),
    text("filter that ends with AND", "a = 1 AND", 9),
    text("filter with an unfinished string", "a = 'x", 4, "cannot read an unfinished string"),
    text("filter with a character of another language", "a = 1; DROP TABLE items", 5, "cannot read the character ';'"),
    text("filter with a fault behind other alphabets", "a = 'é🛰' AND ;", 13, "cannot read the character ';'"),
    text("filter with a NUL", "\x00", 0, "cannot read the character"),
    text("filter LIKE a number", "id LIKE 5", 3, "expected a pattern"),
    text("filter LIKE a pattern over its cap", f"id LIKE '{'%' * 8193}'", 3, "the pattern is longer than 8,192"),
    text("filter BETWEEN without an end", "a BETWEEN 1", 11, "expected AND and the upper end"),
    text("filter IN nothing", "a IN ()", 6),
    text("filter IN two kinds", "a IN (1,'x')", 2, "a number and a string cannot be compared"),
    text("filter IN 10,001 values", f"a IN ({','.join(['1'] * 10_001)})", 20_005, "the list has more than 10,000"),
    text("filter IS something else than NULL", "a IS 5", 5, "expected 'NULL'"),
    text("filter that equals NULL", "a = NULL", 4),
    text("filter with an unknown function", "near(geometry)", 0, "unknown function 'near'"),
    text("filter with a function that nobody has", "S_NEAR(geometry,POINT(0 0))", 0, "unknown function 'S_NEAR'"),
    text("filter that compares geometries", "geometry = POINT(0 0)", 9, "expected a value to compare"),
    text("filter with a number too large", "a = 1e999", 4, "the number 1e999 is too large"),
    text("filter with a number of 5,000 digits", f"a = {LONG}", 4),
    text("filter with a date that is none", "datetime > DATE('2020-02-30')", 11, "day 30"),
    text("filter with an interval that ends before it starts",
         "T_INTERSECTS(datetime,INTERVAL('2021-01-01','2020-01-01'))", 22, "the interval ends before it starts"),
    text("filter with an unclosed ring", "S_INTERSECTS(geometry,POLYGON((0 0,1 0,1 1)))", 22, "not a geometry"),
    text("filter with a self-crossing ring", "S_INTERSECTS(geometry,POLYGON((0 0,1 1,1 0,0 1,0 0)))", 22,
         "not a geometry: the geometry is not valid"),
    text("filter with a longitude out of range", "S_INTERSECTS(geometry,POINT(200 0))", 22, "not a geometry"),
    text("filter with a BBOX of 2 numbers", "S_INTERSECTS(geometry,BBOX(1,2))", 22, "a bbox has 4 or 6 numbers"),
    asked("filter with a BBOX that no float holds", "filter", f"S_INTERSECTS(geometry,BBOX({HUGE},0,1,1))",
          code="InvalidFilter"),
    get("filter on items", "/collections/naip/items?filter=a%20%3D", "filter: ", code="InvalidFilter", at=3),
    post("filter text of 10,000 parentheses in a body", {"filter": PARENTHESES, "filter-lang": "cql2-text"},
         "filter: the filter is nested", code="InvalidFilter", at=64),
    post("filter text over its cap", {"filter": "x" * 65_537, "filter-lang": "cql2-text"},
         "filter: the filter is longer than 65,536 bytes", code="InvalidFilter", at=0),
    post("filter text of 18,000 parts", {"filter": " OR ".join(["a=1"] * 9000), "filter-lang": "cql2-text"},
         "filter: the filter has more than 10,000 parts", code="InvalidFilter"),
)  # fmt: skip

FILTER_JSON = (
    get("filter JSON cut off", "/search?filter-lang=cql2-json&filter=%7B%22op%22:", "filter: the filter is not JSON"),
    get("filter text said to be JSON", "/search?filter-lang=cql2-json&filter=a%3D1", "filter: the filter is not JSON"),
    get("filter JSON that is a number", "/search?filter-lang=cql2-json&filter=5", "filter: a CQL2 JSON filter is an",
        code="InvalidFilter", at=""),
    tree("filter as an array", [], "", "a CQL2 JSON filter is an object, found an array"),
    tree("filter as an empty object", {}, "", "expected `op`"),
    tree("filter with an unknown operator", op("near", CLOUDS, 5), "/op", "'near' is not an operator"),
    tree("filter with an operator that nobody has", op("s_near", GEOMETRY, POINT), "/op", "'s_near' is not an op"),
    tree("filter with a number for an operator", op(5), "/op", "expected a string, found 5"),
    tree("filter without args", {"op": "="}, "/args", "expected an array, found null"),
    tree("filter with one operand too few", op("=", CLOUDS), "/args", "'=' takes 2 operands, not 1"),
    tree("filter that compares with null", op("=", CLOUDS, None), "/args/1", "expected an operation"),
    tree("filter with a property of no name", op("=", {"property": ""}, 1), "/args/0/property", "a property name"),
    tree("filter with a number for a name", op("=", {"property": 5}, 1), "/args/0/property", "a property name"),
    tree("filter with a fault deep inside", op("and", op("<", CLOUDS, 5), op("not", op("lke", CLOUDS, "x"))),
         "/args/1/args/0/op", "'lke' is not an operator"),
    tree("filter AND of one", op("and", True), "/args", "'and' joins two or more conditions"),
    tree("filter NOT a number", op("not", 1), "/args", "expected a condition"),
    tree("filter like a number", op("like", CLOUDS, 5), "/args", "expected a pattern"),
    tree("filter between two operands", op("between", CLOUDS, 1), "/args", "'between' takes 3 operands"),
    tree("filter in 10,001 values", op("in", CLOUDS, [1] * 10_001), "/args/1", "the list has more than 10,000 members"),
    tree("filter isNull of a condition", op("isNull", op("=", 1, 1)), "/args", "expected a value"),
    tree("filter JSON with a date that is none", op("=", CLOUDS, {"date": "2020-02-30"}), "/args/1/date", "day 30"),
    tree("filter with a number for a timestamp", op("=", CLOUDS, {"timestamp": 5}), "/args/1/timestamp"),
    tree("filter with an interval of three ends", during(["..", "..", ".."]), "/args/1/interval", "an interval has"),
    tree("filter with a number for an end", during([5, ".."]), "/args/1/interval", "the end of an interval"),
    tree("filter JSON with an unclosed ring", op("s_intersects", GEOMETRY, ring([0, 0], [1, 0], [1, 1], [0, 1])),
         "/args/1", "not a GeoJSON Polygon"),
    tree("filter with a bbox upside down", op("s_intersects", GEOMETRY, {"bbox": [0, 5, 1, 4]}), "/args/1/bbox"),
    tree("filter with a bbox that no float holds",
         f'{{"op":"s_intersects","args":[{{"property":"geometry"}},{{"bbox":[{HUGE},0,1,1]}}]}}', "/args/1/bbox"),
    tree("filter nested 65 deep", '{"op":"not","args":[' * 65 + "true" + "]}" * 65, "/args/0" * 65,
         "the filter is nested deeper than 64 levels"),
    post("filter with intervals 80 deep", f'{{"filter":{{"op":"t_intersects","args":[{INTERVALS},".."]}}}}',
         "filter: ", code="InvalidFilter"),
    tree("filter of 30,000 conditions", op("or", *[op("=", CLOUDS, 1)] * 30_000), "/args/3333",
         "the filter has more than 10,000 parts"),
    tree("filter with a list for a type", {"type": [], "x": 1}, "", "expected `op`"),
    tree("filter with an object for a type", op("s_intersects", GEOMETRY, {"type": {}, "coordinates": []}), "/args/1"),
    post("filter text in a body", {"filter": "eo:cloud_cover < 10"}, "filter: a POST body takes CQL2 JSON"),
    post("filter object said to be text", {"filter": op("=", 1, 1), "filter-lang": "cql2-text"},
         "filter: a cql2-text filter is a string", code="InvalidFilter", at=0),
    post("filter text said to be JSON in a body", {"filter": "a = 1", "filter-lang": "cql2-json"},
         "filter: a cql2-json filter is an object", code="InvalidFilter", at=""),
)  # fmt: skip

FILTER_LANGUAGE = (
    asked("unknown filter language", "filter-lang", "cql-text", "'cql-text' is neither cql2-text nor cql2-json"),
    get("unknown language of a filter", "/search?filter=a%3D1&filter-lang=sql", "filter-lang: 'sql'"),
    asked("other coordinate system", "filter-crs", "http://www.opengis.net/def/crs/EPSG/0/3857", "only http://www"),
    asked("short name of a coordinate system", "filter-crs", "CRS84", "only http://www.opengis.net/def/crs/OGC/1.3"),
    post("filter language as a number", {"filter-lang": 2}, "filter-lang: expected a string"),
    post("coordinate system as an array", {"filter-crs": []}, "filter-crs: expected a string"),
    post("other coordinate system in a body", {"filter": op("=", 1, 1), "filter-crs": "EPSG:4326"}, "filter-crs: only"),
)

SORTBY = (
    asked("unknown field", "sortby", "nope", "unknown field 'nope'; /sortables lists"),
    asked("unknown field behind a known one", "sortby", "-datetime,+nope", "unknown field 'nope'"),
    asked("empty field", "sortby", "id,,datetime", "'id,,datetime' has an empty field"),
    asked("minus alone", "sortby", "-", "'-' has an empty field"),
    get("unknown field on items", "/collections/naip/items?sortby=nope", "sortby: unknown field 'nope'"),
    post("unknown field in a body", {"sortby": [{"field": "nope"}]}, "sortby: unknown field 'nope'"),
    post("sortby as an object", {"sortby": {"field": "id"}}, "sortby: expected an array"),
    post("sortby as a number", {"sortby": 1}, "sortby: expected an array"),
    post("sortby of numbers", {"sortby": [1]}, "sortby: expected {"),
    post("sortby without a field", {"sortby": [{"direction": "asc"}]}, "sortby: expected {"),
    post("sortby with a number for a field", {"sortby": [{"field": 5}]}, "sortby: expected {"),
    post("sortby upwards", {"sortby": [{"field": "id", "direction": "up"}]}, "sortby: the direction 'up'"),
    post(
        "sortby in a list of directions", {"sortby": [{"field": "id", "direction": ["asc"]}]}, "sortby: the direction"
    ),
    post("sortby of 33 fields", {"sortby": [{"field": f"f{n}"} for n in range(33)]}, "sortby: more than 32 fields"),
)

FIELDS = (
    post("fields null", {"fields": None}, "fields: expected {"),
    post("fields as a number", {"fields": 5}, "fields: expected {"),
    post("fields as a string", {"fields": "id"}, "fields: expected {"),
    post("fields of numbers", {"fields": [5]}, "fields: expected {"),
    post("fields with another member", {"fields": {"included": ["id"]}}, "fields: expected {"),
    post("fields that include a number", {"fields": {"include": 5}}, "fields: expected an array of strings"),
    post("fields that exclude numbers", {"fields": {"exclude": [5]}}, "fields: expected an array of strings"),
    post("fields that include false", {"fields": {"include": False}}, "fields: expected an array of strings"),
    post("fields that exclude an empty object", {"fields": {"exclude": {}}}, "fields: expected an array of strings"),
)  # fmt: skip

# `<next>` and its like stand for tokens that the fixture below gets from the server.
TOKEN = tuple(
    replace(row, code="InvalidToken" if "expected a string" not in row.says else row.code)
    for row in (
        get("token made up", "/search?token=x", "the token is not one that was handed out"),
        get("token not in ASCII", "/search?token=%C3%A9", "the token is not one that was handed out"),
        get("token changed", "/search?token=<changed>", "the token was changed"),
        get("token cut short", "/search?token=<short>", "the token was changed"),
        get("token padded", "/search?token=<next>%3D", "the token was changed"),
        get("token of another catalogue", "/search?token=<foreign>", "the token was changed or comes from another"),
        get("token with another filter", "/search?ids=x&token=<next>", "the token belongs to another search"),
        get("token with another order", "/search?sortby=id&token=<next>", "the token belongs to another search"),
        get(
            "token of a search on items", "/collections/naip/items?token=<next>", "the token belongs to another search"
        ),
        get("token of collections in a search", "/search?token=<collections>", "the token belongs to another search"),
        get("token of a search on collections", "/collections?token=<next>", "the token belongs to another search"),
        get("token changed on collections", "/collections?token=<changed>", "the token was changed"),
        get("token of 20,000 characters", "/search?token=" + "A" * 20_000, "the token is longer than any"),
        post("token with another filter in a body", '{"ids":["x"],"token":"<next>"}', "the token belongs to another"),
        post("token changed in a body", '{"token":"<changed>"}', "the token was changed"),
        post("token as a number", {"token": 5}, "token: expected a string"),
        post("token as an object", {"token": {}}, "token: expected a string"),
    )
)

COUNT = (
    asked("bogus count", "count", "bogus", "'bogus' is neither exact nor none"),
    asked("empty count", "count", "", "'' is neither exact nor none"),
    asked("count in capitals", "count", "EXACT"),
    post("count as a boolean", {"count": True}, "count: expected a string"),
    asked("asset-href-mode that there is none of", "asset-href-mode", "pigeon", "'pigeon' is none of api, signed"),
    post("asset-href-mode as a number", {"asset-href-mode": 1}, "asset-href-mode: expected a string"),
    asked("as-of of yesterday", "as-of", "yesterday", "'yesterday' is no instant"),
    asked("as-of of an interval", "as-of", "2020-01-01T00:00:00Z/..", "'2020-01-01T00:00:00Z/..' is no instant"),
    post("as-of as a number", {"as-of": 2020}, "as-of: expected a string"),
    asked("bogus explain", "explain", "maybe", "'maybe' is neither true nor false"),
    post("explain as a string", {"explain": "true"}, "explain: expected true or false"),
    post("bogus count in a body", {"count": "all"}, "count: 'all' is neither exact nor none"),
)

PATHS = tuple(
    replace(row, status=404, code="NotFound")
    for row in (
        get("unknown path", "/nope", "there is no /nope here"),
        get("path in capitals", "/SEARCH", "there is no /SEARCH here"),
        get("path with dots", "/collections/../search", "there is no /collections/../search here"),
        get("path with two slashes", "//search", "there is no //search here"),
        get("path with a parameter", "/search;v=1", "there is no /search;v=1 here"),
        get("path that looks like a host", "//[/x", "there is no //[/x here"),
        get("collection without an id", "/collections//items", "there is no /collections//items here"),
        get("unknown collection", "/collections/nope", "there is no collection 'nope'"),
        get("unknown collection of percent signs", "/collections/%zz", "there is no collection '%zz'"),
        get("unknown collection of a NUL", "/collections/%00", "there is no collection"),
        get("unknown collection with a slash", "/collections/a%2Fb", "there is no collection 'a/b'"),
        get("items of an unknown collection", "/collections/nope/items", "there is no collection 'nope'"),
        get("queryables of an unknown collection", "/collections/nope/queryables", "there is no collection 'nope'"),
        get("sortables of an unknown collection", "/collections/nope/sortables", "there is no collection 'nope'"),
        get("unknown item", "/collections/naip/items/nope", "there is no item 'nope' in a collection 'naip'"),
        get("item of an unknown collection", "/collections/nope/items/x", "there is no item 'x'"),
        get("path behind an item", "/collections/naip/items/x/y", "there is no /collections/naip/items/x/y here"),
        get("unknown file of the documentation", "/api.html/..%2Fx", "there is no /api.html/"),
        post("unknown path on POST", {}, "there is no /nope here", target="/nope"),
    )
)
PATH_ENCODING = (
    get("collection that is not UTF-8", "/collections/%FF", "the path is not UTF-8"),
    get("collection of a surrogate", "/collections/%ED%A0%80", "the path is not UTF-8"),
    get("item cut inside a character", "/collections/naip/items/%E2%80", "the path is not UTF-8"),
)

METHODS = tuple(
    replace(row, status=405, code="MethodNotAllowed", allow=row.allow or READ, says=row.target)
    for row in (
        get("POST to the landing page", "/", "", method="POST"),
        get("PUT to search", "/search", "", method="PUT", allow=READ | {"POST"}),
        get("DELETE of search", "/search", "", method="DELETE", allow=READ | {"POST"}),
        get("PUT to collections", "/collections", "", method="PUT", allow=READ | {"POST"}),
        get("POST to a collection", "/collections/naip", "", method="POST", allow=READ | {"PUT", "PATCH", "DELETE"}),
        get("DELETE of items", "/collections/naip/items", "", method="DELETE", allow=READ | {"POST"}),
        get("POST to an item", "/collections/naip/items/x", "", method="POST", allow=READ | {"PUT", "PATCH", "DELETE"}),
        get("TRACE of conformance", "/conformance", "", method="TRACE"),
        get("PROPFIND of queryables", "/queryables", "", method="PROPFIND"),
        get("PUT to the OpenAPI document", "/api", "", method="PUT"),
        get("POST to the documentation", "/api.html", "", method="POST"),
        get("POST to the health check", "/health/live", "", method="POST"),
    )
)

MEDIA_TYPES = tuple(
    replace(row, status=415, code="UnsupportedMediaType", says=f"/search reads application/json, not {row.says}")
    for row in (
        post("body without a content type", {}, "", headers={}),
        post("body as plain text", {}, "'text/plain'", headers={"Content-Type": "text/plain"}),
        post("body as a form", "limit=5", "'application/x-www-form-urlencoded'",
             headers={"Content-Type": "application/x-www-form-urlencoded"}),
        post("body as many parts", {}, "'multipart/form-data'", headers={"Content-Type": "multipart/form-data"}),
        post("body as almost JSON", {}, "'application/jsonx'", headers={"Content-Type": "application/jsonx"}),
        post("body of two types", {}, "'application/json,", headers={"Content-Type": "application/json,text/plain"}),
    )
)  # fmt: skip
_TOO_MANY_BYTES = b" " * (LIMITS.body_bytes + 1)
SIZES = tuple(
    replace(row, status=413, code="TooLarge")
    for row in (
        post("body over its cap", _TOO_MANY_BYTES, "the body is larger than 10,000,000 bytes"),
        post("body over its cap without a length", b"%x\r\n%b\r\n0\r\n\r\n" % (len(_TOO_MANY_BYTES), _TOO_MANY_BYTES),
             "the body is larger than", headers={"Content-Type": JSON, "Transfer-Encoding": "chunked"}),
    )
)  # fmt: skip

BODIES = (
    post("body cut off", '{"limit":5', "the body is not JSON"),
    post("body with more behind it", '{"limit":5}x', "the body is not JSON"),
    post("body with single quotes", "{'limit':5}", "the body is not JSON"),
    post("body of a NUL", b"\x00", "the body is not JSON"),
    post("body in UTF-16", '{"limit":5}'.encode("utf-16"), "the body is not JSON"),
    post("body that is not UTF-8", b'{"ids":["\xff"]}', "the body is not JSON"),
    post("body with a raw surrogate", b'{"ids":["\xed\xa0\x80"]}', "the body is not JSON"),
    post("body with a lone surrogate", '{"ids":["\\ud800"]}', "the body is not JSON"),
    post("body with a lone low surrogate", '{"ids":["\\udfff!"]}', "the body is not JSON"),
    post("body with NaN", '{"bbox":[NaN,0,1,1]}', "the body is not JSON"),
    post("body with Infinity", '{"limit":Infinity}', "the body is not JSON"),
    post("body with 1e999", '{"limit":1e999}', "the body is not JSON: Number out of range"),
    post("body with a number of 5,000 digits", f'{{"limit":{LONG}}}', "the body is not JSON"),
    post("body 100,000 deep", "[" * 100_000, "the body"),
    post("body with a member 100,000 deep", '{"ids":' + "[" * 100_000 + "]" * 100_000 + "}", "the body"),
    post("body with a key twice", '{"limit":5,"limit":6}', "the member 'limit' stands twice"),
    post("body with a key twice, once escaped", '{"limit":5,"l\\u0069mit":6}', "the member 'limit' stands twice"),
    post("body with a key twice inside", '{"filter":{"op":"=","op":"<","args":[1,1]}}', "the member 'op' stands twice"),
    post("body as an array", [], "the body is a JSON object"),
    post("body as a string", '"x"', "the body is a JSON object"),
    post("body as null", "null", "the body is a JSON object"),
    post("unknown member", {"cloud": 5}, "unknown member 'cloud'"),
    post("misspelt member", {"sortBy": []}, "did you mean 'sortby'?"),
)

HOSTS = (
    get("Host of two words", "/", "the Host header 'a b'", hosts=("a b",)),
    get("Host with a path", "/search", "the Host header 'a/b'", hosts=("a/b",)),
    get("Host with a user", "/search", "the Host header 'user@host'", hosts=("user@host",)),
    get("Host with an open bracket", "/search", "the Host header '[::1'", hosts=("[::1",)),
    get("Host with a port of letters", "/search", "the Host header 'host:http'", hosts=("host:http",)),
    get("Host in markup", "/collections", "the Host header '<b>'", hosts=("<b>",)),
    get("Host not in ASCII", "/search", "the Host header 'ÿ'", hosts=("ÿ",)),
    get("no Host", "/search", "Host", hosts=()),
    get("two Hosts", "/search", "Host", hosts=("a", "b")),
    get("forwarded protocol", "/", "the forwarded protocol 'ftp'", headers={"X-Forwarded-Proto": "ftp"}),
    get("forwarded host", "/", "the Host header 'a b'", headers={"Forwarded": 'host="a b"'}),
    get("forwarded prefix", "/", "the forwarded prefix '//evil'", headers={"X-Forwarded-Prefix": "//evil"}),
)

ROWS: tuple[Wrong, ...] = (
    *QUERY_STRING, *LIMIT, *IDS, *BBOX, *INTERSECTS, *DATETIME, *QUERY, *FILTER_TEXT, *FILTER_JSON, *FILTER_LANGUAGE,
    *SORTBY, *FIELDS, *TOKEN, *COUNT, *PATHS, *PATH_ENCODING, *METHODS, *MEDIA_TYPES, *SIZES, *BODIES, *HOSTS,
)  # fmt: skip

# What the HTTP parser refuses itself, in plain text, before there is a request to answer.
UNPARSABLE = {
    "NUL in the target": b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
    "tab in the target": b"GET /sea\trch HTTP/1.1\r\nHost: x\r\n\r\n",
    "space in the target": b"GET /sea rch HTTP/1.1\r\nHost: x\r\n\r\n",
    "DEL in the target": b"GET /search?ids=\x7f HTTP/1.1\r\nHost: x\r\n\r\n",
    "raw UTF-8 in the target": "GET /search?ids=é HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
    "target without a slash": b"GET search HTTP/1.1\r\nHost: x\r\n\r\n",
    "target of 70,000 bytes": b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "unknown method": b"FETCH / HTTP/1.1\r\nHost: x\r\n\r\n",
    "unknown version": b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    "no HTTP at all": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
    "header without a name": b"GET / HTTP/1.1\r\nHost: x\r\n: y\r\n\r\n",
    "header with a space in its name": b"GET / HTTP/1.1\r\nHost: x\r\nA B: c\r\n\r\n",
    "header with a NUL": b"GET / HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
    "length in words": b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Length: two\r\n\r\n{}",
    "length below zero": b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
    "two lengths": b"POST /search HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "length and chunks": b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}",
    "chunk of a wrong size": b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
}


def exchange(server: Server, raw: bytes, method: str = "GET") -> Answer:
    """Send bytes as they are, and read one answer."""
    address = urlsplit(server.url)
    with socket.create_connection((address.hostname or "", address.port or 80), timeout=30) as connection:
        connection.sendall(raw)
        with closing(http.client.HTTPResponse(connection, method=method)) as answer:
            answer.begin()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())


def next_token(server: Server, path: str) -> str:
    href: str = next(link["href"] for link in server.get(path).json()["links"] if link["rel"] == "next")
    return parse_qs(urlsplit(href).query)["token"][0]


@pytest.fixture(scope="session")
def tokens(samples: Server, demo: Server) -> dict[str, str]:
    """Real tokens, and what can be made of them."""
    token = next_token(samples, "/search?limit=2")
    return {
        "<next>": token,
        "<changed>": token[:30] + ("A" if token[30] != "A" else "B") + token[31:],
        "<short>": token[:-4],
        "<foreign>": next_token(demo, "/search?limit=2"),
        "<collections>": next_token(samples, "/collections?limit=2"),
    }


def filled(row: Wrong, tokens: dict[str, str]) -> Wrong:
    """The row with real tokens in it."""
    for name, token in tokens.items():
        if name in row.target or name.encode() in row.body[:1000]:
            body = row.body.replace(name.encode(), token.encode())
            row = replace(row, target=row.target.replace(name, token), body=body)
    return row


def params(rows: tuple[Wrong, ...]) -> list[Any]:
    return [pytest.param(row, id=row.name) for row in rows]


@pytest.mark.parametrize("row", params(ROWS))
def test_a_wrong_request_gets_a_problem_that_names_the_fault(
    row: Wrong, samples: Server, tokens: dict[str, str]
) -> None:
    row = filled(row, tokens)
    answer = exchange(samples, row.raw())
    assert answer.status == row.status, answer.body[:500]
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem.keys() - {"at"} == MEMBERS
    assert (problem["status"], problem["code"]) == (row.status, row.code)
    assert problem["type"] == f"urn:swath:error:{row.code}"
    assert problem["title"] == HTTPStatus(row.status).phrase
    assert problem["instance"] == row.target.partition("?")[0]
    assert problem["description"] == problem["detail"] == problem["message"] == problem["details"]
    assert row.says in problem["description"]
    if row.at is not None:
        assert (problem["at"], type(problem["at"])) == (row.at, type(row.at))
    if row.code != "InvalidFilter":
        assert "at" not in problem
    assert set(filter(None, answer.headers.get("allow", "").split(", "))) == row.allow
    assert samples.get("/health/live").status == 200


def test_the_table_of_wrong_requests_is_long_and_its_names_are_unique() -> None:
    assert len(ROWS) >= 110
    assert len({row.name for row in ROWS}) == len(ROWS)


def test_the_table_has_every_search_parameter_by_get_and_by_post(samples: Server) -> None:
    operations = samples.get("/api").json()
    by_get = {parameter["name"] for parameter in operations["paths"]["/search"]["get"]["parameters"]}
    by_post = set(operations["components"]["schemas"]["search"]["properties"])
    targets = [row.target for row in ROWS if row.method == "GET"]
    bodies = [row.body for row in ROWS if row.method == "POST"]
    without_rows_by_get = {name for name in by_get if not any(f"{name}=" in target for target in targets)}
    without_rows_by_post = {name for name in by_post if not any(f'"{name}":'.encode() in body for body in bodies)}
    assert without_rows_by_get == {"fields"}  # any text names fields; unknown ones are ignored
    assert without_rows_by_post == set()


@pytest.mark.parametrize("raw", UNPARSABLE.values(), ids=UNPARSABLE.keys())
def test_what_is_not_http_is_refused_by_the_parser(raw: bytes, samples: Server) -> None:
    answer = exchange(samples, raw)
    assert answer.status == 400
    assert answer.body == b"Invalid HTTP request received."
    assert samples.get("/health/live").status == 200


def test_a_wrong_head_request_gets_the_status_without_a_body(samples: Server) -> None:
    for target, status in (("/search?limit=0", 400), ("/collections/nope", 404), ("/nope", 404)):
        answer = exchange(samples, f"HEAD {target} HTTP/1.1\r\nHost: x\r\n\r\n".encode(), "HEAD")
        assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json")
        assert answer.body == b""
        assert int(answer.headers["content-length"]) == len(samples.get(target).body)


def test_a_connection_goes_on_after_a_wrong_request(samples: Server) -> None:
    address = urlsplit(samples.url)
    with closing(http.client.HTTPConnection(address.hostname or "", address.port, timeout=30)) as connection:
        for method, target, body in (("GET", "/search?limit=0", b""), ("POST", "/search", _TOO_MANY_BYTES)):
            connection.request(method, target, body, {"Content-Type": JSON})
            used = connection.sock
            assert connection.getresponse().read().startswith(b'{"type":"urn:swath:error:')
            connection.request("GET", "/conformance")
            answer = connection.getresponse()
            assert (answer.status, connection.sock) == (200, used)
            answer.read()


@pytest.mark.parametrize("operand", ["1e999", "-1e999", "9" * 400], ids=["1e999", "-1e999", "400 digits"])
def test_a_string_of_a_number_that_no_float_holds_is_no_fault_of_the_server(operand: str, samples: Server) -> None:
    for operator in ("lt", "gt"):
        assert samples.post("/search", {"query": {"eo:cloud_cover": {operator: operand}}}).status in (200, 400)

"""Hostile filters: each is answered, soon and in little memory, and the server lives on.

Time is not asserted here but measured, by `benchmarks.hostile`. What is asserted is work: how many calls a reader
makes grows no faster than its input.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from swath.cql2.json import parse_json
from swath.cql2.text import parse_text
from swath.errors import InvalidRequest
from swath.http.params import search_from_body
from swath.limits import LIMITS
from tests.conftest import ROOT, Answer, Server, make_item, run_swath, start_server
from tests.hostile import JSON, TEXT, bow_ties, ring, spatial

SIZES = (1_000, 8_000, 64_000, 1_000_000)
STEPS = (1_000, 8_000, 64_000)
MEMORY_MB = 64
MOST_ANSWERED = 10_000  # bytes of a refusal: it does not give the input back

# Kinds that are right and are answered as such when they are small; all others are refused.
RIGHT = {
    "text": frozenset((
        "spaces", "parentheses side by side", "array of arrays", "long array", "chain of CASEI", "ANDs",
        "ANDs of comparisons", "ORs", "AND and OR in turn", "long IN list", "many IN lists",
        "IN list of strings", "IN list of sums", "BETWEEN chain", "IS NULL chain", "LIKE of percent signs",
        "LIKE of many parts", "LIKE of underscores", "LIKE of backslashes", "LIKE on a long string",
        "many LIKEs", "long string", "string of quotes", "string of escapes", "long name", "long quoted name",
        "many names", "number of many zeros", "number of many zeros behind",
        "number of a long exponent of zeros", "letters beyond ASCII", "names beyond ASCII", "astral characters",
        "combining characters", "combining characters compared", "letters that fold to more",
        "letters that decompose", "WKT line", "WKT lines that cross", "WKT polygon", "WKT of many points",
        "WKT of overlapping members", "WKT nested collections", "WKT of long numbers", "many geometries",
        "many BBOXes", "INTERVAL of long fractions", "many INTERVALs",
    )),
    "JSON": frozenset((
        "nested nots", "nested ands", "nested sums", "nested casei", "ands", "ors of comparisons", "long list",
        "long list of sums", "list of large sums", "long array", "array of empty arrays", "long property name",
        "long string", "string of escapes", "string of combining characters", "folded string", "names with NUL",
        "LIKE of percent signs", "LIKE on a long string", "number of many digits behind",
        "numbers of 300 digits", "minus zero", "polygon", "line scribbled",
        "points", "nested collections", "nested collections behind brackets in strings", "collection of points",
        "geometry with other members", "bbox of long numbers",
    )),
}  # fmt: skip


def filter_body(form: str, made: str) -> bytes:
    if form == "text":
        return json.dumps({"filter": made, "filter-lang": "cql2-text"}, ensure_ascii=False).encode()
    return b'{"filter":' + made.encode() + b"}"


def post(server: Server, body: bytes) -> Answer:
    return server.request("POST", "/search", body, {"Content-Type": "application/json"})


def check(answer: Answer, form: str, made: str) -> None:
    """A right answer, or a problem that says where the fault is and is short."""
    assert answer.status in (200, 400), answer.body[:500]
    if answer.status == 200:
        return
    assert answer.headers["content-type"] == "application/problem+json"
    problem = answer.json()
    assert problem["status"] == 400
    assert problem["code"] in ("InvalidFilter", "InvalidParameter")
    assert ("at" in problem) == (problem["code"] == "InvalidFilter")
    if form == "text":
        assert problem["code"] == "InvalidFilter"
        assert 0 <= problem["at"] <= len(made)
    elif "at" in problem:
        assert problem["at"][:1] in ("", "/")
    assert len(answer.body) < MOST_ANSWERED, f"{len(answer.body):,} bytes of refusal"


@contextmanager
def little_memory(server: Server) -> Iterator[None]:
    """What is asked within costs the server less than so many MB beyond what it holds before."""
    Path(f"/proc/{server.process.pid}/clear_refs").write_text("5")  # the peak begins anew (proc_pid_clear_refs(5))
    held = memory(server, "VmRSS")
    yield
    grown = memory(server, "VmHWM") - held
    assert grown < MEMORY_MB, f"{grown:.0f} MB"


def memory(server: Server, name: str) -> float:
    lines = Path(f"/proc/{server.process.pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def start(folder: Path) -> Server:
    """A server of a few items with a value of every kind."""
    source = folder / "items.ndjson"
    items = [make_item(f"item-{n}", a=n, b=n / 2, s=f"text {n}", l=[n, [str(n)]]) for n in range(20)]
    source.write_text("".join(json.dumps(item) + "\n" for item in items))
    done = run_swath("load", folder / "catalog", source)
    assert done.returncode == 0, done.stderr
    return start_server(["serve", str(folder / "catalog"), "--port", "0"])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = start(tmp_path_factory.mktemp("hostile"))
    for made in ("a=1", "S_INTERSECTS(geometry,POINT(1 1))", "CASEI(s) LIKE 'x%'"):
        assert post(server, filter_body("text", made)).status == 200
    yield server
    server.stop()


def kinds() -> list[Any]:
    """Every kind in both forms."""
    return [
        pytest.param(form, name, id=f"{form}: {name}")
        for form, table in (("text", TEXT), ("JSON", JSON))
        for name in table
    ]


def make(form: str, name: str, size: int) -> str:
    return (TEXT if form == "text" else JSON)[name](size)


@pytest.mark.parametrize(("form", "name"), kinds())
def test_a_hostile_filter_is_answered(form: str, name: str, server: Server) -> None:
    for size in SIZES:
        made = make(form, name, size)
        with little_memory(server):
            answer = post(server, filter_body(form, made))
        check(answer, form, made)
        if size == SIZES[0]:
            assert answer.status == (200 if name in RIGHT[form] else 400), answer.body[:300]
        if form == "text" and len(made) > LIMITS.filter_text_bytes:
            assert answer.json()["at"] == 0
        language = "cql2-text" if form == "text" else "cql2-json"
        target = f"/search?filter-lang={language}&filter={quote(made, safe='')}"
        if len(target) <= LIMITS.query_text_bytes:
            by_get = server.get(target)
            assert (by_get.status, by_get.headers["content-type"]) == (answer.status, answer.headers["content-type"])
            if form == "text" and answer.status == 400:
                assert by_get.json()["at"] == answer.json()["at"]
    assert server.get("/health/live").status == 200


# -- single filters ------------------------------------------------------------------------------

BIG = "1" + "0" * 400


def compare(value: str) -> str:
    return f'{{"op":"=","args":[{value},1]}}'


def polygon(points: list[tuple[float, float]]) -> str:
    return spatial(json.dumps({"type": "Polygon", "coordinates": [points]}))


def call(name: str, argument: str) -> str:
    return compare(f'{{"op":"{name}","args":[{argument}]}}')


# Name: form, filter, the status.
SINGLE: dict[str, tuple[str, str, int]] = {
    "ceil of a number near the largest": ("text", "ceil(1.79e308) = 1", 200),
    "floor of a number near the largest": ("text", "floor(1.79e308) = 1", 200),
    "round of a number near the largest": ("text", "round(1.79e308) = 1", 200),
    "ceil of a number beyond the largest": ("JSON", call("ceil", BIG), 400),
    "round of a number beyond the largest": ("JSON", call("round", BIG), 400),
    "abs of a number beyond the largest": ("JSON", call("abs", BIG), 400),
    "sum of numbers near the largest": ("text", "a + 1.79e308 + 1.79e308 > 1", 200),
    "power without end": ("text", "9 ^ 9999999999 = a", 200),
    "root of a negative number": ("text", "(-1) ^ 0.5 = a", 200),
    "division by minus zero": ("text", "a / -0 = 1 OR a DIV 0 = 1 OR a % 0.0 = 1", 200),
    "least integer": ("text", "a = -9223372036854775808 OR abs(a - 9223372036854775808) > 0", 200),
    "NUL in a name": ("text", '"a\0b" = 1', 200),
    "NUL in a string": ("text", "s = 'a\0b' OR s LIKE '\0%'", 200),
    "NUL in a JSON name": ("JSON", compare('{"property":"\\u0000"}'), 200),
    "lone surrogate in JSON": ("JSON", compare('{"property":"\\udc00"}'), 400),
    "minus zero": ("JSON", compare("-0"), 200),
    "minus zero with a fraction": ("JSON", compare("-0.0"), 200),
    "NaN": ("JSON", compare("NaN"), 400),
    "NaN in text": ("text", "a = NaN AND a = Infinity", 200),  # two properties of these names
    "Infinity": ("JSON", compare("-Infinity"), 400),
    "1e999": ("JSON", compare("1e999"), 400),
    "point at NaN": ("text", "S_INTERSECTS(geometry,POINT(nan nan))", 400),
    "point at infinity": ("text", "S_INTERSECTS(geometry,POINT(inf -inf))", 400),
    "point at 1e999": ("text", "S_INTERSECTS(geometry,POINT(1e999 0))", 400),
    "points at NaN": ("text", "S_INTERSECTS(geometry,MULTIPOINT((nan 1),(1 nan)))", 400),
    "empty point": ("JSON", spatial('{"type":"Point","coordinates":[]}'), 200),
    "empty collection": ("JSON", spatial('{"type":"GeometryCollection","geometries":[]}'), 200),
    "point at 1e400 as an integer": ("JSON", spatial(f'{{"type":"Point","coordinates":[{BIG},0]}}'), 400),
    "polygon of 60,000 vertices": ("JSON", polygon(ring(60_000)), 400),
    "polygon of 9,999 vertices": ("JSON", polygon(ring(9_998)), 200),
    "polygon of 10,000 bow ties": ("JSON", polygon(bow_ties(20_000)), 400),
    "polygon of 4,990 bow ties": ("JSON", polygon(bow_ties(9_980)), 400),
    "years that are not there": ("text", "datetime > TIMESTAMP('0000-01-01T00:00:00+23:59')", 400),
    "hole beyond the world": ("JSON", spatial('{"type":"Polygon","coordinates":[[[0,0],[9,0],[9,9],[0,9],[0,0]],'
                                              '[[1,1],[2,1],[2,1e308],[1,2],[1,1]]]}'), 400),
    "duplicate keys": ("JSON", '{"op":"=","args":[1,1],"args":[1,2]}', 400),
    "duplicate keys in a geometry": ("JSON", spatial('{"type":"Point","coordinates":[1,1],"coordinates":[2,2]}'), 400),
    "duplicate keys, one escaped": ("JSON", '{"op":"=","args":[1,1],"\\u0061rgs":[1,2]}', 400),
    "IS NULL of a geometry": ("text", "POINT(0 0) IS NULL OR BBOX(0,0,1,1) IS NULL", 200),
    "right-to-left marks": ("text", "\"\u202ea\" = '\u202e' OR \"\u2066\" IS NULL", 200),
    "100,000 ANDs": ("text", " AND ".join(["a=1"] * 100_000), 400),
    "100,000 ANDs in JSON": ("JSON", '{"op":"and","args":[' + ",".join(["true"] * 100_000) + "]}", 400),
    "300 sums": ("text", "a" + "+1" * 300 + "=1", 400),
    "60 sums": ("text", "a" + "+1" * 60 + "=1", 200),
}  # fmt: skip


@pytest.mark.parametrize(("form", "made", "status"), SINGLE.values(), ids=SINGLE)
def test_an_odd_filter_is_answered(form: str, made: str, status: int, server: Server) -> None:
    answer = post(server, filter_body(form, made))
    assert answer.status == status, answer.body[:500]
    check(answer, form, made)
    assert server.get("/health/live").status == 200


@pytest.mark.parametrize("escape", ["1", '"\\u0041"'])
def test_nesting_is_counted_right_beside_brackets_in_strings(escape: str, server: Server) -> None:
    for depth in (201, 500, *range(900, 1_010, 2)):
        nested = '["]",' * depth + escape + "]" * depth
        answer = post(server, filter_body("JSON", spatial('{"type":"Point","coordinates":[1,1],"x":' + nested + "}")))
        assert answer.status == 400, (depth, answer.body[:300])
        assert "nested" in answer.json()["description"]


def test_a_name_of_nine_megabytes_is_not_repeated(tmp_path: Path) -> None:
    server = start(tmp_path)
    try:
        for member in ("op", "property", "date"):
            made = f'{{"op":"=","args":[{{"{member}":"{"x" * 9_000_000}"}},1]}}'
            with little_memory(server):
                answer = post(server, filter_body("JSON", made))
            assert answer.status == (200 if member == "property" else 400)
            assert len(answer.body) < MOST_ANSWERED or member == "property"
    finally:
        server.stop()


# -- work ----------------------------------------------------------------------------------------


def count_calls(read: Callable[[], object]) -> int:
    """How many functions are called, in Python and in C, until a filter is read or refused."""
    calls = 0

    def count(_frame: Any, event: str, _argument: Any) -> None:
        nonlocal calls
        calls += event in ("call", "c_call")

    sys.setprofile(count)
    try:
        read()
    except InvalidRequest:
        pass
    finally:
        sys.setprofile(None)
    return calls


def reader(form: str, made: str) -> Callable[[], object]:
    if form == "text":
        return lambda: parse_text(made)
    body = filter_body(form, made)

    def read() -> object:
        request, _ = search_from_body(body)
        return parse_json(request.filter)

    return read


@pytest.mark.parametrize(("form", "name"), kinds())
def test_the_work_of_a_reader_grows_no_faster_than_its_input(form: str, name: str) -> None:
    inputs = [make(form, name, size) for size in STEPS]
    counts = [count_calls(reader(form, made)) for made in inputs]
    for (small, large), (few, many) in zip(pairwise(inputs), pairwise(counts), strict=True):
        ratio = len(large.encode()) / len(small.encode())
        assert many <= 1.3 * max(ratio, 1) * max(few, 600), (counts, [len(made) for made in inputs])


# -- fuzzing -------------------------------------------------------------------------------------


def test_a_short_run_of_the_fuzzer_finds_nothing() -> None:
    seconds = 60
    command = [sys.executable, "-m", "tests.fuzz_filters", "--seconds", str(seconds), "--seed", "1"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=seconds + 120)
    print(done.stdout[-2_000:])
    assert done.returncode == 0, done.stdout[-8_000:] + done.stderr[-2_000:]
    ran = int(done.stdout.split(" inputs")[0].rpartition("\n")[2].replace(",", ""))
    assert ran > 1_000

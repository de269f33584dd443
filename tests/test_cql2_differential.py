"""Our readers and evaluator against two others, PyPI's cql2 and pycql2: every difference is on a short list.

The others can hang or crash, so each runs in a process of its own with a time limit for every question.
Inputs: the filters of the standard's test suite, in both encodings, and random trees as we print them.
"""

from __future__ import annotations

import itertools
import json
import re
import select
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, field, fields, replace
from multiprocessing import get_context
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, given, settings

import swath
from swath.cql2 import ast
from swath.cql2.emit import to_json, to_text
from swath.cql2.json import parse_json
from swath.cql2.text import parse_text
from swath.errors import InvalidFilter
from swath.session import Session
from tests.conftest import long
from tests.test_cql2_acceptance import CASES, LAYERS, layer_as_items
from tests.test_cql2_round_trip import trees

# -- the others, each in its own process ---------------------------------------------------------------------

SCRIPT = r"""
import json, sys

def cql2(question, items):
    from cql2 import Expr
    expression = Expr(question["filter"])
    answer = {"json": expression.to_json()}
    if "collection" in question:
        answer["matches"] = [matches(expression, item) for item in items[question["collection"]]]
    return answer

def matches(expression, item):
    try:
        return expression.matches(item)
    except Exception:
        return None

def pycql2(question, items):
    from pycql2.cql2_transformer import parser, transformer
    return {"json": json.loads(transformer.transform(parser.parse(question["filter"])).model_dump_json())}

ask = {"cql2": cql2, "pycql2": pycql2}[sys.argv[1]]
items = json.loads(sys.stdin.readline())
for line in sys.stdin:
    try:
        answer = ask(json.loads(line), items)
    except BaseException as error:
        answer = {"refused": f"{type(error).__name__}: {error}"[:300]}
    print(json.dumps(answer), flush=True)
"""


@dataclass
class Other:
    """Another implementation. `ask` gives its answer, or how it failed to give one."""

    name: str
    items: dict[str, list[Any]] = field(default_factory=dict)
    seconds: float = 10.0
    process: subprocess.Popen[bytes] | None = None

    def ask(self, question: dict[str, Any]) -> dict[str, Any]:
        process = self.process or self.start()
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(json.dumps(question).encode() + b"\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], self.seconds)
        line = process.stdout.readline() if ready else b""
        if not line:  # start again behind the one that it did not survive
            self.stop()
            return {"refused": "crash" if ready else "time is up"}
        answer: dict[str, Any] = json.loads(line)
        return answer

    def start(self) -> subprocess.Popen[bytes]:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT, self.name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
        )
        assert self.process.stdin is not None
        self.process.stdin.write(json.dumps(self.items).encode() + b"\n")
        return self.process

    def stop(self) -> None:
        if self.process:
            self.process.kill()
            self.process.communicate()
            self.process = None


# -- what is asked -------------------------------------------------------------------------------------------

PLACES, COUNTRIES, RIVERS = LAYERS[1], LAYERS[0], LAYERS[2]
HOMES = {"name": "name", "number": "pop_max", "instant": "start", "geometry": "geometry", "array": "tags",
         "boolean": "boolean"}  # fmt: skip

KIND_WITHIN: tuple[tuple[tuple[type[ast.Node], ...], str], ...] = (
    ((ast.Arithmetic,), "number"),
    ((ast.Spatial,), "geometry"),
    ((ast.Temporal, ast.Interval), "instant"),
    ((ast.ArrayPredicate,), "array"),
    ((ast.Fold, ast.Function, ast.In, ast.IsNull), "name"),
)
PLAIN = re.compile(r"[^A-Za-zäöüß%_ ]")


def tame(node: Any, kind: str = "name") -> Any:
    """The tree with names that the places have, each of the kind that stands there, and with plain strings."""
    match node:
        case ast.Property():
            return ast.Property(HOMES[kind])
        case ast.Text(value):
            return ast.Text(PLAIN.sub("", value))
        case ast.Like():
            return ast.Like(tame(node.value), PLAIN.sub("", node.pattern))
    inner = next((name for kinds, name in KIND_WITHIN if isinstance(node, kinds)), kind)
    if isinstance(node, ast.Comparison | ast.Between):
        inner = kind_of(node)
    changes: dict[str, Any] = {}
    for part in fields(node):
        value = getattr(node, part.name)
        if isinstance(value, ast.Node):
            changes[part.name] = tame(value, inner)
        elif isinstance(value, tuple):
            changes[part.name] = tuple(tame(each, inner) for each in value)
    return replace(node, **changes) if changes else node


def kind_of(node: Any) -> str:
    """What kind of values a comparison is about."""
    for part in fields(node):
        match getattr(node, part.name):
            case ast.Number() | ast.Arithmetic() | ast.Function("length"):
                return "number"
            case ast.Timestamp() | ast.DateLiteral():
                return "instant"
            case ast.Boolean():
                return "boolean"
    return "name"


def random_trees(count: int) -> list[Any]:
    """Random trees of the round-trip tests, the same in each run.

    Hypothesis draws from the constants of all modules that a process holds, too: a new process holds the same ones
    whatever other tests run.
    """
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(_random_trees, count).result()


def _random_trees(count: int) -> list[Any]:
    found: dict[Any, None] = {}

    @settings(max_examples=count, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True,
              database=None, phases=[Phase.generate])  # fmt: skip
    @given(trees)
    def collect(tree: Any) -> None:
        found.setdefault(tree)

    collect()
    return list(found)


def spread(texts: dict[str, str], count: int) -> list[str]:
    """So many of the texts, from each class in turn."""
    classes: dict[str, list[str]] = {}
    for text, name in texts.items():
        classes.setdefault(name, []).append(text)
    for name, members in classes.items():  # from all over the class
        classes[name] = members[:: max(1, len(members) * len(classes) // count)]
    longest = max(map(len, classes.values()))
    turns = [members[turn] for turn in range(longest) for members in classes.values() if turn < len(members)]
    return turns[:count]


SUITE = [case for case in CASES if case["kind"] in ("count", "template")]
SUITE_TEXTS = {case["filter_text"]: case["conformance_class"] for case in SUITE}

# -- how two answers differ ----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Difference:
    """`kind`: they refuse what we take, they take what we refuse, another tree, another answer about an item."""

    other: str
    kind: str
    asked: Any
    tree: Any = None
    theirs: Any = None
    item: Any = None

    @property
    def text(self) -> str:
        return self.asked if isinstance(self.asked, str) else json.dumps(self.asked, ensure_ascii=False)

    def has(self, *kinds: type[ast.Node]) -> bool:
        return self.tree is not None and any(isinstance(node, kinds) for node in ast.walk(self.tree))


@dataclass(frozen=True)
class Known:
    """An entry of the list. Clauses are of shared/reference/cql2.md; `probe` is a row of its section 2."""

    other: str
    kind: str
    reason: str
    applies: Callable[[Difference], bool]


def read(filter_: Any) -> Any:
    """Our tree, or None where we refuse."""
    try:
        return parse_text(filter_) if isinstance(filter_, str) else parse_json(filter_)
    except InvalidFilter:
        return None


def compare(other: Other, asked: Any) -> tuple[Difference | None, dict[str, Any]]:
    """Does the other take it if and only if we do, and read the same tree? Its answer, too."""
    answer = other.ask({"filter": asked})
    tree = read(asked)
    if "refused" in answer:
        kind = "they refuse" if tree is not None else None
    elif tree is None:
        kind = "they take"
    else:  # through our own reader, so that differences of spelling vanish
        kind = None if read(answer["json"]) == tree else "tree"
    found = Difference(other.name, kind, asked, tree, answer.get("json", answer)) if kind else None
    return found, answer


def rewritten(value: Any, *rules: Callable[[Any], Any]) -> Any:
    """The JSON form with each rule applied to each of its parts, inner parts first."""
    if isinstance(value, dict):
        value = {key: rewritten(part, *rules) for key, part in value.items()}
    elif isinstance(value, list):
        value = [rewritten(part, *rules) for part in value]
    for rule in rules:
        value = rule(value)
    return value


def to_float(value: Any) -> Any:
    return float(value) if isinstance(value, int) and not isinstance(value, bool) else value


def rounded(value: Any) -> Any:
    return float(f"{value:.14g}") if isinstance(value, float) else value


def double_backslash(value: Any) -> Any:
    return value.replace("\\", "\\\\") if isinstance(value, str) else value


def without_single_brackets(value: Any) -> Any:
    """An array within an array, without its brackets where it has one member; an array as the only member, too."""
    if isinstance(value, dict) and str(value.get("op")).startswith("a_"):
        return {**value, "args": [_unwrapped(arg) for arg in value["args"]]}
    return value


def _unwrapped(value: Any) -> Any:
    if not isinstance(value, list):
        return value
    members = [_unwrapped(part) for part in value]
    members = [part[0] if isinstance(part, list) and len(part) == 1 else part for part in members]
    return members[0] if len(members) == 1 and isinstance(members[0], list) else members


def respelled(value: Any) -> Any:
    """A draft's {"function": {"name", "args"}} as the standard's {"op", "args"}."""
    if isinstance(value, dict) and "function" in value:
        name, args = value["function"]["name"].lower(), value["function"]["args"]
        return {name: args[0]} if name in ("timestamp", "date") else {"op": name, "args": args}
    return value


def becomes_theirs(*rules: Callable[[Any], Any]) -> Callable[[Difference], bool]:
    """Whether our tree becomes theirs by these rules, and not without each of them."""

    def applies(found: Difference) -> bool:
        ours, theirs = to_json(found.tree), rewritten(found.theirs, respelled)
        canonical = read(theirs)
        theirs = to_json(canonical) if canonical is not None else theirs

        def same(some: Sequence[Callable[[Any], Any]]) -> bool:
            return bool(
                rewritten(ours, *some) == rewritten(theirs, *(rule for rule in some if rule in (to_float, rounded)))
            )

        return same(rules) and not any(same([rule for rule in rules if rule is not left]) for left in rules)

    return applies


def holds_logic(value: Any) -> bool:
    """Whether NOT, AND or OR stands in their tree where a value belongs."""
    if isinstance(value, list):
        return any(map(holds_logic, value))
    if not isinstance(value, dict):
        return False
    args = value.get("args", [])
    logical = ("and", "or", "not")
    here = value.get("op") not in (*logical, None) and any(
        isinstance(arg, dict) and arg.get("op") in logical for arg in args
    )
    return here or any(map(holds_logic, value.values()))


def has_wide_integer(found: Difference) -> bool:
    return any(
        isinstance(node, ast.Number) and isinstance(node.value, int) and not -(2**63) <= node.value < 2**64
        for node in ast.walk(found.tree)
    )


def has_exponent(found: Difference) -> bool:
    return re.search(r"[(,] ?(-?[\d.]+ )*-?[\d.]+e", found.text) is not None


def has_empty_array(found: Difference) -> bool:
    return any(isinstance(node, ast.ArrayLiteral) and not node.items for node in ast.walk(found.tree))


KNOWN = (
    Known("cql2", "they take", "takes coordinates out of range (3.1, 4.5)",
          lambda d: "[90.0, 180.0]" in json.dumps(d.theirs)),
    Known("cql2", "they refuse", "knows no empty array in text (probe 184)",
          lambda d: isinstance(d.asked, str) and has_empty_array(d)),
    Known("cql2", "they refuse", "no names that begin with _ without quotes (probe 129)",
          lambda d: isinstance(d.asked, str) and re.search(r"(?<![\w\"])_\w*", d.text) is not None),
    Known("cql2", "they refuse", "no coordinates with an exponent in text (new; the BNF has them)",
          lambda d: isinstance(d.asked, str) and has_exponent(d)),
    Known("cql2", "tree", "calculates with coordinates with an exponent in text (new; the BNF has them)",
          lambda d: has_exponent(d) and re.search(r"'op': '[A-Z]+'", str(d.theirs)) is not None),
    Known("cql2", "they refuse", "no JSON integers of more than 64 bits (new; 4.3 wants 64)",
          lambda d: not isinstance(d.asked, str) and has_wide_integer(d)),
    Known("cql2", "tree", r"keeps both characters of \\ (probe 139)", becomes_theirs(double_backslash)),
    Known("cql2", "tree", "rounds integers to binary64 (probe 95, 166)", becomes_theirs(to_float)),
    Known("cql2", "tree", "takes the brackets of an array's only member for grouping (new; 4.6)",
          becomes_theirs(without_single_brackets)),
    Known("cql2", "tree", "reads the last digit of a coordinate otherwise (new)", becomes_theirs(rounded)),
    Known("cql2", "tree", "two of these in one filter",
          lambda d: any(becomes_theirs(*rules)(d) for count in (2, 3, 4) for rules in itertools.combinations(
              (double_backslash, to_float, without_single_brackets, rounded), count))),
    Known("pycql2", "they take", "takes coordinates out of range (4.5)",
          lambda d: "[90.0, 180.0]" in json.dumps(d.theirs)),
    Known("pycql2", "they refuse", "has no year 0 (new; Python's datetime)",
          lambda d: "year 0 is out of range" in d.theirs["refused"]),
    Known("pycql2", "tree", r"keeps both characters of \\ (section 2, 139)", becomes_theirs(double_backslash)),
    Known("pycql2", "tree", "reads a name that begins with not, and, or in two parts (new)",
          lambda d: re.search(r"\b(?:not|and|or)\w", d.text, re.IGNORECASE) is not None),
    Known("pycql2", "tree", "rounds integers to binary64", becomes_theirs(to_float)),
    Known("pycql2", "tree", "takes NOT, AND, OR before a call for a part of its operand (new; precedence of section 5)",
          lambda d: holds_logic(d.theirs)),
)  # fmt: skip


def explain(differences: Sequence[Difference], known: Sequence[Known], ran: str) -> None:
    """Count by reason. Fail on a difference without one, and on a reason without a difference."""
    reasons: Counter[str] = Counter()
    unexplained = []
    for found in differences:
        for entry in known:
            if (entry.other, entry.kind) == (found.other, found.kind) and entry.applies(found):
                reasons[entry.reason] += 1
                break
        else:
            unexplained.append((found.kind, found.text[:300], found.theirs, found.item))
    print(f"{ran}, {len(differences)} differ")
    for reason, count in reasons.most_common():
        print(f"  {count:5} {reason}")
    assert unexplained == []
    assert [entry.reason for entry in known if not reasons[entry.reason]] == []


def test_the_others_may_hang_or_crash() -> None:
    other = Other("cql2", seconds=1.0)
    assert other.ask({"filter": "(" * 40})["refused"] == "time is up"
    assert other.ask({"filter": "NOT " * 10_000 + "TRUE"})["refused"] == "crash"
    assert other.ask({"filter": "TRUE"}) == {"json": True}
    other.stop()


# One for each entry of the list, so that none of them hangs on what the random trees happen to hold.
WIDE, NESTED = "pop_max = 36893488147419103233", "A_CONTAINS(tags, (('a', 'b')))"
FOR_CQL2 = (WIDE, NESTED, f"{NESTED} AND {WIDE}", "_z = 1", "A_EQUALS(tags, ())",
            "S_INTERSECTS(geometry, POINT(-15.684826999999999 1))",
            "S_INTERSECTS(geometry, POINT(0 1e-06))", "S_INTERSECTS(geometry, POINT(1e-06 -1))",
            f"{NESTED} AND name = '\\\\'",
            {"op": "=", "args": [{"property": "pop_max"}, 10**40]})  # fmt: skip
FOR_PYCQL2 = (WIDE, "note like '%'", "lower(name) = 'a'", "NOT lower(name) IS NULL", r"name LIKE '\\\\%'",
              "start > DATE('0000-01-01')", "S_INTERSECTS(geometry, POINT(90 180))")  # fmt: skip
ABOUT_ITEMS = (NESTED, "lower(name) IS NULL", "T_METBY(start, INTERVAL(start, '1950-12-25'))", "pop_max / 0 > 5")


def test_cql2_reads_what_we_read() -> None:
    ours = random_trees(long(400, 5_000))
    asked: list[Any] = [*SUITE_TEXTS, *(case["filter_json"] for case in SUITE)]
    asked += [to_text(tame(tree)) for tree in ours] + [to_json(tree) for tree in ours]
    # Some names as they are: those that do not hold what the standard's grammar has no place for.
    asked += [text for text in map(to_text, ours) if text.isprintable()]
    asked += FOR_CQL2
    other = Other("cql2")
    differences = [found for filter_ in asked if (found := compare(other, filter_)[0])]
    other.stop()
    explain(differences, [entry for entry in KNOWN if entry.other == "cql2"], f"cql2: {len(asked)} filters")


def test_pycql2_reads_what_we_read() -> None:
    """It takes some 70 ms a text, and much more for a long one."""
    ours = [text for tree in random_trees(long(200, 4_000)) if len(text := to_text(tame(tree))) < 200]
    asked = [*spread(SUITE_TEXTS, long(70, 2_165)), *list(dict.fromkeys(ours))[: long(30, 1_000)]]
    asked += FOR_PYCQL2
    other = Other("pycql2", seconds=20)
    differences = [found for filter_ in asked if (found := compare(other, filter_)[0])]
    other.stop()
    explain(differences, [entry for entry in KNOWN if entry.other == "pycql2"], f"pycql2: {len(asked)} filters")


# -- the same items ------------------------------------------------------------------------------------------


def crosses_antimeridian(found: Difference) -> bool:
    return any(isinstance(node, ast.BBoxLiteral) and node.west > node.east for node in ast.walk(found.tree))


def lists_instants(found: Difference) -> bool:
    return any(
        isinstance(node, ast.In) and any(isinstance(item, ast.Timestamp | ast.DateLiteral) for item in node.items)
        for node in ast.walk(found.tree)
    )


MATCHES = (
    Known("cql2", "answer", "swaps the corners of a box over the antimeridian (3.1)", crosses_antimeridian),
    Known("cql2", "answer", "compares instants in IN as text (3.1)", lists_instants),
    Known("cql2", "answer", "takes the brackets of an array's only member for grouping (new; 4.6)",
          lambda d: d.has(ast.ArrayPredicate) and to_json(d.tree) != d.theirs["json"]),
    Known("cql2", "answer", "calculates with an interval that a property ends before it starts; ours is NULL (new)",
          lambda d: d.has(ast.Interval) and d.theirs["ours"] is None),
    Known("cql2", "answer", "goes on calculating with what is not finite; ours is NULL (3.1)",
          lambda d: d.has(ast.Arithmetic) and (d.theirs["ours"] is None or d.has(ast.IsNull))),
    Known("cql2", "answer", "knows no functions and calls them NULL, where it does not raise (3.1)",
          lambda d: d.has(ast.Function) and d.has(ast.IsNull)),
)  # fmt: skip


def some_items() -> dict[str, list[dict[str, Any]]]:
    """About 40 of the suite's features: the smallest shapes, and the three places that have dates."""
    chosen = {}
    for name in LAYERS:
        items = list(layer_as_items(name))
        items.sort(key=lambda item: (item["properties"].get("start") is None, len(json.dumps(item["geometry"]))))
        chosen[name] = items[:14]
    for number, item in enumerate(chosen[PLACES]):
        item["properties"]["tags"] = [["a", "b"], [], [True, False], ["", 0], [1.0]][number % 5]
    return chosen


def ours_about(session: Session, collection: str, filter_: Any, ids: list[str]) -> list[bool | None]:
    """TRUE, FALSE or NULL (None) for each item."""
    negated = f"NOT ({filter_})" if isinstance(filter_, str) else {"op": "not", "args": [filter_]}
    true = {item.id for item in session.search(collections=[collection], filter=filter_).stored()}
    false = {item.id for item in session.search(collections=[collection], filter=negated).stored()}
    return [True if name in true else False if name in false else None for name in ids]


def test_cql2_says_of_items_what_we_say(tmp_path_factory: pytest.TempPathFactory) -> None:
    chosen = some_items()
    suite = [case for number, case in enumerate(SUITE) if case["kind"] == "count" or number % long(3, 1) == 0]
    asked = {(case["collection"] or PLACES, re.sub(r"\bgeom\b", "geometry", case["filter_text"])) for case in suite}
    asked |= {(PLACES, to_text(tame(tree))) for tree in random_trees(long(400, 5_000))}
    asked |= {(PLACES, text) for text in ABOUT_ITEMS}
    other = Other("cql2", items=chosen)
    differences, counts = [], Counter[str]()
    with swath.open(tmp_path_factory.mktemp("differential") / "c", create=True) as session:
        assert session.write([item for items in chosen.values() for item in items]).refused == []
        for collection, text in sorted(asked):
            answer = other.ask({"filter": text, "collection": collection})
            if "refused" in answer or read(text) is None:
                counts["not read by both"] += 1
                continue
            items = chosen[collection]
            ours = ours_about(session, collection, text, [item["id"] for item in items])
            for item, mine, theirs in zip(items, ours, answer["matches"], strict=True):
                kind = "raises" if theirs is None else "equal" if mine is theirs else "differ"
                counts[kind] += 1
                if kind == "differ":
                    said = {"ours": mine, "theirs": theirs, "json": answer["json"]}
                    differences.append(Difference("cql2", "answer", text, read(text), said, item["id"]))
    other.stop()
    explain(differences, MATCHES, f"cql2: {len(asked)} filters about items, {dict(counts)}")

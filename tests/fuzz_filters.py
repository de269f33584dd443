"""Made-up filters for the two readers, until one of them stumbles.

    python -m tests.fuzz_filters --seconds 60 --seed 1
    python -m tests.fuzz_filters --count 10_000_000 --workers 2

Half are drawn from the grammar, half are acceptance-suite filters cut up; most are then damaged. A reader gives a
tree or InvalidRequest. A tree is printed, read again and evaluated. Anything else is a find: exit 1. Each input
depends on the seed and its number alone, so `--seed S --first N --count 1` makes it again.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import random
import re
import signal
import sys
import time
import traceback
import warnings
from dataclasses import dataclass, field
from queue import Empty
from typing import Any

import numpy as np
import shapely

from swath.catalog.request import build_search
from swath.cql2.ast import In, walk
from swath.cql2.bind import bind
from swath.cql2.emit import to_json, to_text
from swath.cql2.evaluate import Evaluator
from swath.cql2.frame import Frame
from swath.cql2.json import parse_json
from swath.cql2.text import parse_text
from swath.errors import InvalidFilter, InvalidRequest
from swath.http.params import search_from_body
from swath.store.columns.names import CollectionNames
from swath.store.columns.source import View
from swath.store.columns.tail import Tail
from swath.store.records import Change, Operation, Version
from tests.conftest import SHARED
from tests.filter_grammar import Grammar, Mutator, dump

HANGS_SECONDS = 20
# Text and JSON count depth and length differently: what one takes, the other may find too large.
_LIMIT_WORDS = ("nested deeper", "more than", "longer than")
_DIGITS = re.compile("[0-9]+")
_KEPT = 40  # distinct finds that --keep-going prints at most


class Find(Exception):
    """A tree that did not come back as it was, or an answer that makes no sense."""


def _make_frame() -> Frame:
    """A few items: every kind of value, a range in time, no footprint, nothing at all."""
    when = {"datetime": "2020-01-01T00:00:00Z"}
    every: tuple[tuple[dict[str, Any], str | None], ...] = (
        ({**when, "a": 1, "b": 2.5, "s": "Äpfel", "t": True, "l": [1, "x", None], "d": "2020-05-05"}, "POINT(1 2)"),
        ({**when, "a": "1", "b": -(2**63), "s": "", "t": "true", "l": [[1], {}], "d": "never"}, "LINESTRING(0 0,9 9)"),
        ({**when, "a": 1e308, "b": 2**63, "s": "x" * 50, "l": [], "o": {"p": 1}}, "POLYGON((0 0,9 0,9 9,0 0))"),
        ({"datetime": None, "start_datetime": "2019-01-01T00:00:00Z", "end_datetime": "2021-01-01T00:00:00Z"}, None),
        ({**when, "a": -0.0, "b": 0, "s": "e\u0301", "d": "2020-05-05T00:00:00+01:00"}, "POINT EMPTY"),
        ({**when, "a": None}, "MULTIPOLYGON(((-180 -9,-170 -9,-170 9,-180 -9)),((170 -9,180 -9,170 9,170 -9)))"),
    )  # fmt: skip
    changes = []
    for number, (properties, wkt) in enumerate(every, 1):
        shape = shapely.from_wkt(wkt) if wkt else None
        body = json.dumps(
            {"properties": properties, "geometry": json.loads(shapely.to_geojson(shape)) if wkt else None}
        )
        version = Version(number, Operation.PUT_ITEM, 1, f"item-{number}", None)
        changes.append(Change(version, body.encode(), shapely.to_wkb(shape) if wkt else None))
    tail = Tail()
    tail.append(changes)
    view = View(CollectionNames({1: "c"}), lambda _: np.array([], np.int64), tail.columns.__contains__)
    return tail.frame(slice(0, len(changes)), view)


FRAME = _make_frame()


def check_text(text: str) -> bool:
    """Whether a text is a filter. Raises for a find."""
    try:
        tree = parse_text(text)
    except InvalidFilter as error:
        if not isinstance(error.at, int) or not 0 <= error.at <= len(text):
            raise Find(f"the fault is said to be at {error.at!r}") from None
        return False
    _check_tree(tree)
    return True


def check_body(raw: bytes) -> bool:
    """Whether a body of POST /search is a search. It goes all the way that a request goes."""
    try:
        request, _ = search_from_body(raw)
        tree = parse_json(request.filter) if isinstance(request.filter, dict | bool) else None
        search = build_search(request)
    except InvalidFilter as error:
        if not isinstance(error.at, int | str) or (isinstance(error.at, str) and error.at[:1] not in ("", "/")):
            raise Find(f"the fault is said to be at {error.at!r}") from None
        return False
    except InvalidRequest:
        return False
    Evaluator(search.expression)(FRAME)
    if tree is not None:
        _check_tree(tree)
    return True


def _check_tree(tree: Any) -> None:
    truth = Evaluator(bind(tree))(FRAME)
    if truth.true.shape != (FRAME.size,) or (truth.true & truth.unknown).any():
        raise Find(f"TRUE is {truth.true}, unknown {truth.unknown}")
    for name, printed, read in (("text", to_text, parse_text), ("JSON", to_json, _read_again)):
        try:
            form = printed(tree)
        except TypeError:
            if any(isinstance(node, In) and not node.items for node in walk(tree)):
                continue  # text has no empty list
            raise
        try:
            again = read(form)
        except InvalidFilter as error:
            if any(words in str(error) for words in _LIMIT_WORDS):
                continue
            raise Find(f"printed as {name} it is refused: {error}\n{form!r}"[:3000]) from None
        if again != tree:
            parts = zip(walk(tree), walk(again), strict=False)
            first = next((type(a).__name__ for a, b in parts if a != b and not [*walk(a)][1:]), "the number of parts")
            raise Find(f"printed as {name} it is another filter, by its {first}\n{tree!r}\n{again!r}\n{form!r}"[:3000])


def _read_again(value: Any) -> Any:
    request, _ = search_from_body(json.dumps({"filter": value}).encode())
    return parse_json(request.filter)


# -- inputs --------------------------------------------------------------------------------------


def _read_corpus() -> list[dict[str, Any]]:
    """Filters of the acceptance suite in both forms, where the shared files are at hand."""
    file = SHARED / "cql2" / "ats.json"
    cases = json.loads(file.read_text(encoding="utf-8")) if file.exists() else []
    return [
        {"text": case["filter_text"], "json": case["filter_json"]}
        for case in cases
        if isinstance(case.get("filter_text"), str) and isinstance(case.get("filter_json"), dict)
    ]


CORPUS = _read_corpus()


def make_input(seed: int, number: int) -> str | bytes:
    """Input `number`: text, or the body of a search."""
    draw = random.Random(seed * 1_000_003 + number)
    grammar, mutator = Grammar(draw), Mutator(draw)
    is_text, from_corpus, damage = draw.random() < 0.5, bool(CORPUS) and draw.random() < 0.4, draw.random()
    if is_text:
        text = draw.choice(CORPUS)["text"] if from_corpus else grammar.text(grammar.predicate(3))
        if damage < 0.3:
            return str(text)
        return mutator.text(text, draw.choice(CORPUS)["text"] if CORPUS else grammar.text(grammar.predicate(1)))
    value = json.loads(json.dumps(draw.choice(CORPUS)["json"])) if from_corpus else grammar.predicate(3)
    other = grammar.predicate(1)
    if damage < 0.6:
        value = mutator.tree({"filter": value}, other) if damage < 0.4 else {"filter": value}
        return dump(value)
    return mutator.raw(dump({"filter": value}), dump(other))


def check(made: str | bytes) -> bool:
    return check_text(made) if isinstance(made, str) else check_body(made)


# -- running -------------------------------------------------------------------------------------


@dataclass
class Tally:
    """What one worker did. A find is an input with its traceback, by the place where it happened."""

    worker: int
    ran: int = 0
    parsed: int = 0
    slowest: float = 0.0
    slowest_number: int = -1
    finds: dict[str, str] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    done: bool = False


def _hung(_signal: int, _frame: Any) -> None:
    raise Find(f"no answer after {HANGS_SECONDS} s")


def run(args: argparse.Namespace, worker: int, results: Any, stop: Any) -> None:
    """Every n-th input, n workers sharing them; tallies go out every few seconds."""
    warnings.simplefilter("error")
    signal.signal(signal.SIGALRM, _hung)
    tally = Tally(worker)
    began = reported = time.monotonic()
    number = args.first + worker
    while number < args.first + args.count and not stop.is_set():
        made = make_input(args.seed, number)
        signal.alarm(HANGS_SECONDS)
        started = time.perf_counter()
        try:
            tally.parsed += check(made)
        except Exception as error:
            _keep(tally, error, made, args.seed, number)
            if not args.keep_going:
                stop.set()
        finally:
            signal.alarm(0)
        now = time.monotonic()
        if time.perf_counter() - started > tally.slowest:
            tally.slowest, tally.slowest_number = time.perf_counter() - started, number
        tally.ran += 1
        number += args.workers
        if args.seconds and now - began > args.seconds:
            break
        if now - reported > 10:
            results.put(tally)
            reported = now
    tally.done = True
    results.put(tally)


def _keep(tally: Tally, error: Exception, made: str | bytes, seed: int, number: int) -> None:
    frames = traceback.extract_tb(error.__traceback__)
    last = frames[-1] if frames else None
    key = f"{type(error).__name__} at {last.filename}:{last.lineno}" if last else type(error).__name__
    if isinstance(error, Find):
        key = _DIGITS.sub("#", str(error).partition("\n")[0])
    tally.counts[key] = tally.counts.get(key, 0) + 1
    if key not in tally.finds and len(tally.finds) < _KEPT:
        lines = "".join(traceback.format_exception(error, limit=-4))
        tally.finds[key] = f"--seed {seed} --first {number} --count 1\n{made[:2000]!r}\n{lines[:6000]}"


def parse_args() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=0, help="stop after so long")
    parser.add_argument("--count", type=int, default=0, help="stop after so many inputs")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="the number of the first input")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--keep-going", action="store_true", help="collect finds of different kinds")
    args = parser.parse_args()
    if not args.seconds and not args.count:
        args.seconds = 60
    args.count = args.count or sys.maxsize
    return args


def main() -> int:
    args = parse_args()
    context = multiprocessing.get_context("spawn")
    results, stop = context.Queue(), context.Event()
    started = time.monotonic()
    workers = [context.Process(target=run, args=(args, n, results, stop), daemon=True) for n in range(args.workers)]
    for worker in workers:
        worker.start()
    latest: dict[int, Tally] = {}
    while sum(tally.done for tally in latest.values()) < len(workers):
        try:
            tally = results.get(timeout=HANGS_SECONDS + 40)
        except Empty:  # a worker that died, or that hangs where no signal reaches it
            print("a worker gave no sign of life", file=sys.stderr)
            return 1
        latest[tally.worker] = tally
        _report(list(latest.values()), time.monotonic() - started)
    found = {key: text for tally in latest.values() for key, text in tally.finds.items()}
    for key, text in found.items():
        print(f"\nFOUND {sum(tally.counts.get(key, 0) for tally in latest.values())} x {key}\n{text}")
    return 1 if found else 0


def _report(tallies: list[Tally], seconds: float) -> None:
    ran, parsed = sum(tally.ran for tally in tallies), sum(tally.parsed for tally in tallies)
    slowest = max(tallies, key=lambda tally: tally.slowest)
    print(
        f"{ran:,} inputs in {seconds:.0f} s, {ran / seconds:,.0f} a second; {parsed:,} were filters; slowest "
        f"{slowest.slowest * 1000:,.0f} ms (number {slowest.slowest_number}); "
        f"finds {sum(len(tally.finds) for tally in tallies)}",
        flush=True,
    )


if __name__ == "__main__":
    sys.exit(main())

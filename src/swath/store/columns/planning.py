"""Which rows of each segment a search looks at, told by counting; kept for questions that are asked again."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from swath.cql2.ast import Predicate
from swath.cql2.evaluate import Evaluator
from swath.search import Step
from swath.store.columns.candidates import Candidates, Planner
from swath.store.columns.plan import conditions, time_bounds
from swath.store.columns.segment import Segment
from swath.store.columns.source import View

__all__ = ["Key", "Plan", "Questions"]

_MOST_PLANS = 256
_EVALUATOR_BYTES = 16_000_000
_OVERHEAD = 20_000  # bytes of an evaluator that has found out nothing yet
_MOST_USES = 100  # what it finds out about the strings of few rows is never let go


@dataclass(frozen=True, slots=True)
class Plan:
    """A range of rows, and candidates among them where these are few. `seconds` is how long it took to tell."""

    segment: Segment
    range: tuple[int, int]
    candidates: Candidates | None
    counted: tuple[tuple[str, int], ...]
    seconds: float

    @property
    def empty(self) -> bool:
        return self.range[0] == self.range[1]

    def step(self) -> Step:
        return Step(
            self.segment.name, self.segment.rows, self.range[1] - self.range[0], list(self.counted),
            planning=self.seconds,
        )  # fmt: skip


Key: TypeAlias = tuple[Predicate, tuple[int, ...]]


class Questions:
    """What was asked of one set of segments lately: plans, and evaluators with what they have found out.

    A page that follows another, its count, and the same question of somebody else begin where the last one ended.
    What a plan depends on besides the expression is told by `reading`. Any thread may ask.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._plans: OrderedDict[Key, tuple[Plan, ...]] = OrderedDict()
        self._evaluators: OrderedDict[Key, tuple[Evaluator, int, int]] = OrderedDict()  # with uses, and bytes
        self._bytes = 0

    def plans(
        self, segments: Sequence[Segment], key: Key, view: View, checkpoint: Callable[[], None]
    ) -> tuple[Plan, ...]:
        """A plan for each segment. What does not differ between them is told once for all."""
        with self._lock:
            found = self._plans.get(key)
            if found is not None:
                self._plans.move_to_end(key)
                return found
        expression, _ = key
        planner, bounds, parts = Planner(view), time_bounds(expression), conditions(expression)
        found = tuple(
            _planned(segment, segment.rows_within(bounds), parts, planner, checkpoint) for segment in segments
        )
        with self._lock:
            self._plans[key] = found
            if len(self._plans) > _MOST_PLANS:
                self._plans.popitem(last=False)
        return found

    def evaluator(self, key: Key, checkpoint: Callable[[], None]) -> tuple[Evaluator, int]:
        """One that nobody else has, and how often it was used."""
        with self._lock:
            evaluator, uses, size = self._evaluators.pop(key, (None, 0, 0))
            self._bytes -= size
        if evaluator is None:
            return Evaluator(key[0], checkpoint), 0
        evaluator.checkpoint.call = checkpoint
        return evaluator, uses

    def give_back(self, key: Key, evaluator: Evaluator, uses: int) -> None:
        """Keep it for the next one, if it is worth that."""
        size = evaluator.weight() + _OVERHEAD
        if size > _EVALUATOR_BYTES // 2 or uses >= _MOST_USES:
            return
        evaluator.checkpoint.call = _nothing  # that of a search holds on to what asked
        with self._lock:
            _, _, before = self._evaluators.pop(key, (None, 0, 0))
            self._evaluators[key] = (evaluator, uses + 1, size)
            self._bytes += size - before
            while self._bytes > _EVALUATOR_BYTES:
                self._bytes -= self._evaluators.popitem(last=False)[1][2]


def _nothing() -> None:
    pass


def _planned(
    segment: Segment,
    rows: tuple[int, int],
    parts: Sequence[Predicate],
    planner: Planner,
    checkpoint: Callable[[], None],
) -> Plan:
    """The condition with the fewest rows."""
    started = time.perf_counter()
    fewest: Candidates | None = None
    counted: list[tuple[str, int]] = []
    for condition in parts if rows[0] < rows[1] else ():
        checkpoint()
        found = planner.of(condition, segment)
        if found is None:
            continue
        counted.append((found.told_by, found.count))
        if fewest is None or found.count < fewest.count:
            fewest = found
        if not found.count:
            rows = (0, 0)
            break
    if fewest is not None and fewest.count * 4 > rows[1] - rows[0]:
        fewest = None  # reading on is faster than jumping
    return Plan(segment, rows, fewest, tuple(counted), time.perf_counter() - started)

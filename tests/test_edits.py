"""The judge of crashes sees what is lost, stale, left by half or made up, and nothing else."""

from __future__ import annotations

import itertools
import random
from dataclasses import dataclass, field

import pytest

from tests.edits import NOTHING, SHARED, Contents, Diary, Edit, Seen, applied, contradictions, edits, setup


@dataclass
class Run:
    """Edits of two threads, in turns, and what a faultless store holds after each."""

    seed: str
    diary: Diary = field(init=False)
    contents: Contents = field(default_factory=dict)
    history: set[str] = field(default_factory=set)
    last: Edit = field(init=False)

    def __post_init__(self) -> None:
        self.diary = Diary(self.seed)
        self.do(setup(self.seed))
        draw = random.Random(self.seed)
        sources = [edits(self.seed, thread) for thread in (0, 1)]
        for _ in range(60):
            self.do(next(draw.choice(sources)))
        self.next = next(sources[0])
        while len(applied(self.contents, self.next.steps)[1]) < 2:
            self.do(self.next)
            self.next = next(sources[0])

    def do(self, edit: Edit) -> None:
        self.diary.note("begun", edit)
        self.store(edit)
        self.diary.note("done", edit)

    def store(self, edit: Edit) -> None:
        self.contents, put = applied(self.contents, edit.steps)
        self.history |= put

    def wrong(self, contents: Contents | None = None, history: set[str] | None = None) -> list[str]:
        seen = Seen(self.contents if contents is None else contents, frozenset(history or self.history))
        return contradictions(NOTHING, self.diary, seen)


@pytest.fixture(params=range(10))
def run(request: pytest.FixtureRequest) -> Run:
    return Run(f"{request.param}")


def test_a_faultless_store_is_not_blamed(run: Run) -> None:
    assert run.wrong() == []


def test_what_was_under_way_may_be_there_or_not(run: Run) -> None:
    run.diary.note("begun", run.next)
    assert run.wrong() == []
    run.store(run.next)
    assert run.wrong() == []


def test_any_lost_or_stale_item_is_seen(run: Run) -> None:
    for key in run.contents:
        lost = {each: stamp for each, stamp in run.contents.items() if each != key}
        assert run.wrong(lost) != [], key
    earlier = [stamp for stamp in sorted(run.history) if stamp not in run.contents.values()]
    for key, stamp in itertools.product([key for key in run.contents if key[1]], earlier[:20]):
        assert run.wrong({**run.contents, key: stamp}) != [], (key, stamp)


def test_an_item_that_was_removed_and_is_there_is_seen(run: Run) -> None:
    gone = {(SHARED, f"s{n}") for n in range(6)} - run.contents.keys()
    stamp = max(run.history)
    for key in gone:
        assert run.wrong({**run.contents, key: stamp}) != []


def test_a_version_that_left_the_history_is_seen(run: Run) -> None:
    for stamp in run.history:
        assert run.wrong(history=run.history - {stamp}) != [], stamp


def test_an_edit_that_is_there_in_part_is_seen(run: Run) -> None:
    run.diary.note("begun", run.next)
    contents, put = applied(run.contents, run.next.steps)
    for stamp in put:
        assert run.wrong(contents, run.history | put - {stamp}) != []


def test_what_nobody_put_is_seen(run: Run) -> None:
    assert run.wrong(history=run.history | {"made up"}) != []

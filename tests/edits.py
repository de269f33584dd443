"""What writers do to a catalogue, their diary, and what the catalogue may hold after a crash.

Knows nothing of Swath. Each thread's edits follow from a seed, so that whoever holds the diary knows what was asked.
An edit is one write: all of its steps, or none. Each thread has a collection of its own, in which the order of edits
is known; the collection `shared` takes edits of all threads at once, in whatever order.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, TypeAlias

__all__ = [
    "NOTHING", "SETUP", "SHARED", "Contents", "Diary", "Edit", "Key", "Seen", "Step", "Told", "Word", "applied",
    "contradictions", "document", "edits", "setup",
]  # fmt: skip

SHARED = "shared"
SETUP = -1  # the thread that makes the shared collection, before others begin

Key: TypeAlias = tuple[str, str]  # collection and item; no item: the collection itself
Contents: TypeAlias = dict[Key, str]  # what is there: the stamp of the document that was put last
Verb: TypeAlias = Literal["put", "drop"]
Word: TypeAlias = Literal["begun", "done"]


class Step(NamedTuple):
    """One document that is put, under a stamp that is never used again, or one that is removed."""

    verb: Verb
    key: Key
    stamp: str


@dataclass(frozen=True, slots=True)
class Edit:
    """One write."""

    thread: int
    number: int
    steps: tuple[Step, ...]


def own(thread: int) -> str:
    """The collection of one thread."""
    return f"own{thread}"


def setup(seed: str) -> Edit:
    """What comes first."""
    return Edit(SETUP, 0, (Step("put", (SHARED, ""), f"{seed}.setup"),))


def edits(seed: str, thread: int) -> Iterator[Edit]:
    """A thread's edits, without end. Mostly one step; now and then many, or a whole collection that goes."""
    draw = random.Random(f"{seed}.{thread}")
    number = 0
    while True:
        count = draw.choice((1, 1, 1, 1, 2, 3, 12))
        stamps = (f"{seed}.{thread}.{number}.{n}" for n in range(count))
        steps = [_step(draw, thread, stamp) for stamp in stamps]
        if number == 0:
            steps.insert(0, Step("put", (own(thread), ""), f"{seed}.{thread}.first"))
        yield Edit(thread, number, tuple(steps))
        number += 1


def _step(draw: random.Random, thread: int, stamp: str) -> Step:
    chance = draw.random()
    if chance < 0.3:
        key = (SHARED, f"s{draw.randrange(6)}")
        return Step("put" if draw.random() < 0.75 else "drop", key, stamp)
    if chance < 0.34:
        return Step(draw.choice(("put", "put", "drop")), (own(thread), ""), stamp)
    return Step("put" if draw.random() < 0.75 else "drop", (own(thread), f"i{draw.randrange(12)}"), stamp)


def document(step: Step) -> dict[str, Any]:
    """The document that a step puts. Few are large, so that a write touches few pages or many."""
    collection, item = step.key
    if not item:
        return {
            "type": "Collection", "stac_version": "1.0.0", "id": collection, "title": step.stamp,
            "description": "edited", "license": "other", "links": [],
            "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        }  # fmt: skip
    draw = random.Random(step.stamp)
    filler = draw.randbytes(draw.choice((20, 200, 200, 600, 600, 2_000, 9_000))).hex()
    return {
        "type": "Feature", "stac_version": "1.0.0", "id": item, "collection": collection,
        "geometry": {"type": "Point", "coordinates": [draw.randrange(-180, 180), draw.randrange(-90, 90)]},
        "properties": {"datetime": "2020-01-01T00:00:00Z", "stamp": step.stamp, "filler": filler},
        "links": [], "assets": {},
    }  # fmt: skip


def applied(contents: Mapping[Key, str], steps: Sequence[Step]) -> tuple[Contents, set[str]]:
    """What is there after some steps, and the stamps that they put: an item without its collection is not taken."""
    after, put = dict(contents), set()
    for verb, key, stamp in steps:
        collection, item = key
        if verb == "drop":
            for gone in [key] if item else [each for each in after if each[0] == collection]:
                after.pop(gone, None)
        elif not item or (collection, "") in after:
            after[key] = stamp
            put.add(stamp)
    return after, put


class Told(NamedTuple):
    """An edit with the places in the diary at which it was begun and acknowledged."""

    edit: Edit
    begun: int
    done: int | None


@dataclass(slots=True)
class Diary:
    """Which edits were begun and which acknowledged, in the order in which that happened."""

    seed: str
    lines: list[tuple[Word, int, int]] = field(default_factory=list)

    def note(self, word: Word, edit: Edit) -> None:
        self.lines.append((word, edit.thread, edit.number))

    @property
    def acknowledged(self) -> int:
        return sum(what == "done" for what, _, _ in self.lines)

    @property
    def unanswered(self) -> int:
        """How many edits were under way at the end."""
        return sum(1 if what == "begun" else -1 for what, _, _ in self.lines)

    def told(self) -> Iterator[Told]:
        """Every edit that was begun, thread by thread."""
        begun: dict[int, dict[int, int]] = {}
        done: dict[tuple[int, int], int] = {}
        for place, (what, thread, number) in enumerate(self.lines):
            if what == "begun":
                begun.setdefault(thread, {})[number] = place
            else:
                done[thread, number] = place
        for thread, numbers in begun.items():
            source = iter([setup(self.seed)]) if thread == SETUP else edits(self.seed, thread)
            for edit in itertools.islice(source, len(numbers)):
                yield Told(edit, numbers[edit.number], done.get((thread, edit.number)))


class Seen(NamedTuple):
    """What is there, and every stamp that was ever put."""

    contents: Contents
    history: frozenset[str]


NOTHING = Seen({}, frozenset())


def contradictions(before: Seen, diary: Diary, after: Seen) -> list[str]:
    """What the catalogue holds and lacks against what its writers were told, in words."""
    told = list(diary.told())
    wrong = [f"{stamp} was put before and has left the history" for stamp in sorted(before.history - after.history)]
    asked = {step.stamp for each in told for step in each.edit.steps} | before.history
    wrong += [f"the history has {stamp}, which nobody put" for stamp in sorted(after.history - asked)]
    wrong += [f"{key} holds {stamp}, which the history has not" for key, stamp in sorted(after.contents.items())
              if stamp not in after.history]  # fmt: skip
    for thread in sorted({each.edit.thread for each in told}):
        wrong += _wrong_with_thread(before, [each for each in told if each.edit.thread == thread], after)
    shared = {step.key for each in told for step in each.edit.steps if step.key[0] == SHARED and step.key[1]}
    for key in sorted(shared | {key for key in before.contents if key[0] == SHARED and key[1]}):
        if not _explained(key, before.contents.get(key), told, after.contents.get(key)):
            wrong.append(f"{key} holds {after.contents.get(key)}, which an acknowledged edit had put an end to")
    return wrong


def _wrong_with_thread(before: Seen, told: Sequence[Told], after: Seen) -> Iterator[str]:
    """A thread's own collection is as after its last acknowledged edit, or as after the one that was under way."""
    thread = told[0].edit.thread
    collection = SHARED if thread == SETUP else own(thread)
    there = dict(before.contents)
    if thread != SETUP:
        there[SHARED, ""] = ""  # it is there before they begin, and never dropped
    for each in told:
        if each.done is not None:
            there, put = applied(there, each.edit.steps)
            for lost in sorted(put - after.history):
                yield f"thread {thread}: {lost} was acknowledged and is not in the history"
    fits = [_of(collection, thread, there) == _of(collection, thread, after.contents)]
    for each in told:
        if each.done is None:
            there, put = applied(there, each.edit.steps)
            fits.append(_of(collection, thread, there) == _of(collection, thread, after.contents))
            if 0 < len(put & after.history) < len(put):
                yield f"thread {thread}: edit {each.edit.number} is there in part: {sorted(put & after.history)}"
            elif put and fits[-1] is not fits[-2] and fits[-1] is not bool(put & after.history):
                yield f"thread {thread}: what is there and the history differ about edit {each.edit.number}"
    if not any(fits):
        yield f"thread {thread}: {collection} is neither as acknowledged nor as after the edit under way"


def _of(collection: str, thread: int, contents: Contents) -> Contents:
    """What only one thread writes. Of the shared collection, that is the collection itself."""
    return {key: stamp for key, stamp in contents.items() if key[0] == collection and (thread != SETUP or not key[1])}


def _explained(key: Key, before: str | None, told: Sequence[Told], found: str | None) -> bool:
    """Whether some edit that left `found` there was not over before another, acknowledged one began."""
    touching = [
        (last.stamp if last.verb == "put" else None, each.begun, each.done)
        for each in told
        if (last := next((step for step in reversed(each.edit.steps) if step.key == key), None)) is not None
    ]
    latest = max((begun for _, begun, done in touching if done is not None), default=-2)
    touching.append((before, -1, -1))  # what was there before comes before any place of the diary
    return any(left == found and (done is None or done > latest) for left, _, done in touching)

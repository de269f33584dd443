"""Killed at any moment, a process leaves a whole catalogue: what it named as written is there, and nothing by half.

A kill does not lose what was written and not synced: that is for tests/test_power_cuts.py. It leaves locks, logs and
files as they were in the middle of anything.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import swath
from swath.store.sqlite.ledger import SqliteLedger
from tests.conftest import SWATH, counted, long, make_collection, make_item, run_swath
from tests.editing import next_write, problems, read_back
from tests.edits import NOTHING, Diary, contradictions
from tests.victims import Uploader, Victims

_LIVES = 6  # kills of writers of one catalogue, one after the other
_ITEMS = long(2_000, 4_000)  # of a load
_UPLOADED = 1_200  # items of a bulk write


@dataclass(frozen=True)
class Killed:
    """A process that was killed. `wrong`: how the catalogue contradicts what the process had told."""

    folder: Path
    answered: bool  # after it had named something as written
    where: str
    wrong: list[str]


# Kills one process after the other, without end. When asked for the next, others have written to the catalogue.
Workload: TypeAlias = Callable[[Path], Iterator[Killed]]


# -- one write after the other ---------------------------------------------------------------------------


def single_writes(work: Path) -> Iterator[Killed]:
    """Inserts, updates and deletes by one to four threads; sometimes by another process beside them."""
    draw = random.Random("single writes")
    for number in itertools.count():
        folder, before = work / f"{number}", NOTHING
        for life in range(_LIVES):
            victims = Victims(folder, f"{number}.{life}", work / "board" if draw.random() < 0.5 else None)
            kills = kills_of(victims, draw)
            victims.close()
            wrong = contradictions(before, victims.diary, read_back(folder))
            for answered, where in kills:
                yield Killed(folder, answered, where, wrong)
            before = read_back(folder)
        shutil.rmtree(folder)


def kills_of(victims: Victims, draw: random.Random) -> list[tuple[bool, str]]:
    """Kill one process, or two that write beside each other: whether edits had been acknowledged, and where it was."""
    first = victims.begin(range(draw.randrange(1, 5)), first=True)
    second = None
    if draw.random() < 0.25:
        victims.hear(draw.uniform(0, 0.06))
    else:
        victims.hear_of(2)
        if draw.random() < 0.25:
            second = victims.begin(range(10, 12), first=False)
        victims.hear(draw.uniform(0, 0.15))
    assert victims.kill(first), "it ended of itself"
    kills = [(victims.diary.acknowledged > 0, place_of(victims))]
    if second is not None:  # which is not held up by the locks of the dead
        victims.hear_of(3)
        victims.hear(draw.uniform(0, 0.05))
        assert victims.kill(second), "it ended of itself"
        kills.append((True, place_of(victims)))
    return kills


def place_of(victims: Victims) -> str:
    call = victims.last_call()
    return f"{answers(victims.diary)}{', last call: ' * bool(call)}{call}"


def answers(diary: Diary) -> str:
    count = diary.acknowledged
    return next(words for least, words in (
        (100, "100 writes and more"), (10, "10 to 99 writes"), (1, "1 to 9 writes"), (0, "before the first write"),
    ) if count >= least)  # fmt: skip


# -- loads -----------------------------------------------------------------------------------------------


def loads(work: Path) -> Iterator[Killed]:
    """`swath load` of items of 1 to 8 KB, into a new catalogue or over others of the same ids."""
    draw = random.Random("loads")
    older, newer = ({each["id"]: each for each in _items(version)} for version in (1, 2))
    for version, items in ((1, older), (2, newer)):
        (work / f"{version}.ndjson").write_text("".join(json.dumps(each) + "\n" for each in items.values()))
    started = time.monotonic()
    assert run_swath("load", work / "whole", work / "1.ndjson").returncode == 0
    whole = time.monotonic() - started
    for number in itertools.count():
        folder = work / f"{number}"
        before = draw.choice(({}, older))
        if before:
            shutil.copytree(work / "whole", folder)
        last, running = kill_a_load(work / "2.ndjson", folder, draw.uniform(0.2, 1.0) * whole)
        whole *= 1.0 if running else 0.9
        if running:  # one that was over before its time is tried again, with less of it
            there = items_in(folder)
            count = sum(each == newer[name] for name, each in there.items())
            wrong = [] if count >= last else [f"{last} lines were named as committed, {count} are there"]
            # In input order: the new ones are a beginning of the input.
            if there != {**before, **dict(itertools.islice(newer.items(), count))}:
                wrong.append("what is there is no beginning of the input, or not whole")
            where = f"{10 * count // _ITEMS}0 % of the input" if there else "before the first commit"
            yield Killed(folder, last > 0, where, wrong)
            if not number:  # and the load can simply be run again
                assert run_swath("load", folder, work / "2.ndjson").returncode == 0
                assert {name: each for name, each in items_in(folder).items() if name in newer} == newer
        shutil.rmtree(folder, ignore_errors=True)


def _items(version: int) -> Iterator[dict[str, Any]]:
    """So different in size that transactions are too."""
    draw = random.Random(version)
    for number in range(_ITEMS):
        yield make_item(f"{number:05d}", filler=draw.randbytes(draw.randrange(400, 4_000)).hex())


def kill_a_load(source: Path, folder: Path, after: float) -> tuple[int, bool]:
    """Load, kill after so many seconds; the last line that was named as committed, and whether it was still running."""
    process = subprocess.Popen([SWATH, "load", str(folder), str(source)], stderr=subprocess.PIPE, text=True,
                               start_new_session=True)  # fmt: skip
    time.sleep(after)
    running = process.poll() is None
    if running:
        process.send_signal(signal.SIGKILL)
    # Its helpers have the same pipe: this waits until they have ended, as they do when their own ends.
    _, words = process.communicate(timeout=60)
    named = [int(line) for line in re.findall(r"committed .*?:(\d+) \(", words)]
    return (named[-1] if named else 0), running


def items_in(folder: Path) -> dict[str, dict[str, Any]]:
    """Of the collection that was loaded: another holds what was written after a kill."""
    if not SqliteLedger.exists(folder):
        return {}
    with swath.open(folder) as session:
        return {item["id"]: item for item in session.search(collections=["c"])}


# -- bulk writes -----------------------------------------------------------------------------------------


def bulk_writes(work: Path) -> Iterator[Killed]:
    """A bulk write over HTTP that is a job, where the server does it: killed, and then gone on with, or begun anew."""
    draw = random.Random("bulk writes")
    older, newer = ({each["id"]: each for each in itertools.islice(_items(version), _UPLOADED)} for version in (1, 2))
    for version, items in ((1, older), (2, newer)):
        (work / f"{version}.ndjson").write_text("".join(json.dumps(each) + "\n" for each in items.values()))
    for name, items in (("none", {}), ("some", older)):
        (work / "c.ndjson").write_text(json.dumps(make_collection("c")))
        assert (
            run_swath("load", work / name, work / "c.ndjson", *([work / "1.ndjson"] if items else [])).returncode == 0
        )
    for number in itertools.count():
        folder, report = work / f"{number}", work / f"{number}.report"
        name, before = draw.choice((("none", {}), ("some", older)))
        shutil.copytree(work / name, folder)
        count = 0  # items that are in
        for _ in range(_LIVES):
            victim = Uploader(folder, work / "2.ndjson", report)
            # Some while it begins, most behind a commit: behind the one that it went on from, or a later one.
            wanted = 0 if draw.random() < 0.25 else count + draw.choice((1, 1, _UPLOADED // 3))
            running = victim.kill(wanted, draw.uniform(0, 0.12))
            there = items_in(folder)
            least, count = max(count, victim.named), sum(each == newer[name] for name, each in there.items())
            wrong = [] if count >= least else [f"{least} lines were named as committed, {count} are there"]
            if there != {**before, **dict(itertools.islice(newer.items(), count))}:
                wrong.append("what is there is no beginning of the upload, or not whole")
            if running:
                yield Killed(folder, victim.named > 0, f"{10 * count // _UPLOADED}0 % of the upload", wrong)
            if not running or count == _UPLOADED:
                break
        assert wrong_with_the_rest(folder, work / "2.ndjson", report) == []
        assert {name: each for name, each in items_in(folder).items() if name in newer} == newer
        shutil.rmtree(folder)
        report.unlink()


def wrong_with_the_rest(folder: Path, upload: Path, report: Path) -> list[str]:
    """Go on to the end: then the report has every line once."""
    Uploader(folder, upload, report).wait()
    told = [json.loads(line) for line in report.read_bytes().splitlines()]
    wrong = [] if [each["line"] for each in told] == list(range(1, _UPLOADED + 1)) else ["lines are missing or twice"]
    outcomes = {each["outcome"] for each in told}
    return wrong + ([] if outcomes <= {"created", "updated"} else [f"outcomes: {outcomes}"])


# -- all of them -----------------------------------------------------------------------------------------

WORKLOADS: tuple[tuple[Workload, int], ...] = ((single_writes, 5), (loads, 1), (bulk_writes, 2))  # with their shares


def test_a_kill_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    kills, wrong = long(24, 2_000), list[str]()
    places, answered = Counter[str](), 0
    running = []
    for workload, share in WORKLOADS:
        (tmp_path / workload.__name__).mkdir()
        running += [(workload.__name__, workload(tmp_path / workload.__name__))] * share
    for number, (name, source) in zip(counted(kills, "kills"), itertools.cycle(running), strict=False):
        killed = next(source)
        answered += killed.answered
        places[f"{name}: {killed.where}"] += 1
        found = list(killed.wrong)
        if SqliteLedger.exists(killed.folder):
            found += problems(killed.folder)
            if number % 10 == 0:
                done = run_swath("check", killed.folder)
                found += [] if done.returncode == 0 else [done.stderr]
        found += next_write(killed.folder, f"kill {number}")
        wrong += [f"kill {number}, {name}: {each}" for each in found]
    print(f"\n{kills} kills, {answered} after the first acknowledgement")
    for place, count in sorted(places.items()):
        print(f"  {count:5} {place}")
    assert wrong == []
    assert answered * 2 >= kills


def test_a_catalogue_that_was_being_made_when_its_maker_was_killed_is_made_anew(tmp_path: Path) -> None:
    (tmp_path / "c").mkdir()
    for name in (".catalog.db.0a1b2c3d4e5f", ".catalog.db.0a1b2c3d4e5f-journal"):
        (tmp_path / "c" / name).write_bytes(b"half of it")
    (tmp_path / "a.ndjson").write_text(json.dumps(make_item("a")))
    done = run_swath("load", tmp_path / "c", tmp_path / "a.ndjson")
    assert done.returncode == 0, done.stderr
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "letters.txt").write_text("mine")
    assert run_swath("load", tmp_path / "d", tmp_path / "a.ndjson").returncode == 1

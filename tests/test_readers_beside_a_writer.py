"""Readers beside a writer, and beside folds that are killed: real processes, and never a wrong answer."""

from __future__ import annotations

import itertools
import json
import mmap
import multiprocessing
import os
import random
import struct
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ProcessPoolExecutor, wait
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias, cast

import swath
from swath.access import EVERYTHING
from swath.catalog import Catalog, SearchRequest, build_search
from swath.catalog.request import parse_sort_text
from swath.cli.folding import beside
from swath.search import Page
from swath.session import Session
from swath.stac.document import read_document
from swath.store.base import Ledger
from swath.store.columns.manifest import fold, read_manifest
from swath.store.records import Change, Operation, Outcome, PreparedWrite, Removal
from tests.conftest import long, make_item, run_swath

KEPT = 1_000  # items that are written once
PLACES = 3_900  # ids that are written, changed and removed again and again
BATCH, RATE = 25, 500  # of the writer: items of a commit, items a second

Stamps: TypeAlias = dict[str, int]  # what is in the catalogue: ids, and the batch that wrote each last


def collection_of(number: int) -> str:
    return f"c{number % 3}"


def minute(number: int) -> str:
    return f"2020-01-{1 + number // 1440:02d}T{number // 60 % 24:02d}:{number % 60:02d}:00Z"


def kept_item(number: int) -> dict[str, Any]:
    return make_item(
        f"kept{number:04d}", collection_of(number), kept=True, stamp=-1,
        v=number % 7, w=f"w{number % 5}", datetime=minute(10 * number),
    )  # fmt: skip


def moving_item(place: int, stamp: int) -> dict[str, Any]:
    """It lies among the kept ones, elsewhere with each stamp."""
    return make_item(
        f"moves{place:04d}", collection_of(place), kept=False, stamp=stamp,
        v=(place + stamp) % 7, w=f"w{stamp % 5}", datetime=minute((place * 7 + stamp * 13) % (10 * KEPT)),
    )  # fmt: skip


# The numbers of the kept items in each order. Ties go by collection, then by id.
ORDERS: dict[str, list[int]] = {
    "": list(range(KEPT))[::-1],
    "datetime": list(range(KEPT)),
    "-id": list(range(KEPT))[::-1],
    "-v": sorted(range(KEPT), key=lambda n: (-(n % 7), n % 3, n)),
    "w": sorted(range(KEPT), key=lambda n: (n % 5, n % 3, n)),
    "v,-id": sorted(range(KEPT), key=lambda n: (n % 7, -n)),
}
# Filters of kept items, and the numbers that they choose.
CHOICES: dict[str, list[int]] = {
    "kept = true": list(range(KEPT)),
    "kept = true AND v = 3": list(range(3, KEPT, 7)),
    "kept = true AND w = 'w2' AND collection = 'c1'": [n for n in range(KEPT) if n % 5 == 2 and n % 3 == 1],
    "kept = true AND datetime >= TIMESTAMP('2020-01-04T00:00:00Z')": list(range(432, KEPT)),
}


def asked(text: str, sort: str, limit: int, token: str | None = None) -> SearchRequest:
    return SearchRequest(
        filter=text or None, sortby=parse_sort_text(sort) if sort else None, limit=limit, token=token
    )  # fmt: skip


def walk(catalog: Catalog, text: str, sort: str, limit: int) -> Iterator[Page]:
    """The pages of a search; the first one tells the exact number."""
    search = replace(build_search(asked(text, sort, limit)), count="exact")
    page = catalog.search(search, EVERYTHING)
    while True:
        yield page
        if page.next is None:
            return
        page = catalog.search(build_search(asked(text, sort, limit, page.next)), EVERYTHING)


# -- a writer, and readers that know what it wrote -------------------------------------------------------


class Log:
    """What the writer tells: each batch before it is written, and its number when it is acknowledged."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._rest = b""
        self._applied = 0
        self._model: Stamps = {f"moves{place:04d}": 0 for place in range(PLACES)}
        self.batches: list[dict[str, int | None]] = []  # None: removed
        self.acknowledged = 0

    def close(self) -> None:
        self._file.close()

    def read(self) -> int:
        """Read on; the number of the last batch that is acknowledged."""
        *lines, self._rest = (self._rest + self._file.read()).split(b"\n")
        for line in lines:
            told = json.loads(line)
            if isinstance(told, int):
                self.acknowledged = told
            else:
                self.batches.append(told)
        return self.acknowledged

    def states(self, first: int) -> Iterator[Stamps]:
        """What should be there after the batch `first`, and after each one that is known to have been begun since."""
        for batch in self.batches[self._applied : first]:
            _apply(self._model, batch)
        self._applied = max(first, self._applied)
        later = dict(self._model)
        yield later
        for batch in self.batches[first:]:
            _apply(later, batch)
            yield later


def _apply(model: Stamps, batch: dict[str, int | None]) -> None:
    for each, stamp in batch.items():
        if stamp is None:
            del model[each]
        else:
            model[each] = stamp


def write_for(folder: Path, log: Path, seconds: float) -> Counter[str]:
    """Write batches of inserts, updates and removals, each one commit, `RATE` items a second."""
    draw, did, until = random.Random(11), Counter[str](), time.time() + seconds
    alive = set(range(PLACES))
    with swath.open(folder) as session, log.open("ab", buffering=0) as out:
        ledger = session._catalog.ledger
        due = time.time()
        for number in itertools.count(1):
            if time.time() > until or log.with_name("stop").exists():
                return did
            told: dict[str, int | None] = {}
            writes: list[PreparedWrite | Removal] = []
            wanted = []
            for place in draw.sample(range(PLACES), BATCH):
                removed = place in alive and draw.random() < 0.4
                told[f"moves{place:04d}"] = None if removed else number
                if removed:
                    writes.append(Removal(Operation.DELETE_ITEM, f"moves{place:04d}", collection_of(place)))
                    wanted.append(Outcome.DELETED)
                    alive.remove(place)
                else:
                    raw = json.dumps(moving_item(place, number)).encode()
                    writes.append(ledger.prepare(read_document(raw, None)))
                    wanted.append(Outcome.UPDATED if place in alive else Outcome.CREATED)
                    alive.add(place)
            out.write(json.dumps(told).encode() + b"\n")
            outcomes = ledger.write(writes, "upsert", "test").outcomes
            out.write(b"%d\n" % number)
            assert outcomes == wanted, (number, outcomes)
            did.update(outcome.value for outcome in outcomes)
            did["batches"] += 1
            due += BATCH / RATE
            did["batches late"] += time.time() > due
            time.sleep(max(0.0, due - time.time()))
    raise AssertionError("the numbers came to an end")


class Reader:
    """One process that searches: what it finds must be what was there at one moment since it asked."""

    def __init__(self, session: Session, log: Log, seed: int) -> None:
        self.session, self.log, self.draw = session, log, random.Random(seed)
        self.did = Counter[str]()

    def step(self) -> None:
        name, do = self.draw.choice([
            ("walks of kept items", self.walk_kept), ("walks of all items", self.walk_all),
            ("counts", self.count), ("looks for the latest", self.latest), ("walks and back", self.walk_back),
        ])  # fmt: skip
        do()
        self.did[name] += 1

    def pages(self, text: str, sort: str) -> Iterator[Page]:
        for page in walk(self.session._catalog, text, sort, self.draw.choice([40, 100, 150])):
            self.did["searches"] += 1
            yield page

    def walk_kept(self) -> None:
        sort, text = self.draw.choice(list(ORDERS)), self.draw.choice(list(CHOICES))
        pages = list(self.pages(text, sort))
        right = set(CHOICES[text])
        wanted = [f"kept{n:04d}" for n in ORDERS[sort] if n in right]
        assert _ids(pages) == wanted, _difference(_ids(pages), wanted, (text, sort))
        assert {page.matched for page in pages} == {len(wanted)}, (text, sort)

    def walk_back(self) -> None:
        """Some pages on, then back to the beginning."""
        sort, limit = self.draw.choice(list(ORDERS)), 60
        there = list(
            itertools.islice(walk(self.session._catalog, "kept = true", sort, limit), self.draw.randrange(2, 6))
        )
        back, token = [there[-1]], there[-1].previous
        while token is not None:
            back.append(
                self.session._catalog.search(build_search(asked("kept = true", sort, limit, token)), EVERYTHING)
            )
            token = back[-1].previous
        self.did["searches"] += len(there) + len(back)
        wanted = [f"kept{n:04d}" for n in ORDERS[sort][: limit * len(there)]]
        assert _ids(there) == wanted, _difference(_ids(there), wanted, sort)
        assert _ids(reversed(back)) == wanted, _difference(_ids(reversed(back)), wanted, f"back, {sort}")

    def walk_all(self) -> None:
        sort, first = self.draw.choice(list(ORDERS)), self.log.read()
        pages = self.pages("", sort)
        begin = next(pages)
        self.log.read()  # the walk stays at the revision of its first page: what comes later is not in it
        seen = [item for page in itertools.chain([begin], pages) for item in page.items]
        places = Counter((item.collection, item.id) for item in seen)
        assert max(places.values()) == 1, ("repeated", sort, [each for each, count in places.items() if count > 1])
        assert begin.matched == len(seen), sort
        wanted = [f"kept{n:04d}" for n in ORDERS[sort]]
        kept = [item.id for item in seen if item.id.startswith("kept")]
        assert kept == wanted, _difference(kept, wanted, sort)
        self.agree({item.id: _stamp(item.body) for item in seen if item.id.startswith("moves")}, first, sort)

    def latest(self) -> None:
        """What was acknowledged last is found, where nothing came after it."""
        first = self.log.read()
        if not first:
            return
        oldest = max(0, first - self.draw.randrange(5))
        found = list(self.session.search(filter=f"stamp >= {oldest} AND kept = false"))
        self.log.read()
        self.did["searches"] += 1
        stamps = {item["id"]: item["properties"]["stamp"] for item in found}
        assert len(stamps) == len(found), "repeated"
        self.agree(stamps, first, f"stamp >= {oldest}", lambda stamp: stamp >= oldest)

    def count(self) -> None:
        text, first = self.draw.choice(list(CHOICES)), self.log.read()
        assert self.session.count(filter=text) == len(CHOICES[text]), text
        moving = self.session.count(filter="kept = false")
        self.log.read()
        self.did["searches"] += 2
        assert moving in {len(state) for state in self.log.states(first)}, moving

    def agree(self, seen: Stamps, first: int, what: str, choose: Callable[[int], bool] = lambda _: True) -> None:
        nearest: list[tuple[str, int | None, int | None]] | None = None
        for state in self.log.states(first):
            right = {each: stamp for each, stamp in state.items() if choose(stamp)}
            if right == seen:
                return
            wrong = [(each, seen.get(each), right.get(each)) for each in seen.keys() | right.keys()
                     if seen.get(each) != right.get(each)]  # fmt: skip
            nearest = wrong if nearest is None or len(wrong) < len(nearest) else nearest
        raise AssertionError(f"{what}: acknowledged {first}, begun {len(self.log.batches)}; id, seen, right: {nearest}")


def _stamp(body: bytes) -> int:
    return int(json.loads(body)["properties"]["stamp"])


def _ids(pages: Iterable[Page]) -> list[str]:
    return [item.id for page in pages for item in page.items]


def _difference(seen: list[str], wanted: list[str], what: object) -> str:
    lost, more = Counter(wanted) - Counter(seen), Counter(seen) - Counter(wanted)
    return f"{what}: {len(seen)} items; lost {sorted(lost)[:10]}, repeated or strange {sorted(more)[:10]}"


def read_for(folder: Path, log: Path, seed: int, seconds: float) -> Counter[str]:
    """Search until the time is over; the first thing that is wrong ends it."""
    until = time.time() + seconds
    with swath.open(folder) as session:
        reader = Reader(session, Log(log), seed)
        while time.time() < until and not log.with_name("stop").exists():
            reader.step()
        reader.log.close()
        return reader.did


def fold_often_for(folder: Path, log: Path, seconds: float) -> Counter[str]:
    """Fold much more often than a server does, in small pieces, in the first half of the time."""
    draw, did, until = random.Random(12), Counter[str](), time.time() + seconds / 2
    with swath.open(folder) as session:
        while time.time() < until and not log.with_name("stop").exists():
            largest = draw.choice([1_000, 10_000, 100_000])
            did["folds"] += fold(session._catalog.ledger, folder / "segments", least=100, largest=largest)
            time.sleep(0.2)
    return did


def generation(folder: Path) -> int:
    with swath.open(folder) as session:
        return read_manifest(session._catalog.ledger).generation


def test_readers_beside_a_writer_and_folds(tmp_path: Path) -> None:
    folder, log, readers, seconds = tmp_path / "c", tmp_path / "log", long(4, 10), long(6, 300)
    log.touch()
    with swath.open(folder, create=True) as session:
        session.write(kept_item(number) for number in range(KEPT))
        session.write(moving_item(place, 0) for place in range(PLACES))
    before = generation(folder)
    # One more process folds often in the first half; in the second it is the server's own that does.
    context = multiprocessing.get_context("spawn")
    together = context.Barrier(readers + 2)
    with beside(folder), ProcessPoolExecutor(readers + 2, context, together.wait, (120,)) as pool:
        writer = pool.submit(write_for, folder, log, seconds)
        often = pool.submit(fold_often_for, folder, log, seconds)
        reading = [pool.submit(read_for, folder, log, seed, seconds) for seed in range(readers)]
        running = [writer, often, *reading]
        while not log.stat().st_size and not any(each.done() for each in running):
            time.sleep(0.01)
        wait(running, timeout=seconds / 2, return_when=FIRST_EXCEPTION)
        halfway = generation(folder)
        wait(running, timeout=seconds + 120, return_when=FIRST_EXCEPTION)
        (tmp_path / "stop").touch()
        wrote = writer.result(60)
        did = sum((each.result(60) for each in reading), Counter[str]())
        folds = often.result(60)["folds"]
    items = sum(wrote[each] for each in ("created", "updated", "deleted"))
    print(f"{readers} readers, {seconds} s: {dict(did)}")
    print(f"one writer: {items} items ({items / seconds:.0f}/s), {dict(wrote)}")
    later = generation(folder)
    print(f"generations of the manifest: {halfway - before}, {folds} of them small ones, then {later - halfway}")
    assert all(did[each] for each in ("walks of kept items", "walks of all items", "counts", "looks for the latest"))
    assert items >= RATE
    assert halfway > before
    with swath.open(folder) as session:
        reader = Reader(session, Log(log), 0)
        assert reader.log.read() == len(reader.log.batches) == wrote["batches"]
        reader.walk_all()
        reader.log.close()
    done = run_swath("check", folder)
    assert done.returncode == 0, done.stderr


# -- folds that are killed -------------------------------------------------------------------------------

PHASES = (
    "not ready", "idle", "looking", "reading new versions", "reading old versions", "building rows",
    "writing a segment", "writing the file beside", "file written", "publishing", "published",
)  # fmt: skip
_COUNTS = struct.Struct("<II")  # folds and, among them, those that made fewer or as many segments as there were


class Board:
    """A shared page on which a process shows what it is at; it outlives the process."""

    def __init__(self, path: Path) -> None:
        with path.open("r+b") as file:
            self._map = mmap.mmap(file.fileno(), 0)

    def enter(self, phase: str) -> None:
        self._map[0] = PHASES.index(phase)

    @property
    def phase(self) -> str:
        return PHASES[self._map[0]]

    def add(self, merged: bool) -> None:
        folds, merges = self.counts
        _COUNTS.pack_into(self._map, 8, folds + 1, merges + merged)

    @property
    def counts(self) -> tuple[int, int]:
        folds, merges = _COUNTS.unpack_from(self._map, 8)
        return folds, merges


class Watched:
    """A ledger that shows on a board what a fold asks of it; the names of files tell the rest."""

    def __init__(self, ledger: Ledger, board: Board, folder: Path) -> None:
        self._ledger, self._board, self._folder = ledger, board, str(folder)
        self.folded = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def changes(self, after: int, until: int, ended_by: int = 0) -> Iterator[Change]:
        self.show("reading old versions" if after < self.folded else "reading new versions")
        yield from self._ledger.changes(after, until, ended_by)
        self.show("building rows")

    def publish(self, manifest: bytes, generation: int) -> bool:
        self.show("publishing")
        done = self._ledger.publish(manifest, generation)
        self.show("published")
        return done

    def show(self, phase: str) -> None:
        self._board.enter(phase)
        time.sleep(0.001)  # so that short phases are met too

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:
        """Called by the interpreter itself, whatever the functions that write are called."""
        if event == "open" and "w" in (arguments[1] or "") and str(arguments[0]).startswith(self._folder):
            self.show("writing a segment" if ".seg" in str(arguments[0]) else "writing the file beside")
        elif event == "os.rename" and str(arguments[1]).startswith(self._folder):
            self.show("file written")


def fold_watched(folder: Path, board_file: Path, seed: int) -> None:
    """Fold until killed."""
    draw, board = random.Random(seed), Board(board_file)
    catalog = Catalog.open(folder)
    watched = Watched(catalog.ledger, board, folder / "segments")
    sys.addaudithook(watched.hear)
    while True:
        board.enter("idle")
        time.sleep(0.005)
        before = len(read_manifest(catalog.ledger).segments)
        watched.folded = catalog.ledger.head() if before else 0
        board.enter("looking")
        largest = draw.choice([300, 2_000, 100_000])
        if fold(cast("Ledger", watched), folder / "segments", least=20, largest=largest):
            board.add(len(read_manifest(catalog.ledger).segments) <= before)


class Told:
    """A catalogue that is written at random, and a plain model of what is in it: v, w and minute by id."""

    def __init__(self, folder: Path) -> None:
        self.draw = random.Random(21)
        self.session = swath.open(folder, create=True)
        self.model: dict[str, tuple[int, str, int]] = {}
        self.written = 0

    def write(self, most: int) -> None:
        places = self.draw.sample(range(1_500), self.draw.randrange(1, most))
        items = []
        for place in places:
            v, w, at = self.draw.randrange(9), f"w{self.draw.randrange(5)}", self.draw.randrange(40_000)
            name = f"{place:04d}"
            items.append(make_item(name, collection_of(place), v=v, w=w, datetime=minute(at)))
            self.model[name] = v, w, at
        assert self.session.write(items).refused == []
        for name in self.draw.sample(sorted(self.model), min(3, len(self.model))):
            self.session.remove(collection_of(int(name)), name)
            del self.model[name]
        self.written += len(items) + 3

    def compare(self, session: Session) -> None:
        """Counts, filters, sorted pages and whole walks."""
        model = self.model
        assert session.count() == len(model)
        assert session.count(filter="v < 3") == sum(v < 3 for v, _, _ in model.values())
        chosen = sorted(name for name, (v, w, _) in model.items() if w == "w3" and v > 1)
        found = session.search(filter="w = 'w3' AND v > 1", sortby="id")
        assert [item["id"] for item in found] == chosen

        def ids(sort: str, limit: int) -> list[str]:
            return _ids(walk(session._catalog, "", sort, limit))

        def by(key: Callable[[int, str, int], Any]) -> list[str]:
            """Ties go by collection and id."""
            return sorted(model, key=lambda name: (key(*model[name]), int(name) % 3, name))

        assert ids("-v", 150) == by(lambda v, _w, _at: -v)
        assert ids("w", 150) == by(lambda _v, w, _at: w)
        assert ids("", 100) == by(lambda _v, _w, at: -at)
        for name in self.draw.sample(sorted(model), 5):
            properties = session.get(collection_of(int(name)), name)["properties"]
            assert (properties["v"], properties["w"], properties["datetime"]) == (
                *model[name][:2],
                minute(model[name][2]),
            )


def kill_in(target: str, told: Told, folder: Path, board_file: Path, seed: int) -> Board:
    """Fold in a process of its own while this one writes, until it is at a phase, and kill it soon after."""
    board_file.write_bytes(bytes(mmap.PAGESIZE))
    board = Board(board_file)
    context = multiprocessing.get_context("spawn")
    process = context.Process(target=fold_watched, args=(folder, board_file, seed))
    process.start()
    try:
        until = time.time() + 60
        while board.phase == "not ready" and process.is_alive() and time.time() < until:
            time.sleep(0.001)
        assert board.phase != "not ready"
        until, folds = time.time() + 5, told.draw.randrange(4)  # so many are left to end well

        def there() -> bool:
            return board.phase == target and board.counts[0] >= folds

        while not there() and time.time() < until:
            told.write(60)
            pause = time.time() + told.draw.uniform(0, 0.05)
            while not there() and time.time() < pause:
                time.sleep(0)
        time.sleep(told.draw.choice([0, 0.0005, 0.002, 0.02]) * told.draw.random())
        assert process.is_alive()
    finally:
        process.kill()
        process.join()
    return board


def test_folds_killed_anywhere_never_answer_wrong(tmp_path: Path) -> None:
    folder, runs = tmp_path / "c", long(12, 200)
    told = Told(folder)
    for _ in range(20):
        told.write(100)
    where, left, folds, merges, published = Counter[str](), Counter[str](), 0, 0, 0
    targets = list(PHASES[1:])
    told.draw.shuffle(targets)
    for number in range(runs):
        known, before = {file.name for file in (folder / "segments").glob("*")}, generation(folder)
        board = kill_in(targets[number % len(targets)], told, folder, tmp_path / "board", number)
        where[board.phase] += 1
        folds, merges = folds + board.counts[0], merges + board.counts[1]
        published += generation(folder) > before
        news = {file.name for file in (folder / "segments").glob("*")} - known
        left["with an unfinished file"] += any(name.startswith(".") for name in news)
        told.compare(told.session)
        with swath.open(folder) as session:
            told.compare(session)
    print(f"{runs} folds killed, {told.written} items written")
    print(f"{folds} folds went before, {merges} of them merged segments")
    print(f"{published} had published a manifest; left: {dict(left)}")
    for phase in PHASES[1:]:
        print(f"  {phase:24}{where[phase]:5} {'#' * where[phase]}")
    assert merges > 0
    assert folds > merges
    assert len(where) >= long(4, 8)
    told.session.close()
    done = run_swath("check", folder)
    assert done.returncode == 0, done.stderr
    sweep(folder)
    with swath.open(folder) as session:
        told.compare(session)


def sweep(folder: Path) -> None:
    """What killed folds left goes when it is old enough, and nothing else does."""
    for file in (folder / "segments").iterdir():
        os.utime(file, (time.time() - 3_600,) * 2)
    there = len(list((folder / "segments").iterdir()))
    with swath.open(folder) as session:
        fold(session._catalog.ledger, folder / "segments", least=1)
    files = list((folder / "segments").iterdir())
    print(f"{there} files in the folder of segments, {len(files)} once old ones are swept")
    assert not any(file.name.startswith(".") for file in files)
    done = run_swath("check", folder)
    assert done.returncode == 0, done.stderr

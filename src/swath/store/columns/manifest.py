"""Which files make up the index, and the way to them: opening, and folding the tail into segments.

The manifest is a row in the ledger, changed by compare and set. It names the segments, whose ranges of versions
lie side by side from the first version on, and one more file: what was folded beside items (collections and
declared queryables, and which rows of the segments have ended). File names are never used twice.
"""

from __future__ import annotations

import fcntl
import logging
import os
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from swath.errors import CatalogDamaged
from swath.limits import LIMITS
from swath.store.base import Ledger
from swath.store.columns.build import merge_segments, write_segment
from swath.store.columns.container import Container, ContainerWriter, sync_folder
from swath.store.columns.names import CollectionNames
from swath.store.columns.segment import FORMAT, Segment
from swath.store.columns.state import State
from swath.store.columns.tail import Tail
from swath.store.records import Change, Operation

__all__ = ["FOLD_ROWS", "Manifest", "fold", "open_state", "read_manifest", "verify_files"]

log = logging.getLogger("swath.store")

FOLD_ROWS = 5_000  # fewer versions than these stay in the tails
_LARGEST = 2_000_000  # versions of a segment
_PIECE = 50_000  # versions that are read from the ledger in one go: bounds the memory that this takes
_ROUND = 1_000_000  # versions that are folded before the manifest tells of them
_DEAD_PART = 4  # a segment of which one row in so many is dead for good is written anew
_FANOUT = 4  # so many neighbours of a size become one
_GRACE_SECONDS = 60.0  # a reader may hold a manifest whose files it has not opened yet
_READ_ROWS = 5_000


@dataclass(frozen=True, slots=True)
class Manifest:
    """Segments as (file name, low, high), and the file of what else was folded.

    What ended by the revision `horizon` may be missing from them.
    """

    generation: int
    segments: tuple[tuple[str, int, int], ...] = ()
    beside: str = ""
    horizon: int = 0

    @property
    def folded(self) -> int:
        return self.segments[-1][2] if self.segments else 0

    def pack(self) -> bytes:
        return msgspec.msgpack.encode(
            {"format": FORMAT, "segments": self.segments, "beside": self.beside, "horizon": self.horizon}
        )


def read_manifest(ledger: Ledger) -> Manifest:
    """The present manifest; an empty one where there is none that this version reads."""
    generation, packed = ledger.manifest()
    if not packed:
        return Manifest(generation)
    try:
        read = msgspec.msgpack.decode(packed)
    except msgspec.DecodeError:
        log.warning("the manifest of the index is damaged; the index is built anew")
        return Manifest(generation)
    if read.get("format") != FORMAT:
        return Manifest(generation)
    segments = tuple((name, low, high) for name, low, high in read["segments"])
    return Manifest(generation, segments, read["beside"], read.get("horizon", 0))


def open_state(ledger: Ledger, folder: Path, before: State) -> State:
    """The state of the present manifest, without what came since. Segments that `before` has open are used again."""
    known = {segment.name: segment for segment in before.segments}
    for attempt in range(5):
        manifest = read_manifest(ledger)
        try:
            return _open(ledger, folder, manifest, known)
        except FileNotFoundError:  # another generation has taken its place since
            if attempt == 4:
                log.warning("files of the index are missing; searching without them until they are built again")
        except CatalogDamaged as error:
            log.warning("%s; searching without the index until it is built again", error)
            break
    return State(generation=manifest.generation)


def _open(ledger: Ledger, folder: Path, manifest: Manifest, known: dict[str, Segment]) -> State:
    segments = []
    for name, low, high in manifest.segments:
        segment = Segment(folder / name)
        if (segment.low, segment.high) != (low, high) or segment.file.about["epoch"] != ledger.epoch:
            raise CatalogDamaged(f"{folder / name}: it belongs to another catalogue, or to another time of it")
        if name in known:
            segment.adopt(known[name])
        segments.append(segment)
    state = State(
        segments=tuple(segments), generation=manifest.generation, revision=manifest.folded, horizon=manifest.horizon
    )
    if manifest.beside:
        file = Container(folder / manifest.beside)
        about = file.about
        state.names = CollectionNames({int(key): name for key, name in about["names"]})
        state.carry(about["ends"], about["declared"])
        for segment in segments:
            segment.end_many(file.array("replaced"), file.array("by"))
        state.learn_all(ledger.facts(manifest.folded))
    return state


@contextmanager
def _alone(folder: Path) -> Iterator[bool]:
    """True for the one process that folds; the lock goes with the process, however it ends."""
    folder.mkdir(exist_ok=True)
    lock = os.open(folder / "fold.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True
    finally:
        os.close(lock)


def fold(
    ledger: Ledger, folder: Path, *, least: int = FOLD_ROWS, largest: int = _LARGEST, verify: bool = False
) -> bool:
    """Fold what came since the last time into segments, and small segments into larger ones.

    True where there was something to do and this process did it. `verify` reads every byte of the files first; what
    is damaged is built anew either way. Killed at any point, it leaves the manifest that was.
    """
    with _alone(folder) as alone:
        if not alone:
            return False
        _sweep(ledger, folder)
        manifest = _usable(ledger, folder, verify=verify)
        head = min(ledger.head(), manifest.folded + _ROUND)
        whole = manifest.beside and all(name for name, _, _ in manifest.segments)
        if head - manifest.folded < max(least, 1) and (whole or not manifest.segments):
            return False
        beside = _Beside(ledger, folder, manifest, head)
        kept = {(low, high): name for name, low, high in manifest.segments if name and not beside.mostly_dead(name)}
        due = head - manifest.folded >= max(least, 1) or len(kept) < len(manifest.segments)
        segments = []
        for low, high in _ranges(manifest, head if due else manifest.folded, largest):
            parts = [(name, a, b) for name, a, b in manifest.segments if name and low <= a and b <= high]
            name = kept.get((low, high)) or _build(ledger, folder, beside, parts, low, high)
            segments.append((name, low, high))
        name = beside.write(segments, ledger.epoch)
        if not manifest.beside:
            sync_folder(folder.parent)  # the name of this new folder
        made = Manifest(manifest.generation, tuple(segments), name, max(manifest.horizon, beside.horizon))
        if not ledger.publish(made.pack(), manifest.generation):
            return False
        for name in {manifest.beside, *(name for name, _, _ in manifest.segments)} - {name for name, _, _ in segments}:
            with suppress(OSError):
                os.utime(folder / name)  # its grace begins now
        return True


def verify_files(ledger: Ledger, folder: Path) -> list[str]:
    """Read every byte of the files of the index; what is wrong, in words."""
    problems = []
    manifest = read_manifest(ledger)
    for name in filter(None, (manifest.beside, *(name for name, _, _ in manifest.segments))):
        fault = _fault(folder / name, ledger, verify=True)
        if fault and (read_manifest(ledger).generation == manifest.generation or (folder / name).exists()):
            problems.append(f"{fault}; swath check --repair builds it anew")
    return problems


def _fault(path: Path, ledger: Ledger, *, verify: bool) -> str | None:
    try:
        file = Segment(path).file if path.name.endswith(".seg") else Container(path)
        if verify:
            file.verify()
    except FileNotFoundError:
        return f"{path}: it is gone"
    except CatalogDamaged as error:
        return str(error)
    return None if file.about.get("epoch") == ledger.epoch else f"{path}: it belongs to another catalogue"


def _usable(ledger: Ledger, folder: Path, *, verify: bool) -> Manifest:
    """The manifest, in which what is damaged or gone has no name any more."""
    manifest = read_manifest(ledger)

    def usable(name: str) -> str:
        # The file beside is small, and what it says is carried on from one to the next: every byte of it is read.
        fault = _fault(folder / name, ledger, verify=verify or name.endswith(".state")) if name else None
        if fault:
            log.warning("%s; building it anew", fault)
        return "" if fault else name

    segments = tuple((usable(name), low, high) for name, low, high in manifest.segments)
    return Manifest(manifest.generation, segments, usable(manifest.beside), manifest.horizon)


def _ranges(manifest: Manifest, head: int, largest: int) -> list[tuple[int, int]]:
    """Ranges of versions of the next segments: tiers, so that an item is written a logarithmic number of times."""
    ranges = [(low, high) for _, low, high in manifest.segments]
    low = manifest.folded
    while low < head:
        ranges.append((low, min(head, low + largest)))
        low = ranges[-1][1]

    def size(each: tuple[int, int]) -> int:
        return each[1] - each[0]

    merged = True
    while merged:
        merged = False
        for first in range(len(ranges) - _FANOUT + 1):
            group = ranges[first : first + _FANOUT]
            total = sum(map(size, group))
            if total <= largest and max(map(size, group)) <= _FANOUT * min(map(size, group)):
                ranges[first : first + _FANOUT] = [(group[0][0], group[-1][1])]
                merged = True
                break
    return ranges


def _build(
    ledger: Ledger, folder: Path, beside: _Beside, parts: list[tuple[str, int, int]], low: int, high: int
) -> str:
    """One segment of a range, out of the segments that lie in it and, for the rest, out of the ledger."""
    name = f"{low:x}-{high:x}-{secrets.token_hex(4)}.seg"
    span, pieces, sources = (low, high), [], []
    position = low
    for part, begin, end in [*parts, ("", high, high)]:
        while position < begin:
            piece = (position, min(begin, position + _PIECE))
            if piece == span:
                write_segment(folder / name, _read(ledger, *piece, beside.horizon), beside.names, span, ledger.epoch)
                return name
            pieces.append(folder / f"{piece[0]:x}-{piece[1]:x}-{secrets.token_hex(4)}.piece")
            write_segment(pieces[-1], _read(ledger, *piece, beside.horizon), beside.names, piece, ledger.epoch)
            sources.append(Segment(pieces[-1]))
            position = piece[1]
        if part:
            segment = Segment(folder / part)
            try:
                segment.file.verify()  # else damage would be copied, and be sealed with right checksums
            except CatalogDamaged as error:
                log.warning("%s; reading its versions from the ledger", error)
                return _build(ledger, folder, beside, [each for each in parts if each[0] != part], low, high)
            sources.append(segment)
            position = end
    merge_segments(folder / name, sources, beside.living, beside.names, span, ledger.epoch)
    for path in pieces:
        path.unlink()
    return name


def _read(ledger: Ledger, low: int, high: int, horizon: int) -> Tail:
    """A range of versions. Documents of those that ended by the horizon are left out."""
    tail = Tail()
    chunk: list[Change] = []
    for change in ledger.changes(low, high, horizon):
        if change.version.operation in (Operation.PUT_ITEM, Operation.DELETE_ITEM):
            chunk.append(change)
            if len(chunk) >= _READ_ROWS:
                tail.append(chunk)
                chunk = []
    tail.append(chunk)
    return tail


class _Beside:
    """What is folded beside items: carried on from the manifest before, with what came since."""

    def __init__(self, ledger: Ledger, folder: Path, manifest: Manifest, head: int) -> None:
        self.folder = folder
        self.names: dict[int, str] = {}
        self.ends: list[tuple[int, int]] = []  # collections that died or were restored, by turns
        self.declared: list[tuple[int, int, bytes | None]] = []
        self.horizon = ledger.horizon(LIMITS.cursor_lifetime_seconds)
        self.pruned = ledger.pruned()
        replaced, by = [np.empty(0, np.int64)], [np.empty(0, np.int64)]
        if manifest.beside:
            file = Container(folder / manifest.beside)
            self.names = {int(key): name for key, name in file.about["names"]}
            self.ends = [tuple(each) for each in file.about["ends"]]
            self.declared = [tuple(each) for each in file.about["declared"]]
            replaced.append(file.array("replaced"))
            by.append(file.array("by"))
        found: list[tuple[int, int]] = []
        for version, body in ledger.versions(manifest.folded if manifest.beside else 0, head):
            if version.operation == Operation.PUT_COLLECTION:
                self.names[version.collection] = version.id
            elif version.operation in (Operation.DELETE_COLLECTION, Operation.RESTORE_COLLECTION):
                self.ends.append((version.collection, version.seq))
            elif version.operation in (Operation.PUT_QUERYABLES, Operation.DELETE_QUERYABLES):
                self.declared.append((version.collection, version.seq, body))
            elif version.replaces is not None:
                found.append((version.replaces, version.seq))
        replaced.append(np.array([each[0] for each in found], np.int64))
        by.append(np.array([each[1] for each in found], np.int64))
        self.replaced, self.by = np.concatenate(replaced), np.concatenate(by)

    def living(self, segment: Segment) -> NDArray[np.bool_]:
        """Rows that a cursor may still ask for, or that come back when their collection is restored."""
        ended: dict[int, int] = {}
        for key, seq in self.ends:
            if ended.pop(key, None) is None:
                ended[key] = seq
        gone = [key for key, seq in ended.items() if seq <= min(self.horizon, self.pruned)]
        alive: NDArray[np.bool_] = ~np.isin(segment.key_of_row, gone)
        over = self.replaced[self.by <= self.horizon]
        over = over[(over > segment.low) & (over <= segment.high)]
        if len(over):
            alive &= ~np.isin(segment.seq, over)
        return alive

    def mostly_dead(self, name: str) -> bool:
        """Whether a segment is worth being written anew without its dead rows."""
        segment = Segment(self.folder / name)
        dead = segment.rows - int(np.count_nonzero(self.living(segment)))
        return dead > FOLD_ROWS and dead * _DEAD_PART > segment.rows

    def write(self, segments: list[tuple[str, int, int]], epoch: bytes) -> str:
        """Ends of rows that no segment holds any more are dropped."""
        there = np.zeros(len(self.replaced), np.bool_)
        for name, low, high in segments:
            within = (self.replaced > low) & (self.replaced <= high)
            if within.any():
                there |= within & np.isin(self.replaced, Segment(self.folder / name).seq)
        name = f"{segments[-1][2]:x}-{secrets.token_hex(4)}.state"
        with ContainerWriter(self.folder / name) as out:
            out.about |= {
                "epoch": epoch, "names": list(self.names.items()), "ends": self.ends, "declared": self.declared,
            }  # fmt: skip
            out.add("replaced", self.replaced[there])
            out.add("by", self.by[there])
        return name


def _sweep(ledger: Ledger, folder: Path) -> None:
    """Take away files that the manifest does not name, once no reader can be on its way to them."""
    manifest = read_manifest(ledger)
    named = {manifest.beside, "fold.lock", *(name for name, _, _ in manifest.segments)}
    for file in folder.iterdir():
        try:
            if file.name not in named and time.time() - file.stat().st_mtime > _GRACE_SECONDS:
                file.unlink()
        except OSError:
            continue

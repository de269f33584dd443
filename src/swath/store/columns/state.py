"""All that the index knows at one time: segments, the tail, and what the ledger tells beside the items."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np
from numpy.typing import NDArray

from swath.cql2.queryables import Declared, read_declared
from swath.store.columns.names import CollectionNames
from swath.store.columns.planning import Questions
from swath.store.columns.segment import Segment
from swath.store.columns.source import View
from swath.store.columns.tail import Tail
from swath.store.records import Change, Fact, Operation

__all__ = ["State", "read_declaration"]

_TEMPORAL = frozenset(("date", "date-time"))
_STRINGS = _TEMPORAL | {"string"}
_DECLARATIONS = (Operation.PUT_QUERYABLES, Operation.DELETE_QUERYABLES)


def read_declaration(body: bytes | None) -> Declared | None:
    """What a stored schema declares; None where the declaration was taken back."""
    return read_declared(msgspec.json.decode(body)) if body else None


@dataclass(slots=True)
class State:
    """Replaced as a whole when segments change; otherwise it only grows, and its dictionaries are replaced,
    never changed, so that a search holds on to what it began with."""

    segments: tuple[Segment, ...] = ()
    generation: int = 0
    tail: Tail = field(default_factory=Tail)
    names: CollectionNames = field(default_factory=lambda: CollectionNames({}))
    collection_ends: dict[int, tuple[int, ...]] = field(default_factory=dict)  # died, restored, died again …
    kinds: dict[str, tuple[Fact, ...]] = field(default_factory=dict)
    declared: dict[int, tuple[tuple[int, Declared | None], ...]] = field(default_factory=dict)
    questions: Questions = field(default_factory=Questions)
    learned: list[int] = field(default_factory=list)  # revisions of what is known of kinds of values, ascending
    noted: list[int] = field(default_factory=list)  # those of declarations, and of ends of collections
    revision: int = 0
    horizon: int = 0  # what ended by this revision may be missing

    @property
    def folded(self) -> int:
        """The last version that lies in a segment."""
        return self.segments[-1].high if self.segments else 0

    def view(self, revision: int) -> View:
        return View(self.names, self.temporal_at(revision), self.exists)

    def exists(self, name: str) -> bool:
        if name == "id":  # the item's own, which segments hold among the others
            return name in self.tail.columns
        return name in self.tail.columns or any(name in segment.names for segment in self.segments)

    def sortable(self) -> set[str]:
        """Names of properties with values that have an order."""
        found = {name for name, data in self.tail.columns.items() if data.lanes.keys() - {"arrays"}}
        return found.union(*(segment.sortable for segment in self.segments))

    def told(self, revision: int) -> tuple[int, int]:
        """What changes when a declaration is made, a collection ends, or a property gets a new kind of value."""
        return bisect_right(self.noted, revision), bisect_right(self.learned, revision)

    def reading(self, revision: int) -> tuple[int, ...]:
        """What changes when the names of a filter, or values beside them, are read otherwise than before."""
        return (*self.told(revision), len(self.tail.columns))

    def gone_at(self, revision: int) -> list[int]:
        """Keys of collections that had ended by a revision."""
        return [key for key, seqs in self.collection_ends.items() if sum(seq <= revision for seq in seqs) % 2]

    def declared_at(self, revision: int) -> dict[int, Declared]:
        """What collections declared, the latest that is not younger than the revision."""
        found = {}
        gone = self.gone_at(revision)
        for key, history in self.declared.items():
            latest = next((each for seq, each in reversed(history) if seq <= revision), None)
            if latest is not None and key not in gone:
                found[key] = latest
        return found

    def temporal_at(self, revision: int) -> Callable[[str], NDArray[np.int64]]:
        """Collections in which a name held nothing but instants, as declared or known at the revision."""
        kinds = self.kinds
        declared = self.declared_at(revision)

        found: dict[str, NDArray[np.int64]] = {}

        def lookup(name: str) -> NDArray[np.int64]:
            if name in found:
                return found[name]
            known: dict[int, set[str]] = {}
            facts = kinds.get(name, ())
            for fact in facts if any(fact.kind in _TEMPORAL for fact in facts) else ():
                if fact.revision <= revision and fact.kind in _STRINGS:
                    known.setdefault(fact.collection, set()).add(fact.kind)
            instants = {key for key, each in known.items() if each <= _TEMPORAL}
            for key, schema in declared.items():
                said = schema.instants_only(name)
                if said is not None:
                    (instants.add if said else instants.discard)(key)
            found[name] = np.array(sorted(instants), np.int64)
            return found[name]

        return lookup

    # -- growing ------------------------------------------------------------------------------

    def learn(self, facts: Sequence[Fact]) -> None:
        """Facts before rows: a reader at the new revision needs both, at an older one neither."""
        fresh = [fact for fact in facts if fact.revision > self.revision]
        if not fresh:
            return
        kinds = dict(self.kinds)
        for fact in fresh:
            kinds[fact.name] = (*kinds.get(fact.name, ()), fact)
        self.kinds = kinds
        self.learned += sorted(fact.revision for fact in fresh)

    def learn_all(self, facts: Sequence[Fact]) -> None:
        """Facts of a state that was just opened, whose rows are there already."""
        kinds: dict[str, list[Fact]] = {}
        for fact in facts:
            kinds.setdefault(fact.name, []).append(fact)
        self.kinds = {name: tuple(found) for name, found in kinds.items()}
        self.learned = sorted(fact.revision for fact in facts)

    def carry(self, ends: Sequence[tuple[int, int]], declared: Sequence[tuple[int, int, bytes | None]]) -> None:
        """What was folded beside items, in the order of versions each: ends of collections, declarations."""
        for key, seq in ends:
            self.collection_ends[key] = (*self.collection_ends.get(key, ()), seq)
        for key, seq, body in declared:
            self.declared[key] = (*self.declared.get(key, ()), (seq, read_declaration(body)))
        self.noted = sorted([seq for _, seq in ends] + [seq for _, seq, _ in declared])

    def note(self, change: Change) -> bool:
        """Take in a version that is no item's. False for an item's."""
        version = change.version
        if version.operation == Operation.PUT_COLLECTION:
            if version.collection not in self.names.by_key:
                self.names = CollectionNames({**self.names.by_key, version.collection: version.id})
        elif version.operation in _DECLARATIONS:
            history = (*self.declared.get(version.collection, ()), (version.seq, read_declaration(change.body)))
            self.declared = {**self.declared, version.collection: history}
            self.noted.append(version.seq)
        elif version.operation in (Operation.DELETE_COLLECTION, Operation.RESTORE_COLLECTION):
            ends = (*self.collection_ends.get(version.collection, ()), version.seq)
            self.collection_ends = {**self.collection_ends, version.collection: ends}
            self.noted.append(version.seq)
        else:
            return False
        return True

    def append(self, changes: Sequence[Change]) -> None:
        """Add item versions to the tail, and end what they replace, wherever it lies."""
        self.tail.append(changes)
        for change in changes:
            replaced = change.version.replaces
            if replaced is not None and self.segments and replaced <= self.segments[-1].high:
                self.end(replaced, change.version.seq)

    def end(self, seq: int, by: int) -> None:
        for segment in self.segments:
            if segment.low < seq <= segment.high:
                segment.end(seq, by)
                return

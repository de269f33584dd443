"""Doing edits to a catalogue, by many threads at once, and reading back what is there."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import swath
from swath.catalog import Catalog
from swath.stac.document import read_document
from swath.store.base import Ledger
from swath.store.records import Mode, Operation, Outcome, PreparedWrite, Removal
from swath.store.sqlite.check import check
from swath.store.sqlite.ledger import SqliteLedger
from tests.edits import NOTHING, Contents, Diary, Edit, Seen, Step, document, edits, setup

__all__ = ["Editors", "commit", "next_write", "perform", "prepared", "problems", "read_back"]


def commit(ledger: Ledger, writes: Sequence[PreparedWrite | Removal], mode: Mode = "upsert") -> list[Outcome]:
    """One write: it is durable when this returns."""
    return ledger.write(writes, mode, "test").outcomes


def prepared(ledger: Ledger, content: dict[str, Any]) -> PreparedWrite:
    return ledger.prepare(read_document(json.dumps(content).encode()))


def perform(ledger: Ledger, edit: Edit) -> None:
    commit(ledger, [_write_of(ledger, step) for step in edit.steps])


def _write_of(ledger: Ledger, step: Step) -> PreparedWrite | Removal:
    collection, item = step.key
    if step.verb == "put":
        return prepared(ledger, document(step))
    if item:
        return Removal(Operation.DELETE_ITEM, item, collection)
    return Removal(Operation.DELETE_COLLECTION, collection, collection)


class Editors:
    """Threads that edit one catalogue, and tell their diary. No two processes may have threads of one number."""

    def __init__(self, diary: Diary, numbers: Sequence[int]) -> None:
        self.diary = diary
        self._sources = {number: edits(diary.seed, number) for number in numbers}
        self._over = threading.Event()

    def set_up(self, catalog: Catalog) -> None:
        """Make the shared collection: once, before any thread edits."""
        self._do(catalog, setup(self.diary.seed))

    def run(self, catalog: Catalog, most: int, *, fold_every: float | None = None) -> None:
        """So many edits by each thread, and meanwhile folds with a pause between them. Raises the first failure."""
        failures: list[Exception] = []
        self._over.clear()

        def guarded(work: Callable[[], None]) -> None:
            try:
                work()
            except Exception as error:
                failures.append(error)
                self._over.set()

        def edit(number: int) -> None:
            for _ in range(most):
                if self._over.is_set():
                    return
                self._do(catalog, next(self._sources[number]))

        def fold(pause: float) -> None:
            while not self._over.wait(pause):
                catalog.index.fold(1)

        editing = [threading.Thread(target=guarded, args=(lambda n=n: edit(n),)) for n in self._sources]
        folding = [threading.Thread(target=guarded, args=(lambda: fold(fold_every or 0),))] if fold_every else []
        for thread in [*editing, *folding]:
            thread.start()
        for thread in editing:
            thread.join()
        self._over.set()
        for thread in folding:
            thread.join()
        if failures:
            raise failures[0]

    def _do(self, catalog: Catalog, edit: Edit) -> None:
        self.diary.note("begun", edit)
        perform(catalog.ledger, edit)
        self.diary.note("done", edit)


def read_back(folder: Path) -> Seen:
    """What a reader finds. Each document must be whole: exactly the one that was put under its stamp."""
    if not SqliteLedger.exists(folder):
        return NOTHING
    contents: Contents = {}
    with swath.open(folder) as session:
        for collection in session.collections():
            contents[collection["id"], ""] = collection["title"]
        for item in session.search():
            key, stamp = (item["collection"], item["id"]), item["properties"]["stamp"]
            assert item == document(Step("put", key, stamp)), f"{key} is not what was put as {stamp}"
            assert key not in contents, f"{key} is there twice"
            contents[key] = stamp
    ledger = SqliteLedger(folder)
    try:
        bodies = [json.loads(change.body) for change in ledger.changes(0, ledger.head()) if change.body is not None]
    finally:
        ledger.close()
    return Seen(contents, frozenset(body.get("title") or body["properties"]["stamp"] for body in bodies))


def next_write(folder: Path, stamp: str) -> list[str]:
    """What is wrong where the catalogue takes no other write, whatever happened to it."""
    steps = Step("put", ("next", ""), f"{stamp}.next"), Step("put", ("next", "a"), f"{stamp}.next.a")
    catalog = Catalog.open(folder, create=True)
    try:
        perform(catalog.ledger, Edit(0, 0, steps))
        found = [catalog.ledger.collection("next"), catalog.ledger.item("next", "a")]
    finally:
        catalog.close()
    there = [json.loads(each.body) for each in found if each is not None] == [document(step) for step in steps]
    return problems(folder) + ([] if there else ["the next write is not there"])


def problems(folder: Path) -> list[str]:
    """What `swath check` finds."""
    found = check(folder).problems
    if not found:
        catalog = Catalog.open(folder)
        try:
            found = catalog.index.check()
        finally:
            catalog.close()
    return found

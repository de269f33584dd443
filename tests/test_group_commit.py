"""Writes that wait at the same time share a transaction, and so a sync; none is answered before it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from swath.store.sqlite.ledger import SqliteLedger
from tests.conftest import long, make_collection, make_item
from tests.editing import commit, prepared
from tests.shim import Call, Shim

CLIENTS = 16
EACH = long(25, 500)


class SlowDisk(Shim):
    """Makes 150 syncs a second, one after the other, and counts them."""

    syncs = False

    def __init__(self) -> None:
        super().__init__()
        self.count = 0
        self._disk = threading.Lock()

    def call(self, call: Call, _path: str) -> None:
        if call == "sync":
            with self._disk:
                self.count += 1
                time.sleep(1 / 150)


def test_writes_of_sixteen_clients_share_syncs(tmp_path: Path) -> None:
    with SlowDisk() as disk:
        ledger = SqliteLedger.create(tmp_path / "c")
        commit(ledger, [prepared(ledger, make_collection("c"))])
        before = disk.count
        at_once(lambda number: write(ledger, disk, number))
        syncs = disk.count - before
        writes = CLIENTS * EACH
        print(f"\n{writes:,} writes of {CLIENTS} clients, {syncs:,} syncs: {writes / syncs:.1f} writes a sync")
        assert ledger.head() == 1 + writes
        ledger.close()
    assert syncs * 4 <= writes  # and 16 clients cannot share less often than once for each turn
    assert syncs >= EACH


def write(ledger: SqliteLedger, disk: SlowDisk, number: int) -> None:
    for turn in range(EACH):
        ready, seen = prepared(ledger, make_item(f"{number}-{turn}", "c")), disk.count
        commit(ledger, [ready])
        assert disk.count > seen, "answered without a sync"


def at_once(work: Callable[[int], None]) -> None:
    failed: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(CLIENTS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]

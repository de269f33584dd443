"""A single write beside `swath load` waits for one of its transactions, not for the load: both go through one gate."""

from __future__ import annotations

import itertools
import json
import sqlite3
import statistics
import subprocess
from pathlib import Path

from swath.store.sqlite.ledger import SqliteLedger
from tests.conftest import SWATH, make_collection, make_item, run_swath
from tests.editing import prepared


def test_single_writes_come_between_the_transactions_of_a_loader(tmp_path: Path) -> None:
    (tmp_path / "collection.ndjson").write_text(json.dumps(make_collection("c")))
    with (tmp_path / "items.ndjson").open("w") as out:
        for number in range(20_000):
            out.write(json.dumps(make_item(f"{number:05d}", filler=f"{number}" * 300)) + "\n")
    assert run_swath("load", tmp_path / "c", tmp_path / "collection.ndjson").returncode == 0
    ledger = SqliteLedger(tmp_path / "c")
    loader = subprocess.Popen([SWATH, "load", tmp_path / "c", tmp_path / "items.ndjson"], stderr=subprocess.DEVNULL)
    for number in itertools.count():
        ledger.write([prepared(ledger, make_item(f"single-{number}"))], "insert", "somebody")
        if loader.poll() is not None:
            break
    assert loader.returncode == 0
    ledger.close()
    database = sqlite3.connect(tmp_path / "c" / "catalog.db")
    actors = [actor for (actor,) in database.execute('SELECT actor FROM "commit" ORDER BY rev')]
    database.close()
    first, last = actors.index("load"), len(actors) - actors[::-1].index("load")
    # How many transactions of the loader each single write has waited for, while there was a loader.
    waited = [len(list(run)) for actor, run in itertools.groupby(actors[first:last]) if actor == "load"]
    singles = last - first - sum(waited)
    print(f"\n{sum(waited)} transactions of a loader, {singles} single writes between them, {max(waited)} to wait for")
    # A busy machine may leave the one who writes aside for some transactions: that is not the gate's doing.
    assert len(waited) >= 10
    assert statistics.median(waited) == 1
    assert statistics.quantiles(waited, n=4)[-1] <= 2

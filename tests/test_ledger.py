"""The rules of the ledger: append-only versions, commits, incarnations, codecs."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import apsw
import pytest

from swath.catalog.loading import load
from swath.errors import CatalogUnusable
from swath.formats.reading import Document
from swath.stac.document import read_document
from swath.store.columns.index import ColumnIndex
from swath.store.records import Operation, Outcome, Removal
from swath.store.sqlite.check import check
from swath.store.sqlite.ledger import SqliteLedger
from tests.conftest import make_item

EVERYTHING = 10**12


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[SqliteLedger]:
    made = SqliteLedger.create(tmp_path / "c")
    put(made, collection("c"))
    yield made
    made.close()
    assert check(tmp_path / "c").problems == []


def collection(name: str, **more: Any) -> dict[str, Any]:
    return {"type": "Collection", "id": name, "description": name, "license": "other", "links": [], **more}


def put(ledger: SqliteLedger, *documents: dict[str, Any], mode: Any = "upsert") -> list[Outcome]:
    writes = [ledger.prepare(read_document(json.dumps(document).encode())) for document in documents]
    return ledger.write(writes, mode, "test").outcomes


def sql(ledger: SqliteLedger, statement: str) -> list[Any]:
    connection = apsw.Connection(str(ledger.folder / "catalog.db"), flags=apsw.SQLITE_OPEN_READONLY)
    found = list(connection.execute(statement))
    connection.close()
    return found


def test_every_write_appends_a_version_and_none_is_changed(ledger: SqliteLedger) -> None:
    put(ledger, make_item("a", v=1))
    first = sql(ledger, "SELECT * FROM version")
    put(ledger, make_item("a", v=2))
    ledger.write([Removal(Operation.DELETE_ITEM, "a", "c")], "upsert", "test")
    put(ledger, make_item("a", v=3))
    rows = sql(ledger, "SELECT seq, op, id, replaces FROM version")
    assert sql(ledger, "SELECT * FROM version")[: len(first)] == first
    assert rows == [
        (1, Operation.PUT_COLLECTION, "c", None),
        (2, Operation.PUT_ITEM, "a", None),
        (3, Operation.PUT_ITEM, "a", 2),
        (4, Operation.DELETE_ITEM, "a", 3),
        (5, Operation.PUT_ITEM, "a", None),
    ]
    assert ledger.head() == 5


def test_the_same_bytes_make_no_new_version(ledger: SqliteLedger) -> None:
    assert put(ledger, make_item("a")) == [Outcome.CREATED]
    head = ledger.head()
    assert put(ledger, make_item("a")) == [Outcome.UNCHANGED]
    assert put(ledger, collection("c")) == [Outcome.UNCHANGED]
    assert ledger.head() == head
    assert len(sql(ledger, 'SELECT * FROM "commit"')) == 2


def test_modes(ledger: SqliteLedger) -> None:
    put(ledger, make_item("a", v=1))
    assert put(ledger, make_item("a", v=2), mode="insert") == [Outcome.CONFLICT]
    assert put(ledger, make_item("a", v=2), mode="ignore") == [Outcome.IGNORED]
    assert put(ledger, make_item("a", v=2)) == [Outcome.UPDATED]
    assert put(ledger, make_item("b"), make_item("b"), mode="insert") == [Outcome.CREATED, Outcome.CONFLICT]
    assert put(ledger, make_item("x", "absent")) == [Outcome.NO_COLLECTION]


def test_twice_in_one_transaction_is_two_versions(ledger: SqliteLedger) -> None:
    assert put(ledger, make_item("a", v=1), make_item("a", v=2)) == [Outcome.CREATED, Outcome.UPDATED]
    item = ledger.item("c", "a")
    assert item is not None
    assert json.loads(item.body)["properties"]["v"] == 2


def test_commit_times_never_go_back(ledger: SqliteLedger) -> None:
    for number in range(50):
        put(ledger, make_item("a", v=number))
    times = [row[0] for row in sql(ledger, 'SELECT at FROM "commit" ORDER BY rev')]
    assert times == sorted(set(times))
    assert [row[0] for row in sql(ledger, 'SELECT max(rev) FROM "commit"')] == [ledger.head()]


def test_a_collection_that_comes_back_is_a_new_one(ledger: SqliteLedger) -> None:
    put(ledger, make_item("a"))
    index = ColumnIndex(ledger)
    before = index.refresh()
    assert ledger.write([Removal(Operation.DELETE_COLLECTION, "c", "c")], "upsert", "test").outcomes == [
        Outcome.DELETED
    ]
    assert ledger.item("c", "a") is None
    assert ledger.collection("c") is None
    put(ledger, collection("c"))
    assert ledger.item("c", "a") is None, "an item of the deleted collection came back with its name"
    after = index.refresh()
    from swath.cql2.ast import Boolean
    from swath.search import NEWEST_FIRST

    assert index.select(Boolean(True), NEWEST_FIRST, 10, revision=after, count=True).matched == 0
    assert index.select(Boolean(True), NEWEST_FIRST, 10, revision=before, count=True).matched == 1
    assert sql(ledger, "SELECT key, id FROM incarnation") == [(1, "c"), (2, "c")]


def test_what_is_set_at_creation(ledger: SqliteLedger) -> None:
    def pragma(name: str) -> Any:
        return sql(ledger, f"PRAGMA {name}")[0][0]

    assert pragma("page_size") == 8192
    assert pragma("auto_vacuum") == 2
    assert pragma("application_id") == 0x53776174
    assert pragma("journal_mode") == "wal"
    assert pragma("user_version") == 4
    assert len(ledger.epoch) == 16


def test_two_catalogues_have_different_epochs_and_keys(ledger: SqliteLedger, tmp_path: Path) -> None:
    other = SqliteLedger.create(tmp_path / "other")
    assert other.epoch != ledger.epoch
    assert other.secret != ledger.secret
    other.close()


def test_another_format_is_refused_and_named(tmp_path: Path) -> None:
    made = SqliteLedger.create(tmp_path / "c")
    put(made, collection("c"))
    with apsw.Connection(str(tmp_path / "c" / "catalog.db")) as connection:
        connection.execute("PRAGMA user_version = 99")
    with pytest.raises(CatalogUnusable, match="changed by another version"):
        put(made, make_item("a"))
    made.close()
    with pytest.raises(CatalogUnusable, match="format 99; this version of Swath reads format 4"):
        SqliteLedger(tmp_path / "c")


def test_what_is_no_catalogue_is_refused(tmp_path: Path) -> None:
    with pytest.raises(CatalogUnusable, match="there is no catalogue"):
        SqliteLedger(tmp_path)
    (tmp_path / "catalog.db").write_bytes(b"not a database, but long enough to look at" * 100)
    with pytest.raises(CatalogUnusable, match="is not a Swath catalogue"):
        SqliteLedger(tmp_path)


def test_a_collection_gets_its_own_dictionary_and_old_bodies_keep_theirs(ledger: SqliteLedger) -> None:
    def batch(start: int) -> list[dict[str, Any]]:
        return [
            make_item(f"{n:05d}", text=f"the same long words in every item {n} " * 8) for n in range(start, start + 600)
        ]

    put(ledger, *batch(0))
    assert sql(ledger, "SELECT DISTINCT dictionary FROM body") == [(1,)]
    put(ledger, *batch(600))
    assert sql(ledger, "SELECT collection_key, step FROM dictionary WHERE id > 1") == [(1, 1)]
    put(ledger, *batch(1200))
    assert sql(ledger, "SELECT DISTINCT dictionary FROM body WHERE seq > 1300") == [(2,)]
    again = SqliteLedger(ledger.folder)
    put(again, make_item("last", text="the same long words in every item"))
    assert sql(ledger, "SELECT dictionary FROM body ORDER BY seq DESC LIMIT 1") == [(2,)]
    for name in ("00000", "01700"):
        item = again.item("c", name)
        assert item is not None
        assert json.loads(item.body)["properties"]["text"].startswith("the same long words")
    again.close()


def test_type_facts_are_written_when_they_widen_only(ledger: SqliteLedger) -> None:
    put(ledger, make_item("a", p=1), make_item("b", p=2))
    put(ledger, make_item("d", p=2.5), make_item("e", p="2020-01-01"), make_item("f", p="x", q=[1], r={"s": True}))
    facts = sql(ledger, "SELECT name, kind, rev FROM fact ORDER BY rev, name, kind")
    assert facts == [
        ("created", "date-time", 2),
        ("datetime", "date-time", 2),
        ("p", "integer", 2),
        ("updated", "date-time", 2),
        ("p", "number", 4),
        ("p", "date", 5),
        ("p", "string", 6),
        ("q", "array", 6),
        ("r", "object", 6),
        ("r.s", "boolean", 6),
    ]


def test_many_threads_share_transactions_and_lose_nothing(ledger: SqliteLedger) -> None:
    outcomes: dict[str, list[Outcome]] = {}

    def work(name: str) -> None:
        for number in range(40):
            outcomes.setdefault(name, []).extend(put(ledger, make_item(f"{name}-{number}")))

    threads = [threading.Thread(target=work, args=(f"t{n}",)) for n in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(outcome is Outcome.CREATED for many in outcomes.values() for outcome in many)
    assert sql(ledger, "SELECT count(*) FROM live") == [(320,)]
    commits = sql(ledger, 'SELECT count(*) FROM "commit"')[0][0]
    assert commits < 321, "no two waiting writes shared a transaction"


def test_a_failed_transaction_leaves_no_trace_and_the_next_write_works(
    ledger: SqliteLedger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from swath.store.sqlite.writer import Writer

    put(ledger, make_item("a"))
    before = sql(ledger, "SELECT * FROM version"), sql(ledger, "SELECT * FROM fact"), ledger.head()

    def fail(*_: Any) -> None:
        raise OSError("disk full")

    with monkeypatch.context() as patch:
        patch.setattr(Writer, "_finish", fail)
        with pytest.raises(OSError, match="disk full"):
            put(ledger, make_item("b", fresh=1))
    assert (sql(ledger, "SELECT * FROM version"), sql(ledger, "SELECT * FROM fact"), ledger.head()) == before
    assert put(ledger, make_item("b", fresh=1)) == [Outcome.CREATED]
    assert ("fresh", "integer") in sql(ledger, "SELECT name, kind FROM fact")


def test_the_log_is_folded_back(ledger: SqliteLedger) -> None:
    import random

    draw = random.Random(1)
    for batch in range(30):
        noise = [make_item(f"{batch}-{n}", noise=draw.randbytes(8_000).hex()) for n in range(150)]
        put(ledger, *noise)
    log = (ledger.folder / "catalog.db-wal").stat().st_size
    assert sql(ledger, "SELECT sum(length(data)) FROM body")[0][0] > 36_000_000
    assert log < 64_000_000


def test_an_item_that_comes_before_its_collection_makes_a_plain_one(ledger: SqliteLedger) -> None:
    def documents(*many: dict[str, Any]) -> Iterator[Document]:
        return (Document(json.dumps(d).encode(), "t", n) for n, d in enumerate(many, 1))

    report = load(ledger, documents(make_item("a", "new"), collection("new", title="the real one")), mode="insert")
    assert report.made_collections == ["new"]
    assert report.refused == []
    record = ledger.collection("new")
    assert record is not None
    assert json.loads(record.body)["title"] == "the real one"
    report = load(ledger, documents(collection("new", title="another")), mode="insert")
    assert [refusal.reason for refusal in report.refused] == ["the id is taken"]

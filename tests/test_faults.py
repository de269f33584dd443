"""Every call that can fail is made to: a clean error, nothing changed, and the next try works, in the same process."""

from __future__ import annotations

import itertools
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

import apsw
import pytest

from swath.access import EVERYTHING
from swath.catalog import Catalog, SearchRequest, build_search
from swath.errors import SwathError
from swath.store.columns.manifest import read_manifest
from swath.store.records import Operation, Removal
from swath.store.sqlite import codec, writer
from tests.conftest import long, make_item, run_swath
from tests.editing import commit, next_write, prepared
from tests.faults import FAULTS, Faults

Rows: TypeAlias = dict[str, list[Any]]

_ITEMS = 60
_TRAINED_AT = _ITEMS + 5  # items
_STEP = long(6_000, 400)  # bytes: what SQLite asks for is more, but for strings


@dataclass(frozen=True)
class Work:
    """Something that is done to a catalogue, and how to see that it was."""

    name: str
    do: Callable[[Catalog], object]
    took: Callable[[Catalog], bool]
    fresh: bool = False  # it is the first thing that its process does
    log_pages: int = 4_000  # the log is folded back beyond these


def collection(name: str) -> dict[str, Any]:
    return {"type": "Collection", "id": name, "description": name, "license": "other", "links": []}


def items(count: int, name: str = "new") -> list[dict[str, Any]]:
    return [make_item(f"{name}{n}", "c", filler=f"{n} " * 400, **{f"only{name}": n}) for n in range(count)]


def put(*documents: dict[str, Any]) -> Callable[[Catalog], object]:
    return lambda catalog: commit(catalog.ledger, [prepared(catalog.ledger, each) for each in documents])


def drop(operation: Operation, collection_id: str, thing: str) -> Callable[[Catalog], object]:
    return lambda catalog: commit(catalog.ledger, [Removal(operation, thing, collection_id)])


def there(*names: str) -> Callable[[Catalog], bool]:
    return lambda catalog: all(catalog.ledger.item("c", name) is not None for name in names)


def seen(catalog: Catalog) -> dict[str, bytes]:
    """All items, as a search finds them."""
    search = build_search(SearchRequest(limit=1_000))
    return {f"{item.collection}/{item.id}": item.body for item in catalog.search(search, EVERYTHING).items}


def publish(catalog: Catalog) -> None:
    manifest = read_manifest(catalog.ledger)
    assert catalog.ledger.publish(manifest.pack(), manifest.generation)


NEW = [each["id"] for each in items(50)]
WORKS = (
    Work("open and search", seen, lambda _: True, fresh=True),
    Work("write a collection", put(collection("e")), lambda catalog: catalog.ledger.has_collection("e")),
    Work("write one item", put(*items(1)), there(NEW[0])),
    Work("write one item, the first of a process", put(*items(1)), there(NEW[0]), fresh=True),
    Work("write one item and fold the log back", put(*items(1)), there(NEW[0]), log_pages=0),
    Work("write 50 items and train a dictionary", put(*items(50)), there(*NEW)),
    Work("delete an item", drop(Operation.DELETE_ITEM, "c", "i1"), lambda catalog: not there("i1")(catalog)),
    Work(
        "delete a collection", drop(Operation.DELETE_COLLECTION, "d", "d"),
        lambda catalog: not catalog.ledger.has_collection("d"),
    ),
    Work("publish a manifest", publish, lambda catalog: catalog.ledger.position()[1] > 2),
    Work("fold", lambda catalog: catalog.index.fold(1), lambda catalog: catalog.ledger.position()[1] > 2),
)  # fmt: skip


@pytest.fixture(scope="module")
def catalogue(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two collections in two segments, and some items behind them."""
    folder = tmp_path_factory.mktemp("faults") / "c"
    catalog = Catalog.open(folder, create=True)
    for name in ("c", "d"):
        put(collection(name), *(make_item(f"i{n}", name, v=n) for n in range(_ITEMS if name == "c" else 5)))(catalog)
        assert catalog.index.fold(1)
    put(make_item("i0", "c", v="changed"), make_item("tail", "d"))(catalog)
    assert catalog.ledger.position()[1] == 2
    catalog.close()
    return folder


@pytest.fixture
def _soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "_FIRST_ITEMS", _TRAINED_AT)


def rows(folder: Path) -> Rows:
    """All rows of all tables."""
    connection = apsw.Connection(str(folder / "catalog.db"), flags=apsw.SQLITE_OPEN_READONLY)
    names = [name for (name,) in connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")]
    found = {name: list(connection.execute(f'SELECT * FROM "{name}"')) for name in names}
    connection.close()
    return found


def clean(error: Exception) -> bool:
    """Whether an error says what went wrong, and not what became of the program by that."""
    told = (OSError, MemoryError, SwathError, apsw.IOError, apsw.FullError, apsw.CantOpenError, apsw.NoMemError)
    if isinstance(error, apsw.SQLError) and "no transaction is active" in str(error):
        # apsw's own way out of a read transaction puts this before the error that has ended it.
        return isinstance(error.__context__, told)
    return isinstance(error, told)


@contextmanager
def short_of_memory(spare: int) -> Iterator[None]:
    """SQLite gets so many bytes more than it has."""
    apsw.hard_heap_limit(apsw.memory_used() + spare)
    try:
        yield
    finally:
        apsw.hard_heap_limit(0)


def tried(work: Work, folder: Path, fails: Callable[[], AbstractContextManager[None]]) -> tuple[bool, list[str]]:
    """Do it while something fails, and then again: whether it failed, and what is wrong with that."""
    wrong: list[str] = []
    catalog = None if work.fresh else Catalog.open(folder)
    before_seen: dict[str, bytes] = {}
    if catalog is not None:
        put(make_item("warm", "d"))(catalog)
        other = Catalog.open(folder)
        put(make_item("other", "d"))(other)  # which makes the first one read again what it knew
        other.close()
        before_seen = seen(catalog)
    before = rows(folder)
    error: Exception | None = None
    try:
        with fails():
            catalog = catalog or Catalog.open(folder)
            work.do(catalog)
    except Exception as caught:
        error = caught
    after = rows(folder)
    catalog = catalog or Catalog.open(folder)
    if error is None and not work.took(catalog):
        wrong.append("no error, and nothing done")
    if error is not None:
        wrong += [] if clean(error) else [f"no clean error: {error!r}"]
        wrong += [f"it failed and {name} has changed" for name in before if before[name] != after[name]]
        if before_seen and seen(catalog) != before_seen:
            wrong.append("it failed and a search finds something else")
        try:
            work.do(catalog)
        except Exception as again:
            wrong.append(f"it fails again: {again!r}")
        else:
            wrong += [] if work.took(catalog) else ["the next try had no effect"]
    catalog.close()
    return error is not None, wrong + next_write(folder, "after")


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_a_failing_call_changes_nothing(
    work: Work, catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_CHECKPOINT_PAGES", work.log_pages)
    wrong: Counter[str] = Counter()
    met = 0
    with Faults() as faults:
        for first, fault in enumerate(FAULTS, 1):
            places: Counter[str] = Counter()
            for number in itertools.count(
                long(first, 1), long(4, 1)
            ):  # in the short form, each fault meets other calls
                folder = tmp_path / "c"
                shutil.copytree(catalogue, folder)
                failed, found = tried(work, folder, lambda n=number, f=fault: faults.failing(n, f))  # type: ignore[misc]
                shutil.rmtree(folder)
                wrong.update(f"{fault}: {faults.where}: {each}" for each in found)
                if not faults.where:
                    break
                places[f"{faults.where}{'' if failed else ' (and it went on)'}"] += 1
            print(f"{work.name}: {fault}: {number - 1} calls: {dict(places)}")
            met += sum(places.values())
    assert wrong == {}
    assert met > 2, "no call failed: this test is blind"


def created(folder: Path, fails: Callable[[], AbstractContextManager[None]]) -> list[str]:
    """Make a catalogue while something fails, then again: what is wrong with that."""
    wrong = []
    try:
        with fails():
            Catalog.open(folder, create=True).close()
    except Exception as error:
        wrong += [] if clean(error) else [f"no clean error: {error!r}"]
    return wrong + next_write(folder, "after")


def test_a_failing_call_leaves_no_half_catalogue(tmp_path: Path) -> None:
    wrong: Counter[str] = Counter()
    with Faults() as faults:
        for first, fault in enumerate(FAULTS, 1):
            places: Counter[str] = Counter()
            for number in itertools.count(long(first, 1), long(8, 1)):
                folder = tmp_path / f"{fault} {number}"
                found = created(folder, lambda n=number, f=fault: faults.failing(n, f))  # type: ignore[misc]
                wrong.update(f"{fault}: {faults.where}: {each}" for each in found)
                if not faults.where:
                    break
                places[faults.where] += 1
            print(f"create a catalogue: {fault}: {number - 1} calls: {dict(places)}")
    assert wrong == {}


def test_too_little_memory_leaves_no_half_catalogue(tmp_path: Path) -> None:
    wrong: Counter[str] = Counter()
    with Faults():
        for spare in range(0, 600_000, 2 * _STEP):
            wrong.update(created(tmp_path / f"{spare}", lambda n=spare: short_of_memory(n)))  # type: ignore[misc]
    assert wrong == {}


def test_a_dictionary_is_trained_again_after_that_has_failed(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "_FIRST_ITEMS", _TRAINED_AT)
    shutil.copytree(catalogue, tmp_path / "c")
    catalog = Catalog.open(tmp_path / "c")

    def fail(_samples: object) -> bytes:
        raise OSError("made to fail")

    with monkeypatch.context() as patched:
        patched.setattr(writer, "train", fail)
        put(*items(50))(catalog)
    assert "c" not in catalog.ledger.packing
    put(*items(2, "later"))(catalog)
    assert "c" in catalog.ledger.packing
    catalog.close()


def test_a_dictionary_is_trained_beside_single_writes(
    catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """None of them waits for it, nor packs with one that is not committed; what fails there is tried again."""
    monkeypatch.setattr(codec, "_FIRST_ITEMS", _TRAINED_AT)
    shutil.copytree(catalogue, tmp_path / "c")
    catalog, train = Catalog.open(tmp_path / "c"), codec.train
    begun, go_on, attempts = threading.Event(), threading.Event(), itertools.count()

    def slow(samples: Any) -> bytes | None:
        begun.set()
        assert go_on.wait(60)
        if next(attempts) == 0:
            raise OSError("made to fail")
        return train(samples)

    committed, looks = writer.Writer._committed, list[tuple[bool, bool]]()

    @contextmanager
    def look_before_commit(self: writer.Writer) -> Iterator[None]:
        with committed(self):
            yield
            trained = self._connection.execute("SELECT count(*) FROM dictionary WHERE id > 1").get
            looks.append((trained > 0, "c" in self.packing))

    monkeypatch.setattr(writer.Writer, "_committed", look_before_commit)
    monkeypatch.setattr(writer, "train", slow)
    for number in range(50):
        put(*items(1, f"single-{number}"))(catalog)
    assert begun.wait(60)
    assert "c" not in catalog.ledger.packing
    go_on.set()
    for number in range(1_000):
        put(*items(1, f"later-{number}"))(catalog)
        if "c" in catalog.ledger.packing:
            break
        time.sleep(0.01)
    else:
        raise AssertionError("it was not trained again")
    assert next(attempts) == 2
    assert next(named for trained, named in looks if trained) is False
    catalog.close()
    assert run_swath("check", tmp_path / "c").returncode == 0


@pytest.mark.usefixtures("_soon")
@pytest.mark.parametrize("work", WORKS, ids=lambda work: work.name)
def test_too_little_memory_changes_nothing(
    work: Work, catalogue: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer, "_CHECKPOINT_PAGES", work.log_pages)
    wrong: Counter[str] = Counter()
    failures, clear = 0, 0
    with Faults():  # of which none is used, but that nothing is really synced
        for step in itertools.count():
            folder = tmp_path / "c"
            shutil.copytree(catalogue, folder)
            failed, found = tried(work, folder, lambda spare=step * _STEP: short_of_memory(spare))  # type: ignore[misc]
            shutil.rmtree(folder)
            wrong.update(found)
            failures += failed
            clear = 0 if failed else clear + 1
            if clear * _STEP > 20_000:  # what is asked for in the middle may be more than at the end
                break
    print(f"{work.name}: failed with {failures} of {step + 1} limits, the last {step * _STEP / 1e3:,.0f} KB")
    assert wrong == {}

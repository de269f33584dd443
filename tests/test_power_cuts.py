"""The power goes at any moment: all that was acknowledged is there, whole, and the catalogue goes on."""

from __future__ import annotations

import random
import shutil
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias

import apsw
import pytest

from swath.catalog import Catalog
from swath.errors import CatalogDamaged
from swath.store.sqlite import codec, schema, writer
from swath.store.sqlite.ledger import SqliteLedger
from tests.conftest import long
from tests.editing import Editors, next_write, problems, read_back
from tests.edits import NOTHING, Diary, Seen, contradictions
from tests.power import Disk

_LIVES = 4  # cuts of one catalogue, one after the other
# Half of the cuts fall anywhere; the others where writes are few: a place, and up to which of its calls.
Aims: TypeAlias = Sequence[tuple[str, int]]
_AIMS: Aims = (
    *[("", 1_200)] * 6,
    ("log sync", 40), ("log write, at its start", 6), ("log delete", 3),
    ("database", 150), ("database sync", 6), ("index sync", 6), ("folder sync", 8),
)  # fmt: skip


@dataclass
class Tally:
    """Where the cuts fell, and what they left."""

    places: Counter[str] = field(default_factory=Counter)
    keeps: Counter[str] = field(default_factory=Counter)
    cuts: int = 0
    answered: int = 0  # cuts after the first acknowledgement
    acknowledged: int = 0
    under_way: int = 0
    lossy: int = 0  # cuts that took writes which were not synced

    def add(self, disk: Disk, diary: Diary) -> None:
        self.cuts += 1
        self.acknowledged += diary.acknowledged
        self.under_way += diary.unanswered
        self.answered += diary.acknowledged > 0
        self.lossy += disk.lost > 0
        when = "after the first acknowledgement" if diary.acknowledged else "before it"
        self.places[f"{disk.place} ({when})"] += 1
        self.keeps[disk.keep] += 1

    def show(self, title: str) -> None:
        print(
            f"\n{title}: {self.cuts} cuts, {self.answered} after the first acknowledgement; "
            f"{self.acknowledged} edits acknowledged, {self.under_way} under way; "
            f"{self.lossy} cuts took writes that were not synced"
        )
        print("  what survived of those: " + ", ".join(f"{name} {count}" for name, count in self.keeps.most_common()))
        for place, count in self.places.most_common():
            print(f"  {count:5} at {place}")


def until_the_cut(disk: Disk, folder: Path, diary: Diary, draw: random.Random) -> None:
    """Open, edit and close the catalogue until the power goes."""
    editors = Editors(diary, range(draw.randrange(1, 5)))
    begun = False
    while not disk.off:
        try:
            catalog = Catalog.open(folder, create=True)
            try:
                if not begun:
                    editors.set_up(catalog)
                    begun = True
                editors.run(catalog, draw.choice((3, 30)), fold_every=draw.choice((None, None, 0.02)))
            finally:
                catalog.close()
        except Exception:
            if not disk.off:
                raise


def one_cut(folder: Path, before: Seen, seed: str, tally: Tally, aims: Aims = _AIMS) -> tuple[Path, Seen, list[str]]:
    """Edit the catalogue in a folder until the power goes: the folder as it is left, what it holds, what is wrong."""
    draw = random.Random(seed)
    diary = Diary(seed)
    making = aims is _AIMS and before == NOTHING and draw.random() < 0.3
    aim, most = ("making", 120) if making else draw.choice(aims)
    with Disk(folder, draw, draw.randrange(1, most), aim, at_most=2_000) as disk:
        until_the_cut(disk, folder / "c", diary, draw)
    left, looked_at = folder.with_name(f"{folder.name}+"), folder.with_name(f"{folder.name}-")
    disk.write_left(left)
    shutil.rmtree(folder)
    tally.add(disk, diary)
    # A look folds the log back: the next life begins with what the cut left.
    shutil.copytree(left, looked_at)
    seen, wrong = look(looked_at / "c", before, diary)
    shutil.rmtree(looked_at)
    return left, seen, [f"{seed}, cut at {disk.place}, {disk.keep} survived: {each}" for each in wrong]


def look(folder: Path, before: Seen, diary: Diary) -> tuple[Seen, list[str]]:
    """What a catalogue holds when the power is back, and what is wrong with that."""
    try:
        wrong = [f"damaged: {each}" for each in problems(folder)] if SqliteLedger.exists(folder) else []
        seen = read_back(folder) if not wrong else NOTHING
    except (apsw.CorruptError, CatalogDamaged) as error:
        wrong, seen = [f"damaged: {error!r}"], NOTHING
    return seen, wrong or contradictions(before, diary, seen) + next_write(folder, diary.seed)


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    """Logs are folded back and dictionaries trained every few writes, so that cuts fall into that too."""
    monkeypatch.setattr(writer, "_CHECKPOINT_PAGES", 120)
    monkeypatch.setattr(codec, "_FIRST_ITEMS", 30)


@pytest.mark.usefixtures("_often")
def test_a_power_cut_loses_nothing_that_was_acknowledged(tmp_path: Path) -> None:
    cuts, tally, wrong = long(40, 2_000), Tally(), list[str]()
    while tally.cuts < cuts:
        folder, seen = tmp_path / f"{tally.cuts}", NOTHING
        folder.mkdir()
        for life in range(_LIVES):
            folder, seen, found = one_cut(folder, seen, f"{tally.cuts}.{life}", tally)
            wrong += found
        shutil.rmtree(folder)
    tally.show("power cuts")
    assert wrong == []
    assert tally.answered * 2 >= tally.cuts


@pytest.mark.usefixtures("_often")
@pytest.mark.parametrize(("synchronous", "told_by"), [("NORMAL", "acknowledged"), ("OFF", "damaged")])
def test_these_cuts_see_a_store_that_does_not_sync(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, synchronous: str, told_by: str
) -> None:
    """The controls. NORMAL does not sync a commit, OFF nothing: if that were not found out, the test would be blind."""

    def careless(folder: Path) -> apsw.Connection:
        connection = careful(folder)
        connection.execute(f"PRAGMA synchronous = {synchronous}")
        return connection

    careful = schema.open_writer
    monkeypatch.setattr(schema, "open_writer", careless)
    runs, tally, caught = long(20, 200), Tally(), 0
    for number in range(runs):
        folder = tmp_path / f"{number}"
        folder.mkdir()
        left, _, wrong = one_cut(folder, NOTHING, f"{synchronous}.{number}", tally, _AIMS[:1])
        caught += any(told_by in each for each in wrong)
        shutil.rmtree(left)
    tally.show(f"control, synchronous = {synchronous}")
    print(f"  {caught} of {runs} are found out")
    assert caught * 5 >= runs

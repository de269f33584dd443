"""The vault: equal bytes once, kept while something refers to them, found when they rot."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from swath.blobs import FolderBlobs, ObjectBlobs
from swath.catalog import Catalog
from swath.errors import CatalogDamaged, PreconditionFailed
from swath.store.records import AssetRecord, Choice, DeliveryRecord, FileChanges
from swath.vault import Vault

HELLO = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"  # of "hello", as every SHA-256 tool says


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    made = Catalog.open(tmp_path / "catalog", create=True)
    yield made
    made.close()


def vault_of(catalog: Catalog) -> Vault:
    assert catalog.folder is not None
    return Vault(catalog.ledger, FolderBlobs(catalog.folder / "blobs"))


def file_of(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "staged"
    path.unlink(missing_ok=True)
    path.write_text(text)
    return path


def refer(catalog: Catalog, asset_id: str, key: str, pin: str) -> None:
    asset = AssetRecord(asset_id, asset_id, key, 5, HELLO, "hello.txt", "text/plain", 1)
    delivery = DeliveryRecord(asset_id, 1, 1, "SUCCESSFUL", "hello.txt", 5, "text/plain")
    changes = FileChanges(assets=(asset,), deliveries=(delivery,), unpin=(pin,))
    catalog.ledger.write([], "upsert", "test", files=changes)


def test_equal_bytes_are_kept_once_under_their_hash(catalog: Catalog, tmp_path: Path) -> None:
    vault = vault_of(catalog)
    one, two = (vault.keep(file_of(tmp_path, "hello")) for _ in range(2))
    assert (one.blob.key, one.blob.size) == (HELLO, 5)
    assert two.blob.key == HELLO
    assert [blob.key for blob in vault.blobs.all()] == [HELLO]
    assert b"".join(vault.blobs.read(HELLO, 1, 4)) == b"ell"


def test_bytes_stay_while_they_are_pinned_or_referred_to(catalog: Catalog, tmp_path: Path) -> None:
    vault = vault_of(catalog)
    kept = vault.keep(file_of(tmp_path, "hello"))
    catalog.ledger.write([], "upsert", "test", files=FileChanges(unpin=(kept.pin,)))
    again = vault.keep(file_of(tmp_path, "hello"))
    refer(catalog, "one", again.blob.key, again.pin)
    assert vault.collect(0) == []
    catalog.ledger.write([], "upsert", "test", files=FileChanges(forget=("one",)))
    assert vault.collect(0) == [HELLO]
    assert vault.blobs.size(HELLO) is None
    assert vault.keep(file_of(tmp_path, "hello")).blob.key == HELLO


def test_a_pin_keeps_bytes_that_nothing_refers_to_yet(catalog: Catalog, tmp_path: Path) -> None:
    vault = vault_of(catalog)
    vault.keep(file_of(tmp_path, "hello"))
    assert vault.collect(3600) == []
    assert vault.blobs.size(HELLO) == 5


def test_an_upload_that_meets_bytes_being_deleted_writes_them_anew(catalog: Catalog, tmp_path: Path) -> None:
    vault = vault_of(catalog)
    kept = vault.keep(file_of(tmp_path, "hello"))
    catalog.ledger.write([], "upsert", "test", files=FileChanges(unpin=(kept.pin,)))
    (marked,) = catalog.ledger.files.mark_unused(2**62, 0)  # the collector, stopped before it deletes
    assert marked.key == HELLO
    again = vault.keep(file_of(tmp_path, "hello"))
    assert again.blob.key.startswith(f"{HELLO}-")
    refer(catalog, "one", again.blob.key, again.pin)
    assert vault.collect(0) == [HELLO]
    assert b"".join(vault.blobs.read(again.blob.key, 0, 5)) == b"hello"


def test_bytes_that_were_written_and_never_noted_are_collected(catalog: Catalog, tmp_path: Path) -> None:
    vault = vault_of(catalog)
    vault.blobs.put("ab" * 32, file_of(tmp_path, "stray"))
    assert vault.collect(3600) == []
    assert vault.collect(-1) == ["ab" * 32]


def test_uploads_and_the_collector_at_once_lose_nothing(catalog: Catalog, tmp_path: Path) -> None:
    vault, faults, over = vault_of(catalog), list[str](), threading.Event()

    def upload(number: int) -> None:
        for turn in range(30):
            path = tmp_path / f"{number}.txt"
            path.unlink(missing_ok=True)
            path.write_text(f"text {turn % 3}")
            kept, name = vault.keep(path), f"{number}-{turn}"
            asset = AssetRecord(name, name, kept.blob.key, kept.blob.size, kept.blob.sha256, name, "text/plain", 1)
            delivery = DeliveryRecord(name, 1, 1, "SUCCESSFUL", name, 6, "text/plain")
            changes = FileChanges(assets=(asset,), deliveries=(delivery,), unpin=(kept.pin,))
            catalog.ledger.write([], "upsert", "test", files=changes)
            if b"".join(vault.blobs.read(kept.blob.key, 0, kept.blob.size)).decode() != f"text {turn % 3}":
                faults.append(name)
            catalog.ledger.write([], "upsert", "test", files=FileChanges(forget=(name,)))

    def collect() -> None:
        while not over.is_set():
            vault.collect(0.001)

    collector = threading.Thread(target=collect)
    collector.start()
    uploads = [threading.Thread(target=upload, args=(number,)) for number in range(4)]
    for thread in uploads:
        thread.start()
    for thread in uploads:
        thread.join()
    over.set()
    collector.join()
    assert faults == []


def test_rotten_missing_and_cut_bytes_are_found(catalog: Catalog, tmp_path: Path) -> None:
    vault = vault_of(catalog)
    for text in ("hello", "there", "world"):
        kept = vault.keep(file_of(tmp_path, text))
        refer(catalog, text, kept.blob.key, kept.pin)
    assert [fault for _, fault in vault.check() if fault] == []
    keys = {blob.sha256: blob.key for blob in catalog.ledger.files.blobs()}
    assert catalog.folder is not None
    places = [catalog.folder / "blobs" / key[:2] / key for key in sorted(keys.values())]
    places[0].chmod(0o644)
    places[0].write_bytes(b"hellp")
    places[1].unlink()
    places[2].chmod(0o644)
    places[2].write_bytes(b"w")
    faults = [fault for _, fault in vault.check() if fault]
    assert len(faults) == 3
    assert "not those that were written" in faults[0]
    assert "missing" in faults[1]
    assert "1, not 5" in faults[2]
    with pytest.raises(CatalogDamaged, match="missing"):
        list(vault.blobs.read(sorted(keys.values())[1], 0, 5))


def test_a_delivery_that_was_changed_meanwhile_is_not_overwritten(catalog: Catalog) -> None:
    first = DeliveryRecord("one", 1, 1, "IN_PROGRESS", "a.zip", 5, "application/zip")
    catalog.ledger.write([], "upsert", "test", files=FileChanges(deliveries=(first,)))
    second = DeliveryRecord("one", 1, 2, "SUCCESSFUL", "a.zip", 5, "application/zip")
    changes = FileChanges(deliveries=(second,), unchanged=(("one", 1),))
    catalog.ledger.write([], "upsert", "test", files=changes)
    with pytest.raises(PreconditionFailed):
        catalog.ledger.write([], "upsert", "test", files=changes)
    assert catalog.ledger.files.delivery("one") == second


def test_deliveries_are_chosen_and_sorted_by_what_is_known_of_them(catalog: Catalog) -> None:
    records = [
        DeliveryRecord("a", 10, 10, "SUCCESSFUL", "b.zip", 3, "application/zip", title="Berlin 100%", tags=("x", "y")),
        DeliveryRecord("b", 20, 20, "FAILED", "a.zip", 2, "application/zip", tags=("y",), order_id="Order_1"),
        DeliveryRecord("c", 30, 30, "SUCCESSFUL", "c.tif", 1, "image/tiff", source="USER", collection_name="phr"),
        DeliveryRecord("d", 40, 40, "SUCCESSFUL", "d.tif", 1, "image/tiff", deleted=50),
    ]
    catalog.ledger.write([], "upsert", "test", files=FileChanges(deliveries=tuple(records)))

    def ids(choice: Choice, limit: int = 10, offset: int = 0) -> tuple[str, int]:
        found, total = catalog.ledger.files.deliveries(choice, limit, offset)
        return "".join(each.id for each in found), total

    assert ids(Choice()) == ("cba", 3)
    assert ids(Choice(), 1, 1) == ("b", 3)
    assert ids(Choice(sort=(("name", False),))) == ("bac", 3)
    assert ids(Choice(sort=(("title", True),))) == ("abc", 3)  # without one last, both ways
    assert ids(Choice(sort=(("size", False), ("createdAt", True)))) == ("cba", 3)
    assert ids(Choice(tags=("x", "z"))) == ("a", 1)
    assert ids(Choice(tags=("y",))) == ("ba", 2)
    assert ids(Choice(search="berlin 100%")) == ("a", 1)
    assert ids(Choice(search="_")) == ("b", 1)  # no wildcard
    assert ids(Choice(search="ORDER")) == ("b", 1)
    assert ids(Choice(after=20, before=30)) == ("cb", 2)
    assert ids(Choice(statuses=("FAILED",))) == ("b", 1)
    assert ids(Choice(sources=("USER",), collection_names=("phr", "spot"))) == ("c", 1)
    assert ids(Choice(deleted=True)) == ("d", 1)
    assert ids(Choice(search="'; DROP TABLE delivery; --")) == ("", 0)


def test_an_object_store_keeps_the_same_promises(catalog: Catalog, tmp_path: Path) -> None:
    vault = Vault(catalog.ledger, ObjectBlobs("memory:///"))
    kept = vault.keep(file_of(tmp_path, "hello"))
    assert vault.keep(file_of(tmp_path, "hello")).blob.key == kept.blob.key == HELLO
    assert b"".join(vault.blobs.read(HELLO, 1, 3)) == b"el"
    assert [(blob.key, blob.size) for blob in vault.blobs.all()] == [(HELLO, 5)]
    target = tmp_path / "mine"
    vault.blobs.fetch(HELLO, target)
    assert target.read_text() == "hello"
    assert vault.blobs.path(HELLO) is None
    with pytest.raises(CatalogDamaged, match="missing"):
        list(vault.blobs.read("0" * 64, 0, 1))
    catalog.ledger.write([], "upsert", "test", files=FileChanges(unpin=(kept.pin,)))
    assert vault.blobs.size("0" * 64) is None

"""Copies of a catalogue that is written to, and catalogues of an older format."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import apsw
import pytest

from swath.session import Session
from swath.store.sqlite import schema
from tests.conftest import long, make_collection, make_item, run_swath, serving


def exported(folder: Path) -> list[str]:
    return run_swath("export", folder, "-o", "-").stdout.splitlines()


def test_backups_under_load_restore_to_one_moment(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    over, written = threading.Event(), 0

    def write() -> None:
        nonlocal written
        with Session(folder) as session:
            while not over.is_set():  # two at a time: no moment has an odd number
                session.write([make_item(f"{written}-a", v=written), make_item(f"{written}-b", v=written)])
                written += 1

    with Session(folder, create=True) as session:
        session.write([make_collection("c")])
    writer = threading.Thread(target=write)
    writer.start()
    try:
        for number in range(long(3, 100)):
            done = run_swath("backup", folder, tmp_path / f"{number}.backup", "--json")
            assert done.returncode == 0, done.stderr
    finally:
        over.set()
        writer.join()
    whole = exported(folder)
    for number in range(long(3, 100)):
        copy = tmp_path / f"restored-{number}"
        assert run_swath("restore", tmp_path / f"{number}.backup", copy).returncode == 0
        lines = exported(copy)
        assert lines == whole[: len(lines)], "what it holds is a beginning of what was written"
        assert len(lines) % 2 == 1, "one collection, and pairs of items"
        assert run_swath("check", copy).returncode == 0


def test_a_restored_catalogue_begins_a_new_life(tmp_path: Path) -> None:
    with Session(tmp_path / "c", create=True) as session:
        session.write([make_item(f"{n:02d}") for n in range(30)])
    assert run_swath("backup", tmp_path / "c", tmp_path / "b").returncode == 0
    with serving(tmp_path / "c") as server:
        links = server.get("/search?limit=5").json()["links"]
        token = next(link["href"] for link in links if link["rel"] == "next").split("token=")[1]
        etag = server.get("/collections/c/items/00").headers["etag"]
        feed = server.get("/changes").json()["token"]
    assert run_swath("restore", tmp_path / "b", tmp_path / "r").returncode == 0
    with serving(tmp_path / "r") as server:
        assert server.get(f"/search?limit=5&token={token}").status == 410
        assert server.get(f"/changes?since={feed}").status == 410
        assert server.get("/collections/c/items/00", If_None_Match=etag).status == 200
        changed = server.request("DELETE", "/collections/c/items/00", headers={"If-Match": etag})
        assert changed.status == 412


def test_the_schemas_of_a_catalogue_come_with_its_backup(tmp_path: Path) -> None:
    with Session(tmp_path / "c", create=True) as session:
        session.write([make_item("a")])
    schema_file = tmp_path / "foo.json"
    schema_file.write_text(json.dumps({"$id": "https://example.com/foo.json", "type": "object"}))
    assert run_swath("schemas", "add", tmp_path / "c", schema_file).returncode == 0
    assert run_swath("backup", tmp_path / "c", tmp_path / "b").returncode == 0
    assert run_swath("restore", tmp_path / "b", tmp_path / "r").returncode == 0
    listed = [run_swath("schemas", "list", tmp_path / name).stdout for name in ("c", "r")]
    assert "https://example.com/foo.json" in listed[0]
    assert listed[0] == listed[1]
    assert run_swath("check", tmp_path / "r").returncode == 0
    hostile = apsw.Connection(str(tmp_path / "b"))
    hostile.execute("UPDATE beside SET name = '../outside.json'")
    hostile.close()
    refused = run_swath("restore", tmp_path / "b", tmp_path / "r2")
    assert (refused.returncode, "outside.json" in refused.stderr) == (1, True)
    assert not (tmp_path / "outside.json").exists()


def test_the_report_of_a_job_is_not_in_a_backup(tmp_path: Path) -> None:
    with Session(tmp_path / "c", create=True) as session:
        session.write([make_collection("c")])
    body = "".join(json.dumps(make_item(f"{n}")) + "\n" for n in range(5)).encode()
    sent = {"Content-Type": "application/x-ndjson", "Prefer": "respond-async", "Idempotency-Key": "once"}
    with serving(tmp_path / "c") as server:
        job = server.request("POST", "/collections/c/bulk", body, sent).json()["jobID"]
        for _ in range(300):
            if server.get(f"/jobs/{job}").json()["status"] == "successful":
                break
            time.sleep(0.05)
        assert server.get(f"/jobs/{job}/results").status == 200
    assert run_swath("backup", tmp_path / "c", tmp_path / "b").returncode == 0
    assert run_swath("restore", tmp_path / "b", tmp_path / "r").returncode == 0
    with serving(tmp_path / "r") as server:
        assert server.get(f"/jobs/{job}").json()["counts"]["created"] == 5
        gone = server.get(f"/jobs/{job}/results")
        assert (gone.status, job in gone.json()["detail"]) == (410, True)


def test_what_cannot_be_backed_up_or_restored_is_told(tmp_path: Path) -> None:
    with Session(tmp_path / "c", create=True) as session:
        session.write([make_item("a")])
    assert "there is no catalogue" in run_swath("backup", tmp_path / "nothing", tmp_path / "b").stderr
    assert run_swath("backup", tmp_path / "c", tmp_path / "b").returncode == 0
    assert "is there already" in run_swath("backup", tmp_path / "c", tmp_path / "b").stderr
    assert "is not empty" in run_swath("restore", tmp_path / "b", tmp_path / "c").stderr
    (tmp_path / "letter").write_text("dear catalogue")
    assert "cannot be read" in run_swath("restore", tmp_path / "letter", tmp_path / "x").stderr
    damaged = bytearray((tmp_path / "b").read_bytes())
    damaged[8192 * 3 : 8192 * 9] = bytes(8192 * 6)
    (tmp_path / "damaged").write_bytes(bytes(damaged))
    done = run_swath("restore", tmp_path / "damaged", tmp_path / "y")
    assert done.returncode == 1
    assert "damaged" in done.stderr


@pytest.fixture
def old(tmp_path: Path) -> Path:
    """A catalogue as format 1 left it: what came with format 2 is taken out of a new one."""
    with Session(tmp_path / "c", create=True) as session:
        session.write([make_collection("c"), make_item("a", v=1), make_item("b")])
    connection = apsw.Connection(str(tmp_path / "c" / schema.FILE_NAME))
    for table in ("migration", "history_manifest", "once", "mark", "setting", "job", "subscription", "dead_letter",
                  "blob", "pin", "asset", "delivery", "delivery_state"):  # fmt: skip
        connection.execute(f"DROP TABLE {table}")
    connection.execute("DROP INDEX version_again")
    connection.execute("DROP INDEX incarnation_id")
    connection.execute("ALTER TABLE version DROP COLUMN first")
    connection.execute("DELETE FROM fact WHERE name IN ('created', 'updated')")
    connection.execute("PRAGMA user_version = 1")
    connection.close()
    return tmp_path / "c"


def test_a_catalogue_of_an_older_format_is_backed_up_as_it_is_and_checked(old: Path, tmp_path: Path) -> None:
    """Who brings a new version of Swath does so first."""
    done = run_swath("backup", old, tmp_path / "b")
    assert done.returncode == 0, done.stderr
    assert apsw.Connection(str(old / schema.FILE_NAME)).pragma("user_version") == 1
    assert run_swath("restore", tmp_path / "b", tmp_path / "r").returncode == 0
    for folder in (old, tmp_path / "r"):
        done = run_swath("check", folder)
        assert done.returncode == 0, done.stderr
        assert apsw.Connection(str(folder / schema.FILE_NAME)).pragma("user_version") == schema.FORMAT
    assert exported(tmp_path / "r") == exported(old)


def test_a_catalogue_of_format_1_is_brought_to_format_4_while_it_is_read(old: Path) -> None:
    reader = apsw.Connection(str(old / schema.FILE_NAME), flags=apsw.SQLITE_OPEN_READONLY)
    with reader:
        before = list(reader.execute("SELECT seq, id FROM version"))
        with Session(old) as session:
            session.write([make_item("a", v=2)])
            assert session.count(filter="v = 2") == 1
            assert [version.restorable for version in session.versions("c", "a")] == [True, True]
        assert list(reader.execute("SELECT seq, id FROM version")) == before
    taken = list(reader.execute("SELECT number FROM migration"))
    reader.close()
    assert taken == [(2,), (3,), (4,)]
    assert run_swath("check", old).returncode == 0
    lines = [json.loads(line)["id"] for line in exported(old)]
    assert lines == ["c", "b", "a"]

"""`swath mirror`: whatever happens to either side, the copy ends as its source is, byte for byte."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import apsw
import pytest

from swath.session import Session
from swath.store.sqlite.ledger import SqliteLedger
from tests.conftest import SWATH, Server, command, long, make_item, run_swath, start_server
from tests.fake_api import Asked, FakeApi, Said, dated, faking
from tests.traffic import Caller, Traffic, make_collection

PATIENCE = 60.0


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A catalogue with the collections a, b and c."""
    return edit(tmp_path / "source", *(make_collection(name) for name in "abc"))


def edit(folder: Path, *documents: dict[str, Any]) -> Path:
    """Store documents in a catalogue; its folder."""
    with Session(folder, create=True) as session:
        assert not session.write(documents).refused
    return folder


def exported(folder: Path) -> bytes:
    target = folder.with_name(f"{folder.name}.ndjson")
    with Session(folder) as session:
        session.export(target)
    return target.read_bytes()


def ids(folder: Path) -> list[str]:
    return [json.loads(line)["id"] for line in exported(folder).splitlines()]


def mirror(folder: Path, source: str | Path, *options: str) -> subprocess.CompletedProcess[str]:
    return command("mirror", folder, source, *options)


def mirrored(folder: Path, source: str | Path, *options: str) -> str:
    """Follow once; what was said."""
    done = mirror(folder, source, "--once", *options)
    assert done.returncode == 0, done.stderr
    return done.stderr


@contextmanager
def following(folder: Path, source: str | Path, *options: str) -> Iterator[subprocess.Popen[bytes]]:
    command = [SWATH, "mirror", str(folder), str(source), *options]
    process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def head(folder: Path) -> int:
    """The latest version of a catalogue, 0 where there is none yet."""
    try:
        with apsw.Connection(str(folder / "catalog.db"), flags=apsw.SQLITE_OPEN_READONLY) as connection:
            return int(connection.execute("SELECT rev FROM head").get)
    except (apsw.CantOpenError, apsw.SQLError, apsw.BusyError):
        pass
    return 0


def wait_for(done: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.05)


# -- killed and started again ----------------------------------------------------------------------


@pytest.mark.parametrize("way", ["folder", "http"])
def test_a_mirror_that_is_killed_again_and_again_ends_as_its_source_is(
    way: str, source: Path, tmp_path: Path, serve: Callable[..., Server]
) -> None:
    server = serve("serve", source, "--port", "0")
    followed: str | Path = source if way == "folder" else server.url
    copy, changes = tmp_path / "copy", long(2_000, 100_000)
    writing = threading.Thread(target=write, args=(server.url, source, changes))
    writing.start()
    kills = kill_mirrors(copy, followed, source, writing.is_alive, seed=len(way))
    writing.join()
    said = mirrored(copy, followed)
    assert "up to date" in said
    for folder in (copy, source):
        done = run_swath("export", folder, "-o", tmp_path / f"{folder.name}.ndjson")
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "copy.ndjson").read_bytes() == (tmp_path / "source.ndjson").read_bytes()
    assert run_swath("check", copy).returncode == 0
    total = sum(kills.values())
    print(
        f"{way}: {head(source):,} changes, {total} kills, by what part of them was there: {dict(sorted(kills.items()))}"
    )


def write(url: str, folder: Path, changes: int) -> None:
    """Everything that can be done over HTTP, until there are so many versions."""
    traffic = Traffic(Caller(url), seed=11, ids=300, bulk=long(60, 300))
    while head(folder) < changes:
        traffic.step()


def kill_mirrors(
    copy: Path, followed: str | Path, source: Path, writing: Callable[[], bool], seed: int
) -> Counter[str]:
    """Start mirrors and kill them, while somebody writes and a few times more; how far they were."""
    draw, kills, idle = random.Random(seed), Counter[str](), 0
    while writing() or idle < 3:
        idle += not writing()
        options = ["--once"] if draw.random() < 0.3 else []
        command = [SWATH, "mirror", str(copy), str(followed), *options]
        process = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
        # Some while they begin, most when they have committed something, at any point of what they do then.
        wanted = 0 if draw.random() < 0.2 else head(copy) + draw.randrange(1, 2_500)
        deadline = time.monotonic() + 5
        while head(copy) < wanted and process.poll() is None and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(draw.uniform(0, 0.2 if wanted else 1.5))
        running = process.poll() is None
        if running:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()
        if running:
            there, all_ = head(copy), head(source)
            kills["nothing yet" if not there else "all" if there >= all_ else f"{10 * there // all_}0 %"] += 1
    return kills


def test_a_mirror_follows_while_its_source_is_written_to_and_goes_away_for_a_while(
    source: Path, tmp_path: Path
) -> None:
    server = start_server(["serve", str(source), "--port", "0"])
    try:
        traffic = Traffic(Caller(server.url), seed=1)
        for _ in range(30):
            traffic.step()
        with following(tmp_path / "copy", server.url):
            wait_for(lambda: head(tmp_path / "copy") == head(source))
            server.process.kill()
            server.process.wait()
            server.stop()
            time.sleep(1.0)
            server = start_server(["serve", str(source), "--port", server.url.rpartition(":")[2]])
            traffic.call = Caller(server.url)  # the connection to the one that was killed is broken
            for _ in range(30):
                traffic.step()
            wait_for(lambda: head(tmp_path / "copy") == head(source))
        assert exported(tmp_path / "copy") == exported(source)
    finally:
        server.stop()


# -- what is asked for -----------------------------------------------------------------------------


def test_once_stops_when_everything_is_there_and_has_nothing_to_do_again(source: Path, tmp_path: Path) -> None:
    edit(source, make_item("x", "a"))
    assert "4 changes" in mirrored(tmp_path / "copy", source)
    before = head(tmp_path / "copy")
    assert "0 changes" in mirrored(tmp_path / "copy", source)
    assert head(tmp_path / "copy") == before
    edit(source, make_item("x", "a", v=2))
    remove(source, "b")
    assert "2 changes" in mirrored(tmp_path / "copy", source)
    assert exported(tmp_path / "copy") == exported(source)


def test_a_mirror_of_a_mirror(source: Path, tmp_path: Path, serve: Callable[..., Server]) -> None:
    server = serve("serve", source, "--port", "0")
    traffic = Traffic(Caller(server.url), seed=5)
    for _ in range(60):
        traffic.step()
    mirrored(tmp_path / "first", server.url)
    mirrored(tmp_path / "second", tmp_path / "first")
    for _ in range(60):
        traffic.step()
    mirrored(tmp_path / "first", server.url)
    mirrored(tmp_path / "second", tmp_path / "first")
    assert exported(tmp_path / "second") == exported(tmp_path / "first") == exported(source)


def test_only_some_collections(source: Path, tmp_path: Path) -> None:
    edit(source, *(make_item(f"{name}1", name) for name in "abc"))
    mirrored(tmp_path / "copy", source, "--collections", "a,c")
    edit(source, *(make_item(f"{name}2", name) for name in "abc"))
    mirrored(tmp_path / "copy", source, "--collections", "a", "c")
    assert ids(source) == ["a", "b", "c", "a1", "b1", "c1", "a2", "b2", "c2"]
    assert ids(tmp_path / "copy") == ["a", "c", "a1", "c1", "a2", "c2"]


def test_collections_of_any_name_over_http(tmp_path: Path, serve: Callable[..., Server]) -> None:
    edit(tmp_path / "source", make_collection("a&b=c d+é%41#?/x"), make_collection("other"))
    server = serve("serve", tmp_path / "source", "--port", "0")
    mirrored(tmp_path / "copy", server.url, "--collections", "a&b=c d+é%41#?/x")
    assert ids(tmp_path / "copy") == ["a&b=c d+é%41#?/x"]


def test_more_collections_than_before_are_not_left_out_in_silence(source: Path, tmp_path: Path) -> None:
    """Either they come too, or it is said that --restart is needed."""
    edit(source, *(make_item(f"{name}1", name) for name in "abc"))
    mirrored(tmp_path / "copy", source, "--collections", "a")
    done = mirror(tmp_path / "copy", source, "--once")
    if done.returncode:
        assert "--restart" in done.stderr
        mirrored(tmp_path / "copy", source, "--restart")
    assert exported(tmp_path / "copy") == exported(source)


def test_restart_copies_everything_again(source: Path, tmp_path: Path) -> None:
    edit(source, make_item("x", "a"))
    mirrored(tmp_path / "copy", source)
    edit(tmp_path / "copy", make_item("stranger", "a"), make_collection("stranger"))
    mirrored(tmp_path / "copy", source, "--restart")
    assert exported(tmp_path / "copy") == exported(source)


def test_a_folder_that_holds_other_things_is_refused(source: Path, tmp_path: Path) -> None:
    edit(tmp_path / "other", make_collection("mine"))
    before = exported(tmp_path / "other")
    done = mirror(tmp_path / "other", source, "--once")
    assert done.returncode == 1
    assert "--restart" in done.stderr
    assert exported(tmp_path / "other") == before
    (tmp_path / "files").mkdir()
    (tmp_path / "files" / "note.txt").write_text("mine")
    for options in ([], ["--restart"]):
        done = mirror(tmp_path / "files", source, "--once", *options)
        assert done.returncode == 1
        assert "not empty" in done.stderr
    assert [path.name for path in (tmp_path / "files").iterdir()] == ["note.txt"]
    done = mirror(source, source, "--once")
    assert done.returncode != 0
    assert "itself" in done.stderr
    assert mirror(tmp_path / "new", tmp_path / "there-is-none", "--once").returncode == 1
    assert not (tmp_path / "new").exists()


def test_another_source_takes_the_place_of_the_first_only_with_restart(source: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    edit(other, make_collection("z"), make_item("z1", "z"))
    edit(source, make_item("x", "a"))
    copy = tmp_path / "copy"
    mirrored(copy, source)
    done = mirror(copy, other, "--once")
    assert (done.returncode, "--restart" in done.stderr) == (1, True)
    mirrored(copy, other, "--restart")
    assert exported(copy) == exported(other)
    # And back: how far it once was with the first source says nothing any more.
    done = mirror(copy, source, "--once")
    assert (done.returncode, "--restart" in done.stderr) == (1, True)
    mirrored(copy, source, "--restart")
    assert exported(copy) == exported(source)


# -- a source with a past --------------------------------------------------------------------------


@pytest.mark.parametrize("way", ["folder", "http"])
def test_a_source_that_was_restored_from_a_backup(way: str, source: Path, tmp_path: Path) -> None:
    edit(source, make_item("x", "a"))
    assert command("backup", source, tmp_path / "backup.db").returncode == 0
    edit(source, make_item("lost", "a"))
    server = start_server(["serve", str(source), "--port", "0"])
    followed: str | Path = source if way == "folder" else server.url
    copy = tmp_path / "copy"
    try:
        mirrored(copy, followed)
        server.stop()
        source.rename(tmp_path / "broken")
        assert command("restore", tmp_path / "backup.db", source).returncode == 0
        edit(source, make_item("new", "a"))
        server = start_server(["serve", str(source), "--port", server.url.rpartition(":")[2]])
        before = exported(copy)
        done = mirror(copy, followed, "--once")
        assert done.returncode == 1
        assert "restored" in done.stderr
        assert f"swath mirror {copy} {followed} --restart" in done.stderr
        assert exported(copy) == before
        mirrored(copy, followed, "--restart")
        assert exported(copy) == exported(source)
        assert "0 changes" in mirrored(copy, followed)
    finally:
        server.stop()


def test_another_catalogue_at_the_same_address(source: Path, tmp_path: Path) -> None:
    edit(tmp_path / "other", make_collection("z"))
    server = start_server(["serve", str(source), "--port", "0"])
    try:
        mirrored(tmp_path / "copy", server.url)
        server.stop()
        server = start_server(["serve", str(tmp_path / "other"), "--port", server.url.rpartition(":")[2]])
        done = mirror(tmp_path / "copy", server.url, "--once")
        assert done.returncode == 1
        assert "--restart" in done.stderr, done.stderr
        mirrored(tmp_path / "copy", server.url, "--restart")
        assert exported(tmp_path / "copy") == exported(tmp_path / "other")
    finally:
        server.stop()


def test_a_new_mirror_of_a_source_whose_history_was_pruned(source: Path, tmp_path: Path) -> None:
    edit(source, make_item("x", "a"), make_item("y", "b"))
    edit(source, make_collection("a", title="another"), make_item("x", "a", v=2), make_item("z", "a"))
    remove(source, "b")
    with Session(source) as session:
        session.restore("b")
    prune(source)
    mirrored(tmp_path / "copy", source)
    assert exported(tmp_path / "copy") == exported(source)


@pytest.mark.parametrize("pruned", [False, True])
def test_a_mirror_brings_back_the_same_of_several_deleted_collections(
    pruned: bool, source: Path, tmp_path: Path
) -> None:
    edit(source, make_collection("b", title="first"), make_item("x", "b"))
    mirrored(tmp_path / "follower", source)
    remove(source, "b")
    edit(source, make_collection("b", title="second"), make_item("y", "b"))
    remove(source, "b")
    with Session(source) as session:
        session.restore("b", version=json.loads(command("trash", source, "--json").stdout.splitlines()[-1])["version"])
        assert [each["id"] for each in session.search(collections=["b"])] == ["x"]
    mirrored(tmp_path / "follower", source)
    if pruned:
        prune(source)
    mirrored(tmp_path / "copy", source)
    for copy in ("copy", "follower"):
        assert exported(tmp_path / copy) == exported(source)


def test_a_mirror_of_a_source_that_prunes_goes_on(source: Path, tmp_path: Path) -> None:
    edit(source, make_item("x", "a"), make_item("y", "b"))
    mirrored(tmp_path / "copy", source)
    for number in range(3):
        edit(source, make_item("x", "a", v=number), make_collection("b", title=f"{number}"))
        edit(source, make_item(f"y{number}", "b"))
        remove(source, "b", f"y{number}")
        prune(source)
        mirrored(tmp_path / "copy", source)
        assert exported(tmp_path / "copy") == exported(source)


def remove(folder: Path, collection: str, item: str | None = None) -> None:
    with Session(folder) as session:
        session.remove(collection, item, cascade=True)


def prune(folder: Path) -> None:
    """What `SWATH_HISTORY_DAYS` does in the course of time, at once."""
    ledger = SqliteLedger(folder)
    ledger.prune(0)
    assert ledger.pruned() == ledger.head()
    ledger.close()


# -- an API without a feed -------------------------------------------------------------------------


def answering(status: int, body: bytes) -> Callable[[FakeApi, Asked], Said | None]:
    """What an API may say when it is asked for changes."""
    return lambda _api, asked: Said(status, body) if asked.path == "/changes" else None


def test_of_an_api_without_a_feed_what_is_updated_is_asked_for(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with faking(FakeApi(dated(20), most=7)) as api:
        done = mirror(copy, api.url, "--once", "--header", "X-Key: sesame")
        assert done.returncode == 0, done.stderr
        assert "no feed of changes" in done.stderr
        assert "what is deleted cannot be seen" in done.stderr
        assert all(asked.headers.get("x-key") == "sesame" for asked in api.asked)
        assert len(ids(copy)) == 21
        api.items[3] = make_item("c-00003", "c", updated="2030-01-01T00:00:00Z", v=1)
        with following(copy, api.url, "--interval", "1"):
            wait_for(lambda: b'"v":1' in exported(copy))
            api.items.append(make_item("new", "c", updated="2031-01-01T00:00:00Z"))
            wait_for(lambda: "new" in ids(copy))


def test_restart_takes_away_what_an_api_without_a_feed_has_no_more(tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    with faking(FakeApi(dated(3))) as api:
        assert mirror(copy, api.url, "--once").returncode == 0
        del api.items[1]
        assert mirror(copy, api.url, "--once", "--restart").returncode == 0
        # As the help says: "Take away what is in the catalogue, and copy everything again."
        assert ids(copy) == ["c", "c-00000", "c-00002"]


def test_a_folder_that_holds_other_things_is_refused_for_an_api_without_a_feed_too(tmp_path: Path) -> None:
    before = exported(edit(tmp_path / "other", make_collection("mine")))
    with faking(FakeApi(dated(3))) as api:
        done = mirror(tmp_path / "other", api.url, "--once")
    assert (done.returncode, "--restart" in done.stderr) == (1, True)
    assert exported(tmp_path / "other") == before


def test_a_feed_that_fails_is_not_taken_for_none(tmp_path: Path) -> None:
    """Else a fault of a minute turns a mirror into one that sees no ends."""
    with faking(FakeApi(dated(3), hook=answering(500, b'{"code": "InternalError"}'))) as api:
        done = mirror(tmp_path / "copy", api.url, "--once")
    assert "no feed of changes" not in done.stderr
    assert done.returncode == 1


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>welcome</html>"), (200, b'{"type": "Catalog"}'), (400, b"{}"), (403, b"{}")]
)
def test_whatever_an_api_without_a_feed_answers_there(tmp_path: Path, status: int, body: bytes) -> None:
    with faking(FakeApi(dated(3), hook=answering(status, body))) as api:
        done = mirror(tmp_path / "copy", api.url, "--once")
    assert done.returncode == 0, done.stderr
    assert len(ids(tmp_path / "copy")) == 4


@pytest.mark.parametrize("options", [["--interval", "0"], ["--interval", "nan"], ["--header", "no colon"]])
def test_options_that_make_no_sense(tmp_path: Path, options: list[str]) -> None:
    with faking(FakeApi(dated(3))) as api:
        done = mirror(tmp_path / "copy", api.url, "--once", *options)
    assert done.returncode in (1, 2)
    assert "unexpected" not in done.stderr
    assert not (tmp_path / "copy").exists()

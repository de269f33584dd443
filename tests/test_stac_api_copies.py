"""`swath load CATALOG https://…`: copies that are stopped go on where they were, and later ask for what is newer."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

import msgspec
import pytest

import swath
from swath.catalog.copying import Copy, Source
from swath.errors import SwathError
from swath.formats.stac_api import Place
from swath.formats.web import Client, Request
from swath.stac.time import format_instant, parse_instant
from tests.conftest import SWATH, Server, long, make_item, run_swath, sample_items
from tests.fake_api import (
    FILTER,
    QUERY,
    SORT,
    Asked,
    FakeApi,
    Said,
    Slept,
    dated,
    faking,
    faults,
    items_of,
    notes,
    read,
    some,
    stored,
)


@pytest.mark.parametrize("methods", [("GET",), ("POST",)])
@pytest.mark.parametrize("conforms", [(SORT, FILTER), (FILTER,), (SORT, QUERY), (QUERY,), (SORT,), ()])
def test_only_what_is_newer_is_asked_for_where_the_api_can_tell(
    conforms: tuple[str, ...], methods: tuple[str, ...]
) -> None:
    draw = random.Random(5)
    items = dated(2_300)
    draw.shuffle(items)
    since = parse_instant("2024-01-02T13:00:00Z")
    newer = {f"c-{n:05d}" for n in range(1440 + 780, 2_300)}
    with faking(FakeApi(items, "get" if methods == ("GET",) else "post", methods, conforms)) as api:
        whole = read(api)
        assert Counter(items_of(whole)) == Counter(item["id"] for item in items)
        assert whole[-1].place.newest == parse_instant("2024-01-02T14:19:00Z")
        before = len(api.pages())
        pages = read(api, since=since)
    asked = len(api.pages()) - before
    assert newer <= set(items_of(pages))
    if FILTER in conforms or QUERY in conforms:
        assert set(items_of(pages)) == newer
        assert asked == 1
    elif SORT in conforms:
        assert asked == 1  # from the newest on, until they are old
    else:
        assert asked == 5
        assert "everything is walked" in notes(pages)


def test_a_filter_that_is_not_heeded_is_noticed() -> None:
    with faking(FakeApi(dated(30), conforms=(FILTER,))) as api:
        api.hook = lambda fake, asked: fake.page(asked, fake.items) if asked.searches else None
        pages = read(api, since=parse_instant("2024-01-01T00:25:00Z"))
    assert len(items_of(pages)) == 30
    assert "everything is walked" in notes(pages)


def test_items_without_updated_are_walked_in_the_apis_own_order() -> None:
    items = [make_item(f"{n:03d}") for n in range(250)]
    with faking(FakeApi(items, most=100)) as api:
        pages = read(api)
    assert len(items_of(pages)) == 250
    assert [bool(asked.value("sortby")) for asked in api.asked if asked.searches] == [True, False, False, False]
    assert pages[-1].place.newest is None
    assert "250 of 250 items have no `updated`" in notes(pages)


def test_a_walk_is_never_newer_than_its_beginning() -> None:
    """Some publishers write the day on which they want an item to be seen."""
    items = [make_item("a", updated="2999-01-01T00:00:00Z"), make_item("b", updated="2024-01-01T00:00:00Z")]
    began = int(time.time() * 1e6)
    with faking(FakeApi(items)) as api:
        newest = read(api)[-1].place.newest
    assert newest is not None
    assert began - 2_000_000 <= newest < parse_instant("2900-01-01T00:00:00Z")


def test_a_second_run_asks_only_for_what_is_newer(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with faking(some(450)) as api:
        assert run_swath("load", folder, api.url).returncode == 0
        assert len(api.pages()) == 5
        again = run_swath("load", folder, api.url, "--json")
        report = json.loads(again.stdout)
        assert (report["created"], report["updated"], report["unchanged"]) == (0, 0, 2)  # a minute is asked for twice
        assert len(api.pages()) == 6
        api.items += dated(50, start=450)
        api.items[7] = make_item("c-00007", n="new", updated="2024-01-01T09:00:00Z")
        third = json.loads(run_swath("load", folder, api.url, "--json").stdout)
        assert (third["created"], third["updated"]) == (50, 1)
        full = json.loads(run_swath("load", folder, api.url, "--json", "--full").stdout)
        assert (full["created"], full["updated"], full["unchanged"]) == (0, 0, 500)
    assert stored(folder)["c-00007"]["properties"]["n"] == "new"
    assert len(stored(folder)) == 500


def killed_at(api: FakeApi, folder: Path, number: int) -> None:
    """Run a load, and kill it when it asks for the page with that number."""
    started = threading.Event()
    process: list[subprocess.Popen[bytes]] = []
    count = [0]

    def hook(_: FakeApi, asked: Asked) -> Said | None:
        if asked.searches:
            count[0] += 1
            if count[0] == number:
                started.wait(60)
                os.kill(process[0].pid, signal.SIGKILL)
        return None

    api.hook = hook
    process.append(subprocess.Popen([SWATH, "load", str(folder), api.url], stderr=subprocess.DEVNULL))
    started.set()
    assert process[0].wait(120) == -signal.SIGKILL
    api.hook = None


@pytest.mark.parametrize("paging", ["post", "merge", "get", "offset", "page"])
def test_a_killed_copy_goes_on_where_it_was(paging: str, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with faking(FakeApi(dated(1_450), paging, most=100)) as api:
        killed_at(api, folder, 5)
        killed_at(api, folder, 3)
        done = run_swath("load", folder, api.url)
        assert done.returncode == 0, done.stderr
        assert "goes on where the last run stopped, behind 600 items" in done.stderr
    seen = Counter(api.pages())
    assert sum(seen.values()) == 15 + 2  # those in flight came twice
    assert max(seen.values()) == 2
    assert stored(folder) == {item["id"]: item for item in api.items}


def test_a_copy_that_is_killed_at_any_moment_loses_and_repeats_nothing(tmp_path: Path) -> None:
    draw = random.Random(9)
    kills = 0
    for number in range(long(1, 60)):
        folder = tmp_path / f"c{number}"
        with faking(FakeApi(dated(1_200), most=40)) as api:
            slow = draw.uniform(0.01, 0.04)
            api.hook = lambda _, asked, slow=slow: time.sleep(slow) if asked.searches else None
            here = 0
            while True:
                process = subprocess.Popen([SWATH, "load", str(folder), api.url], stderr=subprocess.DEVNULL)
                try:
                    assert process.wait(draw.uniform(0.6, 1.6) if here < 6 else 120) == 0
                    break
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()
                    here += 1
            kills += here
            seen = Counter(api.pages())
        assert set(seen) == {"None", *(f"0-{n}" for n in range(40, 1_200, 40))}
        assert sum(seen.values()) <= 30 + here  # none but those in flight came twice
        assert stored(folder) == {item["id"]: item for item in api.items}
        with swath.open(folder) as session:
            assert session._catalog.ledger.head() == 1_201  # a collection, and each item once
    print(f"{kills} kills")
    assert kills


def test_a_stop_tells_how_to_go_on(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with faking(some(450)) as api:
        api.hook = faults(Said(403, b'{"description": "enough for today"}'), at=2)
        stopped = run_swath("load", folder, api.url, "--json")
        assert stopped.returncode == 1
        report = json.loads(stopped.stdout)
        assert report["created"] == 200
        assert "answered 403 Forbidden: enough for today" in report["stopped"]
        assert "Run it again to go on where it stopped." in stopped.stderr
        assert "Traceback" not in stopped.stderr
        done = run_swath("load", folder, api.url)
        assert done.returncode == 0
        assert "c: 250 new items" in done.stderr
    assert Counter(api.pages()) == {"None": 1, "0-100": 1, "0-200": 2, "0-300": 1, "0-400": 1}


def test_ctrl_c_stops_between_pages(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with faking(some(450)) as api:
        process: list[subprocess.Popen[str]] = []

        def hook(_: FakeApi, asked: Asked) -> Said | None:
            if asked.token == "0-200":
                process[0].send_signal(signal.SIGINT)
                time.sleep(1)
            return None

        api.hook = hook
        process.append(subprocess.Popen([SWATH, "load", str(folder), api.url], stderr=subprocess.PIPE, text=True))
        _, words = process[0].communicate(timeout=60)
        assert process[0].returncode == 130
        assert "stopped" in words
        assert "Traceback" not in words
        api.hook = None
        assert run_swath("load", folder, api.url).returncode == 0
    assert len(stored(folder)) == 450
    assert max(Counter(api.pages()).values()) <= 2


@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_place_that_the_server_forgot_is_begun_anew(status: int, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with faking(some(450)) as api:
        killed_at(api, folder, 4)
        api.life = 1

        def hook(_: FakeApi, asked: Asked) -> Said | None:
            return Said(status, b'{"detail": "expired"}') if asked.token.startswith("0-") else None

        api.hook = hook
        done = run_swath("load", folder, api.url, "--json")
        assert done.returncode == 0, done.stderr
        report = json.loads(done.stdout)
        assert (report["created"], report["unchanged"]) == (150, 300)
        assert "does not know any more where the last run stopped" in report["notes"][0]
    assert len(stored(folder)) == 450


def test_restart_and_full(tmp_path: Path) -> None:
    folder = tmp_path / "c"
    with faking(some(450)) as api:
        killed_at(api, folder, 4)
        assert json.loads(run_swath("load", folder, api.url, "--json", "--restart").stdout)["unchanged"] == 300
        api.items += dated(300, start=450)
        killed_at(api, folder, 3)  # in the midst of what is newer
        full = json.loads(run_swath("load", folder, api.url, "--json", "--full").stdout)
        assert full["created"] + full["unchanged"] == 750
        killed_at_full = ("load", folder, api.url, "--full")
        api.hook = faults(Said(403), at=5)
        assert run_swath(*killed_at_full).returncode == 1
        assert "goes on where the last run stopped, behind 500 items" in run_swath(*killed_at_full).stderr
    assert len(stored(folder)) == 750


def test_what_is_known_of_a_source_goes_with_the_life_of_the_catalogue(tmp_path: Path) -> None:
    """A catalogue that was restored or made anew lacks what the file tells of."""
    with faking(some(250)) as api:
        assert run_swath("load", tmp_path / "a", api.url).returncode == 0
        assert run_swath("load", tmp_path / "b", api.url, "--collections", "nothing").returncode == 3
        (file,) = (tmp_path / "a" / "sources").iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        (tmp_path / "b" / "sources" / file.name).write_bytes(file.read_bytes())
        assert json.loads(run_swath("load", tmp_path / "b", api.url, "--json").stdout)["created"] == 250
        file.write_text("{broken")
        assert json.loads(run_swath("load", tmp_path / "a", api.url, "--json").stdout)["unchanged"] == 250
        known = msgspec.json.decode(file.read_bytes(), type=Source)
    assert known.newest == parse_instant("2024-01-01T04:09:00Z")
    assert known.place is None


def test_a_place_can_be_kept_as_json_and_taken_up_by_another_process() -> None:
    with faking(some(950)) as api:
        whole = read(api)
        for number, page in enumerate(whole[:-1]):
            place = msgspec.json.decode(msgspec.json.encode(page.place), type=Place)
            before = len(api.asked)
            rest = read(api, place=place)
            assert items_of(whole[: number + 1]) + items_of(rest) == items_of(whole)
            pages = [asked for asked in api.asked[before:] if asked.path not in ("/", "/conformance")]
            assert len(pages) == len(whole) - number - 1
            assert rest[-1].place == whole[-1].place


def test_a_served_catalogue_is_copied_whole(samples: Server, sample_catalog: Path, tmp_path: Path) -> None:
    folder = tmp_path / "copy"
    done = run_swath("load", folder, samples.url, "--json")
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    assert report["created"] == sum(1 for _ in sample_items())
    assert report["made_collections"] == []
    here, there = stored(folder), stored(sample_catalog)
    own = {"self", "root", "parent", "collection"}
    for key, item in here.items():  # the other server's word for when its items came and were changed
        for name in ("created", "updated"):
            if name not in there[key]["properties"]:
                del item["properties"][name]
    for found in (here, there):
        for item in found.values():
            item["links"] = [link for link in item["links"] if link["rel"] not in own]
    assert here.keys() == there.keys()
    changed = {key for key in here if here[key] != there[key]}
    relative = {key for key, item in there.items() if any("://" not in a["href"] for a in item["assets"].values())}
    assert changed <= relative  # they would lead nowhere
    assert len(changed) < 100
    again = json.loads(run_swath("load", folder, samples.url, "--json", "--full").stdout)
    assert (again["created"], again["updated"], again["unchanged"]) == (0, 0, len(there))


def test_a_served_catalogue_is_asked_for_what_is_newer(serve: Any, tmp_path: Path) -> None:
    source = tmp_path / "source.ndjson"
    source.write_text("".join(json.dumps(item) + "\n" for item in dated(1_300)))
    assert run_swath("load", tmp_path / "a", source).returncode == 0
    server = serve("serve", tmp_path / "a", "--port", "0")
    assert run_swath("load", tmp_path / "b", server.url).returncode == 0
    with swath.open(tmp_path / "a") as session:
        session.write(dated(700, start=1_300))
        session.write([make_item("c-00000", n="changed", updated=format_instant(int(time.time() * 1e6)))])
    done = json.loads(run_swath("load", tmp_path / "b", server.url, "--json").stdout)
    assert (done["created"], done["updated"], done["unchanged"]) == (700, 1, 2)
    assert done["notes"] == []
    assert stored(tmp_path / "b")["c-00000"]["properties"]["n"] == "changed"


def test_in_python_too(samples: Server, tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        report = session.load(samples.url, collections=["io-lulc"], headers={"X-Key": "1"})
        assert (report.created, report.collections) == (3, 1)
        assert session.count() == 3
        with pytest.raises(SwathError, match="cannot reach"):
            session.load("http://127.0.0.1:9/")


def test_words_that_do_not_fit_are_told(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text(json.dumps(make_item("a")))
    for arguments, words in (
        ((tmp_path / "a.ndjson", "--full"), "--full is for addresses, and none is named"),
        ((tmp_path / "a.ndjson", "--header", "A: b"), "--header is for addresses"),
        (("http://127.0.0.1:9/", "--absolute", "https://x"), "--absolute is for files"),
        (("http://127.0.0.1:9/",), "cannot reach http://127.0.0.1:9/"),
        (("file:///etc/passwd",), "neither a file nor a folder"),
    ):
        done = run_swath("load", tmp_path / "c", *arguments)
        assert done.returncode == 1
        assert words in done.stderr
        assert not (tmp_path / "c").exists()


def test_files_and_addresses_together(tmp_path: Path) -> None:
    (tmp_path / "a.ndjson").write_text(json.dumps(make_item("a")))
    with faking(some(150)) as api:
        done = run_swath("load", tmp_path / "c", tmp_path / "a.ndjson", api.url, "--json")
    assert json.loads(done.stdout)["created"] == 151


def test_the_client_is_safe_to_share() -> None:
    with faking(FakeApi(dated(5))) as api, Client(api.url) as client:
        answers: list[int] = []

        def ask() -> None:
            for _ in range(20):
                client.fetch(Request(f"{api.url}/search?limit=5"), lambda answer: answers.append(len(answer.body)))

        threads = [threading.Thread(target=ask) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(answers) == 80
        assert len(set(answers)) == 1


def test_a_run_in_python_goes_on_after_the_network_came_back(tmp_path: Path) -> None:
    with faking(some(450)) as api, swath.open(tmp_path / "c", create=True) as session:
        ledger = session._catalog.ledger
        api.hook = lambda _, asked: Said(drop=True) if asked.token == "0-200" else None
        slept = Slept()
        with Client(api.url, sleep=slept) as client:
            copy = Copy(api.url, client)
            copy.begin(tmp_path / "c", ledger.epoch)
            report = copy.run(ledger, tmp_path / "c")
        assert report.created == 200
        assert report.stopped is not None
        assert "cannot reach" in report.stopped
        assert len(slept.waits) > 5
        api.hook = None
        with Client(api.url, sleep=slept) as client:
            again = Copy(api.url, client)
            again.begin(tmp_path / "c", ledger.epoch)
            assert again.resumed is not None
            assert again.run(ledger, tmp_path / "c").created == 250

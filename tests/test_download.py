"""`swath download`: files of items, from a folder and from an API, over servers that do not make it easy."""

from __future__ import annotations

import base64
import gzip
import hashlib
import json
import os
import pty
import random
import signal
import subprocess
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

import pystac
import pytest

import swath
from tests.conftest import SWATH, command, make_collection, make_item, run_swath, serving
from tests.fake_api import Asked, FakeApi, Said, faking
from tests.file_server import FileServer, Served, serving_files

TIFF = "image/tiff; application=geotiff"


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("swath.download.fetching._FIRST_WAIT", 0.01)


def noise(size: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(size)


def multihash(content: bytes) -> str:
    return f"1220{hashlib.sha256(content).hexdigest()}"


def item_of(server: FileServer, *names: str, item_id: str = "i", asset: dict[str, Any] | None = None) -> dict[str, Any]:
    """An item with one asset for each file, under its name without its ending."""
    item = make_item(item_id)
    for name in names:
        item["assets"][name.partition(".")[0]] = {"href": f"{server.url}/{name}", "roles": ["data"], **(asset or {})}
    return item


def catalogue(folder: Path, *items: dict[str, Any]) -> Path:
    """A catalogue in a folder, of these items."""
    lines = [make_collection(name) for name in sorted({item["collection"] for item in items})]
    file = folder / "items.ndjson"
    file.write_text("".join(f"{json.dumps(each)}\n" for each in [*lines, *items]))
    done = command("load", folder / "c", file)
    assert done.returncode == 0, done.stderr
    return folder / "c"


def download(source: Path | str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return command("download", source, "-o", folder, "--limit", "0", *arguments)


def told(done: subprocess.CompletedProcess[str]) -> list[dict[str, Any]]:
    return [json.loads(line) for line in done.stdout.splitlines()]


def files_of(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}


def documents(*items: str) -> set[str]:
    return {"catalog.json", "c/collection.json", *(f"c/{item}/item.json" for item in items)}


# -- what comes, and where it lies ---------------------------------------------------------------


def test_every_file_of_every_item_comes_whole_under_its_name(tmp_path: Path) -> None:
    contents = {"a.tif": noise(300_000, 1), "b.tif": noise(5, 2), "empty.txt": b""}
    with serving_files(**{name: Served(content) for name, content in contents.items()}) as server:
        source = catalogue(tmp_path, item_of(server, *contents), item_of(server, "a.tif", item_id="j"))
        done = download(source, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "out") == documents("i", "j") | {"c/i/a.tif", "c/i/b.tif", "c/i/empty.txt", "c/j/a.tif"}
    for name, content in contents.items():
        assert (tmp_path / "out/c/i" / name).read_bytes() == content
    assert "4 files of 2 items, 600.0 kB" in done.stderr
    assert "4 files, 600.0 kB in " in done.stderr


def test_the_folder_is_a_static_stac_catalogue(tmp_path: Path) -> None:
    content = noise(1_000)
    with serving_files(**{"a.tif": Served(content), "b.tif": Served(b"b")}) as server:
        source = catalogue(tmp_path, item_of(server, "a.tif", "b.tif"))
        assert download(source, tmp_path / "out", "--assets", "a").returncode == 0
        other = f"{server.url}/b.tif"
    read = pystac.Catalog.from_file(str(tmp_path / "out/catalog.json"))
    (item,) = read.get_items(recursive=True)
    assert (item.id, item.collection_id) == ("i", "c")
    href = item.assets["a"].get_absolute_href()
    assert href is not None
    assert Path(href).read_bytes() == content
    assert item.assets["b"].href == other
    again = command("load", tmp_path / "again", tmp_path / "out")
    assert again.returncode == 0, again.stderr
    assert command("search", tmp_path / "again", "--count").stdout == "1\n"


def test_later_runs_add_to_the_folder(tmp_path: Path) -> None:
    with serving_files(**{"x/B02.tif": Served(b"ten"), "y/B02.tif": Served(b"twenty")}) as server:
        item = make_item("i")
        item["assets"] = {"ten": {"href": f"{server.url}/x/B02.tif"}, "twenty": {"href": f"{server.url}/y/B02.tif"}}
        source = catalogue(tmp_path, item)
        assert download(source, tmp_path / "out", "--assets", "twenty").returncode == 0
        assert download(source, tmp_path / "out").returncode == 0
    kept = json.loads((tmp_path / "out/c/i/item.json").read_bytes())["assets"]
    assert {key: asset["href"] for key, asset in kept.items()} == {"ten": "./B02_2.tif", "twenty": "./B02.tif"}
    assert (tmp_path / "out/c/i/B02.tif").read_bytes() == b"twenty"
    assert (tmp_path / "out/c/i/B02_2.tif").read_bytes() == b"ten"


def test_assets_are_selected_by_key_and_by_role(tmp_path: Path) -> None:
    with serving_files(**{f"{name}.tif": Served(name.encode()) for name in "abc"}) as server:
        item = item_of(server, "a.tif", "b.tif", "c.tif")
        item["assets"]["b"]["roles"] = ["thumbnail", "overview"]
        del item["assets"]["c"]["roles"]
        source = catalogue(tmp_path, item)
        found = {}
        for words in (("--roles", "data"), ("--roles", "overview", "--assets", "c"), ("--assets", "a,b")):
            done = download(source, tmp_path / "out", "--dry-run", "--json", *words)
            found[words[-1]] = [each["assets"] for each in told(done)]
        wrong = download(source, tmp_path / "out", "--roles", "dta")
    assert found == {"data": [["a"]], "c": [["b"], ["c"]], "a,b": [["a"], ["b"]]}
    assert wrong.returncode == 1
    assert wrong.stderr.endswith("none of 1 items has such an asset; did you mean data?\n")
    assert not (tmp_path / "out").exists()


def test_two_assets_of_one_address_are_one_file(tmp_path: Path) -> None:
    with serving_files(**{"a.tif": Served(b"a")}) as server:
        item = item_of(server, "a.tif")
        item["assets"]["alias"] = {"href": f"{server.url}/a.tif"}
        assert download(catalogue(tmp_path, item), tmp_path / "out").returncode == 0
        assert len(server.gets()) == 1
    kept = json.loads((tmp_path / "out/c/i/item.json").read_bytes())["assets"]
    assert [asset["href"] for asset in kept.values()] == ["./a.tif", "./a.tif"]


def test_a_dry_run_says_what_would_come_and_fetches_nothing(tmp_path: Path) -> None:
    with serving_files(**{"a.tif": Served(noise(1_234)), "b.tif": Served(b"b", length=False)}) as server:
        source = catalogue(tmp_path, item_of(server, "a.tif", "b.tif"))
        done = download(source, tmp_path / "out", "--dry-run")
        assert server.gets() == []
    assert done.returncode == 0
    assert done.stdout == "    1.2 kB  c/i/a.tif\n   unknown  c/i/b.tif\n"
    assert done.stderr == "2 files of 1 items, 1.2 kB and 1 files of unknown size\n"
    assert not (tmp_path / "out").exists()


def test_everything_there_is_must_be_asked_for(tmp_path: Path) -> None:
    source = catalogue(tmp_path, make_item("i"))
    done = command("download", source)
    assert done.returncode == 1
    assert "that would be everything there is" in done.stderr
    assert download(source, tmp_path / "out", "--ids", "nobody").stderr == "swath: no item is found\n"


# -- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('attachment; filename="scene.tif"', "scene.tif"),
        ("attachment; filename=\"plain.tif\"; filename*=UTF-8''S%C3%A3o%20Paulo.tif", "São Paulo.tif"),
        ("inline; filename=token.tif", "token.tif"),
        ('attachment; filename="../../../etc/passwd"', "passwd"),
        ('attachment; filename="C:\\\\\\\\Windows\\\\\\\\win.ini"', "win.ini"),
        ("attachment; filename*=UTF-8''..%2F..%2Fevil.tif", "evil.tif"),
        ("attachment; filename*=UTF-8''a%00b%0A.tif", "a_b_.tif"),
        ('attachment; filename=".bashrc"', "_bashrc"),
        ('attachment; filename="-rf.tif"', "_rf.tif"),
        ('attachment; filename="CON.tif"', "_CON.tif"),
        ('attachment; filename="item.json"', "item_2.json"),
        ('attachment; filename="collection.json"', "collection_2.json"),
        ('attachment; filename="x.part~"', "x.part"),
        ("attachment; filename*=UTF-8''%E2%80%AEfit.exe", "_fit.exe"),
        ('attachment; filename="' + 300 * "n" + '.tif"', 196 * "n" + ".tif"),
        ("attachment; filename*=UTF-8''" + 150 * "%E6%9D%B1" + ".tif", 65 * "東" + ".tif"),
        ('attachment; filename=".."', "from-url.tif"),
        ('attachment; filename=""', "from-url.tif"),
        ("attachment", "from-url.tif"),
        ('attachment; filename="a/"', "a"),
    ],
)
def test_a_name_that_a_server_gives_stays_in_its_folder(tmp_path: Path, disposition: str, name: str) -> None:
    served = Served(b"bytes", {"Content-Disposition": disposition})
    with serving_files(**{"from-url.tif": served}) as server:
        done = download(catalogue(tmp_path, item_of(server, "from-url.tif")), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "out") == documents("i") | {f"c/i/{name}"}
    assert (tmp_path / "out/c/i" / name).read_bytes() == b"bytes"


@pytest.mark.parametrize(
    ("path", "media_type", "name"),
    [
        ("v2/assets/0b8ae4f2-36ad-4e5c-9c7b-63a4f8c2e4b1", TIFF, "0b8ae4f2-36ad-4e5c-9c7b-63a4f8c2e4b1.tif"),
        ("B04.jp2", "image/jp2", "B04.jp2"),
        ("render.php", "image/png", "render.php.png"),
        ("v1.2", "application/geo+json", "v1.2.geojson"),
        ("band", None, "band"),
        ("a%2Fb.tif", TIFF, "a_b.tif"),
        ("%2e%2e", TIFF, "key.tif"),
        ("dir/", "text/plain", "dir.txt"),
        ("T%C3%BCrkiye.tif", TIFF, "Türkiye.tif"),
    ],
)
def test_without_one_the_name_is_that_of_the_address(path: str, media_type: str | None, name: str) -> None:
    from swath.download.names import url_name

    assert url_name(f"https://example.org/{path}?sig=/x.zip", "key", media_type) == name


def test_equal_names_of_one_item_are_told_apart_also_in_other_capitals(tmp_path: Path) -> None:
    served = {f"{n}": Served(f"{n}".encode(), {"Content-Disposition": f"a; filename={name}"})
              for n, name in enumerate(("x.tif", "X.TIF", "x.tif", "x.tar.gz", "x.tar.gz"))}  # fmt: skip
    with serving_files(**served) as server:
        done = download(catalogue(tmp_path, item_of(server, *served)), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    names = ["x.tif", "X_2.TIF", "x_3.tif", "x.tar.gz", "x_2.tar.gz"]
    assert [(tmp_path / "out/c/i" / name).read_text() for name in names] == ["0", "1", "2", "3", "4"]


@pytest.mark.parametrize("item_id", ["..", "a/b", "../../x", "nul\0", ".hidden", 300 * "i", "CON", "a:b*", "~", "日本"])
def test_ids_of_another_server_make_folders_that_are_safe(tmp_path: Path, item_id: str) -> None:
    with serving_files(**{"a.tif": Served(b"a")}) as server:
        item = {**item_of(server, "a.tif"), "id": item_id}
        with faking(FakeApi([item, {**item, "id": "plain"}])) as api:
            done = download(api.url, tmp_path / "far/down/out")
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"far"}
    (found,) = [path for path in (tmp_path / "far/down/out/c").iterdir() if path.is_dir() and path.name != "plain"]
    assert files_of(found) == {"item.json", "a.tif"}
    assert json.loads((found / "item.json").read_bytes())["id"] == item_id
    assert found.name[0] not in ".~-"
    assert len(found.name.encode()) <= 200


def test_ids_that_look_alike_have_folders_of_their_own() -> None:
    from swath.download.names import folder_name

    ids = ["a_b", "a/b", "a:b", ".a", "_a", "a", "a.", 300 * "x", 301 * "x", "CON", "_CON", "", "é", "e\u0301"]
    assert len({folder_name(each).casefold() for each in ids}) == len(ids)


# -- checks --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("checksum", "algorithm"),
    [
        ("1220" + hashlib.sha256(b"abc").hexdigest(), "sha256"),
        ("1220" + hashlib.sha256(b"abc").hexdigest().upper(), "sha256"),
        ("1114" + hashlib.sha1(b"abc").hexdigest(), "sha1"),
        ("d50110" + hashlib.md5(b"abc").hexdigest(), "md5"),
        ("1340" + hashlib.sha512(b"abc").hexdigest(), "sha512"),
        ("a0e40220" + hashlib.blake2b(b"abc", digest_size=32).hexdigest(), "blake2b"),
        (hashlib.md5(b"abc").hexdigest(), "size"),  # no multihash
        ("1220abcd", "size"),
        ("zz", "size"),
    ],
)
def test_a_file_is_checked_by_the_checksum_of_its_item(tmp_path: Path, checksum: str, algorithm: str) -> None:
    with serving_files(**{"a.txt": Served(b"abc")}) as server:
        item = item_of(server, "a.txt", asset={"file:checksum": checksum})
        done = download(catalogue(tmp_path, item), tmp_path / "out", "--json")
    assert done.returncode == 0, done.stderr
    (line,) = told(done)
    assert (line["status"], line["checked"], line["size"]) == ("downloaded", algorithm, 3)


@pytest.mark.parametrize(
    ("asset", "headers", "reason"),
    [
        ({"file:checksum": multihash(b"other")}, {"ETag": '"1"'}, "its sha256 is "),
        ({}, {"Repr-Digest": f"sha-256=:{base64.b64encode(hashlib.sha256(b'other').digest()).decode()}:"},
         "by Repr-Digest it is "),
        ({"file:size": 4}, {"ETag": '"1"'}, "it has 3 bytes; by the item's file:size it has 4"),
        ({"file:size": 2}, {"ETag": '"1"'}, "it has 3 bytes; by the item's file:size it has 2"),
    ],
)  # fmt: skip
def test_a_file_that_is_not_what_was_promised_does_not_get_its_name(
    tmp_path: Path, asset: dict[str, Any], headers: dict[str, str], reason: str
) -> None:
    with serving_files(**{"a.txt": Served(b"abc", headers), "b.txt": Served(b"b")}) as server:
        item = item_of(server, "a.txt", asset=asset)
        item["assets"]["b"] = {"href": f"{server.url}/b.txt"}
        done = download(catalogue(tmp_path, item), tmp_path / "out")
        address = f"{server.url}/a.txt"
    assert done.returncode == 3
    assert f"failed    {address}: " in done.stderr
    assert reason in done.stderr
    assert "1 failed" in done.stderr
    assert files_of(tmp_path / "out") == documents("i") | {"c/i/b.txt"}
    assert json.loads((tmp_path / "out/c/i/item.json").read_bytes())["assets"]["a"]["href"] == address


def test_a_length_that_is_a_lie_is_found_out(tmp_path: Path) -> None:
    long = Served(noise(200_000), length=False)
    with serving_files(**{"a.tif": long}) as server:
        item = item_of(server, "a.tif", asset={"file:size": 1_000})
        done = download(catalogue(tmp_path, item), tmp_path / "out")
    assert done.returncode == 1
    assert "more bytes come than the 1,000 that were announced" in done.stderr
    assert not any("a.tif" in name for name in files_of(tmp_path))


def test_what_is_there_and_right_is_left_alone(tmp_path: Path) -> None:
    contents = {"sum.tif": noise(1_000, 1), "size.tif": noise(1_000, 2)}
    with serving_files(**{name: Served(content) for name, content in contents.items()}) as server:
        item = item_of(server, *contents)
        item["assets"]["sum"] |= {"file:size": 1_000, "file:checksum": multihash(contents["sum.tif"])}
        source = catalogue(tmp_path, item)
        assert download(source, tmp_path / "out").returncode == 0
        server.asked.clear()
        again = download(source, tmp_path / "out", "--json")
        assert [(each.method, each.path) for each in server.asked] == [("HEAD", "/size.tif")]
        found = [(each["status"], each["checked"]) for each in told(again)]
        assert found == [("present", "sha256"), ("present", "size")]
        (tmp_path / "out/c/i/sum.tif").write_bytes(noise(1_000, 3))
        (tmp_path / "out/c/i/size.tif").write_bytes(b"short")
        mended = download(source, tmp_path / "out")
    assert mended.returncode == 0, mended.stderr
    for name, content in contents.items():
        assert (tmp_path / "out/c/i" / name).read_bytes() == content


# -- cuts, and going on --------------------------------------------------------------------------


def test_a_connection_that_is_cut_again_and_again_is_gone_on_with(tmp_path: Path) -> None:
    content = noise(2_000_000)
    served = Served(content, cuts=[100_000 * n for n in range(1, 6)])
    with serving_files(**{"a.tif": served}) as server:
        done = download(catalogue(tmp_path, item_of(server, "a.tif")), tmp_path / "out")
        asked = [(each.headers.get("range"), each.headers.get("if-range")) for each in server.gets()]
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/c/i/a.tif").read_bytes() == content
    starts = [0, 100_000, 300_000, 600_000, 1_000_000, 1_500_000]
    assert asked == [(None, None), *((f"bytes={start}-", '"1"') for start in starts[1:])]


def test_a_file_that_becomes_another_between_two_tries_is_begun_anew(tmp_path: Path) -> None:
    first, second = noise(300_000, 1), noise(400_000, 2)

    def change(file: Served) -> None:
        file.content, file.headers, file.then = second, {"ETag": '"2"'}, None

    for heeds in (True, False):
        served = Served(first, cuts=[150_000], then=change, heeds=heeds)
        with serving_files(**{"a.tif": served}) as server:
            folder = tmp_path / str(heeds)
            folder.mkdir()
            done = download(catalogue(folder, item_of(server, "a.tif")), folder / "out")
        assert done.returncode == 0, done.stderr
        assert (folder / "out/c/i/a.tif").read_bytes() == second


def test_a_file_that_is_another_each_time_is_given_up(tmp_path: Path) -> None:
    numbers = iter(range(2, 1_000))

    def change(file: Served) -> None:
        file.headers = {"ETag": f'"{next(numbers)}"'}
        file.cuts.append(70_000)

    with serving_files(**{"a.tif": Served(noise(100_000), cuts=[70_000], then=change, heeds=False)}) as server:
        done = download(catalogue(tmp_path, item_of(server, "a.tif")), tmp_path / "out")
    assert done.returncode == 1
    assert "another each time" in done.stderr


def test_a_server_without_ranges_or_validators_is_asked_from_the_beginning(tmp_path: Path) -> None:
    content = noise(500_000)
    for name, served in {"ranges": Served(content, cuts=[200_000], ranges=False),
                         "tags": Served(content, {}, cuts=[200_000])}.items():  # fmt: skip
        with serving_files(**{"a.tif": served}) as server:
            folder = tmp_path / name
            folder.mkdir()
            done = download(catalogue(folder, item_of(server, "a.tif")), folder / "out")
        assert done.returncode == 0, done.stderr
        assert (folder / "out/c/i/a.tif").read_bytes() == content


def test_faults_that_pass_are_waited_for_and_those_that_do_not_are_told(tmp_path: Path) -> None:
    with serving_files(**{"a.tif": Served(b"a", statuses=[500, 503, 502]), "b.tif": Served(b"b", statuses=[500] * 99),
                          "c.tif": Served(b"c", statuses=[403] * 99)}) as server:  # fmt: skip
        source = catalogue(tmp_path, item_of(server, "a.tif", "b.tif", "c.tif", "gone.tif"))
        done = download(source, tmp_path / "out")
        tries = {name: len(server.gets(f"/{name}.tif")) for name in "abc"}
    assert done.returncode == 3
    assert tries == {"a": 4, "b": 5, "c": 1}
    assert f"failed    {server.url}/b.tif: {server.url}/b.tif answered 500" in done.stderr
    assert f"failed    {server.url}/c.tif: {server.url}/c.tif answered 403" in done.stderr
    assert f"failed    {server.url}/gone.tif: {server.url}/gone.tif answered 404" in done.stderr
    assert "it asks" not in done.stderr
    assert "asking again in 1.0 s" in done.stderr  # as Retry-After says
    assert files_of(tmp_path / "out") == documents("i") | {"c/i/a.tif"}


def test_a_link_that_takes_no_head_is_still_measured(tmp_path: Path) -> None:
    content = noise(5_000)
    with serving_files(**{"a.tif": Served(content, head=False)}) as server:
        source = catalogue(tmp_path, item_of(server, "a.tif"))
        assert download(source, tmp_path / "out", "--dry-run").stdout == "    5.0 kB  c/i/a.tif\n"
        assert download(source, tmp_path / "out").returncode == 0
    assert (tmp_path / "out/c/i/a.tif").read_bytes() == content


def test_a_command_that_is_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    content = noise(4_000_000)
    served = Served(content, pause=0.02)
    with serving_files(**{"a.tif": served}) as server:
        source = catalogue(tmp_path, item_of(server, "a.tif", asset={"file:checksum": multihash(content)}))
        arguments = [SWATH, "download", str(source), "-o", str(tmp_path / "out"), "--limit", "0"]
        part = tmp_path / "out/c/i/a.tif.part~"
        had = 0
        for _ in range(3):
            with subprocess.Popen(arguments, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                while not part.exists() or part.stat().st_size < had + 300_000:
                    assert process.poll() is None
                    time.sleep(0.01)
                process.send_signal(signal.SIGKILL)
            had = part.stat().st_size
            assert not (tmp_path / "out/c/i/a.tif").exists()
        served.pause = 0.0
        server.asked.clear()
        done = run_swath(*arguments[1:])
        (last,) = server.gets()
    assert done.returncode == 0, done.stderr
    assert last.headers["range"] == f"bytes={had}-"
    assert last.headers["if-range"] == '"1"'
    assert (tmp_path / "out/c/i/a.tif").read_bytes() == content
    assert files_of(tmp_path / "out") == documents("i") | {"c/i/a.tif"}


def test_two_commands_do_not_write_one_file(tmp_path: Path) -> None:
    content = noise(1_000_000)
    served = Served(content, pause=0.02)
    with serving_files(**{"a.tif": served}) as server:
        source = catalogue(tmp_path, item_of(server, "a.tif"))
        arguments = ["download", str(source), "-o", str(tmp_path / "out"), "--limit", "0"]
        part = tmp_path / "out/c/i/a.tif.part~"
        with subprocess.Popen([SWATH, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
            while not part.exists() or not part.stat().st_size:
                assert process.poll() is None
                time.sleep(0.01)
            second = command(*arguments)
            assert process.wait(60) == 0
    assert second.returncode == 1
    assert "another download is writing" in second.stderr
    assert (tmp_path / "out/c/i/a.tif").read_bytes() == content


def test_redirects_lead_to_the_bytes_and_their_name(tmp_path: Path) -> None:
    def hook(_: FakeApi, asked: Asked) -> Said | None:
        return Said(307, b"", {"location": f"{server.url}/signed?sig=1"}) if asked.path == "/v2/assets/7" else None

    named = Served(b"there", {"Content-Disposition": 'attachment; filename="scene.tif"'})
    with serving_files(signed=named) as server, faking(FakeApi([], hook=hook)) as api:
        item = make_item("i")
        item["assets"] = {"a": {"href": f"{api.url}/v2/assets/7"}}
        done = download(catalogue(tmp_path, item), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/c/i/scene.tif").read_bytes() == b"there"


def test_bytes_that_come_compressed_unasked_are_unpacked(tmp_path: Path) -> None:
    packed = gzip.compress(b"text " * 1_000)
    with serving_files(**{"a.txt": Served(packed, {"Content-Encoding": "gzip"})}) as server:
        done = download(catalogue(tmp_path, item_of(server, "a.txt", asset={"file:size": 5_000})), tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "out/c/i/a.txt").read_bytes() == b"text " * 1_000


def test_a_terminal_is_asked_before_anything_comes(tmp_path: Path) -> None:
    with serving_files(**{"a.tif": Served(b"a")}) as server:
        source = catalogue(tmp_path, item_of(server, "a.tif"))
        for words, answer, come in (((), b"n\n", False), ((), b"y\n", True), (("--yes",), b"", True)):
            place = tmp_path / f"out{len(words)}{answer!r}"
            ours, theirs = pty.openpty()
            process = subprocess.Popen(
                [SWATH, "download", str(source), "-o", str(place), "--limit", "0", *words],
                stdin=theirs, stdout=subprocess.DEVNULL, stderr=theirs,
            )  # fmt: skip
            os.close(theirs)
            os.write(ours, answer)
            said = b""
            with suppress(OSError):  # the end of a terminal
                while chunk := os.read(ours, 1_000):
                    said += chunk
            os.close(ours)
            assert process.wait(60) == 0
            assert (b"Download? [y/N]" in said) == (not words)
            assert (place / "c/i/a.tif").exists() == come


def test_what_an_earlier_run_left_wrong_does_no_harm(tmp_path: Path) -> None:
    content = noise(100_000)
    with serving_files(**{"a.tif": Served(content), "b.tif": Served(content)}) as server:
        item = item_of(server, "a.tif", "b.tif")
        item["assets"]["a"]["file:checksum"] = multihash(content)
        source = catalogue(tmp_path, item)
        place = tmp_path / "out/c/i"
        place.mkdir(parents=True)
        for name in ("a.tif", "b.tif"):
            (place / f"{name}.part~").write_bytes(bytes(50_000))
        (place / "a.tif.resume~").write_text('{"tag": "\\"1\\"", "size": 100000}')
        (place / "b.tif.resume~").write_text("{")
        done = download(source, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert (place / "a.tif").read_bytes() == (place / "b.tif").read_bytes() == content


def test_bytes_that_were_whole_but_had_no_name_yet_are_not_fetched_again(tmp_path: Path) -> None:
    content = noise(100_000)
    with serving_files(**{"a.tif": Served(content)}) as server:
        source = catalogue(tmp_path, item_of(server, "a.tif"))
        place = tmp_path / "out/c/i"
        place.mkdir(parents=True)
        (place / "a.tif.part~").write_bytes(content)
        (place / "a.tif.resume~").write_text('{"tag": "\\"1\\"", "size": 100000}')
        done = download(source, tmp_path / "out")
        (asked,) = server.gets()
    assert done.returncode == 0, done.stderr
    assert asked.headers["range"] == "bytes=99999-"
    assert (place / "a.tif").read_bytes() == content


# -- where files may be --------------------------------------------------------------------------


def test_files_of_this_machine_are_copied_for_a_catalogue_of_this_machine(tmp_path: Path) -> None:
    (tmp_path / "käse.tif").write_bytes(noise(9_000))
    (tmp_path / "folder.tif").mkdir()
    item = make_item("i")
    item["assets"] = {
        "a": {"href": (tmp_path / "käse.tif").as_uri()},
        "folder": {"href": str(tmp_path / "folder.tif")},
        "relative": {"href": "./b.tif"},
        "elsewhere": {"href": "file://elsewhere/b.tif"},
        "ftp": {"href": "ftp://example.org/b.tif"},
    }
    done = download(catalogue(tmp_path, item), tmp_path / "out", "--json")
    assert done.returncode == 3
    assert (tmp_path / "out/c/i/käse.tif").read_bytes() == noise(9_000)
    reasons = {each["assets"][0]: each.get("reason") for each in told(done)}
    assert reasons == {
        "a": None,
        "folder": f"{tmp_path / 'folder.tif'} is no file",
        "relative": "./b.tif is relative, and nothing says to what; `swath load --absolute` does",
        "elsewhere": "file://elsewhere/b.tif is on another machine",
        "ftp": "ftp://example.org/b.tif: files are not fetched by way of ftp",
    }


def test_an_object_store_is_read_with_the_keys_of_the_environment_or_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    content = noise(300_000)
    headers = {"ETag": '"1"', "Last-Modified": "Wed, 01 Jan 2020 00:00:00 GMT"}
    with serving_files(**{"bucket/deep/a b.tif": Served(content, headers)}) as server:
        server.files["/bucket/deep/a%20b.tif"] = server.files["/bucket/deep/a b.tif"]
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
        item = make_item("i")
        item["assets"] = {"a": {"href": "s3://bucket/deep/a%20b.tif"}, "gone": {"href": "s3://bucket/gone.tif"}}
        done = download(catalogue(tmp_path, item), tmp_path / "out")
        assert all("authorization" not in each.headers for each in server.asked)
    assert done.returncode == 3
    assert "s3://bucket/gone.tif is not there" in done.stderr
    assert (tmp_path / "out/c/i/a b.tif").read_bytes() == content


def test_a_header_goes_to_the_api_and_its_files_and_to_nobody_else(tmp_path: Path) -> None:
    with serving_files(**{"far.tif": Served(b"far")}) as server:
        item = item_of(server, "far.tif")

        def hook(_: FakeApi, asked: Asked) -> Said | None:
            if asked.headers.get("authorization") != "Bearer key":
                return Said(401)
            return Said(200, b"near") if asked.path.startswith("/v2/assets/") else None

        with faking(FakeApi([item], hook=hook)) as api:
            item["assets"]["near"] = {"href": f"{api.url}/v2/assets/7", "type": TIFF}
            item["assets"]["relative"] = {"href": "v2/assets/8"}
            done = download(api.url, tmp_path / "out", "--header", "Authorization: Bearer key")
        assert all("authorization" not in each.headers for each in server.asked)
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "out") == documents("i") | {"c/i/far.tif", "c/i/7.tif", "c/i/8"}
    assert (tmp_path / "out/c/i/7.tif").read_bytes() == b"near"


@pytest.mark.parametrize("methods", [("GET", "POST"), ("GET",)])
def test_an_api_is_searched_page_by_page_with_what_was_asked(tmp_path: Path, methods: tuple[str, ...]) -> None:
    def hook(_: FakeApi, asked: Asked) -> Said | None:
        return Said(400) if asked.value("filter") else None

    with serving_files(**{"a.tif": Served(b"a")}) as server:
        items = [item_of(server, "a.tif", item_id=f"i{n}") for n in range(7)]
        paging = "post" if "POST" in methods else "get"
        with faking(FakeApi(items, paging=paging, methods=methods, most=2, hook=hook)) as api:
            done = command("download", api.url, "--collections", "c", "--limit", "5", "-o", tmp_path / "out")
            (first, *_) = [asked for asked in api.asked if asked.searches]
            assert first.method == methods[-1]
            whole = command("download", f"{api.url}/collections/c", "-o", tmp_path / "whole")
            named = command("download", api.url, "c", "-o", tmp_path / "named")
            one = command("download", f"{api.url}/collections/c/items/i3", "-o", tmp_path / "one")
            nobody = command("download", api.url, "d", "-o", tmp_path / "nobody")
    assert done.returncode == 0, done.stderr
    assert files_of(tmp_path / "out") == documents(*(f"i{n}" for n in range(5))) | {f"c/i{n}/a.tif" for n in range(5)}
    assert len(files_of(tmp_path / "whole")) == len(files_of(tmp_path / "named")) == 2 + 2 * 7, whole.stderr
    assert named.returncode == 0, named.stderr
    assert files_of(tmp_path / "one") == documents("i3") | {"c/i3/a.tif"}, one.stderr
    assert nobody.returncode == 1
    assert "no collection 'd'" in nobody.stderr


def test_a_file_of_this_machine_is_not_read_for_a_server_elsewhere() -> None:
    from swath.download.finding import source_of
    from swath.errors import InvalidRequest
    from swath.formats.web import Client

    for href in ("file:///etc/hostname", "/etc/hostname"):
        with Client("https://example.org/") as client, pytest.raises(InvalidRequest, match="is not read"):
            source_of(href, client, local=False).look()


def test_a_catalogue_in_this_process_downloads_too(tmp_path: Path) -> None:
    with serving_files(**{"a.tif": Served(b"a"), "b.tif": Served(b"b")}) as server:
        source = catalogue(tmp_path, item_of(server, "a.tif", "gone.tif"), item_of(server, "b.tif", item_id="j"))
        with swath.open(source) as catalog:
            files = catalog.download(tmp_path / "out", ids=["i"], roles=["data"])
    assert sorted((file.name, file.state) for file in files) == [("a.tif", "downloaded"), ("gone.tif", "failed")]
    assert (tmp_path / "out/c/i/a.tif").read_bytes() == b"a"


# -- the store of files --------------------------------------------------------------------------


def test_what_was_delivered_comes_back_from_the_folder_and_from_the_server(tmp_path: Path) -> None:
    original = tmp_path / "Meßpunkte.geojson"
    feature = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [8.5, 47.3]}, "properties": {"n": 1}}
    original.write_text(json.dumps({"type": "FeatureCollection", "features": [feature]}))
    done = run_swath("deliver", tmp_path / "c", original, "--datetime", "2024-05-01T00:00:00Z", "--json")
    assert done.returncode == 0, done.stderr
    delivery = json.loads(done.stdout)
    (item,) = swath.open(tmp_path / "c").search()
    local = run_swath("download", tmp_path / "c", delivery["id"], "--roles", "data", "original", "-o", tmp_path / "l")
    assert local.returncode == 0, local.stderr
    with serving(tmp_path / "c") as server:
        for number, source in enumerate((f"{server.url}/v2/assets/stac", f"{server.url}/v2/assets/{delivery['id']}")):
            place = tmp_path / str(number)
            remote = run_swath("download", source, delivery["id"], "--roles", "data,original", "-o", place)
            assert remote.returncode == 0, remote.stderr
            assert files_of(place) == files_of(tmp_path / "l")
    folder = tmp_path / "l" / item["collection"]
    assert (folder / original.name).read_bytes() == original.read_bytes()
    kept = json.loads((folder / item["id"] / "item.json").read_bytes())
    ((key, asset),) = [(key, asset) for key, asset in kept["assets"].items() if "data" in asset["roles"]]
    assert multihash((folder / item["id"] / asset["href"]).read_bytes()) == item["assets"][key]["file:checksum"]
    assert not any("swath:" in json.dumps(each) for each in (kept["stac_extensions"], kept["assets"]))

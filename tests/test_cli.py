"""The commands: what they take, what they say, how they end."""

from __future__ import annotations

import json
import os
import pty
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from swath.cli.main import app
from tests.conftest import DATA, SWATH, Server, make_item, run_swath, sample_items

COMMANDS = (
    "demo", "load", "serve", "search", "export", "queryables", "check", "doctor", "delete", "undelete", "versions",
    "trash", "changes", "settings", "mirror", "backup", "restore", "schemas", "deliver", "work", "download",
)  # fmt: skip
INNER = ("schemas add", "schemas list", "schemas remove")


def write(path: Path, *documents: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(document) + "\n" for document in documents), encoding="utf-8")
    return path


def ids(folder: Path) -> list[str]:
    lines = run_swath("search", folder, "--limit", "0", "--sortby", "id", "--json").stdout.splitlines()
    return [json.loads(line)["id"] for line in lines]


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """A catalogue of three items."""
    source = write(tmp_path / "small.ndjson", *(make_item(name, v=n) for n, name in enumerate("abc")))
    assert run_swath("load", tmp_path / "small", source).returncode == 0
    return tmp_path / "small"


def test_every_command_and_every_option_has_help() -> None:
    assert {name for name in app if not name.startswith("-")} == set(COMMANDS)
    for command in COMMANDS + INNER:
        done = run_swath(*command.split(), "--help")
        assert done.returncode == 0
        assert done.stdout.startswith(f"Usage: swath {command}")
        options = [line.strip(" │*") for line in done.stdout.splitlines() if re.match(r"│ (\*  |  )?--", line)]
        assert options or any(inner.startswith(f"{command} ") for inner in INNER)
        for option in options:
            words = re.sub(r"--[\w-]+|\b[A-Z][A-Z-]+\b|-\w\b|\[.*?\]", "", option).split()
            assert words, f"{command}: {option} has no help"


def test_help_and_version() -> None:
    for arguments in ((), ("--help",), ("-h",)):
        done = run_swath(*arguments)
        assert (done.returncode, done.stderr) == (0, "")
        assert all(command in done.stdout for command in COMMANDS)
    assert run_swath("--version").stdout == "0.1.0\n"


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["serch"], 2, 'Did you mean "search"?'),
        (["search"], 2, "requires an argument"),
        (["search", "C", "--limt", "1"], 2, "--limt"),
        (["search", "C", "--limit", "many"], 2, "--limit"),
        (["search", "C", "--limit", "-1"], 1, "--limit -1"),
        (["search", "nowhere"], 1, "there is no catalogue in nowhere; make one with: swath load nowhere SOURCE"),
        (["search", "C", "--bbox", "1,2,3"], 1, "bbox: a bbox has 4 or 6 numbers, not 3"),
        (["search", "C", "--bbox", "west"], 1, "expected west,south,east,north"),
        (["search", "C", "--datetime", "June"], 1, "datetime: 'June' is not an RFC 3339 date-time"),
        (["search", "C", "--filter", "v <"], 1, "expected a property, a literal, NOT or '(', found the end"),
        (["search", "C", "--filter", "{"], 1, "--filter is not JSON"),
        (["search", "C", "--sortby", "w"], 1, "sortby: unknown field 'w'"),
        (["search", "C", "--intersects", "missing.json"], 1, "missing.json"),
        (["search", "http://127.0.0.1:9/"], 1, "cannot reach http://127.0.0.1:9/search"),
        (["load", "C"], 1, "name at least one file or folder"),
        (["load", "C", "missing.ndjson"], 1, "missing.ndjson is neither a file nor a folder"),
        (["load", "C", "--bad"], 2, "unknown option --bad"),
        (["load", "C", "x", "--mode", "replace"], 2, "--mode"),
        (["export", "C"], 2, "--output"),
        (["export", "C", "-o", "out.csv"], 1, "end the name in .ndjson or .parquet"),
        (["export", "nowhere", "-o", "x.ndjson"], 1, "there is no catalogue in nowhere"),
        (["check", "nowhere"], 1, "there is no catalogue in nowhere"),
        (["serve", "nowhere"], 1, "there is no catalogue in nowhere"),
        (["serve", "C", "--port", "http"], 2, "--port"),
        (["serve", "C", "--public-url", "ftp://x"], 1, "setting public_url"),
        (["serve", "C", "--host", "203.0.113.1"], 1, "cannot listen on 203.0.113.1"),
    ],
)
def test_a_wrong_call_says_what_and_how_to_mend_it(small: Path, arguments: list[str], code: int, words: str) -> None:
    done = subprocess.run(
        [SWATH, *[str(small) if part == "C" else part for part in arguments]],
        capture_output=True, text=True, cwd=small.parent, timeout=60,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert words in done.stderr
    assert "Traceback" not in done.stderr
    assert done.stdout == ""
    assert len(done.stderr.splitlines()) <= 6


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    assert "Traceback" in run_swath("check", tmp_path / "nowhere", "--debug").stderr


# -- load ----------------------------------------------------------------------------------------


def test_modes_of_load(small: Path, tmp_path: Path) -> None:
    source = write(tmp_path / "more.ndjson", make_item("a", v=9), make_item("d", v=9))
    inserted = run_swath("load", small, source, "--mode", "insert")
    assert inserted.returncode == 3
    assert f"refused {source}:1 a: the id is taken" in inserted.stderr
    assert ids(small) == ["a", "b", "c", "d"]
    assert run_swath("search", small, "--count", "--filter", "v = 9").stdout == "1\n"
    assert run_swath("load", small, source, "--mode", "ignore").returncode == 0
    assert run_swath("search", small, "--count", "--filter", "v = 9").stdout == "1\n"
    again = run_swath("load", small, source, "--json")
    report = json.loads(again.stdout)
    assert (report["created"], report["updated"], report["unchanged"]) == (0, 1, 1)
    assert run_swath("search", small, "--count", "--filter", "v = 9").stdout == "2\n"


def test_each_refused_document_is_named_and_the_good_ones_are_kept(tmp_path: Path) -> None:
    source = tmp_path / "mixed.ndjson"
    good = [json.dumps(make_item(name)) for name in "abc"]
    no_time = make_item("no-time")
    del no_time["properties"]["datetime"]
    lines = [good[0], "{not json", json.dumps(no_time), good[1], '{"type":"Feature","id":7}', "",
             '{"type":"Feature","id":"twice","id":"twice"}', '{"hello":1}', good[2]]  # fmt: skip
    source.write_text("\n".join(lines))
    done = run_swath("load", tmp_path / "c", source)
    assert done.returncode == 3
    for words in (
        f"refused {source}:2: not JSON",
        f"refused {source}:3 no-time: an item has a `datetime`",
        f"refused {source}:5: an id is a string that is not empty (at /id)",
        f"refused {source}:7 twice: the member 'id' stands twice in one object",
        f"refused {source}:8: neither an Item",
        "5 refused; what is good was kept",
        f"committed {source}:9",
    ):
        assert words in done.stderr
    assert ids(tmp_path / "c") == ["a", "b", "c"]


def test_standard_input(tmp_path: Path) -> None:
    done = subprocess.run([SWATH, "load", str(tmp_path / "c"), "-"], input=json.dumps(make_item("a")), text=True,
                          capture_output=True, timeout=60)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert ids(tmp_path / "c") == ["a"]


@pytest.mark.parametrize("indent", [None, 2])
def test_an_item_collection_and_an_answer_of_an_api(tmp_path: Path, indent: int | None) -> None:
    page = {"type": "FeatureCollection", "links": [{"rel": "next", "href": "x"}],
            "features": [make_item("a", text='tricky "{[ \\" text'), make_item("b")], "numberReturned": 2}  # fmt: skip
    (tmp_path / "page.json").write_text(json.dumps(page, indent=indent))
    (tmp_path / "one.json").write_text(json.dumps(make_item("c"), indent=indent))
    collections = {
        "collections": [{"type": "Collection", "id": "c", "description": "d", "license": "other", "links": []}]
    }
    (tmp_path / "collections.json").write_text(json.dumps(collections, indent=indent))
    done = run_swath(
        "load", tmp_path / "c", tmp_path / "collections.json", tmp_path / "page.json", tmp_path / "one.json"
    )
    assert done.returncode == 0, done.stderr
    assert "made plain collections" not in done.stderr
    assert ids(tmp_path / "c") == ["a", "b", "c"]


def test_a_large_item_collection_in_one_text_is_read_in_pieces(tmp_path: Path) -> None:
    page = {"features": [make_item(f"{n:05d}", text="x" * 3000, brace="}{][") for n in range(2_000)],
            "type": "FeatureCollection"}  # fmt: skip
    (tmp_path / "page.json").write_text(json.dumps(page, indent=1))
    assert (tmp_path / "page.json").stat().st_size > 5_000_000
    done = run_swath("load", tmp_path / "c", tmp_path / "page.json")
    assert done.returncode == 0, done.stderr
    assert run_swath("search", tmp_path / "c", "--count").stdout == "2000\n"


def test_a_static_catalogue_folder(tmp_path: Path) -> None:
    root = tmp_path / "static"
    link = {"rel": "child", "href": "./one/collection.json"}
    (root / "one" / "x").mkdir(parents=True)
    (root / "catalog.json").write_text(json.dumps({"type": "Catalog", "id": "r", "description": "r", "links": [link]}))
    (root / "one" / "collection.json").write_text(
        json.dumps({"type": "Collection", "id": "one", "description": "d", "license": "other", "links": []}, indent=2)
    )
    item = make_item("no-collection")
    del item["collection"]
    (root / "one" / "x" / "no-collection.json").write_text(json.dumps(item, indent=2))
    (root / "one" / "readme.txt").write_text("not STAC")
    done = run_swath("load", tmp_path / "c", root)
    assert done.returncode == 0, done.stderr
    found = json.loads(run_swath("search", tmp_path / "c", "--json").stdout)
    assert (found["id"], found["collection"]) == ("no-collection", "one")


def test_the_examples_of_the_stac_specification(tmp_path: Path) -> None:
    for version in sorted((DATA / "stac-spec-examples").iterdir()):
        if version.is_dir():
            done = run_swath("load", tmp_path / version.name, version)
            assert done.returncode in (0, 3), done.stderr
            assert "Traceback" not in done.stderr
            items = int(run_swath("search", tmp_path / version.name, "--count").stdout)
            assert (items > 0) == (version.name != "collection-only")


def test_a_collection_can_be_named_for_items_without_one(tmp_path: Path) -> None:
    item = make_item("a")
    del item["collection"]
    source = write(tmp_path / "a.ndjson", item)
    refused = run_swath("load", tmp_path / "c", source)
    assert refused.returncode == 3
    assert "name one with --collection (at /collection)" in refused.stderr
    done = run_swath("load", tmp_path / "c", source, "--collection", "mine")
    assert done.returncode == 0
    assert "made plain collections, since none were loaded: mine" in done.stderr


def test_relative_hrefs_can_be_resolved(tmp_path: Path) -> None:
    item = make_item("a")
    item["assets"] = {
        "b": {"href": "./b.tif", "gsd": 1.0},
        "c": {"href": "../cé.tif"},
        "d": {"href": "/d.tif"},
        "e": {"href": "s3://bucket/e.tif"},
        "f": {"title": '"href":"no"', "href": "f.tif?x=1#y"},
    }
    item["links"] = [{"rel": "derived_from", "href": "b.json"}, {"rel": "self", "href": "a.json"}]
    write(tmp_path / "root" / "sub" / "a.json", item)
    done = run_swath("load", tmp_path / "c", tmp_path / "root", "--absolute", "https://example.org/data/")
    assert done.returncode == 0, done.stderr
    stored = json.loads(run_swath("export", tmp_path / "c", "-o", "-").stdout.splitlines()[1])
    assert {key: asset["href"] for key, asset in stored["assets"].items()} == {
        "b": "https://example.org/data/sub/b.tif",
        "c": "https://example.org/data/cé.tif",
        "d": "https://example.org/d.tif",
        "e": "s3://bucket/e.tif",
        "f": "https://example.org/data/sub/f.tif?x=1#y",
    }
    assert stored["assets"]["f"]["title"] == '"href":"no"'
    assert stored["links"][0]["href"] == "https://example.org/data/sub/b.json"
    assert run_swath("load", tmp_path / "c", tmp_path / "root", "--absolute", "here").returncode == 1
    run_swath("load", tmp_path / "bucket", tmp_path / "root", "--absolute", "s3://bucket/x")
    assert "s3://bucket/x/sub/b.tif" in run_swath("export", tmp_path / "bucket", "-o", "-").stdout


def test_geoparquet_out_and_in(tmp_path: Path) -> None:
    source = tmp_path / "s2.ndjson"
    source.write_bytes(b"\n".join(line for name, line in sample_items() if name == "sentinel-s2-l2a-cogs"))
    assert run_swath("load", tmp_path / "a", source).returncode == 0
    out = run_swath("export", tmp_path / "a", "-o", tmp_path / "s2.parquet", "--json")
    assert json.loads(out.stdout)["items"] == 80
    done = run_swath("load", tmp_path / "b", tmp_path / "s2.parquet")
    assert done.returncode == 0, done.stderr
    assert ids(tmp_path / "b") == ids(tmp_path / "a")
    warm = ("search", "--filter", "eo:cloud_cover < 20 AND gsd = 10", "--count")
    assert run_swath(warm[0], tmp_path / "b", *warm[1:]).stdout == run_swath(warm[0], tmp_path / "a", *warm[1:]).stdout


def test_items_that_one_parquet_file_cannot_hold_are_explained(sample_catalog: Path, tmp_path: Path) -> None:
    done = run_swath("export", sample_catalog, "-o", tmp_path / "all.parquet")
    assert done.returncode == 1
    assert "export one collection at a time" in done.stderr
    assert not list(tmp_path.iterdir()), "an unfinished file was left behind"


def test_a_bar_on_a_terminal(tmp_path: Path) -> None:
    source = write(tmp_path / "a.ndjson", *(make_item(str(n)) for n in range(500)))
    controller, terminal = pty.openpty()
    process = subprocess.Popen([SWATH, "load", str(tmp_path / "c"), str(source)], stderr=terminal, stdout=terminal,
                               env={**os.environ, "TERM": "xterm", "COLUMNS": "100"})  # fmt: skip
    os.close(terminal)
    seen = b""
    while True:
        try:
            part = os.read(controller, 4096)
        except OSError:
            break
        if not part:
            break
        seen += part
    os.close(controller)
    assert process.wait() == 0
    assert b"loading" in seen
    assert b"500 new items" in seen


# -- search --------------------------------------------------------------------------------------


def test_search_prints_lines_for_people_and_json_for_programs(sample_catalog: Path) -> None:
    arguments = ("--collections", "sentinel-s2-l2a-cogs", "--filter", "eo:cloud_cover < 10", "--limit", "2")
    plain = run_swath("search", sample_catalog, *arguments)
    assert len(plain.stdout.splitlines()) == 2
    assert "sentinel-s2-l2a-cogs" in plain.stdout
    assert plain.stderr.startswith("2 of ")
    machine = run_swath("search", sample_catalog, *arguments, "--json")
    assert machine.stderr == ""
    assert [json.loads(line)["id"] in plain.stdout for line in machine.stdout.splitlines()] == [True, True]


def test_search_of_a_folder_and_of_its_server_say_the_same(sample_catalog: Path, samples: Server) -> None:
    for arguments in (
        ["--bbox", "-180,0,180,90", "--datetime", "2020-01-05T00:00:00Z/2020-01-15T23:59:59Z", "--sortby", "id"],
        ["--filter", "platform LIKE 'sentinel%'", "--sortby", "-datetime,id", "--limit", "0"],
        ["--filter", '{"op":"<","args":[{"property":"eo:cloud_cover"},1]}', "--limit", "30"],
        ["--collections", "naip", "--limit", "0"],
        ["--intersects", '{"type":"Point","coordinates":[-100,40]}', "--count"],
        ["--ids", "60N-2020", "60U-2020", "--count", "--json"],
    ):
        local = run_swath("search", sample_catalog, *arguments)
        remote = run_swath("search", samples.url, *arguments)
        assert local.returncode == remote.returncode == 0, (local.stderr, remote.stderr)
        assert local.stdout == remote.stdout


# -- export, check, doctor -----------------------------------------------------------------------


def test_export_of_a_part(sample_catalog: Path, tmp_path: Path) -> None:
    done = run_swath("export", sample_catalog, "-o", tmp_path / "part.ndjson", "--filter", "collection = 'io-lulc'")
    assert "3 items written" in done.stderr
    lines = [json.loads(line) for line in (tmp_path / "part.ndjson").read_text().splitlines()]
    assert [line["id"] for line in lines if line["type"] == "Collection"] == ["io-lulc"]


def test_check_says_what_it_read(small: Path) -> None:
    done = run_swath("check", small)
    assert "3 items in 1 collections, 4 versions" in done.stdout
    assert "all as it was written" in done.stdout
    assert json.loads(run_swath("check", small, "--json").stdout)["problems"] == []


def test_doctor(small: Path) -> None:
    done = run_swath("doctor", small)
    values = {entry["name"]: entry["value"] for entry in json.loads(run_swath("doctor", "--json").stdout)}
    if values["sandbox of deliveries"] == "landlock, seccomp, limits":
        assert (done.returncode, done.stderr) == (0, "all is well\n")
    else:  # an old kernel: it is said
        assert (done.returncode, done.stderr) == (1, "1 to mend\n")
        assert "the kernel lacks" in done.stdout
    assert "sqlite" in done.stdout
    assert values["swath"].startswith("0.1.0")
    missing = run_swath("doctor", small / "nowhere")
    assert missing.returncode == 1
    assert "MEND" in missing.stdout
    assert "there is no catalogue" in missing.stdout


def test_a_demo_can_be_started_again(demo: Server, tmp_path: Path, serve: Any) -> None:
    first = serve("demo", tmp_path / "d", "--port", "0", "--no-browser")
    assert first.get("/search").json()["numberMatched"] == 133
    second = serve("demo", tmp_path / "d", "--port", "0", "--no-browser")
    assert second.get("/search").json()["numberMatched"] == 133
    assert second.get("/health/ready").json()["revision"] == 133 + 11
    shutil.rmtree(tmp_path / "d")
    assert demo.get("/").json()["title"] == "Swath demo"


def test_a_broken_first_line_does_not_spoil_the_others(tmp_path: Path) -> None:
    for name, first in (("junk", "junk"), ("cut", '{"type":"Feature","id":"x"'), ("blank", "\n\nnot json")):
        source = tmp_path / f"{name}.ndjson"
        source.write_text("\n".join([first, *(json.dumps(make_item(i)) for i in "abc")]))
        done = run_swath("load", tmp_path / name, source)
        assert done.returncode == 3
        assert ids(tmp_path / name) == ["a", "b", "c"]
        assert f"refused {source}:{1 + first.count(chr(10))}:" in done.stderr


def test_what_cannot_be_read_is_reported_and_the_rest_is_kept(tmp_path: Path) -> None:
    good = write(tmp_path / "good.ndjson", make_item("a"), make_item("b"))
    (tmp_path / "empty").mkdir()
    (tmp_path / "bad.parquet").write_bytes(b"PAR1 and then nothing of the kind")
    done = run_swath("load", tmp_path / "c", good, tmp_path / "empty", tmp_path / "bad.parquet")
    assert done.returncode == 3
    assert "holds no file that ends in .json" in done.stderr
    assert "bad.parquet:0: it cannot be read as STAC GeoParquet" in done.stderr
    assert "fault of Swath" not in done.stderr
    assert ids(tmp_path / "c") == ["a", "b"]


def test_a_large_text_that_is_cut_or_holds_other_things_says_so(tmp_path: Path) -> None:
    page = {"type": "FeatureCollection", "features": [make_item(f"{n:04d}", text="x" * 900) for n in range(2_000)]}
    text = json.dumps(page, indent=1)
    (tmp_path / "cut.json").write_text(text[: len(text) * 2 // 3])
    cut = run_swath("load", tmp_path / "c", tmp_path / "cut.json")
    assert cut.returncode == 3
    assert "the text ends in the middle" in cut.stderr
    assert 1_000 < len(ids(tmp_path / "c")) < 1_500
    odd = {"features": [1, "x", None, make_item("a"), [make_item("b")], make_item("c")], "type": "FeatureCollection"}
    (tmp_path / "odd.json").write_text(json.dumps(odd))
    done = run_swath("load", tmp_path / "d", tmp_path / "odd.json", "--json")
    report = json.loads(done.stdout)
    assert (report["created"], len(report["refused"])) == (2, 4)


def test_a_string_of_escaped_quotes_is_read_in_linear_time(tmp_path: Path) -> None:
    page = {"features": [make_item("a", text='"' * 3_000_000)], "type": "FeatureCollection"}
    (tmp_path / "quotes.json").write_text(json.dumps(page, indent=1))
    assert run_swath("load", tmp_path / "c", tmp_path / "quotes.json").returncode == 0


def test_a_folder_without_write_access_can_be_searched(small: Path) -> None:
    # Root may write anywhere, so another user asks.
    script = (
        "import os, sys, swath.cli.checking, swath.cli.searching, swath.session; from swath.cli.main import main; "
        "os.setgroups([]); os.setgid(65534); os.setuid(65534); sys.exit(main(sys.argv[1:]))"
    )
    small.chmod(0o555)
    for parent in small.parents[:3]:
        parent.chmod(0o755)
    try:
        for arguments, words in ((["search", str(small), "--count"], "3\n"), (["check", str(small)], "all as it was")):
            command = [sys.executable, "-c", script, *arguments]
            if os.getuid() != 0:
                command = [SWATH, *arguments]
            done = subprocess.run(command, capture_output=True, text=True, timeout=60)
            if "No module named" in done.stderr or "Permission denied: " in done.stderr:
                pytest.fail(done.stderr)
            assert words in done.stdout, done.stderr
    finally:
        small.chmod(0o755)

"""What an address may be: an API, a part of it, a static catalogue; and who is sent a key."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from swath.errors import InvalidRequest, RemoteFailure
from swath.formats.web import Client, read_headers
from tests.conftest import ROOT, make_item, run_swath
from tests.fake_api import (
    Asked,
    FakeApi,
    Said,
    dated,
    documents,
    faking,
    items_of,
    notes,
    problems,
    read,
    some,
    stored,
)


def test_redirects_are_followed_and_only_on_the_web() -> None:
    moves: dict[str, Said] = {}

    def hook(_: FakeApi, asked: Asked) -> Said | None:
        return moves.get(asked.path)

    with faking(FakeApi(dated(20), hook=hook)) as api:
        moves["/stac"] = Said(308, b"", {"location": "/"})
        assert len(items_of(read(api, "/stac"))) == 20
        moves["/search"] = Said(301, b"", {"location": "/find"})  # what was posted is posted there
        api.hook = lambda fake, asked: moves.get(asked.path) or (fake.search(asked) if asked.path == "/find" else None)
        assert len(items_of(read(api))) == 20
        assert [asked.method for asked in api.asked if asked.path == "/find"] == ["POST"]
        moves.clear()
        for number in range(20):
            moves[f"/{number}"] = Said(302, b"", {"location": f"/{number + 1}"})
        with pytest.raises(RemoteFailure, match="more than 5 other addresses"):
            read(api, "/0")
        for target in ("file:///etc/passwd", "ftp://x/y", "gopher://127.0.0.1/"):
            moves["/out"] = Said(302, b"", {"location": target})
            with pytest.raises(RemoteFailure, match="which is not followed"):
                read(api, "/out")
    for address in ("file:///etc/passwd", "ftp://x/", "https://", "http://[x/", "http://h:99999/"):
        with pytest.raises(InvalidRequest, match="not an address"):
            Client(address)


def test_keys_go_to_the_server_that_was_named_and_to_no_other(tmp_path: Path) -> None:
    key = "Bearer 7c2f1"

    def guarded(_: FakeApi, asked: Asked) -> Said | None:
        return None if asked.headers.get("authorization") == key else Said(401, b'{"description": "who are you?"}')

    with faking(FakeApi(dated(20), hook=guarded)) as api, faking(FakeApi([])) as other:
        without = run_swath("load", tmp_path / "c", api.url)
        assert without.returncode == 1
        assert "answered 401 Unauthorized: who are you?; if it needs a key, give it with --header" in without.stderr
        assert not (tmp_path / "c").exists()
        wrong = run_swath("load", tmp_path / "c", api.url, "--header", "Authorization: Bearer wrong")
        assert "what was given with --header does not open it" in wrong.stderr
        given = ("--header", f"Authorization: {key}", "--header", "X-Other: 1")
        done = run_swath("load", tmp_path / "c", api.url, *given)
        assert done.returncode == 0, done.stderr
        assert {asked.headers.get("x-other") for asked in api.asked[-3:]} == {"1"}
        found = run_swath("search", api.url, "--header", f"Authorization: {key}", "--count")
        assert found.stdout == "20\n"
        api.hook = lambda _, asked: Said(307, b"", {"location": other.url + asked.path})
        moved = run_swath("load", tmp_path / "d", api.url, *given)
        assert moved.returncode == 0, moved.stderr
        assert other.asked
        assert not [asked for asked in other.asked if "authorization" in asked.headers or "x-other" in asked.headers]
        for said in (without, wrong, done, found, moved):
            assert "7c2f1" not in said.stderr + said.stdout
    kept = b"".join(path.read_bytes() for path in (tmp_path / "c" / "sources").iterdir())
    assert b"7c2f1" not in kept
    odd = run_swath("load", tmp_path / "e", "http://127.0.0.1:9/", "--header", "secret7c2f1")
    assert odd.returncode == 1
    assert "--header number 1 is not of the form 'Name: value'" in odd.stderr
    assert "7c2f1" not in odd.stderr


def test_a_name_and_password_in_the_address_are_sent_and_not_shown(tmp_path: Path) -> None:
    with faking(some(150)) as api:
        done = run_swath("load", tmp_path / "c", api.url.replace("http://", "http://me:p%40ss@"))
    assert done.returncode == 0
    assert api.asked[0].headers["authorization"] == "Basic bWU6cEBzcw=="
    assert "p%40ss" not in done.stderr
    assert "committed http://127.0.0.1" in done.stderr
    assert b"p%40ss" not in b"".join(path.read_bytes() for path in (tmp_path / "c" / "sources").iterdir())


def test_headers_are_read() -> None:
    assert read_headers(["A: b", "X-Key:c:d ", "E:"]) == [("A", "b"), ("X-Key", "c:d"), ("E", "")]
    for wrong in ("", "A", ": b", "A b: c", "A: b\nC: d"):
        with pytest.raises(InvalidRequest, match="number 1"):
            read_headers([wrong])


def test_a_part_of_an_api() -> None:
    with faking(FakeApi(dated(30, "a") + dated(30, "b"), collections=("a", "b", "none"))) as api:
        places: list[tuple[str, list[str], list[str] | None]] = [
            ("/", ["a", "b", "none", *(item["id"] for item in api.items)], None),
            ("/search", ["a", "b", "none", *(item["id"] for item in api.items)], None),
            ("/", ["b", *(item["id"] for item in api.items[30:])], ["b"]),
            ("/collections/b", ["b", *(item["id"] for item in api.items[30:])], None),
            ("/collections/a/items", [item["id"] for item in api.items[:30]], None),
            ("/search?collections=b&limit=7", [item["id"] for item in api.items[30:]], None),
            ("/collections/a/items/a-00003", ["a-00003"], None),
            ("/collections", ["a", "b", "none"], None),
        ]
        for path, ids, wanted in places:
            api.paging = "get" if "?" in path else "post"
            pages = read(api, path, collections=wanted)
            found = [each["id"] for each in documents(pages)]
            assert sorted(found) == sorted(ids), path
            assert problems(pages) == []
        missing = read(api, collections=["a", "gone"])
        assert len(items_of(missing)) == 30
        assert "the collection 'gone' cannot be read" in problems(missing)[0]
        assert next(asked for asked in reversed(api.asked) if asked.searches).body["collections"] == ["a"]
        with pytest.raises(RemoteFailure, match="404"):
            read(api, "/nothing")
        api.hook = lambda *_: Said(200, b"<html>Welcome</html>")
        with pytest.raises(InvalidRequest, match="is no answer of a STAC API"):
            read(api)
        api.hook = lambda *_: Said(200, b'{"hello": 1}')
        with pytest.raises(InvalidRequest, match="neither a STAC API nor a static catalogue"):
            read(api)


def test_an_api_without_item_search() -> None:
    items = dated(250, "a") + dated(120, "b") + dated(10, "d")
    with faking(FakeApi(items, "get", collections=("a", "b", "none", "d"), most=100, searchable=False)) as api:
        pages = read(api)
        assert items_of(pages) == [item["id"] for item in items]
        for number, page in enumerate(pages[:-1]):
            rest = read(api, place=page.place)
            assert items_of(pages[: number + 1]) + items_of(rest) == items_of(pages)
        api.hook = lambda _, asked: Said(400, b"{}") if asked.path == "/collections/b/items" else None
        api.searchable = True
        pages = read(api)
        assert len(items_of(pages)) == 380


def test_a_search_that_is_refused_without_collections_is_done_by_collection() -> None:
    items = dated(150, "a") + dated(120, "b")

    def hook(_: FakeApi, asked: Asked) -> Said | None:
        return Said(400, b'{"description": "name collections"}') if asked.searches else None

    with faking(FakeApi(items, "get", collections=("a", "b"), most=100, hook=hook)) as api:
        pages = read(api)
    assert items_of(pages) == [item["id"] for item in items]
    assert "each collection is walked by itself" in notes(pages)


def static(count: int) -> dict[str, Any]:
    """A catalogue of two collections, one of them below another catalogue."""

    def item(name: str, collection: str | None) -> dict[str, Any]:
        made = make_item(name) | {"assets": {"data": {"href": f"./{name}.tif"}}}
        made["links"] = [{"rel": "root", "href": "../catalog.json"}]
        if collection is None:
            del made["collection"]
        else:
            made["collection"] = collection
        return made

    def node(kind: str, name: str, links: list[tuple[str, str]]) -> dict[str, Any]:
        made = [{"rel": rel, "href": href} for rel, href in links]
        return {"type": kind, "id": name, "description": "d", "license": "other", "links": made}

    files: dict[str, Any] = {
        "/catalog.json": node("Catalog", "r", [("self", "catalog.json"), ("child", "one/collection.json"),
                                               ("child", "./deep/catalog.json"), ("item", "loose.json")]),
        "/one/collection.json": node("Collection", "one", [("item", f"{n}.json") for n in range(count)]
                                     + [("child", "../catalog.json")]),
        "/deep/catalog.json": node("Catalog", "deep", [("parent", "../catalog.json"),
                                                       ("child", "two/collection.json")]),
        "/deep/two/collection.json": node("Collection", "two", [("item", "t/t.json"), ("item", "gone.json")]),
        "/deep/two/t/t.json": item("t", None),
        "/loose.json": item("loose", "one"),
    }  # fmt: skip
    for n in range(count):
        files[f"/one/{n}.json"] = item(f"i{n}", "one")
    return files


@contextmanager
def static_site(files: dict[str, Any]) -> Iterator[FakeApi]:
    def hook(api: FakeApi, asked: Asked) -> Said:
        found = files.get(asked.path)
        return api.json(found) if found is not None else Said(404)

    with faking(FakeApi([], hook=hook)) as api:
        yield api


def test_a_static_catalogue_on_the_web(tmp_path: Path) -> None:
    with static_site(static(120)) as site:
        done = run_swath("load", tmp_path / "c", f"{site.url}/catalog.json", "--json")
        assert done.returncode == 3
        report = json.loads(done.stdout)
        assert (report["created"], report["collections"], len(report["refused"])) == (122, 2, 1)
        assert report["refused"][0]["file"] == f"{site.url}/deep/two/gone.json"
        found = stored(tmp_path / "c")
        assert found["t"]["collection"] == "two"
        assert found["t"]["assets"]["data"]["href"] == f"{site.url}/deep/two/t/t.tif"
        assert max(Counter(asked.path for asked in site.asked).values()) == 1
        pages = read(site, "/catalog.json")
        for number, page in enumerate(pages[:-1]):
            rest = read(site, "/catalog.json", place=page.place)
            assert items_of(pages[: number + 1]) + items_of(rest) == items_of(pages)
        one = read(site, "/catalog.json", collections=["two"])
        assert [each["id"] for each in documents(one)] == ["two", "t"]


def test_a_static_catalogue_that_changed_in_the_meantime_is_begun_anew() -> None:
    files = static(120)
    with static_site(files) as site:
        pages = read(site, "/catalog.json")
        place = pages[2].place
        assert place.trail
        files["/one/collection.json"]["links"].insert(0, {"rel": "item", "href": "new.json"})
        files["/one/new.json"] = make_item("new", "one")
        rest = read(site, "/catalog.json", place=place)
    assert "new" in items_of(rest)
    assert "the catalogue has changed" in notes(rest)
    assert set(items_of(pages)) < set(items_of(rest))


def test_links_to_other_servers_are_followed_when_told() -> None:
    with static_site({"/x.json": make_item("x", "one")}) as other, static_site(static(2)) as site:
        links = [{"rel": "item", "href": f"{other.url}/x.json"}, {"rel": "item", "href": "file:///etc/passwd"}]
        files = static(2)
        files["/one/collection.json"]["links"] += links
        site.hook = lambda api, asked: api.json(files[asked.path]) if asked.path in files else Said(404)
        pages = read(site, "/catalog.json")
        assert any("leads to another server" in problem for problem in problems(pages))
        assert other.asked == []
        pages = read(site, "/catalog.json", elsewhere=True)
        assert "x" in items_of(pages)
        assert any("no address on the web" in problem for problem in problems(pages))


def test_a_catalogue_of_apis_says_that_they_are_to_be_named() -> None:
    files = static(1)
    files["/deep/catalog.json"]["links"] = [{"rel": "child", "href": "/deep/two/collection.json"}]
    files["/deep/two/collection.json"]["links"] = [{"rel": "items", "href": "items"}]
    with static_site(files) as site:
        assert "load http" in problems(read(site, "/catalog.json"))[0]


def test_the_page_names_options_that_there_are() -> None:
    page = (ROOT / "docs/how-to/copy-an-api.md").read_text()
    words = run_swath("load", "--help").stdout
    named = set(re.findall(r"--[a-z]+", page))
    assert len(named) >= 6
    assert {option for option in named if option not in words} == set()

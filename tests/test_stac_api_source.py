"""Reading other STAC APIs, well behaved and not: every item once, in whatever way they page, whatever they refuse."""

from __future__ import annotations

import json
import socket
from pathlib import Path

import pytest

from swath.errors import InvalidRequest, RemoteFailure, Unavailable
from swath.formats.reading import Document
from swath.stac.time import parse_instant
from tests.conftest import make_item, run_swath
from tests.fake_api import (
    FILTER,
    QUERY,
    SORT,
    Asked,
    FakeApi,
    Said,
    Slept,
    dated,
    documents,
    faking,
    faults,
    items_of,
    notes,
    problems,
    read,
    some,
    stored,
)


@pytest.mark.parametrize("zipped", [False, True])
@pytest.mark.parametrize("methods", [("GET",), ("POST",), ("GET", "POST")])
@pytest.mark.parametrize("paging", ["post", "merge", "get", "offset", "page"])
def test_every_way_of_paging_gives_every_item_once(paging: str, methods: tuple[str, ...], zipped: bool) -> None:
    with faking(FakeApi(dated(450), paging, methods, most=100, zipped=zipped)) as api:
        if methods == ("POST",) and paging in ("get", "offset", "page"):
            api.methods = ("POST", "GET")  # such links are followed by GET
        pages = read(api)
    assert items_of(pages) == [item["id"] for item in api.items]
    assert problems(pages) == []
    assert [page.place.done for page in pages] == [False] * 5 + [True]
    assert {page.matched for page in pages[1:]} == {450}
    assert pages[-1].place.items == 450


def test_collections_come_first_and_pages_of_them_are_followed() -> None:
    def hook(api: FakeApi, asked: Asked) -> Said | None:
        if asked.path != "/collections":
            return None
        at = int(asked.query.get("page", 0))
        links = [{"rel": "next", "href": f"?page={at + 1}"}] if at < 2 else []
        return api.json({"collections": [api.collection(f"c{at}")], "links": links})

    with faking(FakeApi(dated(3, "c0"), hook=hook)) as api:
        found = documents(read(api))
    assert [each["id"] for each in found] == ["c0", "c1", "c2", "c0-00000", "c0-00001", "c0-00002"]


def test_what_next_links_say_is_sent_as_it_stands() -> None:
    seen: list[Asked] = []

    def hook(api: FakeApi, asked: Asked) -> Said | None:
        if not asked.searches:
            return None
        seen.append(asked)
        links = [
            [{"rel": "next", "href": "search?a=1%2B2&b=%7Bx%7D", "headers": {"X-Place": "7", "X-List": ["a", "b"]}}],
            [{"rel": "next", "href": "/search", "method": "POST", "body": {"z": 1}, "merge": True}],
            [{"rel": "next", "href": "/search", "method": "post", "body": {"y": [2]}, "merge": True}],
            [{"rel": "next", "href": "/search", "method": "POST", "body": {"x": 3},
              "headers": {"Authorization": "Bearer theirs"}}],
            [],
        ][len(seen) - 1]  # fmt: skip
        item = make_item(str(len(seen)), updated="2024-01-01T00:00:00Z")
        return api.json({"type": "FeatureCollection", "features": [item], "links": links})

    with faking(FakeApi([], hook=hook)) as api:
        assert items_of(read(api, headers=[("Authorization", "mine")])) == ["1", "2", "3", "4", "5"]
    assert seen[1].method == "GET"
    assert seen[1].query == {"a": "1+2", "b": "{x}"}
    assert (seen[1].headers["x-place"], seen[1].headers["x-list"]) == ("7", "a, b")
    assert seen[2].body == {"z": 1}
    assert seen[2].headers["x-place"] == "7"
    assert seen[3].body == {"z": 1, "y": [2]}
    assert seen[4].body == {"x": 3}
    assert "x-place" not in seen[4].headers
    assert seen[4].headers["authorization"] == "mine"


@pytest.mark.parametrize(
    "prefix", ["https://api.stacspec.org/v1.0.0-beta.1/", "http://stacspec.org/spec/v1.0.0-beta.2/"]
)
@pytest.mark.parametrize("where", ["landing", "conformance", "nowhere"])
def test_betas_are_read(prefix: str, where: str) -> None:
    def hook(api: FakeApi, asked: Asked) -> Said | None:
        if asked.path == "/":
            landing = api.landing()
            del landing["type"]
            landing["links"] = [link for link in landing["links"] if link.get("method") != "POST"]
            landing["links"][-1].pop("method")
            if where != "landing":
                del landing["conformsTo"]
            if where == "conformance":
                landing["links"].append({"rel": "conformance", "href": "/conformance"})
            return api.json(landing)
        return None

    conforms = tuple(name.replace("#", "/#") for name in (SORT, FILTER, QUERY))
    with faking(FakeApi(dated(30), "get", prefix=prefix, hook=hook)) as api:
        api.conforms = (*conforms, SORT)
        pages = read(api)
        assert items_of(pages) == [item["id"] for item in api.items]
        later = read(api, since=parse_instant("2024-01-01T00:25:00Z"))
    asked = [each for each in api.asked if each.searches]
    assert asked[0].query["sortby"] == "properties.updated,id"
    if where == "nowhere":
        assert "everything is walked" in notes(later)
    else:
        assert items_of(later) == [f"c-{n:05d}" for n in range(25, 30)]


def test_items_come_as_they_were_sent() -> None:
    text = (
        '{"type":"Feature", "id":"x","collection":"c","geometry":null,"links":[],"assets":{},'
        '"properties":{"datetime":"2020-01-01T00:00:00Z","a":1.10,"b":1E2,"é":"\\u00e9"}}'
    )

    def hook(_: FakeApi, asked: Asked) -> Said | None:
        return Said(200, f'{{"features": [ {text} ], "links": []}}'.encode()) if asked.searches else None

    with faking(FakeApi([], hook=hook)) as api:
        (page,) = [page for page in read(api) if page.url.endswith("/search page 2")]
    (document,) = page.documents
    assert isinstance(document, Document)
    assert document.raw.decode() == text
    assert (document.file, document.line) == (page.url, 1)


def test_relative_hrefs_are_resolved_against_where_the_item_says_that_it_is() -> None:
    item = make_item("a")
    item["assets"] = {"b": {"href": "./b.tif"}, "c": {"href": "https://x.example/c.tif"}, "d": {"href": "/d.tif"}}
    other = json.loads(json.dumps(item)) | {"id": "b"}
    item["links"] = [{"rel": "self", "href": "https://data.example/scenes/a/a.json?x=1"}]
    with faking(FakeApi([item, other], "get", ("GET",))) as api:
        first, second = (each for each in documents(read(api)) if each["type"] == "Feature")
    assert [asset["href"] for asset in first["assets"].values()] == [
        "https://data.example/scenes/a/b.tif", "https://x.example/c.tif", "https://data.example/d.tif",
    ]  # fmt: skip
    assert second["assets"]["b"]["href"] == f"{api.url}/b.tif"


def test_passing_faults_are_waited_out() -> None:
    said = (
        Said(429, b"", {"retry-after": "7"}),
        Said(503, b"{}", {"retry-after": "Wed, 21 Oct 2015 07:28:30 GMT", "date": "Wed, 21 Oct 2015 07:28:00 GMT"}),
        Said(500, b'{"description": "oh"}'), Said(502), Said(504, b"<html>Gateway</html>"),
        Said(drop=True, body=b'{"type": "Feat'), Said(200, b'{"features": [', {}), Said(200, b"<html>"),
    )  # fmt: skip
    with faking(some(450)) as api:
        api.hook = faults(*said, at=3)
        slept, told = Slept(), list[str]()
        pages = read(api, sleep=slept, told=told.append)
        assert items_of(pages) == [item["id"] for item in api.items]
    assert len(slept.waits) == len(said) == len(told)
    assert slept.waits[0] == 7.0
    assert slept.waits[1] == 30.0
    assert all(0 < wait <= 60 for wait in slept.waits)
    assert "answered 429 Too Many Requests; asking again in 7.0 s" in told[0]
    assert "<html>" not in "".join(told)


def test_a_server_that_stays_down_is_given_up_after_a_while() -> None:
    with faking(some(450)) as api:
        api.hook = faults(*[Said(503)] * 100, at=3)
        slept = Slept()
        with pytest.raises(RemoteFailure, match="answered 503"):
            read(api, sleep=slept)
        assert 60 < sum(slept.waits) < 240
        api.hook = faults(Said(429, b"", {"retry-after": "86400"}), at=0)
        with pytest.raises(Unavailable, match="asks to come back in 86,400 s"):
            read(api)


def test_a_server_that_was_never_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(-2, "Name or service not known")

    slept = Slept()
    with pytest.raises(Unavailable, match=r"cannot reach http://127\.0\.0\.1:9"):
        read(FakeApi([], url="http://127.0.0.1:9/"), sleep=slept)
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(Unavailable, match=r"the host nowhere\.invalid is not known"):
        read(FakeApi([], url="http://nowhere.invalid/"), sleep=slept)
    assert slept.waits == []


def test_pages_that_are_too_much_are_asked_for_smaller() -> None:
    """A gateway that lets no more than so many items through, in the ways in which they say so."""
    for status, body in ((413, b""), (502, b'{"message": "Internal server error"}'), (504, b"")):

        def hook(_: FakeApi, asked: Asked, status: int = status, body: bytes = body) -> Said | None:
            return Said(status, body) if asked.searches and int(asked.value("limit") or 10) > 60 else None

        with faking(FakeApi(dated(200), hook=hook)) as api:
            pages = read(api)
        assert items_of(pages) == [item["id"] for item in api.items], status


def test_a_page_in_the_middle_that_is_too_much_is_asked_for_smaller() -> None:
    for paging in ("post", "merge", "get", "offset"):

        def hook(_: FakeApi, asked: Asked) -> Said | None:
            start = int(asked.token.rpartition("-")[2]) if asked.token != "None" else 0
            limit = int(asked.value("limit") or 10)
            return Said(413) if asked.searches and start <= 1_200 < start + limit and limit > 40 else None

        with faking(FakeApi(dated(2_000), paging, hook=hook)) as api:
            pages = read(api)
        assert items_of(pages) == [item["id"] for item in api.items], paging


def test_a_huge_page_is_refused_before_it_fills_the_memory() -> None:
    big = [make_item(str(n), text="x" * 5_000) for n in range(600)]
    for zipped in (False, True):
        with faking(FakeApi(big, zipped=zipped)) as api:
            slept = Slept()
            pages = read(api, sleep=slept, answer_bytes=1_000_000)
            assert len(items_of(pages)) == 600
            (problem,) = problems(read(api, sleep=slept, answer_bytes=3_000))
            assert "more than 3,000 bytes" in problem


@pytest.mark.parametrize(
    ("refused", "told"),
    [("sortby", ""), ("filter", ""), ("query", "everything is walked"), ("limit", "")],
)
def test_what_is_refused_is_left_out(refused: str, told: str) -> None:
    """The API announces it and takes it not."""

    def hook(_: FakeApi, asked: Asked) -> Said | None:
        gone = ("filter", "query") if refused == "query" else (refused,)
        if asked.searches and any(asked.value(name) is not None for name in gone):
            return Said(400, b'{"code": "BadRequest", "description": "no"}')
        return None

    with faking(FakeApi(dated(30), hook=hook)) as api:
        assert items_of(read(api)) == [item["id"] for item in api.items]
        later = read(api, since=parse_instant("2024-01-01T00:25:00Z"))
    assert items_of(later)[-5:] == [f"c-{n:05d}" for n in range(25, 30)]
    assert (len(items_of(later)) == 30) == bool(told)
    assert told in notes(later)


def test_strict_limits_are_met() -> None:
    def hook(_: FakeApi, asked: Asked) -> Said | None:
        limit = int(asked.value("limit") or 10)
        return Said(422, b'{"detail": "limit: at most 100"}') if asked.searches and limit > 100 else None

    with faking(FakeApi(dated(250), hook=hook)) as api:
        assert len(items_of(read(api))) == 250
    assert [each.value("limit") for each in api.asked if each.searches] == [500, 100, 100, 100]


def test_a_slow_sort_is_left_out() -> None:
    def hook(_: FakeApi, asked: Asked) -> Said | None:
        return Said(504) if asked.searches and asked.value("sortby") else None

    with faking(FakeApi(dated(250), hook=hook)) as api:
        assert len(items_of(read(api))) == 250
    assert [each.value("limit") for each in api.asked if each.searches and not each.value("sortby")] == [500]


def test_a_post_that_is_announced_and_not_taken_becomes_a_get() -> None:
    for status in (404, 405, 415):

        def hook(_: FakeApi, asked: Asked, status: int = status) -> Said | None:
            return Said(status) if asked.searches and asked.method == "POST" else None

        with faking(FakeApi(dated(20), "get", hook=hook)) as api:
            assert len(items_of(read(api))) == 20


def test_a_walk_that_goes_round_ends_with_a_problem() -> None:
    def repeats(api: FakeApi, asked: Asked) -> Said | None:
        if asked.searches and asked.token == "0-300":
            page = json.loads(api.search(asked).body)
            page["links"] = [
                {"rel": "next", "href": "/search", "method": "POST", "body": {**asked.body, "token": "0-100"}}
            ]
            return api.json(page)
        return None

    def same(api: FakeApi, asked: Asked) -> Said | None:  # new addresses all the time, and always the same items
        if asked.searches and asked.token != "None":
            page = json.loads(api.search(Asked("POST", "/search", {}, {}, {**asked.body, "token": "0-100"})).body)
            page["links"] = api.next(asked, int(asked.token.rpartition("-")[2]), 100)
            return api.json(page)
        return None

    def itself(api: FakeApi, asked: Asked) -> Said | None:
        if not asked.searches:
            return None
        return api.json({"features": [make_item("a")], "links": [{"rel": "next", "href": "/search", "method": "POST",
                         "body": asked.body}]})  # fmt: skip

    def empty(api: FakeApi, asked: Asked) -> Said | None:
        if not asked.searches:
            return None
        number = len(api.asked)
        return api.json({"features": [], "links": [{"rel": "next", "href": f"/search?token={number}"}]})

    def elsewhere(api: FakeApi, asked: Asked) -> Said | None:
        if not asked.searches:
            return None
        return api.json({"features": [make_item("a")], "links": [{"rel": "next", "href": "file:///etc/passwd"}]})

    for hook, words, count in (
        (repeats, "leads to one that was seen", 400),
        (same, "holds the same items as one before it", 200),
        (itself, "leads to one that was seen", 1),
        (empty, "10 pages in a row are empty", 0),
        (elsewhere, "no address on the web", 1),
    ):
        with faking(FakeApi(dated(450), most=100, hook=hook)) as api:
            pages = read(api)
        (problem,) = problems(pages)
        assert words in problem
        assert len(items_of(pages)) == count
        assert pages[-1].place.done
        assert pages[-1].place.newest is None  # the next run looks again
        assert len(api.asked) < 30


def test_a_few_empty_pages_are_walked_over() -> None:
    def hook(api: FakeApi, asked: Asked) -> Said | None:
        if asked.searches and asked.token in ("0-100", "0-200"):
            page = json.loads(api.search(asked).body)
            return api.json({**page, "features": []})
        return None

    with faking(FakeApi(dated(450), most=100, hook=hook)) as api:
        pages = read(api)
    assert len(items_of(pages)) == 250
    assert "says that there are 450 items and gave 250" in notes(pages)


def test_broken_items_are_reported_and_the_others_are_taken(tmp_path: Path) -> None:
    for broken, reason in (
        (b'{"type": "Feature", "id": 7}', "an id is a string"),
        (b'{"type": "Feature", "id": "x", "n": NaN}', "not JSON"),
        (b'{"type": "Feature", "id": "\xff\xfe"}', "not JSON"),
        (b"null", "a STAC document is a JSON object"),
        (b'"text"', "a STAC document is a JSON object"),
        (b'{"type": "Feature", "id": "x", "id": "x"}', "stands twice"),
    ):

        def hook(_: FakeApi, asked: Asked, broken: bytes = broken) -> Said | None:
            if not asked.searches:
                return None
            good = [json.dumps(make_item(name)).encode() for name in "abcd"]
            text = b", ".join((*good[:2], broken, *good[2:]))
            return Said(200, b'{"type": "FeatureCollection", "features": [' + text + b'], "links": []}')

        with faking(FakeApi([], hook=hook)) as api:
            folder = tmp_path / str(abs(hash(broken)))
            done = run_swath("load", folder, api.url, "--json")
        assert done.returncode == 3, done.stderr
        (refused,) = json.loads(done.stdout)["refused"]
        assert (refused["file"], refused["line"]) == (f"{api.url}/search page 2", 3)
        assert reason in refused["reason"]
        assert sorted(stored(folder)) == ["a", "b", "c", "d"]


def test_an_end_that_is_none_is_noticed() -> None:
    """Some gateways answer 200 and an error; some links lead nowhere."""
    with faking(some(450)) as api:
        api.hook = faults(Said(200, b'{"message": "try later"}'), at=2)
        assert len(items_of(read(api))) == 450
        api.hook = faults(*[Said(200, b'{"message": "try later"}')] * 100, at=2)
        with pytest.raises(RemoteFailure, match="neither features nor collections"):
            read(api)


@pytest.mark.parametrize("href", ["http://[::1", "http://h:port/", "\\ud800", "", "javascript:alert(1)", "//"])
def test_links_that_lead_nowhere_end_nothing_else(href: str) -> None:
    def hook(_: FakeApi, asked: Asked) -> Said | None:
        if asked.path == "/collections":
            link = f'{{"rel": "items", "href": "{href}"}}'
            return Said(200, f'{{"collections": [{{"type": "Collection", "id": "c", "links": [{link}]}}]}}'.encode())
        if asked.searches:
            links = f'[{{"rel": "self", "href": "{href}"}}, {{"rel": "x", "href": "y"}}]'
            item = json.dumps(make_item("a", updated="2024-01-01T00:00:00Z")).replace(
                '"links": []', f'"links": {links}'
            )
            page = f'{{"features": [{item}], "links": [{{"rel": "next", "href": "{href}"}}]}}'
            return Said(200, page.encode())
        return None

    with faking(FakeApi([], hook=hook)) as api:
        try:
            found = problems(read(api))
        except (InvalidRequest, Unavailable):
            return
    assert found

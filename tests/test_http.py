"""What every answer has in common: links, proxies, CORS, compression, ETags, HEAD, health."""

from __future__ import annotations

import gzip
import json
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit

import pytest
import zstandard

import swath
from tests.conftest import Answer, Server, make_item, run_swath, serving


def hrefs(value: Any) -> list[str]:
    """Every href of a links array in an answer."""
    if isinstance(value, dict):
        own = [link["href"] for link in value.get("links", []) if link["rel"] in OURS]
        return own + [href for part in value.values() for href in hrefs(part)]
    return [href for part in value for href in hrefs(part)] if isinstance(value, list) else []


OURS = {"self", "root", "parent", "collection", "items", "next", "prev", "data", "search", "conformance",
        "service-desc", "service-doc", "http://www.opengis.net/def/rel/ogc/1.0/queryables",
        "http://www.opengis.net/def/rel/ogc/1.0/sortables"}  # fmt: skip
PAGES = ["/", "/collections?limit=2", "/collections/naip", "/collections/naip/items?limit=2",
         "/search?limit=2&sortby=id", "/collections/io-lulc/items/60N-2020"]  # fmt: skip


def without_foreign(server: Server, path: str, **headers: str) -> list[str]:
    return hrefs(server.get(path, **headers).json())


@pytest.mark.parametrize("path", PAGES)
def test_links_are_absolute_and_lead_somewhere(samples: Server, path: str) -> None:
    found = without_foreign(samples, path)
    assert found
    for href in found:
        assert href.startswith(samples.url + "/"), href
        assert samples.get(href.removeprefix(samples.url)).status == 200, href


@pytest.mark.parametrize("path", PAGES)
def test_self_is_the_address_that_was_asked(samples: Server, path: str) -> None:
    links = samples.get(path).json()["links"]
    assert next(link["href"] for link in links if link["rel"] == "self") == samples.url + path


@pytest.mark.parametrize(
    ("headers", "base"),
    [
        ({"X_Forwarded_Proto": "https", "X_Forwarded_Host": "stac.example.org"}, "https://stac.example.org"),
        ({"X_Forwarded_Proto": "https", "X_Forwarded_Host": "a.example, b.example"}, "https://b.example"),
        ({"X_Forwarded_Host": "x.example", "X_Forwarded_Port": "8443"}, "http://x.example:8443"),
        ({"X_Forwarded_Proto": "https", "X_Forwarded_Host": "x.example:443"}, "https://x.example"),
        ({"X_Forwarded_Host": "x.example", "X_Forwarded_Prefix": "/eo/stac/"}, "http://x.example/eo/stac"),
        ({"Forwarded": 'for=1.2.3.4;host="stac.example.org:444";proto=https'}, "https://stac.example.org:444"),
        ({"Forwarded": "host=evil.example;proto=http, host=near.example;proto=https"}, "https://near.example"),
        ({"Host": "other.example:8080"}, "http://other.example:8080"),
    ],
)
def test_links_follow_a_trusted_proxy(samples: Server, headers: dict[str, str], base: str) -> None:
    for path in PAGES:
        for href in without_foreign(samples, path, **headers):
            assert href.startswith(base + "/"), href
            assert not href.startswith(base + "//"), href


@pytest.mark.parametrize(
    "headers",
    [
        {"Host": "evil.example/path"},
        {"Host": "a b"},
        {"X_Forwarded_Host": 'evil"example'},
        {"X_Forwarded_Proto": "javascript"},
        {"X_Forwarded_Host": "x", "X_Forwarded_Prefix": "no-slash"},
    ],
)
def test_a_host_that_is_none_is_refused(samples: Server, headers: dict[str, str]) -> None:
    answer = samples.get("/", **headers)
    assert (answer.status, answer.json()["code"]) == (400, "InvalidParameter")


def test_forwarded_headers_of_a_stranger_are_not_believed(sample_catalog: Path, serve: Callable[..., Server]) -> None:
    server = serve("serve", sample_catalog, "--port", "0", env={"SWATH_TRUSTED_PROXIES": "10.0.0.0/8"})
    forged = {"X_Forwarded_Host": "evil.example", "Forwarded": "host=evil.example", "X_Forwarded_Prefix": "/evil"}
    for path in PAGES:
        assert all(href.startswith(server.url) for href in without_foreign(server, path, **forged))


def test_a_root_path_with_or_without_a_proxy_that_strips_it(sample_catalog: Path, serve: Callable[..., Server]) -> None:
    server = serve("serve", sample_catalog, "--port", "0", "--root-path", "/eo/stac")
    origin = server.url.removesuffix("/eo/stac")
    bare = Server(origin, server.process)
    for path in PAGES:
        inside, outside = bare.get(path).json(), bare.get("/eo/stac" + path).json()
        assert inside == outside
        for href in hrefs(inside):
            assert href.startswith(f"{origin}/eo/stac/"), href
            assert bare.get(href.removeprefix(origin)).status == 200


def test_a_public_url_wins_over_all_headers(sample_catalog: Path, serve: Callable[..., Server]) -> None:
    server = serve("serve", sample_catalog, "--port", "0", "--public-url", "https://eo.example.org/stac/")
    for path in PAGES:
        for href in without_foreign(server, path, X_Forwarded_Host="evil.example"):
            assert href.startswith("https://eo.example.org/stac/")


@pytest.mark.parametrize("path", [*PAGES, "/conformance", "/queryables", "/sortables", "/limits", "/api", "/api.html",
                                  "/health/live", "/health/ready"])  # fmt: skip
def test_head_is_get_without_the_body(samples: Server, path: str) -> None:
    got, head = samples.get(path), samples.request("HEAD", path)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert head.headers["content-length"] == got.headers["content-length"] == str(len(got.body))


def test_any_origin_may_read_and_none_may_write(samples: Server) -> None:
    got = samples.get("/search", Origin="https://browser.example")
    assert got.headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-credentials" not in got.headers
    assert {"ETag", "Link", "Location", "Retry-After", "Allow"} <= {
        name.strip() for name in got.headers["access-control-expose-headers"].split(",")
    }
    asked = samples.request("OPTIONS", "/search", headers={"Origin": "https://browser.example",
                                                            "Access-Control-Request-Method": "POST"})  # fmt: skip
    assert asked.status == 204
    assert set(asked.headers["access-control-allow-methods"].split(", ")) == {"GET", "HEAD", "OPTIONS", "POST"}
    item = samples.request("OPTIONS", "/collections/naip/items/x", headers={"Origin": "https://browser.example"})
    assert set(item.headers["access-control-allow-methods"].split(", ")) == {"GET", "HEAD", "OPTIONS"}
    assert item.headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"


@pytest.mark.parametrize(
    ("accept", "encoding"),
    [("gzip", "gzip"), ("zstd", "zstd"), ("gzip, zstd", "zstd"), ("gzip;q=1, zstd;q=0.5", "gzip"), ("*", "gzip"),
     ("br", None), ("identity", None), ("gzip;q=0", None), ("gzip;q=x", None)],
)  # fmt: skip
def test_answers_are_packed_as_the_caller_prefers(samples: Server, accept: str, encoding: str | None) -> None:
    plain = samples.get("/collections/naip/items?limit=20")
    packed = samples.get("/collections/naip/items?limit=20", Accept_Encoding=accept)
    assert packed.headers.get("content-encoding") == encoding
    assert "Accept-Encoding" in packed.headers["vary"]
    assert unpack(packed) == plain.body
    assert int(packed.headers["content-length"]) == len(packed.body)


def unpack(answer: Answer) -> bytes:
    encoding = answer.headers.get("content-encoding")
    if encoding == "gzip":
        return gzip.decompress(answer.body)
    if encoding == "zstd":
        return zstandard.ZstdDecompressor().decompressobj().decompress(answer.body)
    return answer.body


@pytest.mark.parametrize("path", ["/collections/io-lulc/items/60N-2020", "/collections/naip"])
def test_an_etag_saves_the_second_answer(samples: Server, path: str) -> None:
    first = samples.get(path)
    tag = first.headers["etag"]
    assert tag.startswith('"')
    same = samples.get(path, If_None_Match=f'"other", {tag}')
    assert (same.status, same.body, same.headers["etag"]) == (304, b"", tag)
    assert samples.get(path, If_None_Match="*").status == 304
    assert samples.get(path, If_None_Match='"other"').status == 200
    packed = samples.get(path, Accept_Encoding="gzip")
    assert packed.headers["etag"] != tag, "another encoding is another representation"
    assert samples.get(path, If_None_Match=packed.headers["etag"]).status == 304


def test_an_etag_changes_with_the_item_and_tells_no_counts(tmp_path: Path, serve: Callable[..., Server]) -> None:
    source = tmp_path / "a.ndjson"
    source.write_text(json.dumps(make_item("a", v=1)))
    run_swath("load", tmp_path / "c", source)
    server = serve("serve", tmp_path / "c", "--port", "0")
    first = server.get("/collections/c/items/a")
    source.write_text(json.dumps(make_item("a", v=2)))
    run_swath("load", tmp_path / "c", source)
    second = server.get("/collections/c/items/a")
    assert second.json()["properties"]["v"] == 2, "a committed write is seen by the next request"
    version, _, representation = first.headers["etag"].strip('"').partition("-")
    assert len(version) == len(representation) == 16
    assert second.headers["etag"].strip('"').partition("-")[0] != version


@pytest.mark.parametrize(
    "name", ["a/b", "a b", "%2F", "ä", "a?b", "a#b", "..a", "a+b", "日本", "a%20b", "'\"<>", "a;b,c"]
)
def test_ids_of_any_characters_have_working_links(tmp_path: Path, serve: Callable[..., Server], name: str) -> None:
    source = tmp_path / "a.ndjson"
    source.write_text(json.dumps(make_item(name, name)), encoding="utf-8")
    assert run_swath("load", tmp_path / "c", source).returncode == 0
    server = serve("serve", tmp_path / "c", "--port", "0")
    feature = server.get("/search").json()["features"][0]
    assert (feature["id"], feature["collection"]) == (name, name)
    for link in feature["links"]:
        answer = server.get(link["href"].removeprefix(server.url))
        assert answer.status == 200
        if link["rel"] in ("self", "collection"):
            assert answer.json()["id"] == name
    assert server.get(f"/collections/{quote(name, safe='')}/items").json()["numberMatched"] == 1


def test_health_tells_live_from_ready(samples: Server) -> None:
    assert samples.get("/health/live").json() == {"status": "live"}
    ready = samples.get("/health/ready").json()
    assert ready["status"] == "ready"
    assert ready["revision"] == ready["indexed_revision"] == 2282 + 59


def test_limits_are_published(samples: Server) -> None:
    published = samples.get("/limits").json()
    assert published["page_max"] == published["list_members"] == published["filter_nodes"] == 10_000
    assert published["body_bytes"] == 10_000_000
    assert published["deadline_seconds"] == 10


def test_the_documentation_page_needs_no_other_host(samples: Server) -> None:
    page = samples.get("/api.html")
    assert page.headers["content-type"].startswith("text/html")
    assert "default-src 'self'" in page.headers["content-security-policy"]
    text = page.body.decode()
    assert "http://" not in text
    assert "https://" not in text
    for part in text.split('"'):
        if part.startswith("api.html/"):
            asset = samples.get("/" + part)
            assert asset.status == 200
            assert len(asset.body) > 100


def test_a_trailing_slash_is_the_same_place(samples: Server) -> None:
    assert samples.get("/collections/").json()["numberMatched"] == 59
    assert samples.get("/collections/naip/").json()["id"] == "naip"


def test_unencoded_quotes_and_spaces_in_a_query_are_read(samples: Server) -> None:
    parts = urlsplit(samples.url)
    with socket.create_connection((parts.hostname or "", parts.port or 0)) as raw:
        raw.sendall(b'GET /search?filter="properties.gsd"=10&limit=1 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n')
        answer = b""
        while chunk := raw.recv(65_536):
            answer += chunk
    assert answer.startswith(b"HTTP/1.1 200")
    assert b'"numberMatched":80' in answer


def test_two_workers_share_cursors_and_see_writes(tmp_path: Path, serve: Callable[..., Server]) -> None:
    source = tmp_path / "a.ndjson"
    source.write_text("\n".join(json.dumps(make_item(f"{n:03d}")) for n in range(40)))
    run_swath("load", tmp_path / "c", source)
    server = serve("serve", tmp_path / "c", "--port", "0", "--workers", "2")
    page = server.get("/search?limit=3").json()
    seen = [feature["id"] for feature in page["features"]]
    while link := next((link for link in page["links"] if link["rel"] == "next"), None):
        page = server.get(link["href"].removeprefix(server.url)).json()
        seen += [feature["id"] for feature in page["features"]]
    assert seen == [f"{n:03d}" for n in range(40)]
    source.write_text(json.dumps(make_item("new")))
    run_swath("load", tmp_path / "c", source)
    assert {server.get("/search").json()["numberMatched"] for _ in range(12)} == {41}


def test_an_answer_is_given_again_only_while_nothing_is_written(tmp_path: Path) -> None:
    with swath.open(tmp_path / "c", create=True) as session:
        session.write([make_item(f"{n:02d}", v=n) for n in range(20)])
        with serving(tmp_path / "c") as server:
            for target in ("/search?limit=3&filter=v%3E4", "/collections/c/items/07", "/search?limit=2&sortby=-v"):
                first, again = server.get(target), server.get(target)
                assert (again.status, again.body) == (first.status, first.body)
                assert again.headers.get("etag") == first.headers.get("etag")
                assert again.headers["content-type"] == first.headers["content-type"]
            tag = server.get("/collections/c/items/07").headers["etag"]
            session.write([make_item("07", v=700)])
            assert server.get("/search?limit=2&sortby=-v").json()["features"][0]["id"] == "07"
            assert server.get("/search?limit=3&filter=v%3E4").json()["numberMatched"] == 15
            assert server.get("/collections/c/items/07").json()["properties"]["v"] == 700
            assert server.get("/collections/c/items/07").headers["etag"] != tag
            other = server.get("/search?limit=1", Host="data.example.org").json()["features"][0]["links"][0]["href"]
            assert other.startswith("http://data.example.org/")

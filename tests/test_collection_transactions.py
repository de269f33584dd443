"""The STAC API Collection Transaction extension, 1.0.0-beta.1: every outcome that it documents, a test each.

What each test stands for is said in its docstring, in our words for those of the extension's README and OpenAPI
document.
"""

from __future__ import annotations

import json
import re
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.conftest import Answer, Editor, make_collection, make_item

ETAG = re.compile(r'"[0-9a-f]{16}-[0-9a-f]{16}"')
MERGE, STEPS = "application/merge-patch+json", "application/json-patch+json"


def new(editor: Editor, **more: Any) -> dict[str, Any]:
    return make_collection(f"new-{next(editor.numbers)}", **more)


def refused(answer: Answer, status: int, code: str, at: str | None = None) -> None:
    told = answer.json()
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json"), answer.body
    assert (told["status"], told["code"], told.get("at")) == (status, code, at)
    assert not {"location", "etag", "last-modified"} & answer.headers.keys()


def described(answer: Answer) -> dict[str, Any]:
    """A collection with a strong validator, and a date that is that of its `updated`; the collection."""
    assert answer.headers["content-type"] == "application/json"
    assert ETAG.fullmatch(answer.headers["etag"])
    told: dict[str, Any] = answer.json()
    at = parsedate_to_datetime(answer.headers["last-modified"]).strftime("%Y-%m-%dT%H:%M:%S")
    assert told["updated"][:19] == at
    return told


# -- POST ----------------------------------------------------------------------------------------


def test_post_of_a_collection_is_201_with_its_location(editor: Editor) -> None:
    """POST, a collection: 201 and a Location header with the address of what was added; the content may be in the
    answer. OpenAPI: 201 has an ETag."""
    document = new(editor, keywords=["a", "b"], title="1.50")
    made = editor.ask("POST", "/collections", document)
    assert made.status == 201
    assert made.headers["location"] == f"{editor.url}/collections/{document['id']}"
    told = described(made)
    assert {name: told[name] for name in document if name != "links"} == {
        name: value for name, value in document.items() if name != "links"
    }
    found = editor.ask("GET", f"/collections/{document['id']}")
    assert (found.status, found.body, found.headers["etag"]) == (200, made.body, made.headers["etag"])


def test_post_makes_new_collections_only(editor: Editor) -> None:
    """POST, a collection: it only creates; 409 where a collection of this id is there already."""
    document = new(editor)
    etag = editor.ask("POST", "/collections", document).headers["etag"]
    for again in (document, document | {"title": "another"}):
        refused(editor.ask("POST", "/collections", again), 409, "Conflict")
    assert editor.ask("GET", f"/collections/{document['id']}").headers["etag"] == etag


@pytest.mark.parametrize("given", [None, "", 7])
def test_post_of_a_collection_needs_an_id(editor: Editor, given: object) -> None:
    """POST, a collection: it must have an id field."""
    refused(editor.ask("POST", "/collections", make_collection("x") | {"id": given}), 400, "InvalidDocument", "/id")
    without = make_collection("x")
    del without["id"]
    refused(editor.ask("POST", "/collections", without), 400, "InvalidDocument", "/id")


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b"\xff", b'"text"', b'{"type":"Catalog","id":"x"}'])
def test_post_of_what_is_no_collection_is_400(editor: Editor, body: bytes) -> None:
    """OpenAPI, POST: 400 for what is malformed or makes no sense."""
    made = editor.ask("POST", "/collections", body)
    assert (made.status, made.json()["code"]) == (400, "InvalidDocument")


def test_a_collection_of_which_parts_are_missing_is_taken(editor: Editor) -> None:
    """Methods: the body is a partial collection. What can be told from its items is."""
    name = new(editor)["id"]
    part = {"type": "Collection", "id": name, "description": "d", "license": "other"}
    assert editor.ask("POST", "/collections", part).status == 201
    assert editor.ask("POST", f"/collections/{name}/items", make_item("i", name)).status == 201
    told = editor.ask("GET", f"/collections/{name}").json()
    assert told["extent"]["spatial"]["bbox"] == [[0.0, 0.0, 0.0, 0.0]]
    assert told["swath:items"] == 1
    assert {link["rel"] for link in told["links"]} >= {"self", "root", "parent", "items"}


def test_post_of_several_collections_is_201_without_location(editor: Editor) -> None:
    """POST, a list of collections: 201 without a Location header."""
    many = [new(editor), new(editor, title="second")]
    made = editor.ask("POST", "/collections", {"collections": many, "links": []})
    assert made.status == 201
    assert "location" not in made.headers
    assert [each["id"] for each in made.json()["collections"]] == [each["id"] for each in many]
    for each in many:
        assert editor.ask("GET", f"/collections/{each['id']}").json().get("title") == each.get("title")


def test_post_of_several_collections_with_an_id_that_is_taken_is_409(editor: Editor) -> None:
    """POST, a list of collections: 409 where any of the ids is taken. Some may be created, with an error status: here
    none is."""
    taken, before, behind = editor.collection(), new(editor), new(editor)
    for many in ([before, make_collection(taken), behind], [before, behind, before]):
        refused(editor.ask("POST", "/collections", {"collections": many}), 409, "Conflict")
    assert editor.ask("GET", f"/collections/{before['id']}").status == 404
    assert editor.ask("GET", f"/collections/{behind['id']}").status == 404


@pytest.mark.parametrize("many", [[], {}, None, [7]])
def test_a_list_of_collections_is_an_array_of_them(editor: Editor, many: object) -> None:
    """OpenAPI: 400 for what is malformed or makes no sense. peers.md, pain 39: 201 where nothing was created."""
    made = editor.ask("POST", "/collections", {"collections": many, "id": ""})
    assert (made.status, made.json()["code"]) == (400, "InvalidDocument")


def test_each_of_several_collections_needs_an_id(editor: Editor) -> None:
    """POST, a list of collections: each must have an id field. The answer tells which one has none."""
    first = new(editor)
    many = [first, make_collection("x") | {"id": ""}]
    refused(editor.ask("POST", "/collections", {"collections": many}), 400, "InvalidDocument", "/collections/1/id")
    assert editor.ask("GET", f"/collections/{first['id']}").status == 404


# -- PUT -----------------------------------------------------------------------------------------


def test_put_replaces_the_whole_collection_and_keeps_its_items(editor: Editor) -> None:
    """PUT: 200 with the content of the updated resource. OpenAPI: with an ETag to track changes. peers.md, pain 39: in
    other servers, updating a collection deleted its items."""
    name = editor.collection(make_item("a"), make_item("b"))
    before = editor.ask("GET", f"/collections/{name}")
    done = editor.ask("PUT", f"/collections/{name}", make_collection(name, title="second", license="MIT"))
    assert done.status == 200
    assert "location" not in done.headers
    told = described(done)
    assert (told["title"], told["license"]) == ("second", "MIT")
    assert done.headers["etag"] != before.headers["etag"]
    found = editor.ask("GET", f"/collections/{name}")
    assert (found.body, found.headers["etag"]) == (done.body, done.headers["etag"])
    items = editor.ask("GET", f"/collections/{name}/items").json()["features"]
    assert sorted(item["id"] for item in items) == ["a", "b"]


def test_put_of_the_collection_that_is_there_changes_nothing(editor: Editor) -> None:
    """PUT: 200 for a successful operation, and the ETag stays where the content does."""
    name = editor.collection(make_item("a"))
    found = editor.ask("GET", f"/collections/{name}")
    done = editor.ask("PUT", f"/collections/{name}", make_collection(name))
    assert (done.status, done.headers["etag"], done.body) == (200, found.headers["etag"], found.body)


def test_put_of_what_was_served_does_not_freeze_what_was_told(editor: Editor) -> None:
    """PUT: the entire collection is sent. What the server had added to it stays what it is: told, not said."""
    name = new(editor)["id"]
    part = {"type": "Collection", "id": name, "description": "d", "license": "other"}
    assert editor.ask("POST", "/collections", part).status == 201
    assert editor.ask("POST", f"/collections/{name}/items", make_item("a", name)).status == 201
    served = editor.ask("GET", f"/collections/{name}").json()
    done = editor.ask("PUT", f"/collections/{name}", served).json()
    assert {key for key in served if served[key] != done[key]} <= {"updated"}
    far = make_item("b", name, geometry={"type": "Point", "coordinates": [9.0, 9.0]})
    assert editor.ask("POST", f"/collections/{name}/items", far).status == 201
    told = editor.ask("GET", f"/collections/{name}").json()
    assert (told["swath:items"], told["extent"]["spatial"]["bbox"]) == (2, [[0.0, 0.0, 9.0, 9.0]])


def test_put_where_no_collection_is_is_404(editor: Editor) -> None:
    """PUT: 404 where no collection exists for this URI; PUT does not create."""
    refused(editor.ask("PUT", "/collections/nowhere", make_collection("nowhere")), 404, "NotFound")
    refused(editor.ask("GET", "/collections/nowhere"), 404, "NotFound")


def test_put_fills_in_the_id(editor: Editor) -> None:
    """PUT: the id field is populated from the URI."""
    name = editor.collection()
    document = make_collection(name, title="filled in")
    del document["id"]
    done = editor.ask("PUT", f"/collections/{name}", document)
    assert (done.status, done.json()["id"], done.json()["title"]) == (200, name, "filled in")


def test_put_of_another_id_is_400(editor: Editor) -> None:
    """PUT: 400 where the id differs from that in the URI. peers.md, pain 39: PUT with another id renamed it."""
    name, other = editor.collection(make_item("a")), new(editor)["id"]
    refused(editor.ask("PUT", f"/collections/{name}", make_collection(other)), 400, "InvalidDocument", "/id")
    assert editor.ask("GET", f"/collections/{other}").status == 404
    assert editor.ask("GET", f"/collections/{name}/items/a").status == 200


def test_put_of_what_is_no_collection_is_400(editor: Editor) -> None:
    """OpenAPI, PUT: 400 for what is malformed or makes no sense."""
    name = editor.collection()
    etag = editor.ask("GET", f"/collections/{name}").headers["etag"]
    item = make_item("a", name)
    refused(editor.ask("PUT", f"/collections/{name}", item), 400, "InvalidDocument", "/type")
    for body in ("{", "[]", "null"):
        assert editor.ask("PUT", f"/collections/{name}", body).json()["code"] == "InvalidDocument"
    assert editor.ask("GET", f"/collections/{name}").headers["etag"] == etag


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_write_under_an_etag_that_does_not_match_is_412(editor: Editor, method: str) -> None:
    """OpenAPI: PUT, PATCH and DELETE take If-Match, and are done only where the ETag still matches; else 412."""
    name = editor.collection()
    path = f"/collections/{name}"
    etag = editor.ask("GET", path).headers["etag"]
    later = editor.ask("PUT", path, make_collection(name, title="later")).headers["etag"]
    body = {"PUT": make_collection(name, title="mine"), "PATCH": {"title": "mine"}, "DELETE": None}[method]
    refused(editor.ask(method, path, body, ("If-Match", etag)), 412, "PreconditionFailed")
    assert editor.ask("GET", path).headers["etag"] == later
    done = editor.ask(method, path, body, ("If-Match", later))
    assert done.status == (204 if method == "DELETE" else 200)
    assert editor.ask("GET", path).status == (404 if method == "DELETE" else 200)


# -- PATCH ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", ["application/json", MERGE, STEPS])
def test_patch_changes_what_it_names(editor: Editor, media_type: str) -> None:
    """PATCH: 200 with the content of the updated resource, by RFC 7386 (now 7396). OpenAPI: with an ETag."""
    name = editor.collection(make_item("a"))
    path = f"/collections/{name}"
    before = editor.ask("GET", path)
    patch: Any = {"title": "patched", "license": "MIT"}
    if media_type == STEPS:
        patch = [{"op": "add", "path": f"/{key}", "value": value} for key, value in patch.items()]
    done = editor.ask("PATCH", path, patch, media_type=media_type)
    assert done.status == 200
    assert "location" not in done.headers
    told = described(done)
    assert done.headers["etag"] != before.headers["etag"]
    changed = {key: value for key, value in told.items() if before.json().get(key) != value}
    assert changed.keys() == {"title", "license", "updated"}
    assert editor.ask("GET", path).body == done.body
    assert editor.ask("GET", f"{path}/items/a").status == 200


def test_patch_takes_away_what_is_null(editor: Editor) -> None:
    """PATCH is compliant with RFC 7386: null takes a member away."""
    name = editor.collection()
    path = f"/collections/{name}"
    assert editor.ask("PATCH", path, {"keywords": ["a"], "title": "t"}).json()["keywords"] == ["a"]
    told = editor.ask("PATCH", path, {"keywords": None}).json()
    assert (told.get("keywords"), told["title"]) == (None, "t")


def test_patch_keeps_or_fills_in_the_id(editor: Editor) -> None:
    """PATCH: the id field is populated from the URI."""
    name = editor.collection()
    for given in (name, None):
        done = editor.ask("PATCH", f"/collections/{name}", {"id": given, "title": f"with {given}"})
        assert (done.status, done.json()["id"]) == (200, name)


@pytest.mark.parametrize("media_type", [MERGE, STEPS])
def test_patch_of_the_id_is_400(editor: Editor, media_type: str) -> None:
    """PATCH: 400 where the id differs from that in the URI."""
    name, other = editor.collection(), new(editor)["id"]
    patch: Any = {"id": other} if media_type == MERGE else [{"op": "replace", "path": "/id", "value": other}]
    done = editor.ask("PATCH", f"/collections/{name}", patch, media_type=media_type)
    refused(done, 400, "InvalidDocument", "/id")
    assert editor.ask("GET", f"/collections/{other}").status == 404


def test_a_patch_is_checked_as_a_put_is(editor: Editor) -> None:
    """peers.md, pain 39: in other servers, PATCH bypassed validation."""
    name = editor.collection()
    path = f"/collections/{name}"
    etag = editor.ask("GET", path).headers["etag"]
    for patch, at in (({"type": "Catalog"}, "/type"), ({"links": {}}, "/links"), ({"extent": 7}, "/extent")):
        refused(editor.ask("PATCH", path, patch), 400, "InvalidDocument", at)
        refused(editor.ask("PUT", path, make_collection(name) | patch), 400, "InvalidDocument", at)
    assert editor.ask("GET", path).headers["etag"] == etag


@pytest.mark.parametrize(("patch", "media_type"), [("{}", MERGE), ("[]", STEPS)])
def test_patch_where_no_collection_is_is_404(editor: Editor, patch: str, media_type: str) -> None:
    """PATCH: 404 where no collection exists for this URI."""
    refused(editor.ask("PATCH", "/collections/nowhere", patch, media_type=media_type), 404, "NotFound")


# -- DELETE --------------------------------------------------------------------------------------


def test_delete_is_204_and_the_collection_is_gone(editor: Editor) -> None:
    """DELETE: 200 or 204 for a successful operation."""
    name = editor.collection()
    done = editor.ask("DELETE", f"/collections/{name}")
    assert (done.status, done.body) == (204, b"")
    assert not {"content-type", "etag", "location"} & done.headers.keys()
    refused(editor.ask("GET", f"/collections/{name}"), 404, "NotFound")
    assert name not in [each["id"] for each in editor.ask("GET", "/collections?limit=1000").json()["collections"]]


def test_delete_where_no_collection_is_is_404(editor: Editor) -> None:
    """DELETE: 404 may be returned where no collection existed before."""
    name = editor.collection()
    assert editor.ask("DELETE", f"/collections/{name}").status == 204
    refused(editor.ask("DELETE", f"/collections/{name}"), 404, "NotFound")
    refused(editor.ask("DELETE", "/collections/nowhere?cascade=true"), 404, "NotFound")


def test_delete_of_a_collection_that_holds_items_needs_cascade(editor: Editor) -> None:
    """Issue 5: a collection with items is deleted with ?cascade=true only. peers.md, pain 42: 500 in other servers."""
    name = editor.collection(make_item("a"))
    path = f"/collections/{name}"
    for query in ("", "?cascade=false"):
        refused(editor.ask("DELETE", path + query), 409, "Conflict")
        assert editor.ask("GET", f"{path}/items/a").status == 200
    refused(editor.ask("DELETE", f"{path}?cascade=maybe"), 400, "InvalidParameter")
    assert editor.ask("DELETE", f"{path}?cascade=true").status == 204
    refused(editor.ask("GET", f"{path}/items/a"), 404, "NotFound")
    assert editor.ask("GET", f"/search?collections={name}").json()["features"] == []


def test_a_deleted_id_can_be_used_again_and_holds_nothing(editor: Editor) -> None:
    """POST, a collection: 409 is for one that exists; what a deleted one held is not in the new one."""
    name = editor.collection(make_item("a"))
    assert editor.ask("DELETE", f"/collections/{name}?cascade=true").status == 204
    assert editor.ask("POST", "/collections", make_collection(name)).status == 201
    assert editor.ask("GET", f"/collections/{name}/items").json()["numberMatched"] == 0


# -- what a client can find out ------------------------------------------------------------------


def test_the_conformance_class_is_announced(editor: Editor) -> None:
    """Overview: the conformance URI."""
    told = editor.ask("GET", "/").json()["conformsTo"]
    assert "https://api.stacspec.org/v1.0.0/collections/extensions/transaction" in told


def test_options_tells_what_may_be_done(editor: Editor) -> None:
    """Methods: POST on the collections; PUT, PATCH and DELETE on one."""
    assert editor.ask("OPTIONS", "/collections").headers["allow"] == "GET, HEAD, OPTIONS, POST"
    allowed = editor.ask("OPTIONS", f"/collections/{editor.collection()}").headers["allow"]
    assert allowed == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"


@pytest.mark.parametrize(
    ("method", "media_type"),
    [("POST", "text/plain"), ("PUT", "application/xml"), ("PATCH", "text/json"), ("PUT", MERGE)],
)
def test_a_body_of_another_media_type_is_415(editor: Editor, method: str, media_type: str) -> None:
    """Methods: the Content-Type is application/json; RFC 9110, 15.5.16 for others."""
    name = editor.collection()
    where = "/collections" if method == "POST" else f"/collections/{name}"
    body = json.dumps(make_collection(name))
    refused(editor.ask(method, where, body, media_type=media_type), 415, "UnsupportedMediaType")

"""The STAC API Transaction extension, 1.0.0-rc.3: every outcome that it documents, a test each.

What each test stands for is said in its docstring, in our words for those of the extension's README and OpenAPI
document.
"""

from __future__ import annotations

import json
import re
from email.utils import parsedate_to_datetime
from typing import Any

import pytest

from tests.conftest import Answer, Editor, make_item

ITEM = (
    '{"type":"Feature","stac_version":"1.1.0","id":"scene","geometry":{"type":"Point","coordinates":[5.10,50.0]},'
    '"properties":{"datetime":"2024-05-06T07:08:09Z","eo:cloud_cover":1.50},'
    '"links":[{"rel":"license","href":"https://example.org/terms"}],"assets":{"B4":{"href":"B4.tif"}}}'
)
SERVED = (
    '{"type":"Feature","stac_version":"1.1.0","id":"scene","geometry":{"type":"Point","coordinates":[5.10,50.0]},'
    '"properties":{"datetime":"2024-05-06T07:08:09Z","eo:cloud_cover":1.50,"created":"WHEN","updated":"WHEN"},'
    '"links":[{"rel":"self","href":"URL/collections/HERE/items/scene","type":"application/geo+json"},'
    '{"rel":"parent","href":"URL/collections/HERE","type":"application/json"},'
    '{"rel":"collection","href":"URL/collections/HERE","type":"application/json"},'
    '{"rel":"root","href":"URL/","type":"application/json"},'
    '{"rel":"license","href":"https://example.org/terms"}],"assets":{"B4":{"href":"B4.tif"}},"collection":"HERE"}'
)
ETAG = re.compile(r'"[0-9a-f]{16}-[0-9a-f]{16}"')
MERGE, STEPS = "application/merge-patch+json", "application/json-patch+json"


def masked(editor: Editor, answer: Answer, collection: str) -> str:
    """The body, with names for what differs from run to run."""
    text = re.sub(r'"(created|updated)":"[^"]+"', r'"\1":"WHEN"', answer.body.decode())
    return text.replace(editor.url, "URL").replace(collection, "HERE")


def refused(answer: Answer, status: int, code: str, at: str | None = None) -> dict[str, Any]:
    """The body of an error: RFC 9457, with the members that STAC clients and UP42's read."""
    told: dict[str, Any] = answer.json()
    assert (answer.status, answer.headers["content-type"]) == (status, "application/problem+json"), answer.body
    assert (told["status"], told["code"], told.get("at")) == (status, code, at)
    assert told["description"] == told["detail"] == told["message"] != ""
    assert not {"location", "etag", "last-modified"} & answer.headers.keys()
    return told


def described(answer: Answer) -> None:
    """The headers of an item: a strong validator, and a date that is that of its `updated`."""
    assert answer.headers["content-type"] == "application/geo+json"
    assert ETAG.fullmatch(answer.headers["etag"])
    told = answer.json()["properties"]["updated"]
    assert parsedate_to_datetime(answer.headers["last-modified"]).strftime("%Y-%m-%dT%H:%M:%S") == told[:19]


def scene(editor: Editor, collection: str) -> Answer:
    return editor.ask("GET", f"/collections/{collection}/items/scene")


def place(editor: Editor) -> tuple[str, str, str]:
    """A collection with the item in it, the path of the item, and its ETag."""
    name = editor.collection()
    made = editor.ask("POST", f"/collections/{name}/items", ITEM)
    assert made.status == 201
    return name, f"/collections/{name}/items/scene", made.headers["etag"]


# -- POST of an item -----------------------------------------------------------------------------


def test_post_of_an_item_is_201_with_its_location(editor: Editor) -> None:
    """POST, an item: 201 and a Location header with the address of what was added; the content may be in the answer.
    OpenAPI: 201 has an ETag."""
    name = editor.collection()
    made = editor.ask("POST", f"/collections/{name}/items", ITEM)
    assert made.status == 201
    assert made.headers["location"] == f"{editor.url}/collections/{name}/items/scene"
    described(made)
    assert masked(editor, made, name) == SERVED
    found = scene(editor, name)
    assert (found.status, found.body, found.headers["etag"]) == (200, made.body, made.headers["etag"])


def test_post_makes_new_items_only(editor: Editor) -> None:
    """POST, an item: it only creates; 409 where an item of this collection and id is there already."""
    name, path, etag = place(editor)
    again = editor.ask("POST", f"/collections/{name}/items", ITEM)
    refused(again, 409, "Conflict")
    other = editor.ask("POST", f"/collections/{name}/items", make_item("scene", name, v=2))
    refused(other, 409, "Conflict")
    assert editor.ask("GET", path).headers["etag"] == etag


def test_the_same_id_may_be_in_another_collection(editor: Editor) -> None:
    """POST, an item: what is taken is the pair of collection and id."""
    place(editor)
    place(editor)


@pytest.mark.parametrize("given", ["", ',"id":null', ',"id":""', ',"id":7'])
def test_post_of_an_item_needs_an_id(editor: Editor, given: str) -> None:
    """POST, an item: it must have an id field."""
    name = editor.collection()
    made = editor.ask("POST", f"/collections/{name}/items", ITEM.replace(',"id":"scene"', given))
    refused(made, 400, "InvalidDocument", "/id")


def test_post_fills_in_the_collection(editor: Editor) -> None:
    """POST, an item: the collection field is populated from the URI."""
    name = editor.collection()
    for given in ("", ',"collection":null', f',"collection":"{name}"'):
        text = ITEM[:-1].replace('"scene"', f'"scene{len(given)}"') + given + "}"
        made = editor.ask("POST", f"/collections/{name}/items", text)
        assert (made.status, made.json()["collection"]) == (201, name)


def test_post_of_an_item_of_another_collection_is_400(editor: Editor) -> None:
    """POST, an item: the URI says the collection. One that says another is not stored, neither here nor there."""
    name, elsewhere = editor.collection(), editor.collection()
    made = editor.ask("POST", f"/collections/{name}/items", {**json.loads(ITEM), "collection": elsewhere})
    refused(made, 400, "InvalidDocument", "/collection")
    assert scene(editor, name).status == scene(editor, elsewhere).status == 404


def test_post_into_no_collection_is_404(editor: Editor) -> None:
    """OpenAPI, POST: 404."""
    refused(editor.ask("POST", "/collections/nowhere/items", ITEM), 404, "NotFound")


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{", b"\xff", b'"text"', b'{"type":"Catalog"}', b'{"id":"a","id":"b","type":"Feature"}']
)
def test_post_of_what_is_no_item_is_400(editor: Editor, body: bytes) -> None:
    """OpenAPI, POST: 400 for what is malformed or makes no sense."""
    made = editor.ask("POST", f"/collections/{editor.collection()}/items", body)
    assert (made.status, made.json()["code"]) == (400, "InvalidDocument")


def test_a_feature_that_is_not_yet_an_item_is_taken(editor: Editor) -> None:
    """CHANGELOG, rc.1: POST and PUT take a GeoJSON Feature of which a valid item can be made: links, assets and
    collection may be missing."""
    name = editor.collection()
    feature = '{"type":"Feature","id":"f","geometry":null,"properties":{"datetime":"2024-01-01T00:00:00Z"}}'
    made = editor.ask("POST", f"/collections/{name}/items", feature)
    assert made.status == 201
    assert [link["rel"] for link in made.json()["links"]] == ["self", "parent", "collection", "root"]
    assert editor.ask("PUT", f"/collections/{name}/items/f", feature).status == 200


# -- POST of many --------------------------------------------------------------------------------


def item_collection(*texts: str) -> str:
    return '{"type":"FeatureCollection","features":[' + ",".join(texts) + '],"links":[]}'


def test_post_of_an_item_collection_is_201_without_location(editor: Editor) -> None:
    """POST, an ItemCollection: 201 without a Location header; the collection field of each is populated."""
    name = editor.collection()
    made = editor.ask("POST", f"/collections/{name}/items", item_collection(ITEM, ITEM.replace("scene", "other")))
    assert (made.status, made.headers["content-type"]) == (201, "application/geo+json")
    assert "location" not in made.headers
    told = made.json()
    assert told["type"] == "FeatureCollection"
    assert [(item["id"], item["collection"]) for item in told["features"]] == [("scene", name), ("other", name)]
    assert masked(editor, scene(editor, name), name) == SERVED


def test_post_of_an_item_collection_with_an_id_that_is_taken_is_409(editor: Editor) -> None:
    """POST, an ItemCollection: 409 where any of the ids is taken. Some may be created, with an error: here none is."""
    name, path, etag = place(editor)
    before, behind = ITEM.replace("scene", "before"), ITEM.replace("scene", "behind")
    for many in ((before, ITEM, behind), (before, behind, before)):
        refused(editor.ask("POST", f"/collections/{name}/items", item_collection(*many)), 409, "Conflict")
    found = editor.ask("GET", f"/collections/{name}/items").json()
    assert [item["id"] for item in found["features"]] == ["scene"]
    assert editor.ask("GET", path).headers["etag"] == etag


def test_each_item_of_an_item_collection_needs_an_id(editor: Editor) -> None:
    """POST, an ItemCollection: each item must have an id field. The answer tells which one has none."""
    name = editor.collection()
    for fault, at in ((',"id":""', "/features/1/id"), ("", "/features/1/id")):
        many = item_collection(ITEM, ITEM.replace(',"id":"scene"', fault))
        refused(editor.ask("POST", f"/collections/{name}/items", many), 400, "InvalidDocument", at)
    assert editor.ask("GET", f"/collections/{name}/items").json()["features"] == []


def test_an_item_of_another_collection_within_an_item_collection_is_400(editor: Editor) -> None:
    """POST, an ItemCollection: the URI says the collection of each."""
    name = editor.collection()
    many = item_collection(ITEM, ITEM[:-1].replace("scene", "other") + ',"collection":"elsewhere"}')
    made = editor.ask("POST", f"/collections/{name}/items", many)
    refused(made, 400, "InvalidDocument", "/features/1/collection")


@pytest.mark.parametrize("features", ["", ',"features":[]', ',"features":{}', ',"features":null', ',"features":[7]'])
def test_an_item_collection_is_an_array_of_items(editor: Editor, features: str) -> None:
    """OpenAPI: an ItemCollection has an array of features; 400 for what is malformed."""
    made = editor.ask("POST", f"/collections/{editor.collection()}/items", f'{{"type":"FeatureCollection"{features}}}')
    assert (made.status, made.json()["code"]) == (400, "InvalidDocument")


def test_an_upload_that_is_queued_is_202(editor: Editor) -> None:
    """All cases of POST: 202 where the operation is queued. Swath queues what is sent with Prefer: respond-async."""
    name = editor.collection()
    queued = editor.ask("POST", f"/collections/{name}/bulk", ITEM + "\n", ("Prefer", "respond-async"),
                        media_type="application/x-ndjson")  # fmt: skip
    assert (queued.status, queued.headers["preference-applied"]) == (202, "respond-async")
    assert queued.headers["location"] == f"{editor.url}/jobs/{queued.json()['jobID']}"
    job = queued.headers["location"].removeprefix(editor.url)
    while editor.ask("GET", job).json()["status"] in ("accepted", "running"):
        pass
    assert editor.ask("GET", job).json()["status"] == "successful"
    assert masked(editor, scene(editor, name), name) == SERVED


# -- PUT -----------------------------------------------------------------------------------------


def test_put_replaces_the_whole_item(editor: Editor) -> None:
    """PUT: 200 with the content of the updated item. OpenAPI: with an ETag to track changes."""
    name, path, etag = place(editor)
    text = '{"type":"Feature","id":"scene","geometry":null,"properties":{"datetime":"2025-01-01T00:00:00Z"},"links":[]}'
    done = editor.ask("PUT", path, text)
    assert done.status == 200
    described(done)
    assert "location" not in done.headers
    assert done.headers["etag"] != etag
    told = done.json()
    assert told["properties"].keys() == {"datetime", "created", "updated"}
    assert (told["id"], told["collection"], told["geometry"]) == ("scene", name, None)
    assert not {"assets", "stac_version", "bbox"} & told.keys()
    assert "license" not in [link["rel"] for link in told["links"]]
    found = scene(editor, name)
    assert (found.body, found.headers["etag"]) == (done.body, done.headers["etag"])


def test_put_of_what_is_there_changes_nothing(editor: Editor) -> None:
    """PUT: 200 for a successful operation, and the ETag stays where the content does."""
    _, path, etag = place(editor)
    done = editor.ask("PUT", path, "  " + ITEM + "\n")
    assert (done.status, done.headers["etag"]) == (200, etag)


def test_put_where_no_item_is_is_404(editor: Editor) -> None:
    """PUT: 404 where no item exists for this URI; PUT does not create."""
    name = editor.collection()
    refused(editor.ask("PUT", f"/collections/{name}/items/scene", ITEM), 404, "NotFound")
    refused(editor.ask("PUT", "/collections/nowhere/items/scene", ITEM), 404, "NotFound")
    assert scene(editor, name).status == 404


def test_put_fills_in_id_and_collection(editor: Editor) -> None:
    """PUT: the id and collection fields are populated from the URI."""
    name, path, _ = place(editor)
    done = editor.ask("PUT", path, ITEM.replace(',"id":"scene"', ""))
    assert (done.status, done.json()["id"], done.json()["collection"]) == (200, "scene", name)


def test_put_of_another_id_is_400(editor: Editor) -> None:
    """PUT: 400 where the id differs from that in the URI; nothing is renamed."""
    name, path, etag = place(editor)
    refused(editor.ask("PUT", path, ITEM.replace("scene", "other")), 400, "InvalidDocument", "/id")
    assert editor.ask("GET", path).headers["etag"] == etag
    assert editor.ask("GET", f"/collections/{name}/items/other").status == 404


def test_put_of_another_collection_is_400(editor: Editor) -> None:
    """PUT: 400 where the collection differs from that in the URI; nothing is moved."""
    _, path, etag = place(editor)
    elsewhere = editor.collection()
    moved = {**json.loads(ITEM), "collection": elsewhere}
    refused(editor.ask("PUT", path, moved), 400, "InvalidDocument", "/collection")
    assert editor.ask("GET", path).headers["etag"] == etag
    assert scene(editor, elsewhere).status == 404


def test_put_of_what_is_no_item_is_400(editor: Editor) -> None:
    """OpenAPI, PUT: 400 for what is malformed or makes no sense."""
    _, path, etag = place(editor)
    for body, at in (
        ("{", None),
        (ITEM.replace('"2024-05-06T07:08:09Z"', '"yesterday"'), "/properties/datetime"),
        (ITEM.replace('"Feature"', '"Collection"'), "/type"),
        (ITEM.replace("50.0", "91"), "/geometry"),
    ):
        refused(editor.ask("PUT", path, body), 400, "InvalidDocument", at)
    assert editor.ask("GET", path).headers["etag"] == etag


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_a_write_under_an_etag_that_does_not_match_is_412(editor: Editor, method: str) -> None:
    """OpenAPI: PUT, PATCH and DELETE take If-Match, and are done only where the ETag still matches; else 412."""
    name, path, etag = place(editor)
    later = editor.ask("PUT", path, ITEM.replace("1.50", "2.50")).headers["etag"]
    body = {"PUT": ITEM, "PATCH": '{"properties":{"eo:cloud_cover":9}}', "DELETE": None}[method]
    refused(editor.ask(method, path, body, ("If-Match", etag)), 412, "PreconditionFailed")
    assert editor.ask("GET", path).headers["etag"] == later
    done = editor.ask(method, path, body, ("If-Match", later))
    assert done.status == (204 if method == "DELETE" else 200)
    assert scene(editor, name).status == (404 if method == "DELETE" else 200)


# -- PATCH ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("media_type", ["application/json", "application/geo+json", MERGE])
def test_patch_changes_what_it_names(editor: Editor, media_type: str) -> None:
    """PATCH: 200 with the content of the updated item; RFC 7396 is the default. OpenAPI: with an ETag."""
    name, path, etag = place(editor)
    patch = '{"properties":{"eo:cloud_cover":2.50,"gsd":10},"assets":{"B4":null,"B8":{"href":"B8.tif"}}}'
    done = editor.ask("PATCH", path, patch, media_type=media_type)
    assert done.status == 200
    described(done)
    assert "location" not in done.headers
    assert done.headers["etag"] != etag
    wanted = SERVED.replace('cover":1.50', 'cover":2.50,"gsd":10').replace(
        '"B4":{"href":"B4.tif"}', '"B8":{"href":"B8.tif"}'
    )
    assert masked(editor, done, name) == wanted
    assert scene(editor, name).body == done.body


def test_patch_keeps_or_fills_in_id_and_collection(editor: Editor) -> None:
    """PATCH: the id and collection fields are populated from the URI."""
    name, path, _ = place(editor)
    done = editor.ask("PATCH", path, '{"id":null,"collection":null,"properties":{"gsd":1}}')
    assert (done.status, done.json()["id"], done.json()["collection"]) == (200, "scene", name)
    done = editor.ask("PATCH", path, f'{{"id":"scene","collection":"{name}"}}')
    assert done.status == 200


@pytest.mark.parametrize(
    ("member", "media_type"), [("id", MERGE), ("collection", MERGE), ("id", STEPS), ("collection", STEPS)]
)
def test_patch_of_id_or_collection_is_400(editor: Editor, member: str, media_type: str) -> None:
    """PATCH: 400 where the id or collection differs from that in the URI."""
    name, path, etag = place(editor)
    patch = {MERGE: f'{{"{member}":"other"}}', STEPS: f'[{{"op":"replace","path":"/{member}","value":"other"}}]'}
    done = editor.ask("PATCH", path, patch[media_type], media_type=media_type)
    refused(done, 400, "InvalidDocument", f"/{member}")
    assert editor.ask("GET", path).headers["etag"] == etag
    assert editor.ask("GET", f"/collections/{name}/items/other").status == 404


@pytest.mark.parametrize(("patch", "media_type"), [("{}", MERGE), ("[]", STEPS)])
def test_patch_where_no_item_is_is_404(editor: Editor, patch: str, media_type: str) -> None:
    """PATCH: 404 where no item exists for this URI."""
    name = editor.collection()
    refused(editor.ask("PATCH", f"/collections/{name}/items/scene", patch, media_type=media_type), 404, "NotFound")
    refused(editor.ask("PATCH", "/collections/nowhere/items/scene", patch, media_type=media_type), 404, "NotFound")


# -- DELETE --------------------------------------------------------------------------------------


def test_delete_is_204_and_the_item_is_gone(editor: Editor) -> None:
    """DELETE: 200 or 204 for a successful operation."""
    name, path, _ = place(editor)
    done = editor.ask("DELETE", path)
    assert (done.status, done.body) == (204, b"")
    assert not {"content-type", "etag", "location"} & done.headers.keys()
    refused(editor.ask("GET", path), 404, "NotFound")
    found = editor.ask("GET", f"/search?collections={name}").json()
    assert (found["numberMatched"], found["features"]) == (0, [])


def test_delete_where_no_item_is_is_404(editor: Editor) -> None:
    """DELETE: 404 may be returned where no item existed before."""
    name, path, _ = place(editor)
    assert editor.ask("DELETE", path).status == 204
    refused(editor.ask("DELETE", path), 404, "NotFound")
    refused(editor.ask("DELETE", f"/collections/{name}/items/never"), 404, "NotFound")
    refused(editor.ask("DELETE", "/collections/nowhere/items/never"), 404, "NotFound")


def test_a_deleted_id_can_be_used_again(editor: Editor) -> None:
    """POST, an item: 409 is for an item that exists; one that was deleted does not."""
    name, path, etag = place(editor)
    assert editor.ask("DELETE", path).status == 204
    made = editor.ask("POST", f"/collections/{name}/items", ITEM)
    assert made.status == 201
    assert made.headers["etag"] != etag


# -- what a client can find out ------------------------------------------------------------------


def test_the_conformance_class_is_announced(editor: Editor) -> None:
    """Overview: the conformance URI. CHANGELOG, rc.3: that of OGC API - Features, part 4 is not announced any more."""
    told = editor.ask("GET", "/").json()["conformsTo"]
    assert "https://api.stacspec.org/v1.0.0/ogcapi-features/extensions/transaction" in told
    assert not [each for each in told if "ogcapi-features-4" in each]


def test_options_tells_what_may_be_done(editor: Editor) -> None:
    """peers.md, section 4: STAC Browser shows its editor where Allow lists the method."""
    name, path, _ = place(editor)
    assert editor.ask("OPTIONS", path).headers["allow"] == "DELETE, GET, HEAD, OPTIONS, PATCH, PUT"
    assert editor.ask("OPTIONS", f"/collections/{name}/items").headers["allow"] == "GET, HEAD, OPTIONS, POST"


@pytest.mark.parametrize(
    ("method", "media_type"),
    [("POST", "text/plain"), ("PUT", "application/xml"), ("PATCH", "text/json"), ("PUT", MERGE)],
)
def test_a_body_of_another_media_type_is_415(editor: Editor, method: str, media_type: str) -> None:
    """Methods: the Content-Type is application/json; RFC 9110, 15.5.16 for others."""
    name, path, etag = place(editor)
    where = f"/collections/{name}/items" if method == "POST" else path
    refused(editor.ask(method, where, ITEM, media_type=media_type), 415, "UnsupportedMediaType")
    assert editor.ask("GET", path).headers["etag"] == etag

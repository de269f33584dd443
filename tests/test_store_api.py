"""UP42's storage API on a served process: each request and response shape of its documents."""

from __future__ import annotations

import base64
import hashlib
import json
import re
import time
import urllib.parse
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import SHARED, Answer, Server, serving

TIFF = SHARED / "deliveries" / "generic" / "orthophoto_rgb.tif"
UUID4 = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
JSON = {"Content-Type": "application/json"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    from swath.catalog import Catalog

    folder = tmp_path_factory.mktemp("store") / "catalog"
    Catalog.open(folder, create=True).close()
    with serving(folder) as server:
        yield server


def upload(server: Server, body: bytes, query: str = "", headers: dict[str, str] | None = None) -> Answer:
    return server.request("POST", f"/v2/assets?{query}", body, {"Content-Type": "image/tiff", **(headers or {})})


def ended(server: Server, asset_id: str) -> dict[str, Any]:
    """The metadata of a delivery once nobody works on it any more."""
    for _ in range(600):
        found: dict[str, Any] = server.get(f"/v2/assets/{asset_id}/metadata").json()
        if found["geospatialMetadataExtractionStatus"] != "IN_PROGRESS":
            return found
        time.sleep(0.1)
    raise AssertionError(f"the delivery never ended: {found}")


@pytest.fixture(scope="module")
def delivered(store: Server) -> dict[str, Any]:
    """One delivery with everything that may be said of it."""
    said = urllib.parse.urlencode(
        {"filename": "orthophoto_rgb.tif", "title": "Hafen", "tags": ["optical", "aerial"], "source": "ARCHIVE",
         "orderId": "ea36dee9-fed6-457e-8400-2c20ebd30f44", "hostId": "host-7", "collectionName": "phr",
         "productId": "47dadb27-9532-4552-93a5-48f70a83eaef", "datetime": "2023-06-14T10:52:17.400Z"},
        doseq=True,
    )  # fmt: skip
    answer = upload(store, TIFF.read_bytes(), said)
    assert answer.status == 201, answer.body
    made = answer.json()
    assert answer.headers["location"] == f"{store.url}/v2/assets/{made['id']}/metadata"
    return ended(store, made["id"])


def test_an_upload_is_told_in_the_words_of_up42s_metadata(delivered: dict[str, Any]) -> None:
    assert UUID4.fullmatch(delivered["id"])
    assert UUID4.fullmatch(delivered["accountId"])
    assert UUID4.fullmatch(delivered["workspaceId"])
    assert UUID4.fullmatch(delivered["stacCollectionId"])
    told = {name: delivered[name] for name in ("name", "size", "contentType", "source", "orderId", "productId",
            "collectionName", "geospatialMetadataExtractionStatus", "title", "tags")}  # fmt: skip
    assert told == {
        "name": "orthophoto_rgb.tif",
        "size": TIFF.stat().st_size,
        "contentType": "image/tiff; application=geotiff",
        "source": "ARCHIVE",
        "orderId": "ea36dee9-fed6-457e-8400-2c20ebd30f44",
        "productId": "47dadb27-9532-4552-93a5-48f70a83eaef",
        "collectionName": "phr",
        "geospatialMetadataExtractionStatus": "SUCCESSFUL",
        "title": "Hafen",
        "tags": ["optical", "aerial"],
    }
    assert delivered["sha256"] == hashlib.sha256(TIFF.read_bytes()).hexdigest()
    assert delivered["durationSeconds"] > 0
    assert delivered["createdAt"].endswith("Z")
    assert delivered["updatedAt"] > delivered["createdAt"]


def test_the_list_has_the_shape_of_springs_pages(store: Server, delivered: dict[str, Any]) -> None:
    page = store.get("/v2/assets").json()
    assert set(page) == {"content", "pageable", "totalPages", "totalElements", "last", "first", "size", "number",
                         "numberOfElements", "sort", "empty"}  # fmt: skip
    assert (page["number"], page["size"], page["first"], page["last"], page["empty"]) == (0, 20, True, True, False)
    assert page["totalElements"] == page["numberOfElements"] == len(page["content"])
    assert delivered["id"] in [each["id"] for each in page["content"]]
    one = store.get("/v2/assets?page=7&size=1").json()
    assert (one["content"], one["empty"], one["number"], one["numberOfElements"]) == ([], True, 7, 0)


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("createdAfter=2020-01-01&createdBefore=2999-01-01", True), ("createdAfter=2999-01-01T00:00:00Z", False),
        ("workspaceId={workspaceId}", True), ("workspaceId=00000000-0000-4000-8000-000000000000", False),
        ("collectionNames=spot&collectionNames=phr", True), ("collectionNames=spot", False),
        ("tags=aerial&tags=none", True), ("tags=none", False), ("tags=optical,none", True),
        ("sources=ARCHIVE&sources=TASKING", True), ("sources=TASKING", False),
        ("search=RTHOPHOTO", True), ("search=haf", True), ("search=ea36dee9", True), ("search=nothing-of-it", False),
        ("geospatialMetadataExtractionStatus=SUCCESSFUL", True), ("geospatialMetadataExtractionStatus=FAILED", False),
        ("bbox=9,53,11,54", True), ("bbox=-10,0,-9,1", False),
        ("datetime=2023-06-14T00:00:00Z/2023-06-15T00:00:00Z", True), ("datetime=2001-01-01T00:00:00Z", False),
        ("filter=gsd%20IS%20NULL%20AND%20tags%20IS%20NOT%20NULL", True), ("filter=order_id='x'", False),
        ("sort=name,asc&sort=createdAt,desc", True), ("sort=size,desc", True), ("sort=producerName", True),
    ],
)  # fmt: skip
def test_the_list_takes_every_documented_filter_and_more(
    store: Server, delivered: dict[str, Any], query: str, found: bool
) -> None:
    answer = store.get(f"/v2/assets?{query.format(**delivered)}")
    assert answer.status == 200, answer.body
    assert (delivered["id"] in [each["id"] for each in answer.json()["content"]]) is found


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("sort=colour,asc", "sort"), ("sort=name,up", "neither asc nor desc"), ("page=-1", "page"), ("size=0", "size"),
        ("geospatialMetadataExtractionStatus=DONE", "DONE"), ("createdAfter=yesterday", "createdAfter"),
        ("filter=nothing%20<", "filter"), ("colour=red", "unknown parameter"), ("bbox=1,2,3", "bbox"),
    ],
)  # fmt: skip
def test_a_wrong_list_is_refused_in_words(store: Server, query: str, words: str) -> None:
    answer = store.get(f"/v2/assets?{query}")
    assert answer.status == 400
    assert words in answer.json()["message"]


def test_post_replaces_title_and_tags_and_patch_leaves_what_it_does_not_name(
    store: Server, delivered: dict[str, Any]
) -> None:
    place = f"/v2/assets/{delivered['id']}/metadata"
    told = store.post(place, {"title": "New", "tags": ["a", "b"]}).json()
    assert (told["title"], told["tags"]) == ("New", ["a", "b"])
    told = store.request("PATCH", place, b'{"tags":["c"]}', JSON).json()
    assert (told["title"], told["tags"]) == ("New", ["c"])
    told = store.request("PATCH", place, b'{"title":null}', JSON).json()
    assert ("title" in told, told["tags"]) == (False, ["c"])
    told = store.post(place, {"title": "Hafen"}).json()
    assert (told["title"], "tags" in told) == ("Hafen", False)
    told = store.post(place, {"title": "Hafen", "tags": ["optical", "aerial"]}).json()
    assert told["tags"] == ["optical", "aerial"]


def test_item_and_asset_edits_agree(store: Server, delivered: dict[str, Any]) -> None:
    collection = f"/v2/assets/stac/collections/{delivered['stacCollectionId']}"
    (item,) = store.get(f"{collection}/items").json()["features"]
    here = f"{collection}/items/{item['id']}"
    body = json.dumps({"up42-user:title": "From the item", "up42-user:tags": ["x"]}).encode()
    changed = store.request("PATCH", here, body, JSON)
    assert changed.status == 200, changed.body
    assert changed.json()["properties"]["up42-user:title"] == "From the item"
    asset = store.get(f"/v2/assets/{delivered['id']}/metadata").json()
    assert (asset["title"], asset["tags"]) == ("From the item", ["x"])
    assert store.get(collection).json()["up42-user:tags"] == ["x"]
    stale = store.request("PATCH", here, body, JSON | {"If-Match": '"0000000000000000-0000000000000000"'})
    assert stale.status == 412
    cleared = store.request("PATCH", here, b'{"up42-user:title":null}', JSON).json()
    assert "up42-user:title" not in cleared["properties"]
    assert cleared["properties"]["up42-user:tags"] == ["x"]
    bare = store.request("PATCH", here, b'{"title":"Hafen","tags":["optical","aerial"]}', JSON).json()
    assert bare["properties"]["up42-user:title"] == "Hafen"
    assert bare["properties"]["title"] == item["properties"]["title"]  # the scene's name is another thing
    plain = f"/collections/{delivered['stacCollectionId']}/items/{item['id']}"
    refused = store.request("PATCH", plain, b'{"properties":{"up42-user:title":"no"}}', JSON)
    assert refused.status == 409
    assert f"/v2/assets/{delivered['id']}/metadata" in refused.json()["detail"]


def test_the_original_comes_back_byte_for_byte(store: Server, delivered: dict[str, Any]) -> None:
    answer = store.get(f"/v2/assets/{delivered['id']}")
    assert answer.body == TIFF.read_bytes()
    assert answer.headers["content-type"] == "image/tiff; application=geotiff"
    digest = base64.b64encode(hashlib.sha256(TIFF.read_bytes()).digest()).decode()
    assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
    assert 'filename="orthophoto_rgb.tif"' in answer.headers["content-disposition"]
    assert answer.headers["x-content-type-options"] == "nosniff"


@pytest.mark.parametrize(
    ("asked", "status", "start", "end"),
    [
        ("bytes=0-99", 206, 0, 100), ("bytes=100-", 206, 100, None), ("bytes=-10", 206, -10, None),
        ("bytes=5-5", 206, 5, 6), ("bytes=0-999999999", 206, 0, None), ("bytes=0-1,5-6", 200, 0, None),
        ("bytes=9-3", 200, 0, None), ("lines=1-2", 200, 0, None), ("bytes=-", 200, 0, None),
        ("bytes=999999999-", 416, 0, 0), ("bytes=-0", 416, 0, 0),
    ],
)  # fmt: skip
def test_one_range_of_a_file(
    store: Server, delivered: dict[str, Any], asked: str, status: int, start: int, end: int | None
) -> None:
    answer = store.get(f"/v2/assets/{delivered['id']}", Range=asked)
    assert answer.status == status
    whole = TIFF.read_bytes()
    if status == 416:
        assert answer.headers["content-range"] == f"bytes */{len(whole)}"
        return
    assert answer.body == whole[start:end]
    if status == 206:
        first = start if start >= 0 else len(whole) + start
        assert answer.headers["content-range"] == f"bytes {first}-{first + len(answer.body) - 1}/{len(whole)}"


def test_a_file_is_asked_for_conditionally(store: Server, delivered: dict[str, Any]) -> None:
    place = f"/v2/assets/{delivered['id']}"
    head = store.request("HEAD", place)
    etag = head.headers["etag"]
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(TIFF.stat().st_size))
    assert head.headers["accept-ranges"] == "bytes"
    assert etag == f'"{delivered["sha256"]}"'
    assert store.get(place, If_None_Match=etag).status == 304
    assert store.get(place, If_None_Match='"other"').status == 200
    assert store.get(place, Range="bytes=0-9", If_Range=etag).status == 206
    assert store.get(place, Range="bytes=0-9", If_Range=head.headers["last-modified"]).status == 206
    changed = store.get(place, Range="bytes=0-9", If_Range='"other"')
    assert (changed.status, len(changed.body)) == (200, TIFF.stat().st_size)


def test_a_signed_link_needs_no_token_and_is_good_for_one_thing(store: Server, delivered: dict[str, Any]) -> None:
    answer = store.request("POST", f"/v2/assets/{delivered['id']}/download-url", b"", JSON)
    url = answer.json()["url"]
    assert 890 <= answer.json()["expiresAt"] - time.time() <= 901
    parts = urllib.parse.urlsplit(url)
    query = urllib.parse.parse_qs(parts.query)
    # What UP42's client does to find the name.
    assert query["response-content-disposition"][0].split("filename=")[1] == "orthophoto_rgb.tif"
    assert Path(parts.path).suffix == ""
    assert store.get(url.removeprefix(store.url)).body == TIFF.read_bytes()
    assert store.request("HEAD", url.removeprefix(store.url)).status == 200
    assert store.get(url.removeprefix(store.url), Range="bytes=1-3").body == TIFF.read_bytes()[1:4]
    for broken in (
        url.replace(delivered["id"], str(uuid.uuid4())), url.replace("Expires=1", "Expires=2"),
        url.replace("orthophoto", "other"), re.sub(r"Signature=(.)", lambda m: f"Signature={int(m[1], 16) ^ 1:x}", url),
    ):  # fmt: skip
        assert store.get(broken.removeprefix(store.url)).status == 403
    short = store.request("POST", f"/v2/assets/{delivered['id']}/download-url?expires_in=1", b"", JSON).json()["url"]
    time.sleep(2.1)
    gone = store.get(short.removeprefix(store.url))
    assert (gone.status, "does not hold any more" in gone.json()["detail"]) == (403, True)


def test_the_token_endpoint_has_the_shape_that_up42s_clients_read(store: Server, delivered: dict[str, Any]) -> None:
    realm = "/realms/public/protocol/openid-connect"
    form = {"grant_type": "password", "username": "a@b.c", "password": "x", "client_id": "up42-sdk", "scope": "openid"}
    kind = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = store.request("POST", f"{realm}/token", urllib.parse.urlencode(form).encode(), kind)
    token = answer.json()
    assert (token["expires_in"], token["refresh_expires_in"], token["token_type"]) == (300, 1800, "Bearer")
    assert answer.headers["cache-control"] == "no-store"
    good = {"Authorization": f"Bearer {token['access_token']}"}
    info = store.request("GET", f"{realm}/userinfo", headers=good).json()
    assert info["sub"] == delivered["workspaceId"]
    assert store.request("GET", "/v2/assets", headers=good).status == 200
    for bad in ("nonsense", token["refresh_token"], token["access_token"][:-3] + "abc", "a" * 10_000):
        refused = store.request("GET", "/v2/assets", headers={"Authorization": f"Bearer {bad}"})
        assert (refused.status, refused.headers["www-authenticate"]) == (401, "Bearer")
    again = {"grant_type": "refresh_token", "refresh_token": token["refresh_token"]}
    assert store.request("POST", f"{realm}/token", urllib.parse.urlencode(again).encode(), kind).status == 200
    wrong = {"grant_type": "magic"}
    assert store.request("POST", f"{realm}/token", urllib.parse.urlencode(wrong).encode(), kind).status == 400


# -- the STAC face -------------------------------------------------------------------------------


def test_the_catalogue_of_the_store(store: Server) -> None:
    for path in ("/v2/assets/stac", "/v2/assets/stac/"):
        root = store.get(path).json()
        assert (root["type"], root["id"], root["stac_version"], root["stac_extensions"]) == (
            "Catalog", "up42-storage", "1.0.0", [],
        )  # fmt: skip
        for name in (
            "https://api.stacspec.org/v1.0.0-rc.1/item-search#context",
            "http://www.opengis.net/spec/cql2/1.0/conf/cql2-text",
            "http://www.opengis.net/spec/ogcapi-features-1/1.0/conf/oas30",
            "https://api.stacspec.org/v1.0.0-rc.1/ogcapi-features",
        ):
            assert name in root["conformsTo"]
        links = {(each["rel"], each.get("method", "GET")): each["href"] for each in root["links"]}
        assert links["search", "POST"] == f"{store.url}/v2/assets/stac/search"
        assert links["data", "GET"] == f"{store.url}/v2/assets/stac/collections"


def test_the_collection_of_a_delivery_holds_the_original_alone(store: Server, delivered: dict[str, Any]) -> None:
    found = store.get(f"/v2/assets/stac/collections/{delivered['stacCollectionId']}").json()
    assert list(found["assets"]) == [delivered["id"]]
    original = found["assets"][delivered["id"]]
    assert original["href"] == f"{store.url}/v2/assets/{delivered['id']}"
    assert (original["title"], original["roles"]) == ("Original Delivery", ["data", "original"])
    assert original["file:checksum"] == "1220" + delivered["sha256"]
    assert found["up42-order:host_id"] == "host-7"
    assert found["up42-order:status"] == "FULFILLED"
    assert found["extent"]["temporal"]["interval"] == [["2023-06-14T10:52:17.4Z"] * 2]
    rels = {each["rel"]: each["href"] for each in found["links"]}
    here = f"{store.url}/v2/assets/stac/collections/{delivered['stacCollectionId']}"
    assert (rels["self"], rels["items"], rels["root"]) == (here, f"{here}/items", f"{store.url}/v2/assets/stac/")


def test_items_have_the_fields_of_up42_and_files_of_the_store(store: Server, delivered: dict[str, Any]) -> None:
    page = store.get(f"/v2/assets/stac/collections/{delivered['stacCollectionId']}/items").json()
    assert (page["type"], page["numberReturned"], page["context"]) == (
        "FeatureCollection", 1, {"returned": 1, "limit": 10, "matched": 1},
    )  # fmt: skip
    (item,) = page["features"]
    told = item["properties"]
    assert UUID4.fullmatch(item["id"])
    assert told["up42-system:asset_id"] == delivered["id"]
    assert told["up42-system:workspace_id"] == delivered["workspaceId"]
    assert told["up42-product:data_type"] == "raster"
    assert told["up42-order:id"] == delivered["orderId"]
    assert None not in told.values()
    for asset in item["assets"].values():
        assert asset["href"].startswith(f"{store.url}/v2/assets/")
        answer = store.get(asset["href"].removeprefix(store.url))
        assert len(answer.body) == asset["file:size"]
        assert asset["file:checksum"] == "1220" + hashlib.sha256(answer.body).hexdigest()
        made = store.get(asset["href"].removeprefix(store.url) + "/metadata").json()
        assert (made["deliveryId"], made["size"]) == (delivered["id"], asset["file:size"])


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tags", None), ("title", "Hafen"), ("asset_id", "{id}"), ("workspace_id", "{workspaceId}"),
        ("order_id", "{orderId}"), ("data_product_id", "{productId}"), ("collection_name", "phr"),
        ("collection", "{stacCollectionId}"),
    ],
)  # fmt: skip
def test_each_alias_finds_the_items_of_a_delivery(
    store: Server, delivered: dict[str, Any], name: str, value: str | None
) -> None:
    told: Any = {"op": "=", "args": [{"property": name}, (value or "").format(**delivered)]}
    if value is None:
        told = {"op": "a_contains", "args": [{"property": name}, ["optical"]]}
    found = store.post("/v2/assets/stac/search", {"filter": told}).json()
    assert delivered["id"] in [each["properties"]["up42-system:asset_id"] for each in found["features"]]
    nested = {"filter": {"max_items": 50, "limit": 50, "filter": told}}  # as version 2.6 of the client sends it
    assert store.post("/v2/assets/stac/search", nested).json()["features"] == found["features"]


def test_the_reference_of_up42s_api_has_another_name_for_this_face(store: Server, delivered: dict[str, Any]) -> None:
    told = {"op": "=", "args": [{"property": "asset_id"}, delivered["id"]]}
    found = store.post("/v2/sas/search", {"filter": told})
    assert found.status == 200
    assert found.json() == store.post("/v2/assets/stac/search", {"filter": told}).json()
    for path in ("", "/", "/collections", f"/collections/{delivered['stacCollectionId']}", "/queryables"):
        assert store.get(f"/v2/sas{path}").json() == store.get(f"/v2/assets/stac{path}").json()
    assert store.get("/v2/sassy").status == 404


@pytest.mark.usefixtures("delivered")
def test_queryables_of_the_store_are_those_of_its_items(store: Server) -> None:
    found = store.get("/v2/assets/stac/queryables").json()["properties"]
    assert {"id", "collection", "geometry", "datetime", "up42-system:asset_id", "tags", "asset_id"} <= set(found)
    # Those that UP42 lists, whether an item has them or not; a title is the user's, not the scene's.
    assert {"constellation", "gsd", "eo:cloud_cover", "cloud_cover", "workspace_id", "job_id", "order_id",
            "data_product_id", "collection_name", "title"} <= set(found)  # fmt: skip
    assert found["title"]["enum"] == found["up42-user:title"]["enum"]
    assert "Hafen" in found["title"]["enum"]


def test_the_schemas_of_up42s_fields_accept_what_is_delivered(store: Server, delivered: dict[str, Any]) -> None:
    import jsonschema

    collection = f"/v2/assets/stac/collections/{delivered['stacCollectionId']}"
    documents = [store.get(collection).json(), *store.get(f"{collection}/items").json()["features"]]
    for document in documents:
        own = [url for url in document["stac_extensions"] if url.startswith(store.url)]
        assert len(own) == 4
        for url in own:
            schema = store.get(url.removeprefix(store.url)).json()
            assert schema["$id"] == url
            jsonschema.validate(document, schema)
            wrong = json.loads(json.dumps(document).replace('"up42-product:data_type": "raster"',
                                                            '"up42-product:data_type": "painting"'))  # fmt: skip
            if "up42-product" in url:
                with pytest.raises(jsonschema.ValidationError):
                    jsonschema.validate(wrong, schema)


def test_hrefs_lead_where_the_caller_wants(store: Server, delivered: dict[str, Any]) -> None:
    place = f"/collections/{delivered['stacCollectionId']}/items"
    (item,) = store.get(f"{place}?asset-href-mode=file").json()["features"]
    for asset in item["assets"].values():
        assert (
            hashlib.sha256(Path(asset["href"].removeprefix("file://")).read_bytes()).hexdigest()
            in asset["file:checksum"]
        )
    signed = store.get(f"{place}/{item['id']}?asset-href-mode=signed").json()
    for asset in signed["assets"].values():
        assert len(store.get(asset["href"].removeprefix(store.url)).body) == asset["file:size"]
    both = store.post("/search", {"ids": [item["id"]], "asset-href-mode": "alternate"}).json()["features"][0]
    assert "https://stac-extensions.github.io/alternate-assets/v1.2.0/schema.json" in both["stac_extensions"]
    for asset in both["assets"].values():
        assert set(asset["alternate"]) == {"signed", "file"}
    assert store.get(f"{place}?asset-href-mode=carrier-pigeon").status == 400


# -- what becomes of deliveries ------------------------------------------------------------------


def test_what_cannot_be_taken_fails_with_a_reason_and_is_kept(store: Server) -> None:
    made = upload(store, b"this is no image at all", "filename=scene.tif").json()
    found = ended(store, made["id"])
    assert found["geospatialMetadataExtractionStatus"] == "FAILED"
    assert "scene.tif" in found["statusReason"]
    assert "stacCollectionId" not in found
    assert store.get(f"/v2/assets/{made['id']}").body == b"this is no image at all"
    told = store.get(f"/v2/assets/{made['id']}/log").json()
    assert any("failed" in line for line in told["log"])
    again = store.request("POST", f"/v2/assets/{made['id']}/retry", b"")
    assert (again.status, again.json()["geospatialMetadataExtractionStatus"]) == (202, "IN_PROGRESS")
    assert ended(store, made["id"])["geospatialMetadataExtractionStatus"] == "FAILED"
    assert store.request("POST", f"/v2/assets/{made['id']}/cancel", b"").status == 409


def test_what_was_made_of_a_delivery_comes_and_goes_with_it(store: Server) -> None:
    made = ended(store, upload(store, TIFF.read_bytes(), "filename=b.tif&datetime=2020-01-01T00:00:00Z").json()["id"])
    collection = f"/collections/{made['stacCollectionId']}"
    (item,) = store.get(f"/v2/assets/stac{collection}/items").json()["features"]
    file = next(iter(item["assets"].values()))["href"].removeprefix(store.url)
    for place in (f"{collection}?cascade=true", file):
        refused = store.request("DELETE", place)
        assert refused.status == 409
        assert f"DELETE /v2/assets/{made['id']}" in refused.json()["detail"]
    again = store.request("POST", f"/v2/assets/{made['id']}/retry", b"")
    assert (again.status, "SUCCESSFUL" in again.json()["detail"]) == (409, True)
    assert store.get(f"/v2/assets/{made['id']}/metadata").json()["geospatialMetadataExtractionStatus"] == "SUCCESSFUL"
    assert store.request("DELETE", f"/v2/assets/{made['id']}").status == 204
    assert store.get(collection).status == 404


def test_a_delivery_goes_to_the_trash_with_its_items_and_comes_back(store: Server) -> None:
    made = ended(store, upload(store, TIFF.read_bytes(), "filename=a.tif&datetime=2020-01-01T00:00:00Z").json()["id"])
    collection = f"/v2/assets/stac/collections/{made['stacCollectionId']}"
    (item,) = store.get(f"{collection}/items").json()["features"]
    file = next(iter(item["assets"].values()))["href"].removeprefix(store.url)
    assert store.request("DELETE", collection).status == 204
    for gone in (collection, f"/v2/assets/{made['id']}", f"/v2/assets/{made['id']}/metadata", file):
        assert store.get(gone).status == 404
    assert made["id"] not in [each["id"] for each in store.get("/v2/assets").json()["content"]]
    assert made["id"] in [each["id"] for each in store.get("/v2/assets?deleted=true").json()["content"]]
    assert store.request("POST", f"/v2/assets/{made['id']}/restore", b"").status == 200
    assert store.get(f"{collection}/items").json()["features"][0]["id"] == item["id"]
    assert store.get(file).status == 200
    assert store.request("DELETE", f"/v2/assets/{made['id']}").status == 204
    assert store.get(collection).status == 404
    assert store.request("DELETE", f"/v2/assets/{made['id']}").status == 404


def test_a_form_brings_a_file_and_what_is_said_of_it(store: Server) -> None:
    boundary = "----xyz"
    parts = [
        f'--{boundary}\r\nContent-Disposition: form-data; name="title"\r\n\r\nFlut – Ü\r\n'.encode(),
        f'--{boundary}\r\nContent-Disposition: form-data; name="tags"\r\n\r\n["a","b"]\r\n'.encode(),
        f'--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="Süd/../é.tif"\r\n'
        f"Content-Type: image/tiff\r\n\r\n".encode(),
        TIFF.read_bytes(), f"\r\n--{boundary}--\r\n".encode(),
    ]  # fmt: skip
    kind = {"Content-Type": f"multipart/form-data; boundary={boundary}"}
    answer = store.request("POST", "/v2/assets?source=TASKING", b"".join(parts), kind)
    assert answer.status == 201, answer.body
    told = answer.json()
    assert (told["title"], told["tags"], told["name"], told["source"]) == ("Flut – Ü", ["a", "b"], "é.tif", "TASKING")
    assert told["sha256"] == hashlib.sha256(TIFF.read_bytes()).hexdigest()
    cut = store.request("POST", "/v2/assets", b"".join(parts[:-1]), kind)
    assert (cut.status, "cut short" in cut.json()["detail"]) == (400, True)
    empty = store.request("POST", "/v2/assets", b"".join([parts[0], parts[-1][2:]]), kind)
    assert empty.status == 400


def test_a_wrong_upload_is_refused_and_leaves_nothing(store: Server) -> None:
    before = store.get("/v2/assets").json()["totalElements"]
    digest = base64.b64encode(hashlib.sha256(b"other").digest()).decode()
    assert upload(store, b"abc", headers={"Repr-Digest": f"sha-256=:{digest}:"}).status == 400
    assert upload(store, b"").status == 400
    assert upload(store, b"abc", "source=MARS").status == 400
    assert upload(store, b"abc", "colour=red").status == 400
    assert upload(store, b"abc", "datetime=yesterday").status == 400
    assert store.request("POST", "/v2/assets", b"x", {"Content-Type": "multipart/form-data"}).status == 415
    assert store.get("/v2/assets").json()["totalElements"] == before


def test_the_store_is_closed_to_other_machines_and_other_sites(store: Server, tmp_path: Path) -> None:
    from swath.catalog import Catalog

    foreign = store.get("/v2/assets", Sec_Fetch_Site="cross-site")
    assert foreign.status == 403
    Catalog.open(tmp_path / "catalog", create=True).close()
    with serving(tmp_path / "catalog", {"SWATH_STORE": "off"}) as server:
        for path in ("/v2/assets", "/v2/assets/stac", "/v2/assets/stac/collections"):
            answer = server.get(path)
            assert (answer.status, "SWATH_STORE=on" in answer.json()["detail"]) == (403, True)
        assert server.get("/collections").status == 200


def test_a_password_is_asked_for_where_one_is_set(tmp_path: Path) -> None:
    from swath.catalog import Catalog

    Catalog.open(tmp_path / "catalog", create=True).close()
    with serving(tmp_path / "catalog", {"SWATH_STORE_PASSWORD": "open sesame"}) as server:
        assert server.get("/v2/assets").status == 401
        kind = {"Content-Type": "application/x-www-form-urlencoded"}
        place = "/realms/public/protocol/openid-connect/token"
        wrong = server.request("POST", place, b"grant_type=password&username=me&password=guess", kind)
        assert wrong.status == 401
        right = server.request("POST", place, b"grant_type=password&username=me&password=open+sesame", kind).json()
        good = {"Authorization": f"Bearer {right['access_token']}"}
        assert server.request("GET", "/v2/assets", headers=good).status == 200


# -- what others have found ------------------------------------------------------------------------


def test_a_digest_that_is_sent_is_compared(store: Server) -> None:
    body = TIFF.read_bytes()

    def sent(digest: str) -> int:
        return upload(store, body, "filename=c.tif", {"Repr-Digest": digest}).status

    right = {name: base64.b64encode(hashlib.new(name.replace("-", ""), body).digest()).decode() for name in
             ("sha-256", "sha-512")}  # fmt: skip
    for name, digest in right.items():
        assert sent(f"{name}=:{digest}:") == 201
        assert sent(f"{name}=:{digest[4:]}AAAA:") == 400
    assert sent(f"md5=:AAAA:, sha-512=:{right['sha-512']}:") == 201
    assert sent("garbage") == 400


def test_tags_keep_to_their_grammar(store: Server, delivered: dict[str, Any]) -> None:
    place = f"/v2/assets/{delivered['id']}/metadata"
    for tag, status in (("Küste 2024/05 - a_b.c:d", 200), ("a,b", 400), ("what?", 400), ("a\tb", 400)):
        body = json.dumps({"tags": [tag]}).encode()
        assert store.request("PATCH", place, body, {"Content-Type": "application/json"}).status == status
    assert (
        store.request("PATCH", place, b'{"tags":["optical","aerial"]}', {"Content-Type": "application/json"}).status
        == 200
    )


def test_the_token_endpoint_that_up42_had_to_2024(store: Server) -> None:
    place, basic = "/oauth/token", {"Authorization": "Basic " + base64.b64encode(b"project:key").decode()}
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    told = store.request("POST", place, b"grant_type=client_credentials", basic | form)
    token = told.json()["data"]["accessToken"]
    assert store.request("GET", "/v2/assets", None, {"Authorization": f"Bearer {token}"}).status == 200
    assert store.request("POST", place, b"grant_type=password", basic | form).status == 415
    assert store.request("POST", place, b"grant_type=client_credentials", form).status == 401


def test_a_browser_reads_ranges_of_a_file_that_it_knows(store: Server, delivered: dict[str, Any]) -> None:
    place = f"/v2/assets/{delivered['id']}"
    found = store.request("GET", place, None, {"Range": "bytes=0-9", "Origin": "https://elsewhere.example"})
    assert {"Content-Range", "Content-Length", "Accept-Ranges", "Content-Disposition", "Repr-Digest"} <= set(
        found.headers["access-control-expose-headers"].split(", ")
    )
    asked = {"Origin": "https://elsewhere.example", "Access-Control-Request-Method": "GET"}
    assert "Range" in store.request("OPTIONS", place, None, asked).headers["access-control-allow-headers"].split(", ")
    assert store.request("GET", place, None, {"If-Match": found.headers["etag"]}).status == 200
    assert store.request("GET", place, None, {"If-Match": '"another"'}).status == 412
    link = store.request("POST", f"{place}/download-url", b"").json()["url"]
    assert store.get(link.removeprefix(store.url)).headers["content-disposition"].startswith("attachment; ")
    named = upload(store, b"x", "", {"Content-Disposition": "attachment; filename=a; filename*=UTF-8''%C3%BC.tif"})
    assert named.json()["name"] == "ü.tif"

"""The 25 filters printed in UP42's document, verbatim, through the store's own search: 200, and the right items."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

import swath
from tests.conftest import Server, make_item, serving
from tests.test_cql2_operators import EXPECTED, UP42_ITEMS, up42_filters

ELSEWHERE = "11111111-1111-4111-8111-111111111111"


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """The items of the operators' table, as UP42 has them: each names the asset that it was made of."""
    folder = tmp_path_factory.mktemp("filters") / "catalog"
    with swath.open(folder, create=True) as made:
        items = [make_item(name, **{"up42-system:asset_id": ELSEWHERE} | more) for name, more in UP42_ITEMS.items()]
        assert made.write(items).refused == []
        assert made.write([make_item("not-of-the-store")]).refused == []
    with serving(folder) as served:
        yield served


@pytest.mark.parametrize("number", range(25))
def test_a_filter_of_the_document_selects_what_it_says(server: Server, number: int) -> None:
    example = up42_filters()[number]
    answer = server.post("/v2/assets/stac/search", {"filter": example})
    assert answer.status == 200, answer.body
    assert {item["id"] for item in answer.json()["features"]} == EXPECTED[number], json.dumps(example)


def test_what_is_not_of_the_store_is_not_on_its_face(server: Server) -> None:
    everything = {item["id"] for item in server.post("/v2/assets/stac/search", {"limit": 100}).json()["features"]}
    assert everything == set(UP42_ITEMS)
    assert server.get("/search?ids=not-of-the-store").json()["numberMatched"] == 1
    assert server.post("/v2/assets/stac/search", {"ids": ["not-of-the-store"]}).json()["features"] == []


def test_pages_of_the_store_have_its_tokens_and_lead_through_everything(server: Server) -> None:
    body = {"limit": 2, "sortby": [{"field": "datetime", "direction": "desc"}]}
    seen: list[str] = []
    while True:
        page = server.post("/v2/assets/stac/search", body).json()
        seen += [item["id"] for item in page["features"]]
        following = [link for link in page["links"] if link["rel"] == "next"]
        if not following:
            break
        assert following[0]["method"] == "POST"
        body = following[0]["body"]
        assert body["token"].startswith("next:")
        assert body["limit"] == 2
    assert sorted(seen) == sorted(UP42_ITEMS)
    numbered = [
        server.post("/v2/assets/stac/search", {"limit": 2, "page": number}).json()["features"] for number in range(4)
    ]
    assert [len(page) for page in numbered] == [2, 2, 1, 0]

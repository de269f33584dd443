"""The ten requests of Terrascope's document, as printed there, on the demo catalogue.

Paths and parameters are the document's; where it names a collection of Terrascope's, the demo's takes its
place. Expected ids were read off the demo's items by hand: `grep` for the collection, sort by datetime.
"""

from __future__ import annotations

import http.client
import json
from typing import Any
from urllib.parse import urlsplit

import pytest

from tests.conftest import SHARED, Server

DOCUMENT = SHARED / "seeds" / "000_da70af090de23813.txt"
NAMES = {
    "terrascope-s2-fapar-v2": "sentinel-s2-l2a-cogs",
    "terrascope-s2-lai-v2": "openaerialmap",
    "terrascope-s2-ndvi-v2": "naip",
    "S2B_20240227T105919_31UES_FAPAR_10M_V210": "S2B_1CCV_20200107_0_L2A",
}
COLLECTIONS = [
    "cop-dem-glo-30", "io-lulc", "landsat-c2-l2", "modis-11A1-061", "naip", "openaerialmap", "sentinel-1-grd",
    "sentinel-1-rtc", "sentinel-2-l2a", "sentinel-s2-l2a-cogs", "sentinel2-l1c",
]  # fmt: skip
NEWEST_S2 = [
    "S2B_1CCV_20220215_0_L2A", "S2B_1CCV_20220106_0_L2A", "S2B_1CCV_20211117_0_L2A", "S2B_1CCV_20210101_0_L2A",
    "S2B_1CCV_20201023_0_L2A", "S2B_1CCV_20200327_0_L2A", "S2B_1CCV_20200307_0_L2A", "S2B_1CCV_20200107_0_L2A",
    "S2B_1CDH_20191220_0_L2A", "S2B_1CDH_20191210_0_L2A",
]  # fmt: skip
# 2020-01-14T10:00Z, then 2020-01-11T10:00Z: both in the interval, both in the north.
JANUARY = ["5ec22dd4aff5010005865c0e", "5eb9783c80832d0007336790"]
# 2023-10-02, 2023-08-02, then the first by id of two at 2023-07-30T16:00Z.
NAIP_NEWEST = [
    "al_m_3008506_ne_16_060_20231002_20231127", "al_m_3008704_ne_16_060_20230802_20231127",
    "al_m_3008708_nw_16_060_20230730_20231127",
]  # fmt: skip


def requests_of_the_document() -> list[str]:
    """The targets in its table, in order: what stands after the last space of a line and begins with a slash."""
    lines = DOCUMENT.read_text(encoding="utf-8").splitlines()
    found = [line[line.index(" /") + 1 :].strip() for line in lines if " /" in line and "https:" not in line]
    return [target for target in found if target.startswith(("/collections", "/search"))]


def ask(server: Server, target: str) -> tuple[int, Any]:
    """The request line exactly as it is written, quotes and all."""
    for theirs, ours in NAMES.items():
        target = target.replace(theirs, ours)
    parts = urlsplit(server.url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 0, timeout=30)
    connection.putrequest("GET", target)
    connection.endheaders()
    answer = connection.getresponse()
    body = json.loads(answer.read())
    connection.close()
    return answer.status, body


def ids(page: Any) -> list[str]:
    return [feature["id"] for feature in page["features"]]


def test_the_document_has_the_requests_of_this_table() -> None:
    assert len(requests_of_the_document()) == 9  # and the address of the API itself, the tenth


def test_the_api_itself_answers(demo: Server) -> None:
    status, body = ask(demo, "/")
    assert status == 200
    assert body["type"] == "Catalog"
    assert {"conformance", "data", "search"} <= {link["rel"] for link in body["links"]}


def test_all_collections(demo: Server) -> None:
    status, body = ask(demo, requests_of_the_document()[0])
    assert status == 200
    assert [collection["id"] for collection in body["collections"]] == COLLECTIONS


def test_one_collection(demo: Server) -> None:
    status, body = ask(demo, requests_of_the_document()[1])
    assert (status, body["id"], body["type"]) == (200, "sentinel-s2-l2a-cogs", "Collection")


def test_the_items_of_a_collection_come_newest_first_ten_a_page(demo: Server) -> None:
    status, body = ask(demo, requests_of_the_document()[2])
    assert (status, ids(body), body["numberMatched"]) == (200, NEWEST_S2, 25)


def test_one_item(demo: Server) -> None:
    status, body = ask(demo, requests_of_the_document()[3])
    assert (status, body["type"], body["id"]) == (200, "Feature", "S2B_1CCV_20200107_0_L2A")


@pytest.mark.parametrize(
    ("number", "expected", "matched"),
    [
        (4, NEWEST_S2, 25),
        (5, JANUARY, 2),
        (6, JANUARY, 2),
        (8, NEWEST_S2, 25),  # every one has a gsd of 10
    ],
)
def test_searches_find_what_the_table_says(demo: Server, number: int, expected: list[str], matched: int) -> None:
    status, body = ask(demo, requests_of_the_document()[number])
    assert (status, ids(body), body["numberMatched"]) == (200, expected, matched)


def test_fifty_of_sixty_products_and_a_next_page(demo: Server) -> None:
    target = requests_of_the_document()[7]
    assert target.endswith("limit=50")
    status, body = ask(demo, target)
    assert (status, len(set(ids(body))), body["numberMatched"]) == (200, 50, 60)
    assert ids(body)[:3] == NAIP_NEWEST
    following = next(link["href"] for link in body["links"] if link["rel"] == "next")
    rest = ask(demo, following.removeprefix(demo.url))[1]
    assert len(set(ids(body)) | set(ids(rest))) == 60

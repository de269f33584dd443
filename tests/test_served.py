"""First contact with a served process."""

from __future__ import annotations

from tests.conftest import Server


def test_the_landing_page_is_a_catalog(samples: Server) -> None:
    assert samples.get("/").json()["type"] == "Catalog"


def test_the_demo_is_served(demo: Server) -> None:
    assert demo.get("/search").json()["numberMatched"] == 133

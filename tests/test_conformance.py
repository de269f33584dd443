"""Every conformance class that is announced has tests of ours; this table says which."""

from __future__ import annotations

from pathlib import Path

from tests.conftest import Server, serving

STAC, OGC = "https://api.stacspec.org", "http://www.opengis.net/spec"
CQL2 = f"{OGC}/cql2/1.0/conf"

# URI: (test file, a test in it)
TESTED = {
    f"{STAC}/v1.0.0/core": ("test_stac_api_validator.py", "test_the_validator_reports_no_error"),
    f"{STAC}/v1.0.0/collections": ("test_stac_api_validator.py", "test_the_validator_reports_no_error"),
    f"{STAC}/v1.0.0/ogcapi-features": ("test_stac_api_validator.py", "test_the_validator_reports_no_error"),
    f"{STAC}/v1.0.0/item-search": ("test_stac_api_validator.py", "test_the_validator_reports_no_error"),
    f"{STAC}/v1.0.0/item-search#fields": ("test_conformance.py", "test_fields_on_both_routes"),
    f"{STAC}/v1.0.0/ogcapi-features#fields": ("test_conformance.py", "test_fields_on_both_routes"),
    f"{STAC}/v1.0.0/item-search#query": ("test_conformance.py", "test_query_on_both_routes"),
    f"{STAC}/v1.0.0/ogcapi-features#query": ("test_conformance.py", "test_query_on_both_routes"),
    f"{STAC}/v1.0.0/item-search#sort": ("test_paging.py", "test_a_walk_gives_every_item_once"),
    f"{STAC}/v1.0.0/ogcapi-features#sort": ("test_conformance.py", "test_sort_on_both_routes"),
    f"{STAC}/v1.1.0/item-search#sort": ("test_paging.py", "test_a_walk_gives_every_item_once"),
    f"{STAC}/v1.1.0/ogcapi-features#sort": ("test_conformance.py", "test_sort_on_both_routes"),
    f"{STAC}/v1.0.0/ogcapi-features/extensions/transaction": ("test_transactions.py", "test_"),
    f"{STAC}/v1.0.0/collections/extensions/transaction": ("test_transactions.py", "test_"),
    f"{STAC}/v1.1.0/item-search#sortables": ("test_conformance.py", "test_everything_sortable_sorts"),
    f"{STAC}/v1.0.0/item-search#filter": ("test_cql2_acceptance.py", "test_every_counted_filter"),
    f"{OGC}/ogcapi-features-1/1.0/conf/core": ("test_bad_requests.py", "test_a_wrong_request"),
    f"{OGC}/ogcapi-features-1/1.0/conf/geojson": ("test_conformance.py", "test_media_types"),
    f"{OGC}/ogcapi-features-1/1.0/conf/oas30": ("test_openapi.py", "test_"),
    f"{OGC}/ogcapi-features-3/1.0/conf/filter": ("test_cql2_acceptance.py", "test_every_derived_filter"),
    f"{OGC}/ogcapi-features-3/1.0/conf/features-filter": ("test_conformance.py", "test_filter_on_both_routes"),
    f"{OGC}/ogcapi-features-5/1.0/conf/sortables": ("test_conformance.py", "test_everything_sortable_sorts"),
    f"{CQL2}/cql2-text": ("test_cql2_acceptance.py", "test_escapes_in_text"),
    f"{CQL2}/cql2-json": ("test_cql2_acceptance.py", "test_every_counted_filter"),
    f"{CQL2}/basic-cql2": ("test_cql2_acceptance.py", "test_every_counted_filter"),
    f"{CQL2}/advanced-comparison-operators": ("test_cql2_acceptance.py", "test_every_counted_filter"),
    f"{CQL2}/basic-spatial-functions": ("test_cql2_acceptance.py", "test_every_counted_filter"),
    f"{CQL2}/basic-spatial-functions-plus": ("test_cql2_acceptance.py", "test_every_counted_filter"),
    f"{CQL2}/spatial-functions": ("test_cql2_acceptance.py", "test_every_counted_filter"),
    f"{CQL2}/temporal-functions": ("test_cql2_acceptance.py", "test_every_counted_filter"),
    f"{CQL2}/case-insensitive-comparison": ("test_cql2_acceptance.py", "test_every_counted_filter"),
    f"{CQL2}/accent-insensitive-comparison": ("test_cql2_acceptance.py", "test_every_counted_filter"),
    f"{CQL2}/property-property": ("test_cql2_acceptance.py", "test_every_counted_filter"),
    f"{CQL2}/arithmetic": ("test_cql2_acceptance.py", "test_every_counted_filter"),
    f"{CQL2}/array-functions": ("test_cql2_operators.py", "test_array_functions"),
    f"{CQL2}/functions": ("test_cql2_operators.py", "test_functions"),
}


def test_what_is_announced_is_what_is_tested(samples: Server) -> None:
    announced = samples.get("/conformance").json()["conformsTo"]
    assert len(announced) == len(set(announced))
    assert set(announced) == set(TESTED)
    assert samples.get("/").json()["conformsTo"] == announced
    assert not [uri for uri in announced if "/req/" in uri]


def test_a_server_that_takes_no_writes_announces_none(sample_catalog: Path) -> None:
    with serving(sample_catalog, {"SWATH_WRITES": "off"}) as server:
        announced = server.get("/conformance").json()["conformsTo"]
        assert set(TESTED) - set(announced) == {uri for uri in TESTED if uri.endswith("extensions/transaction")}
        assert server.get("/").json()["conformsTo"] == announced


def test_the_tests_of_the_table_exist() -> None:
    for file, name in set(TESTED.values()):
        assert f"def {name}" in (Path(__file__).parent / file).read_text(encoding="utf-8"), (file, name)


ROUTES = ("/search?collections=sentinel-s2-l2a-cogs&", "/collections/sentinel-s2-l2a-cogs/items?")


def test_fields_on_both_routes(samples: Server) -> None:
    for route in ROUTES:
        one = samples.get(f"{route}limit=1&fields=properties.gsd,-collection").json()["features"][0]
        assert one.keys() == {"id", "type", "stac_version", "properties"}
        assert one["properties"] == {"gsd": 10}
        one = samples.get(f"{route}limit=1&fields=-assets,-properties.gsd").json()["features"][0]
        assert "assets" not in one
        assert "gsd" not in one["properties"]
        assert "eo:cloud_cover" in one["properties"]
        one = samples.get(f"{route}limit=1&fields=").json()["features"][0]
        assert one["properties"].keys() == {"datetime"}
        assert {"links", "assets", "geometry", "bbox"} <= one.keys()
        assert "numberMatched" in samples.get(f"{route}limit=1&fields=no.such.field").json()


def test_query_on_both_routes(samples: Server) -> None:
    for test, count in (
        ('{"gsd":{"eq":10}}', 80),
        ('{"platform":{"eq":"sentinel-2b"}}', 78),
        ('{"platform":{"neq":"sentinel-2b"}}', 2),
        ('{"platform":{"startsWith":"sentinel"}}', 80),
        ('{"platform":{"endsWith":"2a"}}', 2),
        ('{"platform":{"contains":"nel-2"}}', 80),
        ('{"platform":{"contains":"%"}}', 0),
        ('{"instruments":{"contains":"msi"}}', 80),
        ('{"platform":{"in":["sentinel-2a","x"]}}', 2),
        ('{"properties.gsd":{"gt":9,"lt":11}}', 80),
        ('{"gsd":{"gte":"10"}}', 80),
        ('{"gsd":{"lte":9.5}}', 0),
        ('{"no such":{"eq":1}}', 0),
    ):
        for route in ROUTES:
            page = samples.get(route + "query=" + test.replace(" ", "%20").replace('%"', '%25"')).json()
            assert page["numberMatched"] == count, (test, page)


def test_sort_on_both_routes(samples: Server) -> None:
    for route in ROUTES:
        clouds = [
            feature["properties"]["eo:cloud_cover"]
            for feature in samples.get(f"{route}limit=80&sortby=-properties.eo:cloud_cover").json()["features"]
        ]
        assert clouds == sorted(clouds, reverse=True)
        assert len(clouds) == 80


def test_filter_on_both_routes(samples: Server) -> None:
    for route in ROUTES:
        assert samples.get(f"{route}filter=platform='sentinel-2a'").json()["numberMatched"] == 2
        as_json = '{"op":"=","args":[{"property":"platform"},"sentinel-2a"]}'
        assert samples.get(f"{route}filter-lang=cql2-json&filter={as_json}").json()["numberMatched"] == 2


def test_everything_sortable_sorts_and_nothing_else(samples: Server) -> None:
    for place in ("", "/collections/sentinel-s2-l2a-cogs"):
        sortables = samples.get(f"{place}/sortables").json()["properties"]
        assert {"id", "collection", "datetime", "eo:cloud_cover"} <= sortables.keys()
        assert "geometry" not in sortables
        assert "instruments" not in sortables, "an array has no order"
        for name in list(sortables)[:60]:
            page = samples.post("/search", {"sortby": [{"field": name, "direction": "desc"}], "limit": 1})
            assert page.status == 200, name
    assert samples.get("/search?sortby=instruments").status == 400


def test_queryables_tell_types_enums_and_ranges_of_the_data(samples: Server) -> None:
    found = samples.get("/collections/sentinel-s2-l2a-cogs/queryables").json()
    assert found["$id"] == f"{samples.url}/collections/sentinel-s2-l2a-cogs/queryables"
    properties = found["properties"]
    assert properties["platform"]["enum"] == ["sentinel-2a", "sentinel-2b"]
    assert (properties["gsd"]["minimum"], properties["gsd"]["maximum"]) == (10, 10)
    assert properties["created"]["format"] == "date-time"
    assert properties["geometry"] == {"title": "Footprint", "format": "geometry-any"}
    assert properties["collection"]["enum"] == ["sentinel-s2-l2a-cogs"]
    everywhere = samples.get("/queryables").json()["properties"]
    assert properties.keys() <= everywhere.keys()
    assert len(everywhere["collection"]["enum"]) == 59


def test_media_types(samples: Server) -> None:
    for path, media_type in {
        "/": "application/json",
        "/collections": "application/json",
        "/collections/naip": "application/json",
        "/collections/naip/items": "application/geo+json",
        "/collections/io-lulc/items/60N-2020": "application/geo+json",
        "/search": "application/geo+json",
        "/queryables": "application/schema+json",
        "/sortables": "application/schema+json",
        "/api": "application/vnd.oai.openapi+json;version=3.0",
        "/limits": "application/json",
    }.items():
        assert samples.get(path).headers["content-type"] == media_type

"""The conformance classes that are announced. A test of ours stands behind each (tests/test_conformance.py)."""

from __future__ import annotations

from swath.config import Settings
from swath.http.guard import takes_writes

__all__ = ["CLASSES", "WRITE_CLASSES", "classes"]

_STAC = "https://api.stacspec.org"
_OGC = "http://www.opengis.net/spec"

CLASSES: tuple[str, ...] = (
    f"{_STAC}/v1.0.0/core",
    f"{_STAC}/v1.0.0/collections",
    f"{_STAC}/v1.0.0/ogcapi-features",
    f"{_STAC}/v1.0.0/item-search",
    f"{_STAC}/v1.0.0/item-search#fields",
    f"{_STAC}/v1.0.0/ogcapi-features#fields",
    f"{_STAC}/v1.0.0/item-search#query",
    f"{_STAC}/v1.0.0/ogcapi-features#query",
    # pystac-client takes 1.0 patterns only, newer clients look for 1.1.
    f"{_STAC}/v1.0.0/item-search#sort",
    f"{_STAC}/v1.0.0/ogcapi-features#sort",
    f"{_STAC}/v1.1.0/item-search#sort",
    f"{_STAC}/v1.1.0/ogcapi-features#sort",
    f"{_STAC}/v1.1.0/item-search#sortables",
    f"{_STAC}/v1.0.0/item-search#filter",
    f"{_OGC}/ogcapi-features-1/1.0/conf/core",
    f"{_OGC}/ogcapi-features-1/1.0/conf/geojson",
    f"{_OGC}/ogcapi-features-1/1.0/conf/oas30",
    f"{_OGC}/ogcapi-features-3/1.0/conf/filter",
    f"{_OGC}/ogcapi-features-3/1.0/conf/features-filter",
    f"{_OGC}/ogcapi-features-5/1.0/conf/sortables",
    f"{_OGC}/cql2/1.0/conf/cql2-text",
    f"{_OGC}/cql2/1.0/conf/cql2-json",
    f"{_OGC}/cql2/1.0/conf/basic-cql2",
    f"{_OGC}/cql2/1.0/conf/advanced-comparison-operators",
    f"{_OGC}/cql2/1.0/conf/case-insensitive-comparison",
    f"{_OGC}/cql2/1.0/conf/accent-insensitive-comparison",
    f"{_OGC}/cql2/1.0/conf/basic-spatial-functions",
    f"{_OGC}/cql2/1.0/conf/basic-spatial-functions-plus",
    f"{_OGC}/cql2/1.0/conf/spatial-functions",
    f"{_OGC}/cql2/1.0/conf/temporal-functions",
    f"{_OGC}/cql2/1.0/conf/array-functions",
    f"{_OGC}/cql2/1.0/conf/property-property",
    f"{_OGC}/cql2/1.0/conf/functions",
    f"{_OGC}/cql2/1.0/conf/arithmetic",
)

# Only of a server that takes writes.
WRITE_CLASSES: tuple[str, ...] = (
    f"{_STAC}/v1.0.0/ogcapi-features/extensions/transaction",
    f"{_STAC}/v1.0.0/collections/extensions/transaction",
)


def classes(settings: Settings) -> tuple[str, ...]:
    """What a server with these settings conforms to."""
    return CLASSES + WRITE_CLASSES if takes_writes(settings) else CLASSES

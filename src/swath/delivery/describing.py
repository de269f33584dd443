"""Scenes and their files as STAC: an item of each scene, and the collection of the delivery.

Items are STAC 1.1.0 with `bands`, and `eo:bands` beside it for clients of 1.0. Nothing that is not known is written:
no nulls, no empty strings. Addresses of files begin with `swath:`, in place of which a server puts its own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import msgspec
import shapely
from shapely.geometry import mapping, shape

from swath.delivery.facts import Account, Facts, Made, derived_id
from swath.delivery.model import Band, Part, Product, Scene
from swath.stac.links import OWN_ASSET, OWN_EXTENSION
from swath.stac.time import format_instant
from swath.store.records import DeliveryRecord

__all__ = ["COG", "FIRST_PHOTOGRAPH", "MadePart", "asset_id_of", "describe_collection", "describe_item", "user_fields"]

COG = "image/tiff; application=geotiff; profile=cloud-optimized"
METADATA_VERSION = "0.1.0"
# Of what nothing says when it was taken: not before the first photograph from the air (Nadar, 1858).
FIRST_PHOTOGRAPH = "1858-01-01T00:00:00Z"
# Sentinel-2's is not among them: its v1.0.0 forbids what it does not know, and so UP42's s2:sequence.
_EXTENSIONS = {
    "eo": "https://stac-extensions.github.io/eo/v1.1.0/schema.json",
    "proj": "https://stac-extensions.github.io/projection/v2.0.0/schema.json",
    "view": "https://stac-extensions.github.io/view/v1.0.0/schema.json",
    "file": "https://stac-extensions.github.io/file/v2.1.0/schema.json",
    "raster": "https://stac-extensions.github.io/raster/v2.0.0/schema.json",
    "processing": "https://stac-extensions.github.io/processing/v1.2.0/schema.json",
    "mgrs": "https://stac-extensions.github.io/mgrs/v1.0.0/schema.json",
    "grid": "https://stac-extensions.github.io/grid/v1.1.0/schema.json",
    "sat": "https://stac-extensions.github.io/sat/v1.0.0/schema.json",
    "landsat": "https://stac-extensions.github.io/landsat/v2.0.0/schema.json",
}
# Common names that the eo extension has had since 2.0, as those before it knew them.
_OLDER = {"rededge071": "rededge", "rededge075": "rededge", "rededge078": "rededge", "green05": "green"}
_UP42 = ("up42-system", "up42-product", "up42-user", "up42-order")
_PROVIDERS = {
    "ESA": "https://sentinels.copernicus.eu/",
    "USGS": "https://www.usgs.gov/landsat-missions",
    "Airbus": "https://space-solutions.airbus.com/",
    "Planet": "https://www.planet.com/",
}


@dataclass(frozen=True, slots=True)
class MadePart:
    """A part of a scene and the file that came of it."""

    part: Part
    made: Made


def asset_id_of(delivery_id: str, part: Part) -> str:
    """The id of the file that comes of a part: one, where several scenes share it."""
    return derived_id(delivery_id, "\n".join((part.action, part.layer or "", *part.sources)))


def describe_item(
    delivery: DeliveryRecord, facts: Facts, account: Account, product: Product, scene: Scene, parts: Sequence[MadePart]
) -> dict[str, Any]:
    """The STAC Item of a scene. Its geometry may still pass 180°; who writes it mends that by RFC 7946."""
    properties = _properties(delivery, facts, account, product, scene, parts)
    geometry = _footprint(scene, parts)
    assets = {each.part.key: _asset(delivery.id, each) for each in parts}
    item: dict[str, Any] = {
        "type": "Feature",
        "stac_version": "1.1.0",
        "stac_extensions": _extensions((properties, *assets.values())),
        "id": derived_id(delivery.id, f"item {scene.name} {scene.datetime}"),
        "collection": delivery.collection,
        "geometry": geometry,
        "properties": properties,
        "links": [],
        "assets": assets,
    }
    if geometry is not None:
        item["bbox"] = list(shape(geometry).bounds)
    return item


def _properties(
    delivery: DeliveryRecord, facts: Facts, account: Account, product: Product, scene: Scene, parts: Sequence[MadePart]
) -> dict[str, Any]:
    told: dict[str, Any] = {"title": scene.name, **_times(delivery, facts, scene)}
    told |= {name: value for name, value in scene.properties.items() if value is not None}
    codes = {code for each in parts if (code := _code(each.made.facts)) and "data" in each.part.roles}
    if "proj:code" not in told and len(codes) == 1 and not any(each.part.sensor for each in parts):
        told["proj:code"] = codes.pop()
    data = [each.part.action for each in parts if "data" in each.part.roles]
    if data and all(action == "vector" for action in data):  # beside rasters in one delivery
        product = replace(product, data_type="vector", modality=None)
    return told | _system(delivery, facts, account, product) | user_fields(delivery)


def _code(facts: Mapping[str, Any]) -> str | None:
    """The code of the system that a file's coordinates are in, or were in before they became longitude and latitude."""
    code = facts.get("code") or facts.get("crs")
    return code if isinstance(code, str) and code.startswith("EPSG:") else None


def _times(delivery: DeliveryRecord, facts: Facts, scene: Scene) -> dict[str, Any]:
    if scene.datetime is not None or facts.datetime is not None:
        told: dict[str, Any] = {"datetime": scene.datetime or facts.datetime}
        if scene.start_datetime and scene.end_datetime:
            told |= {"start_datetime": scene.start_datetime, "end_datetime": scene.end_datetime}
        return told
    # STAC wants a span where there is no instant: the widest that is certain.
    start, end = scene.start_datetime or FIRST_PHOTOGRAPH, scene.end_datetime or format_instant(delivery.at)
    return {"datetime": None, "start_datetime": start, "end_datetime": end}


def _system(delivery: DeliveryRecord, facts: Facts, account: Account, product: Product) -> dict[str, Any]:
    told = {
        "up42-system:asset_id": delivery.id,
        "up42-system:account_id": account.id,
        "up42-system:workspace_id": delivery.workspace_id,
        "up42-system:metadata_version": METADATA_VERSION,
        "up42-system:source": delivery.source,
        "up42-system:job_id": facts.job_id,
        "up42-product:data_type": product.data_type,
        "up42-product:modality": product.modality,
        "up42-product:collection_name": delivery.collection_name or product.collection_name,
        "up42-product:product_id": delivery.product_id,
        "up42-order:id": delivery.order_id,
        "up42-order:host_id": facts.host_id,
        "up42-order:status": (facts.order_status or "FULFILLED") if delivery.order_id else None,
    }
    return {name: value for name, value in told.items() if value is not None}


def user_fields(delivery: DeliveryRecord) -> dict[str, Any]:
    """Title and tags of a delivery, as its collection and items have them."""
    told: dict[str, Any] = {}
    if delivery.title is not None:
        told["up42-user:title"] = delivery.title
    if delivery.tags is not None:
        told["up42-user:tags"] = list(delivery.tags)
    return told


def _footprint(scene: Scene, parts: Sequence[MadePart]) -> dict[str, Any] | None:
    """What the metadata say; else all that the data cover. None where nothing says where it is."""
    if scene.footprint is not None:
        return dict(scene.footprint)
    shapes = [
        shape(geometry)
        for each in parts
        if each.part.action != "keep" and (geometry := each.made.facts.get("geometry")) is not None
        and ("data" in each.part.roles or "visual" in each.part.roles)
    ]  # fmt: skip
    if not shapes:
        return None
    united = shapely.union_all(shapes) if len(shapes) > 1 else shapes[0]
    if united.geom_type == "GeometryCollection" or (len(shapes) > 1 and shapely.get_num_geometries(united) > 100):
        united = united.convex_hull
    found: dict[str, Any] = msgspec.json.decode(msgspec.json.encode(mapping(united)))
    return found


# -- assets --------------------------------------------------------------------------------------


def _asset(delivery_id: str, each: MadePart) -> dict[str, Any]:
    part, made = each.part, each.made
    told: dict[str, Any] = {
        "href": OWN_ASSET + asset_id_of(delivery_id, part),
        "title": part.title,
        "type": made.media_type,
        "roles": list(part.roles),
        **file_fields(made.size, made.sha256),
    }
    if part.gsd is not None:
        told["gsd"] = part.gsd
    if part.action == "raster":
        told |= _raster_fields(part, made.facts)
    return told | {name: value for name, value in part.properties.items() if value is not None}


def file_fields(size: int, sha256: str) -> dict[str, Any]:
    """The file extension's size and checksum; a multihash begins with 12 (SHA-256) and its length, 32."""
    return {"file:size": size, "file:checksum": f"1220{sha256}"}


def _raster_fields(part: Part, facts: Mapping[str, Any]) -> dict[str, Any]:
    told: dict[str, Any] = {"proj:shape": facts["shape"]}
    if not part.sensor:
        names = {"proj:code": "code", "proj:wkt2": "wkt2", "proj:bbox": "bbox", "proj:transform": "transform"}
        told |= {name: value for name, known in names.items() if (value := facts.get(known)) is not None}
    measured: list[Mapping[str, Any]] = list(facts["bands"])
    spectral = [band for band in measured if band.get("color") != "alpha"]
    for name in ("data_type", "nodata"):
        values = {msgspec.json.encode(band.get(name)): band.get(name) for band in spectral}
        if len(values) == 1 and (value := next(iter(values.values()))) is not None:
            told[name] = value
    bands = part.bands or tuple(_band_of(number, band) for number, band in enumerate(spectral, 1))
    told["bands"] = [_common(band) for band in bands]
    if any(band.common_name or band.center_wavelength for band in bands):
        told["eo:bands"] = [_eo(band) for band in bands]
    return told


def _band_of(number: int, band: Mapping[str, Any]) -> Band:
    return Band(str(band.get("description") or f"b{number}"))


def _common(band: Band) -> dict[str, Any]:
    told = {
        "name": band.name,
        "description": band.description,
        "gsd": band.gsd,
        "eo:common_name": band.common_name,
        "eo:center_wavelength": band.center_wavelength,
        "eo:full_width_half_max": band.full_width_half_max,
    }
    return {name: value for name, value in told.items() if value is not None}


def _eo(band: Band) -> dict[str, Any]:
    told = {
        "name": band.name,
        "description": band.description,
        "common_name": _OLDER.get(band.common_name or "", band.common_name),
        "center_wavelength": band.center_wavelength,
        "full_width_half_max": band.full_width_half_max,
    }
    return {name: value for name, value in told.items() if value is not None}


def _extensions(members: Iterable[Mapping[str, Any]]) -> list[str]:
    """The schemas of the prefixes in use. Those of the up42 fields are this server's own."""
    prefixes = {name.partition(":")[0] for each in members for name in each if ":" in name}
    known = [url for prefix, url in _EXTENSIONS.items() if prefix in prefixes]
    return known + [f"{OWN_EXTENSION}{name}/v1.0.0/schema.json" for name in _UP42 if name in prefixes]


# -- the collection ------------------------------------------------------------------------------


def describe_collection(
    delivery: DeliveryRecord, facts: Facts, account: Account, products: Sequence[Product], original: Made
) -> dict[str, Any]:
    """The STAC Collection of a delivery. Extent and summaries are left to the catalogue, which knows the items."""
    first = products[0]
    names = [scene.name for product in products for scene in product.scenes]
    system = _system(delivery, facts, account, first)
    licenses = {product.license for product in products}
    producers = list(dict.fromkeys(product.producer for product in products if product.producer))
    title = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
    told = system | user_fields(delivery)
    asset = {
        "href": OWN_ASSET + delivery.id,
        "title": "Original Delivery",
        "type": delivery.media_type,
        "roles": ["data", "original"],
        **file_fields(original.size, original.sha256),
    }
    return {
        "type": "Collection",
        "stac_version": "1.1.0",
        "stac_extensions": _extensions((told, asset)),
        "id": delivery.collection,
        "title": title,
        "description": f"{first.title}: {', '.join(names[:10])}{' …' if len(names) > 10 else ''}",
        "keywords": [name for name in dict.fromkeys((first.collection_name, first.modality, first.data_type)) if name],
        "license": licenses.pop() if len(licenses) == 1 else "other",
        "providers": [
            {"name": name, "roles": ["producer"], **({"url": url} if (url := _PROVIDERS.get(name)) else {})}
            for name in ([delivery.producer_name] if delivery.producer_name else producers)
        ],
        **told,
        "links": [],
        "assets": {delivery.id: asset},
    }

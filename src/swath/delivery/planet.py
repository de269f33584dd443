"""Planet orders of PlanetScope and SkySat: each item is a scene. Told by the manifest of the order, or by the metadata
of each item beside its images."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import shapely
from shapely.errors import ShapelyError
from shapely.geometry import shape

from swath.delivery.model import Inspect, Part, Product, Scene, Tree, asset_key, distinct
from swath.delivery.planet_files import part_of
from swath.delivery.planet_metadata import facts_of, instant_of, is_skysat, properties_of
from swath.delivery.planet_order import Item, read_items

__all__ = ["recognise"]


def recognise(tree: Tree, inspect: Inspect) -> Product | None:
    """The items of a tree; None where there are none. DeliveryRefused where a manifest does not fit the files."""
    items = read_items(tree)
    if not items:
        return None
    scenes = tuple(_scene(tree, inspect, item) for item in items)
    names = sorted({str(scene.properties["constellation"]) for scene in scenes})
    types = sorted({item.type for item in items if item.type})
    collections = {"skysat": "skysat", "planetscope": "psscene", "rapideye": "rapideye"}
    roles = {role for scene in scenes for part in scene.parts for role in part.roles}
    return Product(
        kind="planet",
        title=f"Planet {', '.join(types)}".strip(),
        collection_name=collections[names[0]] if len(names) == 1 else None,
        producer="Planet",
        data_type="raster",
        modality="panchromatic"
        if "panchromatic" in roles and not roles & {"multispectral", "visual"}
        else "multispectral",
        scenes=scenes,
        claimed=frozenset(source for scene in scenes for part in scene.parts for source in part.sources),
    )


def _scene(tree: Tree, inspect: Inspect, item: Item) -> Scene:
    facts = facts_of(tree, item)
    skysat = is_skysat(item, facts)
    parts = [
        part_of(inspect, name, item.files[name], item.id, facts, skysat=skysat)
        for name in sorted(item.files)
        if not name.lower().endswith(".aux.xml")
    ]
    parts += [_manifest(name) for name in item.shared]
    footprint = _polygon(item.geometry) or _polygon(facts.get("geometry"))
    return Scene(
        item.id, instant_of(facts.get("acquired")), distinct(parts), properties_of(item, facts), footprint
    )  # fmt: skip


def _manifest(name: str) -> Part:
    title = "Manifest of the order"
    return Part(asset_key("manifest_json"), (name,), ("metadata", "digest"), title, "application/json")


def _polygon(geometry: Any) -> Mapping[str, Any] | None:
    """A geometry that is a polygon, or several; None for anything else."""
    if not isinstance(geometry, Mapping) or geometry.get("type") not in ("Polygon", "MultiPolygon"):
        return None
    try:
        found = shape(geometry)
    except (ShapelyError, ValueError, TypeError, KeyError, IndexError, AttributeError):
        return None
    sound = not found.is_empty and bool(shapely.is_valid(found)) and found.area > 0
    west, south, east, north = found.bounds if sound else (0.0, -91.0, 0.0, 0.0)
    return geometry if south >= -90.0 and north <= 90.0 and west >= -360.0 and east <= 360.0 else None

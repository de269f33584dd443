"""Planet orders of PSScene and SkySat items: told by the order's manifest, or by the metadata beside the images."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from swath.delivery.model import Band, Inspect, Part, Product, Scene, Tree, asset_key, distinct
from swath.delivery.xml import read_xml
from swath.errors import DeliveryRefused, shown
from swath.stac.time import parse_temporal

__all__ = ["recognise"]

_LARGEST = 20_000_000  # bytes of a JSON file that is looked at
_ITEM = re.compile(
    r"(?:PSScene(?:3Band|4Band)?|PSOrthoTile|SkySat(?:Scene|Collect|Video)|REScene|REOrthoTile)", re.IGNORECASE
)
_FOUR = (
    Band("blue", "blue", 0.485, 0.06), Band("green", "green", 0.545, 0.09), Band("red", "red", 0.63, 0.08),
    Band("nir", "nir", 0.82, 0.08),
)  # fmt: skip
_EIGHT = (
    Band("coastal_blue", "coastal", 0.443, 0.02), Band("blue", "blue", 0.49, 0.05),
    Band("green_i", "green", 0.531, 0.036), Band("green", "green", 0.565, 0.036), Band("yellow", "yellow", 0.61, 0.02),
    Band("red", "red", 0.665, 0.031), Band("rededge", "rededge", 0.705, 0.015), Band("nir", "nir", 0.865, 0.04),
)  # fmt: skip
_RGB = (Band("red", "red"), Band("green", "green"), Band("blue", "blue"))
_PAN = (Band("pan", "pan", 0.675, 0.45),)
_UDM2 = tuple(map(Band, ("clear", "snow", "shadow", "light_haze", "heavy_haze", "cloud", "confidence", "udm1")))
_INSTRUMENTS = {"PS2": "ps2", "PS2.SD": "ps2.sd", "PSB.SD": "psb.sd"}
_THUMBNAIL = 600


def recognise(tree: Tree, inspect: Inspect) -> Product | None:
    """The items of a tree; None where there are none. DeliveryRefused where the manifest does not fit the files."""
    kinds: dict[str, str] = {}
    items: dict[str, set[str]] = defaultdict(set)
    shared: list[str] = []
    for name in tree.files:
        if posixpath.basename(name) == "manifest.json" and (entries := _manifest(tree, name)) is not None:
            shared.append(name)
            for path, item, kind in entries:
                items[item].add(path)
                kinds[path] = kind
    documents = _documents(tree)
    for item in documents:
        items[item] |= {name for name in tree.files if posixpath.basename(name).startswith(item)}
    items = {item: files for item, files in items.items() if files}
    if not items:
        return None
    for item in items:  # what the manifest left out and the name says
        items[item] |= {name for name in tree.files if posixpath.basename(name).startswith(f"{item}_")}
    scenes = [_scene(tree, inspect, item, sorted(files), kinds, documents.get(item), shared)
              for item, files in sorted(items.items())]  # fmt: skip
    skysat = any(str(scene.properties.get("constellation")) == "skysat" for scene in scenes)
    claimed = {source for scene in scenes for part in scene.parts for source in part.sources}
    return Product(
        kind="planet", title="Planet SkySat" if skysat else "Planet PSScene",
        collection_name="skysat" if skysat else "psscene", producer="Planet", data_type="raster",
        modality="multispectral", scenes=tuple(scenes), claimed=frozenset(claimed), license="other",
    )  # fmt: skip


# -- what says what is there ---------------------------------------------------------------------


def _json(tree: Tree, name: str) -> Any:
    """A JSON document; None for what is none, or too large to be one of an order."""
    path = tree.path(name)
    if path.stat().st_size > _LARGEST:
        return None
    try:
        return msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None


def _manifest(tree: Tree, name: str) -> list[tuple[str, str, str]] | None:
    """Path, item and kind of each file of an order; None for a manifest of something else."""
    document = _json(tree, name)
    files = document.get("files") if isinstance(document, dict) else None
    if not isinstance(files, list):
        return None
    entries = []
    for entry in files:
        told = entry.get("annotations") if isinstance(entry, dict) else None
        if not isinstance(told, dict) or "planet/item_id" not in told:
            continue
        path = _checked(tree, name, entry)
        entries.append((path, str(told["planet/item_id"]), str(told.get("planet/asset_type", ""))))
    return entries or None


def _checked(tree: Tree, manifest: str, entry: Mapping[str, Any]) -> str:
    """The file of an entry, of the size and the digest that it says."""
    said = str(entry.get("path", ""))
    path = posixpath.normpath(posixpath.join(posixpath.dirname(manifest), said))
    if said.startswith("/") or path.startswith("../"):
        raise DeliveryRefused(f"{manifest}: it names {shown(said)}, which is outside the delivery")
    if path not in tree.files:
        raise DeliveryRefused(f"{manifest}: it names {shown(said)}, which is not in the delivery")
    size, digests = entry.get("size"), entry.get("digests")
    if isinstance(size, int) and tree.path(path).stat().st_size != size:
        raise DeliveryRefused(f"{path}: it has {tree.path(path).stat().st_size:,} bytes, the manifest says {size:,}")
    wanted = digests.get("sha256") if isinstance(digests, dict) else None
    if isinstance(wanted, str):
        with tree.path(path).open("rb") as stream:
            if hashlib.file_digest(stream, "sha256").hexdigest() != wanted.lower():
                raise DeliveryRefused(f"{path}: its bytes are not those that the manifest says")
    return path


def _documents(tree: Tree) -> dict[str, dict[str, Any]]:
    """The items whose metadata lie beside the images, by their ids."""
    found = {}
    for name in tree.files:
        if not name.lower().endswith("metadata.json"):
            continue
        document = _json(tree, name)
        properties = document.get("properties") if isinstance(document, dict) else None
        if not isinstance(properties, dict) or "acquired" not in properties or "id" not in document:
            continue
        if _ITEM.fullmatch(str(properties.get("item_type", "PSScene"))):
            found[str(document["id"])] = document
    return found


# -- scenes --------------------------------------------------------------------------------------


def _scene(
    tree: Tree, inspect: Inspect, item: str, files: Sequence[str], kinds: Mapping[str, str],
    document: Mapping[str, Any] | None, shared: Sequence[str],
) -> Scene:  # fmt: skip
    told: Mapping[str, Any] = document["properties"] if document else {}
    xml = _xml_facts(tree, files) if not told else {}
    facts = {**xml, **told}
    parts = [_part(tree, inspect, name, kinds.get(name, ""), facts) for name in files]
    parts += [Part(asset_key("manifest"), (name,), ("metadata", "digest"), "Manifest of the order", "application/json")
              for name in shared]  # fmt: skip
    geometry = document.get("geometry") if document else None
    acquired = facts.get("acquired")
    return Scene(item, _instant(acquired), distinct(parts), _properties(item, facts), geometry or xml.get("geometry"))


def _instant(text: Any) -> str | None:
    found = re.fullmatch(r"(\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2})(\.\d+)?(Z|\+00:00)?", str(text))
    if found is None or parse_temporal(f"{found[1]}Z") is None:
        return None
    return f"{found[1]}{(found[2] or '')[:7]}Z"


def _properties(item: str, facts: Mapping[str, Any]) -> dict[str, Any]:
    kind = str(facts.get("item_type", ""))
    skysat = kind.lower().startswith("skysat") or "_ss" in item.lower()
    instrument = facts.get("instrument")
    cloud = facts.get("cloud_cover")
    told: dict[str, Any] = {
        "platform": facts.get("satellite_id"),
        "constellation": "skysat" if skysat else "planetscope",
        "instruments": [_INSTRUMENTS.get(str(instrument), str(instrument).lower())] if instrument else None,
        "gsd": facts.get("gsd"),
        # A fraction, whatever its unit says; some orders have a percentage beside it.
        "eo:cloud_cover": round(float(cloud) * 100, 6) if isinstance(cloud, int | float) and 0 <= cloud <= 1 else None,
        "view:off_nadir": abs(facts["view_angle"]) if isinstance(facts.get("view_angle"), int | float) else None,
        "view:azimuth": facts.get("satellite_azimuth"),
        "view:sun_azimuth": facts.get("sun_azimuth"),
        "view:sun_elevation": facts.get("sun_elevation"),
        "proj:code": f"EPSG:{facts['epsg_code']}" if isinstance(facts.get("epsg_code"), int) else None,
        "planet:item_type": kind or None,
        "planet:quality_category": facts.get("quality_category"),
        "planet:strip_id": facts.get("strip_id"),
    }
    return {name: value for name, value in told.items() if value is not None}


def _part(tree: Tree, inspect: Inspect, name: str, kind: str, facts: Mapping[str, Any]) -> Part:
    base = posixpath.basename(name)
    stem, _, ending = base.rpartition(".")
    words, kind = stem.lower(), kind.lower()
    key = asset_key(stem if ending.lower() not in ("xml", "json") else f"{stem}_{ending}")
    if ending.lower() in ("tif", "tiff", "ntf"):
        return _image(inspect, name, key, f"{kind} {words}", facts)
    if "thumb" in words or ending.lower() in ("png", "jpg", "jpeg"):
        small = _pixels(tree, inspect, name) <= _THUMBNAIL
        media_type = "image/png" if ending.lower() == "png" else "image/jpeg"
        return Part(key, (name,), ("thumbnail",) if small else ("overview",), "Preview", media_type)
    if "rpc" in words or "rpc" in kind:
        return Part(key, (name,), ("metadata", "rpc"), "Rational polynomial coefficients", "text/plain")
    media_type = {"xml": "application/xml", "json": "application/json", "txt": "text/plain"}.get(ending.lower())
    return Part(key, (name,), ("metadata",), "Metadata", media_type or "application/octet-stream")


def _pixels(tree: Tree, inspect: Inspect, name: str) -> int:
    try:
        found = inspect(name)
    except DeliveryRefused:
        return _THUMBNAIL + 1 if tree.path(name).stat().st_size > 200_000 else 1
    return max(int(found.get("rows", 1)), int(found.get("columns", 1)))


def _image(inspect: Inspect, name: str, key: str, words: str, facts: Mapping[str, Any]) -> Part:
    count = int(inspect(name)["count"])
    gsd = facts.get("pixel_resolution") or facts.get("gsd")
    spacing = float(gsd) if isinstance(gsd, int | float) else None
    if "udm" in words:
        bands = _UDM2 if count == len(_UDM2) else ()
        title = "Usable data mask"
        roles: tuple[str, ...] = ("data-mask", "cloud", "cloud-shadow", "snow-ice") if bands else ("data-mask",)
        return Part(key, (name,), roles, title, action="raster", bands=bands, gsd=spacing, categorical=True)
    if "visual" in words:
        return Part(key, (name,), ("visual",), "Visual image", action="raster", bands=_RGB[:count], gsd=spacing)
    if "pan" in words.replace("_pansharpened", "").split("_") or count == 1:
        return Part(
            key, (name,), ("data", "panchromatic"), "Panchromatic image", action="raster", bands=_PAN, gsd=spacing
        )
    bands = {3: _RGB, 4: _FOUR, 8: _EIGHT}.get(count, ())
    return Part(
        key, (name,), ("data", "multispectral"), "Multispectral image", action="raster", bands=bands, gsd=spacing
    )


def _xml_facts(tree: Tree, files: Sequence[str]) -> dict[str, Any]:
    """What the XML metadata say, for orders without the item's own."""
    name = next((each for each in files if each.lower().endswith("_metadata.xml")), None)
    if name is None:
        return {}
    found: dict[str, Any] = {}
    names = {
        "acquisitionDateTime": "acquired", "cloudCoverPercentage": "cloud_cover", "serialIdentifier": "satellite_id",
        "illuminationAzimuthAngle": "sun_azimuth", "illuminationElevationAngle": "sun_elevation",
        "spaceCraftViewAngle": "view_angle", "epsgCode": "epsg_code", "rowGsd": "gsd", "instrument": "instrument",
    }  # fmt: skip
    for element in read_xml(tree.path(name), name).iter():
        wanted = names.get(str(element.tag))
        value = (element.text or "").strip()
        if wanted is None or not value or wanted in found:
            continue
        if wanted in ("acquired", "satellite_id", "instrument"):
            found[wanted] = value
            continue
        try:
            found[wanted] = int(value) if wanted == "epsg_code" else float(value)
        except ValueError:
            continue
    return found

"""Plain rasters and vectors: whatever is imagery or vector data and belongs to no product that is known.

A raster is an item of its own; all vectors of a delivery are one item, with an asset for each layer.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import PurePosixPath
from typing import Any

from swath.delivery.model import Band, Inspect, Part, Product, Scene, Tree, asset_key, distinct
from swath.errors import DeliveryRefused

__all__ = ["recognise"]

_RASTERS = frozenset(
    ("tif", "tiff", "gtif", "jp2", "j2k", "jpf", "jpx", "ntf", "nitf", "nsf", "png", "jpg", "jpeg", "nc", "nc4", "dat",
     "bsq", "bil", "bip", "img", "raw")
)  # fmt: skip
_VECTORS = frozenset(("geojson", "shp", "gpkg", "gml", "kml", "kmz", "fgb"))
_OF_SHAPEFILE = ("shx", "dbf", "prj", "cpg", "qix", "sbn", "sbx", "shp.xml", "qmd", "qpj")
_OF_RASTER = ("tfw", "tifw", "jgw", "pgw", "j2w", "wld", "aux.xml", "ovr", "hdr", "rpb", "prj", "msk")
_WORLD = ("pgw", "pngw", "jgw", "jpgw", "jpegw", "wld")
_MAGIC = (
    b"II*\0",
    b"MM\0*",
    b"II+\0",
    b"MM\0+",
    b"\0\0\0\x0cjP  ",
    b"NITF0",
    b"NSIF0",
    b"CDF\x01",
    b"CDF\x02",
    b"fgb\x03",
)
_COLOURS = ("red", "green", "blue")
# The common names of the STAC eo extension: what a description of a band may say too.
_COMMON = frozenset(
    ("coastal", "blue", "green", "yellow", "red", "rededge", "nir", "nir08", "nir09", "cirrus", "swir16", "swir22", "lwir",
     "lwir11", "lwir12", "pan")
)  # fmt: skip
_DEEPEST = 100  # brackets of a GeoJSON
_MEGABYTE = 1_000_000


def recognise(tree: Tree, inspect: Inspect) -> Product | None:
    """The plain files of a tree; None where there are none. DeliveryRefused for one that is broken, and for a VRT."""
    scenes: list[Scene] = []
    layers: list[Part] = []
    claimed: set[str] = set()
    for name in tree.files:
        if name in claimed or not _may_be_data(tree, name):
            continue
        _check(tree, name)
        found = inspect(name)
        beside = _beside(tree, name, found)
        claimed |= {name, *beside}
        if found["kind"] == "raster":
            scenes.append(_raster(name, found))
        else:
            layers += _vectors(name, found)
    if layers:
        scenes.append(Scene(_vector_name(layers), None, distinct(layers)))
    if not scenes:
        return None
    rasters = len(scenes) - bool(layers)
    ignored = [name for name in tree.files if name not in claimed]
    notes = (f"passed over: {', '.join(ignored[:20])}",) if ignored else ()
    return Product(
        kind="plain", title="Plain files", collection_name=None, producer=None,
        data_type="raster" if rasters else "vector", modality=_modality(scenes) if rasters else None,
        scenes=tuple(scenes), claimed=frozenset(claimed), notes=notes,
    )  # fmt: skip


def _ending(name: str) -> str:
    return PurePosixPath(name).suffix.lower().removeprefix(".")


def _may_be_data(tree: Tree, name: str) -> bool:
    """Whether a file is worth looking into: by its ending, or since it begins as data do."""
    ending = _ending(name)
    if ending in ("png", "jpg", "jpeg"):  # a picture is imagery where somebody says where it lies
        return len(tree.files) == 1 or any(_sibling(name, world) in tree.files for world in _WORLD)
    if ending in ("dat", "bsq", "bil", "bip", "img", "raw"):
        return _header_of(tree, name) is not None or ending == "img"
    if ending in _RASTERS or ending in _VECTORS or ending == "vrt":
        return True
    with tree.path(name).open("rb") as stream:
        head = stream.read(512)
    return head.startswith(_MAGIC) or head.lstrip().startswith(b"<VRTDataset")


def _sibling(name: str, ending: str) -> str:
    return str(PurePosixPath(name).with_suffix(f".{ending}"))


def _header_of(tree: Tree, name: str) -> str | None:
    for candidate in (_sibling(name, "hdr"), f"{name}.hdr"):
        if candidate in tree.files:
            return candidate
    return None


def _check(tree: Tree, name: str) -> None:
    """What is refused before anything reads it."""
    with tree.path(name).open("rb") as stream:
        head = stream.read(_MEGABYTE)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()
    if start.startswith((b"<VRTDataset", b"<OGRVRT")) or _ending(name) == "vrt":
        raise DeliveryRefused(f"{name}: a VRT refers to other files, and is not read; send those themselves")
    if _ending(name) in ("gml", "kml") and (b"<!DOCTYPE" in head[:65_536] or b"<!ENTITY" in head[:65_536]):
        raise DeliveryRefused(f"{name}: the XML file has a DTD or entities, which are not read")
    if _ending(name) == "geojson" or start[:1] in (b"{", b"["):
        _check_nesting(tree, name)


def _check_nesting(tree: Tree, name: str) -> None:
    """Brackets within brackets, counted outside of strings, before a parser recurses into them."""
    depth, quoted, escaped = 0, False, False
    with tree.path(name).open("rb") as stream:
        while chunk := stream.read(_MEGABYTE):
            if (
                not quoted
                and not escaped
                and chunk.count(b"[") + chunk.count(b"{") + depth <= _DEEPEST
                and b'"' not in chunk
            ):
                depth += chunk.count(b"[") + chunk.count(b"{") - chunk.count(b"]") - chunk.count(b"}")
                continue
            for byte in chunk:
                if escaped:
                    escaped = False
                elif quoted:
                    escaped, quoted = byte == 92, byte != 34
                elif byte == 34:
                    quoted = True
                elif byte in (91, 123):
                    depth += 1
                    if depth > _DEEPEST:
                        raise DeliveryRefused(f"{name}: brackets within each other more than {_DEEPEST} deep")
                elif byte in (93, 125):
                    depth -= 1


def _beside(tree: Tree, name: str, found: Mapping[str, Any]) -> list[str]:
    """Files that belong to one, and become nothing by themselves."""
    folder = PurePosixPath(name).parent
    siblings = {str(folder / each) for each in found.get("siblings", ())}
    endings = _OF_SHAPEFILE if _ending(name) == "shp" else _OF_RASTER
    named = {_sibling(name, ending) for ending in endings} | {f"{name}.{ending}" for ending in endings}
    lower = {each.lower() for each in siblings | named}
    return [each for each in tree.files if each != name and each.lower() in lower]


# -- rasters -------------------------------------------------------------------------------------


def _raster(name: str, found: Mapping[str, Any]) -> Scene:
    stem = PurePosixPath(name).stem
    sensor = bool(found["rpc"]) and found["crs"] is None
    colors = list(found["colors"])
    part = Part(
        key=asset_key(stem), sources=(name,), roles=("data",), title=stem, action="raster",
        bands=_bands(colors, found), categorical="palette" in colors, sensor=sensor,
    )  # fmt: skip
    when = found.get("datetime")
    return Scene(stem, when, (part,))


def _bands(colors: list[str], found: Mapping[str, Any]) -> tuple[Band, ...]:
    """Names as the file has them, common names by colour interpretation; alpha is no band."""
    descriptions = list(found.get("descriptions") or [None] * len(colors))
    bands = []
    for number, (color, description) in enumerate(zip(colors, descriptions, strict=False), 1):
        if color == "alpha":
            continue
        said = str(description or "").strip().lower()
        common = color if color in _COLOURS else said if said in _COMMON else None
        bands.append(Band(str(description or common or f"b{number}"), common))
    return tuple(bands)


def _modality(scenes: list[Scene]) -> str | None:
    most = max((len(part.bands) for scene in scenes for part in scene.parts if part.action == "raster"), default=0)
    return "multispectral" if most > 1 else None


# -- vectors -------------------------------------------------------------------------------------


def _vectors(name: str, found: Mapping[str, Any]) -> list[Part]:
    stem, layers = PurePosixPath(name).stem, list(found["layers"])
    if not layers:
        raise DeliveryRefused(f"{name}: there are no layers in it")
    parts = []
    for layer in layers:
        key = asset_key(stem if len(layers) == 1 else layer["name"])
        title = stem if len(layers) == 1 else f"{stem}: {layer['name']}"
        parts.append(Part(key=key, sources=(name,), roles=("data",), title=title, action="vector",
                          layer=layer["name"]))  # fmt: skip
    return parts


def _vector_name(parts: list[Part]) -> str:
    sources = sorted({part.sources[0] for part in parts})
    if len(sources) == 1:
        return PurePosixPath(sources[0]).stem
    common = PurePosixPath(sources[0]).parent
    return common.name or f"{PurePosixPath(sources[0]).stem} and {len(sources) - 1} more"

"""Plain rasters and vectors: whatever is imagery or vector data and belongs to no product that is known.

A raster is an item of its own; all vectors of a delivery are one item, with an asset for each layer.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

from swath.delivery.candidates import Beside, candidates, check, ending_of, pictures
from swath.delivery.model import Band, Inspect, Part, Product, Scene, Tree, asset_key, distinct
from swath.delivery.streams import Budget
from swath.delivery.zips import zip_entries
from swath.errors import DeliveryRefused

__all__ = ["recognise"]

_OF_SHAPEFILE = ("shx", "dbf", "prj", "cpg", "qix", "sbn", "sbx", "shp.xml", "qmd", "qpj")
_OF_RASTER = ("tfw", "tifw", "jgw", "jpgw", "pgw", "pngw", "j2w", "wld", "aux.xml", "ovr", "hdr", "rpb", "prj", "msk")
_OF_VECTOR = ("xsd", "gfs", "qmd", "qpj", "qml")
_COLOURS = ("red", "green", "blue", "nir", "rededge", "coastal", "pan")  # GDAL's that have a common name
# The common names of the STAC eo extension: what a description of a band may say too.
_COMMON = frozenset(
    ("coastal", "blue", "green", "yellow", "red", "rededge", "nir", "nir08", "nir09", "cirrus", "swir16", "swir22",
     "lwir", "lwir11", "lwir12", "pan")
)  # fmt: skip
_ALSO = {"near infrared": "nir", "near-infrared": "nir", "red edge": "rededge", "red_edge": "rededge",
         "panchromatic": "pan", "coastal blue": "coastal"}  # fmt: skip


def recognise(tree: Tree, inspect: Inspect) -> Product | None:
    """The plain files of a tree; None where there are none. DeliveryRefused for one that is broken, and for a VRT."""
    beside = Beside(tree.files)
    found = _Found()
    for name in candidates(tree, beside):
        _look(tree, name, inspect, beside, found)
    if not found.rasters and not found.layers and _is_whole(tree):
        for name in pictures(tree):
            _look(tree, name, inspect, beside, found)
    scenes = list(_named_apart(found.rasters))
    if found.layers:
        name = _vector_name([name for name, _ in found.layers])
        scenes.append(Scene(name, None, distinct(part for _, part in found.layers)))
    if not scenes:
        return None
    ignored = [name for name in tree.files if name not in found.claimed]
    if ignored:
        found.notes.append(f"passed over: {', '.join(ignored[:20])}{' …' if len(ignored) > 20 else ''}")
    return Product(
        kind="plain", title="Plain files", collection_name=None, producer=None,
        data_type="raster" if found.rasters else "vector", modality=_modality(scenes) if found.rasters else None,
        scenes=tuple(scenes), claimed=frozenset(found.claimed), notes=tuple(found.notes),
    )  # fmt: skip


class _Found:
    """What is known after some files."""

    def __init__(self) -> None:
        self.rasters: list[tuple[str, Scene]] = []
        self.layers: list[tuple[str, Part]] = []
        self.claimed: set[str] = set()
        self.notes: list[str] = []


def _look(tree: Tree, name: str, inspect: Inspect, beside: Beside, found: _Found) -> None:
    if name in found.claimed:
        return
    source = _kml_of(tree, name) if ending_of(name) == "kmz" else name
    if source is None:
        found.notes.append(f"{name}: there is no KML in it")
        return
    check(tree, source)
    told = inspect(source)
    folder = PurePosixPath(name).parent
    endings = _OF_SHAPEFILE if ending_of(name) == "shp" else _OF_RASTER if told["kind"] == "raster" else _OF_VECTOR
    siblings = (str(folder / each) for each in told.get("siblings", ()))
    found.claimed |= {name, source, *beside.named(siblings), *beside.of(name, endings)}
    if told["kind"] == "raster":
        found.rasters.append((name, _raster(name, told)))
    elif not told["layers"]:  # a GML without members
        found.notes.append(f"{name}: there is nothing in it")
    else:
        found.layers += [(name, part) for part in _vectors(name, source, told)]


def _is_whole(tree: Tree) -> bool:
    """Whether no other recogniser has taken files of the delivery."""
    return len(tree.files) == sum(path.is_file() for path in tree.root.rglob("*"))


def _kml_of(tree: Tree, name: str) -> str | None:
    """The KML of a KMZ, laid beside it, since it is read in no other way: the first in it (OGC 07-147r2, annex C)."""
    place = f"{name}.kml~"
    target = tree.path(place)
    if target.exists():
        return place
    unfinished = target.with_name(f"{target.name}.part~")
    try:
        found = _lay_kml(tree.path(name), unfinished)
    except DeliveryRefused as error:
        unfinished.unlink(missing_ok=True)
        raise DeliveryRefused(f"{name}: {error}") from None
    if not found:
        return None
    unfinished.rename(target)
    return place


def _lay_kml(source: Path, target: Path) -> bool:
    """Whether there is one."""
    for entry in zip_entries(source, Budget(source.stat().st_size, lambda _done, _of: None)):
        if not entry.is_folder and ending_of(entry.name) == "kml":
            with target.open("wb") as out:
                for chunk in entry.content:
                    out.write(chunk)
            return True
    return False


# -- rasters -------------------------------------------------------------------------------------


def _raster(name: str, told: Mapping[str, Any]) -> Scene:
    stem = PurePosixPath(name).stem
    colors, crs = list(told["colors"]), told["crs"] or told.get("crs_beside")
    part = Part(
        key=asset_key(stem), sources=(name,), roles=("data",), title=stem, action="raster",
        bands=_bands(colors, told), categorical="palette" in colors, sensor=bool(told["rpc"]) and crs is None,
        crs=told.get("crs_beside"),
    )  # fmt: skip
    return Scene(stem, told.get("datetime"), (part,))


def _bands(colors: list[str], told: Mapping[str, Any]) -> tuple[Band, ...]:
    """Names as the file has them, common names by description, else by colour interpretation; alpha is no band."""
    descriptions = list(told.get("descriptions") or [None] * len(colors))
    bands: list[Band] = []
    seen = list(told.get("wavelengths") or [(None, None)] * len(colors))
    for number, (color, description, (center, width)) in enumerate(zip(colors, descriptions, seen, strict=False), 1):
        if color == "alpha":
            continue
        said = " ".join(str(description or "").lower().split())
        known = said if said in _COMMON else _ALSO.get(said)
        common = known or (color if color in _COLOURS else None)  # what somebody wrote, rather than GDAL's default
        name = str(description or common or f"b{number}")
        taken = any(band.name == name for band in bands)
        bands.append(Band(f"{name}_{number}" if taken else name, common, center, width))
    return tuple(bands)


def _modality(scenes: list[Scene]) -> str | None:
    most = max((len(part.bands) for scene in scenes for part in scene.parts if part.action == "raster"), default=0)
    return "multispectral" if most > 1 else None


def _named_apart(rasters: list[tuple[str, Scene]]) -> Iterator[Scene]:
    """Scenes of files of one name in several folders have those in theirs, and of one stem the ending too."""
    stems = Counter(scene.name for _, scene in rasters)
    paths = Counter(str(PurePosixPath(name).with_suffix("")) for name, _ in rasters)
    for name, scene in rasters:
        path = str(PurePosixPath(name).with_suffix(""))
        if stems[scene.name] == 1:
            yield scene
        else:
            yield replace(scene, name=path if paths[path] == 1 else name)


# -- vectors -------------------------------------------------------------------------------------


def _vectors(name: str, source: str, told: Mapping[str, Any]) -> list[Part]:
    stem, layers = PurePosixPath(name).stem, list(told["layers"])
    parts = []
    for layer in layers:
        key = asset_key(stem if len(layers) == 1 else layer["name"])
        title = stem if len(layers) == 1 else f"{stem}: {layer['name']}"
        parts.append(Part(key=key, sources=(source,), roles=("data",), title=title, action="vector",
                          layer=layer["name"]))  # fmt: skip
    return parts


def _vector_name(names: list[str]) -> str:
    """The name of the only file, or of the folder that all are in."""
    files = sorted(set(names))
    if len(files) == 1:
        return PurePosixPath(files[0]).stem
    folders = {str(PurePosixPath(name).parent) for name in files} - {"."}
    common = PurePosixPath(min(folders, key=len)).name if len(folders) == 1 else ""
    return common or f"{PurePosixPath(files[0]).stem} and {len(files) - 1} more"

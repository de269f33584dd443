"""DIMAP V2 of Pléiades, Pléiades Neo and SPOT 6/7: components that were imaged at one time are one scene, the tiles of
a component one mosaic. A stereo pair is two scenes, a tri-stereo three."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Sequence

from swath.delivery.dimap_metadata import Component, is_dimap, read_component, read_rpc
from swath.delivery.model import Inspect, Part, Product, Scene, Tree, asset_key, distinct

__all__ = ["recognise"]

_MASKS = {
    "CLD": ("cloud", "Clouds"), "DET": ("detector-quality", "Detectors out of order"),
    "DTQ": ("detector-quality", "Quality of detectors"), "QTE": ("technical-index", "Technical quality"),
    "TEC": ("technical-index", "Technical index"), "ROI": ("roi", "Region of interest"),
    "SLT": ("saturation", "Saturation and straylight"), "SNW": ("snow-ice", "Snow and ice"),
    "VIS": ("visibility", "Visibility"), "WTR": ("water-mask", "Water"), "SHD": ("cloud-shadow", "Shadows of clouds"),
}  # fmt: skip
# By the beginning of a file's name: roles, and title.
_KINDS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    ("DIM_", ("metadata",), "Metadata of the component"),
    ("RPC_", ("metadata", "rpc"), "Rational polynomial coefficients"),
    ("LUT_", ("metadata", "lut"), "Colour look-up table"),
    ("STRIP_", ("metadata", "lineage"), "Lineage of the strip"),
    ("GROUND_", ("metadata", "lineage"), "Lineage on the ground"),
    ("PROCESSING_", ("metadata", "lineage"), "Lineage of the processing"),
    ("ISO_", ("metadata", "iso-19115"), "ISO 19115 metadata"),
    ("VOL_", ("metadata", "bundle"), "Contents of the volume"),
    ("STEREO_", ("metadata", "stereo"), "Stereo metadata"),
    ("PREVIEW_", ("overview",), "Preview"),
    ("ICON_", ("thumbnail",), "Icon"),
    ("INDEX", ("metadata",), "Index page"),
    ("DELIVERY", ("metadata",), "Delivery note"),
    ("HEIGHT_", ("metadata", "quality-elevation"), "Elevation quality"),
    ("DEM_", ("metadata", "quality-elevation"), "Elevation quality"),
)
_TYPES = {
    "XML": "application/xml", "JPG": "image/jpeg", "JPEG": "image/jpeg", "KMZ": "application/vnd.google-earth.kmz",
    "HTM": "text/html", "HTML": "text/html", "PDF": "application/pdf", "TXT": "text/plain", "XSL": "application/xml",
    "GML": "application/gml+xml", "PNG": "image/png",
}  # fmt: skip
_CONSTELLATIONS = ("PHR", "PNEO", "SPOT")
_TILE = re.compile(r"_R\d+C\d+$", re.IGNORECASE)


def recognise(tree: Tree, inspect: Inspect) -> Product | None:  # noqa: ARG001 - everything is in the metadata
    """The scenes of all DIM files of a tree; None where there is none. DeliveryRefused for a broken one."""
    found = [component for name in tree.files if is_dimap(tree, name)
             if (component := read_component(tree, name)) is not None]  # fmt: skip
    if not found:
        return None
    groups: dict[tuple[str, str], list[Component]] = defaultdict(list)
    for component in found:
        groups[component.platform, component.imaged].append(component)
    folders = {component.folder for component in found}
    claimed: set[str] = set()
    scenes = []
    for components in groups.values():
        components.sort(key=lambda each: (each.gsd or 1e9, each.path))
        scene = _scene(tree, components, folders)
        scenes.append(scene)
        claimed |= {source for part in scene.parts for source in part.sources}
    mission = found[0].mission
    only_pan = all(_kind(component) == "panchromatic" for component in found)
    return Product(
        kind="dimap", title=f"Airbus DIMAP V2, {mission}", collection_name=mission.lower() or None, producer="Airbus",
        data_type="raster", modality="panchromatic" if only_pan else "multispectral",
        scenes=tuple(sorted(scenes, key=lambda scene: scene.datetime or "")), claimed=frozenset(claimed),
        license="other",
    )  # fmt: skip


def _scene(tree: Tree, components: Sequence[Component], folders: set[str]) -> Scene:
    first = components[0]
    parts: list[Part] = []
    for component in components:
        parts += _component_parts(tree, component)
    held = {source for part in parts for source in part.sources}
    for name in tree.files:
        if name not in held and _is_shared(name, components, folders):
            parts.append(_kept(name))
    clouds = [component.cloud for component in components if component.cloud is not None and component.cloud >= 0]
    properties = {
        "platform": first.platform,
        "constellation": first.mission if first.mission in _CONSTELLATIONS else first.mission or None,
        "instruments": [first.mission.lower()] if first.mission else None,
        "gsd": min((each.gsd for each in components if each.gsd is not None), default=None),
        "eo:cloud_cover": clouds[0] if clouds else None,
        "proj:code": first.crs,
        "processing:level": first.level,
        **first.angles,
    }
    told = {name: value for name, value in properties.items() if value is not None}
    return Scene(first.name, first.time, distinct(parts), told, first.footprint)


def _is_shared(name: str, components: Sequence[Component], folders: set[str]) -> bool:
    """Whether a file stands above the components: in a folder that they are below, and below none of any scene's."""
    folder = posixpath.dirname(name)
    if any(name.startswith(f"{each}/") for each in folders if each):
        return False
    return any(not folder or component.path.startswith(f"{folder}/") for component in components)


def _component_parts(tree: Tree, component: Component) -> list[Part]:
    rpc = None
    if component.sensor and component.rpc is not None:
        rpc = read_rpc(tree, component.rpc, from_one=component.mission != "PNEO")
    parts = [_image(component, rpc)]
    images = set(component.images)
    for name in tree.files:
        if component.folder:
            own = name.startswith(f"{component.folder}/")
        else:
            own = "/" not in name or name.split("/")[0].upper() in ("LINEAGE", "MASKS", "LIBRARY")
        if not own or name in images:
            continue
        base = posixpath.basename(name).upper()
        if base.endswith(".GML"):
            parts.append(_mask(name, component, rpc))
        elif not base.endswith((".TFW", ".J2W", ".AUX.XML")):
            parts.append(_kept(name))
    return parts


def _kind(component: Component) -> str:
    return "panchromatic" if component.spectral in ("P", "PAN") or len(component.bands) == 1 else "multispectral"


def _image(component: Component, rpc: dict[str, str] | None) -> Part:
    kind = _kind(component)
    stem = _TILE.sub("", posixpath.basename(component.images[0]).rpartition(".")[0])
    if component.stacked:
        stem = re.sub(r"_(RGB|NED)$", "", stem)
    tiled = len(component.images) > 1
    return Part(
        key=asset_key(stem), sources=component.images, roles=("data", kind), title=f"{kind.capitalize()} data",
        action="raster", bands=component.bands, gsd=component.gsd, nodata=component.nodata,
        tiles=component.tiles if tiled else (), size=component.size if tiled else None, sensor=component.sensor,
        crs=component.crs, rpc=rpc,
    )  # fmt: skip


def _mask(name: str, component: Component, rpc: dict[str, str] | None) -> Part:
    base = posixpath.basename(name)
    role, title = _MASKS.get(base[:3].upper(), (None, "Mask"))
    roles = ("data-mask", role) if role else ("data-mask",)
    return Part(
        key=asset_key(base.rpartition(".")[0]), sources=(name,), roles=roles, title=title, action="vector",
        sensor=component.sensor, crs=component.crs, rpc=rpc, optional=True,
    )  # fmt: skip


def _kept(name: str) -> Part:
    base = posixpath.basename(name)
    ending = base.upper().rpartition(".")[2]
    roles, title = next(((roles, title) for start, roles, title in _KINDS if base.upper().startswith(start)),
                        (("metadata",), base))  # fmt: skip
    if "LICEN" in base.upper() or "EULA" in base.upper():
        roles, title = ("metadata", "license"), "Licence"
    elif "/LIBRARY/" in f"/{name.upper()}":
        roles, title = ("metadata", "auxiliary"), f"Library: {base}"
    key = asset_key(base.rpartition(".")[0] if ending in ("XML", "JPG", "JPEG") else base)
    return Part(key=key, sources=(name,), roles=roles, title=title,
                media_type=_TYPES.get(ending, "application/octet-stream"))  # fmt: skip

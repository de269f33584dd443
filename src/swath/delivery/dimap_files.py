"""Which files of a DIMAP V2 delivery belong to which component, and what each becomes, told by the beginning of its
name and by its folder."""

from __future__ import annotations

import posixpath
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence

from swath.delivery.dimap_metadata import Component
from swath.delivery.dimap_rpc import read_rpc
from swath.delivery.model import Part, Tree, asset_key

__all__ = ["Shares", "component_parts", "shared_part", "shares_of"]

_MASKS = {
    "CLD": ("cloud", "Clouds"), "DET": ("detector-quality", "Detectors out of order"),
    "DTQ": ("detector-quality", "Quality of detectors"), "QTE": ("technical-index", "Technical quality"),
    "TEC": ("technical-index", "Technical quality"), "ROI": ("roi", "Region of interest"),
    "SLT": ("saturation", "Saturation and straylight"), "SNW": ("snow-ice", "Snow and ice"),
    "VIS": ("visibility", "Visibility"), "WTR": ("water-mask", "Water"), "SHD": ("cloud-shadow", "Shadows of clouds"),
}  # fmt: skip
# By what a name holds: roles, and title. The first that fits.
_KINDS: tuple[tuple[str, tuple[str, ...], str], ...] = (
    (r".*(?:^|[_. -])(?:LICEN[CS]E|EULA)", ("metadata", "license"), "Licence"),
    (r"DIM_", ("metadata",), "Metadata"),
    (r"RPC_", ("metadata", "rpc"), "Rational polynomial coefficients"),
    (r"LUT_", ("metadata", "lut"), "Colour look-up table"),
    (r"STRIP_", ("metadata", "lineage"), "Lineage of the strip"),
    (r"GROUND_", ("metadata", "lineage"), "Lineage on the ground"),
    (r"PROCESSING_", ("metadata", "lineage"), "Lineage of the processing"),
    (r"ISO_", ("metadata", "iso-19115"), "ISO 19115 metadata"),
    (r"(?:[A-Z0-9]+_)?VOL(?:_|\.)", ("metadata", "bundle"), "Contents of the volume"),
    (r"(?:TRI_?)?STEREO_", ("metadata", "stereo"), "Stereo metadata"),
    (r"PREVIEW", ("overview",), "Preview"),
    (r"ICON", ("thumbnail",), "Icon"),
    (r"INDEX", ("metadata",), "Index page"),
    (r"DELIVERY", ("metadata",), "Delivery note"),
    (r"READ_?ME", ("metadata",), "Read me"),
    (r"(?:HEIGHT|HGT|DEM|DTM)_", ("metadata", "quality-elevation"), "Quality of the elevation"),
)
_TYPES = {
    "XML": "application/xml", "JPG": "image/jpeg", "JPEG": "image/jpeg", "KMZ": "application/vnd.google-earth.kmz",
    "HTM": "text/html", "HTML": "text/html", "PDF": "application/pdf", "TXT": "text/plain", "XSL": "application/xml",
    "XSD": "application/xml", "CSS": "text/css", "GML": "application/gml+xml", "PNG": "image/png", "GIF": "image/gif",
    "DIM": "application/xml", "MD5": "text/plain", "TFW": "text/plain", "J2W": "text/plain", "WLD": "text/plain",
}  # fmt: skip
_WORLD_FILES = ("TFW", "J2W", "WLD")  # of no use once the tiles are one image that knows its place
_FOLDERS = ("LIBRARY", "LINEAGE", "MASKS")
_TILE = re.compile(r"_R\d+C\d+$", re.IGNORECASE)


class Shares:
    """The files of each component, by its path, and those that stand above components, with the folder whose components
    share them."""

    def __init__(self) -> None:
        self.own: dict[str, list[str]] = defaultdict(list)
        self.shared: dict[str, str] = {}


def shares_of(tree: Tree, components: Sequence[Component]) -> Shares:
    """Whose each file is: of the component that names it, whose name it has, or in whose folder it lies.

    Images and vectors that no component knows are nobody's: they may be a product of their own.
    """
    found = Shares()
    images = {file for component in components for file in component.images.files}
    named: dict[str, list[Component]] = defaultdict(list)
    folders: dict[str, list[Component]] = defaultdict(list)
    for component in components:
        folders[component.folder].append(component)
        for name in {component.path, *component.named}:
            named[name].append(component)
    for name in tree.files:
        if name in images or not _is_of_dimap(name):
            continue
        candidates = named.get(name) or _beside(name, folders)
        if len(candidates) == 1:
            found.own[candidates[0].path].append(name)
        elif candidates:
            _among(found, name, candidates)
        elif (folder := _above(name, components)) is not None:
            found.shared[name] = folder
    return found


def _is_of_dimap(name: str) -> bool:
    ending = name.upper().rpartition(".")[2]
    return ending in _TYPES or name.upper().endswith(".AUX.XML")


def _beside(name: str, folders: Mapping[str, Sequence[Component]]) -> Sequence[Component]:
    """The components in the nearest folder that holds the file. At the top of a delivery other folders are not theirs,
    but for those that each product has."""
    folder = posixpath.dirname(name)
    while folder and folder not in folders:
        folder = posixpath.dirname(folder)
    if not folder and "/" in name and name.split("/")[0].upper() not in _FOLDERS:
        return ()
    return folders.get(folder, ())


def _among(found: Shares, name: str, candidates: Sequence[Component]) -> None:
    """Several components in one folder: the file has the name of one, or is shared."""
    base = posixpath.basename(name).upper()
    fitting = [each for each in candidates if (stem := _stem(each)) and stem in base]
    if fitting:
        found.own[max(fitting, key=lambda each: len(_stem(each))).path].append(name)
    else:
        found.shared[name] = candidates[0].folder


def _stem(component: Component) -> str:
    """What the names of a component's files have in common: that of its DIM file without `DIM_`."""
    return posixpath.basename(component.path).upper().rpartition(".")[0].removeprefix("DIM_")


def _above(name: str, components: Sequence[Component]) -> str | None:
    """The folder in which a file stands above components. None where it is in a folder without any, except a library
    or a volume's own pages."""
    folder = posixpath.dirname(name)
    if posixpath.basename(folder).upper() in _FOLDERS:
        folder = posixpath.dirname(folder)
    inside = [each for each in components if not folder or each.path.startswith(f"{folder}/")]
    ending = name.upper().rpartition(".")[2]
    is_other = ending in ("GML", *_WORLD_FILES, "CSS", "MD5") or name.upper().endswith(".AUX.XML")
    return folder if inside and not is_other else None


# -- parts ---------------------------------------------------------------------------------------


def component_parts(tree: Tree, component: Component, own: Sequence[str]) -> list[Part]:
    """A part of the images, one of each mask, and one of each other file of a component."""
    rpc = None
    if component.sensor and component.rpc is not None:
        rpc = read_rpc(tree, component.rpc, component.mission)
    parts = [_image(component, rpc)]
    for name in own:
        ending = name.upper().rpartition(".")[2]
        if ending == "GML":
            parts.append(_mask(name, component, rpc))
        elif ending not in _WORLD_FILES and not name.upper().endswith(".AUX.XML"):
            parts.append(_kept(name, component.spectral))
    return parts


def shared_part(name: str) -> Part:
    """A part of a file that several components share."""
    return _kept(name, "")


def _image(component: Component, rpc: Mapping[str, str] | None) -> Part:
    images, kind = component.images, component.kind
    stem = _TILE.sub("", posixpath.basename(images.files[0]).rpartition(".")[0])
    if images.stacked:
        stem = re.sub(r"_(RGB|NED)$", "", stem, flags=re.IGNORECASE)
    return Part(
        key=asset_key(stem), sources=images.files, roles=("data", kind),
        title=f"{kind.capitalize()} image{_of(component.spectral)}", action="raster", bands=images.bands,
        gsd=component.gsd, nodata=images.nodata, tiles=() if images.whole else images.places,
        size=None if images.whole else images.size, sensor=component.sensor, crs=component.crs, rpc=rpc,
    )  # fmt: skip


def _mask(name: str, component: Component, rpc: Mapping[str, str] | None) -> Part:
    base = posixpath.basename(name)
    role, title = _MASKS.get(base[:3].upper(), (None, "Mask"))
    roles = ("data-mask", role) if role else ("data-mask",)
    key, title = asset_key(base.rpartition(".")[0]), f"{title}{_of(component.spectral)}"
    if component.sensor and rpc is None:  # nothing says where its pixels are on the ground
        return Part(key, (name,), roles, title, _TYPES["GML"])
    return Part(
        key=key, sources=(name,), roles=roles, title=title, action="vector", sensor=component.sensor,
        crs=component.crs, rpc=rpc, optional=True,
    )  # fmt: skip


def _kept(name: str, spectral: str) -> Part:
    base = posixpath.basename(name)
    ending = base.upper().rpartition(".")[2]
    roles, title = _kind(base) or (("metadata", "auxiliary"), base)
    if "/LIBRARY/" in f"/{name.upper()}":
        roles, title = ("metadata", "auxiliary"), f"Library: {base}"
    key = asset_key(base.rpartition(".")[0] if ending in ("XML", "JPG", "JPEG") else base)
    return Part(key=key, sources=(name,), roles=roles, title=f"{title}{_of(spectral)}",
                media_type=_TYPES.get(ending, "application/octet-stream"))  # fmt: skip


def _kind(base: str) -> tuple[tuple[str, ...], str] | None:
    return next(((roles, title) for start, roles, title in _KINDS if re.match(start, base, re.IGNORECASE)), None)


def _of(spectral: str) -> str:
    return f" ({spectral})" if spectral else ""

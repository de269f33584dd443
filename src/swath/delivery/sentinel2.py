"""Sentinel-2 products of level 1C and 2A in the SAFE format: one scene of each granule.

A SAFE folder is known by what lies in it, `manifest.safe` and the product's metadata, at any depth and under any name.
Source: Sentinel-2 Products Specification Document (PSD) 14 and 15; older names of elements and files are read as well.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote
from xml.etree.ElementTree import Element

from swath.delivery.footprint import footprint_of
from swath.delivery.model import Inspect, Product, Scene, Tree
from swath.delivery.sentinel2_bands import radiometry_of
from swath.delivery.sentinel2_facts import first, instant_text, properties_of, rings_of, time_of
from swath.delivery.sentinel2_files import Setting, parts_of
from swath.delivery.xml import read_xml, text
from swath.errors import DeliveryRefused

__all__ = ["recognise"]

_PRODUCT = r"(?:.*/)?(?:MTD_MSIL(?:1C|2A)|S2[A-Z]_\w+_MTD_SAFL(?:1C|2A)_\w+)\.xml"
_LEVEL = re.compile(r"Level-(1C|2A)_User_Product")
_FOLDERS = ("GRANULE", "DATASTRIP", "HTML", "AUX_DATA", "REP_INFO")
_TILE = re.compile(r"(?:^|_)T([0-9]{2})([C-HJ-NP-X])([A-HJ-NP-Z][A-HJ-NP-V])(?=_|$)")
_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")


@dataclass(frozen=True, slots=True)
class _Safe:
    """A SAFE folder: its path with a slash at the end or empty, its metadata file, and the files that are its own."""

    root: str
    metadata: str
    product: Element
    level: str
    files: tuple[str, ...]


def recognise(tree: Tree, inspect: Inspect) -> Product | None:  # noqa: ARG001 - the metadata say all
    """The Sentinel-2 scenes of a delivery; None where no SAFE folder is in it.

    DeliveryRefused for a SAFE folder without metadata, a manifest that names files outside, and a missing image.
    """
    seen = tuple(name for name in tree.files if not _is_litter(name))
    manifests = {PurePosixPath(name).parent: name for name in seen if _base(name) == "manifest.safe"}
    listed = {folder: _listed_in(tree, name) for folder, name in manifests.items()}
    products = _products(tree, manifests)
    _refuse_hollow(seen, manifests, listed, {PurePosixPath(name).parent for name in products})
    safes: list[_Safe] = []
    scenes: list[Scene] = []
    for name, root in products.items():
        safe = _safe(seen, name, root, products, listed.get(PurePosixPath(name).parent, ()))
        safes.append(safe)
        scenes.extend(_scenes(tree, safe))
    if not scenes:
        return None
    levels = sorted({safe.level for safe in safes})
    kind = f"sentinel-2-l{levels[0].lower()}" if len(levels) == 1 else "sentinel-2"
    return Product(
        kind=kind, title=f"Sentinel-2 level {' and '.join(levels)}", collection_name=kind, producer="ESA",
        data_type="raster", modality="multispectral", scenes=tuple(scenes),
        claimed=frozenset(name for safe in safes for name in safe.files),
    )  # fmt: skip


# -- finding -------------------------------------------------------------------------------------


def _is_litter(name: str) -> bool:
    return "__MACOSX" in name.split("/") or _base(name).startswith("._")


def _base(name: str) -> str:
    return name.rpartition("/")[2].lower()


def _products(tree: Tree, manifests: dict[PurePosixPath, str]) -> dict[str, Element]:
    """Metadata files of products and their roots. One without a manifest counts if GRANULE lies beside it."""
    found = {}
    for name in tree.named(_PRODUCT):
        if _is_litter(name):
            continue
        root = read_xml(tree.path(name), name)
        if _LEVEL.fullmatch(root.tag) is None:
            continue
        folder = PurePosixPath(name).parent
        prefix = _prefix(folder)
        if folder in manifests or any(each.startswith(f"{prefix}GRANULE/") for each in tree.files):
            found[name] = root
    return found


def _refuse_hollow(
    names: Iterable[str],
    manifests: dict[PurePosixPath, str],
    listed: dict[PurePosixPath, tuple[str, ...]],
    products: set[PurePosixPath],
) -> None:
    """DeliveryRefused for a `.SAFE` folder with neither manifest nor metadata, and a manifest of Sentinel-2 alone."""
    covered = {each for folder in products | set(manifests) for each in (folder, *folder.parents)}
    for folder in dict.fromkeys(folder for name in names for folder in PurePosixPath(name).parents):
        if folder.suffix.lower() == ".safe" and folder not in covered:
            raise DeliveryRefused(f"{folder}: a SAFE folder without manifest.safe and product metadata (MTD_MSI….xml)")
    for folder, name in manifests.items():
        ours = any("MTD_MSIL" in href or "MTD_SAFL" in href for href in listed[folder])
        if ours and folder not in products:
            raise DeliveryRefused(
                f"{name}: the product's metadata (MTD_MSIL1C.xml or MTD_MSIL2A.xml) is not beside it, or is none"
            )


def _listed_in(tree: Tree, manifest: str) -> tuple[str, ...]:
    """The files that a manifest names, relative to its folder. DeliveryRefused for one outside."""
    root = read_xml(tree.path(manifest), manifest)
    return tuple(
        _inside(href, manifest) for element in root.iter("fileLocation") if (href := element.get("href", "").strip())
    )


def _inside(path: str, said_by: str) -> str:
    """A path relative to the SAFE folder, plain. DeliveryRefused for an absolute one, an address, or `..`."""
    plain = unquote(path).replace("\\", "/")
    parts = plain.split("/")
    if plain.startswith("/") or _URL.match(plain) or ".." in parts or "\0" in plain:
        raise DeliveryRefused(f"{said_by}: names a file outside of its folder: {path[:200]!r}")
    return "/".join(part for part in parts if part not in ("", "."))


def _prefix(folder: PurePosixPath) -> str:
    return "" if str(folder) == "." else f"{folder}/"


def _safe(
    names: Sequence[str], metadata: str, product: Element, products: Iterable[str], listed: Iterable[str]
) -> _Safe:
    folder = PurePosixPath(metadata).parent
    root = _prefix(folder)
    others = [prefix for name in products if (prefix := _prefix(PurePosixPath(name).parent)).startswith(root)
              and prefix != root]  # fmt: skip
    within = names[bisect_left(names, root) : bisect_left(names, f"{root}\U0010ffff")]  # they are sorted
    below = [name for name in within if not name.startswith(tuple(others))]
    if folder.suffix.lower() != ".safe":
        # A folder of any name may hold other things too.
        own = {metadata, *(root + each for each in listed)}
        below = [name for name in below if name in own or _is_of_safe(name.removeprefix(root))]
    match = _LEVEL.fullmatch(product.tag)
    assert match is not None
    return _Safe(root, metadata, product, match[1], tuple(below))


def _is_of_safe(inner: str) -> bool:
    first, _, rest = inner.partition("/")
    return first.upper() in _FOLDERS if rest else first.lower() in ("manifest.safe", "inspire.xml")


# -- scenes --------------------------------------------------------------------------------------


def _scenes(tree: Tree, safe: _Safe) -> Iterator[Scene]:
    """A scene of each granule. What belongs to no granule is part of all."""
    _refuse_missing_images(safe)
    granules: dict[str, list[str]] = {}
    shared = []
    for name in safe.files:
        inner = name.removeprefix(safe.root).split("/")
        if len(inner) > 2 and inner[0].upper() == "GRANULE":
            granules.setdefault(inner[1], []).append(name)
        else:
            shared.append(name)
    name = _product_name(safe)
    for granule, files in granules.items():
        tile = _tile_metadata(tree, safe, granule, files)
        code = _tile_code(tile, granule, name)
        alone = len(granules) == 1
        yield _scene(safe, name if alone else f"{name}_{f'T{code}' if code else granule}", code, tile, files + shared)


def _refuse_missing_images(safe: _Safe) -> None:
    """DeliveryRefused where an image that the product's metadata name is not there."""
    by_path = {_without_suffix(name.removeprefix(safe.root)).lower() for name in safe.files}
    by_name = {path.rpartition("/")[2] for path in by_path}
    images = [
        found
        for element in safe.product.iter()
        if re.fullmatch(r"IMAGE_(?:FILE|ID)(?:_2A)?", element.tag) and (found := text(element))
    ]
    if not images:
        raise DeliveryRefused(f"{safe.metadata}: the product's metadata name no images")
    for image in images:
        path = _inside(image, safe.metadata)
        # Up to PSD 13 names are given without their folder; since then, with it. Neither has a suffix.
        known = {path.lower(), _without_suffix(path).lower()}
        if not known & (by_path if "/" in path else by_name):
            raise DeliveryRefused(f"{safe.root}{path}: named by {_base(safe.metadata)}, but not in the delivery")


def _without_suffix(path: str) -> str:
    return re.sub(r"\.(?:jp2|tiff?)$", "", path, flags=re.IGNORECASE)


def _product_name(safe: _Safe) -> str:
    uri = first(safe.product, "PRODUCT_URI_2A" if safe.level == "2A" else "PRODUCT_URI", "PRODUCT_URI")
    name = uri or PurePosixPath(safe.root).name or PurePosixPath(safe.metadata).stem
    return re.sub(r"\.SAFE$", "", name, flags=re.IGNORECASE)


def _tile_metadata(tree: Tree, safe: _Safe, granule: str, files: Iterable[str]) -> Element | None:
    for name in files:
        inner = name.removeprefix(safe.root).split("/")
        if len(inner) == 3 and inner[1] == granule and name.lower().endswith(".xml"):
            root = read_xml(tree.path(name), name)
            if root.tag.endswith("_Tile_ID"):
                return root
    return None


def _tile_code(tile: Element | None, *names: str) -> str | None:
    """The MGRS square, `32TLS`, out of the first name that holds one."""
    for name in (first(tile, "TILE_ID_2A", "TILE_ID") or "", *names):
        if found := _TILE.search(name):
            return "".join(found.groups())
    return None


def _scene(safe: _Safe, name: str, code: str | None, tile: Element | None, files: Sequence[str]) -> Scene:
    product = safe.product
    crs = first(tile, "HORIZONTAL_CS_CODE")
    crs = crs if crs and re.fullmatch(r"EPSG:\d{4,6}", crs) else None
    start, stop = time_of(product, "PRODUCT_START_TIME"), time_of(product, "PRODUCT_STOP_TIME")
    sensed = time_of(tile, "SENSING_TIME") or start
    # The product's span may be that of the datatake's first line only: the tile's own instant belongs to it.
    known = [each for each in (start, stop, sensed) if each is not None]
    setting = Setting(safe.root, safe.metadata, radiometry_of(product), crs)
    return Scene(
        name=name,
        datetime=instant_text(sensed),
        start_datetime=instant_text(min(known, default=None)),
        end_datetime=instant_text(max(known, default=None)),
        parts=parts_of(files, setting),
        properties=properties_of(product, safe.level, code, crs, tile),
        footprint=footprint_of(rings_of(product)),
    )

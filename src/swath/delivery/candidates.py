"""Which files of a delivery may be imagery or vectors, and what is refused before anything reads them."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePosixPath

from swath.delivery.model import Tree
from swath.errors import DeliveryRefused

__all__ = ["Beside", "candidates", "check", "ending_of", "pictures"]

_IMAGES = frozenset(
    ("tif", "tiff", "gtif", "gtiff", "jp2", "j2k", "jpf", "jpx", "ntf", "nitf", "nsf", "nc", "nc4", "img")
)
_VECTORS = frozenset(("geojson", "shp", "gpkg", "gml", "kml", "kmz", "fgb"))
_PICTURES = frozenset(("png", "jpg", "jpeg"))
# What belongs to another file, though it may be an image itself.
_BESIDE = frozenset(("ovr", "msk", "aux"))
_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\0\0\0\x0cjP  ", b"\xff\x4f\xff\x51", b"NITF0", b"NSIF0",
          b"CDF\x01", b"CDF\x02", b"CDF\x05", b"fgb\x03")  # fmt: skip
# Descriptions of images that lie elsewhere: virtual ones, indexes of tiles, services. GDAL knows them by these words.
_ELSEWHERE = (b"<VRTDataset", b"<OGRVRT", b"<GDALTileIndexDataset", b"<GDAL_W", b"<WMS_", b"<WCS_", b"<WMTS")
_ROOT = re.compile(rb"<(?:\w+:)?(FeatureCollection|kml)[\s>]")
_FEATURES = re.compile(rb'"type"\s*:\s*"FeatureCollection"')
_TOKEN = re.compile(rb'\\.|["\[\]{}]', re.DOTALL)
_DEEPEST = 100  # brackets of a GeoJSON
_LOOK, _PROLOG, _MEGABYTE = 4_096, 65_536, 1_000_000


class Beside:
    """Files by their names without regard to case."""

    def __init__(self, files: Iterable[str]) -> None:
        self._found: defaultdict[str, list[str]] = defaultdict(list)
        for name in files:
            self._found[name.lower()].append(name)

    def named(self, names: Iterable[str]) -> list[str]:
        return [found for name in dict.fromkeys(map(str.lower, names)) for found in self._found.get(name, ())]

    def of(self, name: str, endings: Iterable[str]) -> list[str]:
        """Those that are named as a file, with one of these endings instead of or behind its own."""
        stem = str(PurePosixPath(name).with_suffix("")) if PurePosixPath(name).suffix else name
        return self.named(f"{before}.{ending}" for ending in endings for before in (stem, name))


def ending_of(name: str) -> str:
    return PurePosixPath(name).suffix.lower().removeprefix(".")


def candidates(tree: Tree, beside: Beside) -> Iterator[str]:
    """Files that say by their name, their first bytes or another beside them that they are imagery or vectors."""
    described = set(_described(tree, beside))
    for name in tree.files:
        ending = ending_of(name)
        if ending in _BESIDE and beside.named((name[: -len(ending) - 1],)):
            continue
        if ending in _IMAGES or ending in _VECTORS or ending == "vrt" or name in described:
            yield name
        elif ending in _PICTURES:
            if _is_placed(tree, name, beside):
                yield name
        elif _is_like_data(_head(tree.path(name), _LOOK)):
            yield name


def pictures(tree: Tree) -> Iterator[str]:
    """PNG and JPEG files, which are imagery where somebody says where they lie, or where there is nothing else."""
    return (name for name in tree.files if ending_of(name) in _PICTURES)


def _is_placed(tree: Tree, name: str, beside: Beside) -> bool:
    """Whether a picture has a world file, or a description of GDAL's that says where it lies."""
    ending = ending_of(name)
    if beside.of(name, (f"{ending}w", f"{ending[0]}{ending[-1]}w", "wld")):
        return True
    described = beside.named((f"{name}.aux.xml",))
    return any(b"<GeoTransform>" in _head(tree.path(each), _PROLOG) for each in described)


def _described(tree: Tree, beside: Beside) -> Iterator[str]:
    """Files of bare pixels beside a header of ENVI's, whatever their ending."""
    for header in tree.files:
        if ending_of(header) == "hdr" and _head(tree.path(header), 4) == b"ENVI":
            stem = header[: -len(".hdr")]
            endings = ("img", "dat", "bsq", "bil", "bip", "raw", "bin", "envi", "sli")
            found = beside.named((stem, *(f"{stem}.{ending}" for ending in endings)))
            yield from (each for each in found if each != header)


def _head(path: Path, size: int) -> bytes:
    with path.open("rb") as stream:
        return stream.read(size)


def _is_like_data(head: bytes) -> bool:
    if head.startswith(_MAGIC) or _refers_elsewhere(head):
        return True
    if head.startswith(b"SQLite format 3\0"):
        return head[68:72] in (b"GPKG", b"GP10", b"GP11")
    start = _text(head)
    if start.startswith(b"<"):
        return _ROOT.search(head) is not None and (b"opengis.net/gml" in head or b"opengis.net/kml" in head)
    return start.startswith(b"{") and _FEATURES.search(head) is not None


def _text(head: bytes) -> bytes:
    return head.removeprefix(b"\xef\xbb\xbf").lstrip()


def _refers_elsewhere(head: bytes) -> bool:
    """Whether XML describes an image that lies in other files or at an address; such words stand at its beginning."""
    return _text(head).startswith(b"<") and any(word in head for word in _ELSEWHERE)


# -- what is refused -----------------------------------------------------------------------------


def check(tree: Tree, name: str) -> None:
    """DeliveryRefused for a VRT, for XML that brings entities, for brackets that no parser should follow."""
    path, ending = tree.path(name), ending_of(name)
    head = _head(path, _PROLOG)
    if ending == "vrt" or _refers_elsewhere(head[:_LOOK]):
        raise DeliveryRefused(
            f"{name}: a VRT or its like refers to other files, and is not read; send those themselves"
        )
    start = _text(head)
    if start.startswith(b"<") and (b"<!DOCTYPE" in head or b"<!ENTITY" in head):
        raise DeliveryRefused(f"{name}: the XML file has a DTD or entities, which are not read")
    if ending in ("geojson", "json") or start[:1] in (b"{", b"["):
        with path.open("rb") as stream:
            if _depth(stream.read) > _DEEPEST:
                raise DeliveryRefused(f"{name}: brackets within each other more than {_DEEPEST} deep")


def _depth(read: Callable[[int], bytes]) -> int:
    """How deep brackets outside of strings lie in each other; no more is counted than is refused."""
    depth, deepest, quoted = 0, 0, False
    while chunk := read(_MEGABYTE):
        if chunk.endswith(b"\\"):
            chunk += read(1)
        for token in _TOKEN.findall(chunk):
            if token == b'"':
                quoted = not quoted
            elif quoted or len(token) > 1:
                continue
            elif token in b"[{":
                depth += 1
                deepest = max(deepest, depth)
                if deepest > _DEEPEST:
                    return deepest
            else:
                depth -= 1
    return deepest

"""What is in a Planet order: the entries of its manifest, or the metadata that lie beside the images."""

from __future__ import annotations

import hashlib
import posixpath
import re
from collections.abc import Iterator, Mapping, Set
from dataclasses import dataclass, field
from typing import Any

import msgspec

from swath.delivery.model import Tree
from swath.errors import DeliveryRefused, shown
from swath.limits import LIMITS

__all__ = ["Item", "read_items"]

_ITEM_TYPE = re.compile(r"(?:PS|SkySat|RE)[A-Za-z0-9]{3,30}")


@dataclass
class Item:
    """An item of an order: its files with the kind of asset that each is, by the manifest; what is shared with other
    items; the properties and the geometry of its own metadata."""

    id: str
    type: str = ""
    files: dict[str, str] = field(default_factory=dict)
    shared: list[str] = field(default_factory=list)
    properties: Mapping[str, Any] = field(default_factory=dict)
    geometry: Mapping[str, Any] | None = None


def read_items(tree: Tree) -> list[Item]:
    """The items of all orders in a tree, by their ids.

    DeliveryRefused where a file is missing, or is not the one of which a manifest tells.
    """
    found: dict[str, Item] = {}
    for name in tree.files:
        if posixpath.basename(name).lower() == "manifest.json":
            _of_manifest(tree, name, found)
    images = {start for name in tree.files if _is_image(name) for start in _starts(name)}
    for name in tree.files:
        if name.lower().endswith("metadata.json"):
            _of_metadata(tree, name, found, images)
    for name in tree.files:
        owner = next((start for start in _starts(name) if start in found), None)
        if owner is not None:
            found[owner].files.setdefault(name, "")
    return [found[each] for each in sorted(found) if found[each].files]


def _json(tree: Tree, name: str) -> Mapping[str, Any]:
    """A JSON object; empty for what is none, or is too large to be one of an order."""
    path = tree.path(name)
    if path.stat().st_size > LIMITS.xml_bytes:
        return {}
    try:
        found = msgspec.json.decode(path.read_bytes())
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return {}
    return found if isinstance(found, dict) else {}


# -- the manifest --------------------------------------------------------------------------------


def _of_manifest(tree: Tree, name: str, found: dict[str, Item]) -> None:
    files = _json(tree, name).get("files")
    entries = [entry for entry in files if isinstance(entry, dict)] if isinstance(files, list) else []
    if not any("planet/item_id" in _annotations(entry) for entry in entries):
        return
    for entry in entries:
        path = _checked(tree, name, entry)
        told = _annotations(entry)
        identifier = str(told.get("planet/item_id", ""))
        if not identifier:
            continue  # what is made of several items
        item = found.setdefault(identifier, Item(identifier))
        item.type = str(told.get("planet/item_type", "")) or item.type
        item.files[path] = str(told.get("planet/asset_type", ""))
        if name not in item.shared:
            item.shared.append(name)


def _annotations(entry: Mapping[str, Any]) -> Mapping[str, Any]:
    told = entry.get("annotations")
    return told if isinstance(told, dict) else {}


def _checked(tree: Tree, manifest: str, entry: Mapping[str, Any]) -> str:
    """The file of an entry, of the size and the digest that it says."""
    path = _placed(tree, manifest, str(entry.get("path", "")))
    size, real = entry.get("size"), tree.path(path).stat().st_size
    if isinstance(size, int) and real != size:
        raise DeliveryRefused(f"{path}: it has {real:,} bytes, by {manifest} they are {size:,}")
    digests = entry.get("digests")
    for name in ("sha256", "md5"):
        wanted = digests.get(name) if isinstance(digests, dict) else None
        if isinstance(wanted, str) and wanted:
            with tree.path(path).open("rb") as stream:
                held = hashlib.file_digest(stream, name).hexdigest()
            if held != wanted.lower():
                raise DeliveryRefused(f"{path}: its bytes are not those of which {manifest} tells ({name})")
            break
    return path


def _placed(tree: Tree, manifest: str, said: str) -> str:
    """The file at a path of a manifest, which counts from the manifest's folder or, where an order was taken out of its
    folders, from one further down."""
    folder = posixpath.dirname(manifest)
    steps = [step for step in posixpath.normpath(said).split("/") if step]
    if not steps or said.startswith("/") or ".." in steps or "\\" in said:
        raise DeliveryRefused(f"{manifest}: it names {shown(said)}, which is outside the delivery")
    for number in range(len(steps)):
        path = posixpath.join(folder, *steps[number:])
        if path in tree.files:
            return path
    raise DeliveryRefused(f"{manifest}: it names {shown(said)}, which is not in the delivery")


# -- metadata beside the images ------------------------------------------------------------------


def _of_metadata(tree: Tree, name: str, found: dict[str, Item], images: Set[str]) -> None:
    document = _json(tree, name)
    properties, identifier = document.get("properties"), document.get("id")
    if not isinstance(properties, dict) or not isinstance(identifier, str) or not identifier:
        return
    if identifier not in found:
        kind = str(properties.get("item_type", ""))
        if "acquired" not in properties or not _ITEM_TYPE.fullmatch(kind) or identifier not in images:
            return
        found[identifier] = Item(identifier)
    item = found[identifier]
    geometry = document.get("geometry")
    item.properties, item.geometry = properties, geometry if isinstance(geometry, dict) else None
    item.type = item.type or str(properties.get("item_type", ""))
    item.files.setdefault(name, "")


def _is_image(name: str) -> bool:
    return name.lower().endswith((".tif", ".tiff", ".ntf", ".nitf"))


def _starts(name: str) -> Iterator[str]:
    """What a file's name may have as its item's id, the longest first: all before a dot or an underscore."""
    base = posixpath.basename(name)
    for place in range(len(base) - 1, 0, -1):
        if base[place] in "._":
            yield base[:place]

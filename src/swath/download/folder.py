"""The folder that files are downloaded into, as a static STAC catalogue: `COLLECTION/ITEM/item.json` and the files
beside it, a `collection.json` above it, and a `catalog.json` above all."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

from swath.download.names import PART, safe_name
from swath.formats.web import joined
from swath.stac.links import OWN_COLLECTION_LINKS, OWN_LINKS

__all__ = ["CATALOG", "COLLECTION", "ITEM", "known_names", "write_catalog", "write_collection", "write_item"]

CATALOG, COLLECTION, ITEM = "catalog.json", "collection.json", "item.json"
_ID = "swath-downloads"
_OWN = "swath:"
_WORLD = {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}}


def known_names(file: Path, document_id: str) -> dict[str, str]:
    """The names of files by their assets, as an earlier run left them; empty where it left another document."""
    told = _read(file)
    assets = told.get("assets")
    if told.get("id") != document_id or not isinstance(assets, dict):
        return {}
    found = {}
    for key, asset in assets.items():
        href = asset.get("href") if isinstance(asset, dict) else None
        name = href.removeprefix("./") if isinstance(href, str) and href.startswith("./") else ""
        if name and safe_name(name) == name and (file.parent / name).is_file():
            found[key] = name
    return found


def write_item(folder: Path, item: dict[str, Any], base: str | None, names: Mapping[str, str]) -> None:
    """`names` are those of the files that are there, by their assets."""
    links = [
        {"rel": "root", "href": f"../../{CATALOG}", "type": "application/json"},
        {"rel": "parent", "href": f"../{COLLECTION}", "type": "application/json"},
    ]
    if item.get("collection"):
        links.append({"rel": "collection", "href": f"../{COLLECTION}", "type": "application/json"})
    told = _moved(item, base, names, OWN_LINKS)
    _write(folder / ITEM, {**told, "links": links + told["links"]})


def write_collection(
    folder: Path, name: str, found: tuple[dict[str, Any], str | None] | None, names: Mapping[str, str]
) -> None:
    """Its document, with links to the items that are there. Where none is to be had, the one that is there stays."""
    document, base = found if found is not None else (_read(folder / COLLECTION), None)
    if document.get("type") != "Collection":
        document = {"type": "Collection", "stac_version": "1.1.0", "id": name, "license": "other", "extent": _WORLD,
                    "description": "Items that were downloaded"}  # fmt: skip
    told = _moved(document, base, names, OWN_COLLECTION_LINKS)
    links = [{"rel": rel, "href": f"../{CATALOG}", "type": "application/json"} for rel in ("root", "parent")]
    links += [
        {"rel": "item", "href": f"./{quote(file.parent.name)}/{ITEM}", "type": "application/geo+json"}
        for file in sorted(folder.glob(f"*/{ITEM}"))
    ]
    _write(folder / COLLECTION, {**told, "links": links + told["links"]})


def write_catalog(root: Path) -> None:
    """The catalogue above the collections; somebody else's is left alone."""
    before = _read(root / CATALOG)
    if (root / CATALOG).exists() and before.get("id") != _ID:
        return
    links = [{"rel": "root", "href": f"./{CATALOG}", "type": "application/json"}]
    links += [
        {"rel": "child", "href": f"./{quote(file.parent.name)}/{COLLECTION}", "type": "application/json"}
        for file in sorted(root.glob(f"*/{COLLECTION}"))
    ]
    told = {"type": "Catalog", "stac_version": "1.1.0", "id": _ID, "description": "Files that were downloaded"}
    _write(root / CATALOG, {**told, "links": links})


def _moved(
    document: dict[str, Any], base: str | None, names: Mapping[str, str], own_links: frozenset[str]
) -> dict[str, Any]:
    """A document with the addresses that hold where it lies now. What only its server knew is left out."""
    told = dict(document)
    assets = document.get("assets")
    told["assets"] = {}
    for key, asset in assets.items() if isinstance(assets, dict) else ():
        href = asset.get("href") if isinstance(asset, dict) else None
        if key in names:
            told["assets"][key] = {**asset, "href": f"./{names[key]}"}
        elif isinstance(href, str) and not href.startswith(_OWN):
            told["assets"][key] = {**asset, "href": joined(base, href) if base is not None else href}
    links = document.get("links")
    told["links"] = [
        {**link, "href": joined(base, link["href"]) if base is not None else link["href"]}
        for link in (links if isinstance(links, list) else ())
        if isinstance(link, dict) and isinstance(link.get("href"), str) and link.get("rel") not in own_links
    ]
    extensions = document.get("stac_extensions")
    if isinstance(extensions, list):
        told["stac_extensions"] = [each for each in extensions if not str(each).startswith(_OWN)]
    return told


def _read(file: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError, RecursionError):
        found = json.loads(file.read_bytes())
        if isinstance(found, dict):
            return found
    return {}


def _write(file: Path, document: dict[str, Any]) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(document, ensure_ascii=False, indent=2)
    unfinished = file.with_name(file.name + PART)
    with unfinished.open("wb") as stream:
        stream.write(text.encode("utf-8", "backslashreplace") + b"\n")  # what is no Unicode, as JSON's \ud800
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(unfinished, file)

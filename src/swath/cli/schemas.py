"""`swath schemas`."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from swath.catalog import Catalog
from swath.errors import InvalidRequest
from swath.stac.schemas import Schemas, mirrored

__all__ = ["run_add", "run_list", "run_remove"]


def run_add(folder: Path, sources: Sequence[Path], uri: str | None, *, mirror: bool, as_json: bool) -> int:
    schemas = _schemas(folder)
    for source in sources:
        if not source.exists():
            raise InvalidRequest(f"{source} is neither a file nor a folder")
        if source.is_dir() and uri is not None:
            raise InvalidRequest(f"{source} is a folder; --uri is for one file")
    added: list[str] = []
    for source in sources:
        added += schemas.add(source, mirrored(source) if mirror and source.is_dir() else None, uri)
    if as_json:
        print(json.dumps({"added": added}))
    else:
        print("\n".join(added))
        print(f"{len(added)} schemas added to {schemas.folder}", file=sys.stderr)
    return 0


def run_list(folder: Path, *, as_json: bool) -> int:
    uris = _schemas(folder).uris()
    if as_json:
        print(json.dumps(uris))
    elif uris:
        print("\n".join(uris))
    else:
        print(f"no schemas in {folder / 'schemas'}; add some with: swath schemas add {folder} SOURCE", file=sys.stderr)
    return 0


def run_remove(folder: Path, uri: str, *, as_json: bool) -> int:
    _schemas(folder).remove(uri)
    if as_json:
        print(json.dumps({"removed": uri}))
    else:
        print(f"removed {uri}", file=sys.stderr)
    return 0


def _schemas(folder: Path) -> Schemas:
    """The schemas of a catalogue, which must be there."""
    Catalog.open(folder).close()
    return Schemas(folder / "schemas")

"""`swath export`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

from swath.access import EVERYTHING
from swath.catalog import Catalog, SearchRequest, build_search
from swath.catalog.exporting import export, lines

__all__ = ["run_export"]


def run_export(folder: Path, output: Path, text: str | None, *, as_json: bool) -> int:
    expression = build_search(SearchRequest(filter=text)).expression
    catalog = Catalog.open(folder)
    try:
        if str(output) == "-":
            for line in lines(catalog, expression, EVERYTHING):
                sys.stdout.buffer.write(line + b"\n")
            sys.stdout.buffer.flush()
            return 0
        count = export(catalog, output, expression, EVERYTHING)
    finally:
        catalog.close()
    if as_json:
        print(json.dumps({"items": count, "output": str(output)}))
    else:
        print(f"{count} items written to {output}", file=sys.stderr)
    return 0

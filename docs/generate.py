"""Makes docs/reference/filters.md out of the table of operators: python docs/generate.py"""

from __future__ import annotations

import json
from pathlib import Path

from swath.cql2.emit import to_json
from swath.cql2.functions import FUNCTIONS
from swath.cql2.operators import GROUPS
from swath.cql2.text import parse_text
from swath.limits import LIMITS

PAGE = Path(__file__).parent / "reference" / "filters.md"

HEAD = """# Filters

Made by `python docs/generate.py` from `swath.cql2.operators`; change the table there.

Swath takes all fourteen conformance classes of CQL2 (OGC 21-065r2), as text (`filter=` of GET) and as JSON (`filter` of a POST
body); each takes the other with `filter-lang`. [Recipes](../how-to/filters.md) show them at work.

## Names

A name is a queryable: `id`, `collection`, `geometry`, `datetime`, or any property of the items, as it stands in `properties`
(`eo:cloud_cover`). Dots lead into objects (`proj.shape`, where no property has that very name). In text, put a name in double
quotes if it holds other characters. A leading `properties.` is dropped. Short names of UP42 stand for its properties: `tags`,
`title`, `order_id` and others, as `/queryables` lists them.

A property that no item has is NULL. Where a collection declares its queryables with `"additionalProperties": false`
(`swath queryables CATALOG COLLECTION FILE`), other names are refused, with the nearest known one; literals of another type than the
declared one are refused too. What nobody declared is told from the data, and never makes a filter fail.

## Limits

Text of {text:,} bytes, {depth} levels, {nodes:,} parts, {members:,} members of lists, {vertices:,} vertices of a geometry.
`/limits` lists them all. What is beyond is refused with 400, and the place of the fault as `at`.
"""


def page() -> str:
    parts = [
        HEAD.format(
            text=LIMITS.filter_text_bytes,
            depth=LIMITS.filter_depth,
            nodes=LIMITS.filter_nodes,
            members=LIMITS.list_members,
            vertices=LIMITS.geometry_vertices,
        )
    ]
    for group in GROUPS:
        classes = ", ".join(f"`{name}`" for name in group.classes)
        parts.append(f"## {group.title}\n\nConformance: {classes}; OGC 21-065r2, {group.clause}. {group.note}\n")
        parts.append(f"NULL: {group.on_null}\n")
        rows = ["| meaning | text | JSON |", "| --- | --- | --- |"]
        for operator in group.operators:
            value = json.dumps(to_json(parse_text(operator.example)), ensure_ascii=False)
            rows.append(f"| {operator.meaning} | `{operator.example}` | `{value}` |".replace("\\", "\\\\"))
        parts.append("\n".join(rows) + "\n")
    rows = ["| function | takes | gives | |", "| --- | --- | --- | --- |"]
    rows += [
        f"| `{each.name}` | {', '.join(each.arguments)} | {each.returns} | {each.description} |"
        for each in FUNCTIONS.values()
    ]
    parts.append("\n".join(rows) + "\n")
    return "\n".join(parts)


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")

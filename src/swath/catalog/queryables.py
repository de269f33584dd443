"""What can be filtered and sorted by, as JSON Schema, told from the data that the caller may see."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any

from swath.cql2.bind import ALIASES
from swath.errors import InvalidRequest
from swath.search import SortKey
from swath.store.base import PropertyFacts

__all__ = ["MOST_VALUES", "check_sort", "queryable_schemas", "sortable_schemas"]

MOST_VALUES = 50  # a property with more distinct strings gets no enum

_TOP_LEVEL = frozenset(("id", "collection", "geometry"))
_SCALARS = frozenset(("boolean", "integer", "number", "string", "date", "date-time"))


def queryable_schemas(facts: Sequence[PropertyFacts], collections: Sequence[str]) -> dict[str, Any]:
    """Name and JSON Schema of each queryable. OGC API - Features Part 3, 6.2; no prefix on names."""
    schemas: dict[str, Any] = {
        "id": {"title": "Item id", "type": "string"},
        "collection": {"title": "Collection", "type": "string", "enum": list(collections)},
        # Part 3 asks for `format` and forbids `type` and `$ref` on a spatial queryable.
        "geometry": {"title": "Footprint", "format": "geometry-any"},
        "datetime": {"title": "Acquired", "type": "string", "format": "date-time"},
    }
    if not collections:
        del schemas["collection"]["enum"]
    for fact in facts:
        if fact.name not in _TOP_LEVEL:  # these names always mean the item's own members
            schemas[fact.name] = {**_schema(fact), **schemas.get(fact.name, {})}
    for alias, name in ALIASES.items():
        if name in schemas and alias not in schemas:
            schemas[alias] = {**schemas[name], "title": alias, "description": f"another name of {name}"}
    return schemas


def _schema(fact: PropertyFacts) -> dict[str, Any]:
    kinds = fact.kinds - {"integer"} if "number" in fact.kinds else fact.kinds
    if kinds <= {"date", "date-time"}:
        return {"title": fact.name, "type": "string", "format": "date" if kinds == {"date"} else "date-time"}
    types = sorted({"string" if kind in ("date", "date-time") else kind for kind in kinds})
    schema: dict[str, Any] = {"title": fact.name, "type": types[0] if len(types) == 1 else types}
    if types == ["string"] and fact.values:
        schema["enum"] = list(fact.values)
    if fact.low is not None and "string" not in types and "boolean" not in types:
        schema["minimum"], schema["maximum"] = fact.low, fact.high
    return schema


def sortable_schemas(facts: Sequence[PropertyFacts]) -> dict[str, Any]:
    """Name and JSON Schema of each property that has an order."""
    every = queryable_schemas(facts, ())
    sortable = {"id", "collection", "datetime"} | _sortable_names(facts)
    return {
        name: {key: value for key, value in schema.items() if key in ("title", "type", "format")}
        for name, schema in every.items()
        if name in sortable
    }


def _sortable_names(facts: Sequence[PropertyFacts]) -> set[str]:
    names = {fact.name for fact in facts if fact.kinds & _SCALARS and fact.name not in _TOP_LEVEL}
    return names | {alias for alias, name in ALIASES.items() if name in names}


_ALWAYS = ("id", "collection", "datetime", "start_datetime", "end_datetime")


def check_sort(sort: Iterable[SortKey], facts: Sequence[PropertyFacts]) -> None:
    """InvalidRequest for a sort key that no item can have, naming the nearest that one could."""
    known = _sortable_names(facts) | set(_ALWAYS)
    for key in sort:
        if key.name in known:
            continue
        near = difflib.get_close_matches(key.name, known, 1)
        hint = f"; did you mean {near[0]!r}?" if near else "; /sortables lists what there is"
        raise InvalidRequest(f"sortby: unknown field {key.name!r}{hint}")

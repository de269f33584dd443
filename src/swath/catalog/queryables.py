"""What can be filtered and sorted by, as JSON Schema, told from the data that the caller may see."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from swath.cql2.bind import ALIASES
from swath.cql2.queryables import is_geometry
from swath.errors import InvalidRequest, nearest, shown
from swath.search import SortKey
from swath.store.base import PropertyFacts

__all__ = ["MOST_VALUES", "check_sort", "queryables_document", "sortable_names", "sortable_schemas"]

MOST_VALUES = 50  # a property with more distinct strings gets no enum

_TOP_LEVEL = frozenset(("id", "collection", "geometry"))
_CORE = ("id", "collection", "geometry", "datetime")
_GEOMETRIES = frozenset(
    ("point", "multipoint", "linestring", "multilinestring", "polygon", "multipolygon", "geometrycollection")
)
_SCALARS = frozenset(("boolean", "integer", "number", "string", "date", "date-time"))


def queryables_document(
    facts: Sequence[PropertyFacts], collections: Sequence[str], declared: Sequence[dict[str, Any]], *, closed: bool
) -> dict[str, Any]:
    """A JSON Schema's members: what is declared, and what the data show where others are allowed."""
    found: dict[str, list[Any]] = {}
    for schema in declared:
        for name, each in schema["properties"].items():
            shown = _shown(each)
            if shown not in found.setdefault(name, []):
                found[name].append(shown)
    named = {name: each[0] if len(each) == 1 else {"title": name, "anyOf": each} for name, each in found.items()}
    words: dict[str, Any] = {
        name: declared[0][name] for name in ("title", "description") if len(declared) == 1 and name in declared[0]
    }
    properties = queryable_schemas([fact for fact in facts if fact.name not in named], collections)
    for alias, name in ALIASES.items():
        if name in named:
            properties.setdefault(alias, _as_alias(alias, name, named[name]))
    for name in _CORE:
        properties[name] = {**named.pop(name, {}), **properties[name]}
    return {**words, "properties": {**properties, **named}, "additionalProperties": not closed or not declared}


def _shown(schema: Any) -> Any:
    """A declared queryable as it is published: Part 3, 6.2 wants a geometry by its format, without `type` or `$ref`."""
    if not isinstance(schema, dict) or not is_geometry(schema):
        return {} if schema is True else schema
    kind = str(schema.get("format") or "")
    if not kind.startswith("geometry-"):
        name = str(schema.get("$ref", "")).rpartition("/")[2].partition(".")[0].lower()
        kind = f"geometry-{name}" if name in _GEOMETRIES else "geometry-any"
    return {**{key: value for key, value in schema.items() if key not in ("type", "$ref")}, "format": kind}


def _as_alias(alias: str, name: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {**schema, "title": alias, "description": f"another name of {name}"}


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
            schemas[alias] = _as_alias(alias, name, schemas[name])
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
    sortable = {"id", "collection", "datetime"} | sortable_names(facts)
    return {
        name: {key: value for key, value in schema.items() if key in ("title", "type", "format")}
        for name, schema in every.items()
        if name in sortable
    }


def sortable_names(facts: Sequence[PropertyFacts]) -> set[str]:
    names = {fact.name for fact in facts if fact.kinds & _SCALARS and fact.name not in _TOP_LEVEL}
    return names | {alias for alias, name in ALIASES.items() if name in names}


_ALWAYS = ("id", "collection", "datetime", "start_datetime", "end_datetime")


def check_sort(sort: Iterable[SortKey], names: Iterable[str]) -> None:
    """InvalidRequest for a sort key that is no name of a property, naming the nearest that is."""
    known = {*_ALWAYS, *names} - {"geometry"}
    known |= {alias for alias, name in ALIASES.items() if name in known}
    for key in sort:
        if key.name in known:
            continue
        near = nearest(key.name, known)
        hint = f"; did you mean {near!r}?" if near else "; /sortables lists what there is"
        raise InvalidRequest(f"sortby: unknown field {shown(key.name)}{hint}")

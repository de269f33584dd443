"""Queryables that a publisher declares with a JSON Schema, and what they say of a name.

OGC API - Features Part 3, 6.2 (a queryable is a member of the schema's `properties`) and 4.3 of the rulings
in docs/design/filters.md: a declared type wins over what the data look like.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from swath.errors import InvalidDocument, nearest, shown
from swath.limits import LIMITS

__all__ = ["CORE", "Declared", "Families", "Queryables", "is_geometry", "read_declared"]

# string, number, boolean, instant, array, object, geometry; None stands for anything.
Families: TypeAlias = frozenset[str] | None

# What these names mean is fixed by STAC, whatever an item's properties hold.
CORE: Mapping[str, Families] = {
    "id": frozenset(("string",)),
    "collection": frozenset(("string",)),
    "geometry": frozenset(("geometry",)),
    "datetime": frozenset(("instant",)),
}

_TYPES = {
    "string": "string",
    "integer": "number",
    "number": "number",
    "boolean": "boolean",
    "array": "array",
    "object": "object",
}


@dataclass(frozen=True, slots=True)
class Declared:
    """What one collection declares. `closed` allows no other names."""

    families: Mapping[str, Families]
    closed: bool

    def instants_only(self, name: str) -> bool | None:
        """Whether the strings under a name are instants; None where nothing is declared."""
        found = self.families.get(name)
        return None if found is None else "instant" in found and "string" not in found


@dataclass(frozen=True, slots=True)
class Queryables:
    """What the collections of one search declare together. `open_` where one of them takes any name."""

    declared: tuple[Declared, ...] = ()
    open_: bool = True
    aliases: Mapping[str, str] = field(default_factory=dict)

    def families(self, name: str) -> Families:
        """The kinds that a name may have in any of the collections. KeyError for one that none of them knows."""
        if name in CORE:
            return CORE[name]
        kinds: set[str] = set()
        known = False
        for each in self.declared:
            target = name if name in each.families else self.aliases.get(name, name)
            if target in each.families:
                found = each.families[target]
                if found is None:
                    return None
                known = True
                kinds |= found
            elif not each.closed:
                return None
        if self.open_:
            return None
        if not known:
            raise KeyError(name)
        return frozenset(kinds)

    def nearest(self, name: str) -> str | None:
        """The known name that looks most like a mistyped one."""
        known = {*CORE, *(known for each in self.declared for known in each.families)}
        known |= {alias for alias, target in self.aliases.items() if target in known}
        return nearest(name, known)

    def is_footprint(self, name: str) -> bool:
        """Whether a name other than `geometry` stands for the item's footprint, as an item has only one."""
        named = [each.families[name] for each in self.declared if name in each.families]
        return bool(named) and all(found == CORE["geometry"] for found in named)


def is_geometry(schema: Mapping[str, Any]) -> bool:
    """Whether a queryable is a geometry: by its format (Part 3, 6.2) or, as drafts had it, by reference."""
    if str(schema.get("format", "")).startswith("geometry-"):
        return True
    return str(schema.get("$ref", "")).startswith(("https://geojson.org/schema/", "http://geojson.org/schema/"))


def _families(schema: Any, pointer: str) -> Families:
    if schema is True:
        return None
    if not isinstance(schema, dict):
        raise InvalidDocument("a queryable is described by an object", pointer)
    if is_geometry(schema):
        return CORE["geometry"]
    types = schema.get("type")
    if types is None:
        return None
    if isinstance(types, str):
        types = [types]
    if not isinstance(types, list) or not types or not all(isinstance(each, str) for each in types):
        raise InvalidDocument("`type` is the name of a JSON type, or a list of such names", f"{pointer}/type")
    found = set()
    for name in types:
        if name == "null":
            continue
        if name not in _TYPES:
            near = nearest(name, _TYPES)
            hint = f"; did you mean {near!r}?" if near else f"; there are {', '.join(_TYPES)} and null"
            raise InvalidDocument(f"{shown(name)} is no JSON type{hint}", f"{pointer}/type")
        instant = name == "string" and schema.get("format") in ("date", "date-time")
        found.add("instant" if instant else _TYPES[name])
    return frozenset(found) or None


def read_declared(content: Any) -> Declared:
    """What a JSON Schema declares. InvalidDocument names the member at fault."""
    if not isinstance(content, dict):
        raise InvalidDocument("queryables are declared with a JSON Schema, which is an object")
    if content.get("type", "object") != "object":
        raise InvalidDocument("the schema is of an object's properties: `type` is 'object'", "/type")
    properties = content.get("properties")
    if not isinstance(properties, dict):
        raise InvalidDocument("the schema has no `properties`, which name the queryables", "/properties")
    if len(properties) > LIMITS.list_members:
        raise InvalidDocument(f"more than {LIMITS.list_members:,} queryables", "/properties")
    more = content.get("additionalProperties", True)
    if not isinstance(more, bool):
        raise InvalidDocument("`additionalProperties` is true or false", "/additionalProperties")
    families = {}
    for name, schema in properties.items():
        pointer = f"/properties/{name.replace('~', '~0').replace('/', '~1')}"
        if not name or len(name) > LIMITS.id_characters:
            raise InvalidDocument(f"a name has 1 to {LIMITS.id_characters} characters", pointer)
        families[name] = _families(schema, pointer)
        if name in CORE and families[name] not in (None, CORE[name]):
            raise InvalidDocument(f"{name} is always a {next(iter(CORE[name] or ()))}", pointer)
    return Declared(families, closed=not more)

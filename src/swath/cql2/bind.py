"""Names in a filter to names of columns."""

from __future__ import annotations

from dataclasses import fields, replace
from typing import Any, TypeVar

from swath.cql2.ast import Node, Property

__all__ = ["bind", "resolve"]

N = TypeVar("N", bound=Node)


def resolve(name: str) -> str:
    """The queryable that a user means: a leading `properties.` is dropped (older clients write it)."""
    bare = name.removeprefix("properties.")
    return bare or name


def bind(node: N) -> N:
    """The same tree with every property name resolved. Depth is bounded by the readers."""
    if isinstance(node, Property):
        return replace(node, name=resolve(node.name))
    changes: dict[str, Any] = {}
    for field in fields(node):
        value = getattr(node, field.name)
        if isinstance(value, Node):
            changes[field.name] = bind(value)
        elif isinstance(value, tuple) and value and isinstance(value[0], Node):
            changes[field.name] = tuple(bind(part) for part in value)
    return replace(node, **changes) if changes else node

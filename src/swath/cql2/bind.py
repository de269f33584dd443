"""Names in a filter to names of columns: the one resolver."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any, TypeVar

from swath.cql2.ast import Node, Property

__all__ = ["ALIASES", "bind", "resolve", "resolve_alias"]

N = TypeVar("N", bound=Node)

# Short names of UP42's documents for the properties that they stand for.
ALIASES = {
    "account_id": "up42-system:account_id",
    "asset_id": "up42-system:asset_id",
    "collection_name": "up42-product:collection_name",
    "data_product_id": "up42-product:product_id",
    "data_type": "up42-product:data_type",
    "host_id": "up42-order:host_id",
    "job_id": "up42-system:job_id",
    "metadata_version": "up42-system:metadata_version",
    "modality": "up42-product:modality",
    "order_id": "up42-order:id",
    "source": "up42-system:source",
    "tags": "up42-user:tags",
    "title": "up42-user:title",
    "workspace_id": "up42-system:workspace_id",
}


def resolve(name: str) -> str:
    """The queryable that a user means: a leading `properties.` is dropped (older clients write it)."""
    bare = name.removeprefix("properties.")
    return bare or name


def resolve_alias(name: str, exists: Callable[[str], bool]) -> str:
    """The property that a name stands for among those that exist. A property of that very name comes first."""
    return ALIASES[name] if name in ALIASES and not exists(name) else name


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

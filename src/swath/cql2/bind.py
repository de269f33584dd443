"""Names in a filter to names of columns, and literals to the types that are declared: the one resolver."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import Any, TypeVar

from swath.cql2 import ast, build
from swath.cql2.ast import Node, Property, Text, Value
from swath.cql2.functions import FUNCTIONS
from swath.cql2.queryables import CORE, Families, Queryables
from swath.errors import InvalidFilter, shown

__all__ = ["ALIASES", "bind", "renamed", "resolve", "resolve_alias"]

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


def bind(node: N, queryables: Queryables | None = None) -> N:
    """The same tree with every name resolved; depth is bounded by the readers.

    With queryables, names and literals are held against what is declared: InvalidFilter, with the place of
    the name, for an unknown one and for a literal or an operation of another type (cql2.md 4.2, 4.3). Strings
    beside declared instants become instants. Without, as for rules of our own, nothing is refused.
    """
    bound = _resolved(node, queryables)
    return _Checker(queryables).check(bound) if queryables is not None else bound


def renamed(node: N, names: Mapping[str, str]) -> N:
    """The same tree with other names for properties, as they were written."""
    if isinstance(node, Property):
        return replace(node, name=names[node.name]) if node.name in names else node
    return _rebuilt(node, lambda part: renamed(part, names))


def _resolved(node: N, queryables: Queryables | None) -> N:
    if isinstance(node, Property):
        name = resolve(node.name)
        if queryables is not None and name not in CORE and queryables.is_footprint(name):
            name = "geometry"
        return replace(node, name=name) if name != node.name else node
    return _rebuilt(node, lambda part: _resolved(part, queryables))


_FIELDS: dict[type, tuple[str, ...]] = {}


def _names(kind: type[Node]) -> tuple[str, ...]:
    found = _FIELDS.get(kind)
    if found is None:
        found = _FIELDS[kind] = tuple(field.name for field in fields(kind))
    return found


def _rebuilt(node: N, change: Callable[[Any], Any]) -> N:
    """The node with its parts changed; itself where none of them was."""
    changes: dict[str, Any] = {}
    for name in _names(type(node)):
        value = getattr(node, name)
        if isinstance(value, Node):
            new = change(value)
            if new is not value:
                changes[name] = new
        elif isinstance(value, tuple) and value and isinstance(value[0], Node):
            parts = tuple(change(part) for part in value)
            if any(new is not old for new, old in zip(parts, value, strict=True)):
                changes[name] = parts
    return replace(node, **changes) if changes else node


def _parts(node: Node) -> list[Value]:
    return [part for name in _names(type(node)) if isinstance(part := getattr(node, name), Value)]


_STRINGS = ("string", "instant")  # an instant is a string in JSON
# What each operation takes where a property stands.
_WANTED: dict[type[Node], tuple[str, ...]] = {
    ast.Like: _STRINGS,
    ast.Fold: _STRINGS,
    ast.Arithmetic: ("number",),
    ast.Spatial: ("geometry",),
    ast.Interval: ("instant",),
    ast.ArrayPredicate: ("array",),
    ast.Member: ("array", *_STRINGS),
}
_SCALAR = frozenset(("string", "number", "boolean", "instant"))
_ARTICLES = {"array": "an array", "object": "an object", "instant": "an instant"}


class _Checker:
    """Walks a tree once; knows what may stand beside what."""

    def __init__(self, queryables: Queryables) -> None:
        self.queryables = queryables

    def check(self, node: N) -> N:
        match node:
            case ast.Comparison(left, right):
                return self._alike(node, (left, right))
            case ast.Between(value, low, high):
                return self._alike(node, (value, low, high))
            case ast.In(value, items):
                return self._alike(node, (value, *items))
            case ast.Function(name, args):
                for arg, wanted in zip(args, FUNCTIONS[name].arguments, strict=True):
                    self._takes(arg, *(_STRINGS if wanted == "string" else (wanted,)))
            case ast.Temporal(left, right):
                self._temporal(node, left)
                self._temporal(node, right)
            case ast.IsNull(Property() as named):
                self._families(named)
            case _:
                wanted_here = next((kinds for kind, kinds in _WANTED.items() if isinstance(node, kind)), None)
                for operand in _parts(node) if wanted_here else ():
                    self._takes(operand, *(wanted_here or ()))
        return _rebuilt(node, self.check)

    def _families(self, node: Property) -> Families:
        try:
            return self.queryables.families(node.name)
        except KeyError:
            near = self.queryables.nearest(node.name)
            hint = f"; did you mean {near!r}?" if near else "; /queryables lists what there is"
            raise InvalidFilter(f"there is no queryable {shown(node.name)}{hint}", node.at) from None

    def _takes(self, node: Value | None, *wanted: str) -> None:
        """Refuse a property that is declared as something else."""
        if isinstance(node, Property):
            families = self._families(node)
            if families is not None and not families & set(wanted):
                raise _mismatch(node, families, f"{_article(wanted[0])} is expected here")

    def _temporal(self, node: ast.Temporal, operand: Value) -> None:
        self._takes(operand, "instant")
        if isinstance(operand, Property) and operand.name != "datetime" and type(node) not in build.TAKES_INSTANTS:
            families = self._families(operand)
            if families == frozenset(("instant",)):
                raise _mismatch(operand, families, "this function takes intervals only; write INTERVAL(start, end)")

    def _alike(self, node: N, operands: tuple[Value, ...]) -> N:
        """Operands of a comparison: each literal fits the type of each property."""
        cast: dict[int, Value] = {}
        kinds = [build.family(operand) for operand in operands]
        for operand in operands:
            if not isinstance(operand, Property):
                continue
            families = self._families(operand)
            if families is None:
                continue
            if not families & _SCALAR:
                raise _mismatch(operand, families, "it cannot be compared")
            for place, kind in enumerate(kinds):
                if kind is not None:
                    cast[place] = self._fitting(operand, families, operands[place], kind)
        changed = {id(operands[place]): new for place, new in cast.items()}
        bound = _rebuilt(node, lambda part: changed.get(id(part), part))
        return _rebuilt(bound, self.check)

    @staticmethod
    def _fitting(name: Property, families: frozenset[str], other: Value, kind: str) -> Value:
        """The literal as the property's type wants it. InvalidFilter where it is none."""
        if isinstance(other, ast.NumericText) and families & {"string", "number"}:
            return other
        if kind == "string" and "string" not in families and "instant" in families and isinstance(other, Text):
            return build.instant(other.value, name.at if name.at is not None else "")
        if kind not in families:
            raise _mismatch(name, families, f"it cannot be compared with {build.describe(other)}")
        return other


def _article(kind: str) -> str:
    return _ARTICLES.get(kind, f"a {kind}")


def _mismatch(name: Property, families: frozenset[str], why: str) -> InvalidFilter:
    what = " or ".join(_article(kind) for kind in sorted(families))
    return InvalidFilter(f"{shown(name.name)} is {what}; {why}", name.at)

"""Expressions out of rules and of what callers ask for."""

from __future__ import annotations

from collections.abc import Sequence

from swath.access import EVERYTHING, Rule
from swath.cql2 import build
from swath.cql2.ast import And, Boolean, Equal, In, Not, Number, Or, Predicate, Property, Text, walk
from swath.cql2.bind import bind

__all__ = ["by_collection", "named_collections", "names_in", "open_part", "restricted"]

_UNKNOWN = Equal(Property(""), Number(0))  # no property has an empty name: NULL for every item


def by_collection(rule: Predicate) -> Predicate:
    """What a rule says of a collection by its id alone: every condition on anything else is unknown."""
    if isinstance(rule, And | Or):
        return type(rule)(tuple(by_collection(arg) for arg in rule.args))
    if isinstance(rule, Not):
        return Not(by_collection(rule.arg))
    return rule if names_in(rule) <= {"collection"} else _UNKNOWN


def names_in(rule: Predicate) -> set[str]:
    """The properties that a rule looks at."""
    return {node.name for node in walk(rule) if isinstance(node, Property)}


def restricted(rule: Rule, expression: Predicate) -> Predicate:
    """What the caller asks for and may see: one expression."""
    if rule == EVERYTHING:
        return expression
    if expression == Boolean(True):
        return bind(rule)
    return build.conjunction((bind(rule), expression), "")


def named_collections(expression: Predicate) -> frozenset[str] | None:
    """The collections that a search is confined to; None where it names none."""
    named: frozenset[str] | None = None
    for part in expression.args if isinstance(expression, And) else (expression,):
        match part:
            case Equal(Property("collection"), Text(name)) | Equal(Text(name), Property("collection")):
                these = frozenset((name,))
            case In(Property("collection"), items):
                these = frozenset(item.value for item in items if isinstance(item, Text))
            case _:
                continue
        named = these if named is None else named & these
    return named


def open_part(collection_id: str | None, closed: Sequence[str]) -> Predicate:
    """Items whose properties are queryables though nobody declared them."""
    name = Property("collection")
    parts: list[Predicate] = [Equal(name, Text(collection_id))] if collection_id is not None else []
    if closed:
        parts.append(Not(In(name, tuple(map(Text, closed)))))
    if not parts:
        return Boolean(True)
    return parts[0] if len(parts) == 1 else And(tuple(parts))

"""CQL2 JSON to a tree: a checked reader, operator by operator.

The input is decoded JSON (no duplicate keys, finite numbers), of any shape. Errors carry a JSON pointer.
"""

from __future__ import annotations

from typing import Any

from swath.cql2 import build
from swath.cql2.ast import Boolean, Node, Predicate, Property, Text
from swath.cql2.functions import FUNCTIONS
from swath.errors import InvalidFilter, nearest, shown
from swath.limits import LIMITS
from swath.stac.geometry import GEOMETRY_TYPES, read_geometry

__all__ = ["parse_json"]

_OPERATORS = {name.lower(): name for name in build.NAMES}


class _Reader:
    def __init__(self) -> None:
        self.nodes = 0
        self.members = 0

    def node(self, value: Any, at: str, depth: int) -> Node:
        self.nodes += 1
        if self.nodes > LIMITS.filter_nodes:
            raise InvalidFilter(f"the filter has more than {LIMITS.filter_nodes:,} parts", at)
        if depth > LIMITS.filter_depth:
            raise InvalidFilter(f"the filter is nested deeper than {LIMITS.filter_depth} levels", at)
        if isinstance(value, bool):
            return Boolean(value)
        if isinstance(value, int | float):
            return build.json_number(value, at)
        if isinstance(value, str):
            return Text(value)
        if isinstance(value, dict):
            return self.object(value, at, depth)
        if isinstance(value, list):
            if len(value) > LIMITS.list_members:
                raise InvalidFilter(f"the array has more than {LIMITS.list_members:,} members", at)
            return build.array([self.node(part, f"{at}/{n}", depth + 1) for n, part in enumerate(value)], at)
        raise InvalidFilter(f"expected an operation, a property or a literal, found {_kind(value)}", at)

    def object(self, value: dict[str, Any], at: str, depth: int) -> Node:
        if "op" in value:
            return self.operation(value, at, depth)
        if "function" in value:
            return self.operation(_from_draft(value, at), at, depth)
        if "property" in value:
            name = value["property"]
            if not isinstance(name, str) or not name:
                raise InvalidFilter("a property name is a string that is not empty", f"{at}/property")
            return Property(name, at)
        if "timestamp" in value:
            return build.timestamp(_string(value["timestamp"], f"{at}/timestamp"), f"{at}/timestamp")
        if "date" in value:
            return build.date(_string(value["date"], f"{at}/date"), f"{at}/date")
        if "interval" in value:
            return self.interval(value["interval"], f"{at}/interval", depth)
        if "bbox" in value:
            return build.bbox(_array(value["bbox"], f"{at}/bbox"), f"{at}/bbox")
        if isinstance(kind := value.get("type"), str) and kind in GEOMETRY_TYPES:
            try:
                return build.geometry(read_geometry(value, LIMITS.geometry_vertices))
            except ValueError as error:
                raise InvalidFilter(str(error), at) from None
        members = ", ".join(map(shown, list(value)[:5])) or "nothing"
        raise InvalidFilter(f"expected `op`, `property`, a literal or a geometry, found an object of {members}", at)

    def interval(self, value: Any, at: str, depth: int) -> Node:
        ends = []
        for number, end in enumerate(_array(value, at)):
            ends.append(self.node(end, f"{at}/{number}", depth + 1) if isinstance(end, dict) else end)
        return build.interval(ends, at)

    def operation(self, value: dict[str, Any], at: str, depth: int) -> Node:  # noqa: C901 - one case an operator
        op = _string(value["op"], f"{at}/op")
        name = _OPERATORS.get(op.lower())
        if name is None:
            near = nearest(op, build.NAMES)
            hint = f"; did you mean {near!r}?" if near else f"; the operators are {', '.join(build.NAMES)}"
            raise InvalidFilter(f"{shown(op)} is not an operator or function{hint}", f"{at}/op")
        raw = value.get("args")
        if isinstance(raw, dict):  # UP42's documents write one operand without its brackets
            raw = [raw]
        args = _array(raw, f"{at}/args")
        where = f"{at}/args"
        if name == "in":
            _arity(name, args, 2, where)
            if not isinstance(args[1], list):
                args = [args[0], [args[1]]]
            if len(args[1]) > LIMITS.list_members:
                raise InvalidFilter(f"the list has more than {LIMITS.list_members:,} members", f"{where}/1")
            self.members += len(args[1])
            if self.members > LIMITS.list_members:
                raise InvalidFilter(f"the lists have more than {LIMITS.list_members:,} members", f"{where}/1")
            listed = []
            for number, part in enumerate(args[1]):
                listed.append(self.node(part, f"{where}/1/{number}", depth + 1))
                self.nodes -= 1  # members have a cap of their own; what is below them counts
            return build.is_in(self.node(args[0], f"{where}/0", depth + 1), listed, where)
        if name == "between" and len(args) == 2 and isinstance(args[1], list):  # a draft's form
            args = [args[0], *args[1]]
        nodes = [self.node(part, f"{where}/{number}", depth + 1) for number, part in enumerate(args)]
        if name in ("and", "or"):
            if len(nodes) < 2:
                raise InvalidFilter(f"{name!r} joins two or more conditions, not {len(nodes)}", where)
            return (build.conjunction if name == "and" else build.disjunction)(nodes, where)
        if name in build.SPATIAL:
            return build.spatial(build.SPATIAL[name], nodes, where)
        if name in build.TEMPORAL:
            return build.temporal(build.TEMPORAL[name], nodes, where)
        if name in build.ARRAY:
            return build.array_predicate(build.ARRAY[name], nodes, where)
        if name in build.FOLDS:
            return build.fold(build.FOLDS[name], nodes, where)
        if name in FUNCTIONS:
            return build.function(name, nodes, where)
        _arity(name, nodes, {"not": 1, "isNull": 1, "between": 3}.get(name, 2), where)
        if name == "not":
            return build.negation(nodes[0], where)
        if name == "isNull":
            return build.is_null(nodes[0], where)
        if name == "between":
            return build.between(nodes[0], nodes[1], nodes[2], where)
        if name == "like":
            return build.like(nodes[0], nodes[1], where)
        if name in build.ARITHMETIC:
            return build.arithmetic(build.ARITHMETIC[name], nodes[0], nodes[1], where)
        return build.comparison(build.COMPARISONS[name], nodes[0], nodes[1], where)


def _from_draft(value: dict[str, Any], at: str) -> dict[str, Any]:
    """The forms that drafts had for calls: {"function": name, "args"} and {"function": {"name", "arguments"}}."""
    function = value["function"]
    if isinstance(function, dict):
        name, arguments = function.get("name"), function.get("arguments", function.get("args"))
    else:
        name, arguments = function, value.get("args", value.get("arguments"))
    if not isinstance(name, str) or name.lower() not in build.CALLS:
        raise InvalidFilter(f"{_kind(name)} is not a function; the functions are {', '.join(build.CALLS.values())}", at)
    return {"op": name, "args": arguments}


def _kind(value: object) -> str:
    return "null" if value is None else "an array" if isinstance(value, list) else shown(value)


def _string(value: object, at: str) -> str:
    if isinstance(value, str):
        return value
    raise InvalidFilter(f"expected a string, found {_kind(value)}", at)


def _array(value: object, at: str) -> list[Any]:
    if isinstance(value, list):
        return value
    raise InvalidFilter(f"expected an array, found {_kind(value)}", at)


def _arity(name: str, args: list[Any], wanted: int, at: str) -> None:
    if len(args) != wanted:
        raise InvalidFilter(f"{name!r} takes {wanted} operand{'s' * (wanted > 1)}, not {len(args)}", at)


def parse_json(value: Any) -> Predicate:
    """The tree of a decoded CQL2 JSON filter. InvalidFilter with a JSON pointer into the filter."""
    at = ""
    if isinstance(value, dict) and value.keys() == {"filter"}:  # UP42's client sends a filter within a filter
        value, at = value["filter"], "/filter"
    if not isinstance(value, dict | bool):
        raise InvalidFilter(f"a CQL2 JSON filter is an object, found {_kind(value)}", at)
    return build.predicate(_Reader().node(value, at, 0), at)

"""Filters drawn at random: from the grammar, as text and as JSON, and damage done to them."""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Sequence
from typing import Any

from swath.cql2 import build
from swath.cql2.functions import FUNCTIONS

__all__ = ["Grammar", "Mutator", "dump"]

NAMES = (
    "a", "b", "s", "t", "l", "d", "o.p", "id", "collection", "datetime", "geometry", "eo:cloud_cover", "nope",
    "view:off-nadir", "größe", "properties.a", "title", "日本", "a b", 'q"q', "and", "z", "point", "casei",
    "start_datetime", "_", ":", "e\u0301", "\x00", "x" * 70,
)  # fmt: skip
STRINGS = (
    "", "x", "a%", "_", "%a_b%", "it's", "\\", "50\\%", "2020-01-01", "2020-01-01T00:00:00Z", "..", "Ä", "e\u0301",
    "\n", "\x00", "\U0001f6f0", "ß", "item-1", "c", "%" * 30, "'", "2020-05-05T23:59:59.123456789+14:00",
)  # fmt: skip
INSTANTS = (
    "2020-01-01T00:00:00Z", "2020-01-01t00:00:00.5z", "2020-05-05T00:00:00+23:59", "1969-12-31T23:59:59.999999Z",
    "0000-01-01T00:00:00Z", "9999-12-31T23:59:59.999999Z", "0000-01-01T00:00:00+01:00", "2020-02-30T00:00:00Z",
    "9999-12-31T23:59:59-01:00",
)  # fmt: skip
DATES = ("2020-01-01", "2020-05-05", "0000-01-01", "9999-12-31", "2019-02-29", "1970-01-01")
NUMBERS = (
    "0", "1", "2.5", "-1", "1e3", "-0", "-0.0", "1e308", "1.79e308", "1e-320", "9223372036854775807", "1e999",
    "-9223372036854775808", "18446744073709551616", "0.1", "1e22", "123456789012345678901234567890",
)  # fmt: skip
DEGREES = ("0", "1", "-1", "9", "10.5", "180", "-180", "90", "-90", "89.999999", "1e-9", "200", "-0.0")
WORDS = (
    "AND", "OR", "NOT", "(", ")", ",", "'", '"', "-", "+", "IN", "LIKE", "BETWEEN", "IS NULL", "NULL", "TRUE",
    "DIV", "%", "^", "<>", "!=", "\\", "''", "1e999", "NaN", "Infinity", "POINT", "EMPTY", "Z", "BBOX(",
    "INTERVAL(", "DATE(", "TIMESTAMP('", "CASEI(", "S_INTERSECTS(", "A_CONTAINS(", "\x00", "\ud800", "\u202e", "é",
    "\U0001f6f0", "0" * 40, "9" * 40, "1.", ".5", "..", ":", "_", "\r\n", "ı", "--", "/*", ";",
)  # fmt: skip
RAW = (
    b"NaN", b"1e999", b"-0", b"\\ud800", b"\x00", b"\xff", b'"op"', b'"args":', b"[", b"]", b"{", b"}", b",", b":",
    b"null", b"true", b'{"op":"not","args":', b'"property"', b"\\u0000", b'"', b"\\", b"1" * 40, b'"type":',
    b"1E400", b'{"property":"a"}', b"[]", b"{}", b'"coordinates":', b"\xed\xa0\x80", b"\xef\xbb\xbf",
)  # fmt: skip
_PARTS = re.compile(r"\s+|\w+|.", re.DOTALL)
# Copies of this many parts: now and then something is repeated until a limit is near.
_MANY = (2, 3, 65, 300, 3_000)


class Grammar:
    """Draws filters. JSON first; text is written from the same draw, so both readers see the same shapes."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw

    def one(self, table: Sequence[Any]) -> Any:
        return table[int(self.draw.random() * len(table))]

    # -- JSON ---------------------------------------------------------------------------------

    def predicate(self, depth: int) -> Any:
        chance = self.draw.random()
        if depth > 0 and chance < 0.4:
            if chance < 0.1:
                return self.op("not", self.predicate(depth - 1))
            count = 2 + int(self.draw.random() * 3)
            return self.op(self.one(("and", "or")), *(self.predicate(depth - 1) for _ in range(count)))
        return self.one(_LEAVES)(self, depth)

    @staticmethod
    def op(name: str, *args: Any) -> dict[str, Any]:
        return {"op": name, "args": list(args)}

    def comparison(self, depth: int) -> Any:
        return self.op(self.one(tuple(build.COMPARISONS)), self.value(depth), self.value(depth))

    def like(self, depth: int) -> Any:
        return self.op("like", self.one((self.name, self.folded))(depth), self.one(STRINGS))

    def between(self, depth: int) -> Any:
        return self.op("between", self.value(depth), self.value(depth), self.value(depth))

    def listed(self, depth: int) -> Any:
        kind = self.one((self.string, self.number, self.value))
        return self.op("in", self.value(depth), [kind(depth) for _ in range(int(self.draw.random() * 4))])

    def is_null(self, depth: int) -> Any:
        return self.op("isNull", self.one((self.value, self.value, self.shape, self.time, self.array))(depth))

    def truth(self, _: int) -> Any:
        return self.draw.random() < 0.5

    def spatial(self, depth: int) -> Any:
        sides = [self.one((self.name, self.shape, self.geometry)), self.shape]
        self.draw.shuffle(sides)
        return self.op(self.one(tuple(build.SPATIAL)), *(side(depth) for side in sides))

    def temporal(self, depth: int) -> Any:
        return self.op(self.one(tuple(build.TEMPORAL)), self.time(depth), self.time(depth))

    def arrays(self, depth: int) -> Any:
        return self.op(self.one(tuple(build.ARRAY)), self.one((self.name, self.array))(depth), self.array(depth))

    def value(self, depth: int) -> Any:
        plain = (self.name, self.name, self.string, self.number, self.number, self.moment, self.truth)
        return self.one((*plain, self.folded, self.calculation, self.call))(depth)

    def name(self, _: int) -> Any:
        return {"property": self.one(NAMES)}

    def geometry(self, _: int) -> Any:
        return {"property": "geometry"}

    def string(self, _: int) -> Any:
        return self.one(STRINGS)

    def number(self, _: int) -> Any:
        return _Spelled(self.one(NUMBERS))

    def moment(self, _: int) -> Any:
        return {"date": self.one(DATES)} if self.draw.random() < 0.5 else {"timestamp": self.one(INSTANTS)}

    def folded(self, depth: int) -> Any:
        inner = self.one((self.name, self.string, self.folded))(depth - 1) if depth > 0 else self.name(depth)
        return self.op(self.one((*build.FOLDS, "lower", "upper")), inner)

    def calculation(self, depth: int) -> Any:
        sides = (self.name, self.number) if depth <= 0 else (self.name, self.number, self.calculation, self.call)
        return self.op(self.one(tuple(build.ARITHMETIC)), self.one(sides)(depth - 1), self.one(sides)(depth - 1))

    def call(self, depth: int) -> Any:
        return self.op(self.one(tuple(FUNCTIONS)), self.one((self.name, self.number, self.calculation))(depth - 1))

    def time(self, depth: int) -> Any:
        chance = self.draw.random()
        if chance < 0.3:
            return self.name(depth)
        return self.moment(depth) if chance < 0.5 else {"interval": [self.end(depth), self.end(depth)]}

    def end(self, depth: int) -> Any:
        return self.one((".." if self.draw.random() < 0.5 else self.one(INSTANTS), self.one(DATES), self.name(depth)))

    def array(self, depth: int) -> Any:
        kinds = [self.string, self.number, self.truth, self.moment, *([self.array] if depth > 0 else [])]
        return [self.one(kinds)(depth - 1) for _ in range(int(self.draw.random() * 4))]

    def position(self) -> list[Any]:
        count = 2 if self.draw.random() < 0.9 else 3
        return [_Spelled(self.one(DEGREES)) for _ in range(count)]

    def line(self, count: int, closed: bool = False) -> list[Any]:
        positions = [self.position() for _ in range(count)]
        return [*positions, positions[0]] if closed else positions

    def shape(self, depth: int) -> Any:
        kind = self.one(("Point", "LineString", "Polygon", "MultiPoint", "MultiPolygon", "GeometryCollection", "bbox"))
        if kind == "bbox":
            return {"bbox": [_Spelled(self.one(DEGREES)) for _ in range(self.one((4, 4, 4, 6)))]}
        if kind == "GeometryCollection":
            members = [self.shape(depth - 1) for _ in range(int(self.draw.random() * 3))] if depth > 0 else []
            return {"type": kind, "geometries": [member for member in members if "type" in member]}
        if self.draw.random() < 0.05:
            return {"type": kind, "coordinates": []}
        ring = self.line(3, closed=True)
        coordinates: Any = {"Point": self.position(), "LineString": self.line(3), "Polygon": [ring],
                            "MultiPoint": self.line(2), "MultiPolygon": [[ring]]}[kind]  # fmt: skip
        return {"type": kind, "coordinates": coordinates}

    # -- text ---------------------------------------------------------------------------------

    def text(self, node: Any) -> str:
        """The same draw in CQL2 text."""
        if isinstance(node, bool):
            return "TRUE" if node else "false"
        if isinstance(node, _Spelled):
            return str(node.text)
        if isinstance(node, str):
            return "'" + node.replace("\\", "\\\\").replace("'", "''") + "'"
        if isinstance(node, list):
            return f"({','.join(map(self.text, node))})"
        if "op" in node:
            return self._operation(node["op"], [self.text(arg) for arg in node["args"]])
        if "property" in node:
            name: str = node["property"]
            return name if re.fullmatch(r"[a-z_:]+", name) else '"' + name.replace('"', '""') + '"'
        for key in ("date", "timestamp"):
            if key in node:
                return f"{key.upper()}('{node[key]}')"
        if "interval" in node:
            return f"INTERVAL({','.join(map(self.text, node['interval']))})"
        if "bbox" in node:
            return f"BBOX({','.join(number.text for number in node['bbox'])})"
        return _wkt(node)

    def _operation(self, name: str, args: list[str]) -> str:
        negated = self.one(("", "", "NOT "))
        if name in ("and", "or"):
            joined = f" {name.upper()} ".join(args)
            return f"({joined})" if self.draw.random() < 0.7 else joined
        if name == "not":
            return f"NOT {args[0]}" if self.draw.random() < 0.5 else f"not ({args[0]})"
        if name in ("like", "in"):
            return f"{args[0]} {negated}{name.upper()} {args[1]}"
        if name == "between":
            return f"{args[0]} {negated}BETWEEN {args[1]} AND {args[2]}"
        if name == "isNull":
            return f"{args[0]} IS {negated}NULL"
        if name in build.COMPARISONS:
            return f"{args[0]}{name}{args[1]}"
        if name in build.ARITHMETIC:
            joined = f"{args[0]} {name} {args[1]}"
            return f"({joined})" if self.draw.random() < 0.7 else joined
        return f"{name.upper() if self.draw.random() < 0.5 else name}({','.join(args)})"


_LEAVES: tuple[Callable[[Grammar, int], Any], ...] = (
    Grammar.comparison, Grammar.comparison, Grammar.comparison, Grammar.like, Grammar.between, Grammar.listed,
    Grammar.is_null, Grammar.truth, Grammar.spatial, Grammar.spatial, Grammar.temporal, Grammar.temporal,
    Grammar.arrays,
)  # fmt: skip


class _Spelled(float):
    """A number as it is spelled: what JSON has no value for (1e999) must reach the reader as it stands."""

    text: str

    def __new__(cls, text: str) -> _Spelled:
        made = super().__new__(cls, text)
        made.text = text
        return made

    def __repr__(self) -> str:
        return self.text


def _wkt(node: dict[str, Any]) -> str:
    kind = node["type"].upper()
    if kind == "GEOMETRYCOLLECTION":
        return f"{kind}({','.join(map(_wkt, node['geometries']))})"

    def nested(value: Any) -> str:
        if value and not isinstance(value[0], list):
            return " ".join(number.text for number in value)
        return ",".join(
            nested(part) if part and not isinstance(part[0], list) else f"({nested(part)})" for part in value
        )

    return f"{kind}({nested(node['coordinates'])})"


def dump(value: Any) -> bytes:
    """JSON with numbers as they are spelled."""
    if isinstance(value, _Spelled):
        return value.text.encode()
    if isinstance(value, list):
        return b"[" + b",".join(map(dump, value)) + b"]"
    if isinstance(value, dict):
        return b"{" + b",".join(json.dumps(key).encode() + b":" + dump(part) for key, part in value.items()) + b"}"
    return json.dumps(value).encode()


class Mutator:
    """Damages filters: parts are dropped, doubled, swapped, taken from elsewhere, or replaced by odd tokens."""

    def __init__(self, draw: random.Random) -> None:
        self.draw = draw

    def text(self, text: str, other: str) -> str:
        parts = _PARTS.findall(text)
        for _ in range(1 + int(self.draw.random() * 3)):
            self._change(parts, WORDS, _PARTS.findall(other))
        return "".join(parts)

    def raw(self, raw: bytes, other: bytes) -> bytes:
        parts = re.findall(rb'"[^"]*"|[0-9.eE+-]+|.', raw, re.DOTALL)
        for _ in range(1 + int(self.draw.random() * 3)):
            self._change(parts, RAW, re.findall(rb'"[^"]*"|.', other, re.DOTALL))
        damaged = bytearray(b"".join(parts))
        if damaged and self.draw.random() < 0.1:
            damaged[int(self.draw.random() * len(damaged))] = int(self.draw.random() * 256)
        return bytes(damaged)

    def _place(self, parts: list[Any]) -> int:
        return int(self.draw.random() * (len(parts) + 1))

    def _change(self, parts: list[Any], odd: Sequence[Any], other: list[Any]) -> None:
        start, end = sorted((self._place(parts), self._place(parts)))
        if self.draw.random() < 0.7:
            end = min(end, start + 3)
        choice = self.draw.random()
        if choice < 0.2:
            del parts[start:end]
        elif choice < 0.45:
            parts[start:end] = [odd[int(self.draw.random() * len(odd))]]
        elif choice < 0.6:
            parts.insert(start, odd[int(self.draw.random() * len(odd))])
        elif choice < 0.75:
            first, last = sorted((self._place(other), self._place(other)))
            parts[start:end] = other[first:last]
        elif choice < 0.9:
            parts[start:start] = parts[start:end]
        elif choice < 0.995:
            at = self._place(parts)
            parts[at:at] = parts[start:end]
        else:
            times = _MANY[int(self.draw.random() * len(_MANY))]
            parts[start:end] = parts[start : start + 5] * times

    def tree(self, value: Any, other: Any) -> Any:
        """Somewhere in a JSON value, something is replaced, wrapped or dropped."""
        holders = [node for node in _below(value) if isinstance(node, dict | list) and node]
        if not holders:
            return value
        holder = holders[int(self.draw.random() * len(holders))]
        keys: list[Any] = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
        key = keys[int(self.draw.random() * len(keys))]
        pieces = list(_below(other))
        piece = pieces[int(self.draw.random() * len(pieces))]
        choice = self.draw.random()
        if choice < 0.4:
            holder[key] = piece
        elif choice < 0.55:
            holder[key] = [holder[key]]
        elif choice < 0.7:
            holder[key] = {"op": self.draw.choice(build.NAMES), "args": [holder[key]]}
        elif choice < 0.85:
            del holder[key]
        else:
            holder[key] = self.draw.choice((None, True, "", 0, -1, 1.5, [], {}, "..", 10**400, {"property": "a"}))
        return value


def _below(value: Any) -> list[Any]:
    found: list[Any] = []
    stack = [value]
    while stack and len(found) < 500:
        part = stack.pop()
        found.append(part)
        stack.extend(part.values() if isinstance(part, dict) else part if isinstance(part, list) else ())
    return found

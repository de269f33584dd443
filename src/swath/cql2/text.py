"""CQL2 text to a tree: one pass over tokens with an explicit stack of operators.

Linear in the input: no backtracking and no recursion. Depth, nodes and length are checked while reading,
so that hostile text is refused before it costs anything. Grammar: OGC 21-065r2, Annex B.
"""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass, field

import numpy as np
import shapely

from swath.cql2 import build
from swath.cql2.ast import (
    Boolean,
    DateLiteral,
    Multiply,
    Node,
    Not,
    Number,
    Power,
    Predicate,
    Property,
    Text,
    Timestamp,
)
from swath.cql2.functions import FUNCTIONS
from swath.cql2.tokens import Token, tokens_of
from swath.errors import InvalidFilter, nearest, shown
from swath.limits import LIMITS
from swath.stac.geometry import check_shape

__all__ = ["parse_text"]

_ESCAPES = {"a": "\a", "b": "\b", "t": "\t", "n": "\n", "v": "\v", "f": "\f", "r": "\r", "\\": "\\", "'": "'"}
_ESCAPE = re.compile(r"''|\\(.)", re.DOTALL)
_WKT_TYPES = frozenset(
    ("POINT", "LINESTRING", "POLYGON", "MULTIPOINT", "MULTILINESTRING", "MULTIPOLYGON", "GEOMETRYCOLLECTION")
)
_CONSTRUCTORS = _WKT_TYPES | {"DATE", "TIMESTAMP", "INTERVAL", "BBOX"}

# One precedence table for the readers and, later, the printers: higher binds tighter.
OR, AND, NOT, COMPARE, ADD, MULTIPLY, POWER, NEGATE = 1, 2, 3, 4, 5, 6, 7, 8
_ARITHMETIC = {"+": ADD, "-": ADD, "*": MULTIPLY, "/": MULTIPLY, "%": MULTIPLY, "DIV": MULTIPLY, "^": POWER}


@dataclass(slots=True)
class _Operator:
    """A pending operator, or an open parenthesis (precedence 0)."""

    name: str
    precedence: int
    at: int
    operands: int = 2
    negated: bool = False
    base: int = 0  # how many values stood on the stack when a group was opened


@dataclass(slots=True)
class _Reader:
    text: str
    tokens: list[Token]
    values: list[tuple[Node, int, int]] = field(default_factory=list)  # node, place, height
    operators: list[_Operator] = field(default_factory=list)
    position: int = 0
    depth: int = 0
    nodes: int = 0
    members: int = 0
    height: int = 0  # of the highest part that was taken for the one that is being made
    grouped: set[int] = field(default_factory=set)  # identities of powers that stood in parentheses

    # -- tokens -------------------------------------------------------------------------------

    def peek(self, ahead: int = 0) -> Token:
        return self.tokens[min(self.position + ahead, len(self.tokens) - 1)]

    def next(self) -> Token:
        token = self.peek()
        self.position += 1
        return token

    def accept(self, text: str) -> bool:
        token = self.peek()
        if token.kind in ("symbol", "keyword") and token.text == text:
            self.position += 1
            return True
        return False

    def expect(self, text: str) -> Token:
        token = self.peek()
        if not self.accept(text):
            raise self.fault(token, repr(text))
        return token

    def fault(self, token: Token, expected: str) -> InvalidFilter:
        found = "the end" if token.kind == "end" else repr(token.text[:40])
        return InvalidFilter(f"expected {expected}, found {found} at character {token.at}", token.at)

    # -- the two stacks -----------------------------------------------------------------------

    def push(self, node: Node, at: int) -> None:
        """Put a part on the stack and count it; members of a list have a cap of their own."""
        if self.operators and self.operators[-1].name == "IN":
            self.members += 1
            if self.members > LIMITS.list_members:
                raise InvalidFilter(f"the lists have more than {LIMITS.list_members:,} members", at)
        else:
            self.nodes += 1
            if self.nodes > LIMITS.filter_nodes:
                raise InvalidFilter(f"the filter has more than {LIMITS.filter_nodes:,} parts", at)
        # Chains such as a + b + c nest without parentheses; what walks the tree later is recursive.
        if self.height > LIMITS.filter_depth:
            raise InvalidFilter(f"the filter is nested deeper than {LIMITS.filter_depth} levels", at)
        self.values.append((node, at, self.height + 1))
        self.height = 0

    def open(self, operator: _Operator) -> None:
        """Push a prefix operator or a group: what can nest."""
        self.depth += 1
        if self.depth > LIMITS.filter_depth:
            raise InvalidFilter(f"the filter is nested deeper than {LIMITS.filter_depth} levels", operator.at)
        operator.base = len(self.values)
        self.operators.append(operator)

    def reduce(self, precedence: int) -> None:
        """Apply pending operators that bind at least as tightly."""
        while self.operators and self.operators[-1].precedence >= max(precedence, 1):
            self.apply(self.operators.pop())

    def apply(self, operator: _Operator) -> None:
        name, at = operator.name, operator.at
        if name in ("AND", "OR"):
            # A chain is one operator with many operands, so that 10,000 ANDs stay flat and linear.
            args = self.take(operator.operands)
            node: Node = (build.conjunction if name == "AND" else build.disjunction)(args, at)
        elif name == "NOT":
            self.depth -= 1
            node = build.negation(self.take(1)[0], at)
        elif name == "BETWEEN":
            if operator.operands != 3:
                raise self.fault(self.peek(), "AND and the upper end of BETWEEN")
            value, low, high = self.take(3)
            node = _maybe_not(build.between(value, low, high, at), operator)
        elif name == "LIKE":
            value, pattern = self.take(2)
            node = _maybe_not(build.like(value, pattern, at), operator)
        elif name == "negate":
            self.depth -= 1
            (value,) = self.take(1)
            node = (
                Number(-value.value) if isinstance(value, Number) else build.arithmetic(Multiply, Number(-1), value, at)
            )
        elif name in _ARITHMETIC:
            left, right = self.take(2)
            if name == "^" and isinstance(left, Power) and id(left) not in self.grouped:
                raise InvalidFilter("write parentheses: a ^ b ^ c can be read in two ways", at)
            node = build.arithmetic(build.ARITHMETIC[name.lower()], left, right, at)
        else:
            left, right = self.take(2)
            node = build.comparison(build.COMPARISONS[name], left, right, at)
        self.push(node, at)

    def take(self, count: int) -> list[Node]:
        start = len(self.values) - count
        taken = self.values[start:]
        del self.values[start:]
        self.height = max([self.height, *(height for _, _, height in taken)])
        return [node for node, _, _ in taken]

    def pop(self) -> tuple[Node, int]:
        at = self.values[-1][1]
        return self.take(1)[0], at

    # -- grammar ------------------------------------------------------------------------------

    def read(self) -> Predicate:
        while True:
            self.operand()
            if self.operator():
                break
        node, at = self.pop()
        return build.predicate(node, at)

    def operand(self) -> None:
        """Prefix operators and groups, then exactly one operand."""
        token = self.next()
        while self.prefix(token):
            if self.is_empty_array():
                self.close(self.next())
                return
            token = self.next()
        if token.kind == "number":
            self.push(build.number(token.text, token.at), token.at)
        elif token.kind == "string":
            self.push(Text(_unescape(token.text)), token.at)
        elif token.kind == "keyword" and token.text in ("TRUE", "FALSE"):
            self.push(Boolean(token.text == "TRUE"), token.at)
        elif token.kind == "name":
            self.named(token)
        elif token.kind == "quoted":
            self.push(_quoted(token), token.at)
        else:
            raise self.fault(token, "a property, a literal, NOT or '('")

    def prefix(self, token: Token) -> bool:
        """NOT, a sign, a parenthesis or the opening of a call: what may stand before an operand."""
        if token.kind == "keyword" and token.text == "NOT":
            self.open(_Operator("NOT", NOT, token.at))
        elif token.kind == "symbol" and token.text == "(":
            self.open(_Operator("(", 0, token.at))
        elif token.kind == "symbol" and token.text == "-":
            self.open(_Operator("negate", NEGATE, token.at))
        elif token.kind == "name" and self.is_function(token):
            self.function(token)
        else:
            return token.kind == "symbol" and token.text == "+" and self.peek().kind == "number"
        return True

    def is_empty_array(self) -> bool:
        return self.peek().text == ")" and self.peek().kind == "symbol" and self.takes_array()

    def is_function(self, token: Token) -> bool:
        """Whether a name opens a call; literal constructors look alike and are not calls."""
        return self.peek().text == "(" and token.text.upper() not in _CONSTRUCTORS

    def named(self, token: Token) -> None:
        """A property or a literal constructor."""
        upper = token.text.upper()
        opened = self.peek().kind == "symbol" and self.peek().text == "("
        if upper in _WKT_TYPES and (opened or self.is_tagged()):
            self.push(self.wkt(token), token.at)
        elif not opened:
            self.push(Property(token.text, token.at), token.at)
        elif upper in ("DATE", "TIMESTAMP"):
            self.push(self.instant(upper, token.at), token.at)
        elif upper == "INTERVAL":
            self.next()
            start = self.interval_end()
            self.expect(",")
            end = self.interval_end()
            self.expect(")")
            self.push(build.interval((start, end), token.at), token.at)
        else:
            self.next()
            numbers = [self.signed_number()]
            while self.accept(","):
                numbers.append(self.signed_number())
            self.expect(")")
            self.push(build.bbox(numbers, token.at), token.at)

    def is_tagged(self) -> bool:
        """Whether Z or EMPTY stands between the name of a geometry and its coordinates."""
        words = (self.peek().text.upper(), self.peek(1).text.upper())
        return words[0] == "EMPTY" or words in (("Z", "("), ("Z", "EMPTY"))

    def function(self, token: Token) -> None:
        """Open the group of a call; its arguments are operands like any other, up to `)`."""
        name = token.text.lower()
        if name not in build.CALLS:
            near = nearest(name, build.CALLS)
            hint = f"; did you mean {near}?" if near else ""
            raise InvalidFilter(f"unknown function {shown(token.text)}{hint}", token.at)
        self.next()
        self.open(_Operator(build.CALLS[name], 0, token.at))

    def operator(self) -> bool:
        """What may follow an operand. True at the end of the text."""
        while True:
            token = self.next()
            if token.kind == "end":
                self.reduce(1)
                if self.operators:
                    raise self.fault(token, "')'")
                return True
            if token.kind == "symbol" and token.text == ")":
                self.close(token)
            elif token.kind == "symbol" and token.text == ",":
                self.comma(token)
                return False
            elif token.kind == "keyword" and token.text == "IS":
                self.reduce(ADD)
                negated = self.accept("NOT")
                self.expect("NULL")
                value, at = self.pop()
                test = build.is_null(value, at)
                self.push(Not(test) if negated else test, at)
            elif token.kind == "keyword" and token.text in ("AND", "OR"):
                self.connective(token)
                return False
            elif token.text in _ARITHMETIC and token.kind in ("symbol", "keyword"):
                precedence = _ARITHMETIC[token.text]
                self.reduce(precedence)
                self.operators.append(_Operator(token.text, precedence, token.at))
                return False
            elif token.kind == "symbol" and token.text in build.COMPARISONS:
                self.reduce(COMPARE)
                self.operators.append(_Operator(token.text, COMPARE, token.at))
                return False
            elif token.kind == "keyword" and token.text in ("NOT", "LIKE", "BETWEEN", "IN"):
                if self.test(token):
                    return False
            else:
                raise self.fault(token, "an operator, AND, OR or the end")

    def connective(self, token: Token) -> None:
        precedence = AND if token.text == "AND" else OR
        # Reduce what binds tighter; an AND may be the one that BETWEEN waits for.
        while self.operators and self.operators[-1].precedence > precedence:
            pending = self.operators[-1]
            if token.text == "AND" and pending.name == "BETWEEN" and pending.operands == 2:
                pending.operands = 3
                return
            self.apply(self.operators.pop())
        if self.operators and self.operators[-1].name == token.text:
            self.operators[-1].operands += 1
        else:
            self.operators.append(_Operator(token.text, precedence, token.at))

    def test(self, token: Token) -> bool:
        """[NOT] LIKE, BETWEEN or IN. True when an operand must follow."""
        negated = token.text == "NOT"
        if negated:
            token = self.next()
            if token.kind != "keyword" or token.text not in ("LIKE", "BETWEEN", "IN"):
                raise self.fault(token, "LIKE, BETWEEN or IN after NOT")
        self.reduce(COMPARE)
        if token.text == "IN":
            self.expect("(")
            self.open(_Operator("IN", 0, token.at, negated=negated))
            return True
        self.operators.append(_Operator(token.text, COMPARE, token.at, negated=negated))
        return True

    def comma(self, token: Token) -> None:
        self.reduce(1)
        if not self.operators or (self.operators[-1].name == "(" and not self.takes_array()):
            raise self.fault(token, "')'" if self.operators else "the end")
        if len(self.values) - self.operators[-1].base >= LIMITS.list_members:
            raise InvalidFilter(f"the list has more than {LIMITS.list_members:,} members", token.at)

    def close(self, token: Token) -> None:
        self.reduce(1)
        if not self.operators:
            raise self.fault(token, "the end")
        is_array = self.takes_array() and (
            len(self.values) - self.operators[-1].base != 1 or not isinstance(self.values[-1][0], Property)
        )
        group = self.operators.pop()
        self.depth -= 1
        if self.values and isinstance(self.values[-1][0], Power):
            self.grouped.add(id(self.values[-1][0]))
        args = self.take(len(self.values) - group.base) if group.name != "(" or is_array else []
        if is_array:
            self.push(build.array(args, group.at), group.at)
            return
        if group.name == "IN":
            value, at = self.pop()
            self.push(_maybe_not(build.is_in(value, args, group.at), group), at)
        elif group.name in build.SPATIAL:
            self.push(build.spatial(build.SPATIAL[group.name], args, group.at), group.at)
        elif group.name in build.TEMPORAL:
            self.push(build.temporal(build.TEMPORAL[group.name], args, group.at), group.at)
        elif group.name in build.ARRAY:
            self.push(build.array_predicate(build.ARRAY[group.name], args, group.at), group.at)
        elif group.name in build.FOLDS:
            self.push(build.fold(build.FOLDS[group.name], args, group.at), group.at)
        elif group.name in FUNCTIONS:
            self.push(build.function(group.name, args, group.at), group.at)

    def takes_array(self) -> bool:
        """Whether the innermost parenthesis is an argument of an array function, or a member of such an array."""
        if not self.operators or self.operators[-1].name != "(":
            return False
        for operator in reversed(self.operators):
            if operator.name != "(":
                return operator.name in build.ARRAY
        return False

    # -- literals -----------------------------------------------------------------------------

    def instant(self, constructor: str, at: int) -> DateLiteral | Timestamp:
        self.expect("(")
        token = self.next()
        if token.kind != "string":
            raise self.fault(token, "an instant in single quotes")
        self.expect(")")
        read = build.date if constructor == "DATE" else build.timestamp
        return read(_unescape(token.text), at)

    def interval_end(self) -> str | DateLiteral | Timestamp | Property:
        token = self.next()
        if token.kind == "string":
            return _unescape(token.text)
        if token.kind == "name" and token.text.upper() in ("DATE", "TIMESTAMP") and self.peek().text == "(":
            return self.instant(token.text.upper(), token.at)
        if token.kind == "name":
            return Property(token.text, token.at)
        if token.kind == "quoted":
            return _quoted(token)
        raise self.fault(token, "an instant, a property or '..'")

    def signed_number(self) -> float:
        sign, token = 1, self.next()
        if token.text in ("-", "+") and self.peek().at == token.at + 1:
            sign, token = -1 if token.text == "-" else 1, self.next()
        if token.kind != "number":
            raise self.fault(token, "a number")
        return sign * float(build.number(token.text, token.at).value)

    def wkt(self, token: Token) -> Node:
        """A geometry in Well-Known Text, read from the tokens up to its closing parenthesis."""
        start = self.position
        depth = 0
        words = [token.text.upper()]
        while True:
            part = self.next()
            if part.kind == "end":
                raise self.fault(part, "')' at the end of the geometry")
            depth += part.text == "("
            depth -= part.text == ")"
            if part.kind not in ("number", "name", "symbol"):
                raise self.fault(part, "a number")
            words.append(part.text)
            if depth == 0 and (part.text == ")" or part.text.upper() == "EMPTY"):
                break
            if part.text in ("-", "+") and self.peek().at != part.at + 1:
                raise self.fault(self.peek(), "a number right behind its sign")
        if self.position - start > 8 * LIMITS.geometry_vertices:
            raise InvalidFilter(f"the geometry has more than {LIMITS.geometry_vertices:,} vertices", token.at)
        text = " ".join(words).replace("- ", "-").replace("+ ", "")
        try:
            with np.errstate(all="ignore"):
                shape = shapely.from_wkt(text)
            return build.geometry(check_shape(shape, LIMITS.geometry_vertices))
        except (ValueError, shapely.errors.GEOSException) as error:
            raise InvalidFilter(f"not a geometry: {error}".removesuffix("."), token.at) from None


def _maybe_not(node: Predicate, operator: _Operator) -> Predicate:
    return Not(node) if operator.negated else node


def _unescape(literal: str) -> str:
    """The characters that a quoted string stands for. An unknown escape keeps both of its characters."""
    inner = literal[1:-1]
    if "\\" not in inner and "''" not in inner:
        return inner
    return _ESCAPE.sub(lambda found: _ESCAPES.get(found[1], found[0]) if found[1] else "'", inner)


def _quoted(token: Token) -> Property:
    name = token.text[1:-1].replace('""', '"')
    if not name:
        raise InvalidFilter("a property name is not empty", token.at)
    return Property(name, token.at)


_SHORT = 2_000  # characters of a filter whose tree is kept


def parse_text(text: str) -> Predicate:
    """The tree of a CQL2 text filter. InvalidFilter with the offset of the fault, counted in characters."""
    if len(text) > LIMITS.filter_text_bytes or len(text.encode(errors="replace")) > LIMITS.filter_text_bytes:
        raise InvalidFilter(f"the filter is longer than {LIMITS.filter_text_bytes:,} bytes; send it by POST as JSON", 0)
    if not text.strip():
        raise InvalidFilter("the filter is empty", 0)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidFilter("half a surrogate pair is no character", error.start) from None
    return _read_again(text) if len(text) <= _SHORT else _read(text)


def _read(text: str) -> Predicate:
    return _Reader(text, tokens_of(text)).read()


_read_again = functools.lru_cache(256)(_read)  # pages and dashboards send the same filters again

"""What every operator means: the only place. Engines may pre-select, and then ask here.

A predicate over a block of n items is a pair of masks, TRUE and unknown (NULL); what is in neither is
FALSE. Three-valued logic after Kleene. Meaning: OGC 21-065r2 with the rulings of docs/reference.
"""

from __future__ import annotations

import math
import operator
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import shapely
from numpy.typing import NDArray

from swath.cql2 import ast
from swath.cql2.ast import (
    And,
    BBoxLiteral,
    Between,
    Boolean,
    Comparison,
    DateLiteral,
    Geometry,
    In,
    IntervalLiteral,
    IsNull,
    Like,
    Member,
    Node,
    Not,
    Number,
    Or,
    Predicate,
    Property,
    SIntersects,
    Text,
    Timestamp,
    TIntersects,
    Value,
)
from swath.cql2.frame import Column, Dictionary, Frame, Lane, Strings
from swath.cql2.like import compile_like
from swath.stac.geometry import BBox
from swath.stac.time import DAY, parse_temporal

__all__ = ["Evaluator", "Truth"]

Mask: TypeAlias = NDArray[np.bool_]
Operator: TypeAlias = Callable[[Any, Any], Any]

INT64_MIN, INT64_MAX = -(2**63), 2**63 - 1
# Shapely works on arrays in one call that cannot be interrupted: so many vertices take about 20 ms.
_VERTICES_PER_CALL = 2_000_000


@dataclass(frozen=True, slots=True)
class Truth:
    """TRUE and unknown, a bool per row; never both."""

    true: Mask
    unknown: Mask

    @property
    def possible(self) -> Mask:
        """Rows that are not FALSE."""
        return self.true | self.unknown


_OPERATORS: dict[type[Comparison], Operator] = {
    ast.Equal: operator.eq,
    ast.NotEqual: operator.ne,
    ast.Less: operator.lt,
    ast.LessEqual: operator.le,
    ast.Greater: operator.gt,
    ast.GreaterEqual: operator.ge,
}
_MIRRORED: dict[type[Comparison], type[Comparison]] = {
    ast.Equal: ast.Equal,
    ast.NotEqual: ast.NotEqual,
    ast.Less: ast.Greater,
    ast.LessEqual: ast.GreaterEqual,
    ast.Greater: ast.Less,
    ast.GreaterEqual: ast.LessEqual,
}


def _nothing(size: int) -> Truth:
    return Truth(np.zeros(size, np.bool_), np.ones(size, np.bool_))


def _constant(size: int, value: bool | None) -> Truth:
    return Truth(np.full(size, value is True), np.full(size, value is None))


class Evaluator:
    """One expression, ready to be evaluated over any number of blocks by one thread.

    `checkpoint` is called between expensive steps; it may raise to abandon the evaluation.
    """

    def __init__(self, expression: Predicate, checkpoint: Callable[[], None] = lambda: None) -> None:
        self.expression = expression
        self.checkpoint = checkpoint
        self._selections: dict[tuple[int, Node], NDArray[np.bool_]] = {}
        self._shapes: dict[Node, Any] = {}

    def __call__(self, frame: Frame) -> Truth:
        """TRUE and unknown for each row of the block."""
        return self.evaluate(self.expression, frame, None)

    def evaluate(self, node: Predicate, frame: Frame, where: Mask | None) -> Truth:
        """`where` marks the rows that matter; answers for others may be anything."""
        return _TABLE[type(node)](self, node, frame, where)

    # -- logic --------------------------------------------------------------------------------

    def conjunction(self, node: And, frame: Frame, where: Mask | None) -> Truth:
        true = np.ones(frame.size, np.bool_)
        possible = true.copy() if where is None else where.copy()
        for arg in sorted(node.args, key=_cost):
            truth = self.evaluate(arg, frame, possible)
            true &= truth.true
            possible &= truth.possible
            if not possible.any():
                break
        true &= possible
        return Truth(true, possible & ~true)

    def disjunction(self, node: Or, frame: Frame, where: Mask | None) -> Truth:
        true = np.zeros(frame.size, np.bool_)
        unknown = true.copy()
        for arg in sorted(node.args, key=_cost):
            truth = self.evaluate(arg, frame, ~true if where is None else where & ~true)
            true |= truth.true
            unknown |= truth.unknown
        return Truth(true, unknown & ~true)

    def negation(self, node: Not, frame: Frame, where: Mask | None) -> Truth:
        truth = self.evaluate(node.arg, frame, where)
        return Truth(~truth.possible, truth.unknown)

    def boolean(self, node: Boolean, frame: Frame, where: Mask | None) -> Truth:  # noqa: ARG002 - one signature
        return _constant(frame.size, node.value)

    # -- comparisons --------------------------------------------------------------------------

    def comparison(self, node: Comparison, frame: Frame, where: Mask | None) -> Truth:  # noqa: ARG002
        left, right, kind = node.left, node.right, type(node)
        if not isinstance(left, Property):
            if not isinstance(right, Property):
                return _constant(frame.size, _compare_literals(kind, left, right))
            left, right, kind = right, left, _MIRRORED[kind]
        column = frame.column(left.name)
        if isinstance(right, Property):
            return _compare_columns(_OPERATORS[kind], column, frame.column(right.name), frame.size)
        truth = _nothing(frame.size)
        self._compare(kind, column, right, truth)
        return truth

    def _compare(self, kind: type[Comparison], column: Column, literal: Value, truth: Truth) -> None:
        """Decide the rows whose value is of the literal's kind; the others stay as they are."""
        compare = _OPERATORS[kind]
        match literal:
            case Number(value):
                if column.integers is not None:
                    _decide(truth, column.integers.rows, _compare_integers(compare, column.integers.values, value))
                if column.floats is not None:
                    _decide(truth, column.floats.rows, _compare_floats(compare, column.floats.values, value))
            case Boolean(value):
                if column.booleans is not None:
                    _decide(truth, column.booleans.rows, compare(column.booleans.values, value))
            case Text(value):
                if column.strings is not None:
                    self._compare_text(kind, column.strings, value, truth)
            case DateLiteral(start):
                _compare_instants(compare, column.strings, (start, start + DAY - 1), truth, every=True)
            case Timestamp(instant):
                _compare_instants(compare, column.strings, (instant, instant), truth, every=True)
            case _:
                pass

    def _compare_text(self, kind: type[Comparison], strings: Strings, value: str, truth: Truth) -> None:
        """A bare string keeps both of its readings: as an instant beside instants, else as text."""
        span = parse_temporal(value)
        rows, codes = strings.rows, strings.codes
        if span is not None and strings.temporal.any():
            _compare_instants(_OPERATORS[kind], strings, span, truth, every=False)
            rows, codes = rows[~strings.temporal], codes[~strings.temporal]
        text = unicodedata.normalize("NFC", value)
        if kind in (ast.Equal, ast.NotEqual):
            code = strings.dictionary.code(text)
            hits = codes == code if kind is ast.Equal else codes != code
        else:
            compare = _OPERATORS[kind]
            node = kind(Property(""), Text(text))
            hits = self._select(strings.dictionary, node, lambda entry: bool(compare(entry, text)))[codes]
        _decide(truth, rows, hits)

    def _select(self, dictionary: Dictionary, node: Node, test: Callable[[str], bool]) -> Mask:
        """Which strings of the dictionary pass, tested once each and kept between blocks."""
        key = (id(dictionary), node)
        known = self._selections.get(key)
        values = dictionary.values
        size = len(values)
        done = 0 if known is None else len(known)
        if done < size:
            parts = [] if known is None else [known]
            for start in range(done, size, 65_536):
                self.checkpoint()
                stop = min(start + 65_536, size)
                parts.append(np.fromiter((test(values[i]) for i in range(start, stop)), np.bool_, stop - start))
            known = np.concatenate(parts) if len(parts) > 1 else parts[0]
            self._selections[key] = known
        return known if known is not None else np.empty(0, np.bool_)

    def between(self, node: Between, frame: Frame, where: Mask | None) -> Truth:
        return self.conjunction(
            And((ast.GreaterEqual(node.value, node.low), ast.LessEqual(node.value, node.high))), frame, where
        )

    def contained(self, node: In, frame: Frame, where: Mask | None) -> Truth:
        if not isinstance(node.value, Property) or any(isinstance(item, Property) for item in node.items):
            if not node.items:
                return _constant(frame.size, False)
            return self.disjunction(Or(tuple(ast.Equal(node.value, item) for item in node.items)), frame, where)
        column = frame.column(node.value.name)
        if not node.items:
            present = column.present(frame.size)
            return Truth(np.zeros(frame.size, np.bool_), ~present)
        truth = _nothing(frame.size)
        self._contain_numbers(column, [item.value for item in node.items if isinstance(item, Number)], truth)
        texts = [item for item in node.items if isinstance(item, Text)]
        if texts and column.strings is not None:
            self._contain_texts(column.strings, texts, truth)
        for item in node.items:
            if isinstance(item, Boolean | DateLiteral | Timestamp):
                self._add_equal(column, item, truth)
        return truth

    def _add_equal(self, column: Column, item: Value, truth: Truth) -> None:
        one = _nothing(len(truth.true))
        self._compare(ast.Equal, column, item, one)
        truth.true[:] |= one.true
        truth.unknown[:] &= one.unknown

    @staticmethod
    def _contain_numbers(column: Column, numbers: Sequence[int | float], truth: Truth) -> None:
        if not numbers:
            return
        if column.integers is not None:
            whole = [int(n) for n in numbers if n == int(n) and INT64_MIN <= n <= INT64_MAX]
            _decide(truth, column.integers.rows, np.isin(column.integers.values, np.array(whole, np.int64)))
        if column.floats is not None:
            exact = [float(n) for n in numbers if _exact_float(n)]
            _decide(truth, column.floats.rows, np.isin(column.floats.values, np.array(exact, np.float64)))

    def _contain_texts(self, strings: Strings, texts: Sequence[Text], truth: Truth) -> None:
        chosen = np.zeros(len(strings.dictionary.values) + 1, np.bool_)
        for text in texts:
            code = strings.dictionary.code(unicodedata.normalize("NFC", text.value))
            if code >= 0:
                chosen[code] = True
        plain = ~strings.temporal
        if strings.temporal.any():
            readable = [text for text in texts if parse_temporal(text.value) is not None]
            for text in readable:
                one = _nothing(len(truth.true))
                _compare_instants(operator.eq, strings, parse_temporal(text.value) or (0, 0), one, every=False)
                truth.true[:] |= one.true
                truth.unknown[:] &= one.unknown
            if len(readable) < len(texts):  # the rest can only be equal as text
                plain = np.ones(len(plain), np.bool_)
        rows = strings.rows[plain]
        hits = chosen[strings.codes[plain]]
        truth.true[rows] |= hits
        truth.unknown[rows] = False

    def like(self, node: Like, frame: Frame, where: Mask | None) -> Truth:  # noqa: ARG002
        matches = compile_like(unicodedata.normalize("NFC", node.pattern))
        if isinstance(node.value, Text):
            return _constant(frame.size, matches(unicodedata.normalize("NFC", node.value.value)))
        truth = _nothing(frame.size)
        if isinstance(node.value, Property):
            strings = frame.column(node.value.name).strings
            if strings is not None:
                rule = Like(Property(""), node.pattern)
                _decide(truth, strings.rows, self._select(strings.dictionary, rule, matches)[strings.codes])
        return truth

    def is_null(self, node: IsNull, frame: Frame, where: Mask | None) -> Truth:  # noqa: ARG002
        if not isinstance(node.value, Property):
            return _constant(frame.size, False)
        if node.value.name == "geometry":
            null = np.isnan(frame.footprints().boxes[:, 0]) & (frame.footprints().shapes == None)  # noqa: E711
        else:
            null = ~frame.column(node.value.name).present(frame.size)
        return Truth(null, np.zeros(frame.size, np.bool_))

    def member(self, node: Member, frame: Frame, where: Mask | None) -> Truth:  # noqa: ARG002
        truth = _nothing(frame.size)
        if isinstance(node.value, Property) and isinstance(node.element, Text | Number | Boolean):
            arrays = frame.column(node.value.name).arrays
            if arrays is not None:
                wanted = node.element.value
                exact = isinstance(wanted, bool)
                hit = [
                    any(entry == wanted and isinstance(entry, bool) == exact for entry in array)
                    for array in arrays.values
                ]
                _decide(truth, arrays.rows, np.array(hit, np.bool_)[arrays.codes])
        return truth

    # -- space --------------------------------------------------------------------------------

    def s_intersects(self, node: SIntersects, frame: Frame, where: Mask | None) -> Truth:
        left, right = node.left, node.right
        if isinstance(left, Geometry | BBoxLiteral):
            left, right = right, left
        if isinstance(left, Geometry | BBoxLiteral):
            return _constant(frame.size, bool(shapely.intersects(_shape(left), _shape(right))))
        if not isinstance(left, Property) or left.name != "geometry":
            return _nothing(frame.size)
        footprints = frame.footprints()
        known = footprints.shapes != None  # noqa: E711 - elementwise
        true = np.zeros(frame.size, np.bool_)
        if isinstance(right, Property):
            if right.name != "geometry":
                return _nothing(frame.size)
            true = known & ~np.isnan(footprints.boxes[:, 0])
            return Truth(true, ~known)
        shape = self._prepared(right)
        if not shape.is_empty:
            west, south, east, north = shape.bounds
            boxes = footprints.boxes
            near = (boxes[:, 0] <= east) & (boxes[:, 2] >= west) & (boxes[:, 1] <= north) & (boxes[:, 3] >= south)
            if where is not None:
                near &= where
            if isinstance(right, BBoxLiteral) and right.west <= right.east:
                inside = (
                    near & (boxes[:, 0] >= west) & (boxes[:, 2] <= east)
                    & (boxes[:, 1] >= south) & (boxes[:, 3] <= north)
                )  # fmt: skip
                true |= inside
                near &= ~inside
            self._exact(shape, footprints.shapes, np.flatnonzero(near), true)
        return Truth(true, ~known)

    def _prepared(self, node: Value) -> Any:
        """A prepared copy of the literal, for this thread only: GEOS writes into it while it answers."""
        shape = self._shapes.get(node)
        if shape is None:
            shape = self._shapes[node] = _shape(node)
            shapely.prepare(shape)
        return shape

    def _exact(self, shape: Any, shapes: NDArray[np.object_], rows: NDArray[np.int64], true: Mask) -> None:
        if not len(rows):
            return
        weights = shapely.get_num_coordinates(shapes[rows]) + math.isqrt(shapely.get_num_coordinates(shape))
        chunks = np.cumsum(weights) // (_VERTICES_PER_CALL // 20)
        for chunk in np.split(rows, np.flatnonzero(np.diff(chunks)) + 1):
            self.checkpoint()
            true[chunk] = shapely.intersects(shape, shapes[chunk])

    # -- time ---------------------------------------------------------------------------------

    def t_intersects(self, node: TIntersects, frame: Frame, where: Mask | None) -> Truth:  # noqa: ARG002
        spans = [self._span(operand, frame) for operand in (node.left, node.right)]
        (a, b, known), (c, d, known2) = spans
        meets = (a <= d) & (c <= b)
        certain = np.broadcast_to(np.logical_and(known, known2), frame.size)
        true = np.broadcast_to(meets, frame.size) & certain
        return Truth(true, ~certain)

    @staticmethod
    def _span(operand: Value, frame: Frame) -> tuple[Any, Any, Any]:
        """First and last microsecond and whether they are known: scalars for a literal, else an array each."""
        match operand:
            case IntervalLiteral(since, until):
                return INT64_MIN if since is None else since, INT64_MAX if until is None else until, True
            case DateLiteral(day):
                return day, day + DAY - 1, True
            case Timestamp(instant):
                return instant, instant, True
            case Property("datetime"):
                extents = frame.extents()
                return extents.start, extents.end, extents.known
            case Property(name):
                known = np.zeros(frame.size, np.bool_)
                start, end = np.zeros(frame.size, np.int64), np.zeros(frame.size, np.int64)
                strings = frame.column(name).strings
                if strings is not None:
                    readable, first, last = strings.dictionary.spans()
                    known[strings.rows] = readable[strings.codes]
                    start[strings.rows], end[strings.rows] = first[strings.codes], last[strings.codes]
                return start, end, known
        return np.zeros(frame.size, np.int64), np.zeros(frame.size, np.int64), np.zeros(frame.size, np.bool_)


def _shape(node: Value) -> Any:
    if isinstance(node, BBoxLiteral):
        return BBox(node.west, node.south, node.east, node.north).shape()
    assert isinstance(node, Geometry)
    return shapely.from_wkb(node.wkb)


def _decide(truth: Truth, rows: NDArray[np.int64], hits: Any) -> None:
    truth.true[rows] = hits
    truth.unknown[rows] = False


def _exact_float(number: int | float) -> bool:
    return isinstance(number, float) or (abs(number) <= 2**1023 and int(float(number)) == number)


def _compare_integers(compare: Operator, values: NDArray[np.int64], literal: int | float) -> Any:
    """Exact: int64 against any integer, and against a float without rounding either side."""
    if isinstance(literal, float) and not literal.is_integer():
        if compare in (operator.eq, operator.ne):
            return np.full(len(values), compare is operator.ne)
        # Between two integers there is only the gap: x < 2.5 is x <= 2, x > 2.5 is x >= 3.
        below = math.floor(literal)
        if below < INT64_MIN or below >= INT64_MAX:
            return np.full(len(values), compare(0.0, literal))
        return values <= below if compare in (operator.lt, operator.le) else values > below
    whole = int(literal)
    if not INT64_MIN <= whole <= INT64_MAX:
        return np.full(len(values), compare(0, whole))
    return compare(values, np.int64(whole))


def _compare_floats(compare: Operator, values: NDArray[np.float64], literal: int | float) -> Any:
    """Exact: where an integer has no float of its own, its neighbours decide."""
    if _exact_float(literal):
        return compare(values, float(literal))
    if compare in (operator.eq, operator.ne):
        return np.full(len(values), compare is operator.ne)
    if abs(literal) > 2**1023:
        return np.full(len(values), compare(0, literal))
    nearest = float(literal)
    if compare in (operator.lt, operator.le):
        return values <= nearest if int(nearest) < literal else values < nearest
    return values >= nearest if int(nearest) > literal else values > nearest


def _compare_instants(
    compare: Operator, strings: Strings | None, span: tuple[int, int], truth: Truth, *, every: bool
) -> None:
    """Instants against an instant or a whole day. `every` takes any string that reads as one; otherwise
    only rows whose collection holds nothing else there."""
    if strings is None:
        return
    readable, first, last = strings.dictionary.spans()
    chosen = readable[strings.codes] if every else strings.temporal & readable[strings.codes]
    codes, rows = strings.codes[chosen], strings.rows[chosen]
    _decide(truth, rows, _compare_spans(compare, first[codes], last[codes], *span))


def _compare_spans(compare: Operator, a: Any, b: Any, c: Any, d: Any) -> Any:
    """[a, b] against [c, d], of which a date is the day: `<=` is "not wholly after"."""
    if compare is operator.lt:
        return b < c
    if compare is operator.gt:
        return a > d
    if compare is operator.le:
        return a <= d
    if compare is operator.ge:
        return b >= c
    overlap = (a <= d) & (c <= b)
    return overlap if compare is operator.eq else ~overlap


def _compare_literals(kind: type[Comparison], left: Value, right: Value) -> bool | None:
    compare = _OPERATORS[kind]
    spans = [_literal_span(side) for side in (left, right)]
    temporal = any(isinstance(side, DateLiteral | Timestamp) for side in (left, right))
    if temporal:
        if spans[0] is None or spans[1] is None:
            return None
        (a, b), (c, d) = spans[0], spans[1]
        return bool(_compare_spans(compare, np.int64(a), np.int64(b), np.int64(c), np.int64(d)))
    if isinstance(left, Text) and isinstance(right, Text):
        pair = (unicodedata.normalize("NFC", left.value), unicodedata.normalize("NFC", right.value))
        return bool(compare(*pair))
    if isinstance(left, Number | Boolean) and type(left) is type(right):
        return bool(compare(left.value, right.value))
    return None


def _literal_span(value: Value) -> tuple[int, int] | None:
    match value:
        case DateLiteral(start):
            return start, start + DAY - 1
        case Timestamp(instant):
            return instant, instant
        case Text(text):
            return parse_temporal(text)
    return None


def _compare_columns(compare: Operator, left: Column, right: Column, size: int) -> Truth:
    """Row by row, each kind with its own; rows whose kinds differ stay unknown."""
    truth = _nothing(size)
    for a in (left.integers, left.floats):
        for b in (right.integers, right.floats):
            rows, i, j = _common(a, b)
            if len(rows):
                assert a is not None
                assert b is not None
                _decide(truth, rows, _compare_numbers(compare, a.values[i], b.values[j]))
    rows, i, j = _common(left.booleans, right.booleans)
    if len(rows):
        assert left.booleans is not None
        assert right.booleans is not None
        _decide(truth, rows, compare(left.booleans.values[i], right.booleans.values[j]))
    rows, i, j = _common(left.strings, right.strings)
    if len(rows):
        assert left.strings is not None
        assert right.strings is not None
        _compare_string_columns(compare, left.strings, right.strings, (rows, i, j), truth)
    return truth


def _common(a: Lane | Strings | None, b: Lane | Strings | None) -> tuple[Any, Any, Any]:
    if a is None or b is None:
        return (), (), ()
    return np.intersect1d(a.rows, b.rows, assume_unique=True, return_indices=True)


def _compare_numbers(compare: Operator, a: NDArray[Any], b: NDArray[Any]) -> Any:
    """Exact for mixed kinds: a float, and what an integer exceeds its float by."""
    if a.dtype == b.dtype:
        return compare(a, b)
    (x, x_rest), (y, y_rest) = _split(a), _split(b)
    same = x == y
    return np.where(same, compare(x_rest, y_rest), compare(x, y))


def _split(values: NDArray[Any]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    if values.dtype == np.float64:
        return values, np.zeros(len(values), np.int64)
    nearest = values.astype(np.float64)
    clipped = np.minimum(nearest, np.nextafter(2.0**63, 0))
    return nearest, values - clipped.astype(np.int64)


def _compare_string_columns(
    compare: Operator, left: Strings, right: Strings, common: tuple[Any, Any, Any], truth: Truth
) -> None:
    rows, i, j = common
    a, b = left.codes[i], right.codes[j]
    temporal = left.temporal[i] & right.temporal[j]
    _, first, last = left.dictionary.spans()
    _, first2, last2 = right.dictionary.spans()
    as_time = _compare_spans(compare, first[a], last[a], first2[b], last2[b])
    x, y = left.dictionary.values, right.dictionary.values
    as_text = np.fromiter((compare(x[p], y[q]) for p, q in zip(a, b, strict=True)), np.bool_, len(rows))
    _decide(truth, rows, np.where(temporal, as_time, as_text))


def _cost(node: Predicate) -> int:
    """Cheap conjuncts first: what they exclude, the expensive ones need not look at."""
    if isinstance(node, SIntersects):
        return 3
    if isinstance(node, And | Or):
        return max(map(_cost, node.args), default=0)
    if isinstance(node, Not):
        return _cost(node.arg)
    return 2 if isinstance(node, Like) else 1


_TABLE: dict[type[Node], Callable[[Evaluator, Any, Frame, Mask | None], Truth]] = {
    And: Evaluator.conjunction,
    Or: Evaluator.disjunction,
    Not: Evaluator.negation,
    Boolean: Evaluator.boolean,
    **dict.fromkeys(_OPERATORS, Evaluator.comparison),
    Between: Evaluator.between,
    In: Evaluator.contained,
    Like: Evaluator.like,
    IsNull: Evaluator.is_null,
    Member: Evaluator.member,
    SIntersects: Evaluator.s_intersects,
    TIntersects: Evaluator.t_intersects,
}

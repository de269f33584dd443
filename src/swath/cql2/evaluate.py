"""What every operator means: the only place. Engines may pre-select, and then ask here.

A predicate over a block of n items is a pair of masks, TRUE and unknown (NULL); what is in neither is
FALSE. Three-valued logic after Kleene. Meaning: OGC 21-065r2 with the rulings of docs/reference.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.cql2 import arrays, ast, intervals, spatial
from swath.cql2.ast import (
    And,
    ArrayLiteral,
    ArrayPredicate,
    BBoxLiteral,
    Between,
    Boolean,
    Comparison,
    DateLiteral,
    Geometry,
    In,
    Interval,
    IntervalLiteral,
    IsNull,
    Like,
    Member,
    Node,
    Not,
    Number,
    NumericText,
    Or,
    Predicate,
    Property,
    Spatial,
    Temporal,
    Text,
    Timestamp,
    Value,
)
from swath.cql2.chosen import Chosen
from swath.cql2.comparisons import (
    INT64_MAX,
    INT64_MIN,
    MIRRORED,
    OPERATORS,
    common_rows,
    compare_columns,
    compare_floats,
    compare_instants,
    compare_integers,
    compare_literals,
    exact_float,
)
from swath.cql2.folding import nfc
from swath.cql2.frame import Column, Dictionary, Frame, Strings
from swath.cql2.like import Part, compile_like, like_parts, plain_part
from swath.cql2.truth import Mask, Truth, constant, decide, nothing
from swath.cql2.values import Values
from swath.stac.time import DAY, parse_temporal

__all__ = ["Evaluator", "Truth"]

_LITERALS = (Text, Number, NumericText, Boolean, DateLiteral, Timestamp)


class Checkpoint:
    """What is called between expensive steps, which another search may replace."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[[], None]) -> None:
        self.call = call

    def __call__(self) -> None:
        self.call()


class Evaluator:
    """One expression, ready to be evaluated over any number of blocks by one thread at a time.

    `checkpoint` is called between expensive steps; it may raise to abandon the evaluation.
    """

    def __init__(self, expression: Predicate, checkpoint: Callable[[], None] = lambda: None) -> None:
        self.expression = expression
        self.checkpoint = Checkpoint(checkpoint)
        self._lists: dict[tuple[int, Node], Mask] = {}
        self._sorted: dict[int, Sequence[Predicate]] = {}
        self._kept: list[object] = []  # what the keys above name by identity must not be freed and its place reused
        self._chosen = Chosen(self.checkpoint)
        self._space = spatial.Space(self.checkpoint)
        self._values = Values()

    def weight(self) -> int:
        """Bytes that are kept from block to block, about."""
        return sum(mask.nbytes for mask in self._lists.values()) + self._chosen.weight() + self._space.weight()

    def __call__(self, frame: Frame) -> Truth:
        """TRUE and unknown for each row of the block."""
        return self.evaluate(self.expression, frame, None)

    def evaluate(self, node: Predicate, frame: Frame, where: Mask | None) -> Truth:
        """`where` marks the rows that matter; answers for others may be anything."""
        self.checkpoint()
        return _TABLE[type(node)](self, node, frame, where)

    # -- logic --------------------------------------------------------------------------------

    def conjunction(self, node: And, frame: Frame, where: Mask | None) -> Truth:
        return self._all(self._cheap_first(node), frame, where)

    def _cheap_first(self, node: And | Or) -> Sequence[Predicate]:
        """What the cheap conditions exclude, the expensive ones need not look at."""
        found = self._sorted.get(id(node))
        if found is None:
            found = self._sorted[id(node)] = sorted(node.args, key=_cost)
            self._kept.append(node)
        return found

    def _all(self, args: Sequence[Predicate], frame: Frame, where: Mask | None) -> Truth:
        true = np.ones(frame.size, np.bool_)
        possible = true.copy() if where is None else where.copy()
        for arg in args:
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
        for arg in self._cheap_first(node):
            truth = self.evaluate(arg, frame, ~true if where is None else where & ~true)
            true |= truth.true
            unknown |= truth.unknown
        return Truth(true, unknown & ~true)

    def negation(self, node: Not, frame: Frame, where: Mask | None) -> Truth:
        truth = self.evaluate(node.arg, frame, where)
        return Truth(~truth.possible, truth.unknown)

    def boolean(self, node: Boolean, frame: Frame, where: Mask | None) -> Truth:  # noqa: ARG002 - one signature
        return constant(frame.size, node.value)

    # -- comparisons --------------------------------------------------------------------------

    def comparison(self, node: Comparison, frame: Frame, where: Mask | None) -> Truth:  # noqa: ARG002
        left, right, kind = node.left, node.right, type(node)
        if isinstance(left, _LITERALS):
            if isinstance(right, _LITERALS):
                return constant(frame.size, compare_literals(kind, left, right))
            left, right, kind = right, left, MIRRORED[kind]
        if isinstance(right, Number) and (lengths := self._values.lengths(left, frame)) is not None:
            truth = nothing(frame.size)
            strings, found = lengths
            decide(truth, strings.rows, compare_integers(OPERATORS[kind], found, right.value)[strings.codes])
            return truth
        column = self._values.column(left, frame)
        if not isinstance(right, _LITERALS):
            return compare_columns(OPERATORS[kind], column, self._values.column(right, frame), frame.size)
        truth = nothing(frame.size)
        self._compare(kind, column, right, truth)
        return truth

    def _compare(self, kind: type[Comparison], column: Column, literal: Value, truth: Truth) -> None:
        """Decide the rows whose value is of the literal's kind; the others stay as they are."""
        compare = OPERATORS[kind]
        match literal:
            case Number(value):
                if column.integers is not None:
                    decide(truth, column.integers.rows, compare_integers(compare, column.integers.values, value))
                if column.floats is not None:
                    decide(truth, column.floats.rows, compare_floats(compare, column.floats.values, value))
            case Boolean(value):
                if column.booleans is not None:
                    decide(truth, column.booleans.rows, compare(column.booleans.values, value))
            case Text(value):
                if column.strings is not None:
                    self._compare_text(kind, column.strings, value, truth)
            case NumericText(value, number):
                self._compare(kind, column, Text(value), truth)
                self._compare(kind, column, Number(number), truth)
            case DateLiteral(start):
                compare_instants(compare, column.strings, (start, start + DAY - 1), truth, every=True)
            case Timestamp(instant):
                compare_instants(compare, column.strings, (instant, instant), truth, every=True)
            case _:
                pass

    def _compare_text(self, kind: type[Comparison], strings: Strings, value: str, truth: Truth) -> None:
        """A bare string keeps both of its readings: as an instant beside instants, else as text."""
        span = parse_temporal(value)
        rows, codes = strings.rows, strings.codes
        if span is not None and strings.temporal.any():
            compare_instants(OPERATORS[kind], strings, span, truth, every=False)
            rows, codes = rows[~strings.temporal], codes[~strings.temporal]
        text = nfc(value)
        if kind in (ast.Equal, ast.NotEqual):
            code = strings.dictionary.code(text)
            hits = codes == code if kind is ast.Equal else codes != code
        else:
            hits = self._ordered(kind, strings.dictionary, text, codes)
        decide(truth, rows, hits)

    def _ordered(self, kind: type[Comparison], dictionary: Dictionary, text: str, codes: NDArray[np.int32]) -> Mask:
        """Strings before or after a text: by their numbers where these are in order."""
        bounds = dictionary.bounds(text)
        if bounds is None:
            compare = OPERATORS[kind]
            node = kind(Property(""), Text(text))
            return self._chosen.strings(dictionary, node, lambda entry: bool(compare(entry, text)), codes)[codes]
        less, not_greater = bounds
        before: Mask = codes < (less if kind in (ast.Less, ast.GreaterEqual) else not_greater)
        return before if kind in (ast.Less, ast.LessEqual) else ~before

    def between(self, node: Between, frame: Frame, where: Mask | None) -> Truth:
        ends = (ast.GreaterEqual(node.value, node.low), ast.LessEqual(node.value, node.high))
        return self._all(ends, frame, where)

    def contained(self, node: In, frame: Frame, where: Mask | None) -> Truth:
        if isinstance(node.value, _LITERALS) or not all(isinstance(item, _LITERALS) for item in node.items):
            if not node.items:
                return constant(frame.size, False)
            return self.disjunction(Or(tuple(ast.Equal(node.value, item) for item in node.items)), frame, where)
        column = self._values.column(node.value, frame)
        if not node.items:
            present = column.present(frame.size)
            return Truth(np.zeros(frame.size, np.bool_), ~present)
        truth = nothing(frame.size)
        self._contain_numbers(column, [item.value for item in node.items if isinstance(item, Number)], truth)
        if column.strings is not None and any(isinstance(item, Text) for item in node.items):
            self._contain_texts(column.strings, node, truth)
        booleans = {item.value for item in node.items if isinstance(item, Boolean)}
        if booleans and column.booleans is not None:
            decide(truth, column.booleans.rows, np.isin(column.booleans.values, list(booleans)))
        spans = [span for item in node.items if (span := _instant_span(item)) is not None]
        if spans and column.strings is not None:
            _contain_instants(column.strings, spans, truth, every=True)
            readable, _, _ = column.strings.dictionary.spans()
            # A string that is no instant is neither in nor out of a list that holds one.
            rows = column.strings.rows[~readable[column.strings.codes]]
            truth.unknown[rows] = ~truth.true[rows]
        return truth

    @staticmethod
    def _contain_numbers(column: Column, numbers: Sequence[int | float], truth: Truth) -> None:
        if not numbers:
            return
        if column.integers is not None:
            whole = [int(n) for n in numbers if n == int(n) and INT64_MIN <= n <= INT64_MAX]
            decide(truth, column.integers.rows, np.isin(column.integers.values, np.array(whole, np.int64)))
        if column.floats is not None:
            exact = [float(n) for n in numbers if exact_float(n)]
            decide(truth, column.floats.rows, np.isin(column.floats.values, np.array(exact, np.float64)))

    def _contain_texts(self, strings: Strings, node: In, truth: Truth) -> None:
        texts = [item.value for item in node.items if isinstance(item, Text)]
        key = (id(strings.dictionary), node)
        chosen = self._lists.get(key)
        if chosen is None or len(chosen) <= len(strings.dictionary.values):
            codes = [code for text in texts if (code := strings.dictionary.code(nfc(text))) >= 0]
            chosen = np.zeros(len(strings.dictionary.values) + 1, np.bool_)
            chosen[codes] = True
            self._lists[key] = chosen
            self._kept.append(strings.dictionary)
        rows, codes_here = strings.rows, strings.codes
        if strings.temporal.any():
            spans = [span for text in texts if (span := parse_temporal(text)) is not None]
            _contain_instants(strings, spans, truth, every=False)
            if len(spans) == len(texts):  # none of them is left to be equal as text
                rows, codes_here = rows[~strings.temporal], codes_here[~strings.temporal]
        hits = chosen[codes_here]
        if len(rows) == len(truth.true):
            np.logical_or(truth.true, hits, out=truth.true)
            truth.unknown[:] = False
        else:
            truth.true[rows] |= hits
            truth.unknown[rows] = False

    def like(self, node: Like, frame: Frame, where: Mask | None) -> Truth:  # noqa: ARG002
        matches = compile_like(nfc(node.pattern))
        if isinstance(node.value, Text):
            return constant(frame.size, matches(nfc(node.value.value)))
        truth = nothing(frame.size)
        strings = self._values.column(node.value, frame).strings
        if strings is not None:
            rule = Like(Property(""), node.pattern)
            pattern = nfc(node.pattern)
            chosen = self._chosen.strings(
                strings.dictionary, rule, matches, strings.codes, part=plain_part(pattern), parts=like_parts(pattern)
            )
            decide(truth, strings.rows, chosen[strings.codes])
        return truth

    def is_null(self, node: IsNull, frame: Frame, where: Mask | None) -> Truth:  # noqa: ARG002
        if isinstance(node.value, (*_LITERALS, Geometry, BBoxLiteral, IntervalLiteral)):
            return constant(frame.size, False)
        if isinstance(node.value, Interval):
            null = ~np.broadcast_to(self._span(node.value, frame)[2], frame.size)
        elif node.value == Property("geometry"):
            null = ~frame.footprints().known
        else:
            null = ~self._values.column(node.value, frame).present(frame.size)
        return Truth(null, np.zeros(frame.size, np.bool_))

    def member(self, node: Member, frame: Frame, where: Mask | None) -> Truth:  # noqa: ARG002
        truth = nothing(frame.size)
        if isinstance(node.value, Property) and isinstance(node.element, Text | Number | Boolean):
            column, wanted = frame.column(node.value.name), node.element.value
            if column.arrays is not None:
                exact, held = isinstance(wanted, bool), column.arrays

                def test(array: tuple[Any, ...]) -> tuple[bool, bool]:
                    return any(entry == wanted and isinstance(entry, bool) == exact for entry in array), True

                decide(truth, held.rows, self._chosen.arrays(node, held, test)[0][held.codes])
            if column.strings is not None and isinstance(wanted, str):
                part = nfc(wanted)
                strings = column.strings
                chosen = self._chosen.strings(
                    strings.dictionary, node, lambda entry: part in entry, strings.codes, part=Part(part)
                )
                decide(truth, strings.rows, chosen[strings.codes])
        return truth

    # -- space --------------------------------------------------------------------------------

    def spatial(self, node: Spatial, frame: Frame, where: Mask | None) -> Truth:
        return self._space.evaluate(node, frame, where)

    # -- time ---------------------------------------------------------------------------------

    def temporal(self, node: Temporal, frame: Frame, where: Mask | None) -> Truth:  # noqa: ARG002
        (a, b, known), (c, d, known2) = (self._span(operand, frame) for operand in (node.left, node.right))
        kind = type(node)
        meets = intervals.RELATIONS[kind](a, b, c, d)
        if kind in (ast.TOverlaps, ast.TOverlappedBy) and Property("datetime") in (node.left, node.right):
            # An item's extent may be one instant, which overlaps nothing by the formula: "acquired between" is meant.
            point = (a == b) if node.left == Property("datetime") else (c == d)
            meets = np.where(point, intervals.RELATIONS[ast.TIntersects](a, b, c, d), meets)
        certain = _spread(np.logical_and(known, known2), frame.size)
        return Truth(_spread(meets, frame.size) & certain, ~certain)

    def array(self, node: ArrayPredicate, frame: Frame, where: Mask | None) -> Truth:  # noqa: ARG002
        relation, left, right = arrays.RELATIONS[type(node)], node.left, node.right
        if isinstance(left, ArrayLiteral) and isinstance(right, ArrayLiteral):
            return constant(frame.size, relation(arrays.literal_set(left), arrays.literal_set(right)))
        if isinstance(left, Property) and isinstance(right, Property):
            return self._array_columns(relation, frame.column(left.name), frame.column(right.name), frame.size)
        truth = nothing(frame.size)
        literal = left if isinstance(left, ArrayLiteral) else right
        prop = right if literal is left else left
        assert isinstance(literal, ArrayLiteral)
        assert isinstance(prop, Property)
        column = frame.column(prop.name).arrays
        if column is None:
            return truth
        wanted, instants, first = arrays.literal_set(literal), arrays.has_instants(literal), literal is left

        def test(array: tuple[Any, ...]) -> tuple[bool, bool]:
            found = arrays.value_set(array, instants=instants)
            if found is None:
                return False, False
            return relation(wanted, found) if first else relation(found, wanted), True

        hits, comparable = self._chosen.arrays(node, column, test)
        known = comparable[column.codes]
        if known.all():
            decide(truth, column.rows, hits[column.codes])
        else:
            decide(truth, column.rows[known], hits[column.codes[known]])
        return truth

    @staticmethod
    def _array_columns(relation: Callable[..., bool], left: Column, right: Column, size: int) -> Truth:
        truth = nothing(size)
        if left.arrays is not None and right.arrays is not None:
            a, b = left.arrays, right.arrays
            rows, i, j = common_rows(a.rows, b.rows)
            # Each pair of distinct arrays once, however many rows have it.
            pairs, which = np.unique(np.stack([a.codes[i], b.codes[j]]), axis=1, return_inverse=True)
            hits, comparable = np.zeros(pairs.shape[1], np.bool_), np.zeros(pairs.shape[1], np.bool_)
            for number, (p, q) in enumerate(pairs.T.tolist()):
                x, y = arrays.value_set(a.values[p], instants=False), arrays.value_set(b.values[q], instants=False)
                if x is not None and y is not None:
                    hits[number], comparable[number] = relation(x, y), True
            which = which.reshape(-1)
            known = comparable[which]
            decide(truth, rows[known], hits[which][known])
        return truth

    def _span(self, operand: Value, frame: Frame) -> tuple[Any, Any, Any]:
        """First and last microsecond and whether they are known: scalars for a literal, else an array each."""
        match operand:
            case IntervalLiteral(since, until):
                return INT64_MIN if since is None else since, INT64_MAX if until is None else until, True
            case DateLiteral(day):
                return day, day + DAY - 1, True
            case Timestamp(instant):
                return instant, instant, True
            case Interval(first, last):
                start, _, known = (INT64_MIN, 0, True) if first is None else self._bound(first, frame)
                _, end, known2 = (0, INT64_MAX, True) if last is None else self._bound(last, frame)
                return start, end, np.logical_and(np.logical_and(known, known2), np.less_equal(start, end))
            case Property("datetime"):
                extents = frame.extents()
                return extents.start, extents.end, extents.known
        return self._bound(operand, frame)

    def _bound(self, operand: Value, frame: Frame) -> tuple[Any, Any, Any]:
        """The same of an end of an interval, where `datetime` is the property of that name, not the item's extent."""
        if isinstance(operand, DateLiteral | Timestamp):
            return self._span(operand, frame)
        begin, finish = np.zeros(frame.size, np.int64), np.zeros(frame.size, np.int64)
        readable = np.zeros(frame.size, np.bool_)
        strings = self._values.column(operand, frame).strings
        if strings is not None:
            is_instant, earliest, latest = strings.dictionary.spans()
            readable[strings.rows] = is_instant[strings.codes]
            begin[strings.rows], finish[strings.rows] = earliest[strings.codes], latest[strings.codes]
        return begin, finish, readable


def _spread(value: Any, size: int) -> Mask:
    """One truth for every row, where there is only one."""
    found: Mask = value if np.shape(value) == (size,) else np.broadcast_to(value, size)
    return found


def _instant_span(item: Value) -> tuple[int, int] | None:
    if isinstance(item, DateLiteral):
        return item.start, item.start + DAY - 1
    return (item.instant, item.instant) if isinstance(item, Timestamp) else None


def _contain_instants(strings: Strings, spans: list[tuple[int, int]], truth: Truth, *, every: bool) -> None:
    """Which instants lie in any of the spans: by two searches, however many there are."""
    readable, first, last = strings.dictionary.spans()
    chosen = readable[strings.codes] if every else strings.temporal & readable[strings.codes]
    codes, rows = strings.codes[chosen], strings.rows[chosen]
    starts, ends = np.sort([span[0] for span in spans]), np.sort([span[1] for span in spans])
    # A span meets [a, b] if it starts by b and does not end before a.
    started = np.searchsorted(starts, last[codes], side="right")
    over = np.searchsorted(ends, first[codes], side="left")
    truth.true[rows] |= started > over
    truth.unknown[rows] = False


def _cost(node: Predicate) -> int:
    """The least for what is evaluated first."""
    if isinstance(node, Spatial):
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
    **dict.fromkeys(OPERATORS, Evaluator.comparison),
    Between: Evaluator.between,
    In: Evaluator.contained,
    Like: Evaluator.like,
    IsNull: Evaluator.is_null,
    Member: Evaluator.member,
    **dict.fromkeys(spatial.RELATIONS, Evaluator.spatial),
    **dict.fromkeys(intervals.RELATIONS, Evaluator.temporal),
    **dict.fromkeys(arrays.RELATIONS, Evaluator.array),
}

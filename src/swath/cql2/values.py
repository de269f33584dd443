"""Values that are calculated from columns: arithmetic, folded strings, functions."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from swath.cql2 import ast
from swath.cql2.ast import Number, Property, Text, Value
from swath.cql2.comparisons import INT64_MAX, INT64_MIN, common_rows
from swath.cql2.folding import fold_accents, fold_case, nfc
from swath.cql2.frame import Column, Dictionary, Frame, Lane, Strings
from swath.cql2.functions import FUNCTIONS

__all__ = ["Mapped", "Values"]

_MANY = 65_536  # distinct strings that are not mapped for the sake of a few rows


class Mapped(Dictionary):
    """The strings that a function makes of another dictionary's, numbered anew."""

    def __init__(self, source: Sequence[str], change: Callable[[str], str]) -> None:
        self._codes: dict[str, int] = {}
        self.of = np.fromiter(
            (self._codes.setdefault(nfc(change(v)), len(self._codes)) for v in source), np.int32, len(source)
        )
        self._values = list(self._codes)

    @property
    def values(self) -> Sequence[str]:
        return self._values

    def code(self, value: str) -> int:
        return self._codes.get(value, -1)

    def spans(self) -> tuple[NDArray[np.bool_], NDArray[np.int64], NDArray[np.int64]]:
        """A changed string is no instant any more."""
        size = len(self._values)
        return np.zeros(size, np.bool_), np.zeros(size, np.int64), np.zeros(size, np.int64)

    def ranked(self, codes: NDArray[np.int32]) -> tuple[NDArray[np.float64], Sequence[str]]:
        values = self._values
        order = sorted(range(len(values)), key=values.__getitem__)
        ranks = np.empty(len(order))
        ranks[order] = np.arange(len(order))
        return ranks[codes], [values[code] for code in order]


class Values:
    """Columns of value expressions; what is made of a dictionary is kept between blocks."""

    def __init__(self) -> None:
        self._mapped: dict[tuple[int, Value], Mapped] = {}
        self._known_lengths: dict[int, NDArray[np.int64]] = {}
        self._kept: list[Dictionary] = []  # callers know a dictionary by its identity, which must not be used again

    def column(self, node: Value, frame: Frame) -> Column:
        """The values of an expression over a block. Rows where it is NULL are in no lane."""
        if isinstance(node, Property):
            return frame.column(node.name)
        if isinstance(node, ast.Fold):
            change = fold_case if isinstance(node, ast.CaseI) else fold_accents
            return self._mapped_strings(node, node.value, change, frame)
        if isinstance(node, ast.Function):
            return self._function(node, frame)
        if isinstance(node, ast.Arithmetic):
            # Of a number beside a property one row is enough.
            alone = isinstance(node.right, Number) and not isinstance(node.left, Number)
            right = _constant(node.right, 1) if alone else self.column(node.right, frame)
            return _calculate(node, self.column(node.left, frame), right)
        return _constant(node, frame.size)

    def _mapped_strings(self, node: Value, source: Value, change: Callable[[str], str], frame: Frame) -> Column:
        strings = self.column(source, frame).strings
        if strings is None:
            return Column()
        plain = np.zeros(len(strings.rows), np.bool_)
        dictionary = strings.dictionary
        if change is fold_accents and dictionary.ascii:
            return Column(strings=Strings(strings.rows, strings.codes, dictionary, plain))
        if change is fold_case and (folded := dictionary.folded()) is not None:
            return Column(strings=Strings(strings.rows, folded[0][strings.codes], folded[1], plain))
        if len(dictionary.values) > max(_MANY, 2 * len(strings.rows)):  # only those that are here
            used, codes = np.unique(strings.codes, return_inverse=True)
            some = Mapped([dictionary.values[code] for code in used.tolist()], change)
            return Column(strings=Strings(strings.rows, some.of[codes], some, plain))
        key = (id(strings.dictionary), node)
        mapped = self._mapped.get(key)
        if mapped is None or len(mapped.of) < len(strings.dictionary.values):
            mapped = self._mapped[key] = Mapped(strings.dictionary.values, change)
            self._kept += (mapped, strings.dictionary)
        return Column(strings=Strings(strings.rows, mapped.of[strings.codes], mapped, plain))

    def _function(self, node: ast.Function, frame: Frame) -> Column:
        definition = FUNCTIONS[node.name]
        (argument,) = node.args
        if definition.arguments == ("string",):
            if definition.returns == "string":
                return self._mapped_strings(node, argument, definition.apply, frame)
            strings = self.column(argument, frame).strings
            if strings is None:
                return Column()
            return Column(integers=Lane(strings.rows, self._lengths(strings.dictionary)[strings.codes]))
        column = self.column(argument, frame)
        integers, floats = [], []
        if column.integers is not None:
            rows, values = column.integers.rows, column.integers.values
            if node.name == "abs":
                fits = values != INT64_MIN  # whose absolute value is no int64
                floats.append(Lane(rows[~fits], np.abs(values[~fits].astype(np.float64))))
                rows, values = rows[fits], np.abs(values[fits])
            integers.append(Lane(rows, values))
        if column.floats is not None:
            floats.append(Lane(column.floats.rows, definition.apply(column.floats.values)))
        return Column(integers=_joined(integers), floats=_joined(floats))

    def lengths(self, node: Value, frame: Frame) -> tuple[Strings, NDArray[np.int64]] | None:
        """Of a function that counts something in strings: these, and its value for each in their dictionary."""
        if not isinstance(node, ast.Function) or FUNCTIONS[node.name].apply is not len:
            return None
        strings = self.column(node.args[0], frame).strings
        return (strings, self._lengths(strings.dictionary)) if strings is not None else None

    def _lengths(self, dictionary: Dictionary) -> NDArray[np.int64]:
        found = self._known_lengths.get(id(dictionary))
        if found is None or len(found) < len(dictionary.values):
            found = self._known_lengths[id(dictionary)] = dictionary.lengths()
            self._kept.append(dictionary)
        return found


def _constant(node: Value, size: int) -> Column:
    rows = np.arange(size, dtype=np.int64)
    if isinstance(node, Number):
        if isinstance(node.value, int) and INT64_MIN <= node.value <= INT64_MAX:
            return Column(integers=Lane(rows, np.full(size, node.value, np.int64)))
        return Column(floats=Lane(rows, np.full(size, float(node.value))))
    if isinstance(node, Text):
        dictionary = Mapped([nfc(node.value)], lambda value: value)
        plain = np.zeros(size, np.bool_)
        return Column(strings=Strings(rows, np.zeros(size, np.int32), dictionary, plain))
    return Column()


def _calculate(node: ast.Arithmetic, left: Column, right: Column) -> Column:
    """Row by row. Integers stay exact where the result fits into 64 bits; what is not finite is NULL."""
    integers: list[Lane] = []
    floats: list[Lane] = []
    if isinstance(node.right, Number) and not isinstance(node.left, Number):  # no need for a column of it
        for lane in (left.integers, left.floats):
            if lane is not None:
                constant = right.integers or right.floats
                assert constant is not None
                _combine(type(node), lane.rows, lane.values, constant.values, integers, floats)
        return Column(integers=_joined(integers), floats=_joined(floats))
    for a in (left.integers, left.floats):
        for b in (right.integers, right.floats):
            if a is None or b is None:
                continue
            rows, i, j = common_rows(a.rows, b.rows)
            if len(rows):
                _combine(type(node), rows, a.values[i], b.values[j], integers, floats)
    return Column(integers=_joined(integers), floats=_joined(floats))


def _combine(
    kind: type[ast.Arithmetic], rows: NDArray[np.int64], x: Any, y: Any, integers: list[Lane], floats: list[Lane]
) -> None:
    """`y` has a value for each row, or one for all."""
    exact = x.dtype == y.dtype == np.int64
    with np.errstate(all="ignore"):
        if exact and kind in _SIMPLE and len(x) and _stays_small(kind, x, y):
            integers.append(Lane(rows, _INTEGER[kind](x, y)))
            return
        near = _FLOAT[kind](x.astype(np.float64, copy=False), y.astype(np.float64, copy=False))
        if exact and kind in _INTEGER:
            whole = np.abs(near) < 2.0**62  # well inside int64, so that nothing wrapped
            if kind in (ast.IntegerDivide, ast.Modulo):
                whole &= y != 0
            y = np.broadcast_to(y, x.shape)
            safe = np.where(whole, y, 1)
            results = _INTEGER[kind](x, safe)
            for place in np.flatnonzero(~whole & (np.abs(near) <= 2.0**64)):  # perhaps inside: ask Python
                result = _EXACT[kind](int(x[place]), int(y[place]))
                if INT64_MIN <= result <= INT64_MAX:
                    results[place], whole[place] = result, True
            integers.append(Lane(rows[whole], results[whole]))
            rows, near = rows[~whole], near[~whole]
    finite = np.isfinite(near)
    floats.append(Lane(rows, near) if finite.all() else Lane(rows[finite], near[finite]))


def _stays_small(kind: type[ast.Arithmetic], x: NDArray[np.int64], y: NDArray[np.int64]) -> bool:
    """Whether no result can come near the ends of int64."""
    most = [max(abs(int(each.min())), abs(int(each.max()))) for each in (x, y)]
    return (most[0] * most[1] if kind is ast.Multiply else sum(most)) < 2**62


def _joined(lanes: list[Lane]) -> Lane | None:
    lanes = [lane for lane in lanes if len(lane.rows)]
    if not lanes:
        return None
    if len(lanes) == 1:
        return lanes[0]
    rows = np.concatenate([lane.rows for lane in lanes])
    order = np.argsort(rows, kind="stable")
    return Lane(rows[order], np.concatenate([lane.values for lane in lanes])[order])


_SIMPLE = (ast.Add, ast.Subtract, ast.Multiply)


def _truncated_division(x: Any, y: Any) -> Any:
    """Towards zero, unlike Python's //; what is left is exactly the modulus."""
    return np.where(y == 0, np.nan, np.rint((x - np.fmod(x, y)) / y))


def _whole_division(x: Any, y: Any) -> Any:
    quotient = x // y
    return quotient + ((quotient * y != x) & ((x < 0) != (y < 0)))


def _python_division(x: int, y: int) -> int:
    quotient = abs(x) // abs(y)
    return quotient if (x < 0) == (y < 0) else -quotient


_FLOAT: dict[type[ast.Arithmetic], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Subtract: np.subtract,
    ast.Multiply: np.multiply,
    ast.Divide: np.divide,
    ast.IntegerDivide: _truncated_division,
    ast.Modulo: np.fmod,  # the dividend's sign
    ast.Power: np.power,
}
_EXACT: dict[type[ast.Arithmetic], Callable[[int, int], int]] = {
    ast.Add: operator.add,
    ast.Subtract: operator.sub,
    ast.Multiply: operator.mul,
    ast.IntegerDivide: _python_division,
    ast.Modulo: lambda x, y: x - y * _python_division(x, y),
}
_INTEGER: dict[type[ast.Arithmetic], Callable[[Any, Any], Any]] = {
    ast.Add: np.add,
    ast.Subtract: np.subtract,
    ast.Multiply: np.multiply,
    ast.IntegerDivide: _whole_division,
    ast.Modulo: np.fmod,
}

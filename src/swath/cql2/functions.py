"""The functions that a filter may call: a fixed list of pure ones. Anything else is refused.

`/functions` publishes the list (OGC API - Features Part 3, 7.4).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["FUNCTIONS", "FunctionDefinition"]


@dataclass(frozen=True, slots=True)
class FunctionDefinition:
    """Name, kinds of the arguments and of the result (`string` or `number`), and what it does to one value each."""

    name: str
    description: str
    arguments: tuple[str, ...]
    returns: str
    apply: Callable[..., Any]


def _round(number: float) -> float | int:
    """Half away from zero, as SQL does; Python's own `round` goes to the even neighbour."""
    return number if isinstance(number, int) else math.copysign(math.floor(abs(number) + 0.5), number)


FUNCTIONS = {
    definition.name: definition
    for definition in (
        FunctionDefinition("abs", "The number without its sign.", ("number",), "number", abs),
        FunctionDefinition("ceil", "The next whole number above.", ("number",), "number", math.ceil),
        FunctionDefinition("floor", "The next whole number below.", ("number",), "number", math.floor),
        FunctionDefinition("length", "How many code points a string has.", ("string",), "number", len),
        FunctionDefinition("lower", "The string in lower case.", ("string",), "string", str.lower),
        FunctionDefinition(
            "round", "The nearest whole number; half goes away from zero.", ("number",), "number", _round
        ),
        FunctionDefinition("upper", "The string in upper case.", ("string",), "string", str.upper),
    )
}

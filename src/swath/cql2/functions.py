"""The functions that a filter may call: a fixed list of pure ones. Anything else is refused.

`/functions` publishes the list (OGC API - Features Part 3, 7.4).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["FUNCTIONS", "FunctionDefinition"]


@dataclass(frozen=True, slots=True)
class FunctionDefinition:
    """Name, kinds of the arguments and of the result (`string` or `number`), and what it does.

    `apply` takes one string, or an array of doubles: all numeric functions leave an integer as it is, but for its sign.
    """

    name: str
    description: str
    arguments: tuple[str, ...]
    returns: str
    apply: Callable[..., Any]


def _round(numbers: NDArray[np.float64]) -> NDArray[np.float64]:
    """Half away from zero, as SQL does; numpy's own goes to the even neighbour."""
    sizes = np.abs(numbers)
    whole = np.floor(sizes)
    rounded: NDArray[np.float64] = np.copysign(whole + (sizes - whole >= 0.5), numbers)
    return rounded


FUNCTIONS = {
    definition.name: definition
    for definition in (
        FunctionDefinition("abs", "The number without its sign.", ("number",), "number", np.abs),
        FunctionDefinition("ceil", "The next whole number above.", ("number",), "number", np.ceil),
        FunctionDefinition("floor", "The next whole number below.", ("number",), "number", np.floor),
        FunctionDefinition("length", "How many code points a string has.", ("string",), "number", len),
        FunctionDefinition("lower", "The string in lower case.", ("string",), "string", str.lower),
        FunctionDefinition(
            "round", "The nearest whole number; half goes away from zero.", ("number",), "number", _round
        ),
        FunctionDefinition("upper", "The string in upper case.", ("string",), "string", str.upper),
    )
}

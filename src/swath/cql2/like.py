"""LIKE patterns as matchers that take time linear in the value.

A regular expression with several `.*` backtracks; here the parts between `%` are found from left to
right, each at its first place, which is enough since `%` takes any run.
"""

from __future__ import annotations

import re
from collections.abc import Callable

__all__ = ["compile_like"]


def _parts(pattern: str) -> list[list[str | None]]:
    """The pattern cut at each `%`; None stands for `_`. A trailing lone backslash is itself."""
    parts: list[list[str | None]] = [[]]
    position = 0
    while position < len(pattern):
        character = pattern[position]
        if character == "%":
            parts.append([])
        elif character == "_":
            parts[-1].append(None)
        elif character == "\\" and position + 1 < len(pattern):
            position += 1
            parts[-1].append(pattern[position])
        else:
            parts[-1].append(character)
        position += 1
    return parts


def compile_like(pattern: str) -> Callable[[str], bool]:
    """Whether a whole value matches, case-sensitive (OGC 21-065r2, 7.1, LIKE)."""
    parts = _parts(pattern)
    plain = ["".join(part) if None not in part else None for part in parts]  # type: ignore[arg-type]
    if len(parts) == 1 and plain[0] is not None:
        literal = plain[0]
        return lambda value: value == literal
    if len(parts) == 2 and None not in plain:
        head, tail = plain
        assert head is not None
        assert tail is not None
        least = len(head) + len(tail)
        return lambda value: len(value) >= least and value.startswith(head) and value.endswith(tail)
    if len(parts) == 3 and plain[0] == "" and plain[2] == "" and plain[1] is not None:
        inner = plain[1]
        return lambda value: inner in value
    compiled = [re.compile("".join("." if c is None else re.escape(c) for c in part), re.DOTALL) for part in parts]
    first, middle, last = compiled[0], compiled[1:-1], compiled[-1]
    if len(parts) == 1:
        return lambda value: first.fullmatch(value) is not None
    tail_length = len(parts[-1])

    def matches(value: str) -> bool:
        found = first.match(value)
        if found is None:
            return False
        position = found.end()
        for part in middle:
            found = part.search(value, position)
            if found is None:
                return False
            position = found.end()
        start = len(value) - tail_length
        return start >= position and last.fullmatch(value, start) is not None

    return matches

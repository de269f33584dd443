"""LIKE patterns as matchers that take time linear in the value.

A regular expression with several `.*` backtracks; here the parts between `%` are found from left to
right, each at its first place, which is enough since `%` takes any run.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Part", "compile_like", "like_parts", "plain_part"]


def like_parts(pattern: str) -> list[list[str | None]]:
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


@dataclass(frozen=True, slots=True)
class Part:
    """A run of plain characters that every match holds; `first`: begins with. `whole`: nothing else is needed."""

    text: str
    first: bool = False
    whole: bool = True


def plain_part(pattern: str) -> Part | None:
    """What can be looked for without the pattern: where it begins, else its longest plain run, if it has one."""
    parts = like_parts(pattern)
    shape = [None in part for part in parts]
    if parts[0] and parts[0][0] is not None:
        run = "".join(itertools.takewhile(lambda c: c is not None, parts[0]))  # type: ignore[arg-type]
        return Part(run, first=True, whole=not any(shape) and len(parts) == 2 and not parts[1])
    runs = ["".join(run) for part in parts for plain, run in itertools.groupby(part, lambda c: c is not None) if plain]  # type: ignore[arg-type]
    longest = max(runs, key=len, default="")
    whole = not any(shape) and len(parts) == 3 and not parts[0] and not parts[2]
    return Part(longest, whole=whole) if longest else None


_LONGEST_REGEX = 64


def _regex(part: list[str | None]) -> re.Pattern[str]:
    return re.compile("".join("." if c is None else re.escape(c) for c in part), re.DOTALL)


def _finder(part: list[str | None]) -> Callable[[str, int], int]:
    """Where the first match of a part ends in a value, from a position on; -1 where there is none."""
    if None not in part:
        plain = "".join(part)  # type: ignore[arg-type]

        def find_plain(value: str, start: int) -> int:
            found = value.find(plain, start)
            return found + len(plain) if found >= 0 else -1

        return find_plain
    if len(part) <= _LONGEST_REGEX:
        compiled = _regex(part)

        def find_short(value: str, start: int) -> int:
            found = compiled.search(value, start)
            return found.end() if found else -1

        return find_short
    return _shift_and(part)


def _shift_and(part: list[str | None]) -> Callable[[str, int], int]:
    """The same for a long part with `_`, where a regular expression would try it anew at each place.

    Baeza-Yates and Gonnet 1992, "A new approach to text searching": bit n of the state tells that the part's
    first n + 1 characters end here.
    """
    anything = sum(1 << n for n, c in enumerate(part) if c is None)
    masks: dict[str, int] = {}
    for n, c in enumerate(part):
        if c is not None:
            masks[c] = masks.get(c, anything) | 1 << n
    whole = 1 << len(part) - 1

    def find(value: str, start: int) -> int:
        state = 0
        for position in range(start, len(value)):
            state = (state << 1 | 1) & masks.get(value[position], anything)
            if state & whole:
                return position + 1
        return -1

    return find


def compile_like(pattern: str) -> Callable[[str], bool]:
    """Whether a whole value matches, case-sensitive (OGC 21-065r2, 7.1, LIKE)."""
    parts = like_parts(pattern)
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
    first, last = _regex(parts[0]), _regex(parts[-1])
    if len(parts) == 1:
        return lambda value: first.fullmatch(value) is not None
    middle = [_finder(part) for part in parts[1:-1]]
    tail_length = len(parts[-1])

    def matches(value: str) -> bool:
        found = first.match(value)
        if found is None:
            return False
        position = found.end()
        for find in middle:
            position = find(value, position)
            if position < 0:
                return False
        start = len(value) - tail_length
        return start >= position and last.fullmatch(value, start) is not None

    return matches

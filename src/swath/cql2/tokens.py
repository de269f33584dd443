"""CQL2 text as a list of tokens, with what bytes alone can tell refused on the way: depth, bad characters."""

from __future__ import annotations

import re
from dataclasses import dataclass

from swath.errors import InvalidFilter
from swath.limits import LIMITS

__all__ = ["Token", "tokens_of"]

_TOKEN = re.compile(
    r"""[ \t\r\n]+
    | (?P<number>(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)
    | (?P<string>'(?:[^'\\]++|''|\\.)*+')
    | (?P<quoted>"(?:[^"]++|"")*+")
    | (?P<name>[^\W\d][\w.:\-]*|[:_][\w.:\-]*)
    | (?P<symbol><>|<=|>=|!=|[=<>()+\-*/%^,])
    """,
    re.VERBOSE | re.DOTALL,
)
# A name may hold `-` for the sake of STAC names like `view:off-nadir`; a trailing one is a minus.
_KEYWORDS = frozenset(("AND", "OR", "NOT", "LIKE", "BETWEEN", "IN", "IS", "NULL", "TRUE", "FALSE", "DIV"))


@dataclass(slots=True)
class Token:
    kind: str  # number, string, name, symbol, keyword, end
    text: str
    at: int


def tokens_of(text: str) -> list[Token]:
    tokens: list[Token] = []
    position, depth, prefixes = 0, 0, 0
    while position < len(text):
        match = _TOKEN.match(text, position)
        if match is None:
            found = text[position]
            what = "an unfinished string" if found in "'\"" else f"the character {found!r}"
            raise InvalidFilter(f"cannot read {what} at character {position}", position)
        kind, end = match.lastgroup, match.end()
        if kind is not None:
            word = match[0]
            if kind == "name":
                word = word.rstrip("-.")
                end = position + len(word)
                if word.upper() in _KEYWORDS:
                    kind, word = "keyword", word.upper()
            elif word == "(":
                depth += 1
                if depth > LIMITS.filter_depth:
                    raise InvalidFilter(f"the filter is nested deeper than {LIMITS.filter_depth} levels", position)
            elif word == ")":
                depth -= 1
            # A run of prefixes nests without parentheses: refused here, before all of it is read.
            prefixes = prefixes + 1 if word in ("NOT", "-") else 0
            if prefixes > LIMITS.filter_depth:
                raise InvalidFilter(f"the filter is nested deeper than {LIMITS.filter_depth} levels", position)
            tokens.append(Token(kind, word, position))
        position = end
    tokens.append(Token("end", "", len(text)))
    return tokens

"""JSON text: checked, without its insignificant white space, and where its members stand in it."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec
import numpy as np

from swath.errors import InvalidDocument
from swath.limits import LIMITS

__all__ = ["decode", "decode_compact", "members"]


def decode(raw: bytes, what: str) -> Any:
    """JSON bytes as Python values. InvalidDocument for malformed text, deep nesting, duplicate keys, bad strings."""
    return decode_compact(raw, what)[0]


def decode_compact(raw: bytes, what: str) -> tuple[Any, bytes]:
    """The values, and the text without its insignificant white space."""
    try:
        value = msgspec.json.decode(raw)
        compact = msgspec.json.format(raw, indent=-1)
    except RecursionError:
        raise InvalidDocument(f"the {what} is nested too deeply") from None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InvalidDocument(f"the {what} is not JSON: {error}") from None
    brackets = compact.count(b"{") + compact.count(b"[")
    if brackets > LIMITS.json_depth and _depth(compact) > LIMITS.json_depth:
        raise InvalidDocument(f"the {what} is nested deeper than {LIMITS.json_depth} levels")
    _refuse_duplicate_keys(compact, value)
    return value, compact


_NOT_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))
_NOT_BRACKETS_OR_QUOTES = bytes(set(range(256)) - set(b'[]{}"'))
_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"', re.DOTALL)
_STEP = np.zeros(256, np.int8)
_STEP[list(b"[{")], _STEP[list(b"]}")] = 1, -1


def _depth(compact: bytes) -> int:
    """How deeply a JSON text is nested. Brackets within strings do not count."""
    bare = compact.translate(None, _NOT_BRACKETS_OR_QUOTES).replace(b'""', b"")
    if b'"' in bare:  # some string holds a bracket or a quote
        bare = _STRING.sub(b"", compact).translate(None, _NOT_BRACKETS)
    if not bare:
        return 0
    return int(np.cumsum(_STEP[np.frombuffer(bare, np.uint8)], dtype=np.int32).max())


def _refuse_duplicate_keys(compact: bytes, value: Any) -> None:
    """JSON decoders keep the last of two equal keys; what the first said would be lost (RFC 8259, section 4).

    Printing the decoded value drops duplicates. Most documents are printed as they came; of the others the number
    of `":` in both texts tells, unless an escape hides one. Only then are the keys read one by one.
    """
    printed = msgspec.json.encode(value)
    if printed == compact or (b"\\u" not in compact and compact.count(b'":') == printed.count(b'":')):
        return
    for keys in _objects(compact):
        seen: set[str] = set()
        for key in keys:
            if key in seen:
                raise InvalidDocument(f"the member {key!r} stands twice in one object")
            seen.add(key)


def _objects(raw: bytes) -> list[list[str]]:
    """The keys of every object in the text, duplicates included."""
    found: list[list[str]] = []

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found.append([key for key, _ in pairs])
        return dict(pairs)

    json.loads(raw, object_pairs_hook=keep, parse_int=float)  # an integer of 5,000 digits is no fault here
    return found


def members(body: bytes) -> dict[str, tuple[int, int]]:
    """Where the value of each top-level member of a minimised object begins and ends, in bytes."""
    spans: dict[str, tuple[int, int]] = {}
    position = 1
    for name, raw in msgspec.json.decode(body, type=dict[str, msgspec.Raw]).items():
        position = _end_of_string(body, position) + 1
        end = position + len(bytes(raw))
        spans[name] = (position, end)
        position = end + 1
    return spans


def _end_of_string(text: bytes, position: int) -> int:
    """The offset behind the closing quote of the string that begins at `position`."""
    position += 1
    while True:
        quote = text.index(b'"', position)
        backslashes = 0
        while text[quote - 1 - backslashes] == 0x5C:
            backslashes += 1
        if backslashes % 2 == 0:
            return quote + 1
        position = quote + 1

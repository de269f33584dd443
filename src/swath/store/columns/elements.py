"""Arrays as the evaluator compares them, and their elements as keys of an index.

Equal elements have the same key (OGC 21-065r2, 7.8: by kind and value).
"""

from __future__ import annotations

from typing import Any

from swath.cql2.folding import nfc

__all__ = ["element_key", "element_keys", "elements"]


def element_key(element: Any) -> bytes | None:
    """The key of a string, number or boolean; None for what is compared otherwise."""
    if isinstance(element, bool):
        return b"b1" if element else b"b0"
    if isinstance(element, str):
        return b"s" + nfc(element).encode()
    if isinstance(element, float) and element.is_integer():
        element = int(element)
    if isinstance(element, int):
        return f"n{element:x}".encode()  # decimals of huge ones would be slow
    return b"n" + repr(element).encode() if isinstance(element, float) else None


def element_keys(array: list[Any]) -> set[bytes]:
    return {key for element in array if (key := element_key(element)) is not None}


def elements(array: list[Any]) -> tuple[Any, ...]:
    """An array as the evaluator compares it: nested arrays as tuples, objects as they are."""
    return tuple(nfc(e) if isinstance(e, str) else elements(e) if isinstance(e, list) else e for e in array)

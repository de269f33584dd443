"""Strings without case or accents (OGC 21-065r2, 7.3 and 7.4)."""

from __future__ import annotations

import unicodedata

__all__ = ["fold_accents", "fold_case"]

# Voicing marks of Japanese: not accents, they make another letter.
_KEPT = frozenset("\u3099\u309a")


def fold_case(text: str) -> str:
    """Full Unicode case folding (CaseFolding.txt, C and F), in normal form C."""
    return unicodedata.normalize("NFC", text.casefold())


def fold_accents(text: str) -> str:
    """Decomposed, less its nonspacing marks, in normal form C."""
    if text.isascii():
        return text
    parts = unicodedata.normalize("NFD", text)
    return unicodedata.normalize("NFC", "".join(c for c in parts if c in _KEPT or unicodedata.category(c) != "Mn"))

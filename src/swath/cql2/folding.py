"""Strings in normal form, and without case or accents (OGC 21-065r2, 7.3 and 7.4)."""

from __future__ import annotations

import re
import unicodedata

__all__ = ["fold_accents", "fold_case", "nfc"]

# Voicing marks of Japanese: not accents, they make another letter.
_KEPT = frozenset("\u3099\u309a")
# Normalising sorts each run of combining marks, in time quadratic in its length. No script writes as many as this
# after one letter (Unicode's own limit for streams is 30, UAX #15, section 13).
_LONGEST_RUN = 256
_PERHAPS_A_RUN = re.compile(rf"[^\x00-\u02ff]{{{_LONGEST_RUN + 1}}}")


def nfc(text: str) -> str:
    """Normal form C, so that canonically equal strings are equal. Endless combining marks stay as they are."""
    return text if text.isascii() or _is_endless(text) else unicodedata.normalize("NFC", text)


def _is_endless(text: str) -> bool:
    if len(text) <= _LONGEST_RUN or _PERHAPS_A_RUN.search(text) is None:
        return False
    run = 0
    for character in text:
        run = run + 1 if unicodedata.combining(character) else 0
        if run > _LONGEST_RUN:
            return True
    return False


def fold_case(text: str) -> str:
    """Full Unicode case folding (CaseFolding.txt, C and F), in normal form C."""
    return nfc(nfc(text).casefold())


def fold_accents(text: str) -> str:
    """Decomposed, less its nonspacing marks, in normal form C."""
    if text.isascii() or _is_endless(text):
        return text
    parts = unicodedata.normalize("NFD", text)
    return nfc("".join(c for c in parts if c in _KEPT or unicodedata.category(c) != "Mn"))

"""Who may see what, as an expression.

Every use case takes a rule and ANDs it to what the caller asks for. A rule is an ordinary predicate over
items; `EVERYTHING` hides nothing. Accounts and roles will make rules; until then faces pass `EVERYTHING`.
"""

from __future__ import annotations

from typing import TypeAlias

from swath.cql2.ast import Boolean, Predicate

__all__ = ["EVERYTHING", "Rule"]

Rule: TypeAlias = Predicate

EVERYTHING: Rule = Boolean(True)

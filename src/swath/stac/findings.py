"""What is found wrong with a document, and what was mended."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

__all__ = ["MOST_FINDINGS", "Findings", "Fix", "Level", "Problem", "pointer"]

Level = Literal["error", "warning"]

MOST_FINDINGS = 100  # of each level: a document of 10 MB can have hundreds of thousands


@dataclass(frozen=True, slots=True)
class Problem:
    """A rule that a document breaks. `fixable`: a rule of RFC 7946 says what is meant instead."""

    pointer: str  # RFC 6901
    message: str
    fixable: bool
    level: Level


@dataclass(frozen=True, slots=True)
class Fix:
    """What was changed, and where."""

    pointer: str
    message: str


@dataclass(slots=True)
class Findings:
    """Gathers problems, and beside each that can be mended how it is. The first hundred of a level are kept."""

    errors: list[Problem] = field(default_factory=list)
    warnings: list[Problem] = field(default_factory=list)
    fixes: list[Fix] = field(default_factory=list)

    @property
    def full(self) -> bool:
        """Whether one error more would not be kept."""
        return len(self.errors) >= MOST_FINDINGS

    def error(self, at: str, message: str, fix: str | None = None) -> None:
        self._keep(self.errors, Problem(at, message, fix is not None, "error"), fix)

    def warning(self, at: str, message: str, fix: str | None = None) -> None:
        self._keep(self.warnings, Problem(at, message, fix is not None, "warning"), fix)

    def _keep(self, found: list[Problem], problem: Problem, fix: str | None) -> None:
        if len(found) < MOST_FINDINGS:
            found.append(problem)
        if fix is not None and len(self.fixes) < MOST_FINDINGS:
            self.fixes.append(Fix(problem.pointer, fix))

    def problems(self) -> tuple[Problem, ...]:
        """Errors first."""
        return (*self.errors, *self.warnings)


def pointer(*steps: str | int) -> str:
    """A JSON pointer (RFC 6901) from the names and numbers that lead to a value."""
    return "".join(f"/{step}" if isinstance(step, int) else "/" + _escaped(step) for step in steps)


def _escaped(name: str) -> str:
    return name.replace("~", "~0").replace("/", "~1")

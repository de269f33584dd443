"""Options of `swath load` that are for addresses."""

from __future__ import annotations

from dataclasses import dataclass, fields

from swath.errors import InvalidRequest

__all__ = ["Remote"]


@dataclass(frozen=True, slots=True)
class Remote:
    """The options that are for addresses."""

    collections: list[str] | None = None
    header: list[str] | None = None
    restart: bool = False
    full: bool = False
    elsewhere: bool = False

    def refuse(self) -> None:
        """InvalidRequest if any is given."""
        for field in fields(self):
            if getattr(self, field.name):
                raise InvalidRequest(f"--{field.name} is for addresses, and none is named")

"""Swath: an Earth-observation catalogue and asset store."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from swath.session import Session

__all__ = ["__version__", "open"]

__version__ = "0.1.0"


def open(catalog: str | Path, *, create: bool = False) -> Session:  # noqa: A001 - `swath.open(…)` is the name
    """A catalogue in this process: search, count, get, write, export. See `swath.session.Session`."""
    from swath.session import Session

    return Session(catalog, create=create)

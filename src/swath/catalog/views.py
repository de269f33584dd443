"""Collections as a caller sees them."""

from __future__ import annotations

from dataclasses import dataclass

from swath.stac.links import LinkSpans

__all__ = ["CollectionPage", "CollectionView"]


@dataclass(frozen=True, slots=True)
class CollectionView:
    """A collection as a caller sees it. `derived` are members that its publisher left out, as JSON text."""

    key: int
    id: str
    seq: int
    body: bytes
    links: LinkSpans
    derived: dict[str, bytes]
    updated: int = 0  # when this version was committed, in microseconds since 1970


@dataclass(frozen=True, slots=True)
class CollectionPage:
    """Collections by id. Tokens are None where there is nothing on that side."""

    collections: tuple[CollectionView, ...]
    next: str | None
    previous: str | None
    matched: int

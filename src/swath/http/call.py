"""One request, as a handler sees it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from swath.access import Rule
from swath.catalog import Catalog
from swath.config import Settings
from swath.http.links import Address
from swath.http.params import Query, parse_query

__all__ = ["Call"]


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler needs. `path` holds the decoded parts of the route, `rule` what the caller may see."""

    catalog: Catalog
    settings: Settings
    rule: Rule
    address: Address
    method: str
    target: str
    query: bytes
    path: dict[str, str]
    body: bytes
    headers: dict[str, str]
    document: Callable[[Address], dict[str, Any]]

    def parameters(self, allowed: tuple[str, ...]) -> Query:
        return parse_query(self.query, allowed)

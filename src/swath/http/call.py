"""One request, as a handler sees it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from swath.access import Rule
from swath.catalog import Catalog
from swath.config import Settings
from swath.http.links import Address
from swath.http.params import Query, parse_query
from swath.limits import LIMITS

__all__ = ["Call"]


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler needs. `path` holds the decoded parts of the route, `rule` what the caller may see.

    A search may take so many `seconds`. `quick`: others wait for it. `abandoned` is set when the caller has gone.
    """

    catalog: Catalog
    settings: Settings
    rule: Rule
    address: Address
    method: str
    target: str
    query: bytes
    path: dict[str, str]
    body: bytes
    headers: Mapping[str, str]
    document: Callable[[Address], dict[str, Any]]
    seconds: float = LIMITS.deadline_seconds
    quick: bool = False
    abandoned: threading.Event = field(default_factory=threading.Event)

    def parameters(self, allowed: tuple[str, ...]) -> Query:
        return parse_query(self.query, allowed)

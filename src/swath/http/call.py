"""One request, as a handler sees it."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from starlette.datastructures import Headers

from swath.access import Rule
from swath.assets import AssetStore
from swath.catalog import Catalog
from swath.config import Settings
from swath.http.links import Address
from swath.http.params import Query, parse_query
from swath.limits import LIMITS

__all__ = ["Call"]


@dataclass(frozen=True, slots=True)
class Call:
    """What a handler needs. `path` holds the decoded parts of the route, `rule` what the caller may see.

    A search may take so many `seconds`. `quick`: others wait for it. `abandoned` is set when the caller has gone;
    `stopping` tells that the server wants to end.
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
    headers: Headers
    document: Callable[[Address], dict[str, Any]]
    actor: str = "http"
    upload: Path | None = None  # the body of a route that keeps it in a file
    files: AssetStore | None = None  # where the catalogue lies in a folder
    stream: Callable[[], AsyncIterator[bytes]] | None = None  # the body, of a route that reads it as it comes
    seconds: float = LIMITS.deadline_seconds
    quick: bool = False
    abandoned: threading.Event = field(default_factory=threading.Event)
    stopping: Callable[[], bool] = lambda: False

    def digest(self) -> bytes:
        """A hash of the body."""
        said = hashlib.blake2b(self.body, digest_size=16)
        if self.upload is not None:
            with self.upload.open("rb") as stream:
                said.update(hashlib.file_digest(stream, "blake2b").digest())
        return said.digest()

    def parameters(self, allowed: tuple[str, ...]) -> Query:
        return parse_query(self.query, allowed)

"""One route: what the router and the OpenAPI document are both made from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from swath.http.call import Call

__all__ = ["JSON_BODIES", "Route"]

JSON_BODIES = ("application/json", "application/geo+json", "application/schema+json")


@dataclass(frozen=True, slots=True)
class Route:
    """One method on one path. `answers` gives media type and schema name by status.

    `lane` says where the handler runs: in a search thread, in the event loop while that takes no time and else in a
    search thread (`quick`), in a thread that no search can hold up, in one of those that wait for commits (`write`), in
    the event loop, for what waits for nothing, or as a coroutine (`stream`). `accepts` are the media types of its body,
    which is kept in a file where `staged`; a `stream` reads it itself. `always` are headers of every answer on the
    path, of errors too, `offered` further ones of that to OPTIONS.
    `enveloped`: its errors have the members `data` and `error` too, as UP42's old paths do.
    """

    method: str
    path: str
    handler: Callable[[Call], Any]  # a Response; of the lane `stream`, the promise of one
    operation: str
    summary: str
    parameters: tuple[str, ...] = ()
    body: str | None = None
    answers: dict[int, tuple[str, str]] = field(default_factory=dict)
    faults: tuple[int, ...] = (400, 503)
    tag: str = "STAC"
    lane: Literal["search", "quick", "side", "loop", "write", "stream"] = "search"
    writes: bool = False
    accepts: tuple[str, ...] = JSON_BODIES
    staged: bool = False
    example: Any = None
    always: Mapping[str, str] = field(default_factory=dict)
    offered: Mapping[str, str] = field(default_factory=dict)
    enveloped: bool = False

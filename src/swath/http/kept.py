"""Answers that are given again, byte for byte, for as long as the catalogue stays as it was.

Maps and dashboards ask the same questions over and over. An answer is kept with what it depends on: the request, the
address at which the caller sees the API, the caller's rule, and the state of the catalogue.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Hashable
from typing import Any

from starlette.responses import Response

__all__ = ["Keepable", "KeptAnswers"]

_SECONDS = 60.0  # cursors age even where nothing is written
_OVERHEAD = 1_200  # of what lies around the bytes of an answer
_LARGEST_PART = 16  # of the room, one answer takes one part in so many at most


class Keepable(Response):
    """An answer that may be given again, since asking again would not tell more."""


class KeptAnswers:
    """The latest answers of one state of the catalogue, up to so many bytes."""

    def __init__(self, room: int) -> None:
        self._room, self._size = room, 0
        self._state: Any = None
        self._answers: OrderedDict[Hashable, tuple[Response, float]] = OrderedDict()

    def get(self, key: Hashable, state: Any) -> Response | None:
        """An answer that was given in the same state."""
        if state != self._state:
            self._answers.clear()
            self._state, self._size = state, 0
            return None
        found = self._answers.get(key)
        if found is None or found[1] < time.monotonic():
            return None
        self._answers.move_to_end(key)
        again = Response()
        again.body, again.status_code, again.raw_headers = found[0].body, found[0].status_code, [*found[0].raw_headers]
        return again

    def put(self, key: Hashable, state: Any, answer: Response) -> None:
        size = _size(answer)
        if not isinstance(answer, Keepable) or state != self._state or size * _LARGEST_PART > self._room:
            return
        before = self._answers.pop(key, None)
        self._size += size - (_size(before[0]) if before else 0)
        self._answers[key] = (answer, time.monotonic() + _SECONDS)
        while self._size > self._room:
            self._size -= _size(self._answers.popitem(last=False)[1][0])


def _size(answer: Response) -> int:
    """Bytes that keeping it takes, about."""
    return len(answer.body) + _OVERHEAD

"""Conversions on a Dask cluster that the user already runs. Its workers see the catalogue's folder under the same path,
and have Swath with its raster extra installed."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from distributed import Client

__all__ = ["DaskConverters"]


class DaskConverters:
    """Each conversion is a task of the cluster, done in a sandbox of the worker that it falls to."""

    def __init__(self, address: str) -> None:
        """OSError where there is no cluster."""
        self._client: Any = Client(address, set_as_default=False)  # type: ignore[no-untyped-call]

    def submit(self, work: Callable[..., Any], *arguments: Any) -> Future[Any]:
        # Not pure: the result is a file, which must be made again after a failure.
        submitted: Future[Any] = self._client.submit(work, *arguments, pure=False)
        return submitted

    def close(self) -> None:
        self._client.close()

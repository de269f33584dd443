"""The ASGI application: builds everything from settings, and carries each request to its handler."""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route as StarletteRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from swath.access import EVERYTHING
from swath.catalog import Catalog
from swath.config import Settings
from swath.errors import (
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    SwathError,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from swath.http.call import Call
from swath.http.errors import problem
from swath.http.guard import check_write
from swath.http.links import Address, address_of
from swath.http.middleware import Compression, Cors
from swath.http.openapi import document
from swath.http.routes import ROUTES, Route
from swath.limits import LIMITS

__all__ = ["create_app"]

log = logging.getLogger("swath.http")


def create_app(settings: Settings, catalog: str | Path | Catalog) -> ASGIApp:
    """The application over one catalogue. Opens the catalogue when the server starts, in the worker itself."""
    return _Application(settings, catalog).asgi()


class _Application:
    def __init__(self, settings: Settings, catalog: str | Path | Catalog) -> None:
        self.settings = settings
        self.source = catalog
        self.catalog: Catalog | None = catalog if isinstance(catalog, Catalog) else None
        self.trusted = settings.proxy_networks()
        self.executor: ThreadPoolExecutor | None = None
        self.waiting = threading.BoundedSemaphore(settings.search_queue + settings.search_threads)

    def asgi(self) -> ASGIApp:
        methods: dict[str, list[Route]] = {}
        for route in ROUTES:
            methods.setdefault(route.path, []).append(route)
        routes = [self.starlette_route(path, group) for path, group in methods.items()]
        inner = Starlette(
            routes=routes,
            lifespan=self.lifespan,
            exception_handlers={HTTPException: self.no_route, Exception: self.failed},
        )
        inner.router.redirect_slashes = False
        safe_posts = frozenset(route.path for route in ROUTES if route.method == "POST" and not route.writes)
        return _Paths(Cors(Compression(inner), safe_posts), self.settings.root_path)

    @asynccontextmanager
    async def lifespan(self, _app: Starlette) -> AsyncIterator[None]:
        opened = self.catalog is None
        if self.catalog is None:
            self.catalog = Catalog.open(self.source)  # type: ignore[arg-type]
        self.executor = ThreadPoolExecutor(self.settings.search_threads, "search")
        self.executor.submit(self.catalog.index.refresh)
        try:
            yield
        finally:
            self.executor.shutdown(wait=True, cancel_futures=True)
            if opened:
                self.catalog.close()

    # -- carrying a request -------------------------------------------------------------------

    def starlette_route(self, path: str, group: list[Route]) -> StarletteRoute:
        by_method = {route.method: route for route in group}
        allowed = sorted({*by_method, "OPTIONS"} | ({"HEAD"} if "GET" in by_method else set()))

        async def endpoint(request: Request) -> Response:
            if request.method == "OPTIONS":
                return Response(status_code=204, headers={"allow": ", ".join(allowed)})
            route = by_method["GET" if request.method == "HEAD" else request.method]
            try:
                return await self.handle(request, route)
            except SwathError as error:
                return problem(error, request.url.path)

        return StarletteRoute(path, endpoint, methods=allowed)

    async def handle(self, request: Request, route: Route) -> Response:
        address = address_of(request.scope, self.settings, self.trusted)
        if route.writes:
            check_write(self.settings, address, request.headers)
        body = await self.body(request, route) if route.body else b""
        assert self.catalog is not None
        call = Call(
            catalog=self.catalog,
            settings=self.settings,
            rule=EVERYTHING,
            address=address,
            method=request.method,
            target=request.scope["path"],
            query=request.scope["query_string"],
            path={name: _unquote(value) for name, value in request.path_params.items()},
            body=body,
            headers={name.decode("latin-1"): value.decode("latin-1") for name, value in request.scope["headers"]},
            document=self.document,
        )
        if route.lane == "loop":
            return route.handler(call)
        if route.lane == "side":
            return await asyncio.to_thread(route.handler, call)
        return await self.in_search_thread(partial(route.handler, call))

    def document(self, address: Address) -> dict[str, Any]:
        return document(address, self.settings)

    async def body(self, request: Request, route: Route) -> bytes:
        """The whole body, counted as it comes: what Content-Length claims is not believed."""
        chunks: list[bytes] = []
        size = 0
        async for chunk in request.stream():
            size += len(chunk)
            if size > LIMITS.body_bytes:
                raise TooLarge(f"the body is larger than {LIMITS.body_bytes:,} bytes")
            chunks.append(chunk)
        media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if size and media_type not in ("application/json", "application/geo+json", "application/schema+json"):
            raise UnsupportedMediaType(
                f"{route.path} reads application/json, not {media_type[:80] or 'a body without Content-Type'!r}"
            )
        return b"".join(chunks)

    async def in_search_thread(self, work: Callable[[], Response]) -> Response:
        if not self.waiting.acquire(blocking=False):
            raise Unavailable("the server is busy; try again in a moment")
        assert self.executor is not None
        try:
            return await asyncio.get_running_loop().run_in_executor(self.executor, work)
        finally:
            self.waiting.release()

    async def no_route(self, request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        path = request.scope["path"]
        if error.status_code == 405:
            allowed = (error.headers or {}).get("Allow", "")
            fault: SwathError = MethodNotAllowed(
                f"{path} does not take {request.method[:20]}; it takes {allowed}",
                tuple(allowed.split(", ")) if allowed else (),
            )
        elif error.status_code == 404:
            fault = NotFound(f"there is no {path[:200]} here; / lists what there is")
        else:
            fault = InvalidRequest(error.detail)
        return problem(fault, path)

    async def failed(self, request: Request, error: Exception) -> Response:
        log.error("%s %s failed", request.method, request.scope["path"], exc_info=error)
        return problem(error, request.scope["path"])


def _unquote(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidRequest("the path is not UTF-8, or its percent-encoding is not") from None


class _Paths:
    """Routes are matched on the path as it was sent, so that an id may hold an encoded slash.

    The root path is taken off, whether or not a proxy did so already, and so is a slash at the end.
    """

    def __init__(self, app: ASGIApp, root_path: str) -> None:
        self.app, self.root_path = app, root_path

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            raw = scope.get("raw_path") or scope["path"].encode()
            path = raw.partition(b"?")[0].decode("latin-1")
            if self.root_path and (path == self.root_path or path.startswith(self.root_path + "/")):
                path = path[len(self.root_path) :]
            path = path.rstrip("/") or "/"
            scope = {**scope, "path": path, "root_path": ""}
        await self.app(scope, receive, send)

"""The ASGI application: builds everything from settings, and carries each request to its handler."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import secrets
import signal
import threading
import time
from collections import OrderedDict
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
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
from swath.assets import AssetStore
from swath.blobs import open_blobs
from swath.catalog import Catalog
from swath.config import Settings
from swath.errors import (
    DeadlineExceeded,
    InvalidRequest,
    MethodNotAllowed,
    NotFound,
    SwathError,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from swath.http.bulk import work_on
from swath.http.call import Call
from swath.http.entities import validated
from swath.http.errors import problem
from swath.http.fairness import FairPool
from swath.http.guard import check_write, takes_writes
from swath.http.hooks import teller_of
from swath.http.idempotency import done_once
from swath.http.kept import KeptAnswers
from swath.http.links import ADDRESSING, Address, address_of, caller_of
from swath.http.middleware import Compression, Cors
from swath.http.openapi import document
from swath.http.route import Route
from swath.http.storage import FACE, OTHER_NAME
from swath.http.table import ROUTES
from swath.jobs import WORK
from swath.limits import LIMITS

__all__ = ["create_app"]

log = logging.getLogger("swath.http")

# Conditions of which an answer that is kept knows nothing.
_KNOWS_BETTER = frozenset(("if-modified-since", "if-match", "if-unmodified-since"))
_QUICK_SECONDS = 0.002
_WRITERS = 32
_PATIENCE_SECONDS = 5.0  # for a job to come to a place where it can be left
_STAGED_AT_ONCE = 1_000_000
_SMALL = 4_000  # bytes that are read at once, whatever they say
_MOST_SLOW, _MOST_ADDRESSES = 10_000, 1_000


def create_app(settings: Settings, catalog: str | Path | Catalog) -> ASGIApp:
    """The application over one catalogue. Opens the catalogue when the server starts, in the worker itself."""
    return _Application(settings, catalog).asgi()


class _Application:
    def __init__(self, settings: Settings, catalog: str | Path | Catalog) -> None:
        self.settings = settings
        self.source = catalog
        self.catalog: Catalog | None = catalog if isinstance(catalog, Catalog) else None
        self.trusted = settings.proxy_networks()
        self.pool: FairPool | None = None
        self.files: AssetStore | None = None
        self.told_to_stop = threading.Event()
        # Writes wait for their commit together: many at a time share one.
        self.writers = ThreadPoolExecutor(_WRITERS, "write")
        self.addresses: dict[tuple[Any, ...], Address] = {}
        self.kept = KeptAnswers(settings.kept_answers_mb * 1_000_000)
        self.slow: OrderedDict[bytes, None] = OrderedDict()  # requests that were too much for the event loop

    def asgi(self) -> ASGIApp:
        methods: dict[str, list[Route]] = {}
        for route in ROUTES:
            methods.setdefault(route.path, []).append(route)
        # Those that are asked most are looked at first.
        often = sorted(methods.items(), key=lambda each: all(route.lane != "quick" for route in each[1]))
        routes = [self.starlette_route(path, group) for path, group in often]
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
            # A process of its own builds the index, not one that others wait for.
            self.catalog = Catalog.open(self.source, builds=False)  # type: ignore[arg-type]
        if self.catalog.folder is not None:
            self.files = AssetStore(self.catalog, open_blobs(self.settings.blobs, self.catalog.folder))
        _note_signals(self.told_to_stop)
        self.pool = FairPool(self.settings.search_threads, self.settings.search_queue)
        self.pool.submit(self.catalog.index.refresh)
        over = threading.Event()
        workers = []
        if takes_writes(self.settings) and self.catalog.folder is not None:
            teller = teller_of(self.catalog, self.files, self.settings)
            workers = [
                threading.Thread(target=work_on, args=(self.catalog, over), name="jobs", daemon=True),
                threading.Thread(target=teller.work, args=(over,), name="webhooks", daemon=True),
            ]
        for worker in workers:
            worker.start()
        try:
            yield
        finally:
            over.set()
            for worker in workers:
                await asyncio.to_thread(worker.join, _PATIENCE_SECONDS)
            self.pool.close()
            self.writers.shutdown()
            if opened:
                self.catalog.close()

    # -- carrying a request -------------------------------------------------------------------

    def starlette_route(self, path: str, group: list[Route]) -> StarletteRoute:
        by_method = {route.method: route for route in group}
        allowed = sorted({*by_method, "OPTIONS"} | ({"HEAD"} if "GET" in by_method else set()))

        always = {name: value for route in group for name, value in route.always.items()}
        offered = {name: value for route in group for name, value in route.offered.items()}

        async def endpoint(request: Request) -> Response:
            if request.method == "OPTIONS":
                return Response(status_code=204, headers={"allow": ", ".join(allowed), **offered, **always})
            route = by_method.get(request.method) or by_method["GET"]  # for HEAD, where it has no handler of its own
            try:
                answer = await self.handle(request, route)
            except SwathError as error:
                answer = problem(error, request.url.path, enveloped=route.enveloped)
            if always:
                answer.headers.update(always)
            return answer

        return StarletteRoute(path, endpoint, methods=allowed)

    async def handle(self, request: Request, route: Route) -> Response:
        address = self.address(request.scope)
        if route.writes:
            check_write(self.settings, address, request.headers)
        assert self.catalog is not None
        upload = await self.staged(request, route) if route.staged else None
        body = await self.body(request, route) if route.body and not route.staged and route.lane != "stream" else b""
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
            upload=upload,
            headers=request.headers,
            files=self.files,
            stream=request.stream,
            document=self.document,
            stopping=self.stopping,
            seconds=_QUICK_SECONDS if route.lane == "quick" else LIMITS.deadline_seconds,
            quick=route.lane == "quick",
        )
        if route.lane == "stream":
            streamed: Response = await route.handler(call)
            return streamed
        if route.lane == "loop":
            return _answered(route, call)
        if route.lane == "side":
            return await asyncio.to_thread(_answered, route, call)
        if route.lane == "write":
            try:
                return await asyncio.get_running_loop().run_in_executor(self.writers, done_once, route.handler, call)
            finally:
                if upload is not None:  # unless it has become a job's
                    upload.unlink(missing_ok=True)
        assert self.pool is not None
        # Whether a date is past enough is a question of the time too: the answer is not one to be given again.
        if route.lane == "search" or not _KNOWS_BETTER.isdisjoint(call.headers.keys()):
            return await self.in_thread(request, route, call, b"")
        mark = _mark(call)
        # Read before the answer is made, so that it is never taken for that of a later state.
        state = call.catalog.index.state()
        if state is None:  # what was committed since is read in a thread
            return await self.in_thread(request, route, call, mark)
        answer = self.kept.get((mark, call.rule), state) or self.quickly(route, call, mark)
        if answer is None:
            answer = await self.in_thread(request, route, call, mark)
        self.kept.put((mark, call.rule), state, answer)
        return answer

    async def in_thread(self, request: Request, route: Route, call: Call, mark: bytes) -> Response:
        """In a search thread, for as long as the caller is there and the time since the request came allows."""
        assert self.pool is not None
        call = replace(call, quick=False)
        work = partial(self.timed, route, call, mark, time.monotonic() + LIMITS.deadline_seconds)
        running = asyncio.ensure_future(self.pool.run(caller_of(request.scope, self.trusted), work))
        gone = asyncio.ensure_future(_disconnected(request))
        try:
            await asyncio.wait((running, gone), return_when=asyncio.FIRST_COMPLETED)
            if not running.done():
                call.abandoned.set()
                running.cancel()
                return Response(status_code=499)  # nobody reads it
            return running.result()
        finally:
            gone.cancel()

    def quickly(self, route: Route, call: Call, mark: bytes) -> Response | None:
        """Answer in the event loop: a thread would take longer to begin than most searches take to end.

        None for what takes longer than others can wait, and for what did so before.
        """
        if mark in self.slow or len(call.query) + len(call.body) > _SMALL:
            return None
        try:
            answer = _answered(route, call)
        except DeadlineExceeded:
            self.slow[mark] = None
            if len(self.slow) > _MOST_SLOW:
                self.slow.popitem(last=False)
            return None
        return answer

    def timed(self, route: Route, call: Call, mark: bytes, until: float) -> Response:
        """In a thread. What was slow for once, as it is when nothing has been read yet, is tried in the loop again."""
        started = time.monotonic()
        if started > until:
            raise Unavailable("the server is busy; try again in a moment", 5)
        call.catalog.index.refresh(until - started)
        answer = _answered(route, replace(call, seconds=until - time.monotonic()))
        if time.monotonic() - started < _QUICK_SECONDS:
            self.slow.pop(mark, None)
        return answer

    def address(self, scope: Scope) -> Address:
        """Where the caller sees the API: told once for equal headers."""
        client, server = scope.get("client") or ("",), tuple(scope.get("server") or ())
        key = (
            client[0],
            server,
            scope["scheme"],
            scope["http_version"],
            *(tuple(pair) for pair in scope["headers"] if pair[0] in ADDRESSING),
        )
        found = self.addresses.get(key)
        if found is None:
            found = address_of(scope, self.settings, self.trusted)
            if len(self.addresses) > _MOST_ADDRESSES:
                self.addresses.clear()
            self.addresses[key] = found
        return found

    def stopping(self) -> bool:
        """Whether the server was told to stop: streams end then, which nobody else would end."""
        return self.told_to_stop.is_set()

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
        if size:
            check_media_type(request, route)
        return b"".join(chunks)

    async def staged(self, request: Request, route: Route) -> Path:
        """The body in a file, of whatever length it is."""
        assert self.catalog is not None
        assert self.catalog.folder is not None
        check_media_type(request, route)
        folder = self.catalog.folder / WORK
        await asyncio.to_thread(folder.mkdir, exist_ok=True)
        path = folder / f"{secrets.token_hex(8)}.upload~"
        try:
            with path.open("wb") as out:
                waiting = bytearray()
                async for chunk in request.stream():
                    waiting += chunk
                    if len(waiting) > _STAGED_AT_ONCE:
                        await asyncio.to_thread(out.write, bytes(waiting))
                        waiting.clear()
                await asyncio.to_thread(out.write, bytes(waiting))
        except BaseException:
            path.unlink(missing_ok=True)
            raise
        return path

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


def _note_signals(told: threading.Event) -> None:
    """Notice what the server handles: it waits for requests to end, and knows no streams."""
    if threading.current_thread() is not threading.main_thread():
        return
    for number in (signal.SIGINT, signal.SIGTERM):
        before = signal.getsignal(number)
        if callable(before):

            def noticed(received: int, frame: Any, before: Any = before) -> None:
                told.set()
                before(received, frame)

            signal.signal(number, noticed)


def check_media_type(request: Request, route: Route) -> None:
    encoding = request.headers.get("content-encoding", "identity").strip().lower()
    if encoding != "identity":
        raise UnsupportedMediaType(f"{route.path} reads a body as it is, not one in {encoding[:40]!r}")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in route.accepts:
        raise UnsupportedMediaType(
            f"{route.path} reads {route.accepts[0]}, not {media_type[:80] or 'a body without Content-Type'!r}"
        )


def _unquote(text: str) -> str:
    try:
        return unquote(text, errors="strict")
    except UnicodeDecodeError:
        raise InvalidRequest("the path is not UTF-8, or its percent-encoding is not") from None


def _answered(route: Route, call: Call) -> Response:
    """What a handler answers, with a validator where it has none."""
    return validated(call, route.handler(call))


def _mark(call: Call) -> bytes:
    """Equal for requests that ask the same, and see the API at the same address."""
    asked = repr((call.method, call.address.base, call.target, call.query, call.headers.getlist("if-none-match")))
    return hashlib.blake2b(asked.encode() + call.body).digest()


async def _disconnected(request: Request) -> None:
    """Returns when the caller is gone."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


class _Paths:
    """Routes are matched on the path as it was sent, so that an id may hold an encoded slash.

    The root path is taken off, whether or not a proxy did so already, and so is a slash at the end; a face that has two
    names is known by one.
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
            if path == OTHER_NAME or path.startswith(OTHER_NAME + "/"):
                path = FACE + path[len(OTHER_NAME) :]
            scope = {**scope, "path": path, "root_path": ""}
        await self.app(scope, receive, send)

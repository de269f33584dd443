"""What wraps every answer: CORS for safe methods, and compression."""

from __future__ import annotations

import asyncio
import functools
import re
import zlib

import zstandard
from starlette.types import ASGIApp, Message, Receive, Scope, Send

__all__ = ["Compression", "Cors"]

_EXPOSED = (
    b"Accept-Ranges, Allow, Content-Disposition, Content-Language, Content-Length, Content-Range, ETag, Last-Modified, "
    b"Link, Location, Repr-Digest, Retry-After, Swath-Notes"
)
_REQUESTED = b"Accept, Authorization, Content-Type, If-Match, If-None-Match, If-Range, Range"
_SMALLEST = 700
_LARGE = 256_000
_COMPRESSIBLE = re.compile(
    rb"application/(?:[a-z0-9.+-]*\+)?json|application/vnd\.oai|text/|application/javascript|image/svg"
)


class Cors:
    """Any origin may read. No credentials, and no unsafe method, is ever granted.

    POST is granted where it only searches; `safe_posts` are those paths.
    """

    def __init__(self, app: ASGIApp, safe_posts: frozenset[str]) -> None:
        self.app, self.safe_posts = app, safe_posts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return

        async def with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = list(message["headers"])
                headers.append((b"access-control-allow-origin", b"*"))
                headers.append((b"access-control-expose-headers", _EXPOSED))
                if scope["method"] == "OPTIONS":
                    allow = next((value for name, value in headers if name == b"allow"), b"GET, HEAD, OPTIONS")
                    granted = [m for m in allow.decode().split(", ") if m in self.granted(scope["path"])]
                    headers.append((b"access-control-allow-methods", ", ".join(granted).encode()))
                    headers.append((b"access-control-allow-headers", _REQUESTED))
                    headers.append((b"access-control-max-age", b"86400"))
                message = {**message, "headers": headers}
            await send(message)

        await self.app(scope, receive, with_headers)

    def granted(self, path: str) -> tuple[str, ...]:
        return ("GET", "HEAD", "OPTIONS", *(("POST",) if path in self.safe_posts else ()))


class Compression:
    """gzip and zstd, as the caller prefers (RFC 9110, 12.5.3). Answers are whole, so one call packs each."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        accepted = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding")
        encoding = _choose(accepted.decode("latin-1"))
        start: Message | None = None

        async def packed(message: Message) -> None:
            nonlocal start
            if message["type"] == "http.response.start":
                if (b"x-accel-buffering", b"no") in message["headers"]:  # a stream: nobody waits for its first part
                    await send(message)
                else:
                    start = message
                return
            if start is not None:
                body, headers = message.get("body", b""), [*start["headers"], (b"vary", b"Accept-Encoding")]
                whole = not message.get("more_body")  # a stream goes through as it comes
                if encoding and whole and len(body) >= _SMALLEST and _may_pack(headers):
                    body = await _packed(body, encoding)
                    headers = [_for_encoding(pair, encoding, len(body)) for pair in headers]
                    headers.append((b"content-encoding", encoding.encode()))
                await send({**start, "headers": headers})
                message, start = {**message, "body": body}, None
            await send(message)

        await self.app(scope, receive, packed)


@functools.lru_cache(512)
def _choose(accepted: str) -> str | None:
    """The better of what the caller takes; None for the bytes as they are."""
    weights: dict[str, float] = {}
    for part in accepted.split(","):
        name, _, parameter = part.partition(";")
        try:
            weights[name.strip().lower()] = float(parameter.strip().removeprefix("q=") or 1)
        except ValueError:
            weights[name.strip().lower()] = 0.0
    weights.setdefault("gzip", weights.get("*", 0.0))  # `*` is sent by clients that know no zstd
    best = max(("zstd", "gzip"), key=lambda name: weights.get(name, 0.0))
    weight = weights.get(best, 0.0)
    return best if weight > 0 and weight >= weights.get("identity", 0.0) else None


def _may_pack(headers: list[tuple[bytes, bytes]]) -> bool:
    if any(name == b"content-encoding" for name, _ in headers):
        return False
    return any(name == b"content-type" and _COMPRESSIBLE.match(value) for name, value in headers)


async def _packed(body: bytes, encoding: str) -> bytes:
    """Packed; large ones in a thread, since that takes time for which others would wait."""
    return await asyncio.to_thread(_pack, body, encoding) if len(body) > _LARGE else _pack(body, encoding)


def _pack(body: bytes, encoding: str) -> bytes:
    if encoding == "zstd":
        return zstandard.ZstdCompressor(level=3).compress(body)
    packer = zlib.compressobj(4, zlib.DEFLATED, 31)
    return packer.compress(body) + packer.flush()


def _for_encoding(pair: tuple[bytes, bytes], encoding: str, size: int) -> tuple[bytes, bytes]:
    """Another encoding is another representation: its length and its strong ETag differ."""
    name, value = pair
    if name == b"content-length":
        return name, str(size).encode()
    if name == b"etag":
        return name, value[:-1] + b"+" + encoding.encode() + b'"'
    return pair

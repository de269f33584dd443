"""Absolute addresses: where the caller believes this server to be, and the links built on it."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from ipaddress import IPv4Network, IPv6Network, ip_address
from typing import Any
from urllib.parse import quote, urlencode

import msgspec

from swath.config import Settings
from swath.errors import InvalidRequest

__all__ = ["ADDRESSING", "Address", "address_of", "caller_of", "json_links", "link", "segment"]

_HOST = re.compile(r"(?:[A-Za-z0-9_.-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")
_PREFIX = re.compile(r"(?:/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*/?")
_FORWARDED = re.compile(r"""\s*([A-Za-z-]+)=(?:"([^"]*)"|([^\s"]*))\s*""")
_FORWARDING = ("forwarded", "x-forwarded-host", "x-forwarded-proto", "x-forwarded-port", "x-forwarded-prefix")
_LONGEST_HEADER = 2_048
# Headers that tell where the caller sees the API.
ADDRESSING = frozenset(name.encode() for name in ("host", *_FORWARDING))

GEOJSON = "application/geo+json"
JSON = "application/json"
SCHEMA = "application/schema+json"


class Address:
    """The public address of an API's root, without a slash at its end.

    `home` is that of the server: another one where the API is a face below it, as the asset store's is.
    """

    __slots__ = ("base", "home")

    def __init__(self, base: str, home: str | None = None) -> None:
        self.base, self.home = base, base if home is None else home

    def face(self, prefix: str) -> Address:
        """The address of a face of the same server."""
        return Address(self.home + prefix, self.home)

    def href(self, path: str, query: Iterable[tuple[str, str]] = ()) -> str:
        text = urlencode(list(query), quote_via=quote, safe="/:,")
        return f"{self.base}{path}" + (f"?{text}" if text else "")


@functools.lru_cache(4_096)
def segment(name: str) -> str:
    """An id as one segment of a path."""
    return quote(name, safe="!$'()*,:;=@~")


def link(rel: str, href: str, media_type: str | None = JSON, **more: Any) -> dict[str, Any]:
    made: dict[str, Any] = {"rel": rel, "href": href}
    if media_type is not None:
        made["type"] = media_type
    made.update(more)
    return made


def json_links(links: Iterable[dict[str, Any]]) -> bytes:
    """Links as JSON text, comma separated, without brackets."""
    return msgspec.json.encode(list(links))[1:-1]


def address_of(scope: Mapping[str, Any], settings: Settings, trusted: tuple[IPv4Network | IPv6Network, ...]) -> Address:
    """Where the caller sees the API. InvalidRequest for a Host that is none.

    A `public_url` setting wins. `Forwarded` (RFC 7239) and `X-Forwarded-*` count only from trusted peers,
    and of several hops the nearest, since all others may have been made up by the caller.
    """
    if settings.public_url:
        return Address(settings.public_url)
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    scheme = scope.get("scheme", "http")
    server = scope.get("server") or ("127.0.0.1", None)
    host = headers.get("host") or (f"{server[0]}:{server[1]}" if server[1] else str(server[0]))
    prefix = settings.root_path
    if _is_trusted(scope.get("client"), trusted):
        scheme, host, prefix = _forwarded(headers, scheme, host, prefix)
    hosts = sum(name == b"host" for name, _ in scope["headers"])
    if hosts > 1 or (not hosts and scope.get("http_version") == "1.1"):
        raise InvalidRequest(f"an HTTP/1.1 request has one Host header, not {hosts}")
    if not _HOST.fullmatch(host):
        raise InvalidRequest(f"the Host header {host[:80]!r} is not the name of a host")
    default_port = {"http": ":80", "https": ":443"}.get(scheme, "")
    return Address(f"{scheme}://{host.removesuffix(default_port) if default_port else host}{prefix}")


def caller_of(scope: Mapping[str, Any], trusted: tuple[IPv4Network | IPv6Network, ...]) -> str:
    """Whose request it is, to share the server fairly: an address, from a trusted proxy the one that it names."""
    client = scope.get("client")
    if not _is_trusted(client, trusted):
        return str(client[0]) if client else ""
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    for part in headers.get("forwarded", "").rsplit(",", 1)[-1].split(";"):
        match = _FORWARDED.fullmatch(part) if len(part) <= _LONGEST_HEADER else None
        if match and match[1].lower() == "for":
            return match[2] or match[3] or ""
    return _last(headers, "x-forwarded-for", str(client[0]) if client else "")[:_LONGEST_HEADER]


def _is_trusted(client: tuple[str, int] | None, trusted: tuple[IPv4Network | IPv6Network, ...]) -> bool:
    if client is None:
        return False
    try:
        address = ip_address(client[0])
    except ValueError:
        return False
    return any(address in network for network in trusted)


def _forwarded(headers: dict[str, str], scheme: str, host: str, prefix: str) -> tuple[str, str, str]:
    port = ""
    if any(len(headers.get(name, "")) > _LONGEST_HEADER for name in _FORWARDING):
        raise InvalidRequest(f"a forwarding header is longer than {_LONGEST_HEADER} bytes")
    if "forwarded" in headers:
        found = [_FORWARDED.fullmatch(part) for part in headers["forwarded"].rsplit(",", 1)[-1].split(";")]
        pairs = {match[1].lower(): match[2] or match[3] or "" for match in found if match}
        scheme, host = pairs.get("proto", scheme).lower(), pairs.get("host", host)
    else:
        scheme = _last(headers, "x-forwarded-proto", scheme).lower()
        host = _last(headers, "x-forwarded-host", host)
        port = _last(headers, "x-forwarded-port", "")
    path = _last(headers, "x-forwarded-prefix", "")
    if scheme not in ("http", "https"):
        raise InvalidRequest(f"the forwarded protocol {scheme[:20]!r} is neither http nor https")
    if path and not _PREFIX.fullmatch(path):
        raise InvalidRequest(f"the forwarded prefix {path[:80]!r} is not a path")
    if port.isdigit() and not re.search(r":[0-9]+$", host):
        host = f"{host}:{port}"
    return scheme, host, path.rstrip("/") + prefix


def _last(headers: dict[str, str], name: str, default: str) -> str:
    return headers[name].rsplit(",", 1)[-1].strip() or default if name in headers else default

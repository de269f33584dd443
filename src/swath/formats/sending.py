"""Sending a message to an address that somebody else named.

The address is looked up once, held against the networks that may not be reached, and connected to as it was looked
up: a name that leads elsewhere the second time leads nowhere (OWASP API7:2023). Redirects are not followed.
"""

from __future__ import annotations

import http.client
import socket
import ssl
import threading
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from urllib.parse import SplitResult, urlsplit

from swath import __version__
from swath.errors import InvalidRequest

__all__ = ["Reply", "check_address", "post"]

_SECONDS = 15.0
_MOST_READ = 10_000
_LONGEST_ADDRESS = 2_048
_NAT64 = IPv6Network("64:ff9b::/96")


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back. `error` says why it did not go well; empty for any 2xx."""

    status: int
    error: str


def check_address(url: str, *, private: bool) -> None:
    """InvalidRequest for what is no http or https address, or may not be reached."""
    parts = _parts(url)
    if not private:
        _looked_up(parts, private=private)


def post(url: str, body: bytes, headers: Mapping[str, str], *, private: bool) -> Reply:
    """Send a message; no exception, whatever the other side does."""
    try:
        parts = _parts(url)
        connection = _connected(parts, _looked_up(parts, private=private))
    except InvalidRequest as error:
        return Reply(0, str(error))
    except (OSError, ValueError) as error:
        return Reply(0, f"cannot connect: {error}"[:300])
    target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    # A timeout is for each part that comes: one who sends a byte now and then would hold us for ever.
    over = threading.Timer(2 * _SECONDS, _cut, (connection.sock,))
    over.start()
    try:
        connection.request("POST", target, body, {**headers, "user-agent": f"swath/{__version__}"})
        answer = connection.getresponse()
        answer.read(_MOST_READ)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return Reply(0, _plain(f"no answer: {str(error) or type(error).__name__}"))
    finally:
        over.cancel()
        connection.close()
    good = 200 <= answer.status < 300
    return Reply(answer.status, "" if good else _plain(f"the answer was {answer.status} {answer.reason}"))


def _cut(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


def _plain(words: str) -> str:
    """What somebody else said, as it may be shown."""
    return "".join(character if character.isprintable() else " " for character in words)[:300]


def _parts(url: str) -> SplitResult:
    if len(url) > _LONGEST_ADDRESS:
        raise InvalidRequest(f"url: longer than {_LONGEST_ADDRESS:,} characters")
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise InvalidRequest(f"url: {url[:200]!r} is no address: {error}") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0 or parts.username or not url.isascii():
        raise InvalidRequest(f"url: {url[:200]!r} is no address such as https://example.org/hook")
    if any(character <= " " for character in url):
        raise InvalidRequest("url: an address holds no spaces and no control characters")
    return parts


def _looked_up(parts: SplitResult, *, private: bool) -> str:
    """The IP address of a host. InvalidRequest where it may not be reached."""
    assert parts.hostname is not None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    try:
        found = socket.getaddrinfo(parts.hostname, port, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError) as error:
        raise InvalidRequest(f"url: the host {parts.hostname[:100]!r} is not known: {error}") from None
    addresses = [str(entry[4][0]) for entry in found]
    if not private:
        for address in addresses:
            if not _is_public(address):
                raise InvalidRequest(
                    f"url: {parts.hostname[:100]!r} is in a private network; SWATH_PRIVATE_WEBHOOKS=on allows that"
                )
    return addresses[0]


def _is_public(text: str) -> bool:
    """Whether an address is of the internet. One of IPv4 in the clothes of IPv6 is what it is underneath."""
    address = ip_address(text.partition("%")[0])
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)
        if address in _NAT64:
            inner = IPv4Address(address.packed[-4:])
        if inner is not None:
            return inner.is_global and not inner.is_multicast
        if address.is_reserved or address.is_site_local:
            return False
    return address.is_global and not address.is_multicast


def _connected(parts: SplitResult, address: str) -> http.client.HTTPConnection:
    assert parts.hostname is not None
    port = parts.port or (443 if parts.scheme == "https" else 80)
    plain = socket.create_connection((address, port), _SECONDS)
    connection = http.client.HTTPConnection(parts.hostname, port, timeout=_SECONDS)
    connection.sock = plain
    if parts.scheme == "https":
        try:
            connection.sock = ssl.create_default_context().wrap_socket(plain, server_hostname=parts.hostname)
        except BaseException:
            plain.close()
            raise
    return connection

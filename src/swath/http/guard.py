"""Who may send an unsafe method while there are no accounts: this machine's user, and no page in a browser.

A server that listens on a loopback address takes writes; any other is read-only unless a setting says
otherwise. `Host` is checked against DNS rebinding, `Origin` and `Sec-Fetch-Site` against forged requests.
"""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import ip_address
from urllib.parse import urlsplit

from swath.catalog.request import SearchRequest
from swath.config import Settings
from swath.errors import NotAllowed
from swath.http.links import Address

__all__ = [
    "check_explain",
    "check_store",
    "check_write",
    "is_loopback",
    "private_webhooks",
    "serves_store",
    "takes_writes",
]


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches a server that listens there."""
    if host == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def takes_writes(settings: Settings) -> bool:
    return settings.writes == "on" or (settings.writes == "loopback" and is_loopback(settings.host))


def serves_store(settings: Settings) -> bool:
    """Whether the asset store is served: where only this machine reaches it, or as it is set."""
    return settings.store == "on" or (settings.store == "loopback" and is_loopback(settings.host))


def check_store(settings: Settings) -> None:
    """NotAllowed, with the setting that would allow it, where the asset store is not served."""
    if not serves_store(settings):
        raise NotAllowed(
            "the asset store is not served: other machines can reach this server; SWATH_STORE=on serves it all the same"
        )


def private_webhooks(settings: Settings) -> bool:
    """Whether subscribers may be in private networks: of a server that only this machine reaches, or as it is set."""
    return settings.private_webhooks == "on" or (settings.private_webhooks == "loopback" and is_loopback(settings.host))


def check_explain(settings: Settings, request: SearchRequest, address: Address) -> None:
    """NotAllowed for a question about the inside of a server whose operator does not share it."""
    allowed = settings.explain == "on" or (
        settings.explain == "loopback"
        and is_loopback(settings.host)
        and is_loopback(urlsplit(address.base).hostname or "")  # and no proxy brings it in from elsewhere
    )
    if request.explain and not allowed:
        raise NotAllowed("explain: this server does not tell how it works; SWATH_EXPLAIN=on allows it")


def check_write(settings: Settings, address: Address, headers: Mapping[str, str]) -> None:
    """NotAllowed, with the setting that would allow it, for a write that this server must not take."""
    if not takes_writes(settings):
        raise NotAllowed(
            "this server is read-only: it can be reached from other machines; SWATH_WRITES=on allows writes"
        )
    asked = urlsplit(address.base)
    allowed = {"localhost", settings.host, *settings.host_names()}
    if settings.public_url:
        allowed.add(urlsplit(settings.public_url).hostname or "")
    host = asked.hostname or ""
    if host not in allowed and not is_loopback(host):
        raise NotAllowed(f"writes are not taken under the name {host!r}; SWATH_ALLOWED_HOSTS={host} allows it")
    site = headers.get("sec-fetch-site", "none")
    origin = headers.get("origin")
    if site not in ("none", "same-origin") or (origin is not None and origin != f"{asked.scheme}://{asked.netloc}"):
        raise NotAllowed("writes are not taken from pages of other sites")

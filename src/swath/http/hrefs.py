"""Where a client finds the files of this server's own assets: here, by signed links, or where the bytes lie.

The alternate-assets extension (v1.2.0) names several at once.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, TypeAlias, get_args

import msgspec

from swath.assets import AssetStore
from swath.errors import InvalidRequest, NotFound
from swath.http.call import Call
from swath.http.downloads import PREFIX, signed_href
from swath.http.login import store_of
from swath.store.records import AssetRecord

__all__ = ["MODES", "Rewrite", "rewriting"]

Mode: TypeAlias = Literal["api", "signed", "file", "store", "alternate"]
MODES: tuple[Mode, ...] = get_args(Mode)
Rewrite: TypeAlias = Callable[[bytes], bytes]
_ALTERNATE = "https://stac-extensions.github.io/alternate-assets/v1.2.0/schema.json"


def rewriting(call: Call, mode: str | None) -> Rewrite | None:
    """What a mode does to a served item; None for the addresses of this server, as they are. InvalidRequest.

    `signed`: links that need no token, for a while. `file`: `file://`, where the bytes are files of this machine.
    `store`: where the bytes lie, `s3://…` for one; s3, gs and az are other names of it. `alternate`: all of them beside
    the usual address.
    """
    if mode in (None, "", "api"):
        return None
    wanted = "store" if mode in ("s3", "gs", "az") else mode
    if wanted not in MODES:
        raise InvalidRequest(f"asset-href-mode: {str(mode)[:40]!r} is none of {', '.join(MODES)}")
    store = store_of(call)

    def rewrite(body: bytes) -> bytes:
        return _rewritten(body, call, store, wanted)

    return rewrite


def _rewritten(body: bytes, call: Call, store: AssetStore, mode: str) -> bytes:
    item: dict[str, Any] = msgspec.json.decode(body)
    own, changed = f"{call.address.home}{PREFIX}/", False
    assets = item.get("assets")
    for described in assets.values() if isinstance(assets, dict) else ():
        href = described.get("href") if isinstance(described, dict) else None
        if not isinstance(href, str) or not href.startswith(own):
            continue
        try:
            asset = store.asset(href.removeprefix(own))
        except NotFound:  # in the trash, or a link to somebody else's
            continue
        places = _places(call, store, asset)
        if mode == "alternate":
            described["alternate"] = {name: {"href": place, "title": name} for name, place in places.items()}
            changed = True
        else:
            described["href"] = places.get(mode, href)
    if changed:
        extensions = item.setdefault("stac_extensions", [])
        if isinstance(extensions, list) and _ALTERNATE not in extensions:
            extensions.append(_ALTERNATE)
    return msgspec.json.encode(item)


def _places(call: Call, store: AssetStore, asset: AssetRecord) -> dict[str, str]:
    blobs = store.vault.blobs
    places = {"signed": signed_href(store, asset, call.address, call.settings.link_seconds)[0]}
    url = blobs.url(asset.blob)
    if blobs.path(asset.blob) is not None:
        places["file"] = url
    else:
        places["store"] = url
    return places

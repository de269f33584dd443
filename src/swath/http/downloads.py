"""Files as answers: whole or one range of them (RFC 9110, 14), with validators, names and digests."""

from __future__ import annotations

import asyncio
import base64
import re
from collections.abc import AsyncIterator, Iterator
from email.utils import formatdate
from urllib.parse import quote, urlencode

from starlette.responses import RedirectResponse, Response, StreamingResponse

from swath.assets import AssetStore
from swath.assets.signing import Signed, check_link, sign_link
from swath.errors import InvalidRequest, PreconditionFailed, RangeNotSatisfiable
from swath.http.call import Call
from swath.http.links import Address
from swath.http.login import store_of
from swath.http.params import read_integer
from swath.http.responses import json_answer
from swath.stac.time import SECOND
from swath.store.records import AssetRecord

__all__ = ["PREFIX", "disposition", "download", "download_url", "signed_href"]

PREFIX = "/v2/assets"
_SIGNED = ("Expires", "Signature", "response-content-disposition")
_RANGE = re.compile(r"bytes=\s*(\d{0,18})\s*-\s*(\d{0,18})\s*")
_LONGEST_SECONDS = 604_800  # as S3's
# What a browser would run, were it shown from here.
_ACTIVE = re.compile(r"html|xml|svg|javascript|pdf")


async def download(call: Call) -> Response:
    """The bytes of a file. A signed link needs no token; bytes in an object store are fetched from there."""
    query = call.parameters(_SIGNED)
    signed = Signed(query.one("Expires") or "0", query.one("response-content-disposition") or "",
                    query.one("Signature") or "")  # fmt: skip
    return await asyncio.to_thread(_answer, call, signed)


def _answer(call: Call, signed: Signed) -> Response:
    asset_id = call.path["file"]
    if signed.signature:
        if not signed.expires.isascii() or not signed.expires.isdigit() or call.files is None:
            raise InvalidRequest("Expires: not a number of seconds")
        check_link(call.catalog.ledger.secret, call.method, asset_id, signed)
        store = call.files
    else:
        store = store_of(call)
    asset = store.asset(asset_id)
    headers = {
        "etag": f'"{asset.sha256}"',
        "last-modified": formatdate(asset.at // SECOND, usegmt=True),
        "accept-ranges": "bytes",
        "cache-control": "private, no-cache",
        "content-disposition": disposition(
            asset.name, asset.media_type, saved=signed.disposition.startswith("attachment")
        ),
        "repr-digest": f"sha-256=:{base64.b64encode(bytes.fromhex(asset.sha256)).decode()}:",
        "x-content-type-options": "nosniff",
        "content-security-policy": "sandbox",
        "x-accel-buffering": "no",
    }
    wanted = call.headers.get("if-match")
    if wanted is not None and not _names(wanted, asset):
        raise PreconditionFailed(f"the file {asset_id} is not the one that If-Match names")
    if _has(call, asset):
        return Response(status_code=304, headers=headers)
    at_store = store.vault.blobs.sign(asset.blob, "GET" if call.method == "GET" else "HEAD", call.settings.link_seconds)
    if at_store is not None:
        return RedirectResponse(at_store, 307, {"cache-control": "no-store"})
    span = _range(call, asset)
    start, end = span or (0, asset.size)
    headers["content-length"] = str(end - start)
    if span is not None:
        headers["content-range"] = f"bytes {start}-{end - 1}/{asset.size}"
    status = 206 if span is not None else 200
    if call.method == "HEAD":
        return Response(status_code=status, headers=headers, media_type=asset.media_type)
    chunks = _ahead(store.vault.blobs.read(asset.blob, start, end))
    return StreamingResponse(chunks, status, headers, asset.media_type)


async def _ahead(chunks: Iterator[bytes]) -> AsyncIterator[bytes]:
    """Chunks, the next of which is read while one is sent."""
    loop = asyncio.get_running_loop()
    coming = loop.run_in_executor(None, next, chunks, None)
    while (chunk := await coming) is not None:
        coming = loop.run_in_executor(None, next, chunks, None)
        yield chunk


def disposition(name: str, media_type: str, *, saved: bool = False) -> str:
    """RFC 6266: the name in ASCII, and as it is. What is shown in a browser is pictures and text only, unless the file
    is asked for to be `saved`."""
    shown = media_type.startswith(("image/", "text/plain")) and not _ACTIVE.search(media_type) and not saved
    kind = "inline" if shown else "attachment"
    plain = "".join(each if each.isascii() and each.isprintable() and each not in '"\\' else "_" for each in name)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(name, safe='')}"


def _has(call: Call, asset: AssetRecord) -> bool:
    asked = call.headers.get("if-none-match")
    return asked is not None and _names(asked.replace("W/", ""), asset)


def _names(tags: str, asset: AssetRecord) -> bool:
    """Whether a list of ETags names a file."""
    listed = [tag.strip() for tag in tags.split(",")]
    return "*" in listed or f'"{asset.sha256}"' in listed


def _range(call: Call, asset: AssetRecord) -> tuple[int, int] | None:
    """Start and end of the one range that is asked for; None for the whole: then several are asked for, or none, or the
    file is not the one that If-Range names. RangeNotSatisfiable."""
    asked = call.headers.get("range")
    found = _RANGE.fullmatch(asked.strip()) if asked and call.method == "GET" else None
    if found is None or not (found[1] or found[2]):
        return None
    if not _same(call.headers.get("if-range"), asset):
        return None
    if not found[1]:
        length = min(int(found[2]), asset.size)
        start, end = asset.size - length, asset.size
    else:
        start = int(found[1])
        end = min(int(found[2]) + 1, asset.size) if found[2] else asset.size
        if found[2] and int(found[2]) < start:
            return None  # no range at all (RFC 9110, 14.1.1)
    if start >= end:
        raise RangeNotSatisfiable(f"the file has {asset.size:,} bytes; {asked} begins behind them", asset.size)
    return start, end


def _same(condition: str | None, asset: AssetRecord) -> bool:
    """If-Range: a strong ETag, or the very date."""
    if condition is None:
        return True
    return condition.strip() in (f'"{asset.sha256}"', formatdate(asset.at // SECOND, usegmt=True))


# -- signed links --------------------------------------------------------------------------------


def download_url(call: Call) -> Response:
    """An address of the file that needs no token, for a while."""
    seconds = read_integer("expires_in", call.parameters(("expires_in",)).one("expires_in"))
    if seconds is None:
        seconds = call.settings.link_seconds
    if not 1 <= seconds <= _LONGEST_SECONDS:
        raise InvalidRequest(f"expires_in: {seconds} is not between 1 and {_LONGEST_SECONDS:,} seconds")
    store = store_of(call)
    url, expires = signed_href(store, store.asset(call.path["file"]), call.address, seconds)
    answer = json_answer({"url": url, "expiresAt": int(expires)})
    answer.headers["cache-control"] = "no-store"
    return answer


def signed_href(store: AssetStore, asset: AssetRecord, address: Address, seconds: int) -> tuple[str, str]:
    """A signed link to a file, and until when it holds. Its path has no ending: clients append one to the name."""
    signed = sign_link(store.ledger.secret, "GET", asset.id, asset.name, seconds)
    query = urlencode(
        {"Expires": signed.expires, "Signature": signed.signature, "response-content-disposition": signed.disposition},
        quote_via=quote,
    )
    return f"{address.home}{PREFIX}/{asset.id}?{query}", signed.expires

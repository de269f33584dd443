"""What a sender says of a delivery, in whatever way it comes: a form, a query, headers of an upload, a command."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from swath.delivery.facts import SOURCES, Facts
from swath.errors import InvalidRequest, nearest
from swath.stac.time import parse_temporal

__all__ = ["NAMES", "Said", "check_tags", "check_title", "clean_name", "said_of"]

_IN_TAGS = frozenset(" .-_/:")  # UP42's grammar of tags: commas part them
_LONGEST, _MOST_TAGS, _LONGEST_NAME = 1_024, 1_000, 200
_CRS = re.compile(r"(?i)(EPSG|ESRI|IAU_2015|OGC):[A-Za-z0-9]{1,12}")

# The names that callers use, in the spellings of UP42's API, its STAC fields and Python.
NAMES: Mapping[str, str] = {
    "title": "title", "up42-user:title": "title",
    "tags": "tags", "tag": "tags", "up42-user:tags": "tags",
    "source": "source", "up42-system:source": "source",
    "orderId": "order_id", "order_id": "order_id", "up42-order:id": "order_id",
    "hostId": "host_id", "host_id": "host_id", "up42-order:host_id": "host_id",
    "orderStatus": "order_status", "order_status": "order_status", "up42-order:status": "order_status",
    "productId": "product_id", "product_id": "product_id", "up42-product:product_id": "product_id",
    "dataProductId": "product_id", "data_product_id": "product_id",
    "collectionName": "collection_name", "collection_name": "collection_name",
    "up42-product:collection_name": "collection_name",
    "producerName": "producer_name", "producer_name": "producer_name",
    "workspaceId": "workspace_id", "workspace_id": "workspace_id", "up42-system:workspace_id": "workspace_id",
    "jobId": "job_id", "job_id": "job_id", "up42-system:job_id": "job_id",
    "datetime": "datetime",
    "crs": "crs",
}  # fmt: skip


class Said(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is said of a delivery when it is sent; everything may be left out."""

    title: str | None = None
    tags: tuple[str, ...] | None = None
    source: str = "USER"
    order_id: str | None = None
    product_id: str | None = None
    collection_name: str | None = None
    producer_name: str | None = None
    workspace_id: str | None = None
    facts: Facts = Facts()


def said_of(values: Mapping[str, str | Sequence[str]]) -> Said:
    """What some named values say. InvalidRequest names the one that is wrong."""
    told: dict[str, Any] = {}
    for given, value in values.items():
        name = NAMES.get(given)
        if name is None:
            near = nearest(given, NAMES)
            raise InvalidRequest(f"{given[:60]!r} is nothing that can be said of a delivery"
                                 + (f"; did you mean {near!r}?" if near else ""))  # fmt: skip
        if name == "tags":
            told[name] = check_tags(_listed(value))
            continue
        text = value if isinstance(value, str) else value[-1]
        if text:
            told[name] = _checked(name, text)
    facts = {name: told.pop(name) for name in Facts.__struct_fields__ if name in told}
    return Said(**told, facts=Facts(**facts))


def _listed(value: str | Sequence[str]) -> list[str]:
    """Tags come one by one, as a JSON array, or comma separated."""
    found: list[str] = []
    for each in [value] if isinstance(value, str) else value:
        if each.startswith("["):
            try:
                found += msgspec.json.decode(each, type=list[str])
            except msgspec.MsgspecError:
                raise InvalidRequest("tags: a JSON array of strings, or words with commas between them") from None
        else:
            found += [tag.strip() for tag in each.split(",") if tag.strip()]
    return found


def _checked(name: str, text: str) -> str:
    if name == "source" and text not in SOURCES:
        raise InvalidRequest(f"source: {text[:40]!r} is none of {', '.join(SOURCES)}")
    if name == "crs" and not _CRS.fullmatch(text):
        raise InvalidRequest(f"crs: {text[:40]!r} is no code, such as EPSG:32632")
    if name == "datetime":
        span = parse_temporal(text)
        if span is None or span[0] != span[1]:
            raise InvalidRequest(f"datetime: {text[:40]!r} is no instant, such as 2024-05-01T10:20:30Z")
    return check_title(text, name)


def check_title(text: str, name: str = "title") -> str:
    """A line of text. InvalidRequest otherwise."""
    if len(text) > _LONGEST or any(unicodedata.category(each) in ("Cc", "Cs") for each in text):
        raise InvalidRequest(f"{name}: a line of text of at most {_LONGEST} characters")
    return unicodedata.normalize("NFC", text)


def check_tags(tags: Sequence[object]) -> tuple[str, ...]:
    """Tags in their order, each once. InvalidRequest for what is no text."""
    if len(tags) > _MOST_TAGS:
        raise InvalidRequest(f"tags: {len(tags):,} of them; at most {_MOST_TAGS:,}")
    if not all(isinstance(tag, str) and tag.strip() for tag in tags):
        raise InvalidRequest("tags: each is a string that is not empty")
    for tag in map(str, tags):
        if not all(each.isalnum() or each in _IN_TAGS or unicodedata.category(each)[0] == "M" for each in tag):
            raise InvalidRequest(f"tags: {tag[:40]!r} has more than letters, digits, spaces and . - _ / : in it")
    return tuple(dict.fromkeys(check_title(str(tag), "tags") for tag in tags))


def clean_name(name: str) -> str:
    """The name of a file as a sender gives it, without folders and what cannot stand in a header; never empty."""
    base = unicodedata.normalize("NFC", name).replace("\\", "/").rsplit("/", 1)[-1]
    kept = "".join(each for each in base if unicodedata.category(each)[0] != "C").strip(". ")
    return kept.encode()[:_LONGEST_NAME].decode("utf-8", "ignore") or "delivery"

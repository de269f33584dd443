"""What is said of a delivery: by its sender, by the account that it belongs to, and by what its files became."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any

import msgspec

from swath.store.base import Ledger

__all__ = ["SOURCES", "Account", "Facts", "Made", "account_of", "derived_id"]

# The sources of data that UP42's documents name, all of them.
SOURCES = ("ARCHIVE", "TASKING", "ANALYTICS", "PROCESSING", "PLATFORM", "USER")


class Facts(msgspec.Struct, frozen=True, omit_defaults=True):
    """What the sender says beside what lists are searched by. `datetime` (RFC 3339) and `crs` (`EPSG:32632`) are those
    of files that do not say so themselves; `job_id` is the processing job that made the data."""

    host_id: str | None = None
    order_status: str | None = None
    datetime: str | None = None
    crs: str | None = None
    job_id: str | None = None


@dataclass(frozen=True, slots=True)
class Account:
    """To whom a catalogue's store belongs: the one local account, until there are others."""

    id: str
    workspace_id: str
    name: str = "local"


@dataclass(frozen=True, slots=True)
class Made:
    """A file that a step made, or kept: its bytes in the vault, under which pin, and what is known of its content."""

    blob: str
    pin: str
    size: int
    sha256: str
    name: str
    media_type: str
    facts: Mapping[str, Any] = field(default_factory=dict)


def account_of(ledger: Ledger) -> Account:
    """The account of a catalogue. Its ids follow from the catalogue's own secret: the same after a restore."""
    return Account(_uuid(ledger.secret, "account"), _uuid(ledger.secret, "workspace"))


def derived_id(delivery_id: str, name: str) -> str:
    """The id of what a delivery brings, the same each time that it is worked on."""
    return _uuid(delivery_id.encode(), name)


def _uuid(key: bytes, name: str) -> str:
    """A UUID of version 4 by its looks, as clients of UP42 expect ids to be."""
    return str(uuid.UUID(bytes=blake2b(name.encode(), digest_size=16, key=key[:64]).digest(), version=4))

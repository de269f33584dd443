"""What Swath tells in a document that it serves and does not keep in it: taken away again when it is sent back.

Who reads a document, changes something and sends it back does not say for himself when it was created and updated, nor
what its items are like: stored, that would be said for ever.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from swath.catalog.deriving import ITEM_COUNT
from swath.stac.patching import merge_patch
from swath.stac.text import decode_compact
from swath.stac.time import parse_temporal
from swath.store.base import Ledger

__all__ = ["without_facts", "without_times"]

_NAMES = (b'"created"', b'"updated"')
_VALUE = re.compile(rb'\s*:\s*"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{1,6}Z)"')


def without_times(raw: bytes, ledger: Ledger) -> bytes:
    """An item without the `created` and `updated` that are the very instants of commits of this catalogue, to the
    microsecond: whichever version they were served of."""
    if not any(_is_commit(text, ledger) for text in _times(raw)):
        return raw
    content, compact = decode_compact(raw, "document")
    properties = content.get("properties") if isinstance(content, dict) else None
    if not isinstance(properties, dict):
        return raw
    ours = [name for name in ("created", "updated") if _is_commit(properties.get(name), ledger)]
    if not ours:
        return raw
    return merge_patch(compact, msgspec.json.encode({"properties": dict.fromkeys(ours)}))


def _times(raw: bytes) -> Iterator[str]:
    """The instants that stand behind these names anywhere in a text, in the form that Swath tells them in: found
    without reading it, since most documents of a load have none."""
    for name in _NAMES:
        place = raw.find(name)
        while place >= 0:
            found = _VALUE.match(raw, place + len(name))
            if found:
                yield found[1].decode()
            place = raw.find(name, place + len(name))


def _is_commit(text: object, ledger: Ledger) -> bool:
    span = parse_temporal(text) if isinstance(text, str) and len(text) > len("2020-01-01") else None
    return span is not None and span[0] == span[1] and ledger.committed(span[0])


def without_facts(raw: bytes, derived: Mapping[str, Any], ledger: Ledger) -> bytes:
    """A collection without what Swath tells of it: `derived` is that, as it is now.

    Where its items were of another number when it was served, nothing of it is as it was then: all that the stored
    document leaves to be derived is taken away.
    """
    content, compact = decode_compact(raw, "document")
    if not isinstance(content, dict):
        return raw
    stale = ITEM_COUNT in content and content[ITEM_COUNT] != derived.get(ITEM_COUNT)
    ours = {name for name, value in derived.items() if name in content and (stale or content[name] == value)}
    ours |= {name for name in ("created", "updated") if _is_commit(content.get(name), ledger)}
    ours |= {ITEM_COUNT} & content.keys()
    return merge_patch(compact, msgspec.json.encode(dict.fromkeys(sorted(ours)))) if ours else raw

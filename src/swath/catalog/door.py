"""What is looked at before a document is stored, and what is mended.

What no search and no client could use is refused everywhere, by `stac.document`. Beyond that each door has its own
strictness, unless the collection has a setting `validation`: `off`, `warn`, or `enforce`, which also holds documents
against the JSON Schemas in the catalogue's folder.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias

from swath.stac.document import CollectionDocument, ItemDocument
from swath.stac.schemas import CheckLevel, Schemas, check_document
from swath.stac.text import decode_compact
from swath.stac.validation import fixed, is_sound

__all__ = ["SCHEMAS", "Document", "Door", "door", "mended"]

SCHEMAS = "schemas"  # the folder of JSON Schemas, in the catalogue's

Document: TypeAlias = ItemDocument | CollectionDocument
# Looks at a document; what it tells is not as it should be, and is stored all the same.
Door: TypeAlias = Callable[[Document], tuple[str, ...]]


@dataclass(frozen=True, slots=True)
class _Door:
    setting: Callable[[str], str | None]
    schemas: Schemas | None
    strictness: CheckLevel
    brief: bool

    def __call__(self, document: Document) -> tuple[str, ...]:
        name = document.collection if isinstance(document, ItemDocument) else document.id
        level = _level(self.setting(name))
        if level is None and self.brief and isinstance(document, ItemDocument) and is_sound(document):
            return ()
        if level is None:
            return check_document(document.content, self.strictness, None)
        return check_document(document.content, level, self.schemas)


def mended(raw: bytes) -> tuple[bytes, list[str]]:
    """A document whose geometry and bbox are as RFC 7946 wants them, and what was changed. InvalidDocument for no JSON.

    It comes before the document is read: a ring that is not closed, say, is none that could be.
    """
    content, compact = decode_compact(raw, "document")
    if not isinstance(content, dict):
        return raw, []
    body, fixes = fixed(content, compact)
    return body, [f"{fix.message} (at {fix.pointer})" for fix in fixes]


def door(
    setting: Callable[[str], str | None],
    folder: Path | None,
    *,
    strictness: Literal["off", "enforce"],
    brief: bool = False,
) -> Door:
    """A way in. `setting` tells the `validation` of a collection; `folder` is the catalogue's.

    It raises InvalidDocument. `brief`: of an item that breaks no rule it does not tell what might be better, unless the
    collection wants to be told.
    """
    return _Door(setting, Schemas(folder / SCHEMAS) if folder is not None else None, strictness, brief)


def _level(text: str | None) -> CheckLevel | None:
    return next((level for level in _LEVELS if level == text), None)


_LEVELS: tuple[CheckLevel, ...] = ("off", "warn", "enforce")

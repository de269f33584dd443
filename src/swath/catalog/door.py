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

from swath.stac.document import CollectionDocument, ItemDocument, read_document
from swath.stac.schemas import CheckLevel, Schemas, check_document
from swath.stac.validation import fixed

__all__ = ["SCHEMAS", "Document", "Door", "door"]

SCHEMAS = "schemas"  # the folder of JSON Schemas, in the catalogue's

Document: TypeAlias = ItemDocument | CollectionDocument
# A document as it may be stored, and notes: what was mended, and what is not as it should be.
Door: TypeAlias = Callable[[Document], tuple[Document, list[str]]]


@dataclass(frozen=True, slots=True)
class _Door:
    setting: Callable[[str], str | None]
    schemas: Schemas | None
    strictness: CheckLevel
    fix: bool

    def __call__(self, document: Document) -> tuple[Document, list[str]]:
        notes: list[str] = []
        if self.fix:
            body, fixes = fixed(document.content, document.body)
            if fixes:
                document = read_document(body)
                notes += [f"{fix.message} (at {fix.pointer})" for fix in fixes]
        name = document.collection if isinstance(document, ItemDocument) else document.id
        level = _level(self.setting(name))
        if level is None:
            notes += check_document(document.content, self.strictness, None)
        else:
            notes += check_document(document.content, level, self.schemas)
        return document, notes


def door(
    setting: Callable[[str], str | None],
    folder: Path | None,
    *,
    strictness: Literal["off", "enforce"],
    fix: bool = False,
) -> Door:
    """A way in. `setting` tells the `validation` of a collection; `folder` is the catalogue's.

    With `fix`, geometries are mended by the rules of RFC 7946, and the notes say how. It raises InvalidDocument.
    """
    return _Door(setting, Schemas(folder / SCHEMAS) if folder is not None else None, strictness, fix)


def _level(text: str | None) -> CheckLevel | None:
    return next((level for level in _LEVELS if level == text), None)


_LEVELS: tuple[CheckLevel, ...] = ("off", "warn", "enforce")

"""Names out of archives: whatever their maker wrote, they become names below one folder, or are refused."""

from __future__ import annotations

import unicodedata
from pathlib import PurePosixPath

from swath.errors import DeliveryRefused, shown
from swath.limits import LIMITS

__all__ = ["Names", "is_junk", "safe_name"]

_JUNK = ("__MACOSX", ".DS_Store", "Thumbs.db", "desktop.ini", "ehthumbs.db")
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # text direction


def safe_name(raw: str) -> str:
    """A relative path with slashes, in Unicode normal form C; empty for a folder's own name.

    DeliveryRefused for a name that leads elsewhere, or that no file should have.
    """
    text = unicodedata.normalize("NFC", raw).replace("\\", "/")
    if text.startswith("/") or (len(text) > 1 and text[1] == ":" and text[0].isalpha()):
        raise DeliveryRefused(f"the entry {shown(raw)} has an absolute path")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise DeliveryRefused(f"the entry {shown(raw)} climbs out of the archive")
    if any(unicodedata.category(each) in ("Cc", "Cs", "Cn", "Co") or each in _TURNING for each in text):
        raise DeliveryRefused(f"the entry {shown(raw)} has control characters in its name")
    path = "/".join(parts)
    longest = max((len(part.encode()) for part in parts), default=0)
    if longest > LIMITS.delivery_name_bytes or len(path.encode()) > LIMITS.delivery_path_bytes:
        raise DeliveryRefused(f"the entry {shown(raw)} has a longer name than files have")
    return path


def is_junk(name: str) -> bool:
    """What the desktops of macOS and Windows leave in archives."""
    path = PurePosixPath(name)
    return any(part in _JUNK for part in path.parts) or path.name.startswith("._")


class Names:
    """The names of an archive, each once, none both a file and a folder."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def add(self, name: str) -> None:
        """DeliveryRefused where the name is taken."""
        above = {str(each) for each in PurePosixPath(name).parents} - {"."}
        if name in self._files:
            raise DeliveryRefused(f"the archive has two entries {shown(name)}")
        if name in self._folders or above & self._files:
            raise DeliveryRefused(f"{shown(name)} is a file and a folder in the archive")
        self._files.add(name)
        self._folders |= above
        if len(self._files) > LIMITS.delivery_files:
            raise DeliveryRefused(f"the archive has more than {LIMITS.delivery_files:,} files")

"""Names out of archives: whatever their maker wrote, they become names below one folder, or are refused."""

from __future__ import annotations

import re
import unicodedata
from pathlib import PurePosixPath

from swath.errors import DeliveryRefused, shown
from swath.limits import LIMITS

__all__ = ["Names", "decoded", "is_junk", "own_name", "safe_name"]

_JUNK = frozenset(
    ("__macosx", ".ds_store", ".spotlight-v100", ".trashes", ".fseventsd", "thumbs.db", "ehthumbs.db", "desktop.ini",
     "$recycle.bin", "icon\r")
)  # fmt: skip
_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")  # text direction
_UNSEEN = frozenset(("Cc", "Cs", "Zl", "Zp"))
_DRIVE = re.compile(r"[A-Za-z]:")


def decoded(raw: bytes, legacy: str) -> str:
    """A name as its maker meant it: UTF-8 where the bytes are that, else of the code page that its kind of archive had
    before."""
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode(legacy, "replace")


def safe_name(raw: str) -> str:
    """A relative path with slashes, in Unicode normal form C; empty for the archive's own folder.

    What would break a line or turn the text around becomes an underscore. DeliveryRefused for a name that leads
    elsewhere, or is longer than files may have.
    """
    text = unicodedata.normalize("NFC", raw).replace("\\", "/")
    if "\0" in text:
        raise DeliveryRefused(f"the entry {shown(raw)} has a NUL in its name")
    if text.startswith("/") or _DRIVE.match(text):
        raise DeliveryRefused(f"the entry {shown(raw)} has an absolute path")
    parts = [part for part in text.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise DeliveryRefused(f"the entry {shown(raw)} climbs out of the archive")
    path = _seen("/".join(parts))
    longest = max((len(part.encode()) for part in path.split("/")), default=0)
    if longest > LIMITS.delivery_name_bytes or len(path.encode()) > LIMITS.delivery_path_bytes:
        raise DeliveryRefused(f"the entry {shown(raw)} has a longer name than is taken")
    return path


def own_name(name: str) -> str:
    """The name of a file that is delivered by itself: whatever it is, a name in one folder."""
    text = _seen(unicodedata.normalize("NFC", name).replace("\\", "/").replace("\0", "_"))
    last = PurePosixPath(text).name
    if last in ("", ".", ".."):
        return "file"
    ending = PurePosixPath(last).suffix
    room = LIMITS.delivery_name_bytes - len(ending.encode())
    if len(last.encode()) <= LIMITS.delivery_name_bytes or room < 1:
        return last.encode()[: LIMITS.delivery_name_bytes].decode("utf-8", "ignore")
    return last.removesuffix(ending).encode()[:room].decode("utf-8", "ignore") + ending


def _seen(text: str) -> str:
    return "".join("_" if each in _TURNING or unicodedata.category(each) in _UNSEEN else each for each in text)


def is_junk(raw: str) -> bool:
    """What the desktops of macOS and Windows leave in archives."""
    parts = [part for part in raw.replace("\\", "/").split("/") if part]
    return any(part.lower() in _JUNK for part in parts) or (bool(parts) and parts[-1].startswith("._"))


class Names:
    """The paths of an archive: none is both a file and a folder, and there are not too many of either."""

    def __init__(self) -> None:
        self._files: set[str] = set()
        self._folders: set[str] = set()

    def add(self, name: str) -> bool:
        """A file; False where there is one of that name. DeliveryRefused where a folder has it."""
        if name in self._files:
            return False
        if name in self._folders:
            raise DeliveryRefused(f"{shown(name)} is a file and a folder in the archive")
        self._files.add(name)
        if len(self._files) > LIMITS.delivery_files:
            raise DeliveryRefused(f"there are more than {LIMITS.delivery_files:,} files in it")
        self.folder(name.rpartition("/")[0])
        return True

    def folder(self, name: str) -> None:
        """A folder, and those above it. DeliveryRefused where a file has the name of one."""
        while name and name not in self._folders:
            if name in self._files:
                raise DeliveryRefused(f"{shown(name)} is a file and a folder in the archive")
            self._folders.add(name)
            if len(self._folders) > LIMITS.delivery_files:
                raise DeliveryRefused(f"there are more than {LIMITS.delivery_files:,} folders in it")
            name = name.rpartition("/")[0]

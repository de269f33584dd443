"""Archives of strangers, unpacked: regular files only, below one folder, within caps that are held while bytes flow.

What headers say is looked at first and not believed after.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import stat
from collections.abc import Iterable, Iterator
from contextlib import suppress
from pathlib import Path

from swath.delivery.media import is_data
from swath.delivery.model import Tree
from swath.delivery.names import Names, decoded, is_junk, own_name, safe_name
from swath.delivery.streams import CHUNK, Budget, Tell, engine_of
from swath.delivery.tars import is_tar, tar_entries
from swath.delivery.zips import Entry, is_zip, zip_entries
from swath.errors import DeliveryRefused, shown
from swath.limits import LIMITS

__all__ = ["Tell", "unpack"]

# Endings of archives, those of two parts first.
_ARCHIVES = (
    ".tar.gz",
    ".tar.bz2",
    ".tar.xz",
    ".tar.zst",
    ".zip",
    ".tar",
    ".tgz",
    ".tbz2",
    ".tbz",
    ".txz",
    ".7z",
    ".rar",
)
_PACKED_TARS = (".tar.gz", ".tar.bz2", ".tar.xz", ".tgz", ".tbz2", ".tbz", ".txz")
_PACKED = (*_ARCHIVES, ".gz", ".bz2", ".xz")
_IMAGES = (".tif", ".tiff", ".jp2", ".j2k", ".png", ".jpg", ".jpeg", ".ntf", ".nitf", ".nc", ".img")
_DOCUMENTS = (".kmz", ".docx", ".xlsx", ".pptx", ".odt", ".ods", ".jar")  # ZIPs that are one file for their users
_CLONE = 0x40049409  # FICLONE, ioctl_ficlone(2)
_OTHERS = {b"Rar!\x1a\x07": "RAR", b"7z\xbc\xaf\x27\x1c": "7-Zip", b"\x28\xb5\x2f\xfd": "Zstandard"}


def unpack(source: Path, name: str, folder: Path, tell: Tell = lambda _done, _of: None) -> Tree:
    """The files of a delivery, below `folder`; where that is there, what was unpacked before.

    `source` is an archive of any name, told by its content, or a file of another kind, or a folder. An archive within
    it is unpacked too, one within that refused. DeliveryRefused says what is wrong; then nothing is left.
    """
    if not folder.exists():
        unfinished = folder.with_name(f"{folder.name}.partial~")
        shutil.rmtree(unfinished, ignore_errors=True)
        unfinished.mkdir(parents=True)
        try:
            _lay_out(source, name, unfinished, tell)
            unfinished.rename(folder)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
    return Tree(folder, tuple(_files(folder)))


def _files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def _lay_out(source: Path, name: str, folder: Path, tell: Tell) -> None:
    names = Names()
    try:
        if source.is_dir():
            budget = Budget(0, tell, ratio=False)
            _lay(_folder_entries(source, budget), folder, "", names, budget)
        elif (kind := _kind(source, name)) is None:
            _copy(source, folder / own_name(name), tell)
            return  # what is no archive is not looked into for others
        else:
            budget = Budget(source.stat().st_size, tell)
            _lay(_entries(kind, source, budget), folder, "", names, budget)
        _lay_out_nested(folder, names, budget)
        if not _files(folder):
            raise DeliveryRefused("there are no files in it")
    except DeliveryRefused as error:
        raise DeliveryRefused(f"{name}: {error}") from None


# -- what a file is ------------------------------------------------------------------------------


def _kind(source: Path, name: str) -> str | None:
    """`zip` or `tar`, by content; None for a file of another kind. DeliveryRefused where the name says otherwise."""
    if source.stat().st_size == 0:
        raise DeliveryRefused("the file is empty")
    with source.open("rb") as stream:
        head = stream.read(512)
    other = next((told for magic, told in _OTHERS.items() if head.startswith(magic)), None)
    if other is not None:
        raise DeliveryRefused(f"{other} archives are not read; send a ZIP or a tar")
    lower = name.lower()
    if lower.endswith(_DOCUMENTS) or is_data(head):
        return None
    is_packed_tar = engine_of(head) is not None and lower.endswith(_PACKED_TARS)
    kind = "tar" if is_packed_tar or is_tar(source) else "zip" if is_zip(source) else None
    if kind is None and lower.endswith(_PACKED):
        raise DeliveryRefused("it is no ZIP and no tar archive, whatever its name says")
    if kind is not None and lower.endswith(_IMAGES):
        raise DeliveryRefused("it is an archive with the name of an image")
    return kind


def _entries(kind: str, source: Path, budget: Budget) -> Iterator[Entry]:
    return zip_entries(source, budget) if kind == "zip" else tar_entries(source, budget)


def _folder_entries(source: Path, budget: Budget) -> Iterator[Entry]:
    """The files of a folder. DeliveryRefused for what is no regular file: links are not followed."""
    for place, folders, files in os.walk(source):
        folders.sort()
        for each in (*folders, *sorted(files)):
            path = Path(place) / each
            name = decoded(os.fsencode(path.relative_to(source)), "cp1252")
            kind = path.lstat().st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise DeliveryRefused(f"{shown(name)} is a link or a device, which are not followed")
            yield Entry(name, stat.S_ISDIR(kind), _bytes_of(path, name, budget))


def _bytes_of(path: Path, name: str, budget: Budget) -> Iterator[bytes]:
    """The bytes of a file that is still a regular one when it is opened."""
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as stream:
        state = os.fstat(stream.fileno())
        if not stat.S_ISREG(state.st_mode):
            raise DeliveryRefused(f"{shown(name)} is a link or a device, which are not followed")
        budget.expect(state.st_size)
        while chunk := stream.read(CHUNK):
            budget.take(len(chunk))
            yield chunk


# -- files onto the disk -------------------------------------------------------------------------


def _copy(source: Path, target: Path, tell: Tell) -> None:
    """A file as it is: by reference where the file system can that, since it may be large. Never a hard link, which
    would hand out the original to whoever writes to the copy."""
    size = source.stat().st_size
    if size > LIMITS.delivery_bytes:
        raise DeliveryRefused(f"it has {size:,} bytes; at most {LIMITS.delivery_bytes:,} are taken")
    done = 0
    with source.open("rb") as stream, target.open("xb") as out:
        with suppress(OSError):
            fcntl.ioctl(out.fileno(), _CLONE, stream.fileno())
            return
        while chunk := stream.read(CHUNK):
            done += out.write(chunk)
            tell(done, size)


def _lay(entries: Iterable[Entry], folder: Path, inside: str, names: Names, budget: Budget) -> None:
    """Entries as files below `folder/inside`. What desktops left is passed over."""
    for entry in entries:
        if is_junk(entry.name):
            safe_name(entry.name)
            continue
        name = safe_name(entry.name)
        if entry.is_folder:
            names.folder(f"{inside}{name}".rstrip("/"))
        elif not name:
            raise DeliveryRefused("a file in it has no name")
        elif names.add(f"{inside}{name}"):
            _write(entry, folder / inside / name)
        elif not _is_same(entry.content, folder / inside / name, budget):
            raise DeliveryRefused(f"there are two files {shown(name)} in it, and they differ")


def _write(entry: Entry, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as out:
        out.writelines(entry.content)


def _is_same(content: Iterable[bytes], target: Path, budget: Budget) -> bool:
    """Whether a file that is there already has this content."""
    with target.open("rb") as there:
        for chunk in content:
            if there.read(len(chunk)) != chunk:
                return False
            budget.give_back(len(chunk))
        return not there.read(1)


# -- archives within -----------------------------------------------------------------------------


def _lay_out_nested(folder: Path, names: Names, budget: Budget) -> None:
    """Unpack the archives among the files, each into a folder of its name. DeliveryRefused for archives in those."""
    for inner in _files(folder):
        path, ending = folder / inner, _archive_ending(inner)
        if ending is None:
            continue
        try:
            kind = _kind(path, inner)
            if kind is None:
                continue
            target = inner[: -len(ending)] or "archive"
            while (folder / target).exists():
                target += "_"
            names.folder(target)
            _lay(_entries(kind, path, budget), folder, f"{target}/", names, budget)
            deeper = next((each for each in _files(folder / target) if _is_archive(folder / target / each)), None)
            if deeper is not None:
                raise DeliveryRefused(f"it holds {shown(deeper)}, an archive within an archive within one")
        except DeliveryRefused as error:
            raise DeliveryRefused(f"{inner}: {error}") from None
        budget.give_back(path.stat().st_size)
        path.unlink()


def _archive_ending(name: str) -> str | None:
    """By its name: many a file is a ZIP to be kept as it is."""
    return next((ending for ending in _ARCHIVES if name.lower().endswith(ending)), None)


def _is_archive(path: Path) -> bool:
    if _archive_ending(path.name) is None:
        return False
    with suppress(DeliveryRefused):
        return _kind(path, path.name) is not None
    return True

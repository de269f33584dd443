"""Archives of strangers, unpacked: regular files only, below one folder, within caps that are held while bytes flow.

What headers say is looked at first and not believed after.
"""

from __future__ import annotations

import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO

from swath.delivery.model import Tree
from swath.delivery.names import Names, is_junk, safe_name
from swath.errors import DeliveryRefused, shown
from swath.limits import LIMITS

__all__ = ["Tell", "unpack"]

Tell = Callable[[int, int], None]

_CHUNK = 1_000_000
_FREE = 10_000_000  # unpacked bytes that are not held against the packed ones
_METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA)
_KEPT_ZIPS = ("kmz", "docx", "xlsx", "pptx", "odt", "ods", "jar")
_PACKED = {"zip": "ZIP", "tar": "tar", "tgz": "tar", "gz": "gzip", "tbz2": "tar", "bz2": "bzip2", "xz": "xz"}
_IMAGES = ("tif", "tiff", "jp2", "j2k", "png", "jpg", "jpeg", "ntf", "nitf", "nc", "img")
_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, lzma.LZMAError, EOFError, NotImplementedError,
           struct.error, ValueError, OverflowError)  # fmt: skip


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
            _into(source, name, unfinished, tell)
            _nested(unfinished, tell)
        except BaseException:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        unfinished.rename(folder)
    files = tuple(sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()))
    if not files:
        raise DeliveryRefused(f"{name}: there are no files in it")
    return Tree(folder, files)


def _into(source: Path, name: str, folder: Path, tell: Tell) -> None:
    if source.is_dir():
        _from_folder(source, folder)
        return
    kind = _container(source, name)
    try:
        if kind == "zip":
            _from_zip(source, folder, tell)
        elif kind == "tar":
            _from_tar(source, folder, tell)
        else:
            safe = safe_name(PurePosixPath(name.replace("\\", "/")).name) or "file"
            shutil.copyfile(source, folder / safe)
    except DeliveryRefused as error:
        raise DeliveryRefused(f"{name}: {error}") from None
    except _BROKEN as error:
        raise DeliveryRefused(f"{name}: the archive is broken: {' '.join(str(error).split())[:200]}") from None


def _container(source: Path, name: str) -> str:
    """`zip`, `tar` or `file`, by content. DeliveryRefused where the name says something else."""
    if source.stat().st_size == 0:
        raise DeliveryRefused(f"{name}: the file is empty")
    with source.open("rb") as stream:
        head = stream.read(512)
    ending = name.lower().rpartition(".")[2]
    image = head[:4] in (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+", b"\x89PNG") or head[:3] == b"\xff\xd8\xff"
    if ending in _KEPT_ZIPS or image:
        kind = "file"
    elif head[:4] in (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08"):
        kind = "zip"
    elif head[257:262] == b"ustar" or head[:2] == b"\x1f\x8b" or head[:3] == b"BZh" or head[:6] == b"\xfd7zXZ\0":
        kind = "tar"
    else:
        kind = "zip" if zipfile.is_zipfile(source) else "file"
    if kind == "file" and ending in _PACKED and not image:
        raise DeliveryRefused(f"{name}: it is no {_PACKED[ending]} archive, whatever its name says")
    if kind != "file" and ending in _IMAGES:
        raise DeliveryRefused(f"{name}: it is an archive with the name of an image")
    return kind


class _Budget:
    """What may come out of an archive of so many bytes."""

    def __init__(self, packed: int, tell: Tell) -> None:
        self.most = min(LIMITS.delivery_bytes, max(_FREE, packed * LIMITS.delivery_ratio))
        self.total, self.tell = 0, tell

    def take(self, size: int) -> None:
        self.total += size
        if self.total > self.most:
            raise DeliveryRefused(
                f"it unpacks to more than {self.most:,} bytes, {LIMITS.delivery_ratio} times what it is itself"
            )
        self.tell(self.total, 0)


def _lay(stream: IO[bytes], target: Path, budget: _Budget) -> int:
    """A stream as a new file; its size."""
    target.parent.mkdir(parents=True, exist_ok=True)
    size = 0
    with target.open("xb") as out:
        while chunk := stream.read(_CHUNK):
            budget.take(len(chunk))
            size += len(chunk)
            out.write(chunk)
    return size


# -- ZIP -----------------------------------------------------------------------------------------


def _from_zip(source: Path, folder: Path, tell: Tell) -> None:
    with zipfile.ZipFile(source) as archive:
        entries = archive.infolist()
        if len(entries) > 2 * LIMITS.delivery_files:
            raise DeliveryRefused(f"it has {len(entries):,} entries; at most {LIMITS.delivery_files:,} are unpacked")
        _check_overlap(entries)
        names, budget = Names(), _Budget(source.stat().st_size, tell)
        for entry, name in list(_wanted(entries, names)):
            _check_entry(entry, name)
            with archive.open(entry) as stream:
                size = _lay(stream, folder / name, budget)
            if size != entry.file_size:
                raise DeliveryRefused(f"{shown(name)} has {size:,} bytes, not {entry.file_size:,} as the archive says")


def _wanted(entries: list[zipfile.ZipInfo], names: Names) -> Iterator[tuple[zipfile.ZipInfo, str]]:
    for entry in entries:
        kind = stat.S_IFMT(entry.external_attr >> 16)
        if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
            raise DeliveryRefused(f"the entry {shown(entry.filename)} is a link or a device")
        raw = _decoded(entry)
        if "\0" in raw:
            raise DeliveryRefused(f"the entry {shown(raw)} has a NUL in its name")
        name = safe_name(raw)
        if entry.is_dir() or raw.endswith(("/", "\\")) or not name:
            continue
        if is_junk(name):
            continue
        names.add(name)
        yield entry, name


def _decoded(entry: zipfile.ZipInfo) -> str:
    """The name as its maker meant it: UTF-8 where that is said, or is what the bytes are; else code page 437."""
    raw = entry.orig_filename
    if entry.flag_bits & 0x800:
        return raw
    extra = entry.extra
    while len(extra) >= 4:  # Info-ZIP's Unicode path, APPNOTE 4.6.9
        tag, size = struct.unpack("<HH", extra[:4])
        if tag == 0x7075 and size > 5:
            return extra[9 : 4 + size].decode("utf-8", "replace")
        extra = extra[4 + size :]
    try:
        return raw.encode("cp437").decode()
    except (UnicodeDecodeError, UnicodeEncodeError):
        return raw


def _check_entry(entry: zipfile.ZipInfo, name: str) -> None:
    if entry.flag_bits & 0x1:
        raise DeliveryRefused(f"{shown(name)} is encrypted")
    if entry.compress_type not in _METHODS:
        raise DeliveryRefused(f"{shown(name)} is packed by the method {entry.compress_type}, which is not read")
    if entry.file_size > LIMITS.delivery_bytes:
        raise DeliveryRefused(f"{shown(name)} claims {entry.file_size:,} bytes")


def _check_overlap(entries: list[zipfile.ZipInfo]) -> None:
    """Each entry has bytes of its own: else a small archive unpacks to a large one."""
    end = 0
    for entry in sorted(entries, key=lambda each: each.header_offset):
        if entry.header_offset < end:
            raise DeliveryRefused(f"the entry {shown(entry.filename)} shares its bytes with another")
        end = entry.header_offset + 30 + len(entry.orig_filename.encode("utf-8", "replace")[:1]) + entry.compress_size


# -- tar and folders -----------------------------------------------------------------------------


def _from_tar(source: Path, folder: Path, tell: Tell) -> None:
    names, budget = Names(), _Budget(source.stat().st_size, tell)
    with tarfile.open(source, "r:*") as archive:
        for member in archive:
            if not (member.isreg() or member.isdir()) or member.issparse():
                raise DeliveryRefused(f"the entry {shown(member.name)} is a link, a device or a sparse file")
            name = safe_name(member.name)
            if member.isdir() or not name or is_junk(name):
                continue
            names.add(name)
            stream = archive.extractfile(member)
            assert stream is not None
            size = _lay(stream, folder / name, budget)
            if size != member.size:
                raise DeliveryRefused(f"{shown(name)} is cut short")
        _check_end(source, archive)


def _check_end(source: Path, archive: tarfile.TarFile) -> None:
    """A tar that is cut between two entries looks as if it ended there."""
    with source.open("rb") as stream:
        plain = stream.read(512)[257:262] == b"ustar"
    if plain and archive.offset > source.stat().st_size:
        raise DeliveryRefused("the archive is cut short")


def _from_folder(source: Path, folder: Path) -> None:
    names = Names()
    for place, folders, files in os.walk(source):
        for each in (*folders, *files):
            path = Path(place) / each
            kind = path.lstat().st_mode
            if not (stat.S_ISREG(kind) or stat.S_ISDIR(kind)):
                raise DeliveryRefused(f"{path} is a link or a device, which are not followed")
            if stat.S_ISREG(kind):
                name = safe_name(path.relative_to(source).as_posix())
                if not is_junk(name):
                    names.add(name)
                    (folder / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, folder / name)


# -- archives within -----------------------------------------------------------------------------


def _nested(folder: Path, tell: Tell) -> None:
    """Unpack the archives of an archive, each into a folder of its name."""
    for path in sorted(each for each in folder.rglob("*") if each.is_file()):
        if not _is_archive(path):
            continue
        target = path.with_name(path.name.split(".", 1)[0] if path.name.lower().endswith(".tar.gz") else path.stem)
        while target.exists():
            target = target.with_name(f"{target.name}_")
        target.mkdir()
        _into(path, path.name, target, tell)
        path.unlink()
        deeper = next((each for each in sorted(target.rglob("*")) if each.is_file() and _is_archive(each)), None)
        if deeper is not None:
            raise DeliveryRefused(
                f"{path.name}: it holds {shown(deeper.name)}, an archive within an archive within one"
            )


def _is_archive(path: Path) -> bool:
    if path.name.lower().rpartition(".")[2] in _KEPT_ZIPS:
        return False
    with path.open("rb") as stream:
        head = stream.read(512)
    if head[:4] == b"PK\x03\x04" or head[257:262] == b"ustar":
        return True
    return head[:2] == b"\x1f\x8b" and path.name.lower().endswith((".tar.gz", ".tgz"))

"""A folder as one file: a ZIP of its files as they are, the same bytes each time."""

from __future__ import annotations

import os
import secrets
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path

from swath.blobs import CHUNK, hash_file
from swath.errors import DeliveryRefused, TooLarge
from swath.limits import LIMITS

__all__ = ["packed"]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first day that a ZIP knows


def packed(source: Path, folder: Path) -> tuple[Path, str]:
    """A ZIP, in a folder of ours, of all files below `source`, under the folder's own name; and its SHA-256.

    Files are stored, not packed: imagery is already. DeliveryRefused for links and devices, which are not followed.
    """
    top = source.resolve()
    archive = folder / f"{secrets.token_hex(8)}.upload~"
    try:
        with archive.open("wb") as out:
            with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED, allowZip64=True) as packing:
                for number, path in enumerate(_files(top)):
                    if number >= LIMITS.delivery_files:
                        raise TooLarge(f"{source} holds more than {LIMITS.delivery_files:,} files")
                    name = f"{top.name}/{path.relative_to(top).as_posix()}"
                    info = zipfile.ZipInfo(name, _EPOCH)
                    info.external_attr = (stat.S_IFREG | 0o644) << 16
                    with path.open("rb") as one, packing.open(info, "w", force_zip64=True) as entry:
                        while chunk := one.read(CHUNK):
                            entry.write(chunk)
            out.flush()
            os.fsync(out.fileno())
    except BaseException:
        archive.unlink(missing_ok=True)
        raise
    return archive, hash_file(archive)


def _files(folder: Path) -> Iterator[Path]:
    for path in sorted(folder.iterdir()):
        kind = path.lstat().st_mode
        if stat.S_ISDIR(kind):
            yield from _files(path)
        elif stat.S_ISREG(kind):
            yield path
        else:
            raise DeliveryRefused(f"{path} is a link or a device, which are not followed; put the file itself there")

"""Files of this machine on their way into the store: copied and hashed in one pass, then durable."""

from __future__ import annotations

import hashlib
import os
import secrets
from pathlib import Path

from swath.blobs import CHUNK
from swath.errors import InvalidRequest

__all__ = ["staged"]


def staged(path: Path, folder: Path) -> tuple[Path, str]:
    """A copy of a file in a folder of ours, which nobody else writes to, and its SHA-256.

    InvalidRequest for what is no regular file.
    """
    if path.is_symlink():
        path = path.resolve()
    if not path.is_file():
        raise InvalidRequest(f"{path} is no file and no folder")
    copy, said = folder / f"{secrets.token_hex(8)}.upload~", hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as source, copy.open("wb", buffering=0) as target:
            while chunk := source.read(CHUNK):
                said.update(chunk)
                view = memoryview(chunk)
                while view:
                    view = view[target.write(view) :]
            os.fsync(target.fileno())
    except BaseException:
        copy.unlink(missing_ok=True)
        raise
    return copy, said.hexdigest()

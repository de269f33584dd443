"""Uploads that go on where they broke off: bytes that come piece by piece, and become a delivery with the last of them.

An upload is two files in the work folder: its bytes, and a note of what is known of them. How far it is, is the size of
the first, once that is durable. Who writes to it holds a lock on it, which goes with the process, however that ends.
The delivery has the upload's own id, so that it is made once, whenever and however often that is tried.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import re
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec

from swath.assets.said import Said
from swath.assets.store import AssetStore
from swath.errors import ChecksumMismatch, Gone, InvalidRequest, NotFound, SwathError, TooLarge, Unavailable
from swath.jobs import sync_folder

__all__ = ["ALGORITHMS", "KEPT_SECONDS", "Held", "Upload", "Uploads", "sweep"]

log = logging.getLogger("swath.uploads")

ALGORITHMS = ("sha1", "sha256", "md5")  # of checksums
KEPT_SECONDS = 7 * 86_400.0  # since something came last
_ORPHAN_SECONDS = 86_400.0
_ID = re.compile(r"[0-9a-f]{32}")
_DATA, _NOTE, _STOP = ".tus~", ".tus.json", ".tus.stop"


class Upload(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of an upload beside its bytes. Its `length` may be told later, its `asset` is told at the end.

    `metadata` is what its sender says, as it was written. Bytes behind the offset `unchecked` have not been compared
    with their checksum: they do not count.
    """

    id: str
    actor: str
    name: str
    said: Said
    length: int | None = None
    metadata: str = ""
    unchecked: int | None = None
    asset: str | None = None


class Uploads:
    """The uploads of one catalogue, for any number of threads and processes."""

    def __init__(self, store: AssetStore) -> None:
        self.store, self.folder = store, store.jobs.folder

    def file(self, upload_id: str, ending: str) -> Path:
        """NotFound for an id that is none of ours."""
        if not _ID.fullmatch(upload_id):
            raise NotFound(f"there is no upload {upload_id[:80]!r}")
        return self.folder / f"{upload_id}{ending}"

    def create(self, actor: str, name: str, said: Said, length: int | None, metadata: str = "") -> Upload:
        """A new upload, of which nothing has come; durable when this returns. InvalidRequest for an empty one."""
        _check_length(length)
        self.folder.mkdir(exist_ok=True)
        upload = Upload(uuid.uuid4().hex, actor, name, said, length, metadata)
        self.file(upload.id, _DATA).touch(exist_ok=False)
        self.note(upload)
        return upload

    def note(self, upload: Upload) -> None:
        """Keep what is known, durably, in place of what was."""
        place = self.file(upload.id, _NOTE)
        unfinished = place.with_name(f"{place.name}~")
        with unfinished.open("wb") as out:
            out.write(msgspec.json.encode(upload))
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(place)
        sync_folder(self.folder)

    def get(self, upload_id: str) -> Upload:
        """NotFound."""
        try:
            return msgspec.json.decode(self.file(upload_id, _NOTE).read_bytes(), type=Upload)
        except FileNotFoundError:
            raise NotFound(f"there is no upload {upload_id[:80]!r}; it was ended, or nothing came for a week") from None

    def hold(self, upload_id: str, *, however_old: bool = False) -> Held | None:
        """An upload for oneself; None while another has it. NotFound, and Gone where nothing came for too long."""
        while True:
            upload = self.get(upload_id)
            if upload.asset is not None:  # nothing about it changes any more
                return self._fresh(Held(self, upload, None), however_old)
            try:
                descriptor = _opened(self.file(upload_id, _DATA))
            except FileNotFoundError:
                if self.get(upload_id).asset is None:
                    raise NotFound(f"the bytes of the upload {upload_id} are gone; begin it anew") from None
                continue  # it has become a delivery meanwhile
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if _is(descriptor, self.file(upload_id, _DATA)):
                    return self._fresh(Held(self, self.get(upload_id), descriptor), however_old)
            except BlockingIOError:
                os.close(descriptor)
                return None
            except BaseException:
                os.close(descriptor)
                raise
            os.close(descriptor)

    def _fresh(self, held: Held, however_old: bool) -> Held:
        if not however_old and held.expires < time.time():
            raise Gone(f"the upload {held.upload.id} is over: nothing came for a week; begin it anew")
        self.file(held.upload.id, _STOP).unlink(missing_ok=True)  # whoever asked for it has it
        held.recover()
        return held

    def ask(self, upload_id: str) -> None:
        """Ask whoever holds an upload to let it go."""
        self.file(upload_id, _STOP).touch()

    def whole(self, upload_id: str) -> Upload | None:
        """An upload of which every byte is there, durably, while another makes a delivery of it."""
        upload = self.get(upload_id)
        with suppress(FileNotFoundError):
            descriptor = os.open(self.file(upload_id, _DATA), os.O_RDONLY | os.O_CLOEXEC)
            try:
                if upload.unchecked is None and os.fstat(descriptor).st_size == upload.length:
                    os.fsync(descriptor)
                    return upload
            finally:
                os.close(descriptor)
        return None

    def finish(self, held: Held) -> None:
        """Make a delivery of an upload that is whole; of no effect on one that has become one, or is not whole."""
        if held.descriptor is None or held.offset != held.upload.length:
            return
        upload, data = held.upload, self.file(held.upload.id, _DATA)
        made = self.store.receive(
            data, upload.name, upload.said, upload.actor, delivery_id=str(uuid.UUID(hex=upload.id))
        )
        held.change(asset=made.id)
        data.unlink(missing_ok=True)

    def remove(self, held: Held) -> None:
        """End an upload; a delivery that was made of it stays."""
        for ending in (_NOTE, _DATA, _STOP):  # without its note it is no upload any more
            self.file(held.upload.id, ending).unlink(missing_ok=True)
        sync_folder(self.folder)


class Held:
    """An upload that nobody else writes to until it is closed. `offset` is how many bytes have come."""

    def __init__(self, uploads: Uploads, upload: Upload, descriptor: int | None) -> None:
        """Without a descriptor, an upload that has become a delivery."""
        self.uploads, self.upload, self.descriptor = uploads, upload, descriptor
        self.offset = (upload.length or 0) if descriptor is None else os.fstat(descriptor).st_size
        self.start, self.said = self.offset, hashlib.sha256()
        self.checked = False

    @property
    def expires(self) -> float:
        """When it is taken away, in seconds since 1970."""
        place = self.uploads.file(self.upload.id, _NOTE)
        changed = place.stat() if self.descriptor is None else os.fstat(self.descriptor)
        return changed.st_mtime + KEPT_SECONDS

    def wanted(self) -> bool:
        """Whether somebody else asks for it."""
        return self.uploads.file(self.upload.id, _STOP).exists()

    def change(self, **told: Any) -> None:
        """Note something of it, durably."""
        upload = msgspec.structs.replace(self.upload, **told)
        if upload != self.upload:
            self.uploads.note(upload)
            self.upload = upload

    def recover(self) -> None:
        """Take away what was not compared with its checksum, and make the rest durable, which a crash left."""
        if self.descriptor is None:
            return
        if self.upload.unchecked is not None:
            self.start = min(self.upload.unchecked, self.offset)
            self._back()
            self.change(unchecked=None)
        os.fsync(self.descriptor)

    def limit(self, length: int) -> None:
        """Tell the length of an upload that was begun without. InvalidRequest, TooLarge."""
        _check_length(length)
        if self.upload.length not in (None, length):
            raise InvalidRequest(f"Upload-Length: the upload has {self.upload.length:,} bytes, which cannot be changed")
        if length < self.offset:
            raise TooLarge(f"Upload-Length: {length:,} is less than the {self.offset:,} bytes that have come")
        self.change(length=length)

    def begin(self, algorithm: str | None) -> None:
        """Before a piece comes. With an algorithm, none of it counts until it is compared with its checksum."""
        self.start, self.checked = self.offset, algorithm is not None
        if algorithm is not None and self.descriptor is not None:
            self.said = hashlib.new(algorithm, usedforsecurity=False)
            self.change(unchecked=self.offset)

    @property
    def room(self) -> int | None:
        """How many bytes may come yet; None for any number."""
        return None if self.upload.length is None else self.upload.length - self.offset

    def append(self, block: bytes | bytearray) -> None:
        """Write what has come. Unavailable where the disk is full."""
        assert self.descriptor is not None or not block
        if self.checked:
            self.said.update(block)
        view = memoryview(block)
        try:
            while view and self.descriptor is not None:
                count = os.pwrite(self.descriptor, view, self.offset)
                self.offset += count
                view = view[count:]
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT):
                raise
            raise Unavailable("the disk is full; the upload can go on when there is room again", 60) from None

    def keep(self, checksum: bytes | None = None) -> None:
        """Make what has come durable. ChecksumMismatch, and the piece is gone, where its checksum is another."""
        if self.descriptor is None:
            return
        if checksum is not None and checksum != self.said.digest():
            self.drop()
            raise ChecksumMismatch("the bytes that arrived are not those of Upload-Checksum; send them again")
        os.utime(self.descriptor)
        os.fsync(self.descriptor)
        self.change(unchecked=None)

    def drop(self) -> None:
        """Take the piece away again."""
        self._back()
        self.change(unchecked=None)

    def _back(self) -> None:
        # Never where nothing was written: the file may be a blob already.
        if self.descriptor is not None and self.offset > self.start:
            os.ftruncate(self.descriptor, self.start)
            os.fsync(self.descriptor)
            self.offset = self.start

    def close(self) -> None:
        if self.descriptor is not None:
            os.close(self.descriptor)
            self.descriptor = None


def _check_length(length: int | None) -> None:
    if length == 0:
        raise InvalidRequest("Upload-Length: an empty file is no delivery")


def _opened(path: Path) -> int:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except PermissionError:  # whole, and a blob already, which nobody writes to
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _is(descriptor: int, path: Path) -> bool:
    """Whether the file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:
        return False


# -- tidying up ----------------------------------------------------------------------------------


def sweep(store: AssetStore) -> None:
    """Make deliveries of uploads that are whole, which a crash kept from it, and take away what nothing came to."""
    uploads = Uploads(store)
    for upload_id in list(_ids(uploads.folder, _NOTE)):
        try:
            held = uploads.hold(upload_id, however_old=True)
            if held is None:
                continue  # somebody is at it
            try:
                uploads.finish(held)
                if held.expires < time.time():
                    uploads.remove(held)
            finally:
                held.close()
        except (SwathError, OSError, msgspec.MsgspecError):
            log.warning("upload %s could not be looked after", upload_id, exc_info=True)
    _drop_orphans(uploads)


def _ids(folder: Path, ending: str) -> Iterator[str]:
    for path in folder.glob(f"*{ending}"):
        if _ID.fullmatch(found := path.name.removesuffix(ending)):
            yield found


def _drop_orphans(uploads: Uploads) -> None:
    """Files of uploads that have no note: of a crash while one was begun or ended."""
    for ending in (_DATA, f"{_NOTE}~", _STOP):
        for upload_id in list(_ids(uploads.folder, ending)):
            path = uploads.file(upload_id, ending)
            with suppress(FileNotFoundError):
                old = time.time() - path.stat().st_mtime > _ORPHAN_SECONDS
                if old and not uploads.file(upload_id, _NOTE).exists():
                    path.unlink()

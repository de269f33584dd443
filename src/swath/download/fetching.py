"""One file, from its source to its name: gone on with where it was cut, checked, and named when it is whole."""

from __future__ import annotations

import os
import random
import stat
import threading
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from swath.blobs import CHUNK
from swath.download.checks import Checksum
from swath.download.parts import Part, Stamp
from swath.download.sources import Reading, Seen, Source
from swath.errors import ChecksumMismatch, RemoteFailure, SwathError, Unavailable
from swath.formats.web import Passing

__all__ = ["Expected", "Stopped", "fetch", "is_there", "unfinished"]

_TRIES = 5  # in a row that brought nothing on
_PROGRESS = 65_536  # bytes that count as such
_CHANGES = 3  # times that a file may turn out to be another while it is read
_FIRST_WAIT, _LONGEST_WAIT, _LONGEST_ASKED_WAIT = 0.5, 30.0, 300.0


class Stopped(Exception):
    """The user has had enough."""


class _Anew(Exception):
    """What is there is not the beginning of what comes."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What the item says of a file."""

    size: int | None = None
    checksum: Checksum | None = None


def is_there(target: Path, expected: Expected, seen: Seen | None) -> str | None:
    """How one can tell that the file has been downloaded already; None where it has not, or one cannot tell."""
    try:
        found = os.stat(target, follow_symlinks=False)
    except OSError:
        return None
    size = expected.size if expected.size is not None or seen is None else seen.size
    if not stat.S_ISREG(found.st_mode) or (size is not None and found.st_size != size):
        return None
    check = expected.checksum or (seen.digest if seen is not None else None)
    if check is not None:
        return check.algorithm if _digest(target, check) == check.digest else None
    if size is None or seen is None:
        return None
    return "size" if seen.modified is None or abs(found.st_mtime - seen.modified) < 1 else None


def _digest(path: Path, check: Checksum) -> bytes:
    made = check.new()
    with path.open("rb", buffering=0) as stream:
        while chunk := stream.read(CHUNK):
            made.update(chunk)
    return bytes(made.digest())


def fetch(
    source: Source,
    target: Path,
    expected: Expected,
    *,
    stop: threading.Event,
    heard: Callable[[int], None] = lambda _: None,
    told: Callable[[str], None] = lambda _: None,
) -> tuple[int, str]:
    """Its size, and what it was checked by: an algorithm, `size` or `nothing`.

    `heard` is told of bytes as they come, and of less than none where some are thrown away; `told` why it waits.
    ChecksumMismatch for bytes that are not those that are promised; of them nothing is left. After any other failure
    what came is kept, for a later run to go on from.
    """
    with Part(target) as part:
        if part.size and not part.trusted(expected.checksum is not None):
            part.clear(Stamp())
        heard(part.size)
        tries = changes = 0
        while True:
            before = part.size
            try:
                seen = _read_on(source, part, expected, stop, heard)
                return _finished(part, expected, seen)
            except _Anew:
                changes += 1
                heard(-part.size)
                part.clear(Stamp())
                if changes > _CHANGES:
                    raise RemoteFailure("the file is another each time that it is read", 502) from None
            except Passing as fault:
                tries = 1 if part.size - before >= _PROGRESS else tries + 1
                if tries >= _TRIES:
                    raise fault.error from None
                _wait(fault, tries, stop, told)
            except ChecksumMismatch:
                part.shorten(0)
                raise


def _wait(fault: Passing, tries: int, stop: threading.Event, told: Callable[[str], None]) -> None:
    if fault.after > _LONGEST_ASKED_WAIT:
        raise Unavailable(f"{fault.error}; it asks to come back in {fault.after:,.0f} s", int(fault.after)) from None
    wait = max(fault.after, min(_LONGEST_WAIT, _FIRST_WAIT * 2 ** (tries - 1)) * random.uniform(0.5, 1.0))
    told(f"{fault.error}; asking again in {wait:.1f} s")
    if stop.wait(wait):
        raise Stopped


def _read_on(
    source: Source, part: Part, expected: Expected, stop: threading.Event, heard: Callable[[int], None]
) -> Seen:
    """Read what is missing. Passing where it was cut."""
    _prepare(part, expected, heard)
    try:
        with source.read(part.size, part.stamp.tag) as reading:
            _begun(part, reading, heard)
            _copy(part, reading, expected, stop, heard)
            seen = reading.seen
    except RemoteFailure as error:
        if error.status == 416 and part.size:  # it is shorter now
            raise _Anew from None
        raise
    if seen.size is not None and part.size < seen.size:
        raise Passing(RemoteFailure(f"the connection ended after {part.size:,} of {seen.size:,} bytes", 502))
    return seen


def _prepare(part: Part, expected: Expected, heard: Callable[[int], None]) -> None:
    whole = part.stamp.size
    if part.size and part.stamp.tag is None and expected.checksum is None:
        heard(-part.size)  # nothing would tell whether what comes is of the same file
        part.clear(Stamp())
    elif part.size and whole is not None and part.size >= whole:
        # The last byte is asked for again: the answer tells whether the file is still the same.
        heard(whole - 1 - part.size)
        part.shorten(whole - 1)


def _copy(
    part: Part, reading: Reading, expected: Expected, stop: threading.Event, heard: Callable[[int], None]
) -> None:
    size = reading.seen.size
    if expected.size is not None and size is not None and size != expected.size:
        raise _wrong_size(size, expected.size)
    part.hash_for((expected.checksum or reading.seen.digest,))
    most = size if size is not None else expected.size
    for chunk in reading.chunks:
        if stop.is_set():
            raise Stopped
        part.write(chunk)
        heard(len(chunk))
        if most is not None and part.size > most:
            raise ChecksumMismatch(f"more bytes come than the {most:,} that were announced")


def _wrong_size(size: int, expected: int) -> ChecksumMismatch:
    return ChecksumMismatch(f"it has {size:,} bytes; by the item's file:size it has {expected:,}")


def _begun(part: Part, reading: Reading, heard: Callable[[int], None]) -> None:
    """Make the part ready for what comes."""
    seen, stamp = reading.seen, part.stamp
    if reading.start == 0:
        heard(-part.size)
        part.clear(Stamp(seen.tag, seen.size))
        return
    # It gave a part, but of which file? Not every server heeds If-Range.
    same = all(a is None or b is None or a == b for a, b in ((seen.tag, stamp.tag), (seen.size, stamp.size)))
    if reading.start != part.size or not same:
        raise _Anew


def _finished(part: Part, expected: Expected, seen: Seen) -> tuple[int, str]:
    size, check = part.size, expected.checksum or seen.digest
    if expected.size is not None and size != expected.size:
        raise _wrong_size(size, expected.size)
    if check is not None and (found := part.digest(check)) != check.digest:
        if part.inherited:
            raise _Anew
        raise ChecksumMismatch(f"its {check.algorithm} is {found.hex()}; by {check.where} it is {check.digest.hex()}")
    part.finish(seen.modified)
    known = "size" if expected.size is not None or seen.size is not None else "nothing"
    return size, check.algorithm if check is not None else known


def unfinished(error: BaseException) -> str:
    """Why a file could not be had, in words."""
    if isinstance(error, Passing):
        error = error.error
    if isinstance(error, SwathError):
        return str(error)
    return error.strerror or str(error) if isinstance(error, OSError) else f"{type(error).__name__}: {error}"

"""Documents out of files, one at a time, in memory that does not grow with the file.

What a file holds is told by its content, not by its name; only folders are searched by file name.
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO

import msgspec

from swath.errors import InvalidRequest, SwathError
from swath.formats import parquet

__all__ = ["Document", "Unreadable", "elements", "read_source", "read_stream"]

_SUFFIXES = (".json", ".geojson", ".ndjson", ".jsonl", ".parquet", ".geoparquet")
_PARQUET = b"PAR1"
_CHUNK = 1 << 20
_LONGEST_LINE = 64 << 20
_STRUCTURE = re.compile(rb'["{}\[\]]')
_STRING = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Document:
    """The text of an item or a collection, and where it stood.

    `line` counts documents in a file that has no lines. `folder` is where the file stood below the source, as a
    relative path. `within` is the id of the collection that the file or folder is about, for items that name none.
    """

    raw: bytes
    file: str
    line: int
    within: str | None = None
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A file, or a part of one, that is neither item nor collection."""

    file: str
    line: int
    reason: str


class _Head(msgspec.Struct):
    type: str | None = None
    id: object = None


def read_source(source: str) -> Iterator[Document | Unreadable]:
    """Documents of a file, a folder (searched through) or `-`, standard input. InvalidRequest when it is not there."""
    if source == "-":
        import sys

        yield from read_stream(sys.stdin.buffer, "-")
        return
    path = Path(source)
    if path.is_dir():
        yield from _read_folder(path)
    elif path.is_file():
        yield from _read_file(path, None)
    else:
        raise InvalidRequest(f"{source} is neither a file nor a folder")


def _read_folder(folder: Path) -> Iterator[Document | Unreadable]:
    """Every STAC file below a folder: catalogue and collection files before the items beside and below them."""
    within: dict[str, str | None] = {}
    closed: list[OSError] = []
    found = False
    for name, folders, files in os.walk(folder, onerror=closed.append):
        folders.sort()
        here = Path(name)
        files = sorted((f for f in files if f.lower().endswith(_SUFFIXES)), key=lambda f: (not _is_head(f), f))
        within[name] = within.get(str(here.parent))
        for file in files:
            found = True
            for document in _read_file(here / file, within[name]):
                if isinstance(document, Document):
                    if _is_head(file):
                        within[name] = _collection_id(document.raw) or within[name]
                    yield replace(document, folder=str(here.relative_to(folder)))
                else:
                    yield document
    for error in closed:
        yield Unreadable(str(error.filename), 0, f"cannot be read: {error.strerror}")
    if not found and not closed:
        yield Unreadable(str(folder), 0, f"holds no file that ends in {', '.join(_SUFFIXES)}")


def _collection_id(raw: bytes) -> str | None:
    """The id, if the text is a collection."""
    try:
        head = msgspec.json.decode(raw, type=_Head)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return None
    return str(head.id) if head.type == "Collection" else None


def _is_head(file: str) -> bool:
    return file.startswith(("collection", "catalog"))


def _read_file(path: Path, within: str | None) -> Iterator[Document | Unreadable]:
    try:
        with path.open("rb", buffering=1 << 20) as stream:
            if stream.read(4) == _PARQUET:
                for number, raw in enumerate(parquet.read_items(path), 1):
                    yield Document(raw, str(path), number, within)
                return
            stream.seek(0)
            yield from read_stream(stream, str(path), within)
    except OSError as error:
        yield Unreadable(str(path), 0, f"cannot be read: {error.strerror}")
    except SwathError as error:
        yield Unreadable(str(path), 0, str(error))


def read_stream(
    stream: BinaryIO, name: str, within: str | None = None, *, lines: bool = False
) -> Iterator[Document | Unreadable]:
    """Documents of one JSON text or of newline-delimited JSON; `lines` says that it is the latter."""
    number = 1
    first = stream.readline(_LONGEST_LINE).removeprefix(b"\xef\xbb\xbf")
    while first and not first.strip():
        first = stream.readline(_LONGEST_LINE)
        number += 1
    if not first:
        return
    second = stream.readline(_LONGEST_LINE) if first.endswith(b"\n") else b""
    rest = _Joined(second, stream)
    # A first line that is broken does not make the lines behind it one text.
    if lines or _is_whole(first) or (second.lstrip().startswith(b"{") and _is_whole(second)):
        yield from _read_lines(first, rest, name, number, within)
    else:
        yield from _read_text(first, rest, name, within)


def _is_whole(line: bytes) -> bool:
    """Whether a line is a JSON text by itself, so that more may follow."""
    try:
        msgspec.json.decode(line, type=msgspec.Raw)
    except (msgspec.DecodeError, RecursionError):
        return False
    return True


def _read_lines(
    first: bytes, stream: _Joined, name: str, number: int, within: str | None
) -> Iterator[Document | Unreadable]:
    line = first
    while line:
        if len(line) >= _LONGEST_LINE:
            yield Unreadable(name, number, f"the line is longer than {_LONGEST_LINE >> 20} MB")
            while line and not line.endswith(b"\n"):
                line = stream.readline(_LONGEST_LINE)
        elif line.strip():
            yield from _classify(line, name, number, within)
        line = stream.readline(_LONGEST_LINE)
        number += 1


_OTHERS = (b'"features"', b'"FeatureCollection"', b'"Catalog"', b'"collections"')


def _classify(raw: bytes, name: str, number: int, within: str | None) -> Iterator[Document | Unreadable]:
    if b'"Feature"' in raw and not any(word in raw for word in _OTHERS):
        yield Document(raw, name, number, within)  # an item: it is read once, by whoever stores it
        return
    try:
        head = msgspec.json.decode(raw, type=_Head)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        yield Unreadable(name, number, f"not JSON: {error}")
        return
    if head.type in ("Feature", "Collection"):
        yield Document(raw, name, number, within)
    elif head.type == "FeatureCollection":
        yield from _members(_Joined(raw, io.BytesIO()), name, within)
    elif head.type == "Catalog":
        return  # links only; what it links to is found in the folder
    elif b'"collections"' in raw or b'"features"' in raw:  # an API's answer
        yield from _members(_Joined(raw, io.BytesIO()), name, within)
    else:
        yield Unreadable(name, number, f"neither an Item, a Collection nor an ItemCollection (type {head.type!r})")


def _read_text(first: bytes, stream: _Joined, name: str, within: str | None) -> Iterator[Document | Unreadable]:
    """One JSON text over many lines. Small ones are read whole; a large one must be a list of documents."""
    start = first + stream.read(_CHUNK)
    rest = stream.read(1)
    if not rest:
        yield from _classify(start, name, 1, within)
    else:
        yield from _members(_Joined(start + rest, stream), name, within)


class _Joined:
    """Bytes already read, then the rest of a stream."""

    def __init__(self, head: bytes, rest: BinaryIO | _Joined) -> None:
        self._head, self._rest = head, rest

    def read(self, size: int) -> bytes:
        part, self._head = self._head[:size], self._head[size:]
        return part + self._rest.read(size - len(part)) if len(part) < size else part

    def readline(self, size: int) -> bytes:
        """The head, if there is one, is a whole line."""
        if self._head:
            part, self._head = self._head, b""
            return part
        return self._rest.readline(size)


def _members(stream: _Joined, name: str, within: str | None) -> Iterator[Document | Unreadable]:
    """The elements of the arrays `features` and `collections` of one object, without holding the object."""
    splitter = _Splitter()
    number = 0
    while chunk := stream.read(_CHUNK):
        for raw in splitter.feed(chunk):
            number += 1
            yield Document(raw, name, number, within)
        if splitter.held() > _LONGEST_LINE:
            yield Unreadable(name, number + 1, f"an element is longer than {_LONGEST_LINE >> 20} MB")
            return
    if splitter.depth or not splitter.begun:
        yield Unreadable(name, number + 1, "the text ends in the middle")
    elif not splitter.found:
        yield Unreadable(name, 1, "no array `features` or `collections` of documents was found in it")


def elements(text: bytes) -> list[bytes]:
    """The elements of the arrays `features` and `collections` of one object, though one of them may be broken."""
    return list(_Splitter().feed(text))


class _Splitter:
    """Cuts the elements out of the arrays `features` and `collections` of one object, chunk by chunk."""

    def __init__(self) -> None:
        self.buffer = b""
        self.position = 0
        self.depth = 0
        self.begun = False
        self.found = False  # one of the two arrays
        self.inside = False  # it
        self.name = b""  # the last string directly in the object
        self.element = -1  # where the element begins that is being read

    def held(self) -> int:
        return len(self.buffer) - max(self.element, 0)

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        kept = self.element if self.element >= 0 else self.position
        self.buffer = self.buffer[kept:] + chunk
        self.position -= kept
        self.element = 0 if self.element >= 0 else -1
        while (token := self.token()) is not None:
            gap, text = token
            if self.inside and self.depth == 2:
                # Between the documents there may be things that are none: they are reported, not skipped.
                yield from (part for part in re.split(rb"[,\s]+", gap) if part)
                if text[:1] == b'"':
                    yield text
            if text[:1] == b'"':
                if self.depth == 1:
                    self.name = text[1:-1]
            elif text in b"{[":
                self.enter(text)
            else:
                self.depth -= 1
                if self.depth == 2 and self.element >= 0:
                    yield self.buffer[self.element : self.position]
                    self.element = -1
                elif self.depth == 1:
                    self.inside = False

    def token(self) -> tuple[bytes, bytes] | None:
        """The next string or bracket and what stands before it; None where the chunk ends, maybe within a string."""
        start = self.position
        match = _STRUCTURE.search(self.buffer, start)
        if match is None:
            if self.inside and self.depth == 2:
                return None  # the text up to here belongs to what comes next
            self.position = len(self.buffer)
            return None
        end = match.end()
        if match[0] == b'"':
            string = _STRING.match(self.buffer, match.start())
            if string is None:
                return None
            end = string.end()
        self.position = end
        return self.buffer[start : match.start()], self.buffer[match.start() : end]

    def enter(self, bracket: bytes) -> None:
        self.depth += 1
        self.begun = True
        if self.depth == 2:
            self.inside = bracket == b"[" and self.name in (b"features", b"collections")
            self.found |= self.inside
        elif self.depth == 3 and self.inside:
            self.element = self.position - 1

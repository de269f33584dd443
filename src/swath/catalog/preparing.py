"""Making documents ready to be written: read, checked, packed. In other processes where there are many.

A helper is `python -m swath.catalog.preparing FOLDER`: chunks of documents come in on its standard input, what became
of them goes out on its standard output, each message a length and MessagePack. It ends when its input does.
"""

from __future__ import annotations

import gc
import os
import queue
import signal
import struct
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

import msgspec

from swath.catalog.door import Door, door, mended
from swath.catalog.served import without_times
from swath.errors import InvalidDocument, SwathError
from swath.formats.reading import Document, Unreadable
from swath.stac.document import CollectionDocument, ItemDocument, read_document, read_item
from swath.stac.links import absolute_hrefs
from swath.store.base import Ledger
from swath.store.records import PreparedWrite
from swath.store.sqlite.ledger import SqliteLedger

__all__ = ["Prepared", "Preparing"]

_ALONE_BYTES = 3_000_000  # so much is done before helpers are worth their start
_CHUNK_BYTES, _CHUNK_DOCUMENTS = 1_000_000, 500
_AHEAD = 6  # chunks that a helper may have, so that it is not idle while others are written
_SETTING_SECONDS = 1.0
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True, slots=True)
class Prepared:
    """What became of a document: a write, or the reason why there is none. `id` is None where it cannot be told."""

    id: str | None
    write: PreparedWrite | None = None
    warnings: tuple[str, ...] = ()
    reason: str = ""
    pointer: str = ""


@dataclass(frozen=True, slots=True)
class _Chunk:
    packing: dict[str, int]  # by collection, the dictionary to pack with
    documents: tuple[Document, ...]


@dataclass(frozen=True, slots=True)
class Preparing:
    """How documents are made ready. `collection` is taken for items that name none, `absolute` resolves hrefs.

    `only`: everything is an item of that collection. `fix`: geometries are mended by the rules of RFC 7946. `strict`:
    what breaks a structural rule is refused, as it is everywhere but in a load.
    """

    collection: str | None = None
    absolute: str | None = None
    only: bool = False
    fix: bool = False
    strict: bool = False

    def one(self, document: Document, ledger: Ledger, enter: Door) -> Prepared:
        try:
            raw, fixes = mended(document.raw) if self.fix else (document.raw, [])
            raw = without_times(raw, ledger)
            if self.absolute is not None:
                raw = absolute_hrefs(raw, f"{self.absolute.rstrip('/')}/{document.folder}")
            if self.only:
                read: ItemDocument | CollectionDocument = read_item(raw, self.collection or "")
            else:
                read = read_document(raw, self.collection or document.within)
            notes = enter(read)
        except InvalidDocument as error:
            return Prepared(_id_of(document.raw), reason=error.words, pointer=error.pointer)
        return Prepared(read.id, ledger.prepare(read), (*read.warnings, *fixes, *notes))

    def door(self, ledger: Ledger, folder: Path | None) -> Door:
        """What documents come in by."""
        setting = partial(_setting, ledger, {})
        return door(setting, folder, strictness="enforce" if self.strict else "off", brief=True)

    def many(
        self, documents: Iterable[Document | Unreadable], ledger: Ledger, folder: Path | None
    ) -> Iterator[tuple[Document | Unreadable, Prepared]]:
        """Each document with what became of it, in order. `folder` is the catalogue's; None does without helpers."""
        size, pending = 0, iter(documents)
        enter = self.door(ledger, folder)
        for document in pending:
            yield document, self._prepared(document, ledger, enter)
            size += len(document.raw) if isinstance(document, Document) else 0
            if size > _ALONE_BYTES and folder is not None and _helpers() > 1:
                break
        else:
            return
        assert folder is not None
        crew = _Crew(folder, self, _helpers())
        try:
            yield from crew.run(pending, ledger)
        finally:
            crew.close()

    def _prepared(self, document: Document | Unreadable, ledger: Ledger, enter: Door) -> Prepared:
        if isinstance(document, Unreadable):
            return Prepared(None, reason=document.reason)
        return self.one(document, ledger, enter)


def _setting(ledger: Ledger, known: dict[str, tuple[float, str | None]], collection: str) -> str | None:
    """The `validation` of a collection, looked up now and then."""
    now = time.monotonic()
    if collection not in known or now - known[collection][0] > _SETTING_SECONDS:
        known[collection] = (now, ledger.setting(collection, "validation"))
    return known[collection][1]


def _helpers() -> int:
    return min(4, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)


class _Id(msgspec.Struct):
    id: object = None


def _id_of(raw: bytes) -> str | None:
    try:
        found = msgspec.json.decode(raw, type=_Id).id
    except (msgspec.MsgspecError, RecursionError, UnicodeDecodeError):
        return None
    return found if isinstance(found, str) else None


# -- helpers -------------------------------------------------------------------------------------


class _Helper:
    """One process, and the thread that feeds it, so that neither waits for the other's pipe."""

    def __init__(self, folder: Path, preparing: Preparing) -> None:
        command = [sys.executable, "-P", "-m", "swath.catalog.preparing", str(folder.absolute())]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
        self._queue: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._queue.put(msgspec.msgpack.encode(preparing))
        threading.Thread(target=self._feed, daemon=True).start()

    def _feed(self) -> None:
        assert self.process.stdin is not None
        try:
            while (message := self._queue.get()) is not None:
                _send(self.process.stdin, message)
        except OSError:  # it died: whoever reads from it is told
            return

    def send(self, message: bytes) -> None:
        self._queue.put(message)

    def receive(self) -> list[Prepared]:
        assert self.process.stdout is not None
        message = _receive(self.process.stdout)
        if message is None:
            raise SwathError(f"a process that prepares documents ended with {self.process.wait()}; load again to go on")
        return msgspec.msgpack.decode(message, type=list[Prepared])

    def close(self) -> None:
        self._queue.put(None)
        self.process.kill()  # it holds nothing that would be lost
        self.process.wait()
        for pipe in (self.process.stdin, self.process.stdout):
            assert pipe is not None
            try:
                pipe.close()
            except OSError:
                continue


class _Crew:
    def __init__(self, folder: Path, preparing: Preparing, size: int) -> None:
        self.helpers = [_Helper(folder, preparing) for _ in range(size)]

    def run(
        self, documents: Iterator[Document | Unreadable], ledger: Ledger
    ) -> Iterator[tuple[Document | Unreadable, Prepared]]:
        under_way: deque[tuple[_Helper, list[Document | Unreadable]]] = deque()
        chunks = _chunks(documents)
        number = 0
        while True:
            while len(under_way) < _AHEAD * len(self.helpers) and (chunk := next(chunks, None)) is not None:
                helper = self.helpers[number % len(self.helpers)]
                readable = tuple(_sendable(each) for each in chunk if isinstance(each, Document))
                helper.send(msgspec.msgpack.encode(_Chunk(ledger.packing, readable)))
                under_way.append((helper, chunk))
                number += 1
            if not under_way:
                return
            helper, chunk = under_way.popleft()
            done = iter(helper.receive())
            for document in chunk:
                if isinstance(document, Unreadable):
                    yield document, Prepared(None, reason=document.reason)
                else:
                    yield document, next(done)

    def close(self) -> None:
        for helper in self.helpers:
            helper.close()


def _sendable(document: Document) -> Document:
    """What a helper needs of a document. Names of files need not be UTF-8, which messages are."""
    folder = document.folder.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return Document(document.raw, "", document.line, document.within, folder)


def _chunks(documents: Iterator[Document | Unreadable]) -> Iterator[list[Document | Unreadable]]:
    chunk: list[Document | Unreadable] = []
    size = 0
    for document in documents:
        chunk.append(document)
        size += len(document.raw) if isinstance(document, Document) else 0
        if size > _CHUNK_BYTES or len(chunk) >= _CHUNK_DOCUMENTS:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk


def _send(pipe: IO[bytes], message: bytes) -> None:
    pipe.write(_LENGTH.pack(len(message)))
    pipe.write(message)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> bytes | None:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        return None
    (length,) = _LENGTH.unpack(head)
    message = pipe.read(length)
    return message if len(message) == length else None


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the loader decides when it is over
    gc.disable()  # documents make many objects and no cycles
    ledger = SqliteLedger(Path(sys.argv[1]))
    first = _receive(sys.stdin.buffer)
    if first is None:  # the loader has gone
        return
    preparing = msgspec.msgpack.decode(first, type=Preparing)
    decode = msgspec.msgpack.Decoder(_Chunk).decode
    enter = preparing.door(ledger, Path(sys.argv[1]))
    while (message := _receive(sys.stdin.buffer)) is not None:
        chunk = decode(message)
        ledger.packing = chunk.packing
        done = [preparing.one(document, ledger, enter) for document in chunk.documents]
        try:
            _send(sys.stdout.buffer, msgspec.msgpack.encode(done))
        except BrokenPipeError:  # the loader has gone
            os._exit(1)


if __name__ == "__main__":
    main()

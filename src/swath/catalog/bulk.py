"""Many items of one collection at once: read from a file of any length, with a report of each."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import IO, Any

import msgspec

from swath.catalog.catalog import Catalog
from swath.catalog.loading import Progress, Told, Watching, load
from swath.catalog.preparing import Preparing
from swath.errors import CatalogUnusable
from swath.formats.reading import Document, Unreadable, read_stream
from swath.jobs import sync_folder
from swath.store.records import Mode, Once

__all__ = ["Bulk", "BulkOptions", "BulkSummary", "summary_of"]


@dataclass(frozen=True, slots=True)
class BulkOptions:
    """How items are taken. `atomic`: all or none; `dry_run`: it is only told what would be done; `fix`: geometries are
    mended; `lines`: each line is a document, even where the first ones are broken."""

    collection: str
    mode: Mode = "insert"
    atomic: bool = False
    dry_run: bool = False
    actor: str = "http"
    fix: bool = False
    lines: bool = False


@dataclass(slots=True)
class BulkSummary:
    """How many came to what."""

    created: int = 0
    updated: int = 0
    unchanged: int = 0
    ignored: int = 0
    refused: int = 0
    not_done: int = 0  # good ones, where it was all or nothing

    def count(self, outcome: str) -> None:
        name = outcome.replace(" ", "_")
        setattr(self, name, getattr(self, name) + 1)

    @property
    def done(self) -> int:
        """How many are as their sender wanted them."""
        return self.created + self.updated + self.unchanged + self.ignored


@dataclass(frozen=True, slots=True)
class _Place:
    """Where a job is: so many documents were committed, and told in so many bytes of the report before `told`."""

    count: int
    offset: int
    told: list[Told]


class Bulk:
    """Stores the items of a file, and writes what became of each to another, a JSON object a line."""

    def __init__(self, catalog: Catalog, options: BulkOptions) -> None:
        self.catalog, self.options = catalog, options
        self.summary = BulkSummary()
        self.done = 0  # documents of which the report tells

    def run(
        self,
        upload: Path,
        report: Path,
        *,
        job: str | None = None,
        on_progress: Callable[[int, BulkSummary], None] = lambda _line, _summary: None,
    ) -> BulkSummary:
        """Go through the file. With `job`, its name, it goes on behind what was committed under that name.

        The note of how far it is stays until the job is known to have ended: else it would be begun anew by a kill
        between the two, and its report would call every item one that was there before.

        TooLarge for too many that are to be stored all or none. Memory does not grow with the file, but for those.
        """
        options = self.options
        mark = f"bulk {job}" if job is not None and not options.atomic and not options.dry_run else None
        with report.open("r+b" if mark and report.exists() else "w+b") as out:
            begun = self._resume(mark, out)
            if mark:
                sync_folder(report.parent)

            def progress(at: Progress) -> None:
                on_progress(at.line, self.summary)

            def tell(told: list[Told]) -> None:
                self._report(told, out)
                if mark:  # the next commit notes how long the report is: so long it must stay, whatever happens
                    out.flush()
                    os.fsync(out.fileno())

            def marks(told: list[Told]) -> Mapping[str, bytes]:
                place = _Place(self.done + len(told), out.tell(), told)
                return {str(mark): msgspec.msgpack.encode(place)}

            load(
                self.catalog.ledger,
                _behind(upload, begun, lines=options.lines),
                mode=options.mode,
                preparing=Preparing(options.collection, only=True, fix=options.fix, strict=True),
                actor=options.actor,
                folder=self.catalog.folder,
                atomic=options.atomic,
                dry_run=options.dry_run,
                once=Once(f"bulk {job}", b"") if job is not None and options.atomic and not options.dry_run else None,
                watching=Watching(
                    progress=progress,
                    told=tell,
                    marks=marks if mark else None,
                ),
            )
            out.flush()
            os.fsync(out.fileno())
        return self.summary

    def _resume(self, mark: str | None, out: IO[bytes]) -> int:
        """How many documents were committed. What the report says of later ones, or only in part, is written again."""
        packed = self.catalog.ledger.mark(mark) if mark else None
        if packed is None:
            out.truncate(0)
            return 0
        place = msgspec.msgpack.decode(packed, type=_Place)
        if os.fstat(out.fileno()).st_size < place.offset:  # in a catalogue out of a backup, which holds no such files
            raise CatalogUnusable("the report of this bulk write is not here any more; send what is missing again")
        out.truncate(place.offset)
        for line in out:
            self._count(msgspec.json.decode(line, type=Told))
        self._report(place.told, out)
        out.flush()
        os.fsync(out.fileno())
        return place.count

    def _report(self, told: list[Told], out: IO[bytes]) -> None:
        for each in told:
            self._count(each)
        out.write(b"".join(_line(each) for each in told))

    def _count(self, told: Told) -> None:
        self.done += 1
        self.summary.count(told.outcome)


def summary_of(report: IO[bytes]) -> BulkSummary:
    """What a report tells, that of a write which was not ended too."""
    summary = BulkSummary()
    for line in report:
        summary.count(msgspec.json.decode(line, type=Told).outcome)
    report.seek(0)
    return summary


def _behind(upload: Path, count: int, *, lines: bool) -> Iterator[Document | Unreadable]:
    """The documents of an upload but for the first so many."""
    with upload.open("rb", buffering=1 << 20) as stream:
        yield from islice(read_stream(stream, "the upload", lines=lines), count, None)


def _line(told: Told) -> bytes:
    fields: dict[str, Any] = {"line": told.line, "id": told.id, "outcome": told.outcome}
    if told.reason:
        fields["reason"] = told.reason
    if told.pointer:
        fields["pointer"] = told.pointer
    if told.notes:
        fields["notes"] = told.notes
    return msgspec.json.encode(fields) + b"\n"

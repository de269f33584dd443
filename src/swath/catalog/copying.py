"""Copying another STAC API into a catalogue: it can be stopped at any time, goes on where it was, and later asks only
for what is newer.

What is known of each source lies in a file of the catalogue, written when what it tells of is durable.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path

import msgspec

from swath.catalog.loading import LoadReport, PageLoader, Refusal
from swath.errors import InvalidRequest, RemoteFailure, TooLarge, Unavailable
from swath.formats.stac_api import Page, Place, read_api
from swath.formats.web import Client, without_secrets
from swath.stac.time import SECOND
from swath.store.base import Ledger
from swath.store.records import Mode

__all__ = ["Copy", "Source"]

_FOLDER = "sources"
# Servers commit a while after they write `updated`, and their clocks differ.
_OVERLAP = 60 * SECOND
_STOPS = (InvalidRequest, RemoteFailure, TooLarge, Unavailable)  # of the source, not of the catalogue


class Source(msgspec.Struct, frozen=True, omit_defaults=True):
    """What is known of a source. `place` is that of a walk that is not over, `newest` where the next one begins.

    `epoch` is that of the catalogue: one that was restored may lack what this tells of.
    """

    url: str
    collections: tuple[str, ...] | None
    epoch: str
    place: Place | None = None
    newest: int | None = None
    version: int = 1


@dataclass(slots=True)
class Copy:
    """One run of a copy. Without `full` it asks for what is newer, if an earlier run came to its end.

    With `full` it goes on with nothing but an earlier full walk; with `restart` not even with that.
    """

    url: str
    client: Client
    collections: Sequence[str] | None = None
    full: bool = False
    restart: bool = False
    elsewhere: bool = False
    resumed: Place | None = field(default=None, init=False)
    since: int | None = field(default=None, init=False)
    _pages: Iterator[Page] = field(default_factory=lambda: iter(()), init=False)
    _newest: int | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        self.url = without_secrets(self.url)

    def begin(self, folder: Path, epoch: bytes | None) -> None:
        """Ask for the first page: a wrong address is told before anything is made. `epoch` None: no catalogue yet."""
        known = None if epoch is None or self.restart else self._known(folder, epoch)
        if known is not None:
            self._newest = known.newest
            if known.newest is not None and not self.full:
                self.since = known.newest - _OVERLAP
            if known.place is not None and (not self.full or known.place.since is None):
                self.resumed, self.since = known.place, known.place.since
        pages = read_api(
            self.url,
            client=self.client,
            since=self.since,
            collections=self.collections,
            place=self.resumed,
            elsewhere=self.elsewhere,
        )
        self._pages = chain((next(pages),), pages)

    def run(
        self,
        ledger: Ledger,
        folder: Path,
        *,
        mode: Mode = "upsert",
        collection: str | None = None,
        actor: str = "load",
        on_page: Callable[[Page], None] = lambda _: None,
        on_refusal: Callable[[Refusal], None] = lambda _: None,
    ) -> LoadReport:
        """Store page after page; `on_page` hears of each once it is durable.

        `report.stopped` says what ended it early, if so.
        """
        loader = PageLoader(ledger, mode=mode, collection=collection, actor=actor, on_refusal=on_refusal)
        report, epoch = loader.report, ledger.epoch.hex()
        try:
            for page in map(self._noted, self._pages):
                report.notes.extend(page.notes)
                loader.store(page.documents)
                self._keep(folder, epoch, page.place)
                on_page(page)
        except _STOPS as error:
            report.stopped = str(error)
        return report

    def _noted(self, page: Page) -> Page:
        """A walk for what is newer finds at least the latest of what was there before, since it asks for a bit more."""
        if not page.place.done or self.since is None or page.place.items:
            return page
        words = "the API gave nothing, not even the latest of what it gave before; --full asks for everything"
        return replace(page, notes=(*page.notes, words))

    # -- the file ----------------------------------------------------------------------------

    def _path(self, folder: Path) -> Path:
        name = msgspec.json.encode((self.url, self._names()))
        return folder / _FOLDER / f"{hashlib.sha256(name).hexdigest()[:16]}.json"

    def _names(self) -> tuple[str, ...] | None:
        return tuple(sorted(set(self.collections))) if self.collections is not None else None

    def _known(self, folder: Path, epoch: bytes) -> Source | None:
        try:
            known = msgspec.json.decode(self._path(folder).read_bytes(), type=Source)
        except (OSError, msgspec.MsgspecError):
            return None
        return known if (known.version, known.url, known.epoch) == (1, self.url, epoch.hex()) else None

    def _keep(self, folder: Path, epoch: str, place: Place) -> None:
        """Written beside, then put in place: a stop at any moment leaves this state or the one before."""
        newest = max((each for each in (place.newest, self._newest) if each is not None), default=None)
        if place.done and place.undated:
            newest = None
        source = Source(self.url, self._names(), epoch, None if place.done else place, newest)
        path = self._path(folder)
        path.parent.mkdir(exist_ok=True)
        unfinished = path.with_suffix(".unfinished")
        # What a server gives as the next address may open more than the user wants others to see.
        with open(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as out:
            out.write(msgspec.json.encode(source))
            out.flush()
            os.fsync(out.fileno())
        unfinished.replace(path)

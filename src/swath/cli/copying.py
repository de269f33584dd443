"""`swath load` from an address: another STAC API, or a static catalogue on the web."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from swath.catalog import Catalog, loading
from swath.catalog.copying import Copy
from swath.cli.remote import Remote
from swath.formats.stac_api import Page
from swath.formats.web import Client, read_headers, without_secrets
from swath.store.records import Mode

__all__ = ["Running"]

_LONGEST_SHOWN = 100
_SHOWN_EVERY = 0.5  # seconds


@dataclass(frozen=True, slots=True)
class Running:
    """A copy that has begun: its first page is there."""

    copy: Copy
    client: Client
    console: Console

    @staticmethod
    def begin(url: str, remote: Remote, folder: Path) -> Running:
        console = Console(stderr=True)
        client = Client(url, read_headers(remote.header or ()), told=lambda words: _say(console, f"waiting: {words}"))
        names = [name for part in remote.collections or () for name in part.split(",") if name] or None
        copy = Copy(url, client, names, full=remote.full, restart=remote.restart, elsewhere=remote.elsewhere)
        copy.begin(folder, _epoch(folder))
        if copy.resumed is not None:
            _say(console, f"goes on where the last run stopped, behind {copy.resumed.items:,} items")
        return Running(copy, client, console)

    def run(
        self,
        catalog: Catalog,
        folder: Path,
        mode: Mode,
        collection: str | None,
        on_refusal: Callable[[loading.Refusal], None],
    ) -> loading.LoadReport:
        """With a bar on a terminal, else with a line for each page, none of them ahead of what is durable."""
        try:
            with self.client, _shown(self.console, self.copy.url) as on_page:
                return self.copy.run(
                    catalog.ledger, folder, mode=mode, collection=collection, on_page=on_page, on_refusal=on_refusal
                )
        except KeyboardInterrupt:
            _say(self.console, "run it again to go on behind the last committed page")
            raise


def _epoch(folder: Path) -> bytes | None:
    if not Catalog.exists(folder):
        return None
    catalog = Catalog.open(folder)
    try:
        return catalog.ledger.epoch
    finally:
        catalog.close()


def _say(console: Console, words: str) -> None:
    console.print(words, markup=False, highlight=False, soft_wrap=True)


@contextmanager
def _shown(console: Console, url: str) -> Iterator[Callable[[Page], None]]:
    def say(page: Page) -> None:
        for note in page.notes:
            _say(console, f"note: {note}")

    if not console.is_terminal:
        last = 0.0

        def line(page: Page) -> None:
            nonlocal last
            say(page)
            if time.monotonic() - last < _SHOWN_EVERY and not page.place.done:
                return
            last = time.monotonic()
            of = f" of {page.matched:,}" if page.matched is not None else ""
            count = f"{page.place.items:,}{of} items" if page.place.items else f"{len(page.documents):,} collections"
            if page.documents:
                _say(console, f"committed {_short(page.url)} ({count})")

        yield line
        return
    with Progress(
        TextColumn("copying"), BarColumn(), MofNCompleteColumn(), TextColumn("items of {task.fields[place]}"),
        TimeElapsedColumn(), console=console, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("copy", total=None, place=_short(without_secrets(url)))

        def progress(page: Page) -> None:
            say(page)
            bar.update(task, completed=page.place.items, total=page.matched)

        yield progress


def _short(url: str) -> str:
    return url if len(url) <= _LONGEST_SHOWN else f"{url[:_LONGEST_SHOWN]}…"

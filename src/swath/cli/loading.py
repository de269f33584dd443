"""`swath load`."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from itertools import chain, groupby
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from swath.catalog import Catalog, loading
from swath.catalog.preparing import Preparing
from swath.cli.folding import beside
from swath.cli.remote import Remote
from swath.errors import InvalidRequest
from swath.formats.reading import read_source
from swath.store.records import Mode

if TYPE_CHECKING:
    from swath.cli.copying import Running

__all__ = ["load_sources", "run_load"]

_MOST_SHOWN = 50
_TAIL_ROWS = 12_000  # that readers may have to read themselves meanwhile


def run_load(
    folder: Path,
    sources: Sequence[str],
    mode: Mode,
    collection: str | None,
    absolute: str | None,
    remote: Remote,
    *,
    as_json: bool,
) -> int:
    copies = _begin(folder, sources, absolute, remote)
    catalog = Catalog.open(folder, create=True)
    report = loading.LoadReport()
    refused = _RefusalPrinter()
    try:
        started = time.monotonic()
        with beside(folder, after=1.0, least=_TAIL_ROWS, finish=True):  # readers then meet no long tail
            for copied, group in groupby(sources, copies.__contains__):
                if copied:
                    for url in dict.fromkeys(group):
                        report.add(copies[url].run(catalog, folder, mode, collection, refused))
                else:
                    report.add(load_sources(catalog, list(group), mode, collection, absolute, folder, refused))
        try:
            while catalog.index.fold():
                pass
        except OSError as error:  # what was loaded is safe
            print(f"the index could not be brought up to date: {error}", file=sys.stderr)
        seconds = time.monotonic() - started
    finally:
        catalog.close()
    if as_json:
        sys.stdout.buffer.write(msgspec.json.encode(report) + b"\n")
    else:
        _print_summary(folder, report, seconds)
    if report.refused and copies:
        print("what is mended there comes when it is updated, or with --full", file=sys.stderr)
    if report.stopped is not None:
        print(f"swath: {report.stopped}\nRun it again to go on where it stopped.", file=sys.stderr)
        return 1
    return 3 if report.refused else 0


def _begin(folder: Path, sources: Sequence[str], absolute: str | None, remote: Remote) -> dict[str, Running]:
    """Look at all that is named before a catalogue is made for it. The copies that begin, by address."""
    if not sources:
        raise InvalidRequest("name at least one file or folder to load, an address, or - for standard input")
    addresses = [source for source in dict.fromkeys(sources) if source.lower().startswith(("http://", "https://"))]
    for source in sources:
        if source not in addresses and source != "-" and not Path(source).exists():
            raise InvalidRequest(f"{source} is neither a file nor a folder")
    if not addresses:
        remote.refuse()
        return {}
    if absolute is not None:
        raise InvalidRequest("--absolute is for files; what comes from an address is resolved against it")
    from swath.cli.copying import Running  # only now: its client takes a while to come up

    return {url: Running.begin(url, remote, folder) for url in addresses}


class _RefusalPrinter:
    def __init__(self) -> None:
        self.console = Console(stderr=True)
        self.shown = 0

    def __call__(self, refusal: loading.Refusal) -> None:
        self.shown += 1
        if self.shown <= _MOST_SHOWN:
            name = f" {refusal.id}" if refusal.id else ""
            place = f" (at {refusal.pointer})" if refusal.pointer else ""
            self.console.print(
                f"refused {refusal.file}:{refusal.line}{name}: {refusal.reason}{place}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        elif self.shown == _MOST_SHOWN + 1:
            self.console.print("more are refused; --json lists all of them")


def load_sources(
    catalog: Catalog,
    sources: Sequence[str],
    mode: Mode,
    collection: str | None,
    absolute: str | None = None,
    folder: Path | None = None,
    on_refusal: Callable[[loading.Refusal], None] | None = None,
) -> loading.LoadReport:
    """Load with a bar on a terminal, else with a line now and then that names the last committed line."""
    refused = on_refusal or _RefusalPrinter()
    console = Console(stderr=True)
    documents = chain.from_iterable(read_source(source) for source in sources)

    def run(progress: Callable[[loading.Progress], None]) -> loading.LoadReport:
        watching = loading.Watching(progress, refused)
        preparing = Preparing(collection, absolute)
        return loading.load(catalog.ledger, documents, mode=mode, preparing=preparing, folder=folder, watching=watching)

    if not console.is_terminal:
        return run(_LinePrinter())
    sizes = [Path(source).stat().st_size for source in sources if Path(source).is_file()]
    with Progress(
        TextColumn("loading"), BarColumn(), TaskProgressColumn(show_speed=True), TextColumn("{task.fields[place]}"),
        TimeElapsedColumn(), console=console, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("load", total=None, place="", size=sum(sizes))
        return run(lambda at: bar.update(task, completed=at.documents, place=f"{at.file}:{at.line} committed"))


class _LinePrinter:
    """At most a line a second, and none is ever ahead of what is durable."""

    def __init__(self) -> None:
        self.last = 0.0

    def __call__(self, at: loading.Progress) -> None:
        now = time.monotonic()
        if now - self.last >= 0.5:
            self.last = now
            print(f"committed {at.file}:{at.line} ({at.documents} documents)", file=sys.stderr, flush=True)


def _print_summary(folder: Path, report: loading.LoadReport, seconds: float) -> None:
    total = report.created + report.updated + report.unchanged + report.ignored
    parts = [f"{report.created} new"]
    parts += [f"{number} {word}" for number, word in (
        (report.updated, "changed"), (report.unchanged, "unchanged"), (report.ignored, "kept as they were"),
    ) if number]  # fmt: skip
    rate = f", {total / seconds:,.0f} items/s" if total >= 1000 else ""
    collections = f"; {report.collections} new or changed collections" if report.collections else ""
    print(f"{folder}: {', '.join(parts)} items{collections}{rate}", file=sys.stderr)
    if report.made_collections:
        names = ", ".join(report.made_collections[:5]) + (", …" if len(report.made_collections) > 5 else "")
        print(f"made plain collections, since none were loaded: {names}", file=sys.stderr)
    for warning in report.warnings[:10]:
        print(f"warning {warning.file}:{warning.line} {warning.id}: {warning.reason}", file=sys.stderr)
    if len(report.warnings) > 10:
        print(f"and {len(report.warnings) - 10} more warnings; --json lists them", file=sys.stderr)
    if report.refused:
        print(f"{len(report.refused)} refused; what is good was kept", file=sys.stderr)

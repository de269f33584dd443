"""`swath load`."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn

from swath.catalog import Catalog, loading
from swath.cli.folding import beside
from swath.errors import InvalidRequest
from swath.formats.reading import read_source
from swath.store.base import Mode

__all__ = ["load_sources", "run_load"]

_MOST_SHOWN = 50
_TAIL_ROWS = 12_000  # that readers may have to read themselves meanwhile


def run_load(
    folder: Path, sources: Sequence[str], mode: Mode, collection: str | None, absolute: str | None, *, as_json: bool
) -> int:
    if not sources:
        raise InvalidRequest("name at least one file or folder to load, or - for standard input")
    for source in sources:
        if source != "-" and not Path(source).exists():
            raise InvalidRequest(f"{source} is neither a file nor a folder")
    catalog = Catalog.open(folder, create=True)
    try:
        started = time.monotonic()
        with beside(folder, after=1.0, least=_TAIL_ROWS, finish=True):  # readers then meet no long tail
            report = load_sources(catalog, sources, mode, collection, absolute, folder)
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
    return 3 if report.refused else 0


def load_sources(
    catalog: Catalog,
    sources: Sequence[str],
    mode: Mode,
    collection: str | None,
    absolute: str | None = None,
    folder: Path | None = None,
) -> loading.LoadReport:
    """Load with a bar on a terminal, else with a line now and then that names the last committed line."""
    console = Console(stderr=True)
    shown = 0

    def refused(refusal: loading.Refusal) -> None:
        nonlocal shown
        shown += 1
        if shown <= _MOST_SHOWN:
            name = f" {refusal.id}" if refusal.id else ""
            console.print(
                f"refused {refusal.file}:{refusal.line}{name}: {refusal.reason}",
                markup=False,
                highlight=False,
                soft_wrap=True,
            )
        elif shown == _MOST_SHOWN + 1:
            console.print("more are refused; --json lists all of them")

    documents = chain.from_iterable(read_source(source) for source in sources)
    if not console.is_terminal:
        return loading.load(
            catalog.ledger, documents, mode=mode, collection=collection, absolute=absolute, folder=folder,
            on_progress=_LinePrinter(), on_refusal=refused,
        )  # fmt: skip
    sizes = [Path(source).stat().st_size for source in sources if Path(source).is_file()]
    with Progress(
        TextColumn("loading"), BarColumn(), TaskProgressColumn(show_speed=True), TextColumn("{task.fields[place]}"),
        TimeElapsedColumn(), console=console, transient=True,
    ) as bar:  # fmt: skip
        task = bar.add_task("load", total=None, place="", size=sum(sizes))

        def progress(at: loading.Progress) -> None:
            bar.update(task, completed=at.documents, place=f"{at.file}:{at.line} committed")

        return loading.load(
            catalog.ledger,
            documents,
            mode=mode,
            collection=collection,
            absolute=absolute,
            folder=folder,
            on_progress=progress,
            on_refusal=refused,
        )


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

"""`swath download`: the files of items, from a folder or an API."""

from __future__ import annotations

import json
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from swath.catalog import Catalog
from swath.cli.searching import search_parameters
from swath.download import Download, File, Folder, Origin, Remote, Selection
from swath.errors import InvalidRequest, NotFound, SwathError, nearest

__all__ = ["run_download"]

_MOST_PARALLEL = 64
_MOST_SHOWN = 40


def run_download(
    source: str,
    names: Sequence[str],
    searched: tuple[list[str] | None, list[str] | None, dict[str, str | None]],
    limit: int | None,
    selection: tuple[list[str] | None, list[str] | None],
    output: Path,
    *,
    parallel: int,
    yes: bool,
    dry_run: bool,
    header: list[str] | None,
    as_json: bool,
) -> int:
    """Exit code 1 where nothing was to be had, 3 where something was not. `searched`: collections, ids, the rest."""
    parameters = search_parameters(*searched)
    if not 1 <= parallel <= _MOST_PARALLEL:
        raise InvalidRequest(f"--parallel {parallel} is not between 1 and {_MOST_PARALLEL}")
    if limit is not None and limit < 0:
        raise InvalidRequest(f"--limit {limit} is not 0 (all) or more")
    wanted = Selection(*(frozenset(part for each in given or () for part in each.split(",")) for given in selection))
    with _origin(source, header) as origin:
        if names:
            parameters["collections"] = [*parameters.get("collections", ()), *origin.resolve(names)]
        if limit is None and not parameters and not (isinstance(origin, Remote) and origin.narrow):
            raise InvalidRequest("that would be everything there is: say what to search for, or give --limit 0 for all")
        download = Download(origin, output, wanted, parallel=parallel, told=_waits)
        files = _planned(download, origin.items(parameters, limit or 0))
        if not files:
            _explain_none(download, wanted, origin, parameters)
        _tell_plan(download, files, dry_run=dry_run, as_json=as_json)
        if dry_run:
            return _code(files)
        _check_space(files, output)
        if not yes and any(file.state == "planned" for file in files) and not _confirmed():
            print("nothing was downloaded", file=sys.stderr)
            return 0
        return _fetched(download, files, as_json=as_json)


@contextmanager
def _origin(source: str, header: list[str] | None) -> Iterator[Origin]:
    if source.startswith(("http://", "https://")):
        from swath.formats.web import Client, read_headers

        with Client(source, read_headers(header or ()), attempts=3, told=_waits) as client:
            yield Remote(client, source)
        return
    if header:
        raise InvalidRequest("--header is for addresses, and none is named")
    catalog = Catalog.open(source)
    try:
        with closing(Folder(catalog)) as origin:
            yield origin
    finally:
        catalog.close()


def _waits(words: str) -> None:
    print(f"waiting: {words}", file=sys.stderr)


def _planned(download: Download, items: Iterator[tuple[dict[str, Any], str | None]]) -> list[File]:
    console = Console(stderr=True)
    with Progress(console=console, disable=not console.is_terminal, transient=True) as progress:
        bar = progress.add_task("looking at the files", total=None)
        return download.plan(items, lambda done, of: progress.update(bar, completed=done, total=of))


def _tell_plan(download: Download, files: list[File], *, dry_run: bool, as_json: bool) -> None:
    """What there is to fetch, and how large it is: on stdout where that is all that was asked for."""
    if dry_run and as_json:
        for file in files:
            print(json.dumps(file.told(), ensure_ascii=False))
    else:
        shown = files if dry_run else [file for file in files if file.state == "planned"][:_MOST_SHOWN]
        for file in shown:
            print(_line(file, download.folder), file=sys.stdout if dry_run else sys.stderr)
        if not dry_run and (more := sum(file.state == "planned" for file in files) - len(shown)) > 0:
            print(f"… and {more:,} more", file=sys.stderr)
    fetched = [file for file in files if file.state == "planned"]
    known = sum(file.size or 0 for file in fetched)
    words = f"{len(fetched):,} files of {download.items:,} items, {decimal(known)}"
    if unknown := sum(file.size is None for file in fetched):
        words += f" and {unknown:,} files of unknown size"
    if there := sum(file.state == "present" for file in files):
        words += f"; {there:,} are there already"
    if failed := sum(file.state == "failed" for file in files):
        words += f"; {failed:,} cannot be had"
    print(words, file=sys.stderr)


def _line(file: File, folder: Path) -> str:
    size = decimal(file.size) if file.size is not None else "unknown"
    note = {"present": "  (there already)", "failed": f"  (failed: {file.reason})"}.get(file.state, "")
    return f"{size:>10}  {file.path.relative_to(folder)}{note}"


def _explain_none(download: Download, wanted: Selection, origin: Origin, parameters: dict[str, Any]) -> None:
    """NotFound, with what might be meant."""
    if not download.items:
        raise NotFound("no item is found")
    known = sorted(
        {key for item, _ in origin.items(parameters, 1) for key in item.get("assets") or ()}
        | {str(role) for item, _ in origin.items(parameters, 1) for asset in (item.get("assets") or {}).values()
           for role in asset.get("roles") or ()}
    )  # fmt: skip
    words = f"none of {download.items:,} items has such an asset"
    close = [found for each in sorted(wanted.keys | wanted.roles) if (found := nearest(each, known)) is not None]
    raise NotFound(words + (f"; did you mean {', '.join(close)}?" if close else ""))


def _check_space(files: list[File], output: Path) -> None:
    needed = sum(max(0, (file.size or 0) - file.begun) for file in files if file.state == "planned")
    place = next(each for each in (output.absolute(), *output.absolute().parents) if each.exists())
    free = shutil.disk_usage(place).free
    if needed > free:
        raise SwathError(f"{decimal(needed)} do not fit: {place} has {decimal(free)} left")


def _confirmed() -> bool:
    """Ask where somebody can answer."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        return True
    print("Download? [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in ("y", "yes")


def _fetched(download: Download, files: list[File], *, as_json: bool) -> int:
    started, came = time.monotonic(), 0
    with _bar(files) as advance:
        for file in download.run(files, advance):
            came += (file.size or 0) if file.state == "downloaded" else 0
            if as_json:
                print(json.dumps(file.told(), ensure_ascii=False), flush=True)
            elif file.state == "failed":
                print(f"failed    {file.href}: {file.reason}", file=sys.stderr)
            elif file.state == "downloaded":
                print(file.path, flush=True)
    seconds = max(time.monotonic() - started, 0.001)
    done = sum(file.state == "downloaded" for file in files)
    words = f"{done:,} files, {decimal(came)} in {seconds:,.1f} s, {decimal(int(came / seconds))}/s"
    if failed := sum(file.state == "failed" for file in files):
        words += f"; {failed:,} failed"
    print(words, file=sys.stderr)
    return _code(files)


@contextmanager
def _bar(files: list[File]) -> Iterator[Callable[[int], None]]:
    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        wanted = [file for file in files if file.state == "planned"]
        total = sum(file.size or 0 for file in wanted) if all(file.size is not None for file in wanted) else None
        bar = progress.add_task("downloading", total=total)
        yield lambda size: progress.update(bar, advance=size)


def _code(files: list[File]) -> int:
    failed = sum(file.state == "failed" for file in files)
    return 0 if not failed else 1 if failed == len(files) else 3

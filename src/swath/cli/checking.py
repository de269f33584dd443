"""`swath check` and `swath doctor`."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import platform
import resource
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import apsw
import msgspec
import shapely

from swath import __version__
from swath.blobs import FOLDER as BLOBS
from swath.catalog import Catalog
from swath.catalog.door import SCHEMAS
from swath.cli.working import open_store
from swath.config import Settings
from swath.errors import SwathError
from swath.limits import LIMITS
from swath.raster.sandbox import Sandbox
from swath.store.sqlite.backup import backup, restore
from swath.store.sqlite.check import MANIFEST_DAMAGED, check
from swath.store.sqlite.schema import FILE_NAME, FORMAT

__all__ = ["run_backup", "run_check", "run_doctor", "run_restore"]

_OLDEST_SQLITE = (3, 51, 3)  # before it, two connections could corrupt the log (sqlite.org/wal.html, WAL-reset bug)


def run_check(folder: Path, *, repair: bool, as_json: bool) -> int:
    report = check(folder)
    if repair and report.problems == [MANIFEST_DAMAGED]:
        report.problems.clear()  # it is made anew below
    if not report.problems:  # the index is made from the ledger: it comes second
        catalog = Catalog.open(folder)
        try:
            report.problems.extend(catalog.check_index(repair=repair))
            for blob, fault in open_store(catalog, Settings()).vault.check():
                report.files, report.file_bytes = report.files + 1, report.file_bytes + blob.size
                if fault is not None:
                    report.problems.append(fault)
        finally:
            catalog.close()
    if as_json:
        print(json.dumps(asdict(report)))
    else:
        for problem in report.problems[:50]:
            print(problem, file=sys.stderr)
        if len(report.problems) > 50:
            print(f"and {len(report.problems) - 50} more", file=sys.stderr)
        files = f", {report.files} files of {report.file_bytes:,} bytes" if report.files else ""
        verdict = f"{len(report.problems)} problems" if report.problems else "all as it was written"
        print(
            f"{folder}: {report.items} items in {report.collections} collections, {report.versions} versions, "
            f"{report.bytes:,} bytes of documents{files}: {verdict}"
        )
    return 1 if report.problems else 0


def run_doctor(folder: Path | None, *, as_json: bool) -> int:
    findings = list(_findings(folder))
    failed = [finding for finding in findings if finding[2]]
    if as_json:
        print(json.dumps([{"name": n, "value": v, "fix": fix} for n, v, fix in findings]))
    else:
        width = max(len(name) for name, _, _ in findings)
        for name, value, fix in findings:
            print(f"{'MEND' if fix else 'ok  '}  {name:{width}}  {value}" + (f"\n      {fix}" if fix else ""))
        print("all is well" if not failed else f"{len(failed)} to mend", file=sys.stderr)
    return 1 if failed else 0


def _findings(folder: Path | None) -> Iterator[tuple[str, str, str | None]]:
    """Name, value, and what to do where something is wrong."""
    yield "swath", f"{__version__} (catalogue format {FORMAT})", None
    yield "python", platform.python_version(), None
    sqlite = apsw.sqlite_lib_version()
    old = tuple(map(int, sqlite.split("."))) < _OLDEST_SQLITE
    yield "sqlite", sqlite, "install a newer apsw: pip install --upgrade apsw" if old else None
    yield "geos", shapely.geos_version_string, None
    for package in ("numpy", "shapely", "msgspec", "zstandard", "starlette", "uvicorn"):
        yield package, importlib.metadata.version(package), None
    parquet = importlib.util.find_spec("stac_geoparquet") is not None
    yield "GeoParquet", "yes" if parquet else "no (pip install 'swath[parquet]' adds it)", None
    yield _sandbox_finding()
    files = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    yield "open files", str(files), "raise it: ulimit -n 4096" if files < 256 else None
    if folder is not None:
        yield from _catalogue_findings(folder)
    yield "limits", f"page {LIMITS.page_max:,} items, deadline {LIMITS.deadline_seconds:g} s; /limits has all", None


def _sandbox_finding() -> tuple[str, str, str | None]:
    """What holds the processes that read deliveries, as one of them finds it."""
    name = "sandbox of deliveries"
    if importlib.util.find_spec("rasterio") is None:
        return name, "no images are read (pip install 'swath[raster]' adds it)", None
    with tempfile.TemporaryDirectory() as folder, Sandbox(Path(folder)) as sandbox:
        try:
            sandbox.start()
        except SwathError as error:
            return name, str(error), "take no deliveries of strangers here"
        fix = f"the kernel lacks {' and '.join(sandbox.missing)}: take no deliveries of strangers here"
        return name, ", ".join((*sandbox.guards, "limits")), fix if sandbox.missing else None


def _catalogue_findings(folder: Path) -> Iterator[tuple[str, str, str | None]]:
    from swath.catalog import Catalog

    try:
        catalog = Catalog.open(folder)
    except SwathError as error:
        yield "catalogue", str(folder), str(error)
        return
    try:
        revision = catalog.index.refresh()
        yield "catalogue", f"{folder}: {len(catalog.ledger.collections())} collections, revision {revision}", None
    finally:
        catalog.close()
    writable = os.access(folder / FILE_NAME, os.W_OK)
    yield "writable", "yes" if writable else "no", None if writable else f"give yourself write access to {folder}"
    free = shutil.disk_usage(folder).free
    yield "disk", f"{free / 1e9:,.1f} GB free", "make room: less than 1 GB is left" if free < 1e9 else None


def run_backup(folder: Path, file: Path, *, as_json: bool) -> int:
    revision = backup(folder, file, (SCHEMAS,))
    size = file.stat().st_size
    if as_json:
        print(msgspec.json.encode({"file": str(file), "revision": revision, "bytes": size}).decode())
    else:
        print(f"{file}: {size:,} bytes, the catalogue at revision {revision:,}", file=sys.stderr)
        if (folder / BLOBS).is_dir():
            print(f"The files of the store are beside it: copy {folder / BLOBS} too, whose files never change.",
                  file=sys.stderr)  # fmt: skip
    return 0


def run_restore(file: Path, folder: Path, *, as_json: bool) -> int:
    revision = restore(file, folder)
    catalog = Catalog.open(folder)
    try:
        while catalog.index.fold():
            pass
    finally:
        catalog.close()
    if as_json:
        print(msgspec.json.encode({"catalog": str(folder), "revision": revision}).decode())
    else:
        print(f"{folder}: restored at revision {revision:,}; next: swath serve {folder}", file=sys.stderr)
    return 0

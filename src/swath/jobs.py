"""Durable jobs: what takes longer than a request is kept, done by whichever process is free, and gone on with after a
crash.

That a job is there, and how it ended, stands in the ledger. How far it has come, and whether it is to stop, are files
beside it, which may be lost. Who holds a job's lock works on it: the lock goes with the process, however that ends.
States are those of OGC API - Processes, clause 7.11.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from swath.errors import NotFound, SwathError
from swath.store.base import Ledger
from swath.store.records import JobRecord

__all__ = ["ENDED", "WORK", "Job", "Jobs", "Stopped", "sync_folder"]

WORK = "work"  # the folder of uploads, reports and progress, in the catalogue's
ENDED = ("successful", "failed", "dismissed")
_KEPT_SECONDS = 7 * 86_400.0  # of jobs that have ended, with their reports
_LOOK_SECONDS = 0.5
_AGAIN_SECONDS = 2.0

log = logging.getLogger("swath.jobs")


class Stopped(Exception):
    """Somebody wants the job to end."""


@dataclass(frozen=True, slots=True)
class Job:
    """One job, while it is worked on. `folder` is where its files are."""

    record: JobRecord
    folder: Path

    @property
    def id(self) -> str:
        return self.record.id

    def file(self, ending: str) -> Path:
        """A file of this job."""
        return self.folder / f"{self.record.id}.{ending}"

    def tell(self, **progress: Any) -> None:
        """Say how far it is; raises Stopped where somebody wants it to end."""
        unfinished = self.file("progress~")
        unfinished.write_text(json.dumps(progress))
        unfinished.replace(self.file("progress"))
        if self.file("stop").exists():
            raise Stopped


def sync_folder(folder: Path) -> None:
    """Make the names of files in a folder durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Jobs:
    """The jobs of one catalogue."""

    def __init__(self, ledger: Ledger, folder: Path) -> None:
        self.ledger, self.folder = ledger, folder / WORK

    # -- asking -------------------------------------------------------------------------------

    def get(self, job_id: str) -> Job:
        """NotFound where there is none, or it is forgotten."""
        record = self.ledger.job(job_id)
        if record is None:
            raise NotFound(f"there is no job {job_id[:80]!r}; jobs are forgotten a week after their end")
        return Job(record, self.folder)

    def all(self) -> list[Job]:
        return [Job(record, self.folder) for record in self.ledger.jobs()]

    def progress(self, job: Job) -> dict[str, Any]:
        """How far a job is; empty where nothing is known."""
        try:
            found: dict[str, Any] = json.loads(job.file("progress").read_text())
        except (OSError, ValueError):
            return {}
        return found

    def new(self, kind: str, request: bytes, job_id: str | None = None) -> Job:
        """A job that is not kept yet: its files come first, then `keep`."""
        self.folder.mkdir(exist_ok=True)
        name = job_id or secrets.token_hex(8)
        return Job(JobRecord(name, kind, time.time_ns() // 1000, "accepted", request), self.folder)

    def keep(self, job: Job) -> bool:
        """From now on it will be done, whatever happens. False where there is one of that id."""
        return self.ledger.keep_job(job.record, new=True)

    def dismiss(self, job_id: str) -> Job:
        """Ask a job to end; one that has ended is forgotten."""
        job = self.get(job_id)
        if job.record.state in ENDED:
            self._forget(job)
        else:
            job.file("stop").touch()
        return job

    # -- doing --------------------------------------------------------------------------------

    @contextmanager
    def locked(self, job: Job) -> Iterator[bool]:
        """Whether this process is the one that works on it."""
        lock = os.open(job.file("lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
        finally:
            os.close(lock)

    def run(self, job: Job, work: Callable[[Job], bytes]) -> Job | None:
        """Do a job, unless another process does, and keep how it ended. `work` gives back its result."""
        with self.locked(job) as mine:
            record = self.ledger.job(job.id) if mine else None
            if record is None or record.state in ENDED:
                return None
            job = replace(job, record=replace(record, state="running"))
            self.ledger.keep_job(job.record)
            try:
                ended = replace(job.record, state="successful", result=work(job))
            except Stopped:
                ended = replace(job.record, state="dismissed")
            except SwathError as error:
                ended = replace(job.record, state="failed", result=str(error).encode())
            except FileNotFoundError as error:
                ended = replace(job.record, state="failed", result=f"a file of the job is gone: {error}".encode())
            self.ledger.keep_job(ended)
            self._take_off_mark(ended)
            for ending in ("upload", "stop"):
                job.file(ending).unlink(missing_ok=True)
            return replace(job, record=ended)

    def work(self, kinds: Mapping[str, Callable[[Job], bytes]], over: threading.Event) -> None:
        """Do what comes, until it is over: for a thread of its own."""
        self.folder.mkdir(exist_ok=True)  # a restored catalogue has none
        while not over.wait(_LOOK_SECONDS):
            for job in reversed(self.all()):
                if job.record.state in ENDED:
                    if time.time() - job.record.at / 1e6 > _KEPT_SECONDS:
                        self._forget(job)
                elif job.record.kind in kinds and not over.is_set():
                    self._try(job, kinds[job.record.kind])

    def _try(self, job: Job, work: Callable[[Job], bytes]) -> None:
        try:
            self.run(job, work)
        except Exception:  # a full disk, say: it stays what it is, and is tried again
            log.warning("job %s failed, and will be tried again", job.id, exc_info=True)
            time.sleep(_AGAIN_SECONDS)

    def _take_off_mark(self, record: JobRecord) -> None:
        """The note of how far it is, which is kept with what it commits."""
        mark = f"{record.kind} {record.id}"
        if self.ledger.mark(mark) is not None:
            self.ledger.write([], "upsert", "jobs", marks=lambda _: {mark: None})

    def _forget(self, job: Job) -> None:
        self.ledger.forget_job(job.id)
        self._take_off_mark(job.record)
        for ending in ("upload", "report", "progress", "stop", "lock"):
            with suppress(OSError):
                job.file(ending).unlink()

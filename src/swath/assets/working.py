"""Working on deliveries: what a worker process does until it is told to end."""

from __future__ import annotations

import logging
import shutil
import threading
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from swath.assets.store import JOB, AssetStore
from swath.assets.uploads import sweep
from swath.delivery.converting import Converters
from swath.delivery.steps import STEPS, Bench, Work, later
from swath.errors import DeliveryRefused, PreconditionFailed, SwathError, Unavailable
from swath.jobs import Job, Stopped
from swath.stac.time import format_instant
from swath.store.records import DeliveryRecord, FileChanges

__all__ = ["Working", "tidy", "work_on_deliveries"]

log = logging.getLogger("swath.delivery")

_ACTOR = "delivery"
_MOST_FAULTS = 3  # of ours, and of what the work needs, before a delivery is given up
_PATIENCE_SECONDS = 5.0
_COLLECT_SECONDS = 3_600.0
_STALE_SECONDS = 86_400.0


class Again(Exception):
    """Something that the work needs is not there just now: the job stays, and is tried again."""


def work_on_deliveries(
    store: AssetStore, converters: Converters, over: threading.Event, at_once: int, kept_seconds: float | None = None
) -> None:
    """Do what there is to do, so many deliveries at once, until it is over.

    `kept_seconds`: what has been in the trash for so long is forgotten; None keeps it.
    """
    tidy(store)
    sweep(store)
    work = Working(store, converters)
    threads = [
        threading.Thread(target=store.jobs.work, args=({JOB: work.process}, over), name=f"delivery-{number}")
        for number in range(at_once)
    ]
    for thread in threads:
        thread.start()
    due = time.monotonic()
    while not over.wait(1.0):
        if time.monotonic() >= due:
            due = time.monotonic() + _COLLECT_SECONDS
            try:
                if kept_seconds is not None:
                    store.forget(kept_seconds, _ACTOR)
                sweep(store)
                store.vault.collect()
            except (SwathError, OSError):
                log.warning("collecting what nothing refers to failed; it is tried again in an hour", exc_info=True)
    for thread in threads:
        thread.join()


def tidy(store: AssetStore) -> None:
    """Take away what workers and uploads that died have left: folders of deliveries nobody works on, old uploads."""
    folder = store.jobs.folder
    if not folder.exists():
        return
    for each in folder.iterdir():
        if each.is_dir() and each.name.endswith(".delivery"):
            delivery = store.files.delivery(each.name.removesuffix(".delivery"))
            if delivery is None or delivery.status != "IN_PROGRESS":
                shutil.rmtree(each, ignore_errors=True)
        elif each.name.endswith(".upload~") and time.time() - each.stat().st_mtime > _STALE_SECONDS:
            each.unlink(missing_ok=True)


class Working:
    """Takes deliveries through the steps, and notes how they end."""

    def __init__(self, store: AssetStore, converters: Converters) -> None:
        self.store, self.converters = store, converters

    def process(self, job: Job) -> bytes:
        """Take one delivery through the steps; called by whoever holds its job. DeliveryRefused, Stopped, Again."""
        delivery = self.store.files.delivery(job.id)
        if delivery is None or delivery.deleted is not None or delivery.status != "IN_PROGRESS":
            return b""  # it ended before, and only the job did not hear of it
        folder = self.store.jobs.folder / f"{job.id}.delivery"
        try:
            self._through(job, delivery, folder)
        except Stopped:
            self._failed(delivery, "cancelled")
            self._clean(folder)
            raise
        except DeliveryRefused as error:
            self._failed(delivery, str(error))
            self._clean(folder)
            raise
        except (SwathError, OSError, RuntimeError, ValueError, LookupError, TypeError, AssertionError) as error:
            self._again(job, delivery, folder, error)
        self._clean(folder)
        return b""

    def _through(self, job: Job, delivery: DeliveryRecord, folder: Path) -> None:
        original = self.store.asset(delivery.id)
        work = Work(delivery, self.store.facts(delivery), original)
        bench = Bench(
            ledger=self.store.ledger,
            catalog_folder=folder.parent.parent,
            vault=self.store.vault,
            account=self.store.account,
            converters=self.converters,
            folder=folder.absolute(),
            tell=lambda step, done, of: job.tell(step=step, done=done, of=of) if step else job.tell(**self._told(job)),
            note=lambda text: self.note(delivery.id, text),
        )
        for step in STEPS:
            work = step(bench, work)

    def _told(self, job: Job) -> Mapping[str, object]:
        return self.store.jobs.progress(job)

    def note(self, delivery_id: str, text: str) -> None:
        """A line of a delivery's log: a lost one does no harm."""
        line = f"{format_instant(time.time_ns() // 1000)} {text.replace(chr(10), ' ')}\n"
        with self.store.log_file(delivery_id).open("a", encoding="utf-8") as out:
            out.write(line)

    def _again(self, job: Job, delivery: DeliveryRecord, folder: Path, error: Exception) -> None:
        """A fault that is not the delivery's: it stays to be tried again, but not for ever."""
        counted = job.file("faults")
        faults = 1 + (int(counted.read_text()) if counted.exists() else 0)
        counted.write_text(str(faults))
        self.note(delivery.id, f"a fault that is not the delivery's: {type(error).__name__}: {error}")
        log.warning("working on delivery %s failed", delivery.id, exc_info=error)
        if faults >= (10 * _MOST_FAULTS if isinstance(error, Unavailable) else _MOST_FAULTS):
            counted.unlink()
            reason = f"given up after {faults} tries: {error if isinstance(error, SwathError) else 'a fault of Swath'}"
            self._failed(delivery, reason)
            self._clean(folder)
            raise DeliveryRefused(reason) from None
        time.sleep(_PATIENCE_SECONDS if isinstance(error, Unavailable) else 0.1)
        raise Again(str(error)) from None

    def _failed(self, delivery: DeliveryRecord, reason: str) -> None:
        """Note that a delivery failed, and why; what its sender changes meanwhile stays."""
        self.note(delivery.id, f"failed: {reason}")
        while True:
            before = self.store.files.delivery(delivery.id)
            if before is None or before.status != "IN_PROGRESS":
                return
            now = later(before)
            seconds = (now - delivery.updated) / 1e6
            after = replace(before, status="FAILED", reason=reason, seconds=seconds, updated=now)
            changes = FileChanges(deliveries=(after,), unchanged=((before.id, before.updated),))
            try:
                self.store.ledger.write([], "upsert", _ACTOR, files=changes)
            except PreconditionFailed:
                continue
            return

    def _clean(self, folder: Path) -> None:
        shutil.rmtree(folder, ignore_errors=True)

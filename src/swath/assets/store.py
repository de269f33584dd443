"""The use cases on files: deliveries taken in, listed, described, worked on again, deleted and brought back.

Title and tags belong to a delivery. Its STAC collection and all of its items have them too, and whichever of them is
edited, all are changed in one commit.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from swath.access import Rule
from swath.assets.said import Said
from swath.blobs import Blobs
from swath.catalog import Catalog
from swath.cql2.ast import Boolean, Equal, Predicate, Property, Text
from swath.delivery.describing import user_fields
from swath.delivery.facts import Facts, account_of
from swath.delivery.media import media_type_of
from swath.delivery.steps import later
from swath.errors import Conflict, InvalidRequest, NotFound, PreconditionFailed, Unavailable
from swath.jobs import Jobs
from swath.stac.document import read_collection, read_item
from swath.stac.patching import merge_patch
from swath.store.records import (
    AssetRecord,
    Choice,
    Condition,
    DeliveryRecord,
    FileChanges,
    JobRecord,
    Operation,
    Outcome,
    Removal,
    Restoration,
    Write,
)
from swath.vault import Vault

__all__ = ["JOB", "AssetStore"]

JOB = "delivery"
_TRIES = 50


class AssetStore:
    """The files of one catalogue. Safe to use from any thread."""

    def __init__(self, catalog: Catalog, blobs: Blobs) -> None:
        """The catalogue must lie in a folder, where deliveries are worked on."""
        assert catalog.folder is not None
        self.catalog, self.ledger, self.files = catalog, catalog.ledger, catalog.ledger.files
        self.vault = Vault(catalog.ledger, blobs)
        self.account = account_of(catalog.ledger)
        self.jobs = Jobs(catalog.ledger, catalog.folder)

    # -- taking in ----------------------------------------------------------------------------

    def receive(
        self,
        staged: Path,
        name: str,
        said: Said,
        actor: str,
        sha256: str | None = None,
        delivery_id: str | None = None,
    ) -> DeliveryRecord:
        """Take a delivery in: from when this returns, its bytes are kept and it will be worked on, whatever happens.

        `staged` is a file that nobody else writes to, of the name `name` for its sender. It may be taken away then.
        With a `delivery_id`, a delivery that has it already is given back instead.
        """
        before = self.files.delivery(delivery_id) if delivery_id is not None else None
        if before is not None:
            return before
        if staged.stat().st_size == 0:
            raise InvalidRequest(f"{name}: the file is empty")
        media_type = media_type_of(staged, name)
        kept = self.vault.keep(staged, sha256)
        now = time.time_ns() // 1000
        delivery = DeliveryRecord(
            id=delivery_id or str(uuid.uuid4()), at=now, updated=now, status="IN_PROGRESS", name=name,
            size=kept.blob.size, media_type=media_type, title=said.title, tags=said.tags,
            workspace_id=said.workspace_id or self.account.workspace_id, source=said.source, order_id=said.order_id,
            product_id=said.product_id, collection_name=said.collection_name, producer_name=said.producer_name,
            facts=msgspec.msgpack.encode(said.facts),
        )  # fmt: skip
        original = AssetRecord(delivery.id, delivery.id, kept.blob.key, kept.blob.size, kept.blob.sha256, name,
                               media_type, now)  # fmt: skip
        changes = FileChanges(
            deliveries=(delivery,), assets=(original,), unpin=(kept.pin,), jobs=(_job(delivery.id, now),),
            unchanged=((delivery.id, None),),
        )  # fmt: skip
        try:
            self.ledger.write([], "upsert", actor, files=changes)
        except PreconditionFailed:  # another did it meanwhile
            return self.files.delivery(delivery.id) or delivery
        return delivery

    # -- asking -------------------------------------------------------------------------------

    def delivery(self, delivery_id: str) -> DeliveryRecord:
        """A delivery that is not in the trash. NotFound."""
        found = self.files.delivery(delivery_id)
        if found is None or found.deleted is not None:
            raise NotFound(f"there is no asset {delivery_id[:80]!r}")
        return found

    def asset(self, asset_id: str) -> AssetRecord:
        """A file, of whatever kind. NotFound."""
        found = self.files.asset(asset_id)
        if found is None:
            raise NotFound(f"there is no asset {asset_id[:80]!r}")
        return found

    def choose(
        self, choice: Choice, expression: Predicate, rule: Rule, page: int, size: int
    ) -> tuple[list[DeliveryRecord], int]:
        """A page of deliveries, counted from 0, and how many there are in all.

        With an expression, those with an item that it selects.
        """
        if expression != Boolean(True):
            keys = self.catalog.collection_keys(expression, rule)
            choice = replace(choice, collections=frozenset(map(self.ledger.collection_name, keys)))
        return self.files.deliveries(choice, size, page * size)

    def facts(self, delivery: DeliveryRecord) -> Facts:
        """What its sender said beside."""
        return msgspec.msgpack.decode(delivery.facts, type=Facts) if delivery.facts else Facts()

    def log(self, delivery_id: str) -> list[str]:
        """What was noted while a delivery was worked on; empty where it is forgotten."""
        try:
            return self.log_file(delivery_id).read_text(encoding="utf-8").splitlines()
        except OSError:
            return []

    def log_file(self, delivery_id: str) -> Path:
        return self.jobs.folder / f"{delivery_id}.log"

    # -- describing ---------------------------------------------------------------------------

    def describe(
        self,
        delivery_id: str,
        change: Callable[[DeliveryRecord], DeliveryRecord],
        actor: str,
        condition: Condition | None = None,
        item_id: str | None = None,
    ) -> DeliveryRecord:
        """Change title and tags of a delivery, in its collection and all its items too.

        `condition` must hold of one of its items; PreconditionFailed where it does not.
        """

        def attempt() -> DeliveryRecord:
            before = self.delivery(delivery_id)
            changed = change(before)
            if condition is None and (changed.title, changed.tags) == (before.title, before.tags):
                return before
            after = replace(before, title=changed.title, tags=changed.tags, updated=later(before))
            files = FileChanges(deliveries=(after,), unchanged=((before.id, before.updated),))
            writes = self._retold(after, condition, item_id)
            receipt = self.ledger.write(writes, "update", actor, atomic=True, files=files)
            if Outcome.STALE in receipt.outcomes:
                raise _Stale
            if any(outcome.refused for outcome in receipt.outcomes):
                raise PreconditionFailed("an item was changed meanwhile")
            return after

        try:
            return self._tried(attempt, delivery_id)
        except _Stale:
            raise PreconditionFailed(f"the item {item_id!r} is not as the condition says: read it again") from None

    def _retold(
        self, delivery: DeliveryRecord, condition: Condition | None = None, item_id: str | None = None
    ) -> list[Write]:
        """The documents of a delivery with its present title and tags."""
        record = self.ledger.collection(delivery.collection) if delivery.collection else None
        if record is None:
            return []
        told: dict[str, Any] = {"up42-user:title": None, "up42-user:tags": None} | user_fields(delivery)
        document = read_collection(merge_patch(record.body, msgspec.json.encode(told)), record.id)
        writes: list[Write] = [replace(self.ledger.prepare(document), condition=Condition(seq=record.seq))]
        patch = msgspec.json.encode({"properties": told})
        everything = Boolean(True)
        for item in self.catalog.walk(Equal(Property("collection"), Text(record.id)), everything):
            changed = read_item(merge_patch(item.body, patch), record.id)
            held = condition if condition is not None and item.id == item_id else Condition()
            writes.append(replace(self.ledger.prepare(changed), condition=replace(held, seq=item.seq)))
        return writes

    # -- again, and away ----------------------------------------------------------------------

    def retry(self, delivery_id: str, actor: str) -> DeliveryRecord:
        """Work on a delivery again that failed. Conflict for one that is worked on, or whose collection is there."""

        def attempt() -> DeliveryRecord:
            before = self.delivery(delivery_id)
            if before.status == "IN_PROGRESS":
                raise Conflict(f"the asset {delivery_id} is being worked on")
            if before.status == "SUCCESSFUL":  # what was changed in its items since would be lost
                raise Conflict(f"the asset {delivery_id} is SUCCESSFUL; deliver the file again for another collection")
            now = later(before)
            after = replace(before, status="IN_PROGRESS", reason=None, seconds=None, updated=now)
            changes = FileChanges(
                deliveries=(after,), jobs=(_job(before.id, now),), unchanged=((before.id, before.updated),)
            )
            (self.jobs.folder / f"{before.id}.stop").unlink(missing_ok=True)  # of the time before
            self.ledger.write([], "upsert", actor, files=changes)
            return after

        return self._tried(attempt, delivery_id)

    def cancel(self, delivery_id: str) -> DeliveryRecord:
        """Stop working on a delivery; it is FAILED then, and can be worked on again. Conflict where nobody does."""
        found = self.delivery(delivery_id)
        if found.status != "IN_PROGRESS":
            raise Conflict(f"the asset {delivery_id} is not being worked on")
        self.jobs.dismiss(delivery_id)
        return found

    def delete(self, delivery_id: str, actor: str) -> None:
        """To the trash, with its collection and items. NotFound."""

        def attempt() -> DeliveryRecord:
            before = self.delivery(delivery_id)
            now = later(before)
            status = "FAILED" if before.status == "IN_PROGRESS" else before.status
            reason = "deleted while it was worked on" if before.status == "IN_PROGRESS" else before.reason
            after = replace(before, deleted=now, updated=now, status=status, reason=reason)
            files = FileChanges(deliveries=(after,), unchanged=((before.id, before.updated),))
            writes: list[Write] = []
            if before.collection is not None:
                name = before.collection
                writes = [Removal(Operation.DELETE_COLLECTION, name, name, lenient=True)]
            self.ledger.write(writes, "upsert", actor, files=files)
            return after

        self._tried(attempt, delivery_id)
        if (job := self.ledger.job(delivery_id)) is not None and job.state in ("accepted", "running"):
            self.jobs.dismiss(delivery_id)

    def restore(self, delivery_id: str, actor: str) -> DeliveryRecord:
        """Out of the trash, with its collection and items. NotFound where it is not in it."""
        before = self.files.delivery(delivery_id)
        if before is None or before.deleted is None:
            raise NotFound(f"there is no asset {delivery_id[:80]!r} in the trash")
        after = replace(before, deleted=None, updated=later(before))
        files = FileChanges(deliveries=(after,), unchanged=((before.id, before.updated),))
        writes: list[Write] = []
        if before.collection is not None and not self.ledger.has_collection(before.collection):
            writes = [Restoration(Operation.RESTORE_COLLECTION, before.collection, before.collection)]
        self.ledger.write(writes, "upsert", actor, files=files)
        return after

    def forget(self, seconds: float, actor: str) -> list[str]:
        """Forget for good what has been in the trash for so long; the ids. Its bytes are collected later."""
        before = time.time_ns() // 1000 - round(seconds * 1_000_000)
        found, _ = self.files.deliveries(Choice(deleted=True), 10_000)
        gone = [each for each in found if each.deleted is not None and each.deleted < before]
        for each in gone:
            unchanged = ((each.id, each.updated),)
            self.ledger.write([], "upsert", actor, files=FileChanges(forget=(each.id,), unchanged=unchanged))
            self.log_file(each.id).unlink(missing_ok=True)
        return [each.id for each in gone]

    def _tried(self, attempt: Callable[[], DeliveryRecord], delivery_id: str) -> DeliveryRecord:
        for _ in range(_TRIES):
            try:
                return attempt()
            except PreconditionFailed:
                continue
        raise Unavailable(f"the asset {delivery_id} is being changed by others all the time; try again in a moment")


class _Stale(Exception):
    """The caller's condition does not hold."""


def _job(delivery_id: str, now: int) -> JobRecord:
    return JobRecord(delivery_id, JOB, now, "accepted", b"")

"""A delivery on its way from an archive to a STAC collection: a tuple of steps, each adding to what is known.

What a step has finished lies in the job's folder or in the vault, so that a worker that died is followed by one that
goes on behind its last finished step: unpacked files have their name once all are there, each converted file is noted
once its bytes are kept. The last step publishes the collection, all items and all files in one commit.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, TypeAlias

import msgspec

from swath.catalog.door import door, mended
from swath.delivery import converting
from swath.delivery.converting import Conversion, Converters
from swath.delivery.describing import MadePart, asset_id_of, describe_collection, describe_item
from swath.delivery.facts import Account, Facts, Made, derived_id
from swath.delivery.model import Part, Product, Scene, Tree, asset_key
from swath.delivery.recognising import recognised
from swath.delivery.unpacking import unpack as unpack_into
from swath.errors import Conflict, DeliveryRefused, PreconditionFailed
from swath.stac.document import read_collection, read_item
from swath.store.base import Ledger
from swath.store.records import AssetRecord, DeliveryRecord, FileChanges, PreparedWrite
from swath.vault import Vault

__all__ = ["STEPS", "Bench", "Work", "later"]

_THUMBNAIL, _OVERVIEW = 600, 2_048  # pixels of the longer side
_TRIES = 20
_ACTOR = "delivery"


@dataclass(frozen=True, slots=True)
class Bench:
    """What the steps work with. `folder` is the job's own; `tell` says how far a step is and may raise `jobs.Stopped`;
    `note` writes a line of the log."""

    ledger: Ledger
    catalog_folder: Path
    vault: Vault
    account: Account
    converters: Converters
    folder: Path
    tell: Callable[[str, int, int], None]
    note: Callable[[str], None]

    def settle(self, work: Future[Any]) -> Any:
        """What comes of something that the converters do; somebody may want the job to end meanwhile."""
        while True:
            try:
                return work.result(timeout=0.5)
            except TimeoutError:
                if work.done():  # it raised that itself
                    raise
                self.tell("", 0, 0)


@dataclass(frozen=True, slots=True)
class Work:
    """A delivery, and what the steps so far have found out of it. `made` has the files of each scene."""

    delivery: DeliveryRecord
    facts: Facts
    original: AssetRecord
    tree: Tree | None = None
    products: tuple[Product, ...] = ()
    made: tuple[tuple[MadePart, ...], ...] = field(default=())

    def scenes(self) -> Iterator[tuple[Product, Scene]]:
        return ((product, scene) for product in self.products for scene in product.scenes)


def unpack(bench: Bench, work: Work) -> Work:
    """The files of the delivery, safely, in the job's folder."""
    bench.folder.mkdir(parents=True, exist_ok=True)
    source = bench.vault.blobs.path(work.original.blob)
    if source is None:
        source = bench.folder / "original"
        if not source.exists():
            unfinished = source.with_name("original.part~")
            bench.vault.blobs.fetch(work.original.blob, unfinished)
            unfinished.replace(source)
    # What was unpacked before the machine went down may not have come to the disk.
    files = bench.folder / f"files-{_boot()}"
    tree = unpack_into(source, work.delivery.name, files, lambda done, size: bench.tell("unpack", done, size))
    bench.note(f"unpacked {len(tree.files)} files")
    return replace(work, tree=tree)


def _boot() -> str:
    """What tells this run of the machine from others."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()[:8]
    except OSError:
        return "unknown"


def recognise(bench: Bench, work: Work) -> Work:
    """Which products they are, grouped into scenes, every file with its roles."""
    assert work.tree is not None
    tree = work.tree
    bench.tell("recognise", 0, len(tree.files))
    # Whatever reads files of a delivery does so beside the sandbox that it asks.
    products = bench.settle(bench.converters.submit(_recognised, bench.folder, tree))
    for product in products:
        bench.note(f"{product.title}: {', '.join(scene.name for scene in product.scenes)[:500]}")
        for note in product.notes:
            bench.note(note)
    return replace(work, products=products)


def _recognised(folder: Path, tree: Tree) -> tuple[Product, ...]:
    return recognised(tree, converting.inspect_in(folder, tree.root))


def convert(bench: Bench, work: Work) -> Work:
    """The file of each part, its bytes kept: a file that several scenes share is made once."""
    assert work.tree is not None
    parts = {asset_id_of(work.delivery.id, part): part for _, scene in work.scenes() for part in scene.parts}
    known = {asset_id: found for asset_id in parts if (found := _noted(bench, asset_id)) is not None}
    waiting = {
        asset_id: bench.converters.submit(
            converting.convert, bench.folder, work.tree.root, part, number, work.facts.crs
        )
        for number, (asset_id, part) in enumerate(parts.items())
        if asset_id not in known
    }
    made: dict[str, Made | None] = dict(known)
    try:
        for asset_id, future in waiting.items():
            bench.tell("convert", len(made), len(parts))
            made[asset_id] = _keep(bench, asset_id, bench.settle(future))
    finally:
        for future in waiting.values():
            future.cancel()
    bench.note(f"made {sum(each is not None for each in made.values())} files")
    scenes = []
    for number, (_, scene) in enumerate(work.scenes()):
        there = [MadePart(part, each) for part in scene.parts
                 if (each := made[asset_id_of(work.delivery.id, part)]) is not None]  # fmt: skip
        scenes.append((*there, *_pictures(bench, work, scene, there, number)))
    return replace(work, made=tuple(scenes))


def _note_of(bench: Bench, asset_id: str) -> Path:
    return bench.folder / "kept" / f"{asset_id}.json"


def _noted(bench: Bench, asset_id: str) -> Made | None:
    """What was made before, where it is still there."""
    try:
        made = msgspec.json.decode(_note_of(bench, asset_id).read_bytes(), type=Made)
    except (OSError, msgspec.MsgspecError):
        return None
    return made if bench.vault.blobs.size(made.blob) == made.size else None


def _keep(bench: Bench, asset_id: str, conversion: Conversion | None) -> Made | None:
    if conversion is None:
        return None
    path = Path(conversion.path)
    kept = bench.vault.keep(path)
    made = Made(kept.blob.key, kept.pin, kept.blob.size, kept.blob.sha256, conversion.name, conversion.media_type,
                conversion.facts)  # fmt: skip
    note = _note_of(bench, asset_id)
    note.parent.mkdir(exist_ok=True)
    unfinished = note.with_suffix(".json~")
    unfinished.write_bytes(msgspec.json.encode(made))
    unfinished.replace(note)
    if not conversion.kept:
        path.unlink(missing_ok=True)
    return made


# -- pictures ------------------------------------------------------------------------------------


def _pictures(bench: Bench, work: Work, scene: Scene, there: Sequence[MadePart], number: int) -> Iterator[MadePart]:
    """Thumbnail and overview where the provider sent none."""
    source = _best(there)
    if source is None:
        return
    have = {role for each in there for role in each.part.roles}
    keys = {each.part.key for each in there}
    for role, pixels in (("thumbnail", _THUMBNAIL), ("overview", _OVERVIEW)):
        if role in have:
            continue
        key = role if role not in keys else f"swath_{role}"
        part = Part(key, (*source.part.sources, f"{role} of {scene.name}"), (role,), role.capitalize(), "image/png")
        asset_id = asset_id_of(work.delivery.id, part)
        made = _noted(bench, asset_id)
        if made is None:
            cog = bench.folder / f"{source.made.blob}.tif"
            if not cog.exists():
                bench.vault.blobs.fetch(source.made.blob, cog)
            name = f"{asset_key(scene.name)}_{role}.png"
            shown = converting.preview, bench.folder, str(cog), 1_000_000 + 2 * number + (role == "overview"), name
            made = _keep(bench, asset_id, bench.settle(bench.converters.submit(*shown, pixels, _colours(source.part))))
        if made is not None:
            yield MadePart(part, made)


def _best(there: Sequence[MadePart]) -> MadePart | None:
    """The image that shows best what a scene is of."""
    images = [each for each in there if each.part.action == "raster" and not {"data-mask"} & set(each.part.roles)]

    def rank(each: MadePart) -> tuple[int, int]:
        roles, named = set(each.part.roles), {band.common_name for band in each.part.bands}
        order = [
            "visual" in roles, {"red", "green", "blue"} <= named, "red" in named, "panchromatic" in roles,
            "multispectral" in roles, "data" in roles,
        ]  # fmt: skip
        return (order.index(True) if True in order else len(order)), each.made.size

    return min(images, key=rank, default=None)


def _colours(part: Part) -> tuple[int, ...]:
    """The bands that are red, green and blue; none where they are not all there."""
    named = [band.common_name for band in part.bands]
    wanted = ("red", "green", "blue")
    return tuple(named.index(name) + 1 for name in wanted) if all(name in named for name in wanted) else ()


# -- to the catalogue ----------------------------------------------------------------------------


def publish(bench: Bench, work: Work) -> Work:
    """The collection with the delivery itself, all items and all files: in one commit, or not at all.

    Who changes title or tags meanwhile, or deletes the delivery, is not overruled: what is published follows.
    """
    bench.tell("publish", 0, 1)
    for _ in range(_TRIES):
        delivery = bench.ledger.files.delivery(work.delivery.id)
        if delivery is None or delivery.deleted is not None:
            raise DeliveryRefused("the delivery was deleted while it was worked on")
        now = later(delivery)
        done = replace(
            delivery, status="SUCCESSFUL", reason=None, updated=now, seconds=(now - work.delivery.updated) / 1e6,
            collection=delivery.collection or derived_id(delivery.id, "collection"),
            collection_name=delivery.collection_name or work.products[0].collection_name,
            producer_name=delivery.producer_name or work.products[0].producer,
        )  # fmt: skip
        ready = replace(work, delivery=done)
        files = FileChanges(
            deliveries=(done,), assets=tuple(_files(ready)), unpin=tuple({each.made.pin for each in _all(ready)}),
            unchanged=((delivery.id, delivery.updated),),
        )  # fmt: skip
        try:
            receipt = bench.ledger.write(_documents(bench, ready), "upsert", _ACTOR, atomic=True, files=files)
        except PreconditionFailed:
            continue
        if any(outcome.refused for outcome in receipt.outcomes):
            raise DeliveryRefused(f"the catalogue refused it: {', '.join(each.value for each in receipt.outcomes)}")
        bench.note(f"published {len(ready.made)} items in collection {done.collection}")
        return ready
    raise Conflict("others change the delivery all the time")


def later(delivery: DeliveryRecord) -> int:
    """Now, in microseconds since 1970, and behind the last change of a delivery."""
    return max(time.time_ns() // 1000, delivery.updated + 1)


def _all(work: Work) -> Iterator[MadePart]:
    return (each for parts in work.made for each in parts)


def _files(work: Work) -> Iterator[AssetRecord]:
    known: set[str] = set()
    for each in _all(work):
        asset_id, made = asset_id_of(work.delivery.id, each.part), each.made
        if asset_id not in known:
            known.add(asset_id)
            yield AssetRecord(asset_id, work.delivery.id, made.blob, made.size, made.sha256, made.name, made.media_type,
                              work.delivery.updated)  # fmt: skip


def _documents(bench: Bench, work: Work) -> list[PreparedWrite]:
    """The collection and its items, mended by RFC 7946 and ready to be written."""
    original = Made(work.original.blob, "", work.original.size, work.original.sha256, work.original.name,
                    work.original.media_type)  # fmt: skip
    delivery, facts, account = work.delivery, work.facts, bench.account
    collection = describe_collection(delivery, facts, account, work.products, original)
    enter = door(lambda _name: None, bench.catalog_folder, strictness="enforce")
    documents: list[Any] = [read_collection(msgspec.json.encode(collection))]
    for (product, scene), parts in zip(work.scenes(), work.made, strict=True):
        item = describe_item(delivery, facts, account, product, scene, parts)
        raw, notes = mended(msgspec.json.encode(item))
        documents.append(read_item(raw, str(delivery.collection)))
        for note in notes:
            bench.note(f"{scene.name}: {note}")
    for document in documents:
        enter(document)
    return [bench.ledger.prepare(document) for document in documents]


Step: TypeAlias = Callable[[Bench, Work], Work]
STEPS: tuple[Step, ...] = (unpack, recognise, convert, publish)

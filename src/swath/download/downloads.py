"""Many files: which ones, where to, how large, and then all of them, several at a time."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypeVar

from swath.download.checks import read_multihash
from swath.download.fetching import Expected, Stopped, fetch, is_there, unfinished
from swath.download.finding import Origin
from swath.download.folder import CATALOG, COLLECTION, ITEM, known_names, write_catalog, write_collection, write_item
from swath.download.names import PART, folder_name, free_name, safe_name, url_name
from swath.download.sources import Seen, Source
from swath.formats.web import Passing, joined, without_secrets

__all__ = ["Download", "File", "Selection", "State"]

T = TypeVar("T")

State: TypeAlias = Literal["planned", "present", "downloaded", "failed"]
_NO_COLLECTION = "no-collection"


@dataclass(frozen=True, slots=True)
class Selection:
    """Which assets are wanted: those of these keys or roles; all where neither is given."""

    keys: frozenset[str] = frozenset()
    roles: frozenset[str] = frozenset()

    def takes(self, key: str, asset: dict[str, Any]) -> bool:
        if not self.keys and not self.roles:
            return True
        roles = asset.get("roles")
        has = {role for role in roles if isinstance(role, str)} if isinstance(roles, list) else set()
        return key in self.keys or not self.roles.isdisjoint(has)


@dataclass(slots=True)
class File:
    """One file of an item, or of a collection (`item` is None then), and what has become of it.

    `checked` names what it was compared by: an algorithm, `size` or `nothing`.
    """

    collection: str
    item: str | None
    keys: list[str]
    href: str
    folder: Path
    expected: Expected
    media_type: str | None
    source: Source
    name: str = ""
    seen: Seen | None = None
    state: State = "planned"
    size: int | None = None
    checked: str = "nothing"
    reason: str = ""

    @property
    def path(self) -> Path:
        return self.folder / self.name

    @property
    def begun(self) -> int:
        """Bytes that an earlier run left."""
        try:
            return self.path.with_name(self.name + PART).stat().st_size
        except OSError:
            return 0

    def told(self) -> dict[str, Any]:
        """For JSON. The address holds no name and password, but it may hold a signature."""
        made = {"status": self.state, "collection": self.collection, "item": self.item, "assets": self.keys,
                "href": without_secrets(self.href), "path": str(self.path), "size": self.size}  # fmt: skip
        if self.state in ("present", "downloaded"):
            made["checked"] = self.checked
        return made | ({"reason": self.reason} if self.reason else {})


@dataclass(slots=True)
class _Entry:
    """An item or collection, and its files."""

    document: dict[str, Any]
    base: str | None
    folder: Path
    before: dict[str, str]
    files: list[File] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def names(self) -> dict[str, str]:
        """Of the files that are there, by their assets."""
        done = (file for file in self.files if file.state in ("present", "downloaded"))
        return self.before | {key: file.name for file in done for key in file.keys}


class Download:
    """Files of some items into one folder. `stop` ends it, from whatever thread."""

    def __init__(
        self,
        origin: Origin,
        folder: Path,
        selection: Selection = Selection(),
        *,
        parallel: int = 4,
        told: Callable[[str], None] = lambda _: None,
    ) -> None:
        self.origin, self.folder, self.selection, self.parallel, self.told = origin, folder, selection, parallel, told
        self.stop = threading.Event()
        self.items = 0
        self._entries: dict[tuple[str, str | None], _Entry] = {}
        self._collections: dict[str, tuple[dict[str, Any], str | None] | None] = {}

    # -- what there is ------------------------------------------------------------------------

    def plan(
        self, items: Iterable[tuple[dict[str, Any], str | None]], seen: Callable[[int, int], None] = lambda *_: None
    ) -> list[File]:
        """The files that are wanted, each with its name, and its size where that can be known.

        `seen` is told how many of how many have been looked at. A file that is there already is `present`.
        """
        for item, base in items:
            if isinstance(item.get("id"), str):
                self._add(item, base)
        files = [file for entry in self._entries.values() for file in entry.files]
        for number, _ in enumerate(_each(self._look, files, self.parallel, self.stop), 1):
            seen(number, len(files))
        for key, entry in self._entries.items():
            self._name(key, entry)
        for _ in _each(_compare, files, self.parallel, self.stop):
            pass
        return files

    def _add(self, item: dict[str, Any], base: str | None) -> None:
        collection = item["collection"] if isinstance(item.get("collection"), str) else ""
        key = (collection, item["id"])
        if key in self._entries:
            return
        self.items += 1
        above = self.folder / (_folder(collection, CATALOG) if collection else _NO_COLLECTION)
        self._entries[key] = self._entry(item, base, above / _folder(item["id"], COLLECTION), ITEM, key)
        if collection not in self._collections:
            self._collections[collection] = self.origin.collection(collection) if collection else None
            self._add_collection(collection, above)

    def _add_collection(self, collection: str, folder: Path) -> None:
        """A collection has files, too: what a delivery was made of. Only whoever asks for that role gets them."""
        document, base = self._collections[collection] or ({"id": collection}, None)
        key = (collection, None)
        self._entries[key] = self._entry(document, base, folder, COLLECTION, key, frozenset(("original",)))

    def _entry(
        self,
        document: dict[str, Any],
        base: str | None,
        folder: Path,
        name: str,
        key: tuple[str, str | None],
        only: frozenset[str] | None = None,
    ) -> _Entry:
        entry = _Entry(document, base, folder, known_names(folder / name, document["id"]))
        wanted = self.selection if only is None else Selection(frozenset(), self.selection.roles & only)
        assets = document.get("assets")
        if not isinstance(assets, dict) or (only is not None and not wanted.roles):
            return entry
        by_href: dict[str, File] = {}
        for asset_key, asset in assets.items():
            href = asset.get("href") if isinstance(asset, dict) else None
            if not isinstance(href, str) or not wanted.takes(asset_key, asset):
                continue
            href = joined(base, href) if base is not None else href
            if href in by_href:
                by_href[href].keys.append(asset_key)
                continue
            media_type = asset["type"] if isinstance(asset.get("type"), str) else None
            file = File(key[0], key[1], [asset_key], href, folder, _expected(asset), media_type,
                        self.origin.source(href))  # fmt: skip
            by_href[href] = file
        entry.files = list(by_href.values())
        return entry

    def _look(self, file: File) -> None:
        entry = self._entries[file.collection, file.item]
        name = entry.before.get(file.keys[0])
        if name is not None:
            file.name = name
            if file.expected.checksum is not None and _mark(file, is_there(file.path, file.expected, None)):
                return
        try:
            file.seen = file.source.look()
        except Passing:
            pass  # it may go better when it is fetched
        except Exception as error:  # one file's fault, whatever it is, ends no other's
            file.state, file.reason = "failed", unfinished(error)

    def _name(self, key: tuple[str, str | None], entry: _Entry) -> None:
        """Give each file its name. Those of an earlier run stay."""
        taken = {CATALOG, COLLECTION, ITEM, *(name.casefold() for name in entry.before.values())}
        if key[1] is None:  # beside the folders of the items
            taken |= {other.folder.name.casefold() for other in self._entries.values()}
            if entry.folder.is_dir():
                taken |= {place.name.casefold() for place in entry.folder.iterdir() if place.is_dir()}
        for file in entry.files:
            if file.name:
                continue
            seen = file.seen or Seen()
            kind = file.media_type or seen.media_type
            plain = safe_name(seen.name, "") if seen.name else url_name(file.href, file.keys[0], kind)
            file.name = free_name(plain, taken)
            taken.add(file.name.casefold())

    # -- and how it gets here -----------------------------------------------------------------

    def run(self, files: Sequence[File], heard: Callable[[int], None] = lambda _: None) -> Iterator[File]:
        """Fetch what is planned; each file as it ends, those that were there first. `heard` is told of bytes."""
        for file in files:
            if file.state != "planned":
                yield file
        self._write_present(files)

        def get(file: File) -> None:
            self._fetch(file, heard)

        yield from _each(get, [file for file in files if file.state == "planned"], self.parallel, self.stop)
        self._index()

    def _fetch(self, file: File, heard: Callable[[int], None]) -> None:
        try:
            file.size, file.checked = fetch(
                file.source, file.path, file.expected, stop=self.stop, heard=heard, told=self.told
            )
            file.state = "downloaded"
            self._write(self._entries[file.collection, file.item])
        except Stopped:
            file.state, file.reason = "failed", "stopped"
        except Exception as error:
            file.state, file.reason = "failed", unfinished(error)

    def _write_present(self, files: Sequence[File]) -> None:
        for key in dict.fromkeys((file.collection, file.item) for file in files if file.state == "present"):
            self._write(self._entries[key])

    def _write(self, entry: _Entry) -> None:
        with entry.lock:
            if entry.document.get("type") != "Collection" and entry.folder.is_dir():
                write_item(entry.folder, entry.document, entry.base, entry.names())

    def _index(self) -> None:
        for name, found in self._collections.items():
            entry = self._entries[name, None]
            if entry.folder.is_dir():
                write_collection(entry.folder, name or _NO_COLLECTION, found, entry.names())
        if self.folder.is_dir():
            write_catalog(self.folder)


def _folder(name: str, reserved: str) -> str:
    """The folder of an id; never the name of a file beside it."""
    made = folder_name(name)
    return made if made.casefold() not in (reserved, _NO_COLLECTION) else f"{made}-folder"


def _expected(asset: dict[str, Any]) -> Expected:
    size = asset.get("file:size")
    checksum = read_multihash(asset.get("file:checksum"))
    if checksum is None:
        checksum = read_multihash(asset.get("checksum:multihash"), "checksum:multihash")
    return Expected(size if type(size) is int and size >= 0 else None, checksum)


def _compare(file: File) -> None:
    if file.state != "planned":
        return
    told = file.seen.size if file.seen is not None else None
    file.size = file.expected.size if file.expected.size is not None else told
    _mark(file, is_there(file.path, file.expected, file.seen))


def _mark(file: File, checked: str | None) -> bool:
    if checked is not None:
        file.state, file.checked = "present", checked
        file.size = file.path.stat().st_size
    return checked is not None


def _each(work: Callable[[T], object], things: Sequence[T], parallel: int, stop: threading.Event) -> Iterator[T]:
    """Work on things in some threads; each thing as it is done. Whoever stops listening stops the work.

    The threads end with the process, so that Ctrl-C does not wait for a server that is silent.
    """
    waiting: queue.SimpleQueue[T] = queue.SimpleQueue()
    done: queue.SimpleQueue[T | BaseException] = queue.SimpleQueue()
    for thing in things:
        waiting.put(thing)

    def run() -> None:
        while not stop.is_set():
            try:
                thing = waiting.get_nowait()
            except queue.Empty:
                return
            try:
                work(thing)
                done.put(thing)
            except BaseException as error:
                done.put(error)

    threads = [threading.Thread(target=run, daemon=True) for _ in range(min(parallel, len(things)))]
    for thread in threads:
        thread.start()
    try:
        for _ in things:
            found = done.get()
            if isinstance(found, BaseException):
                raise found
            yield found
    except BaseException:
        stop.set()
        until = time.monotonic() + 2.0
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        raise
    for thread in threads:
        thread.join()

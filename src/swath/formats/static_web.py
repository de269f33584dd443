"""Static catalogues on the web: from the root down, link by link, in the order in which the links stand."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from urllib.parse import urlsplit

import msgspec

from swath.errors import RemoteFailure, TooLarge
from swath.formats.paging import Sheet, ask, read_sheet
from swath.formats.reading import Document, Unreadable
from swath.formats.web import Client, Garbled, Request, is_address, joined, without_secrets

__all__ = ["Batch", "Step", "crawl"]

_MOST_DOCUMENTS = 200_000  # in one run
_DEEPEST = 30
_BATCH = 50  # items, between which a crawl can be taken up again
_AT_ONCE = 4  # requests, to be no burden


class Step(msgspec.Struct, frozen=True, omit_defaults=True):
    """A catalogue on the way down: how many of its links are done, and what they were."""

    url: str
    position: int
    links: str


@dataclass(frozen=True, slots=True)
class Batch:
    """Some documents. `trail` leads behind them, and is empty when all is done.

    `changed`: a catalogue on the trail is not what it was, and nobody knows what was done of it.
    """

    documents: tuple[Document | Unreadable, ...]
    trail: tuple[Step, ...]
    url: str
    changed: bool = False


@dataclass(slots=True)
class _Node:
    url: str
    within: str | None
    links: list[tuple[str, str]]  # rel, address
    position: int = 0
    mark: str = ""

    @staticmethod
    def of(sheet: Sheet, within: str | None) -> _Node:
        links = [
            (link["rel"], without_secrets(joined(sheet.url, link["href"])))
            for link in sheet.links
            if link["rel"] in _DOWN
        ]
        mark = hashlib.blake2b(msgspec.json.encode(links), digest_size=8).hexdigest()
        return _Node(sheet.url, str(sheet.id) if sheet.type == "Collection" else within, links, 0, mark)


_DOWN = frozenset(("child", "item"))


@dataclass(slots=True)
class _Crawl:
    client: Client
    wanted: Sequence[str] | None
    elsewhere: bool
    origin: str = ""
    stack: list[_Node] = field(default_factory=list)
    seen: set[str] = field(default_factory=set)

    def push(self, node: _Node) -> None:
        self.stack.append(node)
        self.seen.add(node.url)

    def trail(self) -> tuple[Step, ...]:
        steps = [Step(node.url, node.position, node.mark) for node in self.stack]
        while steps and self.stack[len(steps) - 1].position >= len(self.stack[len(steps) - 1].links):
            steps.pop()
        return tuple(steps)

    def barred(self, url: str) -> str | None:
        """Why an address is not followed."""
        if not is_address(url):
            return "leads to what is no address on the web"
        if not self.elsewhere and _origin(url) != self.origin:
            return f"leads to another server than {self.origin}; --elsewhere follows it"
        return None

    def items(self, pool: ThreadPoolExecutor, node: _Node) -> list[Document | Unreadable]:
        """The next items of a catalogue, several at once."""
        batch = []
        for rel, url in node.links[node.position : node.position + _BATCH]:
            if rel != "item":
                break
            batch.append(url)
        node.position += len(batch)
        if self.wanted is not None and node.within not in self.wanted:
            return []
        return list(pool.map(lambda url: self.document(url, node.within), batch))

    def document(self, url: str, within: str | None) -> Document | Unreadable:
        barred = self.barred(url)
        if barred:
            return Unreadable(url, 0, barred)
        try:
            answer = self.client.fetch(Request(url), lambda answer: answer)
        except RemoteFailure as error:
            return _unreadable(url, error)
        return Document(answer.body, answer.url, 1, within)

    def child(self, node: _Node, url: str) -> Document | Unreadable | None:
        """Step down into a catalogue; its own document where it is a collection."""
        barred = self.barred(url)
        if url in self.seen:
            return None
        if barred or len(self.stack) >= _DEEPEST:
            return Unreadable(url, 0, barred or f"lies deeper than {_DEEPEST} catalogues")
        self.seen.add(url)
        try:
            answer = self.client.fetch(Request(url), lambda answer: answer)
            sheet = read_sheet(answer, Request(url))
        except RemoteFailure as error:
            return _unreadable(url, error)
        except Garbled as error:
            return Unreadable(url, 0, f"not JSON: {error}")
        if self.wanted is not None and sheet.type == "Collection" and sheet.id not in self.wanted:
            return None
        apart = sheet.linked("items") or sheet.linked("search")
        if apart is not None:
            return Unreadable(url, 0, f"its items are not linked one by one; load {sheet.url} by itself")
        self.push(_Node.of(sheet, node.within))
        return Document(sheet.raw, sheet.url, 1) if sheet.type == "Collection" else None


def crawl(
    client: Client,
    url: str,
    entry: Sheet | None,
    trail: Sequence[Step],
    wanted: Sequence[str] | None,
    elsewhere: bool,
) -> Iterator[Batch]:
    """Documents of a static catalogue; `entry` is its root where that was read already.

    With a `trail` it goes on behind it. `wanted` are ids of collections. TooLarge after very many documents: the trail
    leads on from there.
    """
    crawl = _Crawl(client, wanted, elsewhere)
    if trail:
        if not _returned(crawl, trail):
            yield Batch((), (), url, changed=True)
            return
    else:
        root = entry or ask(client, Request(url))
        crawl.origin = _origin(root.url)
        crawl.push(_Node.of(root, None))
        own = root.type == "Collection" and (wanted is None or root.id in wanted)
        yield Batch((Document(root.raw, root.url, 1),) if own else (), crawl.trail(), root.url)
    yield from _down(crawl)


def _returned(crawl: _Crawl, trail: Sequence[Step]) -> bool:
    """Go down a trail again; False where the catalogues on it are not what they were."""
    within = None
    for step in trail:
        sheet = ask(crawl.client, Request(step.url))
        node = _Node.of(sheet, within)
        if node.mark != step.links:
            return False
        crawl.origin = crawl.origin or _origin(sheet.url)
        node.position, within = step.position, node.within
        crawl.push(node)
    return True


def _down(crawl: _Crawl) -> Iterator[Batch]:
    count = 0
    pool = ThreadPoolExecutor(_AT_ONCE)
    try:
        while crawl.stack:
            node = crawl.stack[-1]
            if node.position >= len(node.links):
                crawl.stack.pop()
                continue
            rel, url = node.links[node.position]
            if rel == "item":
                documents = crawl.items(pool, node)
            else:
                node.position += 1
                found = crawl.child(node, url)
                documents = [found] if found is not None else []
            count += len(documents)
            if documents or not crawl.trail():
                yield Batch(tuple(documents), crawl.trail(), node.url)
            if count >= _MOST_DOCUMENTS and crawl.trail():
                raise TooLarge(f"stopped after {count:,} documents of {crawl.stack[0].url}; load again to go on")
    finally:
        pool.shutdown(wait=False, cancel_futures=True)


def _unreadable(url: str, error: RemoteFailure) -> Unreadable:
    """One document that is not there; a server that is down is another matter."""
    if error.status in (401, 403, 429) or error.status >= 500:
        raise error
    return Unreadable(url, 0, str(error))


def _origin(url: str) -> str:
    try:
        parts = urlsplit(url)
    except ValueError:
        return ""
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}".lower()

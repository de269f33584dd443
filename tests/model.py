"""What a catalogue answers, by a model in memory: every request that clients make at once, in whatever order they fit.

Knows nothing of Swath. Requests of one round run beside each other, so their order is not known: the model looks for
every order in which all of their answers are right. Where there is none, the answers contradict each other.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeAlias

__all__ = ["Ask", "Held", "Thing", "Told", "Verb", "Version", "orders", "tag_of", "text_of"]

Verb: TypeAlias = Literal[
    "post", "put", "create", "patch", "delete", "restore", "restore version", "get", "bulk",
    "post collection", "put collection", "delete collection", "drop collection", "restore collection", "get collection",
]  # fmt: skip


@dataclass(frozen=True, slots=True)
class Ask:
    """A request. `match` is an ETag that the client had before, `*`, or nothing; `document` is what it sends."""

    verb: Verb
    collection: str
    item: str = ""
    document: Any = None
    match: str = ""
    version: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """An answer. `text` is the document in it, less what the server adds to what was sent."""

    status: int
    etag: str = ""
    text: str = ""


@dataclass(frozen=True, slots=True)
class Version:
    """A document under the tag of its version; no tag where it was not told yet."""

    tag: str
    text: str


@dataclass(frozen=True, slots=True)
class Thing:
    """An item: what is live, and everything that ever was."""

    live: Version | None = None
    past: tuple[Version, ...] = ()

    def put(self, made: Version) -> Thing:
        return Thing(made, (*self.past, made))


@dataclass(frozen=True, slots=True)
class Held:
    """One collection with its items, and what comes back when it is restored."""

    live: Version | None = None
    items: Mapping[str, Thing] = field(default_factory=dict)
    trash: Held | None = None

    def thing(self, item: str) -> Thing:
        return self.items.get(item, Thing())

    def put(self, item: str, thing: Thing) -> Held:
        return replace(self, items={**self.items, item: thing})

    @property
    def contents(self) -> dict[str, str]:
        return {name: thing.live.text for name, thing in self.items.items() if thing.live is not None}


def tag_of(etag: str) -> str:
    """The part of an ETag that names the version."""
    return etag.strip('"').partition("-")[0]


def text_of(document: Any) -> str:
    return json.dumps(document, separators=(",", ":"))


def orders(start: Iterable[Held], asked: Sequence[tuple[Ask, Told]]) -> list[Held]:
    """What may be there when all was answered, over every order that explains the answers; nothing where none does."""
    reached: dict[int, list[Held]] = {0: list(start)}
    whole = (1 << len(asked)) - 1
    for done in range(whole):
        for held in reached.get(done, ()):
            for number, (ask, told) in enumerate(asked):
                if done >> number & 1:
                    continue
                after = answered(held, ask, told)
                known = reached.setdefault(done | 1 << number, [])
                if after is not None and after not in known:
                    known.append(after)
    return reached.get(whole, [])


def answered(held: Held, ask: Ask, told: Told) -> Held | None:
    """What is there after a request with this answer; None where the answer is wrong."""
    if ask.verb.endswith("collection"):
        return _of_collection(held, ask, told)
    if held.live is None:
        # A bulk write that began before its collection ended is told so in a report: it was all or none, and is none.
        return held if told.status == 404 or (ask.verb, told.status) == ("bulk", 409) else None
    if ask.verb == "bulk":
        return _bulk(held, ask) if told.status == 200 else None
    thing = held.thing(ask.item)
    match ask.verb:
        case "post":
            return _same(held, told, 409) if thing.live else _put(held, ask, told, text_of(ask.document), 201)
        case "create":  # PUT with If-None-Match: *
            return _same(held, told, 412) if thing.live else _put(held, ask, told, text_of(ask.document), 201)
        case "restore version":
            found = [each for each in thing.past if each.tag == ask.version]
            return _put(held, ask, told, found[0].text, 201) if found else _same(held, told, 404)
        case "restore":
            return _put(held, ask, told, thing.past[-1].text, 201) if thing.past else _same(held, told, 404)
    return _of_live(held, thing.live, ask, told) if thing.live is not None else _same(held, told, 404)


def _of_live(held: Held, live: Version, ask: Ask, told: Told) -> Held | None:
    """What is asked of an item that is there."""
    if ask.verb == "get":
        if ask.match and tag_of(ask.match) == live.tag:
            return _same(held, told, 304)
        return _known(held, ask.item, tag_of(told.etag)) if (told.status, told.text) == (200, live.text) else None
    if not _fits(ask, live):
        return _same(held, told, 412)
    if ask.verb == "delete":
        return held.put(ask.item, replace(held.thing(ask.item), live=None)) if told.status == 204 else None
    text = _patched(live.text, ask.document) if ask.verb == "patch" else text_of(ask.document)
    return _put(held, ask, told, text, 200)


def _put(held: Held, ask: Ask, told: Told, text: str, fresh: int) -> Held | None:
    """The item is `text` now: under a tag that never was, or under the one that it had where nothing changed."""
    thing, tag = held.thing(ask.item), tag_of(told.etag)
    if told.text != text or told.status != (200 if thing.live else fresh):
        return None
    if thing.live is not None and thing.live.text == text:
        return _known(held, ask.item, tag)
    if not tag or any(tag == each.tag for each in thing.past):
        return None
    return held.put(ask.item, thing.put(Version(tag, text)))


def _known(held: Held, item: str, tag: str) -> Held | None:
    """The live version has this tag: None where it is known to have another, or another version to have it."""
    thing = held.thing(item)
    if thing.live is None or thing.live.tag == tag:
        return held
    if thing.live.tag or any(tag == each.tag for each in thing.past):
        return None
    live = replace(thing.live, tag=tag)
    return held.put(item, Thing(live, (*thing.past[:-1], live)))


def _bulk(held: Held, ask: Ask) -> Held:
    """All of an upsert. Its answer tells no tags."""
    for item, document in ask.document.items():
        thing, text = held.thing(item), text_of(document)
        if thing.live is None or thing.live.text != text:
            held = held.put(item, thing.put(Version("", text)))
    return held


def _of_collection(held: Held, ask: Ask, told: Told) -> Held | None:
    if ask.verb in ("post collection", "restore collection"):
        return _same(held, told, 409) if held.live else _brought(held, ask, told)
    live, tag = held.live, tag_of(told.etag)
    if live is None:
        return _same(held, told, 404)
    if ask.verb == "get collection":
        return _same(held, told, 200) if (tag, told.text) == (live.tag, live.text) else None
    if not _fits(ask, live):
        return _same(held, told, 412)
    if ask.verb == "put collection":
        text = text_of(ask.document)
        if (told.status, told.text) != (200, text) or (tag == live.tag) != (text == live.text):
            return None
        return replace(held, live=Version(tag, text))
    if ask.verb == "drop collection" and held.contents:  # without `cascade`
        return _same(held, told, 409)
    return Held(None, {}, replace(held, trash=None)) if told.status == 204 else None


def _brought(held: Held, ask: Ask, told: Told) -> Held | None:
    """A collection that was not there: a new one, or the last one with all its items."""
    tag, back = tag_of(told.etag), held.trash
    if ask.verb == "post collection":
        made = Version(tag, text_of(ask.document))
        return Held(made, {}, back) if (told.status, told.text) == (201, made.text) else None
    if back is None or back.live is None:
        return _same(held, told, 404)
    if (told.status, told.text) != (201, back.live.text):
        return None
    return Held(Version(tag, back.live.text), back.items, None)


def _same(held: Held, told: Told, status: int) -> Held | None:
    return held if told.status == status else None


def _fits(ask: Ask, live: Version) -> bool:
    return ask.match in ("", "*") or tag_of(ask.match) == live.tag


def _patched(text: str, patch: dict[str, Any]) -> str:
    """RFC 7396, of members of `properties`."""
    document = json.loads(text)
    for name, value in patch["properties"].items():
        if value is None:
            document["properties"].pop(name, None)
        else:
            document["properties"][name] = value
    return text_of(document)

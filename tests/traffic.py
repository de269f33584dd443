"""Somebody who writes to a served catalogue at random, and what can be known of it from the feed of changes.

Nothing here imports the product: it is what others are held against.
"""

from __future__ import annotations

import http.client
import json
import random
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import Answer, make_item

__all__ = ["NDJSON", "Caller", "Replay", "Traffic", "export_parts", "make_collection", "ndjson", "read_feed"]

NDJSON = "application/x-ndjson"
JSON = "application/json"
_IDLE_SECONDS = 3.0  # servers close a connection that nothing is asked on, maybe just as something is


def make_collection(name: str, **more: Any) -> dict[str, Any]:
    """A valid collection; keyword arguments are further members."""
    return {
        "type": "Collection", "stac_version": "1.0.0", "id": name, "description": f"the collection {name}",
        "license": "other", "links": [],
        "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
        **more,
    }  # fmt: skip


def ndjson(*documents: Any) -> bytes:
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


class Caller:
    """A client that keeps its connection. One per thread."""

    def __init__(self, url: str, timeout: float = 60.0) -> None:
        self._host, self._timeout = urlsplit(url).netloc, timeout
        self._connection: http.client.HTTPConnection | None = None
        self._used = 0.0

    def __call__(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        """One request. A body that is not bytes is sent as JSON."""
        sent = {name.replace("_", "-"): value for name, value in headers.items()}
        if body is not None and not isinstance(body, bytes):
            body = json.dumps(body).encode()
        if body is not None and "Content-Type" not in sent:
            sent["Content-Type"] = JSON
        if time.monotonic() - self._used > _IDLE_SECONDS:
            self.close()
        self._used = time.monotonic()
        if self._connection is None:
            self._connection = http.client.HTTPConnection(self._host, timeout=self._timeout)
        try:
            self._connection.request(method, path, body, sent)
            answer = self._connection.getresponse()
            return Answer(answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read())
        except (OSError, http.client.HTTPException):
            self.close()
            raise

    def close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def __del__(self) -> None:
        self.close()


@dataclass
class Traffic:
    """Writes to a few collections: creates, replaces, patches, deletes and restores items and collections, declares
    queryables, sends bulk. Others may do so too: it takes any answer that is no fault of the server."""

    call: Callable[..., Answer]
    seed: int
    collections: tuple[str, ...] = ("a", "b", "c")
    ids: int = 60
    bulk: int = 40  # items of the largest bulk write
    done: Counter[str] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self._number = 0
        self._kinds = {
            self.upsert: 30, self.patch: 10, self.delete: 10, self.restore: 6, self.restore_version: 4,
            self.upload: 12, self.put_collection: 3, self.delete_collection: 1, self.restore_collection: 4,
            self.declare: 1, self.undeclare: 1,
        }  # fmt: skip

    def step(self) -> str:
        """Do one thing; its name."""
        kind = self.draw.choices(list(self._kinds), list(self._kinds.values()))[0]
        answer = kind()
        name = kind.__name__
        assert answer.status < 500, (name, answer.status, answer.body)
        if answer.status < 300:
            self.done[name] += 1
        return name

    def item(self, name: str, item_id: str) -> dict[str, Any]:
        self._number += 1
        draw = self.draw
        return make_item(
            item_id, name, stamp=self._number, writer=self.seed, v=draw.randrange(5),
            datetime=f"20{draw.randrange(10, 30)}-0{draw.randrange(1, 10)}-11T0{draw.randrange(10)}:00:00Z",
            geometry={"type": "Point", "coordinates": [draw.randrange(-170, 170), draw.randrange(-80, 80) + 0.5]},
        )  # fmt: skip

    def place(self) -> tuple[str, str]:
        return self.draw.choice(self.collections), f"i{self.draw.randrange(self.ids):03d}"

    # -- what is done ---------------------------------------------------------------------------

    def upsert(self) -> Answer:
        name, item_id = self.place()
        at, item = f"/collections/{name}/items", self.item(name, item_id)
        answer = self.call("POST", at, item)
        if answer.status == 409:
            answer = self.call("PUT", f"{at}/{item_id}", item)
        if answer.status == 404:
            self.call("POST", "/collections", make_collection(name))
        return answer

    def patch(self) -> Answer:
        name, item_id = self.place()
        self._number += 1
        change = {"properties": {"v": self.draw.randrange(5), "stamp": self._number}}
        return self.call(
            "PATCH", f"/collections/{name}/items/{item_id}", change, Content_Type="application/merge-patch+json"
        )

    def delete(self) -> Answer:
        name, item_id = self.place()
        return self.call("DELETE", f"/collections/{name}/items/{item_id}")

    def restore(self) -> Answer:
        name, item_id = self.place()
        trash = self.call("GET", f"/collections/{name}/trash?limit=20")
        items = json.loads(trash.body).get("items", []) if trash.status == 200 else []
        if items:
            item_id = self.draw.choice(items)["id"]
        return self.call("POST", f"/collections/{name}/items/{item_id}/restore")

    def restore_version(self) -> Answer:
        name, item_id = self.place()
        at = f"/collections/{name}/items/{item_id}/versions"
        found = self.call("GET", at)
        versions = [v for v in json.loads(found.body).get("versions", []) if v["restorable"]]
        if found.status != 200 or not versions:
            return found
        return self.call("POST", f"{at}/{self.draw.choice(versions)['version']}/restore")

    def upload(self) -> Answer:
        name = self.draw.choice(self.collections)
        ids = [self.place()[1] for _ in range(self.draw.randrange(1, self.bulk + 1))]
        body = ndjson(*(self.item(name, each) for each in ids))
        mode = self.draw.choice(("upsert", "upsert", "insert", "ignore"))
        return self.call("POST", f"/collections/{name}/bulk?mode={mode}", body, Content_Type=NDJSON)

    def put_collection(self) -> Answer:
        name = self.draw.choice(self.collections)
        self._number += 1
        document = make_collection(name, title=f"title {self._number}")
        return self.call("PUT", f"/collections/{name}", document)

    def delete_collection(self) -> Answer:
        name = self.draw.choice(self.collections)
        return self.call("DELETE", f"/collections/{name}?cascade=true")

    def restore_collection(self) -> Answer:
        """Mostly the last one, now and then any that lies in the trash; mostly there is another of the id by then."""
        name = self.draw.choice(self.collections)
        if self.draw.random() < 0.5:
            return self.call("POST", f"/collections/{name}/restore")
        found = [each for each in json.loads(self.call("GET", "/trash").body)["collections"] if each["id"] == name]
        if found and self.draw.random() < 0.5:
            self.call("DELETE", f"/collections/{name}?cascade=true")
        chosen = self.draw.choice(found)["deletion"] if found else "none"
        return self.call("POST", f"/collections/{name}/restore?deletion={chosen}")

    def declare(self) -> Answer:
        name = self.draw.choice(self.collections)
        self._number += 1
        schema = {
            "$schema": "https://json-schema.org/draft/2020-12/schema", "type": "object",
            "title": f"declared {self._number}", "properties": {"v": {"type": "integer"}},
        }  # fmt: skip
        return self.call("PUT", f"/collections/{name}/queryables", schema, Content_Type="application/schema+json")

    def undeclare(self) -> Answer:
        return self.call("DELETE", f"/collections/{self.draw.choice(self.collections)}/queryables")


# -- the feed ------------------------------------------------------------------------------------


@dataclass
class Replay:
    """What a reader of the feed has who does what it says, and keeps what a deleted collection held."""

    collections: dict[str, bytes] = field(default_factory=dict)
    items: dict[str, dict[str, bytes]] = field(default_factory=dict)
    trash: dict[str, list[tuple[bytes, dict[str, bytes]] | None]] = field(default_factory=dict)

    def apply(self, event: dict[str, Any]) -> None:
        kind, name = event["kind"], event["collection"]
        match event["type"], kind:
            case "put", "collection":
                self.collections[name] = _compact(event)
                self.items.setdefault(name, {})
            case "delete", "collection":
                self.trash.setdefault(name, []).append((self.collections.pop(name), self.items.pop(name)))
            case "restore", "collection":
                place = -1 - event.get("passed", 0)
                held, self.trash[name][place] = self.trash[name][place], None
                assert held is not None
                self.collections[name], self.items[name] = held
                assert _compact(event) == self.collections[name]
            case "put", "item":
                self.items[name][event["id"]] = _compact(event)
            case "delete" | "left", "item":
                del self.items[name][event["id"]]  # of nothing else is anybody told that it is gone
            case _, "queryables":
                pass
            case _:
                raise AssertionError(event)

    @property
    def live(self) -> dict[tuple[str, str], bytes]:
        return {(name, key): body for name, items in self.items.items() for key, body in items.items()}


def _compact(event: dict[str, Any]) -> bytes:
    return json.dumps(event["document"], separators=(",", ":")).encode()


def read_feed(call: Caller, query: str = "", limit: int = 1000) -> Iterator[dict[str, Any]]:
    """Every event from a place on, a page after the other."""
    since = ""
    while True:
        answer = call("GET", f"/changes?limit={limit}{since}{query}")
        assert answer.status == 200, answer.body
        page = json.loads(answer.body)
        yield from page["changes"]
        since, query = f"&since={page['token']}", _without_since(query)
        if page["complete"]:
            return


def _without_since(query: str) -> str:
    return "".join(f"&{part}" for part in query.split("&") if part and not part.startswith("since="))


def export_parts(text: str) -> tuple[dict[str, bytes], dict[tuple[str, str], bytes]]:
    """Collections and items of `swath export`, in the form that `Replay` keeps them in."""
    collections, items = {}, {}
    for line in text.splitlines():
        document = json.loads(line)
        compact = json.dumps(document, separators=(",", ":")).encode()
        if document["type"] == "Collection":
            collections[document["id"]] = compact
        else:
            items[document["collection"], document["id"]] = compact
    return collections, items

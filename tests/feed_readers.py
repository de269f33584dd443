"""Readers of `/changes` in each of its forms, and the small writes that they are told of."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

from tests.conftest import make_item
from tests.traffic import NDJSON, Caller

__all__ = ["EVENTS", "PATIENCE", "Listener", "add", "asking", "delete", "lines", "now", "page", "put", "told"]

EVENTS = "text/event-stream"
PATIENCE = 20.0  # seconds that anything may take; nothing is expected to


def page(call: Caller, query: str = "") -> dict[str, Any]:
    answer = call("GET", f"/changes?{query}")
    assert answer.status == 200, answer.body
    told: dict[str, Any] = json.loads(answer.body)
    return told


def lines(call: Caller, query: str = "") -> list[dict[str, Any]]:
    answer = call("GET", f"/changes?{query}", Accept=NDJSON)
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith(NDJSON)
    return [json.loads(line) for line in answer.body.splitlines()]


def now(call: Caller) -> str:
    token: str = page(call, "since=now")["token"]
    return token


def told(event: dict[str, Any]) -> tuple[str, str, str | None]:
    return event["type"], event["kind"], event.get("id")


def add(call: Caller, name: str, *ids: str, **more: Any) -> None:
    for item_id in ids:
        answer = call("POST", f"/collections/{name}/items", make_item(item_id, name, **more))
        assert answer.status == 201, answer.body


def put(call: Caller, name: str, item_id: str, **more: Any) -> None:
    answer = call("PUT", f"/collections/{name}/items/{item_id}", make_item(item_id, name, **more))
    assert answer.status == 200, answer.body


def delete(call: Caller, name: str, item_id: str) -> None:
    assert call("DELETE", f"/collections/{name}/items/{item_id}").status == 204


@contextmanager
def asking(url: str, query: str, accept: str) -> Iterator[socket.socket]:
    """A request that was sent, and whose answer nobody has looked at."""
    host, port = urlsplit(url).netloc.split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE) as raw:
        raw.sendall(f"GET /changes?{query} HTTP/1.1\r\nHost: {host}:{port}\r\nAccept: {accept}\r\n\r\n".encode())
        yield raw


class Listener:
    """An EventSource: fields as in HTML, section 9.2.6."""

    def __init__(self, url: str, query: str = "", **headers: str) -> None:
        parts = urlsplit(url)
        self.connection = http.client.HTTPConnection(parts.netloc, timeout=PATIENCE)
        sent = {"Accept": EVENTS, **{k.replace("_", "-"): v for k, v in headers.items()}}
        self.connection.request("GET", f"/changes?{query}", headers=sent)
        self.answer = self.connection.getresponse()
        self.comments = 0

    def __enter__(self) -> Listener:
        return self

    def __exit__(self, *_: object) -> None:
        self.answer.close()
        self.connection.close()

    def event(self) -> dict[str, str]:
        """The next event; a timeout where none comes."""
        found: dict[str, str] = {}
        while True:
            line = self.answer.readline().rstrip(b"\n").decode()
            if not line:
                if "data" in found:
                    return found
                found = {}
            elif line.startswith(":"):
                self.comments += 1
            else:
                field, _, value = line.partition(": ")
                assert field in ("id", "event", "data", "retry"), line
                found[field] = value

    def comment(self) -> None:
        """Wait for one."""
        while not self.answer.readline().startswith(b":"):
            pass

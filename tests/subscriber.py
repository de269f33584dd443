"""Somebody who is told of changes: a small HTTP server that keeps what it gets and behaves as it is told to."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

__all__ = ["Message", "Subscriber", "genuine", "subscriber"]


@dataclass
class Message:
    """One request. `status` is what it was answered with, 0 where it was not."""

    at: float
    path: str
    headers: dict[str, str]
    body: bytes
    status: int = 0

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]

    @property
    def changes(self) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(self.body)["changes"]
        return found


def genuine(secret: str, message: Message) -> bool:
    """Whether a message is signed as Standard Webhooks 1.0.0 says, "Signature scheme": `whsec_` and base64 of the key,
    an HMAC-SHA256 of id, timestamp and body, joined with full stops; several signatures stand beside each other."""
    headers = message.headers
    key = base64.b64decode(secret.removeprefix("whsec_"), validate=True)
    signed = b".".join((headers["webhook-id"].encode(), headers["webhook-timestamp"].encode(), message.body))
    expected = base64.b64encode(hmac.new(key, signed, hashlib.sha256).digest()).decode()
    found = [each.partition(",") for each in headers["webhook-signature"].split(" ")]
    fresh = abs(time.time() - int(headers["webhook-timestamp"])) < 300
    return secret.startswith("whsec_") and 24 <= len(key) <= 64 and fresh and ("v1", ",", expected) in found


@dataclass
class Subscriber:
    """`answers` gives the status for a message, or does something else with the connection and gives None."""

    url: str = ""
    messages: list[Message] = field(default_factory=list)
    answers: Callable[[Message, BaseHTTPRequestHandler], int | None] = lambda _message, _handler: 204
    headers: dict[str, str] = field(default_factory=dict)  # sent with every answer
    over: threading.Event = field(default_factory=threading.Event)

    def taken(self) -> list[Message]:
        """What it was told, and said that it was."""
        return [message for message in self.messages if 200 <= message.status < 300]

    def events(self) -> list[dict[str, Any]]:
        """The changes in what it took, of messages that came again only once."""
        once = {message.id: message for message in reversed(self.taken())}
        return [event for name in reversed(once) for event in once[name].changes]


@contextmanager
def subscriber(host: str = "127.0.0.1") -> Iterator[Subscriber]:
    """One that is there while a test runs."""
    made = Subscriber()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            message = Message(time.monotonic(), self.path, headers, body)
            made.messages.append(message)
            with suppress(OSError):
                status = made.answers(message, self)
                if status is None:
                    self.close_connection = True
                    return
                message.status = status
                self.send_response(status)
                for name, value in made.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", "0")
                self.end_headers()

        do_GET = do_POST  # noqa: N815 - the name that http.server calls

        def log_message(self, *_: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        subscriber = made

    server = Server((host, 0), Handler)
    server.daemon_threads = True
    made.url = f"http://{host}:{server.server_address[1]}/hook"
    thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield made
    finally:
        made.over.set()
        server.shutdown()
        server.server_close()
        thread.join()

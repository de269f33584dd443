"""A server of files, on loopback, that misbehaves on demand."""

from __future__ import annotations

import re
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


@dataclass
class Served:
    """A file. `cuts` are the numbers of bytes after which its next answers end; `statuses` come before any answer."""

    content: bytes
    headers: dict[str, str] = field(default_factory=lambda: {"ETag": '"1"'})
    cuts: list[int] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    ranges: bool = True
    heeds: bool = True  # If-Range
    head: bool = True
    length: bool = True
    pause: float = 0.0  # seconds for each 16 kB
    then: Callable[[Served], None] | None = None  # at each GET, of effect from the next on


@dataclass
class Request:
    method: str
    path: str
    headers: dict[str, str]


@dataclass
class FileServer:
    files: dict[str, Served]
    url: str = ""
    asked: list[Request] = field(default_factory=list)

    def gets(self, path: str | None = None) -> list[Request]:
        return [each for each in self.asked if each.method == "GET" and path in (None, each.path)]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        state = self.server.state
        path = self.path.partition("?")[0]
        state.asked.append(Request(self.command, path, {k.lower(): v for k, v in self.headers.items()}))
        file = state.files.get(path)
        if file is None or (self.command == "HEAD" and not file.head):
            return self._short(404 if file is None else 405)
        if self.command == "GET" and file.statuses:
            return self._short(file.statuses.pop(0))
        start, end, status = self._span(file)
        if start >= len(file.content) > 0:
            return self._short(416)
        self.send_response(status)
        for name, value in file.headers.items():
            self.send_header(name, value)
        if file.length:
            self.send_header("Content-Length", str(end - start))
        else:
            self.send_header("Connection", "close")
        if status == 206:
            self.send_header("Content-Range", f"bytes {start}-{end - 1}/{len(file.content)}")
        self.end_headers()
        if self.command == "GET":
            self._body(file, file.content[start:end])
        return None

    def _span(self, file: Served) -> tuple[int, int, int]:
        found = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        condition = self.headers.get("If-Range")
        known = (file.headers.get("ETag"), file.headers.get("Last-Modified"))
        if not found or not file.ranges or (file.heeds and condition is not None and condition not in known):
            return 0, len(file.content), 200
        end = min(int(found[2]) + 1, len(file.content)) if found[2] else len(file.content)
        return int(found[1]), end, 206

    def _body(self, file: Served, content: bytes) -> None:
        cut = file.cuts.pop(0) if file.cuts else None
        sent = content if cut is None else content[:cut]
        if file.then is not None:
            file.then(file)
        try:
            for at in range(0, len(sent), 16_384):
                self.wfile.write(sent[at : at + 16_384])
                if file.pause:
                    time.sleep(file.pause)
        except OSError:  # nobody listens any more
            self.close_connection = True
        if cut is not None or not file.length:
            self.close_connection = True
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)

    def _short(self, status: int) -> None:
        self.send_response(status)
        self.send_header("Content-Length", "0")
        if status == 503:
            self.send_header("Retry-After", "1")
        self.end_headers()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    state: FileServer

    def handle_error(self, *_: object) -> None:
        pass


@contextmanager
def serving_files(**files: Served) -> Iterator[FileServer]:
    """Files under `/NAME`."""
    with _Server(("127.0.0.1", 0), _Handler) as server:
        server.state = FileServer({f"/{name}": file for name, file in files.items()})
        server.state.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield server.state
        finally:
            server.shutdown()
            thread.join()

"""`swath serve` and `swath demo`."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
import urllib.error
import urllib.request
from contextlib import ExitStack, closing
from functools import partial
from importlib.resources import as_file, files
from pathlib import Path
from typing import Any

import uvicorn
from pydantic import ValidationError
from uvicorn.supervisors import Multiprocess

from swath.blobs import open_blobs
from swath.catalog import Catalog
from swath.cli.companion import Companion
from swath.cli.folding import beside
from swath.cli.loading import load_sources
from swath.config import Settings
from swath.errors import InvalidRequest
from swath.http.app import create_app
from swath.http.guard import is_loopback, serves_store, takes_writes
from swath.store.records import Choice

__all__ = ["run_demo", "run_serve"]

_AFTER_SECONDS = 0.5  # so that a server answers first


def run_serve(folder: Path, given: dict[str, Any]) -> int:
    settings = _settings(given)
    Catalog.open(folder).close()  # say what is wrong before any worker starts
    if serves_store(settings):
        open_blobs(settings.blobs, folder)
    return _serve(folder, settings, _bind(settings.host, settings.port, search=False), on_ready=None)


def run_demo(folder: Path, host: str, port: int, *, browser: bool) -> int:
    settings = _settings({"host": host, "port": port, "title": "Swath demo"})
    catalog = Catalog.open(folder, create=True)
    try:
        with as_file(files("swath.demo")) as scenes:
            report = load_sources(catalog, [str(scenes / "collections.ndjson"), str(scenes / "items.ndjson")],
                                  "upsert", None)  # fmt: skip
    finally:
        catalog.close()
    loaded = report.created + report.updated + report.unchanged
    print(f"{loaded} real scenes in {folder}", file=sys.stderr)

    def on_ready(url: str) -> None:
        if browser:
            import webbrowser

            webbrowser.open(f"{url}/api.html")

    return _serve(folder, settings, _bind(host, port, search=True), on_ready)


def _settings(given: dict[str, Any]) -> Settings:
    try:
        return Settings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        raise InvalidRequest(f"setting {name}: {first['msg']} (got {first['input']!r})") from None


def _bind(host: str, port: int, *, search: bool) -> socket.socket:
    """A listening socket; with `search`, on the next free port."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for candidate in range(port, port + (50 if search and port else 1)):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, candidate))
        except OSError as error:
            listener.close()
            last = error
            continue
        listener.set_inheritable(True)
        return listener
    raise InvalidRequest(f"cannot listen on {host}:{port}: {last.strerror}; choose another with --port")


def _serve(folder: Path, settings: Settings, listener: socket.socket, on_ready: Any) -> int:
    host, port = listener.getsockname()[:2]
    shown = f"[{host}]" if ":" in host else host
    scheme = "https" if settings.tls_certificate else "http"
    url = f"{scheme}://{shown}:{port}{settings.root_path}"
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    config = uvicorn.Config(
        partial(create_app, settings, folder),
        factory=True,
        http="httptools",
        loop="uvloop",
        workers=settings.workers,
        proxy_headers=False,  # read in http.links, where trust is decided
        server_header=False,
        log_level="warning",
        access_log=False,
        timeout_graceful_shutdown=10,
        h11_max_incomplete_event_size=262_144,
        ssl_certfile=settings.tls_certificate,
        ssl_keyfile=settings.tls_key,
    )
    print(f"Swath serves {folder} at {url}/ (stop with Ctrl-C)", file=sys.stderr, flush=True)
    print(f"API documentation: {settings.public_url or url}/api.html", file=sys.stderr, flush=True)
    if not is_loopback(str(host)):
        write = "write to it too" if takes_writes(settings) else "but not write to it"
        print(f"Anyone who reaches {host} can read this catalogue, {write}.", file=sys.stderr)
        if not serves_store(settings):
            print("The asset store (/v2/assets) is not served there; SWATH_STORE=on serves it.", file=sys.stderr)
    if on_ready is not None:
        threading.Thread(target=_when_ready, args=(url, on_ready), daemon=True).start()
    with ExitStack() as companions:
        companions.enter_context(beside(folder, days=settings.history_days))
        if serves_store(settings) and takes_writes(settings) and os.access(folder, os.W_OK):
            catalog = companions.enter_context(closing(Catalog.open(folder, builds=False)))
            due = partial(_has_deliveries, catalog)
            arguments = (str(folder.absolute()),)
            companions.enter_context(
                Companion("swath.cli.working", arguments, "works on deliveries", after=_AFTER_SECONDS, due=due)
            )
        if settings.workers > 1:
            Multiprocess(config, sockets=[listener]).run()
            return 0
        server = uvicorn.Server(config)
        server.run(sockets=[listener])
    return 0 if server.started else 1


def _has_deliveries(catalog: Catalog) -> bool:
    """Whether a worker has anything to do, or to tidy up: a catalogue of items alone needs none."""
    return any(catalog.ledger.files.deliveries(Choice(deleted=deleted), 1)[1] for deleted in (False, True))


def _when_ready(url: str, then: Any) -> None:
    import time

    for _ in range(100):
        try:
            with urllib.request.urlopen(f"{url}/health/ready", timeout=5):
                then(url)
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)

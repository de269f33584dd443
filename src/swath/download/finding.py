"""Where the items are: a catalogue in a folder, or an API; and where the files are that they name."""

from __future__ import annotations

import ipaddress
import json
import re
from collections.abc import Iterator, Sequence
from itertools import islice
from typing import Any, Protocol
from urllib.parse import quote, unquote, urlsplit

import msgspec

from swath.access import EVERYTHING, Rule
from swath.assets import AssetStore
from swath.blobs import open_blobs
from swath.catalog import Catalog, SearchRequest, build_search
from swath.catalog.results import Results
from swath.config import Settings
from swath.download.sources import OBJECT_STORES, BlobSource, FileSource, NoSource, ObjectSource, Source, WebSource
from swath.errors import InvalidRequest, NotFound, RemoteFailure, SwathError
from swath.formats.asking import Api
from swath.formats.paging import Sheet, ask, walk
from swath.formats.web import Client, Request, is_address, joined, without_secrets
from swath.stac.links import OWN_ASSET

__all__ = ["Folder", "Origin", "Remote", "source_of"]

_PAGE = 500
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*):")
_DELIVERY = re.compile(r"(.*/v2/assets)/(?!stac(?:[/?#]|$))([^/?#]+)/?")


class Origin(Protocol):
    """What items come from."""

    def resolve(self, names: Sequence[str]) -> list[str]:
        """The collections that are meant by ids of collections and of deliveries. NotFound."""

    def items(self, parameters: dict[str, Any], limit: int) -> Iterator[tuple[dict[str, Any], str | None]]:
        """Items, each with the address that its hrefs are relative to; 0: all."""

    def collection(self, name: str) -> tuple[dict[str, Any], str | None] | None:
        """The document of a collection; None where there is none to be had."""

    def source(self, href: str) -> Source:
        """Where the bytes behind an absolute href are."""


class Folder:
    """A catalogue of this machine."""

    def __init__(self, catalog: Catalog, rule: Rule = EVERYTHING) -> None:
        self.catalog, self.rule = catalog, rule
        self._store: AssetStore | None = None
        self._client = Client("http://localhost/")  # it has no headers that belong to a server

    def close(self) -> None:
        """The catalogue stays open: it is its owner's."""
        self._client.close()

    @property
    def store(self) -> AssetStore:
        if self._store is None:
            if self.catalog.folder is None:
                raise InvalidRequest("this catalogue has no folder, and so no files")
            self._store = AssetStore(self.catalog, open_blobs(Settings().blobs, self.catalog.folder))
        return self._store

    def resolve(self, names: Sequence[str]) -> list[str]:
        found = []
        for name in names:
            if self.collection(name) is not None:
                found.append(name)
                continue
            delivery = self.store.files.delivery(name)
            if delivery is None or delivery.deleted is not None or delivery.collection is None:
                raise NotFound(f"there is no collection {name[:80]!r}, and no delivery that became one")
            found.append(delivery.collection)
        return found

    def items(self, parameters: dict[str, Any], limit: int) -> Iterator[tuple[dict[str, Any], str | None]]:
        search = build_search(SearchRequest(**parameters))
        return ((item, None) for item in Results(self.catalog, search, limit or None, self.rule))

    def collection(self, name: str) -> tuple[dict[str, Any], str | None] | None:
        try:
            view = self.catalog.collection(name, self.rule)
        except NotFound:
            return None
        derived = {key: msgspec.json.decode(value) for key, value in view.derived.items()}
        return msgspec.json.decode(view.body) | derived, None

    def source(self, href: str) -> Source:
        if href.startswith(OWN_ASSET):
            try:
                return BlobSource(self.store.vault.blobs, self.store.asset(href.removeprefix(OWN_ASSET)))
            except SwathError as error:
                return NoSource(error)
        return source_of(href, self._client, local=True)


class Remote:
    """A STAC API. The address may be that of a collection, an item or a delivery, too: then it is of that only."""

    def __init__(self, client: Client, url: str) -> None:
        self.client = client
        self._only: dict[str, Any] | None = None
        self._within: list[str] = []
        url = without_secrets(url)
        delivery = _DELIVERY.fullmatch(url)
        landing = ask(client, Request(f"{delivery[1]}/stac" if delivery else url))
        if landing.type == "Feature":
            self._only = json.loads(landing.raw)
        elif landing.type == "Collection" and isinstance(landing.id, str):
            self._within = [landing.id]
        if landing.type in ("Feature", "Collection"):
            landing = ask(client, Request(landing.linked("root") or landing.url.rpartition("/collections/")[0]))
        self.url = landing.url
        self.api = Api.of(landing, landing.conforms)
        self._local = _is_loopback(urlsplit(url).hostname or "")
        if delivery:
            self._within = self.resolve([unquote(delivery[2])])

    @property
    def narrow(self) -> bool:
        """Whether the address names less than all of it."""
        return self._only is not None or bool(self._within)

    def resolve(self, names: Sequence[str]) -> list[str]:
        return [self._resolved(name) for name in names]

    def _resolved(self, name: str) -> str:
        if self.collection(name) is not None:
            return name
        equal = {"op": "=", "args": [{"property": "up42-system:asset_id"}, name]}
        try:
            for item, _ in self.items({"filter": equal}, 1):
                if item.get("collection"):
                    return str(item["collection"])
        except RemoteFailure as error:
            if error.status >= 500 or error.status in (401, 429):
                raise
        raise NotFound(f"{self.url} has no collection {name[:80]!r}, and no delivery that became one")

    def items(self, parameters: dict[str, Any], limit: int) -> Iterator[tuple[dict[str, Any], str | None]]:
        if self._only is not None:
            return iter([(self._only, _base(self._only, self.url))])
        if self._within and not parameters.get("collections"):
            parameters = {**parameters, "collections": self._within}
        found = self._walked(self._request(parameters, min(limit or _PAGE, _PAGE)))
        return islice(found, limit) if limit else found

    def _walked(self, request: Request) -> Iterator[tuple[dict[str, Any], str | None]]:
        for sheet in walk(self.client, request):
            if sheet.kind != "features":
                raise InvalidRequest(f"{sheet.url} did not answer an ItemCollection")
            for raw in sheet.elements:
                item = json.loads(raw)
                yield item, _base(item, sheet.url)

    def _request(self, parameters: dict[str, Any], limit: int) -> Request:
        body: dict[str, Any] = {**parameters, "limit": limit}
        if "filter" in body:
            body["filter-lang"] = "cql2-text" if isinstance(body["filter"], str) else "cql2-json"
        if "POST" in self.api.search or not self.api.search:
            href = self.api.search.get("POST") or joined(self.url.rstrip("/") + "/", "search")
            return Request(href, "POST", body=body)
        href = self.api.search["GET"]
        query = "&".join(f"{name}={quote(_text(value), safe=',:')}" for name, value in body.items())
        return Request(f"{href}{'&' if '?' in href else '?'}{query}")

    def collection(self, name: str) -> tuple[dict[str, Any], str | None] | None:
        sheet = self._collection(name)
        if sheet is None or sheet.type != "Collection" or sheet.id != name:
            return None
        document = json.loads(sheet.raw)
        return document, _base(document, sheet.url)

    def _collection(self, name: str) -> Sheet | None:
        try:
            return ask(
                self.client, Request(f"{self.url.partition('?')[0].rstrip('/')}/collections/{quote(name, safe='')}")
            )
        except RemoteFailure as error:
            if error.status >= 500 or error.status in (401, 429):
                raise
            return None

    def source(self, href: str) -> Source:
        return source_of(href, self.client, local=self._local)


def source_of(href: str, client: Client, *, local: bool) -> Source:
    """`local`: those who wrote the href know this machine's files."""
    try:
        if is_address(href):
            return WebSource(client, href)
        match = _SCHEME.match(href)
        scheme = match[1].lower() if match is not None else ""
        if scheme in OBJECT_STORES:
            return ObjectSource(href)
        if scheme == "file" or href.startswith("/"):
            if not local:
                raise InvalidRequest(f"{href} is a file of that server's machine, or of yours: it is not read")
            return FileSource(href)
        if scheme:
            raise InvalidRequest(f"{href}: files are not fetched by way of {scheme}")
        raise InvalidRequest(f"{href} is relative, and nothing says to what; `swath load --absolute` does")
    except SwathError as error:
        return NoSource(error)


def _base(document: dict[str, Any], otherwise: str) -> str:
    """What the relative hrefs of a document are relative to."""
    links = document.get("links")
    for link in links if isinstance(links, list) else ():
        if isinstance(link, dict) and link.get("rel") == "self" and isinstance(link.get("href"), str):
            here = joined(otherwise, link["href"])
            return here if is_address(here) else otherwise
    return otherwise


def _text(value: Any) -> str:
    if isinstance(value, list):
        return ",".join(map(str, value))
    return json.dumps(value, separators=(",", ":")) if isinstance(value, dict) else str(value)


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"

"""`swath search`: a folder or an API, with the same words."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urljoin

from swath.errors import InvalidRequest, NotFound

if TYPE_CHECKING:
    from swath.formats.web import Client, Request

__all__ = ["run_search", "search_parameters"]


def run_search(
    source: str,
    collections: list[str] | None,
    ids: list[str] | None,
    words: dict[str, str | None],
    limit: int,
    *,
    count_only: bool,
    as_json: bool,
    explain: bool = False,
    header: list[str] | None = None,
) -> int:
    parameters = search_parameters(collections, ids, words)
    if limit < 0:
        raise InvalidRequest(f"--limit {limit} is not 0 (all) or more")
    if explain and count_only:
        raise InvalidRequest("give either --explain, which tells how a page is found, or --count")
    if explain:
        return _explain(source, parameters, limit, as_json, header)
    if source.startswith(("http://", "https://")):
        matched, found = _remote(source, parameters, limit, count_only, header)
    elif header:
        raise InvalidRequest("--header is for addresses, and none is named")
    else:
        matched, found = _local(source, parameters, limit, count_only)
    if count_only:
        print(json.dumps({"matched": matched}) if as_json else matched)
        return 0
    shown = 0
    for item in found:
        shown += 1
        print(json.dumps(item, ensure_ascii=False, separators=(",", ":")) if as_json else _line(item))
    sys.stdout.flush()
    if not as_json:
        print(f"{shown} of {matched} items" if matched is not None else f"{shown} items", file=sys.stderr)
    return 0


def _explain(source: str, parameters: dict[str, Any], limit: int, as_json: bool, header: list[str] | None) -> int:
    """Print how a page is found instead of its items."""
    if source.startswith(("http://", "https://")):
        body = {**_body(parameters), "limit": limit or 10, "count": "none", "explain": True}
        from swath.formats.paging import ask

        told = json.loads(ask(_client(source, header), _posted(source, body)).raw).get("explain")
        if told is None:
            raise NotFound(f"{source} does not tell how it searches")
    else:
        from swath.session import Session

        with Session(source) as session:
            told = session.search(**parameters, limit=limit or None).explained()
    if as_json:
        print(json.dumps(told))
        return 0
    for step in told["steps"]:
        times = ", ".join(f"{name} {value:g} ms" for name, value in step["ms"].items() if value)
        print(f"{step['where']}: {step['rows']:,} rows, {step['rows in the time asked for']:,} in the time asked for")
        for counted in step["counted"]:
            print(f"    {counted['rows']:,} by {counted['by']}")
        print(f"    {step['way']}: {step['rows examined']:,} examined, {step['rows selected']:,} selected ({times})")
    print(f"index {told['ms']['index']:g} ms, documents {told['ms']['documents']:g} ms")
    return 0


def search_parameters(
    collections: list[str] | None, ids: list[str] | None, words: dict[str, str | None]
) -> dict[str, Any]:
    """What `Session.search` takes, out of the words of a command. InvalidRequest."""
    parameters: dict[str, Any] = {name: value for name, value in words.items() if value is not None}
    if collections:
        parameters["collections"] = [name for part in collections for name in part.split(",")]
    if ids:
        parameters["ids"] = ids
    if "bbox" in parameters:
        try:
            parameters["bbox"] = [float(number) for number in parameters["bbox"].split(",")]
        except ValueError:
            raise InvalidRequest(f"--bbox {parameters['bbox']!r}: expected west,south,east,north") from None
    if "intersects" in parameters:
        parameters["intersects"] = _geometry(parameters["intersects"])
    if str(parameters.get("filter", "")).lstrip().startswith("{"):
        parameters["filter"] = _read_json("--filter", parameters["filter"])
    return parameters


def _geometry(text: str) -> Any:
    if not text.lstrip().startswith("{"):
        try:
            text = Path(text).read_text(encoding="utf-8")
        except OSError as error:
            raise InvalidRequest(f"--intersects {text}: {error.strerror}") from None
    value = _read_json("--intersects", text)
    return value.get("geometry") if isinstance(value, dict) and value.get("type") == "Feature" else value


def _read_json(option: str, text: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise InvalidRequest(f"{option} is not JSON: {error}") from None


def _local(
    source: str, parameters: dict[str, Any], limit: int, count_only: bool
) -> tuple[int | None, Iterator[dict[str, Any]]]:
    from swath.session import Session

    session = Session(source)
    results = session.search(**parameters, limit=limit or None)
    return results.matched, iter(()) if count_only else iter(results)


def _body(parameters: dict[str, Any]) -> dict[str, Any]:
    """The members of a POST to /search."""
    body = dict(parameters)
    if isinstance(body.get("filter"), str):
        body["filter-lang"] = "cql2-text"
    if "sortby" in body:
        names = [name.strip() for name in body["sortby"].split(",")]
        body["sortby"] = [
            {"field": name.lstrip("+-"), "direction": "desc" if name.startswith("-") else "asc"} for name in names
        ]
    return body


def _remote(
    source: str, parameters: dict[str, Any], limit: int, count_only: bool, header: list[str] | None
) -> tuple[int | None, Iterator[dict[str, Any]]]:
    from swath.formats.paging import walk

    page_size = 1 if count_only else min(limit or 1_000, 1_000)
    sheets = walk(_client(source, header), _posted(source, {**_body(parameters), "limit": page_size}))
    first = next(sheets)
    if first.kind != "features":
        raise InvalidRequest(f"{first.url} did not answer an ItemCollection")
    items = (json.loads(raw) for sheet in chain((first,), sheets) for raw in sheet.elements)
    return first.matched, islice(items, limit) if limit else items


def _client(source: str, header: list[str] | None) -> Client:
    from swath.formats.web import Client, read_headers

    def told(words: str) -> None:
        print(f"waiting: {words}", file=sys.stderr)

    return Client(source, read_headers(header or ()), attempts=3, told=told)


def _posted(source: str, body: dict[str, Any]) -> Request:
    from swath.formats.web import Request, without_secrets

    return Request(urljoin(without_secrets(source).rstrip("/") + "/", "search"), "POST", body=body)


def _line(item: dict[str, Any]) -> str:
    """One item in one line: when, where it belongs, its id, its clouds."""
    properties = item.get("properties", {})
    when = properties.get("datetime") or properties.get("start_datetime") or ""
    cloud = properties.get("eo:cloud_cover")
    clouds = f"  cloud {cloud:g} %" if isinstance(cloud, int | float) else ""
    return f"{when[:19]:19}  {item.get('collection') or '':24}  {item.get('id')}{clouds}"

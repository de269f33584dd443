"""Query strings and JSON bodies to one `SearchRequest`. GET and POST meet here and never part again."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, Literal, TypeVar
from urllib.parse import parse_qsl

from swath.catalog.request import SearchRequest, parse_sort_text
from swath.errors import InvalidDocument, InvalidRequest, nearest, shown
from swath.limits import LIMITS
from swath.search import Fields, SortKey
from swath.stac.prune import DEFAULT_PATHS, default_less
from swath.stac.text import decode

__all__ = [
    "SEARCH_PARAMETERS",
    "Query",
    "instant_text",
    "parse_query",
    "read_flag",
    "read_integer",
    "search_from_body",
    "search_from_query",
]

T = TypeVar("T")

SEARCH_PARAMETERS = (
    "collections", "ids", "bbox", "intersects", "datetime", "limit", "query", "filter", "filter-lang",
    "filter-crs", "sortby", "fields", "token", "count", "explain", "as-of", "asset-href-mode",
)  # fmt: skip
_LISTS = frozenset(("collections", "ids"))
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_COUNTS: tuple[Literal["exact", "none"], ...] = ("exact", "none")
_BARE_PLUS = re.compile(r" ([0-9]{2}:[0-9]{2})")


@dataclass(frozen=True, slots=True)
class Query:
    """The parameters of a query string, decoded once. Those that hold lists may be repeated."""

    values: Mapping[str, list[str]]

    def one(self, name: str) -> str | None:
        found = self.values.get(name)
        return found[0] if found else None

    def listed(self, name: str) -> list[str] | None:
        """Comma separated values; an empty parameter is as good as none."""
        found = self.values.get(name)
        if found is None:
            return None
        parts = [part for value in found for part in value.split(",")]
        if parts == [""]:
            return None
        if "" in parts:
            raise InvalidRequest(f"{name}: an entry is empty; separate entries with single commas")
        return parts


def parse_query(raw: bytes, allowed: Collection[str], lists: Collection[str] = _LISTS) -> Query:
    """The query string of a request. InvalidRequest for a parameter that the route does not have.

    `lists` are those that may be repeated.
    """
    if len(raw) > LIMITS.query_text_bytes:
        raise InvalidRequest(f"the query string is longer than {LIMITS.query_text_bytes:,} bytes; use POST")
    try:
        pairs = parse_qsl(
            raw.decode("utf-8"), keep_blank_values=True, encoding="utf-8", errors="strict", max_num_fields=200
        )
    except UnicodeDecodeError:
        raise InvalidRequest("the query string is not UTF-8, or its percent-encoding is not") from None
    except ValueError:
        raise InvalidRequest("the query string has more than 200 parameters") from None
    values: dict[str, list[str]] = {}
    for name, value in pairs:
        if name not in allowed:
            near = nearest(name, allowed)
            hint = f"; did you mean {near!r}?" if near else f"; this route takes {', '.join(allowed) or 'none'}"
            raise InvalidRequest(f"unknown parameter {shown(name)}{hint}")
        if name in values and name not in lists:
            raise InvalidRequest(f"{name}: given twice")
        values.setdefault(name, []).append(value)
    return Query(values)


def read_integer(name: str, text: str | None) -> int | None:
    if text is None:
        return None
    if not re.fullmatch(r"[+-]?[0-9]{1,18}", text.strip()):
        raise InvalidRequest(f"{name}: {text[:40]!r} is not a whole number")
    return int(text)


def search_from_query(query: Query) -> SearchRequest:
    """GET: everything is text."""
    bbox, intersects, tests, sort = query.one("bbox"), query.one("intersects"), query.one("query"), query.one("sortby")
    time = query.one("datetime")
    return SearchRequest(
        collections=query.listed("collections"),
        ids=query.listed("ids"),
        bbox=_numbers(bbox) if bbox else None,
        intersects=_json("intersects", intersects) if intersects else None,
        # A raw + in a query string means a space; in an instant it can only have been an offset.
        datetime=instant_text(time),
        limit=read_integer("limit", query.one("limit")),
        query=_json("query", tests) if tests else None,
        filter=_text_or_json(query),
        filter_lang=query.one("filter-lang"),
        filter_crs=query.one("filter-crs"),
        sortby=parse_sort_text(sort) if sort else None,
        fields=_fields_text(query.one("fields")),
        token=query.one("token") or None,
        count=_count(query.one("count")),
        explain=read_flag("explain", query.one("explain")),
        as_of=instant_text(query.one("as-of")),
        asset_href_mode=query.one("asset-href-mode"),
    )


def instant_text(text: str | None) -> str | None:
    """An instant from a query string, in which a raw + means a space."""
    return _BARE_PLUS.sub(r"+\1", text) if text else None


def _numbers(text: str) -> list[float]:
    parts = [part.strip() for part in text.split(",")]
    for part in parts:
        if not _NUMBER.fullmatch(part):
            raise InvalidRequest(f"bbox: {part[:40]!r} is not a number")
    return [float(part) for part in parts]


def _json(name: str, text: str) -> Any:
    try:
        return decode(text.encode("utf-8", "strict"), name)
    except InvalidDocument as error:
        raise InvalidRequest(f"{name}: {error}") from None
    except UnicodeEncodeError:
        raise InvalidRequest(f"{name}: not UTF-8") from None


def _text_or_json(query: Query) -> Any:
    text = query.one("filter")
    if text is None or query.one("filter-lang") != "cql2-json":
        return text
    return _json("filter", text)


def _fields_text(text: str | None) -> Fields:
    if text is None:
        return Fields()
    include, exclude = set(), set()
    for part in text.split(","):
        name = part.strip()
        if name.startswith("-"):
            exclude.add(name[1:])
        elif name.removeprefix("+"):
            include.add(name.removeprefix("+"))
    if not include and not exclude:
        include = set(DEFAULT_PATHS)
    return Fields(frozenset(include), frozenset(exclude), given=True)


def _count(text: str | None) -> Literal["budget", "exact", "none"]:
    if text is None:
        return "budget"
    for choice in _COUNTS:
        if text == choice:
            return choice
    raise InvalidRequest(f"count: {text[:40]!r} is neither exact nor none")


# -- POST ----------------------------------------------------------------------------------------


def search_from_body(raw: bytes) -> tuple[SearchRequest, dict[str, Any]]:
    """POST: the search, and the decoded body, which `next` links repeat."""
    try:
        body = decode(raw, "body") if raw.strip() else {}
    except InvalidDocument as error:
        raise InvalidRequest(str(error)) from None
    if not isinstance(body, dict):
        raise InvalidRequest("the body is a JSON object")
    for name in body:
        if name not in SEARCH_PARAMETERS:
            near = nearest(name, SEARCH_PARAMETERS)
            hint = f"; did you mean {near!r}?" if near else f"; the members are {', '.join(SEARCH_PARAMETERS)}"
            raise InvalidRequest(f"unknown member {shown(name)}{hint}")
    request = SearchRequest(
        collections=_member(body, "collections", _strings),
        ids=_member(body, "ids", _strings),
        bbox=_member(body, "bbox", _list),
        intersects=_member(body, "intersects", _object),
        datetime=_member(body, "datetime", _string),
        limit=_member(body, "limit", _integer),
        query=_member(body, "query", _object),
        filter=_member(body, "filter", lambda _, value: value),
        filter_lang=_member(body, "filter-lang", _string),
        filter_crs=_member(body, "filter-crs", _string),
        sortby=_member(body, "sortby", _sort_list),
        fields=_fields_object(body["fields"]) if "fields" in body else Fields(),
        token=_member(body, "token", _string),
        count=_count(_member(body, "count", _string)),
        explain=_member(body, "explain", _boolean) or False,
        as_of=_member(body, "as-of", _string),
        asset_href_mode=_member(body, "asset-href-mode", _string),
    )
    if isinstance(request.filter, str) and request.filter_lang is None:
        raise InvalidRequest("filter: a POST body takes CQL2 JSON; set filter-lang to cql2-text for text")
    return request, body


def _member(body: dict[str, Any], name: str, read: Callable[[str, Any], T | None]) -> T | None:
    value = body.get(name)
    return None if value is None else read(name, value)


def read_flag(name: str, text: str | None) -> bool:
    if text not in (None, "", "true", "false"):
        raise InvalidRequest(f"{name}: {text[:40]!r} is neither true nor false")
    return text == "true"


def _boolean(name: str, value: Any) -> bool:
    if not isinstance(value, bool):
        raise InvalidRequest(f"{name}: expected true or false")
    return value


def _string(name: str, value: Any) -> str:
    if isinstance(value, str):
        return value
    raise InvalidRequest(f"{name}: expected a string")


def _integer(name: str, value: Any) -> int:
    if isinstance(value, int) and not isinstance(value, bool):
        return value
    raise InvalidRequest(f"{name}: expected a whole number")


def _list(name: str, value: Any) -> list[Any]:
    if isinstance(value, list):
        return value
    raise InvalidRequest(f"{name}: expected an array")


def _object(name: str, value: Any) -> dict[str, Any]:
    if isinstance(value, dict):
        return value
    raise InvalidRequest(f"{name}: expected an object")


def _strings(name: str, value: Any) -> list[str] | None:
    """An array of strings; one bare string is taken too, as several clients send it."""
    if isinstance(value, str):
        return [value]
    if not isinstance(value, list) or not all(isinstance(part, str) for part in value):
        raise InvalidRequest(f"{name}: expected an array of strings")
    return value or None


def _sort_list(name: str, value: Any) -> list[SortKey]:
    if isinstance(value, str):
        return parse_sort_text(value)
    keys = []
    for entry in _list(name, value):
        if isinstance(entry, str):
            keys.extend(parse_sort_text(entry))
            continue
        if not isinstance(entry, dict) or not isinstance(entry.get("field"), str) or not entry["field"]:
            raise InvalidRequest('sortby: expected {"field": NAME, "direction": "asc" or "desc"}')
        direction = entry.get("direction", "asc")
        if direction not in ("asc", "desc"):
            raise InvalidRequest(f"sortby: the direction {direction!r} is neither asc nor desc")
        keys.append(SortKey(entry["field"], direction == "desc"))
    return keys


def _fields_object(value: Any) -> Fields:
    if isinstance(value, list) and all(isinstance(part, str) for part in value):
        return _fields_text(",".join(value))
    if not isinstance(value, dict) or not value.keys() <= {"include", "exclude"}:
        raise InvalidRequest('fields: expected {"include": […], "exclude": […]}')
    include, exclude = (
        _member(value, key, lambda _, names: _strings("fields", names)) or [] for key in ("include", "exclude")
    )
    # Named and empty, `include` means the default set; left out beside `exclude`, it means everything.
    if not include and (not exclude or "include" in value):
        include = list(default_less(exclude))
    return Fields(frozenset(include), frozenset(exclude), given=True)

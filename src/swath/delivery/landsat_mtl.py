"""The metadata file of a Landsat Collection 2 scene (MTL), in any of its three forms: JSON, XML, ODL.

All say the same: groups of names and values. Source: Landsat 8-9 Collection 2 Level 1 (LSDS-1822) and Level 2
(LSDS-1619) Data Format Control Book; the text form is ODL (Object Description Language, PDS Standards Reference, 12).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from swath.delivery.xml import read_xml, text
from swath.errors import DeliveryRefused
from swath.limits import LIMITS

__all__ = ["FORMS", "Mtl", "read_mtl"]

_ROOT = "LANDSAT_METADATA_FILE"  # that of Collection 1 is L1_METADATA_FILE
_SNIFFED = 4_096
_CONTINUED = 100  # lines of one value
FORMS = (".json", ".xml", ".txt")  # the order in which they are believed
_ODL_LINE = re.compile(r"([A-Za-z_][\w:^]*)\s*=\s*(.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Mtl:
    """A scene's metadata: `groups` of names and values as they are written, without quotes."""

    name: str
    groups: Mapping[str, Mapping[str, str]]

    def text(self, key: str, *groups: str) -> str | None:
        """A value out of the first of these groups that has it; None where it is empty or not there."""
        for group in groups:
            if value := self.groups.get(group, {}).get(key, "").strip():
                return value
        return None

    def number(self, key: str, *groups: str) -> float | None:
        try:
            value = float(self.text(key, *groups) or "")
        except ValueError:
            return None
        return value if abs(value) < 1e300 else None  # neither inf nor nan


def read_mtl(path: Path, name: str) -> Mtl | None:
    """None for a file that is no MTL. DeliveryRefused for one that cannot be read."""
    form = path.suffix.lower()
    with path.open("rb") as file:
        head = file.read(_SNIFFED)
    if form not in FORMS or _ROOT.encode() not in head:
        return None
    if path.stat().st_size > LIMITS.xml_bytes:
        raise DeliveryRefused(f"{name}: a metadata file of more than {LIMITS.xml_bytes:,} bytes")
    if form == ".xml":
        groups = _of_xml(path, name)
    elif form == ".json":
        groups = _of_json(path.read_bytes(), name)
    else:
        groups = _of_odl(path.read_bytes().decode("utf-8", "replace"), name)
    return Mtl(name, groups) if groups is not None else None


def _of_xml(path: Path, name: str) -> dict[str, dict[str, str]] | None:
    root = read_xml(path, name)
    if root.tag != _ROOT:
        return None
    return {group.tag: {each.tag: text(each) or "" for each in group} for group in root}


def _of_json(content: bytes, name: str) -> dict[str, dict[str, str]] | None:
    try:
        document: Any = msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise DeliveryRefused(f"{name}: no well-formed JSON: {error}") from None
    groups = document.get(_ROOT) if isinstance(document, dict) else None
    if not isinstance(groups, dict):
        return None
    return {
        group: {key: str(value) for key, value in members.items() if isinstance(value, (str, int, float))}
        for group, members in groups.items()
        if isinstance(members, dict)
    }


def _of_odl(content: str, name: str) -> dict[str, dict[str, str]] | None:
    """Groups by their own name, whatever they lie in."""
    groups: dict[str, dict[str, str]] = {}
    within: list[str] = []
    for key, value in _odl_statements(content, name):
        word = key.upper()
        if word in ("GROUP", "OBJECT"):
            within.append(value)
            groups.setdefault(value, {})
        elif word in ("END_GROUP", "END_OBJECT"):
            if not within or within.pop() != value:
                raise DeliveryRefused(f"{name}: {key} = {value[:100]} ends no group that was begun")
        elif within:
            groups[within[-1]][key] = value
    if within:
        raise DeliveryRefused(f"{name}: the group {within[-1][:100]} has no end; the file is cut off")
    return groups if _ROOT in groups else None


def _odl_statements(content: str, name: str) -> Iterator[tuple[str, str]]:
    """Names and values. A quoted value, and a list in brackets, may go on over several lines."""
    lines = iter(content.splitlines())
    for line in lines:
        statement = line.strip()
        if statement.upper() == "END":
            return
        if not statement or statement.startswith("/*"):
            continue
        match = _ODL_LINE.fullmatch(statement)
        if match is None:
            raise DeliveryRefused(f"{name}: not of the form NAME = VALUE: {statement[:100]!r}")
        value = match[2]
        for _ in range(_CONTINUED):
            if not _is_open(value) or (more := next(lines, None)) is None:
                break
            value = f"{value} {more.strip()}"
        yield match[1], value.strip().strip('"')


def _is_open(value: str) -> bool:
    return value.count('"') % 2 == 1 or (value.startswith("(") and not value.endswith(")"))

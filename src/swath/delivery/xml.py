"""XML of products, read as somebody else's: no DTD, no entities, nothing fetched, of bounded size and depth."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path
from typing import cast
from xml.etree.ElementTree import Element, ParseError

from defusedxml import DefusedXmlException
from defusedxml.ElementTree import iterparse

from swath.errors import DeliveryRefused
from swath.limits import LIMITS

__all__ = ["children", "local", "number", "read_xml", "text"]


def read_xml(path: Path, name: str) -> Element:
    """The root of a file, tags without their namespaces. DeliveryRefused says what is wrong with it, by its `name`."""
    size = path.stat().st_size
    if size > LIMITS.xml_bytes:
        raise DeliveryRefused(f"{name}: an XML file of {size:,} bytes; at most {LIMITS.xml_bytes:,} are read")
    depth, root = 0, cast("Element | None", None)
    try:
        for event, element in iterparse(BytesIO(path.read_bytes()), ("start", "end"), forbid_dtd=True):
            if event == "end":
                depth -= 1
                continue
            depth += 1
            if depth > LIMITS.xml_depth:
                raise DeliveryRefused(f"{name}: elements within each other more than {LIMITS.xml_depth} deep")
            element.tag = local(element.tag)
            root = cast("Element", element) if root is None else root
    except DefusedXmlException:
        raise DeliveryRefused(f"{name}: the XML file has a DTD or entities, which are not read") from None
    except (ParseError, ValueError, LookupError) as error:
        raise DeliveryRefused(f"{name}: no well-formed XML: {error}") from None
    if root is None:
        raise DeliveryRefused(f"{name}: an empty XML file")
    return root


def local(tag: object) -> str:
    """A tag without its namespace."""
    return tag.rpartition("}")[2] if isinstance(tag, str) else ""


def text(element: Element | None, path: str = ".") -> str | None:
    """The text at a path below an element; None where it is not there, or empty."""
    found = element.find(path) if element is not None else None
    return (found.text or "").strip() or None if found is not None else None


def number(element: Element | None, path: str = ".") -> float | None:
    """The finite number at a path below an element; None where there is none."""
    try:
        value = float(text(element, path) or "")
    except ValueError:
        return None
    return value if abs(value) < 1e300 else None  # neither inf nor nan


def children(element: Element | None, path: str) -> Iterator[Element]:
    if element is not None:
        yield from element.iterfind(path)

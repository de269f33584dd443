"""Changing parts of a stored document: JSON Merge Patch (RFC 7396) and JSON Patch (RFC 6902).

What a patch does not name keeps its bytes: numbers their spelling, members their order, strings their escapes.
"""

from __future__ import annotations

from typing import Any, TypeAlias

import msgspec
from msgspec import UNSET, Raw, UnsetType

from swath.errors import Conflict, InvalidDocument, TooLarge, shown
from swath.limits import LIMITS
from swath.stac.text import decode_compact

__all__ = ["json_patch", "merge_patch"]


def merge_patch(body: bytes, patch: bytes) -> bytes:
    """The document with a merge patch applied. Both are JSON text; InvalidDocument for a patch that is none."""
    content, compact = decode_compact(patch, "patch")
    if not isinstance(content, dict):
        raise InvalidDocument("a merge patch of a document is an object")
    return _merged(body, compact)


def _merged(target: bytes, patch: bytes) -> bytes:
    if not patch.startswith(b"{"):
        return patch
    members = msgspec.json.decode(target, type=dict[str, Raw]) if target.startswith(b"{") else {}
    for name, value in msgspec.json.decode(patch, type=dict[str, Raw]).items():
        if bytes(value) == b"null":
            members.pop(name, None)
        else:
            members[name] = Raw(_merged(bytes(members.get(name, b"null")), bytes(value)))
    return msgspec.json.encode(members)


# -- JSON Patch ----------------------------------------------------------------------------------

_Node: TypeAlias = Any  # Raw, or what of it was taken apart: dict[str, _Node] | list[_Node]


class _Operation(msgspec.Struct):
    op: str
    path: str
    from_: str | UnsetType = msgspec.field(default=UNSET, name="from")
    value: Raw | UnsetType = UNSET


def json_patch(body: bytes, patch: bytes) -> bytes:
    """The document with the operations of a JSON Patch done, in order; none is, where one cannot be.

    InvalidDocument names the operation by a JSON pointer into the patch; Conflict for a `test` that fails.
    """
    _, compact = decode_compact(patch, "patch")
    try:
        operations = msgspec.json.decode(compact, type=list[_Operation])
    except msgspec.ValidationError as error:
        raise InvalidDocument(f"a JSON Patch is an array of operations: {error}") from None
    if len(operations) > LIMITS.list_members:
        raise TooLarge(f"a patch has at most {LIMITS.list_members:,} operations")
    return _Patching(body).run(operations)


class _Patching:
    def __init__(self, body: bytes) -> None:
        self.root: _Node = {"": Raw(body)}  # one level up, so that the whole document is a member too
        self.copied = 0

    def run(self, operations: list[_Operation]) -> bytes:
        for number, operation in enumerate(operations):
            try:
                self.do(operation)
            except LookupError as error:
                raise InvalidDocument(f"{operation.op}: {error.args[0]}", f"/{number}/path") from None
        return msgspec.json.encode(self.root[""])

    def do(self, operation: _Operation) -> None:
        match operation.op:
            case "add":
                self.add(operation.path, _given(operation))
            case "remove":
                self.take(operation.path)
            case "replace":
                value = _given(operation)
                parent, key = self.place(operation.path)
                parent[key] = value
            case "move":
                source = _source(operation)
                if operation.path.startswith(source + "/"):
                    raise LookupError("a value cannot be moved into itself")
                self.add(operation.path, self.take(source))
            case "copy":
                self.add(operation.path, self.copy(_source(operation)))
            case "test":
                parent, key = self.place(operation.path)
                if not _equal(_plain(parent[key]), _plain(_given(operation))):
                    raise Conflict(f"the test of {shown(operation.path)} fails: the document holds another value")
            case _:
                raise LookupError("the operation is none of add, remove, replace, move, copy and test")

    def copy(self, path: str) -> Raw:
        parent, key = self.place(path)
        value = msgspec.json.encode(parent[key])
        self.copied += len(value)
        if self.copied > LIMITS.item_bytes:  # copies of copies double a document with each operation
            raise TooLarge(f"the patch copies more than {LIMITS.item_bytes:,} bytes")
        return Raw(value)

    def add(self, path: str, value: _Node) -> None:
        parent, key = self.parent(path)
        if isinstance(parent, dict):
            parent[key] = value
        else:
            parent.insert(len(parent) if key == "-" else _index(key, len(parent)), value)

    def take(self, path: str) -> _Node:
        parent, key = self.place(path)
        if parent is self.root:
            raise LookupError("the whole document cannot be taken away")
        return parent.pop(key)

    def place(self, path: str) -> tuple[_Node, Any]:
        """The parent of a value that is there, and its key or index."""
        parent, key = self.parent(path)
        if isinstance(parent, list):
            return parent, _index(key, len(parent) - 1)
        if key not in parent:
            raise LookupError(f"there is no {shown(path)}")
        return parent, key

    def parent(self, path: str) -> tuple[_Node, str]:
        if path and not path.startswith("/"):
            raise LookupError(f"{shown(path)} is no JSON pointer, which begins with a slash")
        node, key = self.root, ""
        for step in path.split("/")[1:]:
            if isinstance(node, list):
                found: Any = _index(key, len(node) - 1)
            elif key in node:
                found = key
            else:
                raise LookupError(f"there is no {shown(path)}")
            node[found] = _opened(node[found])
            node, key = node[found], step.replace("~1", "/").replace("~0", "~")
            if not isinstance(node, dict | list):
                raise LookupError(f"there is no {shown(path)}: what holds it is neither an object nor an array")
        return node, key


def _opened(node: _Node) -> _Node:
    """An object or array, taken apart by one level."""
    if not isinstance(node, Raw):
        return node
    text = bytes(node)
    if text.startswith(b"{"):
        return msgspec.json.decode(text, type=dict[str, Raw])
    return msgspec.json.decode(text, type=list[Raw]) if text.startswith(b"[") else node


def _given(operation: _Operation) -> Raw:
    if operation.value is UNSET:
        raise LookupError("the operation has no `value`")
    return operation.value


def _source(operation: _Operation) -> str:
    if operation.from_ is UNSET:
        raise LookupError("the operation has no `from`")
    return operation.from_


def _index(text: str, last: int) -> int:
    if not (text.isascii() and text.isdigit()) or (len(text) > 1 and text.startswith("0")) or len(text) > 10:
        raise LookupError(f"{shown(text)} is no index of an array")
    if int(text) > last:
        raise LookupError(f"the array has no place {text}")
    return int(text)


def _plain(node: _Node) -> Any:
    return msgspec.json.decode(msgspec.json.encode(node))


def _equal(one: Any, other: Any) -> bool:
    """Equality of JSON values (RFC 6902, 4.6): true is not 1, 1 is 1.0."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_equal(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_equal, one, other))
    return bool(one == other)

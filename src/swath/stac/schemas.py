"""JSON Schemas of STAC and its extensions, out of a folder of the operator's. Nothing is ever fetched.

A schema is a file named by the hash of its address, so that a `$ref` leads to a file without a list. Validators are
compiled once a process, and again when the folder's files change.
"""

from __future__ import annotations

import hashlib
import os
import re
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

import jsonschema_rs
import msgspec

from swath.errors import InvalidDocument, NotFound, shown
from swath.limits import LIMITS
from swath.stac.findings import Findings, Problem, pointer
from swath.stac.spelling import replaced
from swath.stac.text import decode_compact
from swath.stac.validation import is_collection, problems

__all__ = ["CheckLevel", "Schemas", "check_document", "mirrored"]

Kind = Literal["item", "collection"]
CheckLevel = Literal["off", "warn", "enforce"]

MOST_ERRORS = 20
_MOST_EXTENSIONS = 100
_LONGEST_MESSAGE = 200
# To list what is wrong, the validator copies the document for every branch that does not fit: 900,000 bad links took it
# 48 s and 4 GB. To say only that something is wrong takes it no time.
_MOST_BYTES, _MOST_LEVELS = 40_000, 16
_LOOK_EVERY = 1.0  # seconds: a file that is changed in place leaves the folder's time as it was
_PATTERNS = jsonschema_rs.FancyRegexOptions(backtrack_limit=100_000)
_DRAFTS = (
    "http://json-schema.org/draft-04/schema",
    "http://json-schema.org/draft-06/schema",
    "http://json-schema.org/draft-07/schema",
    "https://json-schema.org/draft/2019-09/schema",
    "https://json-schema.org/draft/2020-12/schema",
)
_CORE = "https://schemas.stacspec.org/v{}/{}-spec/json-schema/{}.json"
_VERSION = re.compile(r"[0-9A-Za-z.+-]{1,40}")


def check_document(content: dict[str, Any], level: CheckLevel, schemas: Schemas | None) -> tuple[str, ...]:
    """Hold a document against the structural rules and its schemas; returns the warnings.

    `off` looks at nothing, `warn` makes warnings of errors, `enforce` raises InvalidDocument with the first error. With
    schemas, which come with a collection's own wish, it also does for what RFC 7946 says how to mend: the order of
    rings, the antimeridian, the poles.
    """
    if level == "off":
        return ()
    found = list(problems(content))
    if schemas is not None:
        found += schemas.validate(content, "collection" if is_collection(content) else "item")
    strict = level == "enforce" and schemas is not None

    def is_error(problem: Problem) -> bool:
        shape = strict and problem.fixable and problem.pointer.startswith("/geometry")
        return problem.level == "error" or shape

    errors = list(filter(is_error, found))
    if errors and level == "enforce":
        more = f"; and {len(errors) - 1} more" if len(errors) > 1 else ""
        raise InvalidDocument(f"{errors[0].message}{more}", errors[0].pointer)
    others = (problem for problem in found if problem not in errors)
    return tuple(str(InvalidDocument(problem.message, problem.pointer)) for problem in (*errors, *others))


class Schemas:
    """The JSON Schemas of a folder. The folder need not be there: then there are none."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._compiled = _compiled(folder)

    def add(self, source: Path | bytes, uris: Mapping[Path, str] | None = None, uri: str | None = None) -> list[str]:
        """Add a file, all files of a folder, or the text of one schema; returns their addresses.

        `uri` is the address of a single schema, `uris` those of files, where they have no `$id` or the wrong one.
        InvalidDocument names the file that is no JSON Schema; then nothing is added.
        """
        addresses = {} if uris is None else uris
        read: dict[str, tuple[str, bytes]] = {}
        for name, path, raw in _sources(source):
            address = uri or (None if path is None else addresses.get(path))
            found, text = _read_schema(raw, name, address)
            before = read.get(found)
            if before is not None and before[1] != text:
                raise InvalidDocument(
                    f"{before[0]} and {name} have the same $id {found}; add one of them with --uri and its own address"
                )
            read[found] = (name, text)
        self.folder.mkdir(parents=True, exist_ok=True)
        for found, (_, text) in read.items():
            _write(self.folder / _name(found), text)
        self._compiled.forget()
        return list(read)

    def remove(self, uri: str) -> None:
        """Take a schema out. NotFound when it is not there."""
        try:
            (self.folder / _name(_normal(uri))).unlink()
        except FileNotFoundError:
            raise NotFound(f"there is no schema of {shown(uri)} in {self.folder}") from None
        self._compiled.forget()

    def uris(self) -> list[str]:
        """The addresses of all schemas, in order."""
        return sorted(_address(_load(path)) for path in _files(self.folder))

    def validate(self, content: dict[str, Any], kind: Kind) -> tuple[Problem, ...]:
        """What the schemas of its STAC version and extensions find wrong with a document, at most twenty errors.

        A schema that is not in the folder is a warning. The document is taken as it is served, with the link to its
        collection that the server adds.
        """
        self._compiled.look()
        findings = Findings()
        served = _as_served(content, kind)
        for uri, at in _wanted(content, kind, findings):
            validator = self._compiled.validator(uri)
            if isinstance(validator, str):
                findings.warning(at, validator)
            elif not validator.is_valid(served):
                for problem in islice(_explained(validator, served, uri), MOST_ERRORS - len(findings.errors)):
                    keep = findings.error if problem.level == "error" else findings.warning
                    keep(problem.pointer, problem.message)
            if len(findings.errors) >= MOST_ERRORS:
                break
        return findings.problems()


def mirrored(folder: Path) -> dict[Path, str]:
    """The addresses of files that lie in folders named by host and path, as `wget -x` leaves them."""
    return {path: f"https://{path.relative_to(folder).as_posix()}" for path in _walk(folder)}


# -- files ---------------------------------------------------------------------------------------


def _sources(source: Path | bytes) -> Iterator[tuple[str, Path | None, bytes]]:
    """What a schema is called in messages, its file, and its text."""
    if isinstance(source, bytes):
        yield "the schema", None, source
        return
    for path in _walk(source) if source.is_dir() else [source]:
        try:
            if path.stat().st_size > LIMITS.item_bytes:
                raise InvalidDocument(f"{path} is larger than {LIMITS.item_bytes:,} bytes")
            yield str(path), path, path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f"{path} is neither a file nor a folder") from None


def _walk(folder: Path) -> list[Path]:
    """The files of a folder that can be schemas: .json, or no ending, as addresses often have none."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.suffix in ("", ".json") and path.is_file() and not path.name.startswith(".")
    )


def _read_schema(raw: bytes, name: str, uri: str | None) -> tuple[str, bytes]:
    """The address of a schema, and its text with that as its `$id`."""
    schema, text = decode_compact(raw, f"schema {name}")
    if not isinstance(schema, dict):
        raise InvalidDocument(f"{name} is not a JSON Schema: it is no object")
    found = _normal(uri) if uri else _address(schema)
    if not found:
        raise InvalidDocument(
            f"{name} has no $id; add it by itself with --uri and the address that documents name it by"
        )
    parts = urlsplit(found)
    if not parts.scheme or parts.fragment:
        raise InvalidDocument(
            f"the $id {shown(found)} of {name} is no absolute address; add the file with --uri ADDRESS"
        )
    draft = schema.get("$schema", _DRAFTS[-1])
    if not isinstance(draft, str) or _normal(draft) not in _DRAFTS:  # the validator would go and fetch it
        raise InvalidDocument(f"{name} is not a JSON Schema of a known draft: its $schema is {shown(draft)}")
    try:
        jsonschema_rs.meta.validate(schema)
    except jsonschema_rs.ValidationError as error:
        reason = str(error).partition("\n")[0][:_LONGEST_MESSAGE]
        raise InvalidDocument(f"{name} is not a JSON Schema: {reason}") from None
    return found, replaced(text, {_id_member(schema): msgspec.json.encode(found)})


def _id_member(schema: dict[str, Any]) -> str:
    """Draft 4 calls it `id`."""
    return "id" if "draft-04" in str(schema.get("$schema")) else "$id"


def _address(schema: dict[str, Any]) -> str:
    value = schema.get(_id_member(schema))
    return _normal(value) if isinstance(value, str) else ""


def _normal(uri: str) -> str:
    """An address without an empty fragment, which many schemas and few documents have."""
    return uri.removesuffix("#")


def _name(uri: str) -> str:
    return f"{hashlib.sha256(uri.encode('utf-8', 'surrogatepass')).hexdigest()}.json"


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("[0-9a-f]*.json"))


def _load(path: Path) -> dict[str, Any]:
    try:
        schema = msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise InvalidDocument(f"{path} is damaged ({error}); remove it and add its schema again") from None
    return schema


def _write(path: Path, text: bytes) -> None:
    """All of it or nothing, whatever happens meanwhile."""
    beside = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        with beside.open("wb") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


# -- validators ----------------------------------------------------------------------------------


@dataclass(slots=True)
class _Compiled:
    """The validators of a folder, by address; words where there is none to be had."""

    folder: Path
    validators: dict[str, jsonschema_rs.Validator | str] = field(default_factory=dict)
    listing: tuple[tuple[str, int, int], ...] = ()
    changed: int = -1
    looked: float = float("-inf")

    def look(self) -> None:
        """Forget everything if the folder is not what it was."""
        try:
            changed = self.folder.stat().st_mtime_ns
        except OSError:
            changed = 0
        now = time.monotonic()
        if changed == self.changed and now - self.looked < _LOOK_EVERY:
            return
        listing = tuple((path.name, (stat := path.stat()).st_mtime_ns, stat.st_size) for path in _files(self.folder))
        if listing != self.listing:
            self.validators = {}
        self.listing, self.changed, self.looked = listing, changed, now

    def forget(self) -> None:
        self.validators, self.looked = {}, float("-inf")

    def validator(self, uri: str) -> jsonschema_rs.Validator | str:
        known = self.validators.get(uri)
        if known is not None:
            return known
        path = self.folder / _name(uri)
        if not path.exists():  # not remembered: documents may name any number of addresses
            return f"no schema of {shown(uri)} in the folder; add it with: swath schemas add"
        made = self.validators[uri] = self._compile(path, uri)
        return made

    def _compile(self, path: Path, uri: str) -> jsonschema_rs.Validator | str:
        """The reason instead, without the paths of this machine: callers read it."""
        missing: list[str] = []

        def retrieve(reference: str) -> Any:
            try:
                return _load(self.folder / _name(_normal(reference)))
            except (OSError, InvalidDocument):
                missing.append(reference)
                raise

        try:
            return jsonschema_rs.validator_for(
                _load(path), retriever=retrieve, validate_formats=True, pattern_options=_PATTERNS, mask="the value"
            )
        except (OSError, InvalidDocument):
            return f"the schema {uri} cannot be read; add it again with: swath schemas add"
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError) as error:
            if missing:
                return (
                    f"the schema {uri} needs {missing[0]}, which is not in the folder; add it with: swath schemas add"
                )
            return f"the schema {uri} cannot be used: {str(error).partition(chr(10))[0][:_LONGEST_MESSAGE]}"


_LOCK = threading.Lock()
_FOLDERS: dict[Path, _Compiled] = {}


def _compiled(folder: Path) -> _Compiled:
    with _LOCK:
        return _FOLDERS.setdefault(folder.absolute(), _Compiled(folder.absolute()))


# -- documents -----------------------------------------------------------------------------------


def _wanted(content: dict[str, Any], kind: Kind, findings: Findings) -> Iterator[tuple[str, str]]:
    """The addresses of the schemas that a document is to follow, and where it says so."""
    version = content.get("stac_version")
    if isinstance(version, str) and _VERSION.fullmatch(version):
        yield _CORE.format(version, kind, kind), "/stac_version"
    extensions = content.get("stac_extensions")
    if not isinstance(extensions, list):
        return
    if len(extensions) > _MOST_EXTENSIONS:
        findings.warning("/stac_extensions", f"only the first {_MOST_EXTENSIONS} extensions are checked")
    seen: set[str] = set()
    for number, uri in enumerate(extensions[:_MOST_EXTENSIONS]):
        if isinstance(uri, str) and _normal(uri) not in seen:
            seen.add(_normal(uri))
            yield _normal(uri), f"/stac_extensions/{number}"


def _as_served(content: dict[str, Any], kind: Kind) -> dict[str, Any]:
    """The document with the links that the server adds, which the schemas of STAC require."""
    links = content.get("links", [])
    if not isinstance(links, list):
        return content
    if kind == "item" and isinstance(content.get("collection"), str):
        relations = {link.get("rel") for link in links if isinstance(link, dict) and isinstance(link.get("rel"), str)}
        if "collection" not in relations:
            links = [*links, {"rel": "collection", "href": "../"}]
    return content if links is content.get("links") else {**content, "links": links}


def _explained(validator: jsonschema_rs.Validator, content: dict[str, Any], uri: str) -> Iterator[Problem]:
    """What is wrong with a document that does not follow a schema."""
    light = content
    if isinstance(content.get("geometry"), dict):  # often most of the document, and the structural rules say more of it
        light = {**content, "geometry": {"type": "Point", "coordinates": [0, 0]}}
        if validator.is_valid(light):
            yield Problem("/geometry", f"the geometry does not follow the schema {uri}", False, "error")
            return
    if len(msgspec.json.encode(light)) > _MOST_BYTES or _is_deep(light, _MOST_LEVELS):
        yield Problem(
            "", f"the document does not follow the schema {uri}; it is too large to say where", False, "error"
        )
        return
    for error in validator.iter_errors(light):
        for leaf in _leaves(error, 0):
            words = leaf.message[:_LONGEST_MESSAGE]
            level: Literal["error", "warning"] = "warning" if leaf.kind.name == "format" else "error"
            yield Problem(pointer(*leaf.instance_path), f"{words} (schema {uri})", False, level)


def _is_deep(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    members = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deep(member, levels - 1) for member in members)


_ONE_OF = (jsonschema_rs.ValidationErrorKind.AnyOf, jsonschema_rs.ValidationErrorKind.OneOfNotValid)


def _leaves(error: jsonschema_rs.ValidationError, depth: int) -> Iterator[jsonschema_rs.ValidationError]:
    """The faults themselves, where all that is said is that no branch of a schema fits: those of the nearest branch.

    Most extensions have a branch for items and one for collections: what is of another type is further away.
    """
    if depth > 8 or not isinstance(error.kind, _ONE_OF) or not error.kind.context:
        yield error
        return
    branches = [[leaf for inner in branch for leaf in _leaves(inner, depth + 1)] for branch in error.kind.context]
    yield from min(branches, key=lambda leaves: (any(leaf.instance_path == ["type"] for leaf in leaves), len(leaves)))

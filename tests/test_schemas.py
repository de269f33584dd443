"""JSON Schemas out of a folder: what goes in, what documents are held against, and that nothing is ever fetched."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from swath.errors import InvalidDocument, NotFound
from swath.stac import schemas as under_test
from swath.stac.schemas import CheckLevel, Schemas, check_document, mirrored
from tests.conftest import DATA, make_item, run_swath, sample_items

PUBLISHED = DATA / "schemas"
CORE = "https://schemas.stacspec.org/v1.0.0/item-spec/json-schema/item.json"
EO = "https://stac-extensions.github.io/eo/v1.0.0/schema.json"
DRAFT_7 = "http://json-schema.org/draft-07/schema#"


@pytest.fixture
def trap() -> Iterator[tuple[str, list[bytes]]]:
    """An address on this machine, and what was asked of it. Validators fetch by themselves, out of any language."""
    asked: list[bytes] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(60)

        def listen() -> None:
            with suppress(OSError):
                while True:
                    caller, _ = server.accept()
                    with caller:
                        asked.append(caller.recv(1_000))

        thread = threading.Thread(target=listen)
        thread.start()
        yield f"http://127.0.0.1:{server.getsockname()[1]}/schema", asked
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Schemas:
    """All that STAC and its extensions have published, under their addresses."""
    schemas = Schemas(tmp_path_factory.mktemp("published") / "schemas")
    assert len(schemas.add(PUBLISHED, mirrored(PUBLISHED))) == 96
    return schemas


@pytest.fixture
def schemas(tmp_path: Path) -> Schemas:
    return Schemas(tmp_path / "schemas")


def schema(uri: str | None, **members: Any) -> bytes:
    return json.dumps({"$schema": DRAFT_7, **({"$id": uri} if uri else {}), **members}).encode()


def item(**more: Any) -> dict[str, Any]:
    return {**make_item("a", bbox=[0, 0, 0, 0]), **more}


def messages(schemas: Schemas, content: dict[str, Any]) -> list[tuple[str, str, str]]:
    return [(p.level, p.pointer, p.message.partition(" (schema ")[0]) for p in schemas.validate(content, "item")]


# -- the folder ----------------------------------------------------------------------------------


def test_a_schema_is_added_listed_replaced_and_removed(schemas: Schemas) -> None:
    uri = "https://example.org/a.json"
    assert schemas.uris() == []
    assert schemas.add(schema(uri + "#", type="object")) == [uri]
    assert schemas.add(schema(None, type="array"), uri="https://example.org/b.json") == ["https://example.org/b.json"]
    assert schemas.uris() == [uri, "https://example.org/b.json"]
    content = item(stac_extensions=[uri])
    assert [level for level, at, _ in messages(schemas, content) if at != "/stac_version"] == []
    schemas.add(schema(uri, required=["x"]))
    assert ("error", "", '"x" is a required property') in messages(schemas, content)
    schemas.remove(uri + "#")
    assert [message[:40] for _, at, message in messages(schemas, content) if at == "/stac_extensions/0"] == [
        "no schema of 'https://example.org/a.json"
    ]
    with pytest.raises(NotFound, match=r"no schema of 'https://example.org/a.json'"):
        schemas.remove(uri)


def test_the_folder_holds_one_file_a_schema_and_nothing_else(schemas: Schemas, tmp_path: Path) -> None:
    uris = [f"https://example.org/{n}/../../../etc/passwd" for n in range(3)]
    for uri in uris:
        schemas.add(schema(uri))
    assert sorted(path.relative_to(tmp_path).parts[0] for path in tmp_path.rglob("*.json")) == ["schemas"] * 3
    assert len(list(schemas.folder.iterdir())) == 3
    assert all(len(path.stem) == 64 for path in schemas.folder.iterdir())
    assert schemas.uris() == sorted(uris)


@pytest.mark.parametrize(("text", "words"), [
    (b"{", r"the schema .*x\.json is not JSON"),
    (b"[]", r"x\.json is not a JSON Schema: it is no object"),
    (b'{"type": "Feature"}', r"x\.json has no \$id; add it by itself with --uri"),
    (schema("eo/v1"), r"'eo/v1' of .*x\.json is no absolute address; add the file with --uri"),
    (schema("https://example.org/a#b"), "no absolute address"),
    (schema("https://example.org/a", type=5), r"x\.json is not a JSON Schema: 5 is not valid"),
    (b'{"$id":"https://example.org/a","$schema":"https://example.org/unknown"}', r"x\.json is not a JSON Schema"),
    (b'{"$id":"https://example.org/a","$id":"https://example.org/b"}', "stands twice"),
])  # fmt: skip
def test_a_file_that_is_no_schema_is_refused_and_nothing_of_its_folder_added(
    schemas: Schemas, tmp_path: Path, text: bytes, words: str
) -> None:
    source = tmp_path / "source"
    (source / "deep").mkdir(parents=True)
    (source / "a.json").write_bytes(schema("https://example.org/good"))
    (source / "deep" / "x.json").write_bytes(text)
    (source / "README.md").write_text("not looked at")
    with pytest.raises(InvalidDocument, match=words):
        schemas.add(source)
    assert schemas.uris() == []


def test_two_files_with_one_id_are_told_apart_by_address(schemas: Schemas, tmp_path: Path) -> None:
    with pytest.raises(InvalidDocument, match=r"v1\.1\.0/schema\.json and .*v2\.0\.0/schema\.json have the same \$id"):
        schemas.add(PUBLISHED / "stac-extensions.github.io" / "classification")
    one, other = tmp_path / "one.json", tmp_path / "other.json"
    for path in (one, other):
        path.write_bytes(schema("https://example.org/same", title=path.name))
    assert schemas.add(tmp_path, {other: "https://example.org/other"}) == [
        "https://example.org/same", "https://example.org/other",
    ]  # fmt: skip
    with pytest.raises(NotFound, match=r"nowhere is neither a file nor a folder"):
        schemas.add(tmp_path / "nowhere")


def test_what_another_process_changes_is_seen(schemas: Schemas, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new or replaced file at once, one that is edited in place within a second."""
    uri, content = "https://example.org/a.json", item(stac_extensions=["https://example.org/a.json"])
    now = [0.0]
    monkeypatch.setattr("swath.stac.schemas.time.monotonic", lambda: now[0])
    schemas.add(schema(uri))
    assert "error" not in [level for level, _, _ in messages(schemas, content)]
    (file,) = schemas.folder.iterdir()
    before = file.stat().st_mtime_ns
    file.write_bytes(schema(uri, required=["x"]))
    assert file.stat().st_mtime_ns > before
    now[0] = 2.0
    assert "error" in [level for level, _, _ in messages(schemas, content)]
    file.unlink()
    now[0] = 4.0
    assert "error" not in [level for level, _, _ in messages(schemas, content)]


def test_validators_are_compiled_once_a_process(published: Schemas, monkeypatch: pytest.MonkeyPatch) -> None:
    content = item(stac_extensions=[EO])
    published.validate(content, "item")
    monkeypatch.setattr(under_test._Compiled, "_compile", None)  # would fail if it were called
    again = Schemas(published.folder)
    threads = [threading.Thread(target=again.validate, args=(content, "item")) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert again.validate(content, "item") == ()


# -- documents -----------------------------------------------------------------------------------


def test_the_examples_of_the_specification_follow_its_schemas(published: Schemas) -> None:
    for path in sorted((DATA / "stac-spec-examples").rglob("*.json")):
        content = json.loads(path.read_bytes())
        if content["type"] == "Catalog":
            continue
        content["stac_version"] = "1.1.0"  # they say beta, of which no schema is there
        found = published.validate(content, "item" if content["type"] == "Feature" else "collection")
        assert [(p.level, p.message) for p in found] == (
            [("warning", found[0].message)] if path.name == "extended-item.json" else []
        )
        assert all("no schema of 'https://stac-extensions.github.io/remote-data" in p.message for p in found)


def test_real_items_follow_the_schemas_they_name(published: Schemas) -> None:
    """But for three whose sun stands below zero, and where a newer schema lies under an old address."""
    stand_ins = ("landsat.usgs.gov", "classification/v2.0.0")
    errors = set()
    for name, line in sample_items():
        for problem in published.validate(json.loads(line), "item"):
            if problem.level == "error" and not any(part in problem.message for part in stand_ins):
                errors.add((name, problem.pointer, problem.message.partition(" (")[0]))
    assert {at for _, at, _ in errors} == {"/properties/view:sun_azimuth"}
    assert {words for _, _, words in errors} == {"the value is less than the minimum of 0"}


@pytest.mark.parametrize(("changes", "level", "pointer", "words"), [
    ({"id": 5}, "error", "/id", 'the value is not of type "string"'),
    ({"properties": {}}, "error", "/properties", '"datetime" is a required property'),
    ({"assets": {"a/b": {}}}, "error", "/assets/a~1b", '"href" is a required property'),
    ({"properties": {"datetime": "2020-01-01T00:00:00Z", "eo:cloud_cover": 101}, "stac_extensions": [EO]},
     "error", "/properties/eo:cloud_cover", "the value is greater than the maximum of 100"),
    ({"properties": {"datetime": "2020-01-01T00:00:00Z", "eo:x": 1}, "stac_extensions": [EO]},
     "error", "/properties", "eo:x"),
    ({"properties": {"datetime": "2020-99-01T00:00:00Z"}}, "warning", "/properties/datetime", 'is not a "date-time"'),
    ({"geometry": {"type": "Point", "coordinates": ["x", 1]}}, "error", "/geometry", "the geometry does not follow"),
    ({"stac_extensions": ["https://example.org/unknown"]}, "warning", "/stac_extensions/0",
     "no schema of 'https://example.org/unknown' in the folder; add it with: swath schemas add"),
    ({"stac_version": "1.0.0-rc.9"}, "warning", "/stac_version", "v1.0.0-rc.9/item-spec/json-schema/item.json'"),
])  # fmt: skip
def test_faults_have_a_pointer_and_few_words(
    published: Schemas, changes: dict[str, Any], level: str, pointer: str, words: str
) -> None:
    found = [problem for problem in published.validate(item(**changes), "item") if words in problem.message]
    assert [(problem.level, problem.pointer, problem.fixable) for problem in found] == [(level, pointer, False)]
    assert len(found[0].message) < 350


def test_an_item_is_taken_as_it_is_served(published: Schemas) -> None:
    """The link to its collection, which the schema requires, is the server's."""
    for links in ([], [{"rel": "collection", "href": "x"}], ...):
        content = {name: value for name, value in item(links=links).items() if value is not ...}
        assert published.validate(content, "item") == ()
        assert content.get("links", ...) == links


def test_nothing_is_ever_fetched(schemas: Schemas, trap: tuple[str, list[bytes]]) -> None:
    address, asked = trap
    sources: list[dict[str, Any]] = [
        {"$ref": address},
        {"definitions": {"a": {"$ref": f"{address}#/x"}}},
        {"properties": {"x": {"$schema": address}}},
        {"properties": {"x": {"$id": address, "$ref": "y"}}},
    ]
    for number, members in enumerate(sources):
        schemas.add(schema(f"https://example.org/{number}", **members))
    for draft in (address, 5):
        with pytest.raises(InvalidDocument, match=r"not a JSON Schema of a known draft: its \$schema is"):
            schemas.add(json.dumps({"$id": "https://example.org/a", "$schema": draft, "$ref": address}).encode())
    uris = [address, *(f"https://example.org/{number}" for number in range(4))]
    found = schemas.validate(item(stac_extensions=uris, links=[{"rel": "x", "href": address}]), "item")
    assert len([problem for problem in found if address in problem.message]) >= 3
    assert {problem.level for problem in found} == {"warning"}
    assert asked == []


def test_a_reference_that_is_not_in_the_folder_is_named_and_never_fetched(schemas: Schemas) -> None:
    schemas.add(schema("https://example.org/a", allOf=[{"$ref": "b#/definitions/c"}, {"$ref": "file:///etc/passwd"}]))
    content = item(stac_extensions=["https://example.org/a"])
    needed = [message for _, at, message in messages(schemas, content) if at == "/stac_extensions/0"]
    assert len(needed) == 1
    assert "the schema https://example.org/a needs " in needed[0]
    assert needed[0].endswith(", which is not in the folder; add it with: swath schemas add")
    schemas.add(schema("https://example.org/b", definitions={"c": {"required": ["x"]}}))
    schemas.add(schema("file:///etc/passwd", type="object"))
    assert ("error", "", '"x" is a required property') in messages(schemas, content)


def test_a_schema_that_cannot_be_used_is_a_warning(schemas: Schemas) -> None:
    schemas.add(schema("https://example.org/a"))
    (file,) = schemas.folder.iterdir()
    file.write_text("{")
    found = messages(schemas, item(stac_extensions=["https://example.org/a"]))
    assert [(level, at) for level, at, message in found if "cannot be read" in message] == [
        ("warning", "/stac_extensions/0")
    ]


def test_at_most_twenty_errors_are_told(published: Schemas) -> None:
    found = published.validate(item(links=[{} for _ in range(500)]), "item")
    assert [problem.level for problem in found] == ["error"] * 20


@pytest.mark.parametrize("changes", [
    {"links": [{}] * 300_000},
    {"assets": {str(n): {} for n in range(200_000)}},
    {"assets": {"x" * 5_000_000: {}}},
    {"links": 5, "x": [[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]},
])  # fmt: skip
def test_of_documents_that_are_large_or_deep_faults_are_not_listed(
    published: Schemas, monkeypatch: pytest.MonkeyPatch, changes: dict[str, Any]
) -> None:
    """To list them, the validator copies the document for each fault: 900,000 bad links took 48 s and 4 GB."""
    monkeypatch.setattr(under_test, "_leaves", None)  # would fail if it were called
    (problem,) = published.validate(item(**changes), "item")
    assert (problem.level, problem.pointer) == ("error", "")
    assert problem.message == f"the document does not follow the schema {CORE}; it is too large to say where"


def test_a_large_geometry_is_not_looked_into(published: Schemas) -> None:
    ring = [[n % 100, 1] for n in range(100_000)]
    content = item(geometry={"type": "Polygon", "coordinates": [ring, ["x"]]}, id=5)
    assert [problem.pointer for problem in published.validate(content, "item")] == ["/id"]
    content["id"] = "a"
    assert [problem.pointer for problem in published.validate(content, "item")] == ["/geometry"]


def test_any_number_of_extensions_costs_a_hundred(published: Schemas, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []
    compiled = under_test._Compiled.validator

    def validator(self: under_test._Compiled, uri: str) -> Any:
        asked.append(uri)
        return compiled(self, uri)

    monkeypatch.setattr(under_test._Compiled, "validator", validator)
    uris = [EO] * 50 + [f"https://example.org/{n}" for n in range(100_000)]
    found = published.validate(item(stac_extensions=uris), "item")
    assert len(asked) == 1 + 1 + 50
    assert "only the first 100 extensions are checked" in [problem.message for problem in found]


# -- levels --------------------------------------------------------------------------------------


def test_levels(published: Schemas) -> None:
    content = item(bbox=[0, 0, 1, 1], stac_extensions=[EO], links=[{"rel": "x"}])
    content["properties"]["eo:cloud_cover"] = "low"
    told = {
        "/links/0/href": "the href of a link is a string that is not empty (at /links/0/href)",
        "/links/0": f'"href" is a required property (schema {CORE}) (at /links/0)',
        "/properties": f'the value is not of type "number" (schema {EO}) (at /properties/eo:cloud_cover)',
        "/bbox": "the bbox is larger than the geometry; its own is [0.0, 0.0, 0.0, 0.0] (at /bbox)",
    }
    assert check_document(content, "off", published) == ()
    assert set(check_document(content, "warn", published)) == set(told.values())
    assert check_document(content, "warn", None) == (told["/links/0/href"], told["/bbox"])
    with pytest.raises(InvalidDocument) as refused:
        check_document(content, "enforce", published)
    assert refused.value.pointer == "/links/0/href"
    assert str(refused.value) == "the href of a link is a string that is not empty; and 2 more (at /links/0/href)"
    content["links"], content["properties"]["eo:cloud_cover"] = [], 5
    assert check_document(content, "enforce", published) == (told["/bbox"],)


@pytest.mark.parametrize("level", ["off", "warn", "enforce"])
def test_collections_are_held_against_theirs(published: Schemas, level: CheckLevel) -> None:
    for line in (DATA / "collections.ndjson").read_bytes().splitlines():
        content = json.loads(line)
        if content["id"].endswith("-006") or content["id"] == "3dep-lidar-copc":
            continue  # south and west in the wrong places; two boxes, where one or three are asked for
        check_document(content, level, published)


# -- the command ---------------------------------------------------------------------------------


def test_the_command(tmp_path: Path) -> None:
    source = tmp_path / "a.ndjson"
    source.write_text(json.dumps(make_item("a")))
    catalog = tmp_path / "c"
    assert run_swath("load", catalog, source).returncode == 0
    geojson = PUBLISHED / "geojson.org"
    added = run_swath("schemas", "add", catalog, geojson)
    uris = ["https://geojson.org/schema/Feature.json", "https://geojson.org/schema/Geometry.json"]
    assert (added.returncode, added.stdout.split()) == (0, uris)
    assert added.stderr == f"2 schemas added to {catalog / 'schemas'}\n"
    assert run_swath("schemas", "list", catalog).stdout.split() == uris
    assert json.loads(run_swath("schemas", "list", catalog, "--json").stdout) == uris
    assert json.loads(run_swath("schemas", "remove", catalog, uris[0], "--json").stdout) == {"removed": uris[0]}
    again = run_swath("schemas", "remove", catalog, uris[0])
    assert (again.returncode, "there is no schema of" in again.stderr) == (1, True)
    plain = tmp_path / "plain.json"
    plain.write_text('{"type": "object"}')
    refused = run_swath("schemas", "add", catalog, plain)
    assert (refused.returncode, "has no $id" in refused.stderr) == (1, True)
    named = run_swath("schemas", "add", catalog, plain, "--uri", "https://example.org/plain", "--json")
    assert json.loads(named.stdout) == {"added": ["https://example.org/plain"]}
    whole = run_swath("schemas", "add", catalog, PUBLISHED, "--mirror", "--json")
    assert EO in json.loads(whole.stdout)["added"]
    assert Schemas(catalog / "schemas").validate(item(stac_extensions=[EO]), "item") == ()
    assert run_swath("check", catalog).returncode == 0


@pytest.mark.parametrize(("arguments", "code", "words"), [
    (["add", "C"], 2, "name at least one file or folder"),
    (["add", "C", "x", "y", "--uri", "https://example.org"], 2, "--uri is for one file"),
    (["add", "C", "nowhere.json"], 1, "nowhere.json is neither a file nor a folder"),
    (["list", "nowhere"], 1, "there is no catalogue in nowhere"),
    (["remove", "C"], 2, "requires an argument"),
    (["lst", "C"], 2, 'Did you mean "list"?'),
])  # fmt: skip
def test_a_wrong_call_says_how_to_mend_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], code: int, words: str
) -> None:
    source = tmp_path / "a.ndjson"
    source.write_text(json.dumps(make_item("a")))
    assert run_swath("load", tmp_path / "C", source).returncode == 0
    monkeypatch.chdir(tmp_path)
    done = run_swath("schemas", *arguments)
    assert (done.returncode, words in done.stderr, done.stdout) == (code, True, ""), done.stderr

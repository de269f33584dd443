"""The OpenAPI document: it agrees with the router, it is OpenAPI 3.0, and Schemathesis finds it true."""

from __future__ import annotations

import itertools
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jsonschema
import pytest

from swath.http.route import Route
from swath.http.routes import ROUTES
from swath.http.table import ROUTES as ALL
from tests.conftest import TORTURE, Answer, Server, long, make_item, patched, start_server

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
# A value that each query parameter takes.
VALUES = {
    "asset-href-mode": "api",
    "collections": "naip",
    "ids": "a,b",
    "bbox": "-10,-10,10,10",
    "intersects": '{"type":"Point","coordinates":[0,0]}',
    "datetime": "2020-01-01T00:00:00Z/..",
    "limit": "1",
    "query": '{"eo:cloud_cover":{"lt":10}}',
    "filter": "eo:cloud_cover < 10",
    "filter-lang": "cql2-text",
    "filter-crs": "http://www.opengis.net/def/crs/OGC/1.3/CRS84",
    "sortby": "-datetime",
    "fields": "id",
    "explain": "true",
    "count": "none",
    "as-of": "2999-01-01T00:00:00Z",
    "cascade": "true",
    "mode": "upsert",
    "atomic": "true",
    "dry_run": "true",
    "fix": "true",
    "report": "refused",
    "since": "now",
    "wait": "0",
}
COLLECTION = {
    "type": "Collection", "stac_version": "1.0.0", "description": "c", "license": "other", "links": [],
    "extent": {"spatial": {"bbox": [[-180, -90, 180, 90]]}, "temporal": {"interval": [[None, None]]}},
}  # fmt: skip
NUMBERS = itertools.count()


@pytest.fixture(scope="module")
def samples(sample_catalog: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A copy of the sample data to write to, served. Nobody waits long for the feed: Schemathesis takes that for a
    fault of the network."""
    folder = tmp_path_factory.mktemp("openapi") / "samples"
    shutil.copytree(sample_catalog, folder)
    hasty = "import swath.limits; object.__setattr__(swath.limits.LIMITS, 'feed_wait_seconds', 0.5)"
    server = start_server(["serve", str(folder), "--port", "0"], patched(folder.with_name("hasty"), hasty))
    yield server
    server.stop()


@pytest.fixture(scope="module")
def document(samples: Server) -> dict[str, Any]:
    answer = samples.get("/api")
    assert answer.headers["content-type"] == "application/vnd.oai.openapi+json;version=3.0"
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture
def ids(samples: Server) -> dict[str, str]:
    """What is there, for the parameters in a path: made anew, since operations change it."""
    return fresh(samples)


def fresh(samples: Server) -> dict[str, str]:
    name = f"c-{next(NUMBERS)}"
    made = samples.post("/collections", {**COLLECTION, "id": name})
    assert made.status == 201, made.body
    item = samples.post(f"/collections/{name}/items", make_item("i", name))
    assert item.status == 201, item.body
    lines = json.dumps(make_item("j", name)).encode()
    headers = {"Content-Type": "application/x-ndjson", "Prefer": "respond-async"}
    job = samples.request("POST", f"/collections/{name}/bulk", lines, headers).json()["jobID"]
    until = time.monotonic() + 60
    while samples.get(f"/jobs/{job}").json()["status"] in ("accepted", "running"):
        assert time.monotonic() < until
        time.sleep(0.05)
    hook = samples.post("/webhooks", {"url": "http://127.0.0.1:9/", "collections": ["nothing"]}).json()["id"]
    return {
        "collection": name,
        "item": "i",
        "version": item.headers["etag"][1:17],
        "job": job,
        "webhook": hook,
        "delivery": "1",
        "asset": "swagger-ui.css",
    }


# The asset store: what it takes and answers is in test_store_api.py and test_uploads.py.
STORE = ("/v2/assets", "/uploads", "/realms", "/oauth", "/stac-extensions", "/workspaces", "/webhooks/events")


def operations(document: dict[str, Any], *, store: bool = False) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Path, method in capitals and operation; those of the store only on demand."""
    for path, item in document["paths"].items():
        if path.startswith(STORE) and not store:
            continue
        for method in METHODS:
            if method in item:
                yield path, method.upper(), item[method]


def in_query(operation: dict[str, Any]) -> list[str]:
    return [parameter["name"] for parameter in operation["parameters"] if parameter["in"] == "query"]


def body_of(path: str, method: str) -> tuple[Any, str]:
    """A body that an operation takes, and its media type."""
    match method, path.rsplit("/", 1)[-1]:
        case "PATCH", _:
            return {}, "application/merge-patch+json"
        case "PUT", "queryables":
            return {"properties": {}}, "application/schema+json"
        case ("POST", "collections") | ("PUT", "{collection}"):
            return {**COLLECTION, "id": f"c-{next(NUMBERS)}"}, "application/json"
        case ("POST", "items" | "bulk") | ("PUT", "{item}"):
            return {**make_item(f"n-{next(NUMBERS)}"), "collection": None}, "application/geo+json"
        case "POST", "bulk_items":
            return {"items": {"x": {**make_item("x"), "collection": None}}}, "application/json"
        case "POST", "webhooks":
            return {"url": "http://127.0.0.1:9/"}, "application/json"
        case "POST", "search":
            return {}, "application/json"
    return None, ""


def make_ready(server: Server, method: str, path: str, place: str) -> None:
    """What must have been done before an operation can be."""
    if path.endswith("{collection}/restore"):
        server.request("DELETE", f"{place}?cascade=true")
    elif (method, path) == ("DELETE", "/collections/{collection}"):
        for name in ("i", "j"):
            server.request("DELETE", f"{place}/items/{name}")
    elif (method, path) == ("DELETE", "/collections/{collection}/queryables"):
        server.request("PUT", f"{place}/queryables", b'{"properties":{}}', {"Content-Type": "application/json"})


def ask(
    server: Server, method: str, path: str, ids: dict[str, str] | None = None, query: dict[str, str] | None = None
) -> Answer:
    target = path.format(**ids or {}) + (f"?{urlencode(query)}" if query else "")
    if ids:
        make_ready(server, method, path, f"/collections/{ids['collection']}")
    body, media_type = body_of(path, method)
    if method == "PUT" and path.endswith(("{collection}", "{item}")):
        body.pop("id")  # taken from the path
    if (ids and path.endswith("{collection}/versions/{version}")) or path.endswith(
        "{collection}/versions/{version}/restore"
    ):
        assert ids is not None
        tag = server.get(f"/collections/{ids['collection']}").headers["etag"][1:17]
        target = target.replace(ids["version"], tag)
    if body is None:
        return server.request(method, target)
    return server.request(method, target, json.dumps(body).encode(), {"Content-Type": media_type})


def references(value: object) -> Iterator[str]:
    if isinstance(value, dict):
        for key, part in value.items():
            if key == "$ref":
                yield str(part)
            else:
                yield from references(part)
    elif isinstance(value, list):
        for part in value:
            yield from references(part)


def resolve(document: dict[str, Any], reference: str) -> Any:
    found: Any = document
    assert reference.startswith("#/")
    for part in reference[2:].split("/"):
        found = found[part.replace("~1", "/").replace("~0", "~")]
    return found


def self_contained(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """A schema that finds its references in itself. What OpenAPI 3.0 and JSON Schema share is all that is used."""
    return {**schema, "components": document["components"]}


# -- router and document -----------------------------------------------------------------------


def test_every_operation_of_the_document_is_routed(
    samples: Server, document: dict[str, Any], ids: dict[str, str]
) -> None:
    for path, method, operation in operations(document):
        answer = ask(samples, method, path, fresh(samples) if method != "GET" else ids)
        if path.endswith("/redeliver"):  # of what was told, or is waiting
            assert answer.status == 404
            continue
        assert 200 <= answer.status < 300, (method, path, answer.body[:300])
        media_types = operation["responses"][str(answer.status)].get("content", {})
        found = answer.headers.get("content-type")
        assert {found, "*/*"} & media_types.keys() if found else not media_types, (method, path)


def test_every_route_is_in_the_document_with_its_parameters_and_answers(document: dict[str, Any]) -> None:
    described = {(method, path): operation for path, method, operation in operations(document, store=True)}
    assert described.keys() == {(route.method, route.path) for route in ALL}
    for route in ALL:
        operation = described[route.method, route.path]
        assert tuple(parameter["name"] for parameter in operation["parameters"]) == route.parameters
        conditional = (304, 412) if route.method == "GET" and route.lane != "stream" else ()
        expected = {str(status) for status in (*route.answers, *route.faults, *conditional)}
        assert operation["responses"].keys() - {"405"} == expected
        assert ("requestBody" in operation) == bool(route.body)


def test_what_an_empty_id_in_a_path_leads_to_is_in_the_document(
    samples: Server, document: dict[str, Any], ids: dict[str, str]
) -> None:
    """`/collections/` is `/collections`, and clients make `/collections/items` of `/collections//items`: what is not
    taken there is declared of the path that was meant."""
    refused = set()
    for path, method, operation in operations(document):
        names = re.findall(r"{(.+?)}", path)
        statuses = set()
        for empty in itertools.chain.from_iterable(itertools.combinations(names, n + 1) for n in range(len(names))):
            target = re.sub("/{2,}", "/", path.format(**ids | dict.fromkeys(empty, "")))
            statuses.add(str(samples.request(method, target).status))
        assert statuses <= operation["responses"].keys(), (method, path)
        assert ("405" in statuses) == ("405" in operation["responses"]), (method, path)
        refused |= {(method, path)} if "405" in statuses else set()
    assert {("DELETE", "/collections/{collection}"), ("POST", "/collections/{collection}/items")} <= refused


def test_methods_that_the_document_leaves_out_are_refused(
    samples: Server, document: dict[str, Any], ids: dict[str, str]
) -> None:
    described = {(method, path) for path, method, _ in operations(document)}
    for path in {path for path, _, _ in operations(document)}:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            if (method, path) not in described:
                assert samples.request(method, path.format(**ids)).status == 405, (method, path)


def test_every_query_parameter_of_the_document_is_accepted(
    samples: Server, document: dict[str, Any], ids: dict[str, str]
) -> None:
    accepted = set()
    for path, method, operation in operations(document):
        first = {"limit": "1"} if "limit" in in_query(operation) else {}
        for name in in_query(operation):
            here = ids if method == "GET" else fresh(samples)
            if name == "token":
                where = (
                    {**here, "collection": "naip"} if path.endswith("/items") else two_deleted(samples, fresh(samples))
                )
                links = ask(samples, method, path, where, first).json()["links"]
                address = next(link["href"] for link in links if link["rel"] == "next")
                answer = samples.get(address.removeprefix(samples.url))
            elif name == "deletion":
                answer = ask(samples, method, path, here, {name: deletion_of(samples, here["collection"])})
            else:
                value = "now" if (name, path) == ("since", "/changes") else VALUES[name]
                answer = ask(samples, method, path, here, {**first, name: value})
            assert answer.status in (200, 201, 204), (method, path, name, answer.body[:300])
            accepted.add(name)
    assert accepted == {*VALUES, "token", "deletion"}


def deletion_of(samples: Server, collection: str) -> str:
    """A collection is deleted, and the trash tells under which name that can be undone."""
    samples.request("DELETE", f"/collections/{collection}?cascade=true")
    trash = samples.get("/trash").json()["collections"]
    tag: str = next(each["deletion"] for each in trash if each["id"] == collection)
    return tag


def two_deleted(samples: Server, ids: dict[str, str]) -> dict[str, str]:
    for name in ("i", "j"):
        samples.request("DELETE", f"/collections/{ids['collection']}/items/{name}")
    return ids


@pytest.mark.parametrize("route", ROUTES, ids=lambda route: f"{route.method} {route.path}")
def test_a_query_parameter_that_the_document_leaves_out_is_refused(
    route: Route, samples: Server, document: dict[str, Any], ids: dict[str, str]
) -> None:
    known = in_query(document["paths"][route.path][route.method.lower()])
    for name in {"nope", *VALUES} - set(known):
        answer = ask(samples, route.method, route.path, ids, {name: VALUES.get(name, "1")})
        assert answer.status == 400, name
        assert answer.json()["description"].startswith(f"unknown parameter {name!r}")


def test_the_members_of_a_search_body_are_the_parameters_of_a_search(document: dict[str, Any]) -> None:
    members = document["components"]["schemas"]["search"]["properties"]
    assert members.keys() == set(in_query(document["paths"]["/search"]["get"]))


def test_a_search_without_a_body_is_as_the_document_says(samples: Server, document: dict[str, Any]) -> None:
    answer = samples.request("POST", "/search")
    required = document["paths"]["/search"]["post"]["requestBody"]["required"]
    assert (answer.status == 200) == (not required), answer.status


def test_real_answers_match_their_schemas(samples: Server, document: dict[str, Any], ids: dict[str, str]) -> None:
    for path, method, operation in operations(document):
        for query in ({}, {"nope": ""}):
            answer = ask(samples, method, path, fresh(samples) if method != "GET" else ids, query)
            content = operation["responses"][str(answer.status)].get("content")
            if content is None:
                assert answer.body == b""
                continue
            if "json" not in answer.headers["content-type"]:
                assert {answer.headers["content-type"], "*/*"} & content.keys()
                continue
            schema = content[answer.headers["content-type"]]["schema"]
            jsonschema.Draft202012Validator(self_contained(document, schema)).validate(answer.json())


# -- OpenAPI 3.0 -------------------------------------------------------------------------------


def test_the_document_has_what_openapi_requires(samples: Server, document: dict[str, Any]) -> None:
    assert re.fullmatch(r"3\.0\.\d", document["openapi"])
    assert document.keys() <= {"openapi", "info", "servers", "paths", "components", "security", "tags", "externalDocs"}
    assert {"title", "version"} <= document["info"].keys()
    assert document["servers"] == [{"url": samples.url}]
    for path, item in document["paths"].items():
        assert path.startswith("/")
        assert item.keys() <= {*METHODS, "summary", "description", "servers", "parameters", "$ref"}


def test_operations_have_unique_ids_and_described_answers(document: dict[str, Any]) -> None:
    names = [operation["operationId"] for _, _, operation in operations(document, store=True)]
    assert len(set(names)) == len(names)
    for _, method, operation in operations(document, store=True):
        assert operation.keys() <= {
            "operationId",
            "summary",
            "description",
            "tags",
            "parameters",
            "requestBody",
            "responses",
        }
        assert ("requestBody" in operation) <= (method in ("POST", "PUT", "PATCH"))
        for status, response in operation["responses"].items():
            assert re.fullmatch(r"[1-5]\d\d|default", status)
            assert response["description"]
            assert all("/" in media_type for media_type in response.get("content", {}))


def test_every_reference_of_the_document_resolves(document: dict[str, Any]) -> None:
    found = set(references(document))
    assert found
    for reference in found:
        assert isinstance(resolve(document, reference), dict)
    unused = {f"#/components/schemas/{name}" for name in document["components"]["schemas"]} - found
    assert unused == set()


def test_parameters_are_declared_as_openapi_requires(document: dict[str, Any]) -> None:
    for path, _, operation in operations(document):
        places = [(parameter["in"], parameter["name"]) for parameter in operation["parameters"]]
        assert len(set(places)) == len(places)
        assert {name for place, name in places if place == "path"} == set(re.findall(r"{(.+?)}", path))
        for parameter in operation["parameters"]:
            assert parameter["in"] in ("path", "query")
            assert parameter["description"]
            assert ("schema" in parameter) != ("content" in parameter)
            assert parameter.get("required", False) == (parameter["in"] == "path")
            assert not {"example", "examples"} <= parameter.keys()


def test_every_schema_of_the_document_is_a_schema(document: dict[str, Any]) -> None:
    parameters = [parameter for _, _, operation in operations(document) for parameter in operation["parameters"]]
    schemas = [*document["components"]["schemas"].values(), *(parameter["schema"] for parameter in parameters)]
    for schema in schemas:
        jsonschema.Draft4Validator.check_schema(schema)  # the draft that OpenAPI 3.0 builds on
        assert '"type": [' not in json.dumps(schema)  # one type each, OpenAPI 3.0.3, Schema Object
    for parameter in parameters:
        for example in parameter.get("examples", {}).values():
            jsonschema.Draft4Validator(parameter["schema"]).validate(example["value"])


# -- Schemathesis ------------------------------------------------------------------------------


def test_schemathesis_finds_no_server_error_and_nothing_undeclared(
    samples: Server, document: dict[str, Any], tmp_path: Path
) -> None:
    """Made-up requests, valid and not, alone and in chains along links."""
    report = tmp_path / "report.json"
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run", f"{samples.url}/api",
            "--checks",
            "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance",
            "--phases", "examples,coverage,fuzzing,stateful", "--max-examples", str(long(100, 2500)),
            "--exclude-path-regex", f"^({'|'.join(STORE)})",
            "--continue-on-failure", "--suppress-health-check", "all", "--generation-database", "none", "--no-color",
            "--report", "json", "--report-json-path", report,
            *([] if TORTURE else ["--seed", "20"]),  # the long form draws anew each time
        ],
        capture_output=True, text=True, cwd=tmp_path, timeout=long(900, 7200),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]
    result = json.loads(report.read_text())
    assert result["complete"]
    assert result["failures"] == result["errors"] == []
    # It takes the document itself for no operation to test.
    assert result["valid_rates"].keys() == {f"{method} {path}" for path, method, _ in operations(document)} - {
        "GET /api"
    }
    cases = result["test_cases"]["generated"]
    print(f"Schemathesis ran {cases:,} cases (seed {result['seed']})")
    assert cases > 1000


def test_schemathesis_finds_no_server_error_in_the_store(samples: Server, tmp_path: Path) -> None:
    """What the store answers to what, its own tests say; that it never breaks, made-up requests."""
    hooks = tmp_path / "tus_hooks.py"  # it knows no bodies of tus
    tus, plain = "application/offset+octet-stream", "application/octet-stream"
    hooks.write_text(f"import schemathesis\nschemathesis.serializer.alias({tus!r}, {plain!r})\n")
    done = subprocess.run(
        [
            Path(sys.executable).with_name("schemathesis"), "run", f"{samples.url}/api",
            "--checks", "not_a_server_error", "--phases", "coverage,fuzzing", "--max-examples", str(long(20, 500)),
            "--include-path-regex", f"^({'|'.join(STORE)})", "--continue-on-failure", "--suppress-health-check", "all",
            "--generation-database", "none", "--no-color", *([] if TORTURE else ["--seed", "20"]),
        ],
        capture_output=True, text=True, cwd=tmp_path,
        env={**os.environ, "SCHEMATHESIS_HOOKS": "tus_hooks", "PYTHONPATH": str(tmp_path)}, timeout=long(900, 7200),
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-8000:] + done.stderr[-2000:]

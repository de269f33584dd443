"""The JSON Schemas of UP42's fields, so that what they describe can be validated without anybody else's server."""

from __future__ import annotations

from typing import Any

from starlette.responses import Response

from swath.errors import NotFound
from swath.http.call import Call
from swath.http.links import SCHEMA
from swath.http.responses import json_answer
from swath.http.route import Route

__all__ = ["FIELDS", "PATH", "ROUTES", "schema_of"]

PATH = "/stac-extensions/{extension}/v1.0.0/schema.json"
_TEXT = {"type": "string", "minLength": 1}
_UUID = {"type": "string", "minLength": 1, "description": "a UUID, at UP42"}

# Name of each extension, and its fields; all may be absent, and at least one is there.
FIELDS: dict[str, dict[str, dict[str, Any]]] = {
    "up42-system": {
        "source": {"type": "string", "enum": ["ARCHIVE", "TASKING", "ANALYTICS", "PROCESSING", "PLATFORM", "USER"]},
        "account_id": _UUID,
        "asset_id": _UUID,
        "workspace_id": _UUID,
        "metadata_version": _TEXT,
        "job_id": _UUID,
    },
    "up42-product": {
        "data_type": {"type": "string", "enum": ["raster", "vector", "pointcloud"]},
        "modality": _TEXT,
        "collection_name": _TEXT,
        "product_id": _TEXT,
    },
    "up42-user": {
        "title": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string", "minLength": 1}, "uniqueItems": True},
    },
    "up42-order": {
        "id": _TEXT,
        "status": _TEXT,
        "host_id": _TEXT,
    },
}


def schema_of(name: str, url: str) -> dict[str, Any]:
    """The schema of an extension: of items, which have the fields in `properties`, and collections at the top."""
    fields = {f"{name}:{field}": schema for field, schema in FIELDS[name].items()}
    present = {"anyOf": [{"required": [field]} for field in fields]}
    return {
        "$schema": "http://json-schema.org/draft-07/schema#",
        "$id": url,
        "title": f"{name} fields",
        "description": "Fields of the asset store's items (in properties) and collections (at the top).",
        "oneOf": [
            {
                "type": "object",
                "required": ["type", "properties"],
                "properties": {
                    "type": {"const": "Feature"},
                    "properties": {"allOf": [present, {"$ref": "#/definitions/fields"}]},
                },
            },
            {
                "allOf": [
                    {"type": "object", "required": ["type"], "properties": {"type": {"const": "Collection"}}},
                    present,
                    {"$ref": "#/definitions/fields"},
                ]
            },
        ],
        "definitions": {
            "fields": {
                "type": "object",
                "properties": fields,
                "patternProperties": {f"^(?!{name}:)": {}},
                "additionalProperties": False,
            }
        },
    }


def extension(call: Call) -> Response:
    call.parameters(())
    name = call.path["extension"]
    if name not in FIELDS:
        raise NotFound(f"there is no extension {name[:60]!r} here; those are {', '.join(FIELDS)}")
    url = call.address.home + PATH.replace("{extension}", name)
    answer = json_answer(schema_of(name, url), SCHEMA)
    answer.headers["cache-control"] = "public, max-age=86400"
    return answer


ROUTES: tuple[Route, ...] = (
    Route("GET", PATH, extension, "getExtensionSchema", "The JSON Schema of UP42's fields", ("extension",), None,
          {200: (SCHEMA, "object")}, (400, 404), "Service", "loop"),
)  # fmt: skip

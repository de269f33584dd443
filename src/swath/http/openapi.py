"""The OpenAPI 3.0 document, made from the table of routes."""

from __future__ import annotations

import itertools
from typing import Any

from swath import __version__
from swath.config import Settings
from swath.http.errors import ERRORS, PROBLEM_JSON
from swath.http.links import Address
from swath.http.route import JSON_BODIES, Route
from swath.http.table import ROUTES
from swath.limits import LIMITS

__all__ = ["document"]

_TEXT = {"type": "string"}
_STATUS = {"type": "string", "enum": ["NOT_PROCESSED", "IN_PROGRESS", "SUCCESSFUL", "FAILED"]}
_STRINGS = {"type": "array", "items": {"type": "string", "minLength": 1}}


def _query(name: str, description: str, schema: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"name": name, "in": "query", "description": description, "schema": schema, **more}


_LISTED = {"style": "form", "explode": False}

PARAMETERS: dict[str, dict[str, Any]] = {
    "collection": {"name": "collection", "in": "path", "required": True, "schema": _TEXT,
                   "description": "id of a collection"},
    "item": {"name": "item", "in": "path", "required": True, "schema": _TEXT, "description": "id of an item"},
    "asset": {"name": "asset", "in": "path", "required": True, "schema": _TEXT,
              "description": "name of a file of the documentation page"},
    "collections": _query("collections", "ids of collections, comma separated", _STRINGS, **_LISTED),
    "ids": _query("ids", "ids of items, comma separated", _STRINGS, **_LISTED),
    "bbox": _query("bbox", "west, south, east, north in degrees (with heights: 6 numbers); west > east runs across "
                   "the antimeridian", {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6},
                   **_LISTED),
    "intersects": _query("intersects", "a GeoJSON geometry as text", _TEXT),
    "datetime": _query("datetime", "an RFC 3339 instant or an interval; `..` or nothing for an open end", _TEXT,
                       examples={"interval": {"value": "2020-01-01T00:00:00Z/.."}}),
    "limit": _query("limit", f"items of a page; more than {LIMITS.page_max:,} is taken as that",
                    {"type": "integer", "minimum": 1}),
    "query": _query("query", 'tests on properties as JSON text, such as {"eo:cloud_cover": {"lt": 10}}', _TEXT),
    "filter": _query("filter", "a CQL2 filter", _TEXT, examples={"text": {"value": "eo:cloud_cover < 10"}}),
    "filter-lang": _query("filter-lang", "language of the filter",
                          {"type": "string", "enum": ["cql2-text", "cql2-json"], "default": "cql2-text"}),
    "filter-crs": _query("filter-crs", "coordinate system of the filter; only CRS84",
                         {"type": "string", "enum": ["http://www.opengis.net/def/crs/OGC/1.3/CRS84"]}),
    "sortby": _query("sortby", "names, comma separated; `-` before a name descends", _TEXT,
                     examples={"newest": {"value": "-datetime"}}),
    "fields": _query("fields", "members to return, comma separated; `-` before a path leaves it out", _TEXT),
    "token": _query("token", "a place in the result, out of a `next` or `prev` link", _TEXT),
    "count": _query("count", "`none` saves the count, `exact` waits for it", {"type": "string",
                                                                                "enum": ["exact", "none"]}),
    "as-of": _query("as-of", "an RFC 3339 instant: the catalogue as it was then", _TEXT),
    "deletion": _query("deletion", "which deletion is undone, as the trash tells it; without it, the last", _TEXT),
    "cascade": _query("cascade", "delete the collection's items too", {"type": "boolean"}),
    "version": {"name": "version", "in": "path", "required": True, "schema": _TEXT,
                "description": "tag of a version: the first part of its ETag"},
    "workspace": {"name": "workspace", "in": "path", "required": True, "schema": _TEXT,
                  "description": "id of the caller's workspace: `sub` of /realms/…/userinfo"},
    "webhook": {"name": "webhook", "in": "path", "required": True, "schema": _TEXT, "description": "id of a webhook"},
    "delivery": {"name": "delivery", "in": "path", "required": True, "schema": _TEXT,
                 "description": "number of a dead letter"},
    "job": {"name": "job", "in": "path", "required": True, "schema": _TEXT, "description": "id of a job"},
    "mode": _query("mode", "what to do with an id that is there: refuse it, replace the item, or keep it",
                   {"type": "string", "enum": ["insert", "upsert", "ignore"], "default": "insert"}),
    "atomic": _query("atomic", f"all or none, at most {LIMITS.atomic_items:,} items", {"type": "boolean"}),
    "dry_run": _query("dry_run", "only tell what would be done", {"type": "boolean"}),
    "fix": _query("fix", "mend geometries by the rules of RFC 7946; what was changed is said in Swath-Notes",
                  {"type": "boolean"}),
    "report": _query("report", "which items to report", {"type": "string", "enum": ["all", "refused"]}),
    "since": _query("since", "a token out of the feed, an RFC 3339 instant, or `now`; without it, from the beginning",
                    _TEXT),
    "wait": _query("wait", f"seconds to wait where there is nothing new, at most {LIMITS.feed_wait_seconds:g}",
                   {"type": "integer", "minimum": 0}),
    "asset-href-mode": _query(
        "asset-href-mode", "where assets of this server's own store are said to be: here, by signed links, as files of "
        "this machine, in the object store, or all of them as alternates; where the store is served",
        {"type": "string", "enum": ["api", "signed", "file", "store", "alternate"]}),
    "file": {"name": "file", "in": "path", "required": True, "schema": _TEXT, "description": "id of a file"},
    "upload": {"name": "upload", "in": "path", "required": True, "schema": _TEXT, "description": "id of an upload"},
    "extension": {"name": "extension", "in": "path", "required": True, "schema": _TEXT,
                  "description": "name of an extension, such as up42-user"},
    "Expires": _query("Expires", "of a signed link: until when it holds, in seconds since 1970", _TEXT),
    "Signature": _query("Signature", "of a signed link", _TEXT),
    "response-content-disposition": _query("response-content-disposition", "of a signed link: what it is saved as",
                                           _TEXT),
    "expires_in": _query("expires_in", "seconds for which the link is to hold", {"type": "integer", "minimum": 1}),
    "createdAfter": _query("createdAfter", "a date or an RFC 3339 instant", _TEXT),
    "createdBefore": _query("createdBefore", "a date or an RFC 3339 instant", _TEXT),
    "workspaceId": _query("workspaceId", "id of a workspace", _TEXT),
    "workspace_id": _query("workspace_id", "id of a workspace", _TEXT),
    "collectionNames": _query("collectionNames", "any of these, repeated or comma separated", _STRINGS),
    "producerNames": _query("producerNames", "any of these, repeated or comma separated", _STRINGS),
    "tags": _query("tags", "any of these, repeated or comma separated", _STRINGS),
    "sources": _query("sources", "any of these, repeated or comma separated", _STRINGS),
    "search": _query("search", "a part of the name, the title or the order's id", _TEXT),
    "geospatialMetadataExtractionStatus": _query("geospatialMetadataExtractionStatus", "any of these", {
        "type": "array", "items": _STATUS}),
    "orderId": _query("orderId", "id of an order", _TEXT),
    "id": _query("id", "any of these", _STRINGS),
    "deleted": _query("deleted", "what is in the trash, instead", {"type": "boolean"}),
    "page": _query("page", "number of a page, from 0", {"type": "integer", "minimum": 0}),
    "size": _query("size", "deliveries of a page, 1,000 at the most", {"type": "integer", "minimum": 1}),
    "sort": _query("sort", "a name, and asc or desc: `createdAt,desc`", _STRINGS),
    "explain": _query("explain", "tell how the items were found; where the server allows it", {"type": "boolean"}),
}  # fmt: skip

_LINK = {
    "type": "object",
    "required": ["rel", "href"],
    "properties": {"rel": _TEXT, "href": _TEXT, "type": _TEXT, "title": _TEXT, "method": _TEXT,
                   "body": {"type": "object"}},
}  # fmt: skip
_LINKS = {"type": "array", "items": {"$ref": "#/components/schemas/link"}}
_COUNT = {"type": "integer", "minimum": 0}

SCHEMAS: dict[str, dict[str, Any]] = {
    "link": _LINK,
    "object": {"type": "object"},
    "text": {"type": "string"},
    "catalog": {
        "type": "object",
        "required": ["type", "stac_version", "id", "description", "links", "conformsTo"],
        "properties": {"type": {"type": "string", "enum": ["Catalog"]}, "stac_version": _TEXT, "id": _TEXT,
                       "title": _TEXT, "description": _TEXT, "links": _LINKS,
                       "conformsTo": {"type": "array", "items": _TEXT}},
    },
    "conformance": {
        "type": "object",
        "required": ["conformsTo"],
        "properties": {"conformsTo": {"type": "array", "items": _TEXT}},
    },
    "collection": {
        "type": "object",
        "description": "A STAC Collection as its publisher wrote it, with links of this server. Where extent, "
        "summaries and swath:items (the number of items) were left out, they are told from the items.",
        "required": ["id", "links", "extent"],
        "properties": {"id": _TEXT, "links": _LINKS, "extent": {"type": "object"}, "summaries": {"type": "object"},
                       "swath:items": {}},
    },
    "collections": {
        "type": "object",
        "required": ["collections", "links", "numberMatched", "numberReturned"],
        "properties": {"collections": {"type": "array", "items": {"$ref": "#/components/schemas/collection"}},
                       "links": _LINKS, "numberMatched": _COUNT, "numberReturned": _COUNT,
                       "explain": {"type": "object"}},
    },
    "item": {
        "type": "object",
        "description": "A STAC Item as its publisher wrote it, with links of this server.",
        "properties": {"id": _TEXT, "links": _LINKS},
    },
    "itemCollection": {
        "type": "object",
        "required": ["type", "features", "links", "numberReturned"],
        "properties": {"type": {"type": "string", "enum": ["FeatureCollection"]},
                       "features": {"type": "array", "items": {"$ref": "#/components/schemas/item"}},
                       "links": _LINKS, "numberMatched": _COUNT, "numberReturned": _COUNT,
                       "explain": {"type": "object"}},
    },
    "names": {
        "type": "object",
        "description": "A JSON Schema whose properties are the names.",
        "required": ["$schema", "$id", "type", "properties"],
        "properties": {"properties": {"type": "object"}},
    },
    "schema": {
        "type": "object",
        "description": "A JSON Schema whose properties are queryables.",
        "required": ["properties"],
        "properties": {
            "type": {"type": "string", "enum": ["object"]},
            "properties": {"type": "object", "additionalProperties": {"type": "object"}},
            "additionalProperties": {"type": "boolean"},
        },
    },
    "limits": {"type": "object", "additionalProperties": {"type": "number"}},
    "functions": {
        "type": "object",
        "required": ["functions"],
        "properties": {"functions": {"type": "array", "items": {"type": "object", "required": ["name", "returns"]}}},
    },
    "search": {
        "type": "object",
        "additionalProperties": False,
        "properties": {
            "collections": {"oneOf": [{"type": "array", "items": _TEXT}, _TEXT]},
            "ids": {"oneOf": [{"type": "array", "items": _TEXT}, _TEXT]},
            "bbox": {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 6},
            "intersects": {"type": "object"},
            "datetime": _TEXT,
            "limit": {"type": "integer", "minimum": 1},
            "query": {"type": "object"},
            "filter": {"oneOf": [{"type": "object"}, {"type": "boolean"}, _TEXT]},
            "filter-lang": {"type": "string", "enum": ["cql2-json", "cql2-text"], "default": "cql2-json"},
            "filter-crs": {"type": "string", "enum": ["http://www.opengis.net/def/crs/OGC/1.3/CRS84"]},
            "sortby": {
                "type": "array",
                "items": {
                    "type": "object",
                    "required": ["field"],
                    "properties": {"field": _TEXT, "direction": {"type": "string", "enum": ["asc", "desc"]}},
                },
            },
            "fields": {
                "type": "object",
                "additionalProperties": False,
                "properties": {"include": {"type": "array", "items": _TEXT},
                               "exclude": {"type": "array", "items": _TEXT}},
            },
            "token": _TEXT,
            "count": {"type": "string", "enum": ["exact", "none"]},
            "explain": {"type": "boolean"},
            "as-of": _TEXT,
            "asset-href-mode": {"type": "string", "enum": ["api", "signed", "file", "store", "alternate"]},
        },
    },
    "asset": {
        "type": "object",
        "required": ["id", "accountId", "workspaceId", "createdAt", "updatedAt", "name", "size", "contentType",
                     "geospatialMetadataExtractionStatus"],
        "properties": {"id": _TEXT, "accountId": _TEXT, "workspaceId": _TEXT, "createdAt": _TEXT, "updatedAt": _TEXT,
                       "name": _TEXT, "size": _COUNT, "contentType": _TEXT, "source": _TEXT, "orderId": _TEXT,
                       "productId": _TEXT, "producerName": _TEXT, "collectionName": _TEXT, "title": _TEXT,
                       "tags": {"type": "array", "items": _TEXT},
                       "geospatialMetadataExtractionStatus": {
                           "type": "string", "enum": ["NOT_PROCESSED", "IN_PROGRESS", "SUCCESSFUL", "FAILED"]},
                       "statusReason": _TEXT, "durationSeconds": {"type": "number"}, "stacCollectionId": _TEXT,
                       "sha256": _TEXT, "progress": {"type": "object"}},
    },
    "assets": {
        "type": "object",
        "description": "A page in the shape of Spring's.",
        "required": ["content", "totalPages", "totalElements", "last", "first", "size", "number", "numberOfElements",
                     "empty"],
        "properties": {"content": {"type": "array", "items": {"$ref": "#/components/schemas/asset"}},
                       "totalPages": _COUNT, "totalElements": _COUNT, "last": {"type": "boolean"},
                       "first": {"type": "boolean"}, "size": _COUNT, "number": _COUNT, "numberOfElements": _COUNT,
                       "empty": {"type": "boolean"}},
    },
    "assetMetadata": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"title": {"type": "string", "nullable": True},
                       "tags": {"type": "array", "items": _TEXT, "nullable": True}},
    },
    "storagePatch": {
        "type": "object",
        "additionalProperties": False,
        "properties": {"up42-user:title": {"type": "string", "nullable": True},
                       "up42-user:tags": {"type": "array", "items": _TEXT, "nullable": True}},
    },
    "storageSearch": {"type": "object", "description": "A search; the filter is CQL2 JSON unless filter-lang says so."},
    "file": {"type": "string", "format": "binary"},
    "form": {"type": "object", "required": ["grant_type"],
             "properties": {"grant_type": {"type": "string", "enum": ["password", "refresh_token"]}, "username": _TEXT,
                            "password": _TEXT, "refresh_token": _TEXT, "client_id": _TEXT, "scope": _TEXT}},
    "items": {
        "type": "object",
        "description": "A STAC Item, or an ItemCollection of them.",
        "required": ["type"],
        "properties": {"type": {"type": "string", "enum": ["Feature", "FeatureCollection"]}},
    },
    "bulkItems": {
        "type": "object",
        "required": ["items"],
        "properties": {"items": {"type": "object", "additionalProperties": {"type": "object"}},
                       "method": {"type": "string", "enum": ["insert", "upsert"]}},
    },
    "report": {
        "type": "object",
        "required": ["collection", "mode", "created", "updated", "unchanged", "ignored", "refused", "items"],
        "properties": {
            "collection": _TEXT, "mode": _TEXT, "created": _COUNT, "updated": _COUNT, "unchanged": _COUNT,
            "ignored": _COUNT, "refused": _COUNT, "not_done": _COUNT,
            "items": {"type": "array", "items": {
                "type": "object",
                "required": ["line", "outcome"],
                "properties": {"line": _COUNT, "id": {"description": "null where it could not be told"},
                               "outcome": _TEXT, "reason": _TEXT, "pointer": _TEXT},
            }},
        },
    },
    "job": {
        "type": "object",
        "description": "OGC API - Processes, statusInfo.",
        "required": ["jobID", "type", "status", "links"],
        "properties": {"jobID": _TEXT, "type": _TEXT, "created": _TEXT, "links": _LINKS,
                       "status": {"type": "string",
                                  "enum": ["accepted", "running", "successful", "failed", "dismissed"]}},
    },
    "webhookRequest": {
        "type": "object",
        "required": ["url"],
        "additionalProperties": False,
        "properties": {"url": {"type": "string", "format": "uri"}, "collections": {"type": "array", "items": _TEXT},
                       "filter": {"oneOf": [{"type": "object"}, _TEXT]},
                       "filter-lang": {"type": "string", "enum": ["cql2-json", "cql2-text"]}, "description": _TEXT},
    },
    "webhook": {
        "type": "object",
        "description": "Messages are signed by Standard Webhooks; `secret` is told once, when the webhook is made.",
        "required": ["id", "url", "created", "links"],
        "properties": {"id": _TEXT, "url": _TEXT, "created": _TEXT, "secret": _TEXT, "links": _LINKS},
    },
    "workspaceWebhook": {
        "type": "object",
        "required": ["name", "url", "events"],
        "properties": {"name": {"type": "string", "minLength": 1, "maxLength": 256},
                       "url": {"type": "string", "format": "uri"},
                       "events": {"type": "array", "items": _TEXT, "minItems": 1},
                       "secret": {"type": "string", "nullable": True, "maxLength": 256},
                       "active": {"type": "boolean", "nullable": True, "default": False}},
    },
    "collectionsBody": {
        "type": "object",
        "description": "A STAC Collection, or `collections`, an array of them.",
        "properties": {"id": {"type": "string", "minLength": 1},
                       "collections": {"type": "array", "items": {"type": "object"}, "minItems": 1}},
    },
    "patch": {"description": "A JSON Merge Patch (an object), or a JSON Patch (an array of operations)."},
    "versions": {
        "type": "object",
        "required": ["versions", "links", "numberReturned"],
        "properties": {
            "versions": {"type": "array", "items": {
                "type": "object",
                "required": ["version", "at", "actor", "deleted", "restorable"],
                "properties": {"version": _TEXT, "at": _TEXT, "actor": _TEXT, "deleted": {"type": "boolean"},
                               "restorable": {"type": "boolean"}, "links": _LINKS},
            }},
            "links": _LINKS, "numberReturned": _COUNT,
        },
    },
    "trash": {
        "type": "object",
        "required": ["links", "numberReturned"],
        "properties": {"collections": {"type": "array", "items": {"type": "object"}},
                       "items": {"type": "array", "items": {"type": "object"}},
                       "links": _LINKS, "numberReturned": _COUNT},
    },
    "changes": {
        "type": "object",
        "required": ["changes", "token", "complete", "links", "numberReturned"],
        "properties": {
            "changes": {"type": "array", "items": {
                "type": "object",
                "required": ["type", "kind", "collection", "version", "at", "actor"],
                "properties": {"type": {"type": "string", "enum": ["put", "delete", "restore", "left"]},
                               "kind": {"type": "string", "enum": ["item", "collection", "queryables"]},
                               "collection": _TEXT, "id": _TEXT, "version": _TEXT, "at": _TEXT, "actor": _TEXT,
                               "href": _TEXT, "document": {"type": "object"},
                               "passed": {"type": "integer", "minimum": 1,
                                          "description": "how many of its id were deleted after what comes back"}},
            }},
            "token": _TEXT, "complete": {"type": "boolean"}, "links": _LINKS, "numberReturned": _COUNT,
        },
    },
    "problem": {
        "type": "object",
        "description": "RFC 9457.",
        "required": ["type", "title", "status", "code", "description", "detail", "message", "instance"],
        "properties": {
            "type": _TEXT, "title": _TEXT, "status": {"type": "integer"},
            "code": {"type": "string", "enum": sorted({code for _, _, code in ERRORS} | {"InternalError"})},
            "description": _TEXT, "detail": _TEXT, "message": _TEXT, "instance": _TEXT,
            "at": {"description": "where in the filter or document: a text offset or a JSON pointer"},
        },
    },
}  # fmt: skip

_ANSWERS = {
    201: "it was created",
    202: "it will be done",
    204: "it was done",
    206: "a part of it",
    207: "it was done in part",
    304: "not changed",
    307: "it is there",
    409: "nothing was done",
}
_FAULTS = {
    400: "the request cannot be understood",
    401: "no token, or one that is not good any more",
    403: "not allowed here",
    404: "there is no such thing",
    405: "an id in the path is empty, and what is left of the path does not take this method",
    409: "the id is taken, or the collection holds items",
    410: "the token is from an earlier life of the catalogue, or the instant is older than what is kept",
    412: "If-Match or If-None-Match does not hold",
    413: "larger than /limits allows",
    415: "not a media type that is read here",
    416: "the file has no such range",
    422: "the Idempotency-Key came with another request before",
    423: "another request sends to the upload",
    460: "the bytes are not those of Upload-Checksum",
    503: "over the deadline, or too many requests at once",
}


def document(address: Address, settings: Settings) -> dict[str, Any]:
    """The document, as seen from an address."""
    paths: dict[str, dict[str, Any]] = {}
    for route in ROUTES:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.0.3",
        "info": {"title": settings.title, "description": settings.description, "version": __version__},
        "servers": [{"url": address.base or "/"}],
        "paths": paths,
        "components": {"schemas": SCHEMAS},
    }


def _operation(route: Route) -> dict[str, Any]:
    answers: dict[str, Any] = {}
    for status, (media_type, schema) in route.answers.items():
        answers[str(status)] = {"description": _ANSWERS.get(status, "what was asked for")}
        if media_type:
            answers[str(status)]["content"] = {media_type: {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    conditional = route.method == "GET" and route.lane != "stream"  # see http.entities
    if conditional:
        answers["304"] = {"description": _ANSWERS[304]}
    for status in sorted({*route.faults, *_faults_of_empty_ids(route), *((412,) if conditional else ())}):
        answers[str(status)] = {
            "description": _FAULTS[status],
            "content": {PROBLEM_JSON: {"schema": {"$ref": "#/components/schemas/problem"}}},
        }
    operation: dict[str, Any] = {
        "operationId": route.operation,
        "summary": route.summary,
        "tags": [route.tag],
        "parameters": [PARAMETERS[name] for name in route.parameters],
        "responses": answers,
    }
    if route.body:
        operation["requestBody"] = {
            "required": route.method == "PUT",
            "content": {
                media_type: {"schema": {"$ref": f"#/components/schemas/{route.body}"}}
                for media_type in (route.accepts if route.accepts is not JSON_BODIES else JSON_BODIES[:1])
            },
        }
    return operation


def _faults_of_empty_ids(route: Route) -> tuple[int, ...]:
    """With an empty id a path leads elsewhere, to what may not take the method.

    A slash at the end counts for nothing, and many clients make one of two slashes: `/collections//items` is what they
    send as `/collections/items`.
    """
    parts = route.path.split("/")
    ids = [number for number, part in enumerate(parts) if part.startswith("{")]
    for empty in itertools.chain.from_iterable(itertools.combinations(ids, count) for count in range(1, len(ids) + 1)):
        left = [part for number, part in enumerate(parts) if number not in empty]
        methods = {other.method for other in ROUTES if _leads_to(left, other.path.split("/"))}
        if methods and route.method not in methods:
            return (405,)
    return ()


def _leads_to(asked: list[str], parts: list[str]) -> bool:
    return len(asked) == len(parts) and all(
        part == given or part.startswith("{") for given, part in zip(asked, parts, strict=True)
    )

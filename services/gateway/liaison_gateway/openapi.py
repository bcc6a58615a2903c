"""The OpenAPI 3.1 document, composed from the manifests of the services that have been seen."""

import gzip
import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from liaison_gateway import own
from liaison_gateway.auth import SESSION_COOKIE
from liaison_gateway.manifests import Registry
from liaison_gateway.routes import PREFIX, Operation, Route
from liaison_sdk.version import VERSION

TITLES = {
    400: "The request cannot be read",
    401: "Nobody is signed in",
    403: "The role does not allow this",
    404: "There is no such record",
    408: "The request took too long to arrive",
    409: "It clashes with what is there",
    412: "The record has changed since it was read",
    413: "The body is too large",
    414: "The address is too long",
    415: "This kind of content is not read here",
    422: "Some fields need another look",
    428: "Say which version you are changing",
    429: "Too many requests",
    431: "The request's head is too large",
    500: "Something went wrong",
    503: "A module does not answer",
}

PROBLEM: dict[str, Any] = {
    "type": "object",
    "title": "Problem",
    "description": "RFC 9457: what went wrong, with every bad field named at once.",
    "required": ["type", "title", "status", "code", "trace_id"],
    "properties": {
        "type": {"type": "string", "examples": ["urn:liaison:problem:invalid_input"]},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "detail": {"type": "string"},
        "code": {"type": "string", "description": "Stable; switch on this."},
        "errors": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["path", "code", "message"],
                "properties": {
                    "path": {
                        "type": "string",
                        "description": (
                            "Where the field is in what was sent, its names and places (from 0) "
                            "joined by dots; a query parameter by its name."
                        ),
                        "examples": ["emails.0.address", "custom.size", "amount[gte]"],
                    },
                    "code": {"type": "string"},
                    "message": {"type": "string"},
                },
            },
        },
        "trace_id": {"type": "string", "description": "Name this when you ask for help."},
        "service": {"type": "string", "description": "The module that does not answer."},
    },
}

MERGED_LIST_PARAMETERS: list[dict[str, Any]] = [
    {
        "name": "limit",
        "in": "query",
        "description": "Items on a page.",
        "schema": {"type": "integer", "minimum": 1, "maximum": 200, "default": 50},
    },
    {
        "name": "cursor",
        "in": "query",
        "description": "`next` of the page before.",
        "schema": {"type": "string", "format": "uuid"},
    },
]


class Document:
    """The composed document as bytes, made anew only when the API has changed."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry
        self._revision = -1
        self.body = self.gzipped = b""
        self.etag = '""'

    def refresh(self) -> "Document":
        """Bring the document up to date."""
        if self._revision != self._registry.revision:
            self._revision = self._registry.revision
            self.body = json.dumps(compose(self._registry), separators=(",", ":")).encode()
            self.gzipped = gzip.compress(self.body, 6, mtime=0)
            self.etag = f'"{hashlib.sha256(self.body).hexdigest()[:32]}"'
        return self


def compose(registry: Registry) -> dict[str, Any]:
    """The document of everything that is there now."""
    schemas: dict[str, Any] = {"Problem": PROBLEM, **own.SCHEMAS}
    renames = {
        name: _merge_schemas(schemas, name, registry.modules[name].manifest.get("schemas") or {})
        for name in sorted(registry.modules)
    }
    paths = {PREFIX + path: methods for path, methods in own.paths(TITLES).items()}
    for route in registry.table:
        operation = _operation(route, renames[route.operation.service])
        paths.setdefault(PREFIX + route.path, {})[route.method.lower()] = operation
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Liaison",
            "version": VERSION,
            "description": "The modules that are deployed here, as one API.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": "/"}],
        "tags": _tags(registry),
        "paths": dict(sorted(paths.items())),
        "components": {
            "schemas": schemas,
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "cookie": {"type": "apiKey", "in": "cookie", "name": SESSION_COOKIE},
            },
        },
        "security": [{"bearer": []}, {"cookie": []}],
    }


def _tags(registry: Registry) -> list[dict[str, Any]]:
    return [{"name": own.TAG, "description": own.LABEL["en"], "x-label": own.LABEL}] + [
        {
            "name": name,
            "description": (module.manifest.get("label") or {}).get("en", name),
            "x-label": module.manifest.get("label") or {},
            "x-version": module.manifest.get("version"),
        }
        for name, module in sorted(registry.modules.items())
    ]


def _merge_schemas(
    merged: dict[str, Any], service: str, schemas: Mapping[str, Any]
) -> dict[str, str]:
    """Add a service's schemas; one that has another meaning elsewhere gets the service's name."""
    renamed = {
        name: f"{service.capitalize()}{name}"
        for name, schema in schemas.items()
        if name in merged and merged[name] != schema
    }
    for name, schema in schemas.items():
        merged[renamed.get(name, name)] = _with_references(schema, renamed)
    return renamed


def _with_references(schema: Any, renamed: Mapping[str, str]) -> Any:
    if not renamed:
        return schema
    if isinstance(schema, dict):
        return {
            key: _renamed_reference(value, renamed)
            if key == "$ref" and isinstance(value, str)
            else _with_references(value, renamed)
            for key, value in schema.items()
        }
    if isinstance(schema, list):
        return [_with_references(item, renamed) for item in schema]
    return schema


def _renamed_reference(reference: str, renamed: Mapping[str, str]) -> str:
    head, _, name = reference.rpartition("/")
    return f"{head}/{renamed.get(name, name)}"


def _operation(route: Route, renamed: Mapping[str, str]) -> dict[str, Any]:
    first = route.operation
    manifest = first.manifest
    document: dict[str, Any] = {
        "operationId": f"{first.service}_{first.name}",
        "tags": sorted({operation.service for operation in route.operations}),
        "summary": manifest.get("summary") or first.name,
        "parameters": _parameters(route, renamed),
        "responses": _responses(route, renamed),
    }
    if manifest.get("description"):
        document["description"] = manifest["description"]
    if first.permission:
        document["x-permission"] = first.permission
    if first.public:
        document["security"] = []
    if first.upload:
        file = {"type": "string", "contentMediaType": "application/octet-stream"}
        form = {"type": "object", "required": ["file"], "properties": {"file": file}}
        document["requestBody"] = {
            "required": True,
            "content": {
                "multipart/form-data": {"schema": form},
                "application/octet-stream": {"schema": {}},
            },
        }
    elif manifest.get("request"):
        schema = _with_references(manifest["request"], renamed)
        document["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": schema}},
        }
    return document


def _parameters(route: Route, renamed: Mapping[str, str]) -> list[dict[str, Any]]:
    manifest = route.operation.manifest
    declared = {parameter["name"]: parameter for parameter in manifest.get("path_params") or ()}
    found: list[dict[str, Any]] = [
        {
            "name": name,
            "in": "path",
            "required": True,
            "schema": (declared.get(name) or {}).get("schema") or {"type": "string"},
        }
        for name in route.params
    ]
    found += [
        {
            "name": parameter["name"],
            "in": "query",
            "required": bool(parameter.get("required")),
            "schema": parameter.get("schema") or {},
            **({"description": d} if (d := parameter.get("description")) else {}),
            **({"explode": False} if parameter.get("explode") is False else {}),
        }
        for parameter in manifest.get("query_params") or ()
    ]
    named = {parameter["name"] for parameter in found}
    if route.shared == "merge":
        found += [p for p in MERGED_LIST_PARAMETERS if p["name"] not in named]
    if route.shared == "record" and "record" not in named:
        records = sorted({record for o in route.operations for record in o.records})
        found.append(
            {
                "name": "record",
                "in": "query",
                "required": True,
                "description": "The record type that this is about.",
                "schema": {"type": "string", "enum": records},
            }
        )
    if route.operation.upload and "name" not in named:
        found.append(
            {
                "name": "name",
                "in": "query",
                "description": "The file's name, when the body is the file itself.",
                "schema": {"type": "string", "maxLength": 255},
            }
        )
    if manifest.get("if_match") or manifest.get("if_match_optional"):
        found.append(
            {
                "name": "If-Match",
                "in": "header",
                "required": bool(manifest.get("if_match")),
                "description": "The version that this changes, in double quotes.",
                "schema": {"type": "string", "pattern": '^"[0-9]{1,18}"$', "examples": ['"3"']},
            }
        )
    if manifest.get("idempotent"):
        found.append(
            {
                "name": "Idempotency-Key",
                "in": "header",
                "description": "The same key gets the first answer again.",
                "schema": {"type": "string", "pattern": "^[!-~]{1,255}$"},
            }
        )
    return [_with_references(parameter, renamed) for parameter in found]


def _responses(route: Route, renamed: Mapping[str, str]) -> dict[str, Any]:
    manifest = route.operation.manifest
    status = int(manifest.get("status") or 200)
    if manifest.get("empty") and status in (200, 201):
        status = 204
    done: dict[str, Any] = {"description": "Done" if status != 202 else "Taken on; see Location"}
    if route.operation.download:
        # A file is handed out as what it was handed in.
        done["content"] = {"*/*": {"schema": {}}}
    elif manifest.get("response"):
        schema = _with_references(manifest["response"], renamed)
        done["content"] = {"application/json": {"schema": schema}}
    responses = {str(status): done}
    for problem in sorted(_problems(route, manifest)):
        responses[str(problem)] = {
            "description": TITLES.get(problem, "A problem"),
            "content": {
                "application/problem+json": {"schema": {"$ref": "#/components/schemas/Problem"}}
            },
        }
    return responses


def _problems(route: Route, manifest: Mapping[str, Any]) -> Iterable[int]:
    """What can go wrong: what the service declares, and what the door itself refuses."""
    found = {int(status) for status in manifest.get("problems") or ()} | {
        400,
        414,
        422,
        429,
        431,
        503,
    }
    operation: Operation = route.operation
    if not operation.public:
        found |= {401, 403}
    if route.params:
        found.add(404)
    if route.method != "GET":
        found |= {408, 409, 413, 415}
    if manifest.get("if_match"):
        found |= {412, 428}
    if manifest.get("if_match_optional"):
        found.add(412)
    return found

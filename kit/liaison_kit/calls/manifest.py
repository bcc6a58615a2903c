"""A service's manifest: what it can do, told to the gateways that compose the API from it."""

import hashlib
import inspect
import json
import re
import typing
from typing import Any

from pydantic import BaseModel, TypeAdapter
from pydantic.json_schema import models_json_schema

from liaison_kit.additions import Added, label
from liaison_kit.boards import BoardShape
from liaison_kit.calls.operations import Operation
from liaison_kit.conditions.schema import schemas as condition_schemas
from liaison_kit.listing.asked import DEFAULT_LIMIT, MAX_LIMIT, WHERE, Page
from liaison_kit.listing.mine import Mine
from liaison_kit.records import custom
from liaison_kit.records.custom import CONDITION_KINDS, PluginField
from liaison_kit.records.operators import operators_of
from liaison_kit.records.recordtype import FieldInfo, RecordType
from liaison_kit.records.values import ME, TEXT_LENGTH

_REF = "#/components/schemas/{model}"
_FILTER_SCHEMAS: dict[str, dict[str, Any]] = {
    "integer": {"type": "integer"},
    "decimal": {"type": "string", "pattern": r"^-?\d{1,16}(\.\d{1,4})?$"},
    "money": {"type": "string", "pattern": r"^-?\d{1,16}(\.\d{1,4})?$"},
    "date": {"type": "string", "format": "date"},
    # A day is all of it, in the tenant's time zone.
    "datetime": {
        "anyOf": [
            {"type": "string", "format": "date-time"},
            {"type": "string", "format": "date"},
        ]
    },
    "boolean": {"type": "boolean"},
    "id": {"type": "string", "format": "uuid"},
}
_ORDERED = ("integer", "decimal", "money", "date", "datetime")
# PostgreSQL's text holds no NUL and UTF-8 no surrogate.
_TEXT = {"type": "string", "maxLength": TEXT_LENGTH, "pattern": r"^[^\x00\ud800-\udfff]*$"}
_CONDITION = {
    "type": "string",
    "contentMediaType": "application/json",
    "contentSchema": {"$ref": _REF.format(model="Condition")},
}


def operations(service: type[Any]) -> list[Operation]:
    """A service's operations, in the order of their paths."""
    found = [
        member.operation
        for _name, member in inspect.getmembers(service)
        if hasattr(member, "operation")
    ]
    return sorted(found, key=lambda o: (o.path, o.method or "", o.name))


def manifest(service: type[Any]) -> dict[str, Any]:
    """Everything that a gateway needs to know of the service; computed once per process."""
    made: dict[str, Any] | None = service.__dict__.get("_manifest")
    if made is None:
        made = _manifest(service)
        service._manifest = made
    return dict(made)


def _manifest(service: type[Any]) -> dict[str, Any]:
    offered = [o for o in operations(service) if not o.internal and _offered(service, o)]
    declared = [o for o in offered if not o.page]
    schemas = _Schemas(declared)
    described = [_operation(service, o, schemas) for o in declared]
    pages = [_page(service, o) for o in offered if o.page]
    for operation in (*described, *pages):
        operation["signature"] = _signature(operation, schemas.components)
    return {
        "service": service.name,
        "version": service.version,
        "generation": _generation(service.version, [*described, *pages]),
        "label": service.label.model_dump(),
        "operations": described,
        "pages": pages,
        "schemas": schemas.components,
        "records": [_record(kind, service.added) for kind in service.records],
        "permissions": [
            {"name": name, "label": label.model_dump()}
            for name, label in service.permissions.items()
        ],
        "notification_kinds": [
            {
                "name": kind.name,
                "label": kind.label.model_dump(),
                "channel": kind.channel,
                "subject": kind.subject.model_dump(),
                "text": kind.text.model_dump(),
            }
            for kind in service.notification_kinds
        ],
        "menu": list(service.menu),
        "mine": [_mine(each) for each in service.mine],
        "events": list(service.live),
    }


def generation(service: type[Any]) -> str:
    """What this code of the service offers, in a name: processes with one name are alike."""
    return str(manifest(service)["generation"])


def _generation(version: str, described: list[dict[str, Any]]) -> str:
    signatures = {operation["name"]: operation["signature"] for operation in described}
    # Words of a routing key are parted by dots.
    return f"{version.replace('.', '-')}-{_digest(signatures)}"


def _signature(operation: dict[str, Any], schemas: dict[str, Any]) -> str:
    """Equal when a call made for the one may go to the other: prose may differ, shapes may not."""
    shapes: dict[str, Any] = {}
    _gather(operation, schemas, shapes)
    said = {k: v for k, v in operation.items() if k not in ("summary", "description")}
    return _digest([said, shapes])


def _gather(part: Any, schemas: dict[str, Any], found: dict[str, Any]) -> None:
    """The schemas that a part refers to, and those that they refer to."""
    if isinstance(part, dict):
        name = str(part.get("$ref", "")).rpartition("/")[2]
        if name in schemas and name not in found:
            found[name] = schemas[name]
            _gather(schemas[name], schemas, found)
        part = list(part.values())
    if isinstance(part, list):
        for one in part:
            _gather(one, schemas, found)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:12]


def _offered(service: type[Any], operation: Operation) -> bool:
    """An operation about files or kinds of record is offered by services that have such only."""
    if operation.path.startswith("/imports"):
        return bool(service.importables)
    if operation.path.startswith(("/exports", "/bulk")):
        return bool(service.resources)
    record = operation.path.split("/")[1] if operation.path else ""
    if operation.path.endswith("/panels/{panel}"):
        return any(service.added.panels_of(record))
    if operation.path.endswith("/actions/{action}"):
        return any(service.added.actions_of(record))
    if operation.shared != "record":
        return True
    return bool(service.records_of(operation.name))


class _Schemas:
    """The JSON schemas of every request and answer, under `#/components/schemas`."""

    def __init__(self, declared: list[Operation]) -> None:
        wanted: list[tuple[type[BaseModel], typing.Literal["validation", "serialization"]]] = []
        for operation in declared:
            if operation.body is not None:
                wanted.append((operation.body[1], "validation"))
            if _is_model(operation.response):
                wanted.append((operation.response, "serialization"))
        refs, document = models_json_schema(list(dict.fromkeys(wanted)), ref_template=_REF)
        self._refs = refs
        self.components = {
            _plain(name): _renamed(schema) for name, schema in document.get("$defs", {}).items()
        }
        if any(operation.list_query for operation in declared):
            self.components |= condition_schemas(_REF.format(model=""))

    def of(self, model: Any, mode: typing.Literal["validation", "serialization"]) -> Any:
        """The reference to a model's schema."""
        if not _is_model(model):
            return None if model is None else TypeAdapter(model).json_schema()
        return _renamed(self._refs[(model, mode)])


def _is_model(hint: Any) -> bool:
    return inspect.isclass(hint) and issubclass(hint, BaseModel)


def _plain(name: str) -> str:
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("_")


def _renamed(schema: Any) -> Any:
    """References by plain names, without the marks that are for the manifest's records."""
    if isinstance(schema, dict):
        return {
            key: f"#/components/schemas/{_plain(value.rpartition('/')[2])}"
            if key == "$ref"
            else _renamed(value)
            for key, value in schema.items()
            if key != "x-liaison"
        }
    if isinstance(schema, list):
        return [_renamed(part) for part in schema]
    return schema


def _operation(service: type[Any], operation: Operation, schemas: _Schemas) -> dict[str, Any]:
    kind = operation.record
    listed = operation.list_query is not None
    described: dict[str, Any] = {
        "name": operation.name,
        "method": operation.method,
        "path": operation.path,
        "summary": operation.summary,
        "description": operation.description,
        "permission": operation.allow,
        "public": operation.public,
        "path_params": [
            {"name": p.name, "schema": p.adapter.json_schema()}
            for p in operation.parameters
            if p.source == "path"
        ],
        "query_params": [
            {"name": p.name, "schema": p.adapter.json_schema(), "required": p.required}
            for p in operation.parameters
            if p.source == "query"
        ]
        + (_list_params(kind, operation) if listed and isinstance(kind, RecordType) else []),
        "request": None if operation.body is None else schemas.of(operation.body[1], "validation"),
        "response": schemas.of(operation.response, "serialization"),
        "status": 202 if operation.accepted else operation.status,
        "empty": operation.response is None and not operation.download,
        "list": listed,
        "if_match": operation.if_match is not None,
        "upload": operation.upload is not None,
        "sealed": operation.sealed,
        "guessable": operation.guessable,
        "download": operation.download,
        "idempotent": operation.method == "POST" and operation.session is not None,
        "shared": operation.shared,
        "problems": list(operation.problems),
    }
    if operation.if_match is not None and not operation.if_match_required:
        # Said of the few only: what others say makes no new signature of them.
        described["if_match"] = False
        described["if_match_optional"] = True
    if operation.shared == "record":
        described["records"] = service.records_of(operation.name)
    return described


def _page(service: type[Any], operation: Operation) -> dict[str, Any]:
    """A page as gateways serve it, below its service's own address."""
    return {
        "name": operation.name,
        "method": operation.method,
        "path": f"/p/{service.name}{operation.path}",
        "public": True,
        "sealed": True,
        "guessable": operation.guessable,
    }


def _list_params(kind: RecordType, operation: Operation) -> list[dict[str, Any]]:
    paged = _is_model(operation.response) and issubclass(operation.response, Page)
    params = _page_params(kind) if paged else []
    if _is_model(operation.response) and issubclass(operation.response, BoardShape):
        params = [_sort_param(kind)]
    if kind.search is not None:
        params.append(_query("q", _TEXT, "Search: parts of words, accents ignored."))
    params.append(_query(WHERE, _CONDITION, "A condition: rules joined by and, or and not."))
    for name in kind.filters:
        known = kind.fields.get(name)
        params.append(_query(name, _TEXT, known.label.en if known else ""))
        params += _among(name, _TEXT)
    for name, info in kind.fields.items():
        if info.filterable and name not in kind.filters:
            params += _field_filters(name, info)
    return params


_SORT = (
    "Order; `-` turns it round. By `updated_at` records move while pages are read: with "
    "`-updated_at` those that change meanwhile come before the pages still to come and are missed, "
    "with `updated_at` they come again. To read all, sort by `id`."
)


def _sort_param(kind: RecordType) -> dict[str, Any]:
    sortable = [
        name
        for name, info in kind.fields.items()
        if info.sortable or name in ("id", "updated_at", "created_at")
    ]
    orders = [*sortable, *(f"-{name}" for name in sortable)]
    return _query("sort", {"type": "string", "enum": orders}, _SORT)


def _page_params(kind: RecordType) -> list[dict[str, Any]]:
    return [
        _sort_param(kind),
        _query(
            "limit",
            {"type": "integer", "minimum": 1, "maximum": MAX_LIMIT, "default": DEFAULT_LIMIT},
            "Records per page.",
        ),
        _query("cursor", {"type": "string"}, "Where the page starts: the last page's `next`."),
        _query("count", {"type": "boolean"}, "Also count all that match."),
    ]


def _field_filters(name: str, info: FieldInfo) -> list[dict[str, Any]]:
    schema: dict[str, Any] = _FILTER_SCHEMAS.get(info.kind, _TEXT)
    if info.choices:
        schema = {"type": "string", "enum": list(info.choices)}
    if info.user:
        schema = {"anyOf": [schema, {"const": ME}]}
    params = [_query(name, schema, info.label.en)]
    if info.kind in _ORDERED:
        params += [_query(f"{name}[{op}]", schema, "") for op in ("gt", "gte", "lt", "lte")]
    if info.kind != "list":
        params += [*_among(name, schema), _query(f"{name}[null]", {"type": "boolean"}, "")]
    return params


def _among(name: str, schema: dict[str, Any]) -> list[dict[str, Any]]:
    several = {"type": "array", "items": schema, "minItems": 1}
    return [
        _query(f"{name}[ne]", schema, ""),
        # Separated by commas.
        _query(f"{name}[in]", several, "") | {"explode": False},
    ]


def _query(name: str, schema: dict[str, Any], description: str) -> dict[str, Any]:
    return {"name": name, "schema": schema, "required": False, "description": description}


def _mine(mine: Mine) -> dict[str, Any]:
    return {
        "name": mine.name,
        "label": mine.label.model_dump(),
        "record": mine.kind.name,
        "path": f"/{mine.kind.name}",
        "query": dict(mine.query),
        "permission": mine.kind.permission,
    }


def _record(kind: RecordType, added: Added) -> dict[str, Any]:
    at = f"/{kind.name}/{{id}}"
    return {
        "name": kind.name,
        "label": kind.label.model_dump(),
        "permission": kind.permission,
        "title": list(kind.title),
        "subtitle": list(kind.subtitle),
        "searchable": kind.search is not None,
        "fields": [
            {
                "name": info.name,
                "type": info.kind,
                "label": info.label.model_dump(),
                "personal": info.personal,
                "searchable": info.searchable,
                "filterable": info.filterable,
                "sortable": info.sortable,
                "required": info.required,
                "choices": list(info.choices),
                "choice_labels": {n: said.model_dump() for n, said in info.choice_labels.items()},
                "operators": list(info.operators),
                "user": info.user,
            }
            for info in kind.fields.values()
        ]
        + [_plugin_field(each) for each in custom.of_plugins(kind.name)],
        "panels": [
            {
                "name": key,
                "from": plugin,
                "label": label(panel.label).model_dump(),
                "icon": panel.icon,
                "endpoint": f"{at}/panels/{key}",
            }
            for key, plugin, panel in added.panels_of(kind.name)
        ],
        "actions": [
            {
                "name": key,
                "from": plugin,
                "label": label(action.label).model_dump(),
                "icon": action.icon,
                "endpoint": f"{at}/actions/{key}",
                "permission": f"{kind.name}:write",
                "form": [
                    {
                        "name": asked.name,
                        "label": label(asked.label).model_dump(),
                        "type": CONDITION_KINDS[asked.kind],
                        "required": asked.required,
                        "choices": list(asked.choices),
                    }
                    for asked in action.form
                ],
            }
            for key, plugin, action in added.actions_of(kind.name)
        ],
    }


def _plugin_field(added: PluginField) -> dict[str, Any]:
    """A plugin's field, as the fields of the record are told."""
    kind = CONDITION_KINDS[added.kind]
    return {
        "name": f"custom.{added.name}",
        "type": kind,
        "label": added.label.model_dump(),
        "personal": added.personal,
        "searchable": False,
        "filterable": True,
        "sortable": False,
        "required": False,
        "choices": list(added.choices),
        "choice_labels": {},
        "operators": list(operators_of(kind, bool(added.choices))),
        "user": False,
        "from": added.plugin,
        "section": None if added.section is None else added.section.model_dump(),
    }

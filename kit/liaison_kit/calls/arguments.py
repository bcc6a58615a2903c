"""A call's arguments: decoded and validated by the types of the operation's parameters."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from liaison_kit.calls.operations import Operation, Parameter
from liaison_kit.calls.wire import Call, Upload, Visit
from liaison_kit.listing.asked import ListQuery
from liaison_sdk.errors import (
    BadRequest,
    FieldError,
    InvalidInput,
    NotFound,
    PreconditionRequired,
)


def arguments_of(operation: Operation, call: Call) -> dict[str, Any]:
    """The arguments by name, without session and principal; every bad one is named at once."""
    meta = {**call.meta, **json.loads(call.body)} if operation.page else call.meta
    errors: list[FieldError] = []
    arguments: dict[str, Any] = {}
    path = meta.get("path") or {}
    query: list[tuple[str, str]] = [(n, v) for n, v in meta.get("query") or ()]
    for parameter in operation.parameters:
        _parameter(parameter, path, query, arguments, errors)
    if operation.list_query is not None:
        arguments[operation.list_query] = ListQuery(
            [(n, v) for n, v in query if n not in operation.known_query]
        )
    elif not operation.page:
        for name, _value in query:
            if name not in operation.known_query:
                errors.append(
                    FieldError(name, "unknown_parameter", f"There is no parameter {name}")
                )
    if operation.if_match is not None:
        if meta.get("if_match") is None and operation.if_match_required:
            raise PreconditionRequired("Send If-Match with the version you read")
        arguments[operation.if_match] = meta.get("if_match")
    if operation.upload is not None:
        given = meta.get("upload")
        if given is None:
            raise BadRequest("Send a file as the body")
        arguments[operation.upload] = Upload(
            UUID(given["id"]), given["name"], given["content_type"], given["size"]
        )
    if operation.body is not None:
        name, _type, adapter = operation.body
        arguments[name] = _decode(adapter, call.body, errors)
    if operation.visit is not None:
        form = dict(meta["form"])
        arguments[operation.visit] = Visit(meta["language"], meta.get("source") or "", form)
    if operation.call is not None:
        arguments[operation.call] = call
    if errors:
        raise InvalidInput("Some fields need another look", errors)
    return arguments


def _parameter(
    parameter: Parameter,
    path: Mapping[str, str],
    query: Sequence[tuple[str, str]],
    arguments: dict[str, Any],
    errors: list[FieldError],
) -> None:
    name = parameter.name
    if parameter.source == "path":
        try:
            arguments[name] = parameter.adapter.validate_strings(path[name])
        except ValidationError:
            raise NotFound() from None
        return
    values = [v for n, v in query if n == name]
    if not values:
        if parameter.required:
            errors.append(FieldError(name, "missing", f"{name} is required"))
        return
    try:
        arguments[name] = parameter.adapter.validate_strings(values[-1])
    except ValidationError as error:
        errors.extend(_field_errors(error, (name,)))


def _decode(adapter: TypeAdapter[Any], body: bytes, errors: list[FieldError]) -> Any:
    if not body:
        raise BadRequest("Send a JSON body")
    try:
        return adapter.validate_json(body, strict=True)
    except ValidationError as error:
        details = error.errors(include_url=False, include_context=False, include_input=False)
        if any(d["type"] == "json_invalid" for d in details):
            raise BadRequest(f"The body is not JSON: {details[0]['msg']}") from None
        errors.extend(_field_errors(error))
        return None


def _field_errors(error: ValidationError, prefix: tuple[str, ...] = ()) -> Iterator[FieldError]:
    for detail in error.errors(include_url=False, include_context=False, include_input=False):
        where = [*prefix, *(str(part) for part in detail["loc"])]
        yield FieldError(".".join(where) or "body", detail["type"], detail["msg"])

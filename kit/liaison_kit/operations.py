"""Operations: what a service answers, declared where it is implemented.

    @get("/contacts/{id}", allow="contacts:read")
    def get_contact(self, session: Session, id: UUID) -> Raw[Contact]: ...

The same thing happens for each of them: decode and validate, check permission and tenant, open one
transaction, call the method, commit, then reply. Parameters are found by their annotations.
"""

import inspect
import json
import re
import time
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Generic, Literal, NewType, TypeVar
from uuid import UUID

import psycopg2
from pydantic import BaseModel, TypeAdapter, ValidationError
from sqlalchemy.exc import DataError, DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.orm import Session

from liaison_kit import idempotency
from liaison_kit.context import Context, Principal
from liaison_kit.listing import ListQuery
from liaison_kit.metrics import OPERATION_SECONDS, OPERATIONS
from liaison_kit.recordtype import RecordType
from liaison_kit.telemetry import SpanKind, log, span, trace_id
from liaison_sdk.errors import (
    BadRequest,
    FieldError,
    InvalidInput,
    LiaisonError,
    NotFound,
    PreconditionRequired,
    StaleVersion,
    Unauthenticated,
    Unavailable,
)

T = TypeVar("T")
DRIVER_LOST = (psycopg2.OperationalError, psycopg2.InterfaceError)
Method = Literal["GET", "POST", "PATCH", "PUT", "DELETE"]
Shared = Literal["id", "record", "merge"]

Version = NewType("Version", int)
"""The version that an update was made against, from `If-Match`."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that came with the request; its parts are in the service's `file_parts`."""

    id: UUID
    name: str
    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class Raw(Generic[T]):
    """An answer that is JSON already, of the shape T; `version` becomes the ETag."""

    body: bytes
    version: int | None = None


@dataclass(frozen=True, slots=True)
class Accepted:
    """Long work that has been taken on: 202, and where to follow it."""

    job_id: UUID


@dataclass(frozen=True, slots=True)
class Download:
    """A file to hand out: its bytes, or the stored parts that the gateway fetches one by one."""

    name: str
    content_type: str
    body: bytes = b""
    stored: UUID | None = None
    parts: int = 0


@dataclass(slots=True)
class Call:
    """One call as it came over the wire."""

    meta: Mapping[str, Any]
    body: bytes


@dataclass(slots=True)
class Reply:
    """What goes back over the wire."""

    status: int
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    content_type: str = "application/json"
    extra: dict[str, Any] = field(default_factory=dict)

    def meta(self) -> str:
        """The header that carries everything but the body."""
        return json.dumps(
            {
                "status": self.status,
                "headers": self.headers,
                "content_type": self.content_type,
                **self.extra,
            },
            separators=(",", ":"),
        )


@dataclass(slots=True)
class _Parameter:
    name: str
    source: Literal["path", "query"]
    adapter: TypeAdapter[Any]
    required: bool
    annotation: Any


class Operation:
    """One thing that a service does on request, with its HTTP binding, permission and types."""

    def __init__(
        self,
        function: Callable[..., Any],
        method: Method | None,
        path: str,
        *,
        allow: str | None,
        public: bool = False,
        status: int | None = None,
        record: Callable[[Any], RecordType] | RecordType | None = None,
        shared: Shared | None = None,
        internal: bool = False,
        problems: Sequence[int] = (),
        reads: bool | None = None,
    ) -> None:
        self.function = function
        self.name = function.__name__
        self.method = method
        self.path = path
        self.allow = allow
        self.public = public
        self.record = record
        self.shared = shared
        self.internal = internal
        self.reads = (method == "GET") if reads is None else reads
        self.problems = tuple(problems)
        doc = inspect.getdoc(function) or self.name
        self.summary, _, self.description = doc.partition("\n\n")
        self._bind(typing.get_type_hints(function, include_extras=True), function)
        self.status = status or (201 if method == "POST" and self.response else 200)

    def _bind(self, hints: dict[str, Any], function: Callable[..., Any]) -> None:
        self.body: tuple[str, type[BaseModel], TypeAdapter[Any]] | None = None
        self.parameters: list[_Parameter] = []
        self.session: str | None = None
        self.if_match: str | None = None
        self.upload: str | None = None
        self.list_query: str | None = None
        self.principal: str | None = None
        self.call: str | None = None
        in_path = set(re.findall(r"{(\w+)}", self.path))
        for name, parameter in list(inspect.signature(function).parameters.items())[1:]:
            hint = hints[name]
            origin = typing.get_origin(hint) or hint
            if origin is Session:
                self.session = name
            elif origin is Principal:
                self.principal = name
            elif origin is Call:
                self.call = name
            elif origin is ListQuery:
                self.list_query = name
            elif hint is Version:
                self.if_match = name
            elif origin is Upload:
                self.upload = name
            elif inspect.isclass(origin) and issubclass(origin, BaseModel):
                self.body = (name, hint, TypeAdapter(hint))
            else:
                self.parameters.append(
                    _Parameter(
                        name,
                        "path" if name in in_path else "query",
                        TypeAdapter(hint),
                        parameter.default is inspect.Parameter.empty,
                        hint,
                    )
                )
        self.known_query = {p.name for p in self.parameters if p.source == "query"}
        self.response = _answer_shape(hints.get("return"))
        self.download = hints.get("return") is Download
        self.accepted = hints.get("return") is Accepted

    # --- answering ------------------------------------------------------------------------------

    def answer(self, service: Any, call: Call) -> Reply:
        """Do the whole of it; never raises: what goes wrong becomes the reply."""
        started = time.perf_counter()
        meta = call.meta
        name = f"{service.name}.{self.name}"
        with span(name, meta.get("traceparent"), SpanKind.SERVER) as traceparent:
            try:
                reply = self._run(service, call, traceparent)
            except LiaisonError as error:
                reply = problem(error, traceparent)
            except (DataError, psycopg2.DataError, ValueError) as error:
                # A value that passed the types but that PostgreSQL can't hold is still bad input.
                if isinstance(error, ValueError) and not _is_nul(error):
                    reply = self._broken(error, name, traceparent)
                else:
                    reply = problem(InvalidInput("Some value is out of range"), traceparent)
            except (OperationalError, InterfaceError, PoolTimeout, *DRIVER_LOST) as error:
                log.warning("database unavailable", operation=name, error=type(error).__name__)
                reply = problem(
                    Unavailable(f"The database of {service.name} does not answer"), traceparent
                )
                reply.headers["Retry-After"] = "2"
            except Exception as error:
                reply = self._broken(error, name, traceparent)
        OPERATIONS.labels(service.name, self.name, str(reply.status)).inc()
        OPERATION_SECONDS.labels(service.name, self.name).observe(time.perf_counter() - started)
        return reply

    def _broken(self, error: Exception, name: str, traceparent: str | None) -> Reply:
        # The message of a database error quotes values, which may be personal data.
        text = None if isinstance(error, DBAPIError) else str(error)
        log.error(
            "operation failed",
            operation=name,
            error=type(error).__name__,
            detail=text,
            where=_where(error),
            trace_id=trace_id(traceparent),
        )
        return problem(LiaisonError(), traceparent)

    def _run(self, service: Any, call: Call, traceparent: str | None) -> Reply:
        about = self._context(call.meta, traceparent)
        arguments = self._arguments(service, call)
        if self.principal is not None:
            arguments[self.principal] = about.principal
        if self.session is None:
            return self._reply(self.function(service, **arguments))
        if self.reads:
            with service.db.reading(about) as session:
                arguments[self.session] = session
                return self._reply(self.function(service, **arguments))
        try:
            return self._write(service, call, about, arguments)
        except DBAPIError as error:
            # Nothing was committed; the server was restarted, and a fresh connection will do.
            if not error.connection_invalidated or about.committing:
                raise
        return self._write(service, call, about, arguments)

    def _write(self, service: Any, call: Call, about: Context, arguments: dict[str, Any]) -> Reply:
        assert self.session is not None
        key = call.meta.get("idempotency_key")
        with service.db.session(about) as session:
            if key:
                earlier = idempotency.claim(session, key, self.name, call.body, self._target(call))
                if earlier is not None:
                    return earlier
            arguments[self.session] = session
            reply = self._reply(self.function(service, **arguments))
            if key:
                idempotency.remember(session, key, reply)
            session.flush()
            about.committing = True
            session.commit()
            return reply

    @staticmethod
    def _target(call: Call) -> str:
        return json.dumps([call.meta.get("path"), call.meta.get("query")], sort_keys=True)

    def _context(self, meta: Mapping[str, Any], traceparent: str | None) -> Context:
        given = meta.get("principal")
        if given is None:
            if not (self.public or self.internal):
                raise Unauthenticated()
            return Context(tenant=_NOBODY, traceparent=traceparent)
        principal = Principal.of(given)
        if self.allow is not None:
            principal.demand(self.allow)
        return Context(tenant=principal.tenant, principal=principal, traceparent=traceparent)

    def _arguments(self, service: Any, call: Call) -> dict[str, Any]:
        meta = call.meta
        errors: list[FieldError] = []
        arguments: dict[str, Any] = {}
        path = meta.get("path") or {}
        query: list[tuple[str, str]] = [(n, v) for n, v in meta.get("query") or ()]
        for parameter in self.parameters:
            self._parameter(parameter, path, query, arguments, errors)
        if self.list_query is not None:
            arguments[self.list_query] = ListQuery(
                [(n, v) for n, v in query if n not in self.known_query]
            )
        else:
            for name, _value in query:
                if name not in self.known_query:
                    errors.append(
                        FieldError(name, "unknown_parameter", f"There is no parameter {name}")
                    )
        if self.if_match is not None:
            if meta.get("if_match") is None:
                raise PreconditionRequired("Send If-Match with the version you read")
            arguments[self.if_match] = meta["if_match"]
        if self.upload is not None:
            given = meta.get("upload")
            if given is None:
                raise BadRequest("Send a file as the body")
            arguments[self.upload] = Upload(
                UUID(given["id"]), given["name"], given["content_type"], given["size"]
            )
        if self.body is not None:
            name, _type, adapter = self.body
            arguments[name] = _decode(adapter, call.body, errors)
        if self.call is not None:
            arguments[self.call] = call
        if errors:
            raise InvalidInput("Some fields need another look", errors)
        return arguments

    @staticmethod
    def _parameter(
        parameter: _Parameter,
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

    def _reply(self, result: Any) -> Reply:
        if isinstance(result, Raw):
            reply = Reply(self.status, result.body)
            if result.version is not None:
                reply.headers["ETag"] = f'"{result.version}"'
            return reply
        if isinstance(result, Reply):
            return result
        if result is None:
            return Reply(204)
        if isinstance(result, Accepted):
            location = f"/api/v1/jobs/{result.job_id}"
            body = json.dumps({"job": str(result.job_id)}).encode()
            return Reply(202, body, {"Location": location})
        if isinstance(result, Download):
            headers = {"Content-Disposition": _disposition(result.name)}
            reply = Reply(200, result.body, headers, result.content_type)
            if result.stored is not None:
                reply.extra = {"upload": str(result.stored), "parts": result.parts}
            return reply
        if isinstance(result, BaseModel):
            return Reply(self.status, result.model_dump_json().encode())
        return Reply(self.status, json.dumps(result, default=str).encode())


_NOBODY = UUID(int=0)


def _disposition(name: str) -> str:
    from urllib.parse import quote

    plain = re.sub(r"[^A-Za-z0-9._ -]", "_", name)
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(name)}"


def _where(error: Exception) -> str:
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    code = trace.tb_frame.f_code
    return f"{code.co_filename.rpartition('/')[2]}:{trace.tb_lineno} {code.co_name}"


def _is_nul(error: Exception) -> bool:
    # psycopg2 raises a plain ValueError for text with a NUL character.
    return "NUL" in str(error) or "0x00" in str(error) or isinstance(error, DataError)


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


def problem(error: LiaisonError, traceparent: str | None) -> Reply:
    """The error as an `application/problem+json` reply."""
    body = error.problem()
    found = trace_id(traceparent)
    if found:
        body["trace_id"] = found
    text = json.dumps(body)
    if isinstance(error, StaleVersion) and error.current is not None:
        text = text[:-1] + ', "current": ' + error.current.decode() + "}"
    return Reply(error.status, text.encode(), content_type="application/problem+json")


def _answer_shape(hint: Any) -> Any:
    """The type that the OpenAPI document shows for the answer."""
    if typing.get_origin(hint) is Raw:
        return typing.get_args(hint)[0]
    if hint in (None, type(None), Reply, Accepted, Download):
        return None
    return hint


# --- decorators --------------------------------------------------------------------------------

F = TypeVar("F", bound=Callable[..., Any])


def _binding(method: Method | None) -> Callable[..., Callable[[F], F]]:
    def bind(path: str = "", *, allow: str | None = None, **options: Any) -> Callable[[F], F]:
        def declare(function: F) -> F:
            operation = Operation(function, method, path, allow=allow, **options)
            function.operation = operation  # type: ignore[attr-defined]
            return function

        return declare

    return bind


get = _binding("GET")
post = _binding("POST")
patch = _binding("PATCH")
put = _binding("PUT")
delete = _binding("DELETE")


def internal(function: F) -> F:
    """An operation for other parts of Liaison only: it has no HTTP binding."""
    function.operation = Operation(  # type: ignore[attr-defined]
        function, None, "", allow=None, internal=True, reads=False
    )
    return function

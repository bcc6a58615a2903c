"""Operations: what a service answers, declared where it is implemented.

    @get("/contacts/{id}", allow="contacts:read")
    def get_contact(self, session: Session, id: UUID) -> Raw[Contact]: ...

The same thing happens for each of them: decode and validate, check permission and tenant, open one
transaction, call the method, commit, then reply. Parameters are found by their annotations.
"""

import inspect
import re
import typing
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, TypeVar

from pydantic import BaseModel, TypeAdapter
from sqlalchemy.orm import Session

from liaison_kit.calls.wire import Accepted, Call, Download, Raw, Reply, Upload, Version, Visit
from liaison_kit.context import Principal
from liaison_kit.listing.asked import ListQuery
from liaison_kit.records.recordtype import RecordType

Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Shared = Literal["id", "record", "merge"]


@dataclass(slots=True)
class Parameter:
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
        guessable: bool = False,
        page: bool = False,
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
        self.page = page
        self.guessable = guessable
        """Whether answers could tell a stranger who is known here: asking costs as much as signing
        in does, and every answer takes as long as the next."""
        doc = inspect.getdoc(function) or self.name
        self.summary, _, self.description = doc.partition("\n\n")
        self._bind(typing.get_type_hints(function, include_extras=True), function)
        self.status = status or (201 if method == "POST" and self.response else 200)

    def _bind(self, hints: dict[str, Any], function: Callable[..., Any]) -> None:
        self.body: tuple[str, type[BaseModel], TypeAdapter[Any]] | None = None
        self.parameters: list[Parameter] = []
        self.session: str | None = None
        self.if_match: str | None = None
        self.if_match_required = True
        self.upload: str | None = None
        self.list_query: str | None = None
        self.principal: str | None = None
        self.call: str | None = None
        self.visit: str | None = None
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
            elif origin is Visit:
                self.visit = name
            elif origin is ListQuery:
                self.list_query = name
            elif hint is Version or hint == Version | None:
                self.if_match = name
                self.if_match_required = hint is Version
            elif origin is Upload:
                self.upload = name
            elif inspect.isclass(origin) and issubclass(origin, BaseModel):
                self.body = (name, hint, TypeAdapter(hint))
            else:
                self.parameters.append(
                    Parameter(
                        name,
                        "path" if name in in_path else "query",
                        TypeAdapter(hint),
                        parameter.default is inspect.Parameter.empty,
                        hint,
                    )
                )
        self.sealed = self.page or (
            self.body is not None and _has_secret(self.body[2].json_schema())
        )
        """Whether the body holds a secret, and therefore travels sealed."""
        self.known_query = {p.name for p in self.parameters if p.source == "query"}
        self.response = _answer_shape(hints.get("return"))
        self.download = hints.get("return") is Download
        self.accepted = hints.get("return") is Accepted


def _has_secret(schema: Any) -> bool:
    """Whether a `SecretStr` is anywhere in it: those are written and never read back."""
    if isinstance(schema, dict):
        return schema.get("writeOnly") is True or any(_has_secret(v) for v in schema.values())
    return isinstance(schema, list) and any(_has_secret(part) for part in schema)


def _answer_shape(hint: Any) -> Any:
    """The type that the OpenAPI document shows for the answer."""
    if typing.get_origin(hint) is Raw:
        return typing.get_args(hint)[0]
    if hint in (None, type(None), Reply, Accepted, Download):
        return None
    return hint


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
put = _binding("PUT")
patch = _binding("PATCH")
delete = _binding("DELETE")


def internal(*, public: bool = False, reads: bool = False) -> Callable[[F], F]:
    """An operation for other parts of Liaison only: it has no HTTP binding.

    `public` ones need nobody who is signed in: those that find out who is. One that `reads` changes
    nothing.
    """

    def declare(function: F) -> F:
        function.operation = Operation(  # type: ignore[attr-defined]
            function, None, "", allow=None, internal=True, public=public, reads=reads
        )
        return function

    return declare

"""A tenant in which everybody has records of every kind, made from what the services declare.

Nothing here knows a kind of record: a new one with an owner is in it by being declared.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from typing import Any
from uuid import uuid4

import httpx
from tests.system import PASSWORD, Api, System, Tenant

from liaison_kit.calls.manifest import manifest
from liaison_kit.database.migrations import services
from liaison_kit.records.recordtype import RecordType
from liaison_kit.service import Service

OF_KIND: Mapping[str, str] = {
    "company_id": "companies",
    "parent_id": "companies",
    "contact_id": "contacts",
}
"""Which kind of record a field points at; one that points at a kind with owners goes here."""
OF_NOBODY = {"owner_id", "product_id", "pipeline_id", "stage_id"}
"""Fields that point at what has no owner: whoever may use the kind sees all of it."""
OPERATORS_ONLY = {"operations:manage", "audit:read"}


def declared() -> list[type[Service]]:
    """Every installed service."""
    found = []
    for value in services().values():
        module, _, name = value.partition(":")
        found.append(getattr(import_module(module), name))
    return found


def owned() -> dict[str, tuple[type[Service], RecordType]]:
    """Every kind of record that is given to somebody, by name.

    Users are nobody's but their own: which of them are seen is tried in identity's own tests.
    """
    return {
        kind.name: (service, kind)
        for service in declared()
        for kind in service.records
        if kind.owner is not None and kind.owner.key == "owner_id"
    }


KINDS = sorted(owned())


@dataclass(frozen=True)
class Operation:
    """What a service offers over HTTP, as its manifest says."""

    service: str
    told: Mapping[str, Any]
    schemas: Mapping[str, Any]

    @property
    def method(self) -> str:
        return str(self.told["method"])

    @property
    def path(self) -> str:
        return str(self.told["path"])

    def schema(self, kind: str = "request") -> Mapping[str, Any]:
        """The schema of what it is sent or answers."""
        return _resolved(self.told[kind], self.schemas)

    def body(self) -> dict[str, Any] | None:
        """The least that it takes."""
        return None if self.told["request"] is None else _example(self.schema(), self.schemas)


def operations() -> list[Operation]:
    """What all services offer; what several share comes once for each."""
    found = []
    for service in declared():
        told = manifest(service)
        found += [Operation(service.name, o, told["schemas"]) for o in told["operations"]]
    return found


def of_kind(kind: str) -> Iterator[Operation]:
    """What can be done with one record of a kind."""
    for operation in operations():
        if operation.path.startswith(f"/{kind}/{{id}}"):
            yield operation


def references() -> list[tuple[str, str, str]]:
    """Every way for one record to point at another with an owner: kind, field, kind pointed at."""
    found = []
    for kind in KINDS:
        for name, schema in _creating(kind).schema()["properties"].items():
            if name.endswith("_id") and name != "external_id" and name not in OF_NOBODY:
                assert name in OF_KIND, f"say in OF_KIND what {kind}.{name} points at: {schema}"
                found.append((kind, name, OF_KIND[name]))
    return found


def _creating(kind: str) -> Operation:
    return next(o for o in operations() if (o.method, o.path) == ("POST", f"/{kind}"))


def naming_field(kind: str) -> str:
    """The field that people know a record of this kind by."""
    _, record = owned()[kind]
    taken = _creating(kind).schema()["properties"]
    return [name for name in record.title if name in taken][-1]


@dataclass
class Somebody:
    """A colleague whose role narrows one kind of record, if any."""

    user: str
    api: Api
    kind: str = ""
    rule: str = "all"
    own: dict[str, dict[str, Any]] = field(default_factory=dict)
    """By kind: a record of theirs."""
    pointing: dict[tuple[str, str, str], dict[str, Any]] = field(default_factory=dict)
    """By kind, field and whose: a record of theirs that points at one of the narrowed kind."""


@dataclass
class World:
    """Colleagues of one team, somebody of another one, what each has, and the administrator."""

    running: System
    tenant: Tenant
    team: str = ""
    mate: str = ""
    other: str = ""
    people: list[Somebody] = field(default_factory=list)
    records: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    """By kind and whose: the mate's, the other's, nobody's."""
    secrets: dict[str, tuple[str, str | None]] = field(default_factory=dict)
    """By word: the kind of record that alone has it in its name, and its owner."""

    @property
    def admin(self) -> Api:
        return self.tenant.api

    def build(self) -> "World":
        """Make all of it."""
        self.team = self.admin.make("/teams", name="Ours")["id"]
        away = self.admin.make("/teams", name="Theirs")["id"]
        self.mate = self._colleague("Mate", {}, self.team).user
        self.other = self._colleague("Other", {}, away).user
        for kind in KINDS:
            for whose, owner in self.owners.items():
                self.records[kind, whose] = self.make(kind, owner)
        for kind in KINDS:
            for rule in ("own", "team"):
                self.people.append(self._narrowed(kind, rule))
        self.people.append(self._narrowed("", "all"))
        return self

    @property
    def owners(self) -> Mapping[str, str | None]:
        """Whose the records are that everybody meets."""
        return {"mate": self.mate, "other": self.other, "nobody": None}

    def sees(self, who: Somebody, kind: str, owner: str | None) -> bool:
        """Whether somebody's role lets them know of a record of this kind and owner."""
        if kind != who.kind or who.rule == "all":
            return True
        if owner == who.user:
            return True
        mates = {self.mate, *(one.user for one in self.people)}
        return who.rule == "team" and owner in mates

    def hidden(self, who: Somebody) -> list[dict[str, Any]]:
        """The records of the narrowed kind that somebody may not know of."""
        return [
            self.records[who.kind, whose]
            for whose, owner in self.owners.items()
            if who.kind and not self.sees(who, who.kind, owner)
        ]

    def told(self, who: Somebody, text: str) -> set[str]:
        """The words in it that somebody must not be told."""
        return {
            word
            for word, (kind, owner) in self.secrets.items()
            if word in text and not self.sees(who, kind, owner)
        }

    def make(self, kind: str, owner: str | None, **fields: Any) -> dict[str, Any]:
        """A record of a kind with a word of its own in its name."""
        word = f"zq{uuid4().hex[:12]}"
        self.secrets[word] = (kind, owner)
        body = {naming_field(kind): f"Name {word}", "owner_id": owner, **fields}
        return {**self.admin.make(f"/{kind}", **body), "word": word}

    @cached_property
    def permissions(self) -> list[str]:
        """All that everyday work takes."""
        named = {str(o.told["permission"]) for o in operations() if o.told["permission"]}
        return sorted(named - OPERATORS_ONLY)

    def _colleague(self, name: str, rows: Mapping[str, str], team: str) -> Somebody:
        slug = uuid4().hex[:8]
        role = self.admin.make(
            "/roles", name=f"{name} {slug}", permissions=self.permissions, rows=dict(rows)
        )
        email = f"{slug}@{self.tenant.slug}.example"
        user = self.admin.make(
            "/users",
            name=f"{name} {slug}",
            email=email,
            password=PASSWORD,
            role_ids=[role["id"]],
            team_id=team,
        )
        return Somebody(user["id"], self.running.sign_in(email, self.tenant.slug))

    def _narrowed(self, kind: str, rule: str) -> Somebody:
        who = self._colleague(f"{kind or 'all'} {rule}", {kind: rule} if kind else {}, self.team)
        who.kind, who.rule = kind, rule
        who.own = {each: self.make(each, who.user) for each in KINDS}
        for from_kind, name, of in references():
            if of == kind:
                for whose in self.owners:
                    target = self.records[of, whose]["id"]
                    made = self.make(from_kind, who.user, **{name: target})
                    who.pointing[from_kind, name, whose] = made
        return who


def said(answer: httpx.Response, *ids: object) -> tuple[int, str]:
    """An answer as a stranger to these ids reads it."""
    text = answer.text
    for id in ids:
        text = text.replace(str(id), "<id>")
    if answer.headers.get("content-type", "").endswith("json") and "trace_id" in text:
        text = text.replace(str(answer.json().get("trace_id")), "<trace>")
    return answer.status_code, text


def _resolved(schema: Any, schemas: Mapping[str, Any]) -> Any:
    while isinstance(schema, dict) and "$ref" in schema:
        schema = schemas[schema["$ref"].rpartition("/")[2]]
    return schema


def _example(schema: Any, schemas: Mapping[str, Any]) -> Any:
    schema = _resolved(schema, schemas)
    if "anyOf" in schema:
        return _example(schema["anyOf"][0], schemas)
    if "enum" in schema:
        return schema["enum"][0]
    if "const" in schema:
        return schema["const"]
    match schema.get("type"):
        case "object":
            properties = schema.get("properties", {})
            wanted = set(schema.get("required", ()))
            # Some name a stage, as one of two ways.
            wanted |= {"stage"} & properties.keys()
            return {n: _example(s, schemas) for n, s in properties.items() if n in wanted}
        case "array":
            return []
        case "integer" | "number":
            return 1
        case "boolean":
            return True
    if schema.get("format") == "uuid":
        return str(uuid4())
    return "won" if "stage" in str(schema.get("description", "")).lower() else "x"

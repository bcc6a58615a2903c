"""Definitions: drafts that are kept however wrong they are, and versions that stay as they ran.

Each save is a new number. What has been active is never changed; a draft that was never active
goes when the next one is saved.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ValidationError
from sqlalchemy import text
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from liaison_kit.context import Principal, context
from liaison_kit.flows.frame import Fault
from liaison_kit.flows.kinds import FlowRecord, Flows
from liaison_kit.flows.reading import CannotRun, Flow, measured, read
from liaison_kit.flows.seeing import older
from liaison_kit.ids import uuid7
from liaison_kit.sight import peers_of
from liaison_sdk.errors import Conflict, Forbidden, InvalidInput, NotFound, StaleVersion
from liaison_sdk.types import Code, field


class KeyTaken(Conflict):
    """Flows of a tenant are told apart by their keys."""

    code, title = "flow_key_taken", "Another flow has this key"


class StillRunning(Conflict):
    """What runs refer to is not deleted."""

    code, title = "flow_has_run", "This flow has had runs"


class SeesTooLittle(Forbidden):
    """A run acts for the tenant and sees every record; who lets it run has to, as well."""

    code, title = "sees_too_little", "A flow sees more than your role does"


class Older(BaseModel):
    """Runs that began with an earlier version, and stay on it."""

    version: int
    runs: int


class FlowSummary(BaseModel):
    """A flow as lists show it."""

    id: UUID
    record: str = field("Record", "Type de fiche")
    key: str = field("Key", "Clé")
    name: str = field("Name", "Nom")
    version: int = field("Version", "Version")
    active: int | None = field("Active version", "Version active")
    created_at: dt.datetime = field("Created", "Créé le")
    created_by: UUID | None = field("Created by", "Créé par")
    updated_at: dt.datetime = field("Changed", "Modifié le")
    updated_by: UUID | None = field("Changed by", "Modifié par")


class FlowShape(FlowSummary):
    """A flow with its latest version, and what keeps that from running."""

    definition: dict[str, Any]
    faults: list[Fault]
    older: list[Older]


class _Names(BaseModel):
    """What a definition says of itself."""

    key: Code
    record: Code


def find(session: Session, flows: Flows, id: UUID, *, lock: bool = False) -> Any:
    """A flow's row, with its latest version; `NotFound`."""
    statement = text(_FIND + (" FOR UPDATE OF f" if lock else ""))
    row = session.execute(statement, {"id": id}).one_or_none()
    if row is None or row.record not in flows.records or not _may_see(session, row.record):
        raise NotFound("There is no such flow")
    return row


def shape(session: Session, flows: Flows, id: UUID) -> FlowShape:
    """A flow as readers get it."""
    row = find(session, flows, id)
    _flow, faults = read(session, flows, row.record, row.definition)
    still = older(session, flows.records[row.record], id, row.active or 0)
    return FlowShape(
        **_summary(row),
        definition=row.definition,
        faults=faults,
        older=[Older(version=version, runs=runs) for version, runs in still],
    )


def summaries(
    session: Session, flows: Flows, record: str | None, limit: int, before: UUID | None
) -> list[FlowSummary]:
    """Flows, latest first, of the kinds of record that the caller may see."""
    names = [name for name in flows.records if _may_see(session, name) and record in (None, name)]
    values = {"records": names, "limit": limit, "before": before}
    return [FlowSummary(**_summary(row)) for row in session.execute(_LIST, values)]


def create(session: Session, flows: Flows, record: str, definition: Any) -> UUID:
    """A new flow with its first draft."""
    text_of_it, named = measured(definition), _named(definition)
    if named.record != record:
        said = f"The flow is about {named.record[:80]}, and was sent as one about {record}"
        raise InvalidInput.field("definition.record", "other_record", said)
    about, id = context(session), uuid7()
    values = {"id": id, "tenant": about.tenant, "record": record, "key": named.key}
    try:
        session.execute(_CREATE, values | {"now": about.now, "by": about.user})
    except IntegrityError:
        raise KeyTaken(f"Another flow has the key {named.key}: choose another one") from None
    _keep(session, id, 1, text_of_it)
    return id


def save(session: Session, flows: Flows, id: UUID, version: int, definition: Any) -> None:
    """A new version, which is a draft until it is activated."""
    row = _locked(session, flows, id, version)
    text_of_it, named = measured(definition), _named(definition)
    for name in ("key", "record"):
        if getattr(named, name) != getattr(row, name):
            said = f"The {name} stays {getattr(row, name)}: make another flow instead"
            raise InvalidInput.field(f"definition.{name}", "stays", said)
    _keep(session, id, version + 1, text_of_it)
    about = context(session)
    session.execute(_SAVED, {"id": id, "version": version + 1, "now": about.now, "by": about.user})


def activate(session: Session, flows: Flows, id: UUID, version: int) -> None:
    """Have the latest version run from now on; runs of earlier ones stay on theirs."""
    row = _locked(session, flows, id, version)
    flow, faults = read(session, flows, row.record, row.definition)
    if flow is None:
        raise CannotRun(faults)
    principal = context(session).principal
    if principal is not None:
        _demand(principal, flow)
    about = context(session)
    session.execute(_ACTIVATE, {"id": id, "version": version, "now": about.now, "by": about.user})
    _listen(session, id, flow)


def deactivate(session: Session, flows: Flows, id: UUID) -> None:
    """Have nothing start any more; what runs goes on to its end."""
    find(session, flows, id, lock=True)
    about = context(session)
    session.execute(_DEACTIVATE, {"id": id, "now": about.now, "by": about.user})
    session.execute(_DEAF, {"id": id})


def remove(session: Session, flows: Flows, id: UUID, version: int) -> None:
    """Delete a flow that has never run."""
    _locked(session, flows, id, version)
    if session.execute(_HAS_RUN, {"id": id}).first() is not None:
        raise StillRunning("It has had runs, whose log tells of it: deactivate it instead")
    session.execute(_DELETE, {"id": id})


def version_of(session: Session, flows: Flows, row: Any, number: int) -> Flow:
    """A version of a flow that can run; `CannotRun`, `NotFound`."""
    values = {"id": row.id, "number": number}
    definition = session.execute(_VERSION, values).scalar()
    if definition is None:
        raise NotFound("There is no such version of this flow")
    flow, faults = read(session, flows, row.record, definition)
    if flow is None:
        raise CannotRun(faults)
    return flow


def _locked(session: Session, flows: Flows, id: UUID, version: int) -> Any:
    row = find(session, flows, id, lock=True)
    if row.version != version:
        current = shape(session, flows, id).model_dump_json().encode()
        said = f"You changed version {version}; it is at version {row.version} now"
        raise StaleVersion(said, current)
    return row


def _named(definition: Any) -> _Names:
    try:
        return _Names.model_validate(definition)
    except ValidationError:
        said = "Give it a key and a record: lower-case letters, digits and underscores"
        raise InvalidInput.field("definition", "unnamed", said) from None


def _keep(session: Session, id: UUID, number: int, definition: str) -> None:
    about = context(session)
    values = {"id": id, "number": number, "definition": definition, "tenant": about.tenant}
    session.execute(_FORGET_DRAFTS, {"id": id})
    session.execute(_KEEP, values | {"now": about.now, "by": about.user})


def _listen(session: Session, id: UUID, flow: Flow) -> None:
    """Only this version starts; what earlier ones wait for is listened to still."""
    session.execute(_DEAF, {"id": id})
    heard = [
        {
            "id": id,
            "tenant": context(session).tenant,
            "event": flow.about.event(event),
            "starts": starts,
        }
        for event, starts in sorted(flow.listens)
    ]
    if heard:
        session.execute(_LISTEN, heard)


def _demand(principal: Principal, flow: Flow) -> None:
    """Whoever lets a flow run may do all that it does, and sees all that it sees."""
    steps = [s for step in flow.steps.values() for s in (step, step.undo) if s is not None]
    needed = {p for step in steps for p in step.kind.needs(flow.about, step.settings)}
    needed |= {f"{kind}:read" for kind in _shown(flow.about)}
    for permission in sorted(needed):
        principal.demand(permission)
        kind = permission.partition(":")[0]
        if peers_of(principal, kind) is not None:
            said = f"It acts on everybody's {kind}, and your role shows you some owners' only"
            raise SeesTooLittle(f"{said}: ask somebody who sees all of them to activate it")


def _shown(about: FlowRecord) -> Sequence[str]:
    """The kinds of record of which a record of this kind shows something."""
    return sorted({about.kind.name, *(seen.kind for seen in about.kind.seen.values())})


def _may_see(session: Session, record: str) -> bool:
    principal = context(session).principal
    return principal is None or principal.may(f"{record}:read")


def _summary(row: Any) -> Mapping[str, Any]:
    named = row.definition.get("name")
    return {
        "id": row.id,
        "record": row.record,
        "key": row.key,
        "name": named if isinstance(named, str) and named else row.key,
        "version": row.version,
        "active": row.active,
        "created_at": row.created_at,
        "created_by": row.created_by,
        "updated_at": row.updated_at,
        "updated_by": row.updated_by,
    }


_FIND = """
SELECT f.*, v.definition FROM flows AS f
JOIN flow_versions AS v ON v.flow_id = f.id AND v.number = f.version WHERE f.id = :id
"""
_LIST = text("""
SELECT f.*, v.definition FROM flows AS f
JOIN flow_versions AS v ON v.flow_id = f.id AND v.number = f.version
WHERE f.record = ANY(CAST(:records AS text[]))
    AND (CAST(:before AS uuid) IS NULL OR f.id < CAST(:before AS uuid))
ORDER BY f.id DESC LIMIT :limit
""")
_CREATE = text("""
INSERT INTO flows (id, tenant_id, record, key, version, created_at, created_by, updated_at,
    updated_by)
VALUES (:id, :tenant, :record, :key, 1, :now, :by, :now, :by)
""")
_FORGET_DRAFTS = text("""
DELETE FROM flow_versions WHERE flow_id = :id AND activated_at IS NULL
""")
_KEEP = text("""
INSERT INTO flow_versions (flow_id, tenant_id, number, definition, saved_at, saved_by)
VALUES (:id, :tenant, :number, CAST(:definition AS json), :now, :by)
""")
_SAVED = text("""
UPDATE flows SET version = :version, updated_at = :now, updated_by = :by WHERE id = :id
""")
_ACTIVATE = text("""
WITH activated AS (
    UPDATE flow_versions
    SET activated_at = coalesce(activated_at, :now), activated_by = coalesce(activated_by, :by)
    WHERE flow_id = :id AND number = :version
)
UPDATE flows SET active = :version, updated_at = :now, updated_by = :by WHERE id = :id
""")
_DEACTIVATE = text("""
UPDATE flows SET active = NULL, updated_at = :now, updated_by = :by WHERE id = :id
""")
_DEAF = text("DELETE FROM flow_listens WHERE flow_id = :id AND starts")
_LISTEN = text("""
INSERT INTO flow_listens (tenant_id, event, flow_id, starts)
VALUES (:tenant, :event, :id, :starts) ON CONFLICT DO NOTHING
""")
_HAS_RUN = text("SELECT FROM flow_runs WHERE flow_id = :id LIMIT 1")
_DELETE = text("DELETE FROM flows WHERE id = :id")
_VERSION = text("SELECT definition FROM flow_versions WHERE flow_id = :id AND number = :number")

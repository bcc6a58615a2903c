"""Records: created, read, changed and removed the same way in every service.

A change names the version that it was made against (`If-Match`); a stale one gets the current
record back. Every change keeps its history: who, when, before and after.
"""

import datetime as dt
import time
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Any, TypeVar
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from sqlalchemy import select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit import custom, listing
from liaison_kit.context import context
from liaison_kit.db import Base, Record, TenantRow
from liaison_kit.ids import uuid7
from liaison_kit.recordtype import RecordType, as_json
from liaison_sdk.errors import Conflict, FieldError, InvalidInput, NotFound, StaleVersion

R = TypeVar("R", bound=Record)
_KEPT = {"version", "updated_at", "updated_by", "search", "keys"}


class History(TenantRow, Base):
    """One change of one record: who, when, and each field before and after."""

    __tablename__ = "history"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    record: Mapped[str]
    record_id: Mapped[UUID]
    version: Mapped[int]
    action: Mapped[str]
    at: Mapped[dt.datetime]
    by: Mapped[UUID | None]
    changes: Mapped[dict[str, Any]] = mapped_column(JSONB)


class Change(BaseModel):
    """An entry of a record's history; `changes` maps each field to its value before and after."""

    id: UUID
    version: int
    action: str
    at: dt.datetime
    by: UUID | None
    changes: dict[str, tuple[Any, Any]]


def create(session: Session, kind: RecordType, model: type[R], **values: Any) -> R:
    """A new record of this kind, stamped with who and when; flushed by the caller or the commit."""
    about = context(session)
    given = values.pop("custom", None)
    if given is not None or kind.name in custom_required(session):
        values["custom"] = custom.check(session, kind.name, given or {})
    principal = about.principal
    narrowed = principal is not None and principal.rows.get(kind.name, "all") != "all"
    if kind.owner is not None and narrowed and values.get("owner_id") is None:
        # Who may only see their own rows would lose sight of a row that has no owner.
        values["owner_id"] = about.user
    made: Callable[..., R] = model
    row = made(
        id=values.pop("id", None) or uuid7(),
        tenant_id=about.tenant,
        version=1,
        created_at=about.now,
        created_by=about.user,
        updated_at=about.now,
        updated_by=about.user,
        **{"custom": {}} | values,
    )
    session.add(row)
    return row


REMEMBERED_S = 5.0
_required: dict[UUID, tuple[float, frozenset[str]]] = {}


def custom_required(session: Session) -> frozenset[str]:
    """The kinds of record for which this tenant has made some custom field required.

    It rarely changes and every creation asks: an answer serves for five seconds.
    """
    tenant = context(session).tenant
    until, found = _required.get(tenant, (0.0, frozenset[str]()))
    if time.monotonic() < until:
        return found
    wanted = select(custom.CustomField.record).where(custom.CustomField.required)
    found = frozenset(session.scalars(wanted))
    if len(_required) > 10_000:
        _required.clear()
    _required[tenant] = (time.monotonic() + REMEMBERED_S, found)
    return found


def flush(session: Session, kind: RecordType) -> None:
    """Send what is pending; an external id that is taken is a named conflict."""
    try:
        session.flush()
    except IntegrityError as error:
        raise _conflict(kind, error) from None


def _conflict(kind: RecordType, error: IntegrityError) -> Exception:
    constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None) or ""
    if constraint.endswith("external_id"):
        return Conflict(
            f"Another of the {kind.name} has this external id",
            [FieldError("external_id", "taken", "This external id is taken")],
        )
    return error


def load(
    session: Session, kind: RecordType, model: type[R], id: UUID, version: int | None = None
) -> R:
    """The record, locked for change; `NotFound`, `Forbidden` by row rule, or `StaleVersion`."""
    row = session.get(model, id, with_for_update={"key_share": True}, populate_existing=True)
    if row is None:
        raise NotFound(f"There is no such record in {kind.name}")
    _, peers = listing.row_rule(session, kind)
    if peers is not None and str(getattr(row, "owner_id", None)) not in peers:
        raise NotFound(f"There is no such record in {kind.name}")
    if version is not None and row.version != version:
        current = answer(session, kind, id)[0]
        raise StaleVersion(
            f"You changed version {version}; it is at version {row.version} now", current
        )
    return row


def change(
    session: Session, kind: RecordType, row: Record, values: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Set fields; returns what really changed, and keeps it in the history.

    Nothing changed means nothing written: no new version, no history, no event.
    """
    about = context(session)
    wanted = dict(values)
    if "custom" in wanted:
        checked = custom.check(session, kind.name, wanted["custom"] or {}, partial=True)
        merged = {**row.custom, **checked}
        wanted["custom"] = {name: value for name, value in merged.items() if value is not None}
    changed: dict[str, tuple[Any, Any]] = {}
    for name, after in wanted.items():
        before = getattr(row, name)
        if before != after:
            setattr(row, name, after)
            changed[name] = (before, after)
    visible = {name: pair for name, pair in changed.items() if name not in _KEPT}
    if not visible:
        return {}
    row.version += 1
    row.updated_at = about.now
    row.updated_by = about.user
    keep(session, kind, row.id, row.version, "changed", visible)
    return visible


def keep(
    session: Session,
    kind: RecordType,
    id: UUID,
    version: int,
    action: str,
    changes: Mapping[str, tuple[Any, Any]],
) -> None:
    """Write an entry of the record's history."""
    about = context(session)
    session.add(
        History(
            tenant_id=about.tenant,
            record=kind.name,
            record_id=id,
            version=version,
            action=action,
            at=about.now,
            by=about.user,
            changes={name: [_plain(a), _plain(b)] for name, (a, b) in changes.items()},
        )
    )


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else to_jsonable_python(value)


def remove(session: Session, kind: RecordType, row: Record) -> None:
    """Delete the record; its history stays."""
    keep(session, kind, row.id, row.version + 1, "removed", {})
    session.delete(row)


def answer(session: Session, kind: RecordType, id: UUID) -> tuple[bytes, int]:
    """The record as JSON with its version, after what is pending has been sent."""
    if session.new or session.dirty:
        flush(session, kind)
    found = listing.read(session, kind, id)
    if found is None:
        raise NotFound(f"There is no such record in {kind.name}")
    return found[0].encode(), found[1]


def history(session: Session, kind: RecordType, id: UUID) -> bytes:
    """The record's changes, latest first, at most the last 200, as a JSON page."""
    if listing.read(session, kind, id) is None:
        raise NotFound(f"There is no such record in {kind.name}")
    rows = (
        select(
            History.id,
            History.version,
            History.action,
            History.at,
            History.by,
            History.changes,
        )
        .where(
            History.record == kind.name,
            History.record_id == id,
        )
        .order_by(History.at.desc(), History.id.desc())
        .limit(200)
    )
    items = session.scalars(as_json(rows)).all()
    return b'{"items":[%b],"next":null}' % ",".join(items).encode()


def existing(session: Session, model: type[Record], ids: set[UUID]) -> set[UUID]:
    """Which of these ids are records of this tenant."""
    if not ids:
        return set()
    return set(session.scalars(select(model.id).where(model.id.in_(ids))))


def demand(session: Session, model: type[Record], path: str, id: UUID | None) -> None:
    """A reference must point at a record of this tenant; anything else is a bad field."""
    if id is not None and not existing(session, model, {id}):
        raise InvalidInput.field(path, "unknown_reference", f"{path} names no record of yours")

"""Records: created, read, changed and removed the same way in every service.

A change names the version that it was made against (`If-Match`); a stale one gets the current
record back. Every change keeps its history: who, when, before and after.

Each write is one statement that also returns what readers get: SQLAlchemy's unit of work, and
reading the record back, cost three times the CPU (docs/decisions/writing-records.md). So a record
in hand is a plain copy of its row: it is read, and only `change` changes it.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from decimal import Decimal
from functools import cache
from typing import Any, TypeVar
from uuid import UUID

from pydantic_core import to_json, to_jsonable_python
from sqlalchemy import ColumnElement, select
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from liaison_kit import listing
from liaison_kit.context import context
from liaison_kit.database.statements import Statement, read_from, text_of
from liaison_kit.database.tables import Record
from liaison_kit.ids import uuid7
from liaison_kit.records import custom
from liaison_kit.records.recordtype import RecordType, as_json
from liaison_kit.records.references import unknown
from liaison_sdk.errors import Conflict, FieldError, InvalidInput, NotFound, StaleVersion

R = TypeVar("R", bound=Record)
_KEPT = {"version", "updated_at", "updated_by", "search", "keys"}


def create(session: Session, kind: RecordType, model: type[R], **values: Any) -> R:
    """A new record of this kind, stamped with who and when."""
    about = context(session)
    given = values.pop("custom", None)
    if given is not None or kind.name in custom_required(session):
        values["custom"] = custom.check(session, kind.name, given or {})
    principal = about.principal
    pointed = {name for name in kind.references if values.get(name) is not None}
    narrowed = principal is not None and principal.rows.get(kind.name, "all") != "all"
    owned = kind.owner is not None and kind.owner.key == "owner_id"
    if owned and narrowed and values.get("owner_id") is None:
        # Who may only see their own rows would lose sight of a row that has no owner.
        values["owner_id"] = about.user
    stamped = {
        "id": values.pop("id", None) or uuid7(),
        "tenant_id": about.tenant,
        "version": 1,
        "created_at": about.now,
        "created_by": about.user,
        "updated_at": about.now,
        "updated_by": about.user,
    }
    row = _in_hand(kind, model, {"custom": {}} | values | stamped)
    _write(session, kind, row, _writing(kind).insert, {}, pointed)
    return row


def stay_in_sight(session: Session, kind: RecordType, owner: UUID | None) -> None:
    """Nobody loses sight of a record by writing it: whose rows they see must own it."""
    _, peers = listing.row_rule(session, kind)
    if peers is not None and str(owner) not in peers:
        assert kind.owner is not None
        raise InvalidInput.field(
            kind.owner.key,
            "out_of_sight",
            "Your role shows you some owners' records only, and this would no longer be one",
        )


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


def load(
    session: Session, kind: RecordType, model: type[R], id: UUID, version: int | None = None
) -> R:
    """The record, locked for change; `NotFound`, also by row rule, or `StaleVersion`."""
    found = _writing(kind).lock.run(session, {"id": id})
    _, peers = listing.row_rule(session, kind)
    row = _copy(kind, model, found[0]) if found else None
    if row is None or (peers is not None and str(_owner(kind, row)) not in peers):
        raise NotFound(f"There is no such record in {kind.name}")
    if version is not None and row.version != version:
        current = answer(session, kind, id)[0]
        raise StaleVersion(
            f"You changed version {version}; it is at version {row.version} now", current
        )
    return row


def locked(
    session: Session, kind: RecordType, model: type[R], *where: ColumnElement[bool]
) -> list[R]:
    """The records that meet the conditions, locked for change in an order that all share."""
    table = kind.table
    rows = select(*table.c).where(*where).order_by(table.c.id).with_for_update(key_share=True)
    return [_copy(kind, model, row) for row in session.execute(rows)]


def change(
    session: Session,
    kind: RecordType,
    row: Record,
    values: Mapping[str, Any],
    beside: Mapping[str, tuple[Any, Any]] | None = None,
) -> dict[str, tuple[Any, Any]]:
    """Set fields; returns what really changed, and keeps it in the history.

    `beside` is what has changed of the record outside its own row. Nothing changed means nothing
    written: no new version, no history, no event.
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
            row.__dict__[name] = after
            changed[name] = (before, after)
    visible = {name: pair for name, pair in changed.items() if name not in _KEPT}
    visible |= beside or {}
    if not visible:
        return {}
    row.__dict__ |= {
        "version": row.version + 1,
        "updated_at": about.now,
        "updated_by": about.user,
    }
    kept = _kept(session, kind, row, "changed", visible)
    _write(session, kind, row, _writing(kind).update, kept, changed.keys() & kind.references)
    return visible


def remove(session: Session, kind: RecordType, row: Record) -> None:
    """Delete the record; its history stays."""
    row.__dict__["version"] += 1
    kept = _kept(session, kind, row, "removed", {})
    _writing(kind).delete.run(session, {"id": row.id, **kept})


def answer(session: Session, kind: RecordType, record: Record | UUID) -> tuple[bytes, int]:
    """What readers get of a record, as JSON, and its version.

    Of a record in hand it is what its write returned; of an id it is read now, with what the
    transaction has changed around the record since.
    """
    if isinstance(record, Record):
        if record._answer is not None:
            return record._answer
        record = record.id
    session.flush()
    found = listing.read(session, kind, record)
    if found is None:
        raise NotFound(f"There is no such record in {kind.name}")
    return found[0].encode(), found[1]


# --- the statements that write a kind of record --------------------------------------------------

_STAYS = {"id", "tenant_id", "created_at", "created_by"}
_KEEP = """
INSERT INTO history (id, tenant_id, record, record_id, version, action, at, by, changes)
VALUES (%(kept_id)s, %(kept_tenant)s, %(kept_record)s, %(id)s, %(kept_version)s, %(kept_action)s,
        %(kept_at)s, %(kept_by)s, %(kept_changes)s)
"""


class _Writing:
    """One kind's statements, planned once per connection and therefore of all its columns."""

    def __init__(self, kind: RecordType) -> None:
        columns = list(kind.table.c)
        table, names = kind.table.name, [column.name for column in columns]
        self.columns = tuple(names)
        self.json = frozenset(c.name for c in columns if isinstance(c.type, JSONB))
        listed = ", ".join(names)
        places = ", ".join(f"%({name})s" for name in names)
        changing = ", ".join(f"{name} = %({name})s" for name in names if name not in _STAYS)
        answer = read_from("written", table, text_of(as_json(kind.select(), "version")))
        # Looked up in the statement that writes: a round trip costs more than the look does.
        looks = "".join(
            f", %({name})s IS NULL OR EXISTS (SELECT FROM {of} WHERE id = %({name})s)"
            for name, of in kind.references.items()
        )
        answer = f"SELECT answer.*{looks} FROM ({answer}) answer"
        self.lock = Statement(f"SELECT {listed} FROM {table} WHERE id = %(id)s FOR NO KEY UPDATE")
        self.insert = Statement(
            f"WITH written AS (INSERT INTO {table} ({listed}) VALUES ({places}) RETURNING *)"
            f" {answer}"
        )
        self.update = Statement(
            f"WITH written AS (UPDATE {table} SET {changing} WHERE id = %(id)s RETURNING *),"
            f" kept AS ({_KEEP}) {answer}"
        )
        self.delete = Statement(f"WITH kept AS ({_KEEP}) DELETE FROM {table} WHERE id = %(id)s")


def _owner(kind: RecordType, row: Record) -> UUID | None:
    """Whose record it is; users are their own, and which are seen is for their service to keep."""
    return None if kind.owner is None else getattr(row, kind.owner.key)


@cache
def _writing(kind: RecordType) -> _Writing:
    return _Writing(kind)


def _copy(kind: RecordType, model: type[R], values: Sequence[Any]) -> R:
    return _in_hand(kind, model, dict(zip(_writing(kind).columns, values, strict=True)))


def _in_hand(kind: RecordType, model: type[R], values: dict[str, Any]) -> R:
    """A record that SQLAlchemy does not know of: it can be read, and setting a field fails."""
    blank = dict.fromkeys(_writing(kind).columns)
    if unknown := values.keys() - blank.keys():
        raise TypeError(f"{model.__name__} has no {', '.join(sorted(unknown))}")
    row: R = object.__new__(model)
    row.__dict__.update(blank | values)
    return row


def _write(
    session: Session,
    kind: RecordType,
    row: Record,
    statement: Statement,
    kept: Mapping[str, Any],
    pointed: Collection[str],
) -> None:
    """Run the statement; the caller's transaction must not be kept when this raises.

    `pointed` names the references that are new, of which none may point at nothing.
    """
    if kind.owner is not None and kind.owner.key != "id":
        stay_in_sight(session, kind, _owner(kind, row))
    writing = _writing(kind)
    values: dict[str, Any] = dict(kept)
    for name in writing.columns:
        value = row.__dict__[name]
        # What is cleared is NULL; JSON has a null of its own.
        is_json = name in writing.json and value is not None
        values[name] = to_json(value).decode() if is_json else value
    try:
        (written,) = statement.run(session, values)
    except IntegrityError as error:
        raise _conflict(kind, error) from None
    missing = [
        name
        for name, known in zip(kind.references, written[2:], strict=True)
        if name in pointed and not known
    ]
    if missing:
        raise unknown(missing)
    row._answer = written[0].encode(), int(written[1])


def _conflict(kind: RecordType, error: IntegrityError) -> Exception:
    constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None) or ""
    if constraint.endswith("external_id"):
        return Conflict(
            f"Another of the {kind.name} has this external id",
            [FieldError("external_id", "taken", "This external id is taken")],
        )
    return error


def _kept(
    session: Session,
    kind: RecordType,
    row: Record,
    action: str,
    changes: Mapping[str, tuple[Any, Any]],
) -> dict[str, Any]:
    """An entry of the record's history, as the statements write it."""
    about = context(session)
    return {
        "kept_id": uuid7(),
        "kept_tenant": about.tenant,
        "kept_record": kind.name,
        "kept_version": row.version,
        "kept_action": action,
        "kept_at": about.now,
        "kept_by": about.user,
        "kept_changes": to_json(
            {name: [_plain(before), _plain(after)] for name, (before, after) in changes.items()}
        ).decode(),
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else to_jsonable_python(value)

"""Records: created, read, changed and removed the same way in every service.

A change names the version that it was made against (`If-Match`); a stale one gets the current
record back. Every change keeps its history: who, when, before and after.

Each write is one statement that also returns what readers get: SQLAlchemy's unit of work, and
reading the record back, cost three times the CPU (docs/decisions/writing-records.md). SQL that
belongs to a write may ride `along` in it (`sql.py`).
"""

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeVar, cast
from uuid import UUID

from psycopg2.errors import ForeignKeyViolation
from pydantic_core import to_json
from sqlalchemy import ColumnElement, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from liaison_kit import listing
from liaison_kit.context import context
from liaison_kit.database.statements import Statement
from liaison_kit.database.tables import Record
from liaison_kit.ids import uuid7
from liaison_kit.listing.row_rules import OUT_OF_SIGHT
from liaison_kit.records import custom, links, sql
from liaison_kit.records.held import Held, answer_of, held, values_of
from liaison_kit.records.history import entry
from liaison_kit.records.recordtype import RecordType
from liaison_kit.records.references import has_moved, is_told_now, unknown
from liaison_sdk.errors import Conflict, FieldError, InvalidInput, NotFound, StaleVersion

R = TypeVar("R", bound=Record)
Along = tuple[str, Mapping[str, Any]]
"""SQL that is part of a write, and the values of its places that are no columns of the record."""

_STAMPS = {"version", "updated_at", "updated_by"}


def create(
    session: Session, kind: RecordType, model: type[R], *, along: Along | None = None, **values: Any
) -> Held[R]:
    """A new record of this kind, stamped with who and when."""
    about = context(session)
    given = values.pop("custom", None)
    if given is not None or kind.name in custom.demanding(session):
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
    if strangers := values.keys() - set(kind.column_names):
        raise TypeError(f"{model.__name__} has no {', '.join(sorted(strangers))}")
    # In the order of the table, as a copy is made.
    columns = dict.fromkeys(kind.column_names) | {"custom": {}} | values | stamped
    part, more = along or (None, {})
    written = _write(session, kind, columns, sql.insert(kind, part), more, pointed)
    return held(kind, model, tuple(columns.values()), written)


def stay_in_sight(session: Session, kind: RecordType, owner: UUID | None) -> None:
    """Nobody loses sight of a record by writing it: whose rows they see must own it."""
    _, peers = listing.row_rule(session, kind)
    if peers is not None and str(owner) not in peers:
        assert kind.owner is not None
        raise InvalidInput.field(kind.owner.key, *OUT_OF_SIGHT)


def load(
    session: Session, kind: RecordType, model: type[R], id: UUID, version: int | None = None
) -> Held[R]:
    """The record, locked for change; `NotFound`, also by row rule, or `StaleVersion`."""
    return load_with(session, kind, model, id, version)[0]


def load_with(
    session: Session,
    kind: RecordType,
    model: type[R],
    id: UUID,
    version: int | None,
    *also: ColumnElement[Any],
) -> tuple[Held[R], Sequence[Any]]:
    """The record as `load` has it, and what is to be known with it, looked up where it is locked.

    Their statement is remembered: `also` is declared once, and not made for each record.
    """
    _, peers = listing.row_rule(session, kind)
    # What the caller may not see is not even locked: they would wait for it, or others for them.
    found = sql.lock(kind, also).run(session, {"id": id, "peers": peers})
    if not found:
        raise NotFound(f"There is no such record in {kind.name}")
    size = len(kind.column_names)
    row = held(kind, model, found[0][:size])
    if version is not None and row.version != version:
        current = answer(session, kind, id)[0]
        raise StaleVersion(
            f"You changed version {version}; it is at version {row.version} now", current
        )
    return row, found[0][size:]


def locked(
    session: Session, kind: RecordType, model: type[R], *where: ColumnElement[bool]
) -> list[Held[R]]:
    """The records that meet the conditions, locked for change in an order that all share."""
    table = kind.table
    rows = select(*table.c).where(*where).order_by(table.c.id).with_for_update(key_share=True)
    return [held(kind, model, row) for row in session.execute(rows)]


def change(
    session: Session,
    kind: RecordType,
    row: Held[R],
    values: Mapping[str, Any],
    *,
    beside: Mapping[str, tuple[Any, Any]] | None = None,
    along: Along | None = None,
) -> tuple[Held[R], dict[str, tuple[Any, Any]]]:
    """Set fields; the record as it is then, and what has changed: each field before and after.

    `beside` is what has changed of the record outside its own row. Nothing changed means nothing
    written: no new version, no history, no event.
    """
    about = context(session)
    wanted = dict(values)
    if "custom" in wanted:
        checked = custom.check(session, kind.name, wanted["custom"] or {}, partial=True)
        merged = {**row.custom, **checked}
        wanted["custom"] = {name: value for name, value in merged.items() if value is not None}
    before = values_of(row)
    changed = {name: after for name, after in wanted.items() if before[name] != after}
    silent = _STAMPS | kind.derived
    told = {name: (before[name], after) for name, after in changed.items() if name not in silent}
    told |= beside or {}
    if not told:
        return row, {}
    stamps = {"version": row.version + 1, "updated_at": about.now, "updated_by": about.user}
    columns = before | changed | stamps
    part, more = along or (None, {})
    more = {**more, **entry(session, kind, columns["version"], "changed", told)}
    pointed = changed.keys() & kind.references
    written = _write(session, kind, columns, sql.update(kind, part), more, pointed)
    return held(kind, cast("type[R]", kind.model), tuple(columns.values()), written), told


def remove(session: Session, kind: RecordType, row: Held[Record]) -> None:
    """Delete the record; its history stays, and if it is restorable, so do its remains.

    `InUse` where something points at it that refuses; what lets go of it points at nothing then.
    """
    links.refuse(session, kind, row.id)
    links.unlink(session, {row.id: row.version + 1}, kind.referrers)
    kept = entry(session, kind, row.version + 1, "removed", {})
    try:
        if kind.restorable:
            sql.discard(kind).run(session, {"id": row.id, "trash_id": uuid7(), **kept})
        else:
            sql.delete(kind).run(session, {"id": row.id, **kept})
    except IntegrityError as error:
        raise _conflict(kind, error) from None


def answer(session: Session, kind: RecordType, record: Held[Record] | UUID) -> tuple[bytes, int]:
    """What readers get of a record, as JSON, and its version.

    Of a record in hand it is what its write returned; of an id it is read now, with what the
    transaction has changed around the record since.
    """
    if not isinstance(record, UUID):
        answered = answer_of(record)
        if answered is not None:
            return answered, record.version
        record = record.id
    session.flush()
    found = listing.read(session, kind, record)
    if found is None:
        raise NotFound(f"There is no such record in {kind.name}")
    return found[0].encode(), found[1]


def _write(
    session: Session,
    kind: RecordType,
    columns: Mapping[str, Any],
    statement: Statement,
    more: Mapping[str, Any],
    pointed: Collection[str],
) -> bytes:
    """Run the statement; the caller's transaction must not be kept when this raises.

    `pointed` names the references that are new, of which none may point at nothing.
    """
    # Users are their own, and which are seen is for their service to keep.
    if kind.owner is not None and kind.owner.key != "id":
        stay_in_sight(session, kind, columns[kind.owner.key])
    values = {**columns, **more}
    for name in sql.json_columns(kind):
        # What is cleared is NULL; JSON has a null of its own.
        if values[name] is not None:
            values[name] = to_json(values[name]).decode()
    try:
        found = statement.run(session, values)
    except IntegrityError as error:
        raise _conflict(kind, error) from None
    assert found, f"{kind.name} {columns['id']} has been changed since this copy of it was made"
    written, _version, *known = found[0]
    missing = [
        name
        for name, exists in zip(kind.references, known, strict=True)
        if name in pointed and not exists
    ]
    if missing:
        pointing = {name: columns[name] for name in missing}
        if not (has_moved(session, kind, pointing) or is_told_now(session, kind, pointing)):
            raise unknown(missing)
    body: str = written
    return body.encode()


def _conflict(kind: RecordType, error: IntegrityError) -> Exception:
    constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None) or ""
    if constraint.endswith("external_id"):
        return external_id_taken(kind)
    if isinstance(error.orig, ForeignKeyViolation):
        return Conflict("Something that this points at has just been deleted")
    return error


def external_id_taken(kind: RecordType) -> Conflict:
    """An external id is another record's, perhaps of one that the caller may not see.

    Whose it is isn't said; that it is taken can't be kept from who sends it (what-is-seen.md).
    """
    return Conflict(
        f"Another of the {kind.name} has this external id",
        [FieldError("external_id", "taken", "This external id is taken")],
    )

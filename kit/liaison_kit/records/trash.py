"""The trash: what was deleted can be restored for thirty days.

A deleted record leaves its table, so that nothing that reads has to leave it out. Its row, and the
rows of other tables that follow it, are kept as JSON: what an earlier release deleted is restored
with what has become a column since at its default.
"""

import datetime as dt
import json
import re
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from psycopg2.errors import ForeignKeyViolation, UniqueViolation
from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from sqlalchemy import delete, select, text, true
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit.context import context
from liaison_kit.database.migrations import Op, application_role, enable_tenancy
from liaison_kit.database.tables import Base, TenantRow
from liaison_kit.listing.row_rules import row_rule
from liaison_kit.privacy.moved import where_now
from liaison_kit.records import custom, links
from liaison_kit.records.history import keep
from liaison_kit.records.recordtype import RecordType
from liaison_kit.records.writing import external_id_taken
from liaison_sdk.errors import Conflict, NotFound

KEPT_DAYS = 30

_TABLES = f"""
CREATE TABLE trash (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    record text NOT NULL,
    record_id uuid NOT NULL UNIQUE,
    owner_id uuid,
    version bigint NOT NULL,
    deleted_at timestamptz NOT NULL,
    deleted_by uuid,
    held jsonb NOT NULL,
    beside jsonb NOT NULL
);

CREATE INDEX ix_trash_record ON trash (tenant_id, record, id);

CREATE INDEX ix_trash_deleted ON trash (deleted_at);

CREATE FUNCTION empty_trash() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public
AS $$
    WITH emptied AS (
        DELETE FROM trash WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM trash
            WHERE deleted_at < now() - interval '{KEPT_DAYS} days' LIMIT 1000))
        RETURNING beside
    )
    DELETE FROM file_parts USING emptied,
        jsonb_array_elements(emptied.beside -> 'attachments') AS attached
    WHERE file_id = (attached ->> 'id')::uuid
$$;

REVOKE EXECUTE ON FUNCTION empty_trash() FROM public
"""


def trash_tables(op: Op) -> None:
    """The trash of a service, as one of its migrations makes it."""
    for statement in _TABLES.split(";\n\n"):
        op.execute(statement)
    enable_tenancy(op, "trash")
    op.execute(f"GRANT EXECUTE ON FUNCTION empty_trash() TO {application_role(op)}")


class Trashed(TenantRow, Base):
    """A deleted record: its row, and by table the rows that followed it."""

    __tablename__ = "trash"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    record: Mapped[str]
    record_id: Mapped[UUID]
    owner_id: Mapped[UUID | None]
    version: Mapped[int]
    deleted_at: Mapped[dt.datetime]
    deleted_by: Mapped[UUID | None]
    held: Mapped[dict[str, Any]] = mapped_column(JSONB)
    beside: Mapped[dict[str, Any]] = mapped_column(JSONB)


class InTrash(BaseModel):
    """A deleted record as people see it in the trash; `id` is the record's, `values` what it was.

    After `until` it is gone for good.
    """

    id: UUID
    record: str
    deleted_at: dt.datetime
    deleted_by: UUID | None
    until: dt.datetime
    values: dict[str, Any]


def trash(
    session: Session, kind: RecordType, limit: int, before: UUID | None
) -> tuple[list[InTrash], UUID | None]:
    """What the caller may see of the deleted records of a kind, latest first, and what follows."""
    wanted = select(Trashed).where(Trashed.record == kind.name, _seen(session, kind))
    if before is not None:
        wanted = wanted.where(Trashed.id < before)
    rows = list(session.scalars(wanted.order_by(Trashed.id.desc()).limit(limit + 1)))
    more = rows[limit - 1].id if len(rows) > limit else None
    return [_shown(session, kind, row) for row in rows[:limit]], more


def is_in_trash(session: Session, kind: RecordType, id: UUID) -> bool:
    """Whether a record that the caller may see can be restored."""
    found = select(Trashed.id).where(Trashed.record_id == id, Trashed.record == kind.name)
    return session.scalar(found.where(_seen(session, kind))) is not None


def restore(session: Session, kind: RecordType, id: UUID) -> None:
    """Bring a deleted record back, with all that followed it.

    What it pointed at and is gone by now, it points at no more; what pointed at it does again.
    `Conflict` where something has taken its place meanwhile, or where it can't be without what is
    gone.
    """
    wanted = select(Trashed).where(Trashed.record_id == id, Trashed.record == kind.name)
    found = session.scalar(wanted.where(_seen(session, kind)).with_for_update())
    if found is None:
        raise NotFound(f"There is no such record in the trash of {kind.name}")
    about = context(session)
    held = found.held | _where_they_are(session, kind, found.held)
    unlinked = {name: (held[name], None) for name in _gone(session, kind, held)}
    version = found.version + 1
    if kind.referrers:
        links.came_back(session, {id: version})
    now = held | dict.fromkeys(unlinked)
    now |= {"version": version, "updated_at": about.now, "updated_by": about.user}
    try:
        put_row(session, kind, Trashed, found.id, found.held, now)
        for table, rows in found.beside.items():
            if rows:
                _put_followers(session, table, found.id, rows[0].keys())
    except IntegrityError as error:
        raise in_the_way(kind, error) from None
    keep(session, kind, id, version, "restored", unlinked)
    session.execute(delete(Trashed).where(Trashed.id == found.id))
    for each in links.referrers_of([kind]):
        if each.deleted == "unlink" and each.column in unlinked:
            links.remember(session, each, id, UUID(unlinked[each.column][0]))
    links.link_again(session, [id], kind.referrers)


def _seen(session: Session, kind: RecordType) -> Any:
    _, peers = row_rule(session, kind)
    return true() if peers is None else Trashed.owner_id.in_(peers)


def _shown(session: Session, kind: RecordType, row: Trashed) -> InTrash:
    plain = {"version", "updated_at", "updated_by"}
    held = row.held
    if held.get("custom"):
        held = held | {"custom": custom.still_held(session, kind.name, row.id, held["custom"])}
    return InTrash(
        id=row.record_id,
        record=row.record,
        deleted_at=row.deleted_at,
        deleted_by=row.deleted_by,
        until=row.deleted_at + dt.timedelta(days=KEPT_DAYS),
        values={n: v for n, v in held.items() if n in kind.fields and n not in plain},
    )


def gone_references(session: Session, kind: RecordType, held: Mapping[str, Any]) -> list[str]:
    """The references that point at nothing any more, or at nothing that the caller may see."""
    return _missing(session, kind.references, held)


def _gone(session: Session, kind: RecordType, held: Mapping[str, Any]) -> list[str]:
    """The references that point at nothing any more; what is hidden is there."""
    homes = {name: kind.homes.get(name, view) for name, view in kind.references.items()}
    return _missing(session, homes, held)


def _missing(session: Session, references: Mapping[str, str], held: Mapping[str, Any]) -> list[str]:
    pointing = {name: table for name, table in references.items() if held.get(name)}
    if not pointing:
        return []
    looks = ", ".join(
        f"EXISTS (SELECT FROM {table} WHERE id = CAST(:{name} AS uuid))"
        for name, table in pointing.items()
    )
    found = session.execute(text(f"SELECT {looks}"), {name: held[name] for name in pointing}).one()
    return [name for name, exists in zip(pointing, found, strict=True) if not exists]


_COLUMN = re.compile(r"[a-z_][a-z0-9_]*")


def _where_they_are(session: Session, kind: RecordType, held: dict[str, Any]) -> dict[str, Any]:
    """What it pointed at and was merged meanwhile: it points at the survivors."""
    pointing = {name: UUID(held[name]) for name in kind.references if held.get(name)}
    moved = where_now(session, list(pointing.values())) if pointing else {}
    return {name: str(moved[id]) for name, id in pointing.items() if moved.get(id)}


def put_row(
    session: Session,
    kind: RecordType,
    kept: type[Base],
    id: UUID,
    held: Mapping[str, Any],
    now: Mapping[str, Any],
) -> None:
    """Put a row back where it came from, with what is different now.

    It is `held` by the row `id` of `kept`, and goes from table to table inside the database: JSON
    that was read here has lost cents of large amounts.
    """
    if held.get("custom"):
        now = {**now, "custom": custom.still_held(session, kind.name, id, held["custom"])}
    changed = {name: value for name, value in now.items() if value != held.get(name)}
    columns = _columns(name for name in kind.column_names if name in held or name in changed)
    _put(
        session,
        kind.table.name,
        columns,
        f"SELECT jsonb_build_array(held || CAST(:changed AS jsonb)) FROM {kept.__tablename__}"
        " WHERE id = :id",
        {"id": id, "changed": json.dumps(to_jsonable_python(changed))},
    )


def _put_followers(session: Session, table: str, id: UUID, names: Iterable[str]) -> None:
    held = "SELECT beside -> :follower FROM trash WHERE id = :id"
    _put(session, table, _columns(names), held, {"id": id, "follower": table})


def _columns(names: Iterable[str]) -> str:
    return ", ".join(name for name in names if _COLUMN.fullmatch(name))


def _put(session: Session, table: str, columns: str, held: str, values: dict[str, Any]) -> None:
    session.execute(
        text(
            f"INSERT INTO {table} ({columns}) OVERRIDING SYSTEM VALUE SELECT {columns}"
            f" FROM jsonb_populate_recordset(CAST(NULL AS {table}), ({held}))"
        ),
        values,
    )


def in_the_way(kind: RecordType, error: IntegrityError) -> Exception:
    """Why a record can't be put back where it was."""
    constraint = getattr(getattr(error.orig, "diag", None), "constraint_name", None) or ""
    if constraint.endswith("external_id"):
        return external_id_taken(kind)
    if isinstance(error.orig, UniqueViolation):
        return Conflict("Another record has taken its place; change that one first")
    if isinstance(error.orig, ForeignKeyViolation):
        return Conflict("Something that it belongs to is gone; restore that first")
    return error

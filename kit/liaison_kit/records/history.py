"""The history of records: who changed what, when, before and after."""

import datetime as dt
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from pydantic_core import to_json, to_jsonable_python
from sqlalchemy import column, func, select, table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit.context import context
from liaison_kit.database.statements import Statement
from liaison_kit.database.tables import Base, TenantRow
from liaison_kit.ids import uuid7
from liaison_kit.records.recordtype import RecordType, as_json
from liaison_kit.records.sql import KEEP


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


_KEEP = Statement(KEEP)

Changes = Mapping[str, tuple[Any, Any]]
"""Each field that was changed: before and after."""


def entry(
    session: Session, kind: RecordType, version: int, action: str, changes: Changes
) -> dict[str, Any]:
    """An entry of a record's history, as the statements of `sql` write it beside the record."""
    about = context(session)
    return {
        "kept_id": uuid7(),
        "kept_tenant": about.tenant,
        "kept_record": kind.name,
        "kept_version": version,
        "kept_action": action,
        "kept_at": about.now,
        "kept_by": about.user,
        "kept_changes": to_json(
            {name: [_plain(before), _plain(after)] for name, (before, after) in changes.items()}
        ).decode(),
    }


def _plain(value: Any) -> Any:
    return str(value) if isinstance(value, Decimal) else to_jsonable_python(value)


def keep(
    session: Session, kind: RecordType, id: UUID, version: int, action: str, changes: Changes
) -> None:
    """Write an entry of a record's history by itself."""
    _KEEP.run(session, {"id": id, **entry(session, kind, version, action, changes)})


def removals(session: Session, kind: RecordType, ids: Sequence[UUID]) -> dict[UUID, int]:
    """At which version each of these records was removed, last."""
    rows = session.execute(
        select(History.record_id, func.max(History.version))
        .where(
            History.record == kind.name,
            History.action == "removed",
            History.record_id.in_(ids),
        )
        .group_by(History.record_id)
    )
    return {id: version for id, version in rows}  # noqa: C416


def history_of(session: Session, record: str, id: UUID) -> bytes | None:
    """The history of what is no record of its own; None where there never was one."""
    rows = select(*(getattr(History, name) for name in Change.model_fields))
    rows = rows.where(History.record == record, History.record_id == id)
    found = session.scalars(as_json(rows.order_by(History.at.desc(), History.id.desc()).limit(200)))
    items = found.all()
    return b'{"items":[%b],"next":null}' % ",".join(items).encode() if items else None


def history(session: Session, kind: RecordType, id: UUID) -> bytes:
    """A record's changes, latest first, at most the last 200, as a JSON page.

    That whoever asks may see the record is looked at before.
    """
    columns = (column(each.name, each.type) for each in History.__table__.c)
    kept = table(kind.history, *columns).c
    rows = (
        select(*(kept[name] for name in Change.model_fields))
        .where(kept.record == kind.name, kept.record_id == id)
        .order_by(kept.at.desc(), kept.id.desc())
        .limit(200)
    )
    items = session.scalars(as_json(rows)).all()
    return b'{"items":[%b],"next":null}' % ",".join(items).encode()

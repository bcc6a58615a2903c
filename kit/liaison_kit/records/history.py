"""The history of records: who changed what, when, before and after."""

import datetime as dt
from typing import Any
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import column, select, table
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit import listing
from liaison_kit.database.tables import Base, TenantRow
from liaison_kit.ids import uuid7
from liaison_kit.records.recordtype import RecordType, as_json
from liaison_sdk.errors import NotFound


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


def history(session: Session, kind: RecordType, id: UUID) -> bytes:
    """The record's changes, latest first, at most the last 200, as a JSON page."""
    if listing.read(session, kind, id) is None:
        raise NotFound(f"There is no such record in {kind.name}")
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

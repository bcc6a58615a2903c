"""The table of bulk changes: what became of each record, and what it was before."""

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from liaison_kit.database.migrations import Op, application_role, enable_tenancy
from liaison_kit.database.tables import Base, TenantRow
from liaison_kit.records.trash import KEPT_DAYS


class BulkChange(TenantRow, Base):
    """One record of a bulk change, and what became of it.

    `code` and `message` are of the error that kept it as it was. `before` are the fields that were
    changed, as readers had them, and `version` is what the job left. `undone` tells that all of it,
    or what could be, was put back; `undo_code` and `undo_message` what could not.
    """

    __tablename__ = "bulk_changes"

    job_id: Mapped[UUID] = mapped_column(primary_key=True)
    record_id: Mapped[UUID] = mapped_column(primary_key=True)
    at: Mapped[dt.datetime]
    code: Mapped[str | None]
    message: Mapped[str | None]
    version: Mapped[int | None]
    before: Mapped[dict[str, Any]] = mapped_column(JSONB)
    undone: Mapped[bool]
    undo_code: Mapped[str | None]
    undo_message: Mapped[str | None]


_TABLES = f"""
CREATE TABLE bulk_changes (
    tenant_id uuid NOT NULL,
    job_id uuid NOT NULL,
    record_id uuid NOT NULL,
    at timestamptz NOT NULL,
    code text,
    message text,
    version bigint,
    before jsonb NOT NULL,
    undone boolean NOT NULL,
    undo_code text,
    undo_message text,
    PRIMARY KEY (job_id, record_id)
);

CREATE INDEX ix_bulk_changes_at ON bulk_changes (at);

CREATE FUNCTION tidy_bulk_changes() RETURNS void LANGUAGE sql SECURITY DEFINER
SET search_path = public AS $$
    DELETE FROM bulk_changes WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM bulk_changes
        WHERE at < now() - interval '{KEPT_DAYS} days' LIMIT 1000))
$$;

REVOKE EXECUTE ON FUNCTION tidy_bulk_changes() FROM public
"""


def bulk_tables(op: Op) -> None:
    """The bulk changes of a service, as one of its migrations makes them."""
    for statement in _TABLES.split(";\n\n"):
        op.execute(statement)
    enable_tenancy(op, "bulk_changes")
    op.execute(f"GRANT EXECUTE ON FUNCTION tidy_bulk_changes() TO {application_role(op)}")

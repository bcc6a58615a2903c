"""The table of exports: the files that were made of lists, and whose they are."""

import datetime as dt
from uuid import UUID

from sqlalchemy.orm import Mapped, mapped_column

from liaison_kit.database.migrations import Op, application_role, enable_tenancy
from liaison_kit.database.tables import Base, TenantRow

KEPT_DAYS = 7


class Export(TenantRow, Base):
    """A list as a file; its id is its job's and the file's.

    `picked_id` is the file of the ids of its records, `rows_id` that of the rows of a workbook that
    is yet to be made.
    """

    __tablename__ = "exports"

    id: Mapped[UUID] = mapped_column(primary_key=True)
    record: Mapped[str]
    file_name: Mapped[str]
    content_type: Mapped[str]
    picked_id: Mapped[UUID]
    rows_id: Mapped[UUID]
    ready: Mapped[bool]
    created_at: Mapped[dt.datetime]
    created_by: Mapped[UUID | None]


_TABLES = f"""
CREATE TABLE exports (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    record text NOT NULL,
    file_name text NOT NULL,
    content_type text NOT NULL,
    picked_id uuid NOT NULL,
    rows_id uuid NOT NULL,
    ready boolean NOT NULL,
    created_at timestamptz NOT NULL,
    created_by uuid
);

CREATE INDEX ix_exports_created ON exports (created_at);

CREATE FUNCTION tidy_exports() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public
AS $$
    WITH old AS (
        DELETE FROM exports WHERE ctid = ANY(ARRAY(
            SELECT ctid FROM exports
            WHERE created_at < now() - interval '{KEPT_DAYS} days' LIMIT 100))
        RETURNING id, picked_id, rows_id
    )
    DELETE FROM file_parts USING old WHERE file_id IN (old.id, old.picked_id, old.rows_id)
$$;

REVOKE EXECUTE ON FUNCTION tidy_exports() FROM public
"""


def export_tables(op: Op) -> None:
    """The exports of a service, as one of its migrations makes them."""
    for statement in _TABLES.split(";\n\n"):
        op.execute(statement)
    enable_tenancy(op, "exports")
    op.execute(f"GRANT EXECUTE ON FUNCTION tidy_exports() TO {application_role(op)}")

"""The tables of imports: what was handed in, how it went, what each import changed, and the
mappings that next month's file is proposed."""

import datetime as dt
from typing import Any
from uuid import UUID

from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.orm import Mapped, mapped_column

from liaison_kit.database.migrations import Op, enable_tenancy
from liaison_kit.database.tables import Base, TenantRow
from liaison_kit.ids import uuid7


class Import(TenantRow, Base):
    """One file handed in for import, from its upload to its end or its rollback.

    `status` goes draft → previewed → queued → running → done | cancelled | failed, and from done,
    cancelled or failed → rolling_back → rolled_back.
    """

    __tablename__ = "imports"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    record: Mapped[str]
    file_id: Mapped[UUID]
    file_name: Mapped[str]
    file_size: Mapped[int]
    file_info: Mapped[dict[str, Any]] = mapped_column(JSONB)
    mapping: Mapped[dict[str, Any]] = mapped_column(JSONB)
    value_map: Mapped[dict[str, Any]] = mapped_column(JSONB)
    options: Mapped[dict[str, Any]] = mapped_column(JSONB)
    status: Mapped[str]
    counts: Mapped[dict[str, Any]] = mapped_column(JSONB)
    problems: Mapped[list[Any]] = mapped_column(JSONB)
    columns: Mapped[list[Any]] = mapped_column(JSONB, default=list)
    """The table columns that the import writes; a rollback restores these."""
    errors_file: Mapped[UUID | None]
    job_id: Mapped[UUID | None]
    version: Mapped[int] = mapped_column(default=1)
    created_at: Mapped[dt.datetime]
    created_by: Mapped[UUID | None]
    updated_at: Mapped[dt.datetime]


class SavedMapping(TenantRow, Base):
    """What fed what when a file with this header was last imported."""

    __tablename__ = "import_mappings"

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    record: Mapped[str]
    fingerprint: Mapped[str]
    """Of the header, its words in its order."""
    file_name: Mapped[str]
    mapping: Mapped[dict[str, Any]] = mapped_column(JSONB)
    value_map: Mapped[dict[str, Any]] = mapped_column(JSONB)
    options: Mapped[dict[str, Any]] = mapped_column(JSONB)
    used_at: Mapped[dt.datetime]
    used_by: Mapped[UUID | None]


TABLES = """
CREATE TABLE imports (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    record text NOT NULL,
    file_id uuid NOT NULL,
    file_name text NOT NULL,
    file_size bigint NOT NULL,
    file_info jsonb NOT NULL,
    mapping jsonb NOT NULL,
    value_map jsonb NOT NULL,
    options jsonb NOT NULL,
    status text NOT NULL,
    counts jsonb NOT NULL,
    problems jsonb NOT NULL,
    columns jsonb NOT NULL,
    errors_file uuid,
    job_id uuid,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    created_by uuid,
    updated_at timestamptz NOT NULL
);

CREATE INDEX ix_imports_tenant ON imports (tenant_id, id);

CREATE TABLE import_changes (
    tenant_id uuid NOT NULL,
    import_id uuid NOT NULL,
    record_id uuid NOT NULL,
    action text NOT NULL,
    before jsonb,
    version bigint NOT NULL,
    PRIMARY KEY (import_id, record_id)
)
"""


def import_tables(op: Op) -> None:
    """The tables of imports, as the first migration of a service with importables makes them."""
    for statement in TABLES.split(";\n\n"):
        op.execute(statement)
    for table in ("imports", "import_changes"):
        enable_tenancy(op, table)


MAPPINGS = """
CREATE TABLE import_mappings (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    record text NOT NULL,
    fingerprint text NOT NULL,
    file_name text NOT NULL,
    mapping jsonb NOT NULL,
    value_map jsonb NOT NULL,
    options jsonb NOT NULL,
    used_at timestamptz NOT NULL,
    used_by uuid
);

CREATE UNIQUE INDEX uq_import_mappings ON import_mappings (tenant_id, record, fingerprint)
"""


def mapping_tables(op: Op) -> None:
    """The table of saved mappings, which a service with importables has besides."""
    for statement in MAPPINGS.split(";\n\n"):
        op.execute(statement)
    enable_tenancy(op, "import_mappings")

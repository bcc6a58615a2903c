"""Merges, erasures and questions of access; what points at people and companies finds survivors."""

from alembic import op

from liaison_kit.database.migrations import RECORD_COLUMNS, enable_tenancy
from liaison_kit.privacy.tables import lands, privacy_tables

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

_TABLES = f"""
CREATE TABLE merges (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    record text NOT NULL,
    from_id uuid NOT NULL,
    into_id uuid NOT NULL,
    held jsonb NOT NULL,
    changed jsonb NOT NULL,
    undone boolean NOT NULL
);

CREATE INDEX ix_merges_into ON merges (tenant_id, into_id);

CREATE TABLE privacy_requests (
    {RECORD_COLUMNS},
    kind text NOT NULL CHECK (kind IN ('merge', 'undo', 'erasure', 'access')),
    record text NOT NULL,
    subject_id uuid NOT NULL,
    other_id uuid,
    reason text,
    state text NOT NULL CHECK (state IN ('running', 'done')),
    finished_at timestamptz,
    asked jsonb,
    certificate jsonb,
    file_id uuid
);

CREATE INDEX ix_privacy_requests_created ON privacy_requests (tenant_id, created_at, id);

CREATE INDEX ix_privacy_requests_subject ON privacy_requests (tenant_id, subject_id);

CREATE TABLE privacy_receipts (
    tenant_id uuid NOT NULL,
    request_id uuid NOT NULL,
    module text NOT NULL,
    state text NOT NULL CHECK (state IN ('waiting', 'done', 'retired')),
    counts jsonb NOT NULL,
    answered_at timestamptz,
    PRIMARY KEY (request_id, module)
);

CREATE INDEX ix_privacy_receipts_waiting ON privacy_receipts (tenant_id, module)
    WHERE state = 'waiting';

CREATE TABLE held_parts (
    tenant_id uuid NOT NULL,
    request_id uuid NOT NULL,
    module text NOT NULL,
    part integer NOT NULL,
    sealed text NOT NULL,
    PRIMARY KEY (request_id, module, part)
);

CREATE TABLE holding_modules (
    tenant_id uuid NOT NULL,
    module text NOT NULL,
    said_at timestamptz NOT NULL,
    retired_at timestamptz,
    retired_by uuid,
    PRIMARY KEY (tenant_id, module)
)
"""


def upgrade() -> None:
    privacy_tables(op)
    for statement in _TABLES.split(";\n\n"):
        op.execute(statement)
    tables = ("merges", "privacy_requests", "privacy_receipts", "held_parts", "holding_modules")
    for table in tables:
        enable_tenancy(op, table)
    # Who was there before is waited for from the start, and not only once it says so at night.
    op.execute("""
        INSERT INTO holding_modules (tenant_id, module, said_at)
        SELECT tenant_id, module, now() FROM tenant_settings, unnest(ARRAY['connect', 'contacts'])
               AS module
        UNION
        SELECT DISTINCT tenant_id, 'sales', now() FROM occurrences
    """)
    lands(op, "people", "company_id")
    lands(op, "companies", "parent_id")
    lands(op, "notes", "about_id", goes_with=True, refused=True)
    lands(op, "attachments", "about_id", goes_with=True, refused=True)
    lands(op, "occurrences", "about_id", "id", "about_id", goes_with=True)

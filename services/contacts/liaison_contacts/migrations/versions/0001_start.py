"""People, companies, their notes, files and timeline."""

from alembic import op

from liaison_kit.database.migrations import (
    RECORD_COLUMNS,
    enable_tenancy,
    kit_tables,
    record_indexes,
    search_view,
)
from liaison_kit.imports.models import import_tables

revision = "0001"
down_revision = None

PARTY_COLUMNS = """
    owner_id uuid,
    emails jsonb NOT NULL DEFAULT '[]',
    phones jsonb NOT NULL DEFAULT '[]',
    addresses jsonb NOT NULL DEFAULT '[]',
    tags text[] NOT NULL DEFAULT '{}',
    stage text NOT NULL,
    customer_since date,
    customer_because text,
    search text NOT NULL,
    keys text[] NOT NULL DEFAULT '{}'
"""


def upgrade() -> None:
    """Make the tables."""
    kit_tables(op)
    import_tables(op)
    op.execute(f"""
        CREATE TABLE people (
            {RECORD_COLUMNS},
            {PARTY_COLUMNS},
            first_name text NOT NULL,
            last_name text NOT NULL,
            title text,
            company_id uuid
        )
    """)
    op.execute(f"""
        CREATE TABLE companies (
            {RECORD_COLUMNS},
            {PARTY_COLUMNS},
            name text NOT NULL,
            parent_id uuid,
            industry text,
            website text,
            year_founded integer,
            employees integer,
            annual_revenue_amount numeric(18, 2),
            annual_revenue_currency char(3)
        )
    """)
    for table in ("people", "companies"):
        enable_tenancy(op, table)
        search_view(op, table)
        record_indexes(op, table)
        op.execute(f"CREATE INDEX ix_{table}_search ON {table} USING gin (search gin_trgm_ops)")
        # How rare a part of a name is can only be told from many values.
        op.execute(f"ALTER TABLE {table} ALTER COLUMN search SET STATISTICS 1000")
        # No query asks for these by value, and comparing JSON took ANALYZE two thirds of its time.
        for column in ("emails", "phones", "addresses"):
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")
        # Every creation looks here first, so nothing may wait in a pending list.
        op.execute(
            f"CREATE INDEX ix_{table}_keys ON {table} USING gin (keys) WITH (fastupdate=off)"
        )
        op.execute(
            f"CREATE INDEX ix_{table}_owner ON {table} (tenant_id, owner_id, updated_at, id)"
            " WHERE owner_id IS NOT NULL"
        )
        op.execute(f"CREATE INDEX ix_{table}_stage ON {table} (tenant_id, stage, updated_at, id)")
    op.execute("CREATE INDEX ix_people_last_name ON people (tenant_id, last_name, id)")
    op.execute(
        "CREATE INDEX ix_people_company ON people (tenant_id, company_id)"
        " WHERE company_id IS NOT NULL"
    )
    op.execute("CREATE INDEX ix_companies_name ON companies (tenant_id, name, id)")
    op.execute(
        "CREATE INDEX ix_companies_parent ON companies (tenant_id, parent_id)"
        " WHERE parent_id IS NOT NULL"
    )
    op.execute(f"""
        CREATE TABLE notes (
            {RECORD_COLUMNS},
            about text NOT NULL,
            about_id uuid NOT NULL,
            body text NOT NULL
        )
    """)
    op.execute("""
        CREATE TABLE attachments (
            id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            about text NOT NULL,
            about_id uuid NOT NULL,
            name text NOT NULL,
            content_type text NOT NULL,
            size bigint NOT NULL,
            created_at timestamptz NOT NULL,
            created_by uuid
        )
    """)
    op.execute("""
        CREATE TABLE occurrences (
            id uuid NOT NULL,
            about_id uuid NOT NULL,
            tenant_id uuid NOT NULL,
            at timestamptz NOT NULL,
            kind text NOT NULL,
            by uuid,
            details jsonb NOT NULL,
            PRIMARY KEY (id, about_id)
        )
    """)
    for table, moment in (
        ("notes", "created_at"),
        ("attachments", "created_at"),
        ("occurrences", "at"),
    ):
        enable_tenancy(op, table)
        op.execute(f"CREATE INDEX ix_{table}_about ON {table} (tenant_id, about_id, {moment})")
    op.execute("""
        CREATE TABLE owners (
            id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            name text NOT NULL,
            email text,
            version bigint NOT NULL
        )
    """)
    op.execute("CREATE INDEX ix_owners_name ON owners (tenant_id, name)")
    enable_tenancy(op, "owners")

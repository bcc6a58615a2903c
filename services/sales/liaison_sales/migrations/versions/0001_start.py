"""Products, pipelines, opportunities, and what sales remembers of users and companies."""

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


def upgrade() -> None:
    """Make the tables."""
    kit_tables(op)
    import_tables(op)
    _products()
    _pipelines()
    _opportunities()
    _stage_changes()
    _projections()


def _products() -> None:
    op.execute(f"""
        CREATE TABLE products (
            {RECORD_COLUMNS},
            name text NOT NULL,
            code text,
            family text,
            list_price_amount numeric(18, 2) CHECK (list_price_amount >= 0),
            currency char(3),
            active boolean NOT NULL,
            search text NOT NULL
        )
    """)
    enable_tenancy(op, "products")
    search_view(op, "products")
    record_indexes(op, "products")
    op.execute("CREATE INDEX ix_products_name ON products (tenant_id, name, id)")
    op.execute("CREATE INDEX ix_products_search ON products USING gin (search gin_trgm_ops)")


def _pipelines() -> None:
    op.execute(f"""
        CREATE TABLE pipelines (
            {RECORD_COLUMNS},
            name text NOT NULL,
            currency char(3) NOT NULL,
            is_default boolean NOT NULL
        )
    """)
    op.execute("""
        CREATE TABLE stages (
            id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            pipeline_id uuid NOT NULL REFERENCES pipelines ON DELETE CASCADE,
            code text NOT NULL,
            name text NOT NULL,
            position integer NOT NULL,
            probability smallint NOT NULL CHECK (probability BETWEEN 0 AND 100),
            kind text NOT NULL CHECK (kind IN ('open', 'won', 'lost'))
        )
    """)
    for table in ("pipelines", "stages"):
        enable_tenancy(op, table)
    record_indexes(op, "pipelines")
    # Two first requests of a new tenant at once make one default pipeline, not two.
    op.execute("CREATE UNIQUE INDEX uq_pipelines_default ON pipelines (tenant_id) WHERE is_default")
    op.execute("CREATE INDEX ix_stages_pipeline ON stages (pipeline_id, position)")


def _opportunities() -> None:
    op.execute(f"""
        CREATE TABLE opportunities (
            {RECORD_COLUMNS},
            name text NOT NULL,
            pipeline_id uuid NOT NULL REFERENCES pipelines,
            stage_id uuid NOT NULL REFERENCES stages,
            stage_since timestamptz NOT NULL,
            status text NOT NULL CHECK (status IN ('open', 'won', 'lost')),
            product_id uuid REFERENCES products,
            company_id uuid,
            contact_id uuid,
            owner_id uuid,
            owner_reason text,
            region text,
            amount_amount numeric(18, 2) CHECK (amount_amount >= 0),
            currency char(3),
            probability smallint CHECK (probability BETWEEN 0 AND 100),
            engaged_on date,
            expected_close date,
            closed_on date,
            win_reason text,
            lost_reason text,
            search text NOT NULL,
            CONSTRAINT closed_after_engaged CHECK (closed_on >= engaged_on),
            CONSTRAINT amount_has_currency CHECK ((amount_amount IS NULL) = (currency IS NULL))
        )
    """)
    enable_tenancy(op, "opportunities")
    search_view(op, "opportunities")
    record_indexes(op, "opportunities")
    for name, columns in {
        "name": "tenant_id, name, id",
        "stage": "tenant_id, stage_id, updated_at, id",
        "owner": "tenant_id, owner_id, updated_at, id",
        "company": "tenant_id, company_id",
        "product": "product_id",
        "created": "tenant_id, created_at, id",
        # Lists put rows without a day at the end, whichever way round they are sorted.
        "closed_on": "tenant_id, closed_on, id",
        "last_closed": "tenant_id, closed_on DESC NULLS LAST, id DESC",
        "expected_close": "tenant_id, expected_close, id",
        "last_expected": "tenant_id, expected_close DESC NULLS LAST, id DESC",
    }.items():
        op.execute(f"CREATE INDEX ix_opportunities_{name} ON opportunities ({columns})")
    # How many open ones each rep has, when an owner is looked for.
    op.execute(
        "CREATE INDEX ix_opportunities_open ON opportunities (tenant_id, owner_id)"
        " WHERE status = 'open'"
    )
    # The summary reads this index alone, not the rows.
    op.execute(
        "CREATE INDEX ix_opportunities_summary ON opportunities (tenant_id, pipeline_id)"
        " INCLUDE (stage_id, status, owner_id, product_id, region, amount_amount, currency,"
        " probability, engaged_on, closed_on)"
    )
    op.execute(
        "CREATE INDEX ix_opportunities_search ON opportunities USING gin (search gin_trgm_ops)"
    )


def _stage_changes() -> None:
    op.execute("""
        CREATE TABLE stage_changes (
            id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
            tenant_id uuid NOT NULL,
            opportunity_id uuid NOT NULL REFERENCES opportunities ON DELETE CASCADE,
            from_stage_id uuid,
            to_stage_id uuid NOT NULL,
            at timestamptz NOT NULL,
            by uuid,
            seconds bigint
        )
    """)
    enable_tenancy(op, "stage_changes")
    op.execute("CREATE INDEX ix_stage_changes_of ON stage_changes (opportunity_id, id)")


def _projections() -> None:
    op.execute("""
        CREATE TABLE reps (
            id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            name text NOT NULL,
            email text,
            folded text NOT NULL,
            team text,
            region text,
            manager_id uuid,
            manager text,
            active boolean NOT NULL,
            version bigint NOT NULL
        )
    """)
    op.execute("""
        CREATE TABLE accounts (
            id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            name text NOT NULL,
            folded text NOT NULL,
            external_id text,
            owner_id uuid,
            removed boolean NOT NULL,
            version bigint NOT NULL
        )
    """)
    for table in ("reps", "accounts"):
        enable_tenancy(op, table)
        op.execute(f"CREATE INDEX ix_{table}_folded ON {table} (tenant_id, folded)")
    op.execute("CREATE INDEX ix_reps_email ON reps (tenant_id, lower(email))")
    op.execute("CREATE INDEX ix_accounts_external_id ON accounts (tenant_id, external_id)")

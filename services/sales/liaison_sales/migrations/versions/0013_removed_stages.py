"""What stages that are gone were called."""

from alembic import op

from liaison_kit.database.migrations import enable_tenancy

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute(
        "CREATE TABLE removed_stages (id uuid PRIMARY KEY, tenant_id uuid NOT NULL,"
        " name text NOT NULL)"
    )
    enable_tenancy(op, "removed_stages")

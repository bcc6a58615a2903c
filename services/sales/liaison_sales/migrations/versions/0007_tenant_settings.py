"""Where each tenant is, is kept here as identity tells it."""

from alembic import op

from liaison_kit.database.migrations import tenant_settings_table

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    tenant_settings_table(op)

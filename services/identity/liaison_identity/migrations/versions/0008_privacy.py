"""Which records were merged, as every service keeps it."""

from alembic import op

from liaison_kit.privacy.tables import privacy_tables

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    privacy_tables(op)

"""What is deleted can be restored."""

from alembic import op

from liaison_kit.records.trash import trash_tables

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    trash_tables(op)

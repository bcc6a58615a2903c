"""What is to run later is kept here until it has run."""

from alembic import op

from liaison_kit.database.migrations import timer_tables

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    timer_tables(op)

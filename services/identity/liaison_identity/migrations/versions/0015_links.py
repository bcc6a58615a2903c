"""What was deleted is remembered by what pointed at it."""

from alembic import op

from liaison_kit.records.links import link_tables

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    link_tables(op)

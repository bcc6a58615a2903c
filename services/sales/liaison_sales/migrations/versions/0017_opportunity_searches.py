"""What opportunities are found by the database keeps."""

from alembic import op

from liaison_kit.database.record_tables import searched

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    searched(op, "opportunities", "name", "external_id", refill=True)

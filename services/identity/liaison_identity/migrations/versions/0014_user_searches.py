"""What users are found by the database keeps."""

from alembic import op

from liaison_kit.database.record_tables import kept_searches, searched

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kept_searches(op)
    searched(op, "users", "name", "email", "title", refill=True)

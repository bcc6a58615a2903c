"""What products are found by the database keeps."""

from alembic import op

from liaison_kit.database.record_tables import kept_searches, searched

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    kept_searches(op)
    searched(op, "products", "name", "code", "family", refill=True)

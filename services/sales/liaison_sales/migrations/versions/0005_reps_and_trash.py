"""Reps who are gone are told from those who are inactive; what is deleted can be restored."""

from alembic import op

from liaison_kit.records.trash import trash_tables

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Whom the release before removes meanwhile counts as inactive, as until now.
    op.execute("ALTER TABLE reps ADD COLUMN removed boolean NOT NULL DEFAULT false")
    op.execute(f"UPDATE reps SET removed = true WHERE version = {2**62}")
    trash_tables(op)

"""What was told of a deal is found by the deal, to be taken back with it."""

from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("CREATE INDEX ix_occurrences_subject ON occurrences (tenant_id, subject_id)")

"""Added fields change, and go with their values."""

from alembic import op

from liaison_kit.database.migrations import changing_custom_fields

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None


def upgrade() -> None:
    changing_custom_fields(op)

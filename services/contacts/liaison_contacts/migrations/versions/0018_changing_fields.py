"""Added fields change, and go with their values."""

from alembic import op

from liaison_kit.database.migrations import changing_custom_fields

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    changing_custom_fields(op)

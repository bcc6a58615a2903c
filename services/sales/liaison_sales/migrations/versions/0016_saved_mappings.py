"""What fed what in an imported file is kept for the next one like it."""

from alembic import op

from liaison_kit.imports.models import mapping_tables

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None


def upgrade() -> None:
    mapping_tables(op)

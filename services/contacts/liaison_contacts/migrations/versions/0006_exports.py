"""Lists become files."""

from alembic import op

from liaison_kit.exports.models import export_tables

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    export_tables(op)

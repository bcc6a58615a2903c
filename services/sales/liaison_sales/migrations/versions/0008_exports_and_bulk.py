"""Lists become files, and many records are changed at once."""

from alembic import op

from liaison_kit.bulk.models import bulk_tables
from liaison_kit.exports.models import export_tables

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    export_tables(op)
    bulk_tables(op)

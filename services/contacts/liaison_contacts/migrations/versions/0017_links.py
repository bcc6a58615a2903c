"""What was deleted is remembered by what pointed at it."""

from alembic import op

from liaison_kit.privacy.tables import landing
from liaison_kit.records.links import link_tables

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    link_tables(op)
    landing(op, "people", "company_id")
    landing(op, "companies", "parent_id")

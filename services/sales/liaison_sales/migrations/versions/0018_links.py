"""What was deleted is remembered by what pointed at it."""

from alembic import op

from liaison_kit.privacy.tables import landing
from liaison_kit.records.links import link_tables

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    link_tables(op)
    landing(op, "opportunities", "company_id")
    landing(op, "opportunities", "contact_id")

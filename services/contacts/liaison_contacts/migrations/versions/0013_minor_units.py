"""Amounts have the decimals of their currency."""

from alembic import op

from liaison_kit.database.record_tables import amounts

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    amounts(op, "companies", "annual_revenue_amount", "annual_revenue_currency")

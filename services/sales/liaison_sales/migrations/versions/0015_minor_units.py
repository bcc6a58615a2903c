"""Amounts have the decimals of their currency."""

from alembic import op

from liaison_kit.database.record_tables import amounts

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    amounts(op, "products", "list_price_amount", "currency")
    amounts(op, "opportunities", "amount_amount", "currency")

"""Amounts have the decimals of their currency; added fields change, and go with their values."""

from alembic import op

from liaison_kit.database.migrations import amounts_of_any_currency, changing_custom_fields

revision = "0013"
down_revision = "0012"
branch_labels = None
depends_on = None


def upgrade() -> None:
    changing_custom_fields(op)
    amounts_of_any_currency(op, "companies", "annual_revenue_amount")

"""Amounts have the decimals of their currency; added fields change, and go with their values."""

from alembic import op

from liaison_kit.database.migrations import amounts_of_any_currency, changing_custom_fields

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None

# As 0002 made it: it looks at the amount, whose type can't change under it.
_SUMMED = (
    "tenant_id, pipeline_id, stage_id, status, owner_id, product_id, region, currency, probability"
)
_COLUMNS = [*_SUMMED.split(", "), "amount_amount", "engaged_on", "closed_on"]
_OLD, _NEW = (f"ROW({', '.join(f'{row}.{name}' for name in _COLUMNS)})" for row in ("old", "new"))


def upgrade() -> None:
    changing_custom_fields(op)
    amounts_of_any_currency(op, "products", "list_price_amount")
    op.execute("DROP TRIGGER opportunities_shifted ON opportunities")
    amounts_of_any_currency(op, "opportunities", "amount_amount")
    op.execute(
        "CREATE TRIGGER opportunities_shifted AFTER UPDATE ON opportunities FOR EACH ROW"
        f" WHEN ({_OLD} IS DISTINCT FROM {_NEW}) EXECUTE FUNCTION shift_opportunity_sums()"
    )

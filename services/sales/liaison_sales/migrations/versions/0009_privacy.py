"""Opportunities of people and companies that were merged are those of the survivors."""

from alembic import op

from liaison_kit.privacy.tables import lands, privacy_tables

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    privacy_tables(op)
    lands(op, "opportunities", "company_id")
    lands(op, "opportunities", "contact_id")
    # Opportunities are found by both when they are repointed.
    op.execute(
        "CREATE INDEX IF NOT EXISTS ix_opportunities_contact ON opportunities"
        " (tenant_id, contact_id) WHERE contact_id IS NOT NULL"
    )

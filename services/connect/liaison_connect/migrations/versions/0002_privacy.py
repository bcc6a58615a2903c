"""Messages to people who were merged are those of the survivors."""

from alembic import op

from liaison_kit.privacy.tables import lands, privacy_tables

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    privacy_tables(op)
    lands(op, "messages", "person_id")
    lands(op, "messages", "about_id")
    op.execute(
        "CREATE INDEX ix_messages_person ON messages (tenant_id, person_id)"
        " WHERE person_id IS NOT NULL"
    )
    op.execute(
        "CREATE INDEX ix_messages_about ON messages (tenant_id, about_id)"
        " WHERE about_id IS NOT NULL"
    )

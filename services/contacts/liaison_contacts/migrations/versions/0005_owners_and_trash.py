"""Owners are found by their folded name and by e-mail; what is deleted can be restored."""

from alembic import op

from liaison_kit.records.trash import trash_tables

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # Whom the release before adds meanwhile has no folded name here: identity is asked for them.
    op.execute("ALTER TABLE owners ADD COLUMN folded text NOT NULL DEFAULT ''")
    op.execute("UPDATE owners SET folded = lower(unaccent(name))")
    op.execute("CREATE INDEX ix_owners_folded ON owners (tenant_id, folded)")
    op.execute("CREATE INDEX ix_owners_email ON owners (tenant_id, lower(email))")
    trash_tables(op)

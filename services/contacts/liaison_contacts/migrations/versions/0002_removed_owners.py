"""Users who are gone own nothing new."""

from alembic import op

from liaison_kit.database.migrations import application_role

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("ALTER TABLE owners ADD COLUMN removed boolean NOT NULL DEFAULT false")
    op.execute(
        "CREATE VIEW present_owners WITH (security_invoker) AS"
        " SELECT id, tenant_id FROM owners WHERE NOT removed"
    )
    op.execute(f"GRANT SELECT ON present_owners TO {application_role(op)}")

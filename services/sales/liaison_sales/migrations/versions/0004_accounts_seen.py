"""The companies that a person may see; and a default pipeline for every organisation."""

from alembic import op

from liaison_kit.database.migrations import seen_view

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    columns = ("name", "folded", "external_id", "owner_id")
    seen_view(op, "accounts", "companies", *columns, where="NOT removed")
    # It was made when somebody first looked; from now on looking makes nothing.
    op.execute("""
        WITH made AS (
            INSERT INTO pipelines (id, tenant_id, name, currency, is_default, version, created_at,
                                   updated_at)
            SELECT gen_random_uuid(), tenant_id, 'Sales', 'EUR', true, 1, now(), now()
              FROM (SELECT DISTINCT tenant_id FROM reps) known
            ON CONFLICT (tenant_id) WHERE is_default DO NOTHING
            RETURNING id, tenant_id
        )
        INSERT INTO stages (id, tenant_id, pipeline_id, code, name, position, probability, kind)
        SELECT gen_random_uuid(), made.tenant_id, made.id, s.*
          FROM made, (VALUES ('prospecting', 'Prospecting', 0, 10, 'open'),
                             ('engaging', 'Engaging', 1, 30, 'open'),
                             ('proposal', 'Proposal', 2, 50, 'open'),
                             ('negotiation', 'Negotiation', 3, 75, 'open'),
                             ('won', 'Won', 4, 100, 'won'),
                             ('lost', 'Lost', 5, 0, 'lost')) AS s
    """)

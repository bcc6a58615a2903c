"""Who may see what others tell of: subjects and their owners, and views of what a person sees."""

from alembic import op

from liaison_kit import sight
from liaison_kit.database.migrations import application_role, enable_tenancy, search_view, seen_view

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# Side by side with the release before, which writes entries without their subject: these tell it.
_SUBJECT = "coalesce(subject_id, (details ->> 'opportunity_id')::uuid)"
_BY_HAND = "'changed by hand'"


def upgrade() -> None:
    _subjects()
    seen_view(op, "people", "contacts")
    seen_view(op, "companies", "companies", "name", "external_id")
    _entries()
    _causes()


def _subjects() -> None:
    op.execute("""
        CREATE TABLE subjects (
            id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            record text NOT NULL,
            permission text NOT NULL,
            owner_id uuid,
            version bigint NOT NULL
        )
    """)
    enable_tenancy(op, "subjects")
    op.execute("ALTER TABLE occurrences ADD COLUMN subject_id uuid")
    op.execute(f"UPDATE occurrences SET subject_id = {_SUBJECT}")
    # Of what a file brought in no owner was told: `liaison resend sales` tells it.
    op.execute("""
        INSERT INTO subjects (id, tenant_id, record, permission, owner_id, version)
        SELECT DISTINCT ON (subject_id) subject_id, tenant_id, 'opportunities',
               'opportunities:read', (details ->> 'owner_id')::uuid, 0
          FROM occurrences WHERE subject_id IS NOT NULL
         ORDER BY subject_id, jsonb_exists(details, 'owner_id') DESC, at DESC
    """)
    seen = sight.condition("permission", "record", "owner_id")
    op.execute(
        "CREATE VIEW seen_subjects WITH (security_invoker) AS"
        f" SELECT id, tenant_id FROM subjects WHERE {seen}"
    )
    op.execute("GRANT SELECT ON seen_subjects TO " + application_role(op))


def _entries() -> None:
    """Of the timeline, what the person who asks may see; of who sees everything, all."""
    op.execute(
        "CREATE VIEW seen_occurrences WITH (security_invoker) AS SELECT * FROM occurrences"
        f" WHERE {sight.UNRESTRICTED} OR EXISTS"
        f" (SELECT FROM seen_subjects s WHERE s.id = {_SUBJECT})"
    )
    op.execute("GRANT SELECT ON seen_occurrences TO " + application_role(op))


def _causes() -> None:
    """Which deal made somebody a customer, so that it is told only to who may see that deal."""
    for table in ("people", "companies"):
        op.execute(f"ALTER TABLE {table} ADD COLUMN because_id uuid")
        op.execute(f"""
            UPDATE {table} p SET because_id =
                   (SELECT o.subject_id FROM occurrences o
                     WHERE o.about_id = p.id AND o.tenant_id = p.tenant_id AND o.kind = 'deal_won'
                       AND 'won: ' || (o.details ->> 'name') = p.customer_because
                     ORDER BY o.at, o.id LIMIT 1)
             WHERE customer_because <> {_BY_HAND}
        """)
        search_view(op, table)
    told = " AND ".join(
        f"(changes -> 'customer_because' -> {side} IN ('null', '\"changed by hand\"') OR EXISTS"
        f" (SELECT FROM seen_subjects s WHERE s.id = (changes -> 'because_id' ->> {side})::uuid))"
        for side in (0, 1)
    )
    op.execute(
        "CREATE VIEW seen_history WITH (security_invoker) AS SELECT id, tenant_id, record,"
        " record_id, version, action, at, by, CASE"
        " WHEN NOT jsonb_exists_any(changes, ARRAY['customer_because', 'because_id'])"
        " THEN changes"
        f" WHEN {sight.everything('opportunities')} OR coalesce({told}, false)"
        " THEN changes - 'because_id'"
        " ELSE changes - 'because_id' - 'customer_because' END AS changes FROM history"
    )
    op.execute("GRANT SELECT ON seen_history TO " + application_role(op))

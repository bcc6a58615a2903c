"""Messages with their queue, and templates."""

from alembic import op

from liaison_kit import sight
from liaison_kit.database.migrations import (
    RECORD_COLUMNS,
    application_role,
    enable_tenancy,
    kit_tables,
    record_indexes,
    safer_events,
    tenant_settings_table,
    timer_tables,
)
from liaison_kit.records.trash import trash_tables

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    kit_tables(op)
    safer_events(op)
    trash_tables(op)
    timer_tables(op)
    tenant_settings_table(op)
    _messages()
    _templates()


def _messages() -> None:
    op.execute(f"""
        CREATE TABLE messages (
            {RECORD_COLUMNS},
            intent_id uuid NOT NULL,
            sender text NOT NULL,
            channel text NOT NULL,
            purpose text NOT NULL,
            to_address text,
            to_name text,
            person_id uuid,
            language text NOT NULL,
            template text,
            subject text,
            text text,
            html text,
            secret boolean NOT NULL,
            sealed text,
            fingerprint bytea NOT NULL,
            about_record text,
            about_id uuid,
            owner_id uuid,
            urgent boolean NOT NULL,
            state text NOT NULL
                CHECK (state IN ('queued', 'claimed', 'sent', 'failed', 'expired', 'unknown')),
            reason text,
            answer text,
            attempts integer NOT NULL,
            not_before timestamptz,
            expires_at timestamptz,
            wake_at timestamptz NOT NULL,
            worker uuid,
            handed_at timestamptz,
            sent_at timestamptz,
            CONSTRAINT uq_messages_intent UNIQUE (tenant_id, sender, intent_id),
            CONSTRAINT ck_messages_secret CHECK (NOT secret OR (text IS NULL AND html IS NULL)),
            CONSTRAINT ck_messages_forgotten
                CHECK (sealed IS NULL OR state IN ('queued', 'claimed'))
        )
    """)
    enable_tenancy(op, "messages")
    record_indexes(op, "messages")
    op.execute("CREATE INDEX ix_messages_created ON messages (tenant_id, created_at, id)")
    op.execute(
        "CREATE INDEX ix_messages_wake ON messages (urgent DESC, wake_at)"
        " WHERE state IN ('queued', 'claimed')"
    )
    role = application_role(op)
    # Senders look for messages of every tenant: they see this much, through the owner's view.
    op.execute(
        "CREATE VIEW message_queue AS SELECT id, tenant_id, urgent, state, attempts, expires_at,"
        " wake_at, worker, handed_at FROM messages WHERE state IN ('queued', 'claimed')"
    )
    op.execute(f"GRANT SELECT, UPDATE ON message_queue TO {role}")
    # A message is shown to who may see the record that it is about.
    seen = sight.condition("(about_record || '\\:read')", "about_record", "owner_id")
    op.execute(
        f"CREATE VIEW seen_messages WITH (security_invoker) AS SELECT * FROM messages WHERE {seen}"
    )
    op.execute(f"GRANT SELECT ON seen_messages TO {role}")


def _templates() -> None:
    op.execute(f"""
        CREATE TABLE templates (
            {RECORD_COLUMNS},
            code text NOT NULL,
            language text NOT NULL,
            name text NOT NULL,
            subject text NOT NULL,
            text text NOT NULL,
            html text
        )
    """)
    enable_tenancy(op, "templates")
    record_indexes(op, "templates")
    op.execute("CREATE UNIQUE INDEX uq_templates_code ON templates (tenant_id, code, language)")

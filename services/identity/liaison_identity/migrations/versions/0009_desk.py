"""What people have on their desks: notifications, drafts, saved views."""

from alembic import op

from liaison_kit.database.migrations import application_role, enable_tenancy
from liaison_kit.privacy.tables import lands

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    """Make the tables, and what clears them up."""
    for statement in (NOTIFICATIONS, DRAFTS, VIEWS):
        op.execute(statement)
    for table in (
        "notifications",
        "notification_choices",
        "drafts",
        "saved_views",
        "view_choices",
    ):
        enable_tenancy(op, table)
    lands(op, "notifications", "record_id", goes_with=True)
    lands(op, "drafts", "record_id", "user_id", "record", "record_id", "field", goes_with=True)
    op.execute(TIDY)
    op.execute("REVOKE EXECUTE ON FUNCTION tidy_desks() FROM PUBLIC")
    op.execute(f"GRANT EXECUTE ON FUNCTION tidy_desks() TO {application_role(op)}")


NOTIFICATIONS = """
CREATE TABLE notifications (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    heap uuid NOT NULL,
    module text NOT NULL,
    kind text NOT NULL,
    channel text NOT NULL CHECK (channel IN ('app', 'mail', 'digest')),
    record text,
    record_id uuid,
    owner_id uuid,
    owner_version bigint NOT NULL DEFAULT 0,
    gone boolean NOT NULL DEFAULT false,
    subject text NOT NULL,
    text text NOT NULL,
    times bigint NOT NULL DEFAULT 1,
    read_at timestamptz,
    digested_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE UNIQUE INDEX uq_notifications_heap ON notifications (heap) WHERE read_at IS NULL;
CREATE INDEX ix_notifications_user ON notifications (user_id, updated_at DESC, id DESC);
CREATE INDEX ix_notifications_unread ON notifications (user_id) WHERE read_at IS NULL;
CREATE INDEX ix_notifications_record ON notifications (record_id) WHERE record_id IS NOT NULL;
CREATE INDEX ix_notifications_old ON notifications (updated_at);
CREATE TABLE notification_choices (
    user_id uuid PRIMARY KEY REFERENCES users (id) ON DELETE CASCADE,
    tenant_id uuid NOT NULL,
    digest_at time NOT NULL DEFAULT '08:00',
    channels jsonb NOT NULL DEFAULT '{}',
    digest_due_at timestamptz
)
"""

# No draft is of two people's, so what is there for both records of a merge stays where it is.
DRAFTS = """
CREATE TABLE drafts (
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    record text NOT NULL,
    record_id uuid NOT NULL,
    field text NOT NULL,
    body text NOT NULL,
    version bigint NOT NULL,
    updated_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, record, record_id, field)
);
CREATE INDEX ix_drafts_record ON drafts (record_id);
CREATE INDEX ix_drafts_old ON drafts (updated_at)
"""

VIEWS = """
CREATE TABLE saved_views (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    owner_id uuid REFERENCES users (id) ON DELETE SET NULL,
    share text NOT NULL CHECK (share IN ('own', 'team', 'all')),
    team_id uuid REFERENCES teams (id) ON DELETE SET NULL,
    record text NOT NULL,
    name text NOT NULL,
    kind text NOT NULL CHECK (kind IN ('list', 'board')),
    query text NOT NULL,
    condition jsonb,
    sort text,
    by text,
    columns text[] NOT NULL,
    version bigint NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL
);
CREATE INDEX ix_saved_views_owner ON saved_views (owner_id);
CREATE INDEX ix_saved_views_team ON saved_views (team_id) WHERE team_id IS NOT NULL;
CREATE INDEX ix_saved_views_shared ON saved_views (tenant_id, record) WHERE share = 'all';
CREATE TABLE view_choices (
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    view_id uuid NOT NULL REFERENCES saved_views (id) ON DELETE CASCADE,
    tenant_id uuid NOT NULL,
    record text NOT NULL,
    position bigint,
    is_default boolean NOT NULL DEFAULT false,
    PRIMARY KEY (user_id, view_id)
);
CREATE UNIQUE INDEX uq_view_choices_default ON view_choices (user_id, record) WHERE is_default;
CREATE INDEX ix_view_choices_view ON view_choices (view_id)
"""

# With the owner's rights, because it clears up for every tenant; a bounded batch each time.
TIDY = """
CREATE FUNCTION tidy_desks() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM notifications WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM notifications WHERE updated_at < now() - interval '90 days' LIMIT 5000));
    DELETE FROM drafts WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM drafts WHERE updated_at < now() - interval '30 days' LIMIT 1000));
$$
"""

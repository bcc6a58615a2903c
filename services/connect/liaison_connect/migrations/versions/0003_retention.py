"""What messages said is kept for so long, and that they were, for longer."""

from alembic import op

from liaison_kit.database.migrations import application_role

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None

_ENDED = "state NOT IN ('queued', 'claimed')"
_BODIES = """
CREATE FUNCTION tidy_message_bodies(days integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    UPDATE messages SET subject = NULL, text = NULL, html = NULL WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM messages WHERE state NOT IN ('queued', 'claimed') AND text IS NOT NULL
           AND updated_at < now() - make_interval(days => days)
         ORDER BY updated_at LIMIT 1000))
$$
"""
_MESSAGES = """
CREATE FUNCTION tidy_messages(days integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    DELETE FROM messages WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM messages WHERE state NOT IN ('queued', 'claimed')
           AND updated_at < now() - make_interval(days => days)
         ORDER BY updated_at LIMIT 1000))
$$
"""


def upgrade() -> None:
    """Make the indexes by which they are found, and the functions."""
    op.execute(
        f"CREATE INDEX ix_messages_bodies ON messages (updated_at)"
        f" WHERE {_ENDED} AND text IS NOT NULL"
    )
    op.execute(f"CREATE INDEX ix_messages_ended ON messages (updated_at) WHERE {_ENDED}")
    op.execute(_BODIES)
    op.execute(_MESSAGES)
    for name in ("tidy_message_bodies(integer)", "tidy_messages(integer)"):
        op.execute(f"REVOKE EXECUTE ON FUNCTION {name} FROM public")
        op.execute(f"GRANT EXECUTE ON FUNCTION {name} TO {application_role(op)}")

"""Links by which people set their passwords, and how often they are mailed."""

from alembic import op

from liaison_kit.database.migrations import application_role, enable_tenancy

revision = "0007"
down_revision = "0006"


def upgrade() -> None:
    """Make the table, and the door through which a link is asked for."""
    op.execute("""
        CREATE TABLE password_links (
            id uuid PRIMARY KEY,
            tenant_id uuid NOT NULL,
            user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
            email text NOT NULL,
            kind text NOT NULL CHECK (kind IN ('reset', 'invitation')),
            hash bytea NOT NULL CONSTRAINT uq_password_links_hash UNIQUE,
            created_at timestamptz NOT NULL,
            expires_at timestamptz NOT NULL,
            used_at timestamptz
        )
    """)
    enable_tenancy(op, "password_links")
    op.execute("CREATE INDEX ix_password_links_user ON password_links (user_id)")
    op.execute("CREATE INDEX ix_password_links_expired ON password_links (expires_at)")
    op.execute(RESET)
    op.execute(TIDY)
    role = application_role(op)
    for door in ("reset_wanted(text, text, text)", "tidy_password_links()"):
        op.execute(f"REVOKE EXECUTE ON FUNCTION {door} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {door} TO {role}")


# With the owner's rights, as `sign_in_guess` has them and for the same reason. Of a source twenty
# at once, then one a minute; for an account three at once, then one in ten minutes: nobody's
# mailbox is filled. Sources are locked before accounts, and accounts in one order.
RESET = """
CREATE FUNCTION reset_wanted(source text, address text, organisation text)
RETURNS TABLE (tenant_id uuid, user_id uuid)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    from_here bytea := sha256(convert_to('reset|source|' || $1, 'UTF8'));
    met record;
    account bytea;
BEGIN
    PERFORM lock_guesses(from_here);
    IF guesses_weigh(from_here) > 19 * interval '1 minute' THEN
        RETURN;
    END IF;
    PERFORM count_guess(from_here, interval '1 minute');
    FOR met IN
        SELECT u.tenant_id, u.id
          FROM users u JOIN tenants n ON n.id = u.tenant_id
         WHERE u.email = $2 AND u.active AND n.active AND u.password_hash IS NOT NULL
           AND ($3 IS NULL OR n.slug = lower($3) OR lower(n.name) = lower($3))
         ORDER BY u.id LIMIT 4
    LOOP
        account := sha256(convert_to('reset|user|' || met.id, 'UTF8'));
        PERFORM lock_guesses(account);
        CONTINUE WHEN guesses_weigh(account) > 2 * interval '10 minutes';
        PERFORM count_guess(account, interval '10 minutes');
        RETURN QUERY SELECT met.tenant_id, met.id;
    END LOOP;
END
$$
"""

TIDY = """
CREATE FUNCTION tidy_password_links() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM password_links WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM password_links WHERE expires_at < now() - interval '30 days' LIMIT 5000))
$$
"""

"""Tenants, users, teams, roles, tokens, sign-in attempts and the audit trail."""

from alembic import op

from liaison_kit.database.migrations import (
    RECORD_COLUMNS,
    application_role,
    enable_tenancy,
    grant,
    kit_tables,
    record_indexes,
    search_view,
)
from liaison_kit.imports.models import import_tables

revision = "0001"
down_revision = None

_TENANT = "NULLIF(current_setting('liaison.tenant', true), '')::uuid"


def upgrade() -> None:
    """Make the tables, and the doors through which a caller of unknown tenant is found."""
    kit_tables(op)
    import_tables(op)
    for statement in TABLES.strip().split(";\n\n"):
        op.execute(statement.replace("RECORD_COLUMNS", RECORD_COLUMNS))
    for table in ("teams", "users", "roles"):
        enable_tenancy(op, table)
        record_indexes(op, table)
    search_view(op, "users")
    enable_tenancy(op, "tokens")
    enable_tenancy(op, "audit")
    role = application_role(op)
    # What has been written in the audit trail stays as it is.
    op.execute(f"REVOKE UPDATE, DELETE ON audit FROM {role}")
    op.execute("ALTER TABLE tenants ENABLE ROW LEVEL SECURITY")
    op.execute(
        f"CREATE POLICY tenant ON tenants USING (id = {_TENANT}) WITH CHECK (id = {_TENANT})"
    )
    op.execute(f"GRANT SELECT, INSERT, UPDATE ON tenants TO {role}")
    # Attempts are counted before anybody knows whose they are; they hold hashes only.
    grant(op, "sign_in_attempts")
    for statement in DOORS.strip().split(";;\n\n"):
        op.execute(statement)
    for door in (
        "token_holder(bytea)",
        "sign_in_account(bytea, text, text)",
        "tenant_of_slug(text)",
    ):
        op.execute(f"REVOKE EXECUTE ON FUNCTION {door} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {door} TO {role}")


TABLES = """
CREATE TABLE tenants (
    id uuid PRIMARY KEY,
    name text NOT NULL,
    slug text NOT NULL CONSTRAINT uq_tenants_slug UNIQUE,
    active boolean NOT NULL,
    created_at timestamptz NOT NULL
);

CREATE TABLE teams (
    RECORD_COLUMNS,
    name text NOT NULL,
    region text,
    manager_id uuid
);

CREATE UNIQUE INDEX uq_teams_name ON teams (tenant_id, lower(name));

CREATE TABLE roles (
    RECORD_COLUMNS,
    name text NOT NULL,
    permissions text[] NOT NULL,
    rows jsonb NOT NULL
);

CREATE UNIQUE INDEX uq_roles_name ON roles (tenant_id, lower(name));

CREATE TABLE users (
    RECORD_COLUMNS,
    name text NOT NULL,
    email text,
    password_hash text,
    title text,
    team_id uuid CONSTRAINT fk_users_team_id REFERENCES teams (id) ON DELETE SET NULL,
    manager_id uuid CONSTRAINT fk_users_manager_id REFERENCES users (id) ON DELETE SET NULL,
    region text,
    active boolean NOT NULL DEFAULT true,
    locale text NOT NULL DEFAULT 'en',
    role_ids uuid[] NOT NULL DEFAULT '{}',
    last_signed_in_at timestamptz,
    search text NOT NULL
);

ALTER TABLE teams ADD CONSTRAINT fk_teams_manager_id
    FOREIGN KEY (manager_id) REFERENCES users (id) ON DELETE SET NULL;

CREATE UNIQUE INDEX uq_users_email ON users (tenant_id, email) WHERE email IS NOT NULL;

CREATE INDEX ix_users_email_anywhere ON users (email) WHERE email IS NOT NULL;

CREATE INDEX ix_users_name ON users (tenant_id, name, id);

CREATE INDEX ix_users_team ON users (team_id);

CREATE INDEX ix_users_manager ON users (manager_id);

CREATE INDEX ix_teams_manager ON teams (manager_id);

CREATE TABLE tokens (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    kind text NOT NULL CHECK (kind IN ('session', 'token')),
    hash bytea NOT NULL CONSTRAINT uq_tokens_hash UNIQUE,
    label text,
    permissions text[],
    created_at timestamptz NOT NULL,
    expires_at timestamptz,
    last_used_at timestamptz,
    revoked_at timestamptz
);

CREATE INDEX ix_tokens_user ON tokens (user_id, id);

CREATE TABLE sign_in_attempts (
    account bytea PRIMARY KEY,
    failures integer NOT NULL,
    last_at timestamptz NOT NULL,
    locked_until timestamptz
);

CREATE INDEX ix_sign_in_attempts_last ON sign_in_attempts (last_at);

CREATE TABLE audit (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    at timestamptz NOT NULL,
    by uuid,
    action text NOT NULL,
    record text NOT NULL,
    record_id uuid,
    details jsonb NOT NULL
);

CREATE INDEX ix_audit_tenant ON audit (tenant_id, id);

CREATE INDEX ix_audit_record ON audit (tenant_id, record_id, id)
"""

# These run with the owner's rights: row-level security would hide every row as long as the tenant
# is not known. Each answers about one secret or one name that the caller must know already.
DOORS = """
CREATE FUNCTION token_holder(token_hash bytea)
RETURNS TABLE (
    token_id uuid, kind text, expires_at timestamptz, narrowed text[], tenant_id uuid,
    user_id uuid, name text, email text, locale text, roles jsonb, peers uuid[]
)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    -- The last use is kept to ten minutes, so that a busy token does not write all the time.
    WITH used AS (
        UPDATE tokens SET last_used_at = now()
         WHERE hash = $1 AND revoked_at IS NULL
           AND (last_used_at IS NULL OR last_used_at < now() - interval '10 minutes')
    )
    SELECT t.id, t.kind, t.expires_at, t.permissions, u.tenant_id, u.id, u.name, u.email, u.locale,
           (SELECT jsonb_agg(jsonb_build_object('permissions', r.permissions, 'rows', r.rows))
              FROM roles r WHERE r.tenant_id = u.tenant_id AND r.id = ANY (u.role_ids)),
           ARRAY(SELECT u.id
                 UNION SELECT p.id FROM users p
                        WHERE p.team_id = u.team_id AND p.tenant_id = u.tenant_id
                 UNION SELECT p.id FROM users p
                        WHERE p.manager_id = u.id AND p.tenant_id = u.tenant_id
                 UNION SELECT p.id FROM teams m JOIN users p ON p.team_id = m.id
                        WHERE m.manager_id = u.id AND m.tenant_id = u.tenant_id)
      FROM tokens t
      JOIN users u ON u.id = t.user_id
      JOIN tenants n ON n.id = u.tenant_id
     WHERE t.hash = $1 AND t.revoked_at IS NULL AND (t.expires_at IS NULL OR t.expires_at > now())
       AND u.active AND n.active
$$;;

CREATE FUNCTION sign_in_account(attempt bytea, address text, organisation text)
RETURNS TABLE (allowed boolean, tenant_id uuid, user_id uuid, password_hash text)
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    -- The attempt is counted before the password is looked at, so that many at once gain nothing:
    -- the fifth failure within a day locks for 30 seconds, each further one for twice as long.
    WITH counted AS (
        INSERT INTO sign_in_attempts AS a (account, failures, last_at) VALUES ($1, 1, now())
        ON CONFLICT (account) DO UPDATE SET
            failures = CASE WHEN a.last_at < now() - interval '1 day' THEN 1
                            ELSE a.failures + 1 END,
            last_at = now(),
            locked_until = CASE WHEN a.failures >= 4 AND a.last_at >= now() - interval '1 day'
                THEN now() + least(900, 30 * 2 ^ least(a.failures - 4, 9)) * interval '1 second'
                END
        WHERE a.locked_until IS NULL OR a.locked_until <= now()
        RETURNING failures
    )
    SELECT EXISTS (SELECT FROM counted), found.*
      FROM (VALUES (1)) AS always
      LEFT JOIN (
        SELECT u.tenant_id, u.id, u.password_hash
          FROM users u JOIN tenants n ON n.id = u.tenant_id
         WHERE u.email = $2 AND u.active AND n.active AND u.password_hash IS NOT NULL
           AND ($3 IS NULL OR n.slug = lower($3) OR lower(n.name) = lower($3))
         ORDER BY u.last_signed_in_at DESC NULLS LAST, u.created_at, u.id
         LIMIT 1
      ) AS found ON true
$$;;

CREATE FUNCTION tenant_of_slug(wanted text) RETURNS uuid
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT id FROM tenants WHERE slug = $1
$$
"""

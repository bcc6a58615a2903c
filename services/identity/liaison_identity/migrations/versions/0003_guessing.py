"""What bounds the guessing of passwords: guesses that weigh for a while, and usual sources.

`sign_in_account` and `sign_in_attempts` stay until no process of the version before calls them.
"""

from alembic import op

from liaison_kit.database.migrations import application_role, enable_tenancy

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Make the tables, and the doors through which guesses are counted."""
    for statement in TABLES.strip().split(";\n\n"):
        op.execute(statement)
    enable_tenancy(op, "usual_sources")
    for statement in DOORS.strip().split(";;\n\n"):
        op.execute(statement)
    role = application_role(op)
    for function in (
        "guesses_weigh(bytea)",
        "count_guess(bytea, interval)",
        "uncount_guess(bytea, interval)",
        "lock_guesses(bytea)",
    ):
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
    for door in (
        "sign_in_guess(text, text, text, bytea)",
        "sign_in_was_no_guess(text, bytea, boolean)",
        "confirm_guess(bytea)",
        "confirm_was_no_guess(bytea)",
        "tidy_guesses()",
    ):
        op.execute(f"REVOKE EXECUTE ON FUNCTION {door} FROM PUBLIC")
        op.execute(f"GRANT EXECUTE ON FUNCTION {door} TO {role}")


TABLES = """
CREATE TABLE guesses (
    about bytea PRIMARY KEY,
    forgotten_at timestamptz NOT NULL
);

CREATE INDEX ix_guesses_forgotten ON guesses (forgotten_at);

CREATE TABLE usual_sources (
    tenant_id uuid NOT NULL,
    user_id uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    source bytea NOT NULL,
    last_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, source)
);

CREATE INDEX ix_usual_sources_last ON usual_sources (last_at)
"""

# These run with the owner's rights: whose account it is, is not known yet. A guess about something
# weighs `every`, and weight wears off as time goes by, so that n guesses are let through at once
# and then one per `every` (GCRA). Guesses are counted before the password is looked at and under a
# lock, so that many at once gain nothing. The time is the database's, and that of after the lock.
DOORS = """
CREATE FUNCTION guesses_weigh(about bytea) RETURNS interval
LANGUAGE sql VOLATILE SET search_path = public, pg_temp AS $$
    SELECT coalesce(
        (SELECT greatest(g.forgotten_at - clock_timestamp(), interval '0')
           FROM guesses g WHERE g.about = $1), interval '0')
$$;;

CREATE FUNCTION count_guess(about bytea, every interval) RETURNS void
LANGUAGE sql VOLATILE SET search_path = public, pg_temp AS $$
    INSERT INTO guesses AS g (about, forgotten_at) VALUES ($1, clock_timestamp() + $2)
    ON CONFLICT (about) DO UPDATE
       SET forgotten_at = greatest(g.forgotten_at, clock_timestamp()) + $2
$$;;

CREATE FUNCTION uncount_guess(about bytea, every interval) RETURNS void
LANGUAGE sql VOLATILE SET search_path = public, pg_temp AS $$
    UPDATE guesses g SET forgotten_at = g.forgotten_at - $2 WHERE g.about = $1
$$;;

CREATE FUNCTION lock_guesses(about bytea) RETURNS void
LANGUAGE sql VOLATILE SET search_path = public, pg_temp AS $$
    SELECT pg_advisory_xact_lock(hashtextextended(encode($1, 'hex'), 5))
$$;;

CREATE FUNCTION sign_in_guess(source text, address text, organisation text, nobodys bytea)
RETURNS TABLE (tenant_id uuid, user_id uuid, password_hash text, account bytea, usual boolean)
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
#variable_conflict use_column
DECLARE
    from_here bytea := sha256(convert_to('source|' || $1, 'UTF8'));
    met record;
    account bytea;
    here bytea;
    is_usual boolean;
    source_is_tired boolean;
BEGIN
    -- Sources are locked before accounts and accounts in one order: nobody waits in a circle.
    PERFORM lock_guesses(from_here);
    FOR met IN
        WITH named AS MATERIALIZED (
            SELECT u.tenant_id, u.id, u.password_hash
              FROM users u JOIN tenants n ON n.id = u.tenant_id
             WHERE u.email = $2 AND u.active AND n.active AND u.password_hash IS NOT NULL
               AND ($3 IS NULL OR n.slug = lower($3) OR lower(n.name) = lower($3))
             ORDER BY u.last_signed_in_at DESC NULLS LAST, u.created_at, u.id
             LIMIT 4
        )
        SELECT n.tenant_id, n.id, n.password_hash FROM named n
        UNION ALL
        SELECT NULL, NULL, NULL WHERE NOT EXISTS (SELECT FROM named)
        ORDER BY 2
    LOOP
        account := CASE WHEN met.id IS NULL THEN $4
                        ELSE sha256(convert_to('user|' || met.id, 'UTF8')) END;
        here := sha256(account || from_here);
        PERFORM lock_guesses(account);
        is_usual := EXISTS (
            SELECT FROM usual_sources s WHERE s.user_id = met.id AND s.source = here);
        source_is_tired := guesses_weigh(from_here) > 99 * interval '30 seconds';
        IF is_usual THEN
            -- Ten at once, then one a minute; where others of this source guess, one a minute.
            CONTINUE WHEN guesses_weigh(here) >
                CASE WHEN source_is_tired THEN 0 ELSE 9 END * interval '1 minute';
            PERFORM count_guess(here, interval '1 minute');
        ELSE
            -- Of this source five at once, then one in five minutes; of all strange sources
            -- together ten at once, then one in three minutes.
            CONTINUE WHEN source_is_tired
                OR guesses_weigh(here) > 4 * interval '5 minutes'
                OR guesses_weigh(account) > 9 * interval '3 minutes';
            PERFORM count_guess(here, interval '5 minutes');
            PERFORM count_guess(account, interval '3 minutes');
        END IF;
        PERFORM count_guess(from_here, interval '30 seconds');
        RETURN QUERY SELECT met.tenant_id, met.id, met.password_hash, account, is_usual;
    END LOOP;
END
$$;;

CREATE FUNCTION sign_in_was_no_guess(source text, account bytea, usual boolean)
RETURNS void
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
DECLARE
    from_here bytea := sha256(convert_to('source|' || $1, 'UTF8'));
    here bytea := sha256($2 || from_here);
BEGIN
    -- Only its own weight is taken off: what others have guessed meanwhile stays counted.
    PERFORM lock_guesses(from_here);
    PERFORM lock_guesses($2);
    PERFORM uncount_guess(from_here, interval '30 seconds');
    IF $3 THEN
        PERFORM uncount_guess(here, interval '1 minute');
    ELSE
        PERFORM uncount_guess(here, interval '5 minutes');
        PERFORM uncount_guess($2, interval '3 minutes');
    END IF;
END
$$;;

CREATE FUNCTION confirm_guess(about bytea) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = public, pg_temp AS $$
BEGIN
    PERFORM lock_guesses($1);
    IF guesses_weigh($1) > 4 * interval '1 minute' THEN
        RETURN false;
    END IF;
    PERFORM count_guess($1, interval '1 minute');
    RETURN true;
END
$$;;

CREATE FUNCTION confirm_was_no_guess(about bytea) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    SELECT lock_guesses($1);
    SELECT uncount_guess($1, interval '1 minute')
$$;;

CREATE FUNCTION tidy_guesses() RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public, pg_temp AS $$
    DELETE FROM guesses WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM guesses WHERE forgotten_at < now() LIMIT 5000));
    DELETE FROM usual_sources WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM usual_sources WHERE last_at < now() - interval '90 days' LIMIT 5000));
$$
"""

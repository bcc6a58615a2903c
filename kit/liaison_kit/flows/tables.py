"""The tables of flows: definitions and their versions, runs, what runs wait for, and their log.

A run's row is the truth about it; its timer only wakes it, and a wait only says that an event is
looked for. `flow_happened` has the latest time of each event that a run may wait for: whoever arms
a wait and whoever hears the event both write there first, so neither misses the other.
"""

from liaison_kit.database.migrations import Op, application_role, enable_tenancy
from liaison_kit.privacy.tables import lands

TABLES = """
CREATE TABLE flows (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    record text NOT NULL,
    key text NOT NULL,
    version integer NOT NULL,
    active integer,
    created_at timestamptz NOT NULL,
    created_by uuid,
    updated_at timestamptz NOT NULL,
    updated_by uuid,
    UNIQUE (tenant_id, key)
);

CREATE TABLE flow_versions (
    flow_id uuid NOT NULL REFERENCES flows ON DELETE CASCADE,
    tenant_id uuid NOT NULL,
    number integer NOT NULL,
    definition json NOT NULL,
    saved_at timestamptz NOT NULL,
    saved_by uuid,
    activated_at timestamptz,
    activated_by uuid,
    PRIMARY KEY (flow_id, number)
);

CREATE TABLE flow_listens (
    tenant_id uuid NOT NULL,
    event text NOT NULL,
    flow_id uuid NOT NULL REFERENCES flows ON DELETE CASCADE,
    starts boolean NOT NULL,
    PRIMARY KEY (tenant_id, event, flow_id, starts)
);

CREATE TABLE flow_runs (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    flow_id uuid NOT NULL REFERENCES flows,
    version integer NOT NULL,
    again text NOT NULL,
    record_id uuid NOT NULL,
    correlation_id uuid NOT NULL,
    state text NOT NULL CHECK (state IN ('active', 'failed', 'ended')),
    step text NOT NULL,
    number integer NOT NULL,
    standing boolean NOT NULL,
    undoing boolean NOT NULL,
    since timestamptz NOT NULL,
    wakes_at timestamptz,
    attempt integer NOT NULL,
    error text,
    outcome text,
    begun_at timestamptz NOT NULL,
    begun_by uuid,
    ended_at timestamptz
);

CREATE UNIQUE INDEX uq_flow_runs_cause ON flow_runs (flow_id, record_id, correlation_id);

CREATE UNIQUE INDEX uq_flow_runs_never ON flow_runs (flow_id, record_id) WHERE again = 'never';

CREATE UNIQUE INDEX uq_flow_runs_after ON flow_runs (flow_id, record_id)
    WHERE again = 'after_done' AND ended_at IS NULL;

CREATE INDEX ix_flow_runs_flow ON flow_runs (flow_id, id);

CREATE INDEX ix_flow_runs_record ON flow_runs (tenant_id, record_id, id);

CREATE INDEX ix_flow_runs_live ON flow_runs (flow_id, version) WHERE ended_at IS NULL;

CREATE TABLE flow_log (
    run_id uuid NOT NULL REFERENCES flow_runs ON DELETE CASCADE,
    number integer NOT NULL,
    tenant_id uuid NOT NULL,
    flow_id uuid NOT NULL,
    version integer NOT NULL,
    step text NOT NULL,
    at timestamptz NOT NULL,
    way text,
    left_at timestamptz,
    said text NOT NULL,
    undoes integer,
    PRIMARY KEY (run_id, number)
);

CREATE INDEX ix_flow_log_steps ON flow_log (flow_id, version, step, way) WHERE undoes IS NULL;

CREATE TABLE flow_waits (
    run_id uuid NOT NULL REFERENCES flow_runs ON DELETE CASCADE,
    number integer NOT NULL,
    tenant_id uuid NOT NULL,
    event text NOT NULL,
    key text NOT NULL,
    since timestamptz NOT NULL,
    happened boolean NOT NULL DEFAULT false,
    PRIMARY KEY (run_id, number, event)
);

CREATE INDEX ix_flow_waits_event ON flow_waits (tenant_id, event, key);

CREATE TABLE flow_happened (
    tenant_id uuid NOT NULL,
    event text NOT NULL,
    key text NOT NULL,
    at timestamptz NOT NULL,
    touched_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, event, key)
);

CREATE INDEX ix_flow_happened_touched ON flow_happened (touched_at)
"""

TIDY = """
CREATE FUNCTION tidy_flows() RETURNS void LANGUAGE sql SECURITY DEFINER SET search_path = public
AS $$
    DELETE FROM flow_happened WHERE ctid = ANY(ARRAY(
        SELECT ctid FROM flow_happened WHERE touched_at < now() - interval '30 days' LIMIT 5000));
$$
"""
"""What an event that came early is remembered for: a wait that is armed later has missed it."""

NAMES = (
    "flows",
    "flow_versions",
    "flow_listens",
    "flow_runs",
    "flow_log",
    "flow_waits",
    "flow_happened",
)


def flow_tables(op: Op) -> None:
    """What a service's migration makes of them."""
    for statement in TABLES.strip().split(";\n\n"):
        op.execute(statement)
    for table in NAMES:
        enable_tenancy(op, table)
    op.execute(TIDY)
    op.execute("REVOKE EXECUTE ON FUNCTION tidy_flows() FROM public")
    op.execute(f"GRANT EXECUTE ON FUNCTION tidy_flows() TO {application_role(op)}")


FOLLOWING = """
ALTER TABLE flow_runs ADD COLUMN gave_way jsonb;

DROP INDEX uq_flow_runs_cause;

DROP INDEX uq_flow_runs_never;

DROP INDEX uq_flow_runs_after;

CREATE UNIQUE INDEX uq_flow_runs_cause ON flow_runs (flow_id, record_id, correlation_id)
    WHERE gave_way IS NULL;

CREATE UNIQUE INDEX uq_flow_runs_never ON flow_runs (flow_id, record_id)
    WHERE again = 'never' AND gave_way IS NULL;

CREATE UNIQUE INDEX uq_flow_runs_after ON flow_runs (flow_id, record_id)
    WHERE again = 'after_done' AND ended_at IS NULL AND gave_way IS NULL;

CREATE INDEX ix_flow_runs_gave_way ON flow_runs ((gave_way ->> 'request'))
    WHERE gave_way IS NOT NULL
"""


def following_runs(op: Op) -> None:
    """Runs go where their records go (`following`); `privacy_tables` are there already."""
    for statement in FOLLOWING.strip().split(";\n\n"):
        op.execute(statement)
    lands(op, "flow_runs", "record_id", goes_with=True)


# A flow that a record goes through once only has to know for good that it has: the row stays.
TIDY_RUNS = """
CREATE FUNCTION tidy_flow_runs(days integer) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = public AS $$
    WITH old AS (
        SELECT id, again FROM flow_runs
        WHERE ended_at < now() - make_interval(days => days) AND NOT tidied
        ORDER BY ended_at LIMIT 1000 FOR UPDATE SKIP LOCKED
    ), gone AS (
        DELETE FROM flow_runs AS r USING old WHERE r.id = old.id AND old.again <> 'never'
    ), kept AS (
        UPDATE flow_runs AS r SET tidied = true, error = NULL FROM old
        WHERE r.id = old.id AND old.again = 'never'
    )
    DELETE FROM flow_log AS l USING old WHERE l.run_id = old.id AND old.again = 'never'
$$
"""


def tidied_runs(op: Op) -> None:
    """Runs that ended long ago go, and their logs with them."""
    op.execute("ALTER TABLE flow_runs ADD COLUMN tidied boolean NOT NULL DEFAULT false")
    op.execute(
        "CREATE INDEX ix_flow_runs_ended ON flow_runs (ended_at)"
        " WHERE ended_at IS NOT NULL AND NOT tidied"
    )
    op.execute(TIDY_RUNS)
    op.execute("REVOKE EXECUTE ON FUNCTION tidy_flow_runs(integer) FROM public")
    op.execute(f"GRANT EXECUTE ON FUNCTION tidy_flow_runs(integer) TO {application_role(op)}")

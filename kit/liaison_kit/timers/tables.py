"""The table of timers: what is to run later, of every tenant, until it has run.

A row is one timer, or one schedule between two of its moments. `due_at` is for when it was set;
`run_at` is when a process next takes it: that moment, the next try of one that has failed, or the
end of the present claim. Nothing else is in the table, so the index by kind and `run_at` is all
that looking for what is due needs, however many wait.

Processes look for timers of every tenant: they see that much of them through the owner's view.
"""

TIMERS = """
CREATE TABLE timers (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    kind text NOT NULL,
    key text,
    due_at timestamptz NOT NULL,
    run_at timestamptz NOT NULL,
    payload jsonb NOT NULL,
    schedule jsonb,
    zone text,
    principal text,
    correlation_id uuid NOT NULL,
    traceparent text,
    set_at timestamptz NOT NULL,
    taken uuid,
    begun integer NOT NULL DEFAULT 0,
    attempt integer NOT NULL DEFAULT 0,
    handler text,
    error text,
    first_failed_at timestamptz,
    last_failed_at timestamptz
) WITH (autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0.02);

CREATE UNIQUE INDEX uq_timers_key ON timers (tenant_id, kind, key) WHERE key IS NOT NULL;

CREATE INDEX ix_timers_due ON timers (kind, run_at);

CREATE INDEX ix_timers_failing ON timers (tenant_id, id) WHERE attempt > 0;

CREATE INDEX ix_timers_schedules ON timers (tenant_id, kind) WHERE schedule IS NOT NULL
"""

QUEUE = """
CREATE VIEW timer_queue AS SELECT id, tenant_id, kind, run_at, schedule, taken, begun FROM timers
"""


def statements() -> list[str]:
    """What creates the table, one statement each."""
    return TIMERS.strip().split(";\n\n")

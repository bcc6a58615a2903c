"""The tables of the event flow: what is to be sent, what has been handled, what has failed.

They are not under row-level security: the relay and the handlers serve every tenant. Whoever shows
`failed_events` to people filters by tenant, as `liaison_kit.parking` does.

A body is in the outbox for a moment only: compressing a long one would cost more than keeping it.

`EVENT_TABLES` is what a service's first migration made, `SAFER_EVENTS` what a later one added.
"""

EVENT_TABLES = """
CREATE TABLE outbox (
    seq bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    event_id uuid NOT NULL,
    to_queue text,
    routing_key text NOT NULL,
    body text STORAGE EXTERNAL NOT NULL,
    turn integer NOT NULL,
    traceparent text,
    created_at timestamptz NOT NULL DEFAULT now()
) WITH (autovacuum_vacuum_threshold = 5000, autovacuum_vacuum_scale_factor = 0);

CREATE TABLE inbox (
    event_id uuid NOT NULL,
    handler text NOT NULL,
    PRIMARY KEY (event_id, handler)
);

CREATE TABLE failed_events (
    id uuid PRIMARY KEY,
    handler text NOT NULL,
    queue text NOT NULL,
    event_id uuid NOT NULL,
    tenant_id uuid,
    type text NOT NULL,
    key text NOT NULL,
    seq bigint NOT NULL,
    body text NOT NULL,
    state text NOT NULL CHECK (state IN ('retrying', 'waiting', 'parked')),
    attempt integer NOT NULL,
    turn integer NOT NULL,
    error text,
    first_failed_at timestamptz NOT NULL,
    last_failed_at timestamptz NOT NULL,
    next_try_at timestamptz,
    UNIQUE (handler, event_id)
);

CREATE INDEX ix_failed_events_key ON failed_events (handler, key);

CREATE INDEX ix_failed_events_due ON failed_events (next_try_at) WHERE state <> 'parked'
"""

EVENT_TABLE_NAMES = ("outbox", "inbox", "failed_events")

SAFER_EVENTS = """
ALTER TABLE outbox ADD COLUMN key text;

ALTER TABLE inbox ADD COLUMN done_at timestamptz NOT NULL DEFAULT now();

CREATE TABLE begun_events (
    event_id uuid NOT NULL,
    handler text NOT NULL,
    times integer NOT NULL,
    begun_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (event_id, handler)
);

CREATE TABLE event_queues (
    handler text NOT NULL,
    generation integer NOT NULL,
    shards integer NOT NULL,
    queue_type text NOT NULL,
    exchange text NOT NULL,
    types text[] NOT NULL,
    attended_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (handler, generation)
)
"""

SAFER_EVENTS_NAMES = ("begun_events", "event_queues")


def statements() -> list[str]:
    """What creates the tables of the first migration, one statement each."""
    return EVENT_TABLES.strip().split(";\n\n")


def safer_statements() -> list[str]:
    """What a later migration adds: one statement each."""
    return SAFER_EVENTS.strip().split(";\n\n")

"""Timers in the parking lot of events: a parked one is kept there, as a failed event is.

Its row there says all that it takes to run it again. The queue that it is in, in place of one of
the broker's, tells that it is a timer.
"""

import datetime as dt
import json
from typing import Any
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.ids import uuid7
from liaison_kit.timers.setting import announce

QUEUE = "timers"

FAILING = """
SELECT id, 'retrying' AS state, handler, kind AS type, coalesce(key, '') AS key, id AS event_id,
    attempt, error, first_failed_at, last_failed_at, run_at AS next_try_at,
    jsonb_build_object('type', kind, 'due_at', due_at, 'data', payload)::text AS body, 0 AS waiting
FROM timers AS f
WHERE attempt > 0 AND (CAST(:tenant AS uuid) IS NULL OR tenant_id = :tenant)
"""
"""SQL of the timers that are being retried, as the lot lists events."""


def park(session: Session, row: Any, handler: str, error: str, now: dt.datetime) -> None:
    """Keep a timer in the lot, which has been taken away or on to its next moment."""
    body = {
        "id": row.id,
        "type": row.kind,
        "tenant": row.tenant_id,
        "due_at": row.due_at.isoformat(),
        "key": row.key,
        "correlation_id": row.correlation_id,
        "traceparent": row.traceparent,
        "principal": row.principal,
        "data": row.payload,
    }
    session.execute(
        _PARK,
        {
            "id": uuid7(),
            "handler": handler,
            "queue": QUEUE,
            # Several moments of one schedule may be here.
            "event": row.id if row.schedule is None else uuid7(),
            "tenant": row.tenant_id,
            "kind": row.kind,
            "key": row.key or "",
            "body": json.dumps(body, default=str),
            "attempt": row.attempt + 1,
            "error": error,
            "first": row.first_failed_at or now,
            "now": now,
        },
    )


def put_back(session: Session, id: UUID) -> bool:
    """Have a parked timer run at once, by itself and without its key; False if it is none."""
    put = session.execute(_PUT_BACK, {"id": id, "queue": QUEUE, "new": uuid7()}).all()
    if put:
        announce(session)
    return bool(put)


_PARK = text("""
INSERT INTO failed_events (id, handler, queue, event_id, tenant_id, type, key, seq, body, state,
    attempt, turn, error, first_failed_at, last_failed_at)
VALUES (:id, :handler, :queue, :event, :tenant, :kind, :key, 0, :body, 'parked',
    :attempt, 0, :error, :first, :now)
""")
# Another timer may have its key by now.
_PUT_BACK = text("""
WITH gone AS (
    DELETE FROM failed_events WHERE id = :id AND queue = :queue
    RETURNING tenant_id, type, CAST(body AS jsonb) AS body
)
INSERT INTO timers (id, tenant_id, kind, due_at, run_at, payload, principal, correlation_id,
    traceparent, set_at)
SELECT :new, tenant_id, type, CAST(body ->> 'due_at' AS timestamptz), now(), body -> 'data',
    body ->> 'principal', CAST(body ->> 'correlation_id' AS uuid), body ->> 'traceparent', now()
FROM gone RETURNING id
""")

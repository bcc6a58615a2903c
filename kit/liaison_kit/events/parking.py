"""The parking lot: events that a handler has given up on, for an operator to replay or discard.

Beside it, what has not come that far: events that are being retried, and those that wait behind
them because they are about the same record. Timers that failed are here as well: what is said of
events holds for them, but that none waits behind another.
"""

import datetime as dt
import json
from collections.abc import Sequence
from typing import Any, Literal
from uuid import UUID

from pydantic import BaseModel
from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.events.outbox import send_to_queue
from liaison_kit.telemetry import log
from liaison_kit.timers import parking as timers
from liaison_sdk.errors import NotFound

State = Literal["parked", "retrying", "waiting"]


class ParkedEvent(BaseModel):
    """An event that a handler failed on: what it says, how often it was tried, what went wrong."""

    id: UUID
    state: State
    waiting: int
    """How many later events of the same record wait until this one is done or parked."""
    next_try_at: dt.datetime | None
    handler: str
    type: str
    key: str
    event_id: UUID
    attempts: int
    error: str | None
    first_failed_at: dt.datetime
    last_failed_at: dt.datetime
    envelope: dict[str, Any] | None
    """None when the message can't be read as JSON."""


def parked(
    session: Session,
    tenant: UUID | None,
    *,
    state: State = "parked",
    handler: str | None = None,
    before: UUID | None = None,
    limit: int = 50,
) -> list[ParkedEvent]:
    """Parked events, or others, latest first; `before` is the last id of the page before.

    Without a tenant it shows those of all, and those that can't be read well enough to tell whose
    they are: that is for who operates the installation.
    """
    facts = {"tenant": tenant, "state": state, "handler": handler}
    rows = session.execute(_LIST, facts | {"before": before, "limit": limit})
    return [_shape(row) for row in rows]


def find(session: Session, tenant: UUID | None, id: UUID) -> ParkedEvent:
    """One parked event."""
    row = session.execute(_FIND, {"tenant": tenant, "id": id}).one_or_none()
    if row is None:
        raise NotFound("There is no such parked event")
    return _shape(row)


def replay(session: Session, tenant: UUID | None, id: UUID) -> ParkedEvent:
    """Put an event through its handler again; if it fails again its retries start over."""
    found = find(session, tenant, id)
    if not timers.put_back(session, id):
        _replay(session, [id])
    log.info("parked event replayed", handler=found.handler, event_id=str(found.event_id))
    return found


def discard(session: Session, tenant: UUID | None, id: UUID) -> ParkedEvent:
    """Give an event up for good: its handler will not see it again."""
    found = find(session, tenant, id)
    session.execute(_DISCARD, {"id": id})
    log.info("parked event discarded", handler=found.handler, event_id=str(found.event_id))
    return found


def _replay(session: Session, ids: Sequence[UUID]) -> None:
    rows = session.execute(_RELEASE, {"ids": [str(id) for id in ids]}).all()
    for row in sorted(rows, key=lambda row: row.seq):
        send_to_queue(session, row.queue, row.event_id, row.body, row.turn)


def _shape(row: Any) -> ParkedEvent:
    try:
        envelope = json.loads(row.body)
    except ValueError:
        envelope = None
    return ParkedEvent(
        id=row.id,
        state=row.state,
        waiting=row.waiting,
        next_try_at=None if row.state == "parked" else row.next_try_at,
        handler=row.handler,
        type=row.type,
        key=row.key,
        event_id=row.event_id,
        attempts=row.attempt,
        error=row.error,
        first_failed_at=row.first_failed_at,
        last_failed_at=row.last_failed_at,
        envelope=_without_rights(envelope) if isinstance(envelope, dict) else None,
    )


def _without_rights(envelope: dict[str, Any]) -> dict[str, Any]:
    """What somebody was allowed, as identity signed it, is kept with a timer and not shown."""
    return {name: value for name, value in envelope.items() if name != "principal"}


_SHOWN = """
SELECT id, state, handler, type, key, event_id, attempt, error, first_failed_at, last_failed_at,
    next_try_at, body,
    (SELECT count(*) FROM failed_events AS later
     WHERE f.state = 'retrying' AND later.state = 'waiting' AND later.handler = f.handler
        AND later.key = f.key AND later.tenant_id = f.tenant_id AND later.seq > f.seq) AS waiting
FROM failed_events AS f
WHERE (CAST(:tenant AS uuid) IS NULL OR tenant_id = :tenant)
"""
_ASKED = """ AND (CAST(:handler AS text) IS NULL OR handler = :handler)
    AND (CAST(:before AS uuid) IS NULL OR id < :before)"""
_LIST = text(
    f"{_SHOWN} AND state = :state {_ASKED}"
    f" UNION ALL {timers.FAILING} AND :state = 'retrying' {_ASKED}"
    " ORDER BY id DESC LIMIT :limit"
)
_FIND = text(_SHOWN + " AND state = 'parked' AND id = :id FOR UPDATE OF f")
_RELEASE = text("""
UPDATE failed_events
SET state = 'retrying', attempt = 0, turn = turn + 1, next_try_at = now()
WHERE id = ANY(CAST(:ids AS uuid[]))
RETURNING queue, event_id, body, turn, seq
""")
# The inbox remembers it, so that a copy that is still on its way finds it dealt with.
_DISCARD = text("""
WITH gone AS (DELETE FROM failed_events WHERE id = :id RETURNING event_id, handler)
INSERT INTO inbox (event_id, handler) SELECT event_id, handler FROM gone ON CONFLICT DO NOTHING
""")

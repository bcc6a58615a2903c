"""Standing schedules: those that a service has for every tenant, and the zones that all follow.

A tenant gets its timers when the service first hears of it; a release that brings another schedule
gives them to the tenants that there are when it starts.
"""

import datetime as dt
from collections.abc import Iterable
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.context import Context, context
from liaison_kit.database.database import Database
from liaison_kit.database.statements import Statement
from liaison_kit.ids import uuid7
from liaison_kit.tenants import tenant_settings
from liaison_kit.timers import schedules
from liaison_kit.timers.schedules import Every
from liaison_kit.timers.setting import announce
from liaison_kit.timers.timer import TimerHandler

_KEY = "standing"


def arrange(session: Session, handlers: Iterable[TimerHandler]) -> None:
    """Give the session's tenant the timers of these schedules, or set them right."""
    about = context(session)
    for handler in handlers:
        if handler.schedule is None:
            continue
        due = handler.schedule.first(about.now, tenant_settings(session).zone)
        _ARRANGE.run(
            session,
            {
                "id": uuid7(),
                "tenant": about.tenant,
                "kind": handler.kind,
                "key": _KEY,
                "due": due,
                "schedule": schedules.written(handler.schedule),
                "correlation": about.correlation_id,
                "now": about.now,
            },
        )
    # It may be due within a second.
    announce(session)


def arrange_all(db: Database, handlers: Iterable[TimerHandler]) -> None:
    """The same for every tenant that this service has been told of, where there is need."""
    declared = [handler for handler in handlers if handler.schedule is not None]
    lacking: set[UUID] = set()
    with db.connection() as connection:
        for handler in declared:
            assert handler.schedule is not None
            values = {"kind": handler.kind, "schedule": schedules.written(handler.schedule)}
            lacking |= set(connection.scalars(_LACKING, values))
        connection.commit()
    for tenant in sorted(lacking):
        with db.writing(Context(tenant=tenant), job=True) as session:
            arrange(session, declared)


def follow_the_clock(session: Session) -> None:
    """Have the tenant's schedules be due by the clock of the zone that it has now."""
    there, now = tenant_settings(session).zone, context(session).now
    moved: dict[UUID, dt.datetime] = {}
    for id, kept in session.execute(_FOLLOWING).all():
        schedule = schedules.read(kept)
        if not isinstance(schedule, Every):
            moved[id] = schedule.first(now, there)
    if moved:
        values = {"ids": [str(id) for id in moved], "dues": list(moved.values())}
        session.execute(_FOLLOW, values)
        announce(session)


_ARRANGE = Statement("""
INSERT INTO timers (id, tenant_id, kind, key, due_at, run_at, payload, schedule, correlation_id,
    set_at)
VALUES (%(id)s::uuid, %(tenant)s::uuid, %(kind)s, %(key)s, %(due)s::timestamptz,
    %(due)s::timestamptz, '{}', %(schedule)s::jsonb, %(correlation)s::uuid, %(now)s::timestamptz)
ON CONFLICT (tenant_id, kind, key) WHERE key IS NOT NULL DO UPDATE SET
    due_at = excluded.due_at, run_at = excluded.run_at, schedule = excluded.schedule,
    set_at = excluded.set_at, taken = NULL, begun = 0, attempt = 0
WHERE timers.schedule <> excluded.schedule
RETURNING id
""")
_LACKING = text("""
SELECT k.tenant_id FROM known_tenants AS k WHERE NOT EXISTS (
    SELECT FROM timer_queue AS t WHERE t.kind = :kind AND t.tenant_id = k.tenant_id
        AND t.schedule = CAST(:schedule AS jsonb)
)
""")
# What is due already runs first, and then by the new clock.
_FOLLOWING = text("""
SELECT id, schedule FROM timers
WHERE schedule IS NOT NULL AND zone IS NULL AND taken IS NULL AND run_at > now()
FOR UPDATE
""")
_FOLLOW = text("""
UPDATE timers AS t SET due_at = moved.due, run_at = moved.due
FROM unnest(CAST(:ids AS uuid[]), CAST(:dues AS timestamptz[])) AS moved (id, due)
WHERE t.id = moved.id
""")

"""Setting timers: written in the transaction of the change, moved and cancelled by key.

    at(session, task.due_at, ReminderDue(task_id=task.id), key=str(task.id))
    cancel(session, ReminderDue, str(task.id))
    every(session, Daily(at="06:00"), ReportDue(report_id=report.id), key=str(report.id))

What is due already runs at once: who computes a moment from a record wants what follows from it,
however late. A key names one timer of its kind and tenant; setting it again moves it. Who moves or
cancels one that is running just then does not wait for it: its transaction finds that it is not
its turn any more, and nothing of it is kept.
"""

import datetime as dt
from dataclasses import dataclass, field
from typing import Any, Protocol
from uuid import UUID

from sqlalchemy import event as sa_event
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.database.statements import Statement
from liaison_kit.ids import uuid7
from liaison_kit.tenants import tenant_settings
from liaison_kit.timers.schedules import Schedule, written
from liaison_kit.timers.timer import Timer
from liaison_kit.zones import zone as zone_named
from liaison_sdk.errors import InvalidInput

CHANNEL = "timers"
LOOK_S = 30.0
"""Processes look so often by themselves; only what is due sooner has to be announced."""
HORIZON = dt.timedelta(days=50 * 366)
"""What is to run later than this was not meant."""
KEY_CHARS = 300


class TooFarAhead(InvalidInput):
    """Nobody means a moment that is generations away."""

    code, title = "too_far_ahead", "This is too far ahead"

    def __init__(self, when: dt.datetime) -> None:
        super().__init__(f"{when:%Y-%m-%d} is more than 50 years ahead: name an earlier day")


class NoZone(InvalidInput):
    """A time without a zone is no moment."""

    code, title = "no_zone", "This time has no zone"


class NotMine(Exception):
    """What ran was moved, cancelled or taken over meanwhile: nothing of it may be kept."""


class Bell(Protocol):
    """Who runs timers in this process: rung after the commit, which spares PostgreSQL a notice."""

    def ring(self) -> None:
        """A timer has been set that is due soon."""


@dataclass(slots=True)
class Running:
    """The timers that a transaction runs, for as long as it does."""

    claim: UUID
    keyed: dict[tuple[str, str], UUID]
    dealt_with: set[UUID] = field(default_factory=set)
    """Those that their own transaction has set anew, or cancelled."""


RUNNING = "timers running"
_SOON = "timers due soon"


def at(
    session: Session,
    when: dt.datetime,
    timer: Timer,
    *,
    key: str | None = None,
    on_behalf: bool = False,
) -> UUID:
    """Have a timer run at a moment, or at once where that is over, if this transaction commits.

    It runs as the service, for this tenant; `on_behalf`, as whoever acts here, with the rights that
    they have by then. Raises `TooFarAhead`, and `NoZone` for a time without one.
    """
    return _set(session, when, timer, key, None, None, on_behalf)


def every(
    session: Session,
    schedule: Schedule,
    timer: Timer,
    *,
    key: str,
    zone: str | None = None,
    on_behalf: bool = False,
) -> UUID:
    """Have a timer run by a schedule, until it is cancelled by its key.

    It follows the clock of the tenant, or of the zone that is named. Set anew with the same key it
    begins anew. Raises `UnknownZone`.
    """
    there = tenant_settings(session).zone if zone is None else zone_named(zone)
    first = schedule.first(context(session).now, there)
    return _set(session, first, timer, key, schedule, zone, on_behalf)


def cancel(session: Session, timer: type[Timer], key: str) -> bool:
    """Have the timer of this kind and key not run any more; whether there was one."""
    mine = _mine(session, timer.kind, key)
    if mine is None:
        values = {"tenant": context(session).tenant, "kind": timer.kind, "key": key}
        return bool(_CANCEL.run(session, values))
    running, id = mine
    if not _CANCEL_MINE.run(session, {"id": id, "claim": running.claim}):
        raise NotMine
    running.dealt_with.add(id)
    return True


def _set(
    session: Session,
    when: dt.datetime,
    timer: Timer,
    key: str | None,
    schedule: Schedule | None,
    zone: str | None,
    on_behalf: bool,
) -> UUID:
    about = context(session)
    if when.tzinfo is None:
        raise NoZone("Say in which zone this time is")
    when = _in_utc(when, about.now)
    if key is not None and not 0 < len(key) <= KEY_CHARS:
        raise ValueError(f"a timer's key has 1 to {KEY_CHARS} characters")
    values: dict[str, Any] = {
        "id": uuid7(),
        "tenant": about.tenant,
        "kind": timer.kind,
        "key": key,
        "due": when,
        "payload": timer.model_dump_json(),
        "schedule": None if schedule is None else written(schedule),
        "zone": zone,
        "principal": about.principal.signed if on_behalf and about.principal else None,
        "correlation": about.correlation_id,
        "traceparent": about.traceparent,
        "now": about.now,
    }
    mine = None if key is None else _mine(session, timer.kind, key)
    if mine is None:
        ((id,),) = _SET.run(session, values)
    else:
        running, id = mine
        if not _SET_MINE.run(session, values | {"id": id, "claim": running.claim}):
            raise NotMine
        running.dealt_with.add(id)
    if when <= about.now + dt.timedelta(seconds=LOOK_S):
        announce(session)
    return UUID(str(id))


def _in_utc(when: dt.datetime, now: dt.datetime) -> dt.datetime:
    try:
        when = when.astimezone(dt.UTC)
    except OverflowError:
        # Within a day of the years 1 and 9999.
        when = when.replace(tzinfo=dt.UTC)
    if when > now + HORIZON:
        raise TooFarAhead(when)
    return when


def _mine(session: Session, kind: str, key: str) -> tuple[Running, UUID] | None:
    """The timer of this key, if it is one that this transaction runs and has not dealt with."""
    running: Running | None = session.info.get(RUNNING)
    if running is None:
        return None
    id = running.keyed.get((kind, key))
    return None if id is None or id in running.dealt_with else (running, id)


def announce(session: Session) -> None:
    """Tell whoever runs timers, with the commit, that one is due soon."""
    if session.info.get(_SOON):
        return
    session.info[_SOON] = True
    if session.info.get("timers") is None:
        session.execute(select(func.pg_notify(CHANNEL, "")))


@sa_event.listens_for(Session, "after_commit")
def _ring(session: Session) -> None:
    # The end of a savepoint is told as well; what was set in it is not committed then.
    if _SOON not in session.info or session.get_nested_transaction() is not None:
        return
    del session.info[_SOON]
    bell: Bell | None = session.info.get("timers")
    if bell is not None:
        bell.ring()


@sa_event.listens_for(Session, "after_rollback")
def _forget(session: Session) -> None:
    if not session.in_transaction():
        session.info.pop(_SOON, None)


_VALUES = """
    %(id)s::uuid, %(tenant)s::uuid, %(kind)s, %(key)s, %(due)s::timestamptz, %(due)s::timestamptz,
    %(payload)s::jsonb, %(schedule)s::jsonb, %(zone)s, %(principal)s, %(correlation)s::uuid,
    %(traceparent)s, %(now)s::timestamptz
"""
_FIELDS = (
    "due_at",
    "run_at",
    "payload",
    "schedule",
    "zone",
    "principal",
    "correlation_id",
    "traceparent",
    "set_at",
)
_FRESH = (
    "taken = NULL, begun = 0, attempt = 0, handler = NULL, error = NULL, first_failed_at = NULL,"
    " last_failed_at = NULL"
)
_SET = Statement(
    f"INSERT INTO timers (id, tenant_id, kind, key, {', '.join(_FIELDS)}) VALUES ({_VALUES})"
    " ON CONFLICT (tenant_id, kind, key) WHERE key IS NOT NULL DO UPDATE SET "
    + ", ".join(f"{name} = excluded.{name}" for name in _FIELDS)
    + f", {_FRESH} RETURNING id"
)
_SET_MINE = Statement(
    "UPDATE timers AS t SET "
    + ", ".join(f"{name} = given.{name}" for name in _FIELDS)
    + f", {_FRESH} FROM (VALUES ({_VALUES})) AS given (id, tenant_id, kind, key,"
    f" {', '.join(_FIELDS)})"
    " WHERE t.id = given.id AND t.taken = %(claim)s::uuid RETURNING t.id"
)
_CANCEL = Statement(
    "DELETE FROM timers WHERE tenant_id = %(tenant)s::uuid AND kind = %(kind)s AND key = %(key)s"
    " RETURNING id"
)
_CANCEL_MINE = Statement(
    "DELETE FROM timers WHERE id = %(id)s::uuid AND taken = %(claim)s::uuid RETURNING id"
)

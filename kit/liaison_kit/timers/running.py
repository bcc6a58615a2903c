"""What becomes of timers that are due: run once, moved meanwhile, retried, or parked.

Those of one tenant, for one person, run in one transaction. It ends by taking them away, or on to
the next moment of their schedule, if they are still this claim's; where one is not, nothing of the
transaction is kept. When something goes wrong each runs alone. The rows are not locked before that
end: who moves or cancels a timer beside a record must not wait for a handler that waits for the
record.
"""

import datetime as dt
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from uuid import UUID

import eventlet
from prometheus_client import Counter, Histogram
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.context import Context, Principal
from liaison_kit.database.database import Database
from liaison_kit.database.faults import is_collision, is_database_away
from liaison_kit.events.inbox import HANDLER_S, HandlerTooSlow, describe
from liaison_kit.process.metrics import BUCKETS
from liaison_kit.telemetry import log, span
from liaison_kit.tenants import tenant_settings
from liaison_kit.timers import parking, schedules
from liaison_kit.timers.queue import Claim
from liaison_kit.timers.setting import RUNNING, NotMine, Running
from liaison_kit.timers.timer import Timer, TimerHandler
from liaison_kit.trust.renewing import NoLongerAllowed
from liaison_kit.zones import zone

RUN = Counter(
    "liaison_timers_run_total",
    "What became of timers that were due: done, moved, retried, parked.",
    ["service", "kind", "outcome"],
)
LAG = Histogram(
    "liaison_timer_lag_seconds",
    "Time from when a timer was due to the commit of what its handler did.",
    ["service", "kind"],
    buckets=(*BUCKETS, 30, 60, 300, 900),
)
SECONDS = Histogram(
    "liaison_timer_seconds",
    "Time of the transaction that runs a timer, per timer.",
    ["service", "kind"],
    buckets=BUCKETS,
)

BEGUN_MOST = 5
"""How often a timer may be begun and not ended, by a process or a database that went away.

Once it is counted for what ran beside it; what happens to it after that is its own, unless
processes are killed for other reasons.
"""

_COLLISIONS = 3


class NeverEnded(Exception):
    """A timer was begun several times, and each time its process or its database went away."""

    def __init__(self) -> None:
        super().__init__(
            f"running it was begun {BEGUN_MOST} times and never ended:"
            " each time the process or the database went away"
        )


class Outcome(StrEnum):
    """What became of a timer."""

    DONE = "done"
    MOVED = "moved"
    RETRIED = "retried"
    PARKED = "parked"


@dataclass(frozen=True, slots=True)
class Due:
    """A claimed timer's row, and what its handler is told."""

    row: Any
    timer: Timer

    @property
    def since(self) -> dt.datetime:
        """Since when it waits to be run: what was due before it was set, since then."""
        since: dt.datetime = max(self.row.due_at, self.row.set_at)
        return since


class Runs:
    """One service's way with timers that are due.

    `call` runs a method of the service, `rights` asks what somebody may do now, by the principal
    that they once had.
    """

    def __init__(
        self,
        service: str,
        handlers: Mapping[str, TimerHandler],
        db: Database,
        call: Callable[[str, Session, Any], None],
        rights: Callable[[str], Principal],
        delays: Sequence[float],
    ) -> None:
        self._service = service
        self._handlers = handlers
        self._db = db
        self._call = call
        self._rights = rights
        self._delays = tuple(delays)

    def run(self, claim: Claim) -> None:
        """Settle each of these; raises when the database is away, and the claim is left to end."""
        for tenant, ids in claim.timers.items():
            by_whom: dict[str | None, list[Due]] = {}
            for due in self._read(claim, tenant, ids):
                by_whom.setdefault(due.row.principal, []).append(due)
            for signed, timers in by_whom.items():
                self._run(claim, Context(tenant=tenant), signed, timers)

    # --- what is to be run ------------------------------------------------------------------------

    def _read(self, claim: Claim, tenant: UUID, ids: Sequence[UUID]) -> list[Due]:
        """Those that are still to be run; what can't be is parked."""
        with self._db.reading(Context(tenant=tenant)) as session:
            rows = session.execute(_READ, {"ids": ids, "claim": claim.id}).all()
        found = []
        for row in rows:
            if row.begun > BEGUN_MOST:
                self._park(claim, row, NeverEnded())
                continue
            try:
                timer = self._handlers[claim.kind].timer.read(row.payload, row.due_at)
            except ValidationError as error:
                self._park(claim, row, error)
            else:
                found.append(Due(row, timer))
        return found

    def _run(self, claim: Claim, about: Context, signed: str | None, timers: Sequence[Due]) -> None:
        if signed is not None:
            try:
                about.principal = self._rights(signed)
            except NoLongerAllowed as error:
                for due in timers:
                    # It would be refused every time.
                    self._park(claim, due.row, error, ends=True)
                return
            except Exception as error:
                for due in timers:
                    self._failed(claim, due.row, error)
                return
        if len(timers) > 1:
            try:
                self._in_one(claim, about, timers)
                return
            except Exception as error:
                if is_database_away(error):
                    raise
                log.info(
                    "timers to be run one by one",
                    kind=claim.kind,
                    timers=len(timers),
                    error=type(error).__name__,
                )
        for due in timers:
            self._alone(claim, about, due)

    def _alone(self, claim: Claim, about: Context, due: Due) -> None:
        for attempt in range(1, _COLLISIONS + 1):
            try:
                self._in_one(claim, about, [due])
                return
            except NotMine:
                self._count(claim.kind, Outcome.MOVED)
                return
            except Exception as error:
                if is_database_away(error):
                    raise
                # Somebody else's transaction was in the way; the timer is not at fault.
                if is_collision(error) and attempt < _COLLISIONS:
                    continue
                self._failed(claim, due.row, error)
                return

    def _in_one(self, claim: Claim, about: Context, timers: Sequence[Due]) -> None:
        """Run all of these, or none: one transaction."""
        claim.begun.update(due.row.id for due in timers)
        started = time.perf_counter()
        running = Running(
            claim.id, {(claim.kind, d.row.key): d.row.id for d in timers if d.row.key is not None}
        )
        with self._db.session(about, _LIMITS, job=True) as session:
            session.info[RUNNING] = running
            with eventlet.Timeout(HANDLER_S, HandlerTooSlow()):
                self._call_all(session, claim.kind, about, timers, running)
                session.flush()
            self._take_away(session, claim, timers, running)
            session.commit()
        seconds, now = (time.perf_counter() - started) / len(timers), dt.datetime.now(dt.UTC)
        for due in timers:
            self._count(claim.kind, Outcome.DONE)
            SECONDS.labels(self._service, claim.kind).observe(seconds)
            LAG.labels(self._service, claim.kind).observe((now - due.since).total_seconds())

    def _call_all(
        self,
        session: Session,
        kind: str,
        about: Context,
        timers: Sequence[Due],
        running: Running,
    ) -> None:
        handler = self._handlers[kind]
        name = f"{self._service}.timer.{kind}"
        if handler.together:
            with span(name, timers=len(timers)) as traceparent:
                session.info["context"] = _context(about, timers[0].row, traceparent)
                self._call(handler.method, session, [due.timer for due in timers])
            return
        for due in timers:
            # One of those before may have moved or cancelled it.
            if due.row.id in running.dealt_with:
                continue
            with span(name, due.row.traceparent) as traceparent:
                session.info["context"] = _context(about, due.row, traceparent)
                self._call(handler.method, session, due.timer)
                # Each one's changes are signed and told in its own context.
                session.flush()

    def _take_away(
        self, session: Session, claim: Claim, timers: Sequence[Due], running: Running
    ) -> None:
        """Take them away, or on to their next moments; `NotMine` when one is not ours any more."""
        left = [due.row for due in timers if due.row.id not in running.dealt_with]
        if not left:
            return
        now = dt.datetime.now(dt.UTC)
        done = session.execute(
            _TAKE_AWAY,
            {
                "ids": [str(row.id) for row in left],
                "next": [_next(session, row, now) for row in left],
                "claim": claim.id,
            },
        ).all()
        if len(done) < len(left):
            raise NotMine

    # --- what went wrong --------------------------------------------------------------------------

    def _failed(self, claim: Claim, row: Any, error: Exception) -> None:
        if row.attempt >= len(self._delays):
            self._park(claim, row, error)
            return
        with self._db.writing(Context(tenant=row.tenant_id), job=True) as session:
            session.execute(
                _FAILED,
                {
                    "id": row.id,
                    "claim": claim.id,
                    "handler": self._handlers[claim.kind].method,
                    "error": describe(error),
                    "delay": self._delays[row.attempt],
                },
            )
        self._say("timer failed", claim, row, error, Outcome.RETRIED)

    def _park(self, claim: Claim, row: Any, error: Exception, *, ends: bool = False) -> None:
        """Give it up until an operator has looked; a schedule goes on, unless it ends with it."""
        now = dt.datetime.now(dt.UTC)
        with self._db.writing(Context(tenant=row.tenant_id), job=True) as session:
            following = None if ends else _next(session, row, now)
            values = {"ids": [str(row.id)], "next": [following], "claim": claim.id}
            if not session.execute(_TAKE_AWAY, values).all():
                return
            parking.park(session, row, self._handlers[claim.kind].method, describe(error), now)
        self._say("timer parked", claim, row, error, Outcome.PARKED)

    def _say(self, what: str, claim: Claim, row: Any, error: Exception, outcome: Outcome) -> None:
        self._count(claim.kind, outcome)
        log.warning(
            what,
            kind=claim.kind,
            timer=str(row.id),
            attempt=row.attempt + 1,
            error=type(error).__name__,
        )

    def _count(self, kind: str, outcome: Outcome) -> None:
        RUN.labels(self._service, kind, outcome.value).inc()


def _context(about: Context, row: Any, traceparent: str | None) -> Context:
    return Context(
        tenant=about.tenant,
        principal=about.principal,
        correlation_id=row.correlation_id,
        traceparent=traceparent or row.traceparent,
    )


def _next(session: Session, row: Any, now: dt.datetime) -> dt.datetime | None:
    """When a schedule is due again; None for what runs once."""
    if row.schedule is None:
        return None
    there = tenant_settings(session).zone if row.zone is None else zone(row.zone)
    return schedules.read(row.schedule).next(row.due_at, now, there)


_LIMITS = (
    "SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '30s';"
    " SET LOCAL idle_in_transaction_session_timeout = '90s';"
    " SET LOCAL client_connection_check_interval = '1s'; "
)
_READ = text("""
SELECT * FROM timers WHERE id = ANY(CAST(:ids AS uuid[])) AND taken = :claim
ORDER BY due_at, id
""")
_TAKE_AWAY = text("""
WITH run AS (
    SELECT * FROM unnest(CAST(:ids AS uuid[]), CAST(:next AS timestamptz[])) AS r (id, next)
), gone AS (
    DELETE FROM timers AS t USING run
    WHERE t.id = run.id AND t.taken = :claim AND run.next IS NULL RETURNING t.id
), again AS (
    UPDATE timers AS t
    SET due_at = run.next, run_at = run.next, taken = NULL, begun = 0, attempt = 0,
        handler = NULL, error = NULL, first_failed_at = NULL, last_failed_at = NULL
    FROM run WHERE t.id = run.id AND t.taken = :claim AND run.next IS NOT NULL RETURNING t.id
) SELECT id FROM gone UNION ALL SELECT id FROM again
""")
_FAILED = text("""
UPDATE timers
SET attempt = attempt + 1, run_at = now() + make_interval(secs => :delay), taken = NULL, begun = 0,
    handler = :handler, error = :error, first_failed_at = coalesce(first_failed_at, now()),
    last_failed_at = now()
WHERE id = :id AND taken = :claim
""")

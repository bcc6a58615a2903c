"""What becomes of an event in its handler's database: done once, retried, made to wait, or parked.

The effects of an event and its row in the inbox are one transaction, so an event that arrives twice
has effects once. A failure, the row that records it and the message that brings the event back are
one transaction as well: the message leaves through the outbox, like any other. Each such message
carries a turn that the row repeats; copies with an older turn are dropped.

Events of one key (one record) keep their order: while one is being retried, later ones wait.
"""

import datetime as dt
import hashlib
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.faults import is_collision, is_not_now
from liaison_kit.database.statements import Statement
from liaison_kit.events.outbox import send_to_queue
from liaison_kit.ids import uuid7
from liaison_kit.process.metrics import BUCKETS, REFUSED
from liaison_kit.telemetry import log, span
from liaison_kit.trust.signatures import Forged, UnknownKey, Verifier
from liaison_sdk.events import Envelope, Event, NewerVersion

HANDLED = Counter(
    "liaison_events_handled_total",
    "What became of events: done, duplicate, retried, waiting, parked, unreadable.",
    ["service", "handler", "outcome"],
)
SECONDS = Histogram(
    "liaison_event_seconds",
    "Time of a handler's transaction, per event.",
    ["service", "handler"],
    buckets=BUCKETS,
)
LAG = Histogram(
    "liaison_event_lag_seconds",
    "Time from the fact to the commit of what a handler made of it.",
    ["service", "handler"],
    buckets=(*BUCKETS, 30, 60, 300, 900),
)

_ERROR_CHARS = 4000
_TRANSIENT_TRIES = 3


class Outcome(StrEnum):
    """What became of one event."""

    DONE = "done"
    DUPLICATE = "duplicate"
    RETRIED = "retried"
    WAITING = "waiting"
    PARKED = "parked"
    UNREADABLE = "unreadable"


class NotNow(Exception):
    """Something that the event needs is down; the event is fine and is to be handled later."""


@dataclass(slots=True, eq=False)
class Arrival:
    """A message in a handler's queue, read as far as it can be."""

    body: str
    queue: str
    turn: int
    envelope: Envelope | None
    event: Event | None
    unreadable: str | None = None
    forged: str | None = None
    """Why it is not believed; it is dropped, so that nobody can fill the parking lot."""
    lane: str = field(init=False)

    def __post_init__(self) -> None:
        # What can't be read has no record whose order it could break.
        known = self.envelope
        self.lane = f"{known.tenant}/{known.key}" if known else f"unreadable/{id(self)}"

    @property
    def tenant(self) -> UUID | None:
        """Whose event it is, when that can be told."""
        return self.envelope.tenant if self.envelope else None


def read(
    body: bytes,
    queue: str,
    turn: int,
    events: Mapping[str, type[Event]],
    source: str,
    verifier: Verifier,
) -> Arrival:
    """Read a message of a source; what can't be read says why instead of raising."""
    decoded = body.decode("utf-8", "replace").replace("\x00", "")
    try:
        verifier.verify("event", source, body)
    except Forged as error:
        return Arrival(decoded, queue, turn, None, None, forged=error.reason)
    except UnknownKey:
        # Ours may be the mistake: whoever deploys can give us the key, and replay the event.
        why = f"signed with a key of {source} that is not trusted here"
        return Arrival(decoded, queue, turn, None, None, why)
    try:
        envelope = Envelope.model_validate_json(body)
    except ValidationError as error:
        return Arrival(decoded, queue, turn, None, None, f"unreadable envelope: {error}")
    if envelope.source != source:
        return Arrival(decoded, queue, turn, None, None, forged="foreign")
    kind = events.get(envelope.type)
    if kind is None:
        why = f"this release has no handler for {envelope.type} here"
        return Arrival(decoded, queue, turn, envelope, None, why)
    try:
        event = kind.read(envelope)
    except (NewerVersion, ValidationError) as error:
        return Arrival(decoded, queue, turn, envelope, None, str(error))
    return Arrival(decoded, queue, turn, envelope, event)


class Handling:
    """One handler's way with events; `handle` returns when all of them may be acknowledged."""

    def __init__(
        self,
        service: str,
        name: str,
        call: Callable[[Session, Event], None],
        db: Database,
        delays: Sequence[float],
    ) -> None:
        self.name = name
        self._service = service
        self._call = call
        self._db = db
        self._delays = tuple(delays)

    def handle(self, arrivals: Sequence[Arrival]) -> None:
        """Settle each event, together where that goes well; `NotNow` when none of it can be done.

        All arrivals are of one tenant. Events of one key are in order.
        """
        readable = [a for a in arrivals if a.unreadable is None and a.forged is None]
        for arrival in arrivals:
            if arrival.forged is not None:
                REFUSED.labels(self._service, "event", arrival.forged).inc()
                log.warning("event refused", handler=self.name, reason=arrival.forged)
            elif arrival.unreadable is not None:
                self._guarded(self._park_unreadable, arrival)
        if len(readable) > 1 and self._guarded(self._all_at_once, readable):
            return
        for arrival in readable:
            self._one(arrival)

    # --- the usual case ---------------------------------------------------------------------------

    def _all_at_once(self, arrivals: Sequence[Arrival]) -> bool:
        """Handle all in one transaction; False when one of them needs a closer look."""
        started = time.perf_counter()
        try:
            with self._db.session(_context(arrivals[0])) as session:
                if self._claim(session, arrivals) < len(arrivals):
                    return False
                for arrival in arrivals:
                    self._run(session, arrival)
                session.commit()
        except Exception as error:
            if is_not_now(error):
                raise
            log.info(
                "events to be handled one by one",
                handler=self.name,
                events=len(arrivals),
                error=type(error).__name__,
            )
            return False
        self._count(Outcome.DONE, arrivals, time.perf_counter() - started)
        return True

    def _one(self, arrival: Arrival) -> None:
        for attempt in range(1, _TRANSIENT_TRIES + 1):
            try:
                self._guarded(self._attempt, arrival)
                return
            except NotNow:
                raise
            except Exception as error:
                # Somebody else's transaction was in the way; the event is not at fault.
                if is_collision(error) and attempt < _TRANSIENT_TRIES:
                    continue
                self._guarded(self._failed, arrival, error)
                return

    def _attempt(self, arrival: Arrival) -> None:
        started = time.perf_counter()
        with self._db.session(_context(arrival)) as session:
            if self._claim(session, [arrival]):
                self._run(session, arrival)
                session.commit()
                outcome = Outcome.DONE
            else:
                outcome = self._closer_look(session, arrival)
        self._count(outcome, [arrival], time.perf_counter() - started)

    def _claim(self, session: Session, arrivals: Sequence[Arrival]) -> int:
        """Enter events into the inbox, all that are new and have nothing failed before them."""
        ((claimed,),) = _CLAIM.run(
            session,
            {
                "handler": self.name,
                "ids": sorted(str(_envelope(arrival).id) for arrival in arrivals),
                "keys": list({_envelope(arrival).key for arrival in arrivals}),
            },
        )
        return int(claimed)

    def _run(self, session: Session, arrival: Arrival) -> None:
        envelope = _envelope(arrival)
        assert arrival.event is not None
        name = f"handle {envelope.type}"
        with span(name, envelope.traceparent, SpanKind.CONSUMER, handler=self.name) as traceparent:
            session.info["context"] = _context(arrival, traceparent)
            self._call(session, arrival.event)
            # Each event's changes are signed and told in its own context.
            session.flush()

    # --- the other cases --------------------------------------------------------------------------

    def _closer_look(self, session: Session, arrival: Arrival) -> Outcome:
        """Something about this key has failed before, or the event has been here already."""
        envelope = _envelope(arrival)
        facts = {
            "handler": self.name,
            "event": envelope.id,
            "key": envelope.key,
            "seq": envelope.seq,
        }
        done, state, turn, blocked_until = session.execute(_LOOK, facts).one()
        if done or state == "parked" or (state is not None and turn != arrival.turn):
            return Outcome.DUPLICATE
        if blocked_until is not None:
            self._wait(session, arrival, blocked_until)
            session.commit()
            return Outcome.WAITING
        if session.execute(_ENTER, facts).first() is None:
            return Outcome.DUPLICATE
        self._run(session, arrival)
        session.execute(_FORGET, facts)
        session.commit()
        return Outcome.DONE

    def _wait(self, session: Session, arrival: Arrival, until: dt.datetime) -> None:
        """Come back about when the earlier event has been tried again."""
        left = (until - dt.datetime.now(dt.UTC)).total_seconds()
        # Rather too early than too late: who comes too early waits again, in shorter steps.
        delay = max((d for d in self._delays if d <= left), default=min(self._delays))
        self._record(session, arrival, "waiting", delay=delay)

    def _failed(self, arrival: Arrival, error: Exception) -> None:
        """Record a failure, and bring the event back after the next delay or park it."""
        envelope = _envelope(arrival)
        with self._db.session(_context(arrival)) as session:
            facts = {"handler": self.name, "event": envelope.id}
            attempt = (session.execute(_ATTEMPT, facts).scalar() or 0) + 1
            parked = attempt > len(self._delays)
            self._record(
                session,
                arrival,
                "parked" if parked else "retrying",
                delay=None if parked else self._delays[attempt - 1],
                attempt=attempt,
                error=describe(error),
            )
            session.commit()
        outcome = Outcome.PARKED if parked else Outcome.RETRIED
        self._count(outcome, [arrival])
        log.warning(
            "event parked" if parked else "event to be retried",
            handler=self.name,
            event_type=envelope.type,
            event_id=str(envelope.id),
            attempt=attempt,
            error=type(error).__name__,
        )

    def _park_unreadable(self, arrival: Arrival) -> None:
        with self._db.session(Context(tenant=arrival.tenant or _NOBODY)) as session:
            self._record(session, arrival, "parked", delay=None, error=arrival.unreadable)
            session.commit()
        self._count(Outcome.UNREADABLE, [arrival])
        log.warning("unreadable event parked", handler=self.name, queue=arrival.queue)

    def _record(
        self,
        session: Session,
        arrival: Arrival,
        state: str,
        *,
        delay: float | None,
        attempt: int = 0,
        error: str | None = None,
    ) -> None:
        envelope = arrival.envelope
        event_id = envelope.id if envelope else _id_of(arrival)
        now = dt.datetime.now(dt.UTC)
        turn = session.execute(
            _RECORD,
            {
                "id": uuid7(),
                "handler": self.name,
                "queue": arrival.queue,
                "event": event_id,
                "tenant": arrival.tenant,
                "type": envelope.type if envelope else "",
                "key": envelope.key if envelope else "",
                "seq": envelope.seq if envelope else 0,
                "body": arrival.body,
                "state": state,
                "attempt": attempt,
                "turn": arrival.turn + 1,
                "error": error,
                "now": now,
                "next": None if delay is None else now + dt.timedelta(seconds=delay),
            },
        ).scalar_one()
        if delay is not None:
            queue = retry_queue(arrival.queue, delay)
            send_to_queue(session, queue, event_id, arrival.body, turn)

    def _guarded(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Tell what is the world's fault from what is the event's."""
        try:
            return work(*arguments)
        except NotNow:
            raise
        except Exception as error:
            if is_not_now(error):
                raise NotNow(f"{type(error).__name__}: {error}") from error
            raise

    def _count(
        self, outcome: Outcome, arrivals: Sequence[Arrival], seconds: float | None = None
    ) -> None:
        HANDLED.labels(self._service, self.name, outcome.value).inc(len(arrivals))
        if outcome is not Outcome.DONE or seconds is None:
            return
        now = dt.datetime.now(dt.UTC)
        took, lag = SECONDS.labels(self._service, self.name), LAG.labels(self._service, self.name)
        for arrival in arrivals:
            took.observe(seconds / len(arrivals))
            lag.observe((now - _envelope(arrival).occurred_at).total_seconds())


def retry_queue(queue: str, delay: float) -> str:
    """The name of the queue in which messages wait `delay` seconds before they come back."""
    for unit, name in ((3600.0, "h"), (60.0, "m"), (1.0, "s")):
        if delay >= unit and delay % unit == 0:
            return f"{queue}.retry.{int(delay // unit)}{name}"
    return f"{queue}.retry.{int(delay * 1000)}ms"


def describe(error: Exception) -> str:
    """What an operator needs to see of an error: what it is and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    where = "".join(f"\n  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
    said = str(getattr(error, "orig", None) or error).strip()
    return (
        f"{type(error).__name__}: {said}"[: _ERROR_CHARS - len(where)].replace("\x00", "") + where
    )


_NOBODY = UUID(int=0)

_CLAIM = Statement("""
WITH claimed AS (
    INSERT INTO inbox (event_id, handler)
    SELECT arrived.id, %(handler)s FROM unnest(%(ids)s::uuid[]) AS arrived (id)
    WHERE NOT EXISTS (
        SELECT FROM failed_events AS f
        WHERE f.handler = %(handler)s AND f.key = ANY(%(keys)s::text[])
    )
    ON CONFLICT DO NOTHING RETURNING 1
) SELECT count(*) FROM claimed
""")
_LOOK = text("""
SELECT EXISTS (SELECT FROM inbox WHERE event_id = :event AND handler = :handler),
    own.state, own.turn,
    (SELECT max(b.next_try_at) FROM failed_events AS b
     WHERE b.handler = :handler AND b.key = :key AND b.state <> 'parked' AND b.seq < :seq)
FROM (SELECT 1) AS always
LEFT JOIN failed_events AS own ON own.handler = :handler AND own.event_id = :event
""")
_ENTER = text("""
INSERT INTO inbox (event_id, handler) VALUES (:event, :handler)
ON CONFLICT DO NOTHING RETURNING 1
""")
_FORGET = text("DELETE FROM failed_events WHERE handler = :handler AND event_id = :event")
_ATTEMPT = text("""
SELECT attempt FROM failed_events WHERE handler = :handler AND event_id = :event FOR UPDATE
""")
_RECORD = text("""
INSERT INTO failed_events (id, handler, queue, event_id, tenant_id, type, key, seq, body, state,
    attempt, turn, error, first_failed_at, last_failed_at, next_try_at)
VALUES (:id, :handler, :queue, :event, :tenant, :type, :key, :seq, :body, :state,
    :attempt, :turn, :error, :now, :now, :next)
ON CONFLICT (handler, event_id) DO UPDATE SET
    queue = excluded.queue, state = excluded.state,
    attempt = greatest(failed_events.attempt, excluded.attempt),
    turn = greatest(failed_events.turn, excluded.turn),
    error = coalesce(excluded.error, failed_events.error),
    last_failed_at = excluded.last_failed_at, next_try_at = excluded.next_try_at
RETURNING turn
""")


def _context(arrival: Arrival, traceparent: str | None = None) -> Context:
    envelope = _envelope(arrival)
    return Context(
        tenant=envelope.tenant,
        correlation_id=envelope.correlation_id,
        causation_id=envelope.id,
        traceparent=traceparent or envelope.traceparent,
    )


def _envelope(arrival: Arrival) -> Envelope:
    assert arrival.envelope is not None
    return arrival.envelope


def _id_of(arrival: Arrival) -> UUID:
    """An id for what has none, so that copies of it are known as copies."""
    return uuid5(_NOBODY, hashlib.sha256(arrival.body.encode()).hexdigest())

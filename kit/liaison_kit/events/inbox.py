"""What becomes of an event in its handler's database: done once, retried, made to wait, or parked.

For each handler an event is in one of five states; whoever moves it holds its key's lock, in a
transaction whose statements look after the lock was had, and all of the move is that transaction:

    new       no row                                -> done, retrying, waiting, parked
    retrying  a row; a message with the row's turn  -> done, retrying (turn + 1), parked
    waiting   a row; a message with the row's turn  -> done, waiting or retrying (turn + 1), parked
    parked    a row; no message                     -> retrying (turn + 1: replay), done (discard)
    done      a row in the inbox                    (the end)

A copy counts when it carries its row's turn, or none where there is no row; any other is dropped,
as is a copy of what is done or parked. What is older than the inbox remembers, and not known, may
have been done long ago: it is parked. An event waits while an earlier one of its key is retrying
or waiting. Messages leave through the outbox; one that the broker loses is sent again with the same
turn by the relay, so no retrying or waiting row is left without a message that will come.

What was delivered before may have taken its process or its database down: that it is begun is
written down first, and what was begun too often and never ended is parked.
"""

import datetime as dt
import hashlib
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid5

import eventlet
from opentelemetry.trace import SpanKind
from prometheus_client import Counter, Histogram
from pydantic import ValidationError
from sqlalchemy import text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.faults import is_collision, is_database_away, is_locked
from liaison_kit.database.statements import Statement
from liaison_kit.events.generations import retry_queue
from liaison_kit.events.outbox import send_to_queue
from liaison_kit.ids import first_at, uuid7
from liaison_kit.process.metrics import BUCKETS, REFUSED
from liaison_kit.telemetry import log, span
from liaison_kit.trust.signatures import Forged, UnknownKey, Verifier
from liaison_sdk.events import Envelope, Event, NewerVersion

HANDLED = Counter(
    "liaison_events_handled_total",
    "What became of events: done, duplicate, retried, waiting, parked, unreadable, unheeded.",
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

HANDLER_S = 60.0
"""How long a handler may take for an event before it counts as failed."""

BEGUN_MOST = 3
"""How often an event may be begun and not ended, by a process or a database that went away."""

INBOX_DAYS = 14
"""How long the inbox remembers what was handled, counted from when the event was made."""

REMEMBERED = dt.timedelta(days=INBOX_DAYS - 1)
"""Of what is younger than this the inbox knows for sure whether it was handled: clocks differ."""

LARGE = 1 << 16
"""A larger body is read again when it is handled: as an object it takes many times its bytes."""

_KEY_S, _KEY_TRIES = 0.3, 200
_ERROR_CHARS = 4000
_TRANSIENT_TRIES = 3
_KEY_CHARS = 500

_ALONE = threading.Lock()
"""Held for an event that may have ended a process: if it does again, no other one is blamed."""


class Outcome(StrEnum):
    """What became of one event."""

    DONE = "done"
    DUPLICATE = "duplicate"
    RETRIED = "retried"
    WAITING = "waiting"
    PARKED = "parked"
    UNREADABLE = "unreadable"
    UNHEEDED = "unheeded"


class NotNow(Exception):
    """The service's own database is away: no event can be handled, and none is at fault."""


class KeyBusy(Exception):
    """Somebody else, who may be dying, is at the same record."""


class HandlerTooSlow(Exception):
    """A handler has not ended in its time."""

    def __init__(self) -> None:
        super().__init__(f"the handler has not ended within {HANDLER_S:g} s")


class NeverEnded(Exception):
    """An event was begun several times, and each time its process or its database went away."""

    def __init__(self) -> None:
        super().__init__(
            f"handling it was begun {BEGUN_MOST} times and never ended:"
            " each time the process or the database went away"
        )


class LongAgo(Exception):
    """An event is older than the inbox remembers, so nobody knows whether it was handled."""

    def __init__(self) -> None:
        super().__init__(
            f"it was made more than {REMEMBERED.days} days ago, and may have been handled since:"
            " replay it if it was not, else discard it"
        )


Heeded = Callable[[Session, Sequence[Any]], bool]
"""Whether any of these events means anything to a handler."""


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
    redelivered: bool = False
    kind: type[Event] | None = None
    size: int = 0
    lane: str = field(init=False)

    def __post_init__(self) -> None:
        # What can't be read has no record whose order it could break.
        known = self.envelope
        self.lane = f"{known.tenant}/{known.key}" if known else f"unreadable/{_id_of(self)}"

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
    wrong = _unusable(envelope)
    if wrong is not None:
        return Arrival(decoded, queue, turn, None, None, f"unreadable envelope: {wrong}")
    kind = events.get(envelope.type)
    if kind is None:
        why = f"this release has no handler for {envelope.type} here"
        return Arrival(decoded, queue, turn, envelope, None, why)
    try:
        event = kind.read(envelope)
    except (NewerVersion, ValidationError) as error:
        return Arrival(decoded, queue, turn, envelope, None, str(error))
    if len(body) > LARGE:
        envelope = envelope.model_copy(update={"data": {}})
        return Arrival(decoded, queue, turn, envelope, None, kind=kind, size=len(body))
    return Arrival(decoded, queue, turn, envelope, event, kind=kind, size=len(body))


def _unusable(envelope: Envelope) -> str | None:
    """What of it could be neither kept in the database nor compared."""
    if envelope.occurred_at.tzinfo is None:
        return "occurred_at has no time zone"
    if not -(1 << 63) <= envelope.seq < 1 << 63:
        return "seq is no 64-bit number"
    for name in ("type", "key", "source"):
        found = getattr(envelope, name)
        if len(found) > _KEY_CHARS or not found.isprintable():
            return f"{name} is longer than {_KEY_CHARS} characters or not printable"
    return None


class Handling:
    """One handler's way with events; `handle` returns when all of them may be acknowledged.

    `home` tells in which queue an event of a key is at home now: another number of shards moves it.
    `heeded` tells of events of one tenant, in a transaction that reads, whether any of them means
    anything here; where none does, they are through.
    """

    def __init__(
        self,
        service: str,
        name: str,
        call: Callable[[Session, Event], None],
        db: Database,
        delays: Sequence[float],
        heeded: Heeded | None = None,
    ) -> None:
        self._heeded = heeded
        self.name = name
        self.home: Callable[[str], str] | None = None
        self._service = service
        self._call = call
        self._db = db
        self._delays = tuple(delays)

    def handle(self, arrivals: Sequence[Arrival]) -> None:
        """Settle each event, together where that goes well; `NotNow` when none of it can be done.

        All arrivals are of one tenant. Events of one key are in order.
        """
        readable = []
        for arrival in arrivals:
            if arrival.forged is not None:
                REFUSED.labels(self._service, "event", arrival.forged).inc()
                log.warning("event refused", handler=self.name, reason=arrival.forged)
            elif arrival.unreadable is None:
                readable.append(arrival)
            else:
                self._patiently(self._park, arrival, None, Outcome.UNREADABLE)
        if self._mean_nothing(readable):
            self._count(Outcome.UNHEEDED, readable)
            return
        suspects = self._begun_before([arrival for arrival in readable if arrival.redelivered])
        together = len(readable) > 1 and not suspects and not any(map(_is_old, readable))
        if together and self._guarded(self._all_at_once, readable):
            return
        for arrival in readable:
            if _envelope(arrival).id in suspects:
                with _ALONE:
                    self._carefully(arrival)
            else:
                self._one(arrival)

    def _mean_nothing(self, arrivals: Sequence[Arrival]) -> bool:
        """Whether nobody here cares for any of these, so that not even the inbox needs them.

        What has been here before may have left a trace, and is looked at closely.
        """
        if self._heeded is None or not arrivals:
            return False
        if any(arrival.redelivered or arrival.turn > 0 for arrival in arrivals):
            return False
        try:
            with self._db.reading(Context(tenant=_envelope(arrivals[0]).tenant)) as session:
                return not self._heeded(session, [_event(arrival) for arrival in arrivals])
        except Exception as error:
            # Whatever it is, it comes again where it is handled, and is dealt with there.
            log.info("events not looked through", handler=self.name, error=describe(error)[:300])
            return False

    # --- the usual case ---------------------------------------------------------------------------

    def _all_at_once(self, arrivals: Sequence[Arrival]) -> bool:
        """Handle all in one transaction; False when one of them needs a closer look."""
        started = time.perf_counter()
        try:
            with self._transaction(arrivals) as session:
                if self._claim(session, arrivals) < len(arrivals):
                    return False
                self._run(session, arrivals)
                self._ended(session, arrivals)
                session.commit()
        except Exception as error:
            if is_database_away(error):
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
                self._patiently(self._attempt, arrival)
                return
            except NotNow:
                raise
            except Exception as error:
                # Somebody else's transaction was in the way; the event is not at fault.
                if is_collision(error) and attempt < _TRANSIENT_TRIES:
                    continue
                self._patiently(self._failed, arrival, error)
                return

    def _attempt(self, arrival: Arrival) -> None:
        started = time.perf_counter()
        with self._transaction([arrival]) as session:
            if not _is_old(arrival) and self._claim(session, [arrival]):
                self._run(session, [arrival])
                self._ended(session, [arrival])
                session.commit()
                outcome = Outcome.DONE
            else:
                outcome = self._closer_look(session, arrival)
        self._count(outcome, [arrival], time.perf_counter() - started)

    def _transaction(self, arrivals: Sequence[Arrival]) -> AbstractContextManager[Session]:
        """A transaction that has its keys' locks, once its first statement has come through.

        They are taken in one order, before anything else, so holding them can't close a circle.
        """
        locks = sorted({_lock(self.name, arrival.lane) for arrival in arrivals})
        opening = _OPENING.format(",".join(map(str, locks)))
        return self._db.session(_context(arrivals[0]), opening)

    def _claim(self, session: Session, arrivals: Sequence[Arrival]) -> int:
        """Enter events into the inbox, all that are new and have nothing failed before them."""
        facts = {
            "handler": self.name,
            "tenant": arrivals[0].tenant,
            "ids": sorted(str(_envelope(arrival).id) for arrival in arrivals),
            "keys": list({_envelope(arrival).key for arrival in arrivals}),
        }
        ((claimed,),) = _first(session, _CLAIM, facts)
        return int(claimed)

    def _run(self, session: Session, arrivals: Sequence[Arrival]) -> None:
        # What waits for a reply, or loops through statements, is ended here; what keeps the
        # process from doing anything else is ended by its watchdog.
        with eventlet.Timeout(HANDLER_S, HandlerTooSlow()):
            for arrival in arrivals:
                self._run_one(session, arrival)

    def _run_one(self, session: Session, arrival: Arrival) -> None:
        envelope = _envelope(arrival)
        name = f"handle {envelope.type}"
        with span(name, envelope.traceparent, SpanKind.CONSUMER, handler=self.name) as traceparent:
            session.info["context"] = _context(arrival, traceparent)
            self._call(session, _event(arrival))
            # Each event's changes are signed and told in its own context.
            session.flush()

    # --- the other cases --------------------------------------------------------------------------

    def _closer_look(self, session: Session, arrival: Arrival) -> Outcome:
        """Something about this key has failed before, or the event has been here already."""
        facts = self._facts(arrival)
        done, state, turn, _attempt, blocked_until = self._look(session, arrival)
        if _is_over(arrival, done, state, turn):
            return self._drop(session, arrival, done)
        if state is None and _is_old(arrival):
            self._record(session, arrival, "parked", delay=None, error=str(LongAgo()))
            self._ended(session, [arrival])
            session.commit()
            self._say("event parked", arrival, LongAgo())
            return Outcome.PARKED
        if blocked_until is not None:
            self._wait(session, arrival, blocked_until)
            self._ended(session, [arrival])
            session.commit()
            return Outcome.WAITING
        session.execute(_ENTER, facts)
        self._run(session, [arrival])
        session.execute(_FORGET, facts)
        self._ended(session, [arrival])
        session.commit()
        return Outcome.DONE

    def _drop(self, session: Session, arrival: Arrival, done: bool) -> Outcome:
        """A copy that came too late; a row that is left of what is done would hold others up."""
        if done:
            session.execute(_FORGET, self._facts(arrival))
        self._ended(session, [arrival])
        session.commit()
        return Outcome.DUPLICATE

    def _wait(self, session: Session, arrival: Arrival, until: dt.datetime) -> None:
        """Come back about when the earlier event has been tried again."""
        left = (until - dt.datetime.now(dt.UTC)).total_seconds()
        # Rather too early than too late: who comes too early waits again, in shorter steps.
        delay = max((d for d in self._delays if d <= left), default=min(self._delays))
        self._record(session, arrival, "waiting", delay=delay)

    def _failed(self, arrival: Arrival, error: Exception) -> None:
        """Record a failure, and bring the event back after the next delay or park it."""
        with self._transaction([arrival]) as session:
            done, state, turn, attempt, _blocked = self._look(session, arrival)
            if _is_over(arrival, done, state, turn):
                # Another delivery of it has been through meanwhile.
                self._count(self._drop(session, arrival, done), [arrival])
                return
            attempt = (attempt or 0) + 1
            parked = attempt > len(self._delays)
            self._record(
                session,
                arrival,
                "parked" if parked else "retrying",
                delay=None if parked else self._delays[attempt - 1],
                attempt=attempt,
                error=describe(error),
            )
            self._ended(session, [arrival])
            session.commit()
        outcome = Outcome.PARKED if parked else Outcome.RETRIED
        self._count(outcome, [arrival])
        self._say(f"event {'parked' if parked else 'to be retried'}", arrival, error, attempt)

    def _park(self, arrival: Arrival, error: Exception | None, outcome: Outcome) -> None:
        """Leave what can't be handled at all to the operators."""
        with self._transaction([arrival]) as session:
            done, state, turn, attempt, _blocked = self._look(session, arrival)
            if _is_over(arrival, done, state, turn):
                outcome = self._drop(session, arrival, done)
            else:
                why = arrival.unreadable if error is None else str(error)
                self._record(
                    session, arrival, "parked", delay=None, attempt=attempt or 0, error=why
                )
                self._ended(session, [arrival])
                session.commit()
        self._count(outcome, [arrival])
        if outcome is not Outcome.DUPLICATE:
            self._say(f"{outcome} event parked", arrival, error)

    def _say(
        self, what: str, arrival: Arrival, error: Exception | None, attempt: int | None = None
    ) -> None:
        known = arrival.envelope
        log.warning(
            what,
            handler=self.name,
            queue=arrival.queue,
            event_type=known.type if known else None,
            event_id=str(known.id) if known else None,
            attempt=attempt,
            error=type(error).__name__ if error else None,
        )

    # --- what was delivered before ----------------------------------------------------------------

    def _begun_before(self, arrivals: Sequence[Arrival]) -> set[UUID]:
        """Write down that these are begun; those of them that had been begun and not ended."""
        if not arrivals:
            return set()
        facts = {"handler": self.name, "ids": [str(_envelope(a).id) for a in arrivals]}

        def begin() -> set[UUID]:
            with self._db.session(_context(arrivals[0]), _LIMITS) as session:
                found = {UUID(str(id)) for (id,) in _BEGIN.run(session, facts)}
                session.commit()
                return found

        return set(self._guarded(begin))

    def _carefully(self, arrival: Arrival) -> None:
        """Handle what was begun before and did not end, unless that has happened too often."""
        facts = {"handler": self.name, "id": _envelope(arrival).id, "most": BEGUN_MOST}

        def begin_again() -> bool:
            with self._db.session(_context(arrival), _LIMITS) as session:
                rows = _BEGIN_AGAIN.run(session, facts)
                session.commit()
                return bool(rows)

        if self._guarded(begin_again):
            self._one(arrival)
        else:
            self._patiently(self._park, arrival, NeverEnded(), Outcome.PARKED)

    def _ended(self, session: Session, arrivals: Sequence[Arrival]) -> None:
        """With the transaction: these have come to an end."""
        ids = [_id_of(arrival) for arrival in arrivals if arrival.redelivered]
        if ids:
            session.execute(_ENDED, {"handler": self.name, "ids": ids})

    # --- how --------------------------------------------------------------------------------------

    def _facts(self, arrival: Arrival) -> dict[str, Any]:
        known = arrival.envelope
        return {
            "handler": self.name,
            "event": _id_of(arrival),
            "tenant": arrival.tenant,
            "key": known.key if known else "",
            "seq": known.seq if known else 0,
        }

    def _look(self, session: Session, arrival: Arrival) -> Any:
        """What is known of an event, as the first thing in a transaction."""
        try:
            return session.execute(_LOOK, self._facts(arrival)).one()
        except DBAPIError as error:
            raise _busy(error) from error

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
        event_id = _id_of(arrival)
        home = self.home(envelope.key if envelope else "") if self.home else arrival.queue
        now = dt.datetime.now(dt.UTC)
        turn = session.execute(
            _RECORD,
            {
                "id": uuid7(),
                "handler": self.name,
                "queue": home,
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
            send_to_queue(session, retry_queue(home, delay), event_id, arrival.body, turn)

    def _patiently(self, work: Callable[..., Any], *arguments: Any) -> None:
        """Try again while somebody else is at the record: their transaction has its limits."""
        for _ in range(_KEY_TRIES):
            try:
                self._guarded(work, *arguments)
                return
            except KeyBusy:
                # Without a connection, of which there are few.
                time.sleep(_KEY_S)
        raise NotNow(f"{self.name} could not get at a record: somebody has held it for minutes")

    def _guarded(self, work: Callable[..., Any], *arguments: Any) -> Any:
        """Tell what is the database's fault from what is the event's."""
        try:
            return work(*arguments)
        except Exception as error:
            if is_database_away(error):
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


def describe(error: Exception) -> str:
    """What an operator needs to see of an error: what it is and where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)[-4:]
    where = "".join(f"\n  {frame.filename}:{frame.lineno} in {frame.name}" for frame in frames)
    said = str(getattr(error, "orig", None) or error).strip()
    return (
        f"{type(error).__name__}: {said}"[: _ERROR_CHARS - len(where)].replace("\x00", "") + where
    )


_NOBODY = UUID(int=0)

# The last one has the server notice within a second that whoever asked is gone.
_LIMITS = (
    "SET LOCAL lock_timeout = '10s'; SET LOCAL statement_timeout = '30s';"
    " SET LOCAL idle_in_transaction_session_timeout = '90s';"
    " SET LOCAL client_connection_check_interval = '1s'; "
)
# A statement sees what was committed before it began: the locks are had by one of its own.
_OPENING = (
    f"SET LOCAL lock_timeout = '{int(_KEY_S * 1000)}ms';"
    " SELECT pg_advisory_xact_lock(k) FROM unnest('{{{}}}'::bigint[]) AS k; " + _LIMITS
)
_CLAIM = Statement("""
WITH claimed AS (
    INSERT INTO inbox (event_id, handler)
    SELECT arrived.id, %(handler)s FROM unnest(%(ids)s::uuid[]) AS arrived (id)
    WHERE NOT EXISTS (
        SELECT FROM failed_events AS f
        WHERE f.handler = %(handler)s AND f.key = ANY(%(keys)s::text[])
            AND f.tenant_id = %(tenant)s::uuid
    )
    ON CONFLICT DO NOTHING RETURNING 1
) SELECT count(*) FROM claimed
""")
_LOOK = text("""
SELECT EXISTS (SELECT FROM inbox WHERE event_id = :event AND handler = :handler),
    own.state, own.turn, own.attempt,
    (SELECT max(b.next_try_at) FROM failed_events AS b
     WHERE b.handler = :handler AND b.key = :key AND b.tenant_id = CAST(:tenant AS uuid)
        AND b.state <> 'parked' AND b.seq < :seq)
FROM (SELECT 1) AS always
LEFT JOIN failed_events AS own ON own.handler = :handler AND own.event_id = :event
""")
_BEGIN = Statement("""
WITH before AS (
    SELECT event_id FROM begun_events
    WHERE handler = %(handler)s AND event_id = ANY(%(ids)s::uuid[])
), begun AS (
    INSERT INTO begun_events (event_id, handler, times)
    SELECT arrived.id, %(handler)s, 1 FROM unnest(%(ids)s::uuid[]) AS arrived (id)
    ON CONFLICT DO NOTHING
) SELECT event_id FROM before
""")
_BEGIN_AGAIN = Statement("""
INSERT INTO begun_events AS b (event_id, handler, times) VALUES (%(id)s::uuid, %(handler)s, 1)
ON CONFLICT (event_id, handler) DO UPDATE SET times = b.times + 1
WHERE b.times < %(most)s::integer RETURNING 1
""")
_ENDED = text("""
DELETE FROM begun_events WHERE handler = :handler AND event_id = ANY(CAST(:ids AS uuid[]))
""")
_ENTER = text("""
INSERT INTO inbox (event_id, handler) VALUES (:event, :handler)
ON CONFLICT DO NOTHING
""")
_FORGET = text("DELETE FROM failed_events WHERE handler = :handler AND event_id = :event")
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
    envelope = arrival.envelope
    if envelope is None:
        return Context(tenant=_NOBODY)
    return Context(
        tenant=envelope.tenant,
        correlation_id=envelope.correlation_id,
        causation_id=envelope.id,
        traceparent=traceparent or envelope.traceparent,
    )


def _envelope(arrival: Arrival) -> Envelope:
    assert arrival.envelope is not None
    return arrival.envelope


def _event(arrival: Arrival) -> Event:
    if arrival.event is not None:
        return arrival.event
    assert arrival.kind is not None
    return arrival.kind.read(Envelope.model_validate_json(arrival.body))


def _id_of(arrival: Arrival) -> UUID:
    """An id also for what has none, so that copies of it are known as copies."""
    if arrival.envelope is not None:
        return arrival.envelope.id
    return uuid5(_NOBODY, hashlib.sha256(arrival.body.encode()).hexdigest())


def _is_old(arrival: Arrival) -> bool:
    """Whether the inbox may have forgotten it."""
    id = _id_of(arrival)
    return id.version == 7 and id < first_at(dt.datetime.now(dt.UTC) - REMEMBERED)


def _is_over(arrival: Arrival, done: bool, state: str | None, turn: int | None) -> bool:
    """Whether another copy of the event has had its turn, or will have it."""
    return done or state == "parked" or (state is not None and turn != arrival.turn)


def _lock(handler: str, lane: str) -> int:
    digest = hashlib.blake2b(f"{handler}/{lane}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, signed=True)


def _first(session: Session, statement: Statement, facts: Mapping[str, Any]) -> Any:
    """The rows of a transaction's first statement, which waits for the keys' locks."""
    try:
        return statement.run(session, facts)
    except DBAPIError as error:
        raise _busy(error) from error


def _busy(error: DBAPIError) -> Exception:
    return KeyBusy() if is_locked(error) else error

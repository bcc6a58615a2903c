"""The relay: carries a service's outbox to the broker, in order, at least once.

One relay of a service leads: the one whose database connection holds the advisory lock. The same
connection listens for the notices of other processes, fetches and deletes, so a relay that has lost
its lock has lost its hands as well. Who commits in the leader's own process rings instead. A row is
deleted only when the broker has confirmed that it holds the message; a relay that dies in between
sends it again, and the handlers' inbox makes that harmless.

Rows are published without waiting for earlier confirms: waiting for each would cost a disk
write's time per event. Only the events of one key go one after the other, so that one that the
broker refuses is not overtaken; it is sent again after a pause.
"""

import datetime as dt
import itertools
import threading
import time
from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import pika
import psycopg2
from nameko.extensions import DependencyProvider
from opentelemetry.trace import SpanKind
from pika.exceptions import AMQPError
from pika.spec import Basic
from prometheus_client import Counter, Gauge
from sqlalchemy.engine import URL

from liaison_kit.events.broker import BrokerLost, Connection
from liaison_kit.events.generations import UNATTENDED_S
from liaison_kit.events.inbox import INBOX_DAYS
from liaison_kit.events.outbox import CHANNEL
from liaison_kit.ids import first_at
from liaison_kit.process.roles import plays
from liaison_kit.settings import settings
from liaison_kit.telemetry import log, span, tracing
from liaison_kit.trust.signatures import Signer

BATCH = 500
IN_FLIGHT = 1000
BATCH_BYTES = 8 << 20
"""How much of the outbox is in memory at a time, but for a single larger body."""
REFUSED_S = (0.2, 5.0)
"""The first and the longest pause after the broker has refused a message."""
LIMITS = "-c statement_timeout=30s -c lock_timeout=10s -c idle_in_transaction_session_timeout=30s"
SWEEP_S = 5.0
"""How often to look without having been told, in case a notice was lost."""
GATHER_S = 0.04
"""How long to gather after a look; an event that comes after a quiet time is sent at once."""
TIDY_S = 0.05
"""How long a confirmed row may outlive its confirm when nothing else is to be fetched."""
RESCUE_AFTER_S = 60
"""How late a retry may be before it counts as lost by the broker and is sent again."""
HOUSEKEEPING_S = 60.0
PURGE_BATCH = 5000

PUBLISHED = Counter(
    "liaison_events_published_total", "Events that the broker has confirmed.", ["service"]
)
DEPTH = Gauge("liaison_outbox_events", "Events that wait to be published.", ["service"])
AGE = Gauge("liaison_outbox_oldest_seconds", "How long the oldest event has waited.", ["service"])
LEADS = Gauge(
    "liaison_relay_leads", "1 in the process that leads its service's relays.", ["service"]
)
REFUSED = Counter(
    "liaison_events_refused_total",
    "Messages that the broker would not take, or had no queue for, and that are sent again.",
    ["service", "why"],
)
FAILED = Gauge(
    "liaison_failed_events", "Events that a handler has failed on.", ["service", "handler", "state"]
)
UNATTENDED = Gauge(
    "liaison_event_queues_unattended_seconds",
    "Since when no process has known a handler whose queues go on filling.",
    ["service", "handler"],
)

# Of a key that has some waiting behind each other no more are fetched, so that others get by. The
# sizes add up in the order of sending.
_FETCH = """
WITH gone AS (DELETE FROM outbox WHERE seq = ANY(%(gone)s::bigint[])), next AS (
    SELECT seq, event_id, to_queue, routing_key, body, turn, traceparent, key
    FROM outbox
    WHERE seq <> ALL(%(held)s::bigint[]) AND (key IS NULL OR key <> ALL(%(keys)s::text[]))
    ORDER BY seq LIMIT %(limit)s
), sized AS (SELECT *, sum(octet_length(body)) OVER (ORDER BY seq) AS up_to FROM next)
SELECT seq, event_id::text, to_queue, routing_key, body, turn, traceparent, key,
    octet_length(body)
FROM sized WHERE up_to - octet_length(body) < %(bytes)s ORDER BY seq
"""
_DELETE = "DELETE FROM outbox WHERE seq = ANY(%(gone)s::bigint[])"
_LOOK = """
SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0)
FROM (SELECT created_at FROM outbox ORDER BY seq LIMIT 100000) AS waiting
"""
_UNATTENDED = f"""
SELECT handler, extract(epoch FROM now() - max(attended_at)) FROM event_queues
GROUP BY handler HAVING max(attended_at) < now() - interval '{UNATTENDED_S} seconds'
"""
_FAILED = "SELECT handler, state, count(*) FROM failed_events GROUP BY handler, state"
# A dead-lettered message may be lost when a broker dies at the wrong moment. The row here is the
# truth: what is long overdue is sent again with its turn; copies of a used turn are dropped.
_RESCUE = """
WITH overdue AS (
    UPDATE failed_events SET next_try_at = now() + interval '10 minutes'
    WHERE id IN (
        SELECT id FROM failed_events
        WHERE state <> 'parked' AND next_try_at < now() - make_interval(secs => %(late)s)
        ORDER BY seq LIMIT 500 FOR UPDATE SKIP LOCKED
    )
    RETURNING event_id, queue, body, turn, seq
)
INSERT INTO outbox (event_id, to_queue, routing_key, body, turn)
SELECT event_id, queue, queue, body, turn FROM overdue ORDER BY seq
"""
# Ids of events begin with their time, so the oldest are at the head of the primary key. What was
# handled late is kept for a while all the same: a copy of it may be right behind it.
_PURGE = """
DELETE FROM inbox WHERE (event_id, handler) IN (
    SELECT event_id, handler FROM inbox
    WHERE event_id < %(before)s::uuid AND done_at < now() - interval '1 day'
    ORDER BY event_id, handler LIMIT %(limit)s
)
"""
_PURGE_BEGUN = "DELETE FROM begun_events WHERE begun_at < now() - make_interval(days => %(days)s)"


class Message(NamedTuple):
    """A row of the outbox, with what is sent of it in place of its text."""

    seq: int
    event_id: str
    to_queue: str | None
    routing_key: str
    body: bytes
    turn: int
    traceparent: str | None
    key: str | None
    size: int


class Flying(NamedTuple):
    """A message on its way to the broker."""

    seq: int
    key: str | None
    size: int


class OutboxRelay:
    """Relays one service's outbox until stopped; stands by while another one leads."""

    def __init__(self, service: str, database: URL, amqp_url: str, signer: Signer) -> None:
        self.service = service
        self.exchange = f"{service}.events"
        self._dsn = database.set(drivername="postgresql").render_as_string(hide_password=False)
        self._amqp_url = amqp_url
        self._signer = signer
        self._stop = threading.Event()
        self._broker: Connection | None = None
        self.leads = False
        self._rung = False
        self._unattended: set[str] = set()
        self._reset()

    def run(self) -> None:
        """Lead or stand by until `stop`; survives restarts of the broker and of the database."""
        pause = 0.1
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                self._serve()
            except (psycopg2.Error, BrokerLost, OSError, AMQPError) as error:
                log.warning("relay interrupted", service=self.service, error=_said(error))
            except Exception as error:
                # A relay that has ended would be noticed by nobody but the other services.
                log.error("relay broke", service=self.service, error=_said(error), exc_info=True)
            finally:
                LEADS.labels(self.service).set(0)
            if time.monotonic() - started > 10:
                pause = 0.1
            self._stop.wait(pause)
            pause = min(pause * 2, 2.0)

    def stop(self) -> None:
        """Finish; what is not confirmed yet is sent by the next leader."""
        self._stop.set()
        if self._broker is not None:
            self._broker.end()

    def ring(self) -> None:
        """There is something to send, says who has committed it in this process."""
        # A look that is planned already will find it.
        if self._planned is None and not self._rung and self._broker is not None:
            self._rung = True
            self._broker.call(self._answer)

    def _answer(self) -> None:
        self._rung = False
        if not self._stop.is_set():
            self._plan()

    def _reset(self) -> None:
        self._rung = False
        self._flying: dict[int, Flying] = {}
        # By key: what waits behind the one that is on its way. Of what is skipped there may be more
        # in the outbox. What was refused rests: it is not sent before the pause is over.
        self._behind: dict[str, deque[Message]] = {}
        self._skipped: set[str] = set()
        self._resting: list[Flying] = []
        self._held: set[int] = set()
        self._bytes = 0
        self._refused_s = 0.0
        self._refused_at = 0.0
        self._confirmed: list[int] = []
        self._tag = 0
        self._more = False
        self._planned: Any = None
        self._last_look = 0.0
        self._tidying = False
        self._listening = False

    def _serve(self) -> None:
        self._reset()
        self._db = psycopg2.connect(
            self._dsn,
            connect_timeout=5,
            application_name=f"liaison-{self.service}-relay",
            tcp_user_timeout=30_000,
            options=LIMITS,
        )
        try:
            self._db.autocommit = True
            if not self._wait_to_lead():
                return
            self._execute(f"LISTEN {CHANNEL}")
            broker = Connection(self._amqp_url, f"{self.service} relay", self._opened)
            self._broker = broker
            if not self._stop.is_set():
                broker.run()
            self._tidy()
        finally:
            self.leads = False
            self._broker = None
            self._db.close()

    def _wait_to_lead(self) -> bool:
        question = "SELECT pg_try_advisory_lock(hashtext('liaison.relay'))"
        while not self._stop.is_set():
            if self._execute(question)[0][0]:
                return True
            self._stop.wait(1.0)
        return False

    # --- from here on everything runs in the loop of the broker's connection ----------------------

    def _opened(self, broker: Connection) -> None:
        def ready(channel: Any) -> None:
            self._channel = channel
            channel.add_on_close_callback(self._channel_closed)
            channel.add_on_return_callback(self._on_return)
            channel.confirm_delivery(self._on_confirm)
            channel.exchange_declare(
                self.exchange, "topic", durable=True, callback=lambda _frame: self._lead(broker)
            )

        broker.pika.channel(on_open_callback=ready)

    def _lead(self, broker: Connection) -> None:
        log.info("relay leads", service=self.service)
        LEADS.labels(self.service).set(1)
        self._loop = broker.loop
        self.leads = True
        broker.watch(self._db.fileno(), self._on_notice)
        self._listening = True
        self._sweep()
        self._keep_house()

    def _channel_closed(self, _channel: Any, error: Exception) -> None:
        if self._broker is not None and not self._stop.is_set():
            raise BrokerLost(str(error))

    def _on_notice(self, _fd: int, _events: int) -> None:
        self._db.poll()
        self._notified()

    def _listen(self, wanted: bool) -> None:
        if wanted == self._listening or self._broker is None:
            return
        self._listening = wanted
        if wanted:
            self._broker.watch(self._db.fileno(), self._on_notice)
        else:
            self._broker.unwatch(self._db.fileno())

    def _notified(self) -> None:
        if self._db.notifies and not self._stop.is_set():
            self._db.notifies.clear()
            self._plan()

    def _sweep(self) -> None:
        (depth, age), *_ = self._execute(_LOOK)
        DEPTH.labels(self.service).set(depth)
        AGE.labels(self.service).set(float(age))
        FAILED.clear()
        for handler, state, count in self._execute(_FAILED):
            FAILED.labels(self.service, handler, state).set(count)
        UNATTENDED.clear()
        for handler, seconds in self._execute(_UNATTENDED):
            UNATTENDED.labels(self.service, handler).set(float(seconds))
            if handler not in self._unattended:
                log.warning("nobody attends to a handler's queues", handler=handler)
                self._unattended.add(handler)
        self._plan()
        self._loop.call_later(SWEEP_S, self._sweep)

    def _keep_house(self) -> None:
        self._execute(_RESCUE, {"late": RESCUE_AFTER_S})
        before = dt.datetime.now(dt.UTC) - dt.timedelta(days=INBOX_DAYS)
        self._execute(_PURGE, {"before": str(first_at(before)), "limit": PURGE_BATCH})
        self._execute(_PURGE_BEGUN, {"days": INBOX_DAYS})
        self._plan()
        self._loop.call_later(HOUSEKEEPING_S, self._keep_house)

    def _plan(self) -> None:
        """Look soon: at once after a quiet time, else when a few more have gathered."""
        self._more = True
        if self._planned is None and self._has_room():
            since = time.monotonic() - self._last_look
            self._planned = self._loop.call_later(max(0.0, GATHER_S - since), self._look)
            # Until then there is one notice per transaction that would tell nothing new.
            self._listen(False)

    def _has_room(self) -> bool:
        return len(self._held) <= IN_FLIGHT - BATCH and self._bytes < BATCH_BYTES

    def _look(self) -> None:
        """Delete what is confirmed and publish what is new: one statement."""
        self._planned = None
        self._more = False
        gone, self._confirmed = self._confirmed, []
        self._skipped.update(key for key, behind in self._behind.items() if behind)
        self._skipped.update(one.key for one in self._resting if one.key is not None)
        facts = {
            "gone": gone,
            "held": [*self._held, *gone],
            "keys": list(self._skipped),
            "limit": BATCH,
            "bytes": BATCH_BYTES - self._bytes,
        }
        rows = self._execute(_FETCH, facts)
        self._last_look = time.monotonic()
        self._listen(True)
        for message in self._messages(rows):
            self._take(message)
        if len(rows) == BATCH or not self._has_room():
            self._plan()
        self._notified()

    def _messages(self, rows: Sequence[tuple[Any, ...]]) -> Iterator[Message]:
        """What is sent of each: a new event signed, one that has travelled already as it is."""
        # The sequence number is the row's, which its writer did not know yet.
        new = [f'{{"seq":{row[0]},{row[4][1:]}'.encode() for row in rows if row[2] is None]
        signed = iter(self._signer.sign("event", new))
        for row in rows:
            body = next(signed) if row[2] is None else row[4].encode()
            yield Message(*row)._replace(body=body)

    def _take(self, message: Message) -> None:
        """Publish an event, or keep it behind the one of its key that is on its way."""
        self._held.add(message.seq)
        self._bytes += message.size
        if message.key is None:
            self._publish(message)
        elif message.key in self._behind:
            self._behind[message.key].append(message)
        else:
            self._behind[message.key] = deque()
            self._publish(message)

    def _publish(self, message: Message) -> None:
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=2, message_id=message.event_id
        )
        self._tag += 1
        self._flying[self._tag] = Flying(message.seq, message.key, message.size)
        again = message.to_queue is not None
        exchange, key = ("" if again else self.exchange), message.routing_key
        if again:
            properties.headers = {"turn": message.turn}
        # That nobody listens to an event is no fault; that a handler's queue is not there is one.
        if message.traceparent and tracing():
            name = f"publish {key.rpartition('.')[0]}"
            with span(name, message.traceparent, SpanKind.PRODUCER):
                self._channel.basic_publish(exchange, key, message.body, properties, again)
        else:
            self._channel.basic_publish(exchange, key, message.body, properties, again)

    def _on_return(self, _channel: Any, method: Any, _properties: Any, _body: bytes) -> None:
        # The failed event's row stays, so it is sent again when it is overdue.
        REFUSED.labels(self.service, "no queue").inc()
        log.warning("no queue for a failed event", queue=method.routing_key)

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        tag = method.delivery_tag
        if method.multiple:
            tags = list(itertools.takewhile(lambda known: known <= tag, self._flying))
        else:
            tags = [tag]
        landed = [self._flying.pop(known) for known in tags]
        if isinstance(method, Basic.Nack):
            self._refused(landed)
            return
        PUBLISHED.labels(self.service).inc(len(landed))
        for one in landed:
            self._confirmed.append(one.seq)
            self._let_go(one.seq, one.size)
            if one.key is not None:
                self._next(one.key)
        if self._more:
            self._plan()
        elif not self._tidying:
            self._tidying = True
            self._loop.call_later(TIDY_S, self._tidy)

    def _next(self, key: str) -> None:
        """The event of this key that was on its way has arrived: send the one behind it."""
        behind = self._behind[key]
        if behind:
            self._publish(behind.popleft())
        else:
            del self._behind[key]
        if not behind and key in self._skipped:
            self._skipped.discard(key)
            self._more = True

    def _refused(self, messages: list[Flying]) -> None:
        """A queue is full, or ails: send these again after a pause, and then what is behind them.

        What is for other keys goes on; it may be for other queues.
        """
        REFUSED.labels(self.service, "refused").inc(len(messages))
        for one in messages:
            for behind in self._behind.pop(one.key, ()) if one.key is not None else ():
                self._let_go(behind.seq, behind.size)
        if not self._resting:
            now, (first, longest) = time.monotonic(), REFUSED_S
            again = now - self._refused_at < 2 * longest
            self._refused_s = min(self._refused_s * 2, longest) if again else first
            self._refused_at = now
            log.warning("the broker refuses events", pause_s=self._refused_s)
            self._loop.call_later(self._refused_s, self._rested)
        self._resting.extend(messages)

    def _rested(self) -> None:
        for one in self._resting:
            self._let_go(one.seq, one.size)
            if one.key is not None:
                self._skipped.discard(one.key)
        self._resting = []
        self._plan()

    def _let_go(self, seq: int, size: int) -> None:
        self._held.discard(seq)
        self._bytes -= size

    def _tidy(self) -> None:
        self._tidying = False
        if self._confirmed:
            gone, self._confirmed = self._confirmed, []
            self._execute(_DELETE, {"gone": gone})
            if self._planned is None:
                self._notified()

    def _execute(self, statement: str, values: Any = None) -> list[Any]:
        with self._db.cursor() as cursor:
            cursor.execute(statement, values)
            return cursor.fetchall() if cursor.description else []


class Relay(DependencyProvider):  # type: ignore[misc]
    """Runs the relay of the service in a process that plays the role `relay`."""

    _relay: OutboxRelay | None = None

    def start(self) -> None:
        if plays("relay"):
            service = self.container.service_cls
            self._relay = OutboxRelay(
                service.name, service.db.url, settings().broker, Signer(service.keys)
            )
            service.db.relay = self._relay
            self._thread = self.container.spawn_managed_thread(self._relay.run)

    def stop(self) -> None:
        if self._relay is not None:
            self._relay.stop()
            self._thread.wait()


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip()[:300]}"

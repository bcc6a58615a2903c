"""The relay: carries a service's outbox to the broker, in order, at least once.

One relay of a service leads: the one whose database connection holds the advisory lock. The same
connection listens for the notices of other processes, fetches and deletes, so a relay that has lost
its lock has lost its hands as well. Who commits in the leader's own process rings instead. A row is
deleted only when the broker has confirmed that it holds the message; a relay that dies in between
sends it again, and the handlers' inbox makes that harmless.

Rows are published without waiting for earlier confirms: waiting for each would cost a disk
write's time per event.
"""

import datetime as dt
import itertools
import threading
import time
from collections.abc import Sequence
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
from liaison_kit.events.outbox import CHANNEL
from liaison_kit.process.roles import plays
from liaison_kit.settings import settings
from liaison_kit.telemetry import log, span, tracing
from liaison_kit.trust.signatures import Signer

BATCH = 500
IN_FLIGHT = 1000
SWEEP_S = 5.0
"""How often to look without having been told, in case a notice was lost."""
GATHER_S = 0.04
"""How long to gather after a look; an event that comes after a quiet time is sent at once."""
TIDY_S = 0.05
"""How long a confirmed row may outlive its confirm when nothing else is to be fetched."""
RESCUE_AFTER_S = 60
"""How late a retry may be before it counts as lost by the broker and is sent again."""
HOUSEKEEPING_S = 60.0
INBOX_DAYS = 14
PURGE_BATCH = 5000

PUBLISHED = Counter(
    "liaison_events_published_total", "Events that the broker has confirmed.", ["service"]
)
DEPTH = Gauge("liaison_outbox_events", "Events that wait to be published.", ["service"])
AGE = Gauge("liaison_outbox_oldest_seconds", "How long the oldest event has waited.", ["service"])
LEADS = Gauge(
    "liaison_relay_leads", "1 in the process that leads its service's relays.", ["service"]
)
FAILED = Gauge(
    "liaison_failed_events", "Events that a handler has failed on.", ["service", "handler", "state"]
)

_FETCH = """
WITH gone AS (DELETE FROM outbox WHERE seq = ANY(%(gone)s::bigint[]))
SELECT seq, event_id::text, to_queue, routing_key, body, turn, traceparent
FROM outbox WHERE seq <> ALL(%(held)s::bigint[]) ORDER BY seq LIMIT %(limit)s
"""
_DELETE = "DELETE FROM outbox WHERE seq = ANY(%(gone)s::bigint[])"
_LOOK = """
SELECT count(*), coalesce(extract(epoch FROM now() - min(created_at)), 0)
FROM (SELECT created_at FROM outbox ORDER BY seq LIMIT 100000) AS waiting
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
# Ids of events begin with their time, so the oldest are at the head of the primary key.
_PURGE = """
DELETE FROM inbox WHERE (event_id, handler) IN (
    SELECT event_id, handler FROM inbox WHERE event_id < %(before)s::uuid
    ORDER BY event_id, handler LIMIT %(limit)s
)
"""


class Waiting(NamedTuple):
    """A row of the outbox."""

    seq: int
    event_id: str
    to_queue: str | None
    routing_key: str
    body: str
    turn: int
    traceparent: str | None


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
        self._flying: dict[int, int] = {}
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
            self._dsn, connect_timeout=5, application_name=f"liaison-{self.service}-relay"
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
        self._plan()
        self._loop.call_later(SWEEP_S, self._sweep)

    def _keep_house(self) -> None:
        self._execute(_RESCUE, {"late": RESCUE_AFTER_S})
        before = dt.datetime.now(dt.UTC) - dt.timedelta(days=INBOX_DAYS)
        first = f"{int(before.timestamp() * 1000):012x}".ljust(32, "0")
        self._execute(_PURGE, {"before": first, "limit": PURGE_BATCH})
        self._plan()
        self._loop.call_later(HOUSEKEEPING_S, self._keep_house)

    def _plan(self) -> None:
        """Look soon: at once after a quiet time, else when a few more have gathered."""
        self._more = True
        if self._planned is None and len(self._flying) <= IN_FLIGHT - BATCH:
            since = time.monotonic() - self._last_look
            self._planned = self._loop.call_later(max(0.0, GATHER_S - since), self._look)
            # Until then there is one notice per transaction that would tell nothing new.
            self._listen(False)

    def _look(self) -> None:
        """Delete what is confirmed and publish what is new: one statement."""
        self._planned = None
        self._more = False
        gone, self._confirmed = self._confirmed, []
        wanted = {"gone": gone, "held": [*self._flying.values(), *gone], "limit": BATCH}
        rows = [Waiting(*row) for row in self._execute(_FETCH, wanted)]
        self._last_look = time.monotonic()
        self._listen(True)
        for row, body in zip(rows, self._bodies(rows), strict=True):
            self._publish(row, body)
        if len(rows) == BATCH:
            self._plan()
        self._notified()

    def _bodies(self, rows: Sequence[Waiting]) -> list[bytes]:
        """What is sent of each: a new event signed, one that has travelled already as it is."""
        # The sequence number is the row's, which its writer did not know yet.
        new = [f'{{"seq":{row.seq},{row.body[1:]}'.encode() for row in rows if row.to_queue is None]
        signed = iter(self._signer.sign("event", new))
        return [next(signed) if row.to_queue is None else row.body.encode() for row in rows]

    def _publish(self, row: Waiting, body: bytes) -> None:
        properties = pika.BasicProperties(
            content_type="application/json", delivery_mode=2, message_id=row.event_id
        )
        exchange, key = self.exchange, row.routing_key
        if row.to_queue is not None:
            exchange, properties.headers = "", {"turn": row.turn}
        if row.traceparent and tracing():
            with span(f"publish {key.rpartition('.')[0]}", row.traceparent, SpanKind.PRODUCER):
                self._channel.basic_publish(exchange, key, body, properties)
        else:
            self._channel.basic_publish(exchange, key, body, properties)
        self._tag += 1
        self._flying[self._tag] = row.seq

    def _on_confirm(self, frame: Any) -> None:
        method = frame.method
        if isinstance(method, Basic.Nack):
            # A queue could not take it. Start over from the oldest that is not confirmed.
            raise BrokerLost("the broker refused a message")
        tag = method.delivery_tag
        if method.multiple:
            tags = list(itertools.takewhile(lambda known: known <= tag, self._flying))
        else:
            tags = [tag]
        self._confirmed.extend(self._flying.pop(known) for known in tags)
        PUBLISHED.labels(self.service).inc(len(tags))
        if self._more:
            self._plan()
        elif not self._tidying:
            self._tidying = True
            self._loop.call_later(TIDY_S, self._tidy)

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

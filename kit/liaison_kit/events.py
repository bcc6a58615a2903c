"""Events between services: `emit` tells a fact, `@handles` acts on one.

    @handles(DealWon)
    def on_deal_won(self, session: Session, event: DealWon) -> None:
        lifecycle.became_customer(session, event.account_id, at=event.occurred_at)

A handler's method runs in a transaction that is committed for it, once per event; it must leave
committing, and anything outside of the database that can't be undone, to others. It may be called
for several waiting events in one transaction. What it raises is retried, then parked.
"""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeVar

import eventlet
from eventlet.greenpool import GreenPool
from nameko.containers import WorkerContext
from nameko.extensions import Entrypoint, SharedExtension, register_entrypoint
from pika.exceptions import AMQPError
from prometheus_client import Counter
from sqlalchemy import text

from liaison_kit.broker import BrokerLost, Connection
from liaison_kit.handling import Arrival, Handling, NotNow, read, retry_queue
from liaison_kit.lanes import Lanes
from liaison_kit.outbox import SLOTS, emit
from liaison_kit.roles import plays
from liaison_kit.settings import Settings, settings
from liaison_kit.telemetry import log
from liaison_sdk.events import Event

__all__ = ["emit", "handles"]

F = TypeVar("F", bound=Callable[..., None])

WORKERS = 8
"""How many transactions of one handler's queue run side by side."""
PREFETCH = 400
BATCH = 50
BATCH_S = 0.5
"""How long a transaction of several events should take at most, judged by the last ones."""
GATHER_S = 0.04
"""How long to gather after a start; an event that comes after a quiet time is handled at once.

A transaction costs twenty times what one more event in it costs.
"""
STOP_S = 15.0
_LONGEST_PAUSE_S = 5.0

PAUSES = Counter(
    "liaison_event_pauses_total",
    "Times that a handler's queue was put down because something did not answer.",
    ["service", "handler"],
)


def handles(*events: type[Event], source: str | None = None) -> Callable[[F], F]:
    """Have a method of a service called for each of these events, in order per record.

    All of them come from one service: `source`, or where their contract says they come from.
    """
    sources = {source or event.source for event in events}
    if len(sources) != 1:
        raise ValueError(f"a handler's events come from one service, not from {sorted(sources)}")

    def declare(method: F) -> F:
        register_entrypoint(method, EventHandler(sources.pop(), events))
        return method

    return declare


class Queue:
    """One queue of a handler: what it is bound to, and who works on what arrives."""

    def __init__(
        self,
        name: str,
        bindings: Iterable[tuple[str, str]],
        events: Mapping[str, type[Event]],
        handling: Handling,
        answers: Callable[[], None],
        chosen: Settings,
        service: str,
    ) -> None:
        self.name = name
        self.bindings = tuple(bindings)
        self.consuming = False
        self._events = events
        self._handling = handling
        self._answers = answers
        self._settings = chosen
        self._service = service
        self._lanes = Lanes()
        self._pool = GreenPool(WORKERS)
        self._broker: Connection | None = None
        self._channel: Any = None
        self._tags: dict[Arrival, tuple[Any, int]] = {}
        self._outstanding: dict[int, bool] = {}
        self._pause_s = 0.0
        self._last_start = 0.0
        self._per_event_s = BATCH_S / BATCH
        self._starting = self._acking = self._stopping = False

    # --- in the loop of the broker's connection ---------------------------------------------------

    def open(self, broker: Connection) -> None:
        """Declare the queue and its retry queues, then take what arrives."""
        self._broker = broker
        if not self._stopping and broker.pika.is_open:
            broker.pika.channel(on_open_callback=self._opened)

    def _opened(self, channel: Any) -> None:
        self._channel = channel
        self._outstanding = {}
        self.consuming = False
        channel.add_on_close_callback(self._closed)
        channel.basic_qos(prefetch_count=PREFETCH)
        kind: dict[str, Any] = {"x-queue-type": self._settings.queue_type}
        single = {"x-single-active-consumer": True}
        channel.queue_declare(self.name, durable=True, arguments=kind | single)
        # Being dead-lettered must not lose a message when a node of the cluster dies.
        sure = {"x-dead-letter-strategy": "at-least-once", "x-overflow": "reject-publish"}
        for delay in self._settings.retry_delays_s:
            back = {
                "x-message-ttl": int(delay * 1000),
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": self.name,
            }
            more = sure if self._settings.queue_type == "quorum" else {}
            channel.queue_declare(
                retry_queue(self.name, delay), durable=True, arguments=kind | back | more
            )
        for exchange in {exchange for exchange, _key in self.bindings}:
            channel.exchange_declare(exchange, "topic", durable=True)
        for exchange, key in self.bindings:
            channel.queue_bind(self.name, exchange, key)
        channel.basic_consume(self.name, self._arrived, callback=self._consuming)

    def _consuming(self, _frame: Any) -> None:
        self.consuming = True

    def _arrived(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        turn = int((properties.headers or {}).get("turn", 0))
        arrival = read(body, self.name, turn, self._events)
        tag = method.delivery_tag
        self._tags[arrival] = (channel, tag)
        self._outstanding[tag] = False
        self._lanes.add(arrival)
        if not self._starting:
            # Later, when the loop rests: what has come in one piece can then be handled together.
            self._starting = True
            quiet = time.monotonic() - self._last_start
            eventlet.spawn_after(max(0.0, GATHER_S - quiet), self._start)

    def _closed(self, channel: Any, error: Any) -> None:
        """The broker has everything back that was not acknowledged."""
        if channel is not self._channel:
            return
        self._drop_channel()
        broker = self._broker
        if broker is not None and broker.pika.is_open and not self._stopping:
            log.warning("event queue closed", queue=self.name, error=str(error)[:300])
            broker.loop.call_later(self._longer_pause(), lambda: self.open(broker))

    def lost(self) -> None:
        """The connection is gone."""
        self._drop_channel()
        self._broker = None

    def _drop_channel(self) -> None:
        self._channel = None
        self.consuming = False
        self._outstanding = {}
        self._lanes.forget_waiting()
        self._tags = {}

    def _acknowledge(self) -> None:
        """Acknowledge what is done: the oldest in one go, the others one by one."""
        self._acking = False
        channel, outstanding = self._channel, self._outstanding
        if channel is None or not channel.is_open:
            return
        head = 0
        for tag, done in outstanding.items():
            if not done:
                break
            head = tag
        finished = [tag for tag, done in outstanding.items() if done]
        for tag in finished:
            del outstanding[tag]
        if head:
            channel.basic_ack(head, multiple=True)
        for tag in finished:
            if tag > head:
                channel.basic_ack(tag)

    # --- in the workers' greenlets ----------------------------------------------------------------

    def _start(self) -> None:
        self._starting = False
        self._last_start = time.monotonic()
        while self._lanes and self._pool.free() > 0 and not self._stopping:
            batch = self._take()
            self._pool.spawn_n(self._work, batch)

    def _take(self) -> list[Arrival]:
        limit = max(1, min(BATCH, int(BATCH_S / self._per_event_s)))
        return self._lanes.take(limit)

    def _work(self, batch: list[Arrival]) -> None:
        while batch:
            started = time.perf_counter()
            try:
                self._handling.handle(batch)
            except NotNow as error:
                self._put_down(batch, error)
                return
            except Exception as error:
                log.error("event handling broke", queue=self.name, error=type(error).__name__)
                self._put_down(batch, error)
                return
            took = (time.perf_counter() - started) / len(batch)
            self._per_event_s = 0.8 * self._per_event_s + 0.2 * took
            self._pause_s = 0.0
            self._done(batch)
            self._lanes.release(batch)
            batch = [] if self._stopping else self._take()

    def _done(self, batch: list[Arrival]) -> None:
        for arrival in batch:
            channel, tag = self._tags.pop(arrival, (None, 0))
            if channel is not None and channel is self._channel:
                self._outstanding[tag] = True
        if not self._acking and self._broker is not None:
            self._acking = True
            self._broker.call(self._acknowledge)

    def _put_down(self, batch: list[Arrival], error: Exception) -> None:
        """Give everything back to the broker, and come back when what is down may be up again."""
        channel, broker = self._channel, self._broker
        mine = any(self._tags.get(arrival, (None, 0))[0] is channel for arrival in batch)
        self._lanes.release(batch)
        if channel is None or broker is None or not mine:
            return
        PAUSES.labels(self._service, self._handling.name).inc()
        self._drop_channel()
        pause = self._longer_pause()
        log.warning("events put down", queue=self.name, error=str(error)[:300], pause_s=pause)
        # Closing the channel is what returns messages in their order.
        broker.call(lambda: channel.close() if channel.is_open else None)
        eventlet.spawn_after(pause, self._resume, broker)

    def _resume(self, broker: Connection) -> None:
        while broker is self._broker and not self._stopping:
            try:
                self._answers()
            except Exception as error:
                log.info("still waiting", queue=self.name, error=type(error).__name__)
                eventlet.sleep(self._longer_pause())
                continue
            broker.call(lambda: self.open(broker))
            return

    def _longer_pause(self) -> float:
        self._pause_s = min(max(0.2, self._pause_s * 2), _LONGEST_PAUSE_S)
        return self._pause_s

    def stop(self) -> None:
        """End what is in hand; the broker keeps the rest."""
        self._stopping = True
        self._lanes.forget_waiting()
        channel, broker = self._channel, self._broker
        if channel is not None and broker is not None:
            tag = next(iter(channel.consumer_tags), None)
            if tag is not None:
                broker.call(lambda: channel.basic_cancel(tag) if channel.is_open else None)
        self._pool.waitall()
        if broker is not None:
            broker.call(self._acknowledge)


class EventConsumer(SharedExtension):  # type: ignore[misc]
    """Takes events for all handlers of a service on one connection to the broker."""

    def __init__(self) -> None:
        super().__init__()
        self._handlers: list[EventHandler] = []
        self._queues: list[Queue] = []
        self._broker: Connection | None = None
        self._stopping = False
        self._thread: Any = None

    def register(self, handler: "EventHandler") -> None:
        """Have a handler's queues consumed from the start on."""
        self._handlers.append(handler)

    def start(self) -> None:
        if plays("events") and self._handlers:
            self._queues = [queue for handler in self._handlers for queue in handler.queues()]
            self._thread = self.container.spawn_managed_thread(self._run)

    def stop(self) -> None:
        self._stopping = True
        if self._thread is None:
            return
        with eventlet.Timeout(STOP_S, False):
            stops = [eventlet.spawn(queue.stop) for queue in self._queues]
            for stop in stops:
                stop.wait()
        if self._broker is not None:
            self._broker.end()
        self._thread.wait()

    def consuming(self) -> bool:
        """Whether every queue is being consumed."""
        return all(queue.consuming for queue in self._queues)

    def _run(self) -> None:
        service = self.container.service_name
        pause = 0.1
        while not self._stopping:
            try:
                self._broker = Connection(settings().amqp_url, f"{service} events", self._opened)
                self._connected = False
                self._broker.run()
            except (BrokerLost, AMQPError, OSError) as error:
                log.warning("events interrupted", service=service, error=str(error)[:300])
            except Exception as error:
                log.error("events broke", service=service, error=str(error)[:300], exc_info=True)
            finally:
                self._broker = None
                for queue in self._queues:
                    queue.lost()
            if self._stopping:
                return
            pause = 0.1 if self._connected else min(pause * 2, 2.0)
            eventlet.sleep(pause)

    def _opened(self, broker: Connection) -> None:
        self._connected = True
        for queue in self._queues:
            queue.open(broker)


class EventHandler(Entrypoint):  # type: ignore[misc]
    """A nameko entrypoint that runs a method of the service for each event of some types."""

    consumer = EventConsumer()

    def __init__(self, source: str, events: Iterable[type[Event]]) -> None:
        self.source = source
        self.events = tuple(events)
        self._service: Any = None
        super().__init__()

    def setup(self) -> None:
        self.consumer.register(self)

    def queues(self) -> list[Queue]:
        """The handler's queues: one, or one per shard."""
        chosen = settings()
        service = self.container.service_cls
        handling = Handling(
            service.name, self.method_name, self._call, service.db, chosen.retry_delays_s
        )
        by_type = {event.type: event for event in self.events}
        shards = chosen.event_shards
        found = []
        for shard in range(shards):
            slots = ["*"] if shards == 1 else [str(s) for s in range(shard, SLOTS, shards)]
            name = f"{service.name}.{self.method_name}" + (f".{shard}" if shards > 1 else "")
            bindings = [(f"{self.source}.events", f"{t}.{slot}") for t in by_type for slot in slots]
            queue = Queue(name, bindings, by_type, handling, self._ping, chosen, service.name)
            found.append(queue)
        return found

    def _call(self, session: Any, event: Event) -> None:
        getattr(self._instance(), self.method_name)(session, event)

    def _instance(self) -> Any:
        # Handlers keep no state between events, so one instance with its dependencies does.
        if self._service is None:
            service = self.container.service_cls()
            worker = WorkerContext(self.container, service, self)
            for provider in self.container.dependencies:
                setattr(service, provider.attr_name, provider.get_dependency(worker))
            self._service = service
        return self._service

    def _ping(self) -> None:
        with self.container.service_cls.db.connection() as connection:
            connection.execute(text("SELECT 1"))

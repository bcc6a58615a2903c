"""A handler's queue: what it is bound to, and who works on what arrives."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import eventlet
from eventlet.greenpool import GreenPool
from prometheus_client import Counter

from liaison_kit.events.broker import Connection
from liaison_kit.events.inbox import Arrival, Handling, NotNow, read, retry_queue
from liaison_kit.events.lanes import Lanes
from liaison_kit.settings import Settings
from liaison_kit.telemetry import log
from liaison_kit.trust.signatures import Verifier
from liaison_sdk.events import Event

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

_LONGEST_PAUSE_S = 5.0

PAUSES = Counter(
    "liaison_event_pauses_total",
    "Times that a handler's queue was put down because something did not answer.",
    ["service", "handler"],
)


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
        source: str,
        verifier: Verifier,
    ) -> None:
        self.name = name
        self.bindings = tuple(bindings)
        self.consuming = False
        self._events = events
        self._handling = handling
        self._answers = answers
        self._settings = chosen
        self._service = service
        self._source = source
        self._verifier = verifier
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
        if self._settings.declare_exchanges:
            for exchange in {exchange for exchange, _key in self.bindings}:
                channel.exchange_declare(exchange, "topic", durable=True)
        for exchange, key in self.bindings:
            channel.queue_bind(self.name, exchange, key)
        channel.basic_consume(self.name, self._arrived, callback=self._consuming)

    def _consuming(self, _frame: Any) -> None:
        self.consuming = True

    def _arrived(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        turn = int((properties.headers or {}).get("turn", 0))
        arrival = read(body, self.name, turn, self._events, self._source, self._verifier)
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

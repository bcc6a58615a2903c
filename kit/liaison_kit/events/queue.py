"""A handler's queue: what it is bound to, and who works on what arrives."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import eventlet
from eventlet.greenpool import GreenPool
from prometheus_client import Counter

from liaison_kit.events.broker import Connection, close_whole
from liaison_kit.events.generations import QueuePlan
from liaison_kit.events.inbox import Arrival, Handling, NotNow, read
from liaison_kit.events.lanes import Lanes
from liaison_kit.telemetry import log
from liaison_kit.trust.signatures import Verifier
from liaison_sdk.events import Event

WORKERS = 8
"""How many transactions of one handler's queue run side by side."""

PREFETCH = 400

IN_HAND_BYTES = 16 << 20
"""How much all queues of a process may have in hand; what is read takes many times that."""

FULL_AGAIN_S = 10.0
"""After so long with nothing in hand, a queue that took fewer messages takes all again."""

BATCH = 50

BATCH_BYTES = 1 << 20

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


@dataclass(slots=True)
class InHand:
    """What all queues of a process have in hand."""

    bytes: int = 0


class Queue:
    """One queue of a handler: who works on what arrives.

    `leaving` is a queue of an earlier generation, to be worked off as it is.
    """

    def __init__(
        self,
        plan: QueuePlan,
        events: Mapping[str, type[Event]],
        handling: Handling,
        answers: Callable[[], None],
        in_hand: InHand,
        service: str,
        source: str,
        verifier: Verifier,
    ) -> None:
        self.name = plan.name
        self.leaving = False
        self.consuming = self.resting = False
        self._plan = plan
        self._events = events
        self._handling = handling
        self._answers = answers
        self._in_hand = in_hand
        self._service = service
        self._source = source
        self._verifier = verifier
        self._lanes = Lanes()
        self._pool = GreenPool(WORKERS)
        self._broker: Connection | None = None
        self._channel: Any = None
        self._tags: dict[Arrival, tuple[Any, int]] = {}
        self._outstanding: dict[int, bool] = {}
        self._prefetch = PREFETCH
        self._pause_s = 0.0
        self._last_start = 0.0
        self._per_event_s = BATCH_S / BATCH
        self._starting = self._acking = self._stopping = False

    # --- in the loop of the broker's connection ---------------------------------------------------

    def open(self, broker: Connection) -> None:
        """Declare the queue and its retry queues, then take what arrives."""
        self._broker = broker
        if self._channel is None and not (self._stopping or self.resting) and broker.pika.is_open:
            broker.pika.channel(on_open_callback=self._opened)

    def _opened(self, channel: Any) -> None:
        if self._channel is not None:
            close_whole(channel)
            return
        self._channel = channel
        self._outstanding = {}
        self.consuming = False
        channel.add_on_close_callback(self._closed)
        # The queue was deleted, or its node has died: closed and opened again, it is looked for.
        channel.add_on_cancel_callback(lambda _frame: close_whole(channel))
        channel.basic_qos(prefetch_count=self._prefetch)
        if self.leaving:
            channel.queue_declare(self.name, passive=True)
        else:
            self._plan.declare(channel)
        channel.basic_consume(self.name, self._arrived, callback=self._consuming)

    def _consuming(self, _frame: Any) -> None:
        self.consuming = True

    def _arrived(self, channel: Any, method: Any, properties: Any, body: bytes) -> None:
        if channel is not self._channel or self._stopping:
            return
        if self._in_hand.bytes + len(body) > IN_HAND_BYTES and self._outstanding:
            self._take_fewer()
            return
        turn = _turn(properties)
        arrival = read(body, self.name, turn, self._events, self._source, self._verifier)
        arrival.redelivered = method.redelivered
        arrival.size = len(body)
        self._in_hand.bytes += arrival.size
        tag = method.delivery_tag
        self._tags[arrival] = (channel, tag)
        self._outstanding[tag] = False
        self._lanes.add(arrival)
        if not self._starting:
            # Later, when the loop rests: what has come in one piece can then be handled together.
            self._starting = True
            quiet = time.monotonic() - self._last_start
            eventlet.spawn_after(max(0.0, GATHER_S - quiet), self._start)

    def _take_fewer(self) -> None:
        """Large messages have come: give back what is not begun, and take so many no more."""
        channel, broker = self._channel, self._broker
        self._prefetch = max(1, len(self._outstanding) // 2)
        log.info("large events: fewer at a time", queue=self.name, prefetch=self._prefetch)
        self._drop_channel()
        close_whole(channel)
        if broker is not None:
            broker.loop.call_later(GATHER_S, lambda: self.open(broker))
            broker.loop.call_later(FULL_AGAIN_S, lambda: self._take_more(broker))

    def _take_more(self, broker: Connection) -> None:
        if broker is not self._broker or self._stopping or self._prefetch == PREFETCH:
            return
        if self._outstanding or self._channel is None or not self._channel.is_open:
            broker.loop.call_later(FULL_AGAIN_S, lambda: self._take_more(broker))
            return
        self._prefetch = PREFETCH
        channel = self._channel
        self._drop_channel()
        close_whole(channel)
        self.open(broker)

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
        for arrival in self._lanes.forget_waiting():
            self._in_hand.bytes -= arrival.size
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
        return self._lanes.take(limit, BATCH_BYTES)

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
            self._in_hand.bytes -= arrival.size
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
        self._in_hand.bytes -= sum(arrival.size for arrival in batch)
        if channel is None or broker is None or not mine:
            return
        PAUSES.labels(self._service, self._handling.name).inc()
        self._drop_channel()
        pause = self._longer_pause()
        log.warning("events put down", queue=self.name, error=str(error)[:300], pause_s=pause)
        # Closing the channel is what returns messages in their order.
        broker.call(lambda: close_whole(channel))
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

    def rest(self) -> bool:
        """Consume no more if nothing is in hand; whether it rests."""
        channel, broker = self._channel, self._broker
        if self._outstanding or self._pool.running():
            return False
        self.resting = True
        if channel is not None and broker is not None:
            self._drop_channel()
            broker.call(lambda: close_whole(channel))
        return True

    def wake(self, broker: Connection) -> None:
        """Consume again."""
        self.resting = False
        broker.call(lambda: self.open(broker))

    def stop(self) -> None:
        """End what is in hand; the broker keeps the rest.

        Others get it only when the connection ends: before, they could overtake what is in hand.
        """
        self._stopping = True
        for arrival in self._lanes.forget_waiting():
            self._in_hand.bytes -= arrival.size
        self._pool.waitall()
        if self._broker is not None:
            self._broker.call(self._acknowledge)


def _turn(properties: Any) -> int:
    """The turn that a copy says it has; a copy that says nonsense has none that counts."""
    found = (properties.headers or {}).get("turn", 0)
    return found if isinstance(found, int) else -1

"""Handlers: `@handles` has a method of a service act on the facts that others tell.

    @handles(DealWon)
    def on_deal_won(self, session: Session, event: DealWon) -> None:
        lifecycle.became_customer(session, event.account_id, at=event.occurred_at)

A handler's method runs in a transaction that is committed for it, once per event; it must leave
committing, and anything outside of the database that can't be undone, to others. It may be called
for several waiting events in one transaction. What it raises is retried, then parked.
"""

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

import eventlet
from nameko.containers import WorkerContext
from nameko.extensions import Entrypoint, SharedExtension, register_entrypoint
from pika.exceptions import AMQPError
from sqlalchemy import text

from liaison_kit.events.broker import BrokerLost, Connection
from liaison_kit.events.inbox import Handling
from liaison_kit.events.outbox import SLOTS
from liaison_kit.events.queue import Queue
from liaison_kit.process.roles import plays
from liaison_kit.settings import settings
from liaison_kit.telemetry import log
from liaison_kit.trust.signatures import Verifier
from liaison_sdk.events import Event

F = TypeVar("F", bound=Callable[..., None])

STOP_S = 15.0


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
                self._broker = Connection(settings().broker, f"{service} events", self._opened)
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
            queue = Queue(
                name,
                bindings,
                by_type,
                handling,
                self._ping,
                chosen,
                service.name,
                self.source,
                Verifier(service.keys),
            )
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

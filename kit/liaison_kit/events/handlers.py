"""Handlers: `@handles` has a method of a service act on the facts that others tell.

    @handles(DealWon)
    def on_deal_won(self, session: Session, event: DealWon) -> None:
        lifecycle.became_customer(session, event.account_id, at=event.occurred_at)

A handler's method runs in a transaction that is committed for it, once per event; it must leave
committing, and anything outside of the database that can't be undone, to others. It may be called
for several waiting events in one transaction. What it raises is retried, then parked.
"""

import faulthandler
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any, TypeVar

import eventlet
import pika
from nameko.containers import WorkerContext
from nameko.extensions import Entrypoint, SharedExtension, register_entrypoint
from pika.exceptions import AMQPError
from sqlalchemy import text

from liaison_kit.events import generations
from liaison_kit.events.broker import BrokerLost, Connection
from liaison_kit.events.generations import Generation, QueuePlan, counts
from liaison_kit.events.inbox import Handling, Heeded
from liaison_kit.events.queue import InHand, Queue
from liaison_kit.process.roles import plays
from liaison_kit.settings import settings
from liaison_kit.telemetry import log
from liaison_kit.trust.signatures import Verifier
from liaison_sdk.events import Event

F = TypeVar("F", bound=Callable[..., None])

STOP_S = 15.0

LOOK_S = 5.0
"""How often to look whether another process has begun a generation of queues."""

LEAVING_LOOK_S = 0.5

STUCK_S = 60.0
"""How long nothing else may run before the process counts as stuck and ends itself: what it had in
hand comes again, and what does that each time is parked."""


def handles(
    *events: type[Event], source: str | None = None, heeded: Heeded | None = None
) -> Callable[[F], F]:
    """Have a method of a service called for each of these events, in order per record.

    All of them come from one service: `source`, or where their contract says they come from.
    `heeded` is for what is told often and seldom means anything here: it is asked first, in a
    transaction that only reads, and where it says no the method is not called.
    """
    sources = {source or event.source for event in events}
    if len(sources) != 1:
        raise ValueError(f"a handler's events come from one service, not from {sorted(sources)}")

    def declare(method: F) -> F:
        register_entrypoint(method, EventHandler(sources.pop(), events, heeded))
        return method

    return declare


class EventConsumer(SharedExtension):  # type: ignore[misc]
    """Takes events for all handlers of a service on one connection to the broker."""

    def __init__(self) -> None:
        super().__init__()
        self._handlers: list[EventHandler] = []
        self._queues: dict[str, Queue] = {}
        self._in_hand = InHand()
        self._broker: Connection | None = None
        self._stopping = self._connected = self._arranged = False
        self._threads: list[Any] = []
        self._at_home: set[EventHandler] = set()

    def register(self, handler: "EventHandler") -> None:
        """Have a handler's queues consumed from the start on."""
        self._handlers.append(handler)

    def start(self) -> None:
        if plays("events") and self._handlers:
            self._threads = [
                self.container.spawn_managed_thread(work)
                for work in (self._run, self._look, self._watch)
            ]

    def stop(self) -> None:
        self._stopping = True
        if not self._threads:
            return
        with eventlet.Timeout(STOP_S, False):
            stops = [eventlet.spawn(queue.stop) for queue in self._queues.values()]
            for stop in stops:
                stop.wait()
        if self._broker is not None:
            self._broker.end()
        self._threads[0].wait()

    def consuming(self) -> bool:
        """Whether every queue is being consumed, where this process takes events at all."""
        if not (plays("events") and self._handlers):
            return True
        return self._arranged and all(q.consuming or q.resting for q in self._queues.values())

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
                for queue in self._queues.values():
                    queue.lost()
            if self._stopping:
                return
            pause = 0.1 if self._connected else min(pause * 2, 2.0)
            eventlet.sleep(pause)

    def _opened(self, broker: Connection) -> None:
        self._connected = True
        for queue in self._queues.values():
            queue.open(broker)

    def _watch(self) -> None:
        """End the process, saying where it was, when a handler lets nothing else run for long."""
        try:
            while not self._stopping:
                faulthandler.dump_traceback_later(STUCK_S, exit=True)
                eventlet.sleep(min(5.0, STUCK_S / 4))
        finally:
            faulthandler.cancel_dump_traceback_later()

    # --- which queues there are -------------------------------------------------------------------

    def _look(self) -> None:
        """Follow the generations of queues, from the one that this process's settings ask for."""
        db = self.container.service_cls.db
        wished = False
        while not self._stopping:
            pause = LOOK_S
            try:
                if not wished:
                    generations.begin(db, [handler.wished() for handler in self._handlers])
                    wished = True
                if self._follow():
                    pause = LEAVING_LOOK_S
            except Exception as error:
                log.warning("event queues unknown", error=f"{type(error).__name__}: {error}"[:300])
                pause = LEAVING_LOOK_S if isinstance(error, AMQPError) else 1.0
            eventlet.sleep(pause)

    def _follow(self) -> bool:
        """Work on the queues that are next; whether those of an earlier generation are left."""
        service = self.container.service_cls
        names = [handler.method_name for handler in self._handlers]
        delays = settings().retry_delays_s
        known = generations.known(service.db, service.name, names, delays)
        wanted: dict[str, tuple[EventHandler, QueuePlan, bool]] = {}
        left = False
        for handler in self._handlers:
            *leaving, latest = known[handler.method_name]
            handler.handling.home = latest.home
            # What others have done away with meanwhile may have been declared again by us.
            numbers = {generation.number for generation in known[handler.method_name]}
            ended = [one for one in handler.worked_on if one.number not in numbers]
            handler.worked_on = [*leaving, latest]
            leaving = ended + leaving
            latest = replace(latest, types=handler.types)
            if leaving:
                leaving = self._leave(handler, leaving, latest)
            elif handler not in self._at_home:
                # Who knew of no later generation may have written of an earlier one.
                generations.bring_home(service.db, latest)
                self._at_home.add(handler)
            left = left or bool(leaving)
            for plan in leaving[0].queues() if leaving else latest.queues():
                wanted[plan.name] = (handler, plan, bool(leaving))
        for name in self._queues.keys() - wanted.keys():
            if self._queues[name].rest():
                del self._queues[name]
        for name, (handler, plan, is_leaving) in wanted.items():
            if name not in self._queues:
                self._queues[name] = self._queue(handler, plan, is_leaving)
            self._queues[name].leaving = is_leaving
        self._arranged = True
        return left

    def _queue(self, handler: "EventHandler", plan: QueuePlan, leaving: bool) -> Queue:
        service = self.container.service_cls
        queue = Queue(
            plan,
            handler.by_type,
            handler.handling,
            handler.ping,
            self._in_hand,
            service.name,
            handler.source,
            Verifier(service.keys),
        )
        queue.leaving = leaving
        broker = self._broker
        if broker is not None and self._connected:
            broker.call(lambda: queue.open(broker))
        return queue

    def _leave(
        self, handler: "EventHandler", leaving: list[Generation], latest: Generation
    ) -> list[Generation]:
        """Have nothing more come to earlier generations' queues; those that are not worked off."""
        db = self.container.service_cls.db
        with pika.BlockingConnection(pika.URLParameters(settings().broker)) as broker:
            channel = broker.channel()
            for plan in latest.queues():
                plan.declare(channel)
            for generation in leaving:
                for plan in generation.queues():
                    if counts(broker, plan.name) is not None:
                        plan.unbind(channel)
            for number, generation in enumerate(leaving):
                plans = list(generation.queues())
                found = [counts(broker, plan.name) for plan in plans]
                if any(count not in (None, (0, 0)) for count in found):
                    self._finish(plans, found)
                    return leaving[number:]
                # Nobody consumes and nothing is left, so nothing is in anybody's hand either.
                generations.bring_home(db, latest)
                for plan in plans:
                    plan.delete(channel)
                generations.end(db, generation)
                log.info(
                    "event queues worked off", handler=handler.method_name, queues=generation.number
                )
        return []

    def _finish(self, plans: list[QueuePlan], found: list[tuple[int, int] | None]) -> None:
        """Consume what is left; consume no more where nothing is, which tells the others."""
        for plan, count in zip(plans, found, strict=True):
            queue, broker = self._queues.get(plan.name), self._broker
            if queue is None or broker is None:
                continue
            if count is None or count[0] == 0:
                queue.rest()
            elif queue.resting:
                queue.wake(broker)


class EventHandler(Entrypoint):  # type: ignore[misc]
    """A nameko entrypoint that runs a method of the service for each event of some types."""

    consumer = EventConsumer()

    def __init__(
        self, source: str, events: Iterable[type[Event]], heeded: Heeded | None = None
    ) -> None:
        self.source = source
        self.heeded = heeded
        self.events = tuple(events)
        self.by_type = {event.type: event for event in self.events}
        self.worked_on: list[Generation] = []
        self._service: Any = None
        super().__init__()

    def setup(self) -> None:
        service = self.container.service_cls
        self.handling = Handling(
            service.name,
            self.method_name,
            self._call,
            service.db,
            settings().retry_delays_s,
            self.heeded,
        )
        self.consumer.register(self)

    @property
    def types(self) -> tuple[str, ...]:
        """What the handler handles, in this release."""
        return tuple(self.by_type)

    def wished(self) -> Generation:
        """The queues that the settings ask for, if they are the handler's first ones."""
        chosen = settings()
        return Generation(
            service=self.container.service_name,
            handler=self.method_name,
            number=1,
            shards=chosen.event_shards,
            queue_type=chosen.queue_type,
            exchange=f"{self.source}.events",
            types=self.types,
            delays=chosen.retry_delays_s,
        )

    def ping(self) -> None:
        """Raise unless the database answers."""
        with self.container.service_cls.db.connection() as connection:
            connection.execute(text("SELECT 1"))

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

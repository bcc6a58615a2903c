"""Calls over RabbitMQ: operations as nameko entrypoints, taken and answered on one connection.

nameko answers through a pooled producer with publisher confirms per reply, which is the bottleneck
of its RPC; a caller that is waiting needs no confirm, it has a deadline.

The broker hands out as many calls as there are workers, and the next when one is answered: what
waits, waits in the broker, for whichever process is free first, and is dropped there when its
caller has left. A call that comes a second time was begun by a process that has died; it is not
begun again, its caller is told at once, and whoever wants to try again has an Idempotency-Key.
"""

from collections import deque
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import amqp
import eventlet
from eventlet.event import Event
from nameko.extensions import Entrypoint, SharedExtension

from liaison_kit.calls.line import CONNECTION_ERRORS, Line
from liaison_kit.calls.manifest import generation
from liaison_kit.calls.operations import Operation
from liaison_kit.calls.wire import EXCHANGE, HEADER, PROBE, Call, Reply, packed, problem, unpacked
from liaison_kit.process.roles import plays
from liaison_kit.settings import settings
from liaison_kit.telemetry import log
from liaison_sdk.errors import Unavailable

REPLY_ADDRESS = "amq.rabbitmq.reply-to."
UNUSED_MS = 5_000
"""A queue that nobody serves is gone after so long; calls to it come back to their sender then."""
LEAVING_S = 10
"""How long a process that was told to stop may take to end what waits for it alone."""
UNSENT_KEPT = 1000


class Interrupted(Unavailable):
    """The process that had begun this has ended; whether it was done is not known."""

    title = "This was interrupted; whether it was done is not known"


class UnknownHere(Unavailable):
    """This process has no such operation."""

    title = "This process does not know this operation"


class OperationConsumer(SharedExtension):  # type: ignore[misc]
    """Takes the calls to a service and replies to them.

    There is a queue for each generation of a service: processes that offer the same operations
    share one, so that a call never reaches a process that it was not made for. What is for other
    parts of Liaison only has a queue per operation, served by every generation that knows it.
    """

    def __init__(self) -> None:
        super().__init__()
        self.opened: Callable[[Any], None] = lambda _connection: None
        """Told of each connection once calls are taken on it."""
        self.leaving: Callable[[], None] = lambda: None
        """Told when this process is about to take no more calls."""
        self._entrypoints: dict[str, OperationEntrypoint] = {}
        self._channel: Any = None
        self._taking: list[_Taking] = []
        self._waiting: deque[tuple[Any, OperationEntrypoint, Call]] = deque()
        self._starting = False
        self._in_hand: dict[tuple[str, str], Any] = {}
        self._unsent: list[tuple[Any, Reply]] = []
        self._stopping = False

    def setup(self) -> None:
        self._done_taking = Event()
        self._by = str(uuid4())
        self._line = Line(f"{self.container.service_name} calls", self._open, self._lost)

    def register(self, entrypoint: "OperationEntrypoint") -> None:
        """Take this entrypoint's calls as well."""
        self._entrypoints[entrypoint.operation.name] = entrypoint

    def start(self) -> None:
        if self._entrypoints:
            self.container.spawn_managed_thread(self._line.run)
            while not self._line.wait_until_up(1):
                log.warning("waiting for the broker", service=self.container.service_name)

    def consuming(self) -> bool:
        """Whether calls reach this process."""
        return not self._entrypoints or self._line.up

    # --- the connection ---------------------------------------------------------------------------

    def _open(self, connection: Any) -> None:
        service = self.container.service_name
        channel = connection.channel()
        if settings().declare_exchanges:
            channel.exchange_declare(EXCHANGE, "topic", durable=True, auto_delete=False)
        self._channel, self._taking = channel, []
        unsent, self._unsent = self._unsent, []
        for message, reply in unsent:
            self.reply(message, reply)
        if not self._stopping:
            own = generation(self.container.service_cls)
            self._consume(channel, f"{service}.{own}", "*", settings().max_workers)
            few = max(2, settings().max_workers // 4)
            for name, entrypoint in self._entrypoints.items():
                if entrypoint.operation.internal:
                    self._consume(channel, f"{service}.internal", name, few)
        self.opened(connection)

    def _consume(self, channel: Any, kind: str, name: str, most: int) -> None:
        queue = f"rpc-{kind}" if name == "*" else f"rpc-{kind}.{name}"
        arguments = {"x-expires": UNUSED_MS}
        channel.queue_declare(queue, durable=True, auto_delete=True, arguments=arguments)
        # A binding of its own for each process: one that leaves takes away its own only.
        taking = _Taking(queue, f"{kind}.{name}", {"by": self._by})
        channel.queue_bind(queue, EXCHANGE, taking.key, arguments=taking.by)
        channel.basic_qos(0, most, False)
        taking.tag = channel.basic_consume(queue, callback=self._taken)
        self._taking.append(taking)

    def _lost(self) -> None:
        """What is in hand is ended, and answered when the broker is back."""
        self._channel = None

    # --- calls ------------------------------------------------------------------------------------

    def _taken(self, message: Any) -> None:
        """Start the work that a message asks for."""
        info, properties = message.delivery_info, message.properties
        if properties.get("type") == PROBE:
            self._acknowledge(message)
            return
        if info["redelivered"] and self._seen_before(message):
            return
        meta, body = unpacked(message)
        entrypoint = self._entrypoints.get(info["routing_key"].rpartition(".")[2])
        if entrypoint is None or meta is None:
            self.done(message, problem(UnknownHere(), None))
            return
        self._in_hand[_key(message)] = message
        call = Call(meta, body)
        if not self._waiting and self.container._worker_pool.free() > 0:
            entrypoint.work(message, call)
            return
        self._waiting.append((message, entrypoint, call))
        if not self._starting:
            # Waiting for a free worker must not keep this connection from its heartbeats.
            self._starting = True
            self.container.spawn_managed_thread(self._start_waiting)

    def _start_waiting(self) -> None:
        while self._waiting:
            message, entrypoint, call = self._waiting.popleft()
            entrypoint.work(message, call)
        self._starting = False

    def _seen_before(self, message: Any) -> bool:
        """Deal with a call that has been handed out before, unless it is new after all."""
        key = _key(message)
        if key in self._in_hand:
            # It was this process that lost its connection; the work goes on.
            self._in_hand[key] = message
            return True
        self.done(message, _interrupted())
        return True

    def done(self, message: Any, reply: Reply | None) -> None:
        """Answer the caller and tell the broker that the call has been dealt with."""
        message = self._in_hand.pop(_key(message), message)
        if reply is not None:
            self.reply(message, reply)
        self._acknowledge(message)

    def reply(self, message: Any, reply: Reply) -> None:
        """Answer the caller, if it waits for an answer."""
        address = message.properties.get("reply_to")
        if not address:
            return
        if not address.startswith(REPLY_ADDRESS):
            log.warning("answer not sent: no caller's address", address=address[:80])
            return
        if self._channel is None:
            if len(self._unsent) < UNSENT_KEPT:
                self._unsent.append((message, reply))
            return
        head, body = packed(reply.meta(), reply.body)
        answer = amqp.Message(
            body,
            application_headers={HEADER: head},
            content_type="application/octet-stream",
            correlation_id=message.properties.get("correlation_id"),
        )
        try:
            self._channel.basic_publish(answer, "", address)
        except CONNECTION_ERRORS:
            # Noticed here before the reader of the connection did.
            self._unsent.append((message, reply))

    def _acknowledge(self, message: Any) -> None:
        if message.channel is self._channel is not None:
            try:
                message.channel.basic_ack(message.delivery_info["delivery_tag"])
            except CONNECTION_ERRORS as error:
                log.debug("call not acknowledged", error=type(error).__name__)

    # --- the end ----------------------------------------------------------------------------------

    def stop_taking(self) -> None:
        """Take no more calls; returns when all that were taken have a worker."""
        if not self._stopping:
            self._stopping = True
            self.leaving()
            self._line.in_turn(self._unbind)
            eventlet.spawn_after(LEAVING_S, self._line.in_turn, self._cancel)
        if self._line.up:
            self._done_taking.wait(LEAVING_S + 2)
        while self._waiting or self._starting:
            eventlet.sleep(0.02)

    def _unbind(self) -> None:
        """From here on calls go to others, or back to who sent them; none is lost on its way."""
        if self._channel is not None:
            for taking in self._taking:
                self._channel.queue_unbind(taking.queue, EXCHANGE, taking.key, arguments=taking.by)
        self._end_what_waits()

    def _end_what_waits(self) -> None:
        """Go on until nothing waits that nobody else would take."""
        if self._channel is not None and any(map(self._is_needed, self._taking)):
            eventlet.spawn_after(0.05, self._line.in_turn, self._end_what_waits)
        else:
            self._cancel()

    def _is_needed(self, taking: "_Taking") -> bool:
        _, waiting, consumers = self._channel.queue_declare(taking.queue, passive=True)
        return bool(waiting and consumers == 1)

    def _cancel(self) -> None:
        if self._done_taking.ready():
            return
        if self._channel is not None:
            for taking in self._taking:
                self._channel.basic_cancel(taking.tag)
        self._done_taking.send()

    def stop(self) -> None:
        self._line.close()


class _Taking:
    """A queue that calls are taken from."""

    def __init__(self, queue: str, key: str, by: dict[str, str]) -> None:
        self.queue = queue
        self.key = key
        self.by = by
        self.tag = ""


def _key(message: Any) -> tuple[str, str]:
    properties = message.properties
    return properties.get("reply_to", ""), properties.get("correlation_id", "")


def _interrupted() -> Reply:
    reply = problem(Interrupted("The process that worked on this has ended"), None)
    reply.headers["Retry-After"] = "1"
    reply.extra["interrupted"] = True
    return reply


class OperationEntrypoint(Entrypoint):  # type: ignore[misc]
    """A nameko entrypoint that runs one operation for each call."""

    calls = OperationConsumer()

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        super().__init__()

    def setup(self) -> None:
        if plays("rpc"):
            self.calls.register(self)

    def stop(self) -> None:
        if plays("rpc"):
            self.calls.stop_taking()

    def work(self, message: Any, call: Call) -> None:
        """Hand the call to a worker, waiting for one if none is free."""

        def replied(_worker: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
            self.calls.done(message, result if isinstance(result, Reply) else None)
            return result, exc_info

        self.container.spawn_worker(self, (call,), {}, handle_result=replied)

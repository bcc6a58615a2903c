"""Questions: a service asks another one and waits for the answer."""

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import amqp
from eventlet.event import Event
from nameko.extensions import DependencyProvider

from liaison_kit.calls.line import CONNECTION_ERRORS, Line
from liaison_kit.calls.wire import EXCHANGE, HEADER, PROBE, packed, unpacked
from liaison_kit.context import Context
from liaison_kit.settings import settings
from liaison_sdk.errors import Unavailable

REPLY_QUEUE = "amq.rabbitmq.reply-to"
STARTS_WITHIN_S = 5
BROKER_WITHIN_S = 0.5
"""How long a question waits for a broker that is away."""
PROBE_EVERY_S = 0.5
"""How often a question that waits makes sure that somebody is still there to answer it."""


class Caller(DependencyProvider):  # type: ignore[misc]
    """Lets a service ask another one a question; answers come back on the asking channel."""

    def setup(self) -> None:
        self._waiting: dict[str, Event] = {}
        self._channel: Any = None
        self._line = Line(f"{self.container.service_name} asks", self._open, self._lost)

    def start(self) -> None:
        self.container.spawn_managed_thread(self._line.run)
        self._line.wait_until_up(STARTS_WITHIN_S)

    def stop(self) -> None:
        self._line.close()

    def get_dependency(self, _worker: Any) -> Callable[..., bytes]:
        return self.ask

    def ask(
        self,
        service: str,
        operation: str,
        body: bytes,
        about: Context,
        timeout_s: float = 10.0,
    ) -> bytes:
        """The answer's body; `Unavailable` when none comes in time or the answer is an error."""
        deadline = time.time() + timeout_s
        if about.deadline is not None:
            deadline = min(deadline, about.deadline)
        if not self._line.wait_until_up(BROKER_WITHIN_S):
            raise Unavailable("The broker does not answer")
        correlation = str(uuid4())
        routing_key = f"{service}.internal.{operation}"
        answered = self._waiting[correlation] = Event()
        try:
            head, whole = packed(json.dumps(header(about, deadline)), body)
            left = deadline - time.time()
            self._send(
                routing_key,
                whole,
                correlation_id=correlation,
                application_headers={HEADER: head},
                reply_to=REPLY_QUEUE,
                expiration=str(max(1, int(left * 1000))),
            )
            while left > 0:
                answer = answered.wait(min(left, PROBE_EVERY_S))
                if answer is not None:
                    status, said = answer
                    if status >= 400:
                        raise Unavailable(f"{service} could not answer {operation}: {status}")
                    return bytes(said)
                left = deadline - time.time()
                lifetime = str(int(PROBE_EVERY_S * 1000))
                self._send(
                    routing_key, b"", correlation_id=correlation, type=PROBE, expiration=lifetime
                )
        except CONNECTION_ERRORS:
            raise Unavailable("The broker does not answer") from None
        finally:
            self._waiting.pop(correlation, None)
        raise Unavailable(f"{service} does not answer")

    def _send(self, routing_key: str, body: bytes, **properties: Any) -> None:
        if self._channel is None:
            raise Unavailable("The broker does not answer")
        message = amqp.Message(body, content_type="application/json", **properties)
        self._channel.basic_publish(message, EXCHANGE, routing_key, mandatory=True)

    # --- in the greenlet that reads ---------------------------------------------------------------

    def _open(self, connection: Any) -> None:
        channel = connection.channel()
        if settings().declare_exchanges:
            channel.exchange_declare(EXCHANGE, "topic", durable=True, auto_delete=False)
        channel.events["basic_return"].add(self._returned)
        channel.basic_consume(REPLY_QUEUE, no_ack=True, callback=self._answered)
        self._channel = channel

    def _lost(self) -> None:
        self._channel = None
        for correlation in list(self._waiting):
            self._fail(correlation, "The connection to the broker was lost")

    def _answered(self, message: Any) -> None:
        waiting = self._waiting.pop(message.properties.get("correlation_id"), None)
        if waiting is not None:
            meta, body = unpacked(message)
            waiting.send(((meta or {}).get("status", 500), body))

    def _returned(self, _error: Any, _exchange: str, routing_key: str, message: Any) -> None:
        service = routing_key.partition(".")[0]
        self._fail(message.properties.get("correlation_id"), f"{service} is not running")

    def _fail(self, correlation: str | None, why: str) -> None:
        waiting = self._waiting.pop(correlation or "", None)
        if waiting is not None:
            waiting.send_exception(Unavailable(why))


def header(about: Context, deadline: float) -> dict[str, Any]:
    """What a question says beside its body: who asks, and until when the answer is of use."""
    return {
        "principal": None if about.principal is None else about.principal.signed,
        "traceparent": about.traceparent,
        "deadline": deadline,
    }

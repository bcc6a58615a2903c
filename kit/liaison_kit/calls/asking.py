"""Questions: a service asks another one and waits for the answer."""

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import amqp
import eventlet
import kombu
from eventlet.event import Event
from eventlet.semaphore import Semaphore
from nameko.extensions import DependencyProvider

from liaison_kit.calls.publisher import CONNECTION_ERRORS
from liaison_kit.calls.wire import HEADER, meta_of
from liaison_kit.context import Context
from liaison_kit.settings import settings
from liaison_sdk.errors import Unavailable


class Caller(DependencyProvider):  # type: ignore[misc]
    """Lets a service ask another one a question; answers come back on the asking channel."""

    def setup(self) -> None:
        self._lock = Semaphore()
        self._waiting: dict[str, Event] = {}
        self._channel: Any = None

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
        correlation = str(uuid4())
        meta = {
            "principal": None if about.principal is None else about.principal.signed,
            "traceparent": about.traceparent,
            "deadline": time.time() + timeout_s,
        }
        answered = Event()
        self._waiting[correlation] = answered
        try:
            self._send(f"{service}.{operation}", body, json.dumps(meta), correlation, timeout_s)
            with eventlet.Timeout(timeout_s, False):
                status, answer = answered.wait()
                if status >= 400:
                    raise Unavailable(f"{service} could not answer {operation}: {status}")
                return bytes(answer)
        except CONNECTION_ERRORS:
            raise Unavailable("The broker does not answer") from None
        finally:
            self._waiting.pop(correlation, None)
        raise Unavailable(f"{service} does not answer")

    def _send(
        self, routing_key: str, body: bytes, meta: str, correlation: str, timeout_s: float
    ) -> None:
        message = amqp.Message(
            body,
            application_headers={HEADER: meta},
            content_type="application/json",
            correlation_id=correlation,
            reply_to="amq.rabbitmq.reply-to",
            expiration=str(int(timeout_s * 1000)),
        )
        with self._lock:
            if self._channel is None:
                self._open()
            try:
                self._channel.basic_publish(message, "nameko-rpc", routing_key)
            except CONNECTION_ERRORS:
                self._channel = None
                raise

    def _open(self) -> None:
        connection = kombu.Connection(settings().broker, heartbeat=0, connect_timeout=5)
        channel = connection.channel()
        channel.basic_consume("amq.rabbitmq.reply-to", no_ack=True, callback=self._answered)
        self._channel = channel
        self.container.spawn_managed_thread(lambda: self._drain(connection, channel))

    def _drain(self, connection: Any, channel: Any) -> None:
        try:
            while self._channel is channel:
                connection.drain_events()
        except CONNECTION_ERRORS:
            self._channel = None

    def _answered(self, message: Any) -> None:
        waiting = self._waiting.pop(message.properties.get("correlation_id"), None)
        if waiting is not None:
            meta = meta_of(message) or {"status": 500}
            waiting.send((meta["status"], message.body))

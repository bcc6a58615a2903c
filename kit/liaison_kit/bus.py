"""Calls over RabbitMQ: operations as nameko entrypoints, one persistent channel for the replies.

nameko answers through a pooled producer with publisher confirms per reply, which is the bottleneck
of its RPC; a caller that is waiting needs no confirm, it has a deadline. And nameko acks when the
work has ended, so that a worker's death makes another do the work again; here a call is acked when
its work starts: at most once, and a caller that wants to try again has its Idempotency-Key.
"""

import json
import time
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import amqp
import eventlet
import kombu
from amqp.exceptions import RecoverableConnectionError
from eventlet.event import Event
from eventlet.semaphore import Semaphore
from nameko.amqp.consume import Consumer
from nameko.extensions import DependencyProvider, Entrypoint
from nameko.rpc import RpcConsumer

from liaison_kit.context import Context
from liaison_kit.manifest import manifest
from liaison_kit.metrics import EXPIRED
from liaison_kit.operations import Call, Operation, Reply, problem
from liaison_kit.roles import plays
from liaison_kit.settings import settings
from liaison_kit.telemetry import log
from liaison_kit.turns import connect
from liaison_sdk.errors import LiaisonError, Unavailable

CONNECTION_ERRORS = (OSError, RecoverableConnectionError, amqp.exceptions.ConnectionError)
HEADER = "liaison"


class Publisher:
    """A persistent connection and channel that any greenlet may publish on.

    `declare` is given each channel before anything is published on it.
    """

    def __init__(self, declare: Callable[[Any], Any] | None = None) -> None:
        self._declare = declare
        self._lock = Semaphore()
        self._connection: kombu.Connection | None = None
        self._channel: Any = None
        self._watcher: Any = None

    def publish(
        self, body: bytes, meta: str, exchange: str, routing_key: str, **properties: Any
    ) -> None:
        """Send a message; a connection that broke meanwhile is opened again, once."""
        message = amqp.Message(
            body,
            application_headers={HEADER: meta},
            content_type="application/octet-stream",
            **properties,
        )
        with self._lock:
            for attempt in (1, 2):
                try:
                    self._open().basic_publish(message, exchange, routing_key)
                    return
                except CONNECTION_ERRORS:
                    self._drop()
                    if attempt == 2:
                        raise

    def _open(self) -> Any:
        if self._channel is None:
            self._connection = connect(settings().amqp_url, heartbeat=0, connect_timeout=5)
            self._channel = self._connection.channel()
            if self._declare is not None:
                self._declare(self._channel)
            self._watcher = eventlet.spawn(self._watch, self._connection)
        return self._channel

    def _watch(self, connection: kombu.Connection) -> None:
        """Notice at once that the broker has gone: what is sent into a dead socket is lost."""
        try:
            while True:
                connection.drain_events()
        except Exception as error:
            log.debug("publisher's connection ended", error=type(error).__name__)
        with self._lock:
            if self._connection is connection:
                self._drop()

    def _drop(self) -> None:
        # Closing reads what the broker says to it, and two can't read.
        if self._watcher is not None and eventlet.getcurrent() is not self._watcher:
            self._watcher.kill()
        if self._connection is not None:
            try:
                self._connection.close()
            except Exception as error:
                log.debug("closing a broken connection", error=type(error).__name__)
        self._connection = self._channel = self._watcher = None

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()


class _RawConsumer(Consumer):  # type: ignore[misc]
    """Hands messages on undecoded: bodies are bytes until the operation's own types read them."""

    @property
    def connection(self) -> Any:
        return connect(self.amqp_uri, heartbeat=self.heartbeat)

    def get_consumers(self, consumer_cls: Any, channel: Any) -> list[Any]:
        consumer = consumer_cls(queues=self.queues, on_message=self._deliver)
        consumer.qos(prefetch_count=self.prefetch_count)
        return [consumer]

    def _deliver(self, message: Any) -> None:
        if self.should_stop:
            self.requeue_message(message)
            return
        self.callbacks[0](message)


class OperationConsumer(RpcConsumer):  # type: ignore[misc]
    """Consumes a service's calls and replies to them."""

    consumer_cls = _RawConsumer

    def __init__(self) -> None:
        super().__init__(prefetch_count=settings().max_workers)
        self._entrypoints: dict[str, OperationEntrypoint] = {}
        self._replies = Publisher()

    def register_provider(self, provider: "OperationEntrypoint") -> None:
        super().register_provider(provider)
        key = f"{self.container.service_name}.{provider.method_name}"
        self._entrypoints[key] = provider

    def start(self) -> None:
        if self._entrypoints:
            super().start()

    def stop(self) -> None:
        self.consumer.stop()

    def unregister_provider(self, provider: "OperationEntrypoint") -> None:
        self._entrypoints.pop(f"{self.container.service_name}.{provider.method_name}", None)
        super().unregister_provider(provider)

    def handle_message(self, message: Any) -> None:
        """Start the work that a message asks for, unless its caller has given up."""
        meta = _meta(message)
        entrypoint = self._entrypoints.get(message.delivery_info["routing_key"])
        if entrypoint is None or meta is None:
            self.consumer.ack_message(message)
            error = LiaisonError("There is no such operation")
            self.reply(message, problem(error, None))
            return
        if meta.get("deadline", float("inf")) < time.time():
            EXPIRED.labels(self.container.service_name).inc()
            self.consumer.ack_message(message)
            return
        body = message.body
        call = Call(meta, body if isinstance(body, bytes) else body.encode())
        if self.container._worker_pool.free() > 0:
            entrypoint.work(message, call)
        else:
            # Waiting for a free worker must not keep this consumer from its heartbeats.
            self.container.spawn_managed_thread(lambda: entrypoint.work(message, call))

    def reply(self, message: Any, reply: Reply) -> None:
        """Answer the caller, if it waits for an answer."""
        properties = message.properties
        if not properties.get("reply_to"):
            return
        try:
            self._replies.publish(
                reply.body,
                reply.meta(),
                "",
                properties["reply_to"],
                correlation_id=properties.get("correlation_id"),
            )
        except CONNECTION_ERRORS as error:
            # The work is committed; the caller learns at its deadline that the answer was lost.
            log.warning("reply lost", error=type(error).__name__)


def _meta(message: Any) -> dict[str, Any] | None:
    try:
        found = json.loads(message.headers[HEADER])
    except (KeyError, TypeError, ValueError):
        return None
    return found if isinstance(found, dict) else None


class OperationEntrypoint(Entrypoint):  # type: ignore[misc]
    """A nameko entrypoint that runs one operation for each call."""

    calls = OperationConsumer()

    def __init__(self, operation: Operation) -> None:
        self.operation = operation
        super().__init__()

    def setup(self) -> None:
        if plays("rpc"):
            self.calls.register_provider(self)

    def stop(self) -> None:
        if plays("rpc"):
            self.calls.unregister_provider(self)

    def work(self, message: Any, call: Call) -> None:
        """Hand the call to a worker, and tell the broker that it has been taken."""

        def replied(_worker: Any, result: Any, exc_info: Any) -> tuple[Any, Any]:
            if isinstance(result, Reply):
                self.calls.reply(message, result)
            return result, exc_info

        self.calls.consumer.ack_message(message)
        self.container.spawn_worker(self, (call,), {}, handle_result=replied)


_MANIFESTS = "liaison.manifests"


def _declare_manifests(channel: Any) -> None:
    channel.exchange_declare(_MANIFESTS, "fanout", durable=True, auto_delete=False)


class Announcer(DependencyProvider):  # type: ignore[misc]
    """Tells gateways what this service can do: at the start, every 10 s, and when one asks."""

    EVERY_S = 10

    def setup(self) -> None:
        self._publisher = Publisher(_declare_manifests)
        self.instance = f"{self.container.service_name}-{uuid4()}"
        self._stopping = False

    def start(self) -> None:
        if plays("rpc"):
            self.container.spawn_managed_thread(self._announce_regularly)
            self.container.spawn_managed_thread(self._listen)

    def stop(self) -> None:
        self._stopping = True
        if plays("rpc"):
            service = self.container.service_name
            self._publish({"service": service, "instance": self.instance, "gone": True})
            self._publisher.close()

    def _announce(self) -> None:
        self._publish(manifest(self.container.service_cls) | {"instance": self.instance})

    def _publish(self, body: dict[str, Any]) -> None:
        try:
            self._publisher.publish(json.dumps(body).encode(), "{}", _MANIFESTS, "")
        except CONNECTION_ERRORS as error:
            log.warning("manifest not announced", error=type(error).__name__)

    def _announce_regularly(self) -> None:
        while not self._stopping:
            self._announce()
            eventlet.sleep(self.EVERY_S)

    def _listen(self) -> None:
        exchange = kombu.Exchange("liaison.discovery", "fanout", durable=True)
        queue = kombu.Queue(
            f"discovery-{self.instance}", exchange, exclusive=True, auto_delete=True
        )
        consumer = _RawConsumer(
            settings().amqp_url,
            queues=[queue],
            callbacks=[self._asked],
            heartbeat=30,
            prefetch_count=1,
        )
        consumer.run()

    def _asked(self, message: Any) -> None:
        message.ack()
        self._announce()


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
        principal = about.principal
        meta = {
            "principal": None
            if principal is None
            else {
                "tenant": str(principal.tenant),
                "user": str(principal.user),
                "permissions": sorted(principal.permissions),
                "rows": dict(principal.rows),
                "peers": [str(peer) for peer in principal.peers],
            },
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
        connection = kombu.Connection(settings().amqp_url, heartbeat=0, connect_timeout=5)
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
            meta = _meta(message) or {"status": 500}
            waiting.send((meta["status"], message.body))

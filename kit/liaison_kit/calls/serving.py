"""Calls over RabbitMQ: operations as nameko entrypoints, one persistent channel for the replies.

nameko answers through a pooled producer with publisher confirms per reply, which is the bottleneck
of its RPC; a caller that is waiting needs no confirm, it has a deadline. And nameko acks when the
work has ended, so that a worker's death makes another do the work again; here a call is acked when
its work starts: at most once, and a caller that wants to try again has its Idempotency-Key.
"""

import time
from typing import Any

from nameko.amqp.consume import Consumer
from nameko.extensions import Entrypoint
from nameko.rpc import RpcConsumer

from liaison_kit.calls.amqp_writes import connect
from liaison_kit.calls.operations import Operation
from liaison_kit.calls.publisher import CONNECTION_ERRORS, Publisher
from liaison_kit.calls.wire import Call, Reply, meta_of, problem
from liaison_kit.process.metrics import EXPIRED
from liaison_kit.process.roles import plays
from liaison_kit.settings import settings
from liaison_kit.telemetry import log
from liaison_sdk.errors import LiaisonError


class RawConsumer(Consumer):  # type: ignore[misc]
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

    consumer_cls = RawConsumer

    def __init__(self) -> None:
        super().__init__(prefetch_count=settings().max_workers)
        self._entrypoints: dict[str, OperationEntrypoint] = {}
        self._replies = Publisher()

    def register_provider(self, provider: "OperationEntrypoint") -> None:
        super().register_provider(provider)
        key = f"{self.container.service_name}.{provider.method_name}"
        self._entrypoints[key] = provider

    def setup(self) -> None:
        super().setup()
        self.queue.exchange.no_declare = not settings().declare_exchanges

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
        meta = meta_of(message)
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

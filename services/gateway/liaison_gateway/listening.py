"""What the gateway hears: announcements and events of the services, onlookers of other gateways."""

from collections.abc import Callable
from typing import Any

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from liaison_gateway.amqp import Connection
from liaison_gateway.connections import KeptConnection, done, open_channel
from liaison_kit.calls.wire import DISCOVERY, EXCHANGE, MANIFESTS, ONLOOKERS, WHOLE

EVENTS_KEPT_BY_BROKER = 10_000
EVENT_BYTES_KEPT_BY_BROKER = 32 << 20
ONLOOKERS_KEPT_BY_BROKER = 10_000


class Listener:
    """A connection of its own for all that is no call, so that neither keeps the other waiting.

    `on_announcement(body)` and `on_event(service, routing key, body)` are called for each message,
    `on_onlookers(body)` for what a gateway was told of who looks where, `on_nobody(address)` when a
    process that was asked is not there any more, `on_up()` after each (re)connection.
    """

    def __init__(
        self,
        amqp_url: str,
        *,
        on_announcement: Callable[[bytes], None],
        on_event: Callable[[str, str, bytes], None],
        on_onlookers: Callable[[bytes], None],
        on_nobody: Callable[[str], None],
        on_up: Callable[[], None],
        declares: bool = True,
    ) -> None:
        self._declares = declares
        self._on_announcement = on_announcement
        self._on_event = on_event
        self._on_onlookers = on_onlookers
        self._on_nobody = on_nobody
        self._on_up = on_up
        self._channel: Channel | None = None
        self._event_queue: str | None = None
        self._sources: set[str] = set()
        self.kept = KeptConnection(
            amqp_url, "listens", self._set_up, on_lost=self._lost, on_up=self._up
        )

    def discover(self) -> None:
        """Have every process announce itself."""
        if self._channel is not None and self._channel.is_open:
            self._channel.basic_publish(DISCOVERY, "", WHOLE)

    def ask(self, address: str) -> None:
        """Have one process say that it is there."""
        if self._channel is not None and self._channel.is_open:
            self._channel.basic_publish(EXCHANGE, address, b"", mandatory=True)

    def tell_gateways(self, body: bytes) -> None:
        """Let every gateway, this one as well, hear of onlookers."""
        if self._channel is not None and self._channel.is_open:
            self._channel.basic_publish(ONLOOKERS, "", body)

    def follow(self, service: str) -> None:
        """Hear the events of a service from now on."""
        if service in self._sources:
            return
        self._sources.add(service)
        self._bind(service)

    def _up(self) -> None:
        self._on_up()
        self.discover()

    def _lost(self) -> None:
        self._channel = None

    async def _set_up(self, connection: Connection) -> None:
        channel = await open_channel(connection, 2)
        channel.add_on_return_callback(self._returned)
        for exchange in (MANIFESTS, DISCOVERY, ONLOOKERS) if self._declares else ():
            await done(channel.exchange_declare, exchange, exchange_type="fanout", durable=True)
        declared = await done(channel.queue_declare, "", exclusive=True, auto_delete=True)
        manifests = declared.method.queue
        await done(channel.queue_bind, manifests, MANIFESTS)
        await done(
            channel.basic_consume,
            manifests,
            lambda _c, _m, _p, body: self._on_announcement(body),
            auto_ack=True,
        )
        # Events only tell screens to look again: the oldest may be dropped when there are too many.
        declared = await done(
            channel.queue_declare,
            "",
            exclusive=True,
            auto_delete=True,
            arguments={
                "x-max-length": EVENTS_KEPT_BY_BROKER,
                "x-max-length-bytes": EVENT_BYTES_KEPT_BY_BROKER,
                "x-overflow": "drop-head",
            },
        )
        self._event_queue = declared.method.queue
        await done(channel.basic_consume, self._event_queue, self._event, auto_ack=True)
        await self._hear_gateways(channel)
        self._channel = channel
        for service in self._sources:
            self._bind(service)

    async def _hear_gateways(self, channel: Channel) -> None:
        # Each says again what it shows: the oldest may be dropped.
        declared = await done(
            channel.queue_declare,
            "",
            exclusive=True,
            auto_delete=True,
            arguments={"x-max-length": ONLOOKERS_KEPT_BY_BROKER, "x-overflow": "drop-head"},
        )
        queue = declared.method.queue
        await done(channel.queue_bind, queue, ONLOOKERS)
        await done(
            channel.basic_consume,
            queue,
            lambda _c, _m, _p, body: self._on_onlookers(body),
            auto_ack=True,
        )

    def _returned(
        self, _channel: Channel, method: Basic.Return, _properties: BasicProperties, _body: bytes
    ) -> None:
        self._on_nobody(method.routing_key)

    def _event(
        self, _channel: Channel, method: Basic.Deliver, _properties: BasicProperties, body: bytes
    ) -> None:
        service = method.exchange.removesuffix(".events")
        self._on_event(service, method.routing_key, body)

    def _bind(self, service: str) -> None:
        channel: Any = self._channel
        if channel is None or not channel.is_open or self._event_queue is None:
            return
        exchange = f"{service}.events"
        # pika queues synchronous methods of a channel, so the order is kept without waiting.
        if self._declares:
            channel.exchange_declare(
                exchange, exchange_type="topic", durable=True, callback=lambda _: None
            )
        channel.queue_bind(self._event_queue, exchange, "#", callback=lambda _: None)

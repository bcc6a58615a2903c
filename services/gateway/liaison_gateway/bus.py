"""The bus: calls to services, each with a deadline, over one connection that heals itself."""

import asyncio
import json
import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from pika import URLParameters
from pika.channel import Channel
from pika.exceptions import AMQPError
from pika.spec import Basic, BasicProperties

from liaison_gateway.amqp import REPLY_QUEUE, RPC_CHANNEL, Connection, LoopServices, publish_frame
from liaison_gateway.problems import ModuleDown
from liaison_kit.telemetry import log
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.sealing import seal

RPC_EXCHANGE = "nameko-rpc"
MANIFESTS = "liaison.manifests"
DISCOVERY = "liaison.discovery"
EVENTS_KEPT_BY_BROKER = 10_000
SWEEP_EVERY_S = 0.05
FIRST_RETRY_S, LAST_RETRY_S = 0.1, 5.0
HEADERS_REMEMBERED = 4096

RawHeaders = list[tuple[bytes, bytes]]


class Head(NamedTuple):
    """What a service says about its reply; `headers` are ready for ASGI, content type included."""

    status: int
    headers: RawHeaders
    parts: int
    upload: str | None
    size: int | None


class Reply(NamedTuple):
    """A service's answer, its body untouched."""

    head: Head
    body: bytes


class _Call(NamedTuple):
    answer: "asyncio.Future[Reply]"
    service: str
    deadline: float
    timeout_s: float
    doubt: bool


class Target:
    """One operation of one service, with its publish frame made once.

    `sealed` bodies hold a secret: only the service can read what is sent of them.
    """

    __slots__ = ("frame", "operation", "sealed", "service")

    def __init__(self, service: str, operation: str, *, sealed: bool = False) -> None:
        self.service = service
        self.operation = operation
        self.sealed = sealed
        self.frame = publish_frame(RPC_EXCHANGE, f"{service}.{operation}")


class Heads:
    """Parses reply headers; equal ones (a list's, a 204's, a low version's) are parsed once."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def read(self, raw: bytes) -> Head:
        """The parsed header; raises when it is not one."""
        head = self._known.get(raw)
        if head is None:
            head = self._parse(raw)
            if len(self._known) >= HEADERS_REMEMBERED:
                self._known.clear()
            self._known[raw] = head
        return head

    @staticmethod
    def _parse(raw: bytes) -> Head:
        said = json.loads(raw)
        headers = [
            (name.lower().encode("latin-1"), str(value).encode("latin-1"))
            for name, value in (said.get("headers") or {}).items()
        ]
        content_type = said.get("content_type")
        if content_type:
            headers.append((b"content-type", content_type.encode("latin-1")))
        return Head(
            status=int(said["status"]),
            headers=headers,
            parts=int(said.get("parts") or 0),
            upload=said.get("upload"),
            size=said.get("size"),
        )


class Bus:
    """Calls and their replies, manifests and events, over one connection that comes back by itself.

    `on_manifest(body)` and `on_event(service, routing key, body)` are called for each message,
    `on_timeout(service)` when a call was not answered by its deadline,
    `on_up()` after each (re)connection.
    """

    def __init__(
        self,
        amqp_url: str,
        keys: Keyring,
        *,
        on_manifest: Callable[[bytes], None],
        on_event: Callable[[str, str, bytes], None],
        on_timeout: Callable[[str], None],
        on_up: Callable[[], None],
        max_in_flight: int = 1000,
        declares: bool = True,
    ) -> None:
        self._keys = keys
        self._parameters = URLParameters(amqp_url)
        if "heartbeat" not in amqp_url:
            self._parameters.heartbeat = 20
        self._parameters.client_properties = {"connection_name": "liaison gateway"}
        self._parameters.socket_timeout = self._parameters.stack_timeout = 10
        self._on_manifest = on_manifest
        self._on_event = on_event
        self._on_timeout = on_timeout
        self._on_up = on_up
        self._max_in_flight = max_in_flight
        self._declares = declares
        self._connection: Connection | None = None
        self._topology: Channel | None = None
        self._event_queue: str | None = None
        self._pending: dict[bytes, _Call] = {}
        self._sources: set[str] = set()
        self._heads = Heads()
        self._number = random.getrandbits(32)
        self._keeper: asyncio.Task[None] | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._stopping = False
        self.up = False
        self.reconnections = 0
        self.timeouts = 0
        self.returned = 0

    @property
    def in_flight(self) -> int:
        """Calls waiting for their reply."""
        return len(self._pending)

    def start(self) -> None:
        """Connect, now and whenever the connection is lost, until `stop`."""
        self._keeper = asyncio.create_task(self._keep_connected(), name="bus")
        self._sweeper = asyncio.create_task(self._sweep(), name="bus deadlines")

    async def stop(self) -> None:
        """Close the connection; calls still waiting fail."""
        self._stopping = True
        for task in (self._keeper, self._sweeper):
            if task is not None:
                task.cancel()
                with suppress(asyncio.CancelledError):
                    await task
        connection = self._connection
        if connection is not None and connection.is_open:
            self._lost.clear()
            connection.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), 2)
        self._fail_all("the gateway is stopping")

    def call(
        self,
        target: Target,
        header: bytes,
        body: bytes,
        timeout_s: float,
        *,
        doubt: bool = True,
    ) -> "asyncio.Future[Reply]":
        """Send one call; by the deadline the future holds the reply or `ModuleDown`.

        `doubt` says whether a missed deadline makes one doubt that the service is there: one that
        the caller chose does not.
        """
        if not self.up:
            raise ModuleDown(
                f"The module {target.service} cannot be reached: no connection to the broker.",
                target.service,
            )
        if len(self._pending) >= self._max_in_flight:
            raise ModuleDown("Liaison is busy; ask again in a moment.", target.service)
        if target.sealed and body:
            body = seal(self._keys, target.service, target.operation, body)
        self._number += 1
        correlation_id = b"%x" % self._number
        answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self._pending[correlation_id] = _Call(
            answer, target.service, time.monotonic() + timeout_s, timeout_s, doubt
        )
        assert self._connection is not None
        try:
            self._connection.call(
                target.frame, header, body, correlation_id, b"%d" % max(1, int(timeout_s * 1000))
            )
        except Exception:
            del self._pending[correlation_id]
            raise
        return answer

    def discover(self) -> None:
        """Ask every service to announce itself."""
        if self._topology is not None and self._topology.is_open:
            self._topology.basic_publish(DISCOVERY, "", b"")

    def follow(self, service: str) -> None:
        """Hear the events of a service from now on."""
        if service in self._sources:
            return
        self._sources.add(service)
        self._bind(service)

    # ---- replies

    def _reply(self, correlation_id: bytes, header: bytes, body: bytes) -> None:
        call = self._pending.pop(correlation_id, None)
        if call is None or call.answer.done():
            # The deadline passed or the client left; the answer has no reader.
            return
        try:
            head = self._heads.read(header)
        except (ValueError, KeyError, TypeError, AttributeError):
            log.error("unreadable reply header", service=call.service)
            down = ModuleDown(f"The module {call.service} gave an unreadable answer.", call.service)
            call.answer.set_exception(down)
            return
        call.answer.set_result(Reply(head, body))

    def _returned(
        self, _channel: Channel, _method: Basic.Return, properties: BasicProperties, _body: bytes
    ) -> None:
        self.returned += 1
        call = self._pending.pop((properties.correlation_id or "").encode(), None)
        if call is not None and not call.answer.done():
            call.answer.set_exception(
                ModuleDown(f"The module {call.service} is not running.", call.service)
            )

    async def _sweep(self) -> None:
        # One coarse sweep costs less than a timer per call, and 50 ms late is on time.
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            if not self._pending:
                continue
            now = time.monotonic()
            late = [(key, call) for key, call in self._pending.items() if call.deadline <= now]
            for key, call in late:
                del self._pending[key]
                if call.answer.done():
                    continue
                self.timeouts += 1
                down = ModuleDown(
                    f"The module {call.service} did not answer within {call.timeout_s:g} s.",
                    call.service,
                )
                call.answer.set_exception(down)
                if call.doubt:
                    self._on_timeout(call.service)

    def _fail_all(self, why: str) -> None:
        pending, self._pending = self._pending, {}
        for call in pending.values():
            if not call.answer.done():
                call.answer.set_exception(
                    ModuleDown(f"The module {call.service} cannot be reached: {why}.", call.service)
                )

    # ---- the connection

    async def _keep_connected(self) -> None:
        delay = FIRST_RETRY_S
        first = True
        while not self._stopping:
            self._lost = asyncio.Event()
            try:
                await self._connect()
            except (AMQPError, OSError, TimeoutError) as error:
                log.warning("broker not reachable", error=repr(error))
                await asyncio.sleep(delay * random.uniform(0.75, 1.25))
                delay = min(delay * 2, LAST_RETRY_S)
                continue
            if not first:
                self.reconnections += 1
            first = False
            delay = FIRST_RETRY_S
            await self._lost.wait()
            await asyncio.sleep(FIRST_RETRY_S)

    async def _connect(self) -> None:
        loop = asyncio.get_running_loop()
        opened: asyncio.Future[None] = loop.create_future()
        lost = self._lost

        def on_open(_connection: Any) -> None:
            if not opened.done():
                opened.set_result(None)

        def on_error(_connection: Any, error: BaseException) -> None:
            if not opened.done():
                known = isinstance(error, AMQPError)
                opened.set_exception(error if known else OSError(repr(error)))

        def on_close(_connection: Any, error: BaseException) -> None:
            if self.up:
                log.warning("connection to the broker lost", error=repr(error))
            self.up = False
            self._topology = None
            self._fail_all("the connection to the broker was lost")
            lost.set()

        connection = Connection(
            self._parameters,
            on_open_callback=on_open,
            on_open_error_callback=on_error,
            on_close_callback=on_close,
            custom_ioloop=LoopServices(),
            on_reply=self._reply,
        )
        self._connection = connection
        await asyncio.wait_for(opened, 15)
        try:
            async with asyncio.timeout(10):
                await self._open_rpc(connection)
                await self._open_topology(connection)
        except BaseException:
            if connection.is_open:
                connection.close()
            raise
        if lost.is_set():
            raise OSError("the connection was lost while it was set up")
        self.up = True
        self._on_up()
        log.info("connected to the broker")
        self.discover()

    async def _channel(self, connection: Connection, number: int) -> Channel:
        opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
        connection.channel(number, on_open_callback=opened.set_result)
        channel = await opened

        def on_close(_channel: Channel, reason: Exception) -> None:
            # Without its channels the connection is of no use: start afresh.
            log.warning("channel closed", error=repr(reason))
            if connection.is_open:
                connection.close()

        channel.add_on_close_callback(on_close)
        return channel

    async def _open_rpc(self, connection: Connection) -> None:
        channel = await self._channel(connection, RPC_CHANNEL)
        channel.add_on_return_callback(self._returned)
        if self._declares:
            await _done(channel.exchange_declare, RPC_EXCHANGE, exchange_type="topic", durable=True)
        # Replies are read by `Connection` before pika dispatches them; pika only needs a consumer.
        await _done(channel.basic_consume, REPLY_QUEUE, lambda *_: None, auto_ack=True)

    async def _open_topology(self, connection: Connection) -> None:
        channel = await self._channel(connection, RPC_CHANNEL + 1)
        for exchange in (MANIFESTS, DISCOVERY) if self._declares else ():
            await _done(channel.exchange_declare, exchange, exchange_type="fanout", durable=True)
        declared = await _done(channel.queue_declare, "", exclusive=True, auto_delete=True)
        manifests = declared.method.queue
        await _done(channel.queue_bind, manifests, MANIFESTS)
        await _done(
            channel.basic_consume,
            manifests,
            lambda _c, _m, _p, body: self._on_manifest(body),
            auto_ack=True,
        )
        # Events only tell screens to look again: the oldest may be dropped when there are too many.
        declared = await _done(
            channel.queue_declare,
            "",
            exclusive=True,
            auto_delete=True,
            arguments={"x-max-length": EVENTS_KEPT_BY_BROKER, "x-overflow": "drop-head"},
        )
        self._event_queue = declared.method.queue
        await _done(
            channel.basic_consume,
            self._event_queue,
            self._event,
            auto_ack=True,
        )
        self._topology = channel
        for service in self._sources:
            self._bind(service)

    def _event(
        self, _channel: Channel, method: Basic.Deliver, _properties: BasicProperties, body: bytes
    ) -> None:
        service = method.exchange.removesuffix(".events")
        self._on_event(service, method.routing_key, body)

    def _bind(self, service: str) -> None:
        channel = self._topology
        if channel is None or not channel.is_open or self._event_queue is None:
            return
        exchange = f"{service}.events"
        # pika queues synchronous methods of a channel, so the order is kept without waiting.
        if self._declares:
            channel.exchange_declare(
                exchange, exchange_type="topic", durable=True, callback=lambda _: None
            )
        channel.queue_bind(self._event_queue, exchange, "#", callback=lambda _: None)


async def _done(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A pika method that answers through a callback, awaited."""
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def answer(frame: Any) -> None:
        if not answered.done():
            answered.set_result(frame)

    method(*args, callback=answer, **kwargs)
    return await answered

"""Connections to the broker that come back by themselves."""

import asyncio
import random
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Any

from pika import URLParameters
from pika.channel import Channel
from pika.exceptions import AMQPError

from liaison_gateway.amqp import Connection, LoopServices, OnReply
from liaison_kit.telemetry import log

FIRST_RETRY_S, LAST_RETRY_S = 0.1, 1.0
CONNECT_WITHIN_S, SET_UP_WITHIN_S = 15, 10


class KeptConnection:
    """One connection, made again whenever it is lost, until `stop`.

    `set_up` opens the channels of each new connection; `on_lost` is told when one has ended.
    """

    def __init__(
        self,
        amqp_url: str,
        name: str,
        set_up: Callable[[Connection], Awaitable[None]],
        *,
        on_lost: Callable[[], None],
        on_up: Callable[[], None] = lambda: None,
        on_reply: OnReply = lambda *_: None,
        on_sent: Callable[[], None] = lambda: None,
    ) -> None:
        self._parameters = URLParameters(amqp_url)
        if "heartbeat" not in amqp_url:
            self._parameters.heartbeat = 20
        self._parameters.client_properties = {"connection_name": f"liaison gateway {name}"}
        self._parameters.socket_timeout = self._parameters.stack_timeout = 10
        self._name = name
        self._set_up = set_up
        self._on_lost = on_lost
        self._on_up = on_up
        self._on_reply = on_reply
        self._on_sent = on_sent
        self._keeper: asyncio.Task[None] | None = None
        self._lost = asyncio.Event()
        self._connected_before = self._stopping = False
        self.connection: Connection | None = None
        self.up = False
        self.reconnections = 0

    def start(self) -> None:
        """Connect, now and whenever the connection is lost."""
        self._keeper = asyncio.create_task(self._keep(), name=f"broker {self._name}")

    async def stop(self) -> None:
        """Close the connection for good."""
        self._stopping = True
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
        connection = self.connection
        if connection is not None and connection.is_open:
            self._lost.clear()
            connection.close()
            with suppress(TimeoutError):
                await asyncio.wait_for(self._lost.wait(), 2)

    async def _keep(self) -> None:
        delay = FIRST_RETRY_S
        while not self._stopping:
            self._lost = asyncio.Event()
            try:
                await self._connect()
            except (AMQPError, OSError, TimeoutError) as error:
                log.warning("broker not reachable", connection=self._name, error=repr(error))
                await asyncio.sleep(delay * random.uniform(0.75, 1.25))
                delay = min(delay * 2, LAST_RETRY_S)
                continue
            delay = FIRST_RETRY_S
            await self._lost.wait()
            await asyncio.sleep(FIRST_RETRY_S)

    async def _connect(self) -> None:
        opened: asyncio.Future[None] = asyncio.get_running_loop().create_future()
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
                log.warning(
                    "connection to the broker lost", connection=self._name, error=repr(error)
                )
            self.up = False
            self._on_lost()
            lost.set()

        connection = Connection(
            self._parameters,
            on_open_callback=on_open,
            on_open_error_callback=on_error,
            on_close_callback=on_close,
            custom_ioloop=LoopServices(),
            on_reply=self._on_reply,
            on_sent=self._on_sent,
        )
        self.connection = connection
        await asyncio.wait_for(opened, CONNECT_WITHIN_S)
        try:
            async with asyncio.timeout(SET_UP_WITHIN_S):
                await self._set_up(connection)
        except BaseException:
            if connection.is_open:
                connection.close()
            raise
        if lost.is_set():
            raise OSError("the connection was lost while it was set up")
        self.up = True
        self.reconnections += self._connected_before
        self._connected_before = True
        log.info("connected to the broker", connection=self._name)
        self._on_up()


async def open_channel(connection: Connection, number: int) -> Channel:
    """A channel of the connection; when it ends, the connection starts afresh."""
    opened: asyncio.Future[Channel] = asyncio.get_running_loop().create_future()
    connection.channel(number, on_open_callback=opened.set_result)
    channel = await opened

    def on_close(_channel: Channel, reason: Exception) -> None:
        # Without its channels the connection is of no use.
        log.warning("channel closed", error=repr(reason))
        if connection.is_open:
            connection.close()

    channel.add_on_close_callback(on_close)
    return channel


async def done(method: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
    """A pika method that answers through a callback, awaited."""
    answered: asyncio.Future[Any] = asyncio.get_running_loop().create_future()

    def answer(frame: Any) -> None:
        if not answered.done():
            answered.set_result(frame)

    method(*args, callback=answer, **kwargs)
    return await answered

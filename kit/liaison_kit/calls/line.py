"""Lines to the broker: connections that come back by themselves and that anybody may write on."""

import random
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import amqp
import eventlet
from eventlet.event import Event

from liaison_kit.calls.amqp_writes import connect
from liaison_kit.settings import settings
from liaison_kit.telemetry import log

CONNECTION_ERRORS = (OSError, amqp.exceptions.AMQPError)

HEARTBEAT_S = 30
CONNECT_WITHIN_S = 5
SET_UP_WITHIN_S = 15
"""How long connecting and all that is declared may take: an answer that never comes is given up."""
LOOK_UP_S = 0.5
"""How long the reading may wait for the broker before it looks whether there is something to do."""
FIRST_RETRY_S, LAST_RETRY_S = 0.1, 1.0


class SetUpTookTooLong(OSError):
    """The broker has not answered while a connection was set up."""


class Line:
    """One connection, read by the greenlet that runs `run`; all others only write.

    `opened` is given each new connection, to open its channels; `lost` is told when one has ended.
    Two greenlets can't read from one socket: whatever waits for the broker's answer is done
    `in_turn`, by the greenlet that reads.
    """

    def __init__(
        self,
        name: str,
        opened: Callable[[Any], None],
        lost: Callable[[], None] = lambda: None,
    ) -> None:
        self._name = name
        self._opened = opened
        self._lost = lost
        self._up = Event()
        self._ended = Event()
        self._running = self._closing = False
        self._to_do: list[Callable[[], None]] = []

    @property
    def up(self) -> bool:
        """Whether the broker is there."""
        return bool(self._up.ready())

    def wait_until_up(self, seconds: float) -> bool:
        """Whether the broker is there, or comes within so many seconds."""
        self._up.wait(seconds)
        return self.up

    def run(self) -> None:
        """Keep the connection until `close`."""
        self._running = True
        pause = FIRST_RETRY_S
        while not self._closing:
            connection = None
            try:
                try:
                    with eventlet.Timeout(SET_UP_WITHIN_S, SetUpTookTooLong()):
                        connection = self._connect()
                        self._opened(connection)
                except SetUpTookTooLong as error:
                    raise SetUpTookTooLong(_awaited(connection)) from error
                self._up.send()
                pause = FIRST_RETRY_S
                self._read(connection)
            except CONNECTION_ERRORS as error:
                if self.up:
                    log.warning("line to the broker lost", line=self._name, error=_said(error))
                else:
                    log.info("broker not reachable", line=self._name, error=_said(error))
            if self.up:
                self._up = Event()
            if connection is not None:
                with suppress(Exception):
                    connection.close() if self._closing else connection.collect()
                self._lost()
            if not self._closing:
                eventlet.sleep(pause * random.uniform(0.75, 1.25))
                pause = min(2 * pause, LAST_RETRY_S)
        self._ended.send()

    def in_turn(self, work: Callable[[], None]) -> None:
        """Have the reading greenlet do something soon."""
        self._to_do.append(work)

    def close(self) -> None:
        """Send what has been written and end; returns when the connection is closed."""
        self._closing = True
        if self._running:
            self._ended.wait(CONNECT_WITHIN_S)

    def _connect(self) -> Any:
        # kombu's own way tries again by itself, after two seconds.
        return connect(
            settings().broker,
            heartbeat=HEARTBEAT_S,
            connect_timeout=CONNECT_WITHIN_S,
            transport_options={"client_properties": {"connection_name": self._name}},
        ).transport.establish_connection()

    def _read(self, connection: Any) -> None:
        beat = time.monotonic() + 1
        while not self._closing:
            while self._to_do:
                self._to_do.pop(0)()
            with suppress(TimeoutError):
                connection.drain_events(timeout=LOOK_UP_S)
            now = time.monotonic()
            if now > beat:
                connection.heartbeat_tick()
                beat = now + 1


def _awaited(connection: Any) -> str:
    """Which answers of the broker, by AMQP's numbers of class and method, have not come."""
    if connection is None:
        return "it was being connected"
    channels = [connection, *connection.channels.values()]
    waiting = {channel.channel_id: sorted(channel._pending) for channel in channels}
    return f"{SET_UP_WITHIN_S} s, waiting on channels for {waiting}"


def _said(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error)[:200]}"

"""One connection to RabbitMQ, driven by a loop of its own, for whoever sends or takes events.

pika's callbacks run in the greenlet (or thread) that called `run`; others hand work over with
`call`. It works the same in a process patched by eventlet, where only `select` is left to poll.
"""

import contextlib
from collections.abc import Callable
from typing import Any

import pika
from pika.adapters.select_connection import SelectConnection

HEARTBEAT_S = 30


class BrokerLost(Exception):
    """The connection could not be opened, or has ended."""


def close_whole(channel: Any) -> None:
    """Close a channel in one step, so that all that it holds goes back in its place.

    pika cancels a channel's consumers before it closes it. In between, the queue's next consumer
    would get what comes later than what is still held here.
    """
    if channel.is_open:
        channel._cancelled.update(channel._consumers)
        channel.close()


class Connection:
    """A connection from its opening to its end; make a new one to connect again."""

    def __init__(self, url: str, name: str, opened: Callable[["Connection"], None]) -> None:
        parameters = pika.URLParameters(url)
        parameters.client_properties = {"connection_name": name}
        parameters.heartbeat = HEARTBEAT_S
        parameters.connection_attempts = 1
        parameters.socket_timeout = parameters.stack_timeout = 5
        self._opened = opened
        self._ending = False
        self._error: Exception | None = None
        self._watched: list[int] = []
        self.pika = SelectConnection(
            parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=self._on_error,
            on_close_callback=self._on_error,
        )
        self.loop: Any = self.pika.ioloop

    def run(self) -> None:
        """Work until `end` is called; `BrokerLost` when the connection ends otherwise."""
        try:
            self.loop.start()
        finally:
            self._close()
        if not self._ending:
            raise BrokerLost(f"{type(self._error).__name__}: {self._error}")

    def call(self, work: Callable[[], Any]) -> None:
        """Have the loop do something; may be called from any greenlet or thread."""
        # The loop may have been closed meanwhile; then there is nobody left to do it.
        with contextlib.suppress(AttributeError, OSError):
            self.loop.add_callback_threadsafe(work)

    def watch(self, fileno: int, readable: Callable[[int, int], None]) -> None:
        """Have the loop tell when there is something to read elsewhere as well."""
        self.loop.add_handler(fileno, readable, self.loop.READ)
        self._watched.append(fileno)

    def unwatch(self, fileno: int) -> None:
        """What comes there may wait for a while."""
        self.loop.remove_handler(fileno)
        self._watched.remove(fileno)

    def end(self) -> None:
        """Leave the loop and close the connection."""
        self._ending = True
        self.call(self.loop.stop)

    def _on_open(self, _connection: SelectConnection) -> None:
        self._opened(self)

    def _on_error(self, _connection: SelectConnection, error: Any) -> None:
        self._error = self._error or error
        self.loop.stop()

    def _close(self) -> None:
        # Whoever is watched may be why we are here: their descriptor may be closed, or another's.
        for fileno in self._watched:
            with contextlib.suppress(KeyError, OSError, AttributeError):
                self.loop.remove_handler(fileno)
        with contextlib.suppress(Exception):
            if self.pika.is_open:
                for channel in list(self.pika._channels.values()):
                    close_whole(channel)
                self.pika.close()
                self.loop.call_later(2, self.loop.stop)
                self.loop.start()
        with contextlib.suppress(Exception):
            self.loop.close()

"""A connection to the broker that any greenlet may publish on."""

from collections.abc import Callable
from typing import Any

import amqp
import eventlet
import kombu
from amqp.exceptions import RecoverableConnectionError
from eventlet.semaphore import Semaphore

from liaison_kit.calls.amqp_writes import connect
from liaison_kit.calls.wire import HEADER
from liaison_kit.settings import settings
from liaison_kit.telemetry import log

CONNECTION_ERRORS = (OSError, RecoverableConnectionError, amqp.exceptions.ConnectionError)


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
            self._connection = connect(settings().broker, heartbeat=0, connect_timeout=5)
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

"""Broker connections that write once per turn of the event loop, and read what there is at once.

A reply and an ack are a system call each, and on a busy service those calls cost more than making
the messages did. What several greenlets write in one turn goes out together here.
"""

import socket
from contextlib import suppress
from typing import Any, ClassVar

import amqp
import eventlet
import kombu
from kombu.transport import pyamqp

from liaison_kit.telemetry import log

READ_AHEAD = 65_536


class TurnConnection(pyamqp.Connection):  # type: ignore[misc]
    """An AMQP connection that sends what one turn of the ready greenlets has written."""

    # With "connection.blocked" py-amqp looks for that notice before each publish: a system call and
    # a timeout per reply. A broker that is short of memory stops reading from us just the same.
    negotiate_capabilities: ClassVar[dict[str, bool]] = {
        name: wanted
        for name, wanted in pyamqp.Connection.negotiate_capabilities.items()
        if name != "connection.blocked"
    }

    def Transport(self, *given: Any, **named: Any) -> Any:  # noqa: N802 - py-amqp's name
        transport = super().Transport(*given, **named)
        transport.write = _Writes(transport).write
        set_up = transport._setup_transport

        def read_ahead() -> None:
            set_up()
            receive = transport._quick_recv
            # py-amqp asks for the few bytes that it needs next, and keeps what is more.
            transport._quick_recv = lambda wanted: receive(max(wanted, READ_AHEAD))

        transport._setup_transport = read_ahead
        return transport


class _Writes:
    """What is written to a connection in one turn, sent as one block."""

    def __init__(self, transport: Any) -> None:
        self._transport = transport
        self._waiting: list[bytes] = []

    def write(self, data: Any) -> None:
        """Have something sent at the end of this turn, after all that was written before."""
        if not self._transport.connected:
            raise amqp.exceptions.RecoverableConnectionError("connection lost")
        # py-amqp reuses the buffer that it hands over.
        self._waiting.append(bytes(data))
        if len(self._waiting) == 1:
            eventlet.spawn_n(self._send)

    def _send(self) -> None:
        try:
            while self._waiting:
                # They stay in the list while they are sent: who writes meanwhile waits in line.
                sent = len(self._waiting)
                self._send_whole(b"".join(self._waiting))
                del self._waiting[:sent]
        except Exception as error:
            # Perhaps half a frame has gone, and nothing may follow it: nobody writes any more, and
            # the reader of this connection, who opens a new one, is told by its end.
            self._transport.connected = False
            self._waiting.clear()
            log.info("broker can't be written to", error=f"{type(error).__name__}: {error}"[:200])
            with suppress(OSError, AttributeError):
                self._transport.sock.shutdown(socket.SHUT_RDWR)

    def _send_whole(self, block: bytes) -> None:
        rest = memoryview(block)
        while rest:
            # The reader's limit for waiting, set on the socket that both share, isn't ours: a
            # broker that is busy reads on later, and one that is gone ends the reader's wait.
            with suppress(TimeoutError):
                rest = rest[self._transport.sock.send(rest) :]


class TurnTransport(pyamqp.Transport):  # type: ignore[misc]
    """kombu's transport over such connections."""

    Connection = TurnConnection


def connect(url: str, **options: Any) -> kombu.Connection:
    """A connection to the broker that writes once per turn; opened at first use."""
    return kombu.Connection(url, transport=TurnTransport, **options)

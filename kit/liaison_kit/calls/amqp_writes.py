"""Broker connections that write once per turn of the event loop, and read what there is at once.

A reply and an ack are a system call each, and on a busy service those calls cost more than making
the messages did. What several greenlets write in one turn goes out together here.
"""

from typing import Any, ClassVar

import amqp
import eventlet
import kombu
from kombu.transport import pyamqp

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
        send = transport.write
        waiting: list[bytes] = []

        def flush() -> None:
            while waiting:
                block = b"".join(waiting)
                # They stay in the list while they are sent: who writes meanwhile waits in line.
                sent = len(waiting)
                try:
                    send(block)
                except OSError:
                    # The reader of this connection meets the same error and opens a new one.
                    waiting.clear()
                    return
                del waiting[:sent]

        def write(data: Any) -> None:
            if not transport.connected:
                raise amqp.exceptions.RecoverableConnectionError("connection lost")
            # py-amqp reuses the buffer that it hands over.
            waiting.append(bytes(data))
            if len(waiting) == 1:
                eventlet.spawn_n(flush)

        set_up = transport._setup_transport

        def read_ahead() -> None:
            set_up()
            receive = transport._quick_recv
            # py-amqp asks for the few bytes that it needs next, and keeps what is more.
            transport._quick_recv = lambda wanted: receive(max(wanted, READ_AHEAD))

        transport.write = write
        transport._setup_transport = read_ahead
        return transport


class TurnTransport(pyamqp.Transport):  # type: ignore[misc]
    """kombu's transport over such connections."""

    Connection = TurnConnection


def connect(url: str, **options: Any) -> kombu.Connection:
    """A connection to the broker that writes once per turn; opened at first use."""
    return kombu.Connection(url, transport=TurnTransport, **options)

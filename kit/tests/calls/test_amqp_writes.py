"""What is written to the broker goes out whole and in order, or the connection ends."""

import socket
from collections.abc import Iterator
from typing import Any

import amqp
import eventlet
import pytest
from eventlet.greenio import GreenSocket

from liaison_kit.calls.amqp_writes import TurnConnection

WAIT_S = 0.01


class Ends:
    """A connection's transport over a pair of sockets, and what its own end has run into."""

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
        self.ours, self.theirs = GreenSocket(ours), GreenSocket(theirs)
        self.given_up = 0
        send = self.ours.send

        def counted(data: Any) -> int:
            try:
                return int(send(data))
            except TimeoutError:
                self.given_up += 1
                raise

        self.ours.send = counted
        self.transport = TurnConnection().Transport("nowhere", connect_timeout=1)
        self.transport.sock, self.transport.connected = self.ours, True

    def read(self, wanted: int) -> bytes:
        """What has come to the other end, until that much has or nothing more will."""
        parts: list[bytes] = []
        while wanted > 0 and (part := self.theirs.recv(wanted)):
            parts.append(part)
            wanted -= len(part)
        return b"".join(parts)


@pytest.fixture
def ends() -> Iterator[Ends]:
    made = Ends()
    with eventlet.Timeout(60):
        yield made
    made.ours.close()
    made.theirs.close()


def test_what_is_written_in_one_turn_is_sent_together(ends: Ends) -> None:
    buffer = bytearray(b"first ")

    ends.transport.write(buffer)
    buffer[:] = b"other "
    ends.transport.write(b"second")
    eventlet.sleep(0)

    assert ends.theirs.recv(100) == b"first second"


def test_a_reader_that_gives_up_waiting_loses_nothing_that_is_written(ends: Ends) -> None:
    blocks = [bytes([number]) * 50_000 for number in range(8)]
    for block in blocks:
        ends.transport.write(block)

    # As the reader does while it waits for a moment only, on the socket that both share.
    with ends.transport.having_timeout(WAIT_S):
        while ends.given_up < 3:
            eventlet.sleep(WAIT_S)
        ends.transport.write(b"and then")
        wanted = b"".join(blocks) + b"and then"
        assert ends.read(len(wanted)) == wanted


def test_a_block_that_is_cut_ends_the_connection(ends: Ends) -> None:
    def fails(_data: Any) -> int:
        raise RuntimeError("second simultaneous write")

    ends.ours.send = fails
    ends.transport.write(b"half a frame")
    eventlet.sleep(0)

    assert ends.theirs.recv(100) == b""
    with pytest.raises(amqp.exceptions.RecoverableConnectionError):
        ends.transport.write(b"more")

"""The short way through pika says on the wire what pika would have said."""

import asyncio
from typing import Any

import pytest
from pika import spec
from pika.frame import Body, Header, Method, decode_frame

from liaison_gateway.amqp import REPLY_QUEUE, RPC_CHANNEL, Connection, publish_frame


class Loose(Connection):
    """A connection without a broker: what it would send is kept."""

    def __init__(self, replies: list[Any]) -> None:
        self.sent = b""
        self._frame_buffer = b""
        self.frames_received = self.bytes_received = self.bytes_sent = 0
        self._body_max_length = 10
        self._on_reply = lambda *reply: replies.append(reply)
        self._in_reply = False
        self._missing = 0
        self._parts = []
        self._unsent = []
        self._on_sent = lambda: None
        self._loop = asyncio.get_running_loop()
        self._transport = self

    def _adapter_emit_data(self, data: bytes) -> None:
        self.sent += data


def test_a_published_call_reads_back_with_pika():
    async def publish() -> bytes:
        connection = Loose([])
        frame = publish_frame("nameko-rpc", "contacts.get_contact")
        connection.call(frame, '{"é":1}'.encode(), b"0123456789abcde", b"2a", b"1500")
        await asyncio.sleep(0)
        return connection.sent

    sent = asyncio.run(publish())

    frames = []
    while sent:
        size, frame = decode_frame(sent)
        frames.append(frame)
        sent = sent[size:]
    method, header, *bodies = frames
    assert method.method.routing_key == "contacts.get_contact"
    assert method.method.mandatory is True
    assert header.body_size == 15
    assert header.properties.headers == {"liaison": '{"é":1}'}
    assert header.properties.correlation_id == "2a"
    assert header.properties.reply_to == REPLY_QUEUE
    assert header.properties.expiration == "1500"
    assert header.properties.delivery_mode == 1
    assert [body.fragment for body in bodies] == [b"0123456789", b"abcde"]


@pytest.mark.parametrize("chunk", [1, 7, 10_000])
@pytest.mark.parametrize(
    "properties",
    [
        {"headers": {"liaison": "{}"}, "correlation_id": "a"},
        {"headers": {"other": 1, "liaison": "{}"}, "correlation_id": "a", "priority": 3},
        {
            "content_type": "text/plain",
            "content_encoding": "x",
            "headers": {"liaison": "{}"},
            "delivery_mode": 1,
            "correlation_id": "a",
            "message_id": "m",
        },
    ],
)
def test_a_reply_is_read_however_it_is_cut(chunk: int, properties: dict[str, Any]):
    async def read() -> list[Any]:
        replies: list[Any] = []
        connection = Loose(replies)
        deliver = spec.Basic.Deliver("tag", 1, False, "", "reply")
        for body in ([b"hello ", b"world"], []):
            size = sum(map(len, body))
            stream = b"".join(
                frame.marshal()
                for frame in (
                    Method(RPC_CHANNEL, deliver),
                    Header(RPC_CHANNEL, size, spec.BasicProperties(**properties)),
                    *(Body(RPC_CHANNEL, part) for part in body),
                )
            )
            for at in range(0, len(stream), chunk):
                connection._on_data_available(stream[at : at + chunk])
        return replies

    assert asyncio.run(read()) == [(b"a", b"{}", b"hello world"), (b"a", b"{}", b"")]

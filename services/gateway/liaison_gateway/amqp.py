"""A pika connection with a short hot path: uvloop moves the bytes, RPC skips pika's objects.

pika builds about ten Python objects and parses every field of each message; the gateway needs three
fields of a reply. Everything but published calls and their replies still goes through pika itself:
the handshake, heartbeats, channels, declarations, events, returned messages and errors.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine
from typing import Any, cast

from pika import data as amqp_data
from pika import spec
from pika.adapters.asyncio_connection import AsyncioConnection
from pika.adapters.utils import nbio_interface
from pika.frame import decode_frame

from liaison_kit.calls.wire import HEADER, LONGEST_HEADER

RPC_CHANNEL = 1
REPLY_QUEUE = "amq.rabbitmq.reply-to"

_FRAME = struct.Struct(">BHI")
_CONTENT = struct.Struct(">HHQH")
_U32 = struct.Struct(">I")
_FRAME_END = b"\xce"
_METHOD, _HEADER, _BODY, _HEARTBEAT = (
    spec.FRAME_METHOD,
    spec.FRAME_HEADER,
    spec.FRAME_BODY,
    spec.FRAME_HEARTBEAT,
)
_DELIVER = _U32.pack(spec.Basic.Deliver.INDEX)
_TABLE_KEY = bytes([len(HEADER)]) + HEADER.encode() + b"S"
_FLAGS = (
    spec.BasicProperties.FLAG_CONTENT_TYPE
    | spec.BasicProperties.FLAG_HEADERS
    | spec.BasicProperties.FLAG_DELIVERY_MODE
    | spec.BasicProperties.FLAG_CORRELATION_ID
    | spec.BasicProperties.FLAG_REPLY_TO
    | spec.BasicProperties.FLAG_EXPIRATION
)
_JSON = b"\x10application/json"
_REPLY_TO = bytes([len(REPLY_QUEUE)]) + REPLY_QUEUE.encode()

OnReply = Callable[[bytes, bytes, bytes], None]
"""Called with correlation id, the `liaison` header's bytes and the body of each reply."""


def publish_frame(exchange: str, routing_key: str) -> bytes:
    """The `basic.publish` frame of one operation, mandatory, computed once per operation."""
    publish = spec.Basic.Publish(exchange=exchange, routing_key=routing_key, mandatory=True)
    payload = _U32.pack(publish.INDEX) + b"".join(publish.encode())
    return _FRAME.pack(_METHOD, RPC_CHANNEL, len(payload)) + payload + _FRAME_END


def reply_header(table: bytes) -> bytes:
    """The `liaison` header out of an AMQP field table; empty when the peer sent none."""
    if table.startswith(_TABLE_KEY):
        start = len(_TABLE_KEY) + 4
        (length,) = _U32.unpack_from(table, len(_TABLE_KEY))
        return table[start : start + length]
    value = amqp_data.decode_table(_U32.pack(len(table)) + table, 0)[0].get(HEADER, b"")
    return value.encode() if isinstance(value, str) else bytes(value)


class Connection(AsyncioConnection):  # type: ignore[misc]
    """pika's asyncio connection with a short way for the calls on channel 1."""

    _frame_buffer: bytes

    def __init__(
        self, *args: Any, on_reply: OnReply, on_sent: Callable[[], None], **kwargs: Any
    ) -> None:
        self._on_reply = on_reply
        self._on_sent = on_sent
        self._in_reply = False
        self._correlation_id = b""
        self._header = b""
        self._missing = 0
        self._parts: list[bytes] = []
        self._loop = asyncio.get_running_loop()
        self._unsent: list[bytes] = []
        super().__init__(*args, **kwargs)

    def call(
        self, publish: bytes, header: bytes, body: bytes, correlation_id: bytes, expiration: bytes
    ) -> None:
        """Publish one call; `publish` comes from `publish_frame`."""
        if len(header) > LONGEST_HEADER:
            # It would not fit into one frame; the service finds it at the head of the body.
            header, body = b"%d" % len(header), header + body
        size = len(body)
        table = 13 + len(header)
        payload_size = (
            14 + 17 + 4 + table + 1 + 1 + len(correlation_id) + len(_REPLY_TO) + 1 + len(expiration)
        )
        pieces = [
            publish,
            _FRAME.pack(_HEADER, RPC_CHANNEL, payload_size),
            _CONTENT.pack(spec.BasicProperties.INDEX, 0, size, _FLAGS),
            _JSON,
            _U32.pack(table),
            _TABLE_KEY,
            _U32.pack(len(header)),
            header,
            b"\x01",
            bytes((len(correlation_id),)),
            correlation_id,
            _REPLY_TO,
            bytes((len(expiration),)),
            expiration,
            _FRAME_END,
        ]
        if size:
            limit = self._body_max_length
            for start in range(0, size, limit):
                part = body[start : start + limit] if size > limit else body
                pieces += (_FRAME.pack(_BODY, RPC_CHANNEL, len(part)), part, _FRAME_END)
        if not self._unsent:
            self._loop.call_soon(self._send_unsent)
        self._unsent += pieces

    def _send_unsent(self) -> None:
        """Write the calls of one turn of the loop at once: the system call is what costs."""
        data = b"".join(self._unsent)
        self._unsent.clear()
        if self._transport is not None:
            self.bytes_sent += len(data)
            self._adapter_emit_data(data)
        self._on_sent()

    def _on_data_available(self, data_in: bytes) -> None:
        """Take whole frames off the stream: replies here, all others to pika."""
        buffer = self._frame_buffer + data_in if self._frame_buffer else data_in
        size = len(buffer)
        at = 0
        while size - at >= 8:
            kind, channel, length = _FRAME.unpack_from(buffer, at)
            end = at + 8 + length
            if kind not in (_METHOD, _HEADER, _BODY, _HEARTBEAT):
                # A protocol header: the broker speaks another AMQP. pika says so.
                self._frame_buffer = buffer[at:]
                super()._on_data_available(b"")
                return
            if end > size:
                break
            if channel == RPC_CHANNEL and self._reply_frame(kind, buffer, at + 7, end - 1):
                self.frames_received += 1
            else:
                _, frame = decode_frame(buffer[at:end])
                if frame is not None:
                    self._process_frame(frame)
            at = end
        self.bytes_received += at
        self._frame_buffer = buffer[at:]

    def _reply_frame(self, kind: int, buffer: bytes, start: int, end: int) -> bool:
        """Whether the frame is part of a reply; then it has been dealt with."""
        if kind == _METHOD:
            self._in_reply = buffer.startswith(_DELIVER, start)
            return self._in_reply
        if not self._in_reply:
            return False
        if kind == _HEADER:
            self._read_properties(buffer, start)
            if self._missing:
                return True
        else:
            self._parts.append(buffer[start:end])
            self._missing -= end - start
            if self._missing > 0:
                return True
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        parts.clear()
        self._in_reply = False
        self._on_reply(self._correlation_id, self._header, body)
        return True

    def _read_properties(self, buffer: bytes, at: int) -> None:
        _, _, self._missing, flags = _CONTENT.unpack_from(buffer, at)
        at += 14
        self._header = self._correlation_id = b""
        if flags & spec.BasicProperties.FLAG_CONTENT_TYPE:
            at += 1 + buffer[at]
        if flags & spec.BasicProperties.FLAG_CONTENT_ENCODING:
            at += 1 + buffer[at]
        if flags & spec.BasicProperties.FLAG_HEADERS:
            (length,) = _U32.unpack_from(buffer, at)
            self._header = reply_header(buffer[at + 4 : at + 4 + length])
            at += 4 + length
        if flags & spec.BasicProperties.FLAG_DELIVERY_MODE:
            at += 1
        if flags & spec.BasicProperties.FLAG_PRIORITY:
            at += 1
        if flags & spec.BasicProperties.FLAG_CORRELATION_ID:
            self._correlation_id = buffer[at + 1 : at + 1 + buffer[at]]


class _Timer(nbio_interface.AbstractTimerReference):  # type: ignore[misc]
    def __init__(self, handle: asyncio.TimerHandle) -> None:
        self._handle = handle

    def cancel(self) -> None:
        self._handle.cancel()


class _Task(nbio_interface.AbstractIOReference):  # type: ignore[misc]
    def __init__(self, work: Coroutine[Any, Any, Any], done: Callable[[Any], None]) -> None:
        self._task = asyncio.ensure_future(work)
        self._task.add_done_callback(lambda task: self._report(task, done))

    @staticmethod
    def _report(task: "asyncio.Future[Any]", done: Callable[[Any], None]) -> None:
        if not task.cancelled():
            done(task.exception() or task.result())

    def cancel(self) -> bool:
        return self._task.cancel()


class _Stream(asyncio.Protocol, nbio_interface.AbstractStreamTransport):  # type: ignore[misc]
    """Joins pika's protocol to the event loop's own transport, which writes once per turn."""

    def __init__(self, protocol: nbio_interface.AbstractStreamProtocol) -> None:
        self._protocol = protocol
        self._transport: asyncio.Transport | None = None
        # The loop calls these for every chunk: bind them once.
        self.data_received = protocol.data_received  # type: ignore[method-assign]
        self.eof_received = protocol.eof_received  # type: ignore[method-assign]

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports have a transport's methods without being of its class.
        self._transport = cast(asyncio.Transport, transport)
        self.write = self._transport.write  # type: ignore[method-assign]
        self._protocol.connection_made(self)

    def connection_lost(self, exc: Exception | None) -> None:
        self._protocol.connection_lost(exc)

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def get_protocol(self) -> nbio_interface.AbstractStreamProtocol:
        return self._protocol

    def write(self, data: bytes) -> None:
        raise ConnectionError("not connected")

    def get_write_buffer_size(self) -> int:
        return self._transport.get_write_buffer_size() if self._transport is not None else 0


class LoopServices(nbio_interface.AbstractIOServices):  # type: ignore[misc]
    """pika's I/O on the running loop's own transports instead of readable/writable callbacks."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()

    def get_native_ioloop(self) -> asyncio.AbstractEventLoop:
        return self._loop

    def close(self) -> None:
        self._loop.close()

    def run(self) -> None:
        self._loop.run_forever()

    def stop(self) -> None:
        self._loop.stop()

    def add_callback_threadsafe(self, callback: Callable[[], None]) -> None:
        self._loop.call_soon_threadsafe(callback)

    def call_later(self, delay: float, callback: Callable[[], None]) -> _Timer:
        return _Timer(self._loop.call_later(delay, callback))

    def getaddrinfo(
        self,
        host: str,
        port: int,
        on_done: Callable[..., None],
        family: int = 0,
        socktype: int = 0,
        proto: int = 0,
        flags: int = 0,
    ) -> _Task:
        found = self._loop.getaddrinfo(
            host, port, family=family, type=socktype, proto=proto, flags=flags
        )
        return _Task(found, on_done)

    def connect_socket(
        self, sock: socket.socket, resolved_addr: Any, on_done: Callable[..., None]
    ) -> _Task:
        return _Task(self._loop.sock_connect(sock, resolved_addr), on_done)

    def create_streaming_connection(
        self,
        protocol_factory: Callable[[], nbio_interface.AbstractStreamProtocol],
        sock: socket.socket,
        on_done: Callable[..., None],
        ssl_context: ssl.SSLContext | None = None,
        server_hostname: str | None = None,
    ) -> _Task:
        async def link() -> tuple[_Stream, nbio_interface.AbstractStreamProtocol]:
            _, stream = await self._loop.create_connection(
                lambda: _Stream(protocol_factory()),
                sock=sock,
                ssl=ssl_context,
                server_hostname=server_hostname if ssl_context else None,
            )
            return stream, stream.get_protocol()

        return _Task(link(), on_done)

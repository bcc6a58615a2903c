"""The HTTP servers: uvicorn on uvloop and httptools, with problems for what is not even HTTP."""

import asyncio
import json
import os
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any, cast

from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from liaison_gateway.incoming import traceparent
from liaison_gateway.problems import PROBLEM_JSON
from liaison_kit.settings import Settings

HEAD_BYTES_ALLOWED = 64 * 1024
HEAD_TIMEOUT_S = 30.0
IDLE_TIMEOUT_S = 75
STOP_TIMEOUT_S = 20
BACKLOG = 2048


class _Gathering:
    """A transport that writes an answer's head and body at once, at the end of the loop's turn.

    On a proxied request the system calls cost more than all the Python.
    """

    def __init__(self, transport: asyncio.Transport, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._unsent: list[bytes] = []
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        if not self._unsent:
            self._loop.call_soon(self._send_unsent)
        self._unsent.append(data)

    def close(self) -> None:
        self._send_unsent()
        self._transport.close()

    def _send_unsent(self) -> None:
        if self._unsent:
            data = b"".join(self._unsent)
            self._unsent.clear()
            if not self._transport.is_closing():
                self._transport.write(data)


class Protocol(HttpToolsProtocol):
    """uvicorn's protocol with a limit on a request's head and problems instead of plain text."""

    _in_head = True
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, _Gathering(transport, self.loop)))
        # A client that connects and never finishes its first line must not stay for ever.
        self.timeout_keep_alive_task = self.loop.call_later(
            HEAD_TIMEOUT_S, self.timeout_keep_alive_handler
        )

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
            waiting = self.timeout_keep_alive_task
            self.timeout_keep_alive_task = None
            super().data_received(data)
            if not self._in_head:
                if waiting is not None:
                    waiting.cancel()
                return
            # Still no whole head: the clock that was running goes on.
            self.timeout_keep_alive_task = waiting
            if self._head_bytes > HEAD_BYTES_ALLOWED and not self.transport.is_closing():
                self._refuse(431, "head_too_large", "The request's head is too large.")
            return
        super().data_received(data)

    def on_headers_complete(self) -> None:
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        super().on_message_complete()
        self._in_head = True
        self._head_bytes = 0

    def send_400_response(self, msg: str) -> None:
        self._refuse(400, "bad_request", msg)

    def _refuse(self, status: int, code: str, detail: str) -> None:
        problem = {
            "type": f"urn:liaison:problem:{code}",
            "title": "The request can't be read",
            "status": status,
            "detail": detail,
            "code": code,
            "errors": [],
            "trace_id": traceparent({})[3:35],
        }
        body = json.dumps(problem).encode()
        if self.cycle is not None and not self.cycle.response_started:
            # Whoever answers that request has nobody to answer to any more.
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.cycle is None or self.cycle.disconnected or self.cycle.response_complete:
            self.transport.write(
                STATUS_LINE[status]
                + b"content-type: "
                + PROBLEM_JSON
                + b"\r\nx-content-type-options: nosniff\r\nconnection: close\r\ncontent-length: "
                + b"%d\r\n\r\n" % len(body)
                + body
            )
        self.transport.close()


class _Server(Server):
    """A server that first ends what would never end by itself."""

    def __init__(self, config: Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop

    async def shutdown(self, sockets: list[Any] | None = None) -> None:
        self._on_stop()
        await super().shutdown(sockets)


class _QuietServer(Server):
    """The operators' server: the main one handles the signals for both."""

    def capture_signals(self) -> Any:
        return nullcontext()


def make_server(app: ASGIApp, settings: Settings, on_stop: Callable[[], None]) -> Server:
    """The server of the public port."""
    # Behind a proxy, its address in FORWARDED_ALLOW_IPS makes its X-Forwarded-* headers count.
    behind_proxy = bool(os.environ.get("FORWARDED_ALLOW_IPS"))
    config = Config(
        app,
        host=settings.http_host,
        port=settings.http_port,
        loop="uvloop",
        http=Protocol,
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=behind_proxy,
        backlog=BACKLOG,
        timeout_keep_alive=IDLE_TIMEOUT_S,
        timeout_graceful_shutdown=STOP_TIMEOUT_S,
    )
    return _Server(config, on_stop)


def make_ops_server(app: ASGIApp, settings: Settings) -> Server | None:
    """The server of the operators' port, when there is one."""
    if not settings.ops_port:
        return None
    config = Config(
        app,
        host=settings.ops_host,
        port=settings.ops_port,
        http="httptools",
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=1,
    )
    return _QuietServer(config)

"""The HTTP servers: uvicorn on uvloop and httptools, with problems for what is not even HTTP."""

import asyncio
import os
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, cast

import httptools
from starlette.types import ASGIApp
from uvicorn import Config, Server
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from liaison_gateway.incoming import traceparent
from liaison_gateway.limits import HEAD_BYTES_ALLOWED, HEAD_TOO_LARGE
from liaison_gateway.problems import PROBLEM_JSON, HeadTooLarge, RequestTimeout, body_of
from liaison_kit.settings import Settings
from liaison_sdk.errors import BadRequest, LiaisonError

STOP_TIMEOUT_S = 20
BACKLOG = 2048


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection may keep its server waiting, in seconds.

    Each wait has its own clock, and only one is ever running. While a request is being answered
    none is: however long that takes, and however often the client says something meanwhile, the
    answer is the application's to give.
    """

    head_s: float = 30.0
    """For a whole head, from its first byte; of a new connection, from when it was made."""
    idle_s: float = 75.0
    """Between an answer and the first byte of the next request."""
    rest_s: float = 30.0
    """For the rest of a body whose request has been answered already."""
    stalled_s: float = 60.0
    """While the client takes nothing of what is being sent to it."""


Wait = Literal["head", "idle", "rest"]


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
        self.get_write_buffer_size = transport.get_write_buffer_size
        self.abort = transport.abort

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
    """uvicorn's protocol with clocks, with a limit on heads, and with problems instead of text.

    uvicorn's one timer runs between requests only and stops at any byte, so that a client could
    keep a connection by dripping; it stays unset here.
    """

    patience: ClassVar[Patience] = Patience()

    _reading: Literal["nothing", "head", "body"] = "nothing"
    _head_bytes = 0
    _chunk_bytes = 0
    _waiting: Wait | None = None
    _clock: asyncio.TimerHandle | None = None
    _stall: asyncio.TimerHandle | None = None
    _unsent_bytes = 0
    _due = 0
    """Requests whose answer is not complete."""
    _last_words: bytes | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(cast(asyncio.Transport, _Gathering(transport, self.loop)))
        self._wind()

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self._stop_clock()
        self._stop_watching()

    def data_received(self, data: bytes) -> None:
        if self._last_words is not None:
            return
        self._chunk_bytes = len(data)
        # Never less than the head that is being read: what else is in the chunk counts as well.
        self._head_bytes += len(data)
        try:
            self._feed(data)
        except httptools.HttpParserError:
            self._refuse(BadRequest("This is not HTTP."))
        else:
            if self._reading != "nothing" and self._head_bytes > HEAD_BYTES_ALLOWED:
                self._refuse(HeadTooLarge(HEAD_BYTES_ALLOWED))
        self._wind()

    def _feed(self, data: bytes) -> None:
        while True:
            try:
                return self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as upgrade:
                # Nothing here speaks another protocol: the request is answered in this one, and so
                # is what comes after it.
                data = data[upgrade.args[0] :]

    # ---- what is being read

    def on_message_begin(self) -> None:
        self._reading = "head"
        self._head_bytes = self._chunk_bytes
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading == "body":
            # A trailer. The request is with the application already, and nothing here asks for any.
            return
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        if self._head_bytes > HEAD_BYTES_ALLOWED and self._length_of_head() > HEAD_BYTES_ALLOWED:
            # It came in one piece, so that nothing was there to be counted before it was whole.
            self.scope[HEAD_TOO_LARGE] = True  # type: ignore[literal-required]
        super().on_headers_complete()
        self._reading = "body"
        self._due += 1

    def on_body(self, body: bytes) -> None:
        # What comes in a body without being of it, as a trailer is, counts as a head does.
        self._head_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._reading = "nothing"
        super().on_message_complete()

    def _length_of_head(self) -> int:
        return len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers)

    # ---- who is waiting for what

    def on_response_complete(self) -> None:
        """What uvicorn does, without its timer."""
        self._due -= 1
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)
        elif self._last_words is not None:
            self.transport.write(self._last_words)
            self.transport.close()
        self._wind()

    def _wind(self) -> None:
        """Have the clock run of what is waited for now; one that runs for it goes on."""
        wait = self._wait()
        if wait is self._waiting:
            return
        self._stop_clock()
        self._waiting = wait
        if wait is not None:
            seconds: float = getattr(self.patience, f"{wait}_s")
            self._clock = self.loop.call_later(seconds, self._waited)

    def _stop_clock(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
            self._clock = None

    def _wait(self) -> Wait | None:
        if self._due or self.transport.is_closing():
            return None
        if self._reading == "head" or self.cycle is None:
            return "head"
        return "rest" if self._reading == "body" else "idle"

    def _waited(self) -> None:
        self._clock = None
        if self.transport.is_closing():
            return
        if self._reading == "head":
            self._refuse(RequestTimeout("The request's head did not arrive in time."))
        else:
            self.transport.close()

    # ---- a client that takes nothing

    def pause_writing(self) -> None:
        super().pause_writing()
        self._watch()

    def resume_writing(self) -> None:
        super().resume_writing()
        self._stop_watching()

    def _watch(self) -> None:
        self._unsent_bytes = self.transport.get_write_buffer_size()
        self._stall = self.loop.call_later(self.patience.stalled_s, self._stalled)

    def _stop_watching(self) -> None:
        if self._stall is not None:
            self._stall.cancel()
            self._stall = None

    def _stalled(self) -> None:
        self._stall = None
        if self.transport.get_write_buffer_size() >= self._unsent_bytes:
            self.transport.abort()
        else:
            self._watch()

    # ---- refusals

    def _refuse(self, error: LiaisonError) -> None:
        """Say what is wrong with what is being read, after the answers that are due before it."""
        if self._reading == "body" and not self._give_up_request():
            self.transport.close()
            return
        body = body_of(error, traceparent({})[3:35])
        self._last_words = (
            STATUS_LINE[error.status]
            + b"content-type: "
            + PROBLEM_JSON
            + b"\r\nx-content-type-options: nosniff\r\nconnection: close\r\ncontent-length: "
            + b"%d\r\n\r\n" % len(body)
            + body
        )
        if not self._due:
            self.transport.write(self._last_words)
            self.transport.close()

    def _give_up_request(self) -> bool:
        """Leave the request whose body can't be read; False when it has its answer, or part of it.

        Whoever answers it has nobody to answer to any more.
        """
        broken = self.cycle
        if broken.response_started:
            return False
        if self.pipeline and self.pipeline[0][0] is broken:
            self.pipeline.popleft()
        self._due -= 1
        broken.disconnected = True
        broken.message_event.set()
        return True


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


def make_server(
    app: ASGIApp,
    settings: Settings,
    on_stop: Callable[[], None],
    patience: Patience = Protocol.patience,
) -> Server:
    """The server of the public port."""
    # Behind a proxy, its address in FORWARDED_ALLOW_IPS makes its X-Forwarded-* headers count.
    behind_proxy = bool(os.environ.get("FORWARDED_ALLOW_IPS"))
    config = Config(
        app,
        host=settings.http_host,
        port=settings.http_port,
        loop="uvloop",
        http=type("PatientProtocol", (Protocol,), {"patience": patience}),
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=behind_proxy,
        backlog=BACKLOG,
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

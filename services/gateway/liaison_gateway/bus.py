"""The bus: calls to services, each with a deadline, over a few connections that heal themselves."""

import asyncio
import json
import os
import time
from collections.abc import Callable
from contextlib import suppress
from typing import NamedTuple

from pika.channel import Channel
from pika.spec import Basic, BasicProperties

from liaison_gateway.amqp import REPLY_QUEUE, RPC_CHANNEL, Connection, publish_frame
from liaison_gateway.connections import KeptConnection, done, open_channel
from liaison_gateway.crews import Crew
from liaison_gateway.problems import ModuleDown
from liaison_kit.calls.wire import EXCHANGE
from liaison_kit.telemetry import log
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.sealing import seal

LINES = 3
"""Connections that calls are spread over: losing one costs only what it carried."""
SWEEP_EVERY_S = 0.05
WAITED_S = 0.4
"""A call that has waited for so long makes the bus ask whether anybody is there to answer it."""
HEADERS_REMEMBERED, HEADER_REMEMBERED_BYTES = 4096, 1024

RawHeaders = list[tuple[bytes, bytes]]


class Head(NamedTuple):
    """What a service says about its reply; `headers` are ready for ASGI, content type included."""

    status: int
    headers: RawHeaders
    parts: int
    upload: str | None
    size: int | None
    interrupted: bool = False
    """Whether the process that had begun the work has ended."""


class Reply(NamedTuple):
    """A service's answer, its body untouched."""

    head: Head
    body: bytes


class Target:
    """What is called: an operation of a service, with its publish frame made once.

    What is for other parts of Liaison only is the same for all generations of its service; an
    operation of the API is served by the crews that `serve` names. A `safe` one changes nothing.
    `sealed` bodies hold a secret: only the service can read what is sent of them.
    """

    __slots__ = ("crews", "frame", "heir", "operation", "safe", "sealed", "service")

    def __init__(
        self, service: str, operation: str, *, safe: bool = False, sealed: bool = False
    ) -> None:
        self.service = service
        self.operation = operation
        self.safe = safe
        self.sealed = sealed
        self.frame = publish_frame(EXCHANGE, f"{service}.internal.{operation}")
        self.crews: tuple[tuple[Crew, bytes], ...] | None = None
        self.heir: Target | None = None
        """What the API has in its place since it changed."""

    def serve(self, crews: list[Crew]) -> None:
        """From now on these crews answer."""
        self.crews = tuple(
            (crew, publish_frame(EXCHANGE, f"{self.service}.{crew.generation}.{self.operation}"))
            for crew in crews
        )

    def lightest(self) -> tuple[Crew, bytes]:
        """The crew with the least to do for its size; raises `ModuleDown` when there is none."""
        crews = self.crews
        if not crews:
            raise ModuleDown(f"The module {self.service} is not running.", self.service)
        if len(crews) == 1:
            return crews[0]
        return min(crews, key=lambda served: served[0].unanswered / served[0].workers)


class _Call:
    """One call on its way; its header and body are kept in case it has to be sent again."""

    __slots__ = (
        "answer",
        "body",
        "crew",
        "deadline",
        "header",
        "line",
        "sent_again",
        "target",
        "timeout_s",
    )

    def __init__(self, target: Target, header: bytes, body: bytes, timeout_s: float) -> None:
        self.target = target
        self.header = header
        self.body = body
        self.timeout_s = timeout_s
        self.deadline = time.monotonic() + timeout_s
        self.answer: asyncio.Future[Reply] = asyncio.get_running_loop().create_future()
        self.crew: Crew | None = None
        self.line: _Line | None = None
        self.sent_again = False

    def fail(self, why: str) -> None:
        """Tell whoever waits why there is no answer."""
        if not self.answer.done():
            service = self.target.service
            self.answer.set_exception(ModuleDown(f"The module {service} {why}.", service))


class Heads:
    """Parses reply headers; equal ones (a list's, a 204's, a low version's) are parsed once."""

    def __init__(self) -> None:
        self._known: dict[bytes, Head] = {}

    def read(self, raw: bytes) -> Head:
        """The parsed header; raises when it is not one."""
        head = self._known.get(raw)
        if head is None:
            head = self._parse(raw)
            if len(raw) <= HEADER_REMEMBERED_BYTES:
                if len(self._known) >= HEADERS_REMEMBERED:
                    self._known.clear()
                self._known[raw] = head
        return head

    @staticmethod
    def _parse(raw: bytes) -> Head:
        said = json.loads(raw)
        headers = [
            (name.lower().encode("latin-1"), str(value).encode("latin-1"))
            for name, value in (said.get("headers") or {}).items()
        ]
        content_type = said.get("content_type")
        if content_type:
            headers.append((b"content-type", content_type.encode("latin-1")))
        return Head(
            status=int(said["status"]),
            headers=headers,
            parts=int(said.get("parts") or 0),
            upload=said.get("upload"),
            size=said.get("size"),
            interrupted=bool(said.get("interrupted")),
        )


class _Line:
    """One of the connections that carry calls."""

    def __init__(self, bus: "Bus", amqp_url: str, number: int, declares: bool) -> None:
        self._bus = bus
        self._declares = declares
        self.kept = KeptConnection(
            amqp_url,
            f"calls {number}",
            self._set_up,
            on_lost=lambda: bus.line_lost(self),
            on_reply=bus.replied,
            on_sent=bus.turn,
        )

    async def _set_up(self, connection: Connection) -> None:
        channel = await open_channel(connection, RPC_CHANNEL)
        channel.add_on_return_callback(self._returned)
        if self._declares:
            await done(channel.exchange_declare, EXCHANGE, exchange_type="topic", durable=True)
        # Replies are read by `Connection` before pika dispatches them; pika only needs a consumer.
        await done(channel.basic_consume, REPLY_QUEUE, lambda *_: None, auto_ack=True)

    def _returned(
        self, _channel: Channel, _method: Basic.Return, properties: BasicProperties, _body: bytes
    ) -> None:
        self._bus.came_back((properties.correlation_id or "").encode())


class Bus:
    """Calls and their replies.

    `on_waiting(service)` is called when a call has waited for a moment, `on_unserved(crew)` when
    one came back because nobody serves its queue.
    """

    def __init__(
        self,
        amqp_url: str,
        keys: Keyring,
        *,
        on_waiting: Callable[[str], None],
        on_unserved: Callable[[Crew], None],
        declares: bool = True,
    ) -> None:
        self._keys = keys
        self._on_waiting = on_waiting
        self._on_unserved = on_unserved
        self._lines = [_Line(self, amqp_url, number + 1, declares) for number in range(LINES)]
        self._current = self._lines[0]
        self._calls: dict[bytes, _Call] = {}
        self._heads = Heads()
        self._sweeper: asyncio.Task[None] | None = None
        self.timeouts = 0
        self.returned = 0

    @property
    def up(self) -> bool:
        """Whether calls can be sent."""
        return any(line.kept.up for line in self._lines)

    @property
    def in_flight(self) -> int:
        """Calls waiting for their reply."""
        return len(self._calls)

    @property
    def reconnections(self) -> int:
        """How many connections were made again."""
        return sum(line.kept.reconnections for line in self._lines)

    def start(self) -> None:
        """Connect, now and whenever a connection is lost, until `stop`."""
        for line in self._lines:
            line.kept.start()
        self._sweeper = asyncio.create_task(self._sweep(), name="bus deadlines")

    async def stop(self) -> None:
        """Close the connections; calls still waiting fail."""
        if self._sweeper is not None:
            self._sweeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._sweeper
        await asyncio.gather(*(line.kept.stop() for line in self._lines))
        self._fail(lambda _call: True, "cannot be reached: the gateway is stopping")

    def call(
        self, target: Target, header: bytes, body: bytes, timeout_s: float
    ) -> "asyncio.Future[Reply]":
        """Send one call; by the deadline the future holds the reply or `ModuleDown`."""
        if target.sealed and body:
            body = seal(self._keys, target.service, target.operation, body)
        call = _Call(target, header, body, timeout_s)
        self._send(call, timeout_s)
        return call.answer

    def _send(self, call: _Call, timeout_s: float) -> None:
        line = self._current
        if not line.kept.up:
            line = self._another_line(call.target.service)
        target = call.target
        frame = target.frame
        if target.crews is not None:
            crew, frame = target.lightest()
            crew.took(time.monotonic(), timeout_s)
            call.crew = crew
        # Nobody may be able to guess it: whoever sees where replies go could answer for others.
        correlation_id = os.urandom(12).hex().encode()
        self._calls[correlation_id] = call
        call.line = line
        connection = line.kept.connection
        assert connection is not None
        milliseconds = b"%d" % max(1, int(timeout_s * 1000))
        connection.call(frame, call.header, call.body, correlation_id, milliseconds)

    def _another_line(self, service: str) -> _Line:
        for line in self._lines:
            if line.kept.up:
                self._current = line
                return line
        raise ModuleDown(
            f"The module {service} cannot be reached: no connection to the broker.", service
        )

    def turn(self) -> None:
        """What one turn of the loop has sent went out together; the next takes another line."""
        self._current = self._lines[(self._lines.index(self._current) + 1) % LINES]

    # ---- what becomes of calls

    def replied(self, correlation_id: bytes, header: bytes, body: bytes) -> None:
        """A reply has come."""
        call = self._calls.pop(correlation_id, None)
        if call is None:
            # The deadline passed or the client left; the answer has no reader.
            return
        if call.crew is not None:
            call.crew.answered()
        try:
            if header[:1].isdigit():
                length = int(header)
                header, body = body[:length], body[length:]
            head = self._heads.read(header)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            log.error("unreadable reply header", service=call.target.service)
            call.fail("gave an unreadable answer")
            return
        if head.interrupted and call.target.safe and not call.sent_again:
            self._again(call)
        elif not call.answer.done():
            call.answer.set_result(Reply(head, body))

    def came_back(self, correlation_id: bytes) -> None:
        """Nobody serves the queue that a call was sent to: it has surely not been begun."""
        self.returned += 1
        call = self._calls.pop(correlation_id, None)
        if call is None:
            return
        crew = call.crew
        if crew is None:
            call.fail("is not running")
            return
        crew.gave_up()
        self._on_unserved(crew)
        self._again(call)

    def lost(self, crew: Crew) -> None:
        """Nobody is left to answer what this crew has taken."""
        left = [key for key, call in self._calls.items() if call.crew is crew]
        for key in left:
            call = self._calls.pop(key, None)
            if call is None:
                continue
            crew.gave_up()
            # It may have been begun: only what changes nothing is asked of somebody else.
            if call.target.safe and not call.sent_again:
                self._again(call)
            else:
                call.fail("stopped before it had answered")

    def silent(self, service: str) -> None:
        """Nobody of a service is left to answer."""
        self._fail(lambda call: call.target.service == service, "is not running")

    def line_lost(self, line: _Line) -> None:
        """A connection has ended, and the way back for what it carried."""
        self._fail(
            lambda call: call.line is line,
            "cannot be reached: the connection to the broker was lost",
        )

    def _take(self, key: bytes) -> _Call:
        call = self._calls.pop(key)
        if call.crew is not None:
            call.crew.gave_up()
        return call

    def _again(self, call: _Call) -> None:
        left = call.deadline - time.monotonic()
        if left <= 0 or call.answer.done():
            call.fail("did not answer in time")
            return
        call.sent_again = True
        call.crew = None
        # As if whoever asked had asked a moment later.
        while call.target.crews == () and call.target.heir is not None:
            call.target = call.target.heir
        try:
            self._send(call, left)
        except Exception as error:
            # Whatever it is, somebody waits for this call.
            call.answer.set_exception(error)

    def _fail(self, which: Callable[[_Call], bool], why: str) -> None:
        for key in [key for key, call in self._calls.items() if which(call)]:
            self._take(key).fail(why)

    async def _sweep(self) -> None:
        # One coarse sweep costs less than a timer per call, and 50 ms late is on time.
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            if self._calls:
                try:
                    self._look_through(time.monotonic())
                except Exception:
                    # Without the sweep no call would ever end.
                    log.exception("looking through the calls failed")

    def _look_through(self, now: float) -> None:
        late: list[bytes] = []
        stuck: list[bytes] = []
        waiting: set[str] = set()
        for key, call in self._calls.items():
            if call.deadline <= now:
                late.append(key)
            elif call.deadline - call.timeout_s + WAITED_S < now:
                waiting.add(call.target.service)
                crew = call.crew
                if call.target.safe and not call.sent_again and crew is not None and crew.limps:
                    stuck.append(key)
        for key in late:
            call = self._take(key)
            if not call.answer.done():
                self.timeouts += 1
                call.fail(f"did not answer within {call.timeout_s:g} s")
        for key in stuck:
            # The process that hangs may have it; the next is for another.
            self._again(self._take(key))
        for service in waiting:
            self._on_waiting(service)

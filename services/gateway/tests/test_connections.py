"""What a connection waits for, each wait with its own clock, and none while it answers."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from typing import Any

import pytest
from gateway_process import eventually

from liaison_gateway.server import Patience, make_server
from liaison_kit.settings import Settings

SHORT_S = 0.3
LONG_S = 60.0
GET = b"GET /%b HTTP/1.1\r\nHost: x\r\n\r\n"


class Served:
    """A server of a small application, in a thread."""

    def __init__(self, patience: Patience) -> None:
        self.left = threading.Event()
        self.headers: list[tuple[bytes, bytes]] = []
        server = make_server(self, Settings(http_port=0), on_stop=lambda: None, patience=patience)
        server.config.lifespan = "off"
        self._server = server
        self._thread = threading.Thread(target=server.run, daemon=True)
        self._thread.start()
        eventually(lambda: server.started)
        self.address = server.servers[0].sockets[0].getsockname()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        path = scope["path"].strip("/")
        self.headers = list(scope["headers"])
        if path == "refuse":
            await self._answer(send, b"refused")
        elif path == "read":
            size, more = 0, True
            while more:
                message = await receive()
                if message["type"] == "http.disconnect":
                    self.left.set()
                    return
                size += len(message["body"])
                more = message["more_body"]
            await self._answer(send, b"%d" % size)
        elif path == "slow":
            await asyncio.sleep(4 * SHORT_S)
            await self._answer(send, b"at last")
        elif path == "parts":
            await self._answer(send, *[b"x" * 1000] * 8, pause_s=SHORT_S / 2)
        elif path == "large":
            await self._answer(send, *[b"x" * 1_000_000] * 60)
            self.left.set()
        else:
            await self._answer(send, path.encode())

    @staticmethod
    async def _answer(send: Any, *parts: bytes, pause_s: float = 0) -> None:
        length = b"%d" % sum(map(len, parts))
        headers = [(b"content-length", length)]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await asyncio.sleep(pause_s)
        await send({"type": "http.response.body", "body": b""})

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(20)


@pytest.fixture
def serve() -> Iterator[Callable[..., Served]]:
    """Serves with the patience that is said; all that is not said is endless for a test."""
    running: list[Served] = []

    def start(**seconds: float) -> Served:
        patience = {f"{wait}_s": LONG_S for wait in ("head", "idle", "rest", "stalled")}
        running.append(Served(Patience(**patience | seconds)))
        return running[-1]

    yield start
    for served in running:
        served.stop()


class Client(socket.socket):
    """A client that says exactly what it is told to say."""

    def __init__(self, served: Served) -> None:
        super().__init__()
        self.settimeout(20)
        self.connect(served.address)

    def heard(self, end: bytes | None = None) -> bytes:
        """What comes until `end`, or until the server closes."""
        found = b""
        while end is None or not found.endswith(end):
            try:
                part = self.recv(65536)
            except ConnectionResetError:
                break
            if not part:
                break
            found += part
        return found

    def drip(self, byte: bytes) -> bytes:
        """Say a byte again and again until the server has had enough; what it said."""
        self.settimeout(SHORT_S / 10)
        found = b""
        while True:
            try:
                self.send(byte)
                part = self.recv(65536)
                if not part:
                    return found
                found += part
            except TimeoutError:
                continue
            except (ConnectionResetError, BrokenPipeError):
                return found


def test_an_answer_takes_as_long_as_it_takes(serve: Callable[..., Served]) -> None:
    served = serve(head_s=SHORT_S, idle_s=SHORT_S, rest_s=SHORT_S)
    with closing(Client(served)) as client:
        # Each is longer than any wait, on a new connection and on a kept one.
        for _ in range(2):
            client.sendall(GET % b"slow")
            assert client.heard(b"at last").startswith(b"HTTP/1.1 200")
            client.sendall(GET % b"parts")
            assert client.heard(b"x" * 8000).startswith(b"HTTP/1.1 200")


def test_half_a_head_behind_a_long_answer_does_not_cut_it(serve: Callable[..., Served]) -> None:
    served = serve(head_s=SHORT_S, idle_s=SHORT_S)
    with closing(Client(served)) as client:
        client.sendall(GET % b"parts" + b"GET /next HTTP/1.1\r\nHo")
        client.heard(b"x" * 8000)
        client.sendall(b"st: x\r\n\r\n")

        assert client.heard(b"next").startswith(b"HTTP/1.1 200")


def test_requests_sent_at_once_are_all_answered_in_order(serve: Callable[..., Served]) -> None:
    served = serve(head_s=SHORT_S, idle_s=SHORT_S, rest_s=SHORT_S)
    with closing(Client(served)) as client:
        client.sendall(GET % b"slow" + GET % b"parts" + GET % b"third")

        heard = client.heard(b"third")

    assert heard.count(b"HTTP/1.1 200") == 3
    assert heard.index(b"at last") < heard.index(b"xxx")


def test_a_connection_that_says_nothing_is_closed(serve: Callable[..., Served]) -> None:
    with closing(Client(serve(head_s=SHORT_S))) as client:
        assert client.heard() == b""


@pytest.mark.parametrize("first", [b"", GET % b"first"])
def test_a_head_that_drips_in_gets_408(serve: Callable[..., Served], first: bytes) -> None:
    with closing(Client(serve(head_s=SHORT_S))) as client:
        client.sendall(first)
        client.heard(b"first" if first else b"")
        client.sendall(b"GET / HTTP/1.1\r\nX: ")

        heard = client.drip(b"a")

    assert heard.startswith(b"HTTP/1.1 408 ")
    assert b'"code":"request_timeout"' in heard


def test_a_kept_connection_is_closed_after_a_while_whatever_it_drips(
    serve: Callable[..., Served],
) -> None:
    served = serve(idle_s=SHORT_S)
    for byte in (b"", b"\r\n"):
        with closing(Client(served)) as client:
            client.sendall(GET % b"first")
            client.heard(b"first")

            assert (client.drip(byte) if byte else client.heard()) == b""


def test_the_rest_of_an_answered_body_has_an_end(serve: Callable[..., Served]) -> None:
    with closing(Client(serve(rest_s=SHORT_S))) as client:
        client.sendall(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n")
        client.heard(b"refused")

        assert client.drip(b"a") == b""


def test_the_rest_of_an_answered_body_that_comes_is_thrown_away(
    serve: Callable[..., Served],
) -> None:
    with closing(Client(serve())) as client:
        client.sendall(b"POST /refuse HTTP/1.1\r\nHost: x\r\nContent-Length: 300000\r\n\r\n")
        client.heard(b"refused")
        client.sendall(b"a" * 300_000 + GET % b"next")

        assert client.heard(b"next").startswith(b"HTTP/1.1 200")


def test_a_client_that_takes_nothing_is_left(serve: Callable[..., Served]) -> None:
    served = serve(stalled_s=SHORT_S)
    with closing(Client(served)) as client:
        client.sendall(GET % b"large")

        assert served.left.wait(20)


def test_a_client_that_takes_its_time_gets_everything(serve: Callable[..., Served]) -> None:
    served = serve(stalled_s=SHORT_S)
    with closing(Client(served)) as client:
        client.sendall(GET % b"large")
        found = 0
        while found < 60_000_000:
            part = client.recv(1_000_000)
            assert part
            found += len(part)
            threading.Event().wait(SHORT_S / 20)


def test_nonsense_behind_a_request_waits_for_its_answer(serve: Callable[..., Served]) -> None:
    with closing(Client(serve())) as client:
        client.sendall(GET % b"parts" + GET % b"slow" + b"nonsense\r\n\r\n")

        heard = client.heard()

    assert b"x" * 8000 in heard
    assert b"at last" in heard
    assert heard.rpartition(b"HTTP/1.1 ")[2].startswith(b"400 ")
    assert heard.count(b"HTTP/1.1 ") == 3


def test_a_body_that_can_not_be_read_leaves_the_answers_before_it(
    serve: Callable[..., Served],
) -> None:
    broken = b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\nzz\r\n"
    with closing(Client(serve())) as client:
        client.sendall(GET % b"slow" + broken)

        heard = client.heard()

    assert b"at last" in heard
    assert heard.rpartition(b"HTTP/1.1 ")[2].startswith(b"400 ")
    assert heard.count(b"HTTP/1.1 ") == 2


def test_a_body_that_can_not_be_read_ends_its_own_request(serve: Callable[..., Served]) -> None:
    served = serve()
    with closing(Client(served)) as client:
        client.sendall(b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        client.sendall(b"1\r\na\r\n")
        client.sendall(b"zz\r\n")

        assert client.heard().startswith(b"HTTP/1.1 400 ")
    assert served.left.wait(20)


def test_trailers_are_no_headers_and_have_an_end(serve: Callable[..., Served]) -> None:
    served = serve()
    head = b"POST /read HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    with closing(Client(served)) as client:
        client.sendall(head + b"Authorization: Bearer mine\r\n\r\n")
        assert client.heard(b"\r\n\r\n1").startswith(b"HTTP/1.1 200")
        assert b"authorization" not in dict(served.headers)

        client.sendall(head + b"X: ")
        assert client.drip(b"a" * 10_000).startswith(b"HTTP/1.1 431 ")


def test_what_follows_a_request_to_speak_something_else_is_answered(
    serve: Callable[..., Served],
) -> None:
    upgrade = b"GET /first HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"
    with closing(Client(serve())) as client:
        client.sendall(upgrade + GET % b"second")
        assert client.heard(b"second").count(b"HTTP/1.1 200") == 2
        client.sendall(GET % b"third")
        assert client.heard(b"third").startswith(b"HTTP/1.1 200")

"""A gateway as a process, the people whom the tests know, and identity as a peer."""

import hashlib
import json
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from queue import Queue
from typing import Any
from uuid import UUID, uuid4

import httpx
from gateway_peer import Peer, json_answer, operation, problem_answer

from liaison_kit.context import Principal
from liaison_kit.testing import key_environment, signed

TENANT = "0199f0a0-0000-7000-8000-000000000001"
OTHER_TENANT = "0199f0a0-0000-7000-8000-000000000002"


def principal(*permissions: str, tenant: str = TENANT, **facts: Any) -> dict[str, Any]:
    """Somebody with these permissions."""
    return {
        "tenant": tenant,
        "user": str(uuid4()),
        "name": "Zoé",
        "email": None,
        "permissions": list(permissions),
        "rows": {},
        "peers": [],
        "locale": "fr",
        "token_id": str(uuid4()),
        "kind": "token",
        **facts,
    }


def vouched(who: dict[str, Any]) -> str:
    """Somebody as identity signs them."""
    return signed(
        Principal(
            tenant=UUID(who["tenant"]),
            user=UUID(who["user"]),
            name=who["name"],
            permissions=frozenset(who["permissions"]),
            rows=who["rows"],
            peers=tuple(UUID(peer) for peer in who["peers"]),
            locale=who["locale"],
            token_id=UUID(who["token_id"]),
            kind=who["kind"],
        )
    )


class Gateway:
    """A running gateway process."""

    def __init__(self, broker_url: str, *, behind_proxy: bool = False, **settings: str) -> None:
        self.port, self.ops_port = _free_port(), _free_port()
        self.process = subprocess.Popen(
            [sys.executable, "-m", "liaison_gateway"],
            env={
                **{k: v for k, v in os.environ.items() if not k.startswith("LIAISON_")},
                "AMQP_URL": broker_url,
                **key_environment("gateway"),
                "LIAISON_HTTP_PORT": str(self.port),
                "LIAISON_OPS_PORT": str(self.ops_port),
                "LIAISON_RATE_LIMIT_PER_MINUTE": "0",
                # The machine may be busy with other things.
                "LIAISON_REQUEST_TIMEOUT_S": "20",
                "LIAISON_HUNG_AFTER_S": "6",
                **({"FORWARDED_ALLOW_IPS": "127.0.0.1"} if behind_proxy else {}),
                **{f"LIAISON_{name.upper()}": value for name, value in settings.items()},
            },
            stderr=subprocess.PIPE,
        )
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=20)
        self.ops = httpx.Client(base_url=f"http://127.0.0.1:{self.ops_port}", timeout=5)

    def wait(self, *services: str) -> "Gateway":
        """Until the gateway has met these services, and says of the others that there are none."""
        eventually(lambda: {*services} <= self.answering())
        if "identity" in services:
            eventually(lambda: self.ops.get("/health/ready").status_code == 200)
        return self

    def answering(self) -> set[str]:
        """The services that answer, as the gateway sees it."""
        return {name for name, answers in self._told().get("modules", {}).items() if answers}

    def _told(self) -> dict[str, Any]:
        try:
            told: dict[str, Any] = self.ops.get("/health/ready").json()
        except httpx.TransportError:
            return {}
        return told

    def as_(self, token: str) -> httpx.Client:
        """A client with a token."""
        return httpx.Client(
            base_url=self.http.base_url, timeout=20, headers={"Authorization": f"Bearer {token}"}
        )

    def stop(self) -> None:
        """End the process; it must have had no unexpected error."""
        self.process.terminate()
        _, err = self.process.communicate(timeout=30)
        self.http.close()
        self.ops.close()
        assert b"Traceback" not in err, err.decode()
        assert b"request failed" not in err, err.decode()


def eventually(holds: Callable[[], Any], seconds: float = 60) -> Any:
    """Wait until something is so."""
    until = time.monotonic() + seconds
    while True:
        found = holds()
        if found:
            return found
        assert time.monotonic() < until, "it never came to be"
        time.sleep(0.05)


def heard_of(gateway: Gateway, peer: Peer) -> None:
    """Until the gateway knows a module with new keys: it looks for those once a second."""

    def heard() -> bool:
        peer.announce()
        return peer.service in gateway.answering()

    eventually(heard)


def _free_port() -> int:
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port: int = s.getsockname()[1]
        return port


PEOPLE = {
    "everything": principal("*"),
    "reader": principal("contacts:read"),
    "nobody": principal(),
    "own": principal("contacts:read", rows={"contacts": "own"}),
    "stranger": principal("*", tenant=OTHER_TENANT),
}
PEOPLE["everything, elsewhere"] = {**PEOPLE["everything"], "token_id": str(uuid4())}


Frames = Queue[dict[str, str]]


@contextmanager
def listening(gateway: Gateway, token: str, last: str | None = None) -> Iterator[Frames]:
    """An open stream, read in the background."""
    frames: Frames = Queue()
    connection = HTTPConnection("127.0.0.1", gateway.port, timeout=20)
    headers = {"Authorization": f"Bearer {token}"}
    if last is not None:
        headers["Last-Event-ID"] = last
    connection.request("GET", "/api/v1/live", headers=headers)
    answer = connection.getresponse()
    assert answer.headers["content-type"].startswith("text/event-stream")
    connected = connection.sock

    def read() -> None:
        frame: dict[str, str] = {}
        while line := answer.readline():
            text = line.decode().strip()
            if text:
                name, _, value = text.partition(":")
                frame[name] = value.strip()
            elif frame:
                frames.put(frame)
                frame = {}

    thread = threading.Thread(target=read)
    thread.start()
    try:
        assert frames.get(timeout=5) == {"retry": "2000"}
        yield frames
    finally:
        connected.shutdown(socket.SHUT_RDWR)
        thread.join(5)
        answer.close()
        connection.close()


@contextmanager
def rights(token: str, who: dict[str, Any]) -> Iterator[None]:
    """Somebody who may do just this for a while."""
    PEOPLE[token] = who
    try:
        yield
    finally:
        del PEOPLE[token]


def identity_peer(url: str) -> Peer:
    """identity with people whose tokens are their names."""

    def authenticate(_header: dict[str, Any], body: bytes) -> Any:
        known = {hashlib.sha256(token.encode()).hexdigest(): who for token, who in PEOPLE.items()}
        who = known.get(json.loads(body)["token_hash"])
        if who is None:
            return problem_answer(401, "unauthenticated")
        return json_answer({"principal": vouched(who), "expires_at": "2999-01-01T00:00:00Z"})

    def sign_in(_header: dict[str, Any], body: bytes) -> Any:
        if json.loads(body).get("password") == "wrong":
            return problem_answer(401, "wrong_credentials")
        said = {"token": "everything", "expires_at": "2999-01-01T00:00:00Z"}
        return json_answer({**said, "user": {"id": PEOPLE["everything"]["user"]}})

    return Peer(
        url,
        "identity",
        [
            operation("sign_in", "POST", "/sign-in", public=True, request={"type": "object"}),
            operation("sign_out", "POST", "/sign-out", empty=True),
        ],
        {
            "authenticate": authenticate,
            "sign_in": sign_in,
            "sign_out": lambda _h, _b: ({"status": 204, "headers": {}}, b""),
        },
    )

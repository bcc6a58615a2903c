"""The bus: what a broken connection costs, what a busy or silent module costs, who may answer."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import Any
from uuid import uuid4

import httpx
import pika
import pytest
from gateway_peer import Peer, json_answer, operation
from gateway_process import PEOPLE, Gateway, eventually, heard_of, principal

from liaison_kit.run.rabbitmq import RabbitMQ
from liaison_kit.testing import keyring
from liaison_kit.trust.principals import Principals
from liaison_kit.trust.signatures import Signer

Serve = Callable[..., Peer]


@pytest.fixture
def name() -> str:
    """A module of the test's own."""
    return f"m{uuid4().hex[:8]}"


@pytest.fixture
def serve(broker: RabbitMQ, gateway: Gateway, name: str) -> Iterator[Serve]:
    """Starts the module with one GET and one POST operation."""
    started: list[Peer] = []

    def start(answers: Callable[[dict[str, Any], bytes], Any], **manifest: Any) -> Peer:
        operations = [
            operation("read", "GET", f"/{name}"),
            operation("write", "POST", f"/{name}", request={"type": "object"}),
        ]
        handlers = {"read": answers, "write": answers}
        peer = Peer(broker.url, name, operations, handlers, **manifest).start()
        started.append(peer)
        heard_of(gateway, peer)
        return peer

    yield start
    for peer in started:
        peer.die()


def cut_off(broker: RabbitMQ, connection: str) -> None:
    """Have the broker close every connection with this name."""
    program = (
        '[rabbit_networking:close_connection(P, "cut off") ||'
        " [{pid, P}, {client_properties, Cs}] <- rabbit_networking:connection_info_all("
        "[pid, client_properties]),"
        f' lists:keymember(<<"{connection}">>, 3, Cs)].'
    )
    done = subprocess.run(
        ["/usr/lib/rabbitmq/bin/rabbitmqctl", "eval", program],
        env=broker._environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "ok" in done.stdout, done.stdout + done.stderr


class Waiting:
    """Requests under way, each in a thread of its own."""

    def __init__(self, api: httpx.Client, method: str, path: str, count: int) -> None:
        self.answers: list[httpx.Response] = []
        self._threads = [
            threading.Thread(
                target=lambda: self.answers.append(
                    api.request(
                        method,
                        path,
                        json={} if method == "POST" else None,
                        headers={"Liaison-Timeout": "20"},
                    )
                )
            )
            for _ in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def all(self) -> list[httpx.Response]:
        """Every answer."""
        for thread in self._threads:
            thread.join(30)
        return self.answers


def test_losing_one_connection_costs_only_what_it_carried(
    broker: RabbitMQ, name: str, serve: Serve
) -> None:
    peer = serve(lambda _header, _body: None)
    own = Gateway(broker.url, request_timeout_s="20").wait("identity", name)
    try:
        with own.as_("everything") as api:
            waiting = Waiting(api, "POST", f"/api/v1/{name}", 30)
            eventually(lambda: len(peer.calls) >= 30)

            cut_off(broker, "liaison gateway calls 1")
            eventually(lambda: waiting.answers)
            lost = len(waiting.answers)
            after = api.get("/api/v1/openapi.json")
            peer.answer_late(json_answer("late"))
            answers = waiting.all()
        statuses = sorted(answer.status_code for answer in answers)
    finally:
        own.stop()

    assert after.status_code == 200
    assert statuses.count(503) == lost < 30
    assert statuses.count(200) == 30 - lost > 0


def test_nobody_can_guess_the_id_of_another_call(
    api: httpx.Client, name: str, serve: Serve
) -> None:
    peer = serve(lambda _header, _body: json_answer(1))

    for _ in range(50):
        api.get(f"/api/v1/{name}")

    ids = [int(correlation, 16) for correlation in peer.correlations]
    assert len(set(ids)) == 50
    assert sum(number.bit_length() > 64 for number in ids) > 40
    assert ids != sorted(ids)
    assert min(abs(a - b) for a, b in pairwise(ids)) > 2**32


def test_an_answer_to_no_call_of_ours_changes_nothing(
    broker: RabbitMQ, api: httpx.Client, name: str, serve: Serve
) -> None:
    peer = serve(lambda _header, _body: json_answer("right"))
    api.get(f"/api/v1/{name}")
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        channel = connection.channel()
        for guess in range(2000):
            channel.basic_publish(
                "",
                peer.reply_to,
                b'"forged"',
                pika.BasicProperties(
                    correlation_id=f"{guess:x}",
                    headers={"liaison": json.dumps({"status": 200, "headers": {}})},
                ),
            )
            if guess % 100 == 0:
                assert api.get(f"/api/v1/{name}").json() == "right"


def test_a_principal_of_any_size_reaches_the_service(
    api: httpx.Client, gateway: Gateway, name: str, serve: Serve
) -> None:
    principals = Principals(keyring(name))
    serve(
        lambda header, body: json_answer(
            [len(principals.read(header["principal"]).peers), body.decode()]
        )
    )
    PEOPLE["crowded"] = principal("*", peers=[str(uuid4()) for _ in range(5000)])
    try:
        with gateway.as_("crowded") as crowded:
            answer = crowded.post(f"/api/v1/{name}", json={"a": 1})
            others = api.get(f"/api/v1/{name}")
    finally:
        del PEOPLE["crowded"]

    assert answer.json() == [5000, '{"a":1}']
    assert others.json() == [0, ""]


def test_a_module_that_falls_behind_refuses_early_and_others_do_not_notice(
    api: httpx.Client, name: str, serve: Serve
) -> None:
    peer = serve(lambda _header, _body: None, workers=2)
    waiting = Waiting(api, "POST", f"/api/v1/{name}", 30)
    eventually(lambda: len(peer.calls) >= 30)

    refused = eventually(
        lambda: [
            answer
            for answer in [api.post(f"/api/v1/{name}", json={}, headers={"Liaison-Timeout": "0.2"})]
            if answer.json()["code"] == "busy"
        ]
    )
    began = len(peer.calls)
    again = api.post(f"/api/v1/{name}", json={})
    others = api.get("/api/v1/raw")
    peer.answer_late(json_answer("late"))
    waiting.all()
    answer = eventually(
        lambda: (
            not peer.answer_late(json_answer("late"))
            and api.get(f"/api/v1/{name}", headers={"Liaison-Timeout": "0.3"})
        )
    )

    assert (refused[0].status_code, refused[0].json()["service"]) == (503, name)
    assert int(refused[0].headers["retry-after"]) >= 1
    assert again.json()["code"] == "busy"
    assert len(peer.calls) >= began
    assert others.status_code == 200
    assert answer.json().get("code") != "busy"


def test_who_hangs_is_refused_and_used_again_when_it_speaks(
    api: httpx.Client, name: str, serve: Serve
) -> None:
    peer = serve(lambda _header, _body: None)
    peer.silent = True

    first = api.get(f"/api/v1/{name}", headers={"Liaison-Timeout": "20"})
    began = len(peer.calls)
    second = api.get(f"/api/v1/{name}", headers={"Liaison-Timeout": "20"})
    peer.silent = False
    peer.announce()

    assert (first.status_code, second.status_code) == (503, 503)
    assert len(peer.calls) == began, "a call was sent to who is known to hang"
    eventually(lambda: _reaches(api, peer, name))


def _reaches(api: httpx.Client, peer: Peer, name: str) -> bool:
    before = len(peer.calls)
    api.get(f"/api/v1/{name}", headers={"Liaison-Timeout": "0.2"})
    return len(peer.calls) > before


def test_what_a_dead_process_had_is_refused_at_once_unless_another_may_do_it(
    api: httpx.Client, name: str, serve: Serve
) -> None:
    first = serve(lambda _header, _body: None)
    reads = Waiting(api, "GET", f"/api/v1/{name}", 3)
    writes = Waiting(api, "POST", f"/api/v1/{name}", 3)
    eventually(lambda: len(first.calls) >= 6)
    second = serve(lambda _header, _body: json_answer("second"), version="2.0.0")

    first.die()

    assert [answer.json() for answer in reads.all()] == ["second"] * 3
    assert [answer.status_code for answer in writes.all()] == [503] * 3
    assert {called for called, _, _ in second.calls} == {"read"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[" * 100_000,
        b"null",
        b"[]",
        b'{"service":"contacts"}',
        json.dumps({"service": "contacts", "instance": "y"}).encode(),
        json.dumps(
            {
                "service": "contacts",
                "instance": "y",
                "generation": "g",
                "ask_at": "contacts.process.1",
                "workers": 1,
                "since": 1,
                "operations": [{"name": 1, "method": 2, "path": 3}],
            }
        ).encode(),
        json.dumps(
            {
                "service": "contacts",
                "instance": "y",
                "generation": "g",
                "ask_at": "contacts.process.1",
                "workers": "many",
                "since": 1,
                "operations": [],
            }
        ).encode(),
    ],
)
def test_what_is_no_announcement_harms_nothing(
    broker: RabbitMQ, api: httpx.Client, gateway: Gateway, contacts: Peer, body: bytes
) -> None:
    if body.startswith(b'{"'):
        dated = json.dumps(json.loads(body) | {"at": time.time()}).encode()
        (body,) = Signer(keyring("contacts")).sign("announcement", [dated])
    with pika.BlockingConnection(pika.URLParameters(broker.url)) as connection:
        connection.channel().basic_publish("liaison.manifests", "", body)
    before = gateway.answering()

    contacts.announce()

    assert api.get("/api/v1/raw").status_code == 200
    assert api.get("/api/v1/openapi.json").status_code == 200
    assert api.get("/api/v1/contacts").status_code == 200
    assert {"contacts", "identity"} <= before

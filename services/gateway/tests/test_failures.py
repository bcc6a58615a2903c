"""What is down says so, in time and by name; what comes back is used again."""

import signal
import threading
import time
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from gateway_peer import Peer, json_answer, operation
from gateway_process import Gateway, eventually, identity_peer

from liaison_gateway.bus import LINES
from liaison_kit.run.rabbitmq import RabbitMQ


def support_peer(url: str, **manifest: Any) -> Peer:
    """A service that answers one thing."""
    operations = [operation("ping", "GET", "/ping"), operation("never", "GET", "/never")]
    handlers: dict[str, Any] = {
        "ping": lambda _h, _b: json_answer("pong"),
        "never": lambda _h, _b: None,
    }
    return Peer(url, "support", operations, handlers, **manifest)


@pytest.fixture
def support(broker: RabbitMQ, gateway: Gateway) -> Iterator[Peer]:
    peer = support_peer(broker.url).start()
    gateway.wait("support")
    yield peer
    peer.die()


def test_a_call_without_answer_is_503_at_its_deadline(api: httpx.Client, support: Peer):
    answer = api.get("/api/v1/never", headers={"Liaison-Timeout": "0.4"})

    assert answer.status_code == 503
    assert answer.json()["service"] == "support"
    assert answer.headers["retry-after"] == "1"
    assert "did not answer within 0.4 s" in answer.json()["detail"]


def test_a_slow_module_is_not_taken_for_a_dead_one(api: httpx.Client, support: Peer):
    assert api.get("/api/v1/never", headers={"Liaison-Timeout": "3"}).status_code == 503

    assert api.get("/api/v1/ping").status_code == 200


def test_a_deadline_of_the_callers_own_says_nothing_about_the_module(
    api: httpx.Client, gateway: Gateway, support: Peer, identity: Peer
):
    before = support.discovered + identity.discovered

    for number in range(20):
        headers = {"Liaison-Timeout": "0.000001", "Authorization": f"Bearer hurried{number}"}
        assert gateway.http.get("/api/v1/ping", headers=headers).status_code in (401, 503)
        hurried = api.get("/api/v1/never", headers={"Liaison-Timeout": "0.000001"})
        assert hurried.status_code == 503

    assert support.discovered + identity.discovered == before
    assert "support" in gateway.answering()


def test_a_killed_module_is_refused_at_once(api: httpx.Client, support: Peer, gateway: Gateway):
    support.die()

    answers = [api.get("/api/v1/ping") for _ in range(3)]

    assert {answer.status_code for answer in answers} == {503}
    assert {answer.json()["service"] for answer in answers} == {"support"}
    assert all("is not running" in answer.json()["detail"] for answer in answers)
    assert "support" not in gateway.answering()
    assert api.get("/api/v1/raw").status_code == 200


def test_a_module_that_comes_back_is_used_again(api: httpx.Client, support: Peer, gateway: Gateway):
    support.stop()
    eventually(lambda: "support" not in gateway.answering())
    assert api.get("/api/v1/ping").status_code == 503

    support.start()

    eventually(lambda: api.get("/api/v1/ping").status_code == 200)


def test_a_call_that_no_queue_takes_is_returned_at_once(api: httpx.Client, support: Peer):
    support.delete_queue()
    started = time.monotonic()

    answer = api.get("/api/v1/ping")

    assert answer.status_code == 503
    assert answer.json()["service"] == "support"
    assert time.monotonic() - started < 1


def test_the_newer_of_two_versions_is_the_api(
    broker: RabbitMQ, api: httpx.Client, support: Peer, gateway: Gateway
):
    newer = Peer(
        broker.url,
        "support",
        [operation("ping", "GET", "/ping"), operation("more", "GET", "/more")],
        {"ping": lambda _h, _b: json_answer("pong"), "more": lambda _h, _b: json_answer(1)},
        version="1.10.0",
    ).start()
    eventually(lambda: api.options("/api/v1/more").status_code == 204)

    support.announce()
    time.sleep(0.3)

    assert api.options("/api/v1/more").status_code == 204
    newer.die()


def test_the_gateway_is_ready_only_with_identity_and_broker(tmp_path_factory: Any):
    with RabbitMQ(tmp_path_factory.mktemp("rabbitmq")) as node:
        gateway = Gateway(node.url)
        try:
            eventually(lambda: _status(gateway) == 503)
            assert gateway.http.get("/api/v1/ping").json()["code"] == "unavailable"
            assert gateway.http.get("/health/live").status_code == 200

            identity = identity_peer(node.url).start()
            support = support_peer(node.url).start()
            eventually(lambda: _status(gateway) == 200)
            gateway.wait("support")
            with gateway.as_("everything") as client:
                _survives_a_broker_restart(node, gateway, client)
            identity.die()
            support.die()
        finally:
            gateway.stop()


def _survives_a_broker_restart(node: RabbitMQ, gateway: Gateway, client: httpx.Client) -> None:
    assert client.get("/api/v1/ping").status_code == 200
    waiting: list[httpx.Response] = []
    call = threading.Thread(target=lambda: waiting.append(client.get("/api/v1/never")))
    call.start()
    time.sleep(0.2)
    started = time.monotonic()

    node.kill()

    call.join(10)
    assert time.monotonic() - started < 1.5
    assert waiting[0].status_code == 503
    assert waiting[0].json()["service"] == "support"
    started = time.monotonic()
    assert client.get("/api/v1/ping").status_code == 503
    assert time.monotonic() - started < 0.5

    node.start()

    eventually(lambda: client.get("/api/v1/ping").status_code == 200, 30)
    again = f"liaison_bus_reconnections_total {LINES}.0"
    eventually(lambda: again in gateway.ops.get("/metrics").text)


def test_a_stop_finishes_what_has_begun(broker: RabbitMQ, identity: Peer):
    def later(_header: dict[str, Any], _body: bytes) -> Any:
        time.sleep(1)
        return json_answer("late")

    peer = Peer(broker.url, "support", [operation("ping", "GET", "/ping")], {"ping": later}).start()
    gateway = Gateway(broker.url).wait("identity", "support")
    answers: list[httpx.Response] = []
    with gateway.as_("everything") as client:
        client.get("/health/live")
        call = threading.Thread(target=lambda: answers.append(client.get("/api/v1/ping")))
        call.start()
        time.sleep(0.4)

        gateway.stop()

        call.join(10)
    assert answers[0].json() == "late"
    assert gateway.process.returncode in (0, -signal.SIGTERM)
    peer.die()


def _status(gateway: Gateway) -> int | None:
    try:
        return gateway.ops.get("/health/ready").status_code
    except httpx.TransportError:
        return None

"""Two versions of a module side by side: each call goes where somebody knows what it asks."""

from collections.abc import Callable, Iterator
from typing import Any
from uuid import uuid4

import httpx
import pytest
from gateway_peer import Handler, Peer, json_answer, operation
from gateway_process import Gateway, eventually, heard_of

from liaison_kit.run.rabbitmq import RabbitMQ

Versions = Callable[..., Peer]
SHARED = operation("both", "GET", "/{0}/both")
CHANGED = operation("changed", "POST", "/{0}/changed", request={"type": "object"})


@pytest.fixture
def name() -> str:
    """A module of the test's own."""
    return f"m{uuid4().hex[:8]}"


@pytest.fixture
def version(broker: RabbitMQ, gateway: Gateway, name: str) -> Iterator[Versions]:
    """Starts a process of some version of the module; all of them offer some operation."""
    started: list[Peer] = []

    def start(number: str, *offered: dict[str, Any]) -> Peer:
        operations = [{**one, "path": one["path"].replace("{0}", name)} for one in offered]

        def says(_header: dict[str, Any], _body: bytes) -> Any:
            return json_answer(number)

        handlers: dict[str, Handler] = {one["name"]: says for one in offered}
        peer = Peer(broker.url, name, operations, handlers, version=number).start()
        started.append(peer)
        heard_of(gateway, peer)
        return peer

    yield start
    for peer in started:
        peer.die()


def ops(*names: str) -> list[dict[str, Any]]:
    """Operations that are the same in every version that has them."""
    return [operation(one, "GET", f"/{{0}}/{one}") for one in names]


def _newer(changed: dict[str, Any]) -> dict[str, Any]:
    return {**changed, "request": {"type": "object", "properties": {"colour": {}}}}


def _paths(api: httpx.Client, name: str) -> set[str]:
    paths = api.get("/api/v1/openapi.json").json()["paths"]
    return {path.rpartition("/")[2] for path in paths if f"/{name}/" in path}


def _says(api: httpx.Client, path: str, method: str = "GET") -> Any:
    answer = api.request(method, f"/api/v1/{path}", json={} if method == "POST" else None)
    return answer.json() if answer.status_code == 200 else answer.status_code


@pytest.mark.parametrize("order", [("1.9.0", "1.10.0"), ("1.10.0", "1.9.0")])
def test_what_either_offers_is_answered_by_who_offers_it(
    api: httpx.Client, gateway: Gateway, name: str, version: Versions, order: tuple[str, str]
) -> None:
    offered = {
        "1.9.0": [*ops("both", "old"), CHANGED],
        "1.10.0": [*ops("both", "new"), _newer(CHANGED)],
    }
    peers = {number: version(number, *offered[number]) for number in order}
    eventually(lambda: _paths(api, name) == {"both", "old", "new", "changed"})

    for peer in (*peers.values(), *peers.values()):
        peer.announce()
    answers = {
        path: {_says(api, f"{name}/{path}") for _ in range(20)} for path in ("both", "old", "new")
    }
    changed = {_says(api, f"{name}/changed", "POST") for _ in range(20)}

    assert answers["old"] == {"1.9.0"}
    assert answers["new"] == {"1.10.0"}
    assert answers["both"] <= {"1.9.0", "1.10.0"}
    assert changed == {"1.10.0"}, "a call made for the newer reached the older"


def test_both_versions_share_what_they_offer_alike(
    api: httpx.Client, name: str, version: Versions
) -> None:
    import threading

    old, new = version("1.0.0", *ops("both")), version("2.0.0", *ops("both", "new"))
    eventually(lambda: "new" in _paths(api, name))

    callers = [
        threading.Thread(target=lambda: [_says(api, f"{name}/both") for _ in range(40)])
        for _ in range(6)
    ]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()

    assert old.calls, "the older was idle while the newer did everything"
    assert new.calls


@pytest.mark.parametrize("leaves", ["stop", "die"])
def test_when_the_newer_leaves_the_older_is_the_api_again(
    api: httpx.Client, name: str, version: Versions, leaves: str
) -> None:
    version("1.0.0", *ops("both"), CHANGED)
    newer = version("2.0.0", *ops("both", "new"), _newer(CHANGED))
    eventually(lambda: "new" in _paths(api, name))

    getattr(newer, leaves)()
    during = {_says(api, f"{name}/both") for _ in range(20)}
    eventually(lambda: _says(api, f"{name}/changed", "POST") == "1.0.0")

    assert during <= {"1.0.0"}
    assert _says(api, f"{name}/new") == 503
    eventually(lambda: _says(api, f"{name}/new") == 404)
    assert _paths(api, name) == {"both", "changed"}


@pytest.mark.parametrize("leaves", ["stop", "die"])
def test_when_the_older_leaves_the_newer_answers_everything_of_its_own(
    api: httpx.Client, name: str, version: Versions, leaves: str
) -> None:
    older = version("1.0.0", *ops("both", "old"))
    version("2.0.0", *ops("both", "new"))
    eventually(lambda: {"old", "new"} <= _paths(api, name))

    getattr(older, leaves)()
    answers = {_says(api, f"{name}/{path}") for path in ("both", "new") for _ in range(20)}

    assert answers == {"2.0.0"}


def test_a_call_that_the_newer_had_not_begun_goes_to_the_older_when_it_leaves(
    api: httpx.Client, gateway: Gateway, name: str, version: Versions
) -> None:
    version("1.0.0", *ops("both"), CHANGED)
    newer = version("2.0.0", *ops("both"), _newer(CHANGED))
    eventually(lambda: _says(api, f"{name}/changed", "POST") == "2.0.0")
    calls = len(newer.calls)

    newer.delete_queue()
    answers = {_says(api, f"{name}/changed", "POST") for _ in range(5)}

    assert answers == {"1.0.0"}
    assert len(newer.calls) == calls


def test_of_one_version_the_process_that_started_last_is_the_api(
    api: httpx.Client, name: str, version: Versions
) -> None:
    first = version("1.0.0", *ops("both"), CHANGED)
    version("1.0.0", *ops("both"), _newer(CHANGED))
    first.announce()

    eventually(lambda: _says(api, f"{name}/changed", "POST") == "1.0.0")
    before = len(first.calls)
    for _ in range(10):
        _says(api, f"{name}/changed", "POST")
    assert len(first.calls) == before

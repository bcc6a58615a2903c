"""What is down is told long before anybody's patience ends, and what is back is used at once."""

import os
import signal
from collections.abc import Callable, Iterator

import httpx
import pytest
from tests.system import Api, System, Tenant, wait_for

PATIENCE = {"Liaison-Timeout": "60"}
"""Far longer than any of these tests may take: whoever waits for it makes them fail."""


@pytest.fixture
def patient(running: System, tenant: Tenant) -> Iterator[Api]:
    """Somebody who would wait for a minute; afterwards Liaison is whole again."""
    with Api(running.address, tenant.api.headers["Authorization"].removeprefix("Bearer ")) as api:
        api.headers.update(PATIENCE)
        api.timeout = httpx.Timeout(40)
        yield api
    running.rabbitmq.start()
    for service in ("identity", "contacts", "sales"):
        if service not in running.processes:
            running.start_service(service, wait=False)
    running.wait_until_whole()


def _stops(system: System) -> Callable[[], object]:
    system.stop_process("sales")
    return lambda: system.start_service("sales")


def _dies(system: System) -> Callable[[], object]:
    system.kill("sales")
    return lambda: system.start_service("sales")


def _hangs(system: System) -> Callable[[], object]:
    pid = system.processes["sales"].process.pid
    os.kill(pid, signal.SIGSTOP)
    return lambda: os.kill(pid, signal.SIGCONT)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("goes", [_stops, _dies, _hangs])
def test_a_service_that_is_gone_is_named_and_used_again_when_it_is_back(
    running: System, patient: Api, goes: Callable[[System], Callable[[], object]]
) -> None:
    log = running.processes["gateway"].log
    said_before = len(log.read_text())
    come_back = goes(running)
    try:
        first = patient.get("/opportunities")
        refused = [patient.get("/opportunities") for _ in range(20)]
        others = [patient.get("/contacts"), patient.get("/users")]
    finally:
        come_back()

    assert {answer.status_code for answer in (first, *refused)} == {503}
    assert {answer.json()["service"] for answer in (first, *refused)} == {"sales"}
    assert {answer.status_code for answer in others} == {200}
    # Who is dead is not waited for as one is who hangs.
    assert ("process hangs" in log.read_text()[said_before:]) == (goes is _hangs)
    wait_for("sales is back", lambda: patient.get("/opportunities").is_success, seconds=20)


@pytest.mark.timeout(200)
@pytest.mark.parametrize("how", ["stop", "kill"])
def test_a_broker_that_is_gone_is_told_and_used_again_when_it_is_back(
    running: System, patient: Api, how: str
) -> None:
    getattr(running.rabbitmq, how)()

    refused = [patient.get(path) for path in ("/opportunities", "/contacts", "/users") * 5]
    created = patient.post("/opportunities", json={"name": "Desks"})
    running.rabbitmq.start()

    assert {answer.status_code for answer in (*refused, created)} == {503}
    wait_for(
        "everybody is back",
        lambda: all(
            patient.get(path).is_success for path in ("/opportunities", "/contacts", "/users")
        ),
        seconds=30,
    )


@pytest.mark.timeout(200)
def test_a_hanging_process_leaves_the_work_to_its_twin(running: System, patient: Api) -> None:
    running.start_service("sales", name="sales-2")
    pid = running.processes["sales"].process.pid
    os.kill(pid, signal.SIGSTOP)
    try:
        quick = {"Liaison-Timeout": "2"}
        answers = [patient.get("/opportunities", headers=quick) for _ in range(40)]
    finally:
        os.kill(pid, signal.SIGCONT)
        running.stop_process("sales-2")

    assert {answer.status_code for answer in answers[-10:]} == {200}

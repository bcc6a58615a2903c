"""Several processes of a service, and each role in a process of its own, do the same work once."""

import re

import httpx
import pytest
from tests.faults.stream import Stream
from tests.system import System, wait_for

ROLES = ("rpc", "events", "relay", "jobs")


def _counted(system: System, name: str, metric: str) -> float:
    """The sum of a process's metric over its labels."""
    port = system.processes[name].ops_port
    text = httpx.get(f"http://127.0.0.1:{port}/metrics", timeout=10).text
    return sum(float(n) for n in re.findall(rf"^{metric}{{[^}}]*}} ([\d.e+]+)$", text, re.M))


@pytest.mark.timeout(200)
def test_two_processes_of_each_service_share_the_work(running: System) -> None:
    twins = {"contacts-2": "contacts", "sales-2": "sales"}
    for name, service in twins.items():
        running.start_service(service, name=name, wait=False)
    try:
        running.wait_until_whole()
        stream = Stream(running, running.tenant("Twins"))
        with stream:
            stream.go_on(40)
        stream.is_whole()
        done = {
            name: _counted(running, name, "liaison_operations_total")
            for name in ("sales", "sales-2")
        }
        assert all(done.values()), done
    finally:
        for name in twins:
            running.stop_process(name)


@pytest.mark.timeout(200)
def test_a_twin_that_is_killed_leaves_its_work_to_the_other(running: System) -> None:
    running.start_service("contacts", name="contacts-2")
    stream = Stream(running, running.tenant("Heir"))
    with stream:
        stream.go_on(10)
        running.kill("contacts")
        stream.go_on(10)
    try:
        stream.is_whole()
    finally:
        running.start_service("contacts")
        running.stop_process("contacts-2")
        running.wait_until_whole()


@pytest.mark.timeout(200)
def test_each_role_in_a_process_of_its_own_does_the_same_work(running: System) -> None:
    for service in ("contacts", "sales"):
        running.stop_process(service)
        for role in ROLES:
            running.start_service(service, name=f"{service}-{role}", roles=role, wait=False)
    try:
        for running_process in list(running.processes.values()):
            wait_for("a role is ready", running_process.is_ready, seconds=90)
        tenant = running.tenant("Roles")
        wait_for(
            "contacts and sales answer",
            lambda: running.modules_that_answer() == {"identity", "contacts", "connect", "sales"},
            seconds=30,
        )
        stream = Stream(running, tenant)
        with stream:
            stream.go_on(20)
        stream.is_whole()
        assert _counted(running, "sales-rpc", "liaison_operations_total") >= 20
        assert _counted(running, "sales-events", "liaison_operations_total") == 0
    finally:
        for service in ("contacts", "sales"):
            for role in ROLES:
                running.stop_process(f"{service}-{role}")
            running.start_service(service, wait=False)
        running.wait_until_whole()

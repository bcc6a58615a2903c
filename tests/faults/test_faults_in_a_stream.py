"""Processes die, the broker and the database stop: nothing is lost, nothing happens twice."""

from collections.abc import Iterator

import pytest
from tests.faults.stream import Stream
from tests.system import SERVICES, System, wait_for


@pytest.fixture
def stream(running: System) -> Iterator[Stream]:
    """A stream of writes; Liaison is whole again afterwards, whatever the test did to it."""
    found = Stream(running, running.tenant("Stream"))
    yield found
    running.postgres.start()
    running.rabbitmq.start()
    for service in SERVICES:
        if service not in running.processes:
            running.start_service(service)
    if "gateway" not in running.processes:
        running.start_gateway()
    running.wait_until_whole()


@pytest.mark.timeout(300)
def test_every_process_is_killed_in_turn(running: System, stream: Stream) -> None:
    with stream:
        for service in SERVICES:
            running.kill(service)
            running.start_service(service)
            stream.go_on()
        running.kill("gateway")
        running.start_gateway()
        stream.go_on()

    stream.is_whole()


@pytest.mark.timeout(300)
def test_the_broker_stops_and_starts(running: System, stream: Stream) -> None:
    with stream:
        running.rabbitmq.stop()
        running.rabbitmq.start()
        stream.go_on()

    stream.is_whole()
    assert stream.refused, "the broker's absence was not noticed: the test proves nothing"


@pytest.mark.timeout(300)
@pytest.mark.parametrize("how", ["stops", "dies"])
def test_the_database_goes_and_comes_back(running: System, stream: Stream, how: str) -> None:
    with stream:
        if how == "stops":
            running.postgres.stop()
        else:
            running.postgres.kill()
        refused = stream.refused["503"]
        wait_for("somebody is refused", lambda: stream.refused["503"] > refused or stream.faults)
        running.postgres.start()
        stream.go_on()

    stream.is_whole()

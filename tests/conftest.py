"""One running Liaison for all tests of the whole, and a receiver of its traces."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent.parent))

from tests.collector import Collector
from tests.mail_server import MailServer
from tests.system import Api, System, Tenant


@pytest.fixture(scope="session")
def collector() -> Iterator[Collector]:
    """Receives the spans of the running Liaison."""
    with Collector() as receiver:
        yield receiver


@pytest.fixture(scope="session")
def mail() -> Iterator[MailServer]:
    """Takes the mail of the running Liaison."""
    with MailServer() as server:
        yield server


@pytest.fixture(scope="session")
def running(
    tmp_path_factory: pytest.TempPathFactory, collector: Collector, mail: MailServer
) -> Iterator[System]:
    """A running Liaison. Only requests whose caller asks for it are traced: it costs time."""
    environment = {
        "LIAISON_OTLP_ENDPOINT": collector.address,
        "LIAISON_TRACE_SAMPLE": "0",
        "LIAISON_SMTP_URL": mail.url,
        "LIAISON_MAIL_FROM": "Liaison <no-reply@liaison.example>",
    }
    system = System(tmp_path_factory.mktemp("liaison"), environment)
    try:
        yield system.start()
    finally:
        system.stop()


@pytest.fixture
def new_tenant(running: System) -> Callable[[], Tenant]:
    """Makes tenants."""
    return running.tenant


@pytest.fixture(scope="module")
def tenant(running: System) -> Tenant:
    """A tenant for the tests of one file."""
    return running.tenant()


@pytest.fixture
def api(tenant: Tenant) -> Api:
    """The administrator's way in."""
    return tenant.api

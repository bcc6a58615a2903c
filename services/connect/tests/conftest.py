"""A tenant of its own for each test, on connect's real database, and a real mail server."""

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# Tests are imported by file: their helpers are found beside them, and at the repository's root.
sys.path += [str(Path(__file__).parent), str(Path(__file__).parents[3])]

from connect_desk import Desk
from tests.mail_server import MailServer

from liaison_kit.database.database import Database
from liaison_kit.testing import principal


@pytest.fixture
def desk(fresh_database: Callable[[str], Database]) -> Desk:
    """Connect at work, and somebody of a new tenant who may do everything."""
    return Desk(fresh_database("connect"), principal())


@pytest.fixture(scope="session")
def mail() -> Iterator[MailServer]:
    """A mail server without TLS."""
    with MailServer() as server:
        yield server

"""What the tests of contacts stand on."""

from collections.abc import Callable

import pytest

from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.testing import about


@pytest.fixture(scope="session")
def contacts_db(database: Callable[[str], Database]) -> Database:
    """The database of contacts."""
    return database("contacts")


@pytest.fixture
def someone() -> Context:
    """A request by somebody who may do everything, in a tenant of their own."""
    return about()

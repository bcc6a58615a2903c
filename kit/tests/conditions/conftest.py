"""The table of samples, in the database of the service called `ground`."""

from collections.abc import Callable

import hypothesis
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine, text

from liaison_kit.conditions import Condition, parse
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.migrations import Roles, application_role, enable_tenancy
from liaison_kit.database.record_tables import folded_texts, sorted_texts
from liaison_kit.testing import about

from .samples import SAMPLES, SEEN_MAKERS, TABLE, define

# The first time that something is called it may take long, and longer on a busy machine.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def sampled_database(ground_roles: Roles) -> Database:
    """The database with the table of samples."""
    owner = create_engine(ground_roles.owner)
    with owner.begin() as connection:
        op = Operations(MigrationContext.configure(connection))
        connection.execute(text(TABLE))
        folded_texts(op)
        sorted_texts(op, "samples", "name")
        enable_tenancy(op, "samples")
        connection.execute(text(SEEN_MAKERS))
        connection.execute(text(f"GRANT SELECT ON seen_makers TO {application_role(op)}"))
    owner.dispose()
    return Database(ground_roles.service, 2, application="samples")


@pytest.fixture
def db(sampled_database: Database) -> Database:
    """The database as the service works with it."""
    return sampled_database


@pytest.fixture(scope="session")
def somebody(sampled_database: Database) -> Context:
    """A request by somebody of a tenant that has a field of its own of every kind."""
    who = about()
    with sampled_database.writing(who) as session:
        define(session)
    return who


@pytest.fixture
def condition(db: Database, somebody: Context) -> Callable[..., Condition]:
    """A condition of samples from rules that are joined by `and`, or from a whole tree."""

    def made(*rules: tuple[object, ...], tree: object = None) -> Condition:
        listed = [dict(zip(("field", "operator", "value"), rule, strict=False)) for rule in rules]
        with db.reading(somebody) as session:
            return parse(session, SAMPLES, tree or {"combinator": "and", "rules": listed})

    return made

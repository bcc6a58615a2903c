"""What identity's tests share: a company with its administrator, and its users."""

import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from sqlalchemy import make_url

from liaison_identity import tenants
from liaison_identity.service import Identity
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_sdk.contracts.identity import Administrator, NewTenant

# Tests are imported by file: their helpers are found beside them.
sys.path.append(str(Path(__file__).parent))

from identity_company import PASSWORD, Company, Guesses, call, role_id


@pytest.fixture(scope="session")
def identity_db(database: Callable[[str], Database]) -> Database:
    """Identity's database, which its operations use."""
    Identity.db = database("identity")
    return Identity.db


@pytest.fixture
def guesses(postgres: str, identity_db: Database) -> Iterator[Guesses]:
    """What has been guessed, for which time can pass."""
    address = make_url(postgres).set(drivername="postgresql", database=identity_db.url.database)
    with closing(psycopg2.connect(address.render_as_string(hide_password=False))) as connection:
        connection.autocommit = True
        yield Guesses(connection)


@pytest.fixture
def make_company(identity_db: Database) -> Callable[..., Company]:
    """Sets companies up."""

    def make(email: str | None = None) -> Company:
        slug = f"company-{uuid7()}"
        email = email or f"ada@{slug}.example.com"
        tenant = tenants.bootstrap(
            identity_db,
            NewTenant(
                name=slug.replace("-", " "),
                slug=slug,
                administrator=Administrator(name="Ada", email=email, password=PASSWORD),  # type: ignore[arg-type]
            ),
        )
        return Company(identity_db, tenant.id, slug, email)

    return make


@pytest.fixture
def company(make_company: Callable[..., Company]) -> Company:
    """A company with its administrator."""
    return make_company()


@pytest.fixture
def admin(company: Company) -> dict[str, Any]:
    """The company's administrator, signed in."""
    return company.principal()


@pytest.fixture
def add_user(company: Company, admin: dict[str, Any]) -> Callable[..., dict[str, Any]]:
    """Adds users who can sign in."""

    def add(name: str, *roles: str, **values: Any) -> dict[str, Any]:
        email = f"{name.lower()[:20]}-{uuid7()}@example.com"
        ids = [role_id(admin, role) for role in roles]
        body = {"name": name, "email": email, "password": PASSWORD, "role_ids": ids, **values}
        answer = call("create_user", admin, body=body)
        assert answer.status == 201, answer.body
        return dict(answer.body)

    return add

"""Taking lists out as files: who may, since it is a right of its own, and what the trail says."""

from collections.abc import Callable
from importlib import import_module
from uuid import uuid4

import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import text

from liaison_identity.standard_roles import STANDARD
from liaison_kit.context import Context
from liaison_kit.database.database import Database

UPGRADE = import_module("liaison_identity.migrations.versions.0010_exports")


@pytest.mark.parametrize(
    ("before", "after"),
    [
        (["contacts:read", "jobs:read"], ["contacts:export", "contacts:read", "jobs:read"]),
        (["companies:write"], ["companies:write"]),
        (["*"], ["*"]),
    ],
)
def test_roles_of_before_can_do_what_they_could(
    fresh_database: Callable[[str], Database], before: list[str], after: list[str]
) -> None:
    database, tenant = fresh_database("identity"), uuid4()
    with database.writing(Context(tenant=tenant)) as session:
        session.execute(
            text(
                "INSERT INTO roles (id, tenant_id, version, created_at, updated_at, custom, name,"
                " permissions, rows) VALUES (gen_random_uuid(), :tenant, 1, now(), now(), '{}',"
                " 'Before', :before, '{}')"
            ),
            {"tenant": tenant, "before": before},
        )

        for _twice in range(2):
            with Operations.context(MigrationContext.configure(session.connection())):
                UPGRADE.upgrade()

        found = session.execute(text("SELECT permissions, version FROM roles")).one()
    assert found == (after, 1 + (before != after))


def test_of_the_ready_made_roles_those_take_lists_out_who_have_to() -> None:
    may = {role.key for role in STANDARD if {"*", "contacts:export"} & set(role.permissions)}

    assert may == {"administrator", "sales_manager", "marketer", "privacy_officer"}

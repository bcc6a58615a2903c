"""The database of a service called `ground`, and a hand on the server that it is on."""

from collections.abc import Iterator
from contextlib import closing
from typing import Any

import psycopg2
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine, make_url, text

from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.migrations import (
    RECORD_COLUMNS,
    Roles,
    changing_custom_fields,
    enable_tenancy,
    grant,
    kit_tables,
    prepare,
    record_indexes,
    safer_events,
    tenant_settings_table,
    timer_tables,
)
from liaison_kit.privacy.tables import lands, privacy_tables
from liaison_kit.records.links import link_tables
from liaison_kit.records.trash import trash_tables
from liaison_kit.run.credentials import Credentials
from liaison_kit.testing import about
from liaison_sdk.events import Event

TABLES = f"""
CREATE TABLE things (
    id bigint PRIMARY KEY,
    tenant_id uuid NOT NULL DEFAULT NULLIF(current_setting('liaison.tenant', true), '')::uuid,
    said text
);
CREATE TABLE parts (
    thing bigint REFERENCES things DEFERRABLE INITIALLY DEFERRED
);
CREATE TABLE makers (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL
);
CREATE TABLE gadgets (
    {RECORD_COLUMNS},
    name text NOT NULL,
    owner_id uuid,
    maker_id uuid,
    price numeric(18, 2) CONSTRAINT ck_gadgets_price CHECK (price >= 0),
    weight double precision,
    made_on date,
    tags text[],
    friends uuid[],
    notes jsonb
);
CREATE TABLE gadget_parts (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    tenant_id uuid NOT NULL,
    gadget_id uuid NOT NULL REFERENCES gadgets ON DELETE CASCADE,
    said text,
    made_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE firms (
    {RECORD_COLUMNS},
    name text NOT NULL,
    parent_id uuid
);
CREATE TABLE employees (
    {RECORD_COLUMNS},
    owner_id uuid,
    firm_id uuid,
    client_id uuid,
    tool_id uuid
);
CREATE TABLE tools (
    {RECORD_COLUMNS}
)
"""


class Told(Event):
    """A number was told about something."""

    type = "told"
    source = "ground"
    key_field = "about"

    about: str
    number: int = 0


class Ground:
    """A service's database as the service works with it, and as its server's owner sees it."""

    def __init__(self, server: str, roles: Roles) -> None:
        self._url = roles.service
        self._address = (
            make_url(server)
            .set(drivername="postgresql", database="liaison_ground")
            .render_as_string(hide_password=False)
        )
        self._opened: list[Database] = []

    def open(self, pool_size: int = 2) -> Database:
        """The database, with a pool of the test's own."""
        db = Database(self._url, pool_size, application="ground")
        self._opened.append(db)
        return db

    def close(self) -> None:
        for db in self._opened:
            db.dispose()

    def look(self, statement: str, *values: Any) -> list[Any]:
        """What the database's owner sees, of all tenants."""
        with closing(psycopg2.connect(self._address)) as connection:
            connection.autocommit = True
            with connection.cursor() as cursor:
                cursor.execute(statement, values or None)
                return cursor.fetchall() if cursor.description else []

    def things(self) -> list[int]:
        return [id for (id,) in self.look("SELECT id FROM things ORDER BY id")]

    def told(self) -> list[int]:
        """The numbers of the events that are to be sent, in their order."""
        numbers = "SELECT (body::json->'data'->>'number')::int FROM outbox ORDER BY seq"
        return [number for (number,) in self.look(numbers)]

    def cut(self) -> None:
        """End every connection of the service, as a server does that is restarted."""
        self.look(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
            " WHERE application_name = 'ground'"
        )

    def states(self) -> set[str]:
        """What the service's connections are doing."""
        found = self.look("SELECT state FROM pg_stat_activity WHERE application_name = 'ground'")
        return {state for (state,) in found}

    def waiting(self) -> bool:
        """Whether one of the service's connections waits for a lock."""
        found = self.look(
            "SELECT pid FROM pg_stat_activity"
            " WHERE application_name = 'ground' AND wait_event_type = 'Lock'"
        )
        return bool(found)


@pytest.fixture(scope="session")
def ground_roles(postgres: str, credentials: Credentials) -> Roles:
    """The roles of the database, which is made anew."""
    roles = credentials.roles("ground", make_url(postgres))
    server = make_url(postgres).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(server)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("DROP DATABASE IF EXISTS liaison_ground WITH (FORCE)")
    prepare(make_url(postgres), roles)
    owner = create_engine(roles.owner)
    with owner.begin() as connection:
        op = Operations(MigrationContext.configure(connection))
        kit_tables(op)
        changing_custom_fields(op)
        safer_events(op)
        trash_tables(op)
        privacy_tables(op)
        link_tables(op)
        timer_tables(op)
        tenant_settings_table(op)
        for statement in TABLES.split(";\n"):
            connection.execute(text(statement))
        for table in (
            *("things", "makers", "gadgets", "gadget_parts"),
            *("firms", "employees", "tools"),
        ):
            enable_tenancy(op, table)
        grant(op, "parts")
        record_indexes(op, "gadgets")
        lands(op, "firms", "parent_id")
        lands(op, "employees", "firm_id")
        lands(op, "employees", "client_id")
    owner.dispose()
    return roles


@pytest.fixture
def ground(postgres: str, ground_roles: Roles) -> Iterator[Ground]:
    """The database, empty."""
    made = Ground(postgres, ground_roles)
    # So few rows are deleted faster than their tables are truncated.
    tables = (
        "parts",
        "things",
        "gadgets",
        "makers",
        "history",
        "outbox",
        "timers",
        "failed_events",
        "tenant_settings",
    )
    made.look("; ".join(f"DELETE FROM {table}" for table in tables))
    yield made
    made.close()


@pytest.fixture
def db(ground: Ground) -> Database:
    """The database as the service works with it."""
    return ground.open()


@pytest.fixture
def someone() -> Context:
    """A request by somebody who may do everything, in a tenant of their own."""
    return about()

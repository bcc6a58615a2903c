"""A real PostgreSQL with the kit's tables and a few of the tests' own."""

import os
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import pytest
from alembic.migration import MigrationContext
from alembic.operations import Operations
from sqlalchemy import create_engine, make_url, text

from liaison_kit.database.database import Database
from liaison_kit.database.migrations import (
    RECORD_COLUMNS,
    changing_custom_fields,
    enable_tenancy,
    kit_tables,
    prepare,
    safer_events,
    search_view,
    tenant_settings_table,
)
from liaison_kit.imports.models import import_tables, mapping_tables
from liaison_kit.run.credentials import Credentials
from liaison_kit.run.postgres import Postgres

from . import book

# The first time that something is called it may take long, and longer on a busy machine.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture(scope="session")
def database(
    tmp_path_factory: pytest.TempPathFactory, credentials: Credentials
) -> Iterator[Database]:
    """The database of a service called `book`, under the role that row-level security binds."""
    with Postgres(tmp_path_factory.mktemp("pg")) as server:
        roles = credentials.roles("book", make_url(server.tcp_url))
        prepare(make_url(server.tcp_url), roles)
        owner = create_engine(roles.owner)
        with owner.begin() as connection:
            op = Operations(MigrationContext.configure(connection))
            kit_tables(op)
            changing_custom_fields(op)
            safer_events(op)
            import_tables(op)
            mapping_tables(op)
            tenant_settings_table(op)
            for statement in book.SCHEMA.format(record=RECORD_COLUMNS).split(";\n"):
                connection.execute(text(statement))
            for table in ("book_firms", "book_people", "book_deals"):
                enable_tenancy(op, table)
            search_view(op, "book_firms")
        owner.dispose()
        db = Database(roles.service)
        yield db
        db.dispose()


@pytest.fixture
def db(database: Database) -> Iterator[Database]:
    """The same database, empty afterwards."""
    yield database
    with database.writing(book.about()) as session:
        for table in ("book_deals", "book_people", "book_firms", "import_changes", "imports"):
            session.execute(text(f"DELETE FROM {table}"))
        for table in ("history", "file_parts", "jobs", "custom_fields", "import_mappings"):
            session.execute(text(f"DELETE FROM {table}"))


@pytest.fixture
def real_data() -> Path:
    """The shared sales books, where they are."""
    root = Path(__file__).resolve().parents[3]
    folder = Path(os.environ.get("LIAISON_DATA", root.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip("the shared data is not here")
    return folder

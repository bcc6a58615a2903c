"""Fixtures for the tests of services: real PostgreSQL, real RabbitMQ, counted statements.

A repository's `conftest.py` says `pytest_plugins = ["liaison_kit.testing"]`. One server and one
broker serve the whole run; each service's database is migrated once and copied for whoever wants a
clean one.
"""

import atexit
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import cache
from pathlib import Path
from typing import Any
from uuid import UUID, uuid4

import psycopg2
import pytest
from psycopg2 import sql
from sqlalchemy import event, make_url, text
from sqlalchemy.orm import Session

from liaison_kit import jobs
from liaison_kit.calls.answering import answer
from liaison_kit.calls.operations import Operation
from liaison_kit.calls.wire import Call, Reply
from liaison_kit.context import Context, Principal
from liaison_kit.database.database import Database
from liaison_kit.database.migrations import Roles, migrate, prepare, services
from liaison_kit.database.prepared import fetch_listeners
from liaison_kit.ids import uuid7
from liaison_kit.imports import engine
from liaison_kit.imports.mapping import suggest
from liaison_kit.imports.planning import Options
from liaison_kit.imports.reading import open_table
from liaison_kit.imports.reporting import Tally
from liaison_kit.jobs import Run
from liaison_kit.records import files
from liaison_kit.run.credentials import Credentials
from liaison_kit.run.postgres import Postgres
from liaison_kit.run.rabbitmq import RabbitMQ
from liaison_kit.service import Service
from liaison_kit.trust import keys
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.principals import Principals
from liaison_kit.trust.sealing import seal

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server for this test run."""
    given = os.environ.get("LIAISON_TEST_DATABASE_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="liaison-pg-", ignore_cleanup_errors=True) as folder:
        server = Postgres(Path(folder) / "data")
        server.start()
        try:
            yield server.url
        finally:
            server.stop()


@pytest.fixture(scope="session")
def rabbitmq() -> Iterator[str]:
    """The address of a RabbitMQ broker for this test run."""
    given = os.environ.get("LIAISON_TEST_AMQP_URL")
    if given:
        yield given
        return
    with tempfile.TemporaryDirectory(prefix="liaison-mq-", ignore_cleanup_errors=True) as folder:
        broker = RabbitMQ(Path(folder))
        broker.start()
        try:
            yield broker.url
        finally:
            broker.stop()


@pytest.fixture(scope="session")
def credentials(tmp_path_factory: pytest.TempPathFactory) -> Credentials:
    """The passwords of this test run's roles."""
    return Credentials(tmp_path_factory.mktemp("credentials"))


@pytest.fixture(scope="session")
def migrated(postgres: str, credentials: Credentials) -> Callable[[str], Roles]:
    """Migrates a service's database, once; returns the roles that reach it."""
    done: dict[str, Roles] = {}

    def of(service: str) -> Roles:
        if service not in done:
            roles = credentials.roles(service, make_url(postgres))
            prepare(make_url(postgres), roles)
            migrate(service, roles.owner)
            # PostgreSQL copies only a database that nobody is connected to.
            _copy(postgres, f"liaison_{service}", f"clean_{service}")
            done[service] = roles
        return done[service]

    return of


@pytest.fixture(scope="session")
def database(migrated: Callable[[str], Roles]) -> Iterator[Callable[[str], Database]]:
    """A service's database, shared by the run; each test has a tenant of its own."""
    opened: dict[str, Database] = {}

    def of(service: str) -> Database:
        if service not in opened:
            opened[service] = Database(migrated(service).service)
            opened[service].keys = keyring(service)
        return opened[service]

    yield of
    for db in opened.values():
        db.dispose()


@pytest.fixture
def fresh_database(
    postgres: str, migrated: Callable[[str], Roles]
) -> Iterator[Callable[[str], Database]]:
    """A clean copy of a service's database, for tests that look at all of it."""
    made: list[tuple[str, Database]] = []

    def of(service: str) -> Database:
        roles = migrated(service)
        name = f"copy_{os.getpid()}_{next(_numbers)}"
        _copy(postgres, f"clean_{service}", name)
        db = Database(roles.service.set(database=name))
        db.keys = keyring(service)
        made.append((name, db))
        return db

    yield of
    for name, db in made:
        db.dispose()
        _on_server(postgres, sql.SQL("DROP DATABASE {} WITH (FORCE)").format(sql.Identifier(name)))


def _copy(url: str, database: str, name: str) -> None:
    _on_server(url, sql.SQL("DROP DATABASE IF EXISTS {}").format(sql.Identifier(name)))
    statement = sql.SQL("CREATE DATABASE {} TEMPLATE {}")
    _on_server(url, statement.format(sql.Identifier(name), sql.Identifier(database)))


def _on_server(url: str, statement: sql.Composed) -> None:
    address = make_url(url).set(drivername="postgresql").render_as_string(hide_password=False)
    with closing(psycopg2.connect(address)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)


def principal(
    tenant: UUID | None = None,
    *permissions: str,
    user: UUID | None = None,
    rows: dict[str, Any] | None = None,
    peers: tuple[UUID, ...] = (),
) -> Principal:
    """Somebody for a test: of a tenant of their own unless told otherwise, allowed everything."""
    return Principal(
        tenant=tenant or uuid7(),
        user=user or uuid7(),
        name="Test",
        permissions=frozenset(permissions or ("*",)),
        rows=rows or {},
        peers=peers,
    )


@cache
def keyring(party: str) -> Keyring:
    """The keys of a service, or of the gateway, in this test run."""
    folder = _keys_folder()
    for one in {party, "gateway", *services()}:
        keys.create(one, folder / one / "keys.json", folder / "trusted")
    return Keyring(party, folder / party / "keys.json", folder / "trusted")


def key_environment(party: str) -> dict[str, str]:
    """What a process of a service, or the gateway, is told about its keys."""
    keyring(party)
    return {
        "LIAISON_KEY_FILE": str(_keys_folder() / party / "keys.json"),
        "LIAISON_TRUST_DIR": str(_keys_folder() / "trusted"),
        "LIAISON_SECRET_KEY": f"the secret of {party} in a test run",
    }


@cache
def _keys_folder() -> Path:
    folder = tempfile.mkdtemp(prefix="liaison-keys-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


def signed(who: Principal) -> str:
    """A principal as identity would sign it."""
    return Principals(keyring("identity")).issue(who)


def at_work(service: type[Service], db: Database, **more: Any) -> Any:
    """A service's object that answers operations on a database."""
    ring = keyring(service.name)
    principals = Principals(ring)
    return type(
        service.__name__, (service,), {"db": db, "keys": ring, "principals": principals, **more}
    )()


def call(
    service: Any, operation: str, who: Principal | str | None, body: bytes = b"", **meta: Any
) -> Reply:
    """What an operation answers to somebody, as over the wire: signed, and sealed where need be."""
    declared: Operation = getattr(type(service), operation).operation
    principal = signed(who) if isinstance(who, Principal) else who
    if declared.sealed and body:
        body = seal(keyring("gateway"), service.name, operation, body)
    return answer(declared, service, Call({"principal": principal, **meta}, body))


def about(who: Principal | None = None) -> Context:
    """The context of a request by somebody."""
    who = who or principal()
    return Context(tenant=who.tenant, principal=who)


def in_hand(db: Database, who: Context, job: UUID) -> Run:
    """A job as the worker has it that has just taken it, perhaps over from one that died."""
    worker = uuid4()
    with db.writing(who) as session:
        row = jobs.find(session, job)
        row.worker, row.status = worker, "running"
    return Run(db, row, worker, Principals(keyring("contacts")).read_expired)


def ended(service: Any, who: Context, job: UUID | str) -> None:
    """Do a job's work to its end, as the worker would."""
    run = in_hand(service.db, who, UUID(str(job)))
    service.job_methods[run.kind](service, run)
    with service.db.writing(who) as session:
        jobs.find(session, run.id).status = "done"


def exported(service: Any, who: Context, job: UUID | str) -> bytes:
    """The file that an export has made."""
    with service.db.reading(who) as session:
        return b"".join(files.chunks(session, UUID(str(job))))


class _Steps:
    """A job's steps, each in a transaction of its own."""

    def __init__(self, db: Database, who: Context) -> None:
        self.db, self.who = db, who
        self.checkpoint: dict[str, Any] = {}
        self.done, self.total = 0, None

    def step(self) -> Any:
        return self.db.writing(self.who)

    def asking(self, work: Callable[[Any], Any]) -> Any:
        with self.step() as session:
            return work(session)


class _Looks(_Steps):
    """Steps of which nothing is kept."""

    @contextmanager
    def step(self) -> Iterator[Session]:
        with self.db.session(self.who, job=True) as session:
            yield session
            session.rollback()


def brought(service: Any, who: Context, record: str, path: Path) -> dict[str, int]:
    """Import a file as its header suggests; what became of its rows."""
    tally = imported(service, who, record, path)
    return {name: count for name, count in tally.counts.items() if count}


def imported(
    service: Any,
    who: Context,
    record: str,
    path: Path,
    *,
    mapping: Mapping[str, str | None] | None = None,
    key: str | None = None,
    dry: bool = False,
) -> Tally:
    """Import a file, or only try it; as its header suggests unless it is told."""
    importable = next(found for found in service.importables if found.record == record)
    table = open_table(path)
    with service.db.reading(who) as session:
        specs = importable.all_fields(session)
    if mapping is None:
        first = next(table.chunks(size=200))
        samples = dict(zip(table.header, first.columns, strict=True))
        mapping = {s.column: s.field for s in suggest(table.header, samples, specs) if s.field}
    asked = Options(key=key)
    if dry:
        looks: Any = _Looks(service.db, who)
        return engine.dry_run(looks, importable, table, mapping, {}, asked)[1]
    steps: Any = _Steps(service.db, who)
    return engine.run(steps, importable, table, mapping, {}, asked, uuid7(), uuid7())[1]


def told(db: Database, tenant: UUID) -> list[tuple[str, dict[str, Any]]]:
    """What a tenant's work has told by events and no relay has taken yet: types and data."""
    with db.connection() as connection:
        rows = connection.execute(
            text(
                "SELECT body::jsonb ->> 'type', body::jsonb -> 'data' FROM outbox"
                " WHERE to_queue IS NULL AND body::jsonb ->> 'tenant' = :tenant ORDER BY seq"
            ),
            {"tenant": str(tenant)},
        )
        return [(type, data) for type, data in rows]


@contextmanager
def statements(db: Database) -> Iterator[list[str]]:
    """The SQL statements that are run meanwhile, for counting."""
    seen: list[str] = []

    def note(_c: Any, _cursor: Any, statement: str, *_rest: Any) -> None:
        # A commit that has nothing to ride behind is no statement of the service's.
        if statement != "COMMIT":
            seen.append(statement)

    for watched in db.engines:
        event.listen(watched, "before_cursor_execute", note)
    fetch_listeners.append(seen.append)
    try:
        yield seen
    finally:
        fetch_listeners.remove(seen.append)
        for watched in db.engines:
            event.remove(watched, "before_cursor_execute", note)

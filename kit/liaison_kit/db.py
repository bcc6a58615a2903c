"""PostgreSQL as a service sees it: two pools, one tenant per transaction, rows that carry both.

The tenant is switched on with `SET LOCAL` in front of the first statement of a transaction, in the
same round trip; row-level security does the rest, so a forgotten filter returns nothing.

Round trips are what a small transaction costs, so the driver begins and ends none by itself: a
writing session's BEGIN rides in front of its first statement and its COMMIT may ride behind its
last. Reading sessions have neither: each statement is one round trip with its own snapshot, which
is what read committed gives anyway.
"""

import datetime as dt
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, ClassVar, cast
from uuid import UUID

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR
from sqlalchemy import (
    BigInteger,
    DateTime,
    Engine,
    MetaData,
    Numeric,
    Text,
    create_engine,
    event,
    make_url,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import DBAPIError, InvalidatePoolError, PendingRollbackError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, SessionTransaction, mapped_column
from sqlalchemy.pool import PoolProxiedConnection

from liaison_kit.context import Context
from liaison_kit.ids import uuid7
from liaison_kit.settings import Settings
from liaison_kit.telemetry import SpanKind, span

NAMING = {
    "ix": "ix_%(table_name)s_%(column_0_N_name)s",
    "uq": "uq_%(table_name)s_%(column_0_N_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_N_name)s",
    "pk": "pk_%(table_name)s",
}


class Base(DeclarativeBase):
    """Where a service's tables are declared; each service process has its own one service."""

    metadata = MetaData(naming_convention=NAMING)
    type_annotation_map: ClassVar[dict[Any, Any]] = {
        str: Text,
        int: BigInteger,
        dt.datetime: DateTime(timezone=True),
        dict[str, Any]: JSONB,
        list[Any]: JSONB,
    }


class TenantRow:
    """A row that belongs to one tenant and is shown to no other."""

    tenant_id: Mapped[UUID] = mapped_column(index=False)


class Record(TenantRow):
    """A record of the CRM: versioned, dated, signed, with the tenant's own fields."""

    id: Mapped[UUID] = mapped_column(primary_key=True, default=uuid7)
    external_id: Mapped[str | None]
    version: Mapped[int] = mapped_column(default=1)
    custom: Mapped[dict[str, Any]] = mapped_column(JSONB, default=dict)
    created_at: Mapped[dt.datetime]
    created_by: Mapped[UUID | None]
    updated_at: Mapped[dt.datetime]
    updated_by: Mapped[UUID | None]

    _answer = cast("tuple[bytes, int] | None", None)
    """What readers get of the record, and its version, as its last write returned them."""


MoneyAmount = Numeric(18, 2)

UNASKED_S = 1.0
"""A connection that was used within this time is taken to be alive."""

_PING = postgresql.psycopg2.dialect()  # type: ignore[no-untyped-call]


def service_url(settings: Settings, service: str) -> URL:
    """Where a service's own database is, under the role that row-level security binds."""
    return make_url(settings.database_url).set(
        drivername="postgresql+psycopg2",
        database=f"liaison_{service}",
        username=f"liaison_{service}",
        password=settings.database_password.get_secret_value(),
    )


class Database:
    """The database of one service: sessions for reading and for writing."""

    def __init__(self, url: URL, pool_size: int = 6, application: str = "liaison") -> None:
        options: dict[str, Any] = {
            "pool_size": pool_size,
            # A process's work is bound by its core: more connections than this only cost the
            # opening and closing of each.
            "max_overflow": 0,
            "pool_timeout": 10,
            "pool_use_lifo": True,
            "connect_args": {"application_name": application, "options": "-c timezone=UTC"},
        }
        self.url = url
        self._writing = create_engine(url, isolation_level="AUTOCOMMIT", **options)
        event.listen(self._writing, "begin", _begin)
        event.listen(self._writing, "commit", _commit)
        event.listen(self._writing, "rollback", _roll_back)
        event.listen(self._writing, "reset", _reset)
        self._reading = create_engine(
            url, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, **options
        )
        for engine in (self._writing, self._reading):
            event.listen(engine, "before_cursor_execute", _open, retval=True)
            event.listen(engine, "checkin", _put_back)
            event.listen(engine, "checkout", _make_sure)

    @contextmanager
    def writing(self, context: Context) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back when anything is raised."""
        with self.session(context) as session:
            try:
                yield session
                session.commit()
            except BaseException:
                session.rollback()
                raise

    @contextmanager
    def reading(self, context: Context) -> Iterator[Session]:
        """A session that may only look."""
        session = ReadingSession(self._reading, context)
        try:
            yield session
        finally:
            session.close()

    @contextmanager
    def session(self, context: Context) -> Iterator[Session]:
        """A session whose caller decides when to commit."""
        session = WritingSession(self._writing, context)
        try:
            yield session
        finally:
            session.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A bare connection without a tenant, for the kit's own tables; the caller commits."""
        with self._writing.connect() as connection:
            yield connection

    @property
    def engines(self) -> tuple[Engine, Engine]:
        """The writing and the reading engine, for counting and measuring."""
        return self._writing, self._reading

    def dispose(self) -> None:
        """Close every connection."""
        self._writing.dispose()
        self._reading.dispose()


class WritingSession(Session):
    """One transaction; what is prepared for it goes straight to the driver.

    Most requests run a few prepared statements. The way through SQLAlchemy costs several times what
    such a statement itself does.
    """

    def __init__(self, engine: Engine, context: Context) -> None:
        super().__init__(engine, expire_on_commit=False)
        self.info["context"] = context
        self._engine = engine

    def fetch(
        self, statement: "Prepared", values: Sequence[Any], ending: str = ""
    ) -> list[tuple[Any, ...]]:
        """Run a prepared statement and return its rows; errors are SQLAlchemy's."""
        # What the statement looks up may be what the session has yet to write.
        self.flush()
        connection = self.connection()
        return _fetch(connection, self._engine, statement, values, _opening(connection), ending)


class ReadingSession(Session):
    """A session that may only look; what is prepared for it goes straight to the driver."""

    def __init__(self, engine: Engine, context: Context) -> None:
        super().__init__(engine, autoflush=False, expire_on_commit=False)
        self.info["context"] = context
        self.info["reading"] = True
        self._engine = engine
        self._switch = _tenant_switch(context)
        self._pooled: PoolProxiedConnection | None = None

    def fetch(self, statement: "Prepared", values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a prepared statement and return its rows; errors are SQLAlchemy's."""
        if self.in_transaction():
            return _fetch(self.connection(), self._engine, statement, values, self._switch)
        try:
            return _fetch(self._hold(), self._engine, statement, values, self._switch)
        except DBAPIError as error:
            if not error.connection_invalidated:
                raise
            self._pooled = None
            return _fetch(self._hold(), self._engine, statement, values, self._switch)

    def _hold(self) -> PoolProxiedConnection:
        if self._pooled is None:
            self._pooled = self._engine.raw_connection()
        return self._pooled

    def give_back(self) -> None:
        """Return the driver's connection to the pool."""
        if self._pooled is not None:
            self._pooled.close()
            self._pooled = None

    def close(self) -> None:
        """Give the connections back."""
        self.give_back()
        super().close()


@event.listens_for(ReadingSession, "after_transaction_create")
def _hold_one_connection(session: ReadingSession, _transaction: SessionTransaction) -> None:
    # Sessions that hold one and wait for another would wait for each other.
    session.give_back()


fetch_listeners: list[Callable[[str], None]] = []
"""Told each statement that bypasses SQLAlchemy, as its own events tell of the others."""


class Prepared:
    """A statement that each connection plans once: planning a list costs more than running it."""

    MOST = 300
    """So many a connection remembers, at some 60 kB each; lists come in no end of shapes."""

    _numbers = itertools.count(1)

    def __init__(self, sql: str, parameters: int) -> None:
        self.sql = sql
        self._name = f"liaison_{next(self._numbers)}"
        marks = ", ".join(["%s"] * parameters)
        self._execute = f"EXECUTE {self._name}({marks})" if parameters else f"EXECUTE {self._name}"

    def fetch(
        self, driver: Any, known: Any, values: Sequence[Any], opening: str, ending: str = ""
    ) -> list[tuple[Any, ...]]:
        """The rows; `known` keeps what the connection has prepared.

        `opening` and `ending` run in the same round trip; with an ending no rows are returned.
        """
        prepared: set[str] = known.setdefault("prepared", set())
        for note in fetch_listeners:
            note(opening + self.sql)
        with closing(driver.cursor()) as cursor:
            if self._name not in prepared:
                if len(prepared) >= self.MOST:
                    cursor.execute("DEALLOCATE ALL")
                    prepared.clear()
                # By itself: what fails later must leave no doubt whether it is prepared.
                cursor.execute(f"PREPARE {self._name} AS {self.sql}")
                prepared.add(self._name)
            with span("sql", kind=SpanKind.CLIENT, **{"db.statement": self.sql[:2000]}):
                cursor.execute(opening + self._execute + ending, values)
            return cursor.fetchall() if cursor.description else []


def _fetch(
    held: Connection | PoolProxiedConnection,
    engine: Engine,
    statement: Prepared,
    values: Sequence[Any],
    opening: str,
    ending: str = "",
) -> list[tuple[Any, ...]]:
    driver = _driver(held)
    try:
        return statement.fetch(driver, held.info, values, opening, ending)
    except psycopg2.Error as error:
        lost = bool(driver.closed)
        if lost:
            held.invalidate(error)
            # The server was restarted: every pooled connection is as dead as this one.
            engine.dispose()
        raise DBAPIError.instance(
            statement.sql,
            None,
            error,
            psycopg2.Error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=engine.dialect,
        ) from error


def _put_back(_connection: Any, record: Any) -> None:
    record.info["used"] = time.monotonic()
    record.info.pop("tenant", None)


def _make_sure(connection: Any, record: Any, _fairy: Any) -> None:
    """Find out that the database was away before a request does; a busy pool is not asked."""
    if time.monotonic() - record.info.get("used", math.inf) < UNASKED_S:
        return
    try:
        _PING.do_ping(connection)  # type: ignore[no-untyped-call]
    except psycopg2.Error as error:
        # All connections that are older than this moment go; the pool opens another.
        raise InvalidatePoolError from error


def _tenant_switch(context: Context) -> str:
    return f"SET LOCAL liaison.tenant = '{context.tenant}'; "


def _begin(connection: Connection) -> None:
    connection.info["opening"] = "BEGIN; "


@event.listens_for(Session, "after_begin")
def _tenant_of_transaction(
    session: Session, transaction: SessionTransaction, connection: Connection
) -> None:
    found: Context | None = session.info.get("context")
    if found is None:
        return
    if session.info.get("reading"):
        connection.info["tenant"] = _tenant_switch(found)
    elif not transaction.nested:
        # A savepoint begins as well, but its transaction has its tenant already.
        connection.info["opening"] += _tenant_switch(found)


def _open(
    connection: Connection,
    cursor: Any,
    statement: str,
    parameters: Any,
    _context: Any,
    executemany: bool,
) -> tuple[str, Any]:
    """Put what opens the transaction in front of its first statement."""
    opening = connection.info.get("tenant") or _opening(connection)
    if not opening:
        return statement, parameters
    if executemany:
        cursor.execute(opening)
        return statement, parameters
    return opening + statement, parameters


def _opening(connection: Connection) -> str:
    """What opens the transaction, until it is open: a statement may fail before it is even sent."""
    info = connection.info
    if "opening" in info and _status(connection) != TRANSACTION_STATUS_IDLE:
        del info["opening"]
    opening: str = info.get("opening", "")
    return opening


AND_COMMIT = "; COMMIT"
"""Ends a transaction in the round trip of its last statement, if nobody needs what that returns."""


def _commit(connection: Connection) -> None:
    connection.info.pop("opening", None)
    status = _status(connection)
    if status == TRANSACTION_STATUS_INERROR:
        # PostgreSQL would roll back and report no error.
        raise PendingRollbackError("A statement has failed: nothing of this can be committed")
    if status != TRANSACTION_STATUS_IDLE:
        connection.exec_driver_sql("COMMIT")


def _roll_back(connection: Connection) -> None:
    if connection.invalidated:
        return
    connection.info.pop("opening", None)
    if _status(connection) == TRANSACTION_STATUS_IDLE:
        return
    try:
        _driver(connection).cursor().execute("ROLLBACK")
    except psycopg2.Error as error:
        # The server is gone, and the transaction with it.
        connection.invalidate(error)


def _reset(driver: Any, _record: Any, _state: Any) -> None:
    """A connection never goes back to the pool within a transaction."""
    if not driver.closed and driver.get_transaction_status() != TRANSACTION_STATUS_IDLE:
        driver.cursor().execute("ROLLBACK")


def _driver(held: Connection | PoolProxiedConnection) -> Any:
    return (held.connection if isinstance(held, Connection) else held).dbapi_connection


def _status(connection: Connection) -> int:
    found: int = _driver(connection).get_transaction_status()
    return found

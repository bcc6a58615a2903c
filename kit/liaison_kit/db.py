"""PostgreSQL as a service sees it: two pools, one tenant per transaction, rows that carry both.

The tenant is switched on with `SET LOCAL` in front of the first statement of a transaction, in the
same round trip; row-level security does the rest, so a forgotten filter returns nothing.

Reading sessions run in autocommit: each statement is one round trip with its own snapshot, which is
what read committed gives anyway. It spares a read its BEGIN and its COMMIT.
"""

import datetime as dt
import itertools
import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any, ClassVar
from uuid import UUID

import psycopg2
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
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import PoolProxiedConnection

from liaison_kit.context import Context
from liaison_kit.ids import uuid7
from liaison_kit.settings import Settings

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
        self._writing = create_engine(url, **options)
        self._reading = create_engine(
            url, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, **options
        )
        for engine in (self._writing, self._reading):
            event.listen(engine, "before_cursor_execute", _switch_tenant_on, retval=True)
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
        session = Session(self._writing, expire_on_commit=False)
        session.info["context"] = context
        try:
            yield session
        finally:
            session.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A bare connection without a tenant, for the kit's own tables; the caller commits."""
        with self._writing.connect() as connection:
            connection.info.pop("tenant_once", None)
            yield connection

    @property
    def engines(self) -> tuple[Engine, Engine]:
        """The writing and the reading engine, for counting and measuring."""
        return self._writing, self._reading

    def dispose(self) -> None:
        """Close every connection."""
        self._writing.dispose()
        self._reading.dispose()


class ReadingSession(Session):
    """A session that may only look; what is prepared for it goes straight to the driver.

    A list or a read is one prepared statement. The way through SQLAlchemy costs several times what
    the statement itself does, so `fetch` takes a pooled connection and runs it there.
    """

    def __init__(self, engine: Engine, context: Context) -> None:
        super().__init__(engine, autoflush=False, expire_on_commit=False)
        self.info["context"] = context
        self.info["reading"] = True
        self._engine = engine
        self._switch = _tenant_switch(context)
        self._pooled: PoolProxiedConnection | None = None

    def fetch(self, statement: "Prepared", values: Sequence[Any]) -> list[tuple[Any, ...]]:
        """Run a prepared statement and return its rows."""
        try:
            return self._fetch(statement, values)
        except (psycopg2.OperationalError, psycopg2.InterfaceError):
            # The server was restarted: every pooled connection is as dead as this one.
            if self._pooled is None or not self._pooled.dbapi_connection.closed:  # type: ignore[union-attr]
                raise
            self._pooled.invalidate()
            self._pooled = None
            self._engine.dispose()
            return self._fetch(statement, values)

    def _fetch(self, statement: "Prepared", values: Sequence[Any]) -> list[tuple[Any, ...]]:
        if self._pooled is None:
            self._pooled = self._engine.raw_connection()
        sql = self._switch + statement.execution(self._pooled.info)
        for note in fetch_listeners:
            note(sql)
        with closing(self._pooled.cursor()) as cursor:
            cursor.execute(sql, values)
            return list(cursor.fetchall())

    def close(self) -> None:
        """Give the connections back."""
        if self._pooled is not None:
            self._pooled.close()
            self._pooled = None
        super().close()


fetch_listeners: list[Callable[[str], None]] = []
"""Told each statement that bypasses SQLAlchemy, as its own events tell of the others."""


class Prepared:
    """A statement that each connection plans once: planning a list costs more than running it."""

    _numbers = itertools.count(1)

    def __init__(self, sql: str, parameters: int) -> None:
        self._name = f"liaison_{next(self._numbers)}"
        self._prepare = f"PREPARE {self._name} AS {sql.replace('%', '%%')}; "
        marks = ", ".join(["%s"] * parameters)
        self._execute = f"EXECUTE {self._name}({marks})" if parameters else f"EXECUTE {self._name}"

    def execution(self, known: Any) -> str:
        """What runs it on a connection, preparing it there at its first use."""
        if self._name in known:
            return self._execute
        known[self._name] = True
        return self._prepare + self._execute


def _put_back(_connection: Any, record: Any) -> None:
    record.info["used"] = time.monotonic()


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


@event.listens_for(Session, "after_begin")
def _tenant_of_transaction(session: Session, _transaction: Any, connection: Connection) -> None:
    found: Context | None = session.info.get("context")
    if found is None:
        return
    if session.info.get("reading"):
        connection.info["tenant"] = _tenant_switch(found)
    else:
        connection.info["tenant_once"] = _tenant_switch(found)


def _switch_tenant_on(
    connection: Connection,
    cursor: Any,
    statement: str,
    parameters: Any,
    _context: Any,
    executemany: bool,
) -> tuple[str, Any]:
    info = connection.info
    switch = info.get("tenant") or info.pop("tenant_once", None)
    if switch is None:
        return statement, parameters
    if executemany:
        cursor.execute(switch)
        return statement, parameters
    return switch + statement, parameters

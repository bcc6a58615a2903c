"""PostgreSQL as a service sees it: a pool to write, one to read, and one for long work."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
from psycopg2 import sql
from sqlalchemy import (
    Engine,
    create_engine,
    event,
)
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import URL, Connection
from sqlalchemy.exc import InvalidatePoolError
from sqlalchemy.orm import Session

from liaison_kit.context import Context
from liaison_kit.database import sessions, transactions
from liaison_kit.database.faults import say_none_of
from liaison_kit.trust.keys import Keyring

UNASKED_S = 1.0
"""A connection that was used within this time is taken to be alive."""

_PING = postgresql.psycopg2.dialect()  # type: ignore[no-untyped-call]


class Database:
    """The database of one service: sessions for reading and for writing.

    Jobs write through connections of their own: however many are at work, people's are free. A
    statement that runs longer than its limit is cancelled, so that nothing holds a connection for
    ever.
    """

    def __init__(
        self,
        url: URL,
        pool_size: int = 6,
        application: str = "liaison",
        *,
        job_pool_size: int = 4,
        statement_timeout_s: float = 30.0,
        job_statement_timeout_s: float = 600.0,
    ) -> None:
        self.url = url
        self.relay: Any = None
        """The relay in this process, if there is one (`outbox.LocalRelay`)."""
        self.timers: Any = None
        """Who runs timers in this process, if somebody does (`timers.setting.Bell`)."""
        self.tenants: dict[Any, Any] = {}
        """What this process remembers of tenants (`tenants.tenant_settings`)."""
        self.keys: Keyring | None = None
        """Whose work is done here, for what is told in their name or sealed to others."""
        self._writing = _engine(url, pool_size, application, statement_timeout_s)
        self._working = _engine(url, job_pool_size, application, job_statement_timeout_s)
        self._reading = _engine(url, pool_size, application, statement_timeout_s, reads=True)

    @contextmanager
    def writing(self, context: Context, *, job: bool = False) -> Iterator[Session]:
        """One transaction: committed at the end, rolled back when anything is raised."""
        with self.session(context, job=job) as session:
            try:
                yield session
                session.commit()
            except BaseException:
                session.rollback()
                raise

    @contextmanager
    def reading(self, context: Context, *, strictly: bool = False) -> Iterator[Session]:
        """A session to look with; strictly, so that PostgreSQL lets it do nothing else."""
        session = sessions.ReadingSession(self._reading, context, strictly=strictly)
        session.info["tenants"] = self.tenants
        try:
            yield session
        finally:
            session.close()

    @contextmanager
    def session(
        self, context: Context, opening: str = "", *, job: bool = False
    ) -> Iterator[Session]:
        """A session whose caller decides when to commit.

        `opening` is SQL that opens the transaction, in the round trip of its first statement: its
        locks and limits. Each of its statements sees what is committed by then.
        """
        engine = self._working if job else self._writing
        session = sessions.WritingSession(engine, context, opening)
        session.info["relay"] = self.relay
        session.info["timers"] = self.timers
        session.info["tenants"] = self.tenants
        session.info["keys"] = self.keys
        try:
            yield session
        finally:
            session.close()

    @contextmanager
    def connection(self) -> Iterator[Connection]:
        """A bare connection without a tenant, for the kit's own tables; the caller commits."""
        with self._writing.connect() as connection:
            yield connection

    def listen(self, channel: str) -> Any:
        """A connection of the driver's that is sent a channel's notices; its caller closes it."""
        raw = self._writing.raw_connection()
        connection: Any = raw.driver_connection
        raw.detach()
        with connection.cursor() as cursor:
            cursor.execute(sql.SQL("LISTEN {}").format(sql.Identifier(channel)))
        return connection

    @property
    def engines(self) -> tuple[Engine, Engine, Engine]:
        """The writing, the reading and the jobs' engine, for counting and measuring."""
        return self._writing, self._reading, self._working

    def dispose(self) -> None:
        """Close every connection."""
        for engine in self.engines:
            engine.dispose()


def _engine(
    url: URL, size: int, application: str, timeout_s: float, *, reads: bool = False
) -> Engine:
    options = f"-c timezone=UTC -c statement_timeout={round(timeout_s * 1000)}"
    engine = create_engine(
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=size,
        # A process's work is bound by its core: more connections than this only cost the opening
        # and closing of each.
        max_overflow=0,
        pool_timeout=10,
        pool_use_lifo=True,
        hide_parameters=True,
        connect_args={"application_name": application, "options": options},
        **({"pool_reset_on_return": None} if reads else {}),
    )
    if reads:
        transactions.only_look(engine)
    else:
        transactions.begin_and_end(engine)
    event.listen(engine, "handle_error", say_none_of)
    event.listen(engine, "checkin", _put_back)
    event.listen(engine, "checkout", _make_sure)
    return engine


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

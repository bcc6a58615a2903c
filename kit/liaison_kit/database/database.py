"""PostgreSQL as a service sees it: a pool to write and one to read."""

import math
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psycopg2
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
from liaison_kit.database import sessions
from liaison_kit.database.faults import say_none_of

UNASKED_S = 1.0
"""A connection that was used within this time is taken to be alive."""

_PING = postgresql.psycopg2.dialect()  # type: ignore[no-untyped-call]


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
            "hide_parameters": True,
            "connect_args": {"application_name": application, "options": "-c timezone=UTC"},
        }
        self.url = url
        self.relay: Any = None
        """The relay in this process, if there is one (`outbox.LocalRelay`)."""
        self._writing = create_engine(url, isolation_level="AUTOCOMMIT", **options)
        sessions.end_with_last(self._writing)
        self._reading = create_engine(
            url, isolation_level="AUTOCOMMIT", pool_reset_on_return=None, **options
        )
        for engine in (self._writing, self._reading):
            sessions.open_with_first(engine)
            event.listen(engine, "handle_error", say_none_of)
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
        session = sessions.ReadingSession(self._reading, context)
        try:
            yield session
        finally:
            session.close()

    @contextmanager
    def session(self, context: Context) -> Iterator[Session]:
        """A session whose caller decides when to commit."""
        session = sessions.WritingSession(self._writing, context)
        session.info["relay"] = self.relay
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

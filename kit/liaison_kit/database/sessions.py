"""Sessions: how transactions, the tenant and prepared statements travel to PostgreSQL.

The tenant is switched on with `SET LOCAL` in front of the first statement of a transaction, in the
same round trip; row-level security does the rest, so a forgotten filter returns nothing.

Round trips are what a small transaction costs, so the driver begins and ends none by itself: a
writing session's BEGIN rides in front of its first statement and its COMMIT may ride behind its
last. Reading sessions have neither: each statement is one round trip with its own snapshot, which
is what read committed gives anyway.
"""

import itertools
from collections.abc import Callable, Sequence
from contextlib import closing
from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR
from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.orm import Session, SessionTransaction
from sqlalchemy.pool import PoolProxiedConnection

from liaison_kit.context import Context
from liaison_kit.database.faults import say_no_values
from liaison_kit.telemetry import SpanKind, span


class WritingSession(Session):
    """One transaction; what is prepared for it goes straight to the driver.

    Most requests run a few prepared statements and nothing else. The way through SQLAlchemy costs
    several times what such a statement itself does, so it joins only when it is asked for
    something, on the same connection and in the same transaction.
    """

    def __init__(self, engine: Engine, context: Context) -> None:
        super().__init__(engine, expire_on_commit=False)
        self.info["context"] = context
        self._engine = engine
        self._begin = "BEGIN; " + _tenant_switch(context)
        self._pooled: PoolProxiedConnection | None = None
        self._joined: Connection | None = None

    def fetch(
        self, statement: "Prepared", values: Sequence[Any], ending: str = ""
    ) -> list[tuple[Any, ...]]:
        """Run a prepared statement and return its rows; errors are SQLAlchemy's."""
        if self.in_transaction():
            # What the statement looks up may be what the session has yet to write, and a savepoint
            # is only set once the session asks for its connection.
            self.flush()
            joined = self.connection()
            return _fetch(joined, self._engine, statement, values, _opening(joined), ending)
        held = self._hold()
        opening = self._begin if _status(held) == TRANSACTION_STATUS_IDLE else ""
        return _fetch(held, self._engine, statement, values, opening, ending)

    def get_bind(self, *_given: Any, **_named: Any) -> Connection:
        """Where SQLAlchemy joins in: the connection that the prepared statements use."""
        if self._joined is None:
            self._joined = Connection(self._engine, self._hold())
        return self._joined

    def commit(self) -> None:
        """Keep what was done; the events of the session tell of it as SQLAlchemy's do."""
        if not self.in_transaction():
            self.dispatch.before_commit(self)
        if self.in_transaction():
            # It may not have asked for the connection yet whose transaction it is to commit.
            self.connection()
            super().commit()
            return
        if self._pooled is not None:
            _end(self._hold(), self._engine)
        self.dispatch.after_commit(self)

    def rollback(self) -> None:
        """Undo what was done since the last commit."""
        if self.in_transaction():
            super().rollback()
        else:
            self.dispatch.after_rollback(self)
        if self._pooled is None:
            return
        if self._pooled.is_valid:
            _undo(self._pooled)
        if not self._pooled.is_valid:
            self._pooled = self._joined = None

    def close(self) -> None:
        """Undo what was not committed and give the connection back."""
        if self.in_transaction():
            super().close()
        if self._pooled is not None:
            # What is still open ends as the pool takes the connection back.
            self._pooled.close()
            self._pooled = self._joined = None

    def _hold(self) -> PoolProxiedConnection:
        if self._pooled is None:
            self._pooled = self._engine.raw_connection()
        elif not self._pooled.is_valid:
            raise PendingRollbackError("The connection was lost, and the transaction with it")
        return self._pooled


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
        # Most readings never asked SQLAlchemy for anything.
        if self.in_transaction():
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
        self._span = "sql " + sql.split(None, 1)[0].lower()
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
            told = {"db.system": "postgresql", "db.statement": self.sql[:2000]}
            with span(self._span, kind=SpanKind.CLIENT, **told):
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
    try:
        return statement.fetch(_driver(held), held.info, values, opening, ending)
    except psycopg2.Error as error:
        raise _failed(held, engine, statement.sql, error) from error


def _failed(
    held: Connection | PoolProxiedConnection, engine: Engine, sql: str, error: psycopg2.Error
) -> Exception:
    """SQLAlchemy's error for the driver's; a lost connection does not go back to the pool."""
    say_no_values(error)
    lost = bool(_driver(held).closed)
    if lost:
        held.invalidate(error)
        # The server was restarted: every pooled connection is as dead as this one.
        engine.dispose()
    wrapped: Exception = DBAPIError.instance(
        sql,
        None,
        error,
        psycopg2.Error,
        hide_parameters=True,
        connection_invalidated=lost,
        dialect=engine.dialect,
    )
    return wrapped


def _tenant_switch(context: Context) -> str:
    return f"SET LOCAL liaison.tenant = '{context.tenant}'; "


def open_with_first(engine: Engine) -> None:
    """Have what opens a transaction ride in front of its first statement."""
    event.listen(engine, "before_cursor_execute", _open, retval=True)
    event.listen(engine, "checkin", _forget_tenant)


def end_with_last(engine: Engine) -> None:
    """Begin and end transactions here: the driver, which is in autocommit, would by itself."""
    event.listen(engine, "begin", _begin)
    event.listen(engine, "commit", _commit)
    event.listen(engine, "rollback", _roll_back)
    event.listen(engine, "reset", _reset)


def _forget_tenant(_driver: Any, record: Any) -> None:
    record.info.pop("tenant", None)


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
    if _is_open(connection):
        connection.exec_driver_sql("COMMIT")


def _end(held: PoolProxiedConnection, engine: Engine) -> None:
    if _is_open(held):
        try:
            _driver(held).cursor().execute("COMMIT")
        except psycopg2.Error as error:
            raise _failed(held, engine, "COMMIT", error) from error


def _is_open(held: Connection | PoolProxiedConnection) -> bool:
    status = _status(held)
    if status == TRANSACTION_STATUS_INERROR:
        # PostgreSQL would roll back and report no error.
        raise PendingRollbackError("A statement has failed: nothing of this can be committed")
    return bool(status != TRANSACTION_STATUS_IDLE)


def _roll_back(connection: Connection) -> None:
    if not connection.invalidated:
        connection.info.pop("opening", None)
        _undo(connection)


def _undo(held: Connection | PoolProxiedConnection) -> None:
    if _status(held) == TRANSACTION_STATUS_IDLE:
        return
    try:
        _driver(held).cursor().execute("ROLLBACK")
    except psycopg2.Error as error:
        # The server is gone, and the transaction with it.
        held.invalidate(error)


def _reset(driver: Any, _record: Any, _state: Any) -> None:
    """A connection never goes back to the pool within a transaction."""
    if not driver.closed and driver.get_transaction_status() != TRANSACTION_STATUS_IDLE:
        driver.cursor().execute("ROLLBACK")


def _driver(held: Connection | PoolProxiedConnection) -> Any:
    return (held.connection if isinstance(held, Connection) else held).dbapi_connection


def _status(held: Connection | PoolProxiedConnection) -> int:
    found: int = _driver(held).get_transaction_status()
    return found

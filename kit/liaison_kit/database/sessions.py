"""Sessions: one tenant's work with the database, over one connection.

The tenant is switched on with `SET LOCAL` in front of the first statement of a transaction, in the
same round trip; row-level security does the rest, so a forgotten filter returns nothing.

There is one way into a transaction (`transactions.py`) and one connection, but two who use it. A
prepared statement goes straight to the driver; SQLAlchemy joins in once it is asked for something.
It could be asked every time, and `commit` and `rollback` here would be SQLAlchemy's own. But most
requests run a few prepared statements and nothing else, and for those it has nothing to do: its
joining costs the process 65 µs of CPU per transaction, where two statements and their commit cost
350 in all, and makes a read cost 130 µs instead of 80. So three places ask whether it has a part in
the transaction (`in_transaction()`), where it would otherwise not know: in front of a statement
what it has yet to write is written, at the commit and at the rollback it does its own share, and
its listeners, as the outbox is one, are told either way.
"""

from collections.abc import Sequence
from typing import Any

import psycopg2
from sqlalchemy import Engine
from sqlalchemy.engine import Connection
from sqlalchemy.exc import DBAPIError, PendingRollbackError
from sqlalchemy.orm import Session
from sqlalchemy.pool import PoolProxiedConnection

from liaison_kit import sight
from liaison_kit.context import CallerLeft, Context
from liaison_kit.database.faults import say_no_values
from liaison_kit.database.prepared import Prepared
from liaison_kit.database.transactions import BEGIN, OPENING, is_open, opening_of, undo


class TenantSession(Session):
    """A session of one tenant's that holds one connection, for the driver and SQLAlchemy alike."""

    def __init__(self, engine: Engine, context: Context, *, autoflush: bool = True) -> None:
        super().__init__(engine, autoflush=autoflush, expire_on_commit=False)
        self.info["context"] = context
        self._engine = engine
        seen = sight.switch(context.principal)
        # The tenant last: what looks for a statement looks behind it.
        self._opening = f"{seen}SET LOCAL liaison.tenant = '{context.tenant}'; "
        self._pooled: PoolProxiedConnection | None = None
        self._joined: Connection | None = None

    def fetch(
        self, statement: Prepared, values: Sequence[Any], ending: str = ""
    ) -> list[tuple[Any, ...]]:
        """Run a prepared statement and return its rows; errors are SQLAlchemy's."""
        if self.in_transaction():
            # What the statement looks up may be what the session has yet to write, and a savepoint
            # is only set once the session asks for its connection.
            self.flush()
            self.connection()
        held = self._hold()
        driver, opening = held.dbapi_connection, opening_of(held)
        try:
            return statement.fetch(driver, held.info, values, opening, ending)
        except psycopg2.Error as error:
            raise self._failed(statement.sql, error) from error

    def get_bind(self, *_given: Any, **_named: Any) -> Connection:
        """Where SQLAlchemy joins in: the connection that the prepared statements use."""
        if self._joined is None:
            self._joined = Connection(self._engine, self._hold())
        return self._joined

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
            self._pooled = _take(self._engine, self.info["context"])
            self._pooled.info[OPENING] = self._opening
        elif not self._pooled.is_valid:
            raise PendingRollbackError("The connection was lost, and the transaction with it")
        return self._pooled

    def _failed(self, sql: str, error: psycopg2.Error) -> Exception:
        """SQLAlchemy's error for the driver's; a lost connection does not go back to the pool."""
        say_no_values(error)
        held = self._hold()
        driver: Any = held.dbapi_connection
        lost = bool(driver.closed)
        if lost:
            (held if self._joined is None else self._joined).invalidate(error)
            # The server was restarted: every pooled connection is as dead as this one.
            self._engine.dispose()
        wrapped: Exception = DBAPIError.instance(
            sql,
            None,
            error,
            psycopg2.Error,
            hide_parameters=True,
            connection_invalidated=lost,
            dialect=self._engine.dialect,
        )
        return wrapped


class WritingSession(TenantSession):
    """One transaction; `opening` is SQL that opens it, after its tenant."""

    def __init__(self, engine: Engine, context: Context, opening: str = "") -> None:
        super().__init__(engine, context)
        self._opening = BEGIN + self._opening + opening

    def commit(self) -> None:
        """Keep what was done; the events of the session tell of it as SQLAlchemy's do."""
        if not self.in_transaction():
            self.dispatch.before_commit(self)
        if self.in_transaction():
            # It may not have asked for the connection yet whose transaction it is to commit.
            self.connection()
            super().commit()
            return
        if self._pooled is not None and is_open(self._hold()):
            try:
                self._pooled.cursor().execute("COMMIT")
            except psycopg2.Error as error:
                raise self._failed("COMMIT", error) from error
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
            undo(self._pooled)
        if not self._pooled.is_valid:
            self._pooled = self._joined = None


class ReadingSession(TenantSession):
    """A session that may only look; strictly, PostgreSQL sees to it."""

    def __init__(self, engine: Engine, context: Context, *, strictly: bool = False) -> None:
        super().__init__(engine, context, autoflush=False)
        if strictly:
            self._opening = "SET LOCAL transaction_read_only = on; " + self._opening

    def fetch(
        self, statement: Prepared, values: Sequence[Any], ending: str = ""
    ) -> list[tuple[Any, ...]]:
        """Run a prepared statement and return its rows; errors are SQLAlchemy's."""
        try:
            return super().fetch(statement, values, ending)
        except DBAPIError as error:
            if self.in_transaction() or not error.connection_invalidated:
                raise
        # Nothing was lost but a connection.
        self._pooled = self._joined = None
        return super().fetch(statement, values, ending)


def _take(engine: Engine, context: Context) -> PoolProxiedConnection:
    """A connection of the pool; it may take so long to get one that nobody wants it any more."""
    held = engine.raw_connection()
    try:
        context.demand_time()
    except CallerLeft:
        held.close()
        raise
    return held

"""Transactions: how they begin and end without a round trip of their own.

Round trips are what a small transaction costs, so the driver begins and ends none by itself. The
one rule: a statement that meets an idle connection has the connection's opening in front of it,
in the same round trip, whoever sends it. Of a writing session that is BEGIN and the tenant, of a
reading one the tenant alone: each of its statements has a snapshot of its own, which is what read
committed gives anyway. COMMIT may ride behind the last statement.
"""

from typing import Any

import psycopg2
from psycopg2.extensions import TRANSACTION_STATUS_IDLE, TRANSACTION_STATUS_INERROR
from sqlalchemy import Engine, event
from sqlalchemy.engine import Connection
from sqlalchemy.exc import PendingRollbackError
from sqlalchemy.pool import PoolProxiedConnection

BEGIN = "BEGIN; "
AND_COMMIT = "; COMMIT"
"""Ends a transaction in the round trip of its last statement, if nobody needs what that returns."""

OPENING = "opening"
"""Where a pooled connection keeps what opens a transaction on it."""


Held = Connection | PoolProxiedConnection
"""A connection out of the pool, as SQLAlchemy or as the driver's user has it."""


def opening_of(held: Held, usual: str = "") -> str:
    """What has to go in front of a statement: of the first one, all that opens its transaction.

    The driver is asked and not a note of ours: a statement may fail before it is even sent.
    """
    if _status(held) != TRANSACTION_STATUS_IDLE:
        return ""
    opening: str = held.info.get(OPENING, usual)
    return opening


def begin_and_end(engine: Engine) -> None:
    """Begin and end transactions here: the driver, which is in autocommit, would by itself."""
    _open_with_first(engine, BEGIN)
    event.listen(engine, "commit", _commit)
    event.listen(engine, "rollback", _roll_back)
    event.listen(engine, "reset", _reset)


def only_look(engine: Engine) -> None:
    """Have each statement by itself, with its tenant in front."""
    _open_with_first(engine, "")


def is_open(held: Held) -> bool:
    """Whether there is a transaction to commit; `PendingRollbackError` if it can't be."""
    status = _status(held)
    if status == TRANSACTION_STATUS_INERROR:
        # PostgreSQL would roll back and report no error.
        raise PendingRollbackError("A statement has failed: nothing of this can be committed")
    return bool(status != TRANSACTION_STATUS_IDLE)


def undo(held: Held) -> None:
    """Roll back what is open; a connection that is lost is known to be so then."""
    if _status(held) == TRANSACTION_STATUS_IDLE:
        return
    try:
        _driver(held).cursor().execute("ROLLBACK")
    except psycopg2.Error as error:
        # The server is gone, and the transaction with it.
        held.invalidate(error)


def _open_with_first(engine: Engine, usual: str) -> None:
    def open_(
        connection: Connection,
        cursor: Any,
        statement: str,
        parameters: Any,
        _context: Any,
        executemany: bool,
    ) -> tuple[str, Any]:
        opening = opening_of(connection, usual)
        if opening and executemany:
            cursor.execute(opening)
            opening = ""
        return opening + statement, parameters

    event.listen(engine, "before_cursor_execute", open_, retval=True)
    event.listen(engine, "checkin", _forget_tenant)


def _forget_tenant(_driver: Any, record: Any) -> None:
    record.info.pop(OPENING, None)


def _commit(connection: Connection) -> None:
    if is_open(connection):
        connection.exec_driver_sql("COMMIT")


def _roll_back(connection: Connection) -> None:
    if not connection.invalidated:
        undo(connection)


def _reset(driver: Any, _record: Any, _state: Any) -> None:
    """A connection never goes back to the pool within a transaction."""
    if not driver.closed and driver.get_transaction_status() != TRANSACTION_STATUS_IDLE:
        driver.cursor().execute("ROLLBACK")


def _driver(held: Held) -> Any:
    return (held.connection if isinstance(held, Connection) else held).dbapi_connection


def _status(held: Held) -> int:
    found: int = _driver(held).get_transaction_status()
    return found

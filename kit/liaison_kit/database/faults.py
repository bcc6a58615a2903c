"""Whose fault an error is: the work's own, or the world's, so that it may succeed later.

And what it says: an error ends in logs, and values may be personal or secret.
"""

import psycopg2
from psycopg2.errors import QueryCanceled
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from liaison_sdk.errors import Unavailable


def is_collision(error: BaseException) -> bool:
    """Deadlock or serialization failure: the same work may well succeed at once."""
    return isinstance(error, DBAPIError) and (_code(error) or "").startswith("40")


def is_locked(error: BaseException) -> bool:
    """Whether a lock was not to be had in the time that there was for it."""
    return isinstance(error, DBAPIError) and _code(error) == "55P03"


def is_not_now(error: BaseException) -> bool:
    """Whether the world is at fault: a database or a module that does not answer."""
    return isinstance(error, (Unavailable, ConnectionError)) or is_database_away(error)


def is_database_away(error: BaseException) -> bool:
    """Whether the service's own database could not be reached or could not work."""
    if isinstance(error, PoolTimeout):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(error, InterfaceError):
            return True
        return _is_away(_code(error), isinstance(error, OperationalError))
    # Opening a connection for prepared statements fails with the driver's own errors.
    if isinstance(error, psycopg2.InterfaceError):
        return True
    if isinstance(error, psycopg2.Error):
        return _is_away(error.pgcode, isinstance(error, psycopg2.OperationalError))
    return False


def took_too_long(error: BaseException) -> bool:
    """Whether PostgreSQL stopped a statement at its time limit: the work's own fault."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, QueryCanceled)


# Connection lost, no room, shut down or starting, the machine's own errors.
_NOT_NOW = ("08", "53", "57P", "58")
# During a failover, connections may still lead to the server that has just become a replica.
_READ_ONLY = "25006"


def _is_away(code: str | None, operational: bool) -> bool:
    return operational if code is None else code.startswith(_NOT_NOW) or code == _READ_ONLY


def _code(error: DBAPIError) -> str | None:
    found = getattr(error.orig, "pgcode", None)
    return found if isinstance(found, str) else None


def say_no_values(error: psycopg2.Error) -> None:
    """Leave of the driver's message what is not a value, a detail or the statement itself.

    What there is to know of the kind of error is in its `diag` still.
    """
    said = str(error.diag.message_primary or error).partition("\n")[0]
    if (error.pgcode or "").startswith(_DATA):
        # `invalid input syntax for type integer: "what somebody sent"`
        said = said.partition(': "')[0]
    error.args = (said,)


def say_none_of(failure: ExceptionContext) -> None:
    """The same for an error on its way through SQLAlchemy, which has quoted it by now."""
    if isinstance(failure.original_exception, psycopg2.Error):
        say_no_values(failure.original_exception)
        kind = type(failure.original_exception)
        if failure.sqlalchemy_exception is not None:
            said = f"({kind.__module__}.{kind.__name__}) {failure.original_exception}"
            failure.sqlalchemy_exception.args = (said,)


_DATA = "22"

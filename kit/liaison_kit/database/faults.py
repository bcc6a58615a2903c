"""Whose fault an error is: the work's own, or the world's, so that it may succeed later."""

import psycopg2
from psycopg2.errors import QueryCanceled
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

"""Whose fault an error is: the work's own, or the world's, so that it may succeed later."""

from psycopg2.errors import QueryCanceled
from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from liaison_sdk.errors import Unavailable


def is_collision(error: BaseException) -> bool:
    """Deadlock or serialization failure: the same work may well succeed at once."""
    return isinstance(error, DBAPIError) and (_code(error) or "").startswith("40")


def is_not_now(error: BaseException) -> bool:
    """Whether the world is at fault: a database or a module that does not answer."""
    if isinstance(error, (Unavailable, PoolTimeout, ConnectionError)):
        return True
    if isinstance(error, DBAPIError):
        if error.connection_invalidated or isinstance(error, InterfaceError):
            return True
        code = _code(error)
        if code is None:
            return isinstance(error, OperationalError)
        return code.startswith(_NOT_NOW) or code == _READ_ONLY
    return False


def took_too_long(error: BaseException) -> bool:
    """Whether PostgreSQL stopped a statement at its time limit: the work's own fault."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    return isinstance(cause, QueryCanceled)


# Connection lost, no room, shut down or starting, the machine's own errors.
_NOT_NOW = ("08", "53", "57P", "58")
# During a failover, connections may still lead to the server that has just become a replica.
_READ_ONLY = "25006"


def _code(error: DBAPIError) -> str | None:
    found = getattr(error.orig, "pgcode", None)
    return found if isinstance(found, str) else None

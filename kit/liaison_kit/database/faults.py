"""Whose fault an error is: the work's own, or the world's, so that it may succeed later.

And what it says: an error ends in logs, and values may be personal or secret.
"""

import psycopg2
from sqlalchemy.engine import ExceptionContext
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


# Connection lost, no room, shut down or starting, the machine's own errors.
_NOT_NOW = ("08", "53", "57P", "58")
# During a failover, connections may still lead to the server that has just become a replica.
_READ_ONLY = "25006"


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

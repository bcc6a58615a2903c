"""Bad values: what passed the types but PostgreSQL can't hold, told from faults of our own.

Only what a caller's value alone can bring about is theirs. Text that PostgreSQL can't read as a
number, or a division by zero, means that we asked the wrong thing.
"""

import psycopg2
from sqlalchemy.exc import DBAPIError

from liaison_sdk.errors import InvalidInput


class TextTooLong(InvalidInput):
    """A text is longer than its column holds."""

    code, title = "text_too_long", "A text is too long"


class NumberOutOfRange(InvalidInput):
    """A number is larger, or finer, than its column holds."""

    code, title = "number_out_of_range", "A number is out of range"


class TimeOutOfRange(InvalidInput):
    """A date or time lies beyond what PostgreSQL's calendar holds."""

    code, title = "time_out_of_range", "A date or time is out of range"


class UnusableCharacters(InvalidInput):
    """A text has characters that PostgreSQL's text can't hold: a NUL, half of a pair."""

    code, title = "unusable_characters", "A text has characters that can't be kept"


_THEIRS: dict[str, type[InvalidInput]] = {
    "22001": TextTooLong,
    "22003": NumberOutOfRange,
    "22008": TimeOutOfRange,
    "22009": TimeOutOfRange,
    "22021": UnusableCharacters,
    "22P05": UnusableCharacters,
}
# psycopg2 has no error of its own for it, nor a code.
_NUL = "A string literal cannot contain NUL (0x00) characters."


def sqlstate(error: BaseException) -> str | None:
    """PostgreSQL's code of an error, when it has one."""
    cause = error.orig if isinstance(error, DBAPIError) else error
    code = cause.pgcode if isinstance(cause, psycopg2.Error) else None
    return code if isinstance(code, str) else None


def is_over_a_limit(error: BaseException) -> bool:
    """Whether PostgreSQL was asked for more than it can do: it is there, and we asked wrongly."""
    return (sqlstate(error) or "").startswith("54")


def named(error: BaseException) -> InvalidInput | None:
    """What the caller is told, when a value of theirs is what is wrong."""
    if isinstance(error, UnicodeEncodeError):
        return UnusableCharacters() if error.reason == "surrogates not allowed" else None
    if isinstance(error, ValueError):
        return UnusableCharacters() if str(error) == _NUL else None
    found = _THEIRS.get(sqlstate(error) or "")
    return None if found is None else found()

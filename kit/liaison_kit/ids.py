"""Identifiers: UUIDs of version 7, which sort by the time they were made."""

import datetime as dt
from uuid import UUID

from uuid_utils.compat import uuid7 as _uuid7


def uuid7() -> UUID:
    """A new identifier; later ones sort after earlier ones."""
    return _uuid7()


def first_at(moment: dt.datetime) -> UUID:
    """What sorts before every identifier made at this moment or later, and after all earlier."""
    return UUID(hex=f"{int(moment.timestamp() * 1000):012x}".ljust(32, "0"))

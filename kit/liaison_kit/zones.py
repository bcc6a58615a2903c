"""Time zones: which moment a time on the clock of a zone is, also when clocks are changed."""

import datetime as dt
from typing import Literal
from zoneinfo import ZoneInfo

from liaison_sdk.errors import InvalidInput
from liaison_sdk.types import zones

Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

WEEKDAYS: tuple[Weekday, ...] = (
    "monday",
    "tuesday",
    "wednesday",
    "thursday",
    "friday",
    "saturday",
    "sunday",
)
"""In the order in which dates number them."""

_SECOND = dt.timedelta(seconds=1)


class UnknownZone(InvalidInput):
    """There is no such time zone."""

    code, title = "unknown_zone", "There is no such time zone"

    def __init__(self, name: str) -> None:
        super().__init__(f"{name[:80]!r} is no zone: write it as in Europe/Paris, or UTC")


def zone(name: str) -> ZoneInfo:
    """The zone of this name; `UnknownZone` where there is none."""
    if not is_zone(name):
        raise UnknownZone(name)
    return ZoneInfo(name)


def is_zone(name: str) -> bool:
    """Whether there is a zone of this name."""
    return name in zones()


def moment(day: dt.date, time: dt.time, there: ZoneInfo) -> dt.datetime:
    """The moment, in UTC, at which clocks there show this time on this day.

    A time that comes twice is its first one; for one that clocks skip it is the moment at which
    they do.
    """
    shown = dt.datetime.combine(day, time).replace(fold=0)
    first = shown.replace(tzinfo=there).astimezone(dt.UTC)
    if first.astimezone(there).replace(tzinfo=None) == shown:
        return first
    # Read with the offset of after the change it is too early, with the one of before too late.
    early, late = shown.replace(tzinfo=there, fold=1).astimezone(dt.UTC), first
    before = early.astimezone(there).utcoffset()
    while late - early > _SECOND:
        middle = early + (late - early) // 2
        middle -= dt.timedelta(microseconds=middle.microsecond)
        if middle.astimezone(there).utcoffset() == before:
            early = middle
        else:
            late = middle
    return late.replace(microsecond=0)

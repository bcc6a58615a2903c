"""Schedules: when something that is done every so often is due next.

    Every(hours=1)
    Daily(at="06:00", on=("monday", "friday"))
    Monthly(at="08:00", day=31)

A schedule is due by the clock on the wall of its zone. Where clocks are put forward over its time,
it is due at the moment when they are; an hour that comes twice counts the first time. What was
missed is due once, not as often as it was missed.
"""

import datetime as dt
from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter

from liaison_kit.zones import WEEKDAYS, Weekday, moment

_DAY = dt.timedelta(days=1)
_UNITS = {"seconds": 1, "minutes": 60, "hours": 3600}


def _on_the_wall(time: dt.time) -> dt.time:
    if time.tzinfo is not None:
        raise ValueError("a schedule's time is that of a clock on the wall, without a zone")
    return time


WallTime = Annotated[dt.time, AfterValidator(_on_the_wall)]


class Every(BaseModel):
    """Again after so much time, counted from when it was set: `Every(hours=1)`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    seconds: Annotated[int, Field(ge=1, le=366 * 86_400)]

    def __init__(self, **given: Any) -> None:
        total = sum(given.pop(name, 0) * each for name, each in _UNITS.items())
        super().__init__(seconds=total, **given)

    def first(self, now: dt.datetime, there: ZoneInfo) -> dt.datetime:
        """When it is due for the first time."""
        return now + dt.timedelta(seconds=self.seconds)

    def next(self, due: dt.datetime, now: dt.datetime, there: ZoneInfo) -> dt.datetime:
        """When it is due after now, having been due at `due`."""
        step = dt.timedelta(seconds=self.seconds)
        return due + step * max(1, (now - due) // step + 1)


class _ByTheClock(BaseModel, ABC):
    model_config = ConfigDict(frozen=True, extra="forbid")

    at: WallTime

    def first(self, now: dt.datetime, there: ZoneInfo) -> dt.datetime:
        """When it is due for the first time."""
        # What the clocks skip on the day before may be due today.
        day = now.astimezone(there).date() - _DAY
        return next(due for day in self._days(day) if (due := moment(day, self.at, there)) > now)

    def next(self, due: dt.datetime, now: dt.datetime, there: ZoneInfo) -> dt.datetime:
        """When it is due after now, having been due at `due`."""
        return self.first(max(due, now), there)

    @abstractmethod
    def _days(self, day: dt.date) -> Iterator[dt.date]:
        """The days on which it is due, from this one on."""


class Daily(_ByTheClock):
    """Every day at a time, or on some days of the week: `Daily(at="06:00", on=("monday",))`."""

    on: Annotated[tuple[Weekday, ...], Field(max_length=7)] = ()

    def _days(self, day: dt.date) -> Iterator[dt.date]:
        while True:
            if not self.on or WEEKDAYS[day.weekday()] in self.on:
                yield day
            day += _DAY


class Monthly(_ByTheClock):
    """On a day of every month; a month that is too short has it on its last day."""

    day: Annotated[int, Field(ge=1, le=31)]

    def _days(self, day: dt.date) -> Iterator[dt.date]:
        while True:
            if day.day == self.day or (day.day < self.day and (day + _DAY).day == 1):
                yield day
            day += _DAY


Schedule = Every | Daily | Monthly

_SCHEDULE: TypeAdapter[Schedule] = TypeAdapter(Schedule)


def written(schedule: Schedule) -> str:
    """A schedule as its row keeps it."""
    return schedule.model_dump_json()


def read(kept: Any) -> Schedule:
    """The schedule that a row keeps."""
    return _SCHEDULE.validate_python(kept)

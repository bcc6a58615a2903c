"""A calendar as somebody sets it: hours by weekday, public holidays, days of one's own, absences.

    morning, afternoon = Shift(opens="09:00", closes="12:30"), Shift(opens="14:00", closes="18:00")
    Calendar(zone="Europe/Paris", hours={"monday": [morning, afternoon]}, country="FR")

A shift is a piece of one day; what goes over midnight is two, so that it is plain to which day a
holiday belongs. It lasts from the first moment at which the clock on the wall has reached its
beginning to the first at which it has reached its end, so on days when clocks are changed it may be
longer, shorter, or not there at all.
"""

import datetime as dt
import itertools
import re
from typing import Annotated, Any, Self

from pydantic import (
    AwareDatetime,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    PlainSerializer,
    PrivateAttr,
    model_validator,
)
from pydantic_core import PydanticCustomError

from liaison_kit.calendars import holidays
from liaison_kit.calendars.openings import Year, openings_of
from liaison_kit.zones import Weekday, is_zone, zone

MIDNIGHT = 24 * 60
YEARS_KEPT = 40
"""So many years of openings a calendar remembers that were counted through."""


_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]|24:00")


def _minutes(given: Any) -> Any:
    """`09:30` as minutes of the day; `24:00` is its end."""
    if not isinstance(given, str):
        return given
    if not _TIME.fullmatch(given):
        raise PydanticCustomError("time_of_day", "Write the time as 09:30, up to 24:00")
    return int(given[:2]) * 60 + int(given[3:])


def _written(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


Minutes = Annotated[
    int, Field(ge=0, le=MIDNIGHT), BeforeValidator(_minutes), PlainSerializer(_written)
]


class _Frozen(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Shift(_Frozen):
    """From one time of a day to a later one of the same day, in hours and minutes."""

    opens: Minutes
    closes: Minutes

    @model_validator(mode="after")
    def _of_one_day(self) -> Self:
        if self.opens >= self.closes:
            raise PydanticCustomError(
                "shift_over_midnight",
                "A shift ends later on the same day: split it at 24:00 into one of each day",
            )
        return self


class Absence(_Frozen):
    """From a moment to a later one nobody is there."""

    begins: AwareDatetime
    ends: AwareDatetime

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.begins >= self.ends:
            raise PydanticCustomError("ends_before_it_begins", "An absence ends after it begins")
        return self


class _Years(dict[int, Year]):
    """What was put together so far, which is no part of what a calendar says."""

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Years)


class Calendar(_Frozen):
    """When it is open. `closed` are days of one's own, `worked` public holidays that are worked."""

    zone: str
    hours: dict[Weekday, Annotated[tuple[Shift, ...], Field(max_length=24)]]
    country: str | None = None
    subdivision: str | None = None
    closed: frozenset[dt.date] = frozenset()
    worked: frozenset[dt.date] = frozenset()
    absences: Annotated[tuple[Absence, ...], Field(max_length=10_000)] = ()

    _years: _Years = PrivateAttr(default_factory=_Years)

    @model_validator(mode="after")
    def _makes_sense(self) -> Self:
        if not is_zone(self.zone):
            raise PydanticCustomError("unknown_zone", "There is no such time zone")
        if not any(self.hours.values()):
            raise PydanticCustomError("no_working_hours", "Give at least one shift on one day")
        for shifts in self.hours.values():
            in_order = sorted(shifts, key=lambda shift: shift.opens)
            if any(a.closes > b.opens for a, b in itertools.pairwise(in_order)):
                raise PydanticCustomError("shifts_overlap", "Shifts of a day do not overlap")
        if not holidays.known(self.country, self.subdivision):
            raise PydanticCustomError(
                "unknown_holidays",
                "No public holidays are known of this country and subdivision: leave them out,"
                " and give days of your own",
            )
        return self

    def year(self, number: int) -> Year:
        """The openings of one year there."""
        found = self._years.get(number)
        if found is None:
            if len(self._years) >= YEARS_KEPT:
                self._years.clear()
            closed = holidays.of(self.country, self.subdivision, number) - self.worked
            found = self._years[number] = openings_of(
                number,
                zone(self.zone),
                {
                    name: [(s.opens, s.closes) for s in shifts]
                    for name, shifts in self.hours.items()
                },
                closed | self.closed,
                [(absence.begins, absence.ends) for absence in self.absences],
            )
        return found

"""Durations as people write them: `20 minutes`, `2 hours`, `3 days`, `5 working days`, `2 weeks`.

Days are days on the wall of the tenant's zone. Working days are Monday to Friday but for the
public holidays of its country.
"""

import datetime as dt
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Annotated, Any

from pydantic import AfterValidator, Field
from pydantic_core import PydanticCustomError

from liaison_kit.calendars import Calendar, Shift, add_working_days, holidays
from liaison_kit.tenants import TenantSettings
from liaison_kit.zones import WEEKDAYS

_WRITTEN = re.compile(r"([1-9][0-9]{0,6}) (working days?|minutes?|hours?|days?|weeks?)")
_MOST = {"minute": 2_500_000, "hour": 43_800, "working day": 1300, "day": 1825, "week": 260}
"""Five years: nobody means more."""


@dataclass(frozen=True, slots=True)
class Lasting:
    """So many of a unit."""

    number: int
    unit: str

    def after(self, when: dt.datetime, there: TenantSettings) -> dt.datetime:
        """The moment that is so much later for this tenant."""
        match self.unit:
            case "minute":
                return when + dt.timedelta(minutes=self.number)
            case "hour":
                return when + dt.timedelta(hours=self.number)
        wall = when.astimezone(there.zone)
        if self.unit == "working day":
            calendar = _workdays(there.time_zone, there.country)
            day = add_working_days(calendar, wall.date(), self.number)
        else:
            days = self.number * (7 if self.unit == "week" else 1)
            day = wall.date() + dt.timedelta(days=days)
        return dt.datetime.combine(day, wall.time(), there.zone).astimezone(dt.UTC)


def lasting(written: str) -> Lasting:
    """A duration that has been checked."""
    found = _WRITTEN.fullmatch(written)
    assert found is not None
    return Lasting(int(found[1]), found[2].removesuffix("s"))


def _checked(written: Any) -> Any:
    found = _WRITTEN.fullmatch(written)
    if found is None:
        said = "Write it as 20 minutes, 2 hours, 3 days, 5 working days or 2 weeks"
        raise PydanticCustomError("duration", said)
    if int(found[1]) > _MOST[found[2].removesuffix("s")]:
        raise PydanticCustomError("duration", "It is five years at most")
    return written


Duration = Annotated[
    str,
    AfterValidator(_checked),
    Field(examples=["3 days", "5 working days"], max_length=40),
]
"""A stretch of time as it is written in a definition."""


@lru_cache(maxsize=1000)
def _workdays(zone: str, country: str | None) -> Calendar:
    whole = Shift.model_validate({"opens": "00:00", "closes": "24:00"})
    hours = dict.fromkeys(WEEKDAYS[:5], (whole,))
    # Of some countries no holidays are known; it has its weekends all the same.
    known = country if holidays.known(country, None) else None
    return Calendar.model_validate({"zone": zone, "hours": hours, "country": known})

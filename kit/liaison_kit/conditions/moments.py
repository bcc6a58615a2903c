"""Days and moments that a rule names, also relative ones, as stretches of time.

A relative one is what React Query Builder's date features store:
`{"mode": "relative", "anchor": "startOfMonth", "offset": -1, "unit": "month"}`. `now` is this very
moment; every other anchor is a day, as a bare date is: the first or the last day of its period.
Days begin and end in the tenant's time zone, weeks begin on Monday.

Every day and every moment is a stretch from its first microsecond to the first one after it. So a
time is on a day, before it or after it by the same two comparisons, here and in SQL.
"""

import calendar
import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, get_args

from liaison_sdk.errors import InvalidInput

Anchor = Literal[
    "now",
    "startOfDay",
    "endOfDay",
    "startOfWeek",
    "endOfWeek",
    "startOfMonth",
    "endOfMonth",
    "startOfYear",
    "endOfYear",
]
Unit = Literal["minute", "hour", "day", "week", "month", "year"]
Span = tuple[dt.datetime, dt.datetime]
"""From the first, which is in it, to the second, which is not."""

ANCHORS: Final[tuple[Anchor, ...]] = get_args(Anchor)
UNITS: Final[tuple[Unit, ...]] = get_args(Unit)
YEARS: Final = range(2, 9999)
"""Days of these years have a beginning and an end in every zone, as far as Python knows."""

_MOMENT: Final = dt.timedelta(microseconds=1)
_DAY: Final = dt.timedelta(days=1)
_CLOCK: Final = {"minute": dt.timedelta(minutes=1), "hour": dt.timedelta(hours=1)}
_FURTHEST: Final = {
    "minute": 100 * 366 * 24 * 60,
    "hour": 100 * 366 * 24,
    "day": 100 * 366,
    "week": 100 * 53,
    "month": 100 * 12,
    "year": 100,
}
"""A hundred years, so that no clock ever makes a date of it that there is not."""


@dataclass(frozen=True, slots=True)
class Relative:
    """A day or moment that depends on when it is looked at."""

    anchor: Anchor
    offset: int
    unit: Unit


Day = dt.date | Relative
Time = dt.datetime | dt.date | Relative


def relative(raw: Mapping[str, Any], path: str) -> Relative:
    """A relative day or moment as the builder stores it; what is wrong with it is named."""
    strange = raw.keys() - {"mode", "anchor", "offset", "unit"}
    anchor, offset = raw.get("anchor"), raw.get("offset", 0)
    unit = raw.get("unit", "day")
    if raw.get("mode") != "relative" or strange:
        said = 'It is {"mode": "relative", "anchor": …, "offset": …, "unit": …} and nothing else'
        raise InvalidInput.field(path, "relative", said)
    if anchor not in ANCHORS:
        said = f"The anchor is one of {', '.join(ANCHORS)}"
        raise InvalidInput.field(f"{path}.anchor", "choice", said)
    if unit not in UNITS:
        said = f"The unit is one of {', '.join(UNITS)}"
        raise InvalidInput.field(f"{path}.unit", "choice", said)
    if unit in _CLOCK and offset and anchor != "now":
        said = f"A day is no number of {unit}s away; count those from now"
        raise InvalidInput.field(f"{path}.unit", "choice", said)
    if not isinstance(offset, int) or isinstance(offset, bool) or abs(offset) > _FURTHEST[unit]:
        said = "The offset is a whole number, of a hundred years at most"
        raise InvalidInput.field(f"{path}.offset", "offset", said)
    return Relative(anchor, offset, unit)


def day(value: Day, now: dt.datetime, zone: dt.tzinfo) -> dt.date:
    """The day that is meant, at a certain moment in a certain zone."""
    if not isinstance(value, Relative):
        return value
    if value.anchor == "now":
        return _moment(value, now, zone).astimezone(zone).date()
    today = now.astimezone(zone).date()
    if value.anchor.startswith("start"):
        return _shifted(_first_of(value.anchor[7:], today), value)
    # The eve of the next period's beginning, so that a month after the end of April is 31 May.
    following = _after(value.anchor[5:], _first_of(value.anchor[5:], today))
    return _shifted(following, value) - _DAY


def span(value: Time, now: dt.datetime, zone: dt.tzinfo) -> Span:
    """The stretch of time that is meant: a moment, or a whole day."""
    if isinstance(value, Relative) and value.anchor == "now":
        moment = _moment(value, now, zone)
    elif isinstance(value, dt.datetime):
        # What says no zone is the time on the tenant's wall.
        moment = (value if value.tzinfo else value.replace(tzinfo=zone)).astimezone(dt.UTC)
    else:
        whole = day(value, now, zone)
        return _begin(whole, zone), _begin(whole + _DAY, zone)
    return moment, moment + _MOMENT


def _moment(value: Relative, now: dt.datetime, zone: dt.tzinfo) -> dt.datetime:
    if value.unit in _CLOCK:
        return now.astimezone(dt.UTC) + value.offset * _CLOCK[value.unit]
    # A day later it is the same time on the wall, also when the clocks have changed meanwhile.
    wall = now.astimezone(zone)
    there = dt.datetime.combine(_shifted(wall.date(), value), wall.timetz())
    return there.astimezone(dt.UTC)


def _begin(of: dt.date, zone: dt.tzinfo) -> dt.datetime:
    return dt.datetime.combine(of, dt.time(), zone).astimezone(dt.UTC)


def _first_of(period: str, of: dt.date) -> dt.date:
    match period:
        case "Week":
            return of - of.weekday() * _DAY
        case "Month":
            return of.replace(day=1)
        case "Year":
            return of.replace(month=1, day=1)
    return of


def _after(period: str, first: dt.date) -> dt.date:
    match period:
        case "Week":
            return first + 7 * _DAY
        case "Month":
            return _months_on(first, 1)
        case "Year":
            return _months_on(first, 12)
    return first + _DAY


def _shifted(of: dt.date, by: Relative) -> dt.date:
    match by.unit:
        case "day":
            return of + by.offset * _DAY
        case "week":
            return of + 7 * by.offset * _DAY
        case "month":
            return _months_on(of, by.offset)
        case "year":
            return _months_on(of, 12 * by.offset)
    return of


def _months_on(of: dt.date, months: int) -> dt.date:
    """As many months later; of a month that is too short it is the last day."""
    year, month = divmod(of.year * 12 + of.month - 1 + months, 12)
    last = calendar.monthrange(year, month + 1)[1]
    return dt.date(year, month + 1, min(of.day, last))

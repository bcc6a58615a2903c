"""Counting in working time and in working days.

Working time is time that goes by while it is open. What is asked about spans of years costs what
openings of a year cost to put together, once for each calendar, and then a few bisections.
"""

import datetime as dt
from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from liaison_kit.calendars.calendar import Calendar
from liaison_kit.calendars.openings import Year, moment_of, number_of
from liaison_kit.zones import zone
from liaison_sdk.errors import InvalidInput

HORIZON_YEARS = 10
"""So many years without an opening, or to get somewhere, and nobody is waiting for the end."""

_MICROSECOND = dt.timedelta(microseconds=1)


class NeverOpen(InvalidInput):
    """Holidays and absences leave too little for this within a sane time."""

    code, title = "never_open", "This calendar is not open for long enough"

    def __init__(self) -> None:
        super().__init__(
            f"Its hours, less holidays and absences, do not get there within {HORIZON_YEARS} years"
        )


def is_open(calendar: Calendar, when: dt.datetime) -> bool:
    """Whether it is open at this moment."""
    return calendar.year(_year(calendar, when)).is_open(number_of(when))


def next_opening(calendar: Calendar, when: dt.datetime) -> dt.datetime:
    """This moment if it is open, or else when it opens next; `NeverOpen`."""
    for year in _years(calendar, when):
        found = year.opening(number_of(when))
        if found is not None:
            return moment_of(found)
    raise NeverOpen


def working_time_between(calendar: Calendar, begin: dt.datetime, end: dt.datetime) -> dt.timedelta:
    """How long it is open from one moment to another; negative if that is the earlier one."""
    if end < begin:
        return -working_time_between(calendar, end, begin)
    first, last = _year(calendar, begin), _year(calendar, end)
    between = sum(calendar.year(number).total for number in range(first, last))
    between += calendar.year(last).until(number_of(end))
    between -= calendar.year(first).until(number_of(begin))
    return between * _MICROSECOND


def add_working_time(calendar: Calendar, start: dt.datetime, duration: dt.timedelta) -> dt.datetime:
    """The earliest moment by which it has been open for so long since the start.

    That is the end of a shift rather than the beginning of the next one. Back from the start, with
    a negative duration, it is the latest moment. `NeverOpen` when there is none within ten years.
    """
    wanted = duration // _MICROSECOND
    if wanted == 0:
        return start.astimezone(dt.UTC)
    forward = wanted > 0
    for place, year in enumerate(_years(calendar, start, forward=forward)):
        if place == 0:
            wanted += year.until(number_of(start))
        elif not forward:
            wanted += year.total
        if forward and wanted <= year.total:
            return moment_of(year.first_with(wanted))
        if not forward and wanted >= 0 and year.starts:
            return moment_of(year.last_with(wanted))
        if forward:
            wanted -= year.total
    raise NeverOpen


def is_working_day(calendar: Calendar, day: dt.date) -> bool:
    """Whether it is open at some time of this day."""
    days = calendar.year(day.year).days
    place = bisect_left(days, day)
    return place < len(days) and days[place] == day


def working_days_between(calendar: Calendar, begin: dt.date, end: dt.date) -> int:
    """How many working days come after one day, up to another; negative if that is the earlier."""
    if end < begin:
        return -working_days_between(calendar, end, begin)
    between = sum(len(calendar.year(number).days) for number in range(begin.year, end.year))
    between += bisect_right(calendar.year(end.year).days, end)
    return between - bisect_right(calendar.year(begin.year).days, begin)


def add_working_days(calendar: Calendar, day: dt.date, number: int) -> dt.date:
    """So many working days after a day, or before it; with 0 the day itself, or the next one.

    `NeverOpen` when that is not within ten years.
    """
    if number == 0:
        return day if is_working_day(calendar, day) else add_working_days(calendar, day, 1)
    forward = number > 0
    for place, year in enumerate(_span(calendar, day.year, forward=forward)):
        days = year.days
        if place == 0:
            # Behind the day, or in front of it.
            days = days[bisect_right(days, day) :] if forward else days[: bisect_left(days, day)]
        if len(days) >= abs(number):
            return days[number - 1] if forward else days[number]
        number -= len(days) if forward else -len(days)
    raise NeverOpen


def _year(calendar: Calendar, when: dt.datetime) -> int:
    return when.astimezone(zone(calendar.zone)).year


def _years(calendar: Calendar, when: dt.datetime, *, forward: bool = True) -> Iterator[Year]:
    return _span(calendar, _year(calendar, when), forward=forward)


def _span(calendar: Calendar, first: int, *, forward: bool) -> Iterator[Year]:
    step = 1 if forward else -1
    last = max(dt.MINYEAR + 1, min(dt.MAXYEAR - 1, first + step * HORIZON_YEARS))
    for number in range(first, last + step, step):
        yield calendar.year(number)

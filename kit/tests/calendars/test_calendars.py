"""Working time as it is counted, against a walk through every minute, also where clocks change."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from liaison_kit.calendars import (
    Absence,
    Calendar,
    NeverOpen,
    Shift,
    add_working_days,
    add_working_time,
    is_open,
    is_working_day,
    next_opening,
    working_days_between,
    working_time_between,
)
from liaison_kit.zones import WEEKDAYS

MINUTE = dt.timedelta(minutes=1)
DAY = dt.timedelta(days=1)
# A few days around a change of clocks: an hour, half an hour, at midnight, a day that is left out.
CHANGES = [
    ("Europe/Paris", dt.date(2026, 3, 29)),
    ("Europe/Paris", dt.date(2026, 10, 25)),
    ("Australia/Lord_Howe", dt.date(2026, 10, 4)),
    ("Australia/Lord_Howe", dt.date(2026, 4, 5)),
    ("Africa/Cairo", dt.date(2026, 4, 24)),
    ("Africa/Cairo", dt.date(2026, 10, 30)),
    ("America/Santiago", dt.date(2026, 9, 6)),
    ("America/Santiago", dt.date(2026, 4, 5)),
    ("Pacific/Apia", dt.date(2011, 12, 30)),
    ("Asia/Kathmandu", dt.date(2026, 1, 1)),
    ("UTC", dt.date(2025, 12, 31)),
]


def text(minutes: int) -> str:
    return f"{minutes // 60:02}:{minutes % 60:02}"


@st.composite
def shifts(draw: Any) -> list[tuple[int, int]]:
    """Split shifts of a day, in minutes; some touch, some go up to midnight."""
    edges = draw(st.lists(st.integers(0, 1440), min_size=2, max_size=6, unique=True))
    edges.sort()
    pairs = list(zip(edges[::2], edges[1::2], strict=False))
    if len(edges) == 4 and draw(st.booleans()):
        pairs = [(edges[0], edges[1]), (edges[1], edges[2])]
    return pairs


@st.composite
def worlds(draw: Any) -> tuple[Calendar, dt.datetime]:
    """A calendar, and the beginning of some days around a change of its clocks."""
    zone, day = draw(st.sampled_from(CHANGES))
    hours = {
        name: [Shift(opens=text(a), closes=text(b)) for a, b in draw(shifts())]
        for name in draw(st.sets(st.sampled_from(WEEKDAYS), min_size=3))
    }
    start = dt.datetime.combine(day, dt.time(), dt.UTC) - 2 * DAY
    away = draw(st.lists(st.tuples(st.integers(0, 6 * 1440), st.integers(1, 1440)), max_size=3))
    closed = draw(st.sets(st.integers(0, 6), max_size=2))
    calendar = Calendar(
        zone=zone,
        hours=hours,
        closed={(start + number * DAY).date() for number in closed},
        absences=[
            Absence(begins=start + a * MINUTE, ends=start + (a + long) * MINUTE) for a, long in away
        ],
    )
    return calendar, start


def walked(calendar: Calendar, start: dt.datetime, minutes: int) -> list[bool]:
    """Of every minute whether it is open.

    A shift is on from the first minute of its day whose clock has reached its beginning, to the
    first one whose clock has reached its end.
    """
    there = ZoneInfo(calendar.zone)
    begun: set[tuple[dt.date, int]] = set()
    ended: set[tuple[dt.date, int]] = set()
    on: set[tuple[dt.date, int]] = set()
    found = []
    before = start - 2 * DAY
    for number in range(minutes + 2 * 1440):
        now = before + number * MINUTE
        clock = now.astimezone(there)
        today, minute = clock.date(), clock.hour * 60 + clock.minute
        for day, at in [(today, minute), (today - DAY, 1440)]:
            for place, shift in enumerate(calendar.hours.get(WEEKDAYS[day.weekday()], ())):
                name = (day, place)
                if at >= shift.opens and name not in begun:
                    begun.add(name)
                    on.add(name)
                if at >= shift.closes and name not in ended:
                    ended.add(name)
                    on.discard(name)
        away = any(absence.begins <= now < absence.ends for absence in calendar.absences)
        work = any(day not in calendar.closed for day, _ in on)
        if number >= 2 * 1440:
            found.append(work and not away)
    return found


@settings(max_examples=60, deadline=None)
@given(worlds(), st.integers(0, 5 * 1440), st.integers(0, 5 * 1440))
def test_time_is_counted_as_by_a_walk_through_every_minute(
    world: tuple[Calendar, dt.datetime], first: int, second: int
) -> None:
    calendar, start = world
    open_minutes = walked(calendar, start, 5 * 1440)

    a, b = sorted((first, second))
    begin, end = start + a * MINUTE, start + b * MINUTE
    assert working_time_between(calendar, begin, end) == sum(open_minutes[a:b]) * MINUTE
    assert working_time_between(calendar, end, begin) == -sum(open_minutes[a:b]) * MINUTE
    for number in (a, b):
        if number < len(open_minutes):
            assert is_open(calendar, start + number * MINUTE) == open_minutes[number]
    if True in open_minutes[a:]:
        assert next_opening(calendar, begin) == start + open_minutes.index(True, a) * MINUTE


@settings(max_examples=60, deadline=None)
@given(worlds(), st.integers(0, 5 * 1440), st.integers(1, 1000))
def test_time_is_added_up_to_the_first_moment_that_has_it(
    world: tuple[Calendar, dt.datetime], first: int, minutes: int
) -> None:
    calendar, start = world
    open_minutes = walked(calendar, start, 5 * 1440)
    begin = start + first * MINUTE
    ends = [number for number in range(first, len(open_minutes)) if open_minutes[number]]
    starts = [number for number in range(first) if open_minutes[number]]

    if len(ends) >= minutes:
        due = add_working_time(calendar, begin, minutes * MINUTE)
        assert due == start + (ends[minutes - 1] + 1) * MINUTE
    if len(starts) >= minutes:
        due = add_working_time(calendar, begin, -minutes * MINUTE)
        assert due == start + starts[-minutes] * MINUTE


@settings(max_examples=200, deadline=None)
@given(
    worlds(),
    st.integers(-400 * 86_400, 400 * 86_400),
    st.integers(-10_000_000, 10_000_000),
)
def test_what_was_added_is_what_is_between(
    world: tuple[Calendar, dt.datetime], seconds: int, milliseconds: int
) -> None:
    calendar, start = world
    begin = start + dt.timedelta(seconds=seconds)
    duration = dt.timedelta(milliseconds=milliseconds)

    end = add_working_time(calendar, begin, duration)

    assert working_time_between(calendar, begin, end) == duration
    assert end == begin or (end > begin) == (duration > dt.timedelta(0))
    assert end.tzinfo is dt.UTC


@settings(max_examples=200, deadline=None)
@given(worlds(), st.integers(-500, 500), st.integers(-300, 300))
def test_working_days_are_counted_as_by_a_walk_through_the_days(
    world: tuple[Calendar, dt.datetime], offset: int, number: int
) -> None:
    calendar, start = world
    day = start.date() + offset * DAY
    assume(number != 0)

    found = add_working_days(calendar, day, number)

    step = DAY if number > 0 else -DAY
    walk, left = day, abs(number)
    while left:
        walk += step
        left -= is_working_day(calendar, walk)
    assert found == walk
    if number > 0:
        assert working_days_between(calendar, day, found) == number
        assert working_days_between(calendar, found, day) == -number


# --- a company in France --------------------------------------------------------------------------


def office(**more: Any) -> Calendar:
    """Nine to half past twelve and two to six, Monday to Friday, in Paris."""
    day = [Shift(opens="09:00", closes="12:30"), Shift(opens="14:00", closes="18:00")]
    return Calendar(zone="Europe/Paris", hours=dict.fromkeys(WEEKDAYS[:5], day), **more)


def paris(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=ZoneInfo("Europe/Paris"))


@pytest.mark.parametrize(
    ("start", "hours", "due"),
    [
        ("2026-11-30T09:00", 1, "2026-11-30T10:00"),
        ("2026-11-30T12:00", 1, "2026-11-30T14:30"),
        # At the end of a shift, not at the beginning of the next.
        ("2026-11-30T09:00", 3.5, "2026-11-30T12:30"),
        ("2026-12-04T17:00", 2, "2026-12-07T10:00"),
        ("2026-12-05T03:00", 1, "2026-12-07T10:00"),
        ("2026-12-07T10:00", -2, "2026-12-04T17:00"),
        ("2026-12-05T03:00", 0, "2026-12-05T03:00"),
    ],
)
def test_hours_are_added_over_lunch_and_weekends(start: str, hours: float, due: str) -> None:
    found = add_working_time(office(), paris(start), dt.timedelta(hours=hours))

    assert found == paris(due)


def test_public_holidays_are_those_of_the_country_and_its_part() -> None:
    christmas, stephen = dt.date(2025, 12, 25), dt.date(2025, 12, 26)

    assert is_working_day(office(), christmas)
    assert not is_working_day(office(country="FR"), christmas)
    assert is_working_day(office(country="FR"), stephen)
    assert not is_working_day(office(country="FR", subdivision="57"), stephen)


def test_days_of_ones_own_are_closed_and_holidays_may_be_worked() -> None:
    calendar = office(country="FR", closed=[dt.date(2026, 7, 13)], worked=[dt.date(2026, 7, 14)])

    assert not is_working_day(calendar, dt.date(2026, 7, 13))
    assert is_working_day(calendar, dt.date(2026, 7, 14))


def test_three_working_days_after_thursday_are_tuesday() -> None:
    assert add_working_days(office(), dt.date(2026, 12, 3), 3) == dt.date(2026, 12, 8)
    assert add_working_days(office(), dt.date(2026, 12, 5), 0) == dt.date(2026, 12, 7)
    assert add_working_days(office(), dt.date(2026, 12, 4), 0) == dt.date(2026, 12, 4)


def test_a_day_of_which_an_absence_leaves_something_is_a_working_day() -> None:
    morning = Absence(begins=paris("2026-12-01T00:00"), ends=paris("2026-12-01T13:00"))
    whole = Absence(begins=paris("2026-12-02T08:00"), ends=paris("2026-12-02T20:00"))
    calendar = office(absences=[whole, morning])

    assert is_working_day(calendar, dt.date(2026, 12, 1))
    assert not is_working_day(calendar, dt.date(2026, 12, 2))
    assert next_opening(calendar, paris("2026-12-01T10:00")) == paris("2026-12-01T14:00")


@pytest.mark.parametrize(
    ("zone", "day", "hours"),
    [
        ("Europe/Paris", "2026-03-29", 23),
        ("Europe/Paris", "2026-10-25", 25),
        ("Australia/Lord_Howe", "2026-10-04", 23.5),
        ("Australia/Lord_Howe", "2026-04-05", 24.5),
        ("Pacific/Apia", "2011-12-30", 0),
    ],
)
def test_who_is_there_around_the_clock_is_there_for_as_long_as_the_day_lasts(
    zone: str, day: str, hours: float
) -> None:
    all_day = [Shift(opens="00:00", closes="24:00")]
    always = Calendar(zone=zone, hours=dict.fromkeys(WEEKDAYS, all_day))
    noon = dt.datetime.fromisoformat(f"{day}T12:00").replace(tzinfo=ZoneInfo(zone))
    midnight, next_one = noon.replace(hour=0), (noon + DAY).replace(hour=0)

    assert working_time_between(always, midnight, next_one) == dt.timedelta(hours=hours)


def test_decades_are_counted_without_walking_them() -> None:
    calendar = office(country="FR")
    start = paris("2000-01-01T00:00")

    ten_years = add_working_time(calendar, start, dt.timedelta(hours=17_000))

    assert 2008 <= ten_years.year <= 2009
    begun = calendar.year(2005)
    assert calendar.year(2005) is begun, "a year is put together once"


# --- what makes no sense --------------------------------------------------------------------------


def refused(**given: Any) -> list[str]:
    """The codes of what is wrong."""
    base = {"zone": "UTC", "hours": {"monday": [{"opens": "09:00", "closes": "17:00"}]}}
    with pytest.raises(ValidationError) as error:
        Calendar.model_validate(base | given)
    return [each["type"] for each in error.value.errors()]


@pytest.mark.parametrize(
    ("given", "code"),
    [
        ({"hours": {}}, "no_working_hours"),
        ({"hours": {"monday": []}}, "no_working_hours"),
        ({"hours": {"monday": [{"opens": "22:00", "closes": "06:00"}]}}, "shift_over_midnight"),
        ({"hours": {"monday": [{"opens": "09:00", "closes": "09:00"}]}}, "shift_over_midnight"),
        (
            {
                "hours": {
                    "monday": [
                        {"opens": "12:00", "closes": "14:00"},
                        {"opens": "09:00", "closes": "12:01"},
                    ]
                }
            },
            "shifts_overlap",
        ),
        ({"hours": {"monday": [{"opens": "9:00", "closes": "17:00"}]}}, "time_of_day"),
        ({"hours": {"monday": [{"opens": "09:00", "closes": "24:01"}]}}, "time_of_day"),
        ({"hours": {"monday": [{"opens": "09:60", "closes": "17:00"}]}}, "time_of_day"),
        ({"hours": {"monday": [{"opens": "٠٩:٠٠", "closes": "17:00"}]}}, "time_of_day"),
        ({"hours": {"someday": []}}, "literal_error"),
        ({"zone": "Mars"}, "unknown_zone"),
        ({"country": "XX"}, "unknown_holidays"),
        ({"country": "FR", "subdivision": "Texas"}, "unknown_holidays"),
        ({"subdivision": "57"}, "unknown_holidays"),
        (
            {"absences": [{"begins": "2026-01-02T00:00Z", "ends": "2026-01-01T00:00Z"}]},
            "ends_before_it_begins",
        ),
        (
            {"absences": [{"begins": "2026-01-01T00:00", "ends": "2026-01-02T00:00"}]},
            "timezone_aware",
        ),
    ],
)
def test_what_makes_no_calendar_is_named(given: dict[str, Any], code: str) -> None:
    assert code in refused(**given)


def test_a_calendar_that_is_never_open_says_so_instead_of_looking_for_ever() -> None:
    away = Absence(begins=paris("2026-01-01T00:00"), ends=paris("2080-01-01T00:00"))
    calendar = office(absences=[away])
    start = paris("2026-06-01T00:00")

    with pytest.raises(NeverOpen):
        next_opening(calendar, start)
    with pytest.raises(NeverOpen):
        add_working_time(calendar, start, MINUTE)
    with pytest.raises(NeverOpen):
        add_working_days(calendar, start.date(), 1)
    with pytest.raises(NeverOpen):
        add_working_time(office(), start, dt.timedelta(days=10_000))
    assert working_time_between(calendar, start, start + 3000 * DAY) == dt.timedelta(0)


def test_a_calendar_is_read_as_it_was_written() -> None:
    calendar = office(country="FR", closed=[dt.date(2026, 7, 13)])
    is_open(calendar, paris("2026-06-01T00:00"))

    assert Calendar.model_validate_json(calendar.model_dump_json()) == calendar
    assert '"opens":"09:00"' in calendar.model_dump_json()

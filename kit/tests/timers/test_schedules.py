"""When schedules are due: by the clock on the wall, once a time, whatever happens to the clock."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from liaison_kit.timers.schedules import Daily, Every, Monthly, Schedule, read, written

PARIS = ZoneInfo("Europe/Paris")
APIA = ZoneInfo("Pacific/Apia")
ZONES = st.sampled_from([ZoneInfo(name) for name in ("Europe/Paris", "Australia/Lord_Howe", "UTC")])
MOMENTS = st.datetimes(
    dt.datetime(2024, 1, 1), dt.datetime(2028, 12, 31), timezones=st.just(dt.UTC)
)
DAYS = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")
TIMES = st.times().map(lambda time: time.replace(microsecond=0))
BY_THE_CLOCK = st.one_of(
    st.builds(Daily, at=TIMES, on=st.lists(st.sampled_from(DAYS), unique=True).map(tuple)),
    st.builds(Monthly, at=TIMES, day=st.integers(1, 31)),
)


def utc(text: str) -> dt.datetime:
    return dt.datetime.fromisoformat(text).replace(tzinfo=dt.UTC)


def moments(schedule: Schedule, start: str, number: int, zone: ZoneInfo = PARIS) -> list[str]:
    """When it is due, on the clock there."""
    found = [schedule.first(utc(start), zone)]
    while len(found) < number:
        found.append(schedule.next(found[-1], found[-1], zone))
    return [f"{due.astimezone(zone):%m-%d %H:%M}" for due in found]


def test_a_time_that_the_clock_skips_is_due_once_when_it_does() -> None:
    due = moments(Daily(at="02:30"), "2026-03-27T12:00", 3)

    assert due == ["03-28 02:30", "03-29 03:00", "03-30 02:30"]


def test_a_time_that_comes_twice_is_due_once_the_first_time() -> None:
    schedule = Daily(at="02:30")

    due = moments(schedule, "2026-10-24T12:00", 2)

    assert due == ["10-25 02:30", "10-26 02:30"]
    assert schedule.first(utc("2026-10-24T12:00"), PARIS) == utc("2026-10-25T00:30")


def test_a_day_that_a_country_leaves_out_is_due_as_it_is_left_out() -> None:
    assert moments(Daily(at="02:30"), "2011-12-28T20:00", 3, APIA) == [
        "12-29 02:30",
        "12-31 00:00",
        "12-31 02:30",
    ]


def test_a_month_that_is_too_short_has_its_day_at_its_end() -> None:
    due = moments(Monthly(at="08:00", day=31), "2026-01-01T00:00", 4)

    assert due == ["01-31 08:00", "02-28 08:00", "03-31 08:00", "04-30 08:00"]


def test_weekdays_are_those_of_the_zone() -> None:
    late_on_sunday = Daily(at="00:30", on=("monday",))

    assert late_on_sunday.first(utc("2026-01-04T12:00"), PARIS) == utc("2026-01-04T23:30")


@given(BY_THE_CLOCK, MOMENTS, ZONES)
def test_what_is_due_by_the_clock_is_due_at_its_time_but_where_there_is_none(
    schedule: Daily | Monthly, now: dt.datetime, zone: ZoneInfo
) -> None:
    due = schedule.first(now, zone)

    clock = due.astimezone(zone)
    assert due > now
    gap = (due - dt.timedelta(minutes=1)).astimezone(zone).utcoffset() != clock.utcoffset()
    assert clock.time().replace(fold=0) == schedule.at or gap
    assert schedule.next(due, due, zone) > due


@given(BY_THE_CLOCK, MOMENTS, st.integers(0, 500), ZONES)
def test_what_was_missed_is_due_once(
    schedule: Daily | Monthly, due: dt.datetime, hours: int, zone: ZoneInfo
) -> None:
    due = schedule.first(due, zone)
    now = due + dt.timedelta(hours=hours)

    following = schedule.next(due, now, zone)

    assert following > now
    # Nothing between now and then is left out either.
    between = schedule.first(now, zone)
    assert following == between


@given(st.integers(1, 100_000), MOMENTS, st.integers(0, 10_000_000))
def test_an_interval_keeps_its_grid_and_leaves_out_what_was_missed(
    seconds: int, due: dt.datetime, late: int
) -> None:
    now = due + dt.timedelta(seconds=late)

    following = Every(seconds=seconds).next(due, now, PARIS)

    assert now < following <= now + dt.timedelta(seconds=seconds)
    assert (following - due).total_seconds() % seconds == 0


@given(st.one_of(BY_THE_CLOCK, st.builds(Every, seconds=st.integers(1, 1000))))
def test_a_schedule_is_read_as_it_was_written(schedule: Schedule) -> None:
    import json

    assert read(json.loads(written(schedule))) == schedule


def test_units_of_an_interval_add_up() -> None:
    assert Every(hours=1, minutes=30, seconds=1).seconds == 5401


@pytest.mark.parametrize(
    "wrong",
    [
        lambda: Every(),
        lambda: Every(seconds=0),
        lambda: Every(hours=-1),
        lambda: Every(days=1),
        lambda: Daily(at="25:00"),
        lambda: Daily(at="06:00+02:00"),
        lambda: Daily(at="06:00", on=("someday",)),
        lambda: Monthly(at="06:00", day=0),
        lambda: Monthly(at="06:00", day=32),
    ],
)
def test_a_schedule_that_there_is_not_is_refused(wrong: object) -> None:
    with pytest.raises(ValidationError):
        wrong()  # type: ignore[operator]

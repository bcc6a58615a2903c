"""Which moment a time on the wall is, against a search through every minute around it."""

import datetime as dt
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from liaison_kit.zones import UnknownZone, moment, zone

# An hour; half an hour; changes at midnight; a day that was left out; a quarter's offset; none.
ZONES = (
    "Europe/Paris",
    "Australia/Lord_Howe",
    "Africa/Cairo",
    "America/Santiago",
    "Pacific/Apia",
    "Asia/Kathmandu",
    "UTC",
)
_MINUTE = dt.timedelta(minutes=1)


def searched(day: dt.date, time: dt.time, there: ZoneInfo) -> dt.datetime:
    """The first minute whose clock shows this time, or else that shows a later one."""
    shown = dt.datetime.combine(day, time)
    guess = shown.replace(tzinfo=dt.UTC) - dt.timedelta(hours=28)
    later = None
    for number in range(56 * 60):
        now = guess + number * _MINUTE
        clock = now.astimezone(there).replace(tzinfo=None)
        if clock == shown:
            return now
        if later is None and clock > shown:
            later = now
    assert later is not None
    return later


@given(
    name=st.sampled_from(ZONES),
    day=st.dates(dt.date(2009, 1, 1), dt.date(2030, 12, 31)),
    minute=st.integers(0, 1439),
)
@example("Europe/Paris", dt.date(2026, 3, 29), 150)
@example("Europe/Paris", dt.date(2026, 10, 25), 150)
@example("Australia/Lord_Howe", dt.date(2026, 10, 4), 135)
@example("Australia/Lord_Howe", dt.date(2026, 4, 5), 105)
@example("Africa/Cairo", dt.date(2026, 4, 24), 0)
@example("America/Santiago", dt.date(2026, 9, 6), 30)
@example("Pacific/Apia", dt.date(2011, 12, 30), 150)
def test_a_time_on_the_wall_is_the_first_moment_that_shows_it_or_is_past_it(
    name: str, day: dt.date, minute: int
) -> None:
    time = dt.time(minute // 60, minute % 60)

    assert moment(day, time, ZoneInfo(name)) == searched(day, time, ZoneInfo(name))


@pytest.mark.parametrize("name", ["", "Paris", "europe/paris", "../../etc/passwd", "x" * 5000])
def test_a_zone_that_there_is_not_is_named(name: str) -> None:
    with pytest.raises(UnknownZone, match="is no zone"):
        zone(name)

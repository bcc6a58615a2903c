"""Days and moments are those of the tenant's zone, at the moment that somebody looks."""

import datetime as dt
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from liaison_kit.conditions.moments import ANCHORS, UNITS, Relative, day, relative, span
from liaison_sdk.errors import InvalidInput

from .samples import ZONES

PARIS = ZoneInfo("Europe/Paris")
# Sunday the 29th in Paris, half past midnight in summer's first night, and still the 28th in UTC.
NOW = dt.datetime(2026, 3, 28, 23, 30, tzinfo=dt.UTC)


def utc(*parts: int) -> dt.datetime:
    return dt.datetime(*parts, tzinfo=dt.UTC)  # type: ignore[arg-type,misc]


@pytest.mark.parametrize(
    ("anchor", "offset", "unit", "expected"),
    [
        ("now", 0, "day", "2026-03-29"),
        ("startOfDay", 0, "day", "2026-03-29"),
        ("startOfDay", -30, "day", "2026-02-27"),
        ("endOfDay", 1, "week", "2026-04-05"),
        ("startOfWeek", 0, "day", "2026-03-23"),
        ("endOfWeek", 0, "day", "2026-03-29"),
        ("startOfMonth", -1, "month", "2026-02-01"),
        ("endOfMonth", 0, "day", "2026-03-31"),
        # The end of next month, not the 31st of it.
        ("endOfMonth", 1, "month", "2026-04-30"),
        ("endOfMonth", -1, "month", "2026-02-28"),
        ("endOfMonth", -3, "day", "2026-03-28"),
        ("startOfYear", -1, "year", "2025-01-01"),
        ("endOfYear", 0, "day", "2026-12-31"),
        ("startOfDay", -1, "month", "2026-02-28"),
        ("startOfDay", -25, "month", "2024-02-29"),
    ],
)
def test_a_relative_day(anchor: Any, offset: int, unit: Any, expected: str) -> None:
    assert day(Relative(anchor, offset, unit), NOW, PARIS) == dt.date.fromisoformat(expected)


def test_a_day_lasts_from_midnight_to_midnight_where_the_tenant_is() -> None:
    short = span(dt.date(2026, 3, 29), NOW, PARIS)

    assert short == (utc(2026, 3, 28, 23), utc(2026, 3, 29, 22))
    assert span(Relative("startOfDay", 0, "day"), NOW, PARIS) == short
    assert span(Relative("startOfDay", 0, "day"), NOW, dt.UTC)[0] == utc(2026, 3, 28)


def test_now_is_a_moment_and_the_same_time_on_another_day() -> None:
    begin, end = span(Relative("now", 0, "day"), NOW, PARIS)
    assert (begin, end - begin) == (NOW, dt.timedelta(microseconds=1))
    # At 00:30 in Paris it was summer's first night; a day later the clocks are an hour ahead.
    assert span(Relative("now", 1, "day"), NOW, PARIS)[0] == utc(2026, 3, 29, 22, 30)
    assert span(Relative("now", 24, "hour"), NOW, PARIS)[0] == utc(2026, 3, 29, 23, 30)
    assert span(Relative("now", -90, "minute"), NOW, PARIS)[0] == utc(2026, 3, 28, 22)


def test_a_time_without_a_zone_is_the_tenants() -> None:
    noon = dt.datetime(2026, 7, 1, 12)

    assert span(noon, NOW, PARIS)[0] == utc(2026, 7, 1, 10)
    assert span(noon.replace(tzinfo=dt.UTC), NOW, PARIS)[0] == utc(2026, 7, 1, 12)


RELATIVE = st.builds(
    Relative, st.sampled_from(ANCHORS), st.integers(-99, 99), st.sampled_from(UNITS)
)
MOMENTS = st.datetimes(dt.datetime(1990, 1, 1), dt.datetime(2090, 1, 1), timezones=st.just(dt.UTC))


@given(value=RELATIVE, now=MOMENTS, zone=st.sampled_from(ZONES))
def test_a_relative_day_and_its_stretch_of_time_are_the_same(
    value: Relative, now: dt.datetime, zone: dt.tzinfo
) -> None:
    begin, end = span(value, now, zone)

    assert begin < end
    assert begin.astimezone(zone).date() == day(value, now, zone)
    if value.anchor != "now":
        assert (end - dt.timedelta(microseconds=1)).astimezone(zone).date() == day(value, now, zone)


@given(now=MOMENTS, zone=st.sampled_from(ZONES))
def test_now_lies_in_its_day_week_month_and_year(now: dt.datetime, zone: dt.tzinfo) -> None:
    for period in ("Day", "Week", "Month", "Year"):
        first, last = (
            span(Relative(f"{edge}Of{period}", 0, "day"), now, zone)  # type: ignore[arg-type]
            for edge in ("start", "end")
        )
        assert first[0] <= now < last[1]


@pytest.mark.parametrize(
    ("raw", "path"),
    [
        ({"anchor": "now"}, "v"),
        ({"mode": "absolute", "anchor": "now"}, "v"),
        ({"mode": "relative", "anchor": "now", "ofset": 3}, "v"),
        ({"mode": "relative"}, "v.anchor"),
        ({"mode": "relative", "anchor": "noon"}, "v.anchor"),
        ({"mode": "relative", "anchor": []}, "v.anchor"),
        ({"mode": "relative", "anchor": "now", "unit": "decade"}, "v.unit"),
        ({"mode": "relative", "anchor": "now", "unit": {}}, "v.unit"),
        ({"mode": "relative", "anchor": "startOfDay", "offset": 3, "unit": "hour"}, "v.unit"),
        ({"mode": "relative", "anchor": "now", "offset": "3"}, "v.offset"),
        ({"mode": "relative", "anchor": "now", "offset": True}, "v.offset"),
        ({"mode": "relative", "anchor": "now", "offset": 1.5}, "v.offset"),
        ({"mode": "relative", "anchor": "now", "offset": 101, "unit": "year"}, "v.offset"),
        ({"mode": "relative", "anchor": "now", "offset": -(10**20)}, "v.offset"),
    ],
    ids=str,
)
def test_what_is_no_relative_day_is_named(raw: Any, path: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        relative(raw, "v")

    assert [error.path for error in caught.value.errors] == [path]


def test_what_is_left_out_of_a_relative_day_is_nothing() -> None:
    assert relative({"mode": "relative", "anchor": "now"}, "") == Relative("now", 0, "day")

"""The openings of a year as moments, with what they add up to: found by bisection, not by walking.

Moments are whole microseconds since 1970.
"""

import datetime as dt
from bisect import bisect_left, bisect_right
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from zoneinfo import ZoneInfo

from liaison_kit.zones import WEEKDAYS, Weekday, moment

_DAY = dt.timedelta(days=1)
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
_MICROSECOND = dt.timedelta(microseconds=1)
_MIDNIGHT = 24 * 60

Opening = tuple[int, int]


def number_of(moment: dt.datetime) -> int:
    """A moment as microseconds."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(number: int) -> dt.datetime:
    """Microseconds as a moment, in UTC."""
    return _EPOCH + number * _MICROSECOND


@dataclass(frozen=True, slots=True)
class Year:
    """Openings in order, apart from each other; `before` is how long those before each last."""

    starts: list[int]
    ends: list[int]
    before: list[int]
    total: int
    days: list[dt.date]
    """The days on which there is an opening."""

    def until(self, when: int) -> int:
        """How much of the year is open before this moment."""
        place = bisect_right(self.starts, when) - 1
        if place < 0:
            return 0
        return self.before[place] + min(when, self.ends[place]) - self.starts[place]

    def first_with(self, much: int) -> int:
        """The earliest moment before which so much of the year is open; more than none, not more
        than all."""
        place = bisect_left(self.before, much) - 1
        return self.starts[place] + much - self.before[place]

    def last_with(self, much: int) -> int:
        """The latest moment before which so much of the year is open; less than all."""
        place = bisect_right(self.before, much) - 1
        return self.starts[place] + much - self.before[place]

    def opening(self, when: int) -> int | None:
        """The first moment from this one on at which it is open."""
        place = bisect_right(self.ends, when)
        return None if place == len(self.starts) else max(when, self.starts[place])

    def is_open(self, when: int) -> bool:
        """Whether it is open at this moment; at the end of an opening it is not."""
        return self.opening(when) == when


def openings_of(
    number: int,
    there: ZoneInfo,
    hours: Mapping[Weekday, Sequence[tuple[int, int]]],
    closed: Collection[dt.date],
    absences: Sequence[tuple[dt.datetime, dt.datetime]],
) -> Year:
    """The year's shifts as moments, without days that are closed and times that are absences."""
    away = _joined([(number_of(begins), number_of(ends)) for begins, ends in absences])
    found: list[Opening] = []
    days: list[dt.date] = []
    day = dt.date(number, 1, 1)
    while day.year == number:
        if day not in closed:
            shifts = [
                (_at(day, opens, there), _at(day, closes, there))
                for opens, closes in hours.get(WEEKDAYS[day.weekday()], ())
            ]
            left = _without(_joined(shifts), away)
            if left:
                days.append(day)
                found += left
        if day == dt.date.max:
            break
        day += _DAY
    found = _joined(found)
    before, total = [], 0
    for start, end in found:
        before.append(total)
        total += end - start
    return Year([start for start, _ in found], [end for _, end in found], before, total, days)


def _at(day: dt.date, minutes: int, there: ZoneInfo) -> int:
    if minutes == _MIDNIGHT:
        day, minutes = day + _DAY, 0
    return number_of(moment(day, dt.time(minutes // 60, minutes % 60), there))


def _joined(intervals: Sequence[Opening]) -> list[Opening]:
    """In order, what touches as one, without what is empty."""
    joined: list[Opening] = []
    for start, end in sorted(intervals):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], end))
        elif start < end:
            joined.append((start, end))
    return joined


def _without(intervals: Sequence[Opening], away: Sequence[Opening]) -> list[Opening]:
    """What is left of intervals in order; both are apart from each other."""
    left: list[Opening] = []
    for start, end in intervals:
        place = bisect_right(away, (start, start)) - 1
        if place < 0 or away[place][1] <= start:
            place += 1
        while place < len(away) and away[place][0] < end:
            if start < away[place][0]:
                left.append((start, away[place][0]))
            start = max(start, away[place][1])
            place += 1
        if start < end:
            left.append((start, end))
    return left

"""Working time: when it is open by hours, holidays and absences in a zone; pure functions."""

from liaison_kit.calendars.calendar import Absence, Calendar, Shift
from liaison_kit.calendars.counting import (
    NeverOpen,
    add_working_days,
    add_working_time,
    is_open,
    is_working_day,
    next_opening,
    working_days_between,
    working_time_between,
)

__all__ = [
    "Absence",
    "Calendar",
    "NeverOpen",
    "Shift",
    "add_working_days",
    "add_working_time",
    "is_open",
    "is_working_day",
    "next_opening",
    "working_days_between",
    "working_time_between",
]

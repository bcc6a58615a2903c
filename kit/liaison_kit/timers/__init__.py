"""Timers: `at` and `every` have something done later, `@on_timer` does it; once, whatever dies."""

from liaison_kit.timers.schedules import Daily, Every, Monthly, Schedule
from liaison_kit.timers.setting import NoZone, TooFarAhead, at, cancel, every
from liaison_kit.timers.timer import Timer, on_timer

__all__ = [
    "Daily",
    "Every",
    "Monthly",
    "NoZone",
    "Schedule",
    "Timer",
    "TooFarAhead",
    "at",
    "cancel",
    "every",
    "on_timer",
]

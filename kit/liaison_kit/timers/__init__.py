"""Timers: `at` and `every` have something done later, `@on_timer` does it; once, whatever dies."""

from liaison_kit.timers.schedules import Daily, Every, Monthly, Schedule
from liaison_kit.timers.setting import NoZone, TooFarAhead, at, cancel, every
from liaison_kit.timers.timer import Occasion, Timer, on_schedule, on_timer

__all__ = [
    "Daily",
    "Every",
    "Monthly",
    "NoZone",
    "Occasion",
    "Schedule",
    "Timer",
    "TooFarAhead",
    "at",
    "cancel",
    "every",
    "on_schedule",
    "on_timer",
]

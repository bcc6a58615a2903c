"""Timers as a service declares them: what is to be run later, and the method that runs it."""

import datetime as dt
import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr

from liaison_kit.timers.schedules import Schedule


class Timer(BaseModel):
    """What a timer's handler is told when it runs. Subclasses set `kind`.

        class ReminderDue(Timer):
            kind = "reminder_due"

            task_id: UUID

    It is kept for as long as it waits, so it holds ids of records and not what is in them, and it
    only grows, as contracts do: a field that is added later has a default.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    kind: ClassVar[str]

    _due_at: dt.datetime | None = PrivateAttr(default=None)

    @classmethod
    def __pydantic_init_subclass__(cls, **_options: Any) -> None:
        if "kind" not in cls.__dict__:
            raise TypeError(f"{cls.__name__} must set `kind`, the name that it is kept under")

    @classmethod
    def read(cls, payload: Any, due_at: dt.datetime) -> "Timer":
        """A timer as it was set, for that moment."""
        timer = cls.model_validate(payload)
        timer._due_at = due_at
        return timer

    @property
    def due_at(self) -> dt.datetime:
        """For when it was set; only one that runs knows it."""
        if self._due_at is None:
            raise AttributeError(f"this {type(self).__name__} does not run yet")
        return self._due_at


class Occasion(Timer):
    """What a method is told that a service runs by a schedule for each of its tenants."""

    kind = "schedule"


@dataclass(frozen=True, slots=True)
class TimerHandler:
    """Which method of a service runs a kind of timer; `together`, all that are due in one call.

    With a schedule, every tenant has one timer of this kind.
    """

    kind: str
    timer: type[Timer]
    method: str
    together: bool = False
    schedule: Schedule | None = None


F = TypeVar("F", bound=Callable[..., Any])


def on_timer(timer: type[Timer], *, together: bool = False) -> Callable[[F], F]:
    """Have a method of a service run timers of a kind.

        @on_timer(ReminderDue)
        def on_reminder_due(self, session: Session, timer: ReminderDue) -> None:

    It runs in a transaction that is committed for it, with the timer's removal in it: once. It
    must leave committing, and anything outside of the database that can't be undone, to others.
    What it raises is retried, then parked. It may be called for several timers in one transaction;
    `together` hands them over in one call, as a list: those of one tenant, for one person.
    """

    def declare(method: F) -> F:
        method.timer_handler = TimerHandler(  # type: ignore[attr-defined]
            timer.kind, timer, method.__name__, together
        )
        return method

    return declare


def on_schedule(schedule: Schedule) -> Callable[[F], F]:
    """Have a method of a service run by a schedule for every tenant, by the clock of its zone.

        @on_schedule(Daily(at="06:00"))
        def renew_rates(self, session: Session, occasion: Occasion) -> None:

    All that is said of timers holds for it: `on_timer`.
    """

    def declare(method: F) -> F:
        name = method.__name__
        method.timer_handler = TimerHandler(  # type: ignore[attr-defined]
            f"{Occasion.kind}.{name}", Occasion, name, schedule=schedule
        )
        return method

    return declare


def handlers_of(service: type[Any]) -> Mapping[str, TimerHandler]:
    """What a service has for each kind of timer."""
    found: dict[str, TimerHandler] = {}
    for _name, member in inspect.getmembers(service, inspect.isfunction):
        handler: TimerHandler | None = getattr(member, "timer_handler", None)
        if handler is None:
            continue
        if handler.kind in found:
            raise TypeError(f"{service.__name__} has two handlers for {handler.kind}")
        found[handler.kind] = handler
    return found

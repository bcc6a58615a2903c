"""Processes of a service that does nothing but run timers, for the tests to start and kill."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import eventlet

    eventlet.monkey_patch()

import json
import os
import signal
import sys
from importlib import import_module
from pathlib import Path

import nameko
from eventlet.support.psycopg2_patcher import make_psycopg_green
from nameko.containers import ServiceContainer
from sqlalchemy import make_url, text
from sqlalchemy.orm import Session

from liaison_kit.database.database import Database
from liaison_kit.events import emit
from liaison_kit.settings import settings
from liaison_kit.telemetry import log, start_logging
from liaison_kit.timers import Timer, at, on_timer
from liaison_kit.timers.runner import TimerRunner
from liaison_kit.timers.timer import handlers_of
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.principals import Principals
from liaison_sdk.events import Event

sys.path.insert(0, str(Path(__file__).parents[1]))

from forked import take_orders


class Ring(Timer):
    """A number is to be written down, and so many more after it."""

    kind = "ring"

    number: int
    more: int = 0
    how: str = ""


class Rung(Event):
    """A number was written down."""

    type = "rung"
    source = "clock"

    number: int


class Clock:
    """Writes numbers down."""

    name = "clock"

    timer_runner = TimerRunner()

    @on_timer(Ring)
    def on_ring(self, session: Session, timer: Ring) -> None:
        """Write it down beside an event, and set the timer of the next."""
        session.execute(
            text("INSERT INTO effects (number, pid) VALUES (:number, :pid)"),
            {"number": timer.number, "pid": os.getpid()},
        )
        emit(session, Rung(number=timer.number))
        if timer.how == "kills":
            os.kill(os.getpid(), signal.SIGKILL)
        if timer.more:
            following = Ring(number=timer.number + 1, more=timer.more - 1)
            at(session, timer.due_at, following, key=f"after {timer.number}")


def serve() -> None:
    """Work until SIGTERM."""
    make_psycopg_green()
    start_logging(settings(), "clock")
    nameko.config.setup({"AMQP_URI": "amqp://nobody@localhost:1"})
    for name_of, value in json.loads(os.environ["TEST_CONSTANTS"]).items():
        module, _, constant = name_of.rpartition(".")
        setattr(import_module(f"liaison_kit.timers.{module}"), constant, value)
    Clock.db = Database(make_url(os.environ["TEST_DATABASE"]), application="clock")  # type: ignore[attr-defined]
    Clock.principals = Principals(  # type: ignore[attr-defined]
        Keyring("clock", settings().key_file, settings().trust_dir)
    )
    Clock.timer_handlers = handlers_of(Clock)  # type: ignore[attr-defined]
    container = ServiceContainer(Clock)
    signal.signal(signal.SIGTERM, lambda *_: eventlet.spawn_n(container.stop))
    container.start()
    log.info("started")
    container.wait()
    Clock.db.dispose()  # type: ignore[attr-defined]


if __name__ == "__main__":
    take_orders(serve)

"""Processes of a service that does nothing but take runs on, for the tests to start and kill."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import eventlet

    eventlet.monkey_patch()

import json
import os
import signal
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import nameko
from eventlet.support.psycopg2_patcher import make_psycopg_green
from nameko.containers import ServiceContainer
from sqlalchemy import make_url
from sqlalchemy.orm import Session

sys.path.insert(0, str(Path(__file__).parents[1]))
sys.path.insert(0, str(Path(__file__).parent))

from forked import take_orders
from workshop import FLOWS

from liaison_kit.database.database import Database
from liaison_kit.flows import engine
from liaison_kit.flows.runs import RunDue
from liaison_kit.settings import settings
from liaison_kit.telemetry import log, start_logging
from liaison_kit.timers import on_timer
from liaison_kit.timers.runner import TimerRunner
from liaison_kit.timers.timer import handlers_of
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.principals import Principals


class Shop:
    """Takes runs on."""

    name = "sales"

    timer_runner = TimerRunner()

    @on_timer(RunDue, together=True)
    def on_runs_due(self, session: Session, timers: Sequence[RunDue]) -> None:
        """As every service with flows does."""
        engine.take_on(session, FLOWS, [timer.run_id for timer in timers])


def serve() -> None:
    """Work until SIGTERM."""
    make_psycopg_green()
    start_logging(settings(), "sales")
    nameko.config.setup({"AMQP_URI": "amqp://nobody@localhost:1"})
    for name_of, value in json.loads(os.environ["TEST_CONSTANTS"]).items():
        module, _, constant = name_of.rpartition(".")
        setattr(import_module(f"liaison_kit.timers.{module}"), constant, value)
    keys = Keyring("sales", settings().key_file, settings().trust_dir)
    Shop.db = Database(make_url(os.environ["TEST_DATABASE"]), application="sales")  # type: ignore[attr-defined]
    Shop.db.keys = keys  # type: ignore[attr-defined]
    Shop.principals = Principals(keys)  # type: ignore[attr-defined]
    Shop.timer_handlers = handlers_of(Shop)  # type: ignore[attr-defined]
    container = ServiceContainer(Shop)
    signal.signal(signal.SIGTERM, lambda *_: eventlet.spawn_n(container.stop))
    container.start()
    log.info("started")
    container.wait()
    Shop.db.dispose()  # type: ignore[attr-defined]


if __name__ == "__main__":
    take_orders(serve)

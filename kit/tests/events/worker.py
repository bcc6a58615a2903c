"""Processes of a service that listens to itself, for the tests to start and kill."""

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

from liaison_kit.context import context
from liaison_kit.database.database import Database
from liaison_kit.events import emit, handles, relay
from liaison_kit.events.relay import OutboxRelay, Relay
from liaison_kit.settings import settings
from liaison_kit.telemetry import log, start_logging
from liaison_kit.trust.keys import Keyring
from liaison_sdk.errors import Unavailable
from liaison_sdk.events import Event

sys.path.insert(0, str(Path(__file__).parents[1]))

from forked import take_orders


def listener(service_name: str, database: str) -> type:
    """A service that listens to itself; made late, since each process has its own name."""

    class Said(Event):
        """Somebody said a number about a record."""

        type = "said"
        source = service_name
        key_field = "record"

        record: str
        number: int
        answer: bool = False
        filling: str = ""

    class Heard(Event):
        """A number was heard; tells that handlers' own events go out too."""

        type = "heard"
        source = service_name
        key_field = "record"

        record: str

    class Listener:
        name = service_name
        db = Database(make_url(database), application="listener")
        keys = Keyring(service_name, settings().key_file, settings().trust_dir)
        relay = Relay()

        @handles(Said)
        def on_said(self, session: Session, event: Said) -> None:
            session.execute(
                text(
                    "INSERT INTO effects (event_id, record, number, tenant, pid)"
                    " VALUES (:event, :record, :number, :tenant, :pid)"
                ),
                {
                    "event": event.envelope.id,
                    "record": event.record,
                    "number": event.number,
                    "tenant": context(session).tenant,
                    "pid": os.getpid(),
                },
            )
            trouble = {"record": event.record, "number": event.number}
            broken = session.execute(
                text("SELECT how FROM broken WHERE record = :record AND number = :number"), trouble
            ).scalar()
            if broken:
                be(broken, session, event.number)
            if event.answer:
                emit(session, Heard(record=event.record))

        @handles(Heard)
        def on_heard(self, session: Session, event: Heard) -> None:
            session.execute(
                text(
                    "INSERT INTO effects (event_id, record, number, tenant, pid)"
                    " VALUES (:event, :record, -1, :tenant, :pid)"
                ),
                {
                    "event": event.envelope.causation_id,
                    "record": event.record,
                    "tenant": context(session).tenant,
                    "pid": os.getpid(),
                },
            )

    return Listener


def be(how: str, session: Session, number: int) -> None:
    """Go wrong in the way that the test wants."""
    if how == "raises":
        raise ValueError(f"can't bear {number}")
    if how == "unavailable":
        raise Unavailable("the other module does not answer")
    if how == "refused":
        raise ConnectionRefusedError
    if how == "killed":
        os.kill(os.getpid(), signal.SIGKILL)
    if how == "locked":
        session.execute(text("UPDATE things SET said = said + 1 WHERE name = 'locked'"))
    if how == "unbearable":
        session.execute(text("SELECT pg_terminate_backend(pg_backend_pid())"))
    while how == "spins":
        pass
    while how == "asks":
        session.execute(text("SELECT pg_sleep(0.02)"))


def die_between_confirm_and_delete(after: int) -> None:
    """Make this process drop dead when the broker holds messages whose rows are still there."""
    original = OutboxRelay._on_confirm

    def confirmed(relay: OutboxRelay, frame: object) -> None:
        original(relay, frame)
        if len(relay._confirmed) >= after:
            os.kill(os.getpid(), signal.SIGKILL)

    OutboxRelay._on_confirm = confirmed  # type: ignore[method-assign]


def serve() -> None:
    """Work until SIGTERM."""
    name = os.environ["TEST_SERVICE"]
    make_psycopg_green()
    start_logging(settings(), name)
    nameko.config.setup({"AMQP_URI": settings().broker})
    die_after = int(os.environ.get("TEST_DIE_AFTER_CONFIRMS", "0"))
    if die_after:
        die_between_confirm_and_delete(die_after)
    for name_of, value in json.loads(os.environ.get("TEST_CONSTANTS", "{}")).items():
        module, _, constant = name_of.rpartition(".")
        setattr(import_module(f"liaison_kit.events.{module}"), constant, value)
    if os.environ.get("TEST_NEVER_SWEEP"):
        relay.SWEEP_S = 3600
    service = listener(name, os.environ["TEST_DATABASE"])
    container = ServiceContainer(service)
    signal.signal(signal.SIGTERM, lambda *_: eventlet.spawn_n(container.stop))
    container.start()
    log.info("started")
    container.wait()
    service.db.dispose()  # type: ignore[attr-defined]


if __name__ == "__main__":
    take_orders(serve)

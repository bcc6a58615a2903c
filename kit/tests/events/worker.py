"""One process of a service that listens to itself, as the tests start and kill it."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import eventlet

    eventlet.monkey_patch()

import os
import signal
import sys

import nameko
from eventlet.support.psycopg2_patcher import make_psycopg_green
from nameko.containers import ServiceContainer
from sqlalchemy import make_url, text
from sqlalchemy.orm import Session

from liaison_kit.context import context
from liaison_kit.db import Database
from liaison_kit.events import emit, handles
from liaison_kit.relay import OutboxRelay, Relay
from liaison_kit.settings import settings
from liaison_kit.telemetry import log, start_logging
from liaison_sdk.events import Event

SERVICE = os.environ["TEST_SERVICE"]
DIE_AFTER = int(os.environ.get("TEST_DIE_AFTER_CONFIRMS", "0"))


class Said(Event):
    """Somebody said a number about a record."""

    type = "said"
    source = SERVICE
    key_field = "record"

    record: str
    number: int
    answer: bool = False


class Heard(Event):
    """A number was heard; tells that handlers' own events go out too."""

    type = "heard"
    source = SERVICE
    key_field = "record"

    record: str


class Listener:
    name = SERVICE
    db = Database(make_url(os.environ["TEST_DATABASE"]), application="listener")
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
            text("SELECT 1 FROM broken WHERE record = :record AND number = :number"), trouble
        ).first()
        if broken:
            raise ValueError(f"can't bear {event.number}")
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


def die_between_confirm_and_delete(after: int) -> None:
    """Make this process drop dead when the broker holds messages whose rows are still there."""
    original = OutboxRelay._on_confirm

    def confirmed(relay: OutboxRelay, frame: object) -> None:
        original(relay, frame)
        if len(relay._confirmed) >= after:
            os.kill(os.getpid(), signal.SIGKILL)

    OutboxRelay._on_confirm = confirmed  # type: ignore[method-assign]


def main() -> None:
    make_psycopg_green()
    start_logging(settings(), SERVICE)
    nameko.config.setup({"AMQP_URI": settings().amqp_url})
    if DIE_AFTER:
        die_between_confirm_and_delete(DIE_AFTER)
    container = ServiceContainer(Listener)
    signal.signal(signal.SIGTERM, lambda *_: eventlet.spawn_n(container.stop))
    container.start()
    log.info("started")
    container.wait()
    Listener.db.dispose()
    sys.exit(0)


if __name__ == "__main__":
    main()

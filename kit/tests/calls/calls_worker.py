"""A process of a service whose operations take their time, for the tests to start and to kill."""

import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import eventlet

    eventlet.monkey_patch()

import os
import signal
from typing import Any
from uuid import UUID

import nameko
from eventlet.support.psycopg2_patcher import make_psycopg_green
from nameko.containers import ServiceContainer
from sqlalchemy import make_url, text
from sqlalchemy.orm import Session

from liaison_kit.calls.operations import get, internal, post
from liaison_kit.calls.wire import Call, Raw, Reply
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.service import Service
from liaison_kit.settings import settings
from liaison_kit.telemetry import log, start_logging
from liaison_kit.testing import keyring
from liaison_kit.trust.principals import Principals
from liaison_sdk.errors import Unavailable
from liaison_sdk.labels import Label


class Shop(Service):
    """Works slowly, and keeps a record of what it has begun."""

    name = os.environ["TEST_SERVICE"]
    version = os.environ.get("TEST_VERSION", "1.0.0")
    label = Label(en="Shop", fr="Magasin")

    @post("/pieces/{number}", public=True)
    def work(self, session: Session, number: int, call: Call) -> Raw[Any]:
        """Begin, which is written down, and go on for a while."""
        began = (
            "INSERT INTO begun (number, pid, deadline, began_at)"
            " VALUES (:number, :pid, to_timestamp(:deadline), clock_timestamp())"
        )
        session.execute(
            text(began),
            {"number": number, "pid": os.getpid(), "deadline": call.meta["deadline"]},
        )
        session.execute(text("SELECT pg_sleep(:s)"), {"s": float(call.body or b"0.3")})
        return Raw(b"%d" % number)

    @get("/ping", public=True)
    def ping(self) -> Raw[Any]:
        """Nothing but an answer."""
        return Raw(b'"pong"')

    @get("/large", public=True)
    def large(self, call: Call) -> Reply:
        """Says how much it was told, in a header as long."""
        told = call.meta["told"]
        return Reply(200, str(len(told)).encode(), {"X-Told": told})

    @internal(public=True)
    def told(self, call: Call) -> Reply:
        """Says what it was told."""
        return Reply(200, call.body)

    @internal(public=True)
    def never(self, call: Call) -> Reply:
        """Does not come to an end."""
        eventlet.sleep(60)
        return Reply(200, b"")

    @post("/ask", public=True)
    def ask_another(self, call: Call) -> Raw[Any]:
        """Hands a question on."""
        service, operation, body = call.body.decode().split(" ", 2)
        about = Context(tenant=UUID(int=0), deadline=call.meta["deadline"])
        # Only who asked says when it is too late: a busy machine takes its time.
        return Raw(self.ask(service, operation, body.encode(), about, 300.0))


def ask_itself() -> None:
    """Ask again and again, and say when it begins to fail and when it works again."""
    about = Context(tenant=UUID(int=0))
    caller = next(d for d in container.dependencies if d.attr_name == "ask")
    failed = False
    while True:
        try:
            caller.ask(Shop.name, "told", b"x", about, 60.0)
            if failed:
                log.info("asked with a broker")
        except Unavailable as error:
            failed = True
            log.info("asked without a broker", said=error.detail)
        eventlet.sleep(0.1)


if __name__ == "__main__":
    make_psycopg_green()
    start_logging(settings(), Shop.name)
    nameko.config.setup({"AMQP_URI": settings().broker, "max_workers": settings().max_workers})
    Shop.db = Database(
        make_url(os.environ["TEST_DATABASE"]),
        settings().pool_size,
        application=f"shop-{os.getpid()}",
    )
    Shop.keys = keyring(Shop.name)
    Shop.principals = Principals(Shop.keys)
    container = ServiceContainer(Shop)
    signal.signal(signal.SIGTERM, lambda *_: eventlet.spawn_n(container.stop))
    container.start()
    log.info("started")
    if os.environ.get("TEST_ASKS"):
        eventlet.spawn(ask_itself)
    container.wait()

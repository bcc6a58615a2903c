"""Connect dies at the worst moments: nobody gets a mail twice, and none that was owed is lost."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

import pytest
from tests.mail_server import DAWDLE, MailServer
from tests.system import System, Tenant, run, wait_for

ROW = "SELECT id, state, reason, attempts, handed_at FROM messages WHERE to_address = %s"


@pytest.fixture
def address() -> str:
    return f"kim.{uuid4().hex[:12]}@example.com"


@pytest.fixture(autouse=True)
def whole_again(running: System) -> Iterator[None]:
    """However a test ends, connect runs after it."""
    yield
    if "connect" not in running.processes:
        running.start_service("connect")


def message(running: System, address: str) -> dict[str, Any]:
    found = wait_for("it was taken on", lambda: running.rows("connect", ROW, (address,)))
    return found[0]


def in_state(running: System, address: str, state: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        row = message(running, address)
        return row if row["state"] == state else None

    return wait_for(f"the message is {state}", look)


def let_claims_end(running: System, address: str) -> None:
    """Let the time pass that a claim lasts."""
    with running.database(running.roles("connect").owner) as connection:
        connection.cursor().execute(
            "UPDATE messages SET wake_at = now() WHERE to_address = %s", (address,)
        )


@contextmanager
def held(running: System, address: str) -> Iterator[None]:
    """Nobody can write down what becomes of the message."""
    with running.database(running.roles("connect").owner) as connection:
        connection.autocommit = False
        connection.cursor().execute(
            "SELECT 1 FROM messages WHERE to_address = %s FOR UPDATE", (address,)
        )
        yield
        connection.rollback()


def waits_for_a_lock(running: System) -> bool:
    waiting = (
        "SELECT 1 FROM pg_stat_activity WHERE application_name = 'liaison-connect'"
        " AND wait_event_type = 'Lock'"
    )
    with running.database(running.ground.server) as connection:
        return bool(run(connection, waiting))


def test_killed_between_the_servers_yes_and_the_commit_it_sends_nothing_twice(
    running: System, tenant: Tenant, mail: MailServer, address: str
) -> None:
    mail.dawdling.clear()
    mail.go_on.clear()
    mail.plan(address, "DATA", DAWDLE)
    tenant.api.make("/users", name="Kim", email=address)
    assert mail.dawdling.wait(30)
    with held(running, address):
        mail.go_on.set()
        wait_for("the answer is being written down", lambda: waits_for_a_lock(running))
        running.kill("connect")
    between = message(running, address)

    running.start_service("connect")
    let_claims_end(running, address)
    ended = in_state(running, address, "unknown")

    assert between["state"] == "claimed"
    assert between["handed_at"] is not None
    assert ended["reason"] == "unknown"
    assert len(mail.to(address)) == 1


def test_killed_before_it_had_handed_anything_over_it_sends_the_mail_afterwards(
    running: System, tenant: Tenant, mail: MailServer, address: str
) -> None:
    running.kill("connect")
    tenant.api.make("/users", name="Kim", email=address)
    stuck = threading.Event()
    running.start_service("connect", environment={"LIAISON_SMTP_URL": _silent(stuck)})
    in_state(running, address, "claimed")
    running.kill("connect")
    stuck.set()

    running.start_service("connect")
    let_claims_end(running, address)
    in_state(running, address, "sent")

    assert len(mail.to(address)) == 1


def _silent(end: threading.Event) -> str:
    """A server that takes connections and never says a word."""
    import socket

    listening = socket.create_server(("127.0.0.1", 0))

    def hold() -> None:
        end.wait(60)
        listening.close()

    threading.Thread(target=hold, daemon=True).start()
    return f"smtp://127.0.0.1:{listening.getsockname()[1]}?tls=off"


def test_what_is_handed_in_while_connect_is_away_is_sent_when_it_is_back(
    running: System, tenant: Tenant, mail: MailServer, address: str
) -> None:
    running.kill("connect")
    tenant.api.make("/users", name="Kim", email=address)

    running.start_service("connect")

    mail.wait_for(address)
    in_state(running, address, "sent")
    assert len(mail.to(address)) == 1

"""Whatever is killed, however often: each merge and erasure is done in every module, each run of a
flow does its steps once, and nobody gets a mail twice.

All three go on at the same time, and at each kill it is every process that has a part in them, or
the database, or the broker. `LIAISON_KILLS=200` makes it a long run.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from kit.tests.killing import KILLS, kill_database, kills
from kit.tests.nursery import Nursery
from tests.mail_server import MailServer
from tests.system import System, Tenant, wait_for

from liaison_sdk.contracts.privacy import HOLDERS

VICTIMS = ("contacts", "sales", "connect")
WELCOME = {
    "key": "welcome",
    "record": "contacts",
    "start": [{"kind": "event", "event": "created"}],
    "again": "never",
    "steps": {
        "title": {"kind": "set", "field": "title", "value": "Met", "next": "hello"},
        "hello": {
            "kind": "message",
            "purpose": "welcome",
            "subject": "Hello {{ contact.last_name }}",
            "text": "Welcome.",
            "next": {"sent": "welcomed", "refused": "lost"},
        },
        "welcomed": {"kind": "set", "field": "title", "value": "Welcomed", "next": "end"},
        "lost": {"kind": "set", "field": "title", "value": "Not welcomed", "next": "end"},
    },
}
LASTING = {
    "key": "lasting",
    "record": "contacts",
    "start": [{"kind": "by_hand"}],
    "again": "after_done",
    "steps": {"calm": {"kind": "wait", "for": "30 days", "next": "end"}},
}


@pytest.fixture
def system(running: System) -> Iterator[System]:
    """Liaison with processes that start in a moment."""
    nursery = Nursery(Path(__file__).with_name("service_worker.py"))
    for victim in VICTIMS:
        running.kill(victim)
    running.nursery = nursery
    for victim in VICTIMS:
        running.start_service(victim, wait=False)
    running.wait_until_whole()
    yield running
    for victim in VICTIMS:
        running.kill(victim)
    running.nursery = None
    nursery.close()
    running.postgres.start()
    running.rabbitmq.start()
    for victim in VICTIMS:
        running.start_service(victim, wait=False)
    running.wait_until_whole()


class Play:
    """What goes on in an organisation, and what has to come of it."""

    def __init__(self, system: System, tenant: Tenant) -> None:
        self.api = tenant.api
        self.system = system
        self.tenant = tenant
        self.moved: list[tuple[str, str, str]] = []
        """The deal and the run of each record that was merged, and the survivor."""
        self.welcomed: dict[str, str] = {}
        """The address of each person whom a flow is about."""
        self.lasting = self._flow(LASTING)
        self._flow(WELCOME)

    def _flow(self, definition: dict[str, Any]) -> str:
        body = {"definition": definition}
        flow = self.api.post("/flows", params={"record": "contacts"}, json=body).json()
        self.api.act(f"/flows/{flow['id']}/activate", flow["version"])
        id: str = flow["id"]
        return id

    def go_on(self, number: int) -> None:
        """One of each: a merge, an erasure, people to welcome."""
        address = f"kim.{uuid4().hex[:12]}@example.com"
        into, other, gone = (
            self._made("/contacts", first_name=name, last_name=f"Killed {number}")
            for name in ("Stays", "Goes", "Erased")
        )
        deal = self._made("/opportunities", name="Of both", contact_id=other)
        self._made("/opportunities", name=f"For Erased Killed {number}", contact_id=gone)
        begun = self._sent(f"/flows/{self.lasting}/runs", {"records": [other, gone]})["begun"]
        emails = [{"address": address}]
        self.welcomed[self._made("/contacts", last_name=f"Met {number}", emails=emails)] = address
        self._merge(into, other)
        self._sent(f"/contacts/{gone}/erase", {"reason": "asked"})
        self.moved.append((deal, begun[other], into))

    def _made(self, path: str, **fields: Any) -> str:
        id: str = self._sent(path, fields)["id"]
        return id

    def _sent(self, path: str, body: dict[str, Any], **headers: str) -> dict[str, Any]:
        """The answer to something that is sent again until it is accepted, as a careful client
        does it; a stale version is answered, too."""
        key = {"Idempotency-Key": str(uuid4())}

        def send() -> dict[str, Any] | None:
            answer = self.api.post(path, json=body, headers=key | headers)
            assert answer.is_success or answer.status_code in (412, 503), answer.text
            found: dict[str, Any] = answer.json()
            return None if answer.status_code == 503 else found

        return wait_for("it is accepted", send)

    def _merge(self, into: str, other: str) -> None:
        """Merge two; flows and deals give people new versions all the time."""

        def merge() -> bool:
            seen = self.api.get(f"/contacts/{into}")
            assert seen.status_code in (200, 503), seen.text
            if seen.status_code == 503:
                return False
            stale = {"If-Match": f'"{seen.json()["version"]}"'}
            answer = self._sent(f"/contacts/{into}/merge", {"from": other}, **stale)
            return answer.get("kind") == "merge"

        wait_for("they are merged", merge)

    def requests_are_done(self) -> bool:
        left = self.system.rows(
            "contacts",
            "SELECT 1 FROM privacy_requests WHERE tenant_id = %s AND state <> 'done'",
            (str(self.tenant.id),),
        )
        return not left

    def welcomes_are_over(self) -> bool:
        left = self.system.rows(
            "contacts",
            "SELECT 1 FROM flow_runs AS r JOIN flows AS f ON f.id = r.flow_id"
            " WHERE r.tenant_id = %s AND f.key = 'welcome' AND r.ended_at IS NULL",
            (str(self.tenant.id),),
        )
        ended = self.system.rows(
            "contacts",
            "SELECT DISTINCT record_id::text AS id FROM flow_runs WHERE tenant_id = %s",
            (str(self.tenant.id),),
        )
        return not left and self.welcomed.keys() <= {row["id"] for row in ended}


@pytest.mark.timeout(300 + 20 * KILLS)
def test_whatever_is_killed_all_that_was_begun_is_done_once(
    system: System, mail: MailServer
) -> None:
    tenant = system.tenant("Killed")
    wait_for("every module has said so", lambda: _holding(system, tenant) == set(HOLDERS))
    play, chance = Play(system, tenant), random.Random(20)

    def kill_processes() -> None:
        for victim in VICTIMS:
            system.kill(victim)
        for victim in VICTIMS:
            system.start_service(victim, wait=False)

    def kill_broker() -> None:
        system.rabbitmq.kill()
        system.rabbitmq.start()

    acts = kills([kill_processes], [lambda: kill_database(system.postgres), kill_broker])
    for number, act in enumerate(acts):
        play.go_on(number)
        time.sleep(chance.random() * 0.3)
        act()
        system.wait_until_whole()

    wait_for("all requests are done", play.requests_are_done, seconds=120)
    wait_for("all welcomes are over", play.welcomes_are_over, seconds=120)
    _merges_and_erasures_are_whole(play)
    _nobody_was_welcomed_twice(play, mail)
    for service in VICTIMS:
        parked = "SELECT type, handler, error FROM failed_events WHERE tenant_id = %s"
        assert system.rows(service, parked, (str(tenant.id),)) == []


def _merges_and_erasures_are_whole(play: Play) -> None:
    for deal, run, survivor in play.moved:
        assert play.api.see(f"/opportunities/{deal}")["contact_id"] == survivor
        found = play.api.see(f"/runs/{run}")
        assert (found["record_id"], found["state"]) == (survivor, "active")
    left = play.system.rows(
        "sales",
        "SELECT name FROM opportunities WHERE tenant_id = %s AND name LIKE 'For Erased%%'",
        (str(play.tenant.id),),
    )
    assert left == []
    live = play.system.rows(
        "contacts",
        "SELECT r.id FROM flow_runs AS r JOIN moved_ids AS m ON m.id = r.record_id"
        " WHERE r.tenant_id = %s AND m.into_id IS NULL AND r.ended_at IS NULL",
        (str(play.tenant.id),),
    )
    assert live == []


def _nobody_was_welcomed_twice(play: Play, mail: MailServer) -> None:
    rows = play.system.rows(
        "connect",
        "SELECT to_address, state FROM messages WHERE tenant_id = %s AND purpose = 'welcome'"
        " AND to_address = ANY(%s)",
        (str(play.tenant.id), list(play.welcomed.values())),
    )
    states = {row["to_address"]: row["state"] for row in rows}
    assert len(rows) == len(states) == len(play.welcomed)
    assert set(states.values()) <= {"sent", "unknown"}
    assert "sent" in states.values()
    for id, address in play.welcomed.items():
        sent = states[address] == "sent"
        person = play.api.see(f"/contacts/{id}")
        assert len(mail.to(address)) <= 1
        assert not sent or len(mail.to(address)) == 1
        # Made, met, and one of the two: each step has changed the person once.
        wanted = ("Welcomed" if sent else "Not welcomed", 3)
        assert (person["title"], person["version"]) == wanted


def _holding(system: System, tenant: Tenant) -> set[str]:
    rows = system.rows(
        "contacts",
        "SELECT module FROM holding_modules WHERE tenant_id = %s",
        (str(tenant.id),),
    )
    return {row["module"] for row in rows}

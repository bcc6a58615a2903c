"""A poison event walks the retry ladder into the parking lot, and is replayed after the fix."""

import datetime as dt
import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID, uuid4

import pika
import pytest
from tests.system import Api, System, Tenant, run, wait_for

from liaison_kit.events.outbox import slot
from liaison_kit.trust.keys import Keyring
from liaison_kit.trust.signatures import Signer

POISON = "Poisoned deal"


@pytest.fixture
def poisoned(running: System) -> Iterator[None]:
    """A constraint keeps contacts from taking the poison in, until it is taken away."""
    with running.database(running.roles("contacts").owner) as connection:
        run(
            connection,
            "ALTER TABLE occurrences ADD CONSTRAINT poison"
            f" CHECK (details ->> 'name' IS DISTINCT FROM '{POISON}') NOT VALID",
        )
    yield
    _mend(running)


def _mend(running: System) -> None:
    with running.database(running.roles("contacts").owner) as connection:
        run(connection, "ALTER TABLE occurrences DROP CONSTRAINT IF EXISTS poison")


def _parked_of(api: Api, handler: str) -> list[dict[str, Any]]:
    return api.every("/parked-events", handler=handler)


def _parked(api: Api, **about: str) -> list[dict[str, Any]]:
    return [
        event
        for event in api.every("/parked-events")
        if all(event[name] == value for name, value in about.items())
    ]


def _kinds(api: Api, company: str) -> list[str]:
    return [entry["kind"] for entry in api.every(f"/companies/{company}/timeline")]


@pytest.mark.usefixtures("poisoned")
def test_a_poison_event_is_retried_parked_and_replayed_after_the_fix(
    running: System, api: Api, new_tenant: Any
) -> None:
    company = api.make("/companies", name="Poisoned")["id"]
    sound = api.make("/companies", name="Sound")["id"]

    deal = api.make("/opportunities", name=POISON, company_id=company)
    retried = wait_for("a retry", lambda: _failed(running, deal["id"]))
    parked = wait_for("the parking lot", lambda: _parked(api, key=deal["id"]), seconds=30)

    # Others do not wait for it.
    api.make("/opportunities", name="Sound deal", company_id=sound)
    wait_for("another deal is told", lambda: "opportunity_opened" in _kinds(api, sound))
    assert retried[0]["state"] in ("retrying", "parked")
    assert len(parked) == 1
    event = parked[0]
    assert (event["type"], event["attempts"]) == ("opportunity_opened", 5)
    assert event["handler"] == "contacts.on_opportunity_opened"
    assert _parked_of(api, event["handler"]) == _parked(api, key=deal["id"])
    assert _parked_of(api, "sales.on_opportunity_opened") == []
    unqualified = api.get("/parked-events", params={"handler": "on_opportunity_opened"})
    assert unqualified.status_code == 422, unqualified.text
    assert "CheckViolation" in event["error"] or "poison" in event["error"]
    assert event["envelope"]["data"]["name"] == POISON
    assert "opportunity_opened" not in _kinds(api, company)
    # It is nobody else's to see or to replay.
    stranger = new_tenant("Stranger").api
    assert _parked(stranger) == []
    assert stranger.post(f"/parked-events/{event['id']}/replay").status_code == 404
    assert stranger.post(f"/parked-events/{event['id']}/discard").status_code == 404

    _mend(running)
    replayed = api.post(f"/parked-events/{event['id']}/replay")

    assert replayed.status_code == 200
    wait_for("its effect", lambda: "opportunity_opened" in _kinds(api, company))
    wait_for("the empty parking lot", lambda: not _parked(api, key=deal["id"]))
    assert _kinds(api, company).count("opportunity_opened") == 1
    assert api.post(f"/parked-events/{event['id']}/replay").status_code == 404


def _failed(running: System, key: str) -> list[dict[str, Any]]:
    return running.rows("contacts", "SELECT state FROM failed_events WHERE key = %s", (key,))


@pytest.mark.usefixtures("poisoned")
def test_a_replay_before_the_fix_parks_it_again_and_a_discarded_one_is_gone(
    running: System, api: Api
) -> None:
    company = api.make("/companies", name="Poisoned twice")["id"]
    deal = api.make("/opportunities", name=POISON, company_id=company)
    first = wait_for("the parking lot", lambda: _parked(api, key=deal["id"]), seconds=30)[0]

    api.post(f"/parked-events/{first['id']}/replay").raise_for_status()
    wait_for("it has left", lambda: not _parked(api, key=deal["id"]))
    again = wait_for("parked again", lambda: _parked(api, key=deal["id"]), seconds=30)[0]
    discarded = api.post(f"/parked-events/{again['id']}/discard")
    _mend(running)

    assert discarded.status_code == 200
    assert _parked(api, key=deal["id"]) == []
    later = api.make("/opportunities", name="Later", company_id=company)
    wait_for("later events are handled", lambda: "opportunity_opened" in _kinds(api, company))
    told = running.rows(
        "contacts",
        "SELECT details ->> 'opportunity_id' AS deal FROM occurrences WHERE about_id = %s",
        (company,),
    )
    assert {row["deal"] for row in told} == {later["id"]}


def test_what_can_not_be_read_is_parked_and_holds_nobody_up(
    running: System, tenant: Tenant, api: Api
) -> None:
    company = api.make("/companies", name="Unhindered")["id"]
    before = _unreadable(running)
    of_later_code = _envelope(tenant.id, version=99)
    ours = running.ground.credentials
    keys = Keyring("sales", ours.folder / "sales" / "keys.json", ours.trusted)
    bodies = [b"\xff\x00 not JSON}", json.dumps(of_later_code).encode()]
    with pika.BlockingConnection(pika.URLParameters(running.rabbitmq.url)) as broker:
        channel = broker.channel()
        for body in Signer(keys).sign("event", bodies):
            key = f"deal_won.{slot(of_later_code['key'])}"
            channel.basic_publish("sales.events", key, body)

    deal = api.make("/opportunities", name="Sound", company_id=company)
    api.act(f"/opportunities/{deal['id']}/win", deal["version"])

    wait_for("the deal is told", lambda: "deal_won" in _kinds(api, company))
    mine = wait_for(
        "the event of later code is parked", lambda: _parked(api, key=of_later_code["key"])
    )
    assert "99" in mine[0]["error"]
    wait_for("both are parked", lambda: _unreadable(running) >= before + 2)
    for event in _parked(api):
        api.post(f"/parked-events/{event['id']}/discard").raise_for_status()
    # What can't be read has no owner: it is for who operates the installation.
    for hearing in ("contacts", "sales"):
        running.rows(hearing, "DELETE FROM failed_events WHERE tenant_id IS NULL RETURNING id")


def _unreadable(running: System) -> int:
    found = running.rows(
        "contacts",
        "SELECT count(*) AS n FROM failed_events WHERE state = 'parked' AND attempt = 0",
    )
    return int(found[0]["n"])


def _envelope(tenant: UUID, version: int) -> dict[str, Any]:
    return {
        "id": str(uuid4()),
        "type": "deal_won",
        "version": version,
        "source": "sales",
        "seq": 1,
        "tenant": str(tenant),
        "occurred_at": dt.datetime.now(dt.UTC).isoformat(),
        "key": str(uuid4()),
        "correlation_id": str(uuid4()),
        "data": {},
    }

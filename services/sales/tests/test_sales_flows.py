"""Flows about opportunities: a tenant's own automation, from the deal's move to the message."""

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import pytest

from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.flows import runs
from liaison_kit.flows.runs import RunDue
from liaison_kit.ids import uuid7
from liaison_kit.testing import principal, told
from liaison_kit.timers import queue
from liaison_kit.timers.running import Runs
from liaison_kit.timers.timer import handlers_of
from liaison_sales.service import Sales
from liaison_sdk.contracts.sales import OpportunityMoved
from liaison_sdk.events import Envelope

LARGE = {
    "combinator": "and",
    "rules": [
        {"field": "amount", "operator": ">", "value": 50000},
        {"field": "stage", "operator": "=", "value": "proposal"},
    ],
}
AUTOMATION = {
    "key": "large_deals",
    "record": "opportunities",
    "start": [{"kind": "event", "event": "moved", "where": LARGE}],
    "steps": {
        "tell": {
            "kind": "notify",
            "to": "manager",
            "subject": "{{ opportunity.name }} is in {{ opportunity.stage_name }}",
            "text": "It is worth {{ opportunity.amount.amount }} {{ opportunity.amount.currency }}",
            "next": "end",
        }
    },
}


class Flowing:
    """A desk whose flows are taken on when the test says so."""

    def __init__(self, desk: Any, db: Database) -> None:
        self.desk = desk
        self.db = db
        handlers = handlers_of(Sales)
        self._runner = Runs("sales", handlers, db, self._call, lambda _: desk.who, (60.0,))

    def _call(self, method: str, session: Any, due: Sequence[RunDue]) -> None:
        getattr(self.desk.service, method)(session, due)

    def ask(self, name: str, status: int, body: Any = None, **meta: Any) -> Any:
        """What an operation answers."""
        sent = b"" if body is None else json.dumps(body).encode()
        reply = self.desk.call(name, sent, **meta)
        assert reply.status == status, reply.body
        return json.loads(reply.body) if reply.body else None

    def make(self, definition: dict[str, Any], status: int = 200) -> Any:
        """A flow that is active; or why it is not."""
        new = {"definition": definition}
        record = [["record", definition["record"]]]
        flow = self.ask("create_flow", 201, new, query=record)
        id = {"id": flow["id"]}
        return self.ask("activate_flow", status, path=id, if_match=flow["version"])

    def hear(self) -> None:
        """The moves that were told arrive, and what they start is done."""
        for type, data in told(self.db, self.desk.who.tenant):
            if type != "opportunity_moved":
                continue
            envelope = Envelope(
                id=uuid7(),
                type=type,
                version=1,
                source="sales",
                seq=1,
                tenant=self.desk.who.tenant,
                occurred_at="2026-01-01T00:00:00Z",
                key=data["opportunity_id"],
                correlation_id=uuid7(),
                data=data,
            )
            about = Context(self.desk.who.tenant, correlation_id=envelope.correlation_id)
            with self.db.writing(about) as session:
                runs.heard(session, Sales.flows, OpportunityMoved.read(envelope))
        while (claim := queue.claim(self.db, RunDue.kind)) is not None:
            self._runner.run(claim)

    def notices(self) -> list[Any]:
        """What users were told."""
        tenant = self.desk.who.tenant
        return [data for type, data in told(self.db, tenant) if type == "users_notified"]


@pytest.fixture
def flowing(desk: Any) -> Flowing:
    """A desk with flows."""
    return Flowing(desk, desk.db)


def moved(flowing: Flowing, amount: str, owner: UUID | None, stage: str = "proposal") -> Any:
    money = {"amount": amount, "currency": "EUR"}
    new = {"name": "Robots", "amount": money, "owner_id": None if owner is None else str(owner)}
    deal = flowing.ask("create_opportunity", 201, new)
    return flowing.ask(
        "move_opportunity",
        200,
        {"stage": stage},
        path={"id": deal["id"]},
        if_match=deal["version"],
    )


def test_the_manager_is_told_of_a_large_deal_in_proposal_and_of_no_other(
    flowing: Flowing,
) -> None:
    flowing.make(AUTOMATION)
    boss = flowing.desk.user("Bo Boss", email="bo@example.com")
    owner = flowing.desk.user("Ola", email="ola@example.com", manager_id=boss)

    deal = moved(flowing, "50000.01", owner)
    moved(flowing, "50000", owner)
    moved(flowing, "90000", owner, "negotiation")
    flowing.hear()

    (notice,) = flowing.notices()
    assert notice["user_ids"] == [str(boss)]
    assert notice["said"]["en"]["subject"] == "Robots is in Proposal"
    assert notice["said"]["en"]["text"] == "It is worth 50000.01 EUR"
    assert notice["about"] == {
        "record": "opportunities",
        "id": deal["id"],
        "owner_id": str(owner),
    }


def test_a_deal_that_has_been_told_of_twice_is_told_of_once(flowing: Flowing) -> None:
    flowing.make(AUTOMATION | {"again": "never"})
    boss = flowing.desk.user("Bo Boss", email="bo@example.com")
    moved(flowing, "70000", flowing.desk.user("Ola", manager_id=boss))

    flowing.hear()
    flowing.hear()

    assert len(flowing.notices()) == 1


def test_who_sees_some_owners_deals_only_lets_no_flow_run_over_all(flowing: Flowing) -> None:
    tenant = flowing.desk.who.tenant
    may = ("flows:write", "flows:read", "opportunities:read", "companies:read")
    flowing.desk.who = principal(tenant, *may, rows={"opportunities": "team"})

    refused = flowing.make(AUTOMATION, 403)

    assert refused["code"] == "sees_too_little"


def test_who_may_not_change_deals_lets_no_flow_change_them(flowing: Flowing) -> None:
    may = ("flows:write", "flows:read", "opportunities:read", "companies:read")
    flowing.desk.who = principal(flowing.desk.who.tenant, *may)
    step = {"kind": "set", "field": "probability", "value": 80, "next": "end"}

    refused = flowing.make(AUTOMATION | {"steps": {"sure": step}}, 403)

    assert "opportunities:write" in refused["detail"]


def test_who_sees_no_companies_lets_no_flow_tell_their_names(flowing: Flowing) -> None:
    may = ("flows:write", "flows:read", "opportunities:read")
    flowing.desk.who = principal(flowing.desk.who.tenant, *may)

    refused = flowing.make(AUTOMATION, 403)

    assert "companies:read" in refused["detail"]

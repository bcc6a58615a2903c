"""Stages of the relation: what they are called now and were called before, and who is told what."""

import json
from typing import Any

import pytest
from sqlalchemy import text

from liaison_contacts import companies, lifecycle
from liaison_contacts.companies import COMPANIES
from liaison_contacts.service import Contacts
from liaison_contacts.uniting import STAGES
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.plugins import Hooks
from liaison_kit.testing import at_work, call, told
from liaison_sdk.contracts.contacts import EARLIER_STAGES, LIFECYCLE_STAGES, NewCompany

Desk = Any


@pytest.fixture
def desk(contacts_db: Database, someone: Context) -> Desk:
    """What an operation answers: its status and its JSON."""
    service = at_work(Contacts, contacts_db, hooks=Hooks("contacts", 5.0))

    def ask(name: str, body: Any = None, **meta: Any) -> tuple[int, Any]:
        sent = b"" if body is None else json.dumps(body).encode()
        reply = call(service, name, someone.principal, sent, **meta)
        return reply.status, json.loads(reply.body) if reply.body else None

    return ask


def names(desk: Desk, *query: list[str]) -> list[str]:
    status, page = desk("list_contacts", query=[*query])
    assert status == 200, page
    return [person["last_name"] for person in page["items"]]


def test_every_stage_has_a_label_a_rank_and_an_earlier_name() -> None:
    assert set(LIFECYCLE_STAGES) == set(STAGES) == set(EARLIER_STAGES)
    assert {*lifecycle.EARLY, "opportunity", "customer", "churned"} == set(STAGES)


def test_a_stage_that_has_another_name_now_is_found_and_taken_by_the_old_one(desk: Desk) -> None:
    status, lee = desk("create_contact", {"last_name": "Lee", "stage": "former_customer"})
    desk("create_contact", {"last_name": "Kim", "stage": "mql"})
    rule = {"field": "stage", "operator": "=", "value": "former_customer"}
    where = json.dumps({"combinator": "and", "rules": [rule]})

    assert (status, lee["stage"]) == (201, "churned")
    assert names(desk, ["stage", "former_customer"]) == ["Lee"]
    assert names(desk, ["stage[in]", "former_customer,mql"]) == ["Kim", "Lee"]
    assert names(desk, ["where", where]) == ["Lee"]
    assert names(desk, ["stage", "churned"]) == ["Lee"]
    status, problem = desk("list_contacts", query=[["stage", "gone"]])
    assert status == 422
    assert "churned" in problem["errors"][0]["message"]


def test_the_release_before_may_go_on_writing_the_old_name(
    desk: Desk, contacts_db: Database, someone: Context
) -> None:
    _, lee = desk("create_contact", {"last_name": "Lee"})

    with contacts_db.writing(someone) as session:
        old = "UPDATE people SET stage = 'former_customer' WHERE id = :id"
        session.execute(text(old), {"id": lee["id"]})

    assert desk("get_contact", path={"id": lee["id"]})[1]["stage"] == "churned"


@pytest.mark.parametrize(
    ("after", "earlier"),
    [("mql", None), ("customer", ("lead", "customer")), ("churned", ("lead", "former_customer"))],
)
def test_a_move_is_told_as_it_is_and_to_who_knows_the_earlier_stages_as_they_were(
    desk: Desk,
    contacts_db: Database,
    someone: Context,
    after: str,
    earlier: tuple[str, str] | None,
) -> None:
    _, lee = desk("create_contact", {"last_name": "Lee"})
    path = {"id": lee["id"]}

    desk("change_contact", {"stage": after}, path=path, if_match=lee["version"])

    moves = dict(told(contacts_db, someone.tenant))
    new, old = moves["lifecycle_moved.v2"], moves.get("lifecycle_moved")
    assert (new["before"], new["after"], new["record_id"]) == ("lead", after, lee["id"])
    assert (old and (old["before"], old["after"])) == earlier


def test_a_qualified_lead_becomes_an_opportunity_and_a_churned_company_stays_one(
    contacts_db: Database, someone: Context
) -> None:
    with contacts_db.writing(someone) as session:
        made = {}
        for stage in ("visitor", "mql", "sql", "churned"):
            company = companies.create(session, NewCompany(name=stage, stage=stage))
            made[stage] = company.id
        lifecycle.opened(session, COMPANIES, set(made.values()))

    with contacts_db.reading(someone) as session:
        stages = dict(session.execute(text("SELECT name, stage FROM companies")).all())
    assert stages == {
        "visitor": "opportunity",
        "mql": "opportunity",
        "sql": "opportunity",
        "churned": "churned",
    }

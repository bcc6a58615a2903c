"""Deals let go of a company or a person that is deleted, until it is back."""

import json
from typing import Any
from uuid import UUID

import pytest

from liaison_kit.calls.wire import Reply
from liaison_kit.ids import uuid7
from liaison_kit.testing import about, call, principal, statements, told
from liaison_sales.accounts import ACCOUNTS
from liaison_sales.service import Sales
from liaison_sdk.contracts.contacts import (
    CompaniesSaved,
    CompanyRef,
    CompanyRemoved,
    CompanyRestored,
    PersonRemoved,
    PersonRestored,
)
from liaison_sdk.contracts.privacy import RecordsMerged

Desk = Any


def made(desk: Desk, **fields: Any) -> dict[str, Any]:
    reply = desk.call("create_opportunity", json.dumps({"name": "Chairs"} | fields).encode())
    assert reply.status == 201, reply.body
    found: dict[str, Any] = json.loads(reply.body)
    return found


def with_person(desk: Desk, person: UUID, **fields: Any) -> dict[str, Any]:
    """A deal with somebody whom contacts knows."""
    desk.service.ask = lambda *_: json.dumps({"ids": [str(person)]}).encode()
    return made(desk, contact_id=str(person), **fields)


def seen(desk: Desk, deal: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(desk.call("get_opportunity", path={"id": deal["id"]}).body)
    return found


def history(desk: Desk, deal: dict[str, Any]) -> list[Any]:
    query = [["record", "opportunities"], ["id", deal["id"]]]
    items = json.loads(desk.call("list_history", query=query).body)["items"]
    return [(item["action"], item["changes"]) for item in items]


def hear(desk: Desk, event: Any) -> None:
    record = "contacts" if isinstance(event, PersonRemoved | PersonRestored) else "companies"
    with desk.db.writing(desk.context()) as session:
        if isinstance(event, CompaniesSaved):
            ACCOUNTS.keep(session, event)
        else:
            getattr(Sales, f"on_{record}_gone_or_back")(desk.service, session, event)


def company_gone(id: UUID, version: int = 2) -> CompanyRemoved:
    return CompanyRemoved(company_id=id, record_version=version, because="deleted")


def company_back(id: UUID, version: int = 3) -> CompanyRestored:
    return CompanyRestored(company_id=id, record_version=version)


def test_an_open_deal_lets_go_of_both_and_says_so_and_has_them_again(desk: Desk) -> None:
    acme, anna = desk.company("Acme"), uuid7()
    deal = with_person(desk, anna, company_id=str(acme))

    hear(desk, company_gone(acme))
    hear(desk, PersonRemoved(person_id=anna, record_version=2, because="deleted"))

    alone = seen(desk, deal)
    gone = [alone[name] for name in ("company_id", "company_name", "contact_id", "version")]
    assert gone == [None, None, None, 3]
    assert history(desk, deal) == [
        ("unlinked", {"contact_id": [str(anna), None]}),
        ("unlinked", {"company_id": [str(acme), None]}),
    ]
    assert told(desk.db, desk.who.tenant)[-1][0] == "opportunities_saved"

    hear(desk, company_back(acme))
    ref = CompanyRef(id=acme, name="Acme", external_id=None, owner_id=None, version=3)
    hear(desk, CompaniesSaved(companies=[ref]))
    hear(desk, PersonRestored(person_id=anna, record_version=3))

    back = seen(desk, deal)
    differ = {name for name in deal if back[name] != deal[name]}
    assert differ == {"version", "updated_at"}
    assert history(desk, deal)[0] == ("linked_again", {"contact_id": [None, str(anna)]})


def test_a_deal_whose_company_is_gone_is_won_without_one(desk: Desk) -> None:
    acme = desk.company("Acme")
    deal = made(desk, company_id=str(acme))
    hear(desk, company_gone(acme))

    reply: Reply = desk.call("win_opportunity", b"{}", 2, path={"id": deal["id"]})

    assert reply.status == 200
    won = dict(told(desk.db, desk.who.tenant))["deal_won"]
    assert (won["company_id"], json.loads(reply.body)["company_id"]) == (None, None)
    hear(desk, company_back(acme))
    assert seen(desk, deal)["company_id"] == str(acme)


@pytest.mark.parametrize("first", ["merge", "removal"])
def test_a_company_that_was_merged_is_not_let_go_of_whichever_news_comes_first(
    desk: Desk, first: str
) -> None:
    old, new = desk.company("Old"), desk.company("New")
    deal = made(desk, company_id=str(old))
    merge = RecordsMerged(
        tenant_id=desk.who.tenant,
        request_id=uuid7(),
        record="companies",
        from_id=old,
        into_id=new,
    )
    removal = CompanyRemoved(company_id=old, record_version=2, because="merged")

    for news in ("merge", "removal") if first == "merge" else ("removal", "merge"):
        if news == "removal":
            hear(desk, removal)
        else:
            with desk.db.writing(desk.context()) as session:
                desk.service.merged(session, merge)

    assert seen(desk, deal)["company_id"] == str(new)


def test_a_survivor_that_is_deleted_before_its_merge_was_heard_of_is_let_go_of(
    desk: Desk,
) -> None:
    old, new = desk.company("Old"), desk.company("New")
    deal = made(desk, company_id=str(old))
    merge = RecordsMerged(
        tenant_id=desk.who.tenant,
        request_id=uuid7(),
        record="companies",
        from_id=old,
        into_id=new,
    )

    hear(desk, company_gone(new))
    with desk.db.writing(desk.context()) as session:
        desk.service.merged(session, merge)

    assert seen(desk, deal)["company_id"] is None
    hear(desk, company_back(new))
    assert seen(desk, deal)["company_id"] == str(new)


def test_a_deal_in_the_trash_comes_out_of_it_with_what_is_there(desk: Desk) -> None:
    acme, bolt = desk.company("Acme"), desk.company("Bolt")
    early, late = made(desk, company_id=str(acme)), made(desk, company_id=str(bolt))
    hear(desk, company_gone(acme))
    for deal, version in ((early, 2), (late, 1)):
        desk.call("delete_opportunity", b"", version, path={"id": deal["id"]})
    hear(desk, company_back(acme))
    hear(desk, company_gone(bolt))

    for deal in (early, late):
        assert desk.call("restore_opportunity", path={"id": deal["id"]}).status == 200

    assert [seen(desk, deal)["company_id"] for deal in (early, late)] == [str(acme), None]
    hear(desk, company_back(bolt))
    assert seen(desk, late)["company_id"] == str(bolt)


def test_many_deals_let_go_in_as_many_statements_as_one(desk: Desk) -> None:
    companies = [desk.company("Acme"), desk.company("Bolt")]
    for company in (companies[0], *companies[1:] * 15):
        made(desk, company_id=str(company))
    runs = []

    for company in companies:
        with statements(desk.db) as seen:
            hear(desk, company_gone(company))
        runs.append(len(seen))

    assert runs[0] == runs[1] <= 8


def test_a_product_in_deals_stays_and_the_answer_says_in_how_many(desk: Desk) -> None:
    reply = desk.call("create_product", b'{"name": "Chair"}')
    product = json.loads(reply.body)
    for _ in range(2):
        made(desk, product_id=product["id"])
    rep = principal(desk.who.tenant, rows={"opportunities": "own"})

    answers = [
        json.loads(
            call(desk.service, "delete_product", who, path={"id": product["id"]}, if_match=1).body
        )
        for who in (desk.who, about(rep).principal)
    ]

    assert [(a["status"], a["code"], a["detail"], a["in_the_way"]) for a in answers] == [
        (
            409,
            "in_use",
            "2 opportunities point at it; set it inactive instead",
            [{"record": "opportunities", "count": 2, "hidden": False}],
        ),
        (
            409,
            "in_use",
            "Records that you may not see point at it; set it inactive instead",
            [],
        ),
    ]

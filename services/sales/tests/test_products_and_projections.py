"""The catalogue, and what sales remembers of users and companies from their events."""

import json
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from liaison_kit.calls.outside import Known, doing, knows
from liaison_kit.ids import uuid7
from liaison_kit.imports.references import SEVERAL
from liaison_sales.accounts import ACCOUNTS
from liaison_sales.reps import REPS
from liaison_sdk.contracts.contacts import CompanyRef, CompanyRemoved
from liaison_sdk.contracts.identity import UserRef, UserRemoved


def call(desk: Any, name: str, body: Any = None, if_match: int | None = None, **meta: Any) -> Any:
    sent = b"" if body is None else json.dumps(body).encode()
    reply = desk.call(name, sent, if_match, **meta)
    return reply.status, json.loads(reply.body) if reply.body else None


def test_a_product_is_added_found_changed_and_kept_while_it_is_sold(desk: Any) -> None:
    status, product = call(
        desk,
        "create_product",
        {
            "name": "Étagère GTX",
            "code": "GTX-1",
            "family": "GTX",
            "list_price": {"amount": "550", "currency": "EUR"},
        },
    )
    assert status == 201
    assert product["list_price"] == {"amount": "550.00", "currency": "EUR"}

    _, page = call(desk, "list_products", query=[["q", "etagere"]])
    assert [item["id"] for item in page["items"]] == [product["id"]]
    _, page = call(desk, "list_products", query=[["list_price[gt]", "550"]])
    assert page["items"] == []
    path = {"id": product["id"]}
    status, product = call(
        desk, "change_product", {"name": "Regal", "list_price": None}, 1, path=path
    )
    assert (status, product["list_price"], product["version"]) == (200, None, 2)
    _, page = call(desk, "list_products", query=[["q", "regal"]])
    assert len(page["items"]) == 1
    call(desk, "create_opportunity", {"name": "x", "product_id": product["id"]})
    assert call(desk, "delete_product", None, 2, path=path)[0] == 409
    assert call(desk, "change_product", {"name": None}, 2, path=path)[0] == 422
    assert call(desk, "change_product", {"name": "y"}, 1, path=path)[0] == 412


def _user(id: UUID, name: str, version: int, **facts: Any) -> UserRef:
    known = {"email": None, "team_id": None, "team": None, "region": None}
    more = {"manager_id": None, "manager": None, "active": True}
    return UserRef.model_validate(
        known | more | {"id": id, "name": name, "version": version} | facts
    )


def test_news_that_is_older_than_what_is_known_is_left_out(desk: Any) -> None:
    id, company = uuid7(), uuid7()

    with desk.db.writing(desk.context()) as session:
        REPS.learn(session, [_user(id, "New name", 5), _user(uuid7(), "Other", 1)])
        REPS.learn(session, [_user(id, "Old name", 4)])
        for name, version in (("Acme", 2), ("Old Acme", 1)):
            ACCOUNTS.learn(
                session,
                [
                    CompanyRef(
                        id=company, name=name, external_id="A", owner_id=None, version=version
                    )
                ],
            )
        users = REPS.resolve(session, ["new NAME", "old name"])
        companies = ACCOUNTS.resolve(session, ["ACME", "old acme", "A"])

    assert users == {"new NAME": str(id)}
    assert companies == {"ACME": str(company), "A": str(company)}


def test_who_is_gone_stays_gone_and_gets_no_deals(desk: Any) -> None:
    id = desk.user("Anna")
    company = desk.company("Acme")
    _, deal = call(
        desk, "create_opportunity", {"name": "x", "owner_id": str(id), "company_id": str(company)}
    )

    with desk.db.writing(desk.context()) as session:
        REPS.drop(session, UserRemoved(user_id=id))
        ACCOUNTS.drop(session, CompanyRemoved(company_id=company))
        REPS.learn(session, [_user(id, "Anna", 9)])
        ACCOUNTS.drop(session, CompanyRemoved(company_id=uuid7()))

    _, deal = call(desk, "get_opportunity", path={"id": deal["id"]})
    assert (deal["owner_name"], deal["company_name"]) == ("Anna", None)
    assert call(desk, "create_opportunity", {"name": "y", "owner_id": str(id)})[0] == 422
    assert call(desk, "create_opportunity", {"name": "y", "company_id": str(company)})[0] == 422


def test_people_of_one_name_are_told_apart_by_mail_or_not_at_all(desk: Any) -> None:
    one = desk.user("Jean Martin", email="jean@a.example")
    desk.user("Jean Martin", email="jean@b.example")
    alone = desk.user("Léa Roy")
    desk.user("Lea Roy", active=False)

    with desk.db.writing(desk.context()) as session:
        found = REPS.resolve(session, ["Jean Martin", "JEAN@a.example", "lea roy"])

    assert found == {
        "Jean Martin": SEVERAL,
        "JEAN@a.example": str(one),
        "lea roy": str(alone),
    }


def test_names_that_no_event_has_told_yet_are_asked_of_their_owner(desk: Any) -> None:
    known = desk.company("Acme")
    fresh = uuid7()
    asked: list[tuple[str, str, Any]] = []

    def ask(service: str, operation: str, body: bytes, *_rest: Any) -> bytes:
        asked.append((service, operation, json.loads(body)))
        return json.dumps({"found": {"Fresh & Co": str(fresh)}}).encode()

    def resolved(known: Known) -> Mapping[str, str]:
        with desk.db.writing(desk.context()) as session:
            knows(session, known)
            return ACCOUNTS.resolve(session, ["Acme", "Fresh & Co", "Nobody"])

    found = doing(ask, desk.context(), resolved)

    assert found == {"Acme": str(known), "Fresh & Co": str(fresh)}
    assert asked == [("contacts", "resolve_companies", {"names": ["Fresh & Co", "Nobody"]})]
    with desk.db.writing(desk.context()) as session:
        assert ACCOUNTS.resolve(session, ["Fresh & Co"]) == {"Fresh & Co": str(fresh)}
        assert REPS.resolve(session, ["Nobody"]) == {}

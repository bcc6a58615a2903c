"""Sales tells again what others keep of its products, and keeps what it is told of others."""

import json
from typing import Any
from uuid import UUID

from sqlalchemy import text

from liaison_kit.ids import uuid7
from liaison_kit.testing import in_hand, told
from liaison_sales.accounts import ACCOUNTS
from liaison_sales.reps import REPS
from liaison_sdk.contracts.contacts import CompanyRef, CompanyRemoved
from liaison_sdk.contracts.identity import UserRef, UserRemoved


def call(desk: Any, name: str, body: Any = None, if_match: int | None = None, **meta: Any) -> Any:
    sent = b"" if body is None else json.dumps(body).encode()
    reply = desk.call(name, sent, if_match, **meta)
    assert reply.status < 300, reply.body
    return json.loads(reply.body) if reply.body else None


def test_products_are_told_again_and_removed_ones_as_removed(desk: Any) -> None:
    kept = call(desk, "create_product", {"name": "GTX", "external_id": "P-1"})
    gone = call(desk, "create_product", {"name": "MG"})
    call(desk, "delete_product", None, 1, path={"id": gone["id"]})
    before = len(told(desk.db, desk.who.tenant))

    job = call(desk, "resend", path={"module": "sales"})["job"]
    desk.service.resend_job(in_hand(desk.db, desk.context(), job))

    known = {"id": kept["id"], "name": "GTX", "external_id": "P-1", "active": True, "version": 1}
    assert told(desk.db, desk.who.tenant)[before:] == [
        ("products_saved", {"products": [known]}),
        ("product_removed", {"product_id": gone["id"], "record_version": 2}),
    ]
    assert call(desk, "get_product", path={"id": kept["id"]}) == kept


# --- what sales keeps of companies and users -----------------------------------------------------


def company(id: UUID, name: str, version: int) -> CompanyRef:
    return CompanyRef(id=id, name=name, external_id=None, owner_id=None, version=version)


def user(id: UUID, name: str, version: int) -> UserRef:
    unknown = {"team_id": None, "team": None, "region": None, "manager_id": None, "manager": None}
    return UserRef.model_validate(
        unknown | {"id": id, "name": name, "email": None, "active": True, "version": version}
    )


def rows(desk: Any, table: str) -> list[Any]:
    """The rows of a tenant, with where they lie: a row that was written anew lies elsewhere."""
    with desk.db.reading(desk.context()) as session:
        return list(session.execute(text(f"SELECT ctid::text, t.* FROM {table} t ORDER BY id")))


def test_what_is_told_again_is_not_even_written(desk: Any) -> None:
    acme, anna, sold, gone = (uuid7() for _ in range(4))
    with desk.db.writing(desk.context()) as session:
        ACCOUNTS.learn(session, [company(acme, "Acme", 3)])
        REPS.learn(session, [user(anna, "Anna", 3)])
        ACCOUNTS.drop(session, CompanyRemoved(company_id=sold))
        REPS.drop(session, UserRemoved(user_id=gone))
    before = rows(desk, "accounts"), rows(desk, "reps")

    with desk.db.writing(desk.context()) as session:
        ACCOUNTS.learn(session, [company(acme, "Acme of 3", 3), company(sold, "Sold", 7)])
        ACCOUNTS.learn(session, [company(acme, "Acme of 2", 2)])
        REPS.learn(session, [user(anna, "Anna of 3", 3), user(gone, "Gone", 7)])
        REPS.learn(session, [user(anna, "Anna of 2", 2)])
        ACCOUNTS.drop(session, CompanyRemoved(company_id=sold))
        REPS.drop(session, UserRemoved(user_id=gone))

    assert (rows(desk, "accounts"), rows(desk, "reps")) == before
    assert told(desk.db, desk.who.tenant) == []


def test_what_is_restored_is_known_again_however_the_news_come(desk: Any) -> None:
    acme = uuid7()
    gone = CompanyRemoved(company_id=acme, record_version=4)
    for news in ("saved late", "saved last"):
        with desk.db.writing(desk.context()) as session:
            ACCOUNTS.drop(session, gone)
            ACCOUNTS.learn(session, [company(acme, "Acme", 3 if news == "saved late" else 5)])
            ACCOUNTS.drop(session, gone)
            found = ACCOUNTS.resolve(session, ["Acme"])
        assert found == ({} if news == "saved late" else {"Acme": str(acme)}), news


def test_who_is_only_known_to_be_gone_has_no_name(desk: Any) -> None:
    anna = desk.user("Anna")
    deal = call(desk, "create_opportunity", {"name": "x", "owner_id": str(anna)})
    with desk.db.writing(desk.context()) as session:
        session.execute(text("DELETE FROM reps"))

    with desk.db.writing(desk.context()) as session:
        REPS.drop(session, UserRemoved(user_id=anna))

    assert call(desk, "get_opportunity", path={"id": deal["id"]})["owner_name"] is None
    summary = call(desk, "summarise", query=[["by", "rep"]])
    assert [(row["key"], row["label"]) for row in summary["rows"]] == [(str(anna), None)]

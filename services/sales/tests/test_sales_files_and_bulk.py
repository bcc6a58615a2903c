"""Opportunities and products as files that come back as they were, and changed many at once."""

import json
from pathlib import Path
from typing import Any

import pytest

from liaison_kit import testing


def sent(desk: Any, name: str, body: Any, **meta: Any) -> Any:
    reply = desk.call(name, json.dumps(body).encode(), **meta)
    assert reply.status < 300, reply.body
    return json.loads(reply.body)


def ended(desk: Any, job: str) -> None:
    testing.ended(desk.service, desk.context(), job)


def brought(desk: Any, record: str, path: Path) -> dict[str, int]:
    return testing.brought(desk.service, desk.context(), record, path)


@pytest.mark.parametrize("format", ["csv", "xlsx"])
@pytest.mark.parametrize("record", ["products", "opportunities"])
def test_what_is_exported_and_imported_again_is_unchanged(
    desk: Any, tmp_path: Path, record: str, format: str
) -> None:
    price = {"amount": "1234.50", "currency": "USD"}
    product = sent(desk, "create_product", {"name": "=Robot", "code": "-1", "list_price": price})
    ann = str(desk.user("Ann", "West"))
    company = str(desk.company("Acme"))
    desk.company("Acme")
    linked = {"product_id": product["id"], "owner_id": ann, "company_id": company}
    sent(desk, "create_opportunity", {"name": "+1 deal", "amount": price} | linked)
    sent(desk, "create_opportunity", {"name": "Won", "stage": "won", "probability": 30})
    sent(desk, "create_opportunity", {"name": "Bare"})
    before = desk.call(f"list_{record}", query=[["sort", "id"]]).body

    job = sent(desk, f"export_{record}", {"format": format})["job"]
    ended(desk, job)
    path = tmp_path / f"file.{format}"
    path.write_bytes(testing.exported(desk.service, desk.context(), job))
    counts = brought(desk, record, path)

    assert counts == {"unchanged": 3 if record == "opportunities" else 1}
    assert desk.call(f"list_{record}", query=[["sort", "id"]]).body == before


def test_the_currency_of_an_amount_may_have_a_column_of_its_own(desk: Any, tmp_path: Path) -> None:
    path = tmp_path / "prices.csv"
    path.write_text("name,list price,list price currency\nA,5,usd\nB,6,\nC,,GBP\nD,7,pounds\n")

    counts = brought(desk, "products", path)

    assert counts == {"created": 3, "failed": 1}
    items = json.loads(desk.call("list_products", query=[["sort", "name"]]).body)["items"]
    assert [item["list_price"] for item in items] == [
        {"amount": "5.00", "currency": "USD"},
        {"amount": "6.00", "currency": "EUR"},
        None,
    ]


def test_many_deals_are_moved_by_their_rules_and_moved_back(desk: Any) -> None:
    deals = [sent(desk, "create_opportunity", {"name": f"Deal {n}"}) for n in range(3)]
    closed = sent(desk, "create_opportunity", {"name": "Closed", "stage": "lost"})
    ids = [deal["id"] for deal in (*deals, closed)]

    job = sent(desk, "change_many_opportunities", {"ids": ids, "change": {"stage": "proposal"}})
    ended(desk, job["job"])

    report = json.loads(desk.call("get_bulk", path={"id": job["job"]}).body)
    assert (report["changed"], report["skipped"]) == (3, 1)
    assert [(item["id"], item["code"]) for item in report["items"]] == [(closed["id"], "conflict")]
    undo = sent(desk, "undo_bulk", None, path={"id": job["job"]})
    ended(desk, undo["job"])
    report = json.loads(desk.call("get_bulk", path={"id": job["job"]}).body)
    assert (report["undone"], report["kept"]) == (3, 0)
    stages = ["stage", "engaged_on", "status"]
    now = [json.loads(desk.call("get_opportunity", path={"id": id}).body) for id in ids[:3]]
    assert [[deal[n] for n in stages] for deal in now] == [[d[n] for n in stages] for d in deals]


def test_deals_that_were_won_together_are_not_opened_again_by_an_undo(desk: Any) -> None:
    deal = sent(desk, "create_opportunity", {"name": "Deal"})
    body = {"filters": {"status": "open"}, "change": {"stage": "won"}}
    job = sent(desk, "change_many_opportunities", body)
    ended(desk, job["job"])

    ended(desk, sent(desk, "undo_bulk", None, path={"id": job["job"]})["job"])

    report = json.loads(desk.call("get_bulk", path={"id": job["job"]}).body)
    (item,) = report["items"]
    assert (report["undone"], item["undo_code"]) == (0, "conflict")
    assert "reopen" in item["undo_message"]
    assert json.loads(desk.call("get_opportunity", path={"id": deal["id"]}).body)["status"] == "won"


def test_products_that_deals_are_about_are_not_deleted_with_the_others(desk: Any) -> None:
    used, free = (sent(desk, "create_product", {"name": name}) for name in ("Used", "Free"))
    sent(desk, "create_opportunity", {"name": "Deal", "product_id": used["id"]})

    job = sent(desk, "change_many_products", {"filters": {}, "delete": True})
    ended(desk, job["job"])

    report = json.loads(desk.call("get_bulk", path={"id": job["job"]}).body)
    assert [(item["id"], item["code"]) for item in report["items"]] == [(used["id"], "in_use")]
    ended(desk, sent(desk, "undo_bulk", None, path={"id": job["job"]})["job"])
    back = json.loads(desk.call("get_product", path={"id": free["id"]}).body)
    assert (back["name"], back["version"]) == ("Free", 3)


def test_many_deals_are_given_to_somebody(desk: Any) -> None:
    deals = [sent(desk, "create_opportunity", {"name": f"Deal {n}"}) for n in range(2)]
    bob = str(desk.user("Bob"))

    job = sent(desk, "change_many_opportunities", {"filters": {}, "owner_id": bob})
    ended(desk, job["job"])

    owners = [json.loads(desk.call("get_opportunity", path={"id": d["id"]}).body) for d in deals]
    assert [deal["owner_name"] for deal in owners] == ["Bob", "Bob"]

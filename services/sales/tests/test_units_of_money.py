"""Deals and prices are in whole units of their currency: yen, cents, fils."""

import json
from collections import defaultdict
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from liaison_kit.testing import brought, principal, told
from liaison_sdk.money import rounded

FEW = settings(
    max_examples=10, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
CURRENCIES = ("JPY", "EUR", "KWD", "CLF")


def sent(desk: Any, operation: str, status: int = 201, **body: Any) -> Any:
    reply = desk.call(operation, json.dumps({"name": "Robot"} | body).encode())
    assert reply.status == status, reply.body
    return json.loads(reply.body)


def worth(amount: str, currency: str) -> dict[str, str]:
    return {"amount": amount, "currency": currency}


def read(desk: Any, operation: str, **more: Any) -> Any:
    reply = desk.call(operation, **more)
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


@pytest.mark.parametrize(
    ("operation", "name"), [("create_opportunity", "amount"), ("create_product", "list_price")]
)
def test_an_amount_has_the_decimals_of_its_currency(desk: Any, operation: str, name: str) -> None:
    for given_as, currency, shown in (
        ("100", "JPY", "100"),
        ("100.00", "JPY", "100"),
        ("1.234", "KWD", "1.234"),
        ("12.5", "EUR", "12.50"),
        ("0.0001", "CLF", "0.0001"),
    ):
        made = sent(desk, operation, **{name: worth(given_as, currency)})
        assert made[name] == worth(shown, currency)
        again = read(desk, operation.replace("create", "get"), path={"id": made["id"]})
        assert again[name] == made[name]


@pytest.mark.parametrize(
    ("operation", "name"), [("create_opportunity", "amount"), ("create_product", "list_price")]
)
@pytest.mark.parametrize(("amount", "currency"), [("100.50", "JPY"), ("1.2345", "KWD")])
def test_one_that_has_more_is_refused(
    desk: Any, operation: str, name: str, amount: str, currency: str
) -> None:
    refused = sent(desk, operation, 422, **{name: worth(amount, currency)})

    (error,) = refused["errors"]
    assert (error["path"], error["code"]) == (f"{name}.amount", "minor_units")
    assert currency in error["message"]


@FEW
@given(
    st.lists(st.tuples(st.decimals(0, 10**9, places=4), st.sampled_from(CURRENCIES)), max_size=6)
)
def test_boards_and_summaries_add_up_each_currency_to_the_last_unit(
    desk: Any, amounts: list[tuple[Decimal, str]]
) -> None:
    desk = type(desk)(desk.db, principal())
    sums: dict[str, Decimal] = defaultdict(Decimal)
    for amount, currency in amounts:
        whole = rounded(amount, currency)
        sent(desk, "create_opportunity", amount=worth(str(whole), currency), probability=10)
        sums[currency] += whole

    board = read(desk, "show_opportunities_board", query=[["by", "stage_id"]])
    total = read(desk, "summarise", query=[["by", "currency"]])["total"]

    expected = [worth(str(sums[currency]), currency) for currency in sorted(sums)]
    assert board["columns"][0]["sums"] == expected
    assert total["open_amounts"] == expected
    assert total["weighted"] == [
        worth(str(rounded(sums[currency] / 10, currency)), currency) for currency in sorted(sums)
    ]


def test_a_file_has_each_amount_in_its_own_currency(desk: Any, tmp_path: Path) -> None:
    file = tmp_path / "products.csv"
    file.write_text(
        "name,list price,list price currency\n"
        "Yen,100,JPY\nHalf a yen,100.50,JPY\nFils,1.234,KWD\nCents,1.234,EUR\nEuro,5,\n"
    )

    counts = brought(desk.service, desk.context(), "products", file)

    assert (counts["created"], counts["failed"]) == (3, 2)
    items = read(desk, "list_products", query=[["sort", "name"]])["items"]
    assert [(each["name"], each["list_price"]) for each in items] == [
        ("Euro", worth("5.00", "EUR")),
        ("Fils", worth("1.234", "KWD")),
        ("Yen", worth("100", "JPY")),
    ]


def test_what_an_earlier_release_took_is_shown_and_told_as_it_is(desk: Any) -> None:
    deal = sent(desk, "create_opportunity", amount=worth("100", "JPY"))
    with desk.db.writing(desk.context()) as session:
        session.execute(text("UPDATE opportunities SET amount_amount = 100.50"))

    won = desk.call("win_opportunity", b"{}", path={"id": deal["id"]}, if_match=deal["version"])

    assert won.status == 200, won.body
    assert json.loads(won.body)["amount"] == worth("100.5", "JPY")
    events = dict(told(desk.db, desk.who.tenant))
    assert Decimal(events["deal_won"]["amount"]["amount"]) == Decimal("100.5")

"""Amounts have the decimals of their currency, in the row, in sums and in what is refused."""

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from liaison_sdk.types import Money, minor_units, rounded

CURRENCIES = ("EUR", "JPY", "KWD", "CLF", "XOF", "TND", "HUF")


def test_units_are_those_of_the_standard() -> None:
    assert {code: minor_units(code) for code in CURRENCIES} == {
        "EUR": 2,
        "JPY": 0,
        "KWD": 3,
        "CLF": 4,
        "XOF": 0,
        "TND": 3,
        "HUF": 2,
    }


@given(
    units=st.integers(min_value=0, max_value=10**16 - 1),
    currency=st.sampled_from(CURRENCIES),
    zeros=st.integers(0, 2),
)
def test_whole_minor_units_are_taken_and_told_alike(units: int, currency: str, zeros: int) -> None:
    decimals = minor_units(currency)
    amount = Decimal(units).scaleb(-decimals)
    written = f"{amount:f}" if decimals + zeros > 4 else f"{amount:.{decimals + zeros}f}"

    money = Money.model_validate({"amount": written, "currency": currency})

    assert money.model_dump(mode="json") == {"amount": f"{amount:f}", "currency": currency}
    assert rounded(money.amount, currency) == money.amount


@pytest.mark.parametrize(
    ("amount", "currency", "said"),
    [
        ("100.50", "JPY", "no decimals"),
        ("1.2345", "KWD", "at most 3 decimals"),
        ("1.234", "EUR", "at most 2 decimals"),
        ("0.001", "XOF", "no decimals"),
    ],
)
def test_less_than_a_minor_unit_is_refused_by_name(
    desk: Any, amount: str, currency: str, said: str
) -> None:
    body = {"name": "x", "amount": {"amount": amount, "currency": currency}}
    reply = desk.call("create_opportunity", json.dumps(body).encode())

    (error,) = json.loads(reply.body)["errors"]
    assert (reply.status, error["path"], error["code"]) == (422, "amount.amount", "minor_units")
    assert said in error["message"]
    with pytest.raises(ValidationError):
        Money.model_validate(body["amount"])


def test_rows_and_sums_have_the_decimals_of_their_currency(desk: Any) -> None:
    for amount, currency in (("1.2", "KWD"), ("0.034", "KWD"), ("100", "JPY"), ("5.00", "JPY")):
        body = {"name": "x", "amount": {"amount": amount, "currency": currency}}
        assert desk.call("create_opportunity", json.dumps(body).encode()).status == 201
    product = {"name": "p", "list_price": {"amount": "3.5", "currency": "KWD"}}
    sold = json.loads(desk.call("create_product", json.dumps(product).encode()).body)

    listed = json.loads(desk.call("list_opportunities", query=[["sort", "-amount"]]).body)["items"]
    summary = json.loads(desk.call("summarise").body)
    board = json.loads(desk.call("show_opportunities_board", query=[["by", "stage_id"]]).body)

    assert [item["amount"]["amount"] for item in listed] == ["100", "5", "1.200", "0.034"]
    sums = [
        {"amount": "105", "currency": "JPY"},
        {"amount": "1.234", "currency": "KWD"},
    ]
    assert summary["total"]["amounts"] == sums
    assert board["columns"][0]["sums"] == sums
    assert sold["list_price"] == {"amount": "3.500", "currency": "KWD"}

"""Amounts have the decimals of their currency, in what is sent, kept, read and told."""

from collections.abc import Iterator
from decimal import ROUND_HALF_UP, Decimal
from typing import Any

import iso4217
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter, ValidationError
from sqlalchemy import Numeric, Text, cast, create_engine, literal, make_url, select
from sqlalchemy.engine import Connection

from liaison_kit.records.recordtype import money
from liaison_sdk.events import Event
from liaison_sdk.money import AS_TOLD, Money, minor_units, rounded

CURRENCIES = st.sampled_from(sorted(c.code for c in iso4217.Currency if c.exponent is not None))
FINEST = st.decimals(0, 10**15, places=4)


def sent(amount: Decimal | str, currency: str) -> Money:
    return TypeAdapter(Money).validate_json(
        f'{{"amount": "{amount}", "currency": "{currency}"}}', strict=True
    )


@pytest.mark.parametrize(
    ("amount", "currency", "shown"),
    [
        ("12.5", "EUR", "12.50"),
        ("100", "JPY", "100"),
        ("100.00", "JPY", "100"),
        ("1.234", "KWD", "1.234"),
        ("1.2", "KWD", "1.200"),
        ("0.0001", "CLF", "0.0001"),
        ("7", "LBP", "7.00"),
    ],
)
def test_an_amount_shows_the_decimals_that_its_currency_has(
    amount: str, currency: str, shown: str
) -> None:
    assert sent(amount, currency).model_dump(mode="json") == {
        "amount": shown,
        "currency": currency,
    }


@pytest.mark.parametrize(
    ("amount", "currency", "said"),
    [
        ("100.50", "JPY", "An amount in JPY has no decimals"),
        ("1.234", "EUR", "An amount in EUR has at most 2 decimals"),
        ("1.2345", "KWD", "An amount in KWD has at most 3 decimals"),
    ],
)
def test_what_is_finer_than_the_currency_is_refused_by_its_path(
    amount: str, currency: str, said: str
) -> None:
    with pytest.raises(ValidationError) as caught:
        sent(amount, currency)

    (error,) = caught.value.errors()
    assert (error["loc"], error["type"], error["msg"]) == (("amount",), "minor_units", said)


@given(FINEST, CURRENCIES)
def test_an_amount_is_taken_as_it_is_or_not_at_all(amount: Decimal, currency: str) -> None:
    whole = amount == rounded(amount, currency)
    try:
        taken = sent(amount, currency)
    except ValidationError:
        assert not whole
        return
    assert whole
    assert taken.amount == amount
    assert -int(taken.amount.as_tuple().exponent) == minor_units(currency)
    assert sent(taken.model_dump()["amount"], currency) == taken


@given(FINEST, CURRENCIES)
def test_what_is_computed_is_at_most_half_a_unit_off_and_half_goes_up(
    amount: Decimal, currency: str
) -> None:
    unit = Decimal(1).scaleb(-minor_units(currency))
    off = rounded(amount, currency) - amount

    assert abs(off) <= unit / 2
    assert off != -unit / 2
    assert rounded(amount, currency) == (amount / unit).quantize(1, ROUND_HALF_UP) * unit


class Sold(Event):
    source = "tests"
    type = "sold"

    amount: Money


@given(FINEST, CURRENCIES)
def test_what_was_told_is_read_whatever_it_says(amount: Decimal, currency: str) -> None:
    told = Sold.model_validate(
        {"amount": {"amount": str(amount), "currency": currency}}, context=AS_TOLD
    )

    assert told.amount.amount == amount
    assert told.amount == Money.held(amount, currency)


@pytest.fixture(scope="module")
def connection(postgres: str) -> Iterator[Connection]:
    engine = create_engine(make_url(postgres).set(drivername="postgresql+psycopg2"))
    with engine.connect() as opened:
        yield opened
    engine.dispose()


def read(connection: Connection, amount: str, currency: str) -> Any:
    kept: Any = select(
        cast(literal(amount), Numeric).label("a"), cast(literal(currency), Text).label("c")
    ).subquery()
    return connection.scalar(select(money(kept.c.a, kept.c.c)))


def test_the_database_shows_it_as_python_does_however_it_was_kept(connection: Connection) -> None:
    for currency in sorted(c.code for c in iso4217.Currency if c.exponent is not None):
        for kept in ("12", "12.00", "12.0000"):
            shown = {"amount": str(rounded(Decimal(kept), currency)), "currency": currency}
            assert read(connection, kept, currency) == shown


def test_what_an_earlier_release_let_be_finer_is_shown_whole(connection: Connection) -> None:
    assert read(connection, "100.50", "JPY")["amount"] == "100.5"

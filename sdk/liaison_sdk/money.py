"""Money: an amount and its currency, with as many decimals as that currency has (ISO 4217).

A yen has no cents and a Kuwaiti dinar has a thousand fils: `{"amount": "100", "currency": "JPY"}`,
`{"amount": "1.234", "currency": "KWD"}`. What is finer than the currency knows is refused, never
rounded; only what is computed is, half up, once, at the end.
"""

from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import Annotated, Any, Final

import iso4217
from pydantic import (
    Field,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    field_serializer,
    field_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_extra_types.currency_code import Currency

from liaison_sdk.closed import Closed

Amount = Annotated[Decimal, Field(max_digits=20, decimal_places=4, ge=0)]
"""A non-negative amount; no currency has more than four decimals."""

USUAL: Final = 2
"""Decimals of an amount whose currency says nothing of its own."""
_DECIMALS: Final[Mapping[str, int | None]] = {each.code: each.exponent for each in iso4217.Currency}

AS_TOLD: Final[Mapping[str, Any]] = {"liaison.as_told": True}
"""The context in which a fact is read: what happened is not refused for what it says."""


_CURRENCY: Final[TypeAdapter[str]] = TypeAdapter(Currency)


@cache
def is_currency(code: str) -> bool:
    """Whether amounts may be in a currency of this code."""
    try:
        _CURRENCY.validate_python(code)
    except ValidationError:
        return False
    return True


def minor_units(currency: str) -> int:
    """How many decimals amounts of a currency have; two where the list doesn't say."""
    found = _DECIMALS.get(currency)
    return USUAL if found is None else found


@cache
def _unit(currency: str) -> Decimal:
    return Decimal(1).scaleb(-minor_units(currency))


def rounded(amount: Decimal, currency: str) -> Decimal:
    """An amount with the decimals of its currency, rounded half up where it has more."""
    return amount.quantize(_unit(currency), ROUND_HALF_UP)


def _too_fine(currency: str) -> str:
    """What is said of an amount that has more decimals than its currency."""
    decimals = minor_units(currency)
    known = {0: "no decimals", 1: "one decimal"}.get(decimals, f"at most {decimals} decimals")
    return f"An amount in {currency} has {known}"


def by_decimals() -> Mapping[int, tuple[str, ...]]:
    """The currencies that have another number of decimals than is usual, by that number."""
    found: dict[int, list[str]] = {}
    for code, decimals in sorted(_DECIMALS.items()):
        if decimals not in (None, USUAL):
            found.setdefault(decimals, []).append(code)
    return {decimals: tuple(codes) for decimals, codes in found.items()}


class Money(Closed):
    """An amount, `{"amount": "1234.50", "currency": "EUR"}`: a decimal, never a float."""

    # First, for what an amount may be depends on it.
    currency: Currency
    amount: Amount

    @field_validator("amount")
    @classmethod
    def _in_whole_units(cls, amount: Decimal, info: ValidationInfo) -> Decimal:
        if "currency" not in info.data:
            # Which it has been told already is none.
            return amount
        currency = str(info.data["currency"])
        whole = rounded(amount, currency)
        if whole == amount:
            return whole
        if info.context is not None and info.context.get("liaison.as_told"):
            return amount
        raise PydanticCustomError("minor_units", "{said}", {"said": _too_fine(currency)})

    @classmethod
    def held(cls, amount: Decimal, currency: str) -> "Money":
        """What a table holds, which earlier releases let be finer than its currency."""
        return cls.model_validate({"amount": amount, "currency": currency}, context=AS_TOLD)

    @field_serializer("amount")
    def _as_text(self, amount: Decimal) -> str:
        return f"{amount:f}"

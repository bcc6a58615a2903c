"""The values of a rule, from what a screen, a program or a file gives.

React Query Builder gives texts, and several of them as one, `"a,b"`; programs give numbers, bools
and lists. Both are taken where they can only mean one thing.
"""

import datetime as dt
import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Final
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from pydantic_extra_types.currency_code import Currency

from liaison_kit.conditions import moments
from liaison_kit.conditions.folding import folded
from liaison_kit.conditions.tree import TESTS, Amount, Value
from liaison_kit.records.recordtype import FieldInfo
from liaison_kit.records.values import ME, TEXT_LENGTH, convert
from liaison_sdk.errors import FieldError, InvalidInput
from liaison_sdk.types import in_letters

MOST_VALUES: Final = 500
MOST_DECIMALS: Final = 40

_COMMA: Final = re.compile(r"(?<!\\),")
_NO_TEXT: Final = re.compile("[\x00\ud800-\udfff]")
_CURRENCY: Final[TypeAdapter[Any]] = TypeAdapter(Currency)


def given_values(
    info: FieldInfo, operator: str, raw: Any, path: str, me: UUID | None
) -> tuple[Value, ...]:
    """What a rule's operator compares its field with; every bad value is named.

    `me` is whoever asks, if somebody does.
    """
    several = operator in ("in", "notIn", "between", "notBetween")
    each = _several(raw, path) if several else [(raw, path)]
    if operator in ("between", "notBetween") and len(each) != 2:
        raise InvalidInput.field(path, "two_values", "It is between two values")
    if len(each) > MOST_VALUES:
        raise InvalidInput.field(path, "too_many", f"At most {MOST_VALUES} values")
    errors: list[FieldError] = []
    values: list[Value] = []
    for one, at in each:
        try:
            values.append(_value(info, one, at, me))
        except InvalidInput as error:
            errors += error.errors
    if errors:
        raise InvalidInput("Some values need another look", errors)
    if TESTS[operator][0] in ("contains", "begins", "ends") and not folded(str(values[0])):
        raise InvalidInput.field(path, "missing", "Without its accents nothing is left to look for")
    if TESTS[operator][0] == "within":
        _in_order(values, path)
    return tuple(values)


def _several(raw: Any, path: str) -> list[tuple[Any, str]]:
    """One value after the other, each with its place."""
    if isinstance(raw, str):
        # The builder trims them, and writes a comma that is part of a value behind a backslash.
        texts = (part.strip().replace("\\,", ",") for part in _COMMA.split(raw))
        found = [(text, path) for text in texts if text]
    elif isinstance(raw, list):
        found = [(one, f"{path}[{number}]") for number, one in enumerate(raw)]
    else:
        found = [(raw, path)]
    if not found:
        raise InvalidInput.field(path, "missing", "Name one value at least")
    return found


def _value(info: FieldInfo, raw: Any, path: str, me: UUID | None) -> Value:
    if raw is None or raw == "":
        said = "A value is missing; null and notNull ask whether there is one"
        raise InvalidInput.field(path, "missing", said)
    if isinstance(raw, Mapping):
        if info.kind == "money":
            return _money(info, raw, path)
        if info.kind in ("date", "datetime"):
            return moments.relative(raw, path)
    if info.user and raw == ME:
        return _whoever_asks(info, path, me)
    if not _fits(info, raw):
        said = f"{info.name} is compared with a {_MEANT.get(info.kind, 'text')}"
        raise InvalidInput.field(path, f"{info.kind}_type", said)
    text = _as_text(raw, path)
    if _NO_TEXT.search(text):
        raise InvalidInput.field(path, "unusable_characters", "No text has such characters")
    match info.kind:
        case "decimal":
            return _number(info, text, path)
        case "money":
            return Amount(_number(info, text, path), None)
        case "datetime":
            return _of_our_years(_time(text, path), path)
    if info.part:
        text = in_letters(text)
    found: Value = convert(info, path, text)
    return found


def _whoever_asks(info: FieldInfo, path: str, me: UUID | None) -> str:
    if me is None:
        said = f"Nobody asks here, so {info.name} can't be {ME}; name the user"
        raise InvalidInput.field(path, "nobody_asks", said)
    return str(me)


_MEANT: Final = {"id": "id", "integer": "whole number", "decimal": "number", "money": "number"}


def _fits(info: FieldInfo, raw: Any) -> bool:
    """Whether a JSON value can be meant as one of the field's."""
    if isinstance(raw, bool):
        return info.kind == "boolean"
    if isinstance(raw, int | float | Decimal):
        return info.kind in ("integer", "decimal", "money")
    return isinstance(raw, str)


def _as_text(raw: Any, path: str) -> str:
    if isinstance(raw, bool):
        return "true" if raw else "false"
    if isinstance(raw, float) and raw.is_integer():
        raw = int(raw)
    # Python writes out no number that has more than some thousand digits.
    is_endless = isinstance(raw, int) and raw.bit_length() > 4 * TEXT_LENGTH
    if is_endless or len(str(raw)) > TEXT_LENGTH:
        raise InvalidInput.field(path, "too_long", f"At most {TEXT_LENGTH} characters a value")
    return str(raw)


def _number(info: FieldInfo, text: str, path: str) -> Decimal:
    number: Decimal = convert(info, path, text)
    exponent = number.as_tuple().exponent
    if isinstance(exponent, int) and exponent < -MOST_DECIMALS:
        raise InvalidInput.field(path, "too_long", f"At most {MOST_DECIMALS} decimals")
    return number


def _money(info: FieldInfo, raw: Mapping[str, Any], path: str) -> Amount:
    if raw.keys() != {"amount", "currency"}:
        said = 'It is an amount, or {"amount": "12.50", "currency": "EUR"} of one currency'
        raise InvalidInput.field(path, "money", said)
    amount = raw["amount"]
    if not _fits(info, amount):
        raise InvalidInput.field(f"{path}.amount", "money_type", "The amount is a number")
    text = _as_text(amount, f"{path}.amount")
    try:
        currency = str(_CURRENCY.validate_python(raw["currency"]))
    except ValidationError:
        said = "The currency is one of ISO 4217's, as EUR"
        raise InvalidInput.field(f"{path}.currency", "choice", said) from None
    return Amount(_number(info, text, f"{path}.amount"), currency)


def _time(text: str, path: str) -> dt.datetime | dt.date:
    """A day, or a moment; one without a zone is the tenant's time."""
    try:
        if len(text) <= 10:
            return dt.date.fromisoformat(text)
        moment = dt.datetime.fromisoformat(text)
        return moment if moment.tzinfo is None else moment.astimezone(dt.UTC)
    except (ValueError, OverflowError):
        said = f"{text[:80]!r} is no date and no time, as 2026-03-01 and 2026-03-01T09:30:00Z are"
        raise InvalidInput.field(path, "datetime_parsing", said) from None


def _of_our_years(value: dt.date, path: str) -> dt.date:
    if value.year not in moments.YEARS:
        first, last = moments.YEARS[0], moments.YEARS[-1]
        raise InvalidInput.field(path, "year", f"A year from {first} to {last}")
    return value


def _in_order(values: list[Value], path: str) -> None:
    """The lower one comes first, as far as that is known before somebody looks at a clock."""
    first, last = values
    if isinstance(first, Amount) and isinstance(last, Amount):
        if first.currency != last.currency:
            raise InvalidInput.field(path, "currency", "Both amounts are of one currency")
        first, last = first.amount, last.amount
    kinds = {type(first), type(last)}
    turned = False
    if kinds == {int} or kinds == {Decimal} or kinds == {dt.date}:
        turned = first > last  # type: ignore[operator]
    if turned:
        raise InvalidInput.field(path, "order", "The lower value comes first")

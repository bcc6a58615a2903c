"""The field types that every record is made of, with the limits that keep bad input out.

Limits are part of the contract: they appear in the OpenAPI document as well.
"""

import re
import unicodedata
from collections.abc import Mapping
from decimal import ROUND_HALF_UP, Decimal
from functools import cache
from typing import Annotated, Any
from zoneinfo import available_timezones

import iso4217
from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    WithJsonSchema,
    field_serializer,
    model_validator,
)
from pydantic_core import PydanticCustomError
from pydantic_extra_types.country import CountryAlpha2
from pydantic_extra_types.currency_code import Currency

from liaison_sdk.labels import Label

# PostgreSQL's text can't hold a NUL character, so no text of ours may.
WITHOUT_NUL = r"^[^\x00]*$"


def is_blank(text: str) -> bool:
    """Whether nothing of a text is seen: there are spaces, and signs without a width, at most."""
    return not any(sign.isprintable() and not sign.isspace() for sign in text)


def _something(text: str) -> str:
    if is_blank(text):
        raise PydanticCustomError("missing", "Nothing can be seen of it; write something")
    return text


Seen = AfterValidator(_something)
"""A text of which something is seen."""

Name = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, strip_whitespace=True, pattern=WITHOUT_NUL),
    Seen,
]
"""A short text that may not be empty: a name, a title."""

ShortText = Annotated[
    str, StringConstraints(max_length=200, strip_whitespace=True, pattern=WITHOUT_NUL)
]
"""A line of text, at most 200 characters."""

LongText = Annotated[str, StringConstraints(max_length=20_000, pattern=WITHOUT_NUL)]
"""Paragraphs: a note, a description; at most 20,000 characters."""

Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
"""A stable lower-case identifier: a stage, a field name."""

ExternalId = Annotated[
    str,
    StringConstraints(min_length=1, max_length=200, strip_whitespace=True, pattern=WITHOUT_NUL),
    Seen,
]
"""What another system calls the record; unique per tenant and kind of record."""

Amount = Annotated[Decimal, Field(max_digits=20, decimal_places=4, ge=0)]
"""A non-negative amount; no currency has more than four decimals."""


_ATOM = r"[^\s@\"(),:;<>\[\]\\.\x00-\x1f\x7f]+"
_LABEL = r"[^\W_](?:[\w-]{0,61}[^\W_])?"
_EMAIL = re.compile(rf"(?=.{{1,64}}@){_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+{_LABEL}")


def email_address(text: str) -> str | None:
    """The address as it is kept, or None of what is none.

    Whoever writes it, form, file or API, is held to this. It asks for the shape only: whether mail
    arrives at `anne@corp.local` is for those to know who use such names within their walls.
    """
    bare = unicodedata.normalize("NFC", in_letters(text.strip())).lower()
    return bare if len(bare) <= 254 and _EMAIL.fullmatch(bare) else None


def in_letters(text: str) -> str:
    """The text with its domains as people read them: `xn--bcher-kva.eu` as `bücher.eu`."""
    return _PUNYCODE.sub(_letters, text)


def _letters(label: re.Match[str]) -> str:
    try:
        found = label[1].lower().encode().decode("punycode")
    except UnicodeError:
        return label[0]
    # What no domain could be called stays what it says that it is.
    return found if re.fullmatch(_LABEL, found) and not found.isascii() else label[0]


_PUNYCODE = re.compile(r"\bxn--([a-z0-9-]{1,59})\b", re.IGNORECASE)


def _an_address(text: str) -> str:
    found = email_address(text)
    if found is None:
        raise PydanticCustomError("bad_email", "This is not an e-mail address")
    return found


EmailAddress = Annotated[
    str, AfterValidator(_an_address), WithJsonSchema({"type": "string", "format": "email"})
]
"""An e-mail address of a person or company, in lower case."""


Country = CountryAlpha2
"""A country by its two letters (ISO 3166): `FR`."""


@cache
def zones() -> frozenset[str]:
    """The names of all time zones."""
    # What machines call their own zone, and what stands for none.
    return frozenset(available_timezones() - {"localtime", "Factory"})


def _known(name: str) -> str:
    if name not in zones():
        raise PydanticCustomError("unknown_zone", "Name a time zone, as in Europe/Paris, or UTC")
    return name


TimeZone = Annotated[str, StringConstraints(max_length=64), AfterValidator(_known)]
"""A time zone of the IANA database: `Europe/Paris`."""


class Closed(BaseModel):
    """A request body: fields it does not know are an error, not a silent loss."""

    model_config = ConfigDict(extra="forbid")


_CURRENCY: TypeAdapter[str] = TypeAdapter(Currency)


@cache
def is_currency(code: str) -> bool:
    """Whether amounts may be in a currency of this code."""
    try:
        _CURRENCY.validate_python(code)
    except ValidationError:
        return False
    return True


@cache
def minor_units(currency: str) -> int:
    """How many decimals the amounts of a currency have (ISO 4217): two in EUR, none in JPY."""
    try:
        return iso4217.Currency(currency).exponent or 0
    except ValueError:
        # One that is no more.
        return 2


def rounded(amount: Decimal, currency: str) -> Decimal:
    """The amount with the decimals of its currency; halves go up, as invoices have them."""
    return amount.quantize(Decimal(1).scaleb(-minor_units(currency)), ROUND_HALF_UP)


class Money(Closed):
    """An amount, `{"amount": "1234.50", "currency": "EUR"}`: a decimal, never a float.

    It has the decimals of its currency: `"100"` JPY, `"1.234"` KWD.
    """

    amount: Amount
    currency: Currency

    @model_validator(mode="after")
    def _in_minor_units(self) -> "Money":
        amount = rounded(self.amount, self.currency)
        if amount != self.amount:
            decimals = minor_units(self.currency)
            raise PydanticCustomError(
                "minor_units",
                "Amounts in {currency} have {decimals}",
                {
                    "currency": str(self.currency),
                    "decimals": f"at most {decimals} decimals" if decimals else "no decimals",
                },
            )
        self.amount = amount
        return self

    @field_serializer("amount")
    def _as_text(self, amount: Decimal) -> str:
        return f"{amount:f}"


def field(
    en: str,
    fr: str,
    *,
    personal: bool = False,
    searchable: bool = False,
    filterable: bool = True,
    sortable: bool = False,
    choices: Mapping[str, Label] | None = None,
    part: str = "",
    renamed: Mapping[str, str] | None = None,
    user: bool = False,
    **options: Any,
) -> Any:
    """A record's field: its label in English and French, and what may be done with it.

    `personal` marks personal data (export, erasure, retention and redaction follow the mark);
    `searchable` fields are found by `q`, `filterable` ones are list filters, `sortable` ones may be
    given to `sort`. `choices` are what people call the values of a field that has few, `renamed`
    what some of them were called before; `part` is what a condition asks of the objects in a list.
    One that holds a `user` takes `me` in lists. Other options go to `pydantic.Field`.
    """
    return Field(
        title=en,
        json_schema_extra={
            "x-liaison": {
                "label": Label(en=en, fr=fr).model_dump(),
                "personal": personal,
                "searchable": searchable,
                "filterable": filterable,
                "sortable": sortable,
                "choices": {name: said.model_dump() for name, said in (choices or {}).items()},
                "part": part,
                "renamed": dict(renamed or {}),
                "user": user,
            }
        },
        **options,
    )

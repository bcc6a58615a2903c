"""The field types that every record is made of, with the limits that keep bad input out.

Limits are part of the contract: they appear in the OpenAPI document as well.
"""

from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError
from pydantic_extra_types.country import CountryAlpha2

from liaison_sdk.closed import Closed as Closed
from liaison_sdk.labels import Label
from liaison_sdk.money import Amount as Amount
from liaison_sdk.money import Money as Money
from liaison_sdk.texts import WITHOUT_NUL as WITHOUT_NUL
from liaison_sdk.texts import ExternalId as ExternalId
from liaison_sdk.texts import LongText as LongText
from liaison_sdk.texts import Name as Name
from liaison_sdk.texts import Paragraphs as Paragraphs
from liaison_sdk.texts import ShortText as ShortText

Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
"""A stable lower-case identifier: a stage, a field name."""

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
    user: bool = False,
    **options: Any,
) -> Any:
    """A record's field: its label in English and French, and what may be done with it.

    `personal` marks personal data (export, erasure, retention and redaction follow the mark);
    `searchable` fields are found by `q`, `filterable` ones are list filters, `sortable` ones may be
    given to `sort`. `choices` are what people call the values of a field that has few,
    `part` is what a condition asks of the objects in a list. One that holds a `user` takes `me` in
    lists. Other options go to `pydantic.Field`.
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
                "user": user,
            }
        },
        **options,
    )

"""The field types that every record is made of, with the limits that keep bad input out.

Limits are part of the contract: they appear in the OpenAPI document as well.
"""

import re
import unicodedata
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any
from zoneinfo import available_timezones

from pydantic import AfterValidator, Field, StringConstraints, WithJsonSchema
from pydantic_core import PydanticCustomError
from pydantic_extra_types.country import CountryAlpha2

from liaison_sdk.closed import Closed as Closed
from liaison_sdk.labels import Label
from liaison_sdk.money import Amount as Amount
from liaison_sdk.money import Money as Money
from liaison_sdk.money import is_currency as is_currency
from liaison_sdk.money import minor_units as minor_units
from liaison_sdk.money import rounded as rounded
from liaison_sdk.texts import WITHOUT_NUL as WITHOUT_NUL
from liaison_sdk.texts import ExternalId as ExternalId
from liaison_sdk.texts import LongText as LongText
from liaison_sdk.texts import Name as Name
from liaison_sdk.texts import Paragraphs as Paragraphs
from liaison_sdk.texts import Seen as Seen
from liaison_sdk.texts import ShortText as ShortText
from liaison_sdk.texts import is_blank as is_blank

Code = Annotated[str, StringConstraints(pattern=r"^[a-z][a-z0-9_]{0,62}$")]
"""A stable lower-case identifier: a stage, a field name."""

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

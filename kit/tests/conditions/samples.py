"""A kind of record with a field of every kind, and values and conditions to try on it."""

import datetime as dt
from collections.abc import Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any, Literal
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import strategies as st
from pydantic import BaseModel
from sqlalchemy import CHAR, Integer, Numeric, Text, Uuid, cast
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit.conditions.folding import folded
from liaison_kit.database.migrations import RECORD_COLUMNS
from liaison_kit.database.tables import Base, MoneyAmount, Record
from liaison_kit.ids import uuid7
from liaison_kit.records import custom
from liaison_kit.records.custom import NewCustomField
from liaison_kit.records.recordtype import RecordType, money
from liaison_kit.sight import Seen
from liaison_sdk.labels import Label
from liaison_sdk.types import Money, field

TABLE = f"""
CREATE TABLE samples (
    {RECORD_COLUMNS},
    name text NOT NULL,
    note text,
    stage text,
    code char(4),
    size integer,
    ratio numeric,
    weight double precision,
    price_amount numeric(18, 2),
    price_currency char(3),
    made_on date,
    seen_at timestamptz,
    active boolean,
    owner_id uuid,
    maker_id uuid,
    tags text[],
    friends uuid[],
    reached_by jsonb
)
"""
SEEN_MAKERS = (
    "CREATE VIEW seen_makers WITH (security_invoker) AS SELECT id FROM makers"
    " WHERE coalesce(current_setting('liaison.rows', true), '') = '' OR id::text LIKE '%1'"
)


class Sample(Record, Base):
    """Something of every kind that a condition may ask of."""

    __tablename__ = "samples"

    name: Mapped[str]
    note: Mapped[str | None]
    stage: Mapped[str | None]
    code: Mapped[str | None] = mapped_column(CHAR(4))
    size: Mapped[int | None] = mapped_column(Integer)
    ratio: Mapped[Decimal | None] = mapped_column(Numeric)
    weight: Mapped[float | None]
    price_amount: Mapped[Decimal | None] = mapped_column(MoneyAmount)
    price_currency: Mapped[str | None] = mapped_column(CHAR(3))
    made_on: Mapped[dt.date | None]
    seen_at: Mapped[dt.datetime | None]
    active: Mapped[bool | None]
    owner_id: Mapped[UUID | None]
    maker_id: Mapped[UUID | None]
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    friends: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    reached_by: Mapped[list[dict[str, str]] | None] = mapped_column(JSONB(none_as_null=True))


class Address(BaseModel):
    """Where somebody is reached."""

    address: str
    kind: str


Stage = Literal["lead", "customer", "former"]


class SampleShape(BaseModel):
    """A sample as readers get it."""

    id: UUID
    name: str = field("Name", "Nom", sortable=True)
    note: str | None = field("Note", "Note")
    stage: Stage | None = field("Stage", "Étape")
    code: str | None = field("Code", "Code")
    size: int | None = field("Size", "Taille")
    ratio: Decimal | None = field("Ratio", "Rapport")
    weight: float | None = field("Weight", "Poids")
    price: Money | None = field("Amount", "Montant", sortable=True)
    made_on: dt.date | None = field("Made on", "Fait le")
    seen_at: dt.datetime | None = field("Seen", "Vu le")
    active: bool | None = field("Active", "Actif")
    owner_id: UUID | None = field("Owner", "Responsable")
    maker_id: UUID | None = field("Maker", "Fabricant")
    tags: list[str] | None = field("Tags", "Étiquettes")
    friends: list[UUID] | None = field("Friends", "Amis")
    reached_by: list[Address] | None = field(
        "Addresses", "Adresses", filterable=False, part="address"
    )
    secret: str = field("Secret", "Secret", filterable=False)
    custom: dict[str, Any] = field("Custom fields", "Champs personnalisés", filterable=False)
    created_at: dt.datetime = field("Created", "Créé le", sortable=True)
    updated_at: dt.datetime = field("Changed", "Modifié le", sortable=True)


SAMPLES = RecordType(
    "samples",
    Label(en="Sample", fr="Échantillon"),
    model=Sample,
    shape=SampleShape,
    columns={"price": money(Sample.price_amount, Sample.price_currency), "secret": Sample.name},
    filters={
        # A quicker way to a field, as stages have one, and something that no field shows.
        "code": lambda value: cast(Sample.code, Text) == value,
        "folded": lambda value: Sample.name == value,
    },
    owner=Sample.owner_id,
    seen={"maker_id": Seen("makers", "seen_makers")},
)
EVERYBODYS = replace(SAMPLES, owner=None)

CUSTOM = {
    "word": "text",
    "number": "number",
    "day": "date",
    "checked": "boolean",
    "pick": "choice",
}


def define(session: Session) -> None:
    """The tenant's own fields of samples, one of each kind."""
    for name, kind in CUSTOM.items():
        label = {"en": name.title(), "fr": f"{name.title()} (fr)"}
        choices = ["red", "blue"] if kind == "choice" else []
        new = NewCustomField.model_validate(
            {"name": name, "kind": kind, "label": label, "choices": choices}
        )
        custom.define(session, SAMPLES.name, new)


# --- values ---------------------------------------------------------------------------------------

NOW = dt.datetime(2026, 3, 29, 0, 30, tzinfo=dt.UTC)
"""Half an hour before the clocks go forward in Paris."""

ZONES = [dt.UTC, *map(ZoneInfo, ("Europe/Paris", "America/New_York", "Asia/Kolkata"))]

# What PostgreSQL's text can hold.
_ANY = st.text(
    st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), min_size=1, max_size=6
)
_LIKE = ["Élan", "elan", "E\u0301LAN", "Straße", "STRASSE", "œuf", "OEUF", "æ", "a%b_c", "\\", "'"]
_LETTERS = st.text(st.sampled_from("aàÄeéÉsßẞœŒæÆǼiİıΣσςЙй%_\\\u0301 "), min_size=1, max_size=5)
TEXTS = st.sampled_from(_LIKE) | _LETTERS | _ANY
INTEGERS = st.integers(-3, 3) | st.integers(-(2**31), 2**31 - 1)
DECIMALS = st.sampled_from([Decimal("0.1"), Decimal("0.10"), Decimal("10"), Decimal("1E+1")]) | (
    st.decimals(-100, 100, places=3)
)
FLOATS = st.sampled_from([0.1, 0.1 + 0.2, 10.0, 1e-7, 1e22]) | st.floats(-1e20, 1e20).filter(
    # No number is given with more than forty decimals.
    lambda number: number == 0 or abs(number) > 1e-9
)
AMOUNTS = st.decimals(0, 20, places=2) | st.sampled_from([Decimal("10000.00")])
CURRENCIES = st.sampled_from(["EUR", "USD"])
DAYS = st.dates(dt.date(2026, 2, 25), dt.date(2026, 4, 3)) | st.dates(
    dt.date(1990, 1, 1), dt.date(9998, 12, 31)
)
MOMENTS = st.datetimes(
    dt.datetime(2026, 3, 27, 22), dt.datetime(2026, 3, 31, 2), timezones=st.just(dt.UTC)
) | st.sampled_from([NOW, *(dt.datetime(2026, 3, 28, hour, tzinfo=dt.UTC) for hour in range(24))])
IDS = st.sampled_from([UUID(int=number) for number in range(1, 4)])
WORDS = st.sampled_from(["vip", "VIP", "a,b", "é"])


def _or_none(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
    return st.one_of(values, values, st.none())


ADDRESSES = st.fixed_dictionaries({"address": TEXTS | st.just(""), "kind": WORDS})
CUSTOMS = st.fixed_dictionaries(
    {},
    optional={
        # A field of another kind may have had this name before.
        "word": _or_none(TEXTS) | st.just("") | st.integers(),
        "number": _or_none(st.integers(-5, 5) | FLOATS) | st.just("10") | st.booleans(),
        "day": _or_none(DAYS.map(str)) | st.sampled_from(["2026-99-99", "soon", "2026-3-1"]),
        "checked": _or_none(st.booleans()) | st.just("true"),
        "pick": _or_none(st.sampled_from(["red", "blue", "green"])),
    },
)
PRICES = _or_none(st.tuples(AMOUNTS, CURRENCIES))


@st.composite
def rows(draw: Callable[[Any], Any]) -> dict[str, Any]:
    """A row of the table."""
    price = draw(PRICES)
    return {
        "id": uuid7(),
        "version": 1,
        "created_at": draw(MOMENTS),
        "updated_at": NOW,
        "name": draw(TEXTS | st.just("")),
        "note": draw(_or_none(TEXTS | st.just(""))),
        "stage": draw(_or_none(st.sampled_from(["lead", "customer", "former"]))),
        "code": draw(_or_none(st.sampled_from(["ABCD", "abcd", "ZZZZ"]))),
        "size": draw(_or_none(INTEGERS)),
        "ratio": draw(_or_none(DECIMALS)),
        "weight": draw(_or_none(FLOATS)),
        "price_amount": price and price[0],
        "price_currency": price and price[1],
        "made_on": draw(_or_none(DAYS)),
        "seen_at": draw(_or_none(MOMENTS)),
        "active": draw(_or_none(st.booleans())),
        "owner_id": draw(_or_none(IDS)),
        "maker_id": draw(_or_none(IDS)),
        "tags": draw(_or_none(st.lists(WORDS, max_size=3))),
        "reached_by": draw(_or_none(st.lists(ADDRESSES, max_size=3))),
        "custom": draw(CUSTOMS),
    }


# --- conditions -----------------------------------------------------------------------------------

RELATIVE = st.builds(
    lambda anchor, offset, unit: {
        "mode": "relative", "anchor": anchor, "offset": offset, "unit": unit,
    },
    st.sampled_from(
        ["now", "startOfDay", "endOfDay", "startOfWeek", "endOfWeek", "startOfMonth", "endOfMonth",
         "startOfYear", "endOfYear"]
    ),
    st.integers(-3, 3),
    st.sampled_from(["day", "week", "month", "year"]),
) | st.builds(
    lambda offset, unit: {"mode": "relative", "anchor": "now", "offset": offset, "unit": unit},
    st.integers(-30, 30),
    st.sampled_from(["minute", "hour"]),
)  # fmt: skip
_NUMBERS = st.one_of(DECIMALS.map(str), st.integers(-5, 5), st.sampled_from([0.1, 10.0, "0.3"]))
# Of an accent alone nothing is left to look for.
_SOUGHT = TEXTS.filter(folded)
VALUES: dict[str, st.SearchStrategy[Any]] = {
    "name": _SOUGHT,
    "note": _SOUGHT,
    "stage": st.sampled_from(["lead", "customer", "former"]),
    "code": st.sampled_from(["ABCD", "abcd", "ABC", "ABCDE", "ABCD "]),
    "size": INTEGERS | INTEGERS.map(str),
    "ratio": _NUMBERS,
    "weight": _NUMBERS | FLOATS,
    "price": AMOUNTS.map(str)
    | st.integers(0, 20)
    | st.builds(lambda a, c: {"amount": str(a), "currency": c}, AMOUNTS, CURRENCIES),
    "made_on": DAYS.map(str) | RELATIVE,
    "seen_at": DAYS.map(str)
    | RELATIVE
    | MOMENTS.map(dt.datetime.isoformat)
    | MOMENTS.map(lambda moment: moment.replace(tzinfo=None).isoformat()),
    "created_at": DAYS.map(str) | RELATIVE,
    "active": st.sampled_from([True, False, "true", "false"]),
    "owner_id": IDS.map(str) | st.just("me"),
    "maker_id": IDS.map(str),
    "tags": WORDS,
    "reached_by": _SOUGHT,
    "custom.word": _SOUGHT,
    "custom.number": _NUMBERS,
    "custom.day": DAYS.map(str) | RELATIVE,
    "custom.checked": st.booleans(),
    "custom.pick": st.sampled_from(["red", "blue"]),
}

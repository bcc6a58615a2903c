"""Import fields are drawn from what a kind of record declares: labels, limits, choices."""

import datetime as dt
from decimal import Decimal
from typing import Annotated, Literal

from pydantic import BaseModel, Field

from liaison_kit.imports.drawing import Drawn
from liaison_kit.imports.fields import ImportField
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.labels import Label
from liaison_sdk.types import Closed, Money, Name, ShortText, field

SIZES = {"s": Label(en="Small", fr="Petit")}


class Shirt(BaseModel):
    """A shirt as readers get it."""

    name: str = field("Name", "Nom")
    code: str | None = field("Code", "Référence")
    size: Literal["s", "m"] = field("Size", "Taille", choices=SIZES)
    count: int | None = field("Count", "Nombre")
    price: Money | None = field("Price", "Prix")
    made_on: dt.date | None = field("Made on", "Faite le")
    tags: list[str] = field("Tags", "Étiquettes")


class NewShirt(Closed):
    """A shirt to add."""

    name: Name
    code: ShortText | None = None
    size: Literal["s", "m"] = "s"
    count: Annotated[int, Field(ge=1, le=99)] | None = None
    price: Money | None = None
    made_on: dt.date | None = None
    tags: list[str] = []


# Of a kind nothing is asked here but its shape.
shirt = Drawn(RecordType("shirts", Label(en="Shirt", fr="Chemise"), None, Shirt), NewShirt)  # type: ignore[arg-type]


def test_a_text_has_its_labels_and_its_length() -> None:
    assert shirt("name", "title", "titre") == ImportField(
        "name",
        {"en": "Name", "fr": "Nom"},
        required=True,
        max_length=200,
        aliases=("title", "titre"),
    )
    assert shirt("code").required is False


def test_a_choice_is_named_by_its_labels_and_other_words() -> None:
    found = shirt("size", spellings={"m": ["medium"]})

    assert found.kind == "choice"
    assert found.choices == {"s": ("Small", "Petit"), "m": ("medium",)}


def test_numbers_and_money_have_their_limits() -> None:
    count, price = shirt("count"), shirt("price")

    assert (count.kind, count.minimum, count.maximum) == ("integer", Decimal(1), Decimal(99))
    assert (price.kind, price.minimum, price.maximum) == ("money", Decimal(0), None)


def test_what_is_said_of_a_field_goes_before_what_is_declared() -> None:
    found = shirt("name", required=False, column="title", max_length=5)

    assert (found.required, found.column, found.max_length) == (False, "title", 5)


def test_lists_of_texts_are_tags_and_days_are_days() -> None:
    assert [shirt(name).kind for name in ("tags", "made_on")] == ["tags", "date"]

"""How lists of people and companies become files: the columns that an import reads again.

The first three e-mail addresses and phone numbers and the first postal address have columns of
their own, as files have them; what somebody has beyond those is in a column that no import takes.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from liaison_kit.exports.columns import ExportColumn
from liaison_sdk.labels import Label

COLUMNS = 3


def _nth(place: int, part: str) -> Callable[[Any], str | None]:
    return lambda those: those[place][part] if place < len(those) else None


def _several(name: str, part: str, label: Label, rest: Label) -> Sequence[ExportColumn]:
    """The first few in columns of their own, the others in one."""
    found = [
        ExportColumn(
            name if place == 0 else f"{name}_{place + 1}",
            label
            if place == 0
            else Label(en=f"{label.en} {place + 1}", fr=f"{label.fr} {place + 1}"),
            "text",
            _nth(place, part),
        )
        for place in range(COLUMNS)
    ]
    others = ExportColumn(
        f"more_{name}s", rest, "list", lambda those: [one[part] for one in those[COLUMNS:]]
    )
    return [*found, others]


_ADDRESS: Final = {
    "street": Label(en="Street", fr="Rue"),
    "postal_code": Label(en="Postal code", fr="Code postal"),
    "city": Label(en="City", fr="Ville"),
    "region": Label(en="Region", fr="Région"),
    "country": Label(en="Country", fr="Pays"),
}


def _other_addresses(those: Any) -> list[str]:
    return [" ".join(filter(None, (one[part] for part in _ADDRESS))) for one in those[1:]]


SPREAD: Final[Mapping[str, Sequence[ExportColumn]]] = {
    "emails": _several(
        "email",
        "address",
        Label(en="E-mail", fr="E-mail"),
        Label(en="All other e-mails", fr="Tous les autres e-mails"),
    ),
    "phones": _several(
        "phone",
        "number",
        Label(en="Phone", fr="Téléphone"),
        Label(en="All other phones", fr="Tous les autres téléphones"),
    ),
    "addresses": [
        *(ExportColumn(part, label, "text", _nth(0, part)) for part, label in _ADDRESS.items()),
        ExportColumn(
            "more_addresses",
            Label(en="All other addresses", fr="Toutes les autres adresses"),
            "list",
            _other_addresses,
        ),
    ],
}

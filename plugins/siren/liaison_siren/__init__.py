"""Keeps the SIREN of French companies, checked, and shows what follows from it.

A SIREN is nine digits, the last of which checks the others (Luhn). A SIRET, of one establishment,
is a SIREN and five digits more. The number for VAT follows from the SIREN.
"""

import re
from collections.abc import Mapping

from liaison_sdk.hooks import (
    Action,
    AddedField,
    Additions,
    Done,
    Drawn,
    FormField,
    Panel,
    RecordFacts,
    Refused,
    Row,
    Said,
    Value,
    hook,
)

FIELD = "siren_number"
NUMBER = Said("SIREN", "SIREN")
REGISTER = "https://annuaire-entreprises.data.gouv.fr/entreprise/"
LA_POSTE = "356000000"


@hook
def screen_additions(service: str) -> Additions | None:
    """A field of companies for the number, a panel that reads it and an action that enters it."""
    if service != "contacts":
        return None
    section = Said("Legal", "Informations légales")
    number = Said("SIREN or SIRET", "SIREN ou SIRET")
    return Additions(
        fields=(AddedField("companies", FIELD, NUMBER, "text", section),),
        panels=(Panel("companies", "card", Said("Company register", "Registre"), "certificate"),),
        actions=(
            Action(
                "companies",
                "enter",
                Said("Enter the SIREN", "Saisir le SIREN"),
                "certificate",
                form=(FormField("number", number, "text"),),
            ),
        ),
    )


@hook
def draw_panel(panel: str, record: RecordFacts) -> Drawn:
    """The number as people write it, the VAT number, and where the register tells more."""
    custom = record.values.get("custom")
    number = custom.get(FIELD) if isinstance(custom, Mapping) else None
    if not isinstance(number, str):
        return Drawn(note=Said("No SIREN is known", "Aucun SIREN connu"))
    siren = siren_of(number)
    if siren is None:
        note = Said("A digit of it must be wrong", "Un chiffre doit être faux")
        return Drawn(rows=(Row(NUMBER, number, "red"),), note=note)
    return Drawn(
        rows=(
            Row(NUMBER, f"{siren[:3]} {siren[3:6]} {siren[6:]}", "green", REGISTER + siren),
            Row(Said("VAT number", "N° de TVA"), vat_number(siren)),
        )
    )


@hook
def do_action(action: str, record: RecordFacts, form: Mapping[str, Value]) -> Done | Refused:
    """The SIREN of what was entered, however it was spaced; a wrong digit is refused."""
    siren = siren_of(str(form["number"]))
    if siren is None:
        why = Said(
            "This is neither a SIREN (9 digits) nor a SIRET (14): look at its digits again",
            "Ce n'est ni un SIREN (9 chiffres) ni un SIRET (14) : vérifiez ses chiffres",
        )
        return Refused({"number": why})
    return Done({FIELD: siren})


def siren_of(text: str) -> str | None:
    """The SIREN in a SIREN or SIRET, or nothing when its digits do not check."""
    digits = re.sub(r"[\s.\u00a0-]", "", text)
    if not re.fullmatch(r"[0-9]{9}(?:[0-9]{5})?", digits) or not _checks(digits[:9]):
        return None
    if len(digits) == 14 and not _checks(digits) and not _is_of_la_poste(digits):
        return None
    return digits[:9]


def vat_number(siren: str) -> str:
    """The French VAT number: two digits that check, and the SIREN."""
    return f"FR{(12 + 3 * (int(siren) % 97)) % 97:02d}{siren}"


def _checks(digits: str) -> bool:
    """Whether the last digit checks the others, by Luhn's rule."""
    doubled = (int(d) * (2 if i % 2 else 1) for i, d in enumerate(reversed(digits)))
    return sum(d - 9 if d > 9 else d for d in doubled) % 10 == 0


def _is_of_la_poste(digits: str) -> bool:
    # Its post offices are more than the rule has numbers for: theirs add up to fives.
    return digits.startswith(LA_POSTE) and sum(map(int, digits)) % 5 == 0

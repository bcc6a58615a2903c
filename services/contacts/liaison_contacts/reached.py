"""How people and companies are reached, as files say it: numbered and typed columns become lists.

A file has `Business Phone 2`, `Phone 1 - Type` and `Home City`; a record has lists of addresses and
numbers, each with its kind. Here are the import fields for the former, and how they are gathered.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from json.encoder import encode_basestring as encoded
from typing import Any

from liaison_contacts import parties
from liaison_contacts.vocabulary import (
    BILLING,
    CITY,
    COUNTRY,
    DELIVERY,
    EMAIL,
    FAX,
    HOME,
    MAILING,
    MOBILE,
    OTHER,
    PHONE,
    PO_BOX,
    POSTAL_CODE,
    REGION,
    STREET,
    STREET_2,
    STREET_3,
    WHOLE,
    WORK,
    Words,
    also_of,
    kind_of,
    names,
)
from liaison_kit.imports.converting import BETWEEN
from liaison_kit.imports.fields import Batch, ImportField
from liaison_kit.records.recordtype import RecordType
from liaison_kit.records.search import digits, fold

MOST = 5
"""So many numbered e-mail addresses and phone numbers a file may have."""


_KIND = ("type", "label", "1 type", "1 label", "libellé")
"""What a column is called that says of which kind the value beside it is."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A column of an address or number: its kind, unless the column beside it says another."""

    name: str
    kind: str
    said_by: str | None = None


def _numbered(name: str, said_by: str, kind: str) -> list[Entry]:
    copies = [Entry(f"{name}_{n}", kind, f"{said_by}_{n}") for n in range(2, MOST + 1)]
    return [Entry(name, kind, said_by), *copies]


_EMAILS = (
    *_numbered("email", "email_kind", "work"),
    Entry("work_email", "work"),
    Entry("home_email", "home"),
    Entry("other_email", "other"),
    Entry("more_emails", "other"),
)
_PHONES = (
    *_numbered("phone", "phone_kind", "work"),
    Entry("work_phone", "work"),
    Entry("work_phone_2", "work"),
    Entry("mobile_phone", "mobile"),
    Entry("mobile_phone_2", "mobile"),
    Entry("home_phone", "home"),
    Entry("home_phone_2", "home"),
    Entry("other_phone", "other"),
    Entry("fax", "fax"),
    Entry("home_fax", "fax"),
    Entry("other_fax", "fax"),
    Entry("more_phones", "other"),
)
_PARTS: Mapping[str, tuple[str, str, int, Words]] = {
    "street": ("Street", "Rue", 200, STREET),
    "street_line_2": ("Street, second line", "Rue, deuxième ligne", 200, STREET_2),
    "street_line_3": ("Street, third line", "Rue, troisième ligne", 200, STREET_3),
    "po_box": ("PO box", "Boîte postale", 100, PO_BOX),
    "postal_code": ("Postal code", "Code postal", 200, POSTAL_CODE),
    "city": ("City", "Ville", 200, CITY),
    "region": ("Region", "Région", 200, REGION),
    "country": ("Country", "Pays", 60, COUNTRY),
    "whole_address": ("Whole address", "Adresse complète", 1000, WHOLE),
}
_STORED = ("street", "postal_code", "city", "region", "country")


@dataclass(frozen=True, slots=True)
class _Place:
    """A group of columns that make one postal address."""

    prefix: str
    kind: str
    en: str
    fr: str
    before: Words
    said_by: str | None = None


_PLACES = (
    _Place("", "work", "", "", ("", *WORK, *MAILING, "address", "address 1"), "address_kind"),
    _Place("home_", "home", "Home: ", "Domicile : ", HOME),
    _Place("billing_", "billing", "Billing: ", "Facturation : ", BILLING),
    _Place("delivery_", "delivery", "Delivery: ", "Livraison : ", DELIVERY),
    _Place("other_", "other", "Other: ", "Autre : ", OTHER),
    _Place("address_2_", "other", "Address 2: ", "Adresse 2 : ", ("address 2",), "address_kind_2"),
    _Place("address_3_", "other", "Address 3: ", "Adresse 3 : ", ("address 3",), "address_kind_3"),
)


def _field(name: str, en: str, fr: str, kind: Any = "text", **options: Any) -> ImportField:
    return ImportField(name, {"en": en, "fr": fr}, kind, **options)


def fields(things: Words) -> tuple[ImportField, ...]:
    """The import fields of how a record is reached; `things` is what files call such a record."""
    return (*_email_fields(things), *_phone_fields(things), *_address_fields(things))


def _email_fields(things: Words) -> list[ImportField]:
    def one(name: str, en: str, fr: str, *before: Words, **options: Any) -> ImportField:
        aliases = also_of(things, names(*before, EMAIL))
        return _field(name, en, fr, "email", aliases=aliases, several=True, **options)

    kinds = (*names(EMAIL, _KIND), *names(("type de",), EMAIL))
    first = (*names(EMAIL, ("1", "value", "1 value")), "primary email", "main email")
    return [
        _field(
            "email",
            "E-mail",
            "E-mail",
            "email",
            many=MOST,
            several=True,
            aliases=also_of(things, (*EMAIL, *first)),
        ),
        _field(
            "email_kind",
            "Kind of e-mail",
            "Type d'e-mail",
            many=MOST,
            aliases=also_of(things, kinds),
            further=True,
        ),
        one("work_email", "Work e-mail", "E-mail professionnel", WORK, further=True),
        one("home_email", "Personal e-mail", "E-mail personnel", HOME, further=True),
        one(
            "other_email",
            "Other e-mail",
            "Autre e-mail",
            (*OTHER, "secondary", "alternate", "secondaire"),
            further=True,
        ),
        _field(
            "more_emails",
            "All other e-mails",
            "Tous les autres e-mails",
            "email",
            several=True,
            further=True,
            aliases=also_of(things, ("additional email addresses", "other emails")),
        ),
    ]


def _phone_fields(things: Words) -> list[ImportField]:
    def one(name: str, en: str, fr: str, *aliases: str, further: bool = True) -> ImportField:
        said = also_of(things, aliases)
        return _field(name, en, fr, "phone", aliases=said, several=True, further=further)

    kinds = (*names(PHONE, _KIND), *names(("type de",), PHONE))
    first = (*names(PHONE, ("1", "value", "1 value")), *names(MAILING, PHONE))
    portable = (*MOBILE, *names(MOBILE, PHONE), "mobile number", "cellphone", "mobile phone no")
    return [
        _field(
            "phone",
            "Phone",
            "Téléphone",
            "phone",
            many=MOST,
            several=True,
            aliases=also_of(things, (*PHONE, *first, "standard", "switchboard")),
        ),
        _field(
            "phone_kind",
            "Kind of phone",
            "Type de téléphone",
            many=MOST,
            aliases=also_of(things, kinds),
            further=True,
        ),
        one("work_phone", "Work phone", "Téléphone professionnel", *names(WORK, PHONE),
            *names(("direct", "ligne directe"), ("", *PHONE)), "direct dial"),
        one("work_phone_2", "Work phone 2", "Téléphone professionnel 2",
            *names(WORK, PHONE, ("2",))),
        one("mobile_phone", "Mobile phone", "Téléphone portable", *portable, further=False),
        one("mobile_phone_2", "Mobile phone 2", "Téléphone portable 2", *names(portable, ("2",))),
        one("home_phone", "Home phone", "Téléphone du domicile", *names(HOME, PHONE)),
        one("home_phone_2", "Home phone 2", "Téléphone du domicile 2", *names(HOME, PHONE, ("2",))),
        one("other_phone", "Other phone", "Autre téléphone", *names(OTHER, PHONE),
            *names(("secondary", "alternate"), PHONE)),
        one("fax", "Fax", "Fax", *FAX, *names(WORK, FAX), further=False),
        one("home_fax", "Home fax", "Fax du domicile", *names(HOME, FAX)),
        one("other_fax", "Other fax", "Autre fax", *names(OTHER, FAX)),
        one("more_phones", "All other phones", "Tous les autres téléphones", "other phones",
            "additional phone numbers"),
    ]  # fmt: skip


def _address_fields(things: Words) -> list[ImportField]:
    found = [
        _field(
            f"{place.prefix}{part}",
            f"{place.en}{en}",
            f"{place.fr}{fr}",
            max_length=length,
            aliases=also_of(things, names(place.before, said)),
            further=bool(place.prefix) or part not in _STORED,
        )
        for place in _PLACES
        for part, (en, fr, length, said) in _PARTS.items()
    ]
    kinds = _field(
        "address_kind",
        "Kind of address",
        "Type d'adresse",
        many=3,
        further=True,
        aliases=also_of(things, ("address type", "address label", "address 1 type",
                                 "address 1 label", "type adresse")),
    )  # fmt: skip
    # What an export says of further addresses can't be taken apart again.
    rest = _field("more_addresses", "All other addresses", "Toutes les autres adresses", kept=True)
    return [*found, kinds, rest]


COVERED = frozenset(
    [entry.name for entry in (*_EMAILS, *_PHONES)]
    + [f"{place.prefix}{part}" for place in _PLACES for part in _PARTS]
    + [entry.said_by for entry in (*_EMAILS, *_PHONES) if entry.said_by]
    + [place.said_by for place in _PLACES if place.said_by]
)
"""The fields that `columns` takes care of."""


_FOUND_BY = {"first_name", "last_name", "name", "emails.address", "phones.number"}
"""What the search texts are of that are made here."""


def columns(of: RecordType, batch: Batch, *named: Sequence[str]) -> dict[str, Sequence[str]]:
    """E-mails, phones and addresses as the JSON that the table holds, and the search text.

    The database would make the text, too, and does where more is searched; for many rows it is made
    here in a tenth of the time.
    """
    found: dict[str, Sequence[str]] = {}
    emails, kinds = _entries(batch, _EMAILS)
    if emails:
        # An address that passed the check holds nothing that JSON would escape.
        found["emails"] = _lists(
            emails,
            [
                [f'{{"address":"{v}","kind":"{k}"}}' for v, k in zip(c, ks, strict=True)]
                for c, ks in zip(emails, kinds, strict=True)
            ],
        )
    phones, kinds = _entries(batch, _PHONES)
    phones = [[parties.e164(v, batch.country) if v else "" for v in column] for column in phones]
    numbers = [[digits(v) for v in column] for column in phones]
    if phones:
        found["phones"] = _lists(
            phones,
            [
                [f'{{"number":"{v}","kind":"{k}"}}' for v, k in zip(c, ks, strict=True)]
                for c, ks in zip(phones, kinds, strict=True)
            ],
        )
    places = [
        _addresses(batch, place)
        for place in _PLACES
        if any(f"{place.prefix}{part}" in batch.values for part in _PARTS)
    ]
    if places:
        found["addresses"] = _lists(places, places)
    folded = [fold(" ".join(filter(None, parts))) for parts in zip(*named, strict=True)]
    if _FOUND_BY.issuperset(of.search_columns):
        plain = [list(map(fold, column)) for column in emails]
        found_by = zip(folded, *plain, *numbers, strict=True)
        found["search"] = [f" {' '.join(filter(None, parts))} " for parts in found_by]
    # Folded names hold no control characters, but a quote or a backslash they may.
    keys = [folded, *emails, *numbers]
    found["keys"] = _lists(
        keys, [[encoded(v) for v in folded], *([f'"{v}"' for v in c] for c in keys[1:])]
    )
    return found


def _entries(
    batch: Batch, entries: Sequence[Entry]
) -> tuple[list[Sequence[str]], list[Sequence[str]]]:
    """The values of the columns that there are, and beside each its kind.

    What stands several in a cell is spread over columns of its own.
    """
    values: list[Sequence[str]] = []
    kinds: list[Sequence[str]] = []
    for entry in entries:
        if entry.name not in batch.values:
            continue
        column = batch.values[entry.name]
        if entry.said_by in batch.values:
            kind: Sequence[str] = [
                kind_of(said, entry.kind) for said in batch.values[entry.said_by or ""]
            ]
        else:
            kind = [entry.kind] * batch.size
        while True:
            rest = [""] * batch.size
            if any(BETWEEN in value for value in column):
                parted = [value.partition(BETWEEN) for value in column]
                column, rest = [p[0] for p in parted], [p[2] for p in parted]
            values.append(column)
            kinds.append(kind)
            if not any(rest):
                break
            column = rest
    return values, kinds


def _lists(values: Sequence[Sequence[str]], items: Sequence[Sequence[str]]) -> list[str]:
    """Row by row a JSON list of the items whose value is there, each value once; blank without."""
    if len(values) == 1:
        return [f"[{i}]" if v else "" for v, i in zip(values[0], items[0], strict=True)]
    found = []
    for row, said in zip(zip(*values, strict=True), zip(*items, strict=True), strict=True):
        once = {value: item for value, item in zip(row[::-1], said[::-1], strict=True) if value}
        found.append(f"[{','.join(reversed(once.values()))}]" if once else "")
    return found


def _addresses(batch: Batch, place: _Place) -> list[str]:
    """Row by row an address as a JSON object; blank where the file gives none."""
    given = {part: f"{place.prefix}{part}" in batch.values for part in _PARTS}
    parts = {part: batch.get(f"{place.prefix}{part}") for part in _PARTS}
    kinds = batch.get(place.said_by) if place.said_by else [""] * batch.size
    only_street = given["street"] and not given["city"] and not given["postal_code"]
    found = []
    for row in zip(*(parts[part] for part in _PARTS), kinds, strict=True):
        street, second, third, box, code, city, region, country, whole, kind = row
        lines = [" ".join(s.split()) for s in (street, second, third) if s]
        # What Google says of a place in parts, it says whole besides.
        if only_street and street:
            street, code, city, country = _parted(street, country)
        elif whole and not (lines or code or city):
            street, code, city, country = _parted(whole, country)
        elif len(lines) > 1 or box or "\n" in street:
            street = ", ".join(filter(None, (*_lines(street), second, third, _box(box))))
        stored = (street, code, city, region, country)
        if not any(stored):
            found.append("")
            continue
        said = ",".join(f'"{name}":{encoded(v)}' for name, v in zip(_STORED, stored, strict=True))
        found.append(f'{{{said},"kind":"{kind_of(kind, place.kind)}"}}')
    return found


def _box(box: str) -> str:
    """A post office box, called one."""
    return f"PO Box {box}" if box[:1].isdigit() else box


def _lines(text: str) -> list[str]:
    return [line for part in text.splitlines() if (line := part.strip(" ,;"))]


_CODE = r"(?:[A-Z]{1,2}-)?\d{4,5}(?:[ -]\d{3,4})?"
_TOWN = re.compile(rf"({_CODE})\s+(\D.*)")
_IN_ONE = re.compile(rf"(.*?)[\s,;–-]+({_CODE})\s+([^\d,;]+?)(?:\s*[,;]\s*([^\d,;]+))?")


def _parted(text: str, country: str) -> tuple[str, str, str, str]:
    """Street, postal code, city and country of an address that stands in one cell.

    What can't be told apart stays in the street: nothing is lost.
    """
    lines = _lines(text)
    for place, line in enumerate(lines):
        if place and (town := _TOWN.fullmatch(line)) and len(lines) <= place + 2:
            there = lines[place + 1] if len(lines) > place + 1 else ""
            return ", ".join(lines[:place]), town[1], town[2], country or there
    if len(lines) == 1 and (found := _IN_ONE.fullmatch(lines[0])):
        return found[1], found[2], found[3].strip(), country or found[4] or ""
    return ", ".join(lines), "", "", country

"""What people and companies share: how they are reached, and what they are found by."""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

import phonenumbers
from pydantic import BaseModel
from sqlalchemy import ColumnElement, Text, Uuid, column, func, select, table
from sqlalchemy.dialects.postgresql import array
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql.expression import TableClause

from liaison_contacts import models
from liaison_kit.database.tables import ORDER
from liaison_kit.privacy.moved import where_now
from liaison_kit.records.search import digits, fold
from liaison_kit.sight import Seen
from liaison_sdk.contracts.contacts import Address, Email, PhoneNumber
from liaison_sdk.types import email_address

COMPANIES_SEEN = Seen("companies", "seen_companies")
companies_seen = table(
    COMPANIES_SEEN.view,
    column("id", Uuid),
    column("name", Text),
    column("external_id", Text),
    column(f"name{ORDER}", Text),
)
"""The companies that the person who asks may see."""


def those_that_are(session: Session, seen: TableClause, ids: Sequence[UUID]) -> list[UUID]:
    """Those of these ids that there are in a view, or that stand for one that is there."""
    found = set(session.scalars(select(seen.c.id).where(seen.c.id.in_(ids))))
    if len(found) == len(set(ids)):
        return list(found)
    moved = where_now(session, [id for id in ids if id not in found])
    there = set(session.scalars(select(seen.c.id).where(seen.c.id.in_(moved.values()))))
    return [*found, *(id for id, into in moved.items() if into in there)]


def company_name(id: InstrumentedAttribute[UUID | None]) -> ColumnElement[Any]:
    """SQL of what a company is called, for who may see it."""
    return select(companies_seen.c.name).where(companies_seen.c.id == id).scalar_subquery()


def stored(given: BaseModel, names: Iterable[str]) -> dict[str, Any]:
    """The named fields of what was sent, as the table holds them."""
    write: dict[str, Callable[..., Any]] = {
        "emails": emails,
        "phones": phones,
        "addresses": addresses,
    }
    return {
        name: write[name](getattr(given, name)) if name in write else getattr(given, name)
        for name in names
    }


def emails(given: Iterable[Email]) -> list[dict[str, Any]]:
    """E-mail addresses as they are stored: in lower case, each once."""
    unique = {e.address.lower(): e.kind for e in given}
    return [{"address": address, "kind": kind} for address, kind in unique.items()]


def phones(given: Iterable[PhoneNumber], country: str | None = None) -> list[dict[str, Any]]:
    """Phone numbers as they are stored: E.164 where they can be understood, each once."""
    unique = {e164(p.number, country): p.kind for p in given}
    return [{"number": number, "kind": kind} for number, kind in unique.items()]


def addresses(given: Iterable[Address]) -> list[dict[str, Any]]:
    """Postal addresses as they are stored."""
    return [a.model_dump() for a in given]


# Written with its country and no trunk prefix: nothing to look up, and most numbers are.
_INTERNATIONAL = re.compile(r"\+[1-9][\d .-]{6,18}")


def e164(number: str, country: str | None = None) -> str:
    """The number in international form, or as it was given when it can't be understood.

    An extension within a company stays behind it: `+442079460018 x12`.
    """
    # What is dialled nearly everywhere in place of the plus; where it is not, no number begins so.
    written = f"+{number[2:].lstrip()}" if number.startswith("00") else number
    if _INTERNATIONAL.fullmatch(written):
        return "+" + digits(written)
    try:
        parsed = phonenumbers.parse(written, country)
    except phonenumbers.NumberParseException:
        return number
    if not phonenumbers.is_possible_number(parsed):
        return number
    found = phonenumbers.format_number(parsed, phonenumbers.PhoneNumberFormat.E164)
    return f"{found} x{parsed.extension}" if parsed.extension else found


def keys(names: Iterable[str], party: Mapping[str, Any]) -> list[str]:
    """What is compared whole with others: the folded name, e-mail addresses, phone digits."""
    found = [fold(" ".join(filter(None, names)))]
    found += [e["address"] for e in party["emails"]]
    found += [digits(p["number"]) for p in party["phones"]]
    return list(dict.fromkeys(filter(None, found)))


def spelt(address: str) -> str:
    """An address that is looked for as it is kept; what is none is nobody's."""
    return email_address(address) or address


def by_email(model: type[models.Party], value: ColumnElement[Any]) -> ColumnElement[bool]:
    """`email=jean@dupont.fr` as a condition that the index of keys answers."""
    return model.keys.contains(array([func.lower(value)]))


def by_phone(model: type[models.Party], value: ColumnElement[Any]) -> ColumnElement[bool]:
    """`phone=+33 6 12 34 56 78` as a condition that the search index answers."""
    number = func.regexp_replace(value, r"^00?|\s*x\d+$|\D", "", "g")
    return model.search.like(func.concat("%", number, " %"))

"""People: added, changed, removed; who may exist already is said when they are added."""

import json
from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import Uuid, column, table
from sqlalchemy.orm import Session

from liaison_contacts import lifecycle, parties
from liaison_contacts.models import Person
from liaison_contacts.owners import OWNERS
from liaison_kit import records
from liaison_kit.database.statements import Statement
from liaison_kit.events.outbox import emit, emit_json
from liaison_kit.events.resend import batches
from liaison_kit.records import Held
from liaison_kit.records.recordtype import RecordType
from liaison_sdk.contracts import contacts as contract
from liaison_sdk.errors import InvalidInput
from liaison_sdk.labels import Label
from liaison_sdk.types import is_blank

PEOPLE = RecordType(
    "contacts",
    Label(en="Contact", fr="Contact"),
    model=Person,
    shape=contract.Contact,
    columns={
        "company_name": parties.company_name(Person.company_id),
        "customer_because": lifecycle.cause(Person),
    },
    filters={
        "email": lambda value: parties.by_email(Person, value),
        "phone": lambda value: parties.by_phone(Person, value),
    },
    indexed_filters=frozenset({"email", "phone", "tags"}),
    spelt={"email": parties.spelt},
    owner=Person.owner_id,
    references={"company_id": parties.COMPANIES_SEEN.view},
    copies={"owner_id": OWNERS},
    seen={"company_id": parties.COMPANIES_SEEN},
    history="seen_history",
    restorable=True,
    follows={"notes": "about_id"},
    attachments=True,
    title=("first_name", "last_name"),
    subtitle=("title", "company_name"),
)


def create(session: Session, new: contract.NewContact) -> Held[Person]:
    """Add a person."""
    values = parties.stored(new, set(type(new).model_fields) - {"custom"})
    person = records.create(
        session,
        PEOPLE,
        Person,
        **values,
        keys=parties.keys((new.first_name, new.last_name), values),
        custom=new.custom or None,
    )
    emit(session, contract.PeopleSaved(people=[reference(person)]))
    return person


def change(
    session: Session, id: UUID, version: int, changes: contract.ContactChanges
) -> Held[Person]:
    """Change what was sent, and nothing else."""
    person = records.load(session, PEOPLE, Person, id, version)
    sent = changes.model_fields_set
    values = parties.stored(changes, sent - {"custom"})
    if "custom" in sent:
        values["custom"] = changes.custom
    first = values.get("first_name", person.first_name)
    last = values.get("last_name", person.last_name)
    if is_blank(first + last):
        raise InvalidInput.field("last_name", "missing", "A person needs a first or a last name")
    reached = {"emails": person.emails, "phones": person.phones} | values
    values["keys"] = parties.keys((first, last), reached)
    stage = values.pop("stage", person.stage)
    person, changed = records.change(session, PEOPLE, person, values)
    if changed:
        emit(session, contract.PeopleSaved(people=[reference(person)]))
    if stage != person.stage:
        return lifecycle.move(session, PEOPLE, person, stage)
    return person


def remove(session: Session, id: UUID, version: int) -> None:
    """Delete a person."""
    person = records.load(session, PEOPLE, Person, id, version)
    records.remove(session, PEOPLE, person)
    tell_removed(session, [id])


def answer(
    session: Session, person: Held[Person], duplicates: list[contract.PossibleDuplicate]
) -> tuple[bytes, int]:
    """The person just added as JSON, with the warning about who they may be."""
    body, version = records.answer(session, PEOPLE, person)
    warning = json.dumps([d.model_dump(mode="json") for d in duplicates])
    return body[:-1] + b',"possible_duplicates":' + warning.encode() + b"}", version


_seen = table("seen_people", column("id", Uuid))


def known(session: Session, ids: Sequence[UUID]) -> list[UUID]:
    """Those of these people that there are, as far as who asks may see them."""
    return parties.those_that_are(session, _seen, ids)


def told_of(session: Session, ids: Sequence[UUID]) -> list[contract.PersonRef]:
    """What others keep of these people, as far as who asks may see them."""
    shown = known(session, ids)
    ((told,),) = _TOLD.run(session, {"ids": shown})
    return contract.PeopleSaved.model_validate_json(told).people


# Several who share an address are none of them whom it names.
_RESOLVE = Statement("""
    SELECT name, min(id::text)::uuid FROM (
        SELECT n.name, p.id FROM unnest(%(names)s::text[]) AS n (name)
          JOIN people_found p ON p.keys @> ARRAY[lower(n.name)] OR p.external_id = n.name
         WHERE p.external_id = n.name
            OR jsonb_path_exists(p.emails, '$[*].address ? (@ == $it)',
                                 jsonb_build_object('it', lower(n.name)))
    ) found
    WHERE id IN (SELECT id FROM seen_people)
    GROUP BY name HAVING count(DISTINCT id) = 1
""")


def resolve(session: Session, names: Sequence[str]) -> dict[str, UUID]:
    """The ids of people by their external id or an e-mail address, as far as who asks sees them."""
    return {name: UUID(str(id)) for name, id in _RESOLVE.run(session, {"names": list(names)})}


# An import tells of thousands, and objects of them cost ten times what JSON does.
_TOLD = Statement("""
    SELECT json_build_object('people', coalesce(json_agg(person), '[]'))::text
      FROM (SELECT id, btrim(first_name || ' ' || last_name) AS name, company_id, owner_id, version
              FROM people WHERE id = ANY(%(ids)s)) person
""")


def tell(session: Session, ids: Sequence[UUID]) -> None:
    """Tell the other services what they keep of these people."""
    for some in batches(ids):
        ((told,),) = _TOLD.run(session, {"ids": list(some)})
        emit_json(session, contract.PeopleSaved, told)


def tell_removed(session: Session, ids: Sequence[UUID]) -> None:
    """Tell the other services that these people are gone."""
    versions = records.removals(session, PEOPLE, ids)
    for id in ids:
        emit(session, contract.PersonRemoved(person_id=id, record_version=versions.get(id)))


def reference(person: Held[Person]) -> contract.PersonRef:
    """The person as other services keep them."""
    return contract.PersonRef(
        id=person.id,
        name=full_name(person.first_name, person.last_name),
        company_id=person.company_id,
        owner_id=person.owner_id,
        version=person.version,
    )


def full_name(first: str, last: str) -> str:
    """First and last name."""
    return f"{first} {last}".strip()

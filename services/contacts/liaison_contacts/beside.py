"""What a file of people says beside them: notes, and facts about the companies they work for."""

from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any
from uuid import UUID

from sqlalchemy import Table, select, text
from sqlalchemy.orm import Session

from liaison_contacts import companies, parties
from liaison_contacts.companies import COMPANIES
from liaison_contacts.models import Company, Person
from liaison_kit import records
from liaison_kit.context import context
from liaison_kit.ids import uuid7

FACTS: Mapping[str, str] = {
    "company_website": "website",
    "company_industry": "industry",
    "company_employees": "employees",
    "company_external_id": "external_id",
    "company_annual_revenue": "annual_revenue_amount",
    "company_annual_revenue currency": "annual_revenue_currency",
}
"""The fields of a file of people that are their companies', and the companies' columns."""
_LONGEST = 20_000

# What is there already is not added again, when a file comes again.
_ADDED = text("""
    WITH said AS (
        SELECT n.id, n.about_id, n.body
          FROM unnest(CAST(:ids AS uuid[]), CAST(:about AS uuid[]), CAST(:bodies AS text[]))
               AS n (id, about_id, body)
    ), added AS (
        INSERT INTO notes (id, tenant_id, version, custom, created_at, created_by, updated_at,
                           updated_by, about, about_id, body)
        SELECT said.id, :tenant, 1, '{}', :now, :user, :now, :user, :record, said.about_id,
               said.body
          FROM said
         WHERE NOT EXISTS (SELECT FROM notes t
                            WHERE t.about_id = said.about_id AND t.body = said.body)
        RETURNING id
    )
    INSERT INTO import_changes (import_id, tenant_id, record_id, action, before, version)
    SELECT :import, :tenant, id, 'note', NULL, 1 FROM added
""")
_TAKEN_BACK = text("""
    WITH gone AS (
        DELETE FROM import_changes WHERE import_id = :import AND action = 'note'
        RETURNING record_id, version
    )
    DELETE FROM notes n USING gone WHERE n.id = gone.record_id AND n.version = gone.version
""")


class Notes:
    """Notes about the records of a file: of its column of notes, and of those that become some."""

    def __init__(self, record: str) -> None:
        self.record = record

    def add(
        self,
        session: Session,
        import_id: UUID,
        values: Mapping[str, Sequence[str]],
        written: Mapping[int, UUID],
    ) -> None:
        """Add what the file says, one note a record; one that is there already is not added."""
        said = {id: body for place, id in written.items() if (body := _body(values, place))}
        if not said:
            return
        about = context(session)
        session.execute(
            _ADDED,
            {
                "ids": [uuid7() for _ in said],
                "about": list(said),
                "bodies": list(said.values()),
                "tenant": about.tenant,
                "now": about.now,
                "user": about.user,
                "record": self.record,
                "import": import_id,
            },
        )

    @staticmethod
    def take_back(session: Session, import_id: UUID) -> None:
        """Delete the notes that an import has added and nobody has changed since."""
        session.execute(_TAKEN_BACK, {"import": import_id})


def _body(values: Mapping[str, Sequence[str]], place: int) -> str:
    lines = [values["notes"][place]] if "notes" in values else []
    for name, column in values.items():
        if name.startswith("note.") and column[place]:
            lines.append(f"{name.removeprefix('note.')}: {column[place]}")
    return "\n".join(filter(None, lines))[:_LONGEST].strip()


def of_people(
    session: Session,
    import_id: UUID,
    values: Mapping[str, Sequence[str]],
    written: Mapping[int, UUID],
) -> None:
    """Write down what a chunk of people says beside them."""
    _PEOPLES_NOTES.add(session, import_id, values, written)
    facts = {name: values[name] for name in FACTS if name in values}
    if facts and written:
        _companies_facts(session, facts, written)


_PEOPLES_NOTES = Notes("contacts")


def _companies_facts(
    session: Session, facts: Mapping[str, Sequence[str]], written: Mapping[int, UUID]
) -> None:
    """Fill in what was not known of the companies; what is known of one stays."""
    people = Person.__table__
    assert isinstance(people, Table)
    rows = session.execute(
        select(people.c.id, people.c.company_id).where(
            people.c.id.in_(written.values()), people.c.company_id.is_not(None)
        )
    )
    company_of: dict[UUID, UUID] = {row.id: row.company_id for row in rows}
    said: dict[UUID, dict[str, Any]] = {}
    for place, person in written.items():
        if person in company_of:
            known = said.setdefault(company_of[person], {})
            for name, column in facts.items():
                if column[place]:
                    known.setdefault(FACTS[name], _typed(FACTS[name], column[place]))
    said = {id: known for id, known in said.items() if known}
    if not said:
        return
    principal = context(session).principal
    if principal is not None:
        principal.demand("companies:write")
    _give_no_id_twice(session, said)
    seen = select(parties.companies_seen.c.id)
    changed = []
    for company in records.locked(
        session, COMPANIES, Company, Company.id.in_(said), Company.id.in_(seen)
    ):
        new = {n: v for n, v in said[company.id].items() if getattr(company, n) is None}
        if "annual_revenue_amount" not in new:
            new.pop("annual_revenue_currency", None)
        if new:
            changed.append(records.change(session, COMPANIES, company, new)[0].id)
    companies.tell(session, changed)


def _give_no_id_twice(session: Session, said: Mapping[UUID, dict[str, Any]]) -> None:
    """Leave out the ids of others, and all but the first use of one."""
    wanted = {known["external_id"] for known in said.values() if "external_id" in known}
    taken = set(session.scalars(select(Company.external_id).where(Company.external_id.in_(wanted))))
    for known in said.values():
        if (id := known.get("external_id")) is not None:
            if id in taken:
                del known["external_id"]
            taken.add(id)


def _typed(column: str, value: str) -> Any:
    if column == "annual_revenue_amount":
        return Decimal(value)
    return int(value) if column == "employees" else value

"""Companies: added, changed, removed; never their own ancestors."""

from collections.abc import Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import exists, func, literal, or_, select
from sqlalchemy.orm import Session

from liaison_contacts import lifecycle, parties
from liaison_contacts.models import Company, Merge, Person
from liaison_contacts.owners import OWNERS
from liaison_kit import records
from liaison_kit.events.outbox import emit
from liaison_kit.events.resend import batches
from liaison_kit.imports.references import SEVERAL, one_each
from liaison_kit.privacy.moved import where_now
from liaison_kit.records import Held
from liaison_kit.records.recordtype import RecordType, money
from liaison_sdk.contracts import contacts as contract
from liaison_sdk.errors import Conflict, InvalidInput
from liaison_sdk.labels import Label

COMPANIES = RecordType(
    "companies",
    Label(en="Company", fr="Société"),
    model=Company,
    shape=contract.Company,
    columns={
        "parent_name": parties.company_name(Company.parent_id),
        "customer_because": lifecycle.cause(Company),
        "annual_revenue": money(Company.annual_revenue_amount, Company.annual_revenue_currency),
    },
    filters={
        "email": lambda value: parties.by_email(Company, value),
        "phone": lambda value: parties.by_phone(Company, value),
    },
    indexed_filters=frozenset({"email", "phone", "tags"}),
    spelt={"email": parties.spelt},
    owner=Company.owner_id,
    references={"parent_id": parties.COMPANIES_SEEN.view},
    copies={"owner_id": OWNERS},
    seen={"parent_id": parties.COMPANIES_SEEN},
    history="seen_history",
    restorable=True,
    follows={"notes": "about_id"},
    attachments=True,
    subtitle=("parent_name", "website"),
)


def create(session: Session, new: contract.NewCompany) -> Held[Company]:
    """Add a company."""
    values = _stored(new, set(type(new).model_fields) - {"custom"})
    company = records.create(
        session,
        COMPANIES,
        Company,
        **values,
        keys=parties.keys((new.name,), values),
        custom=new.custom or None,
    )
    emit(session, contract.CompaniesSaved(companies=[reference(company)]))
    return company


def change(
    session: Session, id: UUID, version: int, changes: contract.CompanyChanges
) -> Held[Company]:
    """Change what was sent, and nothing else."""
    company = records.load(session, COMPANIES, Company, id, version)
    sent = changes.model_fields_set
    values = _stored(changes, sent - {"custom"})
    if values.get("parent_id") not in (None, company.parent_id):
        _no_circle(session, company.id, values["parent_id"])
    if "custom" in sent:
        values["custom"] = changes.custom
    reached = {"emails": company.emails, "phones": company.phones} | values
    name = values.get("name", company.name)
    values["keys"] = parties.keys((name,), reached)
    stage = values.pop("stage", company.stage)
    company, changed = records.change(session, COMPANIES, company, values)
    if changed:
        emit(session, contract.CompaniesSaved(companies=[reference(company)]))
    if stage != company.stage:
        return lifecycle.move(session, COMPANIES, company, stage)
    return company


def remove(session: Session, id: UUID, version: int) -> None:
    """Delete a company that nobody belongs to any more."""
    company = records.load(session, COMPANIES, Company, id, version)
    people = exists().where(Person.company_id == id)
    children = exists().where(Company.parent_id == id)
    if session.scalar(select(or_(people, children))):
        # How many would tell of those that the caller may not see.
        raise Conflict("People or other companies belong to this company")
    records.remove(session, COMPANIES, company)
    tell_removed(session, [id])


def resolve(session: Session, names: list[str]) -> dict[str, UUID]:
    """The ids of companies by their exact names, as far as who asks may see them.

    A name that two share is no one's.
    """
    seen = parties.companies_seen.c
    rows = session.execute(select(seen.name, seen.id).where(seen.name.in_(names)))
    shared = one_each((name, str(id)) for name, id in rows)
    found = {name: UUID(id) for name, id in shared.items() if id != SEVERAL}
    names = [name for name in names if name not in shared]
    return _merged(session, [name for name in names if name not in found]) | found


def _merged(session: Session, names: list[str]) -> dict[str, UUID]:
    """The companies that those have become part of that had these names."""
    if not names:
        return {}
    name = Merge.held["name"].astext
    had = select(name, Merge.from_id).where(
        Merge.record == COMPANIES.name, Merge.undone.is_(False), name.in_(names)
    )
    by_name: dict[str, UUID] = dict(session.execute(had.order_by(Merge.id)).tuples().all())
    moved = where_now(session, list(by_name.values())) if by_name else {}
    seen = parties.those_that_are(
        session, parties.companies_seen, [into for into in moved.values() if into is not None]
    )
    return {name: into for name, id in by_name.items() if (into := moved.get(id)) in seen and into}


def known(session: Session, ids: Sequence[UUID]) -> list[contract.CompanyRef]:
    """What others keep of these companies, as far as who asks may see them."""
    seen = select(parties.companies_seen.c.id)
    rows = session.execute(select(*_REFERENCE).where(Company.id.in_(ids), Company.id.in_(seen)))
    return [contract.CompanyRef.model_construct(**row._mapping) for row in rows]


_REFERENCE = (Company.id, Company.name, Company.external_id, Company.owner_id, Company.version)


def tell(session: Session, ids: Sequence[UUID]) -> None:
    """Tell the other services what they keep of these companies."""
    for some in batches(ids):
        rows = session.execute(select(*_REFERENCE).where(Company.id == func.any(list(some))))
        told = [contract.CompanyRef.model_construct(**row._mapping) for row in rows]
        emit(session, contract.CompaniesSaved(companies=told))


def tell_removed(session: Session, ids: Sequence[UUID]) -> None:
    """Tell the other services that these companies are gone."""
    versions = records.removals(session, COMPANIES, ids)
    for id in ids:
        emit(session, contract.CompanyRemoved(company_id=id, record_version=versions.get(id)))


def reference(company: Held[Company]) -> contract.CompanyRef:
    """The company as other services keep it."""
    return contract.CompanyRef(
        id=company.id,
        name=company.name,
        external_id=company.external_id,
        owner_id=company.owner_id,
        version=company.version,
    )


def _no_circle(session: Session, id: UUID, parent: UUID) -> None:
    # A parent that the caller may not see is refused as a reference, and nothing is told of it.
    above = (
        select(Company.id, Company.parent_id, literal(1).label("depth"))
        .where(Company.id == parent, Company.id.in_(select(parties.companies_seen.c.id)))
        .cte(recursive=True)
    )
    above = above.union_all(
        select(Company.id, Company.parent_id, above.c.depth + 1)
        .join(above, Company.id == above.c.parent_id)
        .where(above.c.depth < 100)
    )
    if session.scalar(select(func.count()).select_from(above).where(above.c.id == id)):
        raise InvalidInput.field("parent_id", "circle", "A company can't be below itself")


def _stored(
    given: contract.NewCompany | contract.CompanyChanges, names: set[str]
) -> dict[str, Any]:
    values = parties.stored(given, names)
    if "annual_revenue" in values:
        revenue = values.pop("annual_revenue")
        values["annual_revenue_amount"] = None if revenue is None else revenue.amount
        values["annual_revenue_currency"] = None if revenue is None else str(revenue.currency)
    return values

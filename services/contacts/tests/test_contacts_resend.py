"""Contacts tells again what others keep of its companies and people, and keeps what it is told."""

import json
from collections.abc import Callable, Sequence
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text
from sqlalchemy.orm import Session

from liaison_contacts import companies, people
from liaison_contacts.companies import COMPANIES
from liaison_contacts.importing import CompaniesByName
from liaison_contacts.owners import OWNERS
from liaison_contacts.service import Contacts
from liaison_kit import jobs
from liaison_kit.calls.wire import Reply
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.events import resend
from liaison_kit.events.resend import BATCH, Told
from liaison_kit.ids import uuid7
from liaison_kit.jobs import Cancelled, Job
from liaison_kit.testing import about, at_work, in_hand, principal, told
from liaison_kit.testing import call as call_operation
from liaison_sdk.contracts.contacts import CompanyChanges, NewCompany, NewContact
from liaison_sdk.contracts.identity import UserRef, UsersSaved


def call(db: Database, who: Context, module: str = "contacts") -> Reply:
    """Ask for a resend as the wire does."""
    assert who.principal is not None
    path = {"module": module}
    return call_operation(at_work(Contacts, db), "resend", who.principal, path=path)


def ask(db: Database, who: Context) -> UUID:
    """The job that tells again, queued."""
    return UUID(json.loads(call(db, who).body)["job"])


def tell_again(
    db: Database, who: Context, job: UUID | None = None, tells: Sequence[Told] = Contacts.tells
) -> list[tuple[str, dict[str, Any]]]:
    """What is told by a resend, from its start or from where it was left."""
    before = len(told(db, who.tenant))
    resend.tell_again(in_hand(db, who, job or ask(db, who)), tells)
    return told(db, who.tenant)[before:]


def progress(db: Database, who: Context, job: UUID) -> Job:
    with db.reading(who) as session:
        return jobs.shape(jobs.find(session, job))


def add_companies(db: Database, who: Context, number: int) -> set[str]:
    with db.writing(who) as session:
        made = CompaniesByName().create(session, [f"Company {n}" for n in range(number)])
    return set(made.values())


def ids(events: Sequence[tuple[str, dict[str, Any]]]) -> list[str]:
    """The companies that events tell of, as often as they do."""
    return [
        ref["id"] for type, data in events if type == "companies_saved" for ref in data["companies"]
    ]


def everything(db: Database, who: Context) -> list[Any]:
    """What a resend must leave alone."""
    tables = ("companies", "people", "history", "occurrences")
    with db.reading(who) as session:
        return [
            session.execute(text(f"SELECT to_jsonb(t)::text FROM {table} t ORDER BY 1")).all()
            for table in tables
        ]


def test_companies_and_people_are_told_as_they_are_now_and_left_as_they_were(
    contacts_db: Database, someone: Context
) -> None:
    with contacts_db.writing(someone) as session:
        company = companies.create(session, NewCompany(name="Acme", external_id="A-1"))
    with contacts_db.writing(someone) as session:
        companies.change(session, company.id, 1, CompanyChanges(name="Acme & Cie"))
    with contacts_db.writing(someone) as session:
        person = people.create(
            session, NewContact(first_name="Zoé", last_name="Martin", company_id=company.id)
        )
    before = everything(contacts_db, someone)

    again = tell_again(contacts_db, someone)

    refs = {"id": str(company.id), "name": "Acme & Cie", "external_id": "A-1", "version": 2}
    who = {"id": str(person.id), "name": "Zoé Martin", "company_id": str(company.id), "version": 1}
    assert again == [
        ("companies_saved", {"companies": [refs | {"owner_id": None}]}),
        ("people_saved", {"people": [who | {"owner_id": None}]}),
    ]
    assert everything(contacts_db, someone) == before


def test_what_is_gone_is_told_as_gone(contacts_db: Database, someone: Context) -> None:
    with contacts_db.writing(someone) as session:
        company = companies.create(session, NewCompany(name="Gone SA"))
        person = people.create(session, NewContact(last_name="Gone"))
    with contacts_db.writing(someone) as session:
        companies.remove(session, company.id, 1)
        people.remove(session, person.id, 1)

    again = tell_again(contacts_db, someone)

    gone = {"record_version": 2, "because": "deleted"}
    assert again == [
        ("company_removed", {"company_id": str(company.id)} | gone),
        ("person_removed", {"person_id": str(person.id)} | gone),
    ]


def test_many_are_told_in_batches_each_once_and_counted(
    contacts_db: Database, someone: Context
) -> None:
    made = add_companies(contacts_db, someone, 2 * BATCH + 10)
    job = ask(contacts_db, someone)

    again = tell_again(contacts_db, someone, job)

    assert [len(data["companies"]) for _, data in again] == [BATCH, BATCH, 10]
    assert sorted(ids(again)) == sorted(made)
    ended = progress(contacts_db, someone, job)
    assert (ended.done, ended.total) == (len(made), len(made))


def test_as_many_as_fill_their_batches_end_without_an_empty_one(
    contacts_db: Database, someone: Context
) -> None:
    add_companies(contacts_db, someone, BATCH)

    again = tell_again(contacts_db, someone)

    assert [len(data["companies"]) for _, data in again] == [BATCH]


def on_the_second_batch(then: Callable[[Session], None]) -> Sequence[Told]:
    """Companies told as ever, but for what happens while the second batch is told."""
    batches = []

    def tell(session: Session, ids: Sequence[UUID]) -> None:
        companies.tell(session, ids)
        batches.append(ids)
        if len(batches) == 2:
            then(session)

    return [Told(COMPANIES, tell, companies.tell_removed)]


def test_a_cancelled_resend_stops_after_its_present_batch(
    contacts_db: Database, someone: Context
) -> None:
    add_companies(contacts_db, someone, 3 * BATCH)
    job = ask(contacts_db, someone)
    before = len(told(contacts_db, someone.tenant))

    def cancel(_: Session) -> None:
        with contacts_db.writing(someone) as session:
            jobs.cancel(session, job)

    with pytest.raises(Cancelled):
        tell_again(contacts_db, someone, job, on_the_second_batch(cancel))

    again = told(contacts_db, someone.tenant)[before:]
    assert [len(data["companies"]) for _, data in again] == [BATCH, BATCH]
    ended = progress(contacts_db, someone, job)
    assert (ended.done, ended.total) == (2 * BATCH, 3 * BATCH)


def test_a_resend_whose_worker_died_goes_on_behind_its_last_batch(
    contacts_db: Database, someone: Context
) -> None:
    made = add_companies(contacts_db, someone, 3 * BATCH)
    job = ask(contacts_db, someone)
    before = len(told(contacts_db, someone.tenant))

    def die(_: Session) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        tell_again(contacts_db, someone, job, on_the_second_batch(die))
    told_before = told(contacts_db, someone.tenant)[before:]
    told_after = tell_again(contacts_db, someone, job)

    assert len(told_before) == 1
    assert sorted(ids(told_before) + ids(told_after)) == sorted(made)
    assert progress(contacts_db, someone, job).done == len(made)


def test_a_resend_tells_nothing_of_another_tenant(contacts_db: Database, someone: Context) -> None:
    other = about()
    theirs = add_companies(contacts_db, other, 3)
    before = told(contacts_db, other.tenant)
    own = add_companies(contacts_db, someone, 3)

    again = tell_again(contacts_db, someone)

    assert set(ids(again)) == own
    assert not own & theirs
    assert told(contacts_db, other.tenant) == before


def test_all_rows_are_told_also_those_that_the_operator_may_not_see(
    contacts_db: Database, someone: Context
) -> None:
    made = add_companies(contacts_db, someone, 3)
    narrow = about(
        principal(someone.tenant, "operations:manage", rows={"companies": "own", "contacts": "own"})
    )

    again = tell_again(contacts_db, narrow)

    assert set(ids(again)) == made


def test_who_may_manage_operations_gets_a_job_to_follow(contacts_db: Database) -> None:
    accepted = call(contacts_db, about(principal(None, "operations:manage")))

    assert accepted.status == 202
    assert accepted.headers["Location"].startswith("/api/v1/jobs/")


def test_others_are_refused_and_other_modules_are_not_answered_for(contacts_db: Database) -> None:
    refused = call(contacts_db, about(principal(None, "contacts:write", "companies:write")))
    elsewhere = call(contacts_db, about(), "sales")

    assert refused.status == 403
    assert elsewhere.status == 404


# --- what contacts keeps of users ----------------------------------------------------------------


def keep(db: Database, who: Context, *users: tuple[UUID, str, int]) -> None:
    unknown = {"team_id": None, "team": None, "region": None, "manager_id": None, "manager": None}
    refs = [
        UserRef.model_validate(
            unknown | {"id": id, "name": name, "email": None, "active": True, "version": version}
        )
        for id, name, version in users
    ]
    with db.writing(who) as session:
        OWNERS.keep(session, UsersSaved(users=refs))


def kept(db: Database, who: Context) -> list[tuple[str, int]]:
    with db.reading(who) as session:
        rows = session.execute(text("SELECT name, version FROM owners ORDER BY name"))
        return [(row.name, row.version) for row in rows]


def test_a_user_told_again_changes_nothing_and_an_older_telling_never_goes_back(
    contacts_db: Database, someone: Context
) -> None:
    anna, moses = uuid7(), uuid7()
    keep(contacts_db, someone, (anna, "Anna", 3), (moses, "Moses", 1))
    before = told(contacts_db, someone.tenant)

    keep(contacts_db, someone, (anna, "Anna as of 3, once more", 3))
    keep(contacts_db, someone, (moses, "Moses of today", 2), (anna, "Anna as of 2", 2))

    assert kept(contacts_db, someone) == [("Anna", 3), ("Moses of today", 2)]
    assert told(contacts_db, someone.tenant) == before

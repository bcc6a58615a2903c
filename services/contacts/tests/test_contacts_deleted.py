"""Who belonged to a deleted company belongs to none, until it is back."""

import json
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest
from sqlalchemy import text

from liaison_contacts import merges
from liaison_contacts.companies import COMPANIES
from liaison_contacts.importing import COMPANIES_IMPORT
from liaison_contacts.owners import OWNERS
from liaison_contacts.service import Contacts
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.imports.rollback import roll_back
from liaison_kit.plugins import Hooks
from liaison_kit.records import files
from liaison_kit.testing import about, at_work, call, ended, principal, statements, told
from liaison_sdk.contracts.contacts import Merging
from liaison_sdk.contracts.identity import UserRef

Desk = Any


@pytest.fixture
def desk(contacts_db: Database, someone: Context) -> Desk:
    """What an operation answers: its JSON, or its status where it has none."""
    service = at_work(Contacts, contacts_db, hooks=Hooks("contacts", 0.5))

    def ask(name: str, body: Any = None, **meta: Any) -> Any:
        who = meta.pop("who", someone.principal)
        sent = b"" if body is None else json.dumps(body).encode()
        reply = call(service, name, who, sent, **meta)
        return json.loads(reply.body) if reply.body[:1] == b"{" else reply.status

    return ask


def company(desk: Desk, name: str, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = desk("create_company", {"name": name} | fields)
    return made


def person(desk: Desk, name: str, **fields: Any) -> dict[str, Any]:
    made: dict[str, Any] = desk("create_contact", {"last_name": name} | fields)
    return made


def user(id: UUID) -> UserRef:
    known = {"name": "Rep", "email": None, "region": None, "team_id": None, "team": None}
    known |= {"manager_id": None, "manager": None}
    return UserRef.model_validate({"id": id, "active": True, "version": 1} | known)


def history(desk: Desk, record: str, id: str) -> list[Any]:
    items = desk("list_history", query=[["record", record], ["id", id]])["items"]
    return [(item["action"], item["changes"]) for item in items]


def test_people_and_companies_of_a_deleted_company_are_let_go_and_come_back(
    contacts_db: Database, someone: Context, desk: Desk
) -> None:
    acme = company(desk, "Acme")
    child = company(desk, "Acme Nord", parent_id=acme["id"])
    lee = person(desk, "Lee", company_id=acme["id"])

    assert desk("delete_company", path={"id": acme["id"]}, if_match=1) == 204

    alone = desk("get_contact", path={"id": lee["id"]})
    assert (alone["company_id"], alone["company_name"], alone["version"]) == (None, None, 2)
    assert desk("get_company", path={"id": child["id"]})["parent_id"] is None
    assert history(desk, "contacts", lee["id"]) == [
        ("unlinked", {"company_id": [acme["id"], None]})
    ]
    kinds = [kind for kind, _ in told(contacts_db, someone.tenant)][-3:]
    assert sorted(kinds[:2]) == ["companies_saved", "people_saved"]
    assert kinds[2] == "company_removed"

    desk("restore_company", path={"id": acme["id"]})

    again = desk("get_contact", path={"id": lee["id"]})
    assert (again["company_id"], again["company_name"]) == (acme["id"], "Acme")
    assert desk("get_company", path={"id": child["id"]})["parent_name"] == "Acme"


def test_deleting_a_company_of_many_is_as_many_statements_as_of_one(
    contacts_db: Database, desk: Desk
) -> None:
    acme, bolt = company(desk, "Acme"), company(desk, "Bolt")
    for one in (acme, *[bolt] * 15):
        person(desk, "Lee", company_id=one["id"])
    runs = []

    for one in (acme, bolt):
        with statements(contacts_db) as seen:
            desk("delete_company", path={"id": one["id"]}, if_match=1)
        runs.append(len(seen))

    assert runs[0] == runs[1] <= 14


def test_a_person_is_back_with_a_company_that_who_restores_them_may_not_see(
    contacts_db: Database, desk: Desk, someone: Context
) -> None:
    rep = principal(someone.tenant, rows={"contacts": "own", "companies": "own"})
    acme = company(desk, "Acme")
    lee = person(desk, "Lee", company_id=acme["id"])
    with contacts_db.writing(someone) as session:
        OWNERS.learn(session, [user(rep.user)])
        theirs = {"owner": rep.user, "id": lee["id"]}
        session.execute(text("UPDATE people SET owner_id = :owner WHERE id = :id"), theirs)
    path = {"id": lee["id"]}

    desk("delete_contact", path=path, if_match=1, who=rep)
    desk("restore_contact", path=path, who=rep)

    assert desk("get_contact", path=path)["company_id"] == acme["id"]


def test_a_deleted_person_has_a_history_and_takes_timeline_notes_and_files_along(
    contacts_db: Database, desk: Desk, someone: Context
) -> None:
    lee = person(desk, "Lee")
    path = {"id": lee["id"]}
    desk("create_contact_note", {"body": "Likes tea"}, path=path)
    upload = {"id": str(uuid7()), "name": "cv.txt", "content_type": "text/plain", "size": 3}
    with contacts_db.writing(someone) as session:
        files.put(session, UUID(upload["id"]), 0, b"abc")
        session.execute(
            text(
                "INSERT INTO occurrences (tenant_id, id, about_id, at, kind, details)"
                " VALUES (:tenant, :id, :about, now(), 'deal_won', '{}')"
            ),
            {"tenant": someone.tenant, "id": uuid7(), "about": lee["id"]},
        )
    desk("create_contact_attachment", path=path, upload=upload)
    left = {
        table: f"SELECT count(*) FROM {table} WHERE {column} = '{id}'"
        for table, column, id in (
            ("notes", "about_id", lee["id"]),
            ("attachments", "about_id", lee["id"]),
            ("occurrences", "about_id", lee["id"]),
            ("file_parts", "file_id", upload["id"]),
        )
    }

    def counts() -> list[int]:
        with contacts_db.reading(someone) as session:
            return [session.scalar(text(each)) or 0 for each in left.values()]

    assert counts() == [1, 1, 1, 1]
    desk("delete_contact", path=path, if_match=1)
    assert counts() == [0, 0, 0, 1]
    assert history(desk, "contacts", lee["id"])[0][0] == "removed"
    desk("restore_contact", path=path)
    assert counts() == [1, 1, 1, 1]

    desk("delete_contact", path=path, if_match=3)
    with contacts_db.writing(someone) as session:
        session.execute(text("UPDATE trash SET deleted_at = now() - interval '31 days'"))
    with contacts_db.connection() as connection:
        connection.execute(text("SELECT empty_trash()"))
        connection.commit()

    assert counts() == [0, 0, 0, 0]
    asked = [["record", "contacts"], ["id", lee["id"]]]
    assert desk("list_history", query=asked)["status"] == 404


def test_a_parent_and_its_child_are_deleted_at_once_and_taken_back(
    contacts_db: Database, desk: Desk, someone: Context
) -> None:
    acme = company(desk, "Acme")
    child = company(desk, "Acme Nord", parent_id=acme["id"])
    both = [acme["id"], child["id"]]
    service = at_work(Contacts, contacts_db, hooks=Hooks("contacts", 0.5))
    job = desk("change_many_companies", {"ids": both, "delete": True})["job"]
    ended(service, someone, job)

    assert [desk("get_company", path={"id": id})["status"] for id in both] == [404, 404]
    ended(service, someone, desk("undo_bulk", path={"id": job})["job"])

    assert desk("get_company", path={"id": child["id"]})["parent_id"] == acme["id"]


def test_companies_of_an_import_that_is_taken_back_are_let_go_of(
    contacts_db: Database, desk: Desk, someone: Context
) -> None:
    acme = company(desk, "Acme")
    lee = person(desk, "Lee", company_id=acme["id"])
    row = {"tenant": someone.tenant, "import": uuid7(), "id": acme["id"]}
    with contacts_db.writing(someone) as session:
        session.execute(
            text(
                "INSERT INTO import_changes (tenant_id, import_id, record_id, action, version)"
                " VALUES (:tenant, :import, :id, 'created', 1)"
            ),
            row,
        )
    steps = SimpleNamespace(checkpoint={}, done=0, step=lambda: contacts_db.writing(someone))

    counts = roll_back(cast(Any, steps), COMPANIES_IMPORT, row["import"], ["name"])

    assert counts == {"deleted": 1, "restored": 0, "kept": 0}
    assert desk("get_contact", path={"id": lee["id"]})["company_id"] is None


def test_the_history_of_what_is_deleted_is_for_who_might_see_it(
    desk: Desk, someone: Context
) -> None:
    lee = person(desk, "Lee")
    desk("delete_contact", path={"id": lee["id"]}, if_match=1)
    asked = [["record", "contacts"], ["id", lee["id"]]]
    rep = principal(someone.tenant, rows={"contacts": "own"})

    for who, status in ((someone.principal, None), (rep, 404), (about().principal, 404)):
        assert desk("list_history", query=asked, who=who).get("status") == status


def test_a_merged_company_is_told_as_merged_and_its_survivor_may_go_and_come_back(
    contacts_db: Database, desk: Desk, someone: Context
) -> None:
    into, other = company(desk, "Acme"), company(desk, "Acme SA")
    lee = person(desk, "Lee", company_id=other["id"])
    service = at_work(Contacts, contacts_db, hooks=Hooks("contacts", 0.5))
    with contacts_db.writing(someone) as session:
        merging = Merging.model_validate({"from": other["id"]})
        done = merges.merge(session, COMPANIES, UUID(into["id"]), 1, merging)
        service.merged(session, done)
    version = desk("get_company", path={"id": into["id"]})["version"]

    desk("delete_company", path={"id": into["id"]}, if_match=version)
    assert desk("get_contact", path={"id": lee["id"]})["company_id"] is None
    desk("restore_company", path={"id": into["id"]})
    with contacts_db.writing(someone) as session:
        undone = merges.undo(session, COMPANIES, UUID(into["id"]), done.request_id)
        service.unmerged(session, undone)

    assert desk("get_contact", path={"id": lee["id"]})["company_id"] == other["id"]
    gone = [data for kind, data in told(contacts_db, someone.tenant) if kind == "company_removed"]
    assert [each["because"] for each in gone] == ["merged", "deleted"]

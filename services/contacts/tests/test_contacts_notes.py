"""Notes and files are for whoever may do the same with the person or company that they hang on."""

import json
from uuid import UUID

import pytest

from liaison_contacts import companies, notes, people
from liaison_contacts.companies import COMPANIES
from liaison_contacts.people import PEOPLE
from liaison_contacts.service import Contacts
from liaison_kit.calls.manifest import manifest
from liaison_kit.calls.wire import Upload
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.records import attachments, files
from liaison_kit.testing import at_work, call, principal
from liaison_sdk.contracts.contacts import NewCompany, NewContact, NewNote

# In an order in which each finds what it is about.
VERBS = {
    "get_attachment_content": "read",
    "change_note": "write",
    "delete_note": "write",
    "delete_attachment": "write",
}


def hung(db: Database, who: Context, record: str) -> dict[str, UUID]:
    """A note and a file on a new record; the id that each operation is asked for."""
    upload = Upload(uuid7(), "plan.txt", "text/plain", 3)
    with db.writing(who) as session:
        if record == "contacts":
            kind, id = PEOPLE, people.create(session, NewContact(last_name="Lee")).id
        else:
            kind, id = COMPANIES, companies.create(session, NewCompany(name="Acme")).id
        note = notes.add(session, kind, id, NewNote(body="Call back")).id
        files.put(session, upload.id, 0, b"abc")
        attachments.attach(session, kind, id, upload)
    return {name: note if "note" in name else upload.id for name in VERBS}


def statuses(db: Database, who: Context, ids: dict[str, UUID], *permissions: str) -> dict[str, int]:
    """What each operation answers to somebody of the tenant with these permissions."""
    service = at_work(Contacts, db)
    someone = principal(who.tenant, *permissions)
    found = {}
    for name, id in ids.items():
        # A note that has been rewritten is at its second version.
        version = 2 if name == "delete_note" else 1
        body = json.dumps({"body": "Done"}).encode()
        path = {"id": str(id)}
        found[name] = call(service, name, someone, body, if_match=version, path=path).status
    return found


@pytest.mark.parametrize(
    ("record", "other"), [("contacts", "companies"), ("companies", "contacts")]
)
def test_what_hangs_on_a_record_needs_the_permission_for_it_and_no_other(
    contacts_db: Database, someone: Context, record: str, other: str
) -> None:
    ids = hung(contacts_db, someone, record)

    stranger = statuses(contacts_db, someone, ids, f"{other}:read", f"{other}:write")
    reader = statuses(contacts_db, someone, ids, f"{record}:read")
    writer = statuses(contacts_db, someone, ids, f"{record}:read", f"{record}:write")

    assert stranger == dict.fromkeys(VERBS, 403)
    assert reader == dict.fromkeys(VERBS, 403) | {"get_attachment_content": 200}
    assert list(writer.values()) == [200, 200, 204, 204]


def test_what_is_needed_is_documented_though_the_door_can_not_check_it() -> None:
    told = {operation["name"]: operation for operation in manifest(Contacts)["operations"]}

    for name, verb in VERBS.items():
        assert told[name]["permission"] is None
        assert f"`contacts:{verb}` or `companies:{verb}`" in told[name]["description"]

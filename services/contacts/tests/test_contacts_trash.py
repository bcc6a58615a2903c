"""A person who is deleted by mistake comes back with all that hung on them."""

import json
from typing import Any
from uuid import UUID

import pytest

from liaison_contacts.service import Contacts
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.plugins import Hooks
from liaison_kit.records import files
from liaison_kit.testing import about, at_work, call, principal, told

Desk = Any


@pytest.fixture
def desk(contacts_db: Database, someone: Context) -> Desk:
    """What an operation answers: its status and its JSON."""
    service = at_work(Contacts, contacts_db, hooks=Hooks("contacts", 0.5))

    def ask(name: str, body: Any = None, **meta: Any) -> tuple[int, Any]:
        who = meta.pop("who", someone.principal)
        sent = b"" if body is None else json.dumps(body).encode()
        reply = call(service, name, who, sent, **meta)
        return reply.status, json.loads(reply.body) if reply.body[:1] in (b"{", b"[") else None

    return ask


def test_notes_and_files_go_with_a_person_and_come_back_with_them(
    contacts_db: Database, someone: Context, desk: Desk
) -> None:
    _, lee = desk("create_contact", {"last_name": "Lee", "external_id": "L1"})
    path = {"id": lee["id"]}
    desk("create_contact_note", {"body": "Likes tea"}, path=path)
    upload = {"id": str(uuid7()), "name": "cv.txt", "content_type": "text/plain", "size": 3}
    with contacts_db.writing(someone) as session:
        files.put(session, UUID(upload["id"]), 0, b"abc")
    desk("create_contact_attachment", path=path, upload=upload)

    assert desk("delete_contact", path=path, if_match=1)[0] == 204
    assert desk("get_contact", path=path)[0] == 404
    asked = {"query": [["record", "contacts"], ["id", lee["id"]]]}
    assert desk("list_history", **asked)[1]["items"][0]["action"] == "removed"
    (deleted,) = desk("list_trash", query=[["record", "contacts"]])[1]["items"]
    assert (deleted["id"], deleted["values"]["last_name"]) == (lee["id"], "Lee")
    status, back = desk("restore_contact", path=path)

    assert (status, back["version"], back["external_id"]) == (200, 3, "L1")
    (note,) = desk("list_contact_notes", path=path)[1]["items"]
    assert note["body"] == "Likes tea"
    (file,) = desk("list_contact_attachments", path=path)[1]["items"]
    assert file["id"] == upload["id"]
    events = [(kind, data) for kind, data in told(contacts_db, someone.tenant)]
    kinds = [kind for kind, _ in events if kind.startswith("pe")]
    assert kinds == ["people_saved", "person_removed", "people_saved", "person_restored"]
    assert events[-2][1]["people"][0]["version"] == 3
    assert [events[-3][1]["because"], events[-1][1]["record_version"]] == ["deleted", 3]


def test_the_trash_is_for_who_may_see_such_records(desk: Desk, someone: Context) -> None:
    _, lee = desk("create_contact", {"last_name": "Lee"})
    path = {"id": lee["id"]}
    desk("delete_contact", path=path, if_match=1)
    reader = principal(someone.tenant, "history:read", "contacts:read")
    stranger = principal(someone.tenant, "history:read", "companies:read")
    other = about().principal

    assert len(desk("list_trash", query=[["record", "contacts"]], who=reader)[1]["items"]) == 1
    assert desk("list_trash", query=[["record", "contacts"]], who=stranger)[0] == 403
    assert desk("list_trash", query=[["record", "contacts"]], who=other)[1]["items"] == []
    assert desk("restore_contact", path=path, who=reader)[0] == 403
    assert desk("restore_contact", path=path, who=other)[0] == 404

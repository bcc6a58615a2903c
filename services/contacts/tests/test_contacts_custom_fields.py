"""Fields that a tenant has added are changed with care, and go with what records have in them."""

import json
import threading
import time
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from liaison_contacts import people
from liaison_contacts.people import PEOPLE
from liaison_contacts.service import Contacts
from liaison_kit.calls.builtin import FieldRemoved
from liaison_kit.calls.wire import Reply
from liaison_kit.context import Context, Principal
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.plugins import Hooks
from liaison_kit.records import custom
from liaison_kit.testing import at_work, call, principal
from liaison_sdk.contracts.contacts import NewContact


class Admin:
    """Somebody who may change the fields of a tenant, and people who have values in them."""

    def __init__(self, db: Database) -> None:
        self.db = db
        self.who: Principal = principal()
        self.service = at_work(Contacts, db, hooks=Hooks("contacts", 0.5))

    @property
    def context(self) -> Context:
        return Context(tenant=self.who.tenant, principal=self.who)

    def ask(self, name: str, body: Any = None, status: int = 200, **more: Any) -> Any:
        sent = b"" if body is None else json.dumps(body).encode()
        reply: Reply = call(self.service, name, self.who, sent, **more)
        assert reply.status == status, reply.body
        return json.loads(reply.body) if reply.body else None

    def field(self, status: int = 201, **said: Any) -> Any:
        new = {"name": "size", "kind": "text", "label": {"en": "Size", "fr": "Taille"}} | said
        return self.ask("create_custom_field", new, status, query=[["record", "contacts"]])

    def change(self, field: Any, status: int = 200, **said: Any) -> Any:
        version = said.pop("version", field["version"])
        return self.ask(
            "change_custom_field", said, status, path={"id": field["id"]}, if_match=version
        )

    def remove(self, field: Any) -> None:
        self.ask("delete_custom_field", path={"id": field["id"]}, status=204)

    def person(self, **values: Any) -> str:
        new = {"last_name": "Ada", "custom": values}
        return str(self.ask("create_contact", new, 201)["id"])

    def read(self, id: str) -> Any:
        return self.ask("get_contact", path={"id": id})

    def sweep(self, field: Any) -> bool:
        with self.db.writing(self.context) as session:
            return custom.sweep(session, PEOPLE, UUID(field["id"]))

    def waiting(self) -> list[Any]:
        with self.db.reading(self.context) as session:
            kind = FieldRemoved.kind
            return list(session.scalars(text(f"SELECT key FROM timers WHERE kind = '{kind}'")))


@pytest.fixture
def admin(contacts_db: Database) -> Admin:
    return Admin(contacts_db)


def test_a_field_goes_with_what_records_have_in_it(admin: Admin) -> None:
    field = admin.field()
    ada = admin.person(size="large")
    admin.remove(field)

    assert admin.read(ada)["custom"] == {}
    number = admin.field(kind="number")
    assert admin.read(ada)["custom"] == {}
    assert admin.read(ada)["version"] == 1
    admin.ask("change_contact", {"custom": {"size": 3}}, path={"id": ada}, if_match=1)
    assert admin.read(ada)["custom"] == {"size": 3}
    assert number["id"] != field["id"]
    assert admin.waiting() == []


def test_of_many_records_the_values_are_hidden_at_once_and_go_piece_by_piece(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custom, "PIECE", 2)
    field, other = admin.field(), admin.field(name="motto")
    all_five = [admin.person(size="large", motto="on") for _ in range(5)]
    admin.remove(field)

    listed = admin.ask("list_contacts")["items"]
    assert [each["custom"] for each in listed] == [{"motto": "on"}] * 5
    assert admin.waiting() == [field["id"]]
    assert [each["name"] for each in fields(admin)] == ["motto"]
    refused = admin.field(status=409)
    assert refused["code"] == "being_removed"
    admin.ask("list_contacts", status=422, query=[["custom.size", "large"]])
    # Who changes a record meanwhile puts nothing back.
    admin.ask("change_contact", {"custom": {"motto": "off"}}, path={"id": all_five[4]}, if_match=1)
    assert admin.read(all_five[4])["custom"] == {"motto": "off"}

    done = [admin.sweep(field), admin.sweep(field), admin.sweep(field)]

    assert done == [False, True, True]
    admin.field()
    assert [admin.read(id)["custom"] for id in all_five] == [{"motto": "on"}] * 4 + [
        {"motto": "off"}
    ]
    assert other["name"] == "motto"


def fields(admin: Admin) -> Any:
    return admin.ask("list_custom_fields", query=[["record", "contacts"]])["items"]


def test_a_timer_goes_on_until_no_record_is_left(
    admin: Admin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(custom, "PIECE", 2)
    field = admin.field()
    for _ in range(5):
        admin.person(size="large")
    admin.remove(field)

    timer = FieldRemoved(record="contacts", field_id=field["id"])
    for _ in range(2):
        with admin.db.writing(admin.context) as session:
            admin.service.on_field_removed(session, timer)

    assert admin.field()["name"] == "size"


def test_a_record_that_somebody_is_changing_is_left_for_the_next_time(admin: Admin) -> None:
    field = admin.field()
    ada = admin.person(size="large")
    with admin.db.writing(admin.context) as session:
        lock = text("SELECT id FROM people WHERE id = :id FOR UPDATE")
        session.execute(lock, {"id": ada})
        admin.remove(field)

        assert admin.waiting() == [field["id"]]
        assert admin.field(status=409)["code"] == "being_removed"
    assert admin.sweep(field)
    admin.field()
    assert admin.read(ada)["custom"] == {}


def test_what_is_written_while_a_field_goes_goes_with_it(admin: Admin) -> None:
    field = admin.field()
    going = threading.Thread(target=admin.remove, args=[field])
    with admin.db.writing(admin.context) as session:
        custom.check(session, "contacts", {"size": "large"})
        going.start()
        while not waits(admin):
            time.sleep(0.01)
        new = NewContact(last_name="Ada", custom={"size": "large"})
        ada = str(people.create(session, new).id)
    going.join()

    assert admin.read(ada)["custom"] == {}
    admin.field()
    assert admin.read(ada)["custom"] == {}


def waits(admin: Admin) -> bool:
    with admin.db.reading(admin.context) as session:
        asked = "SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted"
        return bool(session.scalar(text(asked)))


def test_what_comes_from_the_trash_has_no_value_of_a_field_that_is_gone(admin: Admin) -> None:
    field, _ = admin.field(), admin.field(name="motto")
    ada = admin.person(size="large", motto="on")
    admin.ask("delete_contact", path={"id": ada}, if_match=1, status=204)
    admin.remove(field)
    admin.field(kind="number")

    (held,) = admin.ask("list_trash", query=[["record", "contacts"]])["items"]
    assert held["values"]["custom"] == {"motto": "on"}
    admin.ask("restore_contact", path={"id": ada})
    assert admin.read(ada)["custom"] == {"motto": "on"}


def test_what_was_put_aside_before_a_field_was_added_holds_nothing_of_it(admin: Admin) -> None:
    field = admin.field()
    before = uuid7()
    with admin.db.reading(admin.context) as session:
        assert custom.still_held(session, "contacts", uuid7(), {"size": 1}) == {"size": 1}
    admin.remove(field)
    admin.field()

    with admin.db.reading(admin.context) as session:
        assert custom.still_held(session, "contacts", before, {"size": 1}) == {}


def test_a_field_is_called_otherwise_and_keeps_its_name_and_values(admin: Admin) -> None:
    field = admin.field()
    ada = admin.person(size="large")

    changed = admin.change(field, label={"en": "Format", "fr": "Format"}, personal=True)

    assert (changed["name"], changed["label"]["en"], changed["version"]) == ("size", "Format", 2)
    assert (changed["personal"], changed["required"]) == (True, False)
    assert admin.read(ada)["custom"] == {"size": "large"}
    stale = admin.change(field, 412, label={"en": "Late", "fr": "Tard"})
    assert stale["code"] == "stale_version"
    assert admin.change(changed)["version"] == 2


def test_a_name_and_a_kind_stay_and_it_is_said_what_to_do(admin: Admin) -> None:
    field = admin.field()

    for what, value, instead in (("name", "format", "label"), ("kind", "number", "another field")):
        refused = admin.change(field, 422, **{what: value})
        (error,) = refused["errors"]
        assert (error["path"], error["code"]) == (what, "fixed")
        assert instead in error["message"]
    assert admin.change(field, name="size", kind="text")["version"] == 1


def test_choices_come_and_go_and_are_put_in_order(admin: Admin) -> None:
    field = admin.field(kind="choice", choices=["small", "large"])
    admin.person(size="large")

    grown = admin.change(field, choices=["large", "huge", "small"])
    assert grown["choices"] == ["large", "huge", "small"]
    admin.person(size="huge")
    fewer = admin.change(grown, choices=["huge", "large"])
    refused = admin.change(fewer, 409, choices=["large"])

    assert refused["code"] == "choice_in_use"
    (error,) = refused["errors"]
    assert (error["path"], error["message"][:2]) == ("choices", "1 ")
    assert admin.change(fewer)["choices"] == ["huge", "large"]
    assert [e["code"] for e in admin.change(fewer, 422, choices=[])["errors"]] == ["missing"]
    assert [e["code"] for e in admin.change(fewer, 422, choices=["huge"] * 2)["errors"]] == [
        "twice"
    ]


def test_a_choice_is_called_otherwise_and_what_names_it_goes_on(admin: Admin) -> None:
    field = admin.field(kind="choice", choices=["small", "large"])
    ada = admin.person(size="large")
    big = {"en": "Big", "fr": "Gros"}

    changed = admin.change(field, choice_labels={"large": big})

    assert changed["choice_labels"] == {"large": big}
    assert admin.read(ada)["custom"] == {"size": "large"}
    found = admin.ask("list_contacts", query=[["custom.size", "large"]])["items"]
    assert [each["id"] for each in found] == [ada]
    unknown = admin.change(changed, 422, choice_labels={"tiny": big})
    assert [e["path"] for e in unknown["errors"]] == ["choice_labels.tiny"]


def test_a_field_becomes_required_for_what_is_written_from_then_on(admin: Admin) -> None:
    field = admin.field()
    ada = admin.person()

    admin.change(field, required=True)

    refused = admin.ask("create_contact", {"last_name": "Bob", "custom": {"size": "\u00a0"}}, 422)
    assert [(e["path"], e["code"]) for e in refused["errors"]] == [("custom.size", "missing")]
    admin.ask("change_contact", {"last_name": "Lovelace"}, path={"id": ada}, if_match=1)


def test_who_did_what_to_a_field_is_kept(admin: Admin) -> None:
    field = admin.field()
    admin.remove(admin.change(field, label={"en": "Format", "fr": "Taille"}))

    told = admin.ask("list_custom_field_history", path={"id": field["id"]})["items"]

    assert [each["action"] for each in told] == ["removed", "changed", "created"]
    assert told[1]["changes"] == {"label_en": ["Size", "Format"]}
    assert {each["by"] for each in told} == {str(admin.who.user)}
    admin.ask("list_custom_field_history", path={"id": str(uuid7())}, status=404)


def test_fields_are_for_who_may_change_them_and_of_ones_own_tenant(
    admin: Admin, contacts_db: Database
) -> None:
    field, stranger = admin.field(), Admin(contacts_db)

    assert stranger.change(field, 404, required=True)["code"] == "not_found"
    admin.who = principal(admin.who.tenant, "custom_fields:read", "history:read")
    admin.change(field, 403, required=True)
    assert len(admin.ask("list_custom_field_history", path={"id": field["id"]})["items"]) == 1

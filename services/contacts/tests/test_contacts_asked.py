"""What other services ask contacts about people: by id for their names, by key for their ids."""

import json
from typing import Any
from uuid import UUID

import pytest

from liaison_contacts import people
from liaison_contacts.service import Contacts
from liaison_kit.context import Context, Principal
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.testing import at_work, call, principal
from liaison_sdk.contracts.contacts import NewContact


class Asker:
    """A service that asks for somebody."""

    def __init__(self, db: Database, who: Context) -> None:
        self.db, self.who = db, who
        self.service = at_work(Contacts, db)

    def person(self, last_name: str, *emails: str, **facts: Any) -> UUID:
        """A person whom there is."""
        given = {"last_name": last_name, "emails": [{"address": one} for one in emails]} | facts
        with self.db.writing(Context(tenant=self.who.tenant)) as session:
            return people.create(session, NewContact.model_validate(given)).id

    def ask(self, operation: str, who: Principal | None = None, **asked: Any) -> Any:
        """What is answered to somebody's question."""
        body = json.dumps(asked, default=str).encode()
        reply = call(self.service, operation, who or self.who.principal, body)
        assert reply.status == 200, reply.body
        return json.loads(reply.body)


@pytest.fixture
def asker(contacts_db: Database, someone: Context) -> Asker:
    """Somebody who sees everything asks."""
    return Asker(contacts_db, someone)


def test_people_are_known_by_their_ids_with_what_others_keep_of_them(asker: Asker) -> None:
    id = asker.person("Dupont", first_name="Jean")

    (known,) = asker.ask("known_contacts", ids=[id, uuid7()])["contacts"]

    assert (known["id"], known["name"], known["version"]) == (str(id), "Jean Dupont", 1)


def test_people_are_found_by_external_id_and_by_address_in_any_case(asker: Asker) -> None:
    one = asker.person("Dupont", "jean@dupont.example", external_id="C-1")
    asker.person("Dupont", "both@dupont.example")
    asker.person("Durand", "both@dupont.example")

    names = ["C-1", "JEAN@dupont.example", "both@dupont.example", "Dupont", "dupont", ""]
    found = asker.ask("resolve_contacts", names=names)["found"]

    assert found == {"C-1": str(one), "JEAN@dupont.example": str(one)}


def test_who_is_hidden_from_who_asks_is_nobody(asker: Asker) -> None:
    me = uuid7()
    rep = principal(asker.who.tenant, user=me, rows={"contacts": "own"})
    hidden = asker.person("Hidden", "hidden@dupont.example")

    assert asker.ask("known_contacts", rep, ids=[hidden])["contacts"] == []
    assert asker.ask("resolve_contacts", rep, names=["hidden@dupont.example"])["found"] == {}

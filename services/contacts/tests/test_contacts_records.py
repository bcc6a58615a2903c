"""People and companies are kept as they were given, and a restarted database loses none of them."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, closing
from typing import Any

import psycopg2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError
from pydantic_core import to_jsonable_python
from sqlalchemy import make_url

from liaison_contacts import companies, parties, people
from liaison_contacts.companies import COMPANIES
from liaison_contacts.people import PEOPLE
from liaison_contacts.service import Contacts
from liaison_kit import listing, records
from liaison_kit.calls.wire import Reply
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.plugins import Hooks
from liaison_kit.records import custom
from liaison_kit.records.recordtype import RecordType
from liaison_kit.testing import about, at_work, call, principal
from liaison_sdk.contracts.contacts import (
    CompanyChanges,
    ContactChanges,
    NewCompany,
    NewContact,
)
from liaison_sdk.labels import Label
from liaison_sdk.money import rounded
from liaison_sdk.texts import is_blank

FEW = settings(
    max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
# What JSON can say and PostgreSQL's text can hold.
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=30)
NAMES = TEXTS.filter(lambda text: not is_blank(text))
EMAILS = st.fixed_dictionaries(
    {"address": st.from_regex(r"[A-Za-z]{1,8}([.+][a-z0-9]{1,5})?@example\.org", fullmatch=True)},
    optional={"kind": st.sampled_from(["home", "billing"])},
)
PHONES = st.fixed_dictionaries(
    {"number": st.sampled_from(["+33 6 12 34 56 78", "01 99 00 11 22", "ask Ann", "'\"\\{}"])}
)
ADDRESSES = st.fixed_dictionaries({}, optional={"street": TEXTS, "city": TEXTS, "country": TEXTS})
CUSTOM = st.fixed_dictionaries(
    {},
    optional={
        "motto": TEXTS,
        "size": st.integers(-(10**15) + 1, 10**15 - 1) | st.floats(-1e14, 1e14),
        "vip": st.booleans(),
    },
)
PARTY = {
    "emails": st.lists(EMAILS, max_size=3),
    "phones": st.lists(PHONES, max_size=3),
    "addresses": st.lists(ADDRESSES, max_size=2),
    "tags": st.lists(NAMES, max_size=4),
    "external_id": st.none() | NAMES,
    "custom": CUSTOM,
}
PERSON = st.fixed_dictionaries(
    {"first_name": TEXTS, "last_name": NAMES}, optional={"title": st.none() | TEXTS, **PARTY}
)
COMPANY = st.fixed_dictionaries(
    {"name": NAMES},
    optional={
        "website": st.none() | TEXTS,
        "year_founded": st.none() | st.integers(1000, 2200),
        "employees": st.none() | st.integers(0, 10_000_000),
        "annual_revenue": st.none()
        | st.builds(
            lambda amount, currency: {
                "amount": str(rounded(amount, currency)),
                "currency": currency,
            },
            st.decimals(0, "999999999999999.9999", places=4),
            st.sampled_from(["EUR", "JPY", "KWD", "CLF"]),
        ),
        **PARTY,
    },
)


def with_custom_fields(db: Database, record: str) -> Context:
    """A new tenant that has added fields to a kind of record."""
    who = about()
    with db.writing(who) as session:
        for name, kind in (("motto", "text"), ("size", "number"), ("vip", "boolean")):
            field = custom.NewCustomField(name=name, kind=kind, label=Label(en=name, fr=name))
            custom.define(session, record, field)
    return who


def kept(db: Database, who: Context, kind: RecordType, answer: tuple[bytes, int]) -> dict[str, Any]:
    """What is read of a record, which is what its write has answered."""
    answered: dict[str, Any] = json.loads(answer[0])
    with db.reading(who) as session:
        found = listing.read(session, kind, answered["id"])
    assert found is not None
    assert (found[0].encode(), found[1]) == answer
    return answered


def meant(sent: Any, names: set[str]) -> dict[str, Any]:
    """What a body says of these fields, as JSON."""
    written: dict[str, Any] = to_jsonable_python(parties.stored(sent, names))
    return written


def keeps(
    db: Database, kind: RecordType, feature: Any, new: NewContact | NewCompany, changes: Any
) -> None:
    """Add a record and change it; after each, what was sent is what is there."""
    who = with_custom_fields(db, kind.name)

    with db.writing(who) as session:
        row = feature.create(session, new)
        answer = records.answer(session, kind, row)
    created = kept(db, who, kind, answer)
    with db.writing(who) as session:
        row = feature.change(session, row.id, 1, changes)
        answer = records.answer(session, kind, row)
    changed = kept(db, who, kind, answer)

    expected = meant(new, set(type(new).model_fields))
    assert {name: created[name] for name in expected} == expected
    expected |= meant(changes, changes.model_fields_set)
    # A field of their own that is not sent stays.
    expected["custom"] = new.custom | changes.custom
    assert {name: changed[name] for name in expected} == expected


@FEW
@given(first=PERSON, then=PERSON)
def test_any_person_is_kept_as_given_and_as_changed(
    contacts_db: Database, first: dict[str, Any], then: dict[str, Any]
) -> None:
    new, changes = NewContact.model_validate(first), ContactChanges.model_validate(then)

    keeps(contacts_db, PEOPLE, people, new, changes)


@FEW
@given(first=COMPANY, then=COMPANY)
def test_any_company_is_kept_as_given_and_as_changed(
    contacts_db: Database, first: dict[str, Any], then: dict[str, Any]
) -> None:
    new, changes = NewCompany.model_validate(first), CompanyChanges.model_validate(then)

    keeps(contacts_db, COMPANIES, companies, new, changes)


# --- a database that is restarted -----------------------------------------------------------------


class Desk:
    """Somebody who calls operations as the bus would, on a database that may be restarted."""

    def __init__(self, server: str, db: Database) -> None:
        self._server = make_url(server).set(drivername="postgresql")
        self._db = Database(db.url, application="restarted")
        hooks = Hooks("contacts", 0.5)
        self._service = at_work(Contacts, self._db, hooks=hooks)
        self._who = principal()

    def call(self, name: str, body: Any = None, **meta: Any) -> Reply:
        sent = b"" if body is None else json.dumps(body).encode()
        return call(self._service, name, self._who, sent, **meta)

    def hold(self, connections: int) -> None:
        """Have so many connections open."""
        with ExitStack() as stack:
            for _ in range(connections):
                stack.enter_context(self._db.session(about())).connection()
                stack.enter_context(self._db.engines[1].connect())

    def restart(self) -> None:
        """Lose every connection, as when the server is restarted."""
        address = self._server.render_as_string(hide_password=False)
        with closing(psycopg2.connect(address)) as connection, connection.cursor() as cursor:
            cursor.execute(
                "SELECT pg_terminate_backend(pid, 5000) FROM pg_stat_activity"
                " WHERE application_name = 'restarted'"
            )

    def close(self) -> None:
        self._db.dispose()


@pytest.fixture
def desk(postgres: str, contacts_db: Database) -> Iterator[Desk]:
    made = Desk(postgres, contacts_db)
    yield made
    made.close()


def test_who_works_while_the_database_is_restarted_does_not_notice(desk: Desk) -> None:
    created = desk.call("create_contact", {"last_name": "Lee"})
    path = {"id": json.loads(created.body)["id"]}

    desk.hold(3)
    desk.restart()
    second = desk.call("create_contact", {"last_name": "Li"})
    desk.hold(3)
    desk.restart()
    changed = desk.call("change_contact", {"title": "CEO"}, path=path, if_match=1)
    desk.hold(3)
    desk.restart()
    found = desk.call("list_contacts", query=[["sort", "last_name"]])

    assert [reply.status for reply in (created, second, changed, found)] == [201, 201, 200, 200]
    items = json.loads(found.body)["items"]
    assert [(item["last_name"], item["title"]) for item in items] == [("Lee", "CEO"), ("Li", None)]


def test_a_person_of_blank_names_has_none() -> None:
    with pytest.raises(ValidationError) as caught:
        NewContact(first_name="\u200b", last_name="\u00a0")

    assert [(e["loc"], e["type"]) for e in caught.value.errors()] == [(("last_name",), "missing")]

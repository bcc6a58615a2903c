"""Whatever door a person comes in by, who looks for them finds them however they spell."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, make_url, text

from liaison_contacts import people
from liaison_contacts.importing import CONTACTS
from liaison_contacts.people import PEOPLE
from liaison_contacts.service import Contacts
from liaison_kit import listing
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.migrations import Roles, migrate, prepare
from liaison_kit.imports.fields import Batch
from liaison_kit.listing.asked import ListQuery
from liaison_kit.records.search import digits, fold
from liaison_kit.run.credentials import Credentials
from liaison_kit.testing import about, at_work, brought
from liaison_sdk.contracts.contacts import NewContact

NAMES = [
    ["O'Brien", "O’Brien", "O‘BRIEN", "O´Brien", "OʼBrien", "o\uff07brien"],
    ["Saint-Clair", "Saint‐Clair", "saint–clair", "SAINT—CLAIR", "Saint\u2011Clair"],
    ["Straße", "STRASSE", "strasse", "Straẞe", "Stra\u00adße"],
    ["Lebœuf", "leboeuf", "LEBŒUF"],
    ["Ræder", "raeder", "RÆDER"],
    ["Grifﬁn", "Griﬃn", "griffin", "Ｇｒｉｆｆｉｎ"],
    ["Étienne", "etienne", "E\u0301tienne", "ÉTIENNE"],
    ['The "Rock"', "The “Rock”", "the «rock»"],
    ["Le\u00a0Goff", "le goff", "Le\u202fGoff", "LE\u2009GOFF"],
]
ADDRESSES = [
    ["info@bücher.example", "info@xn--bcher-kva.example", "INFO@BÜCHER.EXAMPLE"],
    ["info@büro.bücher.example", "info@xn--bro-hoa.xn--bcher-kva.example"],
    ["élodie@unis.example", "ÉLODIE@unis.example", "e\u0301lodie@unis.example"],
    ["max@straße.example", "Max@xn--strae-oqa.example"],
    ["anne@corp.local", "ANNE@CORP.LOCAL"],
]
DOORS = ["api", "file"]


def written(db: Database, who: Context, door: str, folder: Path, **values: str) -> None:
    """Somebody, by one of the two doors."""
    if door == "api":
        emails = [{"address": values.pop("email")}] if "email" in values else []
        with db.writing(who) as session:
            people.create(session, NewContact.model_validate({**values, "emails": emails}))
        return
    path = folder / "people.csv"
    quoted = ('"' + value.replace('"', '""') + '"' for value in values.values())
    path.write_text(f"{','.join(values)}\n{','.join(quoted)}\n")
    assert brought(at_work(Contacts, db), who, "contacts", path) == {"created": 1}


def names(db: Database, who: Context, *asked: tuple[str, str]) -> list[str]:
    with db.reading(who) as session:
        page = json.loads(listing.page(session, PEOPLE, ListQuery(asked)))
    return [item["last_name"] for item in page["items"]]


def rule(field: str, operator: str, value: str) -> tuple[str, str]:
    rules = [{"field": field, "operator": operator, "value": value}]
    return "where", json.dumps({"combinator": "and", "rules": rules})


def two_of(those: list[list[str]]) -> st.SearchStrategy[tuple[str, str]]:
    return st.sampled_from(those).flatmap(
        lambda same: st.tuples(st.sampled_from(same), st.sampled_from(same))
    )


OFTEN = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@OFTEN
@given(door=st.sampled_from(DOORS), spelt=two_of(NAMES))
def test_a_name_is_found_as_it_is_typed(
    contacts_db: Database, tmp_path: Path, door: str, spelt: tuple[str, str]
) -> None:
    kept, asked = spelt
    who = about()
    written(contacts_db, who, door, tmp_path, last_name=kept)
    written(contacts_db, who, door, tmp_path, last_name="Zola")

    by_search = names(contacts_db, who, ("q", asked))
    by_condition = names(contacts_db, who, rule("last_name", "contains", asked))

    assert len(by_search) == len(by_condition) == 1
    assert fold(by_search[0]) == fold(by_condition[0]) == fold(kept)


@OFTEN
@given(door=st.sampled_from(DOORS), spelt=two_of(ADDRESSES))
def test_an_address_is_found_however_it_is_spelt(
    contacts_db: Database, tmp_path: Path, door: str, spelt: tuple[str, str]
) -> None:
    kept, asked = spelt
    who = about()
    written(contacts_db, who, door, tmp_path, last_name="Wanted", email=kept)
    written(contacts_db, who, door, tmp_path, last_name="Other", email="other@books.example")

    for one in (
        ("q", asked),
        ("q", asked.partition("@")[2]),
        ("email", asked),
        ("email[in]", f"{asked},nobody@books.example"),
        rule("emails", "=", asked),
        rule("emails", "endsWith", asked.partition("@")[2]),
    ):
        assert names(contacts_db, who, one) == ["Wanted"], one


def test_the_text_of_a_file_is_the_one_that_the_database_makes(
    contacts_db: Database, someone: Context, tmp_path: Path
) -> None:
    path = tmp_path / "people.csv"
    path.write_text(
        "first_name,last_name,email,email_2,phone,phone_2\n"
        "Zoé,O’Brien,ZOÉ@xn--bcher-kva.example,z@x.example,+33 6 12 34 56 78,+44 20 7946 0018 x12\n"
        ",Straße,,,,\n"
        "Only,,only@x.example,,,\n"
    )
    brought(at_work(Contacts, contacts_db), someone, "contacts", path)

    def texts() -> dict[UUID, list[str]]:
        with contacts_db.reading(someone) as session:
            found = session.execute(text("SELECT id, search FROM people")).all()
        return {id: f"{said}|".split() for id, said in found}

    given_texts = texts()
    with contacts_db.writing(someone) as session:
        session.execute(text("UPDATE people SET search = search"))

    assert texts() == given_texts
    assert ["zoe", "o'brien", "zoe@bucher.example"] in [said[:3] for said in given_texts.values()]


def test_part_of_a_record_in_a_file_leaves_the_rest_to_be_found(
    contacts_db: Database, someone: Context, tmp_path: Path
) -> None:
    service = at_work(Contacts, contacts_db)
    path = tmp_path / "people.csv"
    path.write_text("external_id,last_name,email\n1,Martin,m@x.example\n")
    brought(service, someone, "contacts", path)
    path.write_text("external_id,last_name,phone\n1,Dupont,+33612345678\n")
    assert brought(service, someone, "contacts", path) == {"updated": 1}

    for asked in ("dupont", "m@x.example", "06 12 34 56 78"):
        assert names(contacts_db, someone, ("q", asked)) == ["Dupont"], asked
    assert names(contacts_db, someone, ("q", "martin")) == []
    assert names(contacts_db, someone, ("email", "M@x.example")) == ["Dupont"]


@pytest.mark.parametrize("number", ["+33612345678", "+442079460018 x12", "06 12", "+1 (0) 5-5.5"])
def test_the_database_takes_the_digits_of_a_number_as_searches_do(
    contacts_db: Database, someone: Context, number: str
) -> None:
    phones = json.dumps([{"number": number, "kind": "work"}, {"number": number, "kind": "home"}])
    with contacts_db.writing(someone) as session:
        id = people.create(session, NewContact(last_name="Lee")).id
        session.execute(
            text("UPDATE people SET phones = CAST(:phones AS jsonb) WHERE id = :id"),
            {"phones": phones, "id": id},
        )
        said: Any = session.scalar(text("SELECT search FROM people WHERE id = :id"), {"id": id})

    assert said.split() == ["lee", digits(number), digits(number)]
    assert said == f" {said.strip()} "


def test_where_more_is_searched_files_leave_the_text_to_the_database(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch = Batch(1, {"last_name": ["Lee"], "title": ["Boss"]})
    before = CONTACTS.columns(batch)

    monkeypatch.setattr(PEOPLE, "search_columns", (*PEOPLE.search_columns, "title"))
    after = CONTACTS.columns(batch)

    assert before["search"] == [" lee "]
    assert "search" not in after


@pytest.fixture
def before(postgres: str, credentials: Credentials) -> Iterator[Roles]:
    """A database of contacts as it was before it kept its search texts itself."""
    roles = credentials.roles("contacts_before", make_url(postgres))
    prepare(make_url(postgres), roles)
    migrate("contacts", roles.owner, "0013")
    yield roles
    server = make_url(postgres).set(drivername="postgresql+psycopg2")
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text("DROP DATABASE liaison_contacts_before WITH (FORCE)"))
    engine.dispose()


def test_who_was_there_before_is_found_as_who_comes_now(before: Roles) -> None:
    who = about()
    owner = create_engine(before.owner)
    with owner.begin() as connection:
        connection.execute(
            text(
                "INSERT INTO people (id, tenant_id, version, created_at, updated_at, first_name,"
                " last_name, stage, search, keys, emails) VALUES (gen_random_uuid(), :tenant, 1,"
                " now(), now(), '', 'O’Brien', 'lead', ' o’brien info@xn--bcher-kva.example ',"
                " ARRAY['o’brien', 'info@xn--bcher-kva.example'], CAST(:emails AS jsonb))"
            ),
            {
                "tenant": who.tenant,
                "emails": '[{"address": "info@xn--bcher-kva.example", "kind": "work"}]',
            },
        )
    migrate("contacts", before.owner)
    with owner.begin() as connection:
        for _ in range(4):
            connection.execute(text("SELECT refill_searches()"))
    owner.dispose()

    db = Database(before.service)
    for asked in (("q", "o'brien"), ("q", "bücher"), ("email", "info@bücher.example")):
        assert names(db, who, asked) == ["O’Brien"], asked
    db.dispose()

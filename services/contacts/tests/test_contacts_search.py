"""What people type in a search box finds whom they mean, and tells nothing they may not see."""

import itertools
import json
from typing import Any

import pytest

from liaison_contacts import companies, people
from liaison_contacts.service import Contacts
from liaison_kit import listing
from liaison_kit.context import Context, Principal
from liaison_kit.database.database import Database
from liaison_kit.listing.asked import ListQuery
from liaison_kit.listing.searching import HOW
from liaison_kit.records.search import fold, needles, patterns
from liaison_kit.testing import about, at_work, call, principal, statements
from liaison_sdk.contracts.contacts import Email, NewCompany, NewContact, PhoneNumber

BOTH = ["contacts", "companies"]


def person(db: Database, who: Context, first: str, last: str, **more: Any) -> str:
    with db.writing(who) as session:
        return str(people.create(session, NewContact(first_name=first, last_name=last, **more)).id)


def company(db: Database, who: Context, name: str, **more: Any) -> str:
    with db.writing(who) as session:
        return str(companies.create(session, NewCompany(name=name, **more)).id)


def found(
    db: Database, who: Principal, q: str, records: list[str] = BOTH, limit: int = 5
) -> dict[str, Any]:
    asked = json.dumps({"q": q, "records": records, "limit": limit}).encode()
    reply = call(at_work(Contacts, db), "search_records", who, asked)
    assert reply.status == 200, reply.body
    return {group["record"]: group for group in json.loads(reply.body)["groups"]}


def titles(groups: dict[str, Any], record: str) -> list[str]:
    return [item["title"] for item in groups.get(record, {"items": []})["items"]]


def whoever(who: Context) -> Principal:
    assert who.principal is not None
    return who.principal


def test_what_is_called_so_comes_before_what_begins_so_and_what_has_it_inside(
    contacts_db: Database, someone: Context
) -> None:
    for name in ("Société Élan", "Élan Vital", "Élan", "Le Grand Élan", "Mélange"):
        company(contacts_db, someone, name)

    groups = found(contacts_db, whoever(someone), "elan")

    shown = [(item["title"], item["how"]) for item in groups["companies"]["items"]]
    assert shown[:2] == [("Élan", "exact"), ("Élan Vital", "begins")]
    assert {*shown[2:4]} == {("Société Élan", "word"), ("Le Grand Élan", "word")}
    assert shown[4] == ("Mélange", "part")


def test_a_record_shows_what_it_is_known_by_and_why_it_was_found(
    contacts_db: Database, someone: Context
) -> None:
    acme = company(contacts_db, someone, "Acme")
    zoe = person(
        contacts_db,
        someone,
        "Zoé",
        "Martin",
        title="Directrice",
        company_id=acme,
        emails=[Email(address="zm@home.example"), Email(address="zoe@rhone.example")],
        phones=[PhoneNumber(number="+33 6 12 34 56 78")],
    )
    shown = {"id": zoe, "title": "Zoé Martin", "subtitle": "Directrice · Acme"}

    for asked, how, because in (
        ("zoe martin", "exact", None),
        ("ZOÉ", "begins", None),
        ("martin zoe", "part", None),
        ("zoe rhone", "part", {"field": "emails", "text": "zoe@rhone.example"}),
        ("06 12 34", "part", {"field": "phones", "text": "+33612345678"}),
    ):
        (item,) = found(contacts_db, whoever(someone), asked)["contacts"]["items"]
        if because is not None and because["field"] == "phones":
            item["because"]["text"] = item["because"]["text"].replace(" ", "")
        assert item == {**shown, "how": how, "because": because}, asked


@pytest.mark.parametrize("asked", ["ma", "dupont", "0612", "+33 6 12", "100%", "a_b", "zo mart"])
def test_it_finds_what_the_search_of_the_list_finds(
    contacts_db: Database, someone: Context, asked: str
) -> None:
    for first, last in (("Zoé", "Martin"), ("Max", "Dupont"), ("a_b", "100%"), ("axb", "1000")):
        person(contacts_db, someone, first, last, phones=[PhoneNumber(number="06 12 34 56 78")])

    groups = found(contacts_db, whoever(someone), asked, limit=50)

    with contacts_db.reading(someone) as session:
        page = json.loads(listing.page(session, people.PEOPLE, ListQuery([("q", asked)])))
    assert {i["id"] for i in groups.get("contacts", {"items": []})["items"]} == {
        item["id"] for item in page["items"]
    }


def test_there_is_more_than_is_shown_where_there_is(
    contacts_db: Database, someone: Context
) -> None:
    for number in range(3):
        company(contacts_db, someone, f"Acme {number}")

    two = found(contacts_db, whoever(someone), "acme", limit=2)["companies"]
    three = found(contacts_db, whoever(someone), "acme", limit=3)["companies"]

    assert (len(two["items"]), two["more"]) == (2, True)
    assert (len(three["items"]), three["more"]) == (3, False)


def test_only_kinds_that_were_asked_for_and_may_be_read_are_searched(
    contacts_db: Database, someone: Context
) -> None:
    company(contacts_db, someone, "Acme")
    person(contacts_db, someone, "Acme", "Martin")
    reader = principal(someone.tenant, "contacts:read")

    assert list(found(contacts_db, reader, "acme")) == ["contacts"]
    assert list(found(contacts_db, whoever(someone), "acme", ["companies"])) == ["companies"]
    assert found(contacts_db, principal(someone.tenant, "x:read"), "acme") == {}


def test_nothing_beyond_the_row_rule_is_found_nor_named_beside_what_is(
    contacts_db: Database, someone: Context
) -> None:
    secret = company(contacts_db, someone, "Geheim AG")
    own = principal(someone.tenant, rows={"companies": "own"})
    person(contacts_db, someone, "Zoé", "Martin", title="Directrice", company_id=secret)

    groups = found(contacts_db, own, "zoe")

    assert groups["contacts"]["items"][0]["subtitle"] == "Directrice"
    assert found(contacts_db, own, "geheim") == {}
    assert titles(found(contacts_db, whoever(someone), "geheim"), "companies") == ["Geheim AG"]


def test_another_tenant_finds_nothing(contacts_db: Database, someone: Context) -> None:
    company(contacts_db, someone, "Acme")

    assert found(contacts_db, whoever(about()), "acme") == {}


def test_a_kind_costs_one_statement(contacts_db: Database, someone: Context) -> None:
    for number in range(20):
        company(contacts_db, someone, f"Acme {number}")
        person(contacts_db, someone, "Acme", str(number))
    found(contacts_db, whoever(someone), "acme", limit=20)

    with statements(contacts_db) as seen:
        found(contacts_db, whoever(someone), "acme", limit=20)

    assert len(seen) == 2, seen


NAMES = [" ".join(words) for words in itertools.permutations(("Élan", "Élans", "An", "Mélange"), 2)]
WORDS = ["elan", "élans", "an", "AN ÉLAN", "mel", "lan", "é", "ange elan", "Mélange"]


@pytest.fixture(scope="module")
def named(contacts_db: Database) -> Context:
    """A tenant with companies whose names are much alike."""
    who = about()
    for name in [*NAMES, "Élan", "An", "Mélange"]:
        company(contacts_db, who, name)
    return who


@pytest.mark.parametrize("asked", WORDS)
def test_how_a_record_was_found_is_what_its_title_shows(
    contacts_db: Database, named: Context, asked: str
) -> None:
    groups = found(contacts_db, whoever(named), asked, ["companies"], 50)
    items = groups.get("companies", {"items": []})["items"]

    def how(title: str) -> str:
        title, whole = fold(title), fold(asked)
        if title == whole:
            return "exact"
        if title.startswith(whole):
            return "begins"
        return "word" if f" {whole}" in title else "part"

    assert [item["how"] for item in items] == [how(item["title"]) for item in items]
    ranks = [HOW.index(item["how"]) for item in items]
    assert ranks == sorted(ranks)


def test_what_is_looked_for_and_the_patterns_are_two_ways_to_say_it() -> None:
    assert needles("Zo 12%") == [" zo", "12%"]
    assert patterns("Zo 12%") == ["% zo%", "%12\\%%"]
    assert needles("+33 (0)6 12") == ["330612"]


def test_a_record_that_may_be_read_is_told_from_one_that_may_not(
    contacts_db: Database, someone: Context
) -> None:
    acme = company(contacts_db, someone, "Acme")
    service = at_work(Contacts, contacts_db)
    asked = json.dumps({"record": "companies", "id": acme}).encode()

    told = {
        who: call(service, "may_read", who_is, asked).status
        for who, who_is in {
            "a colleague": whoever(someone),
            "who sees only their own": principal(someone.tenant, rows={"companies": "own"}),
            "who reads no companies": principal(someone.tenant, "contacts:read"),
            "a stranger": principal(),
        }.items()
    }

    assert told == {
        "a colleague": 204,
        "who sees only their own": 404,
        "who reads no companies": 403,
        "a stranger": 404,
    }

"""People and companies are narrowed by a condition, and by it as by a filter of their list."""

import datetime as dt
import json
from dataclasses import replace
from typing import Any
from uuid import UUID

import pytest

from liaison_contacts import companies, people
from liaison_contacts.companies import COMPANIES
from liaison_contacts.owners import OWNERS
from liaison_contacts.people import PEOPLE
from liaison_kit import listing, tenants
from liaison_kit.conditions import matches, parse, said
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.listing.asked import ListQuery
from liaison_kit.records import custom
from liaison_kit.records.recordtype import RecordType
from liaison_kit.testing import about, principal, statements
from liaison_sdk.contracts.contacts import NewCompany, NewContact
from liaison_sdk.contracts.identity import TenantRef, TenantSaved, UserRef, UsersSaved
from liaison_sdk.errors import InvalidInput


def add(db: Database, who: Context, **fields: Any) -> UUID:
    with db.writing(who) as session:
        return people.create(session, NewContact.model_validate(fields)).id


def page(db: Database, who: Context, tree: Any, kind: RecordType = PEOPLE, **query: str) -> Any:
    pairs = [("where", json.dumps(tree)), ("count", "true"), *query.items()]
    with db.reading(who) as session:
        return json.loads(listing.page(session, kind, ListQuery(pairs)))


def all_of(*rules: tuple[Any, ...], **more: Any) -> dict[str, Any]:
    listed = [dict(zip(("field", "operator", "value"), rule, strict=False)) for rule in rules]
    return {"combinator": "and", "rules": listed, **more}


def found(db: Database, who: Context, *rules: tuple[Any, ...], **query: str) -> list[str]:
    items = page(db, who, all_of(*rules), **query)["items"]
    return sorted(item["last_name"] for item in items)


def test_people_are_found_by_what_is_asked_of_them(contacts_db: Database, someone: Context) -> None:
    with contacts_db.writing(someone) as session:
        label = {"en": "Score", "fr": "Note"}
        new = {"name": "score", "kind": "number", "label": label}
        custom.define(session, "contacts", custom.NewCustomField.model_validate(new))
    for name, title, tags, stage, score in (
        ("Dupré", "Directrice générale", ["vip"], "customer", 10.0),
        ("Lee", None, [], "lead", 3),
        ("Roux", "Directeur", ["vip", "gold"], "lead", None),
    ):
        add(
            contacts_db,
            someone,
            first_name="Ann",
            last_name=name,
            title=title,
            tags=tags,
            stage=stage,
            custom={} if score is None else {"score": score},
        )

    def names(*rules: tuple[Any, ...]) -> list[str]:
        return found(contacts_db, someone, *rules)

    assert names(("title", "contains", "DIRECTR")) == ["Dupré"]
    assert names(("title", "contains", "GENERALE")) == ["Dupré"]
    assert names(("title", "doesNotContain", "général")) == ["Lee", "Roux"]
    assert names(("tags", "contains", "vip"), ("stage", "!=", "customer")) == ["Roux"]
    assert names(("custom.score", "=", 10)) == ["Dupré"]
    assert names(("custom.score", "<", "10")) == ["Lee"]
    assert names(("custom.score", "null")) == ["Roux"]
    assert names(("created_at", "=", {"mode": "relative", "anchor": "startOfDay"})) == [
        "Dupré", "Lee", "Roux",
    ]  # fmt: skip
    assert names(("created_at", "<", {"mode": "relative", "anchor": "startOfDay"})) == []


def test_a_condition_joins_search_filters_order_and_count(
    contacts_db: Database, someone: Context
) -> None:
    for number in range(6):
        add(contacts_db, someone, first_name="Ann", last_name=f"N{number}", tags=["vip"])
    add(contacts_db, someone, first_name="Bob", last_name="N9", tags=["vip"])
    asked = all_of(("tags", "in", "vip,gold"), ("last_name", "!=", "N0"))

    first = page(contacts_db, someone, asked, q="ann", sort="-last_name", limit="3", stage="lead")

    assert [item["last_name"] for item in first["items"]] == ["N5", "N4", "N3"]
    assert first["count"] == 5


def test_who_is_found_in_a_list_matches_the_condition(
    contacts_db: Database, someone: Context
) -> None:
    for name, revenue in (("Acme", "9"), ("Bêta", None), ("Gamma", "10000")):
        worth = None if revenue is None else {"amount": revenue, "currency": "EUR"}
        new = NewCompany.model_validate({"name": name, "annual_revenue": worth})
        with contacts_db.writing(someone) as session:
            companies.create(session, new)
    now = dt.datetime.now(dt.UTC)

    for rules, expected in (
        ([("annual_revenue", ">=", 9)], ["Acme", "Gamma"]),
        ([("annual_revenue", "<", {"amount": 10, "currency": "USD"})], []),
        ([("annual_revenue", "notBetween", "1,100")], ["Bêta", "Gamma"]),
        ([("name", "beginsWith", "bet")], ["Bêta"]),
    ):
        tree = all_of(*rules)
        items = page(contacts_db, someone, tree, COMPANIES)["items"]
        every = page(contacts_db, someone, all_of(("name", "notNull")), COMPANIES)["items"]
        with contacts_db.reading(someone) as session:
            asked = parse(session, COMPANIES, tree)

        assert sorted(item["name"] for item in items) == expected
        assert sorted(item["name"] for item in every if matches(asked, item, now)) == expected


def test_a_condition_shows_nobody_whom_a_row_rule_hides(
    contacts_db: Database, someone: Context
) -> None:
    user = uuid7()
    narrow = principal(someone.tenant, "*", user=user, rows={"contacts": "own", "companies": "own"})
    me = about(narrow)
    ref = UserRef.model_validate(
        {"id": user, "name": "Me", "email": None, "active": True, "version": 1}
        | dict.fromkeys(("team_id", "team", "region", "manager_id", "manager"))
    )
    with contacts_db.writing(someone) as session:
        OWNERS.keep(session, UsersSaved(users=[ref]))
        hidden = companies.create(session, NewCompany(name="Hidden")).id
    mine = {"last_name": "Mine", "owner_id": str(user), "company_id": str(hidden)}
    add(contacts_db, someone, **mine)
    add(contacts_db, someone, last_name="Theirs", company_id=str(hidden))

    assert found(contacts_db, me, ("last_name", "notNull")) == ["Mine"]
    assert found(contacts_db, someone, ("company_id", "=", str(hidden))) == ["Mine", "Theirs"]
    # Nobody is told by a condition for whom their contact works.
    assert found(contacts_db, me, ("company_id", "=", str(hidden))) == []
    assert found(contacts_db, me, ("company_id", "in", [str(hidden), str(user)])) == []
    assert found(contacts_db, me, ("company_id", "!=", str(hidden))) == ["Mine"]


@pytest.mark.parametrize("rule", [("tags", "=", "vip"), ("tags", "in", "vip,gold")])
def test_tags_are_found_through_the_view_that_may_use_their_index(
    contacts_db: Database, someone: Context, rule: tuple[Any, ...]
) -> None:
    add(contacts_db, someone, last_name="Lee", tags=["vip"])

    with statements(contacts_db) as seen:
        assert found(contacts_db, someone, rule) == ["Lee"]

    assert all("people_found" in each for each in seen)


def test_a_condition_on_people_is_said_in_both_languages(
    contacts_db: Database, someone: Context
) -> None:
    tree = all_of(("stage", "=", "customer"), ("tags", "contains", "vip"))
    with contacts_db.reading(someone) as session:
        asked = parse(session, PEOPLE, tree)

    assert said(asked, "en") == "Lifecycle stage is customer and tags has vip"
    assert said(asked, "fr") == "Étape de la relation est customer et étiquettes : avec vip"


def test_a_day_is_a_day_where_the_tenant_is(contacts_db: Database, someone: Context) -> None:
    """Half past eight in the evening in New York is tomorrow in Greenwich."""
    evening = dt.datetime(2026, 3, 2, 1, 30, tzinfo=dt.UTC)
    add(contacts_db, replace(someone, now=evening), last_name="Lee")
    rule = ("created_at", "=", "2026-03-01")
    assert found(contacts_db, someone, rule) == []

    with contacts_db.writing(someone) as session:
        there = {"time_zone": "America/New_York", "country": "US", "currency": "USD"}
        told = there | {"name": "Ours", "language": "en", "version": 1}
        ours = TenantRef.model_validate(told)
        tenants.keep(session, TenantSaved(tenant_id=someone.tenant, tenant=ours))

    assert found(contacts_db, someone, rule) == ["Lee"]


@pytest.mark.parametrize(
    ("asked", "value", "expected"),
    [
        ("created_at", "2026-03-08", ["Day", "End"]),
        ("created_at[ne]", "2026-03-08", ["After", "Before"]),
        ("created_at[gt]", "2026-03-08", ["After"]),
        ("created_at[gte]", "2026-03-08", ["After", "Day", "End"]),
        ("created_at[lt]", "2026-03-08", ["Before"]),
        ("created_at[lte]", "2026-03-08", ["Before", "Day", "End"]),
        ("created_at[in]", "2026-03-07,2026-03-09", ["After", "Before"]),
        ("created_at[in]", "2026-03-07,2026-03-08T05:00:00Z", ["Before", "Day"]),
        ("created_at[in]", "2026-03-08T05:00:00Z", ["Day"]),
    ],
)
def test_a_filter_by_a_day_means_all_of_it_where_the_tenant_is(
    contacts_db: Database, someone: Context, asked: str, value: str, expected: list[str]
) -> None:
    """The eighth of March 2026 has 23 hours in New York."""
    with contacts_db.writing(someone) as session:
        told = {"name": "Ours", "language": "en", "version": 1, "time_zone": "America/New_York"}
        ours = TenantRef.model_validate(told | {"country": "US", "currency": "USD"})
        tenants.keep(session, TenantSaved(tenant_id=someone.tenant, tenant=ours))
    made = {
        "Before": dt.datetime(2026, 3, 8, 4, 59, 59, 999999, dt.UTC),
        "Day": dt.datetime(2026, 3, 8, 5, tzinfo=dt.UTC),
        "End": dt.datetime(2026, 3, 9, 3, 59, 59, 999999, dt.UTC),
        "After": dt.datetime(2026, 3, 9, 4, tzinfo=dt.UTC),
    }
    for name, at in made.items():
        add(contacts_db, replace(someone, now=at), last_name=name)

    with contacts_db.reading(someone) as session:
        page = json.loads(listing.page(session, PEOPLE, ListQuery([(asked, value)])))

    assert sorted(item["last_name"] for item in page["items"]) == expected


def test_the_last_day_of_all_is_no_day_to_filter_by(
    contacts_db: Database, someone: Context
) -> None:
    with contacts_db.reading(someone) as session, pytest.raises(InvalidInput) as caught:
        listing.page(session, PEOPLE, ListQuery([("created_at", "9999-12-31")]))

    assert [error.path for error in caught.value.errors] == ["created_at"]


def test_people_are_found_by_any_of_their_addresses_and_numbers(
    contacts_db: Database, someone: Context
) -> None:
    one = [{"address": "Kim@North.example"}]
    two = [{"address": "kim@south.example"}, {"address": "kim@north.example"}]
    add(contacts_db, someone, last_name="None")
    add(contacts_db, someone, last_name="One", emails=one)
    add(contacts_db, someone, last_name="Two", emails=two, phones=[{"number": "+33612345678"}])

    def who(*rule: Any) -> list[str]:
        return found(contacts_db, someone, rule)

    assert who("emails", "=", "kim@north.example") == ["One", "Two"]
    assert who("emails", "endsWith", "@south.example") == ["Two"]
    assert who("emails", "doesNotContain", "south") == ["None", "One"]
    assert who("emails", "notIn", "kim@south.example,x@y.example") == ["None", "One"]
    assert who("emails", "null") == ["None"]
    assert who("phones", "contains", "612345") == ["Two"]
    assert who("phones", "notNull") == ["Two"]

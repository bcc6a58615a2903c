"""People and companies: added, found, changed, never lost to somebody else's eyes."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from liaison_contacts import companies, parties, people
from liaison_contacts.companies import COMPANIES
from liaison_contacts.owners import OWNERS
from liaison_contacts.people import PEOPLE
from liaison_kit import listing, records
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.queries import text_of
from liaison_kit.ids import uuid7
from liaison_kit.listing.asked import ListQuery, parse
from liaison_kit.listing.composing import page_of, values_of
from liaison_kit.records import custom
from liaison_kit.records.recordtype import RecordType
from liaison_kit.testing import about, principal, statements
from liaison_sdk.contracts.contacts import (
    CompanyChanges,
    ContactChanges,
    NewCompany,
    NewContact,
)
from liaison_sdk.contracts.identity import UserRef, UserRemoved, UsersSaved
from liaison_sdk.errors import Conflict, InvalidInput, NotFound, StaleVersion
from liaison_sdk.labels import Label


def add(db: Database, who: Context, **fields: Any) -> UUID:
    with db.writing(who) as session:
        return people.create(session, NewContact.model_validate(fields)).id


def add_company(db: Database, who: Context, **fields: Any) -> UUID:
    with db.writing(who) as session:
        return companies.create(session, NewCompany.model_validate(fields)).id


def page(db: Database, who: Context, kind: RecordType = PEOPLE, **query: str) -> dict[str, Any]:
    pairs = [
        (name.replace("__", "[") + ("]" if "__" in name else ""), v) for name, v in query.items()
    ]
    with db.reading(who) as session:
        found: dict[str, Any] = json.loads(listing.page(session, kind, ListQuery(pairs)))
    return found


def names(found: dict[str, Any]) -> list[str]:
    return [item["last_name"] for item in found["items"]]


@pytest.mark.parametrize(
    "query",
    [
        "dupre",
        "DUPRÉ",
        "hel dup",
        "dupre helene",
        "h.dupre@",
        "example.org",
        "0612345678",
        "6 12 34",
        "du",
    ],
)
def test_people_are_found_by_parts_of_names_mail_and_phone(
    contacts_db: Database, someone: Context, query: str
) -> None:
    add(
        contacts_db,
        someone,
        first_name="Hélène",
        last_name="Dupré",
        emails=[{"address": "H.Dupre@example.org"}],
        phones=[{"number": "+33 6 12 34 56 78"}],
    )
    add(contacts_db, someone, first_name="Ann", last_name="Lee")

    assert names(page(contacts_db, someone, q=query)) == ["Dupré"]


@pytest.mark.parametrize("query", ["%", "_", "\\", "100%", "o'neil", '"', "x" * 200])
def test_signs_in_a_search_are_only_signs(
    contacts_db: Database, someone: Context, query: str
) -> None:
    add(contacts_db, someone, first_name="Ann", last_name="Lee")

    assert names(page(contacts_db, someone, q=query)) == []


def test_a_whole_address_or_number_finds_its_owner_only(
    contacts_db: Database, someone: Context
) -> None:
    add(contacts_db, someone, last_name="Lee", emails=[{"address": "lee@example.org"}])
    add(contacts_db, someone, last_name="Blee", emails=[{"address": "blee@example.org"}])
    add(contacts_db, someone, last_name="Roux", phones=[{"number": "+33199001122"}])

    assert names(page(contacts_db, someone, email="Lee@example.org")) == ["Lee"]
    assert names(page(contacts_db, someone, phone="01 99 00 11 22")) == ["Roux"]


@pytest.mark.parametrize(
    ("written", "country", "kept"),
    [
        ("01 99 00 12 34", "FR", "+33199001234"),
        ("01 99 00 12 34", None, "01 99 00 12 34"),
        ("+33 (0)1 99 00 12 34", None, "+33199001234"),
        ("0033 1 99 00 12 34", "US", "+33199001234"),
        ("00 what", None, "00 what"),
        ("020 7946 0018 x12", "GB", "+442079460018 x12"),
        ("1-800-FLOWERS", "US", "+18003569377"),
    ],
)
def test_a_number_is_kept_as_it_is_dialled_from_abroad(
    written: str, country: str | None, kept: str
) -> None:
    assert parties.e164(written, country) == kept


def test_a_number_keeps_its_extension_and_is_found_without(
    contacts_db: Database, someone: Context
) -> None:
    given = [{"number": "+44 20 7946 0018 ext. 12"}]
    add(contacts_db, someone, last_name="Roux", phones=given)

    (kept,) = page(contacts_db, someone)["items"]
    assert kept["phones"][0]["number"] == "+442079460018 x12"
    for written in ("020 7946 0018", "+44 20 7946 0018 x12", "0044 20 7946 0018"):
        assert names(page(contacts_db, someone, phone=written)) == ["Roux"]
    assert names(page(contacts_db, someone, q="20 7946 0018")) == ["Roux"]


def test_an_address_or_number_may_be_one_of_several_or_not_that_one(
    contacts_db: Database, someone: Context
) -> None:
    add(contacts_db, someone, last_name="Lee", emails=[{"address": "lee@example.org"}])
    add(contacts_db, someone, last_name="Roux", phones=[{"number": "+33199001122"}])
    add(contacts_db, someone, last_name="Sand", emails=[{"address": "sand@example.org"}])

    def found(**query: str) -> list[str]:
        return names(page(contacts_db, someone, sort="last_name", **query))

    assert found(email__in="LEE@example.org,sand@example.org") == ["Lee", "Sand"]
    assert found(email__in="lee@example.org,") == ["Lee"]
    assert found(email__ne="lee@example.org") == ["Roux", "Sand"]
    assert found(phone__in="+33199001122,+33199001133") == ["Roux"]
    assert found(email__eq="lee@example.org", phone__ne="+33199001122") == ["Lee"]


@pytest.mark.parametrize(
    ("operator", "value", "code"),
    [
        ("gte", "a", "operator"),
        ("null", "true", "operator"),
        ("in", ",".join("a" * 21), "too_many"),
        ("in", "a" * 201, "too_long"),
    ],
)
def test_an_operator_that_a_filter_does_not_know_is_refused(
    contacts_db: Database, someone: Context, operator: str, value: str, code: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        page(contacts_db, someone, **{f"email__{operator}": value})

    (error,) = caught.value.errors
    assert (error.path, error.code) == (f"email[{operator}]", code)
    assert code != "operator" or "only eq, ne and in" in error.message


@pytest.mark.parametrize(
    "name", ["last_name", "tags[in]", "email[in]", "stage[in]", "custom.x[in]"]
)
def test_no_value_of_a_filter_is_longer_than_is_said(
    contacts_db: Database, someone: Context, name: str
) -> None:
    with pytest.raises(InvalidInput) as caught:
        page(contacts_db, someone, **{name: "a" * 201})

    assert [(error.path, error.code) for error in caught.value.errors] == [(name, "too_long")]
    many = ",".join(f"{number:0200}" for number in range(3))
    assert page(contacts_db, someone, last_name__in=many)["items"] == []


def test_filters_combine_and_count(contacts_db: Database, someone: Context) -> None:
    for i in range(5):
        add(contacts_db, someone, last_name=f"N{i}", tags=["vip"] if i % 2 else [], stage="lead")
    add(contacts_db, someone, last_name="C", stage="customer", tags=["vip"])

    found = page(contacts_db, someone, stage="lead", tags="vip", count="true", sort="last_name")

    assert names(found) == ["N1", "N3"]
    assert found["count"] == 2
    assert names(page(contacts_db, someone, stage__in="customer,subscriber")) == ["C"]
    assert page(contacts_db, someone, tags__in="new,vip", count="true")["count"] == 3


def test_every_bad_list_parameter_is_named(contacts_db: Database, someone: Context) -> None:
    with pytest.raises(InvalidInput) as caught:
        page(
            contacts_db,
            someone,
            stage="x",
            foo="1",
            limit="0",
            sort="emails",
            cursor="?",
            count="2",
        )

    assert {e.path for e in caught.value.errors} == {
        "stage", "foo", "limit", "sort", "cursor", "count",
    }  # fmt: skip


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    titles=st.lists(st.sampled_from(["A", "B", "Ç", "é", "z z"]), max_size=12),
    limit=st.integers(1, 5),
    sort=st.sampled_from(["last_name", "-last_name", "updated_at", "-created_at", "id"]),
)
def test_pages_one_after_the_other_are_the_whole_list(
    contacts_db: Database, titles: list[str], limit: int, sort: str
) -> None:
    who = about()
    for title in titles:
        add(contacts_db, who, last_name=title)
    whole = page(contacts_db, who, sort=sort, limit="200")["items"]

    seen: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        found = page(contacts_db, who, sort=sort, limit=str(limit), **cursor)
        seen += found["items"]
        if found["next"] is None:
            break
        cursor = {"cursor": found["next"]}

    assert seen == whole
    assert len(seen) == len(titles)


def test_companies_that_a_search_finds_are_sorted_by_revenue(
    contacts_db: Database, someone: Context
) -> None:
    for name, revenue in (("Acme", "9"), ("Acme Ltd", None), ("Acme SA", "10"), ("Other", "11")):
        add_company(
            contacts_db,
            someone,
            name=name,
            phones=[{"number": "+33199001122"}],
            annual_revenue=revenue and {"amount": revenue, "currency": "EUR"},
        )
    asked = {"sort": "-annual_revenue", "q": "acme", "phone": "01 99 00 11 22", "limit": "2"}

    first = page(contacts_db, someone, COMPANIES, count="true", **asked)
    rest = page(contacts_db, someone, COMPANIES, cursor=first["next"], **asked)

    assert [item["name"] for item in first["items"]] == ["Acme SA", "Acme"]
    assert [item["name"] for item in rest["items"]] == ["Acme Ltd"]
    assert (first["count"], rest["next"]) == (3, None)


def test_a_list_is_one_statement_whatever_its_length(
    contacts_db: Database, someone: Context
) -> None:
    company = add_company(contacts_db, someone, name="Acme")
    for i in range(20):
        add(contacts_db, someone, last_name=f"N{i}", company_id=str(company))

    with statements(contacts_db) as seen:
        found = page(contacts_db, someone)

    assert len(found["items"]) == 20
    assert found["items"][0]["company_name"] == "Acme"
    assert len(seen) == 1


def test_a_search_reads_through_the_view_that_may_use_the_index(
    contacts_db: Database, someone: Context
) -> None:
    add(contacts_db, someone, last_name="Lee", tags=["vip"])

    for query in (
        {"q": "lee"},
        {"tags": "vip"},
        {"email": "lee@example.org"},
        {"email__in": "lee@example.org,li@example.org"},
    ):
        with statements(contacts_db) as seen:
            page(contacts_db, someone, **query, count="true")

        assert all("FROM people_found AS people" in statement for statement in seen)
        assert len(seen) == 2


def test_reading_one_is_one_statement_and_changing_one_is_three(
    contacts_db: Database, someone: Context
) -> None:
    id = add(contacts_db, someone, last_name="Lee")

    with contacts_db.reading(someone) as session, statements(contacts_db) as reading:
        listing.read(session, PEOPLE, id)
    with statements(contacts_db) as changing, contacts_db.writing(someone) as session:
        person = people.change(session, id, 1, ContactChanges(title="CEO"))
        records.answer(session, PEOPLE, person)

    assert len(reading) == 1
    # One locks, one writes the row and its history and answers, one writes the event and commits.
    assert len(changing) == 3


def test_adding_one_is_two_statements_whatever_it_points_at(
    contacts_db: Database, someone: Context
) -> None:
    company = add_company(contacts_db, someone, name="Acme")

    with statements(contacts_db) as seen:
        add(contacts_db, someone, last_name="Lee", company_id=str(company))

    # One writes the row and answers, one writes the event and commits.
    assert len(seen) == 2


def test_a_stale_version_changes_nothing_and_returns_the_current_record(
    contacts_db: Database, someone: Context
) -> None:
    id = add(contacts_db, someone, last_name="Lee")
    with contacts_db.writing(someone) as session:
        people.change(session, id, 1, ContactChanges(last_name="Leigh"))

    with pytest.raises(StaleVersion) as caught, contacts_db.writing(someone) as session:
        people.change(session, id, 1, ContactChanges(last_name="Li"))

    assert json.loads(caught.value.current or b"")["last_name"] == "Leigh"
    assert names(page(contacts_db, someone)) == ["Leigh"]


def test_a_change_that_changes_nothing_makes_no_version(
    contacts_db: Database, someone: Context
) -> None:
    id = add(contacts_db, someone, last_name="Lee")

    with contacts_db.writing(someone) as session:
        people.change(session, id, 1, ContactChanges(last_name="Lee"))
        assert records.answer(session, PEOPLE, id)[1] == 1


def test_the_history_keeps_who_before_and_after(contacts_db: Database, someone: Context) -> None:
    id = add(contacts_db, someone, last_name="Lee")
    with contacts_db.writing(someone) as session:
        people.change(session, id, 1, ContactChanges(last_name="Leigh", title="CEO"))

    with contacts_db.reading(someone) as session:
        entries = json.loads(records.history(session, PEOPLE, id))["items"]

    assert len(entries) == 1
    assert entries[0]["by"] == str(someone.user)
    assert entries[0]["changes"] == {"last_name": ["Lee", "Leigh"], "title": [None, "CEO"]}


def test_another_tenants_records_do_not_exist(contacts_db: Database, someone: Context) -> None:
    id = add(contacts_db, someone, last_name="Lee")
    company = add_company(contacts_db, someone, name="Acme")
    stranger = about()

    with pytest.raises(NotFound), contacts_db.writing(stranger) as session:
        people.change(session, id, 1, ContactChanges(last_name="Li"))
    with pytest.raises(InvalidInput) as caught:
        add(contacts_db, stranger, last_name="X", company_id=str(company))

    assert caught.value.errors[0].path == "company_id"
    assert page(contacts_db, stranger)["items"] == []
    assert page(contacts_db, stranger, q="lee")["items"] == []


def test_a_forgotten_filter_shows_nobody_elses_rows(
    contacts_db: Database, someone: Context
) -> None:
    add(contacts_db, someone, last_name="Lee")

    for source in ("people", "people_found"):
        with contacts_db.reading(about()) as session:
            assert session.execute(text(f"SELECT count(*) FROM {source}")).scalar_one() == 0
        with contacts_db.connection() as connection:
            assert connection.execute(text(f"SELECT count(*) FROM {source}")).scalar_one() == 0


@pytest.mark.parametrize(("rule", "seen"), [("own", 1), ("team", 2), ("all", 3)])
def test_row_rules_narrow_lists_reads_and_changes(
    contacts_db: Database, someone: Context, rule: str, seen: int
) -> None:
    me, peer, other = (principal().user for _ in range(3))
    for owner in (me, peer, other):
        with contacts_db.writing(someone) as session:
            id = people.create(session, NewContact(last_name="Lee")).id
            session.execute(
                text("UPDATE people SET owner_id = :owner WHERE id = :id"),
                {"owner": owner, "id": id},
            )
    narrowed = about(
        principal(
            someone.tenant, "contacts:read", user=me, rows={"contacts": rule}, peers=(me, peer)
        )
    )

    assert len(page(contacts_db, narrowed)["items"]) == seen
    assert len(page(contacts_db, narrowed, q="lee", count="true")["items"]) == seen
    with contacts_db.reading(narrowed) as session:
        assert (listing.read(session, PEOPLE, id) is not None) == (rule == "all")
    if rule != "all":
        with pytest.raises(NotFound), contacts_db.writing(narrowed) as session:
            people.change(session, id, 1, ContactChanges(title="CEO"))


def test_who_sees_only_their_own_owns_what_they_add(
    contacts_db: Database, someone: Context
) -> None:
    rep = about(principal(someone.tenant, "contacts:write", rows={"contacts": "own"}))

    add(contacts_db, rep, last_name="Lee")

    assert names(page(contacts_db, rep)) == ["Lee"]


def test_every_reference_that_points_at_nothing_is_named_and_nothing_is_written(
    contacts_db: Database, someone: Context
) -> None:
    theirs = add_company(contacts_db, about(), name="Theirs")
    wrong = {"company_id": theirs, "owner_id": theirs}
    id = add(contacts_db, someone, last_name="Lee")

    with pytest.raises(InvalidInput) as adding:
        add(contacts_db, someone, last_name="Li", **wrong)
    with pytest.raises(InvalidInput) as changing, contacts_db.writing(someone) as session:
        people.change(session, id, 1, ContactChanges.model_validate({"last_name": "Li"} | wrong))

    for refused in (adding, changing):
        assert [error.path for error in refused.value.errors] == ["company_id", "owner_id"]
    assert names(page(contacts_db, someone)) == ["Lee"]


def test_a_user_who_is_gone_keeps_what_they_own_and_is_given_nothing_more(
    contacts_db: Database, someone: Context
) -> None:
    gone, never_seen = uuid7(), uuid7()
    ref = UserRef.model_validate(
        {"id": gone, "name": "Anna", "email": "anna@example.org", "active": True, "version": 1}
        | dict.fromkeys(("team_id", "team", "region", "manager_id", "manager"))
    )
    with contacts_db.writing(someone) as session:
        OWNERS.keep(session, UsersSaved(users=[ref]))
    id = add(contacts_db, someone, last_name="Lee", owner_id=str(gone))

    with contacts_db.writing(someone) as session:
        OWNERS.drop(session, UserRemoved(user_id=gone))
        OWNERS.drop(session, UserRemoved(user_id=never_seen))
        # As told late, by another handler's queue.
        OWNERS.keep(session, UsersSaved(users=[ref, ref.model_copy(update={"id": never_seen})]))

    with contacts_db.writing(someone) as session:
        people.change(session, id, 1, ContactChanges(title="CEO"))
    for user in (gone, never_seen):
        with pytest.raises(InvalidInput):
            add(contacts_db, someone, last_name="Li", owner_id=str(user))
    with contacts_db.writing(someone) as session:
        assert OWNERS.names(session, []) == []
        assert OWNERS.resolve(session, ["Anna", "anna@example.org"]) == {}
    (found,) = page(contacts_db, someone)["items"]
    assert (found["title"], found["owner_id"]) == ("CEO", str(gone))


def test_an_external_id_is_taken_once(contacts_db: Database, someone: Context) -> None:
    add(contacts_db, someone, last_name="Lee", external_id="A1")

    with pytest.raises(Conflict), contacts_db.writing(someone) as session:
        people.create(session, NewContact(last_name="Li", external_id="A1"))


def test_a_company_is_never_its_own_ancestor(contacts_db: Database, someone: Context) -> None:
    top = add_company(contacts_db, someone, name="Top")
    middle = add_company(contacts_db, someone, name="Middle", parent_id=str(top))
    bottom = add_company(contacts_db, someone, name="Bottom", parent_id=str(middle))

    for parent in (top, bottom):
        with pytest.raises(InvalidInput) as caught, contacts_db.writing(someone) as session:
            companies.change(session, top, 1, CompanyChanges(parent_id=parent))
        assert caught.value.errors[0].code == "circle"


def test_custom_fields_are_checked_stored_and_filtered(
    contacts_db: Database, someone: Context
) -> None:
    with contacts_db.writing(someone) as session:
        for name, kind in (("size", "number"), ("since", "date"), ("vip", "boolean")):
            custom.define(
                session,
                "contacts",
                custom.NewCustomField(name=name, kind=kind, label=Label(en=name, fr=name)),
            )
    add(contacts_db, someone, last_name="Big", custom={"size": 100, "vip": True})
    add(contacts_db, someone, last_name="Small", custom={"size": 9, "since": "2020-02-29"})

    with pytest.raises(InvalidInput) as caught:
        add(
            contacts_db,
            someone,
            last_name="X",
            custom={"size": "x", "since": "2021-02-29", "no": 1},
        )

    assert {e.path for e in caught.value.errors} == {"custom.size", "custom.since", "custom.no"}

    def found(**query: str) -> list[str]:
        pairs = list(query.items())
        with contacts_db.reading(someone) as session:
            return names(json.loads(listing.page(session, PEOPLE, ListQuery(pairs))))

    assert found(**{"custom.size[gte]": "10"}) == ["Big"]
    assert found(**{"custom.since[gt]": "2020-01-01"}) == ["Small"]
    assert found(**{"custom.since[lte]": "2020-01-01"}) == []
    assert found(**{"custom.vip": "true"}) == ["Big"]
    assert found(**{"custom.since[null]": "true"}) == ["Big"]
    assert found(**{"custom.since": "2020-02-29"}) == ["Small"]
    with pytest.raises(InvalidInput):
        found(**{"custom.nope": "1"})
    with pytest.raises(InvalidInput) as caught:
        found(**{"custom.vip[gt]": "true"})
    assert [error.code for error in caught.value.errors] == ["operator"]


@pytest.mark.parametrize("asked", ["10", "10.0", "1e1"])
def test_a_custom_number_is_found_however_it_is_written(
    contacts_db: Database, someone: Context, asked: str
) -> None:
    with contacts_db.writing(someone) as session:
        new = custom.NewCustomField(name="size", kind="number", label=Label(en="Size", fr="Taille"))
        custom.define(session, "contacts", new)
    add(contacts_db, someone, last_name="Whole", custom={"size": 10})
    add(contacts_db, someone, last_name="Point", custom={"size": 10.0})
    add(contacts_db, someone, last_name="Other", custom={"size": 11})

    def found(name: str, value: str) -> list[str]:
        return sorted(names(page(contacts_db, someone, **{name: value})))

    assert found("custom.size", asked) == ["Point", "Whole"]
    assert found("custom.size[in]", f"7,{asked}") == ["Point", "Whole"]
    assert found("custom.size[ne]", asked) == ["Other"]


def test_each_value_of_a_list_is_one_of_the_custom_field(
    contacts_db: Database, someone: Context
) -> None:
    with contacts_db.writing(someone) as session:
        new = custom.NewCustomField(name="size", kind="number", label=Label(en="Size", fr="Taille"))
        custom.define(session, "contacts", new)

    with pytest.raises(InvalidInput) as caught:
        page(contacts_db, someone, **{"custom.size[in]": "1,large"})

    assert [error.path for error in caught.value.errors] == ["custom.size"]


def test_what_a_field_that_is_gone_has_left_can_be_cleared_and_not_set(
    contacts_db: Database, someone: Context
) -> None:
    with contacts_db.writing(someone) as session:
        new = custom.NewCustomField(name="size", kind="text", label=Label(en="Size", fr="Taille"))
        field = custom.define(session, "contacts", new)
    with contacts_db.writing(someone) as session:
        custom.remove(session, PEOPLE, field.id)

    with contacts_db.reading(someone) as session:
        assert custom.check(session, "contacts", {"size": None}, partial=True) == {"size": None}
        with pytest.raises(InvalidInput):
            custom.check(session, "contacts", {"size": "large"}, partial=True)


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
def test_a_blank_text_is_none_where_a_custom_field_is_required(
    contacts_db: Database, someone: Context, blank: str
) -> None:
    label = Label(en="Size", fr="Taille")
    new = custom.NewCustomField(name="size", kind="text", label=label, required=True)
    with contacts_db.writing(someone) as session:
        custom.define(session, "contacts", new)

    for partial in (False, True):
        with contacts_db.reading(someone) as session, pytest.raises(InvalidInput) as caught:
            custom.check(session, "contacts", {"size": blank}, partial=partial)
        assert [(e.path, e.code) for e in caught.value.errors] == [("custom.size", "missing")]


def test_a_custom_field_of_another_kind_may_take_a_name_that_was_in_use(
    contacts_db: Database, someone: Context
) -> None:
    def define(kind: Any) -> custom.CustomFieldShape:
        new = custom.NewCustomField(name="size", kind=kind, label=Label(en="Size", fr="Taille"))
        with contacts_db.writing(someone) as session:
            return custom.define(session, "contacts", new)

    text = define("text")
    add(contacts_db, someone, last_name="Old", custom={"size": "large"})
    with contacts_db.writing(someone) as session:
        custom.remove(session, PEOPLE, text.id)
    define("number")
    add(contacts_db, someone, last_name="New", custom={"size": 12})

    found = page(contacts_db, someone, **{"custom.size[gt]": "10"})

    assert names(found) == ["New"]


def test_names_are_in_the_order_in_which_people_look_for_them(
    contacts_db: Database, someone: Context
) -> None:
    people_order = ["Abel", "adam", "Ångström", "Étienne", "etymon", "Martin", "Œil", "Zola"]
    for name in reversed(people_order):
        add(contacts_db, someone, last_name=name)

    assert names(page(contacts_db, someone, sort="last_name")) == people_order
    assert names(page(contacts_db, someone, sort="-last_name")) == people_order[::-1]
    assert names(page(contacts_db, someone, last_name__gte="F", sort="last_name")) == [
        "Martin",
        "Œil",
        "Zola",
    ]


LETTERS = st.text(alphabet="aAäÄeEézZ -'’ßœ1", min_size=1, max_size=3).filter(str.strip)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(written=st.lists(LETTERS, min_size=4, max_size=12), descending=st.booleans())
def test_page_by_page_every_name_comes_once_and_in_order(
    contacts_db: Database, written: list[str], descending: bool
) -> None:
    who = about(principal())
    ids = [str(add(contacts_db, who, last_name=name)) for name in written]
    sort = "-last_name" if descending else "last_name"
    whole = page(contacts_db, who, sort=sort, limit="50")["items"]
    found: list[Any] = []
    cursor: dict[str, str] = {}
    while True:
        some = page(contacts_db, who, sort=sort, limit="3", **cursor)
        found += some["items"]
        if some["next"] is None:
            break
        cursor = {"cursor": some["next"]}

    assert found == whole
    assert sorted(item["id"] for item in found) == sorted(ids)


def test_names_are_compared_alike_whatever_the_server_s_locale_is(
    contacts_db: Database, someone: Context
) -> None:
    with contacts_db.reading(someone) as session:
        compared = session.execute(
            text(
                "SELECT a.attrelid::regclass::text, collname FROM pg_attribute a"
                " JOIN pg_collation c ON c.oid = a.attcollation"
                " WHERE attname IN ('last_name_order', 'name_order')"
                " AND attrelid IN ('people'::regclass, 'companies'::regclass)"
            )
        ).all()

    assert sorted(map(tuple, compared)) == [("companies", "C"), ("people", "C")]


def test_a_cursor_of_the_order_before_is_refused(
    contacts_db: Database, someone: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    query = [("sort", "last_name"), ("limit", "1")]
    for name in ("Étienne", "Zola"):
        with contacts_db.writing(someone) as session:
            people.create(session, NewContact(last_name=name))
    with contacts_db.reading(someone) as session, monkeypatch.context() as before:
        before.setattr(PEOPLE, "sorted_texts", ())
        page = json.loads(listing.page(session, PEOPLE, ListQuery(query)))

    with contacts_db.reading(someone) as session, pytest.raises(InvalidInput) as refused:
        listing.page(session, PEOPLE, ListQuery([*query, ("cursor", page["next"])]))

    assert [error.code for error in refused.value.errors] == ["cursor"]


@pytest.mark.parametrize("asked", [{"sort": "last_name"}, {"sort": "-last_name"}])
def test_lists_by_name_are_read_in_the_order_of_an_index(
    contacts_db: Database, someone: Context, asked: dict[str, str]
) -> None:
    add(contacts_db, someone, last_name="Martin")
    with contacts_db.reading(someone) as session:
        plan = parse(session, PEOPLE, ListQuery(list(asked.items())))
        rule = listing.row_rule(session, PEOPLE)
        rows, values = page_of(PEOPLE, plan, rule, []), values_of(plan, rule)
        # What small tables are read by says nothing of large ones.
        ways = ("seqscan", "sort", "incremental_sort")
        off = "".join(f"SET LOCAL enable_{way} = off; " for way in ways)
        explain = f"{off}EXPLAIN {text_of(rows)}"
        explained = session.connection().exec_driver_sql(explain, values)
        said = "\n".join(row[0] for row in explained)

    assert "ix_people_last_name" in said
    assert "Sort" not in said

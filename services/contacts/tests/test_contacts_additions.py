"""A plugin's field, panel and action work on real companies, by the rules that hold for them."""

import json
from collections.abc import Iterator
from dataclasses import replace
from types import ModuleType
from typing import Any

import pytest

import liaison_siren
from liaison_contacts import companies
from liaison_contacts.companies import COMPANIES
from liaison_contacts.people import PEOPLE
from liaison_contacts.service import Contacts
from liaison_kit import additions, boards, chosen, conditions, listing
from liaison_kit.calls.manifest import manifest
from liaison_kit.calls.wire import Reply
from liaison_kit.context import NOBODY, Context, Principal
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.listing.asked import ListQuery
from liaison_kit.plugins import Hooks
from liaison_kit.records import custom
from liaison_kit.testing import at_work, call, principal
from liaison_sdk.contracts.contacts import NewCompany
from liaison_sdk.errors import Conflict, InvalidInput
from liaison_sdk.hooks import Done, hook
from liaison_sdk.labels import Label

SIREN = "732829320"


@pytest.fixture
def service(contacts_db: Database) -> Iterator[Any]:
    """Contacts with the plugin, as a process has it that was started with it."""
    hooks = Hooks("contacts", 5)
    hooks.register(liaison_siren, "siren")
    added = additions.gather("contacts", hooks, [PEOPLE, COMPANIES])
    yield at_work(Contacts, contacts_db, hooks=hooks, added=added)
    additions.gather("contacts", Hooks("contacts", 5), [PEOPLE, COMPANIES])


@pytest.fixture
def company(contacts_db: Database, someone: Context) -> str:
    with contacts_db.writing(someone) as session:
        return str(companies.create(session, NewCompany(name="Acme")).id)


def whoever(who: Context) -> Principal:
    assert who.principal is not None
    return who.principal


def enter(
    service: Any, who: Principal, id: str, number: Any, version: int = 1, key: str = "siren.enter"
) -> Reply:
    """Enter a number by the plugin's action."""
    body = json.dumps({"form": {"number": number}}).encode()
    path = {"id": id, "action": key}
    return call(service, "act_on_company", who, body, path=path, if_match=version)


def panel(service: Any, who: Principal, id: str, key: str = "siren.card") -> Reply:
    return call(service, "draw_company_panel", who, path={"id": id, "panel": key})


def told(reply: Reply) -> list[tuple[str, str, str]]:
    return [(e["path"], e["code"], e["message"]) for e in json.loads(reply.body)["errors"]]


def test_an_action_changes_the_record_by_its_rules_and_the_panel_shows_it(
    service: Any, contacts_db: Database, someone: Context, company: str
) -> None:
    who = whoever(someone)
    assert json.loads(panel(service, who, company).body)["rows"] == []

    reply = enter(service, who, company, "732 829 320 00074")

    changed = json.loads(reply.body)
    assert (reply.status, changed["version"]) == (200, 2)
    assert changed["custom"] == {"siren_number": SIREN}
    assert changed["updated_by"] == str(who.user)
    number, vat = json.loads(panel(service, who, company).body)["rows"]
    assert (number["value"], number["label"]["fr"]) == ("732 829 320", "SIREN")
    assert vat["value"] == f"FR44{SIREN}"
    history = call(service, "list_history", who, query=[["record", "companies"], ["id", company]])
    assert SIREN in history.body.decode()
    assert enter(service, who, company, SIREN, version=1).status == 412


def test_what_is_refused_is_said_in_the_persons_language_and_changes_nothing(
    service: Any, someone: Context, company: str
) -> None:
    who = whoever(someone)

    refused = told(enter(service, who, company, "123"))

    assert refused[0][:2] == ("form.number", "refused")
    assert refused[0][2].startswith("This is neither")
    assert [e[:2] for e in told(enter(service, who, company, None))] == [("form.number", "missing")]
    assert [e[:2] for e in told(enter(service, who, company, 7))] == [("form.number", "text")]
    assert enter(service, who, company, SIREN, key="siren.other").status == 404
    assert enter(service, who, company, SIREN, key="enter").status == 404
    assert panel(service, who, company, "other.card").status == 404
    assert enter(service, who, company, SIREN).status == 200


def test_who_may_not_see_a_record_meets_none_of_its_panels_and_actions(
    service: Any, someone: Context, company: str
) -> None:
    own = principal(someone.tenant, rows={"companies": "own"})
    reader = principal(someone.tenant, "companies:read")

    assert [panel(service, who, company).status for who in (own, principal())] == [404, 404]
    assert [enter(service, who, company, SIREN).status for who in (own, principal())] == [404, 404]
    assert enter(service, reader, company, SIREN).status == 403


def test_a_plugins_field_is_checked_filtered_and_told_as_a_tenants_own(
    service: Any, contacts_db: Database, someone: Context, company: str
) -> None:
    enter(service, whoever(someone), company, SIREN)
    with contacts_db.reading(someone) as session:
        found = listing.page(session, COMPANIES, ListQuery([("custom.siren_number", SIREN)]))
        none = listing.page(session, COMPANIES, ListQuery([("custom.siren_number", "1")]))
    reply = call(service, "list_custom_fields", whoever(someone), query=[["record", "companies"]])

    assert [item["id"] for item in json.loads(found)["items"]] == [company]
    assert json.loads(none)["items"] == []
    (field,) = json.loads(reply.body)["items"]
    assert (field["name"], field["plugin"]) == ("siren_number", "siren")
    with contacts_db.writing(someone) as session, pytest.raises(InvalidInput):
        companies.create(session, NewCompany(name="x", custom={"siren_number": 7}))


def test_a_tenant_can_not_take_a_plugins_name_and_keeps_its_own_of_that_name(
    service: Any, contacts_db: Database, someone: Context
) -> None:
    new = custom.NewCustomField(name="siren_number", kind="number", label=Label(en="S", fr="S"))
    with contacts_db.writing(someone) as session, pytest.raises(Conflict):
        custom.define(session, "companies", new)

    added = custom.of_plugins("companies")
    custom.add("companies", ())
    with contacts_db.writing(someone) as session:
        custom.define(session, "companies", new)
    custom.add("companies", added)

    with contacts_db.reading(someone) as session:
        (field,) = custom.fields(session, "companies")
    assert field.kind == "number"


def test_the_manifest_tells_what_plugins_add_and_from_where(service: Any) -> None:
    whole = manifest(type(service))
    record = next(each for each in whole["records"] if each["name"] == "companies")

    field = record["fields"][-1]
    assert (field["name"], field["from"]) == ("custom.siren_number", "siren")
    assert field["section"] == {"en": "Legal", "fr": "Informations légales"}
    assert record["panels"] == [
        {
            "name": "siren.card",
            "from": "siren",
            "label": {"en": "Company register", "fr": "Registre"},
            "icon": "certificate",
            "endpoint": "/companies/{id}/panels/siren.card",
        }
    ]
    (action,) = record["actions"]
    assert action["endpoint"] == "/companies/{id}/actions/siren.enter"
    assert [asked["name"] for asked in action["form"]] == ["number"]
    offered = {operation["path"] for operation in whole["operations"]}
    assert "/companies/{id}/panels/{panel}" in offered
    assert "/contacts/{id}/panels/{panel}" not in offered


def test_a_plugin_that_fails_or_reaches_for_others_fields_changes_nothing(
    service: Any, someone: Context, company: str
) -> None:
    answers: list[Any] = [Done({"siren_other": "x"}), "done", None]

    def do_action(action: str, record: Any, form: Any) -> Any:
        return answers.pop(0)

    hooks = Hooks("contacts", 5)
    plugin = ModuleType("plugin")
    vars(plugin)["do_action"] = hook(do_action)
    hooks.register(plugin, "siren")
    type(service).hooks = hooks

    statuses = [enter(service, whoever(someone), company, SIREN).status for _ in range(3)]

    assert statuses == [503, 503, 503]
    assert answers == []


# --- lists of one's own --------------------------------------------------------------------------


def test_me_is_whoever_asks_in_the_fields_that_hold_users(
    contacts_db: Database, someone: Context
) -> None:
    me = whoever(someone).user
    with contacts_db.writing(someone) as session:
        mine = str(companies.create(session, NewCompany(name="Mine")).id)
    with contacts_db.reading(someone) as session:
        for name in ("created_by", "updated_by[in]"):
            page = listing.page(session, COMPANIES, ListQuery([(name, "me")]))
            same = listing.page(session, COMPANIES, ListQuery([(name, str(me))]))
            assert [item["id"] for item in json.loads(page)["items"]] == [mine]
            assert page == same
        assert (
            json.loads(listing.page(session, COMPANIES, ListQuery([("owner_id", "me")])))["items"]
            == []
        )
        with pytest.raises(InvalidInput):
            listing.page(session, COMPANIES, ListQuery([("parent_id", "me")]))


@pytest.mark.parametrize(
    ("operator", "value"), [("=", "me"), ("in", "me"), ("in", ["me"]), ("notIn", str(NOBODY))]
)
def test_me_is_whoever_asks_in_a_condition_of_a_list(
    contacts_db: Database, someone: Context, operator: str, value: Any
) -> None:
    other = replace(someone, principal=principal(someone.tenant))
    for who, name in ((someone, "Mine"), (other, "Theirs")):
        with contacts_db.writing(who) as session:
            companies.create(session, NewCompany(name=name))
    mine = {"field": "created_by", "operator": operator, "value": value}
    where = json.dumps({"combinator": "and", "rules": [mine]})

    with contacts_db.reading(someone) as session:
        page = json.loads(listing.page(session, COMPANIES, ListQuery([("where", where)])))

    found = {item["name"] for item in page["items"]}
    assert found == ({"Mine", "Theirs"} if operator == "notIn" else {"Mine"})


def test_me_is_whoever_asks_on_boards_and_in_what_is_chosen(
    contacts_db: Database, someone: Context
) -> None:
    other = replace(someone, principal=principal(someone.tenant))
    for who in (someone, other, other):
        with contacts_db.writing(who) as session:
            companies.create(session, NewCompany(name="Acme", stage="lead"))
    mine = {"field": "created_by", "operator": "=", "value": "me"}
    where = json.dumps({"combinator": "and", "rules": [mine]})

    for asked in (("created_by", "me"), ("where", where)):
        query: ListQuery[Any] = ListQuery([asked])
        counts = []
        for who in (someone, other):
            with contacts_db.writing(who) as session:
                board = boards.by_choice(COMPANIES, "stage", companies.change)
                shown = json.loads(boards.show(session, COMPANIES, board, query, 5))
                chosen_ones = chosen.pick(session, COMPANIES, query, uuid7())
            cards = sum(column["count"] for column in shown["columns"])
            counts.append((cards, chosen_ones))
        assert counts == [(1, 1), (2, 2)], asked


def test_what_holds_no_user_is_never_me(contacts_db: Database, someone: Context) -> None:
    rule = {"field": "parent_id", "operator": "=", "value": "me"}
    where = json.dumps({"combinator": "and", "rules": [rule]})
    with contacts_db.reading(someone) as session, pytest.raises(InvalidInput) as refused:
        listing.page(session, COMPANIES, ListQuery([("where", where)]))
    assert refused.value.errors[0].path == "where.rules[0].value"


def test_nobody_is_me_where_nobody_asks(contacts_db: Database, someone: Context) -> None:
    system = Context(tenant=someone.tenant)
    tree = {
        "combinator": "and",
        "rules": [{"field": "owner_id", "operator": "=", "value": "me"}],
    }
    with contacts_db.reading(system) as session:
        for asked in (("owner_id", "me"), ("where", json.dumps(tree))):
            with pytest.raises(InvalidInput) as refused:
                listing.page(session, COMPANIES, ListQuery([asked]))
            assert refused.value.errors[0].code == "nobody_asks"


def test_a_condition_that_is_kept_has_nobody_who_is_me(
    contacts_db: Database, someone: Context
) -> None:
    tree = {
        "combinator": "and",
        "rules": [{"field": "owner_id", "operator": "=", "value": "me"}],
    }
    with contacts_db.reading(someone) as session, pytest.raises(InvalidInput) as refused:
        conditions.parse(session, COMPANIES, tree, "goal")
    (error,) = refused.value.errors
    assert (error.path, error.code) == ("goal.rules[0].value", "nobody_asks")

"""Users and teams as records, what others are told of them, tenants apart, and the audit trail."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

import pytest
from identity_company import Company, call
from sqlalchemy import select, text
from sqlalchemy.exc import ProgrammingError

from liaison_identity import tenants
from liaison_identity.create_tenant import main as create_tenant
from liaison_identity.models import Audit, Tenant, Token, User
from liaison_kit.settings import Settings
from liaison_kit.testing import statements
from liaison_sdk.contracts.identity import Administrator, NewTenant

Users = Callable[..., dict[str, Any]]
Who = dict[str, Any]


def told(company: Company, kind: str) -> list[dict[str, Any]]:
    """The data of the events of a kind that this company's changes wrote, oldest first."""
    with company.db.connection() as connection:
        bodies = connection.execute(text("SELECT body FROM outbox ORDER BY seq")).scalars().all()
    events = [json.loads(body) for body in bodies]
    return [
        event["data"]
        for event in events
        if event["tenant"] == str(company.id) and event["type"] == kind
    ]


def test_an_e_mail_is_there_once_however_it_is_written(admin: Who, company: Company) -> None:
    taken = call("create_user", admin, body={"name": "A", "email": company.email.upper()})

    assert taken.status == 409
    assert taken.body["errors"][0]["path"] == "email"


def test_everybody_without_an_e_mail_is_welcome_but_can_not_sign_in(admin: Who) -> None:
    first = call("create_user", admin, body={"name": "Rep One"}).body
    second = call("create_user", admin, body={"name": "Rep Two"}).body

    assert (first["can_sign_in"], second["can_sign_in"]) == (False, False)
    refused = call("create_user", admin, body={"name": "x", "password": "long enough pw"})
    assert refused.status == 422


def test_bad_fields_are_all_named(admin: Who) -> None:
    answer = call(
        "create_user",
        admin,
        body={"name": "", "email": "nonsense", "locale": "xx", "unknown": 1, "title": "a\x00"},
    )

    assert answer.status == 422
    assert {e["path"] for e in answer.body["errors"]} == {
        "name",
        "email",
        "locale",
        "unknown",
        "title",
    }


@pytest.mark.parametrize("field", ["team_id", "manager_id", "role_ids"])
def test_a_reference_to_another_tenants_record_is_a_bad_field(
    admin: Who, make_company: Callable[..., Company], field: str
) -> None:
    other = make_company()
    theirs = other.principal()
    ids = {
        "team_id": call("create_team", theirs, body={"name": "Theirs"}).body["id"],
        "manager_id": theirs["user"],
        "role_ids": [call("list_roles", theirs).body["items"][0]["id"]],
    }

    answer = call("create_user", admin, body={"name": "Spy", field: ids[field]})

    assert answer.status == 422
    assert answer.body["errors"][0]["path"] == field


def test_a_forgotten_filter_shows_no_other_tenant(
    company: Company, make_company: Callable[..., Company]
) -> None:
    other = make_company()
    other.token()

    with company.db.writing(company.about()) as session:
        assert {row.tenant_id for row in session.scalars(select(User))} == {company.id}
        assert {row.id for row in session.scalars(select(Tenant))} == {company.id}
        assert {row.tenant_id for row in session.scalars(select(Audit))} == {company.id}
        assert session.scalars(select(Token)).all() == []
        assert session.execute(text("SELECT count(*) FROM users_found")).scalar_one() == 1
    with company.db.connection() as connection:
        for table in ("users", "teams", "roles", "tokens", "tenants", "audit"):
            count = connection.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
            assert count == 0, table


def test_a_tenants_user_is_not_found_by_another_tenant(
    admin: Who, make_company: Callable[..., Company]
) -> None:
    theirs = make_company().principal()

    assert call("get_user", admin, path={"id": theirs["user"]}).status == 404
    assert call("change_user", admin, path={"id": theirs["user"]}, body={}, version=1).status == 404


def test_the_audit_trail_takes_no_change_and_no_deletion(company: Company) -> None:
    for statement in ("UPDATE audit SET action = 'x'", "DELETE FROM audit", "TRUNCATE audit"):
        with (
            pytest.raises(ProgrammingError, match="permission denied"),
            company.db.writing(company.about()) as session,
        ):
            session.execute(text(statement))


def test_the_audit_trail_says_who_did_what_newest_first(
    company: Company, admin: Who, add_user: Users
) -> None:
    user = add_user("Bo", "sales_rep")
    call("create_team", admin, body={"name": "North"})

    listed = call("list_audit", admin, query={"limit": 2}).body

    assert [entry["action"] for entry in listed["items"]] == ["team_created", "user_created"]
    assert listed["items"][1]["record_id"] == user["id"]
    assert listed["items"][1]["by_name"] == "Ada"
    after = call("list_audit", admin, query={"cursor": listed["next"], "limit": 200}).body["items"]
    assert [entry["action"] for entry in after].count("tenant_created") == 1
    assert not {entry["id"] for entry in after} & {entry["id"] for entry in listed["items"]}


def test_a_refused_act_leaves_no_trace(company: Company, admin: Who) -> None:
    before = call("list_audit", admin, query={"count": "true", "limit": 1}).body["count"]

    call("create_user", admin, body={"name": "A", "email": company.email})

    after = call("list_audit", admin, query={"count": "true", "limit": 1}).body["count"]
    assert after == before


def test_users_are_found_filtered_and_sorted(admin: Who, add_user: Users) -> None:
    team = call("create_team", admin, body={"name": "Nord", "region": "North"}).body
    add_user("Hélène", "sales_rep", team_id=team["id"], title="Directrice")
    add_user("Bernard", "sales_rep", manager_id=admin["user"])

    found = call("list_users", admin, query={"q": "helene"}).body["items"]
    north = call("list_users", admin, query={"region": "North"}).body["items"]
    ordered = call("list_users", admin, query={"sort": "name", "count": "true"}).body
    mine = call("list_users", admin, query={"manager": "Ada"}).body["items"]
    assert call("list_users", admin, query={"manager_id": "me"}).body["items"] == mine
    invited = call("list_users", admin, query={"can_sign_in": "true"}).body["items"]

    assert [user["name"] for user in found] == ["Hélène"]
    assert [user["team"] for user in north] == ["Nord"]
    assert [user["name"] for user in ordered["items"]] == ["Ada", "Bernard", "Hélène"]
    assert ordered["count"] == 3
    assert [user["name"] for user in mine] == ["Bernard"]
    assert len(invited) == 3


def test_a_list_is_one_statement(company: Company, admin: Who, add_user: Users) -> None:
    add_user("Bo", "sales_rep")

    with statements(company.db) as seen:
        call("list_users", admin)

    assert len(seen) == 1


def test_a_team_that_changes_tells_of_its_users_with_a_newer_version(
    company: Company, admin: Who, add_user: Users
) -> None:
    team = call("create_team", admin, body={"name": "A", "region": "East"}).body
    user = add_user("Bo", "sales_rep", team_id=team["id"])
    before = told(company, "users_saved")[-1]["users"][0]

    call(
        "change_team",
        admin,
        path={"id": team["id"]},
        body={"region": "West"},
        version=team["version"],
    )

    after = told(company, "users_saved")[-1]["users"][0]
    assert (before["region"], after["region"]) == ("East", "West")
    assert after["id"] == user["id"]
    assert after["version"] > before["version"]
    assert told(company, "team_saved")[-1] == {"team_id": team["id"]}


def test_a_deleted_team_leaves_its_members(company: Company, admin: Who, add_user: Users) -> None:
    team = call("create_team", admin, body={"name": "A", "region": "East"}).body
    user = add_user("Bo", "sales_rep", team_id=team["id"])

    gone = call("delete_team", admin, path={"id": team["id"]}, version=team["version"])

    assert gone.status == 204
    assert call("get_user", admin, path={"id": user["id"]}).body["team_id"] is None
    assert told(company, "users_saved")[-1]["users"][0]["region"] is None


def test_a_removed_manager_is_taken_from_teams_and_reports(
    company: Company, admin: Who, add_user: Users
) -> None:
    boss = add_user("Boss", "sales_manager")
    team = call("create_team", admin, body={"name": "A", "manager_id": boss["id"]}).body
    rep = add_user("Rep", "sales_rep", manager_id=boss["id"])

    gone = call("delete_user", admin, path={"id": boss["id"]}, version=boss["version"])

    assert gone.status == 204, gone.body
    assert call("get_team", admin, path={"id": team["id"]}).body["manager_id"] is None
    assert call("get_user", admin, path={"id": rep["id"]}).body["manager_id"] is None
    assert told(company, "user_removed") == [{"user_id": boss["id"], "record_version": 2}]


def test_a_stale_version_is_refused_with_the_present_record(admin: Who, add_user: Users) -> None:
    user = add_user("Bo", "sales_rep")
    path = {"id": user["id"]}
    call("change_user", admin, path=path, body={"title": "A"}, version=user["version"])

    stale = call("change_user", admin, path=path, body={"title": "B"}, version=user["version"])

    assert stale.status == 412
    assert stale.body["current"]["title"] == "A"


def test_a_password_is_kept_nowhere_but_as_its_hash(
    company: Company, admin: Who, add_user: Users
) -> None:
    user = add_user("Bo", "sales_rep")
    call("set_password", admin, path={"id": user["id"]}, body={"password": "very secret words"})

    with company.db.reading(company.about()) as session:
        kept = session.execute(
            text(
                "SELECT concat((SELECT json_agg(h) FROM history h),"
                " (SELECT json_agg(a) FROM audit a))"
            )
        ).scalar_one()
    assert "password_set" in kept
    assert "argon2" not in kept
    assert "very secret" not in str(told(company, "users_saved"))


def test_a_tenant_is_set_up_once_however_often_it_is_asked(company: Company) -> None:
    def again(email: str) -> None:
        tenants.bootstrap(
            company.db,
            NewTenant(
                name="Another name",
                slug=company.slug,
                administrator=Administrator(email=email, password="another password"),  # type: ignore[arg-type]
            ),
        )

    def rows() -> list[Any]:
        with company.db.reading(company.about()) as session:
            return [
                session.execute(text(f"SELECT count(*) FROM {table}")).scalar_one()
                for table in ("tenants", "users", "roles", "audit")
            ]

    before = rows()
    again(company.email)

    assert rows() == before
    assert before[:3] == [1, 1, 7]
    assert company.sign_in().status == 200


def test_the_command_line_sets_a_tenant_up(
    company: Company, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from liaison_identity import create_tenant as module

    address = company.db.url.render_as_string(hide_password=False)
    monkeypatch.setattr(module, "settings", lambda: Settings(DATABASE_URL=address))
    email = f"cli@x{uuid4().hex}.example.com"
    name = f"Hélios {uuid4()}"
    arguments = ["--name", name, "--email", email, "--password", "long enough pw"]

    assert create_tenant(arguments) == 0
    assert create_tenant(arguments) == 0
    assert create_tenant([*arguments[:-1], "short"]) == 2

    printed = capsys.readouterr()
    assert printed.out.splitlines()[0] == printed.out.splitlines()[1]
    assert "helios-" in printed.out
    assert company.sign_in(email, "long enough pw").status == 200

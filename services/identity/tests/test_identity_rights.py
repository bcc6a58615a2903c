"""Roles, tokens and row rules: what people may do, and that nobody gives more than they have."""

from collections.abc import Callable
from typing import Any
from uuid import UUID

import pytest
from identity_company import PASSWORD, Company, authenticate, call, read, role_id

from liaison_identity import grants

Users = Callable[..., dict[str, Any]]
Who = dict[str, Any]


@pytest.fixture
def clerk(company: Company, admin: Who, add_user: Users) -> Who:
    """Somebody who looks after users and roles but is no administrator."""
    role = call(
        "create_role",
        admin,
        body={
            "name": "Clerk",
            "permissions": ["users:read", "users:write", "roles:read", "roles:write", "leads:read"],
            "rows": {"leads": "team"},
        },
    ).body
    user = add_user("Clara")
    change(admin, user, role_ids=[role["id"]])
    return company.principal(company.token(user["email"]))


def change(who: Who, user: dict[str, Any], **changes: Any) -> Any:
    """Change a user at their present version."""
    version = call("get_user", who, path={"id": user["id"]}).body["version"]
    return call("change_user", who, path={"id": user["id"]}, body=changes, version=version)


def test_standard_roles_say_whose_rows_are_seen(company: Company, add_user: Users) -> None:
    rep = add_user("Rex", "sales_rep")
    manager = add_user("Max", "sales_manager")

    assert company.principal(company.token(rep["email"]))["rows"]["opportunities"] == "own"
    rows = company.principal(company.token(manager["email"]))["rows"]
    assert rows["opportunities"] == "team"
    assert "contacts" not in rows


def test_peers_are_the_team_and_the_people_one_manages(
    company: Company, admin: Who, add_user: Users
) -> None:
    boss = add_user("Boss", "sales_manager")
    team = call("create_team", admin, body={"name": "East", "manager_id": boss["id"]}).body
    rep = add_user("Rep", "sales_rep", team_id=team["id"])
    mate = add_user("Mate", "sales_rep", team_id=team["id"])
    other = add_user("Other", "sales_rep")
    direct = add_user("Direct", "sales_rep", manager_id=boss["id"])

    of_rep = company.principal(company.token(rep["email"]))["peers"]
    of_boss = company.principal(company.token(boss["email"]))["peers"]

    assert set(of_rep) == {rep["id"], mate["id"]}
    assert set(of_boss) == {boss["id"], rep["id"], mate["id"], direct["id"]}
    assert other["id"] not in of_boss


def test_a_second_role_about_other_things_does_not_open_rows() -> None:
    rep = {"permissions": ["leads:read"], "rows": {"leads": "own"}}
    support = {"permissions": ["tickets:read"], "rows": {}}
    manager = {"permissions": ["leads:read"], "rows": {"leads": "team"}}
    analyst = {"permissions": ["leads:read"], "rows": {}}

    assert grants.together([rep, support])[1] == {"leads": "own"}
    assert grants.together([rep, manager])[1] == {"leads": "team"}
    assert grants.together([rep, analyst])[1] == {}


def test_nobody_makes_a_role_beyond_their_own(clerk: Who) -> None:
    more = call("create_role", clerk, body={"name": "More", "permissions": ["audit:read"]})
    everything = call("create_role", clerk, body={"name": "All", "permissions": ["*"]})
    wider = call("create_role", clerk, body={"name": "Wide", "permissions": ["leads:read"]})
    same = call(
        "create_role",
        clerk,
        body={"name": "Same", "permissions": ["leads:read"], "rows": {"leads": "own"}},
    )

    assert [more.status, everything.status, wider.status] == [403, 403, 403]
    assert more.body["code"] == "beyond_you"
    assert same.status == 201


def test_nobody_gives_themselves_or_others_a_role_beyond_their_own(
    clerk: Who, add_user: Users
) -> None:
    me = {"id": clerk["user"]}
    administrator = role_id(clerk, "administrator")

    assert change(clerk, me, role_ids=[administrator]).status == 403
    made = call("create_user", clerk, body={"name": "Puppet", "role_ids": [administrator]})
    assert made.status == 403


def test_nobody_takes_over_the_account_of_somebody_with_more_rights(
    company: Company, admin: Who, clerk: Who
) -> None:
    target = {"id": admin["user"]}
    token = call("list_tokens", admin).body["items"][0]["id"]

    password = call("set_password", clerk, path=target, body={"password": "stolen password"})
    version = call("get_user", clerk, path=target).body["version"]

    assert password.status == 403
    assert change(clerk, target, email="thief@example.com").status == 403
    assert change(clerk, target, active=False).status == 403
    assert call("delete_user", clerk, path=target, version=version).status == 403
    assert call("delete_token", clerk, path={"id": token}).status == 403
    assert change(clerk, target, title="Boss").status == 200
    assert company.sign_in().status == 200


def test_nobody_widens_the_role_they_have(clerk: Who) -> None:
    mine = call("list_roles", clerk, query={"name": "Clerk"}).body["items"][0]

    widened = call(
        "change_role",
        clerk,
        path={"id": mine["id"]},
        body={"permissions": [*mine["permissions"], "audit:read"]},
        version=mine["version"],
    )
    opened = call(
        "change_role", clerk, path={"id": mine["id"]}, body={"rows": {}}, version=mine["version"]
    )

    assert (widened.status, opened.status) == (403, 403)


def test_an_api_token_is_shown_once_and_allows_no_more_than_it_says(
    company: Company, admin: Who
) -> None:
    made = call("create_token", admin, body={"label": "ERP", "permissions": ["contacts:read"]})
    who = company.principal(made.body["token"])

    assert made.status == 201
    assert who["permissions"] == ["contacts:read"]
    assert who["kind"] == "token"
    listed = call("list_tokens", admin).body["items"]
    assert made.body["token"] not in str(listed)
    assert {"ERP"} == {item["label"] for item in listed if item["kind"] == "token"}


def test_a_narrow_token_makes_no_wider_one(company: Company, admin: Who) -> None:
    narrow = company.principal(
        call("create_token", admin, body={"label": "a", "permissions": ["leads:read"]}).body[
            "token"
        ]
    )

    implied = call("create_token", narrow, body={"label": "b"})
    asked = call("create_token", narrow, body={"label": "c", "permissions": ["*"]})

    assert implied.body["permissions"] == ["leads:read"]
    assert asked.status == 403


def test_a_token_ends_when_it_is_revoked_or_its_user_removed(
    company: Company, admin: Who, add_user: Users
) -> None:
    user = add_user("Zoe", "sales_rep")
    hers = company.principal(company.token(user["email"]))
    first, second = (
        call("create_token", hers, body={"label": name}).body for name in ("one", "two")
    )

    assert call("delete_token", hers, path={"id": first["id"]}).status == 204
    assert authenticate(first["token"]).status == 401
    assert authenticate(second["token"]).status == 200

    version = call("get_user", admin, path={"id": user["id"]}).body["version"]
    assert call("delete_user", admin, path={"id": user["id"]}, version=version).status == 204
    assert authenticate(second["token"]).status == 401


def test_a_role_that_changes_is_felt_at_once(company: Company, admin: Who, clerk: Who) -> None:
    role = call("list_roles", admin, query={"name": "Clerk"}).body["items"][0]
    token = call("create_token", clerk, body={"label": "x"}).body["token"]

    call(
        "change_role",
        admin,
        path={"id": role["id"]},
        body={"permissions": ["users:read"]},
        version=role["version"],
    )

    assert company.principal(token)["permissions"] == ["users:read"]


def test_the_last_administrator_stays(company: Company, admin: Who, add_user: Users) -> None:
    me = {"id": admin["user"]}
    role = call("list_roles", admin, query={"external_id": "administrator"}).body["items"][0]
    version = call("get_user", admin, path=me).body["version"]

    refused = [
        change(admin, me, active=False),
        change(admin, me, role_ids=[]),
        change(admin, me, email=None),
        call("delete_user", admin, path=me, version=version),
        call(
            "change_role",
            admin,
            path={"id": role["id"]},
            body={"permissions": []},
            version=role["version"],
        ),
    ]

    assert [answer.status for answer in refused] == [409] * 5
    assert refused[0].body["code"] == "last_administrator"
    add_user("Second", "administrator")
    assert change(admin, me, active=False).status == 200


def test_a_role_that_somebody_has_is_not_deleted(admin: Who, clerk: Who) -> None:
    role = call("list_roles", admin, query={"name": "Clerk"}).body["items"][0]

    refused = call("delete_role", admin, path={"id": role["id"]}, version=role["version"])

    assert (refused.status, refused.body["code"]) == (409, "role_in_use")


def test_ones_own_password_needs_the_present_one(company: Company, add_user: Users) -> None:
    user = add_user("Pia", "sales_rep")
    token = company.token(user["email"])
    who = company.principal(token)
    path = {"id": user["id"]}

    without = call("set_password", who, path=path, body={"password": "brand new password"})
    wrong = call(
        "set_password",
        who,
        path=path,
        body={"password": "brand new password", "current_password": "not the password"},
    )
    right = call(
        "set_password",
        who,
        path=path,
        body={"password": "brand new password", "current_password": PASSWORD},
    )

    assert (without.status, wrong.status, right.status) == (403, 403, 204)
    assert company.sign_in(user["email"], "brand new password").status == 200
    assert company.sign_in(user["email"]).status == 401
    assert authenticate(token).status == 401


@pytest.mark.parametrize("password", ["short", "x" * 201])
def test_a_password_has_10_to_200_characters(admin: Who, password: str) -> None:
    answer = call(
        "create_user",
        admin,
        body={"name": "A", "email": "a@example.com", "password": password},
    )

    assert answer.status == 422
    assert answer.body["errors"][0]["path"] == "password"
    assert answer.body["errors"][0]["message"] == "A password has 10 to 200 characters"


def test_the_wire_s_principal_is_the_kit_s(admin: Who) -> None:
    who = read(admin)

    assert who.may("anything:at_all")
    assert who.user == UUID(admin["user"])

"""Roles, tokens and row rules: what people may do, and that nobody gives more than they have."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID, uuid4

import pytest
from identity_company import PASSWORD, Company, authenticate, call, read, role_id

from liaison_identity import grants, permissions
from liaison_identity.service import Identity
from liaison_kit.calls.manifest import operations

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
    may = ["account:write", "leads:read"]
    made = call("create_token", admin, body={"label": "a", "permissions": may})
    narrow = company.principal(made.body["token"])

    implied = call("create_token", narrow, body={"label": "b"})
    asked = call("create_token", narrow, body={"label": "c", "permissions": ["*"]})

    assert implied.body["permissions"] == may
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

    assert set(company.principal(token)["permissions"]) == {"users:read"} | grants.ACCOUNT


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

    assert (without.status, wrong.status, right.status) == (403, 403, 200)
    assert company.sign_in(user["email"], "brand new password").status == 200
    assert company.sign_in(user["email"]).status == 401


@pytest.mark.parametrize("keep", [False, True])
def test_ones_own_new_password_ends_what_others_may_have_come_with(
    company: Company, add_user: Users, keep: bool
) -> None:
    user = add_user("Pia", "sales_rep")
    here, elsewhere = company.token(user["email"]), company.token(user["email"])
    who = company.principal(here)
    machine = call("create_token", who, body={"label": "ERP"}).body["token"]
    new = {"password": "brand new password", "current_password": PASSWORD, "keep_tokens": keep}

    answer = call("set_password", who, path={"id": user["id"]}, body=new)

    assert answer.body == {"sessions_ended": 1, "api_tokens_ended": 0 if keep else 1}
    valid = [authenticate(token).status for token in (here, elsewhere, machine)]
    assert valid == [200, 401, 200 if keep else 401]


def test_a_password_that_an_administrator_sets_ends_everything(
    company: Company, admin: Who, add_user: Users
) -> None:
    user = add_user("Pia", "sales_rep")
    session = company.token(user["email"])
    machine = call("create_token", company.principal(session), body={"label": "ERP"}).body["token"]
    path, new = {"id": user["id"]}, {"password": "brand new password"}

    kept = call("set_password", admin, path=path, body={**new, "keep_tokens": True})
    answer = call("set_password", admin, path=path, body=new)

    assert (kept.status, kept.body["errors"][0]["path"]) == (422, "keep_tokens")
    assert answer.body == {"sessions_ended": 1, "api_tokens_ended": 1}
    assert {authenticate(t).status for t in (session, machine)} == {401}


def test_a_token_that_sets_the_password_ends_with_the_others(company: Company, admin: Who) -> None:
    made = call("create_token", admin, body={"label": "a", "permissions": ["account:write"]})
    who = company.principal(made.body["token"])
    new = {"password": "brand new password", "current_password": PASSWORD}

    answer = call("set_password", who, path={"id": admin["user"]}, body=new)

    assert answer.body == {"sessions_ended": 1, "api_tokens_ended": 1}
    assert authenticate(made.body["token"]).status == 401


def test_a_narrowed_token_does_nothing_that_it_was_not_made_for(
    company: Company, admin: Who, add_user: Users
) -> None:
    other = add_user("Zoe", "sales_rep")
    session = call("list_tokens", admin).body["items"][0]["id"]
    theirs = company.principal(company.token(other["email"]))["token_id"]
    made = call("create_token", admin, body={"label": "a", "permissions": ["contacts:read"]})
    narrow = company.principal(made.body["token"])
    new = {"password": "brand new password", "current_password": PASSWORD}
    me, her = {"id": admin["user"]}, {"id": other["id"]}

    refused = [
        call("sign_out", narrow),
        call("list_tokens", narrow),
        call("list_tokens", narrow, query={"user_id": other["id"]}),
        call("create_token", narrow, body={"label": "b"}),
        call("create_token", narrow, body={"label": "b", "permissions": ["contacts:read"]}),
        call("delete_token", narrow, path={"id": session}),
        call("delete_token", narrow, path={"id": theirs}),
        call("delete_token", narrow, path={"id": uuid4()}),
        call("delete_token", narrow, path={"id": narrow["token_id"]}),
        call("set_password", narrow, path=me, body=new),
        call("set_password", narrow, path=her, body=new),
        call("set_password", narrow, path={"id": uuid4()}, body=new),
    ]

    assert [answer.status for answer in refused] == [403] * len(refused)
    assert call("get_me", narrow).body["kind"] == "token"
    assert company.principal()["permissions"] == ["*"]


def test_every_operation_that_names_no_permission_asks_for_one_itself(
    company: Company, admin: Who
) -> None:
    made = call("create_token", admin, body={"label": "a", "permissions": ["contacts:read"]})
    narrow = company.principal(made.body["token"])
    bodies = {"set_password": {"password": "brand new password"}}
    open_to_all = {
        o.name for o in operations(Identity) if o.allow is None and not (o.internal or o.public)
    }

    answers = {
        name: call(name, narrow, path={"id": admin["user"]}, body=bodies.get(name)).status
        for name in open_to_all
    }

    assert answers == dict.fromkeys(open_to_all, 403) | {"get_me": 200}


def test_a_token_may_be_made_to_act_on_its_owners_account(company: Company, admin: Who) -> None:
    may = {"permissions": ["account:read"], "label": "a"}
    reads = company.principal(call("create_token", admin, body=may).body["token"])
    whole = company.principal(call("create_token", admin, body={"label": "b"}).body["token"])

    assert call("list_tokens", reads).status == 200
    assert call("create_token", reads, body={"label": "c"}).status == 403
    assert call("create_token", whole, body={"label": "c"}).status == 201


def test_a_user_has_fifty_api_tokens_at_most_however_many_are_asked_for_at_once(
    company: Company, admin: Who
) -> None:
    def make(n: int) -> int:
        return call("create_token", admin, body={"label": f"{n}"}).status

    with ThreadPoolExecutor(4) as threads:
        statuses = list(threads.map(make, range(54)))

    assert sorted(statuses) == [201] * 50 + [409] * 4
    assert call("create_token", admin, body={"label": "x"}).body["code"] == "too_many_tokens"
    newest = call("list_tokens", admin, query={"limit": 60}).body["items"]
    one = next(item["id"] for item in newest if item["kind"] == "token")
    assert call("delete_token", admin, path={"id": one}).status == 204
    assert make(0) == 201


def test_who_was_deactivated_makes_no_token_with_what_is_still_remembered_of_them(
    company: Company, admin: Who, add_user: Users
) -> None:
    user = add_user("Bob", "sales_rep")
    remembered = company.principal(company.token(user["email"]))

    change(admin, user, active=False)

    assert call("create_token", remembered, body={"label": "late"}).status == 401


@pytest.mark.parametrize(
    ("named", "nearest"),
    [
        ("contacts:raed", "contacts:read"),
        ("contact:read", "contacts:read"),
        ("opportunitys:write", "opportunities:write"),
        ("account:manage", "account:"),
        ("widgets:read", "read"),
    ],
)
def test_a_permission_that_no_module_has_is_refused_with_the_nearest(
    admin: Who, named: str, nearest: str
) -> None:
    token = call("create_token", admin, body={"label": "a", "permissions": [named]})
    role = call("create_role", admin, body={"name": "a", "permissions": [named]})
    clerk = call("create_role", admin, body={"name": "b", "permissions": ["users:read"]}).body
    changed = call(
        "change_role",
        admin,
        path={"id": clerk["id"]},
        body={"permissions": ["users:read", named]},
        version=clerk["version"],
    )

    for answer in (token, role, changed):
        assert (answer.status, answer.body["code"]) == (422, "unknown_permission")
        assert answer.body["errors"][0]["path"] == "permissions"
        assert nearest in answer.body["errors"][0]["message"]


def test_a_permission_that_a_running_module_has_announced_is_one(admin: Who) -> None:
    body = {"label": "a", "permissions": ["widgets:read"]}
    role = {"name": "W", "permissions": ["widgets:read"], "rows": {"widgets": "own"}}

    assert call("create_token", admin, body=body, announced=["widgets:read"]).status == 201
    made = call("create_role", admin, body=role, announced=["widgets:read"])
    assert made.status == 201
    # The module has left since; what the role had it keeps.
    path, version = {"id": made.body["id"]}, made.body["version"]
    again = {"permissions": ["widgets:read", "users:read"], "rows": {"widgets": "team"}}
    assert call("change_role", admin, path=path, body=again, version=version).status == 200


def test_a_row_rule_for_records_that_there_are_none_of_is_refused(admin: Who) -> None:
    body = {"name": "a", "permissions": ["leads:read"], "rows": {"lead": "own"}}

    answer = call("create_role", admin, body=body)

    assert answer.status == 422
    assert answer.body["errors"][0] == {
        "path": "rows.lead",
        "code": "unknown_record",
        "message": "There is no kind of record lead; the nearest is leads",
    }


def test_everything_that_modules_ask_for_can_be_given() -> None:
    asked = {o.allow for o in operations(Identity)} - {None}

    assert asked <= permissions.SHIPPED
    assert set(Identity.permissions) <= permissions.SHIPPED


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

"""Nobody sees more records by writing users, teams and roles, in their own name or another's."""

from collections.abc import Callable
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from identity_company import PASSWORD, Answer, Company, call
from test_identity_import import run, written

from liaison_identity.importing import IMPORTED_USERS
from liaison_identity.reach import BeyondYourSight
from liaison_sdk.contracts.questions import Names

Users = Callable[..., dict[str, Any]]
Who = dict[str, Any]

MAY = [
    *("users:read", "users:write", "teams:read", "teams:write", "roles:read", "roles:write"),
    "opportunities:read",
]


@pytest.fixture
def make_lead(company: Company, admin: Who, add_user: Users) -> Callable[..., Who]:
    """Makes somebody who writes users, teams and roles, and sees some people's opportunities."""

    def make(rows: dict[str, str], **values: Any) -> Who:
        name = f"Lead {uuid4()}"
        role = call(
            "create_role", admin, body={"name": name, "permissions": MAY, "rows": rows}
        ).body
        user = add_user(f"Lea{uuid4().hex}", **values)
        assert change(admin, user["id"], role_ids=[role["id"]]).status == 200
        token = company.token(user["email"])
        return company.principal(token) | {"role": role["id"], "token": token}

    return make


@pytest.fixture
def west(admin: Who, add_user: Users) -> dict[str, Any]:
    """A team of other people: its manager and a rep."""
    boss = add_user("Wanda")
    team = call("create_team", admin, body={"name": "West", "manager_id": boss["id"]}).body
    rep = add_user("Will", team_id=team["id"], manager_id=boss["id"])
    return {"team": team, "boss": boss, "rep": rep}


@pytest.fixture
def lead(make_lead: Callable[..., Who], admin: Who) -> Who:
    """Somebody who sees their team's opportunities, and everybody's names."""
    team = call("create_team", admin, body={"name": "East"}).body
    return make_lead({"opportunities": "team"}, team_id=team["id"]) | {"team": team["id"]}


def change(who: Who, id: str, **changes: Any) -> Answer:
    """Change a user at their present version; of one who is not seen it is any."""
    version = call("get_user", who, path={"id": id}).body.get("version", 1)
    return call("change_user", who, path={"id": id}, body=changes, version=version)


def change_team(who: Who, id: str, **changes: Any) -> Answer:
    """Change a team at its present version; of one that is not seen it is any."""
    version = call("get_team", who, path={"id": id}).body.get("version", 1)
    return call("change_team", who, path={"id": id}, body=changes, version=version)


def test_nobody_puts_people_in_sight_whom_they_do_not_see(
    company: Company, lead: Who, west: dict[str, Any]
) -> None:
    me, rep, theirs = lead["user"], west["rep"]["id"], west["team"]["id"]

    refused = [
        change(lead, rep, manager_id=me),
        change(lead, rep, team_id=lead["team"]),
        change(lead, me, team_id=theirs),
        change_team(lead, theirs, manager_id=me),
        call("create_user", lead, body={"name": "Puppet", "team_id": theirs}),
    ]

    assert [(a.status, a.body["code"]) for a in refused] == [(403, "beyond_your_sight")] * 5
    again = company.principal(company.token(call("get_user", lead, path={"id": me}).body["email"]))
    assert again["peers"] == lead["peers"]


def test_people_whom_one_sees_are_moved_freely(
    admin: Who, lead: Who, add_user: Users, west: dict[str, Any]
) -> None:
    mate = add_user("Mate", team_id=lead["team"])
    own = call("create_team", lead, body={"name": "New", "manager_id": lead["user"]}).body

    done = [
        change(lead, mate["id"], team_id=own["id"], manager_id=lead["user"]),
        change(lead, mate["id"], manager_id=west["boss"]["id"]),
        change(lead, west["rep"]["id"], manager_id=None, title="Free"),
        call("create_user", lead, body={"name": "Fresh", "team_id": own["id"]}),
        change_team(lead, own["id"], manager_id=mate["id"]),
    ]

    assert [answer.status for answer in done] == [200, 200, 200, 201, 200]


def test_who_sees_everybodys_records_moves_everybody(
    make_lead: Callable[..., Who], west: dict[str, Any]
) -> None:
    office = make_lead({})

    assert change(office, west["rep"]["id"], manager_id=office["user"]).status == 200
    assert change(office, office["user"], team_id=west["team"]["id"]).status == 200


def test_no_account_is_taken_over_that_sees_other_rows_by_the_same_rule(
    company: Company, admin: Who, lead: Who, west: dict[str, Any], add_user: Users
) -> None:
    boss, mate = west["boss"]["id"], add_user("Mate", team_id=lead["team"])
    rule = {"permissions": ["opportunities:read"], "rows": {"opportunities": "team"}}
    role = call("create_role", admin, body={"name": "Seller", **rule}).body["id"]
    for user in (boss, mate["id"]):
        assert change(admin, user, role_ids=[role]).status == 200
    new = {"password": "a stolen password"}
    token = company.principal(company.token(west["boss"]["email"]))["token_id"]

    refused = [
        call("set_password", lead, path={"id": boss}, body=new),
        change(lead, boss, email="lea@example.com"),
        change(lead, boss, active=False),
        change(lead, boss, role_ids=[]),
        call("delete_token", lead, path={"id": token}),
        call("delete_user", lead, path={"id": boss}, version=change(admin, boss).body["version"]),
    ]

    assert [(a.status, a.body["code"]) for a in refused] == [(403, "beyond_your_sight")] * 6
    assert call("set_password", lead, path={"id": mate["id"]}, body=new).status == 200


def test_no_role_is_given_that_shows_other_rows_by_the_same_rule(
    lead: Who, west: dict[str, Any], add_user: Users
) -> None:
    mate = add_user("Mate", team_id=lead["team"])

    foreign = change(lead, west["boss"]["id"], role_ids=[lead["role"]])
    own = change(lead, mate["id"], role_ids=[lead["role"]])

    assert (foreign.status, foreign.body["code"]) == (403, "beyond_your_sight")
    assert own.status == 200


def test_no_role_that_others_have_is_widened_by_who_sees_some_rows(
    admin: Who, lead: Who, west: dict[str, Any]
) -> None:
    rule = {"permissions": ["opportunities:read"], "rows": {"opportunities": "own"}}
    role = call("create_role", admin, body={"name": "Own", **rule}).body
    path, wider = {"id": role["id"]}, {"rows": {"opportunities": "team"}}
    free = call("change_role", lead, path=path, body=wider, version=1)
    back = call("change_role", lead, path=path, body=rule, version=2)
    assert change(admin, west["boss"]["id"], role_ids=[role["id"]]).status == 200

    held = call("change_role", lead, path=path, body=wider, version=3)
    renamed = call("change_role", lead, path=path, body={"name": "Renamed"}, version=3)

    assert (free.status, back.status, renamed.status) == (200, 200, 200)
    assert (held.status, held.body["code"]) == (403, "beyond_your_sight")


def test_who_sees_their_own_rows_takes_over_nobody_elses(
    admin: Who, make_lead: Callable[..., Who], add_user: Users
) -> None:
    mine = make_lead({"opportunities": "own"})
    other = add_user("Other")
    assert change(admin, other["id"], role_ids=[mine["role"]]).status == 200

    taken = call("set_password", mine, path={"id": other["id"]}, body={"password": "x" * 12})
    managed = change(mine, other["id"], manager_id=mine["user"])
    made = call("create_user", mine, body={"name": "New", "role_ids": [mine["role"]]})

    assert (taken.status, managed.status, made.status) == (403, 403, 201)


def test_a_token_made_for_users_only_is_no_way_round(
    company: Company, lead: Who, west: dict[str, Any]
) -> None:
    may = ["users:read", "users:write"]
    made = call("create_token", lead, body={"label": "a", "permissions": may})
    narrow = company.principal(made.body["token"])

    assert change(narrow, west["rep"]["id"], manager_id=lead["user"]).status == 403


def test_users_are_imported_only_by_who_sees_everybodys_records(
    company: Company, admin: Who, lead: Who, tmp_path: Path
) -> None:
    book = written(tmp_path, "name,manager,region\nAnna,Lea,Central\n")
    columns = {"name": "name", "manager": "manager", "region": "region"}
    before = call("list_users", admin, query={"count": "true"}).body["count"]

    with pytest.raises(BeyondYourSight):
        run(company, lead, book, **columns)
    assert IMPORTED_USERS.after_rollback is not None
    with company.db.reading(company.about(lead)) as session, pytest.raises(BeyondYourSight):
        IMPORTED_USERS.after_rollback(session, [], [])

    assert call("list_users", admin, query={"count": "true"}).body["count"] == before
    assert run(company, admin, book, **columns)["created"] == 1


def test_a_team_of_the_right_name_but_anothers_takes_in_nobody(
    company: Company, admin: Who, lead: Who, tmp_path: Path
) -> None:
    trap = {"name": "Central – Dustin", "manager_id": lead["user"]}
    team = call("create_team", lead, body=trap).body["id"]
    book = written(tmp_path, "name,manager,region\nAnna,Dustin,Central\n")

    counts = run(company, admin, book, name="name", manager="manager", region="region")

    assert counts["created"] == 1
    assert call("get_team", admin, path={"id": team}).body["members"] == 0


# --- row rules about users themselves ---------------------------------------------------------


@pytest.fixture
def among(make_lead: Callable[..., Who], admin: Who) -> Who:
    """Somebody who sees the users of their team only."""
    team = call("create_team", admin, body={"name": "East"}).body
    return make_lead({"users": "team"}, team_id=team["id"]) | {"team": team["id"]}


def test_hidden_users_are_like_users_that_there_are_none_of(
    company: Company, admin: Who, among: Who, west: dict[str, Any]
) -> None:
    hidden, missing = west["rep"]["id"], str(uuid4())
    token = company.principal(company.token(west["rep"]["email"]))["token_id"]
    mine, name = among["user"], {"name": "x"}
    new = {"password": "a stolen password"}

    def asked(id: str, token: str) -> list[Answer]:
        path = {"id": id}
        return [
            call("get_user", among, path=path),
            call("change_user", among, path=path, body=name, version=1),
            call("delete_user", among, path=path, version=1),
            call("set_password", among, path=path, body=new),
            call("list_tokens", among, query={"user_id": id}),
            call("delete_token", among, path={"id": token}),
            call("list_history", among, query={"record": "users", "id": id}),
            change(among, mine, manager_id=id),
            call("create_user", among, body={"name": "N", "manager_id": id}),
            call("create_team", among, body={"name": "N", "manager_id": id}),
            change_team(among, among["team"], manager_id=id),
        ]

    of_hidden, of_missing = asked(hidden, token), asked(missing, str(uuid4()))

    assert [words(a) for a in of_hidden] == [words(a) for a in of_missing]
    assert {a.status for a in of_hidden} <= {404, 422, 403}
    seen = call("list_users", among, query={"count": "true"}).body
    assert [user["id"] for user in seen["items"]] == [mine]
    assert seen["count"] == 1
    named = call("resolve_users", among, body=Names(names=["Will", "Wanda"]).model_dump())
    assert named.body == {"found": {}}


def test_who_sees_their_teams_users_adds_and_changes_them_and_keeps_them_in_sight(
    company: Company, among: Who, add_user: Users
) -> None:
    mate = add_user("Mate", team_id=among["team"])
    # What was remembered of them is from before.
    among |= company.principal(among["token"])

    added = call("create_user", among, body={"name": "New", "team_id": among["team"]})
    reports = call("create_user", among, body={"name": "Too", "manager_id": among["user"]})
    nowhere = call("create_user", among, body={"name": "Lost"})
    titled = change(among, mate["id"], title="Rep")
    lost = change(among, mate["id"], team_id=None)

    assert (added.status, reports.status, titled.status) == (201, 201, 200)
    assert added.body["team"] == "East"
    assert (nowhere.status, lost.status) == (422, 422)
    assert lost.body["errors"][0]["code"] == "out_of_sight"


def test_who_sees_themselves_only_adds_nobody(make_lead: Callable[..., Who]) -> None:
    alone = make_lead({"users": "own"})

    assert call("create_user", alone, body={"name": "New"}).status == 422
    assert call("get_me", alone).status == 200
    assert change(alone, alone["user"], title="Me").status == 200


# --- any sequence of acts ---------------------------------------------------------------------

PEOPLE, TEAMS = st.integers(0, 6), st.integers(0, 2)
ACTS = st.lists(
    st.one_of(
        st.tuples(st.just("team"), PEOPLE, st.none() | TEAMS),
        st.tuples(st.just("manager"), PEOPLE, st.none() | PEOPLE),
        st.tuples(st.just("roles"), PEOPLE, st.lists(st.integers(0, 2), max_size=2)),
        st.tuples(st.just("leads"), TEAMS, st.none() | PEOPLE),
        st.tuples(st.just("rule"), st.integers(0, 2), st.sampled_from(["own", "team", "all"])),
        st.tuples(st.just("add"), st.none() | TEAMS, st.lists(st.integers(0, 2), max_size=2)),
    ),
    max_size=14,
)


@pytest.mark.parametrize("rule", ["own", "team"])
@settings(
    max_examples=12,
    # Each takes seconds: a failure is told as it was found.
    phases=[Phase.explicit, Phase.reuse, Phase.generate],
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(acts=ACTS)
def test_whatever_somebody_writes_they_see_no_more_than_before(
    make_company: Callable[..., Company], rule: str, acts: list[Any]
) -> None:
    company = make_company()
    admin = company.principal()
    roles = [
        call("create_role", admin, body={"name": r, "permissions": MAY, "rows": rows}).body["id"]
        for r, rows in (("own", {"opportunities": "own"}), ("team", {"opportunities": "team"}))
    ]
    roles.append(call("create_role", admin, body={"name": "none"}).body["id"])
    teams = [call("create_team", admin, body={"name": f"{n}"}).body["id"] for n in range(3)]
    people = [
        call(
            "create_user",
            admin,
            body={
                "name": f"{n}",
                "email": f"{n}@{company.slug}.example.com",
                "team_id": teams[n // 3] if n < 6 else None,
                "role_ids": [roles[n % 3]],
            },
        ).body["id"]
        for n in range(7)
    ]
    # Two of the actor's own team see others: one by their manager, one would by their team.
    assert change(admin, people[3], manager_id=people[1]).status == 200
    assert change_team(admin, teams[1], manager_id=people[2]).status == 200
    # The first of the people acts; of the others' passwords they know what they set.
    assert change(admin, people[0], role_ids=[roles[0 if rule == "own" else 1]]).status == 200
    body = {"password": PASSWORD}
    assert call("set_password", admin, path={"id": people[0]}, body=body).status == 200
    email = f"0@{company.slug}.example.com"
    signed_in = company.token(email)
    actor = company.principal(signed_in)
    free = {people[0]} if rule == "own" else set(actor["peers"])
    known = {people[0]: email}

    for act in acts:
        match act:
            case ("team", person, team):
                to = None if team is None else teams[team]
                change(actor, people[person], team_id=to)
            case ("manager", person, boss):
                change(actor, people[person], manager_id=None if boss is None else people[boss])
            case ("roles", person, given):
                change(actor, people[person], role_ids=[roles[n] for n in given])
            case ("leads", team, boss):
                boss = None if boss is None else people[boss]
                change_team(actor, teams[team], manager_id=boss)
            case ("rule", role, shown):
                version = call("get_role", admin, path={"id": roles[role]}).body["version"]
                rows = {"rows": {"opportunities": shown}}
                call("change_role", actor, path={"id": roles[role]}, body=rows, version=version)
            case ("add", team, given):
                new = {
                    "name": "Puppet",
                    "email": f"p{uuid4().hex}@example.com",
                    "password": PASSWORD,
                    "team_id": None if team is None else teams[team],
                    "role_ids": [roles[n] for n in given],
                }
                added = call("create_user", actor, body=new)
                if added.status == 201:
                    known[added.body["id"]] = new["email"]
                    # What a new account has is the actor's doing.
                    free.add(added.body["id"])
        actor = company.principal(signed_in)

    for n, person in enumerate(people):
        if call("set_password", actor, path={"id": person}, body=body).status == 200:
            known[person] = f"{n}@{company.slug}.example.com"
    for user, their_email in known.items():
        who = company.principal(company.token(their_email))
        if "opportunities:read" in who["permissions"]:
            shown = who["rows"].get("opportunities", "all")
            assert shown != "all"
            assert ({user} if shown == "own" else set(who["peers"])) <= free


def words(answer: Answer) -> tuple[int, Any]:
    """What an answer says, the ids of the question aside."""
    said = {name: value for name, value in answer.body.items() if name != "trace_id"}
    return answer.status, said

"""Saved views: whose they are, with whom they are shared, and that they give nobody any right."""

import math
from collections.abc import Callable
from threading import Barrier, Thread
from typing import Any

import pytest
from identity_company import Answer, Company, call

from liaison_identity import views

Users = Callable[..., dict[str, Any]]
WON = {"combinator": "and", "rules": [{"field": "stage", "operator": "=", "value": "won"}]}


def save(who: dict[str, Any], name: str = "Won", **more: Any) -> Answer:
    return call("create_view", who, body={"name": name, "record": "opportunities", **more})


def change(who: dict[str, Any], view: dict[str, Any], **changes: Any) -> Answer:
    path = {"id": view["id"]}
    return call("change_view", who, path=path, body=changes, version=view["version"])


def names(who: dict[str, Any], record: str = "opportunities") -> list[str]:
    return [one["name"] for one in call("list_views", who, query={"record": record}).body["items"]]


def see(who: dict[str, Any], view: dict[str, Any]) -> Answer:
    return call("get_view", who, path={"id": view["id"]})


class Office:
    """Two teams: who manages ours, two in it, and somebody of the other."""

    def __init__(self, company: Company, admin: dict[str, Any], add_user: Users) -> None:
        self.company, self.admin = company, admin
        self.boss_user = add_user("Boss", "sales_manager")
        ours = {"name": "Ours", "manager_id": self.boss_user["id"]}
        self.team = call("create_team", admin, body=ours).body
        self.theirs = call("create_team", admin, body={"name": "Theirs"}).body
        self.ola_user = add_user("Ola", "sales_manager", team_id=self.team["id"])
        self.mate_user = add_user("Mate", team_id=self.team["id"])
        self.other_user = add_user("Other", "sales_manager", team_id=self.theirs["id"])
        self.boss, self.ola, self.mate, self.other = (
            company.principal(company.token(user["email"]))
            for user in (self.boss_user, self.ola_user, self.mate_user, self.other_user)
        )


@pytest.fixture
def office(company: Company, admin: dict[str, Any], add_user: Users) -> Office:
    return Office(company, admin, add_user)


def test_a_view_holds_a_question(admin: dict[str, Any]) -> None:
    question = {
        "kind": "board",
        "query": "stage=won&amount[gte]=100",
        "where": WON,
        "sort": "-updated_at",
        "by": "stage",
        "columns": ["name", "custom.size"],
    }

    made = save(admin, **question)

    assert made.status == 201
    assert {name: made.body[name] for name in question} == question
    assert (made.body["share"], made.body["version"], made.body["is_default"]) == ("own", 1, False)
    assert see(admin, made.body).headers["ETag"] == '"1"'


def test_ones_own_view_is_seen_by_nobody_else(
    office: Office, make_company: Callable[..., Company]
) -> None:
    mine = save(office.ola, "Mine").body

    for other in (office.mate, office.boss, office.admin, make_company().principal()):
        assert names(other) == []
        assert see(other, mine).status == 404
        assert change(other, mine, name="Yours").status == 404
        gone = call("delete_view", other, path={"id": mine["id"]}, version=1)
        assert gone.status == 404
    assert names(office.ola) == ["Mine"]


def test_a_teams_view_is_seen_by_its_people_and_who_manages_it(office: Office) -> None:
    save(office.ola, "Team's", share="team")

    seen = [names(who) for who in (office.ola, office.mate, office.boss, office.other)]

    assert seen == [["Team's"], ["Team's"], ["Team's"], []]


def test_everybodys_view_is_seen_by_everybody_of_the_organisation(
    office: Office, make_company: Callable[..., Company]
) -> None:
    save(office.ola, "All's", share="all")

    assert names(office.other) == ["All's"]
    assert names(make_company().principal()) == []


def test_sharing_takes_a_permission(office: Office) -> None:
    own = save(office.mate).body

    refused = [
        save(office.mate, share="all").status,
        save(office.mate, share="team").status,
        change(office.mate, own, share="all").status,
    ]

    assert refused == [403] * 3
    assert names(office.other) == []


def test_who_is_in_no_team_is_told_so(office: Office) -> None:
    refused = save(office.boss, share="team")

    assert (refused.status, refused.body["code"]) == (422, "no_team")


def test_a_shared_view_is_changed_by_its_owner_and_who_administers(office: Office) -> None:
    view = save(office.ola, share="team").body

    refused = change(office.mate, view, name="Theirs")
    by_owner = change(office.ola, view, name="Better").body
    office_wide = call("list_views", office.admin, query={"record": "opportunities"}).body["items"]
    role = {"name": "Keeper", "permissions": ["views:write"]}
    keeper = call("create_role", office.admin, body=role).body
    mate = call("get_user", office.admin, path={"id": office.mate_user["id"]}).body
    given = {"role_ids": [keeper["id"]]}
    call("change_user", office.admin, path={"id": mate["id"]}, body=given, version=mate["version"])
    may = office.company.principal(office.company.token(mate["email"]))
    by_keeper = change(may, by_owner, name="Best")
    taken = change(may, by_keeper.body, share="own")

    assert (refused.status, refused.body["code"]) == (403, "not_yours")
    # Who administers everything is in no team, and it is shared with one only.
    assert office_wide == []
    assert (by_keeper.status, by_keeper.body["name"]) == (200, "Best")
    assert taken.status == 403
    assert call("delete_view", may, path={"id": view["id"]}, version=3).status == 204
    assert names(office.ola) == []


def test_a_change_names_the_version_that_it_is_made_against(admin: dict[str, Any]) -> None:
    view = save(admin).body
    change(admin, view, name="New")

    stale = change(admin, view, name="Other")
    same = change(admin, view | {"version": 2}, name="New")

    assert (stale.status, stale.body["current"]["name"]) == (412, "New")
    assert same.body["version"] == 2


def test_a_view_gives_no_right_to_what_it_asks_for(office: Office) -> None:
    save(office.ola, share="team", where=WON)

    (shared,) = call("list_views", office.mate).body["items"]

    assert "opportunities:read" not in office.mate["permissions"]
    assert shared.keys() == set(views.desk.View.model_fields)


def nested(depth: int) -> dict[str, Any]:
    tree = WON
    for _ in range(depth - 1):
        tree = {"combinator": "or", "rules": [tree]}
    return tree


@pytest.mark.parametrize(
    ("question", "path", "code"),
    [
        ({"where": nested(12)}, "where", "too_deep"),
        ({"where": {"combinator": "and", "rules": [WON["rules"][0]] * 501}}, "where", "too_many"),
        ({"where": {"combinator": "and", "rules": ["x"]}}, "where", "no_rule"),
        ({"where": {"combinator": "and", "rules": [{}]}}, "where", "no_rule"),
        ({"where": {"field": "a", "operator": "=", "value": "x" * 100_000}}, "where", "too_long"),
        ({"where": WON | {"rules": [WON["rules"][0] | {"value": "a\0b"}]}}, "where", "no_text"),
        ({"where": WON | {"rules": [WON["rules"][0] | {"value": math.nan}]}}, "where", "no_text"),
        ({"query": "stage=won&cursor=abc"}, "query", "no_filter"),
        ({"query": "x" * 4001}, "query", "string_too_long"),
        ({"columns": ["name; DROP"]}, "columns.0", "string_pattern_mismatch"),
        ({"columns": ["name"] * 101}, "columns", "too_long"),
        ({"sort": "name desc"}, "sort", "string_pattern_mismatch"),
        ({"kind": "map"}, "kind", "literal_error"),
    ],
)
def test_what_can_be_no_question_is_refused_by_its_name(
    admin: dict[str, Any], question: dict[str, Any], path: str, code: str
) -> None:
    refused = save(admin, **question)

    assert refused.status == 422
    assert [(e["path"], e["code"]) for e in refused.body["errors"]] == [(path, code)]
    assert names(admin) == []


def test_a_condition_may_lie_as_deep_as_a_list_takes_it(admin: dict[str, Any]) -> None:
    assert save(admin, where=nested(10)).status == 201


def test_who_has_too_many_views_deletes_one_first(
    admin: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(views, "MOST", 2)
    statuses: list[int] = []
    ready = Barrier(4)

    def make() -> None:
        ready.wait()
        statuses.append(save(admin).status)

    threads = [Thread(target=make) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [201, 201, 409, 409]


# --- a person's own order -------------------------------------------------------------------------


def test_everybody_has_their_views_in_their_own_order(office: Office) -> None:
    made = {name: save(office.ola, name, share="all").body["id"] for name in ("A", "B", "C", "D")}
    body = {"record": "opportunities", "ids": [made["C"], made["A"]]}

    assert call("order_views", office.mate, body=body).status == 204

    assert names(office.mate) == ["C", "A", "B", "D"]
    assert names(office.ola) == ["A", "B", "C", "D"]
    body["ids"] = [made["D"]]
    call("order_views", office.mate, body=body)
    assert names(office.mate) == ["D", "A", "B", "C"]


def test_pages_of_views_follow_each_other_in_that_order(office: Office) -> None:
    made = {name: save(office.ola, name).body["id"] for name in ("A", "B", "C", "D")}
    call("order_views", office.ola, body={"record": "opportunities", "ids": [made["D"]]})

    seen: list[str] = []
    query: dict[str, Any] = {"limit": 2}
    while True:
        page = call("list_views", office.ola, query=query).body
        seen += [one["name"] for one in page["items"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]

    assert seen == ["D", "A", "B", "C"]


def test_a_view_that_is_not_shown_to_somebody_has_no_place_among_theirs(office: Office) -> None:
    hidden = save(office.ola).body

    body = {"record": "opportunities", "ids": [hidden["id"]]}
    ordered = call("order_views", office.mate, body=body)
    begun = call("begin_with_view", office.mate, path={"id": hidden["id"]})

    assert ordered.body["errors"][0]["code"] == "unknown_view"
    assert begun.status == 404


def test_a_person_begins_with_one_view_of_each_kind_of_record(office: Office) -> None:
    first, second = (save(office.ola, name, share="all").body for name in ("A", "B"))
    people = call("create_view", office.ola, body={"name": "P", "record": "contacts"}).body

    for view in (first, people, second):
        assert call("begin_with_view", office.ola, path={"id": view["id"]}).status == 204
    begins = [v["name"] for v in call("list_views", office.ola).body["items"] if v["is_default"]]
    call("begin_without_view", office.ola, path={"id": second["id"]})

    assert begins == ["B", "P"]
    assert see(office.ola, second).body["is_default"] is False
    assert [v["is_default"] for v in call("list_views", office.mate).body["items"]] == [False] * 2


def test_who_begins_with_two_at_once_begins_with_one(office: Office) -> None:
    made = [save(office.ola, name).body for name in ("A", "B", "C", "D")]
    ready, statuses = Barrier(len(made)), []

    def begin(view: dict[str, Any]) -> None:
        ready.wait()
        statuses.append(call("begin_with_view", office.ola, path={"id": view["id"]}).status)

    threads = [Thread(target=begin, args=(view,)) for view in made]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert statuses == [204] * 4
    assert [v["is_default"] for v in call("list_views", office.ola).body["items"]].count(True) == 1


# --- when somebody goes ---------------------------------------------------------------------------


def delete_user(office: Office, user: dict[str, Any]) -> None:
    now = call("get_user", office.admin, path={"id": user["id"]}).body["version"]
    gone = call("delete_user", office.admin, path={"id": user["id"]}, version=now)
    assert gone.status == 204, gone.body


def test_what_somebody_shared_stays_and_the_rest_goes_with_them(office: Office) -> None:
    own = save(office.ola, "Own").body
    for name, share in (("All's", "all"), ("Team's", "team")):
        save(office.ola, name, share=share)
    call("begin_with_view", office.ola, path={"id": own["id"]})

    delete_user(office, office.ola_user)

    assert names(office.mate) == ["All's", "Team's"]
    assert names(office.other) == ["All's"]
    (everybodys,) = call("list_views", office.admin).body["items"]
    assert everybodys["owner_id"] is None
    assert change(office.mate, everybodys, name="x").status == 403
    assert change(office.admin, everybodys, name="Kept").status == 200


def test_a_team_that_goes_leaves_its_views_to_who_made_them(office: Office) -> None:
    save(office.ola, "Ola's", share="team")
    save(office.other, "Other's", share="team")
    delete_user(office, office.other_user)

    for team in (office.team, office.theirs):
        now = call("get_team", office.admin, path={"id": team["id"]}).body["version"]
        gone = call("delete_team", office.admin, path={"id": team["id"]}, version=now)
        assert gone.status == 204

    (kept,) = call("list_views", office.ola).body["items"]
    assert (kept["name"], kept["share"]) == ("Ola's", "own")
    assert names(office.mate) == []

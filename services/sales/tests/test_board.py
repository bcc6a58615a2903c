"""The board of opportunities: stages in order, their first cards, what is kept of each."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import text

from liaison_kit.ids import uuid7
from liaison_kit.testing import principal, statements


def board(desk: Any, *query: tuple[str, str]) -> dict[str, Any]:
    """The columns by the code of their stage."""
    reply = desk.call("show_opportunities_board", query=[["by", "stage_id"], *map(list, query)])
    assert reply.status == 200, reply.body
    found = json.loads(reply.body)["columns"]
    assert [column["label"] for column in found][:2] == ["Prospecting", "Engaging"]
    return {column["label"]: column for column in found}


def opened(desk: Any, count: int = 1, **fields: Any) -> list[dict[str, Any]]:
    made = []
    for number in range(count):
        body = {"name": f"Deal {number}"} | fields
        reply = desk.call("create_opportunity", json.dumps(body).encode())
        assert reply.status == 201, reply.body
        made.append(json.loads(reply.body))
    return made


def moved(desk: Any, deal: dict[str, Any], to: Any, by: str = "stage_id") -> Any:
    body = json.dumps({"id": deal["id"], "by": by, "to": to}).encode()
    return desk.call("move_opportunity_card", body, if_match=deal["version"])


def test_columns_have_their_first_cards_and_what_all_of_them_are_worth(desk: Any) -> None:
    opened(desk, 3, amount={"amount": "10.50", "currency": "EUR"})
    opened(desk, 2, amount={"amount": "7", "currency": "USD"})
    opened(desk, 1, stage="won")

    found = board(desk, ("limit", "2"))

    first = found["Prospecting"]
    assert (first["count"], first["more"], len(first["items"])) == (5, False, 2)
    assert first["sums"] == [
        {"amount": "31.50", "currency": "EUR"},
        {"amount": "14.00", "currency": "USD"},
    ]
    assert (found["Won"]["count"], found["Won"]["sums"], found["Won"]["next"]) == (1, [], None)
    assert (found["Lost"]["count"], found["Lost"]["items"]) == (0, [])
    listed = desk.call("get_opportunity", path={"id": first["items"][0]["id"]})
    assert first["items"][0] == json.loads(listed.body)


@pytest.mark.parametrize("sort", ["-updated_at", "name", "-amount", "expected_close"])
def test_a_column_goes_on_as_the_list_of_its_stage(desk: Any, sort: str) -> None:
    opened(desk, 3, amount={"amount": "1", "currency": "EUR"}, region="West")
    opened(desk, 2, region="West", expected_close="2027-01-01")
    opened(desk, 2, region="East")
    narrowed = [["region", "West"], ["sort", sort]]

    column = board(desk, *[(n, v) for n, v in narrowed], ("limit", "2"))["Prospecting"]
    rest = [["stage_id", column["key"]], ["cursor", column["next"]]]
    page = desk.call("list_opportunities", query=[*narrowed, *rest])
    whole = desk.call("list_opportunities", query=[*narrowed, ["stage_id", column["key"]]])

    assert page.status == 200, page.body
    shown = [card["id"] for card in column["items"] + json.loads(page.body)["items"]]
    assert shown == [deal["id"] for deal in json.loads(whole.body)["items"]]
    assert len(shown) == 5
    other = desk.call("list_opportunities", query=[*narrowed[1:], *rest])
    assert json.loads(other.body)["errors"][0]["code"] == "cursor"


def test_a_board_is_one_statement_for_all_cards_one_for_counts_one_for_columns(desk: Any) -> None:
    opened(desk, 2)
    opened(desk, 1, stage="proposal")

    with statements(desk.db) as seen:
        board(desk)
        board(desk, ("q", "deal"))

    kept = ["opportunity_sums" in statement for statement in seen]
    assert kept == [False, False, True, False, False, False]


def test_what_the_kept_sums_do_not_know_is_counted(desk: Any) -> None:
    opened(desk, 2, external_id=None)
    opened(desk, 1, name="Wanted")

    column = board(desk, ("q", "wanted"))["Prospecting"]

    assert (column["count"], column["more"], column["sums"]) == (1, False, None)
    assert [card["name"] for card in column["items"]] == ["Wanted"]


def test_who_sees_their_own_deals_sees_a_board_of_them(desk: Any) -> None:
    ann, bob = desk.user("Ann"), desk.user("Bob")
    opened(desk, 2, owner_id=str(ann), amount={"amount": "5", "currency": "EUR"})
    opened(desk, 3, owner_id=str(bob), amount={"amount": "5", "currency": "EUR"})
    hers = type(desk)(
        desk.db, principal(desk.who.tenant, "*", user=ann, rows={"opportunities": "own"})
    )
    other = type(desk)(desk.db, principal())

    for query in ((), (("q", "deal"),)):
        column = board(hers, *query)["Prospecting"]
        assert (column["count"], len(column["items"])) == (2, 2)
        assert board(other, *query)["Prospecting"]["count"] == 0
    assert board(hers)["Prospecting"]["sums"] == [{"amount": "10.00", "currency": "EUR"}]
    (deal,) = opened(desk, 1, owner_id=str(bob))
    assert moved(hers, deal, board(hers)["Engaging"]["key"]).status == 404


def test_a_card_is_moved_by_the_rules_of_opportunities(desk: Any) -> None:
    (deal,) = opened(desk)
    columns = board(desk)

    reply = moved(desk, deal, columns["Won"]["key"])

    won = json.loads(reply.body)
    assert (reply.status, won["status"], won["stage_name"]) == (200, "won", "Won")
    assert won["closed_on"] is not None
    again = moved(desk, won, columns["Engaging"]["key"])
    assert (again.status, json.loads(again.body)["code"]) == (409, "conflict")
    assert board(desk)["Won"]["count"] == 1


@pytest.mark.parametrize(
    ("to", "by", "path"),
    [
        ("not a stage", "stage_id", "to"),
        ("0199f0a0-0000-7000-8000-00000000000d", "stage_id", "to"),
        (None, "stage_id", "to"),
        ("x", "region", "by"),
    ],
)
def test_where_there_is_no_column_no_card_goes(desk: Any, to: Any, by: str, path: str) -> None:
    (deal,) = opened(desk)

    reply = moved(desk, deal, to, by)

    assert reply.status == 422
    assert json.loads(reply.body)["errors"][0]["path"] == path
    assert board(desk)["Prospecting"]["count"] == 1


def test_of_two_who_move_a_card_at_once_one_is_told_that_it_has_moved(desk: Any) -> None:
    (deal,) = opened(desk)
    columns = board(desk)

    def move(name: str) -> int:
        return int(moved(desk, deal, columns[name]["key"]).status)

    with ThreadPoolExecutor(2) as both:
        found = sorted(both.map(move, ["Engaging", "Proposal"]))

    assert found == [200, 412]


def test_a_board_has_no_pages_and_no_unknown_fields(desk: Any) -> None:
    for query, path in (
        ([["by", "stage_id"], ["cursor", "x"]], "cursor"),
        ([["by", "stage_id"], ["count", "true"]], "count"),
        ([["by", "region"]], "by"),
        ([], "by"),
        ([["by", "stage_id"], ["limit", "1000"]], "limit"),
    ):
        reply = desk.call("show_opportunities_board", query=query)
        assert reply.status == 422
        assert json.loads(reply.body)["errors"][0]["path"] == path


def test_another_pipeline_has_its_own_columns(desk: Any) -> None:
    stages = [{"name": "Hello"}, {"name": "Yes", "kind": "won"}, {"name": "No", "kind": "lost"}]
    made = json.loads(
        desk.call("create_pipeline", json.dumps({"name": "B", "stages": stages}).encode()).body
    )
    opened(desk, 1, pipeline_id=made["id"])

    query = [["by", "stage_id"], ["pipeline_id", made["id"]]]
    columns = json.loads(desk.call("show_opportunities_board", query=query).body)["columns"]

    assert [(c["label"], c["count"]) for c in columns] == [("Hello", 1), ("Yes", 0), ("No", 0)]


def test_a_filter_by_a_person_whom_somebody_does_not_see_leaves_an_empty_board(desk: Any) -> None:
    opened(desk, 1)
    hidden = str(uuid7())
    with desk.db.writing(desk.context()) as session:
        session.execute(text("UPDATE opportunities SET contact_id = :id"), {"id": hidden})
    narrowed = type(desk)(desk.db, principal(desk.who.tenant, "*", rows={"contacts": "own"}))

    by = ("contact_id", hidden)

    assert board(desk, by)["Prospecting"]["count"] == 1
    assert board(narrowed, by)["Prospecting"]["count"] == 0
    assert board(narrowed, by)["Prospecting"]["items"] == []


def test_who_may_not_write_moves_no_card(desk: Any) -> None:
    (deal,) = opened(desk)
    reader = type(desk)(desk.db, principal(desk.who.tenant, "opportunities:read"))

    assert moved(reader, deal, board(reader)["Engaging"]["key"]).status == 403

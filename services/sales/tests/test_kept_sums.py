"""The sums that the database keeps are those of the opportunities, whatever happened to them."""

import datetime as dt
import json
import random
import threading
from collections.abc import Callable
from typing import Any, get_args

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import text

from liaison_kit.database.database import Database
from liaison_kit.testing import principal, statements
from liaison_sdk.contracts.sales import SummaryBy

# Nothing is older: this filter leaves all, and the kept sums do not know it.
ADDED_UP_ANEW = ("created_at[gte]", "2000-01-01")
KEPT = [by for by in get_args(SummaryBy) if by != "month"]
TURNS = ("open", "move", "win", "lose", "reopen", "change", "hand over", "delete")


def told(desk: Any, by: str, *filters: tuple[str, str]) -> Any:
    reply = desk.call("summarise", query=[["by", by], *map(list, filters)])
    assert reply.status == 200, reply.body
    return json.loads(reply.body)


def send(desk: Any, operation: str, id: str, version: int, **body: Any) -> None:
    """Ask for a change; what the state of the deal forbids is refused, and that is fine."""
    reply = desk.call(operation, json.dumps(body).encode(), path={"id": id}, if_match=version)
    assert reply.status < 300 or reply.status in (409, 422), reply.body


def take_turn(desk: Any, turn: str, chance: random.Random, users: list[str]) -> None:
    deals = json.loads(desk.call("list_opportunities", query=[["limit", "200"]]).body)["items"]
    if turn == "open" or not deals:
        body = {
            "name": "Deal",
            "amount": chance.choice([None, {"amount": "10.05", "currency": "EUR"}]),
            "engaged_on": chance.choice([None, "2026-01-05"]),
            "owner_id": chance.choice(users),
        }
        assert desk.call("create_opportunity", json.dumps(body).encode()).status == 201
        return
    deal = chance.choice(deals)
    known = deal["id"], deal["version"]
    match turn:
        case "move":
            send(desk, "move_opportunity", *known, stage=chance.choice(["engaging", "proposal"]))
        case "win":
            send(desk, "win_opportunity", *known, amount={"amount": "99.99", "currency": "USD"})
        case "lose":
            send(desk, "lose_opportunity", *known, reason="price")
        case "reopen":
            send(desk, "reopen_opportunity", *known)
        case "change":
            send(desk, "change_opportunity", *known, amount=None, probability=33, region="North")
        case "hand over":
            send(desk, "change_opportunity", *known, owner_id=chance.choice(users))
        case "delete":
            assert desk.call("delete_opportunity", path={"id": known[0]}, if_match=known[1]).status


@given(turns=st.lists(st.sampled_from(TURNS), max_size=14), seed=st.integers(0, 2**32))
@settings(
    max_examples=20,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
def test_after_any_changes_the_kept_sums_are_those_of_the_opportunities(
    desk: Any, turns: list[str], seed: int
) -> None:
    here = type(desk)(desk.db, principal())
    users = [str(here.user(name, region)) for name, region in (("Ann", "West"), ("Bob", None))]
    chance = random.Random(seed)

    for turn in turns:
        take_turn(here, turn, chance, users)

    for by in KEPT:
        assert told(here, by) == told(here, by, ADDED_UP_ANEW), by
    west = ("region", "West")
    assert told(here, "rep", west) == told(here, "rep", west, ADDED_UP_ANEW)
    mine = type(desk)(
        desk.db, principal(here.who.tenant, user=users[0], rows={"opportunities": "own"})
    )
    assert told(mine, "stage") == told(mine, "stage", ADDED_UP_ANEW)


def test_folding_leaves_the_sums_as_they_were_and_few_rows(
    fresh_database: Callable[[str], Database], desk: Any
) -> None:
    here, other = (type(desk)(fresh_database("sales"), principal()) for _ in range(2))
    for each in (here, other):
        owner = each.user("Ann")
        for _ in range(110):
            take_turn(each, "open", random.Random(1), [str(owner)])
    deals = json.loads(here.call("list_opportunities", query=[["limit", "200"]]).body)["items"]
    for deal in deals:
        send(here, "move_opportunity", deal["id"], 1, stage="proposal")
    before = {by: told(here, by) for by in KEPT}

    with here.db.connection() as connection:
        connection.execute(text("SELECT fold_opportunity_sums()"))
        connection.commit()

    assert {by: told(here, by) for by in KEPT} == before
    assert told(here, "stage", ADDED_UP_ANEW) == before["stage"]
    with here.db.reading(here.context()) as session:
        assert session.scalar(text("SELECT count(*) FROM opportunity_sums")) < 5
    assert told(other, "stage") == told(other, "stage", ADDED_UP_ANEW)


def test_folding_while_deals_move_loses_nothing(desk: Any) -> None:
    owner = str(desk.user("Ann"))
    ended = threading.Event()

    def fold() -> None:
        while not ended.is_set():
            with desk.db.connection() as connection:
                connection.execute(text("SELECT fold_opportunity_sums()"))
                connection.commit()

    folding = threading.Thread(target=fold)
    folding.start()
    try:
        for number in range(250):
            take_turn(desk, TURNS[number % 6], random.Random(number), [owner])
    finally:
        ended.set()
        folding.join()

    assert told(desk, "stage") == told(desk, "stage", ADDED_UP_ANEW)
    assert told(desk, "stage")["total"]["count"] > 0


def test_a_change_that_moves_no_sum_adds_none(desk: Any) -> None:
    take_turn(desk, "open", random.Random(2), [str(desk.user("Ann"))])
    (deal,) = json.loads(desk.call("list_opportunities").body)["items"]

    send(desk, "change_opportunity", deal["id"], 1, name="Other name")

    with desk.db.reading(desk.context()) as session:
        assert session.scalar(text("SELECT count(*) FROM opportunity_sums")) == 1


def test_months_and_other_filters_are_added_up_from_the_opportunities(desk: Any) -> None:
    today = dt.datetime.now(dt.UTC).date().isoformat()

    with statements(desk.db) as seen:
        told(desk, "stage", ("owner_id[null]", "true"))
        told(desk, "month")
        told(desk, "stage", ("closed_on[gte]", today))

    assert ["opportunity_sums" in statement for statement in seen] == [True, False, False]

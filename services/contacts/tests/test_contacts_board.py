"""Boards of people and companies by what there is to choose from, as far as somebody sees them."""

import json
from typing import Any

import pytest

from liaison_contacts.service import Contacts
from liaison_kit import boards
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.plugins import Hooks
from liaison_kit.testing import at_work, call, principal, statements, told

Desk = Any


@pytest.fixture
def desk(contacts_db: Database, someone: Context) -> Desk:
    """What an operation answers: its status and its JSON."""
    service = at_work(Contacts, contacts_db, hooks=Hooks("contacts", 5.0))

    def ask(name: str, body: Any = None, **meta: Any) -> tuple[int, Any]:
        who = meta.pop("who", someone.principal)
        sent = b"" if body is None else json.dumps(body).encode()
        reply = call(service, name, who, sent, **meta)
        return reply.status, json.loads(reply.body) if reply.body else None

    return ask


def board(desk: Desk, *query: list[str], record: str = "contacts", **meta: Any) -> dict[str, Any]:
    """The columns by key."""
    status, found = desk(f"show_{record}_board", query=[*query], **meta)
    assert status == 200, found
    return {column["key"]: column for column in found["columns"]}


def test_people_stand_in_the_columns_of_their_stages(desk: Desk, contacts_db: Database) -> None:
    for name, stage in (("Lee", "lead"), ("Kim", "customer"), ("Ray", "lead")):
        desk("create_contact", {"last_name": name, "stage": stage, "tags": ["vip"]})
    desk("create_contact", {"last_name": "Nobody", "stage": "lead"})

    with statements(contacts_db) as seen:
        found = board(desk, ["by", "stage"], ["tags", "vip"], ["sort", "last_name"])

    assert len(seen) == 2
    stages = ["visitor", "subscriber", "lead", "mql", "sql", "opportunity", "customer", "churned"]
    assert list(found) == stages
    assert found["lead"]["label"] == {"en": "Lead", "fr": "Prospect"}
    assert [card["last_name"] for card in found["lead"]["items"]] == ["Lee", "Ray"]
    assert [found[stage]["count"] for stage in stages] == [0, 0, 2, 0, 0, 0, 1, 0]
    assert found["lead"]["sums"] is None


def test_a_moved_card_moves_in_the_lifecycle(
    desk: Desk, contacts_db: Database, someone: Context
) -> None:
    _, lee = desk("create_contact", {"last_name": "Lee"})

    card = {"id": lee["id"], "by": "stage", "to": "customer"}
    status, moved = desk("move_contact_card", card, if_match=1)

    assert (status, moved["stage"], moved["customer_because"]) == (
        200,
        "customer",
        "changed by hand",
    )
    assert "lifecycle_moved" in [type for type, _ in told(contacts_db, someone.tenant)]
    status, stale = desk("move_contact_card", card | {"to": "lead"}, if_match=1)
    assert (status, stale["current"]["stage"]) == (412, "customer")
    status, wrong = desk("move_contact_card", card | {"to": "friend"}, if_match=2)
    assert (status, wrong["errors"][0]["code"]) == (422, "unknown_column")
    assert desk("move_contact_card", card | {"to": None}, if_match=2)[0] == 422


def test_what_is_in_no_column_has_one_of_its_own(desk: Desk) -> None:
    for number in range(3):
        desk("create_company", {"name": f"Acme {number}"})
    _, bank = desk("create_company", {"name": "Bank", "industry": "finance"})

    by = ["by", "industry"]
    found = board(desk, by, ["limit", "2"], record="companies")
    none = found[None]
    rest = [["industry[null]", "true"], ["cursor", none["next"]]]
    _, page = desk("list_companies", query=rest)

    assert (found["finance"]["count"], none["count"], len(page["items"])) == (1, 3, 1)
    card = {"id": bank["id"], "by": "industry", "to": None}
    assert desk("move_company_card", card, if_match=1)[1]["industry"] is None
    assert board(desk, by, record="companies")[None]["count"] == 4


def test_a_long_column_is_counted_so_far(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(boards, "COUNTED", 2)
    for stage in ("lead", "lead", "lead", "customer", "customer"):
        desk("create_contact", {"last_name": "Lee", "stage": stage, "title": "Long"})

    # No other test asks for this shape of board, whose statement is composed for its limit.
    found = board(desk, ["by", "stage"], ["title", "Long"])

    assert (found["lead"]["count"], found["lead"]["more"]) == (2, True)
    assert (found["customer"]["count"], found["customer"]["more"]) == (2, False)


def test_a_board_tells_nothing_of_what_somebody_does_not_see(desk: Desk, someone: Context) -> None:
    mine = principal(someone.tenant, "*", user=uuid7(), rows={"contacts": "own"})
    _, hidden = desk("create_contact", {"last_name": "Hidden"})
    desk("create_contact", {"last_name": "Mine"}, who=mine)
    outsider = principal()
    without = principal(someone.tenant, "companies:read")

    found = board(desk, ["by", "stage"], who=mine)

    assert [card["last_name"] for card in found["lead"]["items"]] == ["Mine"]
    assert found["lead"]["count"] == 1
    searched = board(desk, ["by", "stage"], ["q", "hidden"], who=mine)
    assert searched["lead"]["count"] == 0
    assert board(desk, ["by", "stage"], who=outsider)["lead"]["count"] == 0
    card = {"id": hidden["id"], "by": "stage", "to": "customer"}
    assert desk("move_contact_card", card, if_match=1, who=mine)[0] == 404
    assert desk("show_contacts_board", query=[["by", "stage"]], who=without)[0] == 403

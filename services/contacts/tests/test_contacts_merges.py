"""Two records that are one person become one, and can be told apart again."""

import json
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import UUID

import pytest
from sqlalchemy import text

from liaison_contacts.service import Contacts
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.plugins import Hooks
from liaison_kit.testing import about, at_work, call, principal, told

Desk = Any


@pytest.fixture
def desk(contacts_db: Database, someone: Context) -> Desk:
    """What an operation answers: its status and its JSON."""
    service = at_work(Contacts, contacts_db, hooks=Hooks("contacts", 0.5))

    def ask(name: str, body: Any = None, **meta: Any) -> tuple[int, Any]:
        who = meta.pop("who", someone.principal)
        sent = b"" if body is None else json.dumps(body).encode()
        reply = call(service, name, who, sent, **meta)
        return reply.status, json.loads(reply.body) if reply.body[:1] in (b"{", b"[") else None

    return ask


def added(desk: Desk, **fields: Any) -> dict[str, Any]:
    status, person = desk("create_contact", fields)
    assert status == 201, person
    found: dict[str, Any] = person
    return found


def merged(desk: Desk, into: Any, other: Any, **more: Any) -> dict[str, Any]:
    _, now = desk("get_contact", path={"id": into["id"]})
    path = {"id": into["id"]}
    body = {"from": other["id"], **more}
    status, request = desk("merge_contact", body, path=path, if_match=now["version"])
    assert status == 201, request
    found: dict[str, Any] = request
    return found


def test_the_survivor_keeps_its_values_and_takes_over_what_it_lacks(desk: Desk) -> None:
    kim = added(
        desk, first_name="Kim", last_name="Lee", emails=[{"address": "kim@a.example"}], tags=["a"]
    )
    lee = added(
        desk,
        first_name="K.",
        last_name="Lee",
        title="Head",
        external_id="L1",
        emails=[{"address": "kim@a.example"}, {"address": "lee@b.example"}],
        tags=["a", "b"],
        stage="opportunity",
    )

    request = merged(desk, kim, lee)

    _, one = desk("get_contact", path={"id": kim["id"]})
    assert (one["first_name"], one["title"], one["external_id"]) == ("Kim", "Head", "L1")
    assert [e["address"] for e in one["emails"]] == ["kim@a.example", "lee@b.example"]
    assert (one["tags"], one["stage"]) == (["a", "b"], "opportunity")
    status, problem = desk("get_contact", path={"id": lee["id"]})
    assert (status, problem["code"], problem["merged_into"]) == (404, "merged", kim["id"])
    assert (request["kind"], request["other_id"]) == ("merge", lee["id"])
    assert [part["state"] for part in request["modules"]] == ["done"]


def test_what_the_caller_takes_of_the_other_counts(desk: Desk) -> None:
    kim = added(desk, first_name="Kim", last_name="Lee", title="Boss")
    lee = added(desk, first_name="K.", last_name="Li", title="Head")

    merged(desk, kim, lee, take=["title", "last_name"])

    _, one = desk("get_contact", path={"id": kim["id"]})
    assert (one["first_name"], one["last_name"], one["title"]) == ("Kim", "Li", "Head")


def test_notes_go_to_the_survivor_and_only_they_come_back(desk: Desk) -> None:
    kim, lee = added(desk, last_name="Kim"), added(desk, last_name="Lee")
    desk("create_contact_note", {"body": "of Lee"}, path={"id": lee["id"]})
    desk("create_contact_note", {"body": "of Kim"}, path={"id": kim["id"]})
    request = merged(desk, kim, lee)
    _, both = desk("list_contact_notes", path={"id": kim["id"]})
    desk("create_contact_note", {"body": "since"}, path={"id": kim["id"]})

    path = {"id": kim["id"], "merge": request["id"]}
    status, _ = desk("undo_contact_merge", path=path)

    assert status == 201
    assert {note["body"] for note in both["items"]} == {"of Lee", "of Kim"}
    _, of_kim = desk("list_contact_notes", path={"id": kim["id"]})
    _, of_lee = desk("list_contact_notes", path={"id": lee["id"]})
    assert {note["body"] for note in of_kim["items"]} == {"of Kim", "since"}
    assert {note["body"] for note in of_lee["items"]} == {"of Lee"}


def test_an_undo_leaves_what_was_changed_since(desk: Desk) -> None:
    kim, lee = added(desk, last_name="Kim"), added(desk, last_name="Lee", title="Head", tags=["x"])
    request = merged(desk, kim, lee)
    _, one = desk("get_contact", path={"id": kim["id"]})
    desk("change_contact", {"title": "Boss"}, path={"id": kim["id"]}, if_match=one["version"])

    desk("undo_contact_merge", path={"id": kim["id"], "merge": request["id"]})

    _, kim = desk("get_contact", path={"id": kim["id"]})
    _, lee = desk("get_contact", path={"id": lee["id"]})
    assert (kim["title"], kim["tags"]) == ("Boss", [])
    assert (lee["title"], lee["tags"]) == ("Head", ["x"])


def test_the_others_are_told(desk: Desk, contacts_db: Database, someone: Context) -> None:
    kim, lee = added(desk, last_name="Kim"), added(desk, last_name="Lee", title="Head")

    request = merged(desk, kim, lee)

    last = told(contacts_db, someone.tenant)[-3:]
    assert [kind for kind, _ in last] == ["person_removed", "people_saved", "records_merged"]
    assert last[-1][1] == {
        "tenant_id": str(someone.tenant),
        "request_id": request["id"],
        "record": "contacts",
        "from_id": lee["id"],
        "into_id": kim["id"],
    }


def test_a_late_arrival_lands_with_the_survivor_of_a_chain(
    desk: Desk, contacts_db: Database, someone: Context
) -> None:
    a, b, c = (added(desk, last_name=name) for name in "ABC")
    merged(desk, b, a)
    merged(desk, c, b)

    with contacts_db.writing(someone) as session:
        session.execute(
            text(
                "INSERT INTO occurrences (tenant_id, id, about_id, at, kind, details)"
                " VALUES (:tenant, :id, :about, now(), 'late', '{}')"
            ),
            {"tenant": someone.tenant, "id": uuid7(), "about": UUID(a["id"])},
        )

    _, page = desk("contact_timeline", path={"id": c["id"]})
    assert "late" in [entry["kind"] for entry in page["items"]]


def test_a_merge_that_can_not_be_is_named_and_changes_nothing(desk: Desk, someone: Context) -> None:
    kim = added(desk, last_name="Kim", owner_id=None)
    lee = added(desk, last_name="Lee")
    stranger = about().principal
    narrow = principal(someone.tenant, "contacts:merge", "contacts:read", rows={"contacts": "own"})

    def tried(other: str, who: Any = None, version: int = 1, id: str = kim["id"]) -> Any:
        meta = {"who": who} if who else {}
        body = {"from": other}
        return desk("merge_contact", body, path={"id": id}, if_match=version, **meta)

    itself = tried(kim["id"])
    stale = tried(lee["id"], version=7)
    nobody = tried(str(uuid7()))
    abroad = tried(lee["id"], stranger)
    hidden = tried(lee["id"], narrow)
    no_field = desk(
        "merge_contact", {"from": lee["id"], "take": ["nose"]}, path={"id": kim["id"]}, if_match=1
    )

    assert (itself[0], itself[1]["code"]) == (422, "into_itself")
    assert (stale[0], nobody[0], abroad[0], hidden[0]) == (412, 404, 404, 404)
    assert (no_field[0], no_field[1]["errors"][0]["path"]) == (422, "take")
    assert desk("get_contact", path={"id": kim["id"]})[1]["version"] == 1
    assert desk("get_contact", path={"id": lee["id"]})[1]["version"] == 1


def test_merges_into_one_are_undone_latest_first_and_once(desk: Desk) -> None:
    kim, lee, max_ = (added(desk, last_name=name) for name in ("Kim", "Lee", "Max"))
    first, second = merged(desk, kim, lee), merged(desk, kim, max_)

    def undone(request: Any) -> tuple[int, str]:
        status, body = desk("undo_contact_merge", path={"id": kim["id"], "merge": request["id"]})
        return status, body.get("code", body.get("kind"))

    assert undone(first) == (409, "undo_later_first")
    assert undone(second) == (201, "undo")
    assert undone(second) == (409, "undone_already")
    assert undone(first) == (201, "undo")


def test_two_who_merge_the_same_two_at_once_get_one_survivor(
    desk: Desk, contacts_db: Database
) -> None:
    kim, lee = added(desk, last_name="Kim"), added(desk, last_name="Lee")

    def one(pair: tuple[str, str]) -> Any:
        into, other = pair
        return desk("merge_contact", {"from": other}, path={"id": into}, if_match=1)

    with ThreadPoolExecutor(2) as both:
        answers = list(both.map(one, [(kim["id"], lee["id"]), (lee["id"], kim["id"])]))

    assert sorted(status for status, _ in answers) == [201, 404]
    assert {body.get("code") for status, body in answers if status == 404} == {"merged"}


def test_merged_companies_never_become_their_own_ancestors(desk: Desk) -> None:
    def company(name: str, parent: str | None = None) -> str:
        _, made = desk("create_company", {"name": name, "parent_id": parent})
        id: str = made["id"]
        return id

    def parent(id: str) -> str | None:
        found: str | None = desk("get_company", path={"id": id})[1]["parent_id"]
        return found

    top = company("Top")
    middle = company("Middle", top)
    bottom = company("Bottom", middle)

    status, _ = desk("merge_company", {"from": top}, path={"id": bottom}, if_match=1)

    assert status == 201
    assert (parent(bottom), parent(middle)) == (None, bottom)


def test_no_cent_is_lost_by_a_merge_and_its_undoing(desk: Desk) -> None:
    revenue = {"amount": "90071992547409.93", "currency": "EUR"}
    _, one = desk("create_company", {"name": "One"})
    _, other = desk("create_company", {"name": "Other", "annual_revenue": revenue})
    path = {"id": one["id"]}
    _, request = desk("merge_company", {"from": other["id"]}, path=path, if_match=1)

    desk("undo_company_merge", path=path | {"merge": request["id"]})

    assert desk("get_company", path={"id": other["id"]})[1]["annual_revenue"] == revenue
    assert desk("get_company", path=path)[1]["annual_revenue"] is None

"""Drafts: the last to write wins, nobody else reads them, and none stays for ever."""

from collections.abc import Callable
from threading import Barrier, Thread
from typing import Any
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from identity_company import Answer, Company, call
from sqlalchemy import text

from liaison_identity import drafts
from liaison_kit.context import Context
from liaison_sdk.contracts.desk import LONGEST_DRAFT

Users = Callable[..., dict[str, Any]]


def at(id: UUID, field: str = "form", record: str = "contacts") -> dict[str, Any]:
    return {"record": record, "id": id, "field": field}


def put(who: dict[str, Any], id: UUID, body: str, version: int | None = None) -> Answer:
    return call("keep_draft", who, path=at(id), body={"body": body}, version=version)


def test_a_draft_is_kept_read_and_dropped(admin: dict[str, Any]) -> None:
    id = uuid4()

    first = put(admin, id, "Dear")
    second = put(admin, id, "Dear Zoé,\n")
    read = call("get_draft", admin, path=at(id))
    listed = call("list_drafts", admin, path={"record": "contacts", "id": id})
    dropped = [call("delete_draft", admin, path=at(id)).status for _ in range(2)]

    assert (first.body["version"], second.headers["ETag"]) == (1, '"2"')
    assert read.body == second.body | {"updated_at": read.body["updated_at"]}
    assert [one["body"] for one in listed.body["items"]] == ["Dear Zoé,\n"]
    assert dropped == [204, 204]
    assert call("get_draft", admin, path=at(id)).status == 404


def test_who_says_which_version_they_go_on_from_overwrites_no_other(admin: dict[str, Any]) -> None:
    id = uuid4()
    put(admin, id, "phone")
    put(admin, id, "desk")

    stale = put(admin, id, "phone again", version=1)
    fresh = put(admin, id, "phone again", version=2)
    call("delete_draft", admin, path=at(id))
    gone = put(admin, id, "sent meanwhile", version=3)

    assert (stale.status, stale.body["current"]["body"]) == (412, "desk")
    assert (fresh.status, fresh.body["version"]) == (200, 3)
    assert gone.status == 412
    assert call("get_draft", admin, path=at(id)).status == 404


def test_nobody_else_reads_a_draft_administrators_included(
    company: Company,
    admin: dict[str, Any],
    add_user: Users,
    make_company: Callable[..., Company],
) -> None:
    user = add_user("Writer")
    writer, id = company.principal(company.token(user["email"])), uuid4()
    put(writer, id, "secret")
    stranger = make_company().principal()

    for other in (admin, stranger):
        assert call("get_draft", other, path=at(id)).status == 404
        listed = call("list_drafts", other, path={"record": "contacts", "id": id})
        assert listed.body == {"items": []}
        call("delete_draft", other, path=at(id))
        put(other, id, "mine")

    assert call("get_draft", writer, path=at(id)).body["body"] == "secret"


def test_a_token_that_was_not_made_for_the_account_reads_and_writes_no_draft(
    company: Company, admin: dict[str, Any]
) -> None:
    new = {"label": "Sync", "permissions": ["contacts:read", "contacts:write"]}
    issued = call("create_token", admin, body=new, announced=new["permissions"])
    machine, id = company.principal(issued.body["token"]), uuid4()
    put(admin, id, "mine")

    refused = [
        put(machine, id, "x").status,
        call("get_draft", machine, path=at(id)).status,
        call("list_notifications", machine).status,
        call("list_views", machine).status,
    ]

    assert refused == [403] * 4


def test_a_draft_that_is_too_long_is_named_and_changes_nothing(admin: dict[str, Any]) -> None:
    id = uuid4()
    most = put(admin, id, "x" * LONGEST_DRAFT)

    refused = put(admin, id, "x" * (LONGEST_DRAFT + 1))

    assert most.status == 200
    assert (refused.status, refused.body["code"]) == (422, "draft_too_long")
    assert call("get_draft", admin, path=at(id)).body["version"] == 1


def test_who_has_too_many_drafts_drops_one_first(
    admin: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(drafts, "MOST", 2)
    ids = [uuid4() for _ in range(3)]

    statuses = [put(admin, id, "x").status for id in ids]
    again = put(admin, ids[0], "still").status
    call("delete_draft", admin, path=at(ids[1]))

    assert statuses == [200, 200, 409]
    assert again == 200
    assert put(admin, ids[2], "now").status == 200


def test_two_who_write_at_once_are_one_after_the_other(admin: dict[str, Any]) -> None:
    id, ready, versions = uuid4(), Barrier(4), []

    def write() -> None:
        ready.wait()
        versions.append(put(admin, id, "x").body["version"])

    threads = [Thread(target=write) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(versions) == [1, 2, 3, 4]


def test_of_two_who_go_on_from_one_version_one_is_told_so(admin: dict[str, Any]) -> None:
    id, ready, statuses = uuid4(), Barrier(2), []
    put(admin, id, "first")

    def write() -> None:
        ready.wait()
        statuses.append(put(admin, id, "x", version=1).status)

    threads = [Thread(target=write) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [200, 412]


def test_a_draft_that_nobody_touches_goes_after_thirty_days(
    company: Company, admin: dict[str, Any]
) -> None:
    old, fresh = uuid4(), uuid4()
    for id, days in ((old, 31), (fresh, 29)):
        put(admin, id, "x")
        with company.db.writing(Context(tenant=company.id)) as session:
            aged = "UPDATE drafts SET updated_at = now() - :days * interval '1 day'"
            session.execute(text(f"{aged} WHERE record_id = :id"), {"id": id, "days": days})

    with company.db.connection() as connection:
        connection.execute(text("SELECT tidy_desks()"))
        connection.commit()

    assert call("get_draft", admin, path=at(old)).status == 404
    assert call("get_draft", admin, path=at(fresh)).status == 200


def test_the_drafts_of_who_is_removed_go_with_them(
    company: Company, admin: dict[str, Any], add_user: Users
) -> None:
    user = add_user("Gone")
    put(company.principal(company.token(user["email"])), uuid4(), "x")
    now = call("get_user", admin, path={"id": user["id"]}).body["version"]

    assert call("delete_user", admin, path={"id": user["id"]}, version=now).status == 204

    with company.db.reading(Context(tenant=company.id)) as session:
        assert session.scalar(text("SELECT count(*) FROM drafts")) == 0


@pytest.mark.parametrize("body", [{"body": "a\0b"}, {"body": 7}, {"text": "x"}, {}, []])
def test_what_is_no_draft_is_refused(admin: dict[str, Any], body: Any) -> None:
    assert call("keep_draft", admin, path=at(uuid4()), body=body).status == 422


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(body=st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")))
def test_a_draft_comes_back_as_it_was_written(admin: dict[str, Any], body: str) -> None:
    id = uuid4()

    put(admin, id, body)

    assert call("get_draft", admin, path=at(id)).body["body"] == body

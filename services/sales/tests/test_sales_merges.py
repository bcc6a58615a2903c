"""Deals of people and companies that were merged are those of the survivors."""

import json
from typing import Any
from uuid import UUID

from liaison_kit.ids import uuid7
from liaison_kit.testing import told
from liaison_sdk.contracts.privacy import RecordsMerged, RecordsUnmerged

Desk = Any


def made(desk: Desk, **fields: Any) -> dict[str, Any]:
    reply = desk.call("create_opportunity", json.dumps(fields).encode())
    assert reply.status == 201, reply.body
    found: dict[str, Any] = json.loads(reply.body)
    return found


def seen(desk: Desk, deal: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(desk.call("get_opportunity", path={"id": deal["id"]}).body)
    return found


def merged(desk: Desk, other: UUID, into: UUID) -> tuple[RecordsMerged, dict[str, int]]:
    event = RecordsMerged(
        tenant_id=desk.who.tenant,
        request_id=uuid7(),
        record="companies",
        from_id=other,
        into_id=into,
    )
    with desk.db.writing(desk.context()) as session:
        return event, desk.service.merged(session, event)


def undone(desk: Desk, event: RecordsMerged) -> dict[str, int]:
    undo = RecordsUnmerged(
        tenant_id=desk.who.tenant,
        request_id=uuid7(),
        merge_id=event.request_id,
        record=event.record,
        from_id=event.from_id,
        into_id=event.into_id,
    )
    with desk.db.writing(desk.context()) as session:
        found: dict[str, int] = desk.service.unmerged(session, undo)
        return found


def test_deals_go_to_the_survivor_with_a_new_version_and_are_told(desk: Desk) -> None:
    old, new = desk.company("Old"), desk.company("New")
    deal = made(desk, name="Chairs", company_id=str(old))

    _, counts = merged(desk, old, new)

    now = seen(desk, deal)
    assert counts == {"opportunities": 1}
    assert (now["company_id"], now["company_name"], now["version"]) == (str(new), "New", 2)
    assert told(desk.db, desk.who.tenant)[-1][0] == "opportunities_saved"


def test_the_same_merge_told_twice_changes_nothing_more(desk: Desk) -> None:
    old, new = desk.company("Old"), desk.company("New")
    deal = made(desk, name="Chairs", company_id=str(old))
    event, _ = merged(desk, old, new)

    with desk.db.writing(desk.context()) as session:
        counts = desk.service.merged(session, event)

    assert (counts, seen(desk, deal)["version"]) == ({}, 2)


def test_a_deal_that_comes_late_lands_with_the_survivor_and_goes_back_with_the_undoing(
    desk: Desk,
) -> None:
    old, new = desk.company("Old"), desk.company("New")
    event, _ = merged(desk, old, new)
    late = made(desk, name="Late", company_id=str(old))
    own = made(desk, name="Own", company_id=str(new))

    counts = undone(desk, event)

    assert late["company_id"] == str(new)
    assert counts == {"opportunities": 1}
    assert seen(desk, late)["company_id"] == str(old)
    assert seen(desk, own)["company_id"] == str(new)


def test_what_was_given_to_another_since_stays_there(desk: Desk) -> None:
    old, new, third = desk.company("Old"), desk.company("New"), desk.company("Third")
    deal = made(desk, name="Chairs", company_id=str(old))
    event, _ = merged(desk, old, new)
    body = json.dumps({"company_id": str(third)}).encode()
    assert desk.call("change_opportunity", body, if_match=2, path={"id": deal["id"]}).status == 200

    undone(desk, event)

    assert seen(desk, deal)["company_id"] == str(third)


def test_a_deal_out_of_the_trash_finds_the_survivor(desk: Desk) -> None:
    old, new = desk.company("Old"), desk.company("New")
    deal = made(desk, name="Chairs", company_id=str(old))
    path = {"id": deal["id"]}
    assert desk.call("delete_opportunity", if_match=1, path=path).status == 204
    merged(desk, old, new)

    assert desk.call("restore_opportunity", path=path).status == 200

    assert seen(desk, deal)["company_id"] == str(new)

"""Which records a list has is settled once, in the list's order, as far as somebody sees them."""

import json
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text

from liaison_kit import chosen, listing, records
from liaison_kit.chosen import Chosen
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.listing.asked import ListQuery
from liaison_kit.testing import about, principal
from liaison_sdk.errors import InvalidInput

from .conftest import Ground
from .test_records import BLANK, FEW, GADGETS, Gadget


def made(db: Database, who: Context, count: int) -> None:
    with db.writing(who) as session:
        for _ in range(count):
            records.create(session, GADGETS, Gadget, **BLANK)


def picked(db: Database, who: Context, pairs: list[tuple[str, str]], **more: Any) -> list[UUID]:
    """The ids, as they are kept."""
    file_id = uuid7()
    with db.writing(who) as session:
        count = chosen.pick(session, GADGETS, ListQuery(pairs), file_id, **more)
        found: list[UUID] = []
        for number in range(-(-count // chosen.BATCH)):
            found += chosen.batch(session, file_id, number)
        session.execute(text("DELETE FROM file_parts"))
    assert len(found) == count
    return found


def listed(db: Database, who: Context, pairs: list[tuple[str, str]]) -> list[UUID]:
    with db.reading(who) as session:
        page = listing.page(session, GADGETS, ListQuery([*pairs, ("limit", "200")]))
    return [UUID(item["id"]) for item in json.loads(page)["items"]]


@FEW
@given(
    count=st.integers(0, 9),
    sort=st.sampled_from(["id", "-id", "updated_at", "-created_at"]),
    size=st.integers(1, 4),
)
def test_what_is_picked_is_the_list_in_its_order(
    ground: Ground, db: Database, count: int, sort: str, size: int
) -> None:
    who = about()
    made(db, who, count)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(chosen, "BATCH", size)

        assert picked(db, who, [("sort", sort)]) == listed(db, who, [("sort", sort)])


def test_only_what_somebody_sees_is_picked(ground: Ground, db: Database, someone: Context) -> None:
    mine = about(principal(someone.tenant, "*", user=uuid7(), rows={"gadgets": "own"}))
    made(db, someone, 2)
    made(db, mine, 1)

    assert picked(db, mine, []) == listed(db, mine, [])
    assert len(picked(db, mine, [])) == 1
    assert len(picked(db, someone, [])) == 3
    assert picked(db, about(), []) == []


def test_no_more_are_picked_than_are_wanted(ground: Ground, db: Database, someone: Context) -> None:
    made(db, someone, 5)

    assert len(picked(db, someone, [], most=3)) == 3


def test_what_is_for_pages_is_no_filter() -> None:
    with pytest.raises(InvalidInput) as refused:
        Chosen(filters={"limit": "1", "cursor": "x", "q": "y", "name": "z"}).query()

    assert [error.path for error in refused.value.errors] == [
        "filters.limit",
        "filters.cursor",
        "filters.q",
    ]

"""What is deleted comes back as it was, with what followed it, to whoever may see it, or not."""

import datetime as dt
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from sqlalchemy import text

from liaison_kit import listing, records
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.ids import uuid7
from liaison_kit.records import trash
from liaison_kit.testing import about, principal
from liaison_sdk.errors import Conflict, NotFound

from .conftest import Ground
from .test_records import BLANK, FEW, GADGETS, VALUES, Gadget

KEPT = replace(GADGETS, restorable=True, follows={"gadget_parts": "gadget_id"})


def created(db: Database, who: Context, **values: Any) -> UUID:
    with db.writing(who) as session:
        return records.create(session, KEPT, Gadget, **BLANK | values).id


def part(db: Database, who: Context, gadget: UUID, said: str) -> None:
    with db.writing(who) as session:
        session.execute(
            text("INSERT INTO gadget_parts (tenant_id, gadget_id, said) VALUES (:t, :g, :s)"),
            {"t": who.tenant, "g": gadget, "s": said},
        )


def remove(db: Database, who: Context, id: UUID) -> None:
    with db.writing(who) as session:
        records.remove(session, KEPT, records.load(session, KEPT, Gadget, id))


def restore(db: Database, who: Context, id: UUID) -> None:
    with db.writing(who) as session:
        trash.restore(session, KEPT, id)


def in_trash(db: Database, who: Context) -> list[UUID]:
    with db.reading(who) as session:
        return [item.id for item in trash.trash(session, KEPT, 50, None)[0]]


@FEW
@given(values=VALUES)
def test_what_is_restored_is_what_was_deleted(
    db: Database, someone: Context, values: dict[str, Any]
) -> None:
    id = created(db, someone, **values)
    with db.writing(someone) as session:
        before = records.values_of(records.load(session, KEPT, Gadget, id))

    remove(db, someone, id)
    later = replace(someone, now=someone.now + dt.timedelta(days=3))
    restore(db, later, id)

    with db.writing(someone) as session:
        after = records.values_of(records.load(session, KEPT, Gadget, id))
        history = records.history(session, KEPT, id).decode()
    assert after == before | {"version": 3, "updated_at": later.now}
    assert [action in history for action in ("restored", "removed")] == [True, True]


@pytest.mark.parametrize("price", ["9999999999999999.99", "90071992547409.93", "0.10"])
def test_no_cent_is_lost_in_the_trash(db: Database, someone: Context, price: str) -> None:
    id = created(db, someone, price=Decimal(price))

    remove(db, someone, id)
    restore(db, someone, id)

    with db.writing(someone) as session:
        assert records.load(session, KEPT, Gadget, id).price == Decimal(price)


def test_what_follows_a_record_goes_with_it_and_comes_back_with_it(
    ground: Ground, db: Database, someone: Context
) -> None:
    kept, other = created(db, someone), created(db, someone)
    for gadget, said in ((kept, "a wheel"), (kept, "an arm"), (other, "a leg")):
        part(db, someone, gadget, said)
    parts = "SELECT * FROM gadget_parts ORDER BY id"
    before = ground.look(parts)

    remove(db, someone, kept)
    assert [row[3] for row in ground.look(parts)] == ["a leg"]
    restore(db, someone, kept)

    assert ground.look(parts) == before
    assert in_trash(db, someone) == []


def test_a_record_may_be_deleted_and_restored_again_and_again(
    db: Database, someone: Context
) -> None:
    id = created(db, someone, name="Robot")

    for version in (3, 5):
        remove(db, someone, id)
        assert in_trash(db, someone) == [id]
        with pytest.raises(NotFound), db.writing(someone) as session:
            records.load(session, KEPT, Gadget, id)
        restore(db, someone, id)
        with db.reading(someone) as session:
            found = listing.read(session, KEPT, id)
        assert found is not None
        assert found[1] == version
    with pytest.raises(NotFound):
        restore(db, someone, id)


def test_what_it_pointed_at_and_is_gone_it_points_at_no_more(
    ground: Ground, db: Database, someone: Context
) -> None:
    maker = uuid7()
    ground.look(f"INSERT INTO makers VALUES ('{maker}', '{someone.tenant}') RETURNING id")
    id = created(db, someone, maker_id=maker)
    remove(db, someone, id)
    ground.look(f"DELETE FROM makers WHERE id = '{maker}' RETURNING id")

    restore(db, someone, id)

    with db.writing(someone) as session:
        assert records.load(session, KEPT, Gadget, id).maker_id is None
        assert str(maker) in records.history(session, KEPT, id).decode()


def test_whose_place_is_taken_stays_in_the_trash(db: Database, someone: Context) -> None:
    id = created(db, someone, external_id="A1")
    remove(db, someone, id)
    created(db, someone, external_id="A1")

    with pytest.raises(Conflict):
        restore(db, someone, id)

    assert in_trash(db, someone) == [id]


def test_the_trash_shows_and_gives_back_what_somebody_may_see_only(
    db: Database, someone: Context
) -> None:
    rep = principal(someone.tenant, rows={"gadgets": "own"})
    mine, theirs = about(rep), about(principal())
    hidden = created(db, someone, name="Robot", owner_id=uuid7())
    own = created(db, someone, name="Lamp", owner_id=rep.user)
    for id in (hidden, own):
        remove(db, someone, id)

    assert in_trash(db, mine) == [own]
    assert in_trash(db, theirs) == []
    for who, id in ((mine, hidden), (theirs, own)):
        with pytest.raises(NotFound):
            restore(db, who, id)
    restore(db, mine, own)


def test_after_thirty_days_it_is_gone_for_good(
    ground: Ground, db: Database, someone: Context
) -> None:
    old, young = created(db, someone), created(db, someone)
    for id, days in ((old, 31), (young, 29)):
        past = replace(someone, now=someone.now - dt.timedelta(days=days))
        remove(db, past, id)

    with db.connection() as connection:
        connection.execute(text("SELECT empty_trash()"))
        connection.commit()

    assert in_trash(db, someone) == [young]

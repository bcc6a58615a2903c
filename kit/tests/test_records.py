"""Records are created, read, changed and removed whole, by whom they are open to, or not at all."""

import datetime as dt
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from sqlalchemy import Text, Uuid, cast, select
from sqlalchemy.dialects.postgresql import ARRAY, JSONB
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Mapped, Session, mapped_column

from liaison_kit import listing, records
from liaison_kit.context import Context
from liaison_kit.database.database import Database
from liaison_kit.database.tables import Base, MoneyAmount, Record, TenantRow
from liaison_kit.ids import uuid7
from liaison_kit.records.recordtype import RecordType
from liaison_kit.run.process import wait_until
from liaison_kit.testing import about, principal, statements
from liaison_sdk.errors import Conflict, InvalidInput, NotFound, StaleVersion
from liaison_sdk.labels import Label

from .conftest import Ground


class Maker(TenantRow, Base):
    """Who makes gadgets."""

    __tablename__ = "makers"

    id: Mapped[UUID] = mapped_column(primary_key=True)


class Gadget(Record, Base):
    """Something of every type that records are made of."""

    __tablename__ = "gadgets"

    name: Mapped[str]
    owner_id: Mapped[UUID | None]
    maker_id: Mapped[UUID | None]
    price: Mapped[Decimal | None] = mapped_column(MoneyAmount)
    weight: Mapped[float | None]
    made_on: Mapped[dt.date | None]
    tags: Mapped[list[str] | None] = mapped_column(ARRAY(Text))
    friends: Mapped[list[UUID] | None] = mapped_column(ARRAY(Uuid))
    notes: Mapped[Any | None] = mapped_column(JSONB)


class GadgetShape(BaseModel):
    """A gadget as readers get it."""

    id: UUID
    name: str
    owner_id: UUID | None
    maker_id: UUID | None
    price: Decimal | None
    weight: float | None
    made_on: dt.date | None
    tags: list[str] | None
    friends: list[UUID] | None
    notes: Any
    external_id: str | None
    custom: dict[str, Any]
    version: int
    created_at: dt.datetime
    created_by: UUID | None
    updated_at: dt.datetime
    updated_by: UUID | None


GADGETS = RecordType(
    "gadgets",
    Label(en="Gadget", fr="Gadget"),
    model=Gadget,
    shape=GadgetShape,
    # As text, like money: a reader might take a number for a float.
    columns={"price": cast(Gadget.price, Text)},
    owner=Gadget.owner_id,
    references={"maker_id": "makers"},
)
NOTED = replace(GADGETS, derived=frozenset({"notes"}))
BLANK = dict.fromkeys(
    ("owner_id", "maker_id", "price", "weight", "made_on", "tags", "friends", "notes")
) | {"name": "x", "external_id": None}

# What PostgreSQL's text can hold.
TEXTS = st.text(st.characters(exclude_characters="\x00", exclude_categories=["Cs"]), max_size=20)
VALUES = st.fixed_dictionaries(
    {
        "name": TEXTS,
        "owner_id": st.none() | st.uuids(),
        "price": st.none() | st.decimals(0, Decimal("9999999999999999.99"), places=2),
        "weight": st.none() | st.floats(allow_nan=False, allow_infinity=False),
        "made_on": st.none() | st.dates(),
        "tags": st.none() | st.lists(TEXTS, max_size=4),
        "friends": st.none() | st.lists(st.uuids(), max_size=3),
        "notes": st.none() | st.dictionaries(TEXTS, TEXTS | st.integers() | st.none(), max_size=3),
    }
)
FEW = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def create(session: Session, **values: Any) -> records.Held[Gadget]:
    return records.create(session, GADGETS, Gadget, **BLANK | values)


def created(db: Database, who: Context, **values: Any) -> UUID:
    with db.writing(who) as session:
        return create(session, **values).id


def change(db: Database, who: Context, id: UUID, version: int | None = None, **to: Any) -> Any:
    """Load a gadget and change it in a transaction of its own; what has changed."""
    with db.writing(who) as session:
        gadget = records.load(session, GADGETS, Gadget, id, version)
        return records.change(session, GADGETS, gadget, to)[1]


def remove(db: Database, who: Context, id: UUID) -> None:
    with db.writing(who) as session:
        records.remove(session, GADGETS, records.load(session, GADGETS, Gadget, id))


def read(db: Database, who: Context, id: UUID) -> GadgetShape | None:
    with db.reading(who) as session:
        found = listing.read(session, GADGETS, id)
    return None if found is None else GadgetShape.model_validate_json(found[0])


def history(db: Database, who: Context, id: UUID) -> list[dict[str, Any]]:
    with db.reading(who) as session:
        items: list[dict[str, Any]] = json.loads(records.history(session, GADGETS, id))["items"]
    return items


# --- values ---------------------------------------------------------------------------------------


@FEW
@given(values=VALUES)
def test_what_is_created_is_what_is_answered_read_and_loaded(
    db: Database, someone: Context, values: dict[str, Any]
) -> None:
    with db.writing(someone) as session:
        gadget = create(session, **values)
        answered = records.answer(session, GADGETS, gadget)
    with db.session(someone) as session:
        found = listing.read(session, GADGETS, gadget.id)
        loaded = records.load(session, GADGETS, Gadget, gadget.id)

    assert found is not None
    assert answered == (found[0].encode(), found[1])
    shape = GadgetShape.model_validate_json(found[0])
    assert {name: getattr(shape, name) for name in values} == values
    assert {name: getattr(loaded, name) for name in values} == values
    for each in (shape, loaded):
        assert (each.version, each.created_at, each.updated_at) == (1, someone.now, someone.now)
        assert each.created_by == each.updated_by == someone.user


@FEW
@given(before=VALUES, after=VALUES)
def test_a_change_answers_what_is_read_and_keeps_what_was(
    db: Database, someone: Context, before: dict[str, Any], after: dict[str, Any]
) -> None:
    id = created(db, someone, **before)
    with db.writing(someone) as session:
        gadget = records.load(session, GADGETS, Gadget, id)
        gadget, changed = records.change(session, GADGETS, gadget, after)
        answered = records.answer(session, GADGETS, gadget)

    different = {name for name in before if before[name] != after[name]}
    assert changed == {name: (before[name], after[name]) for name in different}
    with db.reading(someone) as session:
        found = listing.read(session, GADGETS, id)
        (*entries,) = json.loads(records.history(session, GADGETS, id))["items"]
    assert found is not None
    assert answered == (found[0].encode(), found[1])
    shape = GadgetShape.model_validate_json(found[0])
    assert {name: getattr(shape, name) for name in after} == after
    assert shape.version == (2 if different else 1)
    assert [set(entry["changes"]) for entry in entries] == ([different] if different else [])
    for name in different - {"weight"}:
        pair = before[name], after[name]
        kept = [str(v) if isinstance(v, Decimal) else to_jsonable_python(v) for v in pair]
        assert entries[0]["changes"][name] == kept


def test_nothing_changed_is_nothing_written(ground: Ground, db: Database, someone: Context) -> None:
    id = created(db, someone, price=Decimal("1.50"), tags=["a"], notes={"a": 1}, friends=[uuid7()])
    was = read(db, someone, id)
    assert was is not None

    same = {name: getattr(was, name) for name in ("name", "tags", "friends", "notes")}
    changed = change(db, about(someone.principal), id, price=Decimal("1.5"), **same)

    assert changed == {}
    assert read(db, someone, id) == was
    assert history(db, someone, id) == []


def test_none_clears_a_field_of_any_type(ground: Ground, db: Database, someone: Context) -> None:
    values = {
        "price": Decimal(1), "weight": 1.5, "made_on": dt.date(2024, 2, 29), "tags": ["a"],
        "friends": [uuid7()], "notes": {"a": None}, "external_id": "A1", "owner_id": uuid7(),
    }  # fmt: skip
    id = created(db, someone, **values)

    change(db, someone, id, **dict.fromkeys(values))

    empty = " AND ".join(f"{name} IS NULL" for name in values)
    assert ground.look(f"SELECT {empty} FROM gadgets") == [(True,)]


def test_a_record_in_hand_is_how_it_was_whatever_becomes_of_it(
    db: Database, someone: Context
) -> None:
    with db.writing(someone) as session:
        first = create(session, name="first")
        second, changed = records.change(session, GADGETS, first, {"name": "second"})
        with pytest.raises(AssertionError, match="has been changed"):
            records.change(session, GADGETS, first, {"price": Decimal(1)})
        records.remove(session, GADGETS, second)

    assert changed == {"name": ("first", "second")}
    assert (first.name, first.version) == ("first", 1)
    assert (second.name, second.version) == ("second", 2)
    assert not isinstance(first, Gadget)


def test_a_record_has_no_other_columns_than_its_kind(db: Database, someone: Context) -> None:
    with pytest.raises(TypeError, match="no colour"), db.writing(someone) as session:
        create(session, colour="red")
    id = created(db, someone)
    with pytest.raises(KeyError, match="colour"):
        change(db, someone, id, colour="red")


def test_what_is_derived_makes_no_history(db: Database, someone: Context) -> None:
    id = created(db, someone, notes="a")

    with db.writing(someone) as session:
        gadget = records.load(session, NOTED, Gadget, id)
        _, derived = records.change(session, NOTED, gadget, {"notes": "b"})
        gadget, told = records.change(session, NOTED, gadget, {"notes": "b", "name": "b"})

    assert (derived, told) == ({}, {"name": ("x", "b")})
    assert (gadget.notes, gadget.version) == ("b", 2)


def test_sql_that_belongs_to_a_write_rides_along_or_is_undone_with_it(
    ground: Ground, db: Database, someone: Context
) -> None:
    along = "INSERT INTO things (id, said) SELECT %(number)s, version || written.name FROM written"
    with db.writing(someone) as session:
        gadget = records.create(
            session, GADGETS, Gadget, along=(along, {"number": 1}), **BLANK | {"name": "a"}
        )
    with db.writing(someone) as session:
        loaded = records.load(session, GADGETS, Gadget, gadget.id)
        loaded, _ = records.change(
            session, GADGETS, loaded, {"name": "b"}, along=(along, {"number": 2})
        )
        records.change(session, GADGETS, loaded, {"name": "b"}, along=(along, {"number": 3}))

    def say_again(session: Session) -> None:
        loaded = records.load(session, GADGETS, Gadget, gadget.id)
        records.change(session, GADGETS, loaded, {"name": "c"}, along=(along, {"number": 2}))

    with pytest.raises(IntegrityError), db.writing(someone) as session:
        say_again(session)
    assert ground.look("SELECT id, said FROM things ORDER BY id") == [(1, "1a"), (2, "2b")]
    assert len(history(db, someone, gadget.id)) == 1


def test_what_is_to_be_known_with_a_record_is_looked_up_where_it_is_locked(
    ground: Ground, db: Database, someone: Context
) -> None:
    maker = uuid7()
    ground.look("INSERT INTO makers VALUES (%s, %s)", str(maker), str(someone.tenant))
    id = created(db, someone, maker_id=maker)
    made_by = select(Maker.id).where(Maker.id == Gadget.maker_id).scalar_subquery()

    with statements(db) as seen, db.writing(someone) as session:
        gadget, also = records.load_with(session, GADGETS, Gadget, id, 1, made_by, made_by)

    assert gadget.maker_id == maker
    assert list(also) == [maker, maker]
    assert len([each for each in seen if "gadgets" in each]) == 1


def test_setting_an_attribute_fails_and_changes_nothing(db: Database, someone: Context) -> None:
    with db.writing(someone) as session:
        gadget = create(session, name="x")
        with pytest.raises(AttributeError):
            gadget.name = "y"
        with pytest.raises(AttributeError):
            records.load(session, GADGETS, Gadget, gadget.id).name = "z"

    found = read(db, someone, gadget.id)
    assert found is not None
    assert found.name == "x"


def test_what_changes_beside_the_row_makes_a_version_too(db: Database, someone: Context) -> None:
    id = created(db, someone)

    with db.writing(someone) as session:
        gadget = records.load(session, GADGETS, Gadget, id)
        records.change(session, GADGETS, gadget, {}, beside={"parts": ([], ["wheel"])})

    (entry,) = history(db, someone, id)
    assert (entry["version"], entry["changes"]) == (2, {"parts": [[], ["wheel"]]})


def test_one_record_may_be_changed_again_and_again_in_a_transaction(
    db: Database, someone: Context
) -> None:
    with db.writing(someone) as session:
        gadget = create(session)
        for name in "abc":
            gadget, _ = records.change(session, GADGETS, gadget, {"name": name})
        assert json.loads(records.answer(session, GADGETS, gadget)[0])["name"] == "c"
        again = records.load(session, GADGETS, Gadget, gadget.id, version=4)
        records.change(session, GADGETS, again, {"price": Decimal(1)})

    found = read(db, someone, gadget.id)
    assert found is not None
    assert (found.name, found.price, found.version) == ("c", 1, 5)
    assert [entry["version"] for entry in history(db, someone, gadget.id)] == [5, 4, 3, 2]


def test_a_removed_record_leaves_its_history(
    ground: Ground, db: Database, someone: Context
) -> None:
    id = created(db, someone)
    change(db, someone, id, name="y")

    remove(db, someone, id)

    assert read(db, someone, id) is None
    kept = ground.look("SELECT action, version, record_id::text FROM history ORDER BY version")
    assert kept == [("changed", 2, str(id)), ("removed", 3, str(id))]
    with pytest.raises(NotFound):
        change(db, someone, id, name="z")


# --- what the database refuses --------------------------------------------------------------------

REFUSED: list[tuple[dict[str, Any], type[Exception]]] = [
    ({"external_id": "A1"}, Conflict),
    ({"maker_id": uuid7()}, InvalidInput),
    ({"price": Decimal("-0.01")}, IntegrityError),
    ({"name": None}, IntegrityError),
]


@pytest.mark.parametrize(("values", "error"), REFUSED)
def test_what_is_refused_leaves_nothing(
    ground: Ground, db: Database, someone: Context, values: dict[str, Any], error: type[Exception]
) -> None:
    created(db, someone, external_id="A1")
    id = created(db, someone, name="other")
    was = read(db, someone, id)

    with pytest.raises(error):
        created(db, someone, **values)
    with pytest.raises(error):
        change(db, someone, id, **values)

    assert read(db, someone, id) == was
    assert history(db, someone, id) == []
    assert ground.look("SELECT count(*) FROM gadgets") == [(2,)]
    assert ground.states() == {"idle"}


@pytest.mark.parametrize(("values", "error"), REFUSED)
def test_what_is_refused_in_a_savepoint_leaves_the_rest(
    db: Database, someone: Context, values: dict[str, Any], error: type[Exception]
) -> None:
    with db.writing(someone) as session:
        id = create(session, external_id="A1").id
        with suppress(error), session.begin_nested():
            create(session, **values)
        last = create(session, name="last").id

    for each in (id, last):
        assert read(db, someone, each) is not None


def test_an_external_id_is_free_for_other_tenants_and_after_a_removal(
    db: Database, someone: Context
) -> None:
    id = created(db, someone, external_id="A1")

    created(db, about(), external_id="A1")
    remove(db, someone, id)
    created(db, someone, external_id="A1")


def test_references_that_point_at_nothing_of_ours_are_all_named(
    ground: Ground, db: Database, someone: Context
) -> None:
    ours, theirs = uuid7(), uuid7()
    for id, who in ((ours, someone), (theirs, about())):
        ground.look("INSERT INTO makers VALUES (%s, %s)", str(id), str(who.tenant))

    with db.session(someone) as session:
        records.demand(session)
        records.demand(session, maker_id=(Maker, None))
        records.demand(session, maker_id=(Maker, ours), other_id=(Maker, None))
        with pytest.raises(InvalidInput) as caught:
            records.demand(
                session, a=(Maker, theirs), b=(Maker, ours), c=(Gadget, ours), d=(Maker, None)
            )

    assert [error.path for error in caught.value.errors] == ["a", "c"]


def test_a_record_that_points_at_nothing_of_ours_is_not_kept(
    ground: Ground, db: Database, someone: Context
) -> None:
    ours, theirs = uuid7(), uuid7()
    for id, who in ((ours, someone), (theirs, about())):
        ground.look("INSERT INTO makers VALUES (%s, %s)", str(id), str(who.tenant))
    id = created(db, someone, maker_id=ours)

    for wrong in (theirs, uuid7()):
        with pytest.raises(InvalidInput) as refused:
            created(db, someone, maker_id=wrong)
        with pytest.raises(InvalidInput):
            change(db, someone, id, maker_id=wrong, name="other")
        assert [error.path for error in refused.value.errors] == ["maker_id"]

    found = read(db, someone, id)
    assert found is not None
    assert (found.maker_id, found.name, found.version) == (ours, "x", 1)
    assert ground.look("SELECT count(*) FROM gadgets") == [(1,)]


def test_only_what_points_anew_is_looked_at(ground: Ground, db: Database, someone: Context) -> None:
    maker = uuid7()
    ground.look("INSERT INTO makers VALUES (%s, %s)", str(maker), str(someone.tenant))
    id = created(db, someone, maker_id=maker)
    ground.look("DELETE FROM makers")

    change(db, someone, id, maker_id=maker, name="renamed")

    found = read(db, someone, id)
    assert found is not None
    assert found.name == "renamed"


def test_a_reference_may_be_to_what_the_session_has_yet_to_write(
    db: Database, someone: Context
) -> None:
    maker = uuid7()

    with db.writing(someone) as session:
        session.add(Maker(id=maker, tenant_id=someone.tenant))
        id = create(session, maker_id=maker).id
        records.demand(session, maker_id=(Maker, maker))

    found = read(db, someone, id)
    assert found is not None
    assert found.maker_id == maker


# --- versions -------------------------------------------------------------------------------------


def test_a_stale_version_changes_nothing_and_brings_the_current_record(
    db: Database, someone: Context
) -> None:
    id = created(db, someone, name="old")
    change(db, someone, id, 1, name="new")

    for version in (1, 3):
        with pytest.raises(StaleVersion) as caught:
            change(db, someone, id, version, name="newer")
        current = GadgetShape.model_validate_json(caught.value.current or b"")
        assert current == read(db, someone, id)

    assert current.name == "new"
    assert len(history(db, someone, id)) == 1


@pytest.mark.parametrize("version", [1, None])
def test_of_two_who_change_a_record_at_once_the_second_sees_what_the_first_did(
    ground: Ground, db: Database, someone: Context, version: int | None
) -> None:
    id = created(db, someone, name="old")

    with ThreadPoolExecutor(1) as elsewhere:
        with db.writing(someone) as session:
            gadget = records.load(session, GADGETS, Gadget, id, version)
            other = elsewhere.submit(change, db, someone, id, version, price=Decimal(1))
            assert wait_until(ground.waiting, seconds=10, every=0.01)
            records.change(session, GADGETS, gadget, {"name": "new"})
        failure = other.exception()

    found = read(db, someone, id)
    assert found is not None
    assert found.name == "new"
    if version is None:
        assert failure is None
        assert (found.price, found.version) == (1, 3)
    else:
        assert isinstance(failure, StaleVersion)
        assert GadgetShape.model_validate_json(failure.current or b"") == found
        assert (found.price, found.version) == (None, 2)


def test_a_record_that_is_removed_while_one_waits_for_it_is_not_found(
    ground: Ground, db: Database, someone: Context
) -> None:
    id = created(db, someone)

    with ThreadPoolExecutor(1) as elsewhere:
        with db.writing(someone) as session:
            gadget = records.load(session, GADGETS, Gadget, id)
            other = elsewhere.submit(change, db, someone, id, name="new")
            assert wait_until(ground.waiting, seconds=10, every=0.01)
            records.remove(session, GADGETS, gadget)
        failure = other.exception()

    assert isinstance(failure, NotFound)


def test_who_locks_many_records_gets_them_as_they_are_after_waiting(
    ground: Ground, db: Database, someone: Context
) -> None:
    first, second = created(db, someone, name="a"), created(db, someone, name="a")

    def rename() -> list[UUID]:
        with db.writing(someone) as session:
            found = records.locked(session, GADGETS, Gadget, Gadget.name == "a")
            for gadget in found:
                records.change(session, GADGETS, gadget, {"name": "b"})
            return [gadget.id for gadget in found]

    with ThreadPoolExecutor(1) as elsewhere:
        with db.writing(someone) as session:
            gadget = records.load(session, GADGETS, Gadget, second)
            other = elsewhere.submit(rename)
            assert wait_until(ground.waiting, seconds=10, every=0.01)
            records.change(session, GADGETS, gadget, {"name": "c"})
        renamed = other.result()

    assert renamed == [first]
    assert [history(db, someone, id)[0]["changes"]["name"][1] for id in (first, second)] == [
        "b",
        "c",
    ]


# --- row rules ------------------------------------------------------------------------------------

ME, PEER, STRANGER = uuid7(), uuid7(), uuid7()
OWNERS = {"me": ME, "peer": PEER, "stranger": STRANGER, "nobody": None}


def narrowed(tenant: UUID, rule: str) -> Context:
    """A request of mine, narrowed by a row rule."""
    return about(principal(tenant, user=ME, rows={"gadgets": rule}, peers=(ME, PEER)))


def open_to(rule: str) -> set[str]:
    return {"own": {"me"}, "team": {"me", "peer"}, "all": set(OWNERS)}[rule]


@pytest.mark.parametrize("rule", ["own", "team", "all"])
@pytest.mark.parametrize("owner", OWNERS)
def test_a_row_rule_says_whose_records_may_be_changed(
    db: Database, someone: Context, rule: str, owner: str
) -> None:
    id = created(db, someone, owner_id=OWNERS[owner])
    me = narrowed(someone.tenant, rule)

    if owner in open_to(rule):
        change(db, me, id, 1, name="new")
        remove(db, me, id)
    else:
        for attempt in (
            lambda: change(db, me, id, 1, name="new"),
            # Not even that there is another version is told.
            lambda: change(db, me, id, 7, name="new"),
            lambda: remove(db, me, id),
        ):
            with pytest.raises(NotFound):
                attempt()
        found = read(db, someone, id)
        assert found is not None
        assert (found.name, found.version) == ("x", 1)


@pytest.mark.parametrize("rule", ["own", "team", "all"])
@pytest.mark.parametrize("owner", OWNERS)
def test_nobody_loses_sight_of_a_record_by_giving_it_away(
    ground: Ground, db: Database, someone: Context, rule: str, owner: str
) -> None:
    id = created(db, someone, owner_id=ME)
    me = narrowed(someone.tenant, rule)

    if owner in open_to(rule):
        change(db, me, id, owner_id=OWNERS[owner], name="new")
        assert read(db, me, id) is not None
    else:
        with pytest.raises(InvalidInput) as refused:
            change(db, me, id, owner_id=OWNERS[owner], name="new")
        assert [error.path for error in refused.value.errors] == ["owner_id"]
        found = read(db, me, id)
        assert found is not None
        assert (found.owner_id, found.name, found.version) == (ME, "x", 1)
        assert history(db, me, id) == []


@pytest.mark.parametrize("rule", ["own", "team", "all"])
@pytest.mark.parametrize("owner", OWNERS)
def test_who_sees_some_rows_only_creates_no_others(
    ground: Ground, db: Database, someone: Context, rule: str, owner: str
) -> None:
    me = narrowed(someone.tenant, rule)

    if owner in open_to(rule) | {"nobody"}:
        id = created(db, me, owner_id=OWNERS[owner])
        found = read(db, me, id)
        assert found is not None
        mine = owner == "nobody" and rule != "all"
        assert found.owner_id == (ME if mine else OWNERS[owner])
    else:
        with pytest.raises(InvalidInput):
            created(db, me, owner_id=OWNERS[owner])
        assert ground.look("SELECT id FROM gadgets") == []


def test_records_of_another_tenant_are_not_there(db: Database, someone: Context) -> None:
    id, stranger = created(db, someone), about()

    with pytest.raises(NotFound):
        change(db, stranger, id, name="new")
    with db.session(stranger) as session:
        assert records.locked(session, GADGETS, Gadget, Gadget.id == id) == []
        with pytest.raises(NotFound):
            records.answer(session, GADGETS, id)

    assert read(db, stranger, id) is None
